"""The loops that decode strings of rows, compiled by numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.compiled import compiled
from embcompress.coding.lanes import (
    HAS_REST,
    KEPT_ODD,
    KEPT_SET,
    LANES,
    PAIR_BITS,
    copy_bytes,
    step_alike,
    step_mixed,
    step_raw,
    write_rows,
)
from embcompress.coding.symbols import ENTRY_BITS
from embcompress.coding.write_kernels import ESCAPE_MAX, RAW_MAX, UNIT_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 1 << UNIT_BITS
UNIT_BYTES = UNIT_BITS // 8
# What a step reads at most: a unit for the entry, for each bit of an escape and the one that ends it, and for each
# piece of what follows.
STEP_BYTES = UNIT_BYTES * (2 + ESCAPE_MAX + 2 * -(-ESCAPE_MAX // RAW_MAX))
# Gathers take offsets below this.
OFFSETS = 2**31


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


@compiled
def _aligned(count: int) -> NDArray[np.uint32]:
    """Make an array that begins with a line of the cache."""
    whole = np.zeros(count + LINE, np.uint32)
    first = ((-whole.ctypes.data) % (4 * LINE)) // 4
    return whole[first : first + count]


@compiled
def sort_rows(layouts: NDArray[np.int64], count: int) -> NDArray[np.int64]:
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
    factors: NDArray[np.float32],
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
            tile[columns[place] * stride + offset + lane] = np.float32(2 * symbol + own_set) * factors[lane]


@compiled
def _cut(length: int, longest: int) -> int:
    """Return how many bytes of a string are kept: an even number as it is, an odd one stays odd."""
    return min(length, longest | (length & 1))


@compiled
def _begin(
    own_rows: NDArray[np.int64],  # (rows of the block,)
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    layouts: NDArray[np.int64],
    factors: NDArray[np.float32],
    sizes: NDArray[np.int64],
    width: int,
    states: NDArray[np.uint32],
    places: NDArray[np.uint32],
    paths: NDArray[np.uint32],
    ends: NDArray[np.uint32],
    steps: NDArray[np.uint32],
    own_factors: NDArray[np.float32],
    group_sizes: NDArray[np.int64],
    is_alike: NDArray[np.bool_],
    strings: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Begin to decode rows: their strings are copied to one place, which stays in the cache, and is returned.

    Of a damaged string that is longer than steps can read the rest is left out, so that places stay small.
    """
    longest, total = min(4 + STEP_BYTES * width, (OFFSETS // len(states) - 4) & -2), 0
    for row in own_rows:
        total += _cut(lengths[row], longest)
    if total + UNIT_BYTES > len(strings):
        strings = np.empty(2 * total + UNIT_BYTES, np.uint8)
    count, place = len(own_rows), 0
    for number in range(count):
        row = own_rows[number]
        length = _cut(lengths[row], longest)
        copy_bytes(codes, positions[row], strings, place, length)
        places[number], place = np.uint32(place), place + length
    strings[total], strings[total + 1] = 0, 0
    # Lanes beyond the last row decode it again.
    lanes = (count + LANES - 1) // LANES * LANES
    for lane in range(lanes):
        row = own_rows[min(lane, count - 1)]
        start, length = np.int64(places[min(lane, count - 1)]), _cut(lengths[row], longest)
        state_bytes = min(length, 4 - (length & 1))
        if lane < count:
            state = 0
            for byte in range(state_bytes):
                state = (state << 8) | np.int64(strings[start + byte])
            ends[lane], places[lane] = np.uint32(start + length), np.uint32(start + state_bytes)
            states[lane] = np.uint32(state)
        else:
            states[lane], places[lane], ends[lane] = states[count - 1], places[count - 1], ends[count - 1]
        paths[lane], steps[lane], own_factors[lane] = 0, np.uint32(layouts[row] * width), factors[row]
    for group in range(lanes // LANES):
        first, size = group * LANES, 0
        for lane in range(first, first + LANES):
            size = max(size, sizes[np.int64(steps[lane]) // width] if width else 0)
        group_sizes[group] = size
        is_alike[group] = steps[first] == steps[first + LANES - 1]
    return strings


@compiled
def decode_strings(
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],  # (rows,), where each row's string starts
    lengths: NDArray[np.int64],  # (rows,), its bytes
    layouts: NDArray[np.int64],  # (rows,)
    factors: NDArray[np.float32],  # (rows,)
    targets: NDArray[np.int64],  # (rows,), where in `decoded` each belongs; none for where the row is
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
    centers: NDArray[np.float32],  # profiles * width, or none
    decoded: NDArray[np.float32],  # written
    column_stride: int,
) -> None:
    """Decode strings, LANES side by side: rows of one layout where there are as many, else each by its own.

    Without a stride rows are written, (all rows * width,), finished. With one, columns, so far apart, of the numbers of
    all rows in their order, times their factors, without scales and centers; up to LANES - 1 more numbers are written.
    Behind them a column for each profile, for as many as there is room: ones where a row has it, else zeros.
    """
    rows = len(order)
    most = min(GROUPS_AT_ONCE, max(1, NUMBERS_AT_ONCE // (LANES * max(1, width))))
    at_once = LANES * max(1, min(most, (rows + LANES - 1) // LANES))
    states, places, paths, ends = _aligned(at_once), _aligned(at_once), _aligned(at_once), _aligned(at_once)
    steps, kept, own_factors = _aligned(at_once), _aligned(at_once), _aligned(at_once).view(np.float32)
    group_sizes, is_alike = np.empty(at_once // LANES, np.int64), np.empty(at_once // LANES, np.bool_)
    strings = np.empty(0, np.uint8)
    stride, tile = (column_stride, decoded) if column_stride else (at_once, _aligned(width * at_once).view(np.float32))
    for first in range(0, rows, at_once):
        own_rows = order[first : first + at_once]
        strings = _begin(
            own_rows, codes, positions, lengths, layouts, factors, sizes, width, states, places, paths, ends, steps,
            own_factors, group_sizes, is_alike, strings,
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
                            states, places, paths, ends, steps, own_factors, kept, strings, step_codes, columns, slots,
                            entries, tile, lane, code, at, stride, forward, back,
                        )  # fmt: skip
                    else:
                        has_rest = step_alike(
                            states, places, paths, ends, steps, own_factors, kept, strings, step_codes, columns, slots,
                            entries, tile, lane, code, at, stride, forward, back,
                        )  # fmt: skip
                else:
                    has_rest = step_mixed(
                        states, places, paths, ends, steps, own_factors, kept, strings, step_codes, columns, slots,
                        entries, tile, lane, np.uint32(step), offset, stride, forward, back,
                    )  # fmt: skip
                if has_rest:
                    _finish(
                        lane, states, places, paths, ends, steps, own_factors, kept, strings, step_codes, columns,
                        starts, counts, tile, step, offset, stride, forward,
                    )  # fmt: skip
        for group in range(groups):
            for lane in range(group * LANES, (group + 1) * LANES):
                for step in range(group_sizes[group], width):
                    tile[np.int64(columns[np.int64(steps[lane]) + step]) * stride + offset + lane] = 0
        if column_stride:
            _mark_profiles(own_rows, profiles, offset, stride, width, decoded)
        else:
            _write_out(own_rows, tile, targets, profiles, scales, centers, width, at_once, decoded)


@compiled
def _mark_profiles(
    own_rows: NDArray[np.int64],
    profiles: NDArray[np.int64],
    offset: int,
    stride: int,
    width: int,
    decoded: NDArray[np.float32],
) -> None:
    for column in range(len(decoded) // stride - width):
        for lane in range(len(own_rows)):
            decoded[(width + column) * stride + offset + lane] = profiles[own_rows[lane]] == column


@compiled
def _write_out(
    own_rows: NDArray[np.int64],
    tile: NDArray[np.float32],
    targets: NDArray[np.int64],
    profiles: NDArray[np.int64],
    scales: NDArray[np.float32],
    centers: NDArray[np.float32],
    width: int,
    at_once: int,
    decoded: NDArray[np.float32],
) -> None:
    """Write rows that are decoded column by column, times the factors of columns, plus centers."""
    count = len(own_rows)
    own_targets, own_centers = np.empty(count, np.int64), np.empty(count, np.int64)
    for lane in range(count):
        row = own_rows[lane]
        own_targets[lane] = targets[row] if len(targets) else row
        # Rows of zeros have no center: they are written over below.
        own_centers[lane] = max(profiles[row], 0) * width if len(centers) else 0
    added = centers if len(centers) else np.zeros(width, np.float32)
    whole_lanes, whole = count // LANES * LANES, width // LANES * LANES
    for lane in range(0, whole_lanes, LANES):
        for column in range(0, whole, LANES):
            write_rows(tile, own_targets, scales, added, own_centers, decoded, lane, column, at_once, width)
    for lane in range(count):
        for column in range(whole if lane < whole_lanes else 0, width):
            number = tile[column * at_once + lane] * scales[column]
            decoded[own_targets[lane] * width + column] = number + added[own_centers[lane] + column]
    if len(centers):
        for lane in range(count):
            if profiles[own_rows[lane]] < 0:
                decoded[own_targets[lane] * width : (own_targets[lane] + 1) * width] = 0
