"""Coded tables that grow: kept strings to the bit, new rows by the commonest step, and what is said of both."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

import embcompress
from embcompress.artifact.coded import read_coded
from embcompress.artifact.decoded_rows import open_decoded_rows
from embcompress.artifact.reader import read_artifact
from embcompress.artifact.schema import (
    CompressedTable,
    Original,
    artifact_metadata,
    coded_entries,
    widest_metadata,
    window_entries,
)
from embcompress.artifact.writer import Entry, SafetensorsWriter
from embcompress.checkpoints import open_checkpoint
from embcompress.coding.codebook import Codebook
from embcompress.coding.coder import encode_block
from embcompress.coding.kinds import Kinds
from embcompress.coding.rotation import decode_rotation, encode_rotation
from embcompress.coding.row_index import make_row_index
from embcompress.coding.seekable_index import put_heads, store_index
from embcompress.coding.symbols import PER_OCTAVE, classes_of, distortions_of, load_symbols
from embcompress.commands.memory import INDEX_ROW_BYTES
from embcompress.compression.memory import BASE_MEMORY_BYTES
from embcompress.exceptions import ArtifactError, NonFiniteError, TableError
from embcompress.results import BackfillResult, GrownTable
from embcompress.tables.rows import tensor_bytes
from tests.fixtures import draw, load_stored, save, write_lines

NAME = "entities.weight"
SINGLE = torch.finfo(torch.float32).eps
ERROR = 0.125  # what the artifacts here say of theirs


@dataclass(frozen=True)
class Made:
    """A coded table as it was written.

    Attributes:
        path: of the artifact.
        rows: of the table.
        codebook: with its kinds.
        kinds: (rows,) of each row.
        bases: (rank, dim) float64 as they decode; None where the table's own columns are coded.
    """

    path: Path
    rows: int
    codebook: Codebook
    kinds: NDArray[np.int64]
    bases: Tensor | None


@dataclass(frozen=True)
class Case:
    """A coded table.

    Attributes:
        shape, dtype: of its rows.
        deviations: of the coded columns, profile by profile.
        steps: of the rows; the first is that of two rows in three.
        center: of all columns.
        is_rotated: whether bases of random directions are coded.
        states: of the trellis.
        is_seekable: whether single rows can be read.
    """

    shape: tuple[int, ...]
    deviations: tuple[tuple[float, ...], ...]
    steps: tuple[float, ...] = (0.25,)
    dtype: str = "float32"
    center: float = 0.0
    is_rotated: bool = False
    states: int = 8
    is_seekable: bool = False

    @property
    def dim(self) -> int:
        """Count the reals of a row."""
        return math.prod(self.shape) * (2 if self.dtype.startswith("complex") else 1)


CASES = {
    "own columns": Case((6,), ((1.0,) * 6,)),
    "rotated, two profiles, two steps": Case(
        (2, 4), ((4.0, 2.0, 1.0, 0.5, 0.05), (1.0, 1.0, 2.0, 1.0, 1.0)), (0.3, 0.11), center=0.75, is_rotated=True
    ),
    "complex, three steps": Case((32,), (tuple(2.0 ** (-k / 16) for k in range(64)),), (0.2, 0.5, 0.1), "complex64"),
    "complex, rotated": Case((2,), ((3.0, 2.0, 1.0),), dtype="complex64", is_rotated=True, states=256),
    "seekable, two steps": Case((4,), ((1.0, 1.0, 2.0, 1.0),), (0.3, 0.11), is_seekable=True),
    "float16, coarse": Case((48,), ((2.0,) * 16 + (1.0,) * 32,), (2.0,), "float16", states=32),
}


def write_coded(
    path: Path, case: Case, *, rows: int = 40, zeros: Sequence[int] = (3, 17), others: dict[str, Tensor] | None = None
) -> Made:
    """Write an artifact of one table of normal rows of all lengths; each kind of scale, step and profile occurs."""
    rank = len(case.deviations[0])
    deviations = np.array(case.deviations)
    rotation, bases = None, None
    if case.is_rotated:
        vectors = torch.linalg.qr(draw(case.dim, rank, seed=3).double()).Q.T.contiguous()
        rotation = encode_rotation(vectors, np.full(rank, 40))
        bases = decode_rotation(rotation, rank).float().double()
    none = np.zeros(1, np.int64)
    steps = tuple(float(np.float32(step)) for step in case.steps)
    codebook = Codebook(
        case.states, rank, steps, none, none, none, none, classes_of(deviations / steps[0]), rotation=rotation
    )
    if case.center:
        numbers = np.full(deviations.shape, round(case.center / 0.125))
        codebook = replace(codebook, center_numbers=numbers, center_step=0.125)
    numbered = np.arange(rows)
    profiles, step_numbers = numbered % len(deviations), np.where(numbered % 3, 0, numbered // 3 % len(steps))
    scales, lengths = np.where(numbered % 5, 0, -12), 2 * (numbered % 9) - 8
    kinds = Kinds()
    own = kinds.number(profiles, lengths - scales, scales, step_numbers)
    weights = (
        draw(rows, rank, seed=1)
        * torch.from_numpy(deviations[profiles] * 2.0 ** (lengths[:, None] / PER_OCTAVE)).float()
    )
    weights += case.center
    own[list(zeros)] = 0
    weights[list(zeros)] = 0
    codebook = kinds.into(codebook)
    block = encode_block(weights, own, codebook=codebook, threads=1)
    index = store_index(make_row_index(own, block.lengths), codebook, is_seekable=case.is_seekable)
    codes = put_heads(index, block.strings, first=0, blocks=-(-rows // 16)) if case.is_seekable else block.strings
    contents = {
        ".codes": codes,
        ".index": index.index,
        ".codebook": codebook.to_bytes(),
    }
    table = CompressedTable(
        NAME, (), rows, case.shape, case.dtype, rank, ERROR, coding="coded", is_seekable=case.is_seekable
    )
    entries = coded_entries(NAME, **{suffix[1:]: len(part) for suffix, part in contents.items()})
    copied = {Entry(key, "float32", tuple(value.shape)): value for key, value in (others or {}).items()}
    everything = [*entries.values(), *copied]
    with SafetensorsWriter(
        path, everything, metadata=widest_metadata([table], entries=everything, original=Original())
    ) as writer:
        for entry, value in copied.items():
            writer.append(entry, tensor_bytes(value))
        for suffix, entry in entries.items():
            writer.append(entry, contents[suffix].data)
        writer.finish(artifact_metadata([table], checksums=writer.checksums, original=Original()))
        writer.commit()
    return Made(path, rows, codebook, own, bases)


def make(folder: Path, case: str, **options: Any) -> Made:
    """Write one of CASES."""
    return write_coded(folder / "x.safetensors", CASES[case], **options)


def shuffled(count: int, *, seed: int = 0) -> list[int]:
    """Draw an order."""
    return torch.randperm(count, generator=Generator().manual_seed(seed)).tolist()


def grow(made: Made, *, new: Sequence[int] | None = None, max_id: int = 61, **options: Any) -> BackfillResult:
    """Backfill by label: `new` lists for each id the row that it keeps, or -1; by default all rows in random order."""
    order = shuffled(max_id) if new is None else new
    folder = made.path.parent
    labels = [f"w{row}" if 0 <= row < made.rows else f"new{index}" for index, row in enumerate(order)]
    return embcompress.backfill(
        made.path,
        base_labels=write_lines(folder / "old.txt", [f"w{row}" for row in range(made.rows)]),
        labels=write_lines(folder / "new.txt", labels),
        **{"output": folder / "y.safetensors", "force": True, **options},
    )


def only(result: BackfillResult) -> GrownTable:
    """Take the one table of a result."""
    (table,) = result.tables
    return table


def told_error(path: str | Path) -> float | None:
    """Read the error that an artifact tells of its table."""
    with safetensors.safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["embcompress"])
    error: float | None = document["tables"][NAME]["error"]["relative"]
    return error


@dataclass(frozen=True)
class Found:
    """A coded table as it lies in a file.

    Attributes:
        codebook: that decodes it.
        kinds: (rows,) of each row.
        strings: of each row.
        rows: (rows, dim) float64, decoded.
        is_seekable: whether single rows can be read.
    """

    codebook: Codebook
    kinds: list[int]
    strings: list[bytes]
    rows: Tensor
    is_seekable: bool


def find(path: str | Path) -> Found:
    """Read a coded table, its strings cut by the sums of their lengths."""
    with open_checkpoint(Path(path)) as checkpoint:
        artifact = read_artifact(checkpoint)
        (table,) = artifact.tables
        opened = open_decoded_rows(artifact, table, dtype=torch.float64, device="cpu")
        decoded = opened.read_next(table.rows).clone()
        opened.check()
        factors = read_coded(artifact, table)
    stored = safetensors.torch.load_file(path)
    codes, index = stored[f"{NAME}.codes"].numpy().tobytes(), factors.index
    places = zip(index.positions(np.arange(table.rows)).tolist(), index.lengths.tolist(), strict=True)
    strings = [codes[begin : begin + length] for begin, length in places]
    return Found(factors.codebook, index.kinds.tolist(), strings, decoded, table.is_seekable)


def assert_kept(made: Made, result: BackfillResult, order: Sequence[int]) -> Found:
    """Check that kept rows have their strings, kinds and values, and that what decodes them is as it was."""
    before, after = find(made.path), find(result.output.path)
    assert after.is_seekable == before.is_seekable
    kept_rows = [(index, row) for index, row in enumerate(order) if 0 <= row < made.rows]
    assert [after.strings[index] for index, _ in kept_rows] == [before.strings[row] for _, row in kept_rows]
    assert [after.kinds[index] for index, _ in kept_rows] == [before.kinds[row] for _, row in kept_rows]
    ids, rows = ([pair[side] for pair in kept_rows] for side in (0, 1))
    assert torch.equal(after.rows[ids], before.rows[rows])
    assert len(after.rows) == len(order)
    count = before.codebook.kinds
    for name in ("profiles", "shifts", "scales", "step_numbers"):
        assert getattr(after.codebook, name)[:count].tolist() == getattr(before.codebook, name).tolist()
    assert after.codebook.steps == before.codebook.steps
    unchanged = replace(
        after.codebook,
        **{name: getattr(before.codebook, name) for name in ("profiles", "shifts", "scales", "step_numbers")},
    )
    assert unchanged.to_bytes().tobytes() == before.codebook.to_bytes().tobytes()
    return after


ORDERS = {
    "all in their order": [*range(40), -1, -1, -1],
    "mixed": shuffled(61),
    "some dropped": [row if row % 3 else -1 for row in shuffled(50, seed=5)],
    "no new": shuffled(40, seed=2),
    "fewer": shuffled(40, seed=3)[:17],
    "few": [-1, 7, 31, 2, 19],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", CASES)
def test_kept_rows_are_identical(tmp_path: Path, case: str, order: str) -> None:
    """However rows are placed or dropped, kept ones have their strings and values; no new id, no new kind."""
    made = make(tmp_path, case)
    result = grow(made, new=ORDERS[order])
    after = assert_kept(made, result, ORDERS[order])
    count = sum(0 <= row < 40 for row in ORDERS[order])
    table = only(result)
    assert (table.rows_kept, table.rows_added, table.rows_dropped) == (count, len(ORDERS[order]) - count, 40 - count)
    assert (table.coding, table.rank) == ("coded", made.codebook.rank)
    assert (table.kept_energy is None) == (count == len(ORDERS[order]))
    if count == len(ORDERS[order]):
        assert after.codebook.to_bytes().tobytes() == made.codebook.to_bytes().tobytes()


@hypothesis.settings(max_examples=12, deadline=None)
@hypothesis.given(order=st.permutations(range(-9, 12)), length=st.integers(1, 21), case=st.sampled_from(list(CASES)))
def test_kept_rows_are_identical_wherever_they_go(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], length: int, case: str
) -> None:
    """Any part of 12 rows in any order between new ones keeps its bits, and the result multiplies out to its rows."""
    order = order[:length]
    hypothesis.assume(sum(row >= 0 for row in order) > 1)  # of 12: where nearly all go, labels are refused
    made = make(tmp_path_factory.mktemp("placed"), case, rows=12, zeros=(3,))
    result = grow(made, new=order)
    after = assert_kept(made, result, order)
    dense = reals(
        safetensors.torch.load_file(embcompress.reconstruct(result.output.path, force=True).output.path)[NAME]
    )
    # sums of up to 5 products in float32, then rounded
    rounding = torch.finfo(torch.float16 if CASES[case].dtype == "float16" else torch.float32).eps
    torch.testing.assert_close(dense, after.rows, rtol=0, atol=8 * rounding * float(dense.abs().max()))


def reals(values: Tensor) -> Tensor:
    """Flatten rows to float64, complex entries as pairs, (rows, dim)."""
    return (torch.view_as_real(values) if values.is_complex() else values).double().flatten(1)


def like_rows(case: Case, values: Tensor) -> Tensor:
    """Give reals, (rows, dim), the shape and dtype of a table's rows."""
    shaped = values.float().view(-1, *case.shape, *([2] if case.dtype == "complex64" else []))
    return torch.view_as_complex(shaped) if case.dtype == "complex64" else shaped


