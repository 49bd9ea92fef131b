"""Measures of the accumulator beside error and cosine: norm ratios, the histogram, the error of groups of rows."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from torch import Tensor

from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.row_groups import GROUPS
from embcompress.results import TableErrorReport
from tests.cases import for_each
from tests.linalg.oracles import nearest_rank
from tests.linalg.tables import gaussian

QUANTILE = 1.001e-3  # relative: half a bin of the sketch
NORM = 5.01e-3  # relative: half a bin of norms


def measure(values: Tensor, stored: Tensor, *, row_weights: Tensor | None = None) -> TableErrorReport:
    """Measure a table in one block."""
    seen = ErrorAccumulator(row_weights)
    seen.add(values, stored, first=0)
    return seen.result()


def table_and_stored(rows: int = 1000) -> tuple[Tensor, Tensor]:
    """Draw rows of norms over eight decades, three of them zero, stored with errors and norms of their own."""
    values = gaussian(rows, 6) * torch.logspace(-4, 4, rows, dtype=torch.float64)[:, None]
    values[[0, rows // 2, rows - 1]] = 0
    noise = values.norm(dim=1, keepdim=True) * gaussian(rows, 6, seed=1) * 0.1
    return values, 0.9 * values + noise * torch.rand(rows, 1, generator=torch.Generator().manual_seed(2))


def flat(actual: TableErrorReport) -> list[float]:
    """List the numbers beside error and cosine."""
    assert actual.norm_ratio is not None
    groups = [*actual.by_norm, *(actual.by_frequency or ())]
    numbers = [number for group in groups for number in (group.rows, group.low, group.high, group.relative)]
    ratio = actual.norm_ratio
    return [ratio.mean, ratio.p01, ratio.p50, ratio.p99, *actual.histogram.edges, *actual.histogram.counts, *numbers]  # type: ignore[list-item]


@pytest.mark.parametrize("seed", range(3))
def test_error_accumulator_merges_groups_and_histogram(seed: int) -> None:
    """Parts in any order, merged in any tree, tell what the whole tells, to 1e-12."""
    values, stored = table_and_stored()
    row_weights = torch.arange(1000, dtype=torch.float64) % 37
    cuts = sorted(random.Random(seed).sample(range(1001), 5))
    bounds = list(zip([0, *cuts], [*cuts, 1000], strict=True))
    random.Random(seed).shuffle(bounds)
    parts = []
    for first, last in bounds:
        part = ErrorAccumulator(row_weights)
        part.add(values[first:last], stored[first:last], first=first)
        parts.append(part)
    while len(parts) > 1:
        parts[0].merge(parts.pop())
    expected = flat(measure(values, stored, row_weights=row_weights))
    assert flat(parts[0].result()) == pytest.approx(expected, rel=1e-12)


def test_error_accumulator_tells_how_norms_drift() -> None:
    """Mean to 1e-12 and quantiles to 0.1 % of the ratios of norms, rows of zeros left out; None where all are zero."""
    values, stored = table_and_stored()
    norms = values.norm(dim=1)
    ratios = (stored.norm(dim=1) / norms)[norms > 0]
    actual = measure(values, stored).norm_ratio
    assert actual is not None
    assert actual.mean == pytest.approx(float(ratios.mean()), rel=1e-12)
    for quantile, share in ((actual.p01, 0.01), (actual.p50, 0.5), (actual.p99, 0.99)):
        assert quantile == pytest.approx(nearest_rank(ratios, share), rel=QUANTILE)
    assert measure(torch.zeros(3, 2), torch.ones(3, 2)).norm_ratio is None
    assert measure(torch.zeros(0, 2), torch.ones(0, 2)).norm_ratio is None


def test_error_accumulator_tells_a_ratio_of_zero() -> None:
    """Rows that are stored as zeros have the ratio 0, exactly."""
    actual = measure(torch.ones(4, 2), torch.zeros(4, 2)).norm_ratio
    assert actual is not None
    assert (actual.mean, actual.p01, actual.p50, actual.p99) == (0, 0, 0, 0)


@pytest.mark.parametrize("outlier", [1.0, 1e3, 1e9])
def test_histogram_is_not_squeezed_by_an_outlier(outlier: float) -> None:
    """One row that errs far more than all others takes the last bin alone; the others fill the bins before it."""
    values = torch.ones(1000, 1, dtype=torch.float64)
    errors = torch.linspace(0.1, 0.2, 1000, dtype=torch.float64)
    errors[500] = outlier
    actual = measure(values, values + errors[:, None]).histogram
    assert actual.edges[0] == 0
    assert actual.edges[-1] == pytest.approx(outlier, rel=1e-12)
    assert list(actual.edges) == sorted(set(actual.edges))
    assert (actual.counts[-1], sum(actual.counts)) == (1, 1000)
    assert sum(count > 0 for count in actual.counts[:-1]) >= 15
    assert actual.edges[-2] == pytest.approx(1.25 * nearest_rank(errors, 0.99), rel=QUANTILE)


@pytest.mark.parametrize(
    ("errors", "edges", "counts"),
    [
        ([], (0.0, 0.0), (0,)),
        ([0.0], (0.0, 0.0), (1,)),
        ([0.0, 0.0, 0.0], (0.0, 0.0), (3,)),
    ],
)
def test_histogram_of_no_error_is_one_bin(errors: list[float], edges: tuple[float, ...], counts: tuple[int]) -> None:
    """Of no rows, or of rows kept exactly, everything lies at 0."""
    values = torch.ones(len(errors), 1, dtype=torch.float64)
    actual = measure(values, values + torch.tensor(errors, dtype=torch.float64)[:, None]).histogram
    assert (actual.edges, actual.counts) == (edges, counts)


@pytest.mark.parametrize("error", [1e-17, 1e-9, 0.5, 1.0, 1e5, 1e12])
def test_histogram_of_equal_errors_keeps_all_rows(error: float) -> None:
    """However small or large, all rows lie in one bin and below the last edge, which is the error itself."""
    seen = ErrorAccumulator()
    norms = torch.ones(7, dtype=torch.float64)
    seen.add_norms(norms=norms, reconstructed_norms=norms, errors=error * norms, first=0)
    actual = seen.result().histogram
    assert sum(actual.counts) == max(actual.counts) == 7
    assert actual.edges[-1] == error


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1.0, 1e12, 1e25])
def test_groups_by_norm_part_the_rows(scale: float) -> None:
    """About equally many rows each, ascending and apart; bounds and errors are those of the rows sorted by norm."""
    values, stored = (scale * one for one in table_and_stored())
    norms, order = values.norm(dim=1).sort()
    actual = measure(values, stored).by_norm
    assert len(actual) == GROUPS
    assert sum(group.rows for group in actual) == 1000
    first = 0
    for group in actual:
        own = order[first : first + group.rows]
        assert abs(group.rows - 100) <= 3
        assert group.low == pytest.approx(float(norms[first]), rel=NORM, abs=1e-30)
        assert group.high == pytest.approx(float(norms[first + group.rows - 1]), rel=NORM)
        expected = float((stored - values)[own].norm() / values[own].norm())
        assert group.relative == pytest.approx(expected, rel=1e-9)
        first += group.rows
    assert all(one.high < other.low for one, other in itertools.pairwise(actual))


@pytest.mark.parametrize("rows", [1, 5, 9, 10, 11, 500])
def test_groups_by_norm_keep_equal_norms_together(rows: int) -> None:
    """Rows of one norm are one group; of two norms, two, whichever is the larger."""
    directions = gaussian(rows, 4)
    values = directions / directions.norm(dim=1, keepdim=True)
    (group,) = measure(values, 0.5 * values).by_norm
    assert group.rows == rows
    assert (group.low, group.high) == (pytest.approx(1, rel=NORM), pytest.approx(1, rel=NORM))
    assert group.relative == pytest.approx(0.5, rel=1e-12)
    both = torch.cat([values, 3 * values[: rows // 3]])
    actual = measure(both, 0.5 * both).by_norm
    assert [group.rows for group in actual] == [size for size in (rows, rows // 3) if size]


def test_groups_by_norm_of_zeros() -> None:
    """Rows of zeros are a group of norm 0: without error where they are kept, and without a relative one if not."""
    values = torch.zeros(20, 3, dtype=torch.float64)
    (group,) = measure(values, values).by_norm
    assert (group.rows, group.low, group.high, group.relative) == (20, 0, 0, 0)
    (group,) = measure(values, values + 1).by_norm
    assert (group.rows, group.low, group.high, group.relative) == (20, 0, 0, None)
    assert measure(values[:0], values[:0]).by_norm == ()


@pytest.mark.parametrize("kind", ["rising", "equal", "halfzero", "huge"])
@for_each("rows", [1, 3, 9, 10, 11, 25, 1000])
def test_groups_by_frequency_part_the_rows(rows: int, kind: str) -> None:
    """Ten groups that differ by one row at most, fewer for fewer rows, by weight and then by id."""
    row_weights = {
        "rising": torch.arange(rows, 0, -1, dtype=torch.float64),
        "equal": torch.full((rows,), 3.0, dtype=torch.float64),
        "halfzero": (torch.arange(rows) % 2 == 0).to(torch.float64),
        "huge": torch.logspace(-300, 300, rows, dtype=torch.float64),
    }[kind]
    values = 1 + torch.rand(rows, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stored = values + 0.1 * gaussian(rows, 4)
    actual = measure(values, stored, row_weights=row_weights).by_frequency
    assert actual is not None
    order = sorted(range(rows), key=lambda row: (float(row_weights[row]), row))
    expected = [[row for index, row in enumerate(order) if index * 10 // rows == part] for part in range(10)]
    expected = [own for own in expected if own]
    assert [group.rows for group in actual] == [len(own) for own in expected]
    assert max(group.rows for group in actual) - min(group.rows for group in actual) <= 1
    for group, own in zip(actual, expected, strict=True):
        assert (group.low, group.high) == (float(row_weights[own[0]]), float(row_weights[own[-1]]))
        error = math.sqrt(float((stored - values)[own].square().sum() / values[own].square().sum()))
        assert group.relative == pytest.approx(error, rel=1e-12)


def test_groups_by_frequency_are_none_without_weights() -> None:
    """Nothing tells how often a row occurs."""
    assert measure(torch.ones(3, 2), torch.ones(3, 2)).by_frequency is None
