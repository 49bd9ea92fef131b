"""What the format of codes of schema 1 fixes; known without torch."""

from __future__ import annotations

BITS_MAX = 8  # of a column
HALF_BIT = 9  # what `bits` says of a column that shares one bit with another
KINDS = HALF_BIT + 2  # of levels: none, those of 1 to 8 bits, those of the first and of the second of a pair
WINDOW_MAX = 8  # bits of a row's string that a level depends on; with the shift in a byte they span two bytes
GROUP_WIDTHS = (0, 1, 2, 4, 8)  # bits in which a row's group is written


def group_width(groups: int) -> int:
    """Tell in how many bits a row's group is written: the least of GROUP_WIDTHS that holds all groups."""
    return next(width for width in GROUP_WIDTHS if groups <= 1 << width)
