"""Tables in few bits that grow: kept codes to the bit, new rows in codes of their own, and what is said of both."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import safetensors
import safetensors.torch
import torch
from torch import Generator, Tensor

import embcompress
from embcompress import table as table_module
from embcompress.artifact import CompressedTable, artifact_metadata, widest_metadata
from embcompress.coded_factors import coded_entries, group_width
from embcompress.coding.codebook import Codebook, pack_numbers, unpack_numbers
from embcompress.coding.constants import HALF_BIT
from embcompress.coding.levels import LevelTables, trained_levels
from embcompress.coding.scalar import lloyd_max
from embcompress.exceptions import ArtifactError, NonFiniteError, TableError
from embcompress.results import BackfillResult, GrownTable
from embcompress.safetensors_writer import Entry, SafetensorsWriter
from embcompress.table import tensor_bytes

NAME = "entities.weight"
SINGLE = torch.finfo(torch.float32).eps
BRAIN = torch.finfo(torch.bfloat16).eps
SCALAR_LOSS = math.sqrt(3) * math.pi / 2  # times 4^-bits: what many levels leave of normal numbers (Panter & Dite 1951)
ERROR = 0.125  # what the artifacts here say of theirs


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Draw normal numbers."""
    return torch.randn(shape, generator=Generator().manual_seed(seed))


@cache
def scalar_levels(bits: int) -> Tensor:
    """Fit levels to normal numbers."""
    return lloyd_max(draw(2**16), 1 << bits).half().float()


def window_levels(windows: dict[int, int]) -> Tensor:
    """Give the levels of scalar tables and of the trellis, one after the other."""
    return torch.cat(
        [
            trained_levels()[code] if window > code % HALF_BIT else scalar_levels(code)
            for code, window in windows.items()
        ]
    )


@dataclass(frozen=True)
class Made:
    """A coded table as it was written.

    Attributes:
        path: of the artifact.
        groups: (rows,) the group of each row.
        codes: of each group.
    """

    path: Path
    groups: Tensor
    codes: list[Tensor]


def write_coded(
    path: Path,
    bits: Sequence[Sequence[int]],
    *,
    rows: int = 40,
    windows: dict[int, int],
    shape: tuple[int, ...],
    dtype: str = "float32",
    bases: Tensor | None = None,
    levels: Tensor | None = None,
    name: str = NAME,
    others: dict[str, Tensor] | None = None,
) -> Made:
    """Write an artifact of one table with random codes; `bases` (rank, dim) go into int8 with a scale each."""
    columns = len(bits[0])
    book = Codebook(
        bits=torch.tensor(bits, dtype=torch.uint8),
        scales=(1 + draw(len(bits), columns).abs()).bfloat16().float(),
        windows=windows,
        levels=window_levels(windows) if levels is None else levels,
    )
    table = CompressedTable(
        name, (), (rows, *shape), dtype, columns, ERROR, coding="coded", windows=tuple(windows.items())
    )
    groups = torch.randint(len(bits), (rows,), generator=Generator().manual_seed(1)).to(torch.uint8)
    counts = torch.bincount(groups, minlength=len(bits)).tolist()
    widths = [layout.row_bytes for layout in book.layouts]
    codes = [
        torch.randint(256, (count, width), generator=Generator().manual_seed(group)).to(torch.uint8)
        for group, (count, width) in enumerate(zip(counts, widths, strict=True))
    ]
    packed = pack_numbers(torch.nn.functional.pad(book.bits, (0, columns % 2)).flatten(), 4)
    contents = {
        ".bits": packed,
        ".scales": book.scales[book.bits > 0].bfloat16(),
        ".levels": book.levels.half(),
        **{f".codes.{group}": part for group, part in enumerate(codes)},
    }
    if bases is not None:
        scales = bases.abs().amax(dim=1) / 127
        contents |= {".bases": (bases / scales[:, None]).round().to(torch.int8), ".basis_scales": scales}
    if len(bits) > 1:
        contents[".groups"] = pack_numbers(groups, group_width(len(bits)))
    entries = coded_entries(
        table,
        bases_dtype=None if bases is None else "int8",
        rows_in_groups=counts,
        row_bytes=widths,
        scales=int((book.bits > 0).sum()),
    )
    copied = {Entry(key, "float32", tuple(value.shape)): value for key, value in (others or {}).items()}
    everything = [*entries.values(), *copied]
    metadata = widest_metadata([table], entries=everything, original={})
    with SafetensorsWriter(path, everything, metadata=metadata) as writer:
        for suffix, entry in entries.items():
            writer.append(entry, tensor_bytes(contents[suffix]))
        for entry, value in copied.items():
            writer.append(entry, tensor_bytes(value))
        writer.finish(artifact_metadata([table], checksums=writer.checksums, original={}))
        writer.commit()
    return Made(path, groups, codes)


