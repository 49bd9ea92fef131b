"""What a way of coding leaves, tried out on a sample of rows, and how far the table itself may be from that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from embcompress.coding.encoder import encode_rows, settle
from embcompress.coding.schemes import Allocation
from embcompress.coding.survey import Survey, merged_groups
from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.error import ErrorAccumulator, row_norms

HALF_STEP = 2.0**-24  # the smallest float16 above 0
CONFIDENCE = 1.96  # standard errors on each side: 95 % of a normal distribution


@dataclass(frozen=True)
class Estimate:
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
        half = CONFIDENCE * self.standard_error
        return math.sqrt(max(0.0, self.squared - half)), math.sqrt(self.squared + half)


def estimate_share(squared_errors: Tensor, squared_norms: Tensor, *, rows: int) -> Estimate:
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
        Estimate(squared=0.5, standard_error=0.0, is_exact=True)
    """
    count, norm = len(squared_norms), float(squared_norms.sum())
    is_exact = count == rows
    share = float(squared_errors.sum()) / norm if norm else 0.0
    if is_exact or not norm:
        return Estimate(share, 0.0, is_exact)
    if count < 2:
        return Estimate(share, max(share, 1 - share) / CONFIDENCE, is_exact=False)  # one row tells nothing of others
    variance = float((squared_errors - share * squared_norms).square().sum()) / (count - 1)
    return Estimate(share, math.sqrt((1 - count / rows) * variance * count) / norm, is_exact=False)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Take the mean of the squared errors of several tables, each a share of its own squared norm."""
    count = len(estimates)
    return Estimate(
        sum(one.squared for one in estimates) / count,
        math.sqrt(sum(one.standard_error**2 for one in estimates)) / count,
        all(one.is_exact for one in estimates),
    )


def try_allocation(allocation: Allocation, found: Survey, bases: Tensor) -> Estimate:
    """Encode the rows of a survey's sample as the table would be encoded, and measure what is left.

    Levels were fitted to the same rows: on a sample of 2^18 numbers that flatters the error by less than the band.

    Args:
        allocation: of the survey's table.
        found: the survey.
        bases: (all columns, dim) float64, those of the survey.
    """
    coded = replace(
        settle(allocation, found, bases), groups_of_rows=merged_groups(found.sample_groups, allocation.scheme.merge)
    )
    seen = _RowErrors()
    sample = TensorRows(found.sample * found.unit)
    for _ in encode_rows(sample, coded, norm=found.unit * float(torch.linalg.vector_norm(found.sample)), error=seen):
        pass
    return seen.estimate(rows=len(found.groups_of_rows))


class _RowErrors(ErrorAccumulator):
    """Keeps the errors of single rows, from which a table's is estimated."""

    def __init__(self) -> None:
        super().__init__()
        self._squared: list[tuple[Tensor, Tensor]] = []

    def add_norms(self, *, norms: Tensor, reconstructed_norms: Tensor, errors: Tensor, first: int) -> None:
        super().add_norms(norms=norms, reconstructed_norms=reconstructed_norms, errors=errors, first=first)
        self._squared.append((errors.to("cpu", torch.float64).square(), norms.to("cpu", torch.float64).square()))

    def estimate(self, *, rows: int) -> Estimate:
        errors, norms = (torch.cat(parts) for parts in zip(*self._squared, strict=True))
        return estimate_share(errors, norms, rows=rows)


def try_integers(found: Survey, bits: int) -> Estimate:
    """Round the rows of a survey's sample to integers of some bits, and measure what is left.

    Symmetric, to the nearest of -m..m with m = 2^(bits - 1) - 1, by a float16 scale for each row: its largest magnitude
    over m. Scales are in units of the survey, so that float16 holds them whatever the table's own unit is.
    """
    largest = 2 ** (bits - 1) - 1
    values = found.sample  # (sample rows, dim)
    limit = torch.finfo(torch.float16).max
    scales = (values.abs().amax(dim=1) / largest).clamp_max(limit).to(torch.float16).to(torch.float32)[:, None]
    steps = (values / scales.clamp_min(HALF_STEP)).round()
    rounded = steps.clamp(-largest, largest) * scales
    squared_errors = row_norms(rounded - values).square()
    return estimate_share(squared_errors, row_norms(values).square(), rows=len(found.groups_of_rows))


def integer_bytes(*, rows: int, dim: int, bits: int) -> int:
    """Count the bytes of rows of integers, each row in whole bytes with a float16 scale.

    Example:
        >>> integer_bytes(rows=10, dim=7, bits=4)
        60
    """
    return rows * (-(-dim * bits // 8) + 2)
