"""The coder's hot loops, compiled by numba: rows of numbers to symbols, symbols to strings, strings to rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numba
import numpy as np

from embcompress.coding.symbols import ENTRY_BITS, INVERSE_BITS, SLOT_BITS, SLOTS, Symbols, Trellis, trellis_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows that go through the trellis side by side, so that every inner loop is contiguous.
LANES = 16
# Rows that are written or decoded side by side: each waits for its own state. 4 take half as long again.
STRINGS = 12
# What is known of each of these strings stands in one array, here: processors lack registers for several.
POSITION, END, PATH, TARGET = (np.uint64(number * STRINGS) for number in range(1, 5))
SOURCE = PATH
NEVER = np.float32(1e30)
# How far the bits of a symbol may draw it towards 0, in steps; further out the tables end, and escapes are cheaper.
PULL = np.float32(1.0)
# Squared error is compared in float32 up to here, in steps; what lies beyond is cut off.
REACH = np.float32(2**23)
# The encoder's state is below 2^32 and, once it has written something, at least 2^16: a unit of a string is two bytes.
UNIT_BITS = 16
LEAST = 1 << UNIT_BITS
# Raw bits that are written at once.
RAW_MAX = 15
# Bits of an escape's length in unary, at most: a damaged string must end.
ESCAPE_MAX = 31
# Bytes that may follow a string's last one in memory: the decoder reads a unit before it knows that there is none.
PADDING = 2
# The most states of a trellis that a processor holds at once.
STATES_FEW = 8

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile without the interpreter's lock, and keep the machine code on disk where there is a place for it."""
    return _compile(function, fastmath=False)


def _compile(function: Function, *, fastmath: bool) -> Function:
    try:
        return numba.njit(nogil=True, fastmath=fastmath, cache=True)(function)  # type: ignore[return-value]
    except RuntimeError:  # neither the package's folder nor a cache of the user's can be written
        return numba.njit(nogil=True, fastmath=fastmath)(function)  # type: ignore[return-value]


def _compiled_loosely(function: Function) -> Function:
    """Compile with sums in any order: what it decides need not be the same on every processor."""
    return _compile(function, fastmath=True)


@dataclass(frozen=True)
class Decoded:
    """Where what the symbols of rows stand for goes.

    Attributes:
        order: (rows,) int64, to which row of `numbers` each belongs.
        columns: (coded,) int64, and to which column.
        numbers: (all rows, all columns) float32, in steps.
    """

    order: NDArray[np.int64]
    columns: NDArray[np.int64]
    numbers: NDArray[np.float32]


@_compiled_loosely
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
            own = model[tables[column]]
            square, reach, shrink = own[3], own[4], own[5]
            draw, draw_max = own[6], own[7]
            for lane in range(LANES):
                value = values[order[first + min(lane, count - 1)], columns[column]]
                lane_values[lane] = min(max(value, -REACH), REACH)
            for subset in range(4):
                bits = own[subset & 1]
                bits_of_zero = own[2] if subset == 0 else bits
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