def orthonormal(rank: int, dim: int) -> Tensor:
    """Draw bases, (rank, dim)."""
    return torch.linalg.qr(draw(dim, rank, seed=3)).Q.T.contiguous()


CASES: dict[str, dict[str, Any]] = {
    "one group of own columns": {"bits": [[3] * 6], "windows": {3: 3}, "shape": (6,)},
    "rotated, three groups": {
        "bits": [[2, 1, 9, 0, 9], [0, 0, 0, 0, 0], [4, 3, 2, 1, 0]],
        "windows": {1: 1, 2: 8, 3: 3, 4: 4, 9: 8},
        "shape": (2, 4),
        "bases": orthonormal(5, 8),
    },
    "complex, two groups of own columns": {
        "bits": [[1] * 64, [3, 2] * 32],
        "windows": {1: 8, 2: 8, 3: 8},
        "shape": (32,),
        "dtype": "complex64",
    },
    "complex, rotated": {
        "bits": [[4, 3, 2]],
        "windows": {2: 2, 3: 3, 4: 4},
        "shape": (2,),
        "dtype": "complex64",
        "bases": orthonormal(3, 4),
    },
    "float16, trellis": {
        "bits": [[9, 9, 1] * 16, [2] * 48],
        "windows": {1: 8, 2: 8, 9: 8},
        "shape": (48,),
        "dtype": "float16",
    },
}


def make(folder: Path, case: str, **options: Any) -> Made:
    """Write one of CASES."""
    return write_coded(folder / "x.safetensors", **{**CASES[case], **options})


def write_lines(path: Path, items: Iterable[object]) -> Path:
    """Write one item a line."""
    path.write_text("".join(f"{item}\n" for item in items))
    return path


def save(path: Path, state: dict[str, Tensor]) -> Path:
    """Write a dense checkpoint."""
    safetensors.torch.save_file(state, path)
    return path


def shuffled(count: int, *, seed: int = 0) -> list[int]:
    """Draw an order."""
    return torch.randperm(count, generator=Generator().manual_seed(seed)).tolist()


