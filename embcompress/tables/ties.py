"""Tensors that are one table under several names: of one memory, or of equal bytes."""

from __future__ import annotations

from typing import BinaryIO

from embcompress.checkpoints import StoredTensor
from embcompress.checkpoints.tensors import contiguous_strides, read_into

# Most tensors that differ do so in the first of these.
COMPARED_BYTES = 2**20


def are_equal(first: StoredTensor, second: StoredTensor, *, file: BinaryIO) -> bool:
    """Tell whether two tensors of a file hold the same: a head that was saved as a second copy of its embedding.

    Compares bytes, so that NaN equals itself; tensors whose elements lie apart are not compared, and zeros tell of no
    copy: two tables may be empty alike. Reads both as far as they are equal.
    """
    if first.place == second.place:
        return True
    if (first.dtype, first.shape) != (second.dtype, second.shape) or not (_is_dense(first) and _is_dense(second)):
        return False
    buffers, has_content = (bytearray(COMPARED_BYTES), bytearray(COMPARED_BYTES)), False
    for position in range(0, first.nbytes, COMPARED_BYTES):
        size = min(COMPARED_BYTES, first.nbytes - position)
        parts = [memoryview(buffer)[:size] for buffer in buffers]
        for stored, part in zip((first, second), parts, strict=True):
            read_into(file, stored.start + position, part)
        if parts[0] != parts[1]:
            return False
        has_content = has_content or any(parts[0])
    return has_content


def _is_dense(stored: StoredTensor) -> bool:
    return stored.strides == contiguous_strides(stored.shape)