@cache
def _search_few(states: int) -> Callable[..., None]:
    """Compile the search for a trellis of 4 or 8 states, all of which a processor holds at once.

    The function takes the arguments of `_search_many`. It finds each row's path through the trellis of the least
    squared error + slope * bits (Viterbi's algorithm). Bits and levels are those of the model: bits(v) = own + square *
    v^2 and level(v) = v - draw * v, bounded, which costs 0.1 % of the error beside the tables and needs no look-up.

    Constants of a closure are such of the machine code: loops over states disappear, and LANES rows take a step of
    the trellis in one vector instruction each, 2.8 times as fast as state by state.
    """
    trellis, half = trellis_of(states), states >> 1
    # States j and j + half lead to 2 j and 2 j + 1, by two subsets that differ in the parity of the symbol alone.
    firsts = tuple(int(trellis.subsets[2 * state, 0]) for state in range(half))
    sets = _bits_of(trellis.sets)
    parities = _bits_of(trellis.parities)

    @_compiled_loosely
    def step_back(
        column: np.uint64,
        shrink: np.float32,  # of the column's model
        staged: NDArray[np.float32],  # (coded, LANES), the numbers
        came_from: NDArray[np.int32],  # (coded, LANES), a bit for each state: which predecessor it came from
        path: NDArray[np.int32],  # (LANES,), the states behind the column, then those before it
        traced: NDArray[np.int32],  # (coded, LANES), points, written
    ) -> None:
        """Go back one column along each lane's path, with every integer kept at 32 bits: numba widens what it adds.

        A function of its own: in a loop over falling columns the compiler takes the arrays for overlapping, and goes
        lane by lane, three times as slowly.
        """
        one, two, halved = np.int32(1), np.int32(2), np.int32(half)
        quarter, rounding = np.float32(0.25), np.float32(0.5)
        for lane in range(LANES):
            after = path[lane]
            which = np.int32(np.int32(came_from[column, lane] >> after) & one)
            before = np.int32(np.int32(after >> one) | np.int32(which * halved))
            own = np.int32(np.int32(sets >> before) & one)
            odd = np.int32(np.int32(np.int32(parities >> before) ^ after) & one)
            offset = np.int32(own + np.int32(odd + odd))
            value = min(max(staged[column, lane], -REACH), REACH)
            pulled = value - min(max(value * shrink, -PULL), PULL) - np.float32(offset)
            traced[column, lane] = np.int32(np.int32(np.floor(pulled * quarter + rounding)) << two) + offset
            path[lane] = before

    @_compiled_loosely
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
                step_back(at, model[tables[at], 5], staged, came_from, path, traced)
            for lane in range(count):
                for column in range(coded):
                    points[first + lane, column] = traced[column, lane]

    return search_few


def _bits_of(flags: NDArray[np.int64]) -> Any:
    """Pack flags into an integer of 32 bits, the first one lowest."""
    return np.int32(sum(int(flag) << number for number, flag in enumerate(flags)))


@compiled
def _push(state: int, end: int, buffer: NDArray[np.uint8]) -> tuple[int, int]:
    """Write the low unit of the state before what is written already."""
    end -= 2
    buffer[end] = state & 255
    buffer[end + 1] = (state >> 8) & 255
    return state >> UNIT_BITS, end


@compiled
def _push_raw(number: int, bits: int, state: int, end: int, buffer: NDArray[np.uint8]) -> tuple[int, int]:
    """Encode the low bits of a number as they are: the lowest first, so that the highest are decoded first."""
    while bits > 0:
        some = min(bits, RAW_MAX)
        if state >= (1 << (2 * UNIT_BITS - some)):
            state, end = _push(state, end, buffer)
        state = (state << some) | (number & ((1 << some) - 1))
        number >>= some
        bits -= some
    return state, end


@compiled
def _push_rest(
    symbol: int, raw: int, start: int, last: int, state: int, end: int, buffer: NDArray[np.uint8]
) -> tuple[int, int]:
    """Encode what follows the entry of a symbol: raw bits, and how far it is beyond the first or the last entry."""
    if raw > 0:
        state, end = _push_raw(symbol, raw, state, end, buffer)
    index = (symbol >> raw) - start
    beyond = -index if index <= 0 else index - last
    if beyond >= 0:
        # Elias' gamma code of beyond + 1: its length in unary, then its bits below the highest.
        bits = 0
        while (beyond + 1) >> (bits + 1):
            bits += 1
        state, end = _push_raw(beyond + 1, bits, state, end, buffer)
        state, end = _push_raw(0, 1, state, end, buffer)
        for _ in range(bits):
            state, end = _push_raw(1, 1, state, end, buffer)
    return state, end


