"""Every number that `evaluate` tells, against the dense original and what is stored of it, both in float64."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.exceptions import UsageError
from embcompress.results import ApproximateResult, EvaluateResult, TableReport
from tests.artifact.cases import CASES, multiply
from tests.command_line import snapshot
from tests.fixtures import NAME
from tests.report_oracle import assert_error, assert_neighbours, assert_spectrum, real_rows, water_filling

SLACK = 2e-6  # relative: float32 sums over a row, where errors are 1e-2 and larger; smaller ones are in float64


@dataclass(frozen=True)
class Trip:
    """A checkpoint, what `approximate` said of it, and what is stored, (rows, dim) float64."""

    source: Path
    artifact: Path
    result: ApproximateResult
    values: Tensor
    stored: Tensor
    row_weights: Path
    labels: Path

    def evaluate(self, **options: Any) -> EvaluateResult:
        """Evaluate the artifact with all rows as queries."""
        return embcompress.evaluate(self.source, self.artifact, neighbours=len(self.values), **options)


def weights_of(rows: int) -> Tensor:
    """Weigh rows like words: by rank, with ties and a zero, (rows,) float64."""
    return (1000 // torch.arange(1, rows + 1).flip(0)).to(torch.float64) * (torch.arange(rows) != 3)


@pytest.fixture(scope="module", params=CASES)
def trip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trip:
    """Compress a checkpoint, with a row of zeros in it, and multiply out what is stored."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("trip")
    state, source = case.build(), folder / case.file
    state[NAME][11] = 0
    if source.suffix == ".pt":
        torch.save(dict(state), source)
    else:
        safetensors.torch.save_file(dict(state), source)
    rows = len(state[NAME])
    (folder / "weights.txt").write_text("\n".join(map(str, weights_of(rows).tolist())) + "\n")
    (folder / "labels.txt").write_text("".join(f"row {number}\n" for number in range(rows)))
    result = embcompress.approximate(source, table=NAME, neighbours=rows, **case.options)
    return Trip(
        source=source,
        artifact=Path(result.output.path),
        result=result,
        values=real_rows(state[NAME]),
        stored=multiply(Path(result.output.path)),
        row_weights=folder / "weights.txt",
        labels=folder / "labels.txt",
    )


def by_matrix(table: TableReport, values: Tensor) -> Tensor:
    """Make a row of each matrix of a bilinear table; other tables stay as they are."""
    return values if table.matrices is None else values.reshape(table.matrices.count, -1)


def test_evaluate_tells_the_error_of_the_oracle(trip: Trip) -> None:
    """Every number of the error and of the neighbours of all rows, of each kind of artifact and each dtype."""
    (table,) = trip.evaluate().tables
    assert table.error is not None
    values, stored = by_matrix(table, trip.values), by_matrix(table, trip.stored)
    assert_error(table.error, values, stored, slack=SLACK)
    assert_neighbours(table, trip.values, trip.stored)
    if table.matrices is not None:
        errors = (stored - values).norm(dim=1) / values.norm(dim=1).clamp_min(1e-300)
        assert table.matrices.relative == pytest.approx(errors.tolist(), rel=SLACK)


def test_evaluate_tells_the_optimum_and_the_spectrum_of_the_oracle(trip: Trip) -> None:
    """The least error at the rank to 1e-5 of the norm, the spectrum, and of coded tables the rate and the bound."""
    (table,) = trip.evaluate().tables
    assert table.error is not None
    squares = torch.linalg.svdvals(trip.values).square()
    if table.matrices is not None:
        in1, in2 = table.matrices.shape
        squares = torch.linalg.svdvals(trip.values.reshape(-1, in1, in2)).square()
        expected = float((squares[:, table.rank :].sum() / squares.sum()).sqrt())
        assert table.error.optimal_relative == pytest.approx(expected, rel=1e-9)
        assert table.spectrum is None
    elif table.coded is None:
        expected = float((squares[table.rank :].sum() / squares.sum()).sqrt())
        assert table.error.optimal_relative == pytest.approx(expected, abs=1e-5)
        assert_spectrum(table.spectrum, trip.values, rank=table.rank, known=min(trip.values.shape))
    else:
        assert table.error.optimal_relative is None
        assert_spectrum(table.spectrum, trip.values, rank=table.rank, known=min(trip.values.shape))
        own = safetensors.torch.load_file(trip.artifact).items()
        nbytes = sum(tensor.nbytes for name, tensor in own if name.startswith(f"{NAME}."))
        assert table.bytes_after == nbytes
        assert table.coded.bits_per_entry == pytest.approx(8 * nbytes / trip.values.numel(), rel=1e-12)
        bound = water_filling(squares, 8 * nbytes / len(trip.values))
        assert table.coded.bound_relative == pytest.approx(bound, rel=1e-4)
        assert table.coded.predicted_relative is None


