"""Mean, covariance, norms and directions of rows, in one pass over blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from embcompress.linalg.blocks import full_float32, product_dtype
from embcompress.linalg.error import row_norms
from embcompress.linalg.quantiles import QuantileSketch
from embcompress.results import MeanCosine, Norms, RowStatisticsReport

SKETCH_ROOM = 1e6  # how many times longer than the first rows later ones may be: the sketch has bins up to 10^6
FLOAT32_RANGE = (1e-12, 1e12)  # of entries whose squares, summed, keep all digits of float32


class RowMoments:
    """Mean and, if asked for, covariance of rows that come in blocks; sums in float64.

    Holds at most one (dim, dim) float64 matrix for the covariance. Sums are taken around the mean of the first block,
    so that a common offset of all rows costs no digits.

    Args:
        dim: columns of a row.
        rows: that will come, if `factor` will be asked for: fewer than `dim` are kept as they are, which is less than
            the matrix.

    Example:
        >>> seen = RowMoments(1, rows=2)
        >>> seen.add(torch.tensor([[1.0], [3.0]]))
        >>> seen.mean.tolist(), seen.factor().abs().tolist()
        ([2.0], [[1.4142135623730951]])
    """

    def __init__(self, dim: int, *, rows: int | None = None) -> None:
        self.count = 0
        self._center: Tensor | None = None
        self._sum = torch.zeros(dim, dtype=torch.float64)  # of differences from the center
        self._few: list[Tensor] | None = [] if rows is not None and rows <= dim else None
        self._products = torch.zeros(dim, dim, dtype=torch.float64) if rows is not None and rows > dim else None

    def add(self, rows: Tensor) -> None:
        """Take in a block, (block_rows, dim), finite."""
        if not len(rows):
            return
        values = _in_range(rows)
        if self._center is None:
            self._center = values.to(torch.float64).mean(dim=0).to(values.dtype)
            self._sum = self._sum.to(rows.device)
            self._products = None if self._products is None else self._products.to(rows.device)
        centered = values - self._center
        self.count += len(rows)
        if self._few is not None:
            self._few.append(values.to(torch.float64))
        self._sum += centered.sum(dim=0, dtype=torch.float64)
        if self._products is not None:
            with full_float32():
                self._products += centered.T @ centered

    @property
    def mean(self) -> Tensor:
        """The mean row, (dim,) float64; zeros where there were no rows."""
        center = self._sum * 0 if self._center is None else self._center.to(torch.float64)
        return center + self._sum / max(self.count, 1)

    def factor(self) -> Tensor:
        """Compute F with F^T F the covariance of the rows, (k, dim) float64, also where it is singular.

        For z from N(0, 1), mean + z F has the mean and covariance of the rows, as mean + z (rows - mean) / sqrt(n - 1)
        has with a z as long as there are rows. A single row, or none, has no spread: zeros.
        """
        if self.count < 2:
            return self._sum.new_zeros(1, len(self._sum))
        if self._few is not None:
            spread: Tensor = (torch.cat(self._few) - self.mean) / (self.count - 1) ** 0.5
            return spread
        assert self._products is not None, "the covariance was not asked for"
        offset = self._sum / self.count
        covariance = (self._products - self.count * torch.outer(offset, offset)) / (self.count - 1)
        values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
        factor: Tensor = values.clamp_min(0).sqrt()[:, None] * vectors.T
        return factor


@dataclass(frozen=True)
class MeasuredRows:
    """Norms of rows and their cosines with a direction, (rows,) float64 each; 0 where either is zero."""

    norms: Tensor
    cosines: Tensor

    def where(self, mask: Tensor) -> MeasuredRows:
        """Choose some of the rows."""
        return MeasuredRows(self.norms[mask], self.cosines[mask])


def measure_rows(rows: Tensor, direction: Tensor) -> MeasuredRows:
    """Measure rows, (rows, dim), along a direction, (dim,)."""
    values = _in_range(rows)
    norms = row_norms(values).to(torch.float64)
    unit = direction / torch.linalg.vector_norm(direction).clamp_min(1e-300)
    with full_float32():
        along = (values @ unit.to(values)).to(torch.float64)
    return MeasuredRows(norms, torch.where(norms > 0, along / norms.clamp_min(1e-300), 0).clamp_(-1, 1))


def _in_range(rows: Tensor) -> Tensor:
    """Give rows a dtype in which their squares and sums have all digits."""
    values = rows.to(product_dtype(rows.dtype))
    if values.dtype == torch.float32 and len(values):
        largest = float(values.abs().nan_to_num(posinf=0).max())
        if largest and not FLOAT32_RANGE[0] < largest < FLOAT32_RANGE[1]:
            return values.to(torch.float64)
    return values


class RowStatistics:
    """Norms of rows and their cosines with one direction: mean, quantiles and extremes of both.

    Args:
        direction: (dim,) float64; where it is zero, so are the cosines.
    """

    def __init__(self, direction: Tensor) -> None:
        self._direction = direction
        self.count = 0
        self._scale = 0.0  # norms are counted as multiples of this
        self._sums = [0.0, 0.0]
        self._norms, self._distances = QuantileSketch(), QuantileSketch()

    def add(self, rows: Tensor) -> None:
        """Take in a block, (block_rows, dim), finite."""
        self.add_measured(measure_rows(rows, self._direction))

    def add_measured(self, seen: MeasuredRows) -> None:
        """Take in rows that were measured along the same direction."""
        norms, cosines = seen.norms, seen.cosines
        if not len(norms):
            return
        self.count += len(norms)
        self._sums[0] += float(norms.sum())
        self._sums[1] += float(cosines.sum())
        self._scale = self._scale or float(norms.max()) * SKETCH_ROOM
        self._norms.add(norms / (self._scale or 1.0))
        self._distances.add(1 - cosines)

    @property
    def norm(self) -> Norms:
        """Mean, quantiles and largest of the norms."""
        return Norms(
            mean=self._mean(0),
            p50=self._scale * self._norms.quantile(0.5),
            p99=self._scale * self._norms.quantile(0.99),
            max=self._scale * self._norms.largest,
        )

    @property
    def cosine(self) -> MeanCosine:
        """Mean, quantiles and smallest of the cosines."""
        return MeanCosine(
            mean=self._mean(1),
            p50=1 - self._distances.quantile(0.5),
            p01=1 - self._distances.quantile(0.99),
            min=1 - self._distances.largest,
        )

    def result(self) -> RowStatisticsReport | None:
        """Norms and cosines of the rows seen so far; None of no rows."""
        return RowStatisticsReport(norm=self.norm, cosine=self.cosine) if self.count else None

    def _mean(self, which: int) -> float:
        return self._sums[which] / max(self.count, 1)