@pytest.mark.parametrize("case", CASES)
def test_new_rows_are_coded_as_their_step_allows(tmp_path: Path, case: str) -> None:
    """New rows have the commonest step, and, like the kept ones, the error that their classes leave."""
    made, book = make(tmp_path, case), find(make(tmp_path, case).path).codebook
    drawn = draw(800, book.rank, seed=9).double() * torch.tensor(CASES[case].deviations[0]).double()
    weights = drawn * 2 ** torch.linspace(-1, 1, 800)[:, None] + CASES[case].center
    rows = like_rows(CASES[case], weights if made.bases is None else weights @ made.bases)
    result = grow(made, new=[*range(40), *[-1] * 800], fill=save(tmp_path / "fill.safetensors", {"rows": rows}))
    after = assert_kept(made, result, [*range(40), *[-1] * 800])
    book, kinds = after.codebook, np.array(after.kinds[40:])
    counted = Counter(
        (int(made.codebook.step_numbers[kind]), int(made.codebook.scales[kind])) for kind in made.kinds if kind
    )
    (own,) = {(int(book.step_numbers[kind]), int(book.scales[kind])) for kind in kinds}
    assert counted[own] == max(counted.values())
    asked = reals(rows)
    exact = asked if made.bases is None else asked @ made.bases.T
    stored = after.rows[40:]
    decoded = stored if made.bases is None else stored @ made.bases.T
    left = (decoded - exact).square().sum(dim=1)
    classes = book.classes[book.profiles[kinds]] + book.shifts[kinds][:, None]
    expected = book.steps[own[0]] ** 2 * distortions_of(classes, load_symbols()).sum(axis=1)
    # The tables tell what long strings leave: the first columns of a path have less to choose from, so that strings of
    # three columns leave a sixth more.
    assert 0.8 < float(left.sum()) / float(expected.sum()) < 1.25
    table = only(result)
    kept_energy = 1 - float((asked - stored).square().sum() / asked.square().sum())
    assert table.kept_energy == pytest.approx(kept_energy, abs=8 * SINGLE)
    for report, part in ((table.new_rows, stored), (table.base_rows, after.rows[:40])):
        assert report is not None
        assert report.norm.mean == pytest.approx(float(part.norm(dim=1).mean()), rel=8 * SINGLE)
    assert table.rows_filled == 800


