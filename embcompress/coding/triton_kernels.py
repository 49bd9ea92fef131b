"""The decoder of strings of rows on a GPU, in Triton: a lane for each row, one warp for LANES of them.

It reads the tables of `read_kernels`, does the same steps on unsigned integers of 32 bits and the same roundings, so
that what it writes is equal to what the CPU decodes, bit for bit. Nothing in it waits for the CPU. Imported where a
table on a GPU is first looked up: Triton comes with torch for CUDA, not with torch for CPUs. It reads annotations of
arguments itself, older versions not as texts: hence none but of constants, and nothing from __future__.
"""

import subprocess
from typing import Any

import triton
import triton.language as tl
from triton.errors import TritonError

from embcompress.coding import lanes, symbols, write_kernels
from embcompress.coding.row_index import SPACING as INDEX_SPACING

# A warp decodes as many rows. With one warp a program, whether any row has an escape is told within the warp.
LANES = 32
# A product and a sum are rounded each, as on the CPU.
OPTIONS = {"num_warps": 1, "enable_fp_fusion": False}

# What is raised where there is no driver, no compiler of C for the launcher, or a processor that is not supported.
REFUSALS = (OSError, RuntimeError, subprocess.SubprocessError, TritonError)

SPACING = tl.constexpr(INDEX_SPACING)
UNIT_BITS = tl.constexpr(write_kernels.UNIT_BITS)
RAW_MAX = tl.constexpr(write_kernels.RAW_MAX)
ESCAPE_MAX = tl.constexpr(write_kernels.ESCAPE_MAX)
LEAST = tl.constexpr(1 << write_kernels.UNIT_BITS)
SLOT_BITS = tl.constexpr(symbols.SLOT_BITS)
SLOT_MASK = tl.constexpr(symbols.SLOTS - 1)
ENTRY_BITS = tl.constexpr(symbols.ENTRY_BITS)
PAIR_BITS = tl.constexpr(lanes.PAIR_BITS)
PAIR_MASK = tl.constexpr((1 << lanes.PAIR_BITS) - 1)
ADDS_SLOT = tl.constexpr(lanes.ADDS_SLOT)
IS_ESCAPE = tl.constexpr(lanes.IS_ESCAPE)
IS_ODD = tl.constexpr(lanes.IS_ODD)
FACTOR_SHIFT = tl.constexpr(lanes.FACTOR_SHIFT)
SHIFT_SHIFT = tl.constexpr(lanes.SHIFT_SHIFT)


@triton.jit
def _refill(state, left, ends, lacks):
    """Read a unit into states below 2^UNIT_BITS, where a mask is on and units are left."""
    lacks = lacks & (state < LEAST) & (left > 0)
    places = ends - 2 * left.to(tl.int64)  # a string may have 2^31 bytes, by a damaged index
    low = tl.load(places, mask=lacks, other=0).to(tl.uint32)
    high = tl.load(places + 1, mask=lacks, other=0).to(tl.uint32)
    return tl.where(lacks, (state << UNIT_BITS) | (high << 8) | low, state), left - lacks.to(tl.int32)


@triton.jit
def _pull_piece(some, state, left, ends):
    """Decode at most RAW_MAX raw bits of each lane, of some lanes none."""
    piece = state & ((1 << some) - 1)
    state, left = _refill(state >> some, left, ends, some > 0)
    return piece, state, left


@triton.jit
def _pull_raw(bits, state, left, ends):
    """Decode raw bits, fewer than 32 of each lane: whole pieces follow the highest ones."""
    number = tl.zeros_like(bits)
    while tl.max(bits, axis=0) > 0:
        some = tl.where(bits > 2 * RAW_MAX, bits - 2 * RAW_MAX, tl.where(bits > RAW_MAX, bits - RAW_MAX, bits))
        piece, state, left = _pull_piece(some, state, left, ends)
        number = (number << some) | piece
        bits -= some
    return number, state, left


@triton.jit
def _pull_beyond(is_escape, state, left, ends):
    """Decode how far beyond an entry symbols are, 0 where there is no escape."""
    bits = tl.zeros_like(state)
    more, state, left = _pull_piece(is_escape.to(tl.uint32), state, left, ends)
    while tl.max(more, axis=0) > 0:
        bits += more
        more, state, left = _pull_piece(more, state, left, ends)
        more = tl.where(bits < ESCAPE_MAX, more, 0)
    number, state, left = _pull_raw(bits, state, left, ends)
    one = tl.full(bits.shape, 1, tl.int64)
    return (one << bits.to(tl.int64)) + number.to(tl.int64) - 1, state, left


@triton.jit
def _begin(codes, row, is_row, lengths, before, length_mask):
    """Find the strings of rows, and read their first state: units of two bytes follow it."""
    block = row // SPACING
    position = tl.load(before + block, mask=is_row, other=0)
    for number in tl.static_range(SPACING - 1):
        other = block * SPACING + number
        length_before = tl.load(lengths + other, mask=is_row & (other < row), other=0)
        position += length_before.to(tl.int64) & length_mask
    length = tl.load(lengths + row, mask=is_row, other=0).to(tl.int64) & length_mask
    state_bytes = tl.minimum(length, 4 - (length & 1))
    state = tl.zeros_like(row).to(tl.uint32)
    for number in tl.static_range(4):
        is_part = number < state_bytes
        byte = tl.load(codes + position + number, mask=is_part, other=0).to(tl.uint32)
        state = tl.where(is_part, (state << 8) | byte, state)
    return state, ((length - state_bytes) >> 1).to(tl.int32), codes + position + length


