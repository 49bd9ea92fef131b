"""The error of a reconstruction: the accumulator against a dense float64 oracle, and its quantiles."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from embcompress.exceptions import UsageError
from embcompress.linalg.error import WORST_ROWS_KEPT, ErrorAccumulator
from embcompress.linalg.quantiles import QuantileSketch
from embcompress.results import TableErrorReport
from tests.linalg.oracles import dense_measures, nearest_rank
from tests.linalg.tables import compress, gaussian, squared_error, table_of, token_like

QUANTILE = 1e-3  # relative: half a bin of the sketch


def assert_agrees(actual: TableErrorReport, values: Tensor, reconstructed: Tensor, *, slack: float) -> None:
    """Compare every number with the oracle: sums and extremes to `slack`, quantiles to 0.1 % besides."""
    relatives, distances = dense_measures(values, reconstructed)
    norm = float(values.double().norm())
    assert actual.relative == pytest.approx(float((reconstructed.double() - values.double()).norm()) / norm, rel=slack)
    assert actual.row_relative.mean == pytest.approx(float(relatives.mean()), rel=slack)
    assert actual.row_relative.max == pytest.approx(float(relatives.max()), rel=slack)
    assert actual.row_relative.p50 == pytest.approx(nearest_rank(relatives, 0.5), rel=QUANTILE + slack)
    assert actual.row_relative.p99 == pytest.approx(nearest_rank(relatives, 0.99), rel=QUANTILE + slack)
    assert 1 - actual.cosine.mean == pytest.approx(float(distances.mean()), rel=slack, abs=slack)
    assert 1 - actual.cosine.min == pytest.approx(float(distances.max()), rel=slack, abs=slack)
    assert 1 - actual.cosine.p01 == pytest.approx(nearest_rank(distances, 0.99), rel=QUANTILE, abs=slack)
    ids = sorted(range(len(relatives)), key=lambda row: (-float(relatives[row]), row))[:WORST_ROWS_KEPT]
    assert [row.id for row in actual.worst_rows] == ids
    for row in actual.worst_rows:
        assert row.relative == pytest.approx(float(relatives[row.id]), rel=slack)


def noisy(table: Tensor, *, noise: float, seed: int = 1) -> Tensor:
    """Add noise of a size of its own to every row, (rows, dim), so that no two rows err alike."""
    sizes = noise * torch.linspace(0.2, 3, len(table), dtype=torch.float64)[torch.randperm(len(table))]
    return table + sizes[:, None] * gaussian(*table.shape, seed=seed)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("noise", [1e-9, 1e-3, 0.3, 30.0])
def test_error_accumulator_agrees_with_a_dense_oracle(noise: float, device: str) -> None:
    """In float64 every number agrees to 1e-7: distances near 1e-18, of which rounding takes its share, to 1e-16."""
    values = gaussian(2500, 24) * torch.logspace(-3, 3, 2500, dtype=torch.float64)[:, None]
    norms = values.norm(dim=1, keepdim=True)
    reconstructed = values + (noisy(torch.zeros_like(values), noise=noise) * norms / 5)
    seen = ErrorAccumulator()
    for first in range(0, 2500, 700):
        part = slice(first, first + 700)
        seen.add(values[part].to(device), reconstructed[part].to(device), first=first)
    assert_agrees(seen.result(), values, reconstructed, slack=1e-7)


def test_error_accumulator_measures_in_float32_to_six_digits(device: str) -> None:
    """In float32, for which errors must be 1e-2 and larger, every number agrees to 1e-6."""
    values = token_like(3000, 64, mean_share=0.3)
    reconstructed = noisy(values.double(), noise=0.05).float()
    seen = ErrorAccumulator()
    seen.add(values.to(device), reconstructed.to(device), first=0)
    assert_agrees(seen.result(), values, reconstructed, slack=1e-6)


def test_error_accumulator_sums_rows_in_float64(device: str) -> None:
    """One row in a million that is lost among equal ones costs 1e-6 of the squared norm, to six digits."""
    values = torch.full((1000, 8), 0.1, device=device)
    seen = ErrorAccumulator()
    for first in range(0, 1_000_000, 1000):
        seen.add(values, values * (torch.arange(first, first + 1000, device=device) != 7000)[:, None], first=first)
    assert seen.result().relative == pytest.approx(1e-3, rel=1e-6)
    assert seen.result().row_relative.mean == pytest.approx(1e-6, rel=1e-6)
    assert [(row.id, row.relative) for row in seen.result().worst_rows[:2]] == [(7000, 1.0), (0, 0.0)]


def test_error_accumulator_keeps_its_conventions_for_zero_rows() -> None:
    """A zero row kept is without error; one that came to life, or a row that died, is wholly wrong."""
    values = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    reconstructed = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    seen = ErrorAccumulator()
    seen.add(values, reconstructed, first=10)
    result = seen.result()
    assert result.relative == pytest.approx(math.sqrt(26 / 50), rel=1e-12)
    assert (result.row_relative.mean, result.row_relative.p50, result.row_relative.max) == (0.5, 0.0, 1.0)
    assert (result.cosine.mean, result.cosine.min) == (0.5, 0.0)
    assert [(row.id, row.relative) for row in result.worst_rows] == [(11, 1.0), (12, 1.0), (10, 0.0), (13, 0.0)]


@pytest.mark.parametrize(("reconstructed", "relative"), [(0.0, 0.0), (1e-3, 1.0)])
def test_error_accumulator_measures_a_zero_table(reconstructed: float, relative: float) -> None:
    """An all-zero table kept exactly has no error; kept otherwise it is wholly wrong."""
    seen = ErrorAccumulator()
    seen.add(torch.zeros(5, 3), torch.full((5, 3), reconstructed), first=0)
    assert seen.result().relative == relative
    assert seen.result().cosine.mean == 1 - relative


def test_error_accumulator_takes_no_rows() -> None:
    """Nothing seen, and an empty block, are no error."""
    seen = ErrorAccumulator()
    assert seen.result().relative == 0
    seen.add(torch.zeros(0, 3), torch.zeros(0, 3), first=0)
    assert (seen.result().relative, seen.result().worst_rows) == (0, ())


def test_error_accumulator_tells_opposite_and_orthogonal_rows() -> None:
    """The cosine reaches -1, and 0 for orthogonal rows."""
    seen = ErrorAccumulator()
    seen.add(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[-2.0, 0.0], [0.0, 1.0]]), first=0)
    assert seen.result().cosine.min == -1
    assert seen.result().cosine.mean == pytest.approx(-0.5, abs=1e-7)


def test_error_accumulator_sees_rows_whose_squares_float32_drops() -> None:
    """Rows of norm 1e-25 beside ordinary ones get their relative error and cosine, not those of zero rows."""
    values = torch.tensor([[1.0, 2.0], [3e-25, 4e-25], [3e-13, 4e-13]])
    reconstructed = torch.tensor([[1.0, 2.0], [3e-25, 0.0], [0.0, 4e-13]])
    seen = ErrorAccumulator()
    seen.add(values, reconstructed, first=0)
    errors = {row.id: row.relative for row in seen.result().worst_rows}
    assert errors == {1: pytest.approx(0.8, rel=1e-6), 2: pytest.approx(0.6, rel=1e-6), 0: 0.0}
    assert seen.result().cosine.min == pytest.approx(0.6, rel=1e-6)


@given(
    cuts=st.lists(st.integers(0, 400), max_size=6),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_error_accumulator_merges_parts_to_the_whole(cuts: list[int], order: object) -> None:
    """Whatever the parts and their order, quantiles and worst rows are equal, and means to rounding (1e-13)."""
    values = gaussian(400, 6)
    reconstructed = values.clone()
    reconstructed[::2] = 0.5 * values[::2]  # two hundred rows that tie for the worst
    reconstructed[100] = 0
    values[[7, 301]] = reconstructed[[7, 301]] = 0
    whole = ErrorAccumulator()
    whole.add(values, reconstructed, first=0)
    edges = sorted({0, 400, *cuts})
    parts = list(itertools.pairwise(edges))
    order.shuffle(parts)  # type: ignore[attr-defined]
    merged = ErrorAccumulator()
    for first, last in parts:
        part = ErrorAccumulator()
        part.add(values[first:last], reconstructed[first:last], first=first)
        merged.merge(part)
    assert merged.zero_rows == whole.zero_rows == 2
    actual, expected = merged.result(), whole.result()
    assert actual.worst_rows == expected.worst_rows
    assert [row.id for row in actual.worst_rows] == [100, *range(0, 18, 2)]
    for name in ("p50", "p99", "max"):
        assert getattr(actual.row_relative, name) == getattr(expected.row_relative, name)
    assert (actual.cosine.p01, actual.cosine.min) == (expected.cosine.p01, expected.cosine.min)
    assert actual.relative == pytest.approx(expected.relative, rel=1e-13)
    assert actual.row_relative.mean == pytest.approx(expected.row_relative.mean, rel=1e-13)
    assert actual.cosine.mean == pytest.approx(expected.cosine.mean, rel=1e-13)


def weighted_relative(values: Tensor, reconstructed: Tensor, row_weights: Tensor) -> float:
    """Compute sqrt(sum w |e - e'|^2 / sum w |e|^2) in float64."""
    exact, weights = values.double(), row_weights.double()[:, None]
    difference = reconstructed.double() - exact
    return math.sqrt(float((weights * difference.square()).sum()) / float((weights * exact.square()).sum()))


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
def test_error_accumulator_weighs_rows_by_their_ids(scale: float, device: str) -> None:
    """Blocks in any order give the weighted error of a dense oracle to 1e-13, and all else as without weights."""
    values, row_weights = gaussian(900, 7), torch.arange(900, 0, -1, dtype=torch.float64) ** -1.5
    row_weights[::5] = 0
    reconstructed = noisy(values, noise=0.2)
    seen, plain = ErrorAccumulator(scale * row_weights), ErrorAccumulator()
    for first in (600, 0, 300):
        part = slice(first, first + 300)
        for one in (seen, plain):
            one.add(values[part].to(device), reconstructed[part].to(device), first=first)
    expected = weighted_relative(values, reconstructed, row_weights)
    assert seen.result().weighted_relative == pytest.approx(expected, rel=1e-13)
    assert abs(expected / plain.result().relative - 1) > 0.05  # so that mistaking one for the other would show
    assert plain.result().weighted_relative is None
    assert dataclasses.replace(seen.result(), weighted_relative=None, by_frequency=None) == plain.result()


def test_error_accumulator_merges_weighted_errors() -> None:
    """Two parts under the weights of the whole table merge to its error; under others, or none, they are refused."""
    values, row_weights = gaussian(400, 6), torch.linspace(0, 1, 400)
    reconstructed = noisy(values, noise=0.2)
    parts = ErrorAccumulator(row_weights), ErrorAccumulator(4 * row_weights)  # only ratios matter
    parts[0].add(values[:150], reconstructed[:150], first=0)
    parts[1].add(values[150:], reconstructed[150:], first=150)
    parts[0].merge(parts[1])
    expected = weighted_relative(values, reconstructed, row_weights)
    assert parts[0].result().weighted_relative == pytest.approx(expected, rel=1e-13)
    for other in (ErrorAccumulator(), ErrorAccumulator(row_weights.flip(0)), ErrorAccumulator(row_weights[:5])):
        for one, two in ((parts[0], other), (other, parts[0])):
            with pytest.raises(UsageError, match="under the same row weights"):
                one.merge(two)


@pytest.mark.parametrize(
    ("reconstructed", "expected"), [([[1.0], [9.0]], 0.0), ([[1.5], [2.0]], 0.5), ([[1.0], [2.0]], 0.0)]
)
def test_error_accumulator_forgets_rows_of_weight_0(reconstructed: list[list[float]], expected: float) -> None:
    """Only the first row counts, however wrong the second one is."""
    seen = ErrorAccumulator(torch.tensor([2.0, 0.0]))
    seen.add(torch.tensor([[1.0], [2.0]]), torch.tensor(reconstructed), first=0)
    assert seen.result().weighted_relative == expected


def test_error_accumulator_weighs_zero_rows() -> None:
    """Where all that counts is zero, the weighted error is 0 if it is kept, else 1; of no rows it is 0."""
    seen = ErrorAccumulator(torch.tensor([1.0, 0.0]))
    assert seen.result().weighted_relative == 0
    seen.add(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]), first=0)
    assert (seen.result().weighted_relative, seen.result().relative) == (0, 0.5)
    seen = ErrorAccumulator(torch.tensor([1.0, 0.0]))
    seen.add(torch.tensor([[0.0], [2.0]]), torch.tensor([[1e-3], [2.0]]), first=0)
    assert seen.result().weighted_relative == 1


