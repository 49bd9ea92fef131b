"""Places of strings, compiled by numba."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embcompress.coding.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def _add_up(
    rows: NDArray[np.int64],
    before: NDArray[np.int64],
    lengths: NDArray[Any],
    spacing: int,
    sums: NDArray[np.int64],
) -> None:
    for number in range(len(rows)):
        block = rows[number] // spacing
        total = before[block]
        for row in range(block * spacing, rows[number]):
            total += np.int64(lengths[row])
        sums[number] = total


def add_up(
    rows: NDArray[np.int64], before: NDArray[np.int64], lengths: NDArray[Any], spacing: int
) -> NDArray[np.int64]:
    """Add up the lengths before each row, from sums that are known of every `spacing` rows."""
    sums = np.empty(len(rows), np.int64)
    _add_up(np.ascontiguousarray(rows, np.int64), before, lengths, spacing, sums)
    return sums


@compiled
def _copy_strings(
    parts: NDArray[np.uint8],
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    positions: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    taken = 0
    for number in range(len(order)):
        row = order[number]
        for byte in range(lengths[row]):
            out[positions[row] + byte] = parts[taken + byte]
        taken += lengths[row]


def copy_strings(
    parts: NDArray[np.uint8],
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    positions: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Copy strings that stand one behind the other in an order of rows to where each row's belongs."""
    _copy_strings(parts, order, lengths, positions, out)
