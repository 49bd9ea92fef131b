"""The search for the symbols of rows, compiled by numba: paths through a trellis."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from embcompress.coding.compiled import compiled_loosely
from embcompress.coding.symbols import Symbols, Trellis, trellis_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows that go through the trellis side by side, so that every inner loop is contiguous.
LANES = 16
NEVER = np.float32(1e30)
# How far the bits of a symbol may draw it towards 0, in steps; further out the tables end, and escapes are cheaper.
PULL = np.float32(1.0)
# Squared error is compared in float32 up to here, in steps; what lies beyond is cut off.
REACH = np.float32(2**23)
# The most states of a trellis that a processor holds at once.
STATES_FEW = 8


def search(
    values: NDArray[np.float32],
    order: NDArray[np.int64],
    columns: NDArray[np.int64],
    tables: NDArray[np.int64],
    *,
    symbols: Symbols,
    trellis: Trellis,
    slopes: NDArray[np.float32] | float,
) -> NDArray[np.int32]:
    """Find the points of rows, (len(order), coded): 2 k + set of each symbol k; arguments as in `_search_many`."""
    points = np.empty((len(order), len(columns)), np.int32)
    row_slopes = np.full(len(order), slopes, np.float32)
    if trellis.states <= STATES_FEW:
        _search_few(trellis.states)(values, order, columns, tables, symbols.model, row_slopes, points)
    else:
        _search_many(values, order, columns, tables, symbols.model, row_slopes, trellis.subsets, points)
    return points


@compiled_loosely
def _search_many(
    values: NDArray[np.float32],  # (rows, columns), in steps
    order: NDArray[np.int64],  # (rows,), which rows are searched, in this order
    columns: NDArray[np.int64],  # (coded,), which columns, in the order of the string
    tables: NDArray[np.int64],  # (coded,), class table of each
    model: NDArray[np.float32],  # (class tables, MODEL)
    slopes: NDArray[np.float32],  # (len(order),), of each row
    subsets: NDArray[np.int64],  # (states, 2)
    points: NDArray[np.int32],  # (len(order), coded), 2 k + set of each number's symbol k, written
) -> None:
    """Do as `_search_few`, for any number of states."""
    coded = len(columns)
    states = len(subsets)
    half = states >> 1
    cost = np.empty((states, LANES), np.float32)
    after = np.empty((states, LANES), np.float32)
    came_from = np.empty((coded, states, LANES), np.uint8)
    nearest = np.empty((coded, 4, LANES), np.float32)
    spent = np.empty((4, LANES), np.float32)
    lane_values = np.empty(LANES, np.float32)
    lane_slopes = np.empty(LANES, np.float32)
    for first in range(0, len(order), LANES):
        count = min(LANES, len(order) - first)
        for lane in range(LANES):
            lane_slopes[lane] = slopes[first + min(lane, count - 1)]
        cost[:] = NEVER
        cost[0, :] = 0
        for column in range(coded):
            column_model = model[tables[column]]
            square, reach, shrink = column_model[3], column_model[4], column_model[5]
            draw, draw_max = column_model[6], column_model[7]
            for lane in range(LANES):
                value = values[order[first + min(lane, count - 1)], columns[column]]
                lane_values[lane] = min(max(value, -REACH), REACH)
            for subset in range(4):
                bits = column_model[subset & 1]
                bits_of_zero = column_model[2] if subset == 0 else bits
                offset = np.float32(subset)
                for lane in range(LANES):
                    value = lane_values[lane]
                    pull = min(max(value * shrink, -PULL), PULL)
                    level = np.float32(4) * np.floor((value - pull - offset) * np.float32(0.25) + np.float32(0.5))
                    level += offset
                    off = value - level + min(max(level * draw, -draw_max), draw_max)
                    price = bits_of_zero if level == np.float32(0) else bits
                    price += square * min(level * level, reach)
                    spent[subset, lane] = off * off + lane_slopes[lane] * price
                    nearest[column, subset, lane] = level
            for state in range(states):
                low, high = cost[state >> 1], cost[(state >> 1) + half]
                low_spent, high_spent = spent[subsets[state, 0]], spent[subsets[state, 1]]
                best, which = after[state], came_from[column, state]
                for lane in range(LANES):
                    from_low, from_high = low[lane] + low_spent[lane], high[lane] + high_spent[lane]
                    which[lane] = np.uint8(from_high < from_low)
                    best[lane] = min(from_low, from_high)
            cost, after = after, cost
        for lane in range(count):
            state = 0
            for other in range(1, states):
                if cost[other, lane] < cost[state, lane]:
                    state = other
            for column in range(coded - 1, -1, -1):
                which_one = came_from[column, state, lane]
                subset = subsets[state, which_one]
                points[first + lane, column] = np.int32(nearest[column, subset, lane])
                state = (state >> 1) + which_one * half


@compiled_loosely
def _step_back(
    column: np.uint64,
    shrink: np.float32,  # of the column's model
    staged: NDArray[np.float32],  # (coded, LANES), the numbers
    came_from: NDArray[np.int32],  # (coded, LANES), a bit for each state: which predecessor it came from
    path: NDArray[np.int32],  # (LANES,), the states behind the column, then those before it
    traced: NDArray[np.int32],  # (coded, LANES), points, written
    sets: np.int32,  # a bit for each state
    parities: np.int32,  # likewise
    half: np.int32,  # of the states
) -> None:
    """Go back one column along each lane's path, with every integer kept at 32 bits: numba widens what it adds.

    A function of its own: in a loop over falling columns the compiler takes the arrays for overlapping, and goes lane
    by lane, three times as slowly. No closure: one that `search_few` held would keep the machine code of that from
    being found on disk again.
    """
    one, two = np.int32(1), np.int32(2)
    quarter, rounding = np.float32(0.25), np.float32(0.5)
    for lane in range(LANES):
        after = path[lane]
        which = np.int32(np.int32(came_from[column, lane] >> after) & one)
        before = np.int32(np.int32(after >> one) | np.int32(which * half))
        set_bit = np.int32(np.int32(sets >> before) & one)
        odd = np.int32(np.int32(np.int32(parities >> before) ^ after) & one)
        offset = np.int32(set_bit + np.int32(odd + odd))
        value = min(max(staged[column, lane], -REACH), REACH)
        pulled = value - min(max(value * shrink, -PULL), PULL) - np.float32(offset)
        traced[column, lane] = np.int32(np.int32(np.floor(pulled * quarter + rounding)) << two) + offset
        path[lane] = before


@cache
def _search_few(states: int) -> Callable[..., None]:
    """Compile the search for a trellis of 4 or 8 states, all of which a processor holds at once.

    The function takes the arguments of `_search_many`. It finds each row's path through the trellis of the least
    squared error + slope * bits (Viterbi's algorithm). Bits and levels are those of the model: bits(v) = own + square *
    v^2 and level(v) = v - draw * v, bounded, which costs 0.1 % of the error beside the tables and needs no look-up.

    Constants of a closure are such of the machine code: loops over states disappear, and LANES rows take a step of
    the trellis in one vector instruction each, 2.8 times as fast as state by state.

    Long, as functions cut out of it would take their arrays through memory.
    """
    trellis, half = trellis_of(states), states >> 1
    # States j and j + half lead to 2 j and 2 j + 1, by two subsets that differ in the parity of the symbol alone.
    firsts = tuple(int(trellis.subsets[2 * state, 0]) for state in range(half))
    sets = _bits_of(trellis.sets)
    parities = _bits_of(trellis.parities)

    @compiled_loosely
    def search_few(
        values: NDArray[np.float32],
        order: NDArray[np.int64],
        columns: NDArray[np.int64],
        tables: NDArray[np.int64],
        model: NDArray[np.float32],
        slopes: NDArray[np.float32],
        points: NDArray[np.int32],
    ) -> None:
        coded = len(columns)
        staged = np.empty((coded, LANES), np.float32)
        came_from = np.empty((coded, LANES), np.int32)
        path = np.empty(LANES, np.int32)
        traced = np.empty((coded, LANES), np.int32)
        cost = np.empty(states * LANES, np.float32)
        after = np.empty(states * LANES, np.float32)
        lane_slopes = np.empty(LANES, np.float32)
        quarter, rounding, four = np.float32(0.25), np.float32(0.5), np.float32(4)
        one, two, three = np.float32(1), np.float32(2), np.float32(3)
        for first in range(0, len(order), LANES):
            count = min(LANES, len(order) - first)
            for lane in range(LANES):
                row = order[first + min(lane, count - 1)]
                lane_slopes[lane] = slopes[first + min(lane, count - 1)]
                for column in range(coded):
                    staged[column, lane] = values[row, columns[column]]
            cost[:] = NEVER
            cost[:LANES] = 0
            for column in range(coded):
                table = tables[column]
                even, odd, zero = model[table, 0], model[table, 1], model[table, 2]
                square, reach, shrink = model[table, 3], model[table, 4], model[table, 5]
                draw, draw_max = model[table, 6], model[table, 7]
                for lane in range(LANES):
                    value, slope = min(max(staged[column, lane], -REACH), REACH), lane_slopes[lane]
                    pulled = value - min(max(value * shrink, -PULL), PULL)
                    # The level of each subset that is nearest.
                    level_0 = four * np.floor(pulled * quarter + rounding)
                    level_1 = four * np.floor((pulled - one) * quarter + rounding) + one
                    level_2 = four * np.floor((pulled - two) * quarter + rounding) + two
                    level_3 = four * np.floor((pulled - three) * quarter + rounding) + three
                    off_0 = value - level_0 + min(max(level_0 * draw, -draw_max), draw_max)
                    off_1 = value - level_1 + min(max(level_1 * draw, -draw_max), draw_max)
                    off_2 = value - level_2 + min(max(level_2 * draw, -draw_max), draw_max)
                    off_3 = value - level_3 + min(max(level_3 * draw, -draw_max), draw_max)
                    bits_0 = (zero if level_0 == np.float32(0) else even) + square * min(level_0 * level_0, reach)
                    bits_1 = odd + square * min(level_1 * level_1, reach)
                    bits_2 = even + square * min(level_2 * level_2, reach)
                    bits_3 = odd + square * min(level_3 * level_3, reach)
                    spent = (
                        off_0 * off_0 + slope * bits_0,
                        off_1 * off_1 + slope * bits_1,
                        off_2 * off_2 + slope * bits_2,
                        off_3 * off_3 + slope * bits_3,
                    )
                    decisions = np.int32(0)
                    for state in range(half):
                        low, high = cost[state * LANES + lane], cost[(state + half) * LANES + lane]
                        straight, crossed = spent[firsts[state]], spent[firsts[state] ^ 2]
                        from_low, from_high = low + straight, high + crossed
                        after[2 * state * LANES + lane] = min(from_low, from_high)
                        decisions |= np.int32(from_high < from_low) << np.int32(2 * state)
                        from_low, from_high = low + crossed, high + straight
                        after[(2 * state + 1) * LANES + lane] = min(from_low, from_high)
                        decisions |= np.int32(from_high < from_low) << np.int32(2 * state + 1)
                    came_from[column, lane] = decisions
                cost, after = after, cost
            for lane in range(LANES):
                best = 0
                for state in range(1, states):
                    if cost[state * LANES + lane] < cost[best * LANES + lane]:
                        best = state
                path[lane] = best
            for turn in range(coded):
                at = np.uint64(coded - 1 - turn)
                _step_back(at, model[tables[at], 5], staged, came_from, path, traced, sets, parities, np.int32(half))
            for lane in range(count):
                for column in range(coded):
                    points[first + lane, column] = traced[column, lane]

    return search_few


def _bits_of(flags: NDArray[np.int64]) -> Any:
    """Pack flags into an integer of 32 bits, the first one lowest."""
    return np.int32(sum(int(flag) << number for number, flag in enumerate(flags)))
