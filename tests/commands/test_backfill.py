"""Tables that grow: kept rows to the bit, new rows by their formula, and what the report says of both."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Generator, Tensor, nn

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.choices import METHODS
from embcompress.exceptions import (
    ArtifactError,
    DamagedFileError,
    IdsError,
    NonFiniteError,
    OutputError,
    TableError,
    UsageError,
)
from embcompress.results import BackfillResult, GrownTable, RowStatisticsReport
from embcompress.tables.labels import read_labels
from tests.fixtures import SAMPLES, save, write_lines

NAME = "entities.weight"
SINGLE = torch.finfo(torch.float32).eps
QUANTILE = 1.1e-3  # relative: half a bin of the sketch is 0.1 %, and the norms are float32's


def random_rows(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Draw a table around an offset, so that its rows have a mean direction."""
    generator = Generator().manual_seed(seed)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return (torch.randn(shape, dtype=wide, generator=generator) + 0.5).to(dtype)


def with_every_bit(rows: Tensor) -> Tensor:
    """Put NaN of odd payloads, infinities and -0 into some rows of a contiguous table."""
    words = torch.view_as_real(rows) if rows.is_complex() else rows
    carrier = {2: torch.int16, 4: torch.int32, 8: torch.int64}[words.element_size()]
    quiet = words.new_tensor([math.nan, math.inf, -math.inf, -0.0]).view(carrier)
    flat = words.view(len(words), -1).view(carrier)
    flat[3, 0], flat[3, 1], flat[4, 0], flat[5, 0] = quiet[0] + 1, quiet[0] ^ 3, quiet[1], quiet[2]
    flat[6] = quiet[3]
    return rows


def bits(values: Tensor) -> Tensor:
    """View each row as bytes, (rows, row_bytes), so that NaN equals itself and -0 is not 0."""
    return values.detach().contiguous().view(len(values), -1).view(torch.uint8)


def as_bytes(values: Tensor) -> bytes:
    """Give the bytes of a tensor of any shape."""
    return values.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def read(result: BackfillResult) -> dict[str, Tensor]:
    """Read the output with safetensors itself."""
    return safetensors.torch.load_file(result.output.path)


def shuffled(count: int, *, seed: int = 0) -> list[int]:
    """Draw an order."""
    return torch.randperm(count, generator=Generator().manual_seed(seed)).tolist()


def new_of(max_id: int, *taken: Sequence[int]) -> list[int]:
    """List the ids that no base has, in their order."""
    return sorted(set(range(max_id)).difference(*taken))


def only(result: BackfillResult) -> GrownTable:
    """Take the one table of a result."""
    (table,) = result.tables
    return table


def multiply(artifact: Mapping[str, Tensor], name: str = NAME) -> Tensor:
    """Multiply a table out in float64 or complex128, as the ten lines of the README do."""
    bases, weights = artifact[f"{name}.bases"], artifact[f"{name}.weights"]
    wide = torch.complex128 if bases.is_complex() else torch.float64
    return torch.einsum("nk,k...->n...", weights.to(wide), bases.to(wide))


LAYOUTS = {
    "contiguous": lambda rows: rows,
    "transposed": lambda rows: rows.movedim(0, -1).contiguous().movedim(-1, 0),
    "strided": lambda rows: torch.stack([rows, rows + 1], dim=1)[:, 0],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(40, 6), (40, 2, 3)], ids=str)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64], ids=str
)
def test_kept_rows_are_identical(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...], layout: str) -> None:
    """For random ids each row lies at its id with all its bits, NaN payloads and -0 too; others are copied likewise."""
    rows = with_every_bit(random_rows(*shape, dtype=dtype))
    state = {
        NAME: LAYOUTS[layout](rows),
        "transposed": torch.arange(6).view(2, 3).T,
        "nan": torch.tensor([0x7FC00001, 0x7F800001], dtype=torch.int32).view(torch.float32),
        "step": torch.tensor(3),
    }
    if layout == "contiguous":
        state["transposed"] = state["transposed"].contiguous()
        path = save(tmp_path / "model.safetensors", state)
    else:
        path = save(tmp_path / "model.pt", state)
    ids = shuffled(67)[:40]
    result = embcompress.backfill(path, max_id=67, base_ids=write_lines(tmp_path / "ids", ids))
    tensors = read(result)
    assert (tensors[NAME].shape, tensors[NAME].dtype) == ((67, *shape[1:]), dtype)
    assert torch.equal(bits(tensors[NAME])[ids], bits(rows))
    assert bool(
        torch.isfinite(torch.view_as_real(tensors[NAME]) if dtype.is_complex else tensors[NAME])[new_of(67, ids)].all()
    )
    assert set(tensors) == set(state)
    for name in ("transposed", "nan", "step"):
        assert as_bytes(tensors[name]) == as_bytes(state[name])
    table = only(result)
    assert (table.rows_kept, table.rows_added, table.rows_dropped, table.rows) == (40, 27, 0, 67)
    assert any("3 kept rows of 'entities.weight' hold NaN or infinity" in warning for warning in result.warnings)


OLD = [f"old {number}" for number in range(40)]
NEW = [OLD[index] if index < 33 else f"new {index}" for index in shuffled(60, seed=4)]  # 7 have gone, 27 are new


def label_file(folder: Path, labels: Sequence[str], form: str) -> Path:
    """Write labels in one of the forms, ids in random order where it has ids."""
    path = folder / f"{len(labels)}-{form}"
    order = shuffled(len(labels), seed=9)
    if form == "entity_to_id.tsv.gz":  # as PyKEEN does: by pandas, sorted by label
        rows = sorted((f'"{labels[index]}"', index) for index in order)
        path.write_bytes(gzip.compress(("id\tlabel\n" + "".join(f"{i}\t{label}\n" for label, i in rows)).encode()))
    elif form == "map.tsv":
        path.write_text("".join(f"{index}\t{labels[index]}\n" for index in order))
    elif form == "list.json":
        path.write_text(json.dumps(labels))
    elif form == "vocab.json":
        path.write_text(json.dumps({labels[index]: index for index in order}))
    elif form == "tokenizer.json":
        added = [{"id": index, "content": labels[index], "special": True} for index in order[:5]]
        vocabulary = {labels[index]: index for index in order[3:]}
        path.write_text(json.dumps({"added_tokens": added, "model": {"type": "BPE", "vocab": vocabulary}}))
    else:
        write_lines(path, labels)
    return path


FORMS = ("map.tsv", "entity_to_id.tsv.gz", "words.txt", "vocab.json", "tokenizer.json", "list.json")


@pytest.mark.parametrize("form", FORMS)
def test_kept_rows_are_found_by_label(tmp_path: Path, form: str) -> None:
    """By labels of every form each row that stays goes to its label's new id; the report counts the others."""
    rows = with_every_bit(random_rows(40, 5))
    path = save(tmp_path / "model.safetensors", {NAME: rows})
    result = embcompress.backfill(
        path,
        base_labels=label_file(tmp_path, OLD, form),
        labels=label_file(tmp_path, NEW, FORMS[FORMS.index(form) - 1]),
    )
    actual = read(result)[NAME]
    assert len(actual) == 60
    for index, label in enumerate(NEW):
        if label in OLD:
            assert torch.equal(bits(actual)[index], bits(rows)[OLD.index(label)])
    table, vocabulary = only(result), result.vocabulary
    assert (table.rows_kept, table.rows_added, table.rows_dropped) == (33, 27, 7)
    assert (vocabulary.kept_ids, vocabulary.new_ids, vocabulary.dropped_rows, vocabulary.padding_rows) == (33, 27, 7, 0)
    assert vocabulary.new_labels == tuple([label for label in NEW if label.startswith("new")][:5])
    assert vocabulary.dropped_labels == tuple(OLD[33:38])
    expected = "7 rows were dropped with their labels: 'old 33', 'old 34', 'old 35', 'old 36', 'old 37' and 2 more"
    assert expected in result.warnings


@pytest.mark.parametrize("ending", ["trained_model.pkl", "model.safetensors"])
def test_sample_grows_by_its_own_labels(tmp_path: Path, ending: str) -> None:
    """A trained PyKEEN model gets 16 entities by entity_to_id.tsv.gz: 104 rows stay, relations and scalars too."""
    source = Path(shutil.copy(SAMPLES / "kinships-complex" / ending, tmp_path))
    original = safetensors.torch.load_file(SAMPLES / "kinships-complex" / "model.safetensors")
    old = [f"person{number}" for number in range(104)]
    new = sorted([*old, *(f"newcomer{number}" for number in range(16))])
    lines = "".join(f"{index}\t{label}\n" for index, label in enumerate(new))
    labels = tmp_path / "entity_to_id.tsv.gz"
    labels.write_bytes(gzip.compress(f"id\tlabel\n{lines}".encode()))
    result = embcompress.backfill(
        source,
        base_labels=SAMPLES / "kinships-complex" / "training_triples" / "entity_to_id.tsv.gz",
        labels=labels,
    )
    tensors = read(result)
    name = "entity_representations.0._embeddings.weight"
    places = [new.index(label) for label in sorted(old)]
    assert torch.equal(bits(tensors[name])[places], bits(original[name]))
    assert tensors.keys() == original.keys()
    assert all(as_bytes(tensors[other]) == as_bytes(original[other]) for other in original if other != name)
    assert only(result).name == name


