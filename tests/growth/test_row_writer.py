"""The writer of rows stored as floats: what it writes, row by row, and what it tells, against sums in float64."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.artifact.writer import SafetensorsWriter
from embcompress.checkpoints import open_checkpoint
from embcompress.choices import METHODS, Choice
from embcompress.growth.drawing import RowDraw
from embcompress.growth.placement import place_ids
from embcompress.growth.plan import Base, RowRequest
from embcompress.growth.plan_rows import plan_growing_table
from embcompress.growth.plan_tables import plan_growth
from embcompress.growth.row_writer import FloatRowWriter
from embcompress.growth.unlabelled import PaddingRequest
from tests.fixtures import draw, draw_falling, save

NAME = "entities.weight"
MAX_ID, ROWS, DIM = 50, 36, 6
PLACES = torch.randperm(MAX_ID, generator=torch.Generator().manual_seed(0))[:ROWS].tolist()
NORMAL = Choice.parse("normal", METHODS, option="--method")


@dataclass(frozen=True)
class Grown:
    """What was written, and the grower that wrote it."""

    tensors: dict[str, Tensor]
    grower: FloatRowWriter


def grow(
    paths: Sequence[Path], places: Sequence[Sequence[int]], folder: Path, *, block_rows: int | None = None
) -> Grown:
    """Write the table of one or more bases with normal rows for the ids that none has."""
    request = RowRequest(NORMAL, None, seed=3, may_draw=True, block_rows=block_rows)
    placement = place_ids([array("q", own) for own in places], max_id=MAX_ID, paths=paths)
    target = folder / "grown.safetensors"
    with ExitStack() as stack:
        bases = [Base.of(stack.enter_context(open_checkpoint(path))) for path in paths]
        (table,) = plan_growth(bases, placement, table=(), padding=PaddingRequest())
        plan = plan_growing_table(table, placement, request, coded=None, fill=None, given=None)
        grower = FloatRowWriter(plan, request, folder=folder, device="cpu")
        with SafetensorsWriter(target, plan.entries, metadata={}, force=True) as writer:
            grower.measure(None)
            grower.write(writer, None)
            writer.finish({})
            writer.commit()
        assert grower.nbytes == sum(entry.nbytes for entry in plan.entries)
    return Grown(safetensors.torch.load_file(target), grower)


def drawn(ids: Sequence[int]) -> Tensor:
    """Draw the rows of new ids all at once, (count, DIM)."""
    rows = RowDraw(NORMAL, shape=(DIM,), dtype=torch.float32, seed=3, name=NAME, fitted=None)
    return rows(torch.tensor(ids)).view(len(ids), DIM)


@pytest.mark.parametrize("block_rows", [1, 7, None])
def test_grower_puts_rows_of_a_dense_table_in_their_places(block_rows: int | None, tmp_path: Path) -> None:
    """In blocks of any size: known rows keep their bits, others are those drawn at once; statistics are exact."""
    table = draw(ROWS, DIM)
    path = save(tmp_path / "model.safetensors", {NAME: table})
    grown = grow([path], [PLACES], tmp_path, block_rows=block_rows)
    rows = grown.tensors[NAME]
    new = sorted(set(range(MAX_ID)) - set(PLACES))
    assert torch.equal(rows[PLACES], table)
    torch.testing.assert_close(rows[new], drawn(new).float(), rtol=0, atol=0)
    assert grown.grower.kept_energy is None
    for told, own in ((grown.grower.kept_rows, table), (grown.grower.new_rows, rows[new])):
        norms = own.double().norm(dim=1)
        assert told.count == len(own)
        assert told.norm.mean == pytest.approx(float(norms.mean()), rel=1e-6)
        assert told.norm.max == pytest.approx(float(norms.max()), rel=1e-6)
        mean = table.double().mean(dim=0)
        cosines = own.double() @ mean / norms / mean.norm()
        assert told.cosine.mean == pytest.approx(float(cosines.mean()), abs=1e-6)


@pytest.mark.parametrize("block_rows", [1, 7, None])
def test_grower_projects_new_rows_on_the_bases(block_rows: int | None, tmp_path: Path) -> None:
    """Weights of known rows keep their bits, those of new ones are least squares, and the energy is what they hold."""
    path = save(tmp_path / "model.safetensors", {NAME: draw_falling(ROWS, DIM)})
    base = Path(embcompress.approximate(path, bases=3, neighbours=0).output.path)
    before = safetensors.torch.load_file(base)
    grown = grow([base], [PLACES], tmp_path, block_rows=block_rows)
    weights, bases = grown.tensors[f"{NAME}.weights"], grown.tensors[f"{NAME}.bases"].double()
    new = sorted(set(range(MAX_ID)) - set(PLACES))
    assert torch.equal(grown.tensors[f"{NAME}.bases"], before[f"{NAME}.bases"])
    assert torch.equal(weights[PLACES], before[f"{NAME}.weights"])
    exact = drawn(new).double()
    expected = torch.linalg.lstsq(bases.T, exact.T).solution.T
    torch.testing.assert_close(weights[new].double(), expected, rtol=0, atol=1e-6)
    held = 1 - float((exact - expected @ bases).square().sum() / exact.square().sum())
    assert grown.grower.kept_energy == pytest.approx(held, rel=1e-6)


def test_grower_stacks_bases_that_differ(tmp_path: Path) -> None:
    """Of two artifacts each row has weights on its own bases and zeros on the other's; new ones are on all."""
    parts = [draw_falling(20, DIM, seed=1), draw_falling(16, DIM, seed=2)]
    paths, places = [], [PLACES[:20], PLACES[20:]]
    for number, part in enumerate(parts):
        path = save(tmp_path / f"{number}.safetensors", {NAME: part})
        paths.append(Path(embcompress.approximate(path, bases=2, neighbours=0).output.path))
    before = [safetensors.torch.load_file(path) for path in paths]
    grown = grow(paths, places, tmp_path, block_rows=7)
    weights, bases = grown.tensors[f"{NAME}.weights"], grown.tensors[f"{NAME}.bases"]
    assert torch.equal(bases, torch.cat([one[f"{NAME}.bases"] for one in before]))
    for own, one, columns in zip(places, before, (slice(0, 2), slice(2, 4)), strict=True):
        assert torch.equal(weights[own, columns], one[f"{NAME}.weights"])
        others = [column for column in range(4) if column not in range(4)[columns]]
        assert not weights[own][:, others].any()
    new = sorted(set(range(MAX_ID)) - set(PLACES))
    exact, wide = drawn(new).double(), bases.double()
    torch.testing.assert_close(weights[new].double() @ wide, exact @ torch.linalg.pinv(wide) @ wide, rtol=0, atol=1e-5)
