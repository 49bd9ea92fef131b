"""Strings of rows to symbols and what they stand for, compiled by numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.compiled import compiled
from embcompress.coding.symbols import ENTRY_BITS, SLOT_BITS, SLOTS, Symbols, Trellis
from embcompress.coding.write_kernels import END, ESCAPE_MAX, PATH, POSITION, RAW_MAX, STRINGS, TARGET, UNIT_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 1 << UNIT_BITS
# Bytes that may follow a string's last one in memory: the decoder reads a unit before it knows that there is none.
PADDING = 2


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
            state_bytes = min(length, 4 - (length & 1))
            state = np.uint64(0)
            for byte in range(state_bytes):
                state = (state << np.uint64(8)) | np.uint64(codes[start + byte])
            lanes[lane], lanes[PATH + lane] = state, np.uint64(0)
            lanes[POSITION + lane], lanes[END + lane] = np.uint64(start + state_bytes), np.uint64(start + length)
            lanes[TARGET + lane] = np.uint64(row * width)
        for column in range(len(columns)):
            pair, raw = np.uint64(2 * tables[column]), raw_bits[column]
            position = np.uint64(columns[column])
            is_plain = column < first_prefixed
            for number in range(count):
                lane = np.uint64(number)
                before = lanes[PATH + lane]
                table = pair + (before & one)
                state = lanes[lane]
                slot = state & last_slot
                if is_plain:
                    index = np.uint64(slots[(table << low_bits) | slot])
                    entry = entries[(table << entry_bits) | index]
                    state = ((entry >> unit_bits) & half) * (state >> low_bits) + slot - (entry & last_slot)
                else:
                    index = np.uint64(prefix_slots[(table << low_bits) | slot])
                    entry = entries[(table << entry_bits) | index]
                    state >>= np.uint64(prefix_lengths[table, index])
                # Without a branch: one in four would be foretold wrongly.
                at = lanes[POSITION + lane]
                lacks = np.uint64((state < least) & (at < lanes[END + lane]))
                unit = np.uint64(codes[at]) | (np.uint64(codes[at + one]) << np.uint64(8))
                state = (state << (lacks << np.uint64(4))) | (unit & (np.uint64(0) - lacks))
                lanes[POSITION + lane] = at + (lacks << one)
                level = np.uint32(entry >> high_bits)
                odd = (entry >> parity_bit) & one
                if entry & has_rest:
                    state, after, symbol, is_level = _read_rest(
                        state, np.int64(lanes[POSITION + lane]), np.int64(lanes[END + lane]), codes, np.int64(index),
                        starts[table], counts[table], raw,
                    )  # fmt: skip
                    lanes[POSITION + lane] = np.uint64(after)
                    odd = np.uint64(symbol & 1)
                    if not is_level:
                        level = np.float32(2 * symbol + np.int64(before & one)).view(np.uint32)
                lanes[lane] = state
                lanes[PATH + lane] = paths[(before << one) | odd]
                decoded[lanes[TARGET + lane] + position] = level


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