def test_evaluate_weighs_and_names_rows(trip: Trip) -> None:
    """The weighted error, the groups by row weight and the labels of the worst rows are those of the oracle."""
    if trip.result.tables[0].matrices is not None:  # its errors are those of matrices
        with pytest.raises(UsageError, match="holds matrices"):
            trip.evaluate(row_weights=trip.row_weights)
        return
    result = trip.evaluate(row_weights=trip.row_weights, labels=trip.labels)
    (table,) = result.tables
    assert table.error is not None
    rows = len(trip.values)
    assert_error(
        table.error,
        trip.values,
        trip.stored,
        slack=SLACK,
        row_weights=weights_of(rows),
        labels=[f"row {number}" for number in range(rows)],
    )
    plain = trip.evaluate().tables[0]
    assert (plain.spectrum, plain.neighbours, plain.coded) == (table.spectrum, table.neighbours, table.coded)


def test_evaluate_tells_what_approximate_told(trip: Trip) -> None:
    """Both tell the same table, to 1e-6 where one of them measured in float32; of spectra what both know."""
    (before,), (after,) = trip.result.tables, trip.evaluate().tables
    for name in ("name", "tied_names", "rows", "shape", "dtype", "kind", "rank", "coding", "bytes_before"):
        assert getattr(before, name) == getattr(after, name)
    assert before.bytes_after == after.bytes_after
    assert numbers(before.error) == pytest.approx(numbers(after.error), rel=1e-6, abs=2e-7)
    assert numbers(before.neighbours) == pytest.approx(numbers(after.neighbours), rel=1e-12)
    assert numbers(before.matrices) == pytest.approx(numbers(after.matrices), rel=1e-6)
    if before.coded is not None and after.coded is not None:
        assert replace(before.coded, predicted_relative=None, bound_relative=None) == replace(
            after.coded, bound_relative=None
        )
        if before.coded.bound_relative is not None:
            assert before.coded.bound_relative == pytest.approx(after.coded.bound_relative, rel=1e-6)
    if before.spectrum is not None and after.spectrum is not None:
        assert numbers(before.spectrum) == pytest.approx(numbers(after.spectrum), rel=1e-6)


def numbers(value: object) -> dict[str, float]:
    """List the numbers of a part of a report by the way to them."""
    values: dict[str, float] = {}
    if isinstance(value, bool | str) or value is None:
        return values
    if isinstance(value, int | float):
        return {"": float(value)}
    items = enumerate(value) if isinstance(value, tuple) else vars(value).items()
    for name, inner in items:
        values |= {f"{name}.{rest}": number for rest, number in numbers(inner).items()}
    return values


def test_evaluate_passes_its_own_artifacts(trip: Trip) -> None:
    """All five checks pass, and the totals are those of the table's tensors, with the header that they need."""
    result = trip.evaluate()
    assert [(check.name, check.passed) for check in result.checks] == [
        (name, True) for name in ("schema", "tables", "checksums", "uncompressed_tensors", "recorded_error")
    ]
    (table,) = result.tables
    tensors = safetensors.torch.load_file(trip.artifact)
    after = sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith(f"{NAME}."))
    header = result.totals.header_bytes
    assert (table.bytes_after, result.totals.bytes_after) == (after, after + header)
    assert 0 < header < 1500
    assert abs(header - trip.result.totals.header_bytes) <= 16  # by the digits of how many bytes were expected
    assert result.totals.bytes_before == table.bytes_before == trip.result.totals.bytes_before
    assert result.totals.ratio == table.bytes_before / (after + header)
    assert result.input.bytes == trip.source.stat().st_size
    assert result.artifact.bytes == trip.artifact.stat().st_size


def test_evaluate_is_repeatable_and_leaves_all_as_it_was(trip: Trip) -> None:
    """Two runs tell the same but for seconds; no file, no random state and no global switch of torch changes."""
    before = snapshot(trip.source.parent)
    state = torch.get_rng_state()
    switches = (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.is_grad_enabled(),
    )
    results = [embcompress.evaluate(trip.source, trip.artifact, neighbours=20) for _ in range(2)]
    first, second = (
        replace(result, tables=tuple(replace(table, seconds=0.0) for table in result.tables)) for result in results
    )
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert switches == (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.is_grad_enabled(),
    )
    assert snapshot(trip.source.parent) == before


def test_evaluate_writes_the_reports_asked_for_and_nothing_else(trip: Trip, tmp_path: Path) -> None:
    """One JSON file, that tells what was returned."""
    path = tmp_path / "found.json"
    result = embcompress.evaluate(trip.source, trip.artifact, neighbours=0, report=path)
    assert list(snapshot(tmp_path)) == ["found.json"]
    document = json.loads(path.read_text())
    (table,) = result.tables
    assert table.error is not None
    assert document["tables"][0]["error"]["relative"] == table.error.relative
    assert (document["ok"], document["command"], document["tables"][0]["neighbours"]) == (True, "evaluate", None)
