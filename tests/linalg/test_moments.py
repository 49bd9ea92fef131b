"""Mean, covariance, norms and cosines of rows in blocks, against the same of the whole table in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from embcompress.linalg.moments import MeasuredRows, RowMoments, RowStatistics, measure_rows
from tests.cases import for_each

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
BLOCK = 300  # rows
QUANTILE = 1.1e-3  # relative: half a bin of the sketch is 0.1 %, and the norms are float32's
SINGLE = torch.finfo(torch.float32).eps


def rows_of(count: int, dim: int, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Draw rows whose columns are correlated and of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, dtype=torch.float64, generator=generator)
    return (torch.randn(count, dim, dtype=torch.float64, generator=generator) @ mix).to(dtype)


def covariance(rows: Tensor) -> Tensor:
    """Compute (rows - mean)^T (rows - mean) / (n - 1) in float64, (dim, dim)."""
    wide = rows.double()
    centered = wide - wide.mean(dim=0)
    return centered.T @ centered / max(len(rows) - 1, 1)


def moments_of(rows: Tensor, *, block: int = BLOCK, with_covariance: bool = True) -> RowMoments:
    """Take in a table block by block."""
    seen = RowMoments(rows.shape[1], rows=len(rows) if with_covariance else None)
    for part in rows.split(block):
        seen.add(part)
    return seen


def assert_moments(seen: RowMoments, rows: Tensor) -> None:
    """Compare with the oracle: float32 sums of a block's rows lose at most an eps for each of them."""
    tolerance = BLOCK * SINGLE
    wide = rows.double()
    spread = float((wide - wide.mean(dim=0)).abs().max())
    torch.testing.assert_close(seen.mean, wide.mean(dim=0), rtol=1e-12, atol=tolerance * spread)
    factor = seen.factor()
    expected = covariance(rows)
    assert (factor.shape[1], factor.dtype) == (len(expected), torch.float64)
    assert len(factor) <= rows.shape[1]
    torch.testing.assert_close(factor.T @ factor, expected, rtol=0, atol=tolerance * spread**2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@for_each("block", [1, 7, BLOCK, 5000])
def test_moments_are_those_of_the_table(dtype: torch.dtype, block: int) -> None:
    """Mean and covariance of 1000 rows in blocks of any size are those of the whole, in every dtype."""
    rows = rows_of(1000, 6, dtype=dtype) + torch.arange(6).to(dtype)
    seen = moments_of(rows, block=block)
    assert seen.count == 1000
    assert_moments(seen, rows)


@pytest.mark.parametrize("offset", [1e3, -1e6])
def test_moments_keep_their_digits_beside_a_large_offset(offset: float) -> None:
    """A common offset a million times the spread costs the covariance nothing, though float32 holds 7 digits."""
    rows = (rows_of(2000, 5, dtype=torch.float64) + offset).float()
    assert_moments(moments_of(rows), rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@for_each("scale", [1e-12, 1e-7, 1e7, 1e12])
def test_moments_scale_with_the_rows(dtype: torch.dtype, scale: float) -> None:
    """Rows of tiny and of huge norm have the moments of the oracle, relative to their size."""
    rows = rows_of(700, 4, dtype=dtype) * scale
    assert_moments(moments_of(rows), rows)


def test_moments_do_not_depend_on_the_first_block() -> None:
    """Where the first block lies 100 spreads away from all others, mean and covariance are still those of the table."""
    rows = rows_of(1200, 5)
    rows[:BLOCK] += 100 * rows.std()
    assert_moments(moments_of(rows), rows)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_factor_of_fewer_rows_than_columns_is_singular(count: int) -> None:
    """Of n rows in 8 columns the covariance has rank n - 1, and F^T F is it, without NaN from negative eigenvalues."""
    rows = rows_of(count, 8)
    seen = moments_of(rows)
    assert_moments(seen, rows)
    values = torch.linalg.svdvals(seen.factor())
    assert float(values[count - 2]) > 0.1
    assert float(values[count - 1]) < 8 * math.sqrt(SINGLE) * float(values[0])  # the root of what rounding leaves


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_single_row_has_no_spread(dtype: torch.dtype) -> None:
    """The mean of one row is the row itself, exactly, and its factor is zero."""
    row = rows_of(1, 6, dtype=dtype)
    seen = moments_of(row)
    assert torch.equal(seen.mean, row[0].double())
    assert not seen.factor().any()


def test_equal_rows_have_no_spread() -> None:
    """A thousand times the same row has that row as its mean and a covariance of rounding alone."""
    rows = rows_of(1, 6).expand(1000, -1)
    assert_moments(moments_of(rows), rows)
    assert float(moments_of(rows).factor().abs().max()) < 10 * SINGLE * float(rows.abs().max())


def test_no_rows_have_a_mean_of_zeros() -> None:
    """Nothing taken in, and empty blocks alone: a count of 0, zeros for mean and factor."""
    for seen in (RowMoments(3, rows=9), moments_of(torch.empty(0, 3))):
        assert seen.count == 0
        assert torch.equal(seen.mean, torch.zeros(3, dtype=torch.float64))
        assert not seen.factor().any()


def test_empty_blocks_change_nothing() -> None:
    """Blocks without a row, first and between, leave mean and factor to the bit."""
    rows = rows_of(40, 3)
    seen = RowMoments(3, rows=1000)
    for part in (rows[:0], rows[:25], rows[:0], rows[25:]):
        seen.add(part)
    expected = moments_of(rows, block=25)
    assert torch.equal(seen.mean, expected.mean)
    assert torch.equal(seen.factor(), expected.factor())


def test_mean_without_covariance_is_the_same() -> None:
    """Without a covariance the mean stays to the bit, and no factor can be asked for."""
    rows = rows_of(500, 4)
    seen = moments_of(rows, with_covariance=False)
    assert torch.equal(seen.mean, moments_of(rows).mean)
    with pytest.raises(AssertionError, match="covariance was not asked for"):
        seen.factor()


def test_measure_rows_gives_norms_and_cosines() -> None:
    """3-4-5: norm 5, cosine 0.6 with the first axis whatever its length; a row of zeros has both 0."""
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]])
    for length in (1.0, 1e-9, 1e9):
        seen = measure_rows(rows, torch.tensor([length, 0.0], dtype=torch.float64))
        assert seen.norms.tolist() == [5, 0, 2]
        assert seen.cosines.tolist() == pytest.approx([0.6, 0, -1], abs=2 * SINGLE)
    chosen = seen.where(torch.tensor([True, False, True]))
    assert chosen.norms.tolist() == [5, 2]
    assert len(chosen.cosines) == 2
    assert measure_rows(rows, torch.zeros(2, dtype=torch.float64)).cosines.tolist() == [0, 0, 0]


