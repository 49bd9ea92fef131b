"""The report of a table as it must be, computed from the dense table and what is stored of it, all in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from embcompress.results import Histogram, RowGroup, SpectrumReport, TableErrorReport, TableReport
from tests.linalg.oracles import dense_measures, dense_overlap, nearest_rank

QUANTILE = 1.001e-3  # relative: half a bin of the sketch of quantiles
NORM = 5.01e-3  # relative: half a bin of the norms that bound a group
GROUPS = 10


def real_rows(table: Tensor) -> Tensor:
    """Lay out a table as rows of reals in float64, complex entries as pairs, (rows, dim)."""
    real = torch.view_as_real(table) if table.is_complex() else table
    return real.to(torch.float64).flatten(1)


def share(error: Tensor, table: Tensor) -> float:
    """Divide Frobenius norms."""
    return float(error.norm() / table.norm())


def assert_error(
    actual: TableErrorReport,
    values: Tensor,
    stored: Tensor,
    *,
    slack: float,
    row_weights: Tensor | None = None,
    labels: Sequence[str] = (),
) -> None:
    """Compare every number of an error, but the optimum, with the oracle.

    Args:
        actual: by the tool.
        values: (rows, dim) float64.
        stored: (rows, dim) float64.
        slack: relative, of the dtype that the error was measured in; quantiles take 0.1 % besides.
        row_weights: (rows,) of the rows.
        labels: of the rows.
    """
    relatives, distances = dense_measures(values, stored)
    assert actual.relative == pytest.approx(share(stored - values, values), rel=slack)
    rows, cosine, ratio = actual.row_relative, actual.cosine, actual.norm_ratio
    assert (rows.mean, rows.max) == pytest.approx((float(relatives.mean()), float(relatives.max())), rel=slack)
    for quantile, part in ((rows.p50, 0.5), (rows.p99, 0.99)):
        assert quantile == pytest.approx(nearest_rank(relatives, part), rel=QUANTILE + slack)
    norms, sizes = values.norm(dim=1), stored.norm(dim=1)
    # 1 - cosine is made of norms: where hardly anything is stored of a row, float32 cancels by the ratio of both.
    lost = max(1e-12, slack / 10 * float((norms / sizes)[sizes > 0].max()))
    assert 1 - cosine.mean == pytest.approx(float(distances.mean()), rel=slack, abs=lost)
    assert 1 - cosine.min == pytest.approx(float(distances.max()), rel=slack, abs=lost)
    assert 1 - cosine.p01 == pytest.approx(nearest_rank(distances, 0.99), rel=QUANTILE + slack, abs=lost)
    ratios = (sizes / norms)[norms > 0]
    assert ratio is not None
    assert ratio.mean == pytest.approx(float(ratios.mean()), rel=slack)
    for quantile, part in ((ratio.p01, 0.01), (ratio.p50, 0.5), (ratio.p99, 0.99)):
        assert quantile == pytest.approx(nearest_rank(ratios, part), rel=QUANTILE + slack)
    worst = sorted(range(len(relatives)), key=lambda row: (-float(relatives[row]), row))[:10]
    assert [row.id for row in actual.worst_rows] == worst
    assert [row.label for row in actual.worst_rows] == [labels[row] if labels else None for row in worst]
    assert [row.relative for row in actual.worst_rows] == pytest.approx(relatives[worst].tolist(), rel=slack)
    assert_histogram(actual.histogram, relatives, slack=slack)
    assert_groups_by_norm(actual.by_norm, values, stored, slack=slack)
    if row_weights is None:
        assert (actual.weighted_relative, actual.by_frequency) == (None, None)
        return
    root = row_weights.to(torch.float64).sqrt()[:, None]
    assert actual.weighted_relative == pytest.approx(share(root * (stored - values), root * values), rel=slack)
    assert actual.by_frequency is not None
    assert_groups_by_frequency(actual.by_frequency, values, stored, row_weights, slack=slack)


def assert_histogram(actual: Histogram, relatives: Tensor, *, slack: float) -> None:
    """Count the rows below each edge; a row within 0.1 % of an edge may lie on either side."""
    edges, counts = actual.edges, actual.counts
    assert list(edges) == sorted(set(edges))
    assert len(edges) == len(counts) + 1
    assert (edges[0], sum(counts)) == (0, len(relatives))
    assert edges[-1] == pytest.approx(float(relatives.max()), rel=slack)
    reach = min(1.25 * nearest_rank(relatives, 0.99), float(relatives.max()))
    assert edges[min(40, len(edges) - 1)] == pytest.approx(reach, rel=QUANTILE + slack)
    assert edges[1] == pytest.approx(edges[min(40, len(edges) - 1)] / 40, rel=1e-12)
    below = 0
    for edge, count in zip(edges[1:-1], counts[:-1], strict=True):
        below += count
        least, most = (int((relatives < edge * (1 + side * (QUANTILE + slack))).sum()) for side in (-1, 1))
        assert least <= below <= most


def assert_groups_by_norm(actual: Sequence[RowGroup], values: Tensor, stored: Tensor, *, slack: float) -> None:
    """Cut the rows by ascending norm into parts of the sizes told: bounds to 0.5 %, errors to the slack."""
    norms, order = values.norm(dim=1).sort(stable=True)
    assert sum(group.rows for group in actual) == len(values)
    assert 1 <= len(actual) <= GROUPS
    first = 0
    for group in actual:
        own = order[first : first + group.rows]
        low, high = float(norms[first]), float(norms[first + group.rows - 1])
        assert (group.low, group.high) == pytest.approx((low, high), rel=NORM + slack, abs=1e-30)
        if high:
            assert group.relative == pytest.approx(share((stored - values)[own], values[own]), rel=slack)
        first += group.rows
    assert all(one.high < other.low for one, other in itertools.pairwise(actual))


def assert_groups_by_frequency(
    actual: Sequence[RowGroup], values: Tensor, stored: Tensor, row_weights: Tensor, *, slack: float
) -> None:
    """Cut the rows by ascending weight, equal ones by id, into ten parts that differ by a row at most."""
    order = sorted(range(len(values)), key=lambda row: (float(row_weights[row]), row))
    parts = [[row for index, row in enumerate(order) if index * GROUPS // len(order) == part] for part in range(GROUPS)]
    parts = [part for part in parts if part]
    assert [group.rows for group in actual] == [len(part) for part in parts]
    for group, own in zip(actual, parts, strict=True):
        assert (group.low, group.high) == (float(row_weights[own[0]]), float(row_weights[own[-1]]))
        assert group.relative == pytest.approx(share((stored - values)[own], values[own]), rel=slack)


def assert_spectrum(actual: SpectrumReport | None, values: Tensor, *, rank: int, known: int) -> None:
    """Compare singular values to 1e-5 of the largest and energies to 1e-5, as the solvers promise for float32."""
    assert actual is not None
    singular = torch.linalg.svdvals(values)
    energy = singular.square().cumsum(0) / singular.square().sum()
    assert actual.ranks == tuple(range(1, known + 1))
    assert actual.is_whole == (known == min(values.shape))
    assert actual.singular_values == pytest.approx(singular[:known].tolist(), abs=1e-5 * float(singular[0]))
    assert actual.energy == pytest.approx(energy[:known].tolist(), abs=1e-5)
    assert actual.kept_energy == pytest.approx(float(energy[rank - 1]), abs=1e-5)


def water_filling(squares: Tensor, bits: float) -> float:
    """Compute the Gaussian bound in closed form: the level at which the first m components take all the bits."""
    ordered = squares.sort(descending=True).values
    for count in range(1, len(ordered) + 1):
        level = 2 ** ((float(ordered[:count].log2().sum()) - 2 * bits) / count)
        if level <= float(ordered[count - 1]) and (count == len(ordered) or level >= float(ordered[count])):
            return math.sqrt((count * level + float(ordered[count:].sum())) / float(ordered.sum()))
    raise AssertionError("no level fits")


def assert_neighbours(actual: TableReport, values: Tensor, stored: Tensor) -> None:
    """Compare the overlap of all rows with the oracle: to three neighbours in all, which float32 may rank otherwise."""
    assert actual.neighbours is not None
    rows = len(values)
    assert (actual.neighbours.queries, actual.neighbours.neighbours_per_query) == (rows, min(10, rows - 1))
    for band, by_cosine in ((actual.neighbours.cosine, True), (actual.neighbours.inner_product, False)):
        expected = float(dense_overlap(values, stored, torch.arange(rows), by_cosine=by_cosine).mean())
        assert band.overlap == pytest.approx(expected, abs=3.01 / (rows * actual.neighbours.neighbours_per_query))
        assert band.low == band.overlap == band.high
