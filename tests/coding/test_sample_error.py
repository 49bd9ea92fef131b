"""Estimates from a sample of a table: the ratio of its sums, its confidence band, integers rounded row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from embcompress.coding.estimates import Estimator
from embcompress.coding.sample_error import (
    SampleError,
    coded_error,
    estimate_share,
    integer_bytes,
    mean_estimate,
    try_integers,
)
from embcompress.coding.statistics import Statistics
from embcompress.coding.symbols import distortions_of, load_symbols
from tests.cases import for_each


def statistics_of(values: Tensor, *, every: int = 1, unit: float = 1.0) -> Statistics:
    """Measure a table, (rows, dim) float64, with every so many rows as its sample."""
    exact = values / unit
    _, singular, right = torch.linalg.svd(exact, full_matrices=False)
    return Statistics(
        rows=len(values),
        dim=values.shape[1],
        unit=unit,
        squared_norm=float(exact.square().sum()),
        energies=singular.square().numpy(),
        vectors=right,
        sample=exact[::every].float(),
        sample_ids=np.arange(0, len(values), every),
        sample_weights=None,
    )


def test_estimate_of_all_rows_is_exact() -> None:
    """Errors 1 and 3 of norms 4 and 4 are a half, with no band; of nothing, nothing."""
    actual = estimate_share(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 4.0]), rows=2)
    assert actual == SampleError(0.5, 0.0, is_exact=True)
    assert actual.relative == pytest.approx(math.sqrt(0.5))
    assert actual.band == (actual.relative, actual.relative)
    assert estimate_share(torch.zeros(3), torch.zeros(3), rows=9) == SampleError(0.0, 0.0, is_exact=False)


def test_estimate_of_a_single_row_is_no_estimate() -> None:
    """One row of many leaves everything open: the band is 0 to 1 at least."""
    low, high = estimate_share(torch.tensor([1.0]), torch.tensor([4.0]), rows=10).band
    assert (low, high >= 1.0) == (0.0, True)


def test_standard_error_is_that_of_a_ratio() -> None:
    """Errors 1, 2, 3 of norms 1, 1, 1 in 12 rows: share 2, variance 1, of which 1/3, times 9/12 unseen."""
    actual = estimate_share(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3), rows=12)
    assert actual.squared == pytest.approx(2.0)
    assert actual.standard_error == pytest.approx(math.sqrt(0.75 / 3))


def test_band_covers_the_table_as_often_as_it_says() -> None:
    """Of 1000 samples of 200 rows out of 2000 with norms over two decades, 95 % hold the table's error; 93..97 by 3 sd.

    Norms and errors go together, as rows of a trained table do.
    """
    random = torch.Generator().manual_seed(0)
    norms = torch.exp(torch.randn(2000, generator=random, dtype=torch.float64))
    errors = norms * 0.1 * torch.rand(2000, generator=random, dtype=torch.float64)
    truth = math.sqrt(float(errors.sum() / norms.sum()))
    covered = 0
    for _ in range(1000):
        rows = torch.randperm(2000, generator=random)[:200]
        low, high = estimate_share(errors[rows], norms[rows], rows=2000).band
        covered += low <= truth <= high
    assert 930 <= covered <= 970


def test_mean_of_estimates() -> None:
    """Squares 0.1 and 0.3 with standard errors 0.03 and 0.04 have the mean 0.2 with 0.025; exact if both are."""
    actual = mean_estimate([SampleError(0.1, 0.03, is_exact=False), SampleError(0.3, 0.04, is_exact=False)])
    assert actual.squared == pytest.approx(0.2)
    assert actual.standard_error == pytest.approx(0.025)
    assert not actual.is_exact
    assert mean_estimate([SampleError(0.1), SampleError(0.3)]).is_exact


@pytest.mark.parametrize("bits", [8, 4])
@for_each("scale", [1e-12, 1.0, 1e12])
def test_integers_round_each_row_by_its_largest_magnitude(bits: int, scale: float) -> None:
    """The error is that of rounding every row by itself, whatever the table's unit; a row of zeros has none."""
    values = torch.randn(300, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values *= torch.exp(torch.randn(300, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    values[7] = 0
    most = 2 ** (bits - 1) - 1
    scales = values.abs().amax(dim=1, keepdim=True) / most
    scales = scales.half().double()
    steps = torch.where(scales > 0, values / scales.clamp_min(1e-300), 0).round().clamp(-most, most)
    expected = float(torch.linalg.norm(values - steps * scales) / torch.linalg.norm(values))
    stored = (values * 2.0 ** round(math.log2(scale))).float()
    actual = statistics_of(stored.double(), unit=2.0 ** round(math.log2(scale)))
    assert try_integers(actual, bits).relative == pytest.approx(expected, rel=1e-3)
    assert try_integers(actual, bits).is_exact


@pytest.mark.parametrize("step", [1e-2, 1e-4])
def test_coded_error_of_a_whole_sample_is_that_of_the_step(step: float) -> None:
    """Each of 24 coordinates is off by what numbers of high classes are, to 12 %: few states and short rows cost some.

    Also at 1e-4, where a difference of squared norms in float32 would be all noise.
    """
    values = torch.randn(300, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values *= 0.9 ** torch.arange(24)
    statistics = statistics_of(values)
    estimate = Estimator(statistics, states=8, threads=1).at(step)
    actual = coded_error(estimate, statistics)
    assert actual.is_exact
    assert actual.squared == pytest.approx(estimate.squared_error, rel=1e-6)
    (expected,) = distortions_of(np.array([60]), load_symbols()) * step**2 * values.numel()
    assert actual.squared * statistics.squared_norm == pytest.approx(expected, rel=0.12)


def test_band_of_a_coded_sample_covers_the_whole() -> None:
    """Every fourth of 2000 rows, of norms over a decade, tells the error of the rest within twice its band."""
    random = torch.Generator().manual_seed(1)
    values = torch.randn(2000, 16, generator=random, dtype=torch.float64)
    values *= torch.exp(torch.randn(2000, 1, generator=random, dtype=torch.float64) / 2)
    whole, part = statistics_of(values), statistics_of(values, every=4)
    truth = coded_error(Estimator(whole, states=8, threads=1).at(0.5), whole).relative
    actual = coded_error(Estimator(part, states=8, threads=1).at(0.5), part)
    low, high = actual.band
    assert not actual.is_exact
    assert 0 < high - low < 0.2 * truth
    assert abs(actual.relative - truth) <= high - low


def test_integer_bytes() -> None:
    """Seven columns of 4 bits take 4 bytes, and a scale takes 2."""
    assert integer_bytes(rows=10, dim=7, bits=4) == 60
    assert integer_bytes(rows=3, dim=5, bits=8) == 21
