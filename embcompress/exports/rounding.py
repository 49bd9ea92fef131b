"""Rounding to the codes of a format, with the scales that leave the least squared error.

A scale is searched for among candidates: of each, the codes are the nearest ones, and the least-squares scale of these
codes is known in closed form. The best one is refined by turns, rounded to the dtype that the format stores it in, and
its codes are chosen anew. Residuals are formed and not differences of sums, which float32 has too few digits for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from embcompress.exports.levels import Levels, OffsetLevels

# Worked on at once: half a megabyte of float32, which stays in a core's cache over all candidates.
CHUNK_NUMBERS = 2**17
REFINEMENTS = 3  # turns of choosing codes and fitting scales; a fourth gained less than 0.01 % of the squared error
TINY = 1e-30  # in place of a sum of squares of zero
ULPS = {2: (0, -1, 1), 4: (0,)}  # by bytes of a stored scale: those beside the nearest that are tried
MAGNITUDE = 0x7FFF  # bits of a 16-bit float without its sign


@dataclass(frozen=True)
class RoundedBlocks:
    """Blocks of numbers as codes.

    Attributes:
        codes: (blocks, size) uint8.
        scales: (blocks,) in the dtype that they are stored in.
    """

    codes: Tensor
    scales: Tensor

    def values(self, levels: Levels) -> Tensor:
        """Give the numbers that they stand for, (blocks, size) float32, where codes are those of these levels."""
        return levels.values(self.codes) * self.scales.to(torch.float32)[:, None]


@dataclass(frozen=True)
class RoundedOffsets:
    """Blocks of numbers as codes: number = scale * (code - zero).

    Attributes:
        codes: (blocks, size) uint8.
        scales: (blocks,) in the dtype that they are stored in.
        zeros: (blocks,) uint8.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor

    def values(self) -> Tensor:
        """Give the numbers that they stand for, (blocks, size) float32."""
        levels = self.codes.to(torch.float32) - self.zeros.to(torch.float32)[:, None]
        return levels * self.scales.to(torch.float32)[:, None]


@dataclass(frozen=True)
class RoundedRows:
    """Rows as codes: number = scale * code + bias.

    Attributes:
        codes: (rows, dim) uint8.
        scales: (rows,) in the dtype that they are stored in.
        biases: (rows,) in the same.
    """

    codes: Tensor
    scales: Tensor
    biases: Tensor

    def values(self) -> Tensor:
        """Give the numbers that they stand for, (rows, dim) float32."""
        scales, biases = self.scales.to(torch.float32), self.biases.to(torch.float32)
        return self.codes.to(torch.float32) * scales[:, None] + biases[:, None]


Rounded = TypeVar("Rounded", RoundedBlocks, RoundedOffsets, RoundedRows)


@dataclass(frozen=True)
class Line:
    """The numbers that codes of a row stand for: scale * code + bias.

    Attributes:
        top: the largest code; the least is 0.
        dtype: that scales and biases are stored in.
    """

    top: int
    dtype: torch.dtype


@dataclass(frozen=True)
class LineSearch:
    """Candidates for the scale and the bias of a row.

    Attributes:
        widths: from the number of code 0 to that of the largest code, in ranges of the row, with the same middle.
        moves: by what the best so far is stretched about its middle, and moved in steps of a code.
    """

    widths: Sequence[float]
    moves: Sequence[tuple[float, float]]


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
    return _joined([_round_blocks(chunk, scale, peaks) for chunk in _chunks(values)])


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
    levels, unit = scale.levels, _not_zero(unit)
    units = values / unit

    def error_of(stored: Tensor) -> Tensor:
        in_units = stored.to(values.dtype) / unit
        chosen = levels.nearest(units / _not_zero(in_units))
        return (units - chosen * in_units).square().sum(dim=1, keepdim=True)

    stored = _best_stored(scales * unit, scale.dtype, error_of)
    return RoundedBlocks(levels.codes(values / _not_zero(stored.to(values.dtype))), stored.squeeze(1))


