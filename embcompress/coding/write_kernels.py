"""Symbols of rows to strings, compiled by numba."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.compiled import compiled
from embcompress.coding.symbols import ENTRY_BITS, INVERSE_BITS, SLOT_BITS, SLOTS, Symbols

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows that are written or decoded side by side: each waits for its own state. 4 take half as long again.
STRINGS = 12
# What is known of each of these strings stands in one array, here: processors lack registers for several.
POSITION, END, PATH, TARGET = (np.uint64(number * STRINGS) for number in range(1, 5))
SOURCE = PATH
# The encoder's state is below 2^32 and, once it has written something, at least 2^16: a unit of a string is two bytes.
UNIT_BITS = 16
# Raw bits that are written at once.
RAW_MAX = 15
# Bits of an escape's length in unary, at most: a damaged string must end.
ESCAPE_MAX = 31


@dataclass(frozen=True)
class Decoded:
    """The arrays that the values of the symbols of rows are written to.

    Attributes:
        order: (rows,) int64, to which row of `numbers` each belongs.
        columns: (coded,) int64, and to which column.
        numbers: (all rows, all columns) float32, in steps.
    """

    order: NDArray[np.int64]
    columns: NDArray[np.int64]
    numbers: NDArray[np.float32]


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

    Long, as functions cut out of it would take their arrays through memory.

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
            raw, is_plain, position = raw_bits[column], coded - 1 - turn < first_prefixed, np.uint64(columns[column])
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
                    decoded[lanes[TARGET + lane] + position] = level
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


def write_strings(
    points: NDArray[np.int32],
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
    rows, coded = points.shape
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
            points[first:].ravel(), *before, own_fillers[first:], room, strings[total:], lengths[first:],
            decoded.order[first:], decoded.columns, numbers.ravel(), numbers.shape[1],
        )  # fmt: skip
        first += written
        total += nbytes
    return strings[:total], lengths


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
    points: NDArray[np.int32],
    tables: NDArray[np.int64],
    raw_bits: NDArray[np.int64],
    *,
    prefixed: int,
    symbols: Symbols,
) -> NDArray[np.float64]:
    """Count the bits of each row's string, (rows,), but for rounding to bytes."""
    totals = np.empty(len(points), np.float64)
    _count_bits(
        points, tables, raw_bits, symbols.starts, symbols.counts, symbols.costs, symbols.prefix_lengths,
        points.shape[1] - prefixed, totals,
    )  # fmt: skip
    return totals
