"""Tensors that are one table under several names: of one memory, or of equal bytes."""

from __future__ import annotations

from embcompress.checkpoints import StoredTensor
from embcompress.checkpoints.files import Files
from embcompress.checkpoints.tensors import is_contiguous

# Most tensors that differ do so in the first of these.
COMPARED_BYTES = 2**20


def are_equal(first: StoredTensor, second: StoredTensor, *, files: Files) -> bool:
    """Tell whether two tensors of a file hold the same: a head that was saved as a second copy of its embedding.

    Compares bytes, so that NaN equals itself; tensors whose elements lie apart are not compared, nor those whose values
    would have to be made first, and zeros tell of no copy: two tables may be empty alike. Reads both as far as they are
    equal.
    """
    if first.memory_key == second.memory_key:
        return True
    if (first.dtype, first.shape) != (second.dtype, second.shape) or not (
        is_contiguous(first) and is_contiguous(second)
    ):
        return False
    if files.is_made(first.start) or files.is_made(second.start):
        return False
    buffers, has_content = (bytearray(COMPARED_BYTES), bytearray(COMPARED_BYTES)), False
    for position in range(0, first.nbytes, COMPARED_BYTES):
        size = min(COMPARED_BYTES, first.nbytes - position)
        parts = [memoryview(buffer)[:size] for buffer in buffers]
        for stored, part in zip((first, second), parts, strict=True):
            files.read_into(stored.start + position, part)
        if parts[0] != parts[1]:
            return False
        has_content = has_content or any(parts[0])
    return has_content