def test_tied_tables_grow_together(tmp_path: Path) -> None:
    """The word model's head has the rows of its table, new ones too; its bias is copied, and a warning names it."""
    source = Path(shutil.copy(SAMPLES / "words" / "model.pt", tmp_path))
    original = torch.load(source, weights_only=True)
    words = (SAMPLES / "words" / "vocabulary.txt").read_text().split("\n")[:-1]
    labels = write_lines(tmp_path / "labels.txt", ["<new>", *reversed(words), "<last>"])
    result = embcompress.backfill(source, base_labels=SAMPLES / "words" / "vocabulary.txt", labels=labels)
    tensors = read(result)
    table = only(result)
    assert (table.name, table.tied_names) == ("embedding.weight", ("head.weight",))
    for name in ("embedding.weight", "head.weight"):
        assert torch.equal(bits(tensors[name])[1:-1], bits(original["embedding.weight"]).flip(0))
    assert torch.equal(bits(tensors["head.weight"]), bits(tensors["embedding.weight"]))
    assert as_bytes(tensors["head.bias"]) == as_bytes(original["head.bias"])
    (warning,) = result.warnings
    assert warning.endswith("they also have 2325 entries like the rows of 'embedding.weight': 'head.bias'")
    assert table.bytes_before == 2325 * 64 * 4
    assert table.bytes_after == 2327 * 64 * 4


def test_tied_lists_of_pykeen_grow_together(tmp_path: Path) -> None:
    """A memory listed under two lists of representations, as CompGCN does, is one table with two names."""
    rows = random_rows(30, 4)
    names = ["entity_representations.0._embeddings.weight", "interaction.base.entity_representations.0.weight"]
    path = save(tmp_path / "model.pt", dict.fromkeys(names, rows))
    ids = shuffled(45)[:30]
    result = embcompress.backfill(path, max_id=45, base_ids=write_lines(tmp_path / "ids", ids))
    tensors = read(result)
    assert {only(result).name, *only(result).tied_names} == set(names)
    assert torch.equal(bits(tensors[names[0]])[ids], bits(rows))
    assert torch.equal(bits(tensors[names[0]]), bits(tensors[names[1]]))


@pytest.mark.parametrize("metadata", [{"format": "pt"}, {"format": "pt", "step": "9", "note": "ü\n"}], ids=str)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_metadata_are_kept(tmp_path: Path, metadata: dict[str, str], is_compressed: bool) -> None:
    """What the base says of itself stands in the output, and in what a compressed output reconstructs to."""
    path = save(tmp_path / "model.safetensors", {NAME: random_rows(40, 6)}, metadata)
    if is_compressed:
        path = Path(embcompress.approximate(path, bases=2).output.path)
    output = embcompress.backfill(path, max_id=50, base_ids=write_lines(tmp_path / "ids", range(40))).output.path
    if is_compressed:
        output = embcompress.reconstruct(output).output.path
    with open_checkpoint(Path(output)) as checkpoint:
        assert checkpoint.listing.metadata == metadata


def test_three_dense_bases_come_together(tmp_path: Path) -> None:
    """Rows of three files lie at their ids; the other tensors are those of the first, and the report says so."""
    sizes, order = (30, 1, 25), shuffled(80)
    tables = [with_every_bit(random_rows(size + 6, 4, seed=size))[:size].clone() for size in sizes]
    paths, files, places = [], [], []
    for number, rows in enumerate(tables):
        paths.append(save(tmp_path / f"{number}.safetensors", {NAME: rows, "note": torch.full((3,), number)}))
        places.append([order.pop() for _ in rows])
        files.append(write_lines(tmp_path / f"ids{number}", places[-1]))
    result = embcompress.backfill(paths, max_id=80, base_ids=files)
    tensors = read(result)
    for rows, new_ids in zip(tables, places, strict=True):
        assert torch.equal(bits(tensors[NAME])[new_ids], bits(rows))
    assert tensors["note"].tolist() == [0, 0, 0]
    assert f"all other tensors come from {paths[0]}" in result.warnings
    assert (only(result).rows_kept, only(result).rows_added) == (56, 24)
    assert (result.input.path, [one.path for one in result.further_inputs]) == (
        str(paths[0]),
        list(map(str, paths[1:])),
    )
    assert only(result).bytes_before == 56 * 16


def test_three_bases_come_together_by_label(tmp_path: Path) -> None:
    """Each of three bases finds its rows by label, drops those that have gone, and the mean is of all kept ones."""
    tables = [random_rows(size, 4, seed=size) for size in (10, 20, 15)]
    paths = [save(tmp_path / f"{i}.safetensors", {NAME: rows}) for i, rows in enumerate(tables)]
    old = [[f"{i} {row}" for row in range(len(rows))] for i, rows in enumerate(tables)]
    new = ["x", *[label for labels in old for label in labels if not label.endswith("3")][::-1], "y"]
    files = [write_lines(tmp_path / f"old{i}", labels) for i, labels in enumerate(old)]
    result = embcompress.backfill(paths, base_labels=files, labels=write_lines(tmp_path / "new", new), method="mean")
    actual = read(result)[NAME]
    kept_rows = []
    for rows, labels in zip(tables, old, strict=True):
        for row, label in zip(rows, labels, strict=True):
            if label in new:
                kept_rows.append(row)
                assert torch.equal(actual[new.index(label)], row)
    assert (only(result).rows_kept, only(result).rows_dropped) == (40, 5)
    mean = torch.stack(kept_rows).double().mean(dim=0)
    torch.testing.assert_close(actual[[0, -1]].double(), mean.expand(2, -1), rtol=0, atol=4 * SINGLE * 4)


@dataclass(frozen=True)
class Shared:
    """Artifacts that are parts of one compressed table, with its bases; and where their rows lie in it."""

    whole: dict[str, Tensor]
    paths: list[Path]
    rows: list[list[int]]


def split_artifact(folder: Path, rows: Tensor, *, bases: int = 3, parts: int = 3) -> Shared:
    """Compress a table and drop rows by label, so that the parts have the same bases and their own weights."""
    path = save(folder / "whole.safetensors", {NAME: rows, "bias": torch.arange(3)})
    compressed = embcompress.approximate(path, bases=bases).output.path
    labels = write_lines(folder / "whole.txt", range(len(rows)))
    order = shuffled(len(rows))
    chosen = [order[part::parts] for part in range(parts)]
    paths = []
    for part, kept_rows in enumerate(chosen):
        target = folder / f"part{part}.safetensors"
        embcompress.backfill(
            compressed, base_labels=labels, labels=write_lines(folder / f"part{part}.txt", kept_rows), output=target
        )
        paths.append(target)
    return Shared(safetensors.torch.load_file(compressed), paths, chosen)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64], ids=str
)
@pytest.mark.parametrize("shape", [(60, 8), (60, 2, 4)], ids=str)
def test_kept_rows_of_a_compressed_base_are_identical(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    """Weights and bases keep their bits, kept rows reconstruct to the same bits, and the output is an artifact."""
    path = save(tmp_path / "model.safetensors", {NAME: random_rows(*shape, dtype=dtype), "bias": torch.arange(3)})
    compressed = Path(embcompress.approximate(path, bases=3).output.path)
    before = safetensors.torch.load_file(compressed)
    ids = shuffled(75)[:60]
    result = embcompress.backfill(compressed, max_id=75, base_ids=write_lines(tmp_path / "ids", ids))
    tensors = read(result)
    assert as_bytes(tensors[f"{NAME}.bases"]) == as_bytes(before[f"{NAME}.bases"])
    assert torch.equal(bits(tensors[f"{NAME}.weights"])[ids], bits(before[f"{NAME}.weights"]))
    assert tensors[f"{NAME}.weights"].shape == (75, 3)
    assert torch.equal(tensors["bias"], torch.arange(3))
    table = only(result)
    assert (table.shape, str(dtype), table.rank, table.coding) == (shape[1:], f"torch.{table.dtype}", 3, "plain")
    dense = [
        safetensors.torch.load_file(embcompress.reconstruct(artifact).output.path)[NAME]
        for artifact in (compressed, result.output.path)
    ]
    assert dense[1].dtype == dtype
    assert torch.equal(bits(dense[1])[ids], bits(dense[0]))
    modules = [embcompress.load(artifact)[NAME] for artifact in (compressed, result.output.path)]
    assert (modules[1].max_id, modules[1].shape) == (75, shape[1:])
    looked_up = modules[1](torch.tensor(ids)).detach()
    scale = float(looked_up.abs().max())
    tolerance = 4 * torch.finfo(dtype).eps * 3 * scale  # products of 3 summands, in blocks of another size
    torch.testing.assert_close(looked_up, modules[0]().detach(), rtol=0, atol=tolerance)
    listed = {table.name: table for table in embcompress.inspect(result.output.path).tables}
    assert listed[f"{NAME}.weights"].rows == 75


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64], ids=str)
def test_three_artifacts_of_the_same_bases_share_them(tmp_path: Path, dtype: torch.dtype) -> None:
    """Parts of one compressed table come together with its bases once, and with the weights of every row."""
    shared = split_artifact(tmp_path, random_rows(60, 8, dtype=dtype))
    order = shuffled(75)
    places = [[order.pop() for _ in rows] for rows in shared.rows]
    files = [write_lines(tmp_path / f"ids{number}", new_ids) for number, new_ids in enumerate(places)]
    result = embcompress.backfill(shared.paths, max_id=75, base_ids=files, output=tmp_path / "together.safetensors")
    actual = read(result)
    assert only(result).rank == 3
    assert as_bytes(actual[f"{NAME}.bases"]) == as_bytes(shared.whole[f"{NAME}.bases"])
    for rows, new_ids in zip(shared.rows, places, strict=True):
        expected = shared.whole[f"{NAME}.weights"][rows]
        assert torch.equal(bits(actual[f"{NAME}.weights"])[new_ids], bits(expected))
    assert not any("together" in warning for warning in result.warnings if "bases" in warning)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
