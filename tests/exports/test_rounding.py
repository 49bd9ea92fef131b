"""Rounding blocks to codes: held against a dense search of scales in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from embcompress.exports.levels import IntegerLevels, Levels, ListedLevels
from embcompress.exports.quantized.compressed_folder import PEAKS
from embcompress.exports.quantized.gguf_file import BLOCK_TYPES, LEVELS
from embcompress.exports.quantized.onnx_file import WIDTHS
from embcompress.exports.rounding import RoundedBlocks, Scale, round_blocks, round_offset_blocks
from embcompress.exports.rounding_steps import Line
from tests.fixtures import draw

BLOCKS = draw(80, 32) * torch.linspace(0.01, 3, 20).repeat_interleave(4)[:, None]
FORMS = {
    **{name: (kind.levels, kind.peaks, torch.float16) for name, kind in BLOCK_TYPES.items()},
    "w8": (IntegerLevels(-128, 127, zero=128), PEAKS[8], torch.float32),
    "w4": (IntegerLevels(-8, 7, zero=8), PEAKS[4], torch.bfloat16),
}


def values_of(rounded: RoundedBlocks, levels: Levels) -> Tensor:
    """Multiply codes out."""
    return levels.values(rounded.codes).double() * rounded.scales.double()[:, None]


def errors_of_scales(blocks: Tensor, levels: Tensor, scales: Tensor) -> Tensor:
    """Compute the squared errors, (blocks,), under scales, (blocks, 1), each number at its nearest level."""
    wide = levels.double()
    nearest = wide[torch.bucketize(blocks.double() / scales, (wide[1:] + wide[:-1]) / 2)]
    return (blocks.double() - scales * nearest).square().sum(dim=1)


@pytest.mark.parametrize("name", FORMS)
def test_round_blocks_comes_near_the_best_scale(name: str) -> None:
    """The squared error is within 3 % of the least under 400 scales of each sign, stored in more digits."""
    levels, peaks, dtype = FORMS[name]
    blocks = BLOCKS.view(-1, 128) if name.startswith("w") else BLOCKS[:20]
    rounded = round_blocks(blocks, Scale(levels, dtype), peaks)
    codes = torch.arange(256 if "8" in name else 16, dtype=torch.uint8)
    listed = levels.values(codes).unique()[1 if name == "q8_0" else 0 :]  # of -128 it makes no use
    largest = blocks.abs().amax(dim=1, keepdim=True).double()
    least = torch.full((len(blocks),), torch.inf, dtype=torch.float64)
    for peak in torch.linspace(0.9 * min(map(abs, peaks)), 1.1 * max(map(abs, peaks)), 400).tolist():
        for sign in (-1, 1):
            least = torch.minimum(least, errors_of_scales(blocks, listed, sign * largest / peak))
    assert float((values_of(rounded, levels) - blocks).square().sum()) < 1.03 * float(least.sum())
    assert rounded.scales.dtype == dtype


def test_round_offset_blocks_comes_near_the_best_scale_and_zero() -> None:
    """The squared error is within 3 % of the least under 100 scales with each of the 16 zeros; zeros stay zeros."""
    blocks = draw(60, 32, seed=7) * torch.linspace(0.01, 3, 60)[:, None] + torch.linspace(-4, 4, 60)[:, None]
    blocks[0] = 0
    rounded = round_offset_blocks(blocks, Line(15, torch.float16), WIDTHS)
    exact = blocks.double()
    span = exact.amax(dim=1, keepdim=True).clamp_min(0) - exact.amin(dim=1, keepdim=True).clamp_max(0)
    least = torch.full((60,), torch.inf, dtype=torch.float64)
    for width in torch.linspace(0.6, 1.6, 100).tolist():
        for zero in range(16):
            scale = (span * width / 15).clamp_min(1e-9)
            made = ((exact / scale).round() + zero).clamp(0, 15).sub(zero) * scale
            least = torch.minimum(least, (made - exact).square().sum(dim=1))
    assert float((rounded.values() - exact).square().sum()) < 1.03 * float(least.sum())
    assert rounded.values()[0].abs().max() == 0
    assert (rounded.scales.dtype, rounded.zeros.dtype) == (torch.float16, torch.uint8)


@pytest.mark.parametrize("levels", [IntegerLevels(-8, 7, zero=8), IntegerLevels(-127, 127), ListedLevels(LEVELS)])
def test_levels_are_the_nearest(levels: Levels) -> None:
    """Every number gets the level that lies nearest, by its code, too; numbers outside get the last."""
    numbers = draw(4000, seed=4) * 60
    listed = levels.values(levels.codes(torch.linspace(-200, 200, 4001))).unique()
    nearest = listed[(numbers[:, None] - listed).abs().argmin(dim=1)]
    assert levels.nearest(numbers.clone()).equal(nearest)
    assert levels.values(levels.codes(numbers.clone())).equal(nearest)
    assert len(listed) == {-8: 16, -127: 255 if isinstance(levels, IntegerLevels) else 16}[int(listed[0])]


def test_round_blocks_keeps_zeros_and_blocks_of_two_numbers() -> None:
    """A block of zeros, and one whose numbers are levels of a scale that float16 holds, come back exactly."""
    blocks = torch.zeros(2, 32)
    blocks[1] = torch.tensor([0.25, -2.0]).repeat(16)
    for name in ("q8_0", "q4_0"):
        levels, peaks, dtype = FORMS[name]
        made = values_of(round_blocks(blocks, Scale(levels, dtype), peaks), levels)
        assert made[0].abs().max() == 0
        if name == "q4_0":
            assert made[1].equal(blocks[1].double())


@pytest.mark.parametrize("size", [1e-6, 1e4])
def test_scales_of_few_digits_are_chosen_with_their_rounding(size: float) -> None:
    """Near the ends of float16 no stored scale three steps away leaves less."""
    blocks, levels = draw(50, 32, seed=5) * size, IntegerLevels(-8, 7, zero=8)
    rounded = round_blocks(blocks, Scale(levels, torch.float16), FORMS["q4_0"][1])
    listed = torch.arange(-8.0, 8)
    own = errors_of_scales(blocks, listed, rounded.scales.double()[:, None])
    steps = rounded.scales.view(torch.int16)
    for step in (-3, -2, -1, 1, 2, 3):
        other = (steps + step).view(torch.float16).double()[:, None]
        is_same_sign = (other.sign() == rounded.scales.double().sign()[:, None]).squeeze(1)
        others = errors_of_scales(blocks, listed, other)
        assert float(own[is_same_sign].sum()) <= float(others[is_same_sign].sum()), step
