"""Rounding rows to codes times a scale plus a bias, both of each row, with the least squared error.

As in `rounding`, with the scale and the bias of least squares in the place of the scale: both are known in closed form
once codes are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
class RoundedRows(Rounded):
    """Rows as codes: number = scale * code + bias.

    Attributes:
        biases: (rows,) in the dtype of the scales.
    """

    biases: Tensor

    def values(self) -> Tensor:
        """Give the numbers that they stand for, (rows, dim) float32."""
        scales, biases = self.scales.to(torch.float32), self.biases.to(torch.float32)
        return self.codes.to(torch.float32) * scales[:, None] + biases[:, None]


@dataclass(frozen=True)
class LineSearch:
    """Candidates for the scale and the bias of a row.

    Attributes:
        widths: from the number of code 0 to that of the largest code, in ranges of the row, with the same middle.
        moves: by what the best so far is stretched about its middle, and moved in steps of a code.
    """

    widths: Sequence[float]
    moves: Sequence[tuple[float, float]]


def round_rows(values: Tensor, line: Line, search: LineSearch) -> RoundedRows:
    """Round rows to codes times a scale plus a bias, both of each row.

    Args:
        values: (rows, dim) float32 or float64.
        line: what the codes stand for.
        search: candidates.
    """
    return round_in_chunks(values, lambda chunk: _round_rows(chunk, line, search))


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
    reach = not_zero(values.abs().amax(dim=1, keepdim=True))  # in units of it no square leaves the range of floats
    best, stored_scales, stored_biases = torch.full_like(scales, torch.inf), *[scales.to(line.dtype)] * 2
    nearest_scales = stored_scales

    def compare(scale: Tensor, bias: Tensor) -> Tensor:
        """Keep a scale and a bias where they leave less; return the codes under them."""
        nonlocal best, stored_scales, stored_biases
        wide, shift = scale.to(values.dtype), bias.to(values.dtype)
        chosen = _line_codes(values, line.top, wide, shift)
        residuals = (values - (chosen * wide + shift)) / reach
        error = dot(residuals, residuals)
        is_better = error < best
        best = torch.where(is_better, error, best)
        stored_scales = torch.where(is_better, scale, stored_scales)
        stored_biases = torch.where(is_better, bias, stored_biases)
        return chosen

    for scale_step in ULPS[line.dtype.itemsize]:
        scale = stepped(nearest_scales, scale_step)
        wide = scale.to(values.dtype)
        chosen = _line_codes(values, line.top, wide, biases)
        nearest_biases = (values - chosen * wide).mean(dim=1, keepdim=True).to(line.dtype)
        for bias_step in ULPS[line.dtype.itemsize]:
            compare(scale, stepped(nearest_biases, bias_step))
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    for bias_step in ULPS[line.dtype.itemsize]:
        bias = stepped(low.to(line.dtype), bias_step)
        shift = bias.to(values.dtype)
        chosen = compare(((high - shift) / line.top).to(line.dtype), bias)
        fitted = dot((values - shift) / reach, chosen) / dot(chosen, chosen).clamp_min(TINY) * reach
        compare(fitted.to(line.dtype), bias)
    codes = _line_codes(values, line.top, stored_scales.to(values.dtype), stored_biases.to(values.dtype))
    return RoundedRows(codes.to(torch.uint8), stored_scales.squeeze(1), stored_biases.squeeze(1))


def _line_codes(values: Tensor, top: int, scales: Tensor, biases: Tensor) -> Tensor:
    """Choose the nearest codes, (rows, dim) in the dtype of the values."""
    return ((values - biases) / not_zero(scales)).round_().clamp_(0, top)


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
    correlation = dot(residuals, spread)
    change = correlation / dot(spread, spread).clamp_min(TINY)
    error = dot(residuals, residuals) - units.shape[1] * mean.square() - correlation * change
    return scales + change, biases + mean - change * code_mean, error