@pytest.mark.parametrize("block_rows", [7, None])
def test_three_artifacts_of_other_bases_keep_them_all(
    tmp_path: Path, dtype: torch.dtype, block_rows: int | None
) -> None:
    """Of three artifacts of 2, 3 and 1 bases all 6 are kept: weights stand in their columns, zeros in the others."""
    ranks, order = (2, 3, 1), shuffled(90)
    paths, places, before = [], [], []
    for rank in ranks:
        path = save(tmp_path / f"{rank}.safetensors", {NAME: random_rows(20 + rank, 2, 6, dtype=dtype, seed=rank)})
        paths.append(embcompress.approximate(path, bases=rank).output.path)
        before.append(safetensors.torch.load_file(paths[-1]))
        places.append([order.pop() for _ in range(20 + rank)])
    files = [write_lines(tmp_path / f"ids{number}", new_ids) for number, new_ids in enumerate(places)]
    result = embcompress.backfill(paths, max_id=90, base_ids=files, block_rows=block_rows)
    actual = read(result)
    weights, bases = actual[f"{NAME}.weights"], actual[f"{NAME}.bases"]
    assert only(result).rank == 6
    assert (weights.shape, bases.shape) == ((90, 6), (6, 2, 6))
    assert as_bytes(bases) == b"".join(as_bytes(one[f"{NAME}.bases"]) for one in before)
    start = 0
    for rank, new_ids, one in zip(ranks, places, before, strict=True):
        assert torch.equal(bits(weights[new_ids, start : start + rank]), bits(one[f"{NAME}.weights"]))
        others = torch.cat([weights[new_ids, :start], weights[new_ids, start + rank :]], dim=1)
        assert not bits(others).any()
        torch.testing.assert_close(multiply(actual)[new_ids], multiply(one), rtol=1e-14, atol=1e-14)
        start += rank
    assert f"{NAME!r} has the bases of all 3 inputs, 6 together" in result.warnings
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)[NAME]
    assert restored.shape == (90, 2, 6)
    module = embcompress.load(result.output.path)[NAME]
    assert (module.max_id, module.shape) == (90, (2, 6))


def test_table_left_dense_in_an_artifact_grows(tmp_path: Path) -> None:
    """In an artifact the table that stayed dense grows as it does elsewhere, and the compressed one keeps its bits."""
    state = {"entities.weight": random_rows(60, 12), "relations.weight": random_rows(5, 12, seed=1)}
    compressed = embcompress.approximate(save(tmp_path / "m.safetensors", state), bases=4).output.path
    ids = [6, 0, 3, 1, 5]
    result = embcompress.backfill(compressed, max_id=8, base_ids=write_lines(tmp_path / "ids", ids))
    before, actual = safetensors.torch.load_file(compressed), read(result)
    assert (only(result).name, only(result).rank) == ("relations.weight", None)
    assert torch.equal(bits(actual["relations.weight"])[ids], bits(state["relations.weight"]))
    for name in ("entities.weight.bases", "entities.weight.weights"):
        assert as_bytes(actual[name]) == as_bytes(before[name])
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert (restored["entities.weight"].shape, restored["relations.weight"].shape) == ((60, 12), (8, 12))


def grow(folder: Path, rows: Tensor, *, max_id: int = 60, **options: Any) -> tuple[Tensor, Tensor, BackfillResult]:
    """Grow a dense table by ids in random order; return its new rows, its kept rows, and the result."""
    ids = shuffled(max_id)[: len(rows)]
    path = save(folder / "model.safetensors", {NAME: rows})
    files = write_lines(folder / "ids", ids)
    result = embcompress.backfill(path, max_id=max_id, base_ids=files, force=True, **options)
    actual = read(result)[NAME]
    assert torch.equal(bits(actual)[ids], bits(rows))
    return actual[new_of(max_id, ids)], actual[ids], result