@compiled
def _write(
    points: NDArray[np.int32],  # (rows * coded,)
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    entries: NDArray[np.uint64],  # (tables * ENTRIES,)
    inverses: NDArray[np.uint64],  # (tables * ENTRIES,)
    prefix_lengths: NDArray[np.int64],
    prefix_codes: NDArray[np.int64],
    first_prefixed: int,  # the column from which on the prefix code is used
    fillers: NDArray[np.int64],  # (rows,), bits that nothing is told by
    room: int,  # bytes, more than any string takes
    strings: NDArray[np.uint8],  # one behind the other, written
    lengths: NDArray[np.int64],  # (rows,), written
    order: NDArray[np.int64],  # (rows,), where each row's numbers belong in `decoded`
    columns: NDArray[np.int64],  # (coded,), likewise
    decoded: NDArray[np.uint32],  # (all rows * width,), the bits of float32, in steps; written if not empty
    width: int,
) -> tuple[int, int]:
    """Write each row's symbols into a string of its own, by an asymmetric numeral system, STRINGS of them side by side.

    Return how many rows were written before `strings` was full, and the bytes of them.

    Symbols are encoded from the last to the first and decoded the other way round. The state starts at 0 and ends in as
    few bytes as hold it: it is told from the length how many these are. The first symbols that are encoded are in a
    prefix code, which a small state holds in as many bits as it takes, so that a string is as long as its bits ask for,
    rounded up to bytes.

    Source: Duda, Asymmetric numeral systems (2013), arXiv:1311.2540, section 3 (range variant).
    """
    rows, coded, one, two = len(fillers), len(tables), np.uint64(1), np.uint64(2)
    half, last_slot, entry_bits = np.uint64(0xFFFF), np.uint64(SLOTS - 1), np.uint64(ENTRY_BITS)
    unit_bits, high_bits, is_told = np.uint64(UNIT_BITS), np.uint64(32), len(decoded) > 0
    full_bits, inverse_bits, slots = np.uint64(2 * UNIT_BITS - SLOT_BITS), np.uint64(INVERSE_BITS), np.uint64(SLOTS)
    has_rest = np.uint64(1 << 15)
    buffer = np.empty(STRINGS * room, np.uint8)
    lanes = np.zeros(5 * STRINGS, np.uint64)  # states first
    total = 0
    for first in range(0, rows, STRINGS):
        count = min(STRINGS, rows - first)
        if len(strings) - total < count * room:
            return first, total
        for number in range(count):
            lane = np.uint64(number)
            state, end = 0, (number + 1) * room
            if fillers[first + number] > 0:
                state, end = _push_raw(0, fillers[first + number] - 1, 1, end, buffer)
            lanes[lane], lanes[END + lane] = np.uint64(state), np.uint64(end)
            lanes[SOURCE + lane] = np.uint64((first + number) * coded)
            if is_told:
                lanes[TARGET + lane] = np.uint64(order[first + number] * width)
        for turn in range(coded):
            column = np.uint64(coded - 1 - turn)
            raw, is_plain, place = raw_bits[column], coded - 1 - turn < first_prefixed, np.uint64(columns[column])
            pair = 2 * tables[column]
            for number in range(count):
                lane = np.uint64(number)
                point = np.int64(points[lanes[SOURCE + lane] + column])
                table, symbol = np.uint64(pair + (point & 1)), point >> 1
                start, last = starts[table], counts[table] - 1
                index = np.uint64(min(max((symbol >> raw) - start, 0), last))
                entry_number = (table << entry_bits) | index
                entry = entries[entry_number]
                level = np.uint32(entry >> high_bits)
                if entry & has_rest:
                    after, end = _push_rest(
                        symbol, raw, start, last, np.int64(lanes[lane]), np.int64(lanes[END + lane]), buffer
                    )
                    lanes[lane], lanes[END + lane] = np.uint64(after), np.uint64(end)
                    if raw > 0 or symbol < start or symbol > start + last:
                        level = np.float32(point).view(np.uint32)
                if is_told:
                    decoded[lanes[TARGET + lane] + place] = level
                if not is_plain:
                    after, end = _push_raw(
                        prefix_codes[table, index], prefix_lengths[table, index], np.int64(lanes[lane]),
                        np.int64(lanes[END + lane]), buffer,
                    )  # fmt: skip
                    lanes[lane], lanes[END + lane] = np.uint64(after), np.uint64(end)
                    continue
                state, at, frequency = lanes[lane], lanes[END + lane], (entry >> unit_bits) & half
                # Without a branch, as in `_read`.
                is_full = np.uint64(state >= frequency << full_bits)
                buffer[at - two] = state & np.uint64(255)
                buffer[at - one] = (state >> np.uint64(8)) & np.uint64(255)
                lanes[END + lane] = at - (is_full << one)
                state >>= is_full << np.uint64(4)
                share = (state * inverses[entry_number]) >> inverse_bits
                lanes[lane] = share * (slots - frequency) + state + (entry & last_slot)
        for number in range(count):
            lane = np.uint64(number)
            state, end = np.int64(lanes[lane]), np.int64(lanes[END + lane])
            while state:
                end -= 1
                buffer[end] = state & 255
                state >>= 8
            length = (number + 1) * room - end
            for byte in range(length):
                strings[total + byte] = buffer[end + byte]
            lengths[first + number] = length
            total += length
    return rows, total


