"""Checkpoint to artifact and back: what is stored, what is reported, and what comes back."""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.compression.budget import EFFORTS
from embcompress.exceptions import (
    DamagedFileError,
    DeviceError,
    NonFiniteError,
    OutputError,
    RankError,
    TableError,
    UsageError,
)
from embcompress.results import ApproximateResult, TableReport
from tests.fixtures import SAMPLE_FILES, SAMPLES, CompressSample, load_module, load_stored, save

INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64)
REPORTED = 1e-6  # how near the reported error is to that of the stored factors in float64, relatively


@dataclass(frozen=True)
class Trip:
    """A sample that was compressed and multiplied out again."""

    sample: Path
    result: ApproximateResult
    artifact: dict[str, Tensor]
    dense: dict[str, Tensor]
    original: dict[str, Tensor]


@pytest.fixture(scope="module", params=SAMPLE_FILES)
def trip(request: pytest.FixtureRequest, compress_sample: CompressSample) -> Trip:
    """Compress a copy of a sample to 8 bases with the defaults, and multiply it out again."""
    result = compress_sample(request.param, bases=8)
    dense = embcompress.reconstruct(result.output.path)
    return Trip(
        sample=SAMPLES / request.param,
        result=result,
        artifact=load_stored(result.output.path),
        dense=safetensors.torch.load_file(dense.output.path),
        original=load_module(SAMPLES / request.param).state_dict(),
    )


def as_bytes(value: Tensor) -> bytes:
    """Give the bytes of a tensor, row-major, so that NaN equals itself and -0 is not 0."""
    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def multiply(artifact: Mapping[str, Tensor], name: str) -> Tensor:
    """Multiply a table out in float64 or complex128, as the ten lines of the README do."""
    bases, weights = artifact[f"{name}.bases"], artifact[f"{name}.weights"]
    wide = torch.complex128 if bases.is_complex() else torch.float64
    return torch.einsum("nk,k...->n...", weights.to(wide), bases.to(wide))


def relative_error(original: Tensor, stored: Tensor) -> float:
    """Compute ||E - E_stored||_F / ||E||_F in float64."""
    wide = original.to(stored.dtype)
    return float(torch.linalg.vector_norm(wide - stored) / torch.linalg.vector_norm(wide))


def optimum(original: Tensor, rank: int) -> float:
    """Compute the Eckart-Young optimum from the singular values of a dense float64 SVD."""
    real = torch.view_as_real(original) if original.is_complex() else original
    squares = torch.linalg.svdvals(real.flatten(1).to(torch.float64)) ** 2
    return float((squares[rank:].sum() / squares.sum()).sqrt())


def test_sample_has_the_error_that_is_reported(trip: Trip) -> None:
    """`weights @ bases` of every table, in float64, leaves the reported error, which is the optimum to 1e-5."""
    assert trip.result.tables
    for table in trip.result.tables:
        assert table.error is not None
        original = trip.original[table.name]
        measured = relative_error(original, multiply(trip.artifact, table.name))
        assert table.error.relative == pytest.approx(measured, rel=REPORTED)
        assert table.error.optimal_relative == pytest.approx(optimum(original, 8), rel=REPORTED)
        assert table.error.relative == pytest.approx(optimum(original, 8), rel=1e-5)


