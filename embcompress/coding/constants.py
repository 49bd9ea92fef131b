"""Constants of the format of codes of schema 1; known without torch."""

from __future__ import annotations

# Bits of a column.
BITS_MAX = 8
# The entry in `bits` of a column that shares one bit with another.
HALF_BIT = 9
# Groups of rows: the group of a row is one byte.
GROUPS_MAX = 256
# Bits of a row's string that a level depends on; with the shift in a byte they span two bytes.
WINDOW_MAX = 8
# Bits in which a row's group is written.
GROUP_WIDTHS = (0, 1, 2, 4, 8)


def group_width(groups: int) -> int:
    """Return in how many bits a row's group is written: the least of GROUP_WIDTHS that holds all groups."""
    return next(width for width in GROUP_WIDTHS if groups <= 1 << width)


def level_count(bits: int, window: int) -> int:
    """Count the levels of columns of so many bits: one for each window, of a shared bit for either of the pair."""
    return (1 << window) * (2 if bits == HALF_BIT else 1)
