"""Lloyd-Max levels: known distortions of the normal distribution, and numbers of few values to the digit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from embcompress.coding.scalar import LIMIT, Histogram, lloyd_max

DISTORTIONS = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497, 5: 0.002499, 6: 0.000644, 7: 0.000164, 8: 0.0000414}
# of N(0, 1) by bits: Max, Quantizing for minimum distortion (1960), table I


def normal_numbers(count: int) -> Tensor:
    """List the quantiles of N(0, 1) at the middle of `count` equal shares, which no draw of random numbers blurs."""
    return torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)


def squared_error(values: Tensor, levels: Tensor) -> float:
    """Average the squared distance to the nearest level, in float64."""
    wide = levels.double()
    return float((wide[torch.bucketize(values, (wide[1:] + wide[:-1]) / 2)] - values).square().mean())


@pytest.mark.parametrize("bits", DISTORTIONS)
def test_lloyd_max_reaches_the_known_distortion(bits: int) -> None:
    """Levels for normal numbers leave Max's distortion within 1 %; at 8 bits its 4096 bins cost 3 %."""
    values = normal_numbers(2**18)
    left = squared_error(values, lloyd_max(values, 1 << bits))
    assert left == pytest.approx(DISTORTIONS[bits], rel=0.03 if bits == 8 else 0.01)


def test_lloyd_max_is_symmetric_for_one_bit() -> None:
    """The two levels of N(0, 1) are -sqrt(2 / pi) and sqrt(2 / pi)."""
    assert lloyd_max(normal_numbers(2**16), 2).tolist() == pytest.approx([-0.79788, 0.79788], rel=1e-3)


@pytest.mark.parametrize("values", [[1.0, -1.0], [0.25], [-3.5, 0.0, 0.125, 7.75], [9.0, -30.0]], ids=str)
def test_lloyd_max_keeps_few_values(values: list[float]) -> None:
    """Numbers of no more values than levels have these as levels, to the digit, the last one repeated; also far out."""
    numbers = torch.tensor(values).repeat(50)
    expected = sorted(values)
    assert lloyd_max(numbers, 4).tolist() == [*expected, *([expected[-1]] * (4 - len(expected)))]


def test_lloyd_max_counts_far_numbers_at_the_border() -> None:
    """Numbers beyond the limit share the last bin, whose level is their mean."""
    levels = lloyd_max(torch.tensor([-1.0, LIMIT + 1, LIMIT + 3]), 2)
    assert levels.tolist() == [-1.0, LIMIT + 2]


def test_histogram_adds_up() -> None:
    """Numbers added in two parts give the same levels as all at once."""
    values = normal_numbers(1000)
    seen = Histogram()
    seen.add(values[:300])
    seen.add(values[300:].view(70, 10))
    assert seen.fit(8).tolist() == pytest.approx(lloyd_max(values, 8).tolist(), rel=1e-6)
    assert float(seen.counts.sum()) == 1000