METHOD_CHECKS: dict[str, tuple[str, float, float]] = {
    "xavier_uniform": ("", -1.0, 1.0),  # sqrt(6 / 6)
    "uniform": (":a=-3,b=-2", -3.0, -2.0),
    "uniform_norm": (":p=1", 0.0, 1.0),
    "normal": (":mean=40,std=0.1", 38.0, 42.0),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
def test_every_method_makes_the_new_rows(tmp_path: Path, method: str, dtype: torch.dtype) -> None:
    """Each name of METHODS, with arguments where it takes some, is in the report, and its rows are as it says."""
    shape = (40, 3) if dtype.is_complex else (40, 3, 2)
    arguments, least, largest = METHOD_CHECKS.get(method, ("", -math.inf, math.inf))
    new, kept_rows, result = grow(tmp_path, random_rows(*shape, dtype=dtype), method=method + arguments)
    assert only(result).method == method + arguments
    reals = (torch.view_as_real(new) if dtype.is_complex else new).double()
    assert least <= float(reals.min()) <= float(reals.max()) <= largest
    eps = torch.finfo(dtype).eps
    if method.endswith("_norm") and not arguments:
        torch.testing.assert_close(reals.flatten(1).norm(dim=1), torch.ones(20).double(), rtol=0, atol=6 * eps)
    if method == "init_phases":
        torch.testing.assert_close(reals.norm(dim=-1), torch.ones(20, 3).double(), rtol=0, atol=2 * eps)
    if method == "zeros":
        assert not reals.any()
    if method == "mean":
        mean = kept_rows.to(torch.complex128 if dtype.is_complex else torch.float64).mean(dim=0)
        expected = mean.to(dtype).expand(20, *shape[1:])
        torch.testing.assert_close(new, expected, rtol=eps, atol=8 * SINGLE)
    assert (len(reals.unique(dim=0)) == 1) == (method in {"zeros", "mean"})


@pytest.mark.parametrize("rows", [200, 5, 1])
def test_gaussian_is_the_default_and_is_fitted_to_the_kept_rows(tmp_path: Path, rows: int) -> None:
    """20000 new rows have mean and covariance of the kept rows, not of dropped ones, within five standard errors."""
    base = random_rows(rows, 6)
    outliers = torch.full((3, 6), 1e6)
    path = save(tmp_path / "m.safetensors", {NAME: torch.cat([base[:1], outliers, base[1:]])})
    old = ["k0", "d0", "d1", "d2", *(f"k{number}" for number in range(1, rows))]
    new = [f"n{number}" for number in range(20_000)]
    result = embcompress.backfill(
        path,
        base_labels=write_lines(tmp_path / "old", old),
        labels=write_lines(tmp_path / "new", [*new, *(label for label in old if label.startswith("k"))]),
    )
    assert only(result).method == "gaussian"
    actual = read(result)[NAME][: len(new)].double()
    mean = base.double().mean(dim=0)
    covariance = torch.cov(base.double().T) if rows > 1 else torch.zeros(6, 6, dtype=torch.float64)
    spread = covariance.diagonal()
    rounding = 20 * SINGLE * float(base.abs().max())
    assert bool(((actual.mean(dim=0) - mean).abs() <= 5 * (spread / len(new)).sqrt() + rounding).all())
    error = ((torch.outer(spread, spread) + covariance.square()) / len(new)).sqrt()
    assert bool(((torch.cov(actual.T) - covariance).abs() <= 5 * error + rounding).all())


def test_new_rows_do_not_depend_on_blocks_or_on_each_other(tmp_path: Path) -> None:
    """The new row of an id is the same for blocks of 7 rows and of all, and whichever other ids are new."""
    rows = random_rows(40, 6)
    path = save(tmp_path / "m.safetensors", {NAME: rows})
    options: dict[str, Any] = {"method": "normal", "force": True}
    first = read(embcompress.backfill(path, max_id=3000, base_ids=write_lines(tmp_path / "a", range(40)), **options))[
        NAME
    ]
    others = [*range(2900, 2920), *range(0, 40, 2)]
    second = read(embcompress.backfill(path, max_id=2950, base_ids=write_lines(tmp_path / "b", others), **options))[
        NAME
    ]
    both = new_of(2950, range(40), others)
    assert torch.equal(bits(first)[both], bits(second)[both])
    gaussian = read(embcompress.backfill(path, max_id=3000, base_ids=tmp_path / "a", force=True))[NAME]
    small = read(embcompress.backfill(path, max_id=3000, base_ids=tmp_path / "a", block_rows=7, **options))[NAME]
    assert torch.equal(bits(small), bits(first))
    fitted = read(embcompress.backfill(path, max_id=3000, base_ids=tmp_path / "a", block_rows=7, force=True))[NAME]
    torch.testing.assert_close(fitted, gaussian, rtol=0, atol=1e-4)  # fitted in sums of other blocks


def test_small_blocks_keep_and_measure_the_same(tmp_path: Path) -> None:
    """Blocks of 7 rows, kept rows of three bases and given ones among them: the bytes are those of one block."""
    tables = [random_rows(size, 4, seed=size) for size in (11, 30, 8)]
    paths = [save(tmp_path / f"{i}.safetensors", {NAME: rows}) for i, rows in enumerate(tables)]
    order = shuffled(70)
    files = [write_lines(tmp_path / f"i{i}", [order.pop() for _ in rows]) for i, rows in enumerate(tables)]
    fill = save(tmp_path / "fill.pt", {"x": random_rows(21, 4, seed=99)})
    options: dict[str, Any] = {"max_id": 70, "base_ids": files, "fill": fill, "force": True}
    first = embcompress.backfill(paths, **options)
    expected = Path(first.output.path).read_bytes()
    second = embcompress.backfill(paths, block_rows=7, **options)
    assert Path(second.output.path).read_bytes() == expected
    one, other = only(first).new_rows, only(second).new_rows
    assert one is not None
    assert other is not None
    assert other.norm == one.norm
    assert other.cosine.mean == pytest.approx(one.cosine.mean, abs=8 * SINGLE)  # the mean row is of other sums


@pytest.mark.parametrize("block_rows", [0, -1])
def test_blocks_of_no_row_are_refused(tmp_path: Path, block_rows: int) -> None:
    """A block holds a row at least; nothing is written."""
    path = save(tmp_path / "m.safetensors", {NAME: random_rows(30, 4)})
    ids = write_lines(tmp_path / "ids", range(30))
    with pytest.raises(UsageError, match=f"block_rows must be at least 1; got {block_rows}"):
        embcompress.backfill(path, max_id=31, base_ids=ids, block_rows=block_rows)
    assert sorted(tmp_path.iterdir()) == [ids, path]


def test_tables_of_one_seed_differ(tmp_path: Path) -> None:
    """Two tables that grow together have none of their new rows in common."""
    state = {"user_embedding.weight": random_rows(30, 4), "second_user_embedding.weight": random_rows(30, 4) + 1}
    path = save(tmp_path / "m.safetensors", state)
    result = embcompress.backfill(path, max_id=50, base_ids=write_lines(tmp_path / "ids", range(30)), method="normal")
    tensors = read(result)
    assert sorted(table.name for table in result.tables) == sorted(state)
    assert len(torch.cat([tensors[name][30:] for name in state]).unique(dim=0)) == 40


def without_variables(document: Any) -> Any:
    """Drop from a report what may differ between two equal runs: seconds and paths."""
    if isinstance(document, dict):
        return {key: without_variables(value) for key, value in document.items() if key not in {"seconds", "path"}}
    return [without_variables(value) for value in document] if isinstance(document, list) else document


def test_two_processes_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same seed, same bytes and report here and in a process with another seed of hashes, dense and compressed.

    Another seed of ours gives other new rows alone.
    """
    script = (
        "import embcompress as e\n"
        "for seed, to in ((0, 'a'), (1, 'b')):\n"
        "    for name in ('m', 'm-3bases'):\n"
        "        e.backfill(f'{name}.safetensors', base_labels='old.tsv', labels='new.json', seed=seed,\n"
        "                   output=f'{name}-{to}.safetensors', constrainer='clamp_norm:maxnorm=2')\n"
    )
    for number in "12":
        folder = tmp_path / number
        folder.mkdir()
        path = save(folder / "m.safetensors", {NAME: random_rows(300, 8), "b": torch.ones(2)}, {"b": "2", "a": "1"})
        embcompress.approximate(path, bases=3)
        (folder / "old.tsv").write_text("".join(f"{index}\told{index}\n" for index in range(300)))
        (folder / "new.json").write_text(json.dumps([f"old{index}" for index in shuffled(500)]))
    environment = {**os.environ, "PYTHONHASHSEED": "2", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    # Torch's compiler, which nothing here asks for, takes two seconds to import.
    alone = f"{script}import sys\nassert 'torch._dynamo' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", alone], cwd=tmp_path / "2", env=environment, check=True, timeout=120)
    monkeypatch.chdir(tmp_path / "1")
    exec(script, {})
    for name in ("m", "m-3bases"):
        for seed in "ab":
            first, second = ((tmp_path / number / f"{name}-{seed}.safetensors").read_bytes() for number in "12")
            assert first == second
            reports = [(tmp_path / number / f"{name}-{seed}.report.json").read_text() for number in "12"]
            assert without_variables(json.loads(reports[0])) == without_variables(json.loads(reports[1]))
        tables = [safetensors.torch.load_file(tmp_path / "1" / f"{name}-{seed}.safetensors") for seed in "ab"]
        suffix = ".weights" if name.endswith("bases") else ""
        rows = [one[NAME + suffix] for one in tables]
        differ = (rows[0] != rows[1]).any(dim=1)
        new = torch.tensor([index >= 300 for index in shuffled(500)])
        assert torch.equal(differ, new)


CONSTRAINTS = ("normalize", "normalize:p=1", "complex_normalize", "clamp_norm:maxnorm=0.75", "clamp:min=-0.25,max=0.5")


@pytest.mark.parametrize(
    ("dtype", "constrainer"),
    [
        (dtype, constrainer)
        for dtype in (torch.float64, torch.float32, torch.float16, torch.complex64)
        for constrainer in CONSTRAINTS
        if not (dtype.is_complex and constrainer.startswith("clamp:"))  # complex entries have no order
    ],
    ids=str,
)
def test_constrainer_holds_new_rows_alone(tmp_path: Path, dtype: torch.dtype, constrainer: str) -> None:
    """Given rows become what the formula makes of them in float64, and kept rows that break it keep their bits."""
    shape = (2, 4)
    given = random_rows(20, *shape, dtype=dtype, seed=5)
    fill = save(tmp_path / "fill.safetensors", {"rows": given})
    new, _, result = grow(tmp_path, 10 * random_rows(40, *shape, dtype=dtype), fill=fill, constrainer=constrainer)
    assert only(result).constrainer == constrainer
    wide = given.to(torch.complex128 if dtype.is_complex else torch.float64)
    moduli = wide.abs().flatten(1)
    if constrainer.startswith("normalize"):
        p = 1 if "p=1" in constrainer else 2
        expected = wide / moduli.pow(p).sum(dim=1).pow(1 / p).view(-1, 1, 1)
    elif constrainer == "complex_normalize":
        pairs = wide if dtype.is_complex else torch.view_as_complex(wide.view(20, 2, 2, 2))
        expected = pairs / pairs.abs()
        expected = expected if dtype.is_complex else torch.view_as_real(expected).flatten(2)
    elif constrainer.startswith("clamp_norm"):
        expected = wide * (0.75 / moduli.norm(dim=1).clamp_min(0.75)).view(-1, 1, 1)
    else:
        expected = wide.clamp(-0.25, 0.5)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(new.to(wide.dtype), expected, rtol=8 * eps, atol=eps)


def test_clamp_norm_leaves_shorter_rows_to_the_bit(tmp_path: Path) -> None:
    """New rows within maxnorm are those drawn without it; the others are scaled to it."""
    free, _, _ = grow(tmp_path, random_rows(40, 6), max_id=300)
    clamped, _, _ = grow(tmp_path, random_rows(40, 6), max_id=300, constrainer="clamp_norm:maxnorm=2.5")
    is_short = free.double().norm(dim=1) < 2.5
    assert 20 < int(is_short.sum()) < 240
    assert torch.equal(bits(clamped[is_short]), bits(free[is_short]))
    norms = clamped[~is_short].double().norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 2.5), rtol=6 * SINGLE, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64], ids=str)
@pytest.mark.parametrize("name", [NAME, "anything"])
def test_fill_gives_the_rows_in_the_order_of_the_new_ids(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    """Row j of the fill is that of the j-th new id, to the bit, under the table's name or as the only one that fits."""
    given = random_rows(20, 2, 3, dtype=dtype, seed=7)
    others = {"a": torch.ones(20, 7), "step": torch.tensor(3)} | ({} if name != NAME else {"b": given + 1})
    fill = save(tmp_path / "fill.pt", {name: given, **others})
    new, _, result = grow(tmp_path, random_rows(40, 2, 3, dtype=dtype), fill=fill)
    assert torch.equal(bits(new), bits(given))
    assert (only(result).rows_filled, only(result).method, result.warnings) == (20, "fill", ())


def by_label(
    folder: Path, given: Sequence[str], *, rows: Tensor, **options: Any
) -> tuple[dict[str, Tensor], BackfillResult]:
    """Grow a table of OLD to NEW with rows of a fill for some labels; return each label's row."""
    path = save(folder / "model.safetensors", {NAME: random_rows(40, 5)})
    result = embcompress.backfill(
        path,
        base_labels=label_file(folder, OLD, "words.txt"),
        labels=label_file(folder, NEW, "vocab.json"),
        fill=save(folder / "fill.safetensors", {"rows": rows}),
        fill_labels=write_lines(folder / "fill.txt", given),
        force=True,
        **options,
    )
    return dict(zip(NEW, read(result)[NAME], strict=True)), result


def test_fill_gives_rows_by_label(tmp_path: Path) -> None:
    """With --fill-labels in any order each new label has its own row, in part with a method for the others."""
    added = [label for label in NEW if label.startswith("new")]
    rows = random_rows(27, 5, seed=8)
    given = [added[index] for index in shuffled(27, seed=2)]
    actual, result = by_label(tmp_path, given, rows=rows)
    assert all(torch.equal(bits(actual[label][None]), bits(row[None])) for label, row in zip(given, rows, strict=True))
    assert (only(result).rows_filled, only(result).method) == (27, "fill")
    actual, result = by_label(tmp_path, given[:10], rows=rows[:10], method="uniform:a=7,b=8")
    assert all(torch.equal(actual[label], row) for label, row in zip(given[:10], rows[:10], strict=True))
    drawn = torch.stack([actual[label] for label in given[10:]])
    assert 7 <= float(drawn.min()) < float(drawn.max()) <= 8
    assert (only(result).rows_filled, only(result).rows_added, only(result).method) == (10, 27, "uniform:a=7,b=8")
    base = random_rows(40, 5)
    assert all(torch.equal(actual[label], base[OLD.index(label)]) for label in NEW if label in OLD)


@pytest.mark.parametrize("given", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_fill_of_another_dtype_is_rounded(tmp_path: Path, given: torch.dtype) -> None:
    """Rows of another dtype are rounded once to that of the table, and a warning says so."""
    rows = random_rows(20, 4, dtype=given, seed=1)
    fill = save(tmp_path / "fill.pt", {"rows": rows})
    new, _, result = grow(tmp_path, random_rows(40, 4, dtype=torch.float16), fill=fill)
    assert torch.equal(bits(new), bits(rows.to(torch.float16)))
    name = str(given).removeprefix("torch.")
    assert result.warnings == (f"the rows of --fill {fill} were rounded from {name} to float16",)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 1e39], ids=["NaN", "infinity", "minus infinity", "beyond float32"]
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_fill_that_the_table_cannot_hold_is_refused(tmp_path: Path, value: float, is_compressed: bool) -> None:
    """NaN, infinity and what overflows the dtype end the run with the id of the row, and nothing is written."""
    rows = random_rows(20, 6, dtype=torch.float64)
    rows[13, 2] = value
    fill = save(tmp_path / "fill.safetensors", {"rows": rows})
    path = save(tmp_path / "m.safetensors", {NAME: random_rows(40, 6)})
    if is_compressed:
        path = Path(embcompress.approximate(path, bases=2).output.path)
    ids = shuffled(60)[:40]
    files = write_lines(tmp_path / "ids", ids)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NonFiniteError, match=rf"the new row of id {new_of(60, ids)[13]} in table 'entities.weight'"):
        embcompress.backfill(path, max_id=60, base_ids=files, fill=fill)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.complex64], ids=str)