def round_offset_blocks(values: Tensor, line: Line, widths: Sequence[float]) -> RoundedOffsets:
    """Round blocks of numbers to a scale times the distance of a code from that of zero, both of each block.

    Args:
        values: (blocks, size) float32 or float64.
        line: largest code and dtype of the scales.
        widths: candidates for the scale: from the number of code 0 to that of the largest, in ranges of the block.
    """
    return _joined([_round_offset_blocks(chunk, line, widths) for chunk in _chunks(values)])


def _round_offset_blocks(values: Tensor, line: Line, widths: Sequence[float]) -> RoundedOffsets:
    # One of the codes stands for zero, so the range of a block reaches that far.
    low, high = values.amin(dim=1, keepdim=True).clamp_max(0), values.amax(dim=1, keepdim=True).clamp_min(0)
    span = _not_zero(high - low)
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
    chosen = levels.nearest(units / _not_zero(scales))
    residuals = torch.addcmul(units, chosen, scales, value=-1)
    squares = _dot(chosen, chosen)
    correlation = _dot(residuals, chosen)
    change = correlation / squares.clamp_min(TINY)
    return scales + change, _dot(residuals, residuals) - correlation * change


def round_rows(values: Tensor, line: Line, search: LineSearch) -> RoundedRows:
    """Round rows to codes times a scale plus a bias, both of each row.

    Args:
        values: (rows, dim) float32 or float64.
        line: what the codes stand for.
        search: candidates.
    """
    return _joined([_round_rows(chunk, line, search) for chunk in _chunks(values)])


def _round_rows(values: Tensor, line: Line, search: LineSearch) -> RoundedRows:
    top = line.top
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    units = (values - middle) / torch.where(half == 0, 1.0, half)  # -1..1
    scales, biases = torch.zeros_like(half), units.mean(dim=1, keepdim=True)
    least = torch.full_like(half, torch.inf)
    for width in search.widths:
        start = (torch.full_like(half, 2 * width / top), torch.full_like(half, -width))
        scales, biases, least = _better_line(units, top, start, (scales, biases, least))
    for stretch, shift in (*search.moves, *[(1.0, 0.0)] * REFINEMENTS):
        start = (scales * stretch, biases + scales * (shift + (1 - stretch) * top / 2))
        scales, biases, least = _better_line(units, top, start, (scales, biases, least))
    is_flat = half == 0
    return _store_line(values, line, torch.where(is_flat, 0.0, scales * half), middle + biases * half)


def _store_line(values: Tensor, line: Line, scales: Tensor, biases: Tensor) -> RoundedRows:
    """Round scales and biases, (rows, 1), to the dtype that they are stored in, and choose the codes under these.

    The bias that fits best depends on the scale as it is stored, and has itself few digits: of a row far from zero so
    few that it decides, and the scale is fitted to a bias beside the least number.
    """
    reach = _not_zero(values.abs().amax(dim=1, keepdim=True))  # in units of it no square leaves the range of floats
    best, stored_scales, stored_biases = torch.full_like(scales, torch.inf), *[scales.to(line.dtype)] * 2
    nearest_scales = stored_scales

    def compare(scale: Tensor, bias: Tensor) -> Tensor:
        """Keep a scale and a bias where they leave less; return the codes under them."""
        nonlocal best, stored_scales, stored_biases
        wide, shift = scale.to(values.dtype), bias.to(values.dtype)
        chosen = _line_codes(values, line.top, wide, shift)
        residuals = (values - (chosen * wide + shift)) / reach
        error = _dot(residuals, residuals)
        is_better = error < best
        best = torch.where(is_better, error, best)
        stored_scales = torch.where(is_better, scale, stored_scales)
        stored_biases = torch.where(is_better, bias, stored_biases)
        return chosen

    for scale_step in ULPS[line.dtype.itemsize]:
        scale = _stepped(nearest_scales, scale_step)
        wide = scale.to(values.dtype)
        chosen = _line_codes(values, line.top, wide, biases)
        nearest_biases = (values - chosen * wide).mean(dim=1, keepdim=True).to(line.dtype)
        for bias_step in ULPS[line.dtype.itemsize]:
            compare(scale, _stepped(nearest_biases, bias_step))
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    for bias_step in ULPS[line.dtype.itemsize]:
        bias = _stepped(low.to(line.dtype), bias_step)
        shift = bias.to(values.dtype)
        chosen = compare(((high - shift) / line.top).to(line.dtype), bias)
        fitted = _dot((values - shift) / reach, chosen) / _dot(chosen, chosen).clamp_min(TINY) * reach
        compare(fitted.to(line.dtype), bias)
    codes = _line_codes(values, line.top, stored_scales.to(values.dtype), stored_biases.to(values.dtype))
    return RoundedRows(codes.to(torch.uint8), stored_scales.squeeze(1), stored_biases.squeeze(1))