def grow(made: Made, *, new: Sequence[int] | None = None, max_id: int = 61, **options: Any) -> BackfillResult:
    """Backfill by label: `new` lists for each id the row that it keeps, or -1; by default all rows in random order."""
    rows = len(made.groups)
    order = shuffled(max_id) if new is None else new
    folder = made.path.parent
    labels = [f"w{row}" if 0 <= row < rows else f"new{index}" for index, row in enumerate(order)]
    return embcompress.backfill(
        made.path,
        base_labels=write_lines(folder / "old.txt", [f"w{row}" for row in range(rows)]),
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


def reals(values: Tensor) -> Tensor:
    """Flatten rows to float64, complex entries as pairs, (rows, dim)."""
    values = values.detach()
    return (torch.view_as_real(values) if values.is_complex() else values).double().flatten(1)


def assert_kept(made: Made, result: BackfillResult, order: Sequence[int]) -> None:
    """Check that kept rows have their codes, groups and values, and that everything that decodes them is as it was."""
    before, found = safetensors.torch.load_file(made.path), safetensors.torch.load_file(result.output.path)
    rows, groups = len(made.groups), len(made.codes)
    ids = torch.tensor([index for index, row in enumerate(order) if 0 <= row < rows])
    kept = torch.tensor(order)[ids]
    added = len(order) - len(ids)
    all_groups = groups + bool(added)
    assert (f"{NAME}.groups" in found) == (all_groups > 1)
    placed = torch.zeros(len(order), dtype=torch.uint8)
    if all_groups > 1:
        placed = unpack_numbers(found[f"{NAME}.groups"], group_width(all_groups), count=len(order))
    expected = torch.full((len(order),), groups, dtype=torch.uint8)
    expected[ids] = made.groups[kept]
    assert torch.equal(placed, expected)
    for group, codes in enumerate(made.codes):
        numbers = torch.zeros(rows, dtype=torch.int64)
        numbers[made.groups == group] = torch.arange(len(codes))
        assert torch.equal(found[f"{NAME}.codes.{group}"], codes[numbers[kept[made.groups[kept] == group]]])
    assert sum(name.startswith(f"{NAME}.codes.") for name in found) == all_groups
    for suffix in (".levels", ".bases", ".basis_scales"):
        name = NAME + suffix
        assert (name in found) == (name in before)
        assert name not in found or torch.equal(found[name].view(torch.uint8), before[name].view(torch.uint8))
    for suffix in (".bits", ".scales"):
        old = before[NAME + suffix]
        assert torch.equal(found[NAME + suffix][: len(old)], old)
        assert added or len(found[NAME + suffix]) == len(old)
    old, new = (embcompress.load(path)[NAME] for path in (made.path, result.output.path))
    if len(ids):
        assert torch.equal(new(ids), old(kept))
    assert new.max_id == len(order)


ORDERS = {
    "all in their order": [*range(40), -1, -1, -1],
    "mixed": shuffled(61),
    "some dropped": [row if row % 3 else -1 for row in shuffled(50, seed=5)],
    "no new": shuffled(40, seed=2),
    "fewer": shuffled(40, seed=3)[:17],
    "one": [-1, 7],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", CASES)
def test_kept_rows_are_identical(tmp_path: Path, case: str, order: str) -> None:
    """However rows are placed or dropped, kept ones have their bytes and values, and others lie in a last group."""
    made = make(tmp_path, case)
    result = grow(made, new=ORDERS[order])
    assert_kept(made, result, ORDERS[order])
    kept = sum(0 <= row < 40 for row in ORDERS[order])
    table = only(result)
    assert (table.rows_kept, table.rows_added, table.rows_dropped) == (kept, len(ORDERS[order]) - kept, 40 - kept)
    assert (table.coding, table.rank) == ("coded", len(CASES[case]["bits"][0]))
    assert (table.energy_held is None) == (kept == len(ORDERS[order]))


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(order=st.permutations(range(-9, 12)), length=st.integers(1, 21), case=st.sampled_from(list(CASES)))
def test_kept_rows_are_identical_wherever_they_go(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], length: int, case: str
) -> None:
    """Any part of 12 rows in any order between new ones keeps its bits, and the result multiplies out to its rows."""
    order = order[:length]
    hypothesis.assume(any(row >= 0 for row in order))
    made = make(tmp_path_factory.mktemp("placed"), case, rows=12)
    result = grow(made, new=order)
    assert_kept(made, result, order)
    dense = safetensors.torch.load_file(embcompress.reconstruct(result.output.path, force=True).output.path)[NAME]
    rows = embcompress.load(result.output.path)[NAME]().detach()
    # sums of up to 5 products in float32, then rounded
    tolerance = 8 * torch.finfo(dense.dtype).eps * float(dense.abs().max())
    torch.testing.assert_close(dense, rows, rtol=0, atol=tolerance)


def bases_of(path: str | Path) -> Tensor | None:
    """Read the bases as they are stored, (rank, dim) float64."""
    found = safetensors.torch.load_file(path)
    if f"{NAME}.bases" not in found:
        return None
    # the product is float32's, by which rows are decoded
    return (found[f"{NAME}.bases"].flatten(1).float() * found[f"{NAME}.basis_scales"][:, None]).double()


@pytest.mark.parametrize("case", CASES)
def test_new_rows_are_coded_as_their_bits_allow(tmp_path: Path, case: str) -> None:
    """New rows have the bits of the richest group, the mean squares of lstsq as scales, and the errors of the bits."""
    made = make(tmp_path, case)
    richest = CASES[case]["bits"][-1]
    given = 3 * draw(800, *CASES[case]["shape"], 2, seed=9)
    rows = torch.view_as_complex(given) if CASES[case].get("dtype") == "complex64" else given[..., 0].contiguous()
    result = grow(
        made, new=[*range(40), *[-1] * 800], fill=save(tmp_path / "fill.safetensors", {"rows": rows}), method=None
    )
    found = safetensors.torch.load_file(result.output.path)
    columns = torch.tensor(richest)
    bits = unpack_numbers(found[f"{NAME}.bits"].flatten(), 4, count=found[f"{NAME}.bits"].numel() * 2)
    assert bits.view(len(made.codes) + 1, -1)[-1, : len(columns)].tolist() == richest
    bases = bases_of(made.path)
    asked = reals(rows)
    exact = asked if bases is None else torch.linalg.lstsq(bases.T, asked.T).solution.T
    scales = exact.square().mean(dim=0).sqrt()[columns > 0]
    torch.testing.assert_close(found[f"{NAME}.scales"][-len(scales) :].double(), scales, rtol=BRAIN / 2, atol=0)
    module = embcompress.load(result.output.path)[NAME]
    decoded = module.weights_of(torch.arange(40, 840)).detach().double()
    left = (decoded - exact).square().mean(dim=0) / exact.square().mean(dim=0)
    rates = torch.where(columns == HALF_BIT, 0.5, columns.double())
    # From the bound of rate-distortion theory, which holds for all columns together (in a trellis they share their
    # bits), to that of many levels; a tenth for 800 rows.
    assert float(left.log().mean().exp()) >= 0.9 * 4.0 ** -float(rates.mean())
    assert float(left.mean()) <= 1.1 * float((SCALAR_LOSS * 4.0**-rates).clamp_max(1).mean())
    stored = reals(module(torch.arange(40, 840)))
    table = only(result)
    held = 1 - float((asked - stored).square().sum() / asked.square().sum())
    rounding = torch.finfo(rows.dtype).eps if CASES[case].get("dtype") != "float16" else 1e-3
    assert table.energy_held == pytest.approx(held, abs=8 * rounding)
    assert table.new_rows is not None
    assert table.new_rows.norm.mean == pytest.approx(float(stored.norm(dim=1).mean()), rel=8 * rounding)
    assert table.base_rows is not None
    kept = reals(module(torch.arange(40)))
    assert table.base_rows.norm.mean == pytest.approx(float(kept.norm(dim=1).mean()), rel=8 * rounding)
    assert table.rows_filled == 800


@pytest.mark.parametrize("case", CASES)
def test_zeros_stay_zeros(tmp_path: Path, case: str) -> None:
    """New rows of zeros have scales of 0 and decode to 0; nothing is lost, so the error stays and no warning comes."""
    made = make(tmp_path, case)
    result = grow(made, new=[-1, *range(40), -1], method="zeros", constrainer="clamp_norm:maxnorm=1")
    rows = embcompress.load(result.output.path)[NAME]().detach()
    assert not rows[[0, -1]].any()
    assert float(rows[1:-1].abs().max()) > 0.1
    assert only(result).energy_held == 1
    assert told_error(result.output.path) == ERROR
    assert result.warnings == ()


def test_a_column_of_zeros_beside_others(tmp_path: Path) -> None:
    """Where the new rows are all 0 in one column, its scale is 0, and the others are coded as ever."""
    made = make(tmp_path, "one group of own columns")
    rows = draw(500, 6, seed=4)
    rows[:, 2] = 0
    rows[:, 3] *= 1e-30  # far below its neighbours: its squares play no part beside theirs
    rows[:, 4] *= 1e-44  # below the least bfloat16
    result = grow(made, new=[*range(40), *[-1] * 500], fill=save(tmp_path / "fill.safetensors", {"rows": rows}))
    found = reals(embcompress.load(result.output.path)[NAME](torch.arange(40, 540)))
    assert not found[:, [2, 4]].any()
    left = (found - rows.double()).square().mean(dim=0) / rows.double().square().mean(dim=0)
    assert float(left[[0, 1, 3, 5]].max()) < SCALAR_LOSS * 4.0**-3
    assert float(only(result).energy_held or 0) == pytest.approx(1 - float(left[[0, 1, 5]].mean()), abs=1e-3)


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("ways", ["reversed", "shuffled"])
def test_levels_in_any_order_code_alike(tmp_path: Path, ways: str, bits: int) -> None:
    """A file may list its levels in any order: new rows get the nearest ones all the same."""
    levels = scalar_levels(bits)
    order = torch.arange((1 << bits) - 1, -1, -1) if ways == "reversed" else torch.tensor(shuffled(1 << bits))
    decoded = []
    for name, values in (("a", levels), ("b", levels[order])):
        folder = tmp_path / name
        folder.mkdir()
        made = write_coded(folder / "x.safetensors", [[bits] * 5], windows={bits: bits}, shape=(5,), levels=values)
        result = grow(made, new=[*range(40), *[-1] * 600], method="normal")
        decoded.append(embcompress.load(result.output.path)[NAME](torch.arange(40, 640)).detach())
    assert torch.equal(decoded[0], decoded[1])
    # five standard errors of 3000 squares, and 4^-2 to 2.72 * 4^-2 less at two bits
    assert 0.83 - 0.13 < float(decoded[0].square().mean()) < 1.13


def test_level_tables_are_those_of_a_codebook() -> None:
    """Windows, flat levels and their spread come back as they went into a codebook, half bits as a pair."""
    windows = {1: 8, 3: 3, 9: 8}
    book = Codebook(torch.ones(1, 1, dtype=torch.uint8), torch.ones(1, 1), windows, window_levels(windows))
    tables = LevelTables.of_codebook(book)
    assert tables.windows == windows
    assert torch.equal(tables.flat, book.levels)
    assert torch.equal(tables.spread[3], scalar_levels(3).repeat(32))
    assert torch.equal(tables.spread[9:].flatten(), trained_levels()[9])
    assert bool(tables.distortions.isnan().all())


def test_fill_gives_rows_by_label(tmp_path: Path) -> None:
    """Rows of a fill go to their labels, the others are drawn: a constant of 7 beside one of 3 is told apart."""
    made = make(tmp_path, "one group of own columns")
    fill = save(tmp_path / "fill.safetensors", {"rows": torch.full((3, 6), 7.0)})
    result = grow(
        made,
        new=[-1, *range(40), -1, -1, -1, -1],
        fill=fill,
        fill_labels=write_lines(tmp_path / "fill.txt", ["new43", "new0", "new41"]),
        method="uniform:a=3,b=3",
    )
    rows = embcompress.load(result.output.path)[NAME](torch.tensor([0, 41, 42, 43, 44])).detach()
    table = only(result)
    assert (table.rows_filled, table.rows_added, table.method) == (3, 5, "uniform:a=3,b=3")
    levels = scalar_levels(3)
    scale = torch.tensor(((3 * 49 + 2 * 9) / 5) ** 0.5).bfloat16().float()
    nearest = [levels[(levels * scale - asked).abs().argmin()] * scale for asked in (7, 7, 3, 7, 3)]
    assert torch.equal(rows, torch.stack(nearest)[:, None].expand(5, 6))


@pytest.mark.parametrize("case", CASES)
def test_same_run_writes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Twice the same bytes, in blocks of 7 rows too; another seed changes codes and scales of the new group alone."""
    made = make(tmp_path, case)
    first = Path(grow(made, method="normal").output.path).read_bytes()
    before = safetensors.torch.load(first)
    assert Path(grow(made, method="normal").output.path).read_bytes() == first
    changed = safetensors.torch.load(Path(grow(made, method="normal", seed=1).output.path).read_bytes())
    differ = {name for name in before if not torch.equal(before[name], changed[name])}
    assert differ == {f"{NAME}.scales", f"{NAME}.codes.{len(made.codes)}"}
    monkeypatch.setattr(table_module, "BLOCK_BYTES", 1)
    monkeypatch.setattr(table_module, "BLOCK_ROWS", 7)
    assert Path(grow(made, method="normal").output.path).read_bytes() == first


@pytest.mark.parametrize("groups", [1, 2, 4, 16, 17])
def test_dry_run_tells_the_size(tmp_path: Path, groups: int) -> None:
    """A dry run tells the very bytes of the run, with rows dropped and where a row's group takes more bits."""
    made = write_coded(
        tmp_path / "x.safetensors", [[2, 1, 3]] * groups, rows=90, windows={1: 1, 2: 2, 3: 3}, shape=(3,)
    )
    order = [row if row % 4 else -1 for row in shuffled(97)]
    planned = grow(made, new=order, dry_run=True)
    assert not (tmp_path / "y.safetensors").exists()
    done = grow(made, new=order)
    assert planned.output.bytes == done.output.bytes == Path(done.output.path).stat().st_size
    assert planned.totals == done.totals
    found = safetensors.torch.load_file(done.output.path)
    assert only(planned).bytes_after == sum(part.numel() * part.element_size() for part in found.values())
    before = safetensors.torch.load_file(made.path)
    assert only(planned).bytes_before == sum(part.numel() * part.element_size() for part in before.values())
    assert (only(planned).energy_held, only(planned).new_rows, planned.dry_run) == (None, None, True)
    assert_kept(made, done, order)


def test_groups_that_lost_all_rows_stay(tmp_path: Path) -> None:
    """Dropping every row of a group leaves it empty, and what is left can grow again, and again."""
    made = make(tmp_path, "rotated, three groups")
    order = [row for row in range(40) if made.groups[row] == 0]
    first = grow(made, new=order)
    assert_kept(made, first, order)
    rows = embcompress.load(first.output.path)[NAME]().detach()
    path = Path(first.output.path)
    for count in (1, 2):
        again = replace(made, path=path, groups=torch.zeros(len(order) + count - 1))
        path = Path(grow(again, new=range(len(order) + count), output=tmp_path / f"{count}.safetensors").output.path)
        module = embcompress.load(path)[NAME]
        assert torch.equal(module(torch.arange(len(order))), rows)
        assert (module.max_id, len(module.codes)) == (len(order) + count, 3 + count)


def test_groups_end_at_256(tmp_path: Path) -> None:
    """A 256th group can be added, a 257th is refused; where no id is new none is needed."""
    made = write_coded(tmp_path / "x.safetensors", [[1, 1]] * 255, rows=600, windows={1: 1}, shape=(2,))
    first = grow(made, new=range(601))
    assert len(embcompress.load(first.output.path)[NAME].codes) == 256
    full = replace(made, path=Path(first.output.path), groups=torch.zeros(601))
    with pytest.raises(TableError, match="has 256 groups of rows, as many as there can be") as caught:
        grow(full, new=range(602), output=tmp_path / "z.safetensors")
    assert "embcompress reconstruct" in caught.value.hint
    result = grow(full, new=shuffled(601)[:500], output=tmp_path / "z.safetensors")
    assert (only(result).rows_kept, only(result).rows_added) == (500, 0)


@pytest.mark.parametrize("others", [("coded", "coded"), ("coded", "plain"), ("plain", "coded"), ("dense", "coded")])
def test_several_bases_of_a_coded_table_are_refused(tmp_path: Path, others: tuple[str, str]) -> None:
    """A coded table in one of two bases is a TableError that names the file and the way out; nothing is written."""
    paths = []
    for number, kind in enumerate(others):
        path = tmp_path / f"{number}.safetensors"
        if kind == "coded":
            write_coded(path, [[2] * 6], rows=30, windows={2: 2}, shape=(6,))
        else:
            save(path, {NAME: draw(30, 6)})
        if kind == "plain":
            path = Path(embcompress.approximate(path, bases=2).output.path)
        paths.append(path)
    ids = [write_lines(tmp_path / f"ids{number}", range(30 * number, 30 * number + 30)) for number in range(2)]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TableError, match=r"is stored in few bits in .*: it can grow from one base alone") as caught:
        embcompress.backfill(paths, max_id=70, base_ids=ids)
    assert "embcompress reconstruct" in caught.value.hint
    assert sorted(tmp_path.iterdir()) == before


