"""Rows that count more or less: what solvers see of them, and the weighted optimum by a dense float64 oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from embcompress.exceptions import NonFiniteError, UsageError
from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.projection import project
from embcompress.linalg.solvers import SOLVERS
from embcompress.linalg.svd import factorize
from embcompress.linalg.weighting import WeightedRows
from embcompress.results import TableErrorReport
from tests.cases import for_each
from tests.linalg.tables import (
    BLOCK_ROWS,
    EPS,
    EXCESS,
    gaussian,
    geometric,
    squared_bound,
    squared_optimum,
    token_like,
    with_spectrum,
)

EXACT_SOLVERS = ("dense", "gram", "qr")
KRYLOV_EXCESS = 1e-3  # over the optimum, that the randomized solver may leave on decaying spectra
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def zipf(rows: int, *, seed: int = 0) -> Tensor:
    """Count words as texts do, in random order and every seventh not at all, (rows,) float64."""
    counts = 1e6 / torch.arange(1.0, rows + 1, dtype=torch.float64)
    counts[::7] = 0
    return counts[torch.randperm(rows, generator=torch.Generator().manual_seed(seed))]


def _unlike() -> Tensor:
    """Build a table whose rows that count lie in directions of their own, (1200, 40) float64."""
    table = gaussian(1200, 4, seed=1) @ gaussian(4, 40, seed=2)
    heavy = zipf(1200) > 1e4
    table[heavy] = gaussian(int(heavy.sum()), 4, seed=3) @ gaussian(4, 40, seed=4)
    table += 0.3 * gaussian(1200, 40)
    return table


TABLES: dict[str, Callable[[], Tensor]] = {
    "unlike": _unlike,
    "wide": lambda: _unlike()[:40].repeat(1, 30) * torch.linspace(0.2, 1, 1200, dtype=torch.float64),
    "decaying": lambda: 30 * with_spectrum(1200, 40, singular_values=geometric(40, decades=6)),
    "deep": lambda: token_like(1200, 160, mean_share=0.3).double(),  # for a Krylov space of its own
}


@cache
def table_of(name: str, dtype: torch.dtype) -> Tensor:
    """Build the named table in a dtype; not to be written to."""
    return TABLES[name]().to(dtype)


@cache
def weighted_spectrum(name: str, dtype: torch.dtype) -> Tensor:
    """Compute the oracle's singular values of diag(sqrt(w)) E, (side,) float64."""
    table = table_of(name, dtype).double()
    return torch.linalg.svdvals(zipf(len(table)).sqrt()[:, None] * table)


def fit(
    table: Tensor, row_weights: Tensor, rank: int, *, solver: str, device: str = "cpu", is_weighted: bool = True
) -> TableErrorReport:
    """Fit bases, to the weighted rows or to plain ones, and measure what the stored factors leave of the table."""
    rows = TensorRows(table.to(device), block_rows=BLOCK_ROWS)
    fitted = WeightedRows(rows, row_weights) if is_weighted else rows
    bases = factorize(fitted, rank, solver=solver, tolerance=EPS[table.dtype]).bases.to(table.dtype)
    error = ErrorAccumulator(row_weights)
    for _ in project(rows, bases, weights_dtype=table.dtype, measured_in=torch.float64, error=error):
        pass
    return error.result()


def weighted_error(table: Tensor, row_weights: Tensor, rank: int, *, solver: str, device: str = "cpu") -> float:
    """Measure the weighted error of bases that were fitted to it."""
    error = fit(table, row_weights, rank, solver=solver, device=device).weighted_relative
    assert error is not None
    return error


@pytest.mark.parametrize("dtype", DTYPES)
@for_each("block_rows", [3, 4, 100])
def test_weighted_rows_scale_each_row_by_its_own_weight(block_rows: int, dtype: torch.dtype, device: str) -> None:
    """Blocks, columns and samples are the rows times sqrt(w / max w), to the rounding of the products' dtype."""
    table = gaussian(10, 7).to(dtype)
    row_weights = torch.tensor([4.0, 0, 1, 9, 16, 2, 3, 0, 5, 7])
    inner = TensorRows(table.to(device), name="table 'x'", block_rows=block_rows)
    rows = WeightedRows(inner, row_weights)
    expected = (row_weights.double() / 16).sqrt()[:, None] * table.double()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert (rows.name, rows.rows, rows.dim, rows.dtype, rows.device) == ("table 'x'", 10, 7, wide, inner.device)
    close = {"rtol": 4 * torch.finfo(wide).eps, "atol": 0.0}
    for _ in range(2):
        blocks = [block.clone() for block in rows.blocks()]
        columns = [block.clone() for block in rows.column_blocks()]
        assert {block.dtype for block in blocks + columns} == {wide}
        torch.testing.assert_close(torch.cat(blocks).cpu().double(), expected, **close)
        torch.testing.assert_close(torch.cat(columns).cpu().double(), expected.T, **close)
    for count in (1, 4, 10):
        sample = rows.sample(count).cpu()
        assert sample.dtype == wide
        torch.testing.assert_close(sample.double(), expected[inner.sample_ids(count)], **close)
    assert [len(block) for block in rows.blocks()] == [len(block) for block in inner.blocks()]