@pytest.mark.parametrize("case", CASES)
def test_zeros_stay_zeros(tmp_path: Path, case: str) -> None:
    """New rows of zeros are of kind 0 and decode to 0; nothing is lost, so the error stays and no warning comes."""
    made = make(tmp_path, case)
    order = [-1, *range(40), -1]
    result = grow(made, new=order, method="zeros", constrainer="clamp_norm:maxnorm=1")
    after = assert_kept(made, result, order)
    assert not after.rows[[0, -1]].any()
    assert (after.kinds[0], after.kinds[-1], after.strings[0], after.strings[-1]) == (0, 0, b"", b"")
    assert after.codebook.kinds == made.codebook.kinds
    assert only(result).kept_energy == 1
    assert told_error(result.output.path) == ERROR
    assert result.warnings == ()


def test_rows_of_any_length_are_held(tmp_path: Path) -> None:
    """From 2 to 2^18 steps rows are held to about half a step in each column, however long their neighbours are."""
    made = make(tmp_path, "own columns")
    rows = draw(200, 6, seed=4) * 2 ** torch.linspace(-1, 16, 200)[:, None]
    result = grow(made, new=[*range(40), *[-1] * 200], fill=save(tmp_path / "fill.safetensors", {"rows": rows}))
    left = (find(result.output.path).rows[40:] - rows.double()).square().mean()
    # a step leaves a quarter of its square; far out float32 has coarser digits
    assert 0.2 < float(left) / 0.25**2 < 0.35
    assert only(result).kept_energy == pytest.approx(1, abs=1e-6)
    assert result.warnings == ()