def test_coded_tables_that_do_not_grow_are_copied(tmp_path: Path) -> None:
    """Beside a dense table that grows from two bases, a coded one of the first keeps every byte, and reconstructs."""
    case = CASES["rotated, three groups"]
    paths = []
    for number in range(2):
        relations = {"relations.weight": draw(5, 3, seed=number)}
        paths.append(write_coded(tmp_path / f"{number}.safetensors", **case, others=relations).path)
    ids = [write_lines(tmp_path / "a", [6, 0, 3, 1, 5]), write_lines(tmp_path / "b", [2, 10, 9, 8, 7])]
    for count in (1, 2):
        output = tmp_path / f"out{count}.safetensors"
        result = embcompress.backfill(paths[:count], max_id=12, base_ids=ids[:count], output=output)
        assert only(result).name == "relations.weight"
        before, found = safetensors.torch.load_file(paths[0]), safetensors.torch.load_file(output)
        assert found.keys() == before.keys()
        assert torch.equal(found["relations.weight"][[6, 0, 3, 1, 5]], before["relations.weight"])
        for name in before.keys() - {"relations.weight"}:
            assert torch.equal(found[name].view(torch.uint8), before[name].view(torch.uint8))
        assert torch.equal(embcompress.load(output)[NAME](), embcompress.load(paths[0])[NAME]())
        assert told_error(output) == ERROR


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3.4e38], ids=["NaN", "infinity", "minus", "beyond"])
@pytest.mark.parametrize("case", ["one group of own columns", "rotated, three groups"])
def test_fill_that_scales_cannot_hold_is_refused(tmp_path: Path, case: str, value: float) -> None:
    """NaN, infinity and what overflows bfloat16 end the run with the id of the row, and nothing is written."""
    made = make(tmp_path, case)
    rows = draw(3, *CASES[case]["shape"])
    rows[1] = value
    fill = save(tmp_path / "fill.safetensors", {"rows": rows})
    with pytest.raises(NonFiniteError, match=f"the new row of id 41 in table '{NAME}'"):
        grow(made, new=[*range(40), -1, -1, -1], fill=fill)
    assert not (tmp_path / "y.safetensors").exists()


