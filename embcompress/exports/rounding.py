"""Rounding blocks to the codes of a format, with the scales that leave the least squared error.

A scale is searched for among candidates: of each, the codes are the nearest ones, and the least-squares scale of these
codes is known in closed form. The best one is refined by turns, rounded to the dtype that the format stores it in, and
its codes are chosen anew. Residuals are formed and not differences of sums, which float32 has too few digits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from embcompress.exports.levels import Levels, OffsetLevels
from embcompress.exports.rounding_steps import (
    REFINEMENTS,
    TINY,
    ULPS,
    Line,
    Rounded,
    dot,
    not_zero,
    round_in_chunks,
    stepped,
)


@dataclass(frozen=True)
class RoundedBlocks(Rounded):
    """Blocks of numbers as codes: number = scale * level."""

    def values(self, levels: Levels) -> Tensor:
        """Give the numbers that they stand for, (blocks, size) float32, where codes are those of these levels."""
        return levels.values(self.codes) * self.scales.to(torch.float32)[:, None]


@dataclass(frozen=True)
class RoundedOffsets(Rounded):
    """Blocks of numbers as codes: number = scale * (code - zero).

    Attributes:
        zeros: (blocks,) uint8.
    """

    zeros: Tensor

    def values(self) -> Tensor:
        """Give the numbers that they stand for, (blocks, size) float32."""
        levels = self.codes.to(torch.float32) - self.zeros.to(torch.float32)[:, None]
        return levels * self.scales.to(torch.float32)[:, None]


@dataclass(frozen=True)
class Scale:
    """The numbers that codes of a block stand for: scale * level.

    Attributes:
        levels: of the codes.
        dtype: that scales are stored in.
    """

    levels: Levels
    dtype: torch.dtype


def round_blocks(values: Tensor, scale: Scale, peaks: Sequence[float]) -> RoundedBlocks:
    """Round blocks of numbers to levels times a scale for each block.

    Args:
        values: (blocks, size) float32 or float64.
        scale: what the codes stand for.
        peaks: candidates for the scale: by which number, in units of it, the largest number of a block is divided.
            Negative ones turn the sign of the scale.
    """
    return round_in_chunks(values, lambda chunk: _round_blocks(chunk, scale, peaks))


def _round_blocks(values: Tensor, scale: Scale, peaks: Sequence[float]) -> RoundedBlocks:
    levels = scale.levels
    places = values.abs().argmax(dim=1, keepdim=True)
    largest = values.gather(1, places)  # (blocks, 1), with its sign
    units = values / torch.where(largest == 0, 1.0, largest)  # the largest is 1: no square leaves the range of floats
    scales = torch.zeros_like(largest)
    least = torch.full_like(largest, torch.inf)
    for peak in peaks:
        fitted, error = _fit_scales(units, levels, torch.full_like(largest, 1 / peak))
        is_better = error < least
        least, scales = torch.where(is_better, error, least), torch.where(is_better, fitted, scales)
    for _ in range(REFINEMENTS):
        fitted, error = _fit_scales(units, levels, scales)
        is_better = error < least
        least, scales = torch.where(is_better, error, least), torch.where(is_better, fitted, scales)
    return _store_scales(values, Scale(levels, scale.dtype), scales, largest)


def _store_scales(values: Tensor, scale: Scale, scales: Tensor, unit: Tensor) -> RoundedBlocks:
    """Round scales, (blocks, 1) in units of `unit`, to the dtype that they are stored in, and choose the codes."""
    levels, unit = scale.levels, not_zero(unit)
    units = values / unit

    def error_of(stored: Tensor) -> Tensor:
        in_units = stored.to(values.dtype) / unit
        chosen = levels.nearest(units / not_zero(in_units))
        return (units - chosen * in_units).square().sum(dim=1, keepdim=True)

    stored = _best_stored(scales * unit, scale.dtype, error_of)
    return RoundedBlocks(levels.codes(values / not_zero(stored.to(values.dtype))), stored.squeeze(1))


def _best_stored(scales: Tensor, dtype: torch.dtype, error_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Round scales to a dtype, (blocks, 1): to the one of the nearest numbers that leaves the least error."""
    limits = torch.finfo(dtype)
    nearest = scales.clamp(limits.min, limits.max).to(dtype)
    best, least = nearest, torch.full_like(scales, torch.inf)
    for step in ULPS[dtype.itemsize]:
        candidate = stepped(nearest, step)
        error = error_of(candidate)
        is_better = error < least
        least, best = torch.where(is_better, error, least), torch.where(is_better, candidate, best)
    return best


def round_offset_blocks(values: Tensor, line: Line, widths: Sequence[float]) -> RoundedOffsets:
    """Round blocks of numbers to a scale times the distance of a code from that of zero, both of each block.

    Args:
        values: (blocks, size) float32 or float64.
        line: largest code and dtype of the scales.
        widths: candidates for the scale: from the number of code 0 to that of the largest, in ranges of the block.
    """
    return round_in_chunks(values, lambda chunk: _round_offset_blocks(chunk, line, widths))


def _round_offset_blocks(values: Tensor, line: Line, widths: Sequence[float]) -> RoundedOffsets:
    # One of the codes stands for zero, so the range of a block reaches that far.
    low, high = values.amin(dim=1, keepdim=True).clamp_max(0), values.amax(dim=1, keepdim=True).clamp_min(0)
    span = not_zero(high - low)
    units, middle = values / span, (low / 2 + high / 2) / span
    scales, zeros = torch.zeros_like(span), torch.zeros_like(span)
    least = torch.full_like(span, torch.inf)

    def compare(start: Tensor, zero: Tensor) -> None:
        nonlocal scales, zeros, least
        fitted, error = _fit_scales(units, OffsetLevels(line.top, zero), start)
        is_better = error < least
        least, scales, zeros = (
            torch.where(is_better, new, old) for new, old in ((error, least), (fitted, scales), (zero, zeros))
        )

    for width in widths:
        centered = line.top / 2 - middle * (line.top / width)
        for rounding in (torch.floor, torch.ceil):
            compare(torch.full_like(span, width / line.top), rounding(centered).clamp_(0, line.top))
    for step in (0, -1, 1, *[0] * REFINEMENTS):
        compare(scales, (zeros + step).clamp_(0, line.top))
    rounded = _store_scales(values, Scale(OffsetLevels(line.top, zeros), line.dtype), scales, span)
    return RoundedOffsets(rounded.codes, rounded.scales, zeros.squeeze(1).to(torch.uint8))


def _fit_scales(units: Tensor, levels: Levels, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Choose the nearest codes under scales, (blocks, 1), and fit the scales to them.

    Returns:
        The scales of least squares, (blocks, 1), and the squared errors that they leave.
    """
    chosen = levels.nearest(units / not_zero(scales))
    residuals = torch.addcmul(units, chosen, scales, value=-1)
    squares = dot(chosen, chosen)
    correlation = dot(residuals, chosen)
    change = correlation / squares.clamp_min(TINY)
    return scales + change, dot(residuals, residuals) - correlation * change
