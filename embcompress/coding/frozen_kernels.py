"""Kinds and lengths of rows, 16 rows at a time, coded with chances that do not learn; compiled by numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.compiled import compiled
from embcompress.coding.integers import BOTTOM, CARRY, CHANCE_BITS, EVEN, TREE_BITS, carry

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A chance is stored in a byte, in 1/256; these two values say that the bit is never or always 1, and take nothing.
NEVER, ALWAYS = 0, 255
STORED_BITS = 8
LEFT = CHANCE_BITS - STORED_BITS


@compiled
def _count(
    values: NDArray[np.int64],
    contexts: NDArray[np.int64],
    width: int,
    zeros: NDArray[np.int64],
    ones: NDArray[np.int64],
) -> None:
    """Count the bits of integers by context and higher bits; those below the highest TREE_BITS are not counted."""
    tree = min(width, TREE_BITS)
    for number in range(len(values)):
        node = contexts[number] << tree
        prefix = 1
        for level in range(tree):
            bit = (values[number] >> (width - 1 - level)) & 1
            if bit:
                ones[node + prefix] += 1
            else:
                zeros[node + prefix] += 1
            prefix = 2 * prefix + bit


def count_bits_of(
    values: NDArray[np.int64], contexts: NDArray[np.int64], *, width: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count zeros and ones of integers at each node of the trees of `count` contexts."""
    nodes = count << min(width, TREE_BITS)
    zeros, ones = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
    _count(values, contexts, width, zeros, ones)
    return zeros, ones


@compiled
def _steps_before(
    kinds: NDArray[np.int64], steps: NDArray[np.int64], block_rows: int, before: NDArray[np.int64]
) -> None:
    step = 0
    for row in range(len(kinds)):
        if row % block_rows == 0:
            step = 0
        before[row] = step
        if kinds[row]:
            step = steps[kinds[row]]


def steps_before(kinds: NDArray[np.int64], steps: NDArray[np.int64], *, block_rows: int) -> NDArray[np.int64]:
    """Return the step of the last row before each in its block that is not zeros, (rows,); 0 where there is none."""
    before = np.empty(len(kinds), np.int64)
    _steps_before(kinds, steps, block_rows, before)
    return before