def test_fill_beyond_the_dtype_of_the_table_is_refused(tmp_path: Path) -> None:
    """What bfloat16 scales hold and float16 rows do not would load as infinity: the row is named."""
    made = make(tmp_path, "float16, trellis")
    fill = save(tmp_path / "fill.safetensors", {"rows": torch.tensor([1.0, 3e5])[:, None].expand(2, 48).contiguous()})
    with pytest.raises(NonFiniteError, match=r"the new row of id 41 in .* beyond torch\.float16"):
        grow(made, new=[*range(40), -1, -1], fill=fill)


def test_an_error_that_is_not_known_is_not_told(tmp_path: Path) -> None:
    """The error stays where rows only moved, and is null where some went or new ones lost a part to their bits."""
    made = make(tmp_path, "rotated, three groups")
    for order, method, expected in (
        (shuffled(40), "gaussian", ERROR),
        (shuffled(40)[:30], "gaussian", None),
        (shuffled(50), "gaussian", None),
        (shuffled(50), "zeros", ERROR),
    ):
        assert told_error(grow(made, new=order, method=method).output.path) == expected


def test_few_bits_alone_bring_no_warning(tmp_path: Path) -> None:
    """Half a bit holds 47 % of normal rows by design, which is no reason to warn; what lies outside the bases is."""
    made = write_coded(tmp_path / "x.safetensors", [[9] * 64], windows={9: 8}, shape=(64,))
    result = grow(made, new=[*range(40), *[-1] * 400], method="normal")
    assert 0.42 < (only(result).energy_held or 0) < 0.5  # 1 - 4^-0.5 at the very best
    assert result.warnings == ()
    rotated = write_coded(
        tmp_path / "r.safetensors", [[3] * 2], windows={3: 3}, shape=(8,), bases=torch.eye(8)[:2].contiguous()
    )
    rows = draw(400, 8)
    for outside, is_told in ((0.8, False), (1.2, True)):  # of the squared norm: 56 % and 42 % within reach
        share = torch.tensor([1.0] * 2 + [outside**0.5 / 3**0.5] * 6)
        fill = save(tmp_path / "fill.safetensors", {"rows": rows * share})
        result = grow(rotated, new=[*range(40), *[-1] * 400], fill=fill)
        reach = float((rows * share)[:, :2].square().sum() / (rows * share).square().sum())
        assert reach == pytest.approx(2 / (2 + 2 * outside), abs=0.03)
        said = [text for text in result.warnings if "squared norm" in text]
        assert bool(said) == is_told
        if said:
            held = only(result).energy_held
            assert held is not None
            assert said[0].startswith(f"the bases and bits of '{NAME}' hold {held:.1%} of the squared norm")
            assert f"where {1 - 4.0**-3:.1%} is within reach" in said[0]
            assert "embcompress reconstruct" in said[0]


