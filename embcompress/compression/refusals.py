"""Reasons for which tables stay dense, and refusals of budgets that cannot be met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from embcompress.compression.budget import Budget
from embcompress.exceptions import BudgetError, Retry
from embcompress.results import Skipped
from embcompress.tables.table import Table
from embcompress.text import human_bytes

TOO_SMALL = "is too small to compress"


def ceil_digits(error: float) -> str:
    """Write an error in three digits, never rounded down."""
    digits = max(0, 2 - math.floor(math.log10(error))) if error else 0
    return f"{math.ceil(error * 10**digits) / 10**digits:.{digits}f}"


def floor_digits(ratio: float) -> str:
    """Write a ratio in four digits or more, never rounded up."""
    digits = max(0, 3 - math.floor(math.log10(ratio)))
    return f"{math.floor(ratio * 10**digits) / 10**digits:.{digits}f}"


def error_reason(least: float) -> str:
    """Refuse an error below the least that a table can have."""
    return f"cannot get below error {ceil_digits(least)} while smaller than the original"


def leave_dense(table: Table, reason: str, *, path: Path, named: Sequence[str], hint: str = "") -> Skipped:
    """Say why a table stays dense.

    Args:
        table: the table.
        reason: goes on from its name.
        path: of the checkpoint.
        named: patterns given in full: such a table is not left dense in silence.
        hint: another thing to do.

    Raises:
        BudgetError: it was named in full.
    """
    if any(name in named for name in (table.name, *table.tied_names)):
        raise BudgetError(f"table {table.name!r} in {path} {reason}.", hint=hint)
    return Skipped(table.name, reason)


def refuse_all_dense(budget: Budget, path: Path, skipped: Sequence[Skipped], *, hint: str = "") -> BudgetError:
    """Make the exception for a run in which every table would stay dense."""
    reasons = "; ".join(f"table {table.name!r} {table.reason}" for table in skipped)
    return BudgetError(f"{budget.option}: nothing in {path} gets smaller: {reasons}.", hint=hint)


def refuse_size(budget: Budget, path: Path, least: int, *, before: int) -> BudgetError:
    """Make the exception for a size that cannot be had.

    Args:
        budget: the one asked for.
        path: of the checkpoint.
        least: bytes that can be had, of the file or of the tables.
        before: bytes of the tables as they are.
    """
    size = f"{least} bytes ({human_bytes(least)})"
    message = f"{budget.option}: the tables of {path} cannot be made that small."
    if budget.kind == "max_size":
        return BudgetError(message, hint=f"The smallest file is {size}:", retries=[Retry(("--max-size", str(least)))])
    if least < before:
        smallest = Retry(("--ratio", str(floor_digits(before / least))))
        return BudgetError(message, hint=f"The smallest that they can be is {size}:", retries=[smallest])
    return BudgetError(message, hint=f"With the header of a file they take at least {size}; uncompressed, {before}.")