def test_sample_rows_have_the_errors_that_are_reported(trip: Trip) -> None:
    """Row errors and cosines are those of a float64 oracle: mean and extreme to 1e-4, quantiles to the 0.1 % stated."""
    for table in trip.result.tables:
        assert table.error is not None
        original = trip.original[table.name].double().flatten(1)
        stored = multiply(trip.artifact, table.name).flatten(1)
        rows = (original - stored).norm(dim=1) / original.norm(dim=1)
        cosines = nn.functional.cosine_similarity(original, stored)
        seen = table.error.row_relative
        assert (seen.mean, seen.max) == (
            pytest.approx(float(rows.mean()), rel=1e-4),
            pytest.approx(float(rows.max()), rel=1e-4),
        )
        ordered = rows.sort().values
        for value, share in ((seen.p50, 0.5), (seen.p99, 0.99)):
            assert value == pytest.approx(float(ordered[-int(-share * len(rows) // 1) - 1]), rel=2e-3)
        assert table.error.cosine.mean == pytest.approx(float(cosines.mean()), abs=1e-5)
        assert table.error.cosine.min == pytest.approx(float(cosines.min()), abs=1e-5)
        worst = [(row.id, row.relative) for row in table.error.worst_rows]
        assert [row for row, _ in worst] == rows.argsort(descending=True)[: len(worst)].tolist()
        assert [relative for _, relative in worst] == pytest.approx(rows.sort(descending=True).values[:10], rel=1e-4)


def test_sample_keeps_everything_else_to_the_bit(trip: Trip) -> None:
    """The artifact holds bases and weights of each table and every other tensor under its own name, unchanged."""
    expected = {name: as_bytes(value) for name, value in trip.original.items()}
    for table in trip.result.tables:
        for name in (table.name, *table.tied_names):
            del expected[name]
        assert trip.artifact[f"{table.name}.bases"].shape == (8, *table.shape)
        assert trip.artifact[f"{table.name}.weights"].shape == (table.rows, 8)
        assert trip.artifact[f"{table.name}.bases"].dtype == trip.artifact[f"{table.name}.weights"].dtype
        assert str(trip.artifact[f"{table.name}.bases"].dtype) == f"torch.{table.dtype}"
    factors = {f"{table.name}.{part}" for table in trip.result.tables for part in ("bases", "weights")}
    assert {name: as_bytes(value) for name, value in trip.artifact.items() if name not in factors} == expected
    assert set(trip.artifact) == factors | set(expected)


def test_sample_comes_back_into_its_model(trip: Trip) -> None:
    """The dense file loads strictly into the original module, with its shapes and dtypes, tied names each there."""
    assert {name: (value.shape, value.dtype) for name, value in trip.dense.items()} == {
        name: (value.shape, value.dtype) for name, value in trip.original.items()
    }
    compressed = {name: table.name for table in trip.result.tables for name in (table.name, *table.tied_names)}
    for name, value in trip.original.items():
        if name in compressed:
            expected = multiply(trip.artifact, compressed[name]).to(value.dtype)
            assert torch.equal(trip.dense[name], expected)
        else:
            assert as_bytes(trip.dense[name]) == as_bytes(value)
    model = load_module(trip.sample)
    model.load_state_dict(trip.dense, strict=True)
    assert all(torch.equal(value, trip.dense[name]) for name, value in model.state_dict().items())


def decaying(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Draw a table (rows, *shape) whose singular values fall as 0.7^k, so that a few bases leave a clear error."""
    generator = torch.Generator().manual_seed(seed)
    rows, dim = shape[0], int(torch.tensor(shape[1:]).prod())
    side = min(rows, dim)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    left = torch.linalg.qr(torch.randn(rows, side, dtype=wide, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(dim, side, dtype=wide, generator=generator)).Q
    values = 0.7 ** torch.arange(side, dtype=torch.float64)
    return ((left * values) @ right.mT * rows**0.5).reshape(shape).to(dtype)


def compress(path: Path, **options: Any) -> tuple[TableReport, dict[str, Tensor], ApproximateResult]:
    """Compress a checkpoint of one table, but for neighbours; return its report and the tensors of the artifact."""
    result = embcompress.approximate(path, neighbours=0, **options)
    (table,) = result.tables
    return table, load_stored(result.output.path), result


SHAPES = {"long": (300, 24), "wide": (24, 300), "tall rows": (40, 4, 6)}
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64)
STORING = {"float64": 1e-12, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.5e-2}
# What rounding bases and weights may add to the relative error: about twice the eps of the dtype.


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_table_goes_and_comes_back(tmp_path: Path, ending: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Every dtype and shape: factors of the table's own dtype, the reported error true, the dense table as told."""
    original = decaying(*shape, dtype=dtype)
    state = {"entities.weight": original, "bias": torch.arange(3)}
    table, artifact, result = compress(save(tmp_path / f"model{ending}", state), bases=4)
    bases, weights = artifact["entities.weight.bases"], artifact["entities.weight.weights"]
    assert (bases.shape, bases.dtype) == ((4, *shape[1:]), dtype)
    assert (weights.shape, weights.dtype) == ((shape[0], 4), dtype.to_real())
    dense = multiply(artifact, "entities.weight")
    error = table.error
    assert error is not None
    assert error.relative == pytest.approx(relative_error(original, dense), rel=REPORTED)
    stored = str(dtype.to_real()).removeprefix("torch.")
    assert error.relative == pytest.approx(optimum(original, 4), abs=STORING[stored])
    assert table.bytes_after == bases.nbytes + weights.nbytes
    assert result.totals.ratio == original.nbytes / (table.bytes_after + result.totals.header_bytes)
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert restored["entities.weight"].equal(dense.to(dtype))
    assert restored["bias"].equal(torch.arange(3))
    module = embcompress.load(result.output.path)["entities.weight"]
    assert (module.max_id, module.shape) == (shape[0], shape[1:])
    tolerance = 3 * STORING[stored] * float(dense.abs().max())  # of products in the stored dtype, as a lookup makes
    torch.testing.assert_close(module().detach().to(dense.dtype), dense, rtol=0, atol=tolerance)


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_dtype_is_what_factors_are_stored_in(tmp_path: Path, dtype: torch.dtype, stored: str) -> None:
    """--dtype sets the dtype of both factors, the error is that of the stored ones, and the dense dtype stays."""
    original = decaying(300, 24, dtype=dtype)
    path = save(tmp_path / "model.safetensors", {"entities.weight": original})
    table, artifact, result = compress(path, bases=4, dtype=stored)
    assert {f"torch.{stored}"} == {str(value.dtype) for value in artifact.values()}
    assert table.error is not None
    measured = relative_error(original, multiply(artifact, "entities.weight"))
    assert table.error.relative == pytest.approx(measured, rel=REPORTED)
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert restored["entities.weight"].dtype == dtype


def test_complex_table_has_no_half_bases(tmp_path: Path) -> None:
    """Complex bases in float16 are refused with what to do, in a dry run too: safetensors has no such dtype."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(300, 24, dtype=torch.complex64)})
    for dry_run in (True, False):
        with pytest.raises(OutputError, match="complex bases cannot be stored in float16"):
            embcompress.approximate(path, bases=4, dtype="float16", dry_run=dry_run)
    table, _, _ = compress(path, bases=4, dtype="float32")
    assert table.bytes_after == 4 * (24 * 8 + 300 * 4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_loaded_table_looks_up_its_rows(tmp_path: Path, dtype: torch.dtype) -> None:
    """None, 0-d, 1-D, 2-D and empty ids of every integer dtype give the rows of weights @ bases."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(50, 4, 6, dtype=dtype)})
    _, artifact, result = compress(path, bases=3)
    module = embcompress.load(result.output.path)["entities.weight"]
    dense = multiply(artifact, "entities.weight")
    tolerance = 3 * STORING[str(dtype.to_real()).removeprefix("torch.")] * float(dense.abs().max())
    for integer in INTEGERS:
        for ids in ([3, 0, 49, 3], [[1, 2], [49, 0], [7, 7]], 11, [], [[]]):
            indices = torch.tensor(ids, dtype=integer)
            rows = module(indices)
            assert (rows.shape, rows.dtype) == ((*indices.shape, 4, 6), dtype)
            expected = dense[indices.long()]
            torch.testing.assert_close(rows.detach().to(dense.dtype), expected, rtol=0, atol=tolerance)
    for bad in (50, -1):
        with pytest.raises(IndexError):
            module(torch.tensor([bad]))


def test_loaded_table_learns(tmp_path: Path) -> None:
    """Ten steps of SGD towards another table give both factors gradients and lower the loss at every step."""
    original = decaying(50, 12, dtype=torch.float64)
    other = decaying(50, 12, dtype=torch.float64, seed=1)
    path = save(tmp_path / "model.safetensors", {"entities.weight": original})
    module = embcompress.load(compress(path, bases=3)[2].output.path)["entities.weight"]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = (module() - other).square().sum()
        loss.backward()
        assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in module.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)


def test_weights_that_float16_cannot_hold_are_widened(tmp_path: Path) -> None:
    """A float16 table of 5000s has weights of 98000: stored as float32, the report says so, all stays finite."""
    original = (5000 + decaying(200, 384)).to(torch.float16)
    path = save(tmp_path / "model.safetensors", {"entities.weight": original})
    table, artifact, result = compress(path, bases=4)
    weights = artifact["entities.weight.weights"]
    assert (weights.dtype, artifact["entities.weight.bases"].dtype) == (torch.float32, torch.float16)
    assert float(weights.abs().max()) > torch.finfo(torch.float16).max
    (remark,) = table.solver_remarks
    assert "weights are stored as float32" in remark
    assert "overflows float16" in remark
    assert table.error is not None
    dense = multiply(artifact, "entities.weight")
    assert table.error.relative == pytest.approx(relative_error(original, dense), rel=1e-5)
    assert table.error.relative < 1e-3
    assert table.bytes_after == sum(value.nbytes for value in artifact.values())
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert bool(torch.isfinite(restored["entities.weight"]).all())
    module = embcompress.load(result.output.path)["entities.weight"]
    assert bool(torch.isfinite(module()).all())


def test_reconstruct_keeps_the_largest_float16_finite(tmp_path: Path) -> None:
    """An approximation above 65504 becomes 65504, not infinity."""
    original = torch.full((64, 16), 60000.0)
    original[:, 0] = 65504.0
    original[0] = 65504.0
    path = save(tmp_path / "model.safetensors", {"entities.weight": original.half()})
    _, artifact, result = compress(path, bases=1)
    assert 70_000 < float(multiply(artifact, "entities.weight").max()) < 72_000
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert float(restored["entities.weight"].max()) == 65504


def test_table_of_zeros_is_kept_exactly(tmp_path: Path) -> None:
    """A table of zeros has the error 0 in every figure, and comes back as zeros."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": torch.zeros(30, 8)})
    table, artifact, result = compress(path, bases=2)
    error = table.error
    assert error is not None
    assert (error.relative, error.optimal_relative, error.row_relative.max, error.cosine.min) == (0, 0, 0, 1)
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert as_bytes(restored["entities.weight"].abs()) == bytes(30 * 8 * 4)
    assert not artifact["entities.weight.weights"].any()


@pytest.mark.parametrize("solver", ["dense", "gram", "qr", "krylov"])
def test_solver_asked_for_is_used(tmp_path: Path, solver: str) -> None:
    """Each solver finds the optimum of a decaying spectrum to 1e-3, and the report names it."""
    original = decaying(400, 120)
    path = save(tmp_path / "model.safetensors", {"entities.weight": original})
    table, _, _ = compress(path, bases=5, solver=solver)
    assert (table.solver, table.solver_reason) == (solver, "asked for")
    assert table.error is not None
    assert table.error.relative == pytest.approx(optimum(original, 5), rel=1e-3)
    assert (table.error.optimal_relative is None) == (solver == "krylov")


def test_krylov_finds_what_no_sampled_row_shows(tmp_path: Path) -> None:
    """50 heavy rows at the end, in columns that all others leave at zero, are found: within 1 % of the optimum."""
    generator = torch.Generator().manual_seed(0)
    original = torch.zeros(12_050, 1024)
    original[:12_000, :1000] = torch.randn(12_000, 1000, generator=generator)
    original[12_000:, 1010] = 3e4
    path = save(tmp_path / "model.safetensors", {"entities.weight": original})
    table, _, _ = compress(path, bases=8)
    assert table.solver == "krylov"
    assert table.error is not None
    spectrum = torch.linalg.eigvalsh(original.double().T @ original.double())
    assert table.error.relative == pytest.approx(float((spectrum[:-8].sum() / spectrum.sum()).sqrt()), rel=0.01)


def test_tied_names_come_back_both(tmp_path: Path) -> None:
    """A table tied to a head is stored once and written twice, and the report and the artifact name both."""
    table = decaying(80, 16)
    path = save(tmp_path / "model.pt", {"wte.weight": table, "lm_head.weight": table, "lm_head.bias": torch.ones(80)})
    report, artifact, result = compress(path, bases=4)
    assert (report.name, report.tied_names) == ("wte.weight", ("lm_head.weight",))
    assert set(artifact) == {"wte.weight.bases", "wte.weight.weights", "lm_head.bias"}
    assert report.bytes_before == table.nbytes
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert set(restored) == {"wte.weight", "lm_head.weight", "lm_head.bias"}
    assert restored["wte.weight"].equal(restored["lm_head.weight"])


def test_views_are_copied_as_they_are(tmp_path: Path) -> None:
    """A transposed, a sliced and an expanded tensor, NaN payloads and -0 come through torch.save bit for bit."""
    state = {
        "entities.weight": decaying(40, 12).T.contiguous().T,
        "transposed": torch.arange(12.0).view(3, 4).T,
        "sliced": torch.arange(40)[3:30:3],
        "expanded": torch.ones(1, 3).expand(5, 3),
        "nan": torch.tensor([0x7FC00001, -0x80000000, 0x7F800001], dtype=torch.int64)
        .to(torch.int32)
        .view(torch.float32),
    }
    _, artifact, _ = compress(save(tmp_path / "model.pt", state), bases=3)
    for name in ("transposed", "sliced", "expanded", "nan"):
        assert as_bytes(artifact[name]) == as_bytes(state[name])
        assert artifact[name].shape == state[name].shape
    dense = multiply(artifact, "entities.weight")
    assert relative_error(state["entities.weight"], dense) == pytest.approx(
        optimum(state["entities.weight"], 3), rel=1e-5
    )


@pytest.mark.parametrize("metadata", [{"format": "pt"}, {"format": "tf", "step": "9"}, {"note": "ü\n"}], ids=str)
def test_metadata_come_back(tmp_path: Path, metadata: dict[str, str]) -> None:
    """The dense file has the original's metadata, and `format: pt` where it had no format."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(40, 12)}, metadata)
    dense = embcompress.reconstruct(compress(path, bases=2)[2].output.path)
    with open_checkpoint(Path(dense.output.path)) as checkpoint:
        assert checkpoint.listing.metadata == {"format": "pt", **metadata}


def without_variables(document: Any) -> Any:
    """Drop from a report what may differ between two equal runs: seconds and paths."""
    if isinstance(document, dict):
        return {key: without_variables(value) for key, value in document.items() if key not in {"seconds", "path"}}
    return [without_variables(value) for value in document] if isinstance(document, list) else document


def test_two_processes_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same models in two folders give equal files, by every effort, and reports equal but for seconds and paths.

    One is made here and one in a process with another seed of hashes. Neither file names a folder, this machine or this
    user.
    """
    state = {"entities.weight": decaying(3000, 40), "relations.weight": decaying(30, 40), "step": torch.tensor(3)}
    small = {"entities.weight": decaying(600, 20), "more.weight": decaying(200, 12)}
    script = (
        "import embcompress as e, sys\n"
        "folder, *efforts = sys.argv[1:]\n"
        "e.reconstruct(e.approximate(f'{folder}/model.safetensors', bases=4).output.path)\n"
        "for effort in efforts:\n"
        "    output = f'{folder}/{effort}.safetensors'\n"
        "    e.approximate(f'{folder}/small.safetensors', output=output, ratio=6, effort=effort, neighbours=5)\n"
    )
    for number in ("1", "2"):
        folder = tmp_path / f"folder-{number}"
        folder.mkdir()
        save(folder / "model.safetensors", state, {"b": "2", "a": "1", "format": "pt"})
        save(folder / "small.safetensors", small)
    environment = {
        "PYTHONHASHSEED": "2",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, "-c", script, tmp_path / "folder-2", *EFFORTS]
    subprocess.run(command, env=environment, check=True, timeout=120)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "folder-1"), *EFFORTS])
    exec(script, {})
    assert len({(tmp_path / "folder-1" / f"{effort}.safetensors").read_bytes() for effort in EFFORTS}) == len(EFFORTS)
    for name in ("model-4bases", "model-4bases-dense", *EFFORTS):
        first, second = ((tmp_path / f"folder-{seed}" / f"{name}.safetensors").read_bytes() for seed in "12")
        assert first == second
        for secret in (str(tmp_path), "folder-1", socket.gethostname(), getpass.getuser()):
            assert secret.encode() not in first[: 8 + int.from_bytes(first[:8], "little")]
        reports = [json.loads((tmp_path / f"folder-{seed}" / f"{name}.report.json").read_text()) for seed in "12"]
        assert without_variables(reports[0]) == without_variables(reports[1])
        assert reports[0] != reports[1]


@pytest.mark.parametrize("sample", SAMPLE_FILES)
def test_dry_run_tells_the_size(tmp_path: Path, sample: str) -> None:
    """A dry run writes nothing and tells the very bytes that the run then writes, solvers and tables alike."""
    source = Path(shutil.copy(SAMPLES / sample, tmp_path))
    planned = embcompress.approximate(source, bases=8, dry_run=True)
    assert list(tmp_path.iterdir()) == [source]
    done = embcompress.approximate(source, bases=8)
    assert planned.output.bytes == done.output.bytes == Path(done.output.path).stat().st_size
    assert planned.totals == done.totals
    assert [(t.name, t.rank, t.solver, t.bytes_after) for t in planned.tables] == [
        (t.name, t.rank, t.solver, t.bytes_after) for t in done.tables
    ]
    assert all(table.error is None for table in planned.tables)
    dense = embcompress.reconstruct(done.output.path, dry_run=True)
    assert dense.output.bytes == Path(embcompress.reconstruct(done.output.path).output.path).stat().st_size


def test_output_has_the_sha256_that_is_reported(tmp_path: Path) -> None:
    """The report's hash and size are those of the file."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(40, 12)})
    compressed = embcompress.approximate(path, bases=2)
    for result in (compressed, embcompress.reconstruct(compressed.output.path)):
        raw = Path(result.output.path).read_bytes()
        assert (result.output.sha256, result.output.bytes) == (hashlib.sha256(raw).hexdigest(), len(raw))


def test_skipped_tables_stay_dense(tmp_path: Path) -> None:
    """A table that would grow is copied and listed as skipped; named by `table`, it is an error."""
    state = {"entities.weight": decaying(60, 20), "relations.weight": decaying(6, 20)}
    path = save(tmp_path / "model.safetensors", state)
    table, artifact, result = compress(path, bases=5)
    assert table.name == "entities.weight"
    assert [(skipped.name, skipped.reason) for skipped in result.skipped] == [
        ("relations.weight", "would grow from 480 to 520 bytes: it is 6 x 20, too small for 5 bases")
    ]
    assert as_bytes(artifact["relations.weight"]) == as_bytes(state["relations.weight"])
    with pytest.raises(RankError, match="Up to 4 bases make it smaller"):
        embcompress.approximate(path, bases=5, table=["relations.weight"], force=True)
    (done,) = embcompress.approximate(path, bases=4, table=["relations.weight"], force=True).tables
    assert (done.bytes_before, done.bytes_after) == (480, 416)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("solver", ["dense", "gram", "qr", "krylov"])
@pytest.mark.parametrize("shape", [(5000, 24), (24, 300)], ids=["long", "wide"])
def test_non_finite_table_is_refused(tmp_path: Path, value: float, solver: str, shape: tuple[int, int]) -> None:
    """NaN or infinity is an error that names file, table and row, by every solver, and nothing is written."""
    table = torch.ones(shape)
    row = shape[0] - 3
    table[row, 5] = value
    path = save(tmp_path / "model.safetensors", {"entities.weight": table})
    what = "NaN" if math.isnan(value) else "infinity"
    with pytest.raises(NonFiniteError, match=re.escape(f"{path}: table 'entities.weight' holds {what} in row {row}")):
        embcompress.approximate(path, bases=2, solver=solver)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"bases": 0}, UsageError, "--bases must be at least 1; got 0"),
        ({"dtype": "int8"}, UsageError, "--dtype must be one of same, float32, float16, bfloat16; got 'int8'"),
        ({"solver": "lanczos"}, UsageError, "--solver must be auto or one of dense, gram, qr, krylov"),
        ({"seed": -1}, UsageError, "--seed must be 0.."),
        ({"seed": 2**63}, UsageError, "--seed must be 0.."),
        ({"device": "tpu"}, UsageError, "--device must be auto, cpu, cuda or cuda:N; got 'tpu'"),
        ({"device": "cuda:²"}, UsageError, "--device must be"),
        ({"device": "cuda:"}, UsageError, "--device must be"),
        ({"report": ["r.yaml"]}, UsageError, "no report ends in '.yaml'"),
        ({"report": ["r"]}, UsageError, "no report ends in 'nothing'"),
        ({"report": ["a.json", "./a.json"]}, UsageError, "another output of this run"),
        ({"output": "a.json", "report": ["a.json"]}, UsageError, "another output of this run"),
        ({"output": "model.safetensors", "force": True}, OutputError, "is the input itself"),
        ({"report": ["model.safetensors"]}, UsageError, "no report ends in '.safetensors'"),
        ({"table": ["nothing"]}, TableError, "--table nothing matches none of the 1 tensors"),
    ],
    ids=str,
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_approximate_refuses_a_wrong_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], exception: type[Exception],
    message: str, dry_run: bool,
) -> None:  # fmt: skip
    """Arguments outside their range are refused before any work, in a dry run too, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    path = save(Path("model.safetensors"), {"entities.weight": decaying(40, 12)})
    with pytest.raises(exception, match=re.escape(message)):
        embcompress.approximate(path, dry_run=dry_run, **{"bases": 2, **options})
    assert list(Path().iterdir()) == [path]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:99"])
def test_device_that_is_not_there_is_refused(tmp_path: Path, device: str) -> None:
    """A GPU asked for where there is none is an error, of every command, in dry runs too, and nothing is written."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(40, 12)})
    for dry_run in (True, False):
        with pytest.raises(DeviceError, match=f"--device {device}: torch sees 0 GPUs here"):
            embcompress.approximate(path, bases=2, device=device, dry_run=dry_run)
    compressed = embcompress.approximate(path, bases=2).output.path
    before = sorted(tmp_path.iterdir())
    for dry_run in (True, False):
        with pytest.raises(DeviceError, match="torch sees 0 GPUs"):
            embcompress.reconstruct(compressed, device=device, dry_run=dry_run)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gpu_finds_the_same_error(tmp_path: Path, dtype: torch.dtype) -> None:
    """On a GPU the error reported is that of the stored factors, and the CPU's to 1e-3."""
    original = decaying(5000, 60, dtype=dtype)
    path = save(tmp_path / "model.safetensors", {"entities.weight": original})
    errors = []
    for device in ("cuda", "cpu"):
        table, artifact, _ = compress(path, bases=5, device=device, force=True)
        assert table.error is not None
        measured = relative_error(original, multiply(artifact, "entities.weight"))
        assert table.error.relative == pytest.approx(measured, rel=1e-5)
        errors.append(table.error.relative)
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_compressing_twice_is_refused(tmp_path: Path) -> None:
    """An artifact as input is refused with the command that restores it; inspect lists its table and its factors."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(40, 12)})
    made = embcompress.approximate(path, bases=2)
    artifact, error = made.output.path, made.tables[0].error
    with pytest.raises(TableError, match=r"is compressed already.*embcompress reconstruct"):
        embcompress.approximate(artifact, bases=1)
    result = embcompress.inspect(artifact)
    (table,) = result.compressed_tables
    assert (table.name, table.rows, table.shape, table.dtype) == ("entities.weight", 40, (12,), "float32")
    assert (table.kind, table.coding, table.rank, table.matrix) == ("embedding", "plain", 2, None)
    assert (table.bytes, table.bytes_before) == (2 * (40 + 12) * 4, 40 * 12 * 4)
    assert table.bits_per_entry == pytest.approx(8 * table.bytes / (40 * 12), rel=1e-12)
    assert error is not None
    assert table.relative == error.relative
    listed = {table.name: table for table in result.tables}
    assert not any(table.chosen for table in listed.values())
    assert listed["entities.weight.bases"].reason == "bases of 'entities.weight'"
    assert listed["entities.weight.weights"].reason == "weights of 'entities.weight'"


def test_inspect_tells_what_approximate_would_do(tmp_path: Path) -> None:
    """The tables that inspect chooses are those that approximate takes, and the rank it tells is the last that pays."""
    state = {
        "entities.weight": decaying(60, 20),
        "fc.weight": torch.ones(20, 20),
        "bias": torch.ones(3),
        "step": torch.tensor(4),
    }
    path = save(tmp_path / "model.safetensors", state)
    result = embcompress.inspect(path)
    assert [(table.name, table.chosen, table.rows, table.shape, table.bytes) for table in result.tables] == [
        ("entities.weight", True, 60, (20,), 4800),
        ("fc.weight", False, 20, (20,), 1600),
    ]
    assert {(other.name, other.shape, other.dtype, other.bytes) for other in result.others} == {
        ("bias", (3,), "float32", 12),
        ("step", (), "int64", 8),
    }
    assert result.tables[0].reason.endswith("; smaller with up to 14 bases")
    assert embcompress.approximate(path, bases=14, dry_run=True).tables[0].bytes_after == 14 * 80 * 4
    with pytest.raises(RankError):
        embcompress.approximate(path, bases=15, dry_run=True)


def test_progress_counts_the_rows(tmp_path: Path) -> None:
    """Progress tells of bases, weights and neighbours, never more rows than there are, and ends at all of them."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(30_000, 64)})
    seen: list[tuple[str, int, int, int]] = []
    embcompress.approximate(path, bases=2, progress=lambda *stage: seen.append(stage))
    assert list(dict.fromkeys(doing for doing, *_ in seen)) == [
        f"entities.weight: {doing}" for doing in ("bases", "weights", "neighbours")
    ]
    for doing in ("entities.weight: bases", "entities.weight: weights"):
        counts = [done for stage, done, rows, row_bytes in seen if (stage, rows, row_bytes) == (doing, 30_000, 64 * 4)]
        assert counts == sorted(counts)
        assert counts[-1] == 30_000
        assert len(counts) > 1