def test_rows_beyond_the_reach_are_cut(tmp_path: Path) -> None:
    """A number beyond 2^23 steps is cut there; most of such a row is lost, and told."""
    made = make(tmp_path, "own columns")
    rows = draw(10, 6)
    rows[5] = 2.0**24
    result = grow(made, new=[*range(40), *[-1] * 10], fill=save(tmp_path / "fill.safetensors", {"rows": rows}))
    cut = torch.full((6,), 0.25 * 2.0**23, dtype=torch.float64)
    torch.testing.assert_close(find(result.output.path).rows[45], cut, rtol=1e-6, atol=0)
    assert only(result).kept_energy == pytest.approx(1 - (1 - 2.0**-3) ** 2, abs=1e-6)
    assert any("bases and codes" in text for text in result.warnings)


def test_a_table_of_zeros_grows(tmp_path: Path) -> None:
    """Where all rows are zeros, or all kept ones, new rows are coded by the first step all the same."""
    made = make(tmp_path, "own columns", rows=12, zeros=range(12))
    order = [-1, *range(12), -1]
    fill = save(tmp_path / "fill.safetensors", {"rows": 4 * draw(2, 6)})
    after = assert_kept(made, grow(made, new=order, fill=fill), order)
    assert float((after.rows[[0, -1]] - 4 * draw(2, 6).double()).abs().max()) < 3 * 0.25
    some = make(tmp_path, "own columns", rows=12, zeros=(3, 4))
    after = assert_kept(some, grow(some, new=[4, -1, 3, -1], fill=fill), [4, -1, 3, -1])
    assert float((after.rows[[1, 3]] - 4 * draw(2, 6).double()).abs().max()) < 3 * 0.25


