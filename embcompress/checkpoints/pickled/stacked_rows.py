"""Rows that lie apart, as one table: where they are evenly spaced in place, else copied together when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import BinaryIO

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.tensors import EXPANDED_BYTES_MAX, ITEM_BYTES, StoredTensor
from embcompress.exceptions import DamagedFileError


def stack_rows(name: str, rows: Sequence[StoredTensor], *, files: Files) -> StoredTensor:
    """Make a table of rows of one dtype, length and order of bytes.

    Raises:
        DamagedFileError: it is larger than all files together, since its rows are the same again and again.
    """
    first = rows[0]
    item_bytes, columns = ITEM_BYTES[first.dtype], first.shape[0]
    shape = (len(rows), columns)
    gaps = {after.start - before.start for before, after in pairwise(rows)}
    row_bytes = columns * first.strides[0] * item_bytes
    if len({row.strides for row in rows}) == 1 and len(gaps) == 1:
        (gap,) = gaps
        if gap >= row_bytes and gap % item_bytes == 0:
            strides = (gap // item_bytes, first.strides[0])
            return StoredTensor(name, first.dtype, shape, strides, first.start, is_big_endian=first.is_big_endian)
    nbytes = len(rows) * columns * item_bytes
    if nbytes > max(EXPANDED_BYTES_MAX, files.nbytes):
        raise DamagedFileError(
            f"{name!r} in {files.path} repeats its rows to {nbytes} bytes; at most {EXPANDED_BYTES_MAX} are made of "
            "repetition."
        )

    def make(handle: BinaryIO) -> None:
        for row in rows:
            handle.write(_row_bytes(row, item_bytes=item_bytes, files=files))

    start = files.add(f"{files.path} ({name})", nbytes, make)
    return StoredTensor(name, first.dtype, shape, (columns, 1), start, is_big_endian=first.is_big_endian)


def _row_bytes(row: StoredTensor, *, item_bytes: int, files: Files) -> bytes | bytearray:
    """Read the elements of a row, one behind the other."""
    columns, step = row.shape[0], row.strides[0]
    buffer = bytearray(((columns - 1) * step + 1) * item_bytes)
    files.read_into(row.start, memoryview(buffer))
    if step == 1:
        return buffer
    return b"".join(buffer[index * step * item_bytes :][:item_bytes] for index in range(columns))
