"""Reconstruction error of a table, measured in one pass over its rows; mergeable, with sums in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

BIN_RATIO = 1.002  # a quantile is off by at most half a bin: 0.1 %
BIN_FLOOR = 1e-18  # smaller values count as zero
BIN_COUNT = math.ceil(math.log(1e6 / BIN_FLOOR) / math.log(BIN_RATIO)) + 2  # from the floor to 1e6, and both ends
WORST_ROWS = 10
FLOAT32_NORM_MIN = 1e-12  # squares of the entries of smaller rows lose digits in float32, and below 1e-19 all of them


class QuantileSketch:
    """Counts of non-negative values in logarithmic bins: quantiles to 0.1 % of their value, merged by adding.

    Source: Masson, Rim & Lee, DDSketch (2019), section 2, with fixed bins.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(BIN_COUNT, dtype=torch.int64)
        self.largest = 0.0

    def add(self, values: Tensor) -> None:
        """Count values, (rows,) float64, non-negative and finite."""
        if not len(values):
            return
        bins = (values / BIN_FLOOR).clamp_min(1e-300).log_().div_(math.log(BIN_RATIO)).ceil_()
        index = bins.clamp_(0, BIN_COUNT - 1).to(torch.int64)
        self.counts += torch.bincount(index, minlength=BIN_COUNT).cpu()
        self.largest = max(self.largest, float(values.max()))

    def merge(self, other: QuantileSketch) -> None:
        """Add the counts of another sketch."""
        self.counts += other.counts
        self.largest = max(self.largest, other.largest)

    def quantile(self, share: float) -> float:
        """Estimate the value that `share` of the values do not exceed; 0 for no values.

        Example:
            >>> sketch = QuantileSketch()
            >>> sketch.add(torch.arange(1, 101, dtype=torch.float64))
            >>> round(sketch.quantile(0.5))
            50
        """
        total = int(self.counts.sum())
        if not total:
            return 0.0
        wanted = max(1, math.ceil(share * total))
        index = int(torch.searchsorted(self.counts.cumsum(0), wanted))
        if index == 0:
            return 0.0
        middle: float = BIN_FLOOR * BIN_RATIO ** (index - 0.5)
        return min(middle, self.largest)


@dataclass(frozen=True)
class Distribution:
    """Mean, quantiles and extreme of a value over the rows."""

    mean: float
    median: float
    tail: float  # the 99th percentile where large is bad, the 1st where small is
    extreme: float


@dataclass(frozen=True)
class WorstRow:
    """A row that is among the worst, by its relative error."""

    id: int
    relative: float


@dataclass(frozen=True)
class TableError:
    """The error of one table.

    Attributes:
        relative: the Frobenius norm of the difference over that of the table; 0 for an all-zero table kept exactly.
        row_relative: the same of each row; a row of zeros counts as 0 if kept exactly, else as 1.
        cosine: of each row with its reconstruction; 1 where both are zero, 0 where one is.
        worst_rows: the rows of the largest relative error, worst first.
    """

    relative: float
    row_relative: Distribution
    cosine: Distribution
    worst_rows: tuple[WorstRow, ...]


@dataclass
class ErrorAccumulator:
    """Sums over rows of what a reconstruction leaves.

    Blocks may come in any order and on any device; `merge` adds what another worker saw of other rows.

    Example:
        >>> seen = ErrorAccumulator()
        >>> seen.add(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0]]), first=0)
        >>> seen.result().relative
        0.8
    """

    rows: int = 0
    squared_norm: float = 0.0
    squared_error: float = 0.0
    sum_relative: float = 0.0
    sum_distance: float = 0.0  # of 1 - cosine
    relatives: QuantileSketch = field(default_factory=QuantileSketch)
    distances: QuantileSketch = field(default_factory=QuantileSketch)
    worst: list[WorstRow] = field(default_factory=list)

    def add(self, values: Tensor, reconstructed: Tensor, *, first: int) -> None:
        """Measure a block.

        Args:
            values: (block_rows, dim) of the table, in the dtype to measure in.
            reconstructed: (block_rows, dim), the same dtype. Row sums are made in that dtype, sums over rows in
                float64.
            first: the row number of the block's first row.
        """
        norms = _row_norms(values)
        sizes = _row_norms(reconstructed)
        errors = _row_norms(reconstructed - values)
        is_empty = norms == 0
        relatives = torch.where(is_empty, (errors > 0).to(torch.float64), errors / norms.clamp_min(1e-300))
        # 1 - cosine without the cancellation of 1 - <e, r> / (|e| |r|): 2 <e, r> = |e|^2 + |r|^2 - |e - r|^2
        distances = (errors.square() - (norms - sizes).square()) / (2 * norms * sizes).clamp_min(1e-300)
        distances = torch.where(is_empty | (sizes == 0), (norms != sizes).to(torch.float64), distances.clamp(0, 2))
        self.rows += len(values)
        self.squared_norm += float(norms.square().sum())
        self.squared_error += float(errors.square().sum())
        self.sum_relative += float(relatives.sum())
        self.sum_distance += float(distances.sum())
        self.relatives.add(relatives)
        self.distances.add(distances)
        if not len(values):
            return
        least = relatives.topk(min(WORST_ROWS, len(relatives))).values[-1]
        ids = (relatives >= least).nonzero()[:, 0]  # with all ties, of which topk alone keeps any
        found = zip(ids.tolist(), relatives[ids].tolist(), strict=True)
        self._keep_worst([WorstRow(first + index, relative) for index, relative in found])

    def merge(self, other: ErrorAccumulator) -> None:
        """Add what was measured of other rows."""
        self.rows += other.rows
        self.squared_norm += other.squared_norm
        self.squared_error += other.squared_error
        self.sum_relative += other.sum_relative
        self.sum_distance += other.sum_distance
        self.relatives.merge(other.relatives)
        self.distances.merge(other.distances)
        self._keep_worst(other.worst)

    def result(self) -> TableError:
        """Compute the error of the rows seen so far."""
        rows = max(self.rows, 1)
        relative = 0.0
        if self.squared_error:
            relative = math.sqrt(self.squared_error / self.squared_norm) if self.squared_norm else 1.0
        return TableError(
            relative=relative,
            row_relative=Distribution(
                mean=self.sum_relative / rows,
                median=self.relatives.quantile(0.5),
                tail=self.relatives.quantile(0.99),
                extreme=self.relatives.largest,
            ),
            cosine=Distribution(
                mean=1 - self.sum_distance / rows,
                median=1 - self.distances.quantile(0.5),
                tail=1 - self.distances.quantile(0.99),
                extreme=1 - self.distances.largest,
            ),
            worst_rows=tuple(self.worst),
        )

    def _keep_worst(self, found: list[WorstRow]) -> None:
        ranked = sorted([*self.worst, *found], key=lambda row: (-row.relative, row.id))
        self.worst = ranked[:WORST_ROWS]


def _row_norms(values: Tensor) -> Tensor:
    """Compute the Euclidean norm of each row, (rows,) float64.

    In the dtype of the values, which is forty times as fast as in float64, but for rows whose squares float32 drops.
    """
    norms: Tensor = torch.linalg.vector_norm(values, dim=1).to(torch.float64)
    is_small = norms < FLOAT32_NORM_MIN
    if values.dtype == torch.float32 and bool(is_small.any()):
        norms[is_small] = torch.linalg.vector_norm(values[is_small], dim=1, dtype=torch.float64)
    return norms
