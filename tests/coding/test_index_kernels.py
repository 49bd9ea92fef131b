"""Places of strings: the kernels against sums and copies in plain Python."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from embcompress.coding.index_kernels import add_up, move_strings


@pytest.mark.parametrize("spacing", [1, 4, 64])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.int64])
def test_add_up_gives_the_lengths_before_each_row(dtype: type, spacing: int) -> None:
    """In any order of rows, from the sums known of every `spacing` rows: those of all lengths before."""
    draw = np.random.default_rng(spacing)
    lengths = draw.integers(0, 256, 130).astype(dtype)
    sums = [0, *itertools.accumulate(lengths.tolist())]
    rows = draw.permutation(130)
    found = add_up(rows, np.array(sums[:-1:spacing], np.int64), lengths, spacing)
    assert found.tolist() == [sums[row] for row in rows.tolist()]


def test_add_up_does_not_wrap_round() -> None:
    """Lengths of 32 bits add up beyond 32 bits."""
    lengths = np.full(3, 2**32 - 1, np.uint32)
    assert add_up(np.array([2]), np.zeros(1, np.int64), lengths, 8).tolist() == [2 * (2**32 - 1)]


def test_move_copies_each_string_to_its_row() -> None:
    """Strings one behind the other in any order, empty ones among them, stand where each row's begins; others stay."""
    draw = np.random.default_rng(0)
    lengths = np.array([3, 0, 5, 1, 4, 2], np.int64)
    strings = [bytes(draw.integers(1, 256, length).tolist()) for length in lengths.tolist()]
    order = [4, 0, 1, 5]  # rows 2 and 3 have strings of their own already
    positions = lengths.cumsum() - lengths
    out = np.zeros(int(lengths.sum()), np.uint8)
    own = lengths[order]
    move_strings(
        np.frombuffer(b"".join(strings[row] for row in order), np.uint8),
        own.cumsum() - own,
        own,
        positions[order],
        out,
    )
    assert out.tobytes() == b"".join(
        strings[row] if row in order else bytes(int(lengths[row])) for row in range(len(lengths))
    )