@compiled
def _pull_raw(
    bits: int, state: np.uint64, position: int, end: int, codes: NDArray[np.uint8]
) -> tuple[int, np.uint64, int]:
    """Decode so many raw bits, and read what the state then lacks."""
    number = 0
    while bits > 0:
        # The encoder wrote the highest ones last: whole pieces follow them.
        some = (bits - 1) % RAW_MAX + 1
        number = (number << some) | np.int64(state & np.uint64((1 << some) - 1))
        state >>= np.uint64(some)
        if state < np.uint64(LEAST) and position < end:
            unit = np.uint64(codes[position]) | (np.uint64(codes[position + 1]) << np.uint64(8))
            state = (state << np.uint64(UNIT_BITS)) | unit
            position += 2
        bits -= some
    return number, state, position


@compiled
def _read_rest(
    state: np.uint64,
    position: int,
    end: int,
    codes: NDArray[np.uint8],
    index: int,
    start: int,
    count: int,
    raw: int,
) -> tuple[np.uint64, int, int, bool]:
    """Decode what follows an escape, and raw bits; also tell whether the symbol has a level in the table."""
    symbol, beyond = start + index, 0
    if index in (0, count - 1):
        bits = 0
        is_more, state, position = _pull_raw(1, state, position, end, codes)
        while is_more and bits < ESCAPE_MAX:
            bits += 1
            is_more, state, position = _pull_raw(1, state, position, end, codes)
        low, state, position = _pull_raw(bits, state, position, end, codes)
        beyond = (1 << bits) + low - 1
        symbol += beyond if index else -beyond
    if raw:
        low, state, position = _pull_raw(raw, state, position, end, codes)
        symbol = (symbol << raw) + low
    return state, position, symbol, beyond == 0 and raw == 0


