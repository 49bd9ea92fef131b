"""The rate-distortion bound of a Gaussian source, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from embcompress.coding.bound import gaussian_bound
from tests.cases import for_each


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0, 3.5, 12.0, 60.0])
@for_each("variance", [1e-200, 1.0, 1e200])
def test_bound_of_a_flat_spectrum(rate: float, variance: float) -> None:
    """Equal variances at R bits a component leave the relative error 2^-R, whatever their unit."""
    squares = torch.full((16,), variance, dtype=torch.float64)
    assert gaussian_bound(squares, 16 * rate) == pytest.approx(2.0**-rate, rel=1e-9)


def test_bound_of_two_components() -> None:
    """Variances 16 and 1: 2 bits go to the first alone and leave 1 + 1; 6 bits leave 1/4 each."""
    squares = torch.tensor([16.0, 1.0])
    assert gaussian_bound(squares, 2.0) == pytest.approx(math.sqrt(2 / 17), rel=1e-9)
    assert gaussian_bound(squares, 1.0) == pytest.approx(math.sqrt(5 / 17), rel=1e-9)
    assert gaussian_bound(squares, 6.0) == pytest.approx(math.sqrt(2 * 2.0**-4 / 17), rel=1e-9)


def test_bound_without_bits_is_everything() -> None:
    """No bits leave the error 1; nothing to code, the error 0; components of no variance change nothing."""
    assert gaussian_bound(torch.tensor([3.0, 2.0, 0.5]), 0.0) == pytest.approx(1.0)
    assert gaussian_bound(torch.zeros(4), 3.0) == 0.0
    few = gaussian_bound(torch.tensor([3.0, 2.0]), 5.0)
    assert gaussian_bound(torch.tensor([0.0, 3.0, 2.0, 0.0]), 5.0) == few


def test_bound_falls_with_bits() -> None:
    """More bits leave less, down to nothing."""
    squares = 0.8 ** torch.arange(40, dtype=torch.float64)
    bounds = [gaussian_bound(squares, float(bits)) for bits in range(0, 4000, 50)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] < 1e-20


def test_bound_counts_columns_of_one_variance() -> None:
    """Columns told by their number give what the same columns give one by one."""
    squares = torch.tensor([9.0, 4.0, 1.0])
    counts = torch.tensor([2, 3, 4])
    together = gaussian_bound(squares, 11.0, counts=counts)
    assert together == pytest.approx(gaussian_bound(squares.repeat_interleave(counts), 11.0), rel=1e-12)
