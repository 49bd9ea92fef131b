"""Lists of small integers in few bytes: what must be known of each row and column beside its string.

Each integer is coded bit by bit, the highest first, with a chance that is learnt from the bits before it that had the
same context and the same higher bits, so that no table has to be stored. Below the highest twelve, chances are even.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.compiled import compiled
from embcompress.exceptions import ArtifactError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Bits of a chance.
CHANCE_BITS = 15
# A chance moves by 1/2 of its distance to the bit that came, then by 1/3, and so on to 1/LEARNING_MAX.
LEARNING_MAX = 64
EVEN = 1 << (CHANCE_BITS - 1)
# Chances are learnt of so many of the highest bits; those below are even.
TREE_BITS = 12
TREE = 1 << TREE_BITS
# An integer has so many bits at most, and there are so many chances at most: a damaged file must not ask for more.
WIDTH_MAX = 40
CHANCES_MAX = 2**26
TOP = 1 << 31
BOTTOM = 1 << 23
CARRY = 1 << 32


@compiled
def _learn(chances: NDArray[np.uint16], seen: NDArray[np.uint8], node: int, bit: int) -> None:
    """Move the chance of a 1."""
    count = min(int(seen[node]) + 1, LEARNING_MAX)
    seen[node] = count
    limit = 1 << CHANCE_BITS
    target = limit - 32 if bit else 32
    moved = int(chances[node]) + (target - int(chances[node])) // (count + 1)
    chances[node] = min(max(moved, 32), limit - 32)


@compiled
def carry(low: int, position: int, out: NDArray[np.uint8]) -> int:
    """Carry what does not fit into 32 bits to the bytes that are written."""
    if low < CARRY:
        return low
    position -= 1
    while out[position] == 255:
        out[position] = 0
        position -= 1
    out[position] += 1
    return low - CARRY


@compiled
def _encode(
    values: NDArray[np.int64],
    contexts: NDArray[np.int64],
    width: int,
    chances: NDArray[np.uint16],
    seen: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> int:
    """Encode integers by a binary range coder with carries; return the bytes.

    Source: Martin, Range encoding (1979), in the form with a carry of Subbotin (1999).
    """
    low, size, position = np.int64(0), np.int64(CARRY - 1), 0
    for number in range(len(values)):
        node = contexts[number] << min(width, TREE_BITS)
        prefix = 1
        for shift in range(width - 1, -1, -1):
            bit = (values[number] >> shift) & 1
            is_learnt = prefix < TREE
            part = (size >> CHANCE_BITS) * np.int64(chances[node + prefix] if is_learnt else EVEN)
            if bit:
                size = part
            else:
                low += part
                size -= part
            if is_learnt:
                _learn(chances, seen, node + prefix, bit)
            prefix = 2 * prefix + bit
            low = carry(low, position, out)
            while size < BOTTOM:
                out[position] = (low >> 24) & 255
                position += 1
                low = (low << 8) & (CARRY - 1)
                size <<= 8
    # The shortest end within [low, low + size): zeros may follow it.
    for count in range(5):
        unit = np.int64(1) << (32 - 8 * count)
        end = (low + unit - 1) // unit * unit
        if end < low + size:
            end = carry(end, position, out)
            for byte in range(count):
                out[position] = (end >> (24 - 8 * byte)) & 255
                position += 1
            break
    while position > 0 and out[position - 1] == 0:
        position -= 1
    return position


@compiled
def _decode(
    codes: NDArray[np.uint8],
    contexts: NDArray[np.int64],
    width: int,
    chances: NDArray[np.uint16],
    seen: NDArray[np.uint8],
    values: NDArray[np.int64],
) -> None:
    """Decode integers; behind the last byte come zeros."""
    size, position, code = np.int64(CARRY - 1), 0, np.int64(0)
    for _ in range(4):
        code = (code << 8) | np.int64(codes[position] if position < len(codes) else 0)
        position += 1
    for number in range(len(values)):
        node = contexts[number] << min(width, TREE_BITS)
        prefix = 1
        for _ in range(width):
            is_learnt = prefix < TREE
            part = (size >> CHANCE_BITS) * np.int64(chances[node + prefix] if is_learnt else EVEN)
            if code < part:
                bit = 1
                size = part
            else:
                bit = 0
                code -= part
                size -= part
            if is_learnt:
                _learn(chances, seen, node + prefix, bit)
            prefix = 2 * prefix + bit
            while size < BOTTOM:
                code = (code << 8) | np.int64(codes[position] if position < len(codes) else 0)
                position += 1
                size <<= 8
        values[number] = prefix - (1 << width)


def encode_integers(
    values: NDArray[np.int64], *, contexts: NDArray[np.int64] | None = None, count: int = 1
) -> NDArray[np.uint8]:
    """Encode integers of at least 0: a byte with the bits of the largest, and the bits of all.

    Args:
        values: (n,) below 2^WIDTH_MAX.
        contexts: (n,) which of the `count` contexts each is learnt in; default: one.
        count: of contexts.

    Example:
        >>> decode_integers(encode_integers(np.array([3, 0, 3])), 3).tolist()
        [3, 0, 3]
    """
    numbers = np.ascontiguousarray(values, np.int64)
    width = int(numbers.max()).bit_length() if len(numbers) else 0
    assert width <= WIDTH_MAX
    out = np.zeros(len(numbers) * (width + 1) * 2 + 16, np.uint8)
    used = _encode(numbers, _contexts(contexts, len(numbers)), width, *_fresh(width, count), out)
    return np.concatenate([np.array([width], np.uint8), out[:used]])


def decode_integers(
    codes: NDArray[np.uint8], length: int, *, contexts: NDArray[np.int64] | None = None, count: int = 1
) -> NDArray[np.int64]:
    """Decode what `encode_integers` made of `length` integers.

    Raises:
        ArtifactError: the bytes cannot be such a list.
    """
    width = int(codes[0]) if len(codes) else WIDTH_MAX + 1
    if width > WIDTH_MAX or count << min(width, TREE_BITS) > CHANCES_MAX:
        raise ArtifactError("a list of integers in the file is damaged.", hint="Compress the original again.")
    try:
        values, contexts_of_values = np.empty(length, np.int64), _contexts(contexts, length)
    except MemoryError as err:
        raise ArtifactError(
            f"a list in the file claims {length} integers, which memory does not hold.",
            hint="Compress the original again.",
        ) from err
    _decode(np.ascontiguousarray(codes[1:]), contexts_of_values, width, *_fresh(width, count), values)
    return values


def _contexts(contexts: NDArray[np.int64] | None, length: int) -> NDArray[np.int64]:
    return np.zeros(length, np.int64) if contexts is None else np.ascontiguousarray(contexts, np.int64)


def _fresh(width: int, count: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Make chances of one half, of which nothing was seen."""
    nodes = count << min(width, TREE_BITS)
    return np.full(nodes, 1 << (CHANCE_BITS - 1), np.uint16), np.zeros(nodes, np.uint8)


def fold_signs(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold signed integers: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return np.where(values < 0, -2 * values - 1, 2 * values)


def unfold_signs(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Undo `fold_signs`."""
    return np.where(values & 1, -(values + 1) // 2, values // 2)
