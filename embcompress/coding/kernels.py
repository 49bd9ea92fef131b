"""The coder's hot loops, compiled by numba: rows of numbers to symbols, symbols to strings, strings to rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numba
import numpy as np

from embcompress.coding.symbols import ENTRY_BITS, SLOT_BITS, SLOTS, Symbols, Trellis

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows that go through the trellis side by side, so that every inner loop is contiguous.
LANES = 16
# Rows that are decoded side by side: each waits for its own string. 4 take half as long again, 16 gain nothing.
STRINGS = 12
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


@_compiled_loosely
def _search(
    values: NDArray[np.float32],  # (rows, columns), in steps
    order: NDArray[np.int64],  # (rows,), which rows are searched, in this order
    columns: NDArray[np.int64],  # (coded,), which columns, in the order of the string
    tables: NDArray[np.int64],  # (coded,), class table of each
    model: NDArray[np.float32],  # (class tables, MODEL)
    slopes: NDArray[np.float32],  # (len(order),), of each row
    subsets: NDArray[np.int64],  # (states, 2)
    symbols: NDArray[np.int32],  # (len(order), coded), written
) -> None:
    """Find each row's path through the trellis of the least squared error + slope * bits (Viterbi's algorithm).

    Bits and levels are those of the model: bits(v) = own + square * v^2 and level(v) = v - draw * v, bounded, which
    costs 0.1 % of the error beside the tables and needs no look-up.
    """
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
                symbols[first + lane, column] = (np.int32(nearest[column, subset, lane]) - np.int32(subset & 1)) >> 1
                state = (state >> 1) + which_one * half


@compiled
def _settle(
    symbols: NDArray[np.int32],  # (len(order), coded)
    order: NDArray[np.int64],
    columns: NDArray[np.int64],
    tables: NDArray[np.int64],  # (coded,)
    raw_bits: NDArray[np.int64],  # (coded,)
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    levels: NDArray[np.float32],
    sets: NDArray[np.int64],
    parities: NDArray[np.int64],
    decoded: NDArray[np.float32],  # (rows, all columns), written
) -> None:
    """Tell what symbols decode to, in steps."""
    states = len(sets)
    for number in range(len(symbols)):
        state = 0
        for column in range(len(columns)):
            symbol, raw = symbols[number, column], raw_bits[column]
            which = sets[state]
            table = 2 * tables[column] + which
            index = symbol - starts[table]
            if raw == 0 and 0 <= index < counts[table]:
                level = levels[table, index]
            else:
                level = np.float32(2 * np.int64(symbol) + which)
            decoded[order[number], columns[column]] = level
            state = ((state << 1) | ((symbol & 1) ^ parities[state])) & (states - 1)


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
def _write(
    symbols: NDArray[np.int32],  # (rows, coded)
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    frequencies: NDArray[np.int64],
    cumulative: NDArray[np.int64],
    prefix_lengths: NDArray[np.int64],
    prefix_codes: NDArray[np.int64],
    first_prefixed: int,  # the column from which on the prefix code is used
    fillers: NDArray[np.int64],  # (rows,), bits that nothing is told by
    sets: NDArray[np.int64],
    parities: NDArray[np.int64],
    buffer: NDArray[np.uint8],  # longer than any string
    strings: NDArray[np.uint8],  # one behind the other, written
    lengths: NDArray[np.int64],  # (rows,), written
) -> int:
    """Write each row's symbols into a string of its own, by an asymmetric numeral system; return the bytes of all.

    Symbols are encoded from the last to the first and decoded the other way round. The state starts at 0 and ends in as
    few bytes as hold it: it is told from the length how many these are. The first symbols that are encoded are in a
    prefix code, which a small state holds in as many bits as it takes, so that a string is as long as its bits ask for,
    rounded up to bytes.

    Source: Duda, Asymmetric numeral systems (2013), arXiv:1311.2540, section 3 (range variant).
    """
    coded = symbols.shape[1]
    states = len(sets)
    own_tables = np.empty(coded, np.int64)
    total = 0
    for row in range(len(symbols)):
        trellis_state = 0
        for column in range(coded):
            own_tables[column] = 2 * tables[column] + sets[trellis_state]
            odd = np.int64(symbols[row, column] & 1)
            trellis_state = ((trellis_state << 1) | (odd ^ parities[trellis_state])) & (states - 1)
        state, end = 0, len(buffer)
        if fillers[row] > 0:
            state, end = _push_raw(0, fillers[row] - 1, 1, end, buffer)
        for column in range(coded - 1, -1, -1):
            table, raw, symbol = own_tables[column], raw_bits[column], np.int64(symbols[row, column])
            if raw > 0:
                state, end = _push_raw(symbol, raw, state, end, buffer)
            index = (symbol >> raw) - starts[table]
            last = counts[table] - 1
            beyond = -index if index <= 0 else index - last
            if beyond >= 0:
                # Elias' gamma code of beyond + 1: its length in unary, then its bits below the highest.
                index = min(max(index, 0), last)
                bits = 0
                while (beyond + 1) >> (bits + 1):
                    bits += 1
                state, end = _push_raw(beyond + 1, bits, state, end, buffer)
                state, end = _push_raw(0, 1, state, end, buffer)
                for _ in range(bits):
                    state, end = _push_raw(1, 1, state, end, buffer)
            if column >= first_prefixed:
                state, end = _push_raw(prefix_codes[table, index], prefix_lengths[table, index], state, end, buffer)
                continue
            frequency = frequencies[table, index]
            if state >= frequency << (2 * UNIT_BITS - SLOT_BITS):
                state, end = _push(state, end, buffer)
            share = np.int64(np.uint32(state) // np.uint32(frequency))
            state = (share << SLOT_BITS) + (state - share * frequency) + cumulative[table, index]
        while state:
            end -= 1
            buffer[end] = state & 255
            state >>= 8
        lengths[row] = len(buffer) - end
        strings[total : total + lengths[row]] = buffer[end:]
        total += lengths[row]
    return total


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
    state = np.empty(STRINGS, np.uint64)
    position = np.empty(STRINGS, np.uint64)
    end = np.empty(STRINGS, np.uint64)
    path = np.empty(STRINGS, np.uint64)
    target = np.empty(STRINGS, np.uint64)
    for first in range(0, len(order), STRINGS):
        count = min(STRINGS, len(order) - first)
        for lane in range(count):
            row = order[first + lane]
            start, length = positions[row], lengths[row]
            held = min(length, 4 - (length & 1))
            own = np.uint64(0)
            for byte in range(held):
                own = (own << np.uint64(8)) | np.uint64(codes[start + byte])
            state[lane], path[lane] = own, np.uint64(0)
            position[lane], end[lane] = np.uint64(start + held), np.uint64(start + length)
            target[lane] = np.uint64(row * width)
        for column in range(len(columns)):
            pair, raw = np.uint64(2 * tables[column]), raw_bits[column]
            place = np.uint64(columns[column])
            is_plain = column < first_prefixed
            for lane in range(count):
                before = path[lane]
                table = pair + (before & one)
                own = state[lane]
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
                at = position[lane]
                lacks = np.uint64((own < least) & (at < end[lane]))
                unit = np.uint64(codes[at]) | (np.uint64(codes[at + one]) << np.uint64(8))
                own = (own << (lacks << np.uint64(4))) | (unit & (np.uint64(0) - lacks))
                position[lane] = at + (lacks << one)
                level = np.uint32(entry >> high_bits)
                odd = (entry >> parity_bit) & one
                if entry & has_rest:
                    own, after, symbol, is_level = _read_rest(
                        own, np.int64(position[lane]), np.int64(end[lane]), codes, np.int64(index),
                        starts[table], counts[table], raw,
                    )  # fmt: skip
                    position[lane] = np.uint64(after)
                    odd = np.uint64(symbol & 1)
                    if not is_level:
                        level = np.float32(2 * symbol + np.int64(before & one)).view(np.uint32)
                state[lane] = own
                path[lane] = paths[(before << one) | odd]
                decoded[target[lane] + place] = level


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
    """Find the symbols of rows, (len(order), coded); the arguments are those of `_search`."""
    found = np.empty((len(order), len(columns)), np.int32)
    own = np.full(len(order), slopes, np.float32)
    _search(values, order, columns, tables, symbols.model, own, trellis.subsets, found)
    return found


def settle(
    found: NDArray[np.int32],
    order: NDArray[np.int64],
    columns: NDArray[np.int64],
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    *,
    symbols: Symbols,
    trellis: Trellis,
    decoded: NDArray[np.float32],
) -> None:
    """Write into `decoded` what symbols stand for, in steps."""
    _settle(
        found, order, columns, tables, raw_bits, symbols.starts, symbols.counts, symbols.levels,
        trellis.sets, trellis.parities, decoded,
    )  # fmt: skip


@compiled
def _count_bits(
    symbols: NDArray[np.int32],  # (rows, coded)
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    costs: NDArray[np.float32],  # (tables, entries), bits of each entry
    prefix_lengths: NDArray[np.int64],
    first_prefixed: int,
    sets: NDArray[np.int64],
    parities: NDArray[np.int64],
    totals: NDArray[np.float64],  # (rows,), written
) -> None:
    """Count the bits that the strings of symbols take, but for rounding to bytes."""
    states = len(sets)
    for row in range(len(symbols)):
        state, total = 0, 0.0
        for column in range(symbols.shape[1]):
            symbol, raw = np.int64(symbols[row, column]), raw_bits[column]
            table = 2 * tables[column] + sets[state]
            index, last = (symbol >> raw) - starts[table], counts[table] - 1
            beyond = -index if index <= 0 else index - last
            index = min(max(index, 0), last)
            total += raw
            total += prefix_lengths[table, index] if column >= first_prefixed else costs[table, index]
            if beyond >= 0:
                total += 1
                while beyond > 0:
                    total += 2
                    beyond = (beyond - 1) >> 1
            state = ((state << 1) | ((symbol & 1) ^ parities[state])) & (states - 1)
        totals[row] = total


def count_bits(
    found: NDArray[np.int32],
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    *,
    prefixed: int,
    symbols: Symbols,
    trellis: Trellis,
) -> NDArray[np.float64]:
    """Count the bits of each row's string, (rows,), but for rounding to bytes."""
    totals = np.empty(len(found), np.float64)
    _count_bits(
        found, tables, raw_bits, symbols.starts, symbols.counts, symbols.costs, symbols.prefix_lengths,
        found.shape[1] - prefixed, trellis.sets, trellis.parities, totals,
    )  # fmt: skip
    return totals


