"""Levels for numbers coded one by one: Lloyd-Max on a histogram."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 4096  # of the histogram
LIMIT = 8.0  # in units of the scale: what lies beyond counts at the border
ITERATIONS = 200
SETTLED = 1e-4  # a level that moves less has arrived: the error changes by the square of that


class Histogram:
    """Counts and sums of numbers in bins of equal width, so that numbers of few values keep these to the digit."""

    def __init__(self) -> None:
        self.counts = torch.zeros(BINS, dtype=torch.float64)
        self.sums = torch.zeros(BINS, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Count numbers of any shape, in units of their scale."""
        flat = values.detach().to("cpu", torch.float64).flatten()
        index = ((flat + LIMIT) * (BINS / (2 * LIMIT))).floor_().clamp_(0, BINS - 1).to(torch.int64)
        self.counts += torch.bincount(index, minlength=BINS)
        self.sums += torch.bincount(index, flat, minlength=BINS)

    def fit(self, count: int) -> Tensor:
        """Fit levels of the least squared error, ascending, (count,) float32.

        Starts at the quantiles that are best for many levels, those of the density's cube root, then moves each border
        half-way between its levels and each level to the mean of what lies between its borders, until all are settled.
        Where the numbers have fewer values than levels, levels are left over; they stay at the last value.

        Source: Lloyd, Least squares quantization in PCM (1982), method I; Panter & Dite (1951) for the start.
        """
        used = self.counts > 0
        counts, sums = self.counts[used], self.sums[used]
        means = sums / counts  # ascending
        if len(means) <= count:
            return torch.cat([means, means[-1:].expand(count - len(means))]).to(torch.float32)
        density = counts.pow(1 / 3).cumsum(0)
        wanted = (torch.arange(count, dtype=torch.float64) + 0.5) / count * density[-1]
        levels = means[torch.searchsorted(density, wanted).clamp_max(len(means) - 1)]
        totals = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        moments = torch.cat([sums.new_zeros(1), sums.cumsum(0)])
        for _ in range(ITERATIONS):
            borders = torch.searchsorted(means, (levels[1:] + levels[:-1]) / 2)
            edges = torch.cat([borders.new_zeros(1), borders, borders.new_full((1,), len(means))])
            inside = totals[edges[1:]] - totals[edges[:-1]]
            moved = torch.where(
                inside > 0, (moments[edges[1:]] - moments[edges[:-1]]) / inside.clamp_min(1e-300), levels
            )
            change = float((moved - levels).abs().max())
            levels = moved.sort().values
            if change < SETTLED:
                break
        return levels.to(torch.float32)


def lloyd_max(values: Tensor, count: int) -> Tensor:
    """Fit `count` levels to numbers in units of their scale, ascending."""
    seen = Histogram()
    seen.add(values)
    return seen.fit(count)