def _line_codes(values: Tensor, top: int, scales: Tensor, biases: Tensor) -> Tensor:
    """Choose the nearest codes, (rows, dim) in the dtype of the values."""
    return ((values - biases) / _not_zero(scales)).round_().clamp_(0, top)


def _better_line(
    units: Tensor, top: int, start: tuple[Tensor, Tensor], best: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Put the scales and biases that are fitted from a start where they leave less than the best, (rows, 1) each."""
    fitted = _fit_lines(units, top, *start)
    is_better = fitted[2] < best[2]
    scales, biases, errors = (torch.where(is_better, new, old) for new, old in zip(fitted, best, strict=True))
    return scales, biases, errors


def _fit_lines(units: Tensor, top: int, scales: Tensor, biases: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the nearest codes under scales and biases, (rows, 1), and fit both to them; also the squared errors."""
    chosen = _line_codes(units, top, scales, biases)
    residuals = torch.addcmul(units - biases, chosen, scales, value=-1)
    code_mean, mean = chosen.mean(dim=1, keepdim=True), residuals.mean(dim=1, keepdim=True)
    spread = chosen - code_mean
    correlation = _dot(residuals, spread)
    change = correlation / _dot(spread, spread).clamp_min(TINY)
    error = _dot(residuals, residuals) - units.shape[1] * mean.square() - correlation * change
    return scales + change, biases + mean - change * code_mean, error


def _best_stored(scales: Tensor, dtype: torch.dtype, error_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Round scales to a dtype, (blocks, 1): to the one of the nearest numbers that leaves the least error."""
    limits = torch.finfo(dtype)
    nearest = scales.clamp(limits.min, limits.max).to(dtype)
    best, least = nearest, torch.full_like(scales, torch.inf)
    for step in ULPS[dtype.itemsize]:
        candidate = _stepped(nearest, step)
        error = error_of(candidate)
        is_better = error < least
        least, best = torch.where(is_better, error, least), torch.where(is_better, candidate, best)
    return best


def _stepped(numbers: Tensor, step: int) -> Tensor:
    """Move numbers of 16 bits away from zero, or towards it, by so many steps of their last digit."""
    if not step:
        return numbers
    bits = numbers.view(torch.int16).to(torch.int32)
    largest = torch.tensor(torch.finfo(numbers.dtype).max, dtype=numbers.dtype).view(torch.int16).item()
    magnitude = ((bits & MAGNITUDE) + step).clamp(0, int(largest))
    return (magnitude | (bits & ~MAGNITUDE)).to(torch.int16).view(numbers.dtype)


def spread(low: float, high: float, count: int) -> tuple[float, ...]:
    """List numbers at equal distances, both ends among them.

    Example:
        >>> spread(4, 5, 3)
        (4.0, 4.5, 5.0)
    """
    return tuple(low + (high - low) * step / (count - 1) for step in range(count))


def _chunks(values: Tensor) -> Iterator[Tensor]:
    step = max(1, CHUNK_NUMBERS // max(1, values.shape[1]))
    for first in range(0, max(1, len(values)), step):
        yield values[first : first + step]


def _joined(parts: Sequence[Rounded]) -> Rounded:
    """Put consecutive parts together."""
    return type(parts[0])(*map(torch.cat, zip(*(vars(part).values() for part in parts), strict=True)))


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Multiply rows with rows, (rows, 1)."""
    products: Tensor = torch.linalg.vecdot(left, right)
    return products.unsqueeze(1)


def _not_zero(numbers: Tensor) -> Tensor:
    """Put 1 in the place of zeros, to divide by: what is divided has no scale, and any code does."""
    return torch.where(numbers == 0, 1.0, numbers)