@pytest.mark.parametrize("solver", ["gram", "qr"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["tall", "wide", "low-rank", "geometric-8", "giant-row", "zero-rows", "constant"])
def test_error_accumulator_agrees_with_stored_factors(name: str, dtype: torch.dtype, solver: str, device: str) -> None:
    """The error told equals one recomputed in float64 from what is stored: to 1e-6 of it, or 1e-9 of the norm."""
    table = table_of(name, dtype)
    for rank in (1, 8, min(table.shape)):
        compressed = compress(table, rank, solver=solver, device=device)
        expected = math.sqrt(squared_error(table, compressed))
        assert compressed.error.result().relative == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("dtype", "move", "slack"), [(torch.float64, 0.1, 1e-5), (torch.float32, 100.0, 1e-2)])
def test_error_accumulator_notices_a_changed_weight(dtype: torch.dtype, move: float, slack: float) -> None:
    """One stored weight moved by 10 % raises the error by what it costs, squared; in float32, by 100 times its size."""
    # The squared errors are shares of the squared norm, near 0.8. Sums of 48 squares, rounded 48 times by eps / 2, put
    # the two of them off by at most 48 eps, 1e-14 in float64 and 6e-6 in float32, against rises of 2.2e-9 and 2.2e-3.
    # Float32 shows a rise of 2.2e-9 to several per cent only, and which they are depends on the processor.
    table = table_of("tall", dtype)
    compressed = compress(table, 8, solver="gram")
    weights, bases = compressed.weights.clone(), compressed.bases
    before = compressed.error.result().relative
    step = move * float(weights[123, 0])
    weights[123, 0] += step
    after = ErrorAccumulator()
    after.add(table, weights @ bases, first=0)
    squared_norm = float(table.double().square().sum())
    assert table.shape[1] * torch.finfo(dtype).eps < slack * step**2 / squared_norm
    rise = (after.result().relative ** 2 - before**2) * squared_norm
    assert rise == pytest.approx(step**2, rel=slack)  # weights are least-squares ones: the first-order term vanishes


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("uniform", lambda: torch.rand(20_000, dtype=torch.float64)),
        ("lognormal", lambda: gaussian(20_000, 1)[:, 0].mul(3).exp()),
        ("exponential", lambda: -torch.rand(20_000, dtype=torch.float64).log()),
        ("decades", lambda: torch.logspace(-17, 5.9, 20_000, dtype=torch.float64)),
        ("constant", lambda: torch.full((1000,), 0.1234, dtype=torch.float64)),
        ("halfzeros", lambda: torch.cat([torch.zeros(5000), torch.rand(5000)]).double()),
        ("two", lambda: torch.tensor([1e-9, 1.0]).double()),
        ("single", lambda: torch.tensor([0.7]).double()),
    ],
)
def test_quantile_sketch_is_within_a_thousandth(name: str, draw: object, device: str) -> None:
    """Quantiles by nearest rank are within 0.1 % of the exact ones, also when merged from parts; zeros stay zero."""
    values = draw()[torch.randperm(len(draw()))]  # type: ignore[operator]
    whole, merged = QuantileSketch(), QuantileSketch()
    whole.add(values.to(device))
    for part in torch.split(values, 777):
        other = QuantileSketch()
        other.add(part)
        merged.merge(other)
    assert torch.equal(whole.counts, merged.counts)
    for share in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999, 1.0):
        expected = nearest_rank(values, share)
        assert whole.quantile(share) == pytest.approx(expected, rel=QUANTILE, abs=0), f"{name} {share}"
        assert merged.quantile(share) == whole.quantile(share)
    assert whole.largest == float(values.max())


def test_quantile_sketch_of_nothing_is_zero() -> None:
    """No values, or an empty tensor, have quantile 0."""
    sketch = QuantileSketch()
    sketch.add(torch.zeros(0, dtype=torch.float64))
    assert (sketch.quantile(0.5), sketch.largest) == (0.0, 0.0)


def test_quantile_sketch_holds_the_ends_of_its_range() -> None:
    """Values under 1e-18 count as zero; values over 1e6 are told no larger than the largest seen."""
    sketch = QuantileSketch()
    sketch.add(torch.tensor([1e-30, 1e-19, 1e12]).double())
    assert sketch.quantile(0.5) == 0.0
    assert 9e5 <= sketch.quantile(1.0) <= 1e12