def test_rows_of_a_compressed_base_are_projected_at_best(tmp_path: Path, dtype: torch.dtype) -> None:
    """New weights are the least-squares ones of lstsq in float64, and kept_energy is the share that they leave held."""
    path = save(tmp_path / "m.safetensors", {NAME: random_rows(60, 4, 3, dtype=dtype)})
    compressed = embcompress.approximate(path, bases=5).output.path
    given = random_rows(20, 4, 3, dtype=dtype, seed=11)
    ids = shuffled(80)[:60]
    result = embcompress.backfill(
        compressed,
        max_id=80,
        base_ids=write_lines(tmp_path / "ids", ids),
        fill=save(tmp_path / "fill.safetensors", {"rows": given}),
    )
    actual = read(result)

    def flat(values: Tensor) -> Tensor:
        real = torch.view_as_real(values) if values.is_complex() else values
        return real.double().flatten(1)

    bases, rows = flat(actual[f"{NAME}.bases"]), flat(given)
    expected = torch.linalg.lstsq(bases.T, rows.T).solution.T
    stored = actual[f"{NAME}.weights"][new_of(80, ids)]
    eps = torch.finfo(stored.dtype).eps
    torch.testing.assert_close(stored.double(), expected, rtol=2 * eps, atol=1e-12 + eps * 1e-3)
    lost = rows - stored.double() @ bases
    kept_energy = 1 - float(lost.square().sum() / rows.square().sum())
    table = only(result)
    assert table.kept_energy == pytest.approx(kept_energy, abs=1e-9)
    assert 0.1 < kept_energy < 0.9
    assert (table.rows_filled, table.method) == (20, "fill")
    assert any("keep only" in warning and "squared norm" in warning for warning in result.warnings) == (
        kept_energy < 0.5
    )


@pytest.mark.parametrize("share", [0.49, 0.51])
def test_warning_tells_where_the_bases_hold_little(tmp_path: Path, share: float) -> None:
    """Rows of which the bases hold 49 % bring a warning with the figure and the way out, 51 % none."""
    base = torch.zeros(40, 6)
    base[:, 0] = torch.arange(1.0, 41)
    compressed = embcompress.approximate(save(tmp_path / "m.safetensors", {NAME: base}), bases=1).output.path
    given = torch.zeros(10, 6)
    given[:, 0], given[:, 1] = math.sqrt(share), math.sqrt(1 - share)
    result = embcompress.backfill(
        compressed,
        max_id=50,
        base_ids=write_lines(tmp_path / "ids", range(40)),
        fill=save(tmp_path / "fill.safetensors", {"rows": given}),
    )
    assert only(result).kept_energy == pytest.approx(share, abs=8 * SINGLE)
    warnings = [warning for warning in result.warnings if "squared norm" in warning]
    if share < 0.5:
        assert len(warnings) == 1
        assert warnings[0].startswith(
            "the bases of 'entities.weight' keep only 49.0% of the squared norm of its new rows"
        )
        assert "embcompress reconstruct" in warnings[0]
    else:
        assert warnings == []


@pytest.mark.parametrize("method", ["gaussian", "mean"])
def test_fitted_rows_of_a_compressed_base_lie_in_its_span(tmp_path: Path, method: str) -> None:
    """What is fitted to a compressed table has its mean and covariance in the table's space, and the bases hold it."""
    path = save(tmp_path / "m.safetensors", {NAME: random_rows(300, 8)})
    compressed = embcompress.approximate(path, bases=4).output.path
    base = multiply(safetensors.torch.load_file(compressed))
    result = embcompress.backfill(
        compressed, max_id=20_300, base_ids=write_lines(tmp_path / "ids", range(300)), method=method
    )
    new = multiply(read(result))[300:]
    assert only(result).kept_energy == pytest.approx(1, abs=1e-9)
    covariance = torch.cov(base.T) if method == "gaussian" else torch.zeros(8, 8, dtype=torch.float64)
    spread = covariance.diagonal()
    rounding = 30 * SINGLE * float(base.abs().max())
    assert bool(((new.mean(dim=0) - base.mean(dim=0)).abs() <= 5 * (spread / len(new)).sqrt() + rounding).all())
    error = ((torch.outer(spread, spread) + covariance.square()) / len(new)).sqrt()
    assert bool(((torch.cov(new.T) - covariance).abs() <= 5 * error + rounding).all())


def ranked(values: Tensor, share: float) -> float:
    """Find the least value that `share` of the values do not exceed."""
    return float(values.sort().values[max(math.ceil(share * len(values)), 1) - 1])


def assert_statistics(seen: RowStatisticsReport | None, rows: Tensor, direction: Tensor) -> None:
    """Compare with float64: means and extremes within float32's rounding, quantiles within the 0.1 % stated."""
    assert seen is not None
    norms = rows.norm(dim=1)
    cosines = (rows @ direction) / (norms * direction.norm()).clamp_min(1e-300)
    tolerance = (rows.shape[1] + 4) * SINGLE
    assert seen.norm.mean == pytest.approx(float(norms.mean()), rel=tolerance)
    assert seen.norm.max == pytest.approx(float(norms.max()), rel=tolerance)
    assert seen.norm.p50 == pytest.approx(ranked(norms, 0.5), rel=QUANTILE)
    assert seen.norm.p99 == pytest.approx(ranked(norms, 0.99), rel=QUANTILE)
    assert seen.cosine.mean == pytest.approx(float(cosines.mean()), abs=tolerance)
    assert seen.cosine.min == pytest.approx(float(cosines.min()), abs=tolerance)
    assert 1 - seen.cosine.p50 == pytest.approx(ranked(1 - cosines, 0.5), rel=QUANTILE, abs=2 * tolerance)
    assert 1 - seen.cosine.p01 == pytest.approx(ranked(1 - cosines, 0.99), rel=QUANTILE, abs=2 * tolerance)


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.complex64], ids=str)
def test_report_measures_rows_as_they_are_stored(tmp_path: Path, dtype: torch.dtype, is_compressed: bool) -> None:
    """Norms, and cosines with the mean of the kept rows, of kept and of new rows are those of float64, to 0.1 %."""
    path = save(tmp_path / "m.safetensors", {NAME: random_rows(500, 2, 3, dtype=dtype)})
    if is_compressed:
        path = Path(embcompress.approximate(path, bases=2).output.path)
    old = [f"w{number}" for number in range(500)]
    new = [f"w{number + 60}" for number in shuffled(700)]
    result = embcompress.backfill(
        path,
        base_labels=write_lines(tmp_path / "old", old),
        labels=write_lines(tmp_path / "new", new),
        method="normal:mean=1",
    )
    actual = read(result)
    rows = multiply(actual) if is_compressed else actual[NAME]
    flat = (torch.view_as_real(rows) if rows.is_complex() else rows).double().flatten(1)
    is_kept = torch.tensor([label in set(old) for label in new])
    direction = flat[is_kept].mean(dim=0)
    table = only(result)
    assert (table.rows_kept, table.rows_added, table.rows_dropped) == (440, 260, 60)
    assert_statistics(table.base_rows, flat[is_kept], direction)
    assert_statistics(table.new_rows, flat[~is_kept], direction)