def test_outliers_among_new_rows_bring_a_warning(tmp_path: Path) -> None:
    """One row a thousand times as long as 999 others is clipped at the largest level: most of it is lost, and told."""
    made = write_coded(tmp_path / "x.safetensors", [[2] * 4], windows={2: 2}, shape=(4,))
    rows = draw(1000, 4)
    rows[500] = 1000
    result = grow(made, new=[*range(40), *[-1] * 1000], fill=save(tmp_path / "fill.safetensors", {"rows": rows}))
    held = only(result).energy_held
    assert held is not None
    assert held < 0.5 * (1 - 4.0**-2)
    assert any("bases and bits" in text for text in result.warnings)


def test_constraint_is_told_to_hold_roughly(tmp_path: Path) -> None:
    """Normalized rows are of about norm 1 once they are in few bits, and a warning says that they are not exactly."""
    made = make(tmp_path, "one group of own columns")
    result = grow(made, new=[*range(40), *[-1] * 100], method="normal", constrainer="normalize")
    norms = embcompress.load(result.output.path)[NAME](torch.arange(40, 140)).detach().norm(dim=1)
    # the squared error of a row of norm 1 is SCALAR_LOSS / 64 at most, on average
    assert float((norms - 1).square().mean()) < SCALAR_LOSS * 4.0**-3
    assert [text for text in result.warnings if "constrained, then stored in few bits" in text]


