"""How a budget is shared among tables: every byte goes where it lowers the error most."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from embcompress.compression.candidates import Candidate, TableCandidates

# Of a byte, as a share of the squared norm: everything pays, nothing does.
PRICES = (1e-22, 1.0)
# Halvings of their logarithm, to 0.3 %: what is then left is given out table by table.
PRICE_STEPS = 14
TRIES = 8  # at what the header takes beside the tensors, which depends a little on what is chosen


def share_bytes(
    tables: Sequence[TableCandidates], *, limit: int, size_of: Callable[[Sequence[Candidate]], int]
) -> tuple[Candidate, ...] | None:
    """Choose candidates of the least error whose file has at most `limit` bytes; None where not even the least fit.

    Errors are shares of each table's own squared norm, so that a table's unit does not matter. The same price of a byte
    holds for all tables; what is left then goes to one table after the other.

    Args:
        tables: what each can be had for.
        limit: bytes.
        size_of: counts the bytes of the file that holds these candidates.
    """
    least = [table.least() for table in tables]
    if size_of(least) > limit:
        return None
    best = tuple(least)
    beside = size_of(least) - _total(least)
    for _ in range(TRIES):
        found = _share(tables, limit - beside)
        if found is None:
            break
        size = size_of(found)
        if size <= limit:
            if _error(found) <= _error(best):
                best = found
            if size - _total(found) >= beside:
                break
        beside = size - _total(found)
    return best


def _share(tables: Sequence[TableCandidates], limit: int) -> tuple[Candidate, ...] | None:
    """Choose candidates of at most `limit` bytes together."""
    if len(tables) == 1:
        only = tables[0].best_under(limit)
        return None if only is None else (only,)
    low, high = PRICES  # too cheap, too dear
    chosen = [table.at_price(high) for table in tables]
    if _total(chosen) > limit:
        chosen = [table.least() for table in tables]
        if _total(chosen) > limit:
            return None
    above = [table.at_price(low) for table in tables]
    if _total(above) <= limit:
        return tuple(above)
    for _ in range(PRICE_STEPS):
        middle = math.sqrt(low * high)
        found = [table.at_price(middle) for table in tables]
        if _total(found) <= limit:
            high, chosen = middle, found
        else:
            low, above = middle, found
    # The table that would grow most at the next lower price comes first.
    order = sorted(range(len(tables)), key=lambda index: chosen[index].cost - above[index].cost)
    for index in order:
        spare = limit - _total(chosen)
        better = tables[index].best_under(chosen[index].cost + spare)
        if better is not None and better.squared_error < chosen[index].squared_error:
            chosen[index] = better
    return tuple(chosen)


def _total(candidates: Sequence[Candidate]) -> int:
    return sum(candidate.cost for candidate in candidates)


def _error(candidates: Sequence[Candidate]) -> float:
    return sum(candidate.squared_error for candidate in candidates)
