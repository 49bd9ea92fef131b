"""The error of a table, concluded from a sample of its rows, and how far the table itself may be from that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from embcompress.coding.estimates import Estimate
from embcompress.coding.statistics import Statistics
from embcompress.linalg.error import row_norms

# The smallest float16 above 0.
HALF_STEP = 2.0**-24
# Standard errors on each side of an estimate: 95 % of a normal distribution.
STANDARD_ERRORS = 1.96


@dataclass(frozen=True)
class SampleError:
    """A squared error as a share of the squared norm.

    Attributes:
        squared: the share.
        standard_error: of it, from which rows were sampled; 0 where it is exact.
        is_exact: whether every row was looked at.
    """

    squared: float
    standard_error: float = 0.0
    is_exact: bool = True

    @property
    def relative(self) -> float:
        """The relative error."""
        return math.sqrt(self.squared)

    @property
    def band(self) -> tuple[float, float]:
        """The 95 % confidence band of the relative error; both ends are the error itself where it is exact."""
        half = STANDARD_ERRORS * self.standard_error
        return math.sqrt(max(0.0, self.squared - half)), math.sqrt(self.squared + half)


def estimate_share(squared_errors: Tensor, squared_norms: Tensor, *, rows: int) -> SampleError:
    """Estimate the squared error of a table as a share of its squared norm, from some of its rows.

    The share is a ratio of sums r = sum e_i / sum n_i. Its variance is that of the mean of e_i - r n_i over the squared
    mean of n_i, times the share of rows that were not seen.

    Args:
        squared_errors: (sample rows,) float64.
        squared_norms: (sample rows,) float64.
        rows: of the table.

    Source: Cochran, Sampling Techniques, 3rd ed., section 6.4.

    Example:
        >>> estimate_share(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 4.0]), rows=2)
        SampleError(squared=0.5, standard_error=0.0, is_exact=True)
    """
    count, norm = len(squared_norms), float(squared_norms.sum())
    is_exact = count == rows
    share = float(squared_errors.sum()) / norm if norm else 0.0
    if is_exact or not norm:
        return SampleError(share, 0.0, is_exact)
    if count < 2:
        # One row tells nothing of others.
        return SampleError(share, max(share, 1 - share) / STANDARD_ERRORS, is_exact=False)
    variance = float((squared_errors - share * squared_norms).square().sum()) / (count - 1)
    return SampleError(share, math.sqrt((1 - count / rows) * variance * count) / norm, is_exact=False)


def mean_estimate(errors: Sequence[SampleError]) -> SampleError:
    """Take the mean of the squared errors of several tables, each a share of its own squared norm."""
    count = len(errors)
    return SampleError(
        sum(error.squared for error in errors) / count,
        math.sqrt(sum(error.standard_error**2 for error in errors)) / count,
        all(error.is_exact for error in errors),
    )


def coded_error(estimate: Estimate, statistics: Statistics) -> SampleError:
    """Conclude from the rows of a table's sample, as they were encoded, to the table.

    Deviations of columns were fitted to the same rows, which flatters the error by less than the band.
    """
    norms = _squared_norms(statistics)
    return estimate_share(torch.from_numpy(estimate.squared_errors), norms, rows=statistics.rows)


def try_integers(statistics: Statistics, bits: int) -> SampleError:
    """Round the rows of a table's sample to integers of some bits, and measure what is left.

    Symmetric, to the nearest of -m..m with m = 2^(bits - 1) - 1, by a float16 scale for each row: its largest magnitude
    over m. Scales are in units of the table, so that float16 holds them whatever its numbers are in.
    """
    largest = 2 ** (bits - 1) - 1
    values = statistics.sample  # (sample rows, dim)
    limit = torch.finfo(torch.float16).max
    scales = (values.abs().amax(dim=1) / largest).clamp_max(limit).to(torch.float16).to(torch.float32)[:, None]
    steps = (values / scales.clamp_min(HALF_STEP)).round()
    rounded = steps.clamp(-largest, largest) * scales
    squared_errors = row_norms(rounded - values).square()
    if statistics.sample_weights is not None:
        squared_errors *= torch.from_numpy(statistics.sample_weights)
    return estimate_share(squared_errors, _squared_norms(statistics), rows=statistics.rows)


def _squared_norms(statistics: Statistics) -> Tensor:
    """Compute the squared norm of each row of a sample, counted by its weight, (sample rows,) float64."""
    norms = row_norms(statistics.sample).square()
    return norms if statistics.sample_weights is None else norms * torch.from_numpy(statistics.sample_weights)


def integer_bytes(*, rows: int, dim: int, bits: int) -> int:
    """Count the bytes of rows of integers, each row in whole bytes with a float16 scale.

    Example:
        >>> integer_bytes(rows=10, dim=7, bits=4)
        60
    """
    return rows * (-(-dim * bits // 8) + 2)