def test_damage_is_not_blessed(tmp_path: Path) -> None:
    """A flipped bit anywhere in the tensors of the grown table is an ArtifactError, and no file is made."""
    made = make(tmp_path, "rotated, three groups", rows=12)
    whole = made.path.read_bytes()
    start = int.from_bytes(whole[:8], "little") + 8
    order = list(range(15))
    with safetensors.safe_open(made.path, framework="pt") as file:
        names = list(file.keys())
    assert len(names) == 9
    for place in range(start, len(whole), 37):
        damaged = bytearray(whole)
        damaged[place] ^= 64
        made.path.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            grow(made, new=order)
        assert not (tmp_path / "y.safetensors").exists()


def test_progress_counts_known_new_and_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress tells of the known rows, of the new ones and then of all, in growing counts that end at their number."""
    monkeypatch.setattr(table_module, "BLOCK_BYTES", 1)
    monkeypatch.setattr(table_module, "BLOCK_ROWS", 7)
    made = make(tmp_path, "rotated, three groups")
    seen: list[tuple[str, int, int, int]] = []
    grow(made, new=shuffled(61), progress=lambda *said: seen.append(said))
    wanted = {f"{NAME}: known rows": 40, f"{NAME}: new rows": 21, f"{NAME}: all rows": 61}
    assert list(dict.fromkeys(doing for doing, *_ in seen)) == list(wanted)
    for doing, total in wanted.items():
        counts = [done for said, done, rows, _ in seen if said == doing and rows == total]
        assert counts == sorted(counts)
        assert (len(counts) > 2, counts[-1]) == (True, total)


@pytest.mark.parametrize("is_flat", [False, True], ids=["rotated", "own columns"])
def test_compressed_table_grows(tmp_path: Path, is_flat: bool) -> None:
    """What `approximate --ratio` makes of a table grows by gaussian rows: kept ones to the bit, new ones like them."""
    rows = draw(600, 16) if is_flat else draw(600, 16) * 0.7 ** torch.arange(16) @ orthonormal(16, 16)
    path = save(tmp_path / "m.safetensors", {NAME: rows})
    compressed = Path(embcompress.approximate(path, ratio=10, effort="fast").output.path)
    found = safetensors.torch.load_file(compressed)
    assert (f"{NAME}.bases" in found) != is_flat
    ids = shuffled(900)[:600]
    result = embcompress.backfill(compressed, max_id=900, base_ids=write_lines(tmp_path / "ids", ids))
    old, new = (embcompress.load(path)[NAME] for path in (compressed, result.output.path))
    assert torch.equal(new(torch.tensor(ids)), old())
    table = only(result)
    assert table.base_rows is not None
    assert table.new_rows is not None
    # five standard errors of norms of 300 normal rows, and what their bits take away
    assert table.new_rows.norm.mean == pytest.approx(table.base_rows.norm.mean, rel=0.15)
    assert 0.8 < (table.energy_held or 0) < 1
    dense = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)[NAME]
    torch.testing.assert_close(dense, new().detach(), rtol=0, atol=32 * SINGLE * float(dense.abs().max()))