def write_strings(
    found: NDArray[np.int32],
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    *,
    prefixed: int,
    symbols: Symbols,
    trellis: Trellis,
    fillers: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Write the symbols of rows into strings, one behind the other; also tell the bytes of each.

    A string with fillers is longer by so many bits, which the decoder leaves unread.
    """
    rows, coded = found.shape
    # A symbol takes SLOT_BITS, twice ESCAPE_MAX and its raw bits at most.
    room = int((SLOT_BITS + 2 * ESCAPE_MAX + 2) * coded + raw_bits.sum()) // 8 + 16
    own_fillers = np.zeros(rows, np.int64) if fillers is None else fillers
    room += int(own_fillers.max(initial=0)) // 8 + 1
    typical = int(3 * coded + raw_bits.sum() // 8 + 16)
    lengths = np.empty(rows, np.int64)
    buffer = np.empty(room, np.uint8)
    strings = np.empty(rows * typical, np.uint8)
    before = (
        tables, raw_bits, symbols.starts, symbols.counts, symbols.frequencies, symbols.cumulative,
        symbols.prefix_lengths, symbols.prefix_codes, coded - prefixed,
    )  # fmt: skip
    behind = (trellis.sets, trellis.parities, buffer)
    total, first = 0, 0
    while first < rows:
        if len(strings) - total < room:
            strings = np.concatenate([strings[:total], np.empty(max(room, (rows - first) * typical), np.uint8)])
        last = min(rows, first + max(1, (len(strings) - total) // room))
        own = own_fillers[first:last]
        total += _write(found[first:last], *before, own, *behind, strings[total:], lengths[first:last])
        first = last
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