def ranked(values: Tensor, share: float) -> float:
    """Find the least value that `share` of the values do not exceed."""
    return float(values.sort().values[max(math.ceil(share * len(values)), 1) - 1])


def assert_statistics(seen: RowStatistics, rows: Tensor, direction: Tensor) -> None:
    """Compare with norms and cosines in float64: means and extremes to float32's eps, quantiles to 0.1 %."""
    wide = rows.double()
    norms = wide.norm(dim=1)
    cosines = (wide @ direction) / (norms * direction.norm()).clamp_min(1e-300)
    tolerance = rows.shape[1] * SINGLE
    assert seen.norm.mean == pytest.approx(float(norms.mean()), rel=tolerance)
    assert seen.norm.max == pytest.approx(float(norms.max()), rel=tolerance)
    assert seen.norm.p50 == pytest.approx(ranked(norms, 0.5), rel=QUANTILE)
    assert seen.norm.p99 == pytest.approx(ranked(norms, 0.99), rel=QUANTILE)
    assert seen.cosine.mean == pytest.approx(float(cosines.mean()), abs=tolerance)
    assert seen.cosine.min == pytest.approx(float(cosines.min()), abs=tolerance)
    for value, share in ((seen.cosine.p50, 0.5), (seen.cosine.p01, 0.99)):
        distance = ranked(1 - cosines, share)  # the stated tolerance is of 1 - cosine
        assert 1 - value == pytest.approx(distance, rel=QUANTILE, abs=2 * tolerance)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(dtype, scale) for dtype in DTYPES for scale in (1e-7, 1.0, 1e7) if dtype != torch.float16 or scale == 1],
    ids=str,
)
def test_statistics_are_those_of_the_rows(dtype: torch.dtype, scale: float) -> None:
    """Norms and cosines of 3000 rows in blocks, also of norms above the sketch's 1e6 and far below 1."""
    rows = ((rows_of(3000, 8, dtype=torch.float64) + 1.5) * scale).to(dtype)
    direction = rows.double().mean(dim=0)
    seen = RowStatistics(direction)
    for part in rows.split(BLOCK):
        seen.add(part)
    assert seen.count == 3000
    assert_statistics(seen, rows, direction)


