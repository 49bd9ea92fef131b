"""The bytes of bases and weights, and the ranks at which they pay."""

from __future__ import annotations

from embcompress.tables.table import Table


def factor_bytes(table: Table, rank: int, item_bytes: int) -> int:
    """Count the bytes of `rank` bases and the weights of all rows, in a dtype of `item_bytes`."""
    return rank * (table.rows + table.dim) * item_bytes


def largest_rank(table: Table, item_bytes: int) -> int:
    """Compute the largest rank that the table has and at which its factors are smaller than it; 0 if none is."""
    return min(table.rows, table.dim, (table.nbytes - 1) // ((table.rows + table.dim) * item_bytes))
