"""Strings of rows to symbols and what they stand for, compiled by numba."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.compiled import compiled
from embcompress.coding.lanes import (
    ADDS_SLOT,
    FACTOR_SHIFT,
    HAS_REST,
    IS_ESCAPE,
    KEPT_ODD,
    KEPT_SET,
    LANES,
    PAIR_BITS,
    SHIFT_SHIFT,
    copy_bytes,
    step_alike,
    step_mixed,
    step_raw,
    write_rows,
)
from embcompress.coding.symbols import ENTRY_BITS, SLOT_BITS, SLOTS, TABLES, TRAINED, Trellis, load_symbols
from embcompress.coding.write_kernels import ESCAPE_MAX, RAW_MAX, UNIT_BITS

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


# Rows that are decoded side by side: what they share of the tables stays in the first cache, and so do their numbers,
# at most so many.
GROUPS_AT_ONCE = 4
NUMBERS_AT_ONCE = 2**15
# Numbers of 32 bits that a line of the cache holds: what lies across two of them is slow to load after a store.
LINE = 16
# The pair of tables of steps that decode nothing, behind those of both codes.
NO_PAIR = 4 * TABLES


@compiled
def _aligned(count: int) -> NDArray[np.uint32]:
    """Make an array that begins with a line of the cache."""
    whole = np.zeros(count + LINE, np.uint32)
    first = ((-whole.ctypes.data) % (4 * LINE)) // 4
    return whole[first : first + count]


@compiled
def _sort(layouts: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the order of rows by their layout, of equal ones as they come."""
    order = np.empty(len(layouts), np.int64)
    ends = np.zeros(count + 1, np.int64)
    for layout in layouts:
        ends[layout + 1] += 1
    for layout in range(count):
        ends[layout + 1] += ends[layout]
    for row in range(len(layouts)):
        order[ends[layouts[row]]] = row
        ends[layouts[row]] += 1
    return order


@compiled
def _finish(
    first: int,
    states: NDArray[np.uint32],
    places: NDArray[np.uint32],
    paths: NDArray[np.uint32],
    ends: NDArray[np.uint32],
    steps: NDArray[np.uint32],
    kept: NDArray[np.uint32],
    strings: NDArray[np.uint8],
    step_codes: NDArray[np.uint32],
    columns: NDArray[np.int32],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    tile: NDArray[np.float32],
    step: int,
    offset: int,
    stride: int,
    forward: np.uint32,
) -> None:
    """Decode what follows escapes and raw bits in LANES rows, after a step of theirs."""
    for lane in range(first, first + LANES):
        if not (kept[lane] >> HAS_REST) & 1:
            continue
        place, own_set = np.int64(steps[lane]) + step, np.int64((kept[lane] >> KEPT_SET) & 1)
        code = np.int64(step_codes[place])
        table, raw = (code & ((1 << PAIR_BITS) - 1)) + own_set, code >> PAIR_BITS
        state, position, symbol, is_level = _read_rest(
            np.uint64(states[lane]), np.int64(places[lane]), np.int64(ends[lane]), strings,
            np.int64(kept[lane]) & ((1 << ENTRY_BITS) - 1), starts[table], counts[table], raw,
        )  # fmt: skip
        states[lane], places[lane] = np.uint32(state), np.uint32(position)
        if (symbol ^ np.int64(kept[lane] >> KEPT_ODD)) & 1:
            paths[lane] ^= forward
        if not is_level:
            tile[columns[place] * stride + offset + lane] = np.float32(2 * symbol + own_set)


