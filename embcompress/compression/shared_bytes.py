"""Bytes of a budget, shared among tables: every byte goes where it lowers the error most."""

from __future__ import annotations

import math
from collections.abc import Sequence

from embcompress.compression.candidates import Candidate, TableCandidates
from embcompress.compression.plan import describe, planned_entries
from embcompress.compression.size_limit import SizeLimit

# The price of a byte as a share of the squared norm: the Lagrange multiplier of the limit. At the first every byte
# is spent, at the last none is.
PRICES = (1e-22, 1.0)
# Halvings of their logarithm, to 0.3 %: what is then left is given out table by table.
PRICE_STEPS = 14
# Tries at what the header takes beside the tensors, which depends a little on what is chosen.
TRIES = 8


def share_bytes(tables: Sequence[TableCandidates], limit: SizeLimit) -> tuple[Candidate, ...] | None:
    """Choose candidates of the least error whose file is within a limit; None where not even the least are.

    Errors are shares of each table's own squared norm, so that a table's unit does not matter. The same price of a byte
    holds for all tables; what is left then goes to one table after the other.

    Args:
        tables: the candidates of each.
        limit: of all together.
    """
    least = [table.least() for table in tables]
    if count_bytes(tables, least, limit) > limit.nbytes:
        return None
    best = tuple(least)
    beside = count_bytes(tables, least, limit) - _total(least)
    for _ in range(TRIES):
        candidates = _share(tables, limit.nbytes - beside)
        if candidates is None:
            break
        size = count_bytes(tables, candidates, limit)
        if size <= limit.nbytes:
            if _error(candidates) <= _error(best):
                best = candidates
            if size - _total(candidates) >= beside:
                break
        beside = size - _total(candidates)
    return best


def count_bytes(tables: Sequence[TableCandidates], candidates: Sequence[Candidate], limit: SizeLimit) -> int:
    """Count the bytes of a file that holds a candidate of each table, as the limit counts them."""
    planned = [table.planned(candidate) for table, candidate in zip(tables, candidates, strict=True)]
    entries = [entry for table in planned for entry in planned_entries(table)]
    return limit.count([describe(table) for table in planned], entries)


def _share(tables: Sequence[TableCandidates], limit: int) -> tuple[Candidate, ...] | None:
    """Choose candidates of at most `limit` bytes together."""
    if len(tables) == 1:
        only = tables[0].best_under(limit)
        return None if only is None else (only,)
    # The first is too small, the last too large.
    low, high = PRICES
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
        candidates = [table.at_price(middle) for table in tables]
        if _total(candidates) <= limit:
            high, chosen = middle, candidates
        else:
            low, above = middle, candidates
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