@compiled
def _read(
    codes: NDArray[np.uint8],  # with PADDING bytes behind the last string
    positions: NDArray[np.int64],  # (rows,), where each row's string starts
    lengths: NDArray[np.int64],  # (rows,), its bytes
    order: NDArray[np.int64],  # which rows are decoded
    columns: NDArray[np.int64],  # (coded,)
    tables: NDArray[np.int64],  # (coded,)
    raw_bits: NDArray[np.int64],  # (coded,)
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    entries: NDArray[np.uint64],  # (tables * ENTRIES,)
    slots: NDArray[np.uint8],  # (tables * SLOTS,)
    prefix_lengths: NDArray[np.int64],  # (tables, entries)
    prefix_slots: NDArray[np.uint8],  # (tables * SLOTS,)
    first_prefixed: int,
    paths: NDArray[np.uint64],  # (4 * states,), of `paths_of`
    decoded: NDArray[np.uint32],  # (rows * width,), the bits of float32, in steps; written
    width: int,  # all columns
) -> None:
    """Decode strings, STRINGS side by side."""
    one, low_bits, unit_bits = np.uint64(1), np.uint64(SLOT_BITS), np.uint64(UNIT_BITS)
    entry_bits, high_bits = np.uint64(ENTRY_BITS), np.uint64(32)
    last_slot, least, half = np.uint64(SLOTS - 1), np.uint64(LEAST), np.uint64(0xFFFF)
    has_rest, parity_bit = np.uint64(1 << 15), np.uint64(14)
    lanes = np.empty(5 * STRINGS, np.uint64)  # states first
    for first in range(0, len(order), STRINGS):
        count = min(STRINGS, len(order) - first)
        for number in range(count):
            lane, row = np.uint64(number), order[first + number]
            start, length = positions[row], lengths[row]
            held = min(length, 4 - (length & 1))
            own = np.uint64(0)
            for byte in range(held):
                own = (own << np.uint64(8)) | np.uint64(codes[start + byte])
            lanes[lane], lanes[PATH + lane] = own, np.uint64(0)
            lanes[POSITION + lane], lanes[END + lane] = np.uint64(start + held), np.uint64(start + length)
            lanes[TARGET + lane] = np.uint64(row * width)
        for column in range(len(columns)):
            pair, raw = np.uint64(2 * tables[column]), raw_bits[column]
            place = np.uint64(columns[column])
            is_plain = column < first_prefixed
            for number in range(count):
                lane = np.uint64(number)
                before = lanes[PATH + lane]
                table = pair + (before & one)
                own = lanes[lane]
                slot = own & last_slot
                if is_plain:
                    index = np.uint64(slots[(table << low_bits) | slot])
                    entry = entries[(table << entry_bits) | index]
                    own = ((entry >> unit_bits) & half) * (own >> low_bits) + slot - (entry & last_slot)
                else:
                    index = np.uint64(prefix_slots[(table << low_bits) | slot])
                    entry = entries[(table << entry_bits) | index]
                    own >>= np.uint64(prefix_lengths[table, index])
                # Without a branch: one in four would be foretold wrongly.
                at = lanes[POSITION + lane]
                lacks = np.uint64((own < least) & (at < lanes[END + lane]))
                unit = np.uint64(codes[at]) | (np.uint64(codes[at + one]) << np.uint64(8))
                own = (own << (lacks << np.uint64(4))) | (unit & (np.uint64(0) - lacks))
                lanes[POSITION + lane] = at + (lacks << one)
                level = np.uint32(entry >> high_bits)
                odd = (entry >> parity_bit) & one
                if entry & has_rest:
                    own, after, symbol, is_level = _read_rest(
                        own, np.int64(lanes[POSITION + lane]), np.int64(lanes[END + lane]), codes, np.int64(index),
                        starts[table], counts[table], raw,
                    )  # fmt: skip
                    lanes[POSITION + lane] = np.uint64(after)
                    odd = np.uint64(symbol & 1)
                    if not is_level:
                        level = np.float32(2 * symbol + np.int64(before & one)).view(np.uint32)
                lanes[lane] = own
                lanes[PATH + lane] = paths[(before << one) | odd]
                decoded[lanes[TARGET + lane] + place] = level


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
    found = np.empty((len(order), len(columns)), np.int32)
    own = np.full(len(order), slopes, np.float32)
    if trellis.states <= STATES_FEW:
        _search_few(trellis.states)(values, order, columns, tables, symbols.model, own, found)
    else:
        _search_many(values, order, columns, tables, symbols.model, own, trellis.subsets, found)
    return found


@compiled
def _count_bits(
    points: NDArray[np.int32],  # (rows, coded)
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    costs: NDArray[np.float32],  # (tables, entries), bits of each entry
    prefix_lengths: NDArray[np.int64],
    first_prefixed: int,
    totals: NDArray[np.float64],  # (rows,), written
) -> None:
    """Count the bits that the strings of points take, but for rounding to bytes."""
    for row in range(len(points)):
        total = 0.0
        for column in range(points.shape[1]):
            point, raw = np.int64(points[row, column]), raw_bits[column]
            table = 2 * tables[column] + (point & 1)
            index, last = (point >> (raw + 1)) - starts[table], counts[table] - 1
            beyond = -index if index <= 0 else index - last
            index = min(max(index, 0), last)
            total += raw
            total += prefix_lengths[table, index] if column >= first_prefixed else costs[table, index]
            if beyond >= 0:
                total += 1
                while beyond > 0:
                    total += 2
                    beyond = (beyond - 1) >> 1
        totals[row] = total


