"""A table as the coder sees it: its spectrum and a sample of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.search_kernels import REACH
from embcompress.coding.symbols import PER_OCTAVE, distortions_of, load_symbols

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Numbers and rows of a sample: rows differ in their bits by a sixth, so that 4096 of them tell the bytes to 0.3 %.
SAMPLE_NUMBERS = 2**20
SAMPLE_ROWS_MAX = 8192
SAMPLE_ROWS_MIN = 512
SCALE_MAX = 80
# The finest step over the longest row of the sample: rows that are eight times as long are still within REACH.
FINEST_SHARE = 8 / float(REACH)


@dataclass(frozen=True)
class Statistics:
    """A table as the coder sees it, all numbers over `unit`.

    Attributes:
        rows: of the table.
        dim: real entries of a row.
        unit: a power of two near the typical entry.
        squared_norm: of the table, rows counted by their weight.
        energies: (count,) float64, descending: the squares of the table along each vector, rows counted by their
            weight.
        vectors: (count, dim) float64, orthonormal: its right singular vectors.
        sample: (sample rows, dim) float32.
        sample_ids: (sample rows,) int64, ascending: which rows these are.
        sample_weights: (sample rows,) float64, how much the squared error of each counts, 1 on average; None: alike.
    """

    rows: int
    dim: int
    unit: float
    squared_norm: float
    energies: NDArray[np.float64]
    vectors: Tensor
    sample: Tensor
    sample_ids: NDArray[np.int64]
    sample_weights: NDArray[np.float64] | None

    @property
    def finest_step(self) -> float:
        """The least step: numbers of it keep within the encoder's reach, and float32 has no finer digits."""
        largest = float(torch.linalg.vector_norm(self.sample, dim=1).max()) if len(self.sample) else 0.0
        return max(FINEST_SHARE * largest, 1e-30)

    @property
    def coarsest_step(self) -> float:
        """The step at which hardly a row has a string."""
        return max(2 * math.sqrt(float(self.energies[0]) / self.rows), self.finest_step)

    @cached_property
    def sample_scales(self) -> NDArray[np.int64]:
        """The scale of the step of each row of the sample."""
        return scales_of(self.sample_weights, len(self.sample))


def sample_rows(*, rows: int, dim: int, profiles: int = 1) -> int:
    """Return how many rows a sample has: four times as many where profiles are fitted to it."""
    factor = 4 if profiles > 1 else 1
    return min(rows, factor * SAMPLE_ROWS_MAX, max(SAMPLE_ROWS_MIN, 2 * factor * SAMPLE_NUMBERS // dim))


def scales_of(weights: NDArray[np.float64] | None, rows: int) -> NDArray[np.int64]:
    """Choose each row's scale of the step, in eighths of an octave: 1 / sqrt(weight)."""
    if weights is None:
        return np.zeros(rows, np.int64)
    logs = -PER_OCTAVE / 2 * np.log2(np.maximum(weights, 1e-30))
    return np.clip(np.rint(logs), -SCALE_MAX, SCALE_MAX).astype(np.int64)


def step_for_bits(statistics: Statistics, row_bits: float) -> float:
    """Guess the step that leads to so many bits a row: reverse water-filling over the energies."""
    logs = np.log2(np.maximum(statistics.energies / statistics.rows, 1e-300))
    low, high = float(logs.max()) - 60.0, float(logs.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(0, logs - middle).sum() / 2 > row_bits else (low, middle)
    return math.sqrt(2.0**high) / math.sqrt(distortions_of(np.array([8]), load_symbols())[0])