@compiled
def _begin(
    own_rows: NDArray[np.int64],  # (rows of the block,)
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    layouts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    width: int,
    states: NDArray[np.uint32],
    places: NDArray[np.uint32],
    paths: NDArray[np.uint32],
    ends: NDArray[np.uint32],
    steps: NDArray[np.uint32],
    group_sizes: NDArray[np.int64],
    is_alike: NDArray[np.bool_],
    strings: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Begin to decode rows: their strings are copied to one place, which stays in the cache, and is returned."""
    total = 0
    for row in own_rows:
        total += lengths[row]
    if total + PADDING > len(strings):
        strings = np.empty(2 * total + PADDING, np.uint8)
    count, place = len(own_rows), 0
    for number in range(count):
        row = own_rows[number]
        copy_bytes(codes, positions[row], strings, place, lengths[row])
        places[number], place = np.uint32(place), place + lengths[row]
    strings[total], strings[total + 1] = 0, 0
    # Lanes beyond the last row decode it again.
    lanes = (count + LANES - 1) // LANES * LANES
    for lane in range(lanes):
        row = own_rows[min(lane, count - 1)]
        start, length = np.int64(places[min(lane, count - 1)]), lengths[row]
        state_bytes = min(length, 4 - (length & 1))
        if lane < count:
            state = 0
            for byte in range(state_bytes):
                state = (state << 8) | np.int64(strings[start + byte])
            ends[lane], places[lane] = np.uint32(start + length), np.uint32(start + state_bytes)
            states[lane] = np.uint32(state)
        else:
            states[lane], places[lane], ends[lane] = states[count - 1], places[count - 1], ends[count - 1]
        paths[lane], steps[lane] = 0, np.uint32(layouts[row] * width)
    for group in range(lanes // LANES):
        first, size = group * LANES, 0
        for lane in range(first, first + LANES):
            size = max(size, sizes[np.int64(steps[lane]) // width] if width else 0)
        group_sizes[group] = size
        is_alike[group] = steps[first] == steps[first + LANES - 1]
    return strings


@compiled
def _decode(
    codes: NDArray[np.uint8],  # with PADDING bytes behind the last string
    positions: NDArray[np.int64],  # (rows,), where each row's string starts
    lengths: NDArray[np.int64],  # (rows,), its bytes
    layouts: NDArray[np.int64],  # (rows,)
    factors: NDArray[np.float32],  # (rows,)
    targets: NDArray[np.int64],  # (rows,), where in `decoded` each belongs; where there is a stride they are not asked
    order: NDArray[np.int64],  # of the rows that are decoded; rows of one layout behind each other
    step_codes: NDArray[np.uint32],  # (layouts * width,)
    columns: NDArray[np.int32],  # (layouts * width,)
    sizes: NDArray[np.int64],  # (layouts,), steps that decode something
    slots: NDArray[np.uint8],
    entries: NDArray[np.uint64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    forward: np.uint32,
    back: np.uint32,
    width: int,
    profiles: NDArray[np.int64],  # (rows,)
    scales: NDArray[np.float32],  # (width,)
    centers: NDArray[np.float32],  # (profiles + 1) * width, the first one zeros
    decoded: NDArray[np.float32],  # written
    column_stride: int,
) -> None:
    """Decode strings, LANES side by side: rows of one layout where there are as many, else each by its own.

    Without a stride rows are written, (all rows * width,), finished. With one, columns, so far apart, of the numbers of
    all rows in their order: neither factors nor scales nor centers are in them, and up to LANES - 1 more are written.
    """
    rows = len(order)
    most = min(GROUPS_AT_ONCE, max(1, NUMBERS_AT_ONCE // (LANES * max(1, width))))
    at_once = LANES * min(most, (rows + LANES - 1) // LANES)
    states, places, paths, ends = _aligned(at_once), _aligned(at_once), _aligned(at_once), _aligned(at_once)
    steps, kept = _aligned(at_once), _aligned(at_once)
    group_sizes, is_alike = np.empty(at_once // LANES, np.int64), np.empty(at_once // LANES, np.bool_)
    strings = np.empty(0, np.uint8)
    stride, tile = (column_stride, decoded) if column_stride else (at_once, _aligned(width * at_once).view(np.float32))
    for first in range(0, rows, at_once):
        own_rows = order[first : first + at_once]
        strings = _begin(
            own_rows, codes, positions, lengths, layouts, sizes, width, states, places, paths, ends, steps, group_sizes,
            is_alike, strings,
        )  # fmt: skip
        groups = (len(own_rows) + LANES - 1) // LANES
        offset = first if column_stride else 0
        for step in range(group_sizes[:groups].max()):
            for group in range(groups):
                lane = group * LANES
                if step >= group_sizes[group]:
                    continue
                if is_alike[group]:
                    place = np.int64(steps[lane]) + step
                    code, at = step_codes[place], np.int64(columns[place]) * stride + offset
                    if 0 < code >> np.uint32(PAIR_BITS) <= RAW_MAX:
                        has_rest = step_raw(
                            states, places, paths, ends, steps, kept, strings, step_codes, columns, slots, entries,
                            tile, lane, code, at, stride, forward, back,
                        )  # fmt: skip
                    else:
                        has_rest = step_alike(
                            states, places, paths, ends, steps, kept, strings, step_codes, columns, slots, entries,
                            tile, lane, code, at, stride, forward, back,
                        )  # fmt: skip
                else:
                    has_rest = step_mixed(
                        states, places, paths, ends, steps, kept, strings, step_codes, columns, slots, entries, tile,
                        lane, np.uint32(step), offset, stride, forward, back,
                    )  # fmt: skip
                if has_rest:
                    _finish(
                        lane, states, places, paths, ends, steps, kept, strings, step_codes, columns, starts, counts,
                        tile, step, offset, stride, forward,
                    )  # fmt: skip
        for group in range(groups):
            for lane in range(group * LANES, (group + 1) * LANES):
                for step in range(group_sizes[group], width):
                    tile[np.int64(columns[np.int64(steps[lane]) + step]) * stride + offset + lane] = 0
        if not column_stride:
            _write_out(own_rows, tile, factors, targets, profiles, scales, centers, width, at_once, decoded)


@compiled
def _write_out(
    own_rows: NDArray[np.int64],
    tile: NDArray[np.float32],
    factors: NDArray[np.float32],
    targets: NDArray[np.int64],
    profiles: NDArray[np.int64],
    scales: NDArray[np.float32],
    centers: NDArray[np.float32],
    width: int,
    at_once: int,
    decoded: NDArray[np.float32],
) -> None:
    """Write rows that are decoded column by column, times the factors of rows and columns, plus centers."""
    count = len(own_rows)
    own_factors, own_targets, own_centers = factors[own_rows], targets[own_rows], (profiles[own_rows] + 1) * width
    whole_lanes, whole = count // LANES * LANES, width // LANES * LANES
    for lane in range(0, whole_lanes, LANES):
        for column in range(0, whole, LANES):
            write_rows(
                tile, own_factors, own_targets, scales, centers, own_centers, decoded, lane, column, at_once, width
            )  # fmt: skip
    for lane in range(count):
        for column in range(whole if lane < whole_lanes else 0, width):
            number = tile[column * at_once + lane] * own_factors[lane] * scales[column]
            decoded[own_targets[lane] * width + column] = number + centers[own_centers[lane] + column]


@dataclass(frozen=True)
class DecoderTables:
    """The tables of both codes as the decoder reads them: those of the prefix code behind the others.

    Attributes:
        slots: uint8, slot -> entry.
        entries: uint64, below as `lanes` names their bits, above the bits of the level of each, where there are raw
            bits those of its symbol.
        starts: int64, the symbol of the first entry of each table.
        counts: int64, entries of each table.
    """

    slots: NDArray[np.uint8]
    entries: NDArray[np.uint64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]


@cache
def decoder_tables() -> DecoderTables:
    """Lay out the tables that are shipped."""
    symbols = load_symbols()
    low = (symbols.entries & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    frequencies = low >> np.uint32(16)
    assert int(frequencies.max()) < SLOTS
    index = np.arange(1 << ENTRY_BITS)
    is_escape = (index == 0) | (index == symbols.counts[:, None] - 1)
    flags = low & np.uint32(0xC000) | is_escape.astype(np.uint32) << np.uint32(IS_ESCAPE)
    asymmetric = (
        (low & np.uint32(SLOTS - 1)) | flags | np.uint32(1 << ADDS_SLOT)
        | frequencies << np.uint32(FACTOR_SHIFT) | np.uint32(SLOT_BITS << SHIFT_SHIFT)
    )  # fmt: skip
    prefix_lengths = np.zeros_like(low)
    prefix_lengths[:, : symbols.prefix_lengths.shape[1]] = symbols.prefix_lengths
    prefixed = flags | np.uint32(1 << FACTOR_SHIFT) | prefix_lengths << np.uint32(SHIFT_SHIFT)
    idle = np.full((2, 1 << ENTRY_BITS), 1 << FACTOR_SHIFT, np.uint32)
    levels = (symbols.entries >> np.uint64(32)).astype(np.uint32)
    # Numbers with raw bits have no levels: the bits of their symbols instead.
    levels[2 * TRAINED :] = (symbols.starts[2 * TRAINED :, None] + index).astype(np.int32).view(np.uint32)
    # A gather of the last slot reads three bytes more.
    idle_slots = np.zeros(2 * SLOTS + 3, np.uint8)
    all_entries = np.concatenate([asymmetric, prefixed, idle]).ravel().astype(np.uint64)
    all_levels = np.concatenate([levels, levels, np.zeros_like(idle)]).ravel().astype(np.uint64)
    return DecoderTables(
        slots=np.concatenate([symbols.slots.ravel(), symbols.prefix_slots.ravel(), idle_slots]),
        entries=all_entries | all_levels << np.uint64(32),
        starts=np.concatenate([symbols.starts, symbols.starts, [0, 0]]),
        counts=np.concatenate([symbols.counts, symbols.counts, [1, 1]]),
    )


@dataclass(frozen=True)
class Steps:
    """The steps that decode strings, by layout: behind those that decode a number stand the columns without one.

    Attributes:
        codes: (layouts, columns) uint32, as `lanes` reads them.
        columns: (layouts, columns) int32, the column of each step.
        sizes: (layouts,) int64, steps that decode a number.
    """

    codes: NDArray[np.uint32]
    columns: NDArray[np.int32]
    sizes: NDArray[np.int64]

    @classmethod
    def of(
        cls, layouts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]], *, width: int
    ) -> Steps:
        """Write the steps of layouts.

        Args:
            layouts: of each the columns that its strings hold, in their order; their class tables; their raw bits; and
                how many of the last are in the prefix code.
            width: all columns.
        """
        codes = np.full((len(layouts), width), NO_PAIR, np.uint32)
        all_columns = np.empty((len(layouts), width), np.int32)
        for number, (columns, tables, raw_bits, prefixed) in enumerate(layouts):
            coded, others = len(columns), np.ones(width, np.bool_)
            codes[number, :coded] = raw_bits << PAIR_BITS | 2 * tables
            codes[number, coded - prefixed : coded] += np.uint32(2 * TABLES)
            others[columns] = False
            all_columns[number, :coded], all_columns[number, coded:] = columns, np.flatnonzero(others)
        return cls(codes, all_columns, np.array([len(layout[0]) for layout in layouts], np.int64))


def read_strings(
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    *,
    layouts: NDArray[np.int64],
    factors: NDArray[np.float32],
    targets: NDArray[np.int64],
    steps: Steps,
    trellis: Trellis,
    decoded: NDArray[np.float32],
    scales: NDArray[np.float32] | None = None,
    centers: NDArray[np.float32] | None = None,
    profiles: NDArray[np.int64] | None = None,
) -> None:
    """Decode the strings of rows into `decoded`, times a factor each.

    Args:
        codes: with PADDING bytes behind the last string.
        positions: (rows,), where each string starts.
        lengths: (rows,), bytes of each.
        layouts: (rows,), of which layout each is.
        factors: (rows,), the step of each.
        targets: (rows,), in which row of `decoded` each belongs.
        steps: of the layouts.
        trellis: of the codebook.
        decoded: (all rows, columns), written.
        scales: (columns,), a further factor of each column; None for ones.
        centers: (profiles, columns), what is added; None for zeros.
        profiles: (rows,), whose center each row has; -1 for none.
    """
    tables, width = decoder_tables(), decoded.shape[1]
    nothing = np.zeros((1, width), np.float32)
    if centers is None or profiles is None:
        centers, profiles = nothing, np.full(len(layouts), -1)
    else:
        centers = np.concatenate([nothing, centers])
    forward, back = trellis.taps
    _decode(
        codes, positions, lengths, layouts, factors, targets, _sort(layouts, len(steps.sizes)), steps.codes.ravel(),
        steps.columns.ravel(), steps.sizes, tables.slots, tables.entries, tables.starts, tables.counts,
        np.uint32(forward), np.uint32(back), width, profiles,
        np.ones(width, np.float32) if scales is None else scales, centers.ravel(), decoded.ravel(), 0,
    )  # fmt: skip
