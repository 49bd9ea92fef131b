"""Rounding rows to a scale and a bias: held against a dense search in float64, and against torch's own rows."""

from __future__ import annotations

import math

import pytest
import torch

from embcompress.exports.line_rounding import round_rows
from embcompress.exports.quantized.torch_rows import LINE_DTYPES, SEARCHES
from embcompress.exports.rounding_steps import Line
from tests.fixtures import draw


@pytest.mark.parametrize("bits", SEARCHES)
def test_round_rows_comes_near_the_best_line(bits: int) -> None:
    """The squared error is within 3 % of the least under 60 widths and 15 middles of each row, fitted or not."""
    top = (1 << bits) - 1
    rows = draw(40, 48, seed=3) * torch.linspace(0.01, 3, 40)[:, None] + 0.3
    rounded = round_rows(rows, Line(top, LINE_DTYPES[bits]), SEARCHES[bits])
    exact = rows.double()
    low, high = exact.amin(dim=1, keepdim=True), exact.amax(dim=1, keepdim=True)
    least = torch.full((40, 1), torch.inf, dtype=torch.float64)
    for width in torch.linspace(0.6, 1.1, 60).tolist():
        for shift in torch.linspace(-0.1, 0.1, 15).tolist():
            scale = width * (high - low) / top
            bias = (low + high) / 2 + (shift - width / 2) * (high - low)
            made = ((exact - bias) / scale).round().clamp(0, top) * scale + bias
            least = torch.minimum(least, (made - exact).square().sum(dim=1, keepdim=True))
    assert float((rounded.values() - exact).square().sum()) < 1.03 * float(least.sum())


@pytest.mark.parametrize("bits", SEARCHES)
@pytest.mark.parametrize(("middle", "width"), [(10, 0.01), (100, 0.01), (1000, 0.01), (0.1, 0)])
def test_round_rows_far_from_zero_leave_no_more_than_torch(bits: int, middle: float, width: float) -> None:
    """Where biases lie further apart than the numbers of a row, the error is at most that of torch's own rows."""
    rows, ids = draw(20, 128, seed=8) * width + middle, torch.arange(20)
    made = round_rows(rows, Line((1 << bits) - 1, LINE_DTYPES[bits]), SEARCHES[bits]).values()
    name = {8: "byte", 4: "4bit"}[bits]
    packed = getattr(torch.ops.quantized, f"embedding_bag_{name}_prepack")(rows)
    own = getattr(torch.ops.quantized, f"embedding_bag_{name}_rowwise_offsets")(packed, ids, ids, mode=0)
    error, own_error = ((one.double() - rows.double()).square().sum() for one in (made, own))
    assert error <= 1.001 * own_error  # codes of ties differ


def test_round_rows_keeps_equal_numbers() -> None:
    """A row of one number is its bias."""
    rows = torch.tensor([[0.0] * 128, [0.1] * 128, [-3e30] * 128, [1e-30] * 128])
    assert round_rows(rows, Line(255, torch.float32), SEARCHES[8]).values().equal(rows)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_rows_of_any_size_are_rounded_alike(size: float) -> None:
    """Squares that leave float32 change no error: it scales with the rows, to the rounding of the size itself."""
    rows = draw(20, 16, seed=7)
    line, search = Line(255, torch.float32), SEARCHES[8]
    plain = (round_rows(rows, line, search).values() - rows).double().norm()
    scaled = (round_rows(rows * size, line, search).values().double() / size - rows).norm()
    assert math.isclose(float(scaled), float(plain), rel_tol=0.01)


def test_rows_are_rounded_by_themselves() -> None:
    """The rows of a long table leave the error that parts of it leave, wherever a chunk begins."""
    rows = draw(1500, 128, seed=6)  # more than one chunk
    line, search = Line(15, torch.float16), SEARCHES[4]
    whole = (round_rows(rows, line, search).values() - rows).double().square().sum()
    parts = [(round_rows(part, line, search).values() - part).double().square().sum() for part in rows.split(500)]
    assert math.isclose(float(whole), float(sum(parts)), rel_tol=1e-4)