def test_report_counts_bytes_and_hash_of_the_file(tmp_path: Path) -> None:
    """Size, sha256, inputs and the sizes of the tables are those of the files; the JSON beside it says the same."""
    base, compressed = (tmp_path / name for name in ("m.safetensors", "m-2bases.safetensors"))
    save(base, {NAME: random_rows(40, 6), "x": torch.ones(3)})
    embcompress.approximate(base, bases=2)
    ids = write_lines(tmp_path / "ids", shuffled(55)[:40])
    for path, before, after in ((base, 40 * 24, 55 * 24), (compressed, (40 + 6) * 8, (55 + 6) * 8)):
        result = embcompress.backfill(path, max_id=55, base_ids=ids)
        raw = Path(result.output.path).read_bytes()
        assert (result.output.sha256, result.output.bytes) == (hashlib.sha256(raw).hexdigest(), len(raw))
        assert result.input.bytes == path.stat().st_size
        assert (only(result).bytes_before, only(result).bytes_after) == (before, after)
        assert (result.totals.bytes_before, result.totals.bytes_after) == (before, after)
        assert result.totals.ratio == before / after
        assert Path(result.output.path).name == f"{path.stem}-backfilled.safetensors"
        document = json.loads((tmp_path / f"{path.stem}-backfilled.report.json").read_text())
        assert document["output"] == {"path": result.output.path, "sha256": result.output.sha256, "bytes": len(raw)}
        assert document["tables"][0]["rows_added"] == 15
        assert document["tables"][0]["kept_energy"] == only(result).kept_energy


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_dry_run_tells_the_size(tmp_path: Path, count: int, is_compressed: bool) -> None:
    """A dry run writes nothing and tells the very bytes, rows and warnings of the run, one base or two."""
    paths = []
    for number in range(count):
        path = save(tmp_path / f"{number}.safetensors", {NAME: random_rows(70, 6, seed=number), "bias": torch.ones(70)})
        paths.append(Path(embcompress.approximate(path, bases=2).output.path) if is_compressed else path)
    old = [write_lines(tmp_path / f"old{i}", [f"{i}-{row}" for row in range(66)]) for i in range(count)]
    new = write_lines(tmp_path / "new", [f"{i}-{row}" for row in range(3, 90) for i in range(count)])
    options: dict[str, Any] = {"base_labels": old, "labels": new, "method": "normal", "drop_padding": True}
    before = sorted(tmp_path.iterdir())
    planned = embcompress.backfill(paths, dry_run=True, **options)
    assert sorted(tmp_path.iterdir()) == before
    done = embcompress.backfill(paths, **options)
    assert planned.output.bytes == done.output.bytes == Path(done.output.path).stat().st_size
    assert (planned.dry_run, planned.output.sha256, done.dry_run) == (True, None, False)
    assert (planned.totals, planned.vocabulary) == (done.totals, done.vocabulary)
    assert done.warnings[: len(planned.warnings)] == planned.warnings
    assert (only(planned).base_rows, only(planned).new_rows, only(planned).kept_energy) == (None, None, None)
    for field in ("name", "rows", "rank", "rows_kept", "rows_added", "rows_dropped", "bytes_before", "bytes_after"):
        assert getattr(only(planned), field) == getattr(only(done), field)


def padded(tmp_path: Path, *, new: Sequence[str], labels: int = 40, rows: Tensor | None = None) -> dict[str, Any]:
    """Save a table of 48 rows with labels of the first 40 or so, and new labels."""
    table = random_rows(48, 24) if rows is None else rows
    path = save(tmp_path / "m.safetensors", {"wte.weight": table, "lm_head.bias": torch.ones(len(table))})
    old = write_lines(tmp_path / "old", [f"t{number}" for number in range(labels)])
    return {"bases": path, "base_labels": old, "labels": write_lines(tmp_path / "new", new)}


def tokens(first: int, last: int) -> list[str]:
    """Name labels by their number."""
    return [f"t{number}" for number in range(first, last)]


def test_padded_rows_stay_where_nothing_is_new(tmp_path: Path) -> None:
    """With the same labels all 48 rows stay in their places, whatever those behind the labels are."""
    options = padded(tmp_path, new=tokens(0, 40))
    result = embcompress.backfill(**options)
    assert torch.equal(bits(read(result)["wte.weight"]), bits(random_rows(48, 24)))
    assert (only(result).rows_kept, only(result).rows_added, only(result).rows_dropped) == (48, 0, 0)
    assert (result.vocabulary.padding_rows, result.vocabulary.dropped_rows, result.vocabulary.new_ids) == (8, 0, 0)
    assert result.warnings[0] == (f"'wte.weight' in {options['bases']} has 48 rows and 40 labels: rows 40..47 stay")
    assert_statistics(only(result).base_rows, *statistics_of(random_rows(48, 24)[:40]))
    for max_id in (47, 50):
        if max_id < 48:
            with pytest.raises(IdsError, match="it is not known which 8 rows have no label"):
                embcompress.backfill(**options, max_id=max_id, force=True)
        else:
            assert len(read(embcompress.backfill(**options, max_id=max_id, force=True))["wte.weight"]) == max_id