@compiled
def _put(
    value: int, node: int, width: int, chances: NDArray[np.uint8], coder: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    """Encode one integer; `coder` holds low end, size, place in `out`, and whether anything was coded."""
    tree = min(width, TREE_BITS)
    prefix = 1
    for level in range(width):
        bit = (value >> (width - 1 - level)) & 1
        stored = np.int64(chances[node + prefix]) if level < tree else np.int64(EVEN >> LEFT)
        prefix = 2 * prefix + bit
        if stored in (NEVER, ALWAYS):
            continue
        part = (coder[1] >> CHANCE_BITS) * (stored << LEFT)
        if bit:
            coder[1] = part
        else:
            coder[0] += part
            coder[1] -= part
        coder[3] = 1
        coder[0] = carry(coder[0], coder[2], out)
        while coder[1] < BOTTOM:
            out[coder[2]] = (coder[0] >> 24) & 255
            coder[2] += 1
            coder[0] = (coder[0] << 8) & (CARRY - 1)
            coder[1] <<= 8


@compiled
def _encode_blocks(
    kinds: NDArray[np.int64],
    more: NDArray[np.int64],  # (rows,), folded
    steps: NDArray[np.int64],  # (kinds,), the number of each kind's step, the context of the kind behind it
    contexts: NDArray[np.int64],  # (kinds,), of lengths
    widths: tuple[int, int],
    chances_of_kinds: NDArray[np.uint8],
    chances_of_lengths: NDArray[np.uint8],
    block_rows: int,
    out: NDArray[np.uint8],
    sizes: NDArray[np.int64],  # (blocks,), written
) -> int:
    """Encode blocks one behind the other, each so that whatever bytes follow it change nothing; return the bytes."""
    coder = np.zeros(4, np.int64)
    taken = 0
    kind_tree, length_tree = min(widths[0], TREE_BITS), min(widths[1], TREE_BITS)
    for block in range(len(sizes)):
        coder[0], coder[1], coder[2], coder[3] = 0, CARRY - 1, taken, 0
        step = 0
        for row in range(block * block_rows, min((block + 1) * block_rows, len(kinds))):
            _put(kinds[row], step << kind_tree, widths[0], chances_of_kinds, coder, out)
            if kinds[row]:
                step = steps[kinds[row]]
                _put(more[row], contexts[kinds[row]] << length_tree, widths[1], chances_of_lengths, coder, out)
        if coder[3]:
            for count in range(1, 5):
                unit = np.int64(1) << (32 - 8 * count)
                end = (coder[0] + unit - 1) // unit * unit
                if end + unit <= coder[0] + coder[1]:
                    end = carry(end, coder[2], out)
                    for byte in range(count):
                        out[coder[2] + byte] = (end >> (24 - 8 * byte)) & 255
                    coder[2] += count
                    break
        sizes[block] = coder[2] - taken
        taken = coder[2]
    return taken


def encode_blocks(
    kinds: NDArray[np.int64],
    more: NDArray[np.int64],
    steps: NDArray[np.int64],
    contexts: NDArray[np.int64],
    *,
    widths: tuple[int, int],
    chances: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    block_rows: int,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Encode the kinds and lengths of rows in blocks: the bytes of all, and how many each block has."""
    sizes = np.zeros(-(-len(kinds) // block_rows), np.int64)
    # A bit takes a byte at most.
    out = np.zeros(len(kinds) * sum(widths) + 8 * (len(sizes) + 1), np.uint8)
    taken = _encode_blocks(kinds, more, steps, contexts, widths, *chances, block_rows, out, sizes)
    return out[:taken].copy(), sizes


@compiled
def _get(
    node: int,
    width: int,
    chances: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    code: np.uint64,
    size: np.uint64,
    position: int,
) -> tuple[int, np.uint64, np.uint64, int]:
    """Decode one integer; the code, its size and the place behind what was read go on."""
    tree = min(width, TREE_BITS)
    prefix = 1
    for level in range(width):
        stored = np.uint64(chances[node + prefix]) if level < tree else np.uint64(EVEN >> LEFT)
        if stored == np.uint64(NEVER) or stored == np.uint64(ALWAYS):
            prefix = 2 * prefix + np.int64(stored == np.uint64(ALWAYS))
            continue
        part = (size >> np.uint64(CHANCE_BITS)) * (stored << np.uint64(LEFT))
        is_one = code < part
        code -= np.uint64(0) if is_one else part
        size = part if is_one else size - part
        prefix = 2 * prefix + np.int64(is_one)
        while size < np.uint64(BOTTOM):
            code = (code << np.uint64(8)) | np.uint64(codes[position] if position < len(codes) else 0)
            position += 1
            size <<= np.uint64(8)
    return prefix - (1 << width), code, size, position


@compiled
def _decode_blocks(
    codes: NDArray[np.uint8],
    starts: NDArray[np.int64],  # (blocks,), in codes
    sizes: NDArray[np.int64],  # (blocks,), bytes of each
    counts: NDArray[np.int64],  # (blocks,), rows of each
    steps: NDArray[np.int64],  # (kinds,), as the next two
    contexts: NDArray[np.int64],
    expected: NDArray[np.int64],
    widths: tuple[int, int],
    chances_of_kinds: NDArray[np.uint8],
    chances_of_lengths: NDArray[np.uint8],
    kinds: NDArray[np.int64],  # (blocks, rows of a block), as the next two written
    lengths: NDArray[np.int64],
    positions: NDArray[np.int64],
) -> int:
    """Decode blocks; return the first that cannot be one, or their number."""
    kind_tree, length_tree = min(widths[0], TREE_BITS), min(widths[1], TREE_BITS)
    for block in range(len(starts)):
        code, size, position = np.uint64(0), np.uint64(CARRY - 1), starts[block]
        for _ in range(4):
            code = (code << np.uint64(8)) | np.uint64(codes[position] if position < len(codes) else 0)
            position += 1
        total, step = 0, 0
        for row in range(counts[block]):
            kind, code, size, position = _get(
                step << kind_tree, widths[0], chances_of_kinds, codes, code, size, position
            )
            if kind >= len(contexts):
                return block
            length = 0
            if kind:
                step = steps[kind]
                folded, code, size, position = _get(
                    contexts[kind] << length_tree, widths[1], chances_of_lengths, codes, code, size, position
                )
                length = expected[kind] + (-(folded + 1) // 2 if folded & 1 else folded // 2)
                if length < 0 or length > sizes[block]:
                    return block
            kinds[block, row], lengths[block, row], positions[block, row] = kind, length, total
            total += length
        if total > sizes[block]:
            return block
        for row in range(counts[block]):
            positions[block, row] += starts[block] + sizes[block] - total
    return len(starts)


def decode_blocks(
    codes: NDArray[np.uint8],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    counts: NDArray[np.int64],
    *,
    steps: NDArray[np.int64],
    contexts: NDArray[np.int64],
    expected: NDArray[np.int64],
    widths: tuple[int, int],
    chances: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    out: NDArray[np.int64],  # (3, blocks, rows of a block): kinds, lengths, positions in codes; written
) -> bool:
    """Decode the kinds and lengths of the rows of blocks, and where each string starts; False where one is damaged."""
    good = _decode_blocks(codes, starts, sizes, counts, steps, contexts, expected, widths, *chances, *out)
    return good == len(starts)