def test_failure_in_progress_leaves_nothing(tmp_path: Path) -> None:
    """Whatever a caller's progress raises, in any phase, ends the run with nothing written and an old output whole."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(3000, 64)})
    old = tmp_path / "old.safetensors"
    old.write_bytes(b"old")

    def stop_at(phase: str) -> Any:
        def progress(doing: str, *_: int) -> None:
            if doing.endswith(phase):
                raise KeyboardInterrupt

        return progress

    for phase in ("bases", "weights"):
        with pytest.raises(KeyboardInterrupt):
            embcompress.approximate(path, bases=2, output=old, force=True, progress=stop_at(phase))
        assert sorted(tmp_path.iterdir()) == [path, old]
        assert old.read_bytes() == b"old"


def test_input_that_is_cut_while_being_read_is_refused(tmp_path: Path) -> None:
    """A file that shrinks between listing and reading is damage, told as such, with nothing written."""
    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(3000, 64)})

    def cut(doing: str, *_: int) -> None:
        if doing.endswith("bases"):
            with open(path, "r+b") as file:
                file.truncate(5000)

    with pytest.raises(DamagedFileError, match="the file is cut short"):
        embcompress.approximate(path, bases=2, progress=cut)
    assert list(tmp_path.iterdir()) == [path]


def test_global_torch_state_is_left_alone(tmp_path: Path) -> None:
    """Threads, precision, default dtype, gradient mode and generator are after a run what they were before."""

    def state() -> tuple[object, ...]:
        return (
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            as_bytes(torch.get_rng_state()),
        )

    path = save(tmp_path / "model.safetensors", {"entities.weight": decaying(400, 60)})
    before = state()
    for solver in ("dense", "gram", "qr", "krylov"):
        result = embcompress.approximate(path, bases=2, solver=solver, force=True)
    embcompress.reconstruct(result.output.path)
    embcompress.load(result.output.path)
    assert state() == before


def test_format_is_told_by_the_content(tmp_path: Path) -> None:
    """A file of torch.save, with another protocol of pickle and under another ending, is read all the same."""
    buffer = io.BytesIO()
    torch.save({"entities.weight": decaying(40, 12)}, buffer, pickle_protocol=4)
    path = tmp_path / "model.safetensors"
    path.write_bytes(buffer.getvalue())
    assert compress(path, bases=2)[0].name == "entities.weight"