@pytest.mark.parametrize("solver", SOLVERS)
@for_each("dtype", DTYPES)
@for_each("name", TABLES)
def test_solvers_reach_the_weighted_optimum(name: str, dtype: torch.dtype, solver: str, device: str) -> None:
    """Stored factors leave the weighted optimum of a dense SVD, a solver's excess of it, and what storing costs."""
    table = table_of(name, dtype)
    row_weights = zipf(len(table))
    for rank in (1, 8):
        optimum = squared_optimum(weighted_spectrum(name, dtype), rank)
        actual = weighted_error(table, row_weights, rank, solver=solver, device=device)
        excess = EXCESS if solver in EXACT_SOLVERS else KRYLOV_EXCESS
        assert actual**2 <= squared_bound(optimum, dtype, excess=excess), f"rank {rank}"
        assert actual**2 >= optimum * (1 - 1e-6) - EPS[dtype] ** 2


def test_krylov_stays_krylov_under_weights() -> None:
    """The deep table needs no Gram matrix, so that the case above is one of a weighted Krylov space."""
    rows = WeightedRows(TensorRows(table_of("deep", torch.float32)), zipf(1200))
    assert factorize(rows, 8, solver="krylov").solver == "krylov"


@pytest.mark.parametrize("solver", SOLVERS)
def test_weighted_bases_trade_the_plain_error_for_the_weighted_one(solver: str) -> None:
    """Where heavy rows lie apart, weighting takes a quarter off the weighted error, and doubles the plain one."""
    table, row_weights = table_of("unlike", torch.float32), zipf(1200)
    weighted = fit(table, row_weights, 4, solver=solver)
    plain = fit(table, row_weights, 4, solver=solver, is_weighted=False)
    assert weighted.weighted_relative is not None
    assert plain.weighted_relative is not None
    assert weighted.weighted_relative < 0.75 * plain.weighted_relative
    assert weighted.relative > 2 * plain.relative


@pytest.mark.parametrize("solver", SOLVERS)
def test_equal_weights_change_nothing(solver: str) -> None:
    """Rows that all count alike, however much, give the same bases to the bit."""
    rows = TensorRows(table_of("deep", torch.float32), block_rows=BLOCK_ROWS)
    weighted = factorize(WeightedRows(rows, torch.full((1200,), 7e5)), 8, solver=solver)
    assert torch.equal(weighted.bases, factorize(rows, 8, solver=solver).bases)


@pytest.mark.parametrize("solver", EXACT_SOLVERS)
def test_a_weight_counts_like_repeated_rows(solver: str) -> None:
    """Weights 0 to 4 give the singular values, over sqrt(4), of a table that holds each row so many times."""
    table, counts = gaussian(300, 12), torch.arange(300) % 5
    repeated = torch.linalg.svdvals(table.repeat_interleave(counts, dim=0))
    actual = factorize(WeightedRows(TensorRows(table), counts), 12, solver=solver).singular_values
    torch.testing.assert_close(2 * actual, repeated, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("solver", EXACT_SOLVERS)
@for_each("size", [6e4, 1e-3])
def test_weights_do_not_leave_the_range_of_float16(size: float, solver: str) -> None:
    """Weights over ten decades cost no digits: rows of 6e4 do not overflow, and 1e-3 times 1e-5 is not flushed to 0."""
    table = (size * torch.rand(500, 16, generator=torch.Generator().manual_seed(0))).to(torch.float16)
    row_weights = torch.logspace(-10, 0, 500, dtype=torch.float64)
    row_weights[-1] = 1e-10
    table[-250:] = 0  # what is left counts 1e-5 at most
    expected = torch.linalg.svdvals(row_weights.sqrt()[:, None] * table.double() / row_weights.max().sqrt())
    actual = factorize(WeightedRows(TensorRows(table), row_weights), 8, solver=solver, tolerance=1e-6)
    torch.testing.assert_close(actual.singular_values[:8], expected[:8], rtol=1e-5, atol=0.0)
    assert actual.relative == pytest.approx(math.sqrt(squared_optimum(expected, 8)), rel=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
@for_each("is_wide", [False, True])
@for_each(("value", "what"), [(math.nan, "NaN"), (math.inf, "infinity"), (-math.inf, "infinity")])
@for_each("row_weight", [0.0, 1e-3])
def test_weighted_rows_refuse_what_is_not_finite(
    row_weight: float, value: float, what: str, is_wide: bool, solver: str
) -> None:
    """Whatever its row weighs, 0 included, it is refused under the table's name and the row's number."""
    table = gaussian(9, 300).float() if is_wide else gaussian(700, 9).float()
    row_weights = torch.ones(len(table))
    row_weights[5], row_weights[3] = row_weight, 0
    table[5, 2] = value
    rows = WeightedRows(TensorRows(table, name="table 'x'", block_rows=4 if is_wide else 256), row_weights)
    with pytest.raises(NonFiniteError, match=f"^table 'x' holds {what} in row 5:"):
        factorize(rows, 2, solver=solver)


@pytest.mark.parametrize(
    ("row_weights", "message"),
    [
        ([1.0, 2.0], "table 'x' has 3 rows; got 2 row weights"),
        ([1.0, -2.0, 1.0], "must be finite and 0 or larger"),
        ([1.0, math.nan, 1.0], "must be finite and 0 or larger"),
        ([1.0, math.inf, 1.0], "must be finite and 0 or larger"),
        ([0.0, 0.0, 0.0], "at least one of them larger"),
    ],
)
def test_weighted_rows_refuse_weights_that_are_none(row_weights: list[float], message: str) -> None:
    """As many as rows, finite, 0 or larger, and one of them larger: the error measured by them refuses others too."""
    with pytest.raises(UsageError, match=message):
        WeightedRows(TensorRows(torch.ones(3, 2), name="table 'x'"), torch.tensor(row_weights))
    if len(row_weights) == 3:
        with pytest.raises(UsageError, match=message):
            ErrorAccumulator(torch.tensor(row_weights))