def test_statistics_of_rows_of_growing_length() -> None:
    """Blocks of norms from 1e-3 to 1e2, smallest first, give the quantiles of all of them together."""
    rows = rows_of(2000, 5) * torch.logspace(-3, 2, 2000)[:, None]
    direction = torch.ones(5, dtype=torch.float64)
    seen = RowStatistics(direction)
    for part in rows.split(100):
        seen.add(part)
    assert_statistics(seen, rows, direction)


def test_statistics_of_rows_beside_a_common_offset() -> None:
    """Rows that all point one way within 1e-3: the quantiles of 1 - cosine keep what float32 leaves of it."""
    rows = rows_of(1500, 6) / 1000 + torch.tensor([5.0, -3, 1, 2, 4, 1])
    direction = rows.double().mean(dim=0)
    seen = RowStatistics(direction)
    seen.add(rows)
    assert_statistics(seen, rows, direction)


def test_statistics_count_rows_of_zeros() -> None:
    """Rows of zeros, in a first block alone or beside others, have norm 0 and cosine 0, and all figures are finite."""
    rows = torch.cat([torch.zeros(60, 3), torch.ones(40, 3)])
    seen = RowStatistics(torch.ones(3, dtype=torch.float64))
    seen.add(rows[:50])
    seen.add(rows[50:])
    assert seen.norm.mean == pytest.approx(0.4 * math.sqrt(3), rel=SINGLE * 3)
    assert seen.norm.p50 == 0
    assert seen.norm.p99 == pytest.approx(math.sqrt(3), rel=QUANTILE)
    assert seen.cosine.mean == pytest.approx(0.4, abs=SINGLE * 3)
    assert seen.cosine.min == 0
    assert seen.cosine.p50 == pytest.approx(0, abs=QUANTILE)


def test_statistics_without_a_direction() -> None:
    """Along a direction of zeros every cosine is 0; norms are what they are."""
    rows = rows_of(100, 4)
    seen = RowStatistics(torch.zeros(4, dtype=torch.float64))
    seen.add(rows)
    assert seen.norm.mean == pytest.approx(float(rows.double().norm(dim=1).mean()), rel=4 * SINGLE)
    assert (seen.cosine.mean, seen.cosine.min) == (0, 0)


def test_statistics_measured_beforehand_are_the_same() -> None:
    """Rows measured once and split by a mask give what the two parts give by themselves."""
    rows = rows_of(400, 4)
    direction = rows.double().mean(dim=0)
    mask = rows[:, 0] > 0
    seen = measure_rows(rows, direction)
    for chosen in (mask, ~mask):
        statistics = RowStatistics(direction)
        statistics.add_measured(seen.where(chosen))
        assert statistics.count == int(chosen.sum())
        assert_statistics(statistics, rows[chosen], direction)


def test_statistics_of_nothing() -> None:
    """No rows, and empty blocks alone: count 0."""
    seen = RowStatistics(torch.ones(2, dtype=torch.float64))
    seen.add(torch.empty(0, 2))
    seen.add_measured(MeasuredRows(torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.float64)))
    assert (seen.count, seen.norm.mean, seen.norm.p50, seen.norm.max) == (0, 0, 0, 0)