def statistics_of(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Give rows in float64 and their mean: padding counts in no statistic."""
    return rows.double(), rows.double().mean(dim=0)


@pytest.mark.parametrize("is_compressed", [False, True, "coded"])
@pytest.mark.parametrize(
    ("new", "options", "expected"),
    [
        # of each new id the row that it keeps; None: a new one
        (tokens(0, 45), {"row_offset": 8}, [*range(48), *[None] * 5]),
        (tokens(0, 45), {"row_offset": 0, "keep_padding": True}, [*range(40), *[None] * 5, *range(40, 48)]),
        (tokens(0, 45), {"keep_padding": True, "max_id": 54}, [*range(40), *[None] * 5, *range(40, 48), None]),
        (tokens(0, 45), {"row_offset": 3, "keep_padding": True}, [*range(43), *[None] * 5, *range(43, 48)]),
        (tokens(0, 45), {"drop_padding": True}, [*range(40), *[None] * 5, 45, 46, 47]),
        (tokens(0, 45), {"drop_padding": True, "max_id": 46}, [*range(40), *[None] * 5, 45]),
        (tokens(0, 60), {"drop_padding": True}, [*range(40), *[None] * 20]),
        (tokens(0, 45), {"row_offset": 3, "drop_padding": True}, [*range(43), *[None] * 5]),
        (tokens(3, 41), {"row_offset": 8}, [*range(8), *range(11, 48), None]),
        (tokens(3, 41), {"keep_padding": True}, [*range(3, 40), None, *range(40, 48)]),
        (tokens(3, 41), {"drop_padding": True}, [*range(3, 40), *[None] * 3, *range(40, 48)]),
        (tokens(0, 40), {"row_offset": 3}, [*range(48)]),
        (tokens(0, 40)[::-1], {"row_offset": 8}, [*range(8), *range(47, 7, -1)]),
    ],
)
def test_rows_without_a_label_go_where_they_are_said_to(
    tmp_path: Path, new: list[str], options: dict[str, Any], expected: list[int | None], is_compressed: bool | str
) -> None:
    """Every row that stays is the same to the bit at its new id, and none is at another's; the counts agree."""
    given = padded(tmp_path, new=new)
    rows = random_rows(48, 24)
    if is_compressed:
        size = {"ratio": 2} if is_compressed == "coded" else {"bases": 3}
        given["bases"] = embcompress.approximate(given["bases"], **size, table="wte.weight").output.path
        dense = embcompress.reconstruct(given["bases"], output=tmp_path / "dense.safetensors")
        rows = safetensors.torch.load_file(dense.output.path)["wte.weight"]
    result = embcompress.backfill(**given, **options)
    path = result.output.path
    if is_compressed:
        path = embcompress.reconstruct(path, output=tmp_path / "grown.safetensors").output.path
    actual = safetensors.torch.load_file(path)["wte.weight"]
    assert len(actual) == len(expected) == only(result).rows
    for index, row in enumerate(expected):
        if row is None:
            assert not bool((rows == actual[index]).all(dim=1).any()), index
        else:
            assert torch.equal(bits(actual)[index], bits(rows)[row]), index
    kept_rows = [row for row in expected if row is not None]
    assert only(result).rows_kept == len(kept_rows)
    assert (only(result).rows_added, only(result).rows_dropped) == (len(expected) - len(kept_rows), 48 - len(kept_rows))
    assert result.vocabulary.padding_rows == 8


def test_statistics_leave_out_rows_without_a_label(tmp_path: Path) -> None:
    """Padding before and behind the labels, of another scale, moves neither the statistics nor what is drawn."""
    rows = random_rows(48, 24)
    rows[:3], rows[43:] = 1e6, -1e6
    result = embcompress.backfill(**padded(tmp_path, new=tokens(0, 90), rows=rows), row_offset=3, keep_padding=True)
    assert_statistics(only(result).base_rows, *statistics_of(rows[3:43]))
    assert float(read(result)["wte.weight"][43:93].abs().max()) < 10


@pytest.mark.parametrize("is_compressed", [False, True, "coded"])
def test_a_first_row_of_zeros_is_the_one_without_a_label(tmp_path: Path, is_compressed: bool | str) -> None:
    """Items counted from 1: of 41 rows and 40 labels the row of zeros stays first, and no label gets another's row."""
    rows = random_rows(41, 24)
    rows[0] = 0
    given = padded(tmp_path, new=["n0", *tokens(0, 20), "n1", *tokens(20, 40)], rows=rows)
    name = f"'wte.weight' in {given['bases']}"
    if is_compressed:
        size = {"ratio": 2} if is_compressed == "coded" else {"bases": 4}
        given["bases"] = embcompress.approximate(given["bases"], **size, table="wte.weight").output.path
        name = f"'wte.weight' in {given['bases']}"
        dense = embcompress.reconstruct(given["bases"], output=tmp_path / "dense.safetensors")
        rows = safetensors.torch.load_file(dense.output.path)["wte.weight"]
    for dry_run in (True, False):
        result = embcompress.backfill(**given, dry_run=dry_run)
        assert result.warnings[0] == (
            f"{name} has 41 rows and 40 labels: row 0 is all zeros, so the first label was taken for that of row 1"
        )
    path = result.output.path
    if is_compressed:
        path = embcompress.reconstruct(path, output=tmp_path / "grown.safetensors").output.path
    actual = safetensors.torch.load_file(path)["wte.weight"]
    assert torch.equal(actual[[0, *range(2, 22), *range(23, 43)]], rows)
    assert (only(result).rows, only(result).rows_added) == (43, 2)


def test_zeros_at_both_ends_tell_nothing(tmp_path: Path) -> None:
    """Where the last row is zeros, too, it has to be said which one has no label."""
    rows = random_rows(41, 24)
    rows[[0, 40]] = 0
    given = padded(tmp_path, new=tokens(0, 42), rows=rows)
    with pytest.raises(IdsError, match="has 41 rows and 40 labels, and it is not known which row has no label"):
        embcompress.backfill(**given)
    assert torch.equal(read(embcompress.backfill(**given, row_offset=1))["wte.weight"][:41], rows)


def test_items_are_found_beside_tables_of_other_sizes(tmp_path: Path) -> None:
    """A table of one row more than labels is found where no other has about as many."""
    rows = random_rows(41, 24)
    rows[0] = 0
    state = {"item_emb.weight": rows, "pos_emb.weight": random_rows(10, 5)}
    given = {**padded(tmp_path, new=tokens(0, 42)), "bases": save(tmp_path / "items.safetensors", state)}
    assert [(table.name, table.rows) for table in embcompress.backfill(**given).tables] == [("item_emb.weight", 43)]


def test_blank_labels_are_matched_with_nothing(tmp_path: Path) -> None:
    """A hole of the ids keeps its row where both have one there; where it would go, that has to be said."""
    rows = random_rows(5, 4)
    path = save(tmp_path / "m.safetensors", {"entities.weight": rows})
    given = {"base_labels": tmp_path / "old.json", "labels": tmp_path / "new.json", "bases": path}
    given["base_labels"].write_text('{"a": 0, "b": 1, "c": 3, "d": 4}')
    given["labels"].write_text('{"b": 0, "a": 1, "c": 3, "d": 5, "e": 6}')
    result = embcompress.backfill(**given)
    actual = read(result)["entities.weight"]
    assert torch.equal(actual[[1, 0, 2, 3, 5]], rows)
    assert (only(result).rows_added, only(result).rows_dropped) == (2, 0)
    assert result.vocabulary.new_labels == ("e",)
    given["labels"].write_text('{"b": 0, "a": 1, "x": 2, "c": 3, "d": 4}')
    with pytest.raises(IdsError, match="has a blank label for 1 row, and --labels none in the same places"):
        embcompress.backfill(**given, force=True)
    result = embcompress.backfill(**given, force=True, drop_padding=True)
    assert torch.equal(read(result)["entities.weight"][[1, 0, 3, 4]], rows[[0, 1, 3, 4]])
    assert "1 rows were dropped whose label is blank" in result.warnings


def test_forms_of_labels_are_told(tmp_path: Path) -> None:
    """Scores of sentencepiece change with the new model; the pieces keep their rows, and it is said."""
    rows = random_rows(40, 5)
    path = save(tmp_path / "m.safetensors", {"shared.embedding.weight": rows})
    (tmp_path / "old.vocab").write_text("".join(f"p{number}\t{-number - 0.25}\n" for number in range(40)))
    (tmp_path / "new.vocab").write_text("".join(f"p{number}\t{-number / 3}\n" for number in range(42)))
    result = embcompress.backfill(path, base_labels=tmp_path / "old.vocab", labels=tmp_path / "new.vocab")
    assert torch.equal(read(result)["shared.embedding.weight"][:40], rows)
    assert result.warnings == ("old.vocab was read as piece and score", "new.vocab was read as piece and score")


def test_several_bases_say_what_goes(tmp_path: Path) -> None:
    """No base of several can keep rows without a label in their places: they go if that is said."""
    paths = [
        save(tmp_path / f"{name}.safetensors", {"wte.weight": random_rows(9, 4, seed=n)}) for n, name in enumerate("ab")
    ]
    old = [write_lines(tmp_path / f"old{n}", tokens(8 * n, 8 * n + 8)) for n in range(2)]
    given = {"base_labels": old, "labels": write_lines(tmp_path / "new", tokens(0, 17))}
    with pytest.raises(IdsError, match=r"has 9 rows and 8 labels in one of 2 bases.*\n  --drop-padding"):
        embcompress.backfill(paths, **given)
    for option in ({"row_offset": 1}, {"keep_padding": True}):
        with pytest.raises(UsageError, match="goes with one BASE"):
            embcompress.backfill(paths, **given, **option)
    actual = read(embcompress.backfill(paths, **given, drop_padding=True))["wte.weight"]
    assert torch.equal(actual[:16], torch.cat([random_rows(9, 4, seed=n)[:8] for n in range(2)]))


def test_padding_is_not_guessed_among_tables(tmp_path: Path) -> None:
    """1001 labels fit neither 1000 users nor 1020 items: no table is taken for a padded one, the counts are told."""
    state = {"user_embedding.weight": random_rows(1000, 4), "item_embedding.weight": random_rows(1020, 4)}
    path = save(tmp_path / "m.safetensors", state)
    old = write_lines(tmp_path / "old", [f"t{number}" for number in range(1001)])
    with pytest.raises(IdsError, match=r"'item_embedding\.weight' has 1020, 'user_embedding\.weight' has 1000"):
        embcompress.backfill(path, base_labels=old, labels=old)


def test_positions_do_not_grow_with_tokens(tmp_path: Path) -> None:
    """As many positions as tokens: whose ids these are has to be said."""
    path = save(tmp_path / "m.safetensors", {"wte.weight": random_rows(32, 4), "wpe.weight": random_rows(32, 4) + 1})
    ids = write_lines(tmp_path / "ids", range(32))
    with pytest.raises(TableError, match="several tables"):
        embcompress.backfill(path, max_id=40, base_ids=ids)
    result = embcompress.backfill(path, max_id=40, base_ids=ids, table="wte.weight")
    assert [table.name for table in result.tables] == ["wte.weight"]


def test_blank_lines_at_the_end_are_no_label(tmp_path: Path) -> None:
    """An editor's last empty lines add no label to a file."""
    path = save(tmp_path / "m.safetensors", {"entities.weight": random_rows(5, 4)})
    old = write_lines(tmp_path / "old", [*"abcde", "", ""])
    result = embcompress.backfill(path, base_labels=old, labels=write_lines(tmp_path / "new", "abcdef"))
    assert (result.vocabulary.kept_ids, result.vocabulary.dropped_rows, result.vocabulary.new_ids) == (5, 0, 1)


@pytest.mark.parametrize(("dtype", "columns"), [("bfloat16", 256), ("float16", 1024), ("float32", 64)])
def test_rows_in_the_span_are_held_whatever_the_dtype(tmp_path: Path, dtype: str, columns: int) -> None:
    """Gaussian rows lie in the span of the bases, which hold them but for the rounding of the weights."""
    rows = (random_rows(500, 8) @ random_rows(8, columns)).to(getattr(torch, dtype))
    path = save(tmp_path / "m.safetensors", {"entities.weight": rows})
    embcompress.approximate(path, bases=8)
    ids = write_lines(tmp_path / "ids", range(500))
    result = embcompress.backfill(tmp_path / "m-8bases.safetensors", max_id=600, base_ids=ids)
    assert only(result).kept_energy > 0.999
    assert only(result).new_rows.norm.mean == pytest.approx(only(result).base_rows.norm.mean, rel=0.2)


def test_an_error_that_is_not_known_is_not_told(tmp_path: Path) -> None:
    """Rows that the bases hold keep the error as a bound; dropped or badly held ones leave it unknown."""
    path = save(tmp_path / "m.safetensors", {"entities.weight": random_rows(60, 12)})
    recorded_error = embcompress.approximate(path, bases=4).tables[0].error.relative
    artifact = tmp_path / "m-4bases.safetensors"
    old = write_lines(tmp_path / "old", [f"t{number}" for number in range(60)])
    for first, method, expected in ((0, "gaussian", recorded_error), (0, "normal", None), (9, "gaussian", None)):
        new = write_lines(tmp_path / "new", [f"t{number}" for number in range(first, 70)])
        out = tmp_path / "out.safetensors"
        embcompress.backfill(artifact, base_labels=old, labels=new, method=method, output=out, force=True)
        with safetensors.safe_open(out, framework="pt") as file:
            document = json.loads(file.metadata()["embcompress"])
        assert document["tables"]["entities.weight"]["error"]["relative"] == expected
        assert embcompress.load(out)["entities.weight"].max_id == 70 - first


def test_one_tensor_fills_one_table(tmp_path: Path) -> None:
    """Rows under a name of their own cannot be those of two tables."""
    state = {"encoder.embed_tokens.weight": random_rows(9, 4), "decoder.embed_tokens.weight": random_rows(9, 4) + 1}
    path = save(tmp_path / "m.safetensors", state)
    fill = save(tmp_path / "fill.safetensors", {"x": random_rows(2, 4)})
    with pytest.raises(TableError, match="would fill several tables"):
        embcompress.backfill(path, max_id=11, base_ids=write_lines(tmp_path / "ids", range(9)), fill=fill)


def test_patterns_choose_the_tables(tmp_path: Path) -> None:
    """--table grows what is no recognised table and leaves one that is; all that match grow together."""
    state = {"entities.weight": random_rows(30, 4), "fc.weight": random_rows(30, 6), "fc2.weight": random_rows(30, 3)}
    path = save(tmp_path / "m.safetensors", state)
    ids = shuffled(37)[:30]
    result = embcompress.backfill(path, max_id=37, base_ids=write_lines(tmp_path / "ids", ids), table="fc*.weight")
    actual = read(result)
    assert sorted(table.name for table in result.tables) == ["fc.weight", "fc2.weight"]
    assert as_bytes(actual["entities.weight"]) == as_bytes(state["entities.weight"])
    for name in ("fc.weight", "fc2.weight"):
        assert torch.equal(bits(actual[name])[ids], bits(state[name]))
    assert any("'entities.weight'" in warning for warning in result.warnings)


def test_grown_table_goes_into_an_embedding(tmp_path: Path) -> None:
    """The output loads strictly into a model of the new size."""
    old, new = nn.Embedding(30, 4), nn.Embedding(41, 4)
    path = save(tmp_path / "m.pt", {f"embedding.{name}": value for name, value in old.state_dict().items()})
    result = embcompress.backfill(path, max_id=41, base_ids=write_lines(tmp_path / "ids", range(30)))
    new.load_state_dict({"weight": read(result)["embedding.weight"]}, strict=True)
    assert torch.equal(new(torch.arange(30)), old(torch.arange(30)))
    listed = embcompress.inspect(result.output.path).tables
    assert [(table.name, table.rows, table.chosen) for table in listed] == [("embedding.weight", 41, True)]


def test_progress_counts_the_rows(tmp_path: Path) -> None:
    """Progress tells of the known rows and then of all, in growing counts that end at their number."""
    seen: list[tuple[str, int, int, int]] = []
    grow(tmp_path, random_rows(400, 6), max_id=600, block_rows=42, progress=lambda *stage: seen.append(stage))
    assert list(dict.fromkeys(doing for doing, *_ in seen)) == [f"{NAME}: known rows", f"{NAME}: all rows"]
    for doing, total in ((f"{NAME}: known rows", 400), (f"{NAME}: all rows", 600)):
        counts = [done for stage, done, rows, row_bytes in seen if (stage, rows, row_bytes) == (doing, total, 6 * 4)]
        assert counts == sorted(counts)
        assert (len(counts) > 5, counts[-1]) == (True, total)


@pytest.mark.parametrize("phase", ["known rows", "all rows"])
def test_failure_in_progress_leaves_nothing(tmp_path: Path, phase: str) -> None:
    """Whatever a caller's progress raises ends the run with nothing written and an old output whole."""
    path = save(tmp_path / "m.safetensors", {NAME: random_rows(40, 6)})
    ids = write_lines(tmp_path / "ids", range(40))
    old = tmp_path / "old.safetensors"
    old.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())

    def stop(doing: str, *_: int) -> None:
        if doing.endswith(phase):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embcompress.backfill(path, max_id=50, base_ids=ids, output=old, force=True, progress=stop)
    assert (sorted(tmp_path.iterdir()), old.read_bytes()) == (before, b"old")