def test_fill_gives_rows_by_label(tmp_path: Path) -> None:
    """Rows of a fill go to their labels, the others are drawn: a constant of 7 beside one of 3 is told apart."""
    made = make(tmp_path, "own columns")
    fill = save(tmp_path / "fill.safetensors", {"rows": torch.full((3, 6), 7.0)})
    result = grow(
        made,
        new=[-1, *range(40), -1, -1, -1, -1],
        fill=fill,
        fill_labels=write_lines(tmp_path / "fill.txt", ["new43", "new0", "new41"]),
        method="uniform:a=3,b=3",
    )
    rows = find(result.output.path).rows[[0, 41, 42, 43, 44]]
    table = only(result)
    assert (table.rows_filled, table.rows_added, table.method) == (3, 5, "uniform:a=3,b=3")
    asked = torch.tensor([7.0, 7.0, 3.0, 7.0, 3.0]).double()
    # numbers are within two steps: levels of a set lie two steps apart, and bits draw them a little
    assert float((rows - asked[:, None]).abs().max()) < 2 * 0.25


@pytest.mark.parametrize("case", CASES)
def test_same_run_writes_the_same_bytes(tmp_path: Path, case: str) -> None:
    """Twice the same bytes, in blocks of 7 rows too; another seed changes the strings of new rows alone."""
    made = make(tmp_path, case)
    first = Path(grow(made, method="normal").output.path).read_bytes()
    assert Path(grow(made, method="normal").output.path).read_bytes() == first
    before = find(tmp_path / "y.safetensors")
    changed = assert_kept(made, grow(made, method="normal", seed=1), shuffled(61))
    assert changed.strings != before.strings
    assert Path(grow(made, method="normal", block_rows=7).output.path).read_bytes() == first


@pytest.mark.parametrize("case", CASES)
def test_dry_run_tells_the_size(tmp_path: Path, case: str) -> None:
    """A dry run tells the size to 10 % with rows dropped and new ones; the run tells the very bytes."""
    made = make(tmp_path, case, rows=900)
    order = [row if row % 4 else -1 for row in shuffled(1000)]
    planned = grow(made, new=order, dry_run=True)
    assert not (tmp_path / "y.safetensors").exists()
    done = grow(made, new=order)
    assert done.output.bytes == Path(done.output.path).stat().st_size
    assert planned.output.bytes == pytest.approx(done.output.bytes, rel=0.1)
    tensors = safetensors.torch.load_file(done.output.path)
    assert only(done).bytes_after == done.totals.bytes_after == sum(part.numel() for part in tensors.values())
    assert only(planned).bytes_after == pytest.approx(only(done).bytes_after, rel=0.1)
    before = safetensors.torch.load_file(made.path)
    assert only(planned).bytes_before == only(done).bytes_before == sum(part.numel() for part in before.values())
    assert (only(planned).kept_energy, only(planned).new_rows, planned.dry_run) == (None, None, True)
    assert_kept(made, done, order)


