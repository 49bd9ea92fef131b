"""Places of strings, compiled by numba."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from embcompress.coding.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def _bytes_before(row: int, before: NDArray[np.int64], lengths: NDArray[Any], spacing: int) -> np.int64:
    """Add up the lengths before a row."""
    block = row // spacing
    total: np.int64 = before[block]
    for other in range(block * spacing, row):
        total += np.int64(lengths[other])
    return total


@compiled
def _add_up(
    rows: NDArray[np.int64],
    before: NDArray[np.int64],
    lengths: NDArray[Any],
    spacing: int,
    sums: NDArray[np.int64],
) -> None:
    for number in range(len(rows)):
        sums[number] = _bytes_before(rows[number], before, lengths, spacing)


def add_up(
    rows: NDArray[np.int64], before: NDArray[np.int64], lengths: NDArray[Any], spacing: int
) -> NDArray[np.int64]:
    """Add up the lengths before each row, from sums that are known of every `spacing` rows."""
    sums = np.empty(len(rows), np.int64)
    _add_up(np.ascontiguousarray(rows, np.int64), before, lengths, spacing, sums)
    return sums


class Located(NamedTuple):
    """What the decoder has to know of rows, (count,) each.

    Attributes:
        positions: int64, where each string starts.
        lengths: int64, bytes of each.
        layouts: int64, its layout.
        profiles: int64, its profile.
        factors: float32, its step.
    """

    positions: NDArray[np.int64]
    lengths: NDArray[np.int64]
    layouts: NDArray[np.int64]
    profiles: NDArray[np.int64]
    factors: NDArray[np.float32]


@compiled
def _locate(
    rows: NDArray[np.int64],
    kinds: NDArray[Any],
    lengths: NDArray[Any],
    before: NDArray[np.int64],
    spacing: int,
    kind_layouts: NDArray[np.int64],
    kind_profiles: NDArray[np.int64],
    kind_factors: NDArray[np.float32],
    positions: NDArray[np.int64],
    own_lengths: NDArray[np.int64],
    layouts: NDArray[np.int64],
    profiles: NDArray[np.int64],
    factors: NDArray[np.float32],
) -> bool:
    for number in range(len(rows)):
        row = rows[number]
        if row < 0 or row >= len(kinds):
            return False
        kind = np.int64(kinds[row])
        positions[number] = _bytes_before(row, before, lengths, spacing)
        own_lengths[number] = np.int64(lengths[row])
        layouts[number], profiles[number], factors[number] = kind_layouts[kind], kind_profiles[kind], kind_factors[kind]
    return True


def locate(
    rows: NDArray[np.int64],
    kinds: NDArray[Any],
    lengths: NDArray[Any],
    *,
    before: NDArray[np.int64],
    spacing: int,
    layouts: NDArray[np.int64],
    profiles: NDArray[np.int64],
    factors: NDArray[np.float32],
) -> Located | None:
    """Find the strings of rows by number, (count,), and what decodes them; None if one is not that of a row.

    Args:
        rows: by number.
        kinds: of all rows.
        lengths: of the strings of all rows.
        before: the bytes before each `spacing` rows.
        spacing: rows.
        layouts: of each kind.
        profiles: of each kind.
        factors: of each kind.
    """
    count = len(rows)
    positions, own_lengths, own_layouts, own_profiles = (np.empty(count, np.int64) for _ in range(4))
    own_factors = np.empty(count, np.float32)
    is_right = _locate(
        np.ascontiguousarray(rows), kinds, lengths, before, spacing, layouts, profiles, factors, positions, own_lengths,
        own_layouts, own_profiles, own_factors,
    )  # fmt: skip
    return Located(positions, own_lengths, own_layouts, own_profiles, own_factors) if is_right else None


@compiled
def _move_strings(
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],
    lengths: NDArray[Any],
    targets: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    for row in range(len(positions)):
        for byte in range(np.int64(lengths[row])):
            out[targets[row] + byte] = codes[positions[row] + byte]


def move_strings(
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],
    lengths: NDArray[Any],
    targets: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Copy strings from where they lie to given places."""
    _move_strings(codes, positions, lengths, targets, out)