def test_input_that_is_cut_while_being_read_is_refused(tmp_path: Path) -> None:
    """A base that shrinks after its first pass is damage, told as such, with nothing written."""
    path = save(tmp_path / "m.safetensors", {NAME: random_rows(400, 6)})
    ids = write_lines(tmp_path / "ids", shuffled(500)[:400])
    before = sorted(tmp_path.iterdir())

    def cut(doing: str, *_: int) -> None:
        if doing.endswith("known rows"):
            with open(path, "r+b") as file:
                file.truncate(2000)

    with pytest.raises(DamagedFileError, match="the file is cut short"):
        embcompress.backfill(path, max_id=500, base_ids=ids, progress=cut)
    assert sorted(tmp_path.iterdir()) == before


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

    before = state()
    grow(tmp_path, random_rows(40, 6))
    grow(tmp_path, random_rows(40, 6), method="normal", constrainer="normalize")
    assert state() == before


def test_too_few_labels_are_no_padding(tmp_path: Path) -> None:
    """20 labels for 60 rows would drop 40 trained rows: refused by count, whether the table is named or found."""
    path = save(tmp_path / "m.safetensors", {"entities.weight": random_rows(60, 4)})
    old = write_lines(tmp_path / "old", [f"t{number}" for number in range(20)])
    new = write_lines(tmp_path / "new", [f"t{number}" for number in range(30)])
    for table in ((), "entities.weight"):
        with pytest.raises(IdsError, match=r"has 60 rows, and 20 ids were given: rows 20\.\.59 have none"):
            embcompress.backfill(path, base_labels=old, labels=new, table=table)


def test_gaussian_of_few_wide_rows_needs_no_square_matrix(tmp_path: Path) -> None:
    """Three rows of 60 000 columns, whose covariance would take 29 GB, give new rows in their span."""
    rows = random_rows(3, 60_000)
    path = save(tmp_path / "m.safetensors", {"entities.weight": rows})
    ids = write_lines(tmp_path / "ids", [2, 0, 1])
    actual = read(embcompress.backfill(path, max_id=5, base_ids=ids))["entities.weight"]
    span = torch.linalg.qr((rows - rows.mean(dim=0)).double().T).Q[:, :2]
    new = (actual[3:] - rows.mean(dim=0)).double()
    # all but the rounding of float32 lies in the plane of the differences
    assert float((new - new @ span @ span.T).norm() / new.norm()) < 1e-5


def test_bases_that_differ_by_rounding_alone_hold_what_they_can(tmp_path: Path) -> None:
    """Two artifacts over one 4-dimensional space give 8 bases of rank 4: new weights stay small and hold the share."""
    rows = random_rows(200, 4) @ random_rows(4, 12)
    names = []
    for name, part in (("a", rows[:100]), ("b", rows[100:])):
        save(tmp_path / f"{name}.safetensors", {"entities.weight": part.contiguous()})
        names.append(tmp_path / f"{name}-4bases.safetensors")
        embcompress.approximate(tmp_path / f"{name}.safetensors", bases=4)
    ids = [write_lines(tmp_path / f"ids{index}", range(100 * index, 100 * index + 100)) for index in range(2)]
    result = embcompress.backfill(names, max_id=250, base_ids=ids, method="normal")
    weights = read(result)["entities.weight.weights"][200:]
    assert float(weights.abs().max()) < 10  # N(0, 1) rows on orthonormal bases
    # a random direction of 12 has a third of its square in a space of 4; five standard errors over 50 rows
    assert only(result).kept_energy == pytest.approx(4 / 12, abs=0.1)


def test_damage_in_an_artifact_is_not_blessed(tmp_path: Path) -> None:
    """A flipped byte anywhere in an artifact's tensors is an ArtifactError: no file with fresh checksums is made."""
    save(tmp_path / "m.safetensors", {"entities.weight": random_rows(60, 12), "other": random_rows(7, 3)})
    embcompress.approximate(tmp_path / "m.safetensors", bases=2)
    path = tmp_path / "m-2bases.safetensors"
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    ids = write_lines(tmp_path / "ids", range(60))
    for position in range(header, len(whole), 97):
        damaged = bytearray(whole)
        damaged[position] ^= 64
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="crc32"):
            embcompress.backfill(path, max_id=70, base_ids=ids, output=tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scale", [1e-42, 1e-25, 3e18, 1e25])
def test_gaussian_of_any_scale(tmp_path: Path, scale: float) -> None:
    """Rows far from 1 give new rows of their own deviation: squares are made where they have all digits."""
    rows = (torch.randn(400, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * scale).float()
    path = save(tmp_path / "m.safetensors", {"entities.weight": rows})
    result = embcompress.backfill(path, max_id=2400, base_ids=write_lines(tmp_path / "ids", range(400)))
    new = read(result)["entities.weight"][400:].double()
    # five standard errors over 12 000 entries, and the steps of subnormal float32 numbers
    assert float(new.std() / rows.double().std()) == pytest.approx(1, rel=0.04)
    assert only(result).new_rows.norm.mean == pytest.approx(float(new.norm(dim=1).mean()), rel=1e-3)


def test_inputs_are_never_overwritten(tmp_path: Path) -> None:
    """Ids, labels and fill are inputs too: an output or a report in their place is refused, --force or not."""
    path = save(tmp_path / "m.safetensors", {"entities.weight": random_rows(6, 4)})
    ids = write_lines(tmp_path / "ids.json", [])
    ids.write_text("[5, 4, 3, 2, 1, 0]")
    for outputs in ({"output": ids}, {"report": ids}):
        with pytest.raises(OutputError, match="is the input itself"):
            embcompress.backfill(path, max_id=9, base_ids=ids, force=True, **outputs)
    assert ids.read_text() == "[5, 4, 3, 2, 1, 0]"


TRANSE = SAMPLES / "kinships-transe"


@pytest.mark.parametrize(("constrainer", "is_held"), [(None, True), ("none", False), ("clamp:max=0.01", False)])
def test_constrainer_of_the_model_holds_new_rows(tmp_path: Path, constrainer: str | None, is_held: bool) -> None:
    """New entities of a TransE have the norm 1 that its pickle tells of, unless another constrainer is named."""
    labels = TRANSE / "training_triples" / "entity_to_id.tsv.gz"
    old = read_labels(labels)
    result = embcompress.backfill(
        TRANSE / "trained_model.pkl",
        base_labels=labels,
        labels=write_lines(tmp_path / "new.txt", [*old, "one more", "and another"]),
        table="entity*",
        constrainer=constrainer,
        output=tmp_path / "grown.safetensors",
    )
    (table,) = result.tables
    norms = read(result)[table.name][len(old) :].norm(dim=1)
    assert bool(torch.allclose(norms, torch.ones(2), atol=1e-6)) == is_held
    assert table.constrainer == ("normalize" if is_held else None if constrainer == "none" else constrainer)
    assert any("of the model is applied to the new rows" in warning for warning in result.warnings) == is_held