# What differs between lookups must not make the compiler write another kernel.
@triton.jit(do_not_specialize=["count", "rows", "width", "odd_taps", "set_taps"])
def decode_lanes(
    ids,  # (count,) int64
    own_kinds,  # (count,) the kind of each, the bits of an unsigned integer
    codes,  # uint8, the strings of all rows
    lengths,  # (rows,) the bytes of each, the bits of an unsigned integer
    before,  # int64, the bytes before each SPACING rows
    kind_layouts,  # (kinds,) int64
    kind_profiles,  # (kinds,) int64, -1 for none
    kind_steps,  # (kinds,) float32
    step_codes,  # (layouts * width,) int32
    columns,  # (layouts * width,) int32
    sizes,  # (layouts,) int64, steps that decode something
    slots,  # uint8
    entries,  # int64, the bits of the level above those of the entry
    starts,  # int32
    scales,  # (width,) float32
    centers,  # (profiles * width,) float32
    numbers,  # (count * width,) float32, written
    profiles,  # (count,) int64, written
    count,
    rows,
    width,
    odd_taps,  # what an odd symbol puts into the register of the trellis
    set_taps,  # and what one of set 1 does
    kind_mask: tl.constexpr,
    length_mask: tl.constexpr,
    has_scales: tl.constexpr,
    has_centers: tl.constexpr,
    block: tl.constexpr,
):
    """Decode rows of any kinds, a lane each, column by column in the order of its string."""
    lane = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    row = tl.load(ids + lane, mask=lane < count, other=-1)
    # Ids outside end the program elsewhere; here they reach no memory.
    is_row = (row >= 0) & (row < rows)
    kind = tl.load(own_kinds + lane, mask=is_row, other=0).to(tl.int64) & kind_mask
    layout = tl.load(kind_layouts + kind, mask=is_row, other=0)
    factor = tl.load(kind_steps + kind, mask=is_row, other=0.0)
    profile = tl.load(kind_profiles + kind, mask=is_row, other=-1)
    size = tl.load(sizes + layout, mask=is_row, other=0)
    tl.store(profiles + lane, profile, mask=is_row)
    state, left, ends = _begin(codes, row, is_row, lengths, before, length_mask)
    register = tl.zeros_like(state)
    longest = tl.max(size, axis=0)
    shortest = tl.min(tl.where(is_row, size, width), axis=0)
    for step in range(longest):
        is_coded = step < size
        place = layout * width + step
        code = tl.load(step_codes + place, mask=is_coded, other=0).to(tl.uint32)
        column = tl.load(columns + place, mask=is_coded, other=0)
        own_set, raw = register & 1, code >> PAIR_BITS
        table = (code & PAIR_MASK) + own_set
        slot = state & SLOT_MASK
        index = tl.load(slots + ((table << SLOT_BITS) | slot), mask=is_coded, other=0).to(tl.uint32)
        both = tl.load(entries + ((table << ENTRY_BITS) | index), mask=is_coded, other=0)
        entry = both.to(tl.uint32)
        level = (both >> 32).to(tl.int32).to(tl.float32, bitcast=True)
        # One formula for both codes: factor * (state >> shift) + (slot or 0) - the frequencies before.
        product = ((entry >> FACTOR_SHIFT) & SLOT_MASK) * (state >> (entry >> SHIFT_SHIFT))
        own_slot = tl.where((entry >> ADDS_SLOT) & 1 != 0, slot, 0)
        state = tl.where(is_coded, product + own_slot - (entry & SLOT_MASK), state)
        state, left = _refill(state, left, ends, is_coded)
        odd = (entry >> IS_ODD) & 1
        is_escape = is_coded & ((entry >> IS_ESCAPE) & 1 != 0)
        raw = tl.where(is_coded, raw, 0)
        if tl.max(is_escape.to(tl.uint32) | raw, axis=0) > 0:
            symbol = tl.load(starts + table, mask=is_coded, other=0).to(tl.int64) + index.to(tl.int64)
            beyond, state, left = _pull_beyond(is_escape, state, left, ends)
            symbol += tl.where(index > 0, beyond, -beyond)
            low, state, left = _pull_raw(raw, state, left, ends)
            symbol = (symbol << raw.to(tl.int64)) + low.to(tl.int64)
            is_level = (beyond == 0) & (raw == 0)
            level = tl.where(is_level, level, (2 * symbol + own_set.to(tl.int64)).to(tl.float32))
            odd = (symbol & 1).to(tl.uint32)
        register = (register >> 1) ^ (odd * odd_taps) ^ (own_set * set_taps)
        number = level * factor
        if has_scales:
            number = number * tl.load(scales + column, mask=is_coded, other=0.0)
        center = tl.zeros_like(number)
        if has_centers:
            center = tl.load(centers + profile * width + column, mask=is_coded & (profile >= 0), other=0.0)
        # Even without a center: of the two zeros the one that the CPU writes.
        tl.store(numbers + lane * width + column, number + center, mask=is_coded)
    for step in range(shortest, width):
        is_idle = is_row & (step >= size)
        column = tl.load(columns + layout * width + step, mask=is_idle, other=0)
        center = tl.zeros_like(factor)
        if has_centers:
            center = tl.load(centers + profile * width + column, mask=is_idle & (profile >= 0), other=0.0)
        # Not a number where the factor of the column is none.
        number = tl.zeros_like(factor)
        if has_scales:
            number = number * tl.load(scales + column, mask=is_idle, other=0.0)
        tl.store(numbers + lane * width + column, number + center, mask=is_idle)


def decode(*arguments: Any, count: int, **options: Any) -> None:
    """Decode `count` rows on the current device; the arguments are those of `decode_lanes`.

    Raises:
        One of REFUSALS: the kernel cannot be compiled or started.
    """
    decode_lanes[(triton.cdiv(count, LANES),)](*arguments, count=count, **options, block=LANES, **OPTIONS)
