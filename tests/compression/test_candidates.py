"""The candidate ranks of one table, against every rank tried by hand from a dense float64 SVD."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from embcompress.checkpoints import open_checkpoint
from embcompress.compression.candidates import ENTRY_BYTES, TableCandidates
from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.exact import dense_svd
from embcompress.tables.selection import choose_tables
from tests.fixtures import draw_falling, save

NAME = "entities.weight"
ROWS, DIM = 120, 24
ITEM_BYTES = {"float32": 4, "float16": 2}
ROUNDING = {"float32": 3e-7, "float16": 1.2e-3}  # relative error of storing, as measured
HEADER = 2 * (ENTRY_BYTES + 2 * len(NAME))  # of bases and weights


def make(folder: Path, values: Tensor, *, dtype: str = "float32", is_weighted: bool = False) -> TableCandidates:
    """Make the candidates of a table that is saved."""
    path = save(folder / "model.safetensors", {NAME: values})
    factors = dense_svd(TensorRows(values), min(values.shape))
    with open_checkpoint(path) as checkpoint:
        (table,) = choose_tables(checkpoint, table=(), exclude=())
    return TableCandidates(table, factors, stored_dtype=dtype, is_weighted=is_weighted)


def by_hand(values: Tensor, *, dtype: str = "float32") -> list[tuple[int, float]]:
    """List bytes and squared error of each rank, from 1, that is smaller than the table."""
    squares = torch.linalg.svdvals(values.double()).square()
    tails = (squares.sum() - squares.cumsum(0)).clamp_min(0) / squares.sum()
    sizes = [rank * (ROWS + DIM) * ITEM_BYTES[dtype] for rank in range(1, DIM + 1)]
    errors = [float(tail) + ROUNDING[dtype] ** 2 for tail in tails]
    return [(size, error) for size, error in zip(sizes, errors, strict=True) if size < 4 * ROWS * DIM]


@pytest.fixture
def values() -> Tensor:
    """Draw a table."""
    return draw_falling(ROWS, DIM)


@pytest.mark.parametrize("dtype", ITEM_BYTES)
def test_candidates_choose_what_every_rank_tried_chooses(values: Tensor, dtype: str, tmp_path: Path) -> None:
    """At each size the least error, at each error the fewest bytes, at each price the least sum of both."""
    candidates, known = make(tmp_path, values, dtype=dtype), by_hand(values, dtype=dtype)
    for limit in (HEADER + size + spare for size, _ in known for spare in (-1, 0, 1)):
        fitting = [error for size, error in known if size + HEADER <= limit]
        chosen = candidates.best_under(limit)
        assert (chosen is None) == (not fitting)
        if chosen is not None:
            assert chosen.cost <= limit
            assert chosen.squared_error == pytest.approx(min(fitting), rel=1e-9, abs=1e-15)
    for target in (error * factor for _, error in known for factor in (0.999, 1.001)):
        sizes = [size for size, error in known if error <= target]
        cheapest = candidates.cheapest_for(target)
        assert (None if cheapest is None else cheapest.nbytes) == (min(sizes) if sizes else None)
    for price in (0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1.0):
        sums = [error + price * (size + HEADER) for size, error in known]
        at_price = candidates.at_price(price)
        assert at_price.squared_error + price * at_price.cost == pytest.approx(min(sums), rel=1e-9)
        assert candidates.planned(at_price).rank == at_price.rank
    assert candidates.least().nbytes == min(size for size, _ in known)
    assert candidates.finest().nbytes == max(size for size, _ in known)


def test_candidates_keep_weights_that_float16_may_not_hold_wider(values: Tensor, tmp_path: Path) -> None:
    """Where the largest singular value is beyond 30000, or rows are weighted, weights are counted as float32."""
    plain = make(tmp_path, values, dtype="float16").least()
    assert plain.nbytes == 2 * (ROWS + DIM)
    large = make(tmp_path, values * 40_000 / torch.linalg.svdvals(values)[0], dtype="float16").least()
    weighted = make(tmp_path, values, dtype="float16", is_weighted=True).least()
    assert large.nbytes == weighted.nbytes == 4 * ROWS + 2 * DIM


def test_candidates_of_zeros_leave_no_error(tmp_path: Path) -> None:
    """A table of zeros has rank 1 with nothing left, rounding included."""
    assert make(tmp_path, torch.zeros(ROWS, DIM)).finest().squared_error == 0


def test_candidates_of_a_table_that_cannot_shrink_are_none(tmp_path: Path) -> None:
    """Two by two numbers take as much as two bases of rank one: nothing fits, and the least is told all the same."""
    candidates = make(tmp_path, torch.eye(2))
    assert candidates.best_under(10**9) is None
    assert candidates.cheapest_for(1.0) is None
    assert candidates.finest() == candidates.least()
    assert candidates.least().nbytes == 4 * (2 + 2)
