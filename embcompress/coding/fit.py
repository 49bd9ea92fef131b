"""The fit of a table at a step: deviations of its columns, scales of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.codebook import Codebook
from embcompress.coding.coder import centers_of
from embcompress.coding.statistics import SCALE_MAX, Statistics
from embcompress.coding.symbols import CLASS_MIN, PER_OCTAVE, classes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A column whose deviation is below so many steps tells nothing of a row's length.
TELLING = 0.55
# Rounds in which deviations of columns and lengths of rows are fitted to each other.
FIT_ROUNDS = 4
# Shifts of rows and scales of steps beyond are cut off: 2^25 and 2^10 either way.
SHIFT_MAX = 200
# A center's step is that of a table over the square root of its rows, times this.
CENTER_STEPS = 2.0


@dataclass(frozen=True)
class Fit:
    """The coding of a table at a step, but for its rows.

    Attributes:
        codebook: with the one step, and the kinds that the sample has.
        bases: (rank, dim) float32 as they decode, or those that they are coded from; None for the table's own columns.
        deviations: (profiles, rank) float64, of the columns in a row of scale 1, over the unit; 0 where there is
            nothing.
        chances: (profiles,) float64, the share of the rows that has each.
    """

    codebook: Codebook
    bases: Tensor | None
    deviations: NDArray[np.float64]
    chances: NDArray[np.float64]

    @property
    def step(self) -> float:
        """The first step."""
        return self.codebook.steps[0]

    def project(self, values: Tensor) -> Tensor:
        """Compute what is coded of rows, (rows, dim) -> (rows, rank)."""
        return values if self.bases is None else values @ self.bases.T

    def rebuild(self, weights: Tensor) -> Tensor:
        """Undo `project`, (rows, rank) -> (rows, dim)."""
        return weights if self.bases is None else weights @ self.bases

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """Factors that turn the squares of a row's weights into its squared scale, (profiles, rank)."""
        return np.stack([inverse_squares(deviations, self.step) for deviations in self.deviations])

    def profiles_of(self, weights: Tensor) -> NDArray[np.int64]:
        """Choose each row's profile, (rows,): that in which it is expected to take the fewest bits."""
        if len(self.deviations) == 1:
            return np.zeros(len(weights), np.int64)
        centers = self.codebook.centers
        assert centers is not None
        squares = squared_scales(weights, centers, self._shares)
        costs = profile_bits(squares, self._shares, self.deviations, self.chances, self.step)
        return costs.argmin(dim=1).cpu().numpy()

    def shifts(self, weights: Tensor, is_zero: Tensor, profiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return each row's scale in eighths of an octave, (rows,); of rows of zeros any."""
        centers = self.codebook.centers
        owners = torch.from_numpy(profiles).to(weights.device)
        if centers is not None:
            weights = weights - centers_of(centers, owners.cpu()).to(weights.device)
        shares = torch.from_numpy(self._shares.astype(np.float32)).to(weights.device)
        if len(shares) == 1:
            return shifts_of(weights, shares[0], is_zero)
        return _rounded_scales((weights.square() * shares[owners]).sum(dim=1), is_zero)


def fit_table(statistics: Statistics, bases: Tensor | None, *, step: float, states: int) -> Fit:
    """Fit deviations of the columns to the sample, and choose their classes."""
    sample = statistics.sample if bases is None else statistics.sample @ bases.T
    exact = sample.to(torch.float64).numpy()
    is_used = exact.any(axis=1)
    used = exact if is_used.all() else exact[is_used]
    numbers, center_step = _fit_center(used, step, statistics.rows)
    used = used - numbers.astype(np.float32) * np.float32(center_step)
    deviations = _fit_deviations(np.square(used, out=used), step)
    none = np.zeros(1, np.int64)
    classes = classes_at(deviations[None], step)
    codebook = Codebook(states, len(deviations), (step,), none, none, none, none, classes)
    if numbers.any():
        codebook = replace(codebook, center_numbers=numbers[None], center_step=center_step)
    return Fit(codebook, bases, deviations[None], np.ones(1))


def squared_scales(weights: Tensor, centers: NDArray[np.float32], shares: NDArray[np.float64]) -> Tensor:
    """Compute each row's squared scale in each profile, (rows, profiles): sum_t share_t (w_t - c_t)^2."""
    device = weights.device
    factors = torch.from_numpy(shares).to(device, torch.float32)
    middle = torch.from_numpy(centers.astype(np.float32)).to(device)
    exact = weights.to(torch.float32)
    squares = exact.square() @ factors.T - 2 * exact @ (factors * middle).T + (factors * middle.square()).sum(dim=1)
    return squares.clamp_min_(1e-12)


def profile_bits(
    squares: Tensor,  # (rows, profiles)
    shares: NDArray[np.float64],
    deviations: NDArray[np.float64],
    chances: NDArray[np.float64],
    step: float,
) -> Tensor:
    """Estimate the bits of each row in each profile, (rows, profiles), but for what all have in common."""
    telling = shares > 0
    logs = np.where(telling, np.log2(np.maximum(deviations, 1e-150) / step), 0.0).sum(axis=1)
    fixed = logs - np.log2(np.maximum(chances, 1e-9))
    numbers = torch.from_numpy(telling.sum(axis=1) / 2).to(squares)
    return numbers * torch.log2(squares) + torch.from_numpy(fixed).to(squares)


def shifts_of(weights: Tensor, shares: Tensor, is_zero: Tensor) -> NDArray[np.int64]:
    """Round the scales of rows to eighths of an octave, (rows,); of rows of zeros 0.

    Args:
        weights: (rows, rank) float32, less their centers.
        shares: (rank,) of `inverse_squares`.
        is_zero: (rows,) bool.
    """
    return _rounded_scales(weights.square() @ shares, is_zero)


def _rounded_scales(squares: Tensor, is_zero: Tensor) -> NDArray[np.int64]:
    logs = PER_OCTAVE / 2 * torch.log2(squares.clamp_min(1e-30))
    logs[is_zero] = 0
    return logs.round_().clamp_(-SHIFT_MAX, SHIFT_MAX).to("cpu", torch.int64).numpy()


def inverse_squares(deviations: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Weigh the columns that tell a row's length: the mean of squares over the columns' own."""
    telling = deviations > TELLING * step
    if telling.sum() < min(4, len(deviations)):
        telling = np.zeros(len(deviations), bool)
        telling[np.argsort(-deviations, kind="stable")[:4]] = True
    telling &= deviations > 0
    shares = np.where(telling, 1 / np.maximum(deviations, 1e-150) ** 2, 0.0)
    return shares / max(int(telling.sum()), 1)


def classes_at(deviations: NDArray[np.float64], step: float) -> NDArray[np.int64]:
    """Choose classes for deviations, (profiles, rank); what no row can have bits for is cut off."""
    return np.maximum(classes_of(deviations / step), CLASS_MIN - SHIFT_MAX - SCALE_MAX)


def _fit_center(values: NDArray[np.float64], step: float, rows: int) -> tuple[NDArray[np.int64], float]:
    """Choose what is taken off each column, as multiples of a step: its mean, where that saves more bits than it takes.

    A center that is off by its own step's rounding costs as much as the mean's chance over so many rows.
    """
    center_step = float(np.float32(step * min(1.0, CENTER_STEPS / math.sqrt(rows))))
    if not len(values):
        return np.zeros(values.shape[1], np.int64), center_step
    means, squares = values.mean(axis=0), np.square(values).mean(axis=0)
    numbers = np.rint(means / center_step)
    numbers = np.where(np.abs(numbers) < 2**20, numbers, 0.0)
    least = step**2 / 4
    raw = np.log2(np.maximum(squares, least))
    centered = np.log2(np.maximum(squares - means**2, least))
    saved = rows / 2 * (raw - centered)
    spent = 2 * np.log2(np.abs(numbers) + 1) + 1
    pays = saved > spent
    numbers = np.where(pays, numbers, 0.0).astype(np.int64)
    if (saved * pays).sum() < len(numbers) + 2 * 8:
        numbers[:] = 0
    return numbers, center_step


def _fit_deviations(squares: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Fit deviations of columns to squares (rows, columns) = (row's scale * column's deviation)^2 * chi^2."""
    if not len(squares):
        return np.zeros(squares.shape[1])
    deviations: NDArray[np.float64] = np.sqrt(squares.mean(axis=0))
    for _ in range(FIT_ROUNDS):
        scales = np.sqrt(squares @ inverse_squares(deviations, step))
        logs = PER_OCTAVE * np.log2(np.maximum(scales, 1e-150))
        rounded = 2.0 ** (np.rint(np.clip(logs, -SHIFT_MAX, SHIFT_MAX)) / PER_OCTAVE)
        # As a product: a quotient for each number took eight times as long.
        deviations = np.sqrt(rounded**-2.0 @ squares / len(squares))
    return deviations