def test_dry_run_tells_the_memory(tmp_path: Path) -> None:
    """A dry run tells the memory: torch and the coder's own, and so many bytes a row for the index."""
    estimates = []
    for rows in (20_000, 30_000):
        made = make(tmp_path, "own columns", rows=rows)
        estimates.append(grow(made, new=range(rows + 10), dry_run=True).memory_bytes or 0)
    assert BASE_MEMORY_BYTES < estimates[0] < 2 * BASE_MEMORY_BYTES
    assert estimates[1] - estimates[0] > 10_000 * INDEX_ROW_BYTES


def test_grown_tables_grow_again(tmp_path: Path) -> None:
    """What is left of a table grows again, and again: rows of all runs keep their bits, and kinds are shared."""
    made = make(tmp_path, "rotated, two profiles, two steps")
    order = [row for row in range(40) if row % 3 == 0]
    first = grow(made, new=order)
    assert_kept(made, first, order)
    path, rows, kinds = Path(first.output.path), len(order), made.codebook.kinds
    for count in (1, 200, 200):
        again = replace(made, path=path, rows=rows)
        result = grow(again, new=range(rows + count), output=tmp_path / f"{rows}.safetensors")
        after = assert_kept(again, result, range(rows + count))
        path, rows = Path(result.output.path), rows + count
        kinds, grown = after.codebook.kinds, after.codebook.kinds - kinds
    assert grown < 20  # gaussian rows are of a few lengths, most of which were there


@pytest.mark.parametrize("others", [("coded", "coded"), ("coded", "dense"), ("dense", "coded")])
def test_several_bases_of_a_coded_table_are_refused(tmp_path: Path, others: tuple[str, str]) -> None:
    """A coded table in one of two bases is a TableError that names the file and the way out; nothing is written."""
    paths = []
    for number, kind in enumerate(others):
        path = tmp_path / f"{number}.safetensors"
        if kind == "coded":
            write_coded(path, CASES["own columns"], rows=30)
        else:
            save(path, {NAME: draw(30, 6)})
        paths.append(path)
    ids = [write_lines(tmp_path / f"ids{number}", range(30 * number, 30 * number + 30)) for number in range(2)]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TableError, match=r"is coded in .*: a coded table can grow from one base only") as caught:
        embcompress.backfill(paths, max_id=70, base_ids=ids)
    assert "embcompress reconstruct" in caught.value.hint
    assert sorted(tmp_path.iterdir()) == before


def test_coded_table_of_schema_1_is_refused(tmp_path: Path) -> None:
    """A table coded as in schema 1 is a TableError that names it and the way out; nothing is written."""
    table = CompressedTable(NAME, (), 30, (6,), "float32", 6, ERROR, coding="coded", windows=((2, 2),))
    entries = list(window_entries(table, bases_dtype=None, rows_in_groups=[30], row_bytes=[2], scales=6).values())
    path = tmp_path / "x.safetensors"
    with SafetensorsWriter(
        path, entries, metadata=widest_metadata([table], entries=entries, original=Original())
    ) as writer:
        for entry in entries:
            writer.append(entry, bytes(entry.nbytes))
        writer.finish(artifact_metadata([table], checksums=writer.checksums, original=Original()))
        writer.commit()
    ids = write_lines(tmp_path / "ids", range(30))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TableError, match=f"table '{NAME}' in .* is coded as in artifact schema 1") as caught:
        embcompress.backfill(path, max_id=40, base_ids=ids)
    for part in (f"`embcompress reconstruct {path}`", "backfill that", "approximate again"):
        assert part in caught.value.hint
    assert sorted(tmp_path.iterdir()) == before


