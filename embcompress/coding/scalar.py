"""Levels for numbers coded one by one: Lloyd-Max on a histogram."""

from __future__ import annotations

import numpy as np
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

    def add(self, values: Tensor, *, row_weights: Tensor | None = None) -> None:
        """Count numbers in units of their scale, (rows, ...), each row as often as it weighs, (rows,)."""
        flat = values.detach().to("cpu", torch.float64).flatten()
        counted = torch.ones(len(values)) if row_weights is None else row_weights
        counted = counted.to(torch.float64).repeat_interleave(values[0].numel())
        index = ((flat + LIMIT) * (BINS / (2 * LIMIT))).floor_().clamp_(0, BINS - 1).to(torch.int64)
        self.counts += torch.bincount(index, counted, minlength=BINS)
        self.sums += torch.bincount(index, counted * flat, minlength=BINS)

    def fit(self, count: int) -> Tensor:
        """Fit levels of the least squared error, ascending, (count,) float32.

        Starts at the quantiles that are best for many levels, those of the density's cube root, then moves each border
        half-way between its levels and each level to the mean of what lies between its borders, until all are settled.
        Where the numbers have fewer values than levels, levels are left over; they stay at the last value.

        Source: Lloyd, Least squares quantization in PCM (1982), method I; Panter & Dite (1951) for the start.
        """
        used = self.counts > 0
        counts, sums = self.counts[used].numpy(), self.sums[used].numpy()
        means = sums / counts  # ascending
        if len(means) <= count:
            return torch.from_numpy(np.pad(means, (0, count - len(means)), mode="edge")).to(torch.float32)
        density = np.cbrt(counts).cumsum()
        wanted = (np.arange(count) + 0.5) / count * density[-1]
        levels = means[np.minimum(np.searchsorted(density, wanted), len(means) - 1)]
        totals, moments = (np.concatenate([[0.0], values.cumsum()]) for values in (counts, sums))
        for _ in range(ITERATIONS):
            edges = np.searchsorted(means, (levels[1:] + levels[:-1]) / 2)
            edges = np.concatenate([[0], edges, [len(means)]])
            inside = np.diff(totals[edges])
            moved = np.where(inside > 0, np.diff(moments[edges]) / np.maximum(inside, 1e-300), levels)
            change = np.abs(moved - levels).max()
            levels = np.sort(moved)
            if change < SETTLED:
                break
        return torch.from_numpy(levels).to(torch.float32)


def lloyd_max(values: Tensor, count: int) -> Tensor:
    """Fit `count` levels to numbers in units of their scale, ascending."""
    seen = Histogram()
    seen.add(values)
    return seen.fit(count)
