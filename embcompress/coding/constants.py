"""What the format of codes of schema 1 fixes; known without torch."""

from __future__ import annotations

BITS_MAX = 8  # of a column
HALF_BIT = 9  # what `bits` says of a column that shares one bit with another
GROUPS_MAX = 256  # of rows: the group of a row is one byte
WINDOW_MAX = 8  # bits of a row's string that a level depends on; with the shift in a byte they span two bytes
GROUP_WIDTHS = (0, 1, 2, 4, 8)  # bits in which a row's group is written


def group_width(groups: int) -> int:
    """Tell in how many bits a row's group is written: the least of GROUP_WIDTHS that holds all groups."""
    return next(width for width in GROUP_WIDTHS if groups <= 1 << width)


def level_count(bits: int, window: int) -> int:
    """Count the levels of columns of so many bits: one for each window, of a shared bit for either of the pair."""
    return (1 << window) * (2 if bits == HALF_BIT else 1)