def count_bits(
    found: NDArray[np.int32],
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    *,
    prefixed: int,
    symbols: Symbols,
) -> NDArray[np.float64]:
    """Count the bits of each row's string, (rows,), but for rounding to bytes."""
    totals = np.empty(len(found), np.float64)
    _count_bits(
        found, tables, raw_bits, symbols.starts, symbols.counts, symbols.costs, symbols.prefix_lengths,
        found.shape[1] - prefixed, totals,
    )  # fmt: skip
    return totals


def write_strings(
    found: NDArray[np.int32],
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    *,
    prefixed: int,
    symbols: Symbols,
    fillers: NDArray[np.int64] | None = None,
    decoded: Decoded | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Write rows, as `search` finds them, into strings, one behind the other; also tell the bytes of each.

    A string with fillers is longer by so many bits, which the decoder leaves unread.
    """
    rows, coded = found.shape
    # A symbol takes SLOT_BITS, twice ESCAPE_MAX and its raw bits at most.
    room = int((SLOT_BITS + 2 * ESCAPE_MAX + 2) * coded + raw_bits.sum()) // 8 + 16
    own_fillers = np.zeros(rows, np.int64) if fillers is None else fillers
    room += int(own_fillers.max(initial=0)) // 8 + 1
    typical = int(coded // 2 + raw_bits.sum() // 8 + 16)
    lengths = np.empty(rows, np.int64)
    strings = np.empty(rows * typical + STRINGS * room, np.uint8)
    if decoded is None:
        decoded = Decoded(np.empty(0, np.int64), np.zeros(coded, np.int64), np.empty((0, 0), np.float32))
    before = (
        tables, raw_bits, symbols.starts, symbols.counts, symbols.entries.ravel(), symbols.inverses.ravel(),
        symbols.prefix_lengths, symbols.prefix_codes, coded - prefixed,
    )  # fmt: skip
    numbers = decoded.numbers.view(np.uint32)
    total, first = 0, 0
    while first < rows:
        if len(strings) - total < STRINGS * room:
            more = np.empty((rows - first) * (total // first + 1) + STRINGS * room, np.uint8)
            strings = np.concatenate([strings[:total], more])
        written, nbytes = _write(
            found[first:].ravel(), *before, own_fillers[first:], room, strings[total:], lengths[first:],
            decoded.order[first:], decoded.columns, numbers.ravel(), numbers.shape[1],
        )  # fmt: skip
        first += written
        total += nbytes
    return strings[:total], lengths


def read_strings(
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    order: NDArray[np.int64],
    columns: NDArray[np.int64],
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    *,
    prefixed: int,
    symbols: Symbols,
    trellis: Trellis,
    decoded: NDArray[np.float32],
) -> None:
    """Decode the strings of rows into `decoded`, in steps; the arguments are those of `_read`."""
    _read(
        codes, positions, lengths, order, columns, tables, raw_bits, symbols.starts, symbols.counts,
        symbols.entries.ravel(), symbols.slots.ravel(), symbols.prefix_lengths, symbols.prefix_slots.ravel(),
        len(columns) - prefixed, trellis.paths, decoded.view(np.uint32).ravel(), decoded.shape[1],
    )  # fmt: skip


def in_threads(tasks: list[Callable[[], None]], *, threads: int) -> None:
    """Run tasks over so many threads of Python: numba's own abort the process when two threads use them at once."""
    if min(threads, len(tasks)) <= 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(min(threads, len(tasks))) as pool:
        for _ in pool.map(lambda task: task(), tasks):
            pass


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
def _place(
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


def place(
    parts: NDArray[np.uint8],
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    positions: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Copy strings that stand one behind the other in an order of rows to where each row's belongs."""
    _place(parts, order, lengths, positions, out)