def test_coded_tables_that_do_not_grow_are_copied(tmp_path: Path) -> None:
    """Beside a dense table that grows from two bases, a coded one of the first keeps every byte."""
    paths = []
    for number in range(2):
        relations = {"relations.weight": draw(5, 3, seed=number)}
        case = CASES["rotated, two profiles, two steps"]
        paths.append(write_coded(tmp_path / f"{number}.safetensors", case, others=relations).path)
    ids = [write_lines(tmp_path / "a", [6, 0, 3, 1, 5]), write_lines(tmp_path / "b", [2, 10, 9, 8, 7])]
    for count in (1, 2):
        output = tmp_path / f"out{count}.safetensors"
        result = embcompress.backfill(paths[:count], max_id=12, base_ids=ids[:count], output=output)
        assert only(result).name == "relations.weight"
        before, after = safetensors.torch.load_file(paths[0]), load_stored(output)
        assert after.keys() == before.keys()
        assert torch.equal(after["relations.weight"][[6, 0, 3, 1, 5]], before["relations.weight"])
        for name in before.keys() - {"relations.weight"}:
            assert torch.equal(after[name], before[name])
        assert torch.equal(find(output).rows, find(paths[0]).rows)
        assert told_error(output) == ERROR


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=["NaN", "infinity", "minus"])
@pytest.mark.parametrize("case", ["own columns", "rotated, two profiles, two steps"])
def test_fill_that_is_not_finite_is_refused(tmp_path: Path, case: str, value: float) -> None:
    """NaN and infinity end the run with the id of the row, and nothing is written."""
    made = make(tmp_path, case)
    rows = draw(3, *CASES[case].shape)
    rows[1] = value
    fill = save(tmp_path / "fill.safetensors", {"rows": rows})
    with pytest.raises(NonFiniteError, match=f"the new row of id 41 in table '{NAME}'"):
        grow(made, new=[*range(40), -1, -1, -1], fill=fill)
    assert not (tmp_path / "y.safetensors").exists()


def test_fill_beyond_the_dtype_of_the_table_is_refused(tmp_path: Path) -> None:
    """What float16 rows do not hold would load as infinity: the row is named."""
    made = make(tmp_path, "float16, coarse")
    fill = save(tmp_path / "fill.safetensors", {"rows": torch.tensor([1.0, 3e5])[:, None].expand(2, 48).contiguous()})
    with pytest.raises(NonFiniteError, match=r"the new row of id 41 in .* beyond torch\.float16"):
        grow(made, new=[*range(40), -1, -1], fill=fill)


def test_an_error_that_is_not_known_is_not_told(tmp_path: Path) -> None:
    """The error stays where rows only moved, and is null where some went or new ones lost a part to their bits."""
    made = make(tmp_path, "rotated, two profiles, two steps")
    for order, method, expected in (
        (shuffled(40), "gaussian", ERROR),
        (shuffled(40)[:30], "gaussian", None),
        (shuffled(50), "gaussian", None),
        (shuffled(50), "zeros", ERROR),
    ):
        assert told_error(grow(made, new=order, method=method).output.path) == expected


def test_coarse_steps_alone_bring_no_warning(tmp_path: Path) -> None:
    """A step of the deviation holds little of normal rows by design, which is no reason to warn; bases are one."""
    coarse = write_coded(tmp_path / "x.safetensors", Case((64,), ((1.0,) * 64,), (1.6,)))
    result = grow(coarse, new=[*range(40), *[-1] * 400], method="normal")
    assert 0.15 < (only(result).kept_energy or 0) < 0.5
    assert result.warnings == ()
    rotated = write_coded(tmp_path / "r.safetensors", Case((8,), ((1.0, 1.0),), (0.25,), is_rotated=True))
    assert rotated.bases is not None
    inside = rotated.bases.T @ rotated.bases
    rows = draw(400, 8, seed=1, dtype=torch.float64)
    for outside, is_told in ((0.8, False), (1.2, True)):  # of the squared norm: 56 % and 45 % within reach
        given = rows @ inside + (outside / 3) ** 0.5 * (rows - rows @ inside)
        fill = save(tmp_path / "fill.safetensors", {"rows": given.float()})
        result = grow(rotated, new=[*range(40), *[-1] * 400], fill=fill)
        reach = float((given @ inside).square().sum() / given.square().sum())
        assert reach == pytest.approx(1 / (1 + outside), abs=0.03)
        warnings = [text for text in result.warnings if "squared norm" in text]
        assert bool(warnings) == is_told
        if warnings:
            kept_energy = only(result).kept_energy
            assert kept_energy is not None
            assert warnings[0].startswith(
                f"the bases and codes of '{NAME}' keep only {kept_energy:.1%} of the squared norm"
            )
            # a column of class 16 is left with about a quarter of a squared step, of 16
            within = float(warnings[0].split("of at most ")[1].split("%")[0]) / 100
            assert within == pytest.approx(1 - 0.25 / 16, abs=0.005)
            assert "embcompress reconstruct" in warnings[0]


