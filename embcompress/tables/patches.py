"""Strided patches of a file, read into memory that is used again."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.tensors import ITEM_BYTES, StoredTensor
from embcompress.tables.table import BLOCK_BYTES_MAX, RING_BYTES

ALIGNMENT = 4096  # of blocks, in bytes: products over rows that straddle cache lines took twice as long
SPARSE_READ = 4  # a strided patch is read in one go while that reads at most this many times its own bytes


class StridedReader:
    """The rows of a stored real tensor that has no pieces, flattened.

    Args:
        stored: at least one axis.
        files: that hold it.
        ring_bytes: of the memory that blocks are read into.
    """

    def __init__(self, stored: StoredTensor, *, files: Files, ring_bytes: int = RING_BYTES) -> None:
        self.rows = stored.shape[0]
        self.dim = math.prod(stored.shape[1:])
        self._item_bytes = ITEM_BYTES[stored.dtype]
        self._start, self._row_step = stored.start, stored.strides[0]
        self._segments, self._columns, self._column_step = _flatten(stored.shape[1:], stored.strides[1:])
        self._patches = _PatchReader(stored, files, ring_bytes=min(ring_bytes, stored.nbytes))

    def read(self, first: int, count: int) -> Tensor:
        """Read consecutive rows, (count, dim), valid until the next read."""
        start = self._start + first * self._row_step * self._item_bytes
        if len(self._segments) == 1:
            return self._patches.read(start, (count, self.dim), (self._row_step, self._column_step))
        result = torch.empty(count, len(self._segments), self._columns, dtype=self._patches.dtype)
        for index, segment in enumerate(self._segments):
            segment_start = start + segment * self._item_bytes
            result[:, index] = self._patches.read(
                segment_start, (count, self._columns), (self._row_step, self._column_step)
            )
        return result.view(count, self.dim)

    def read_columns(self, first: int, count: int) -> Tensor:
        """Read consecutive columns, transposed: (count, rows), valid until the next read; all of one segment."""
        segment, column = divmod(first, self._columns)
        start = self._start + (self._segments[segment] + column * self._column_step) * self._item_bytes
        return self._patches.read(start, (count, self.rows), (self._column_step, self._row_step))

    @property
    def segment_columns(self) -> int:
        """Count the columns of a segment: those that are one step apart."""
        return self._columns


def _flatten(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
    """Flatten axes as far as their strides allow.

    Returns:
        Offsets of the segments in row-major order, columns of each segment, step between columns; in elements.
    """
    columns, step, axis = 1, 1, len(shape)
    while axis and (columns == 1 or shape[axis - 1] == 1 or strides[axis - 1] == columns * step):
        if columns == 1 and shape[axis - 1] != 1:
            step = strides[axis - 1]
        columns *= shape[axis - 1]
        axis -= 1
    offsets: tuple[int, ...] = (0,)
    for size, stride in zip(shape[:axis], strides[:axis], strict=True):
        offsets = tuple(offset + index * stride for offset in offsets for index in range(size))
    return offsets, columns, step


class _PatchReader:
    """Reads strided patches of a file into one ring of memory; the latest is always whole."""

    def __init__(self, stored: StoredTensor, files: Files, *, ring_bytes: int) -> None:
        self.dtype: torch.dtype = getattr(torch, stored.dtype)
        self._files = files
        self._ring_bytes = ring_bytes
        self._item_bytes = ITEM_BYTES[stored.dtype]
        self._is_swapped = stored.is_big_endian and self._item_bytes > 1
        self._buffer = bytearray()
        self._start = 0  # of the first aligned byte
        self._next = 0  # of the first byte behind the latest block

    def read(self, start: int, shape: tuple[int, int], strides: tuple[int, int]) -> Tensor:
        """Read (count, columns) elements from byte `start`; strides in elements. Valid until the next read."""
        if not shape[0] * shape[1]:
            return torch.empty(shape, dtype=self.dtype)
        if shape[0] > 1 and strides[0] < strides[1]:  # the long way through the file comes first
            return self.read(start, (shape[1], shape[0]), (strides[1], strides[0])).T
        (count, columns), (row_step, column_step) = shape, strides
        row_span = (columns - 1) * column_step + 1
        span = (count - 1) * row_step + row_span
        is_whole = span <= SPARSE_READ * count * columns
        if (span if is_whole else count * row_span) * self._item_bytes > BLOCK_BYTES_MAX:
            return self._read_halves(start, shape, strides)
        if is_whole:
            return self._fill([start], span).as_strided((count, columns), (row_step, column_step))
        starts = [start + row * row_step * self._item_bytes for row in range(count)]
        return self._fill(starts, row_span).as_strided((count, columns), (row_span, column_step))

    def _read_halves(self, start: int, shape: tuple[int, int], strides: tuple[int, int]) -> Tensor:
        """Read a patch whose elements lie too far apart for the buffer, in two, and pack it."""
        (count, columns), (row_step, column_step) = shape, strides
        result = torch.empty(shape, dtype=self.dtype)
        if count > 1:
            half = count // 2
            result[:half] = self.read(start, (half, columns), strides)
            result[half:] = self.read(start + half * row_step * self._item_bytes, (count - half, columns), strides)
        else:
            half = columns // 2
            result[:, :half] = self.read(start, (1, half), strides)
            result[:, half:] = self.read(start + half * column_step * self._item_bytes, (1, columns - half), strides)
        return result

    def _fill(self, starts: list[int], length: int) -> Tensor:
        """Read `length` elements from each of the starts, one after the other."""
        part = length * self._item_bytes
        needed = part * len(starts)
        padded = -(-needed // ALIGNMENT) * ALIGNMENT
        if len(self._buffer) < padded + ALIGNMENT:
            self._buffer = bytearray(max(padded, self._ring_bytes) + ALIGNMENT)
            self._start = -torch.frombuffer(self._buffer, dtype=torch.uint8).data_ptr() % ALIGNMENT
            self._next = self._start
        if self._next + padded > len(self._buffer):
            self._next = self._start
        offset, self._next = self._next, self._next + padded
        whole = memoryview(self._buffer)[offset:]
        for index, start in enumerate(starts):
            self._files.read_into(start, whole[index * part : (index + 1) * part])
        if self._is_swapped:
            raw = torch.frombuffer(self._buffer, dtype=torch.uint8, count=needed, offset=offset)
            raw.copy_(raw.view(-1, self._item_bytes).flip(1).flatten())
        count = needed // self._item_bytes
        return torch.frombuffer(self._buffer, dtype=self.dtype, count=count, offset=offset)
