"""Quantiles and a histogram of many values from counts in logarithmic bins, merged by adding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from embcompress.results import Histogram

BIN_RATIO = 1.002  # a quantile is off by at most half a bin: 0.1 %
BIN_FLOOR = 1e-18  # smaller values count as zero
BIN_COUNT = math.ceil(math.log(1e6 / BIN_FLOOR) / math.log(BIN_RATIO)) + 2  # from the floor to 1e6, and both ends
HISTOGRAM_BINS = 40
HISTOGRAM_REACH = 1.25  # times the 99th percentile: what lies beyond is one bin, or outliers would squeeze all others


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
        return 0.0 if index == 0 else min(_middle(float(index)), self.largest)

    def histogram(self) -> Histogram:
        """Count the values in equal bins up to somewhat beyond the 99th percentile, and in one bin behind."""
        reach = min(self.quantile(0.99) * HISTOGRAM_REACH, self.largest)
        edges = [reach * step / HISTOGRAM_BINS for step in range(HISTOGRAM_BINS + 1)] if reach else [0.0]
        if self.largest > edges[-1] or not reach:
            edges.append(self.largest)
        filled_bins = self.counts.nonzero().squeeze(1)
        # In float64: bin 20000 in float32 is off by the width of a bin.
        values = torch.where(filled_bins == 0, 0.0, _middle(filled_bins.to(torch.float64))).clamp_max(self.largest)
        # A value on an edge belongs to the bin that starts there, the last edge to the last bin.
        bins = torch.bucketize(values, torch.tensor(edges[1:-1], dtype=torch.float64), right=True)
        counts = torch.zeros(len(edges) - 1, dtype=torch.int64).index_add_(0, bins, self.counts[filled_bins])
        return Histogram(tuple(edges), tuple(counts.tolist()))


def _middle(index: Any) -> Any:
    """Give the middle of a bin of a sketch, or of many: a float, or a tensor of float64."""
    return BIN_FLOOR * BIN_RATIO ** (index - 0.5)