def test_rows_too_short_for_the_step_bring_a_warning(tmp_path: Path) -> None:
    """Rows of a hundredth of the step decode to zeros, and a warning says so."""
    made = make(tmp_path, "own columns")
    fill = save(tmp_path / "fill.safetensors", {"rows": 0.0025 * draw(30, 6)})
    result = grow(made, new=[*range(40), *[-1] * 30], fill=fill)
    after = find(result.output.path)
    assert not after.rows[40:].any()
    assert after.strings[40:] == [b""] * 30
    assert only(result).kept_energy == 0
    assert [text for text in result.warnings if text.startswith(f"the 30 new rows of '{NAME}' are stored as zeros")]


def test_constraint_is_told_to_hold_roughly(tmp_path: Path) -> None:
    """Normalized rows are of about norm 1 once they are coded, and a warning says that they are not exactly."""
    made = write_coded(tmp_path / "x.safetensors", Case((6,), ((0.4,) * 6,), (0.1,)))
    result = grow(made, new=[*range(40), *[-1] * 100], method="normal", constrainer="normalize")
    norms = find(result.output.path).rows[40:].norm(dim=1)
    # of six errors of a quarter of a squared step each, that along the row
    assert float((norms - 1).square().mean()) < 0.1**2
    assert [text for text in result.warnings if "constrained, then coded" in text]


def test_damage_is_not_blessed(tmp_path: Path) -> None:
    """A flipped bit anywhere in the tensors of the grown table is an ArtifactError, and no file is made."""
    made = make(tmp_path, "rotated, two profiles, two steps", rows=12, zeros=(3,))
    whole = made.path.read_bytes()
    start = int.from_bytes(whole[:8], "little") + 8
    order = list(range(15))
    for position in range(start, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 64
        made.path.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            grow(made, new=order)
        assert not (tmp_path / "y.safetensors").exists()


def test_progress_counts_known_and_all_rows(tmp_path: Path) -> None:
    """Progress tells of the known rows and then of all, in growing counts that end at their number."""
    made = make(tmp_path, "rotated, two profiles, two steps")
    seen: list[tuple[str, int, int, int]] = []
    grow(made, new=shuffled(61), block_rows=7, progress=lambda *stage: seen.append(stage))
    wanted = {f"{NAME}: known rows": 40, f"{NAME}: all rows": 61}
    assert list(dict.fromkeys(doing for doing, *_ in seen)) == list(wanted)
    for doing, total in wanted.items():
        counts = [done for stage, done, rows, _ in seen if stage == doing and rows == total]
        assert counts == sorted(counts)
        assert (len(counts) > 2, counts[-1]) == (True, total)


@pytest.mark.parametrize("is_flat", [False, True], ids=["rotated", "own columns"])
def test_compressed_table_grows(tmp_path: Path, is_flat: bool) -> None:
    """What `approximate --ratio` makes of a table grows by gaussian rows: kept ones to the bit, new ones like them."""
    rows = draw(600, 16)
    if not is_flat:
        rows = rows * 0.7 ** torch.arange(16) @ torch.linalg.qr(draw(16, 16, seed=3)).Q
    path = save(tmp_path / "m.safetensors", {NAME: rows})
    compressed = Path(embcompress.approximate(path, ratio=10, effort="fast").output.path)
    ids = shuffled(900)[:600]
    result = embcompress.backfill(compressed, max_id=900, base_ids=write_lines(tmp_path / "ids", ids))
    assert torch.equal(find(result.output.path).rows[ids], find(compressed).rows)
    table = only(result)
    assert table.base_rows is not None
    assert table.new_rows is not None
    # five standard errors of norms of 300 normal rows, and what their bits take away
    assert table.new_rows.norm.mean == pytest.approx(table.base_rows.norm.mean, rel=0.15)
    assert 0.8 < (table.kept_energy or 0) < 1
    loaded = reals(embcompress.load(result.output.path)[NAME]().detach())
    torch.testing.assert_close(
        loaded, find(result.output.path).rows, rtol=0, atol=32 * SINGLE * float(rows.abs().max())
    )
