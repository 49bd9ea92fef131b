"""The rows of a table of an open checkpoint, in blocks or one by one, without a bit changed on the way."""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from embcompress.checkpoints.tensors import ITEM_BYTES, StoredTensor, contiguous_bytes, is_contiguous, read_into
from embcompress.exceptions import OutputError
from embcompress.tables.table import BLOCK_BYTES_MAX, RING_BYTES, as_real, block_rows_for

ALIGNMENT = 4096  # of blocks, in bytes: products over rows that straddle cache lines took twice as long
SAMPLE_CHUNKS = 256  # places from which a sample of rows is read
SPARSE_READ = 4  # a strided patch is read in one piece while that reads at most this many times its own bytes


class TableRows:
    """The rows of a stored tensor as `linalg` asks for them: a Rows over a file.

    Blocks are read by pread into one ring of memory, so it does not grow with the file. (Reading ahead
    in a thread gained nothing from a cached file: the products already keep all cores busy.)

    Args:
        stored: at least one axis, of a float or complex dtype.
        file: the open file that holds it.
        device: where the blocks go.
        on_rows: called with the number of rows of each block read, for progress.
        block_rows: of consecutive rows read at once; default: by the bytes of a row.
    """

    def __init__(
        self,
        stored: StoredTensor,
        *,
        file: BinaryIO,
        device: str = "cpu",
        on_rows: Callable[[int], None] | None = None,
        block_rows: int | None = None,
    ) -> None:
        real = as_real(stored)
        self.name = f"table {stored.name!r}"
        self.rows = real.shape[0]
        self.dim = math.prod(real.shape[1:])
        self.dtype: torch.dtype = getattr(torch, real.dtype)
        self.device = torch.device(device)
        self._file = file
        self._start = real.start
        self._item_bytes = ITEM_BYTES[real.dtype]
        self._table_bytes = real.numel * self._item_bytes
        self._row_step = real.strides[0]
        self._segments, self._columns, self._column_step = _flatten(real.shape[1:], real.strides[1:])
        self._on_rows = on_rows or (lambda _: None)
        self._block_rows = block_rows or block_rows_for(rows=self.rows, dim=self.dim, item_bytes=self._item_bytes)

    def blocks(self) -> Iterator[Tensor]:
        """Yield consecutive rows, (block_rows, dim)."""
        reader = _PatchReader(self._file, self.dtype, self._item_bytes, table_bytes=self._table_bytes)
        for first in range(0, self.rows, self._block_rows):
            count = min(self._block_rows, self.rows - first)
            yield self._read(reader, first, count).to(self.device)
            self._on_rows(count)

    def column_blocks(self) -> Iterator[Tensor]:
        """Yield consecutive columns, transposed: (block_columns, rows)."""
        reader = _PatchReader(self._file, self.dtype, self._item_bytes, table_bytes=self._table_bytes)
        step = block_rows_for(rows=self._columns, dim=self.rows, item_bytes=self._item_bytes)
        done = 0
        for segment in self._segments:
            for first in range(0, self._columns, step):
                count = min(step, self._columns - first)
                start = self._start + (segment + first * self._column_step) * self._item_bytes
                patch = reader.read(start, (count, self.rows), (self._column_step, self._row_step))
                yield patch.to(self.device)
                self._on_rows(self.rows * (done + count) // self.dim - self.rows * done // self.dim)
                done += count

    def read(self, ids: Tensor) -> Tensor:
        """Read a few rows by id, (count,) -> (count, dim), one after the other."""
        row_bytes = self.dim * self._item_bytes
        reader = _PatchReader(self._file, self.dtype, self._item_bytes, table_bytes=row_bytes)
        found = torch.empty(len(ids), self.dim, dtype=self.dtype)
        for place, number in enumerate(ids.tolist()):
            found[place] = self._read(reader, number, 1)[0]
        return found.to(self.device)

    def sample(self, count: int) -> Tensor:
        """Read about `count` rows, spread evenly over the table in consecutive chunks."""
        reader = _PatchReader(self._file, self.dtype, self._item_bytes, table_bytes=self._table_bytes)
        firsts, chunk = self._sample_chunks(count)
        return torch.cat([self._read(reader, first, chunk).clone() for first in firsts]).to(self.device)

    def sample_ids(self, count: int) -> Tensor:
        """Tell the ids of the rows that `sample(count)` reads, (about count,) int64."""
        firsts, chunk = self._sample_chunks(count)
        return (torch.tensor(firsts)[:, None] + torch.arange(chunk)).flatten()  # (chunks, chunk) -> (chunks * chunk,)

    def _sample_chunks(self, count: int) -> tuple[range, int]:
        """Choose the first row of each chunk of a sample, and the rows of a chunk."""
        if count >= self.rows:
            return range(1), self.rows
        count = max(1, count)
        chunk = min(max(1, count // SAMPLE_CHUNKS), self.rows)
        gap = max(1, chunk, self.rows * chunk // count)
        return range(0, self.rows - chunk + 1, gap), chunk

    def _read(self, reader: _PatchReader, first: int, count: int) -> Tensor:
        start = self._start + first * self._row_step * self._item_bytes
        if len(self._segments) == 1:
            return reader.read(start, (count, self.dim), (self._row_step, self._column_step))
        result = torch.empty(count, len(self._segments), self._columns, dtype=self.dtype)
        for index, segment in enumerate(self._segments):
            patch_start = start + segment * self._item_bytes
            result[:, index] = reader.read(patch_start, (count, self._columns), (self._row_step, self._column_step))
        return result.view(count, self.dim)


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

    def __init__(self, file: BinaryIO, dtype: torch.dtype, item_bytes: int, *, table_bytes: int) -> None:
        self._file = file
        self._ring_bytes = min(RING_BYTES, table_bytes)
        self._dtype = dtype
        self._item_bytes = item_bytes
        self._buffer = bytearray()
        self._start = 0  # of the first aligned byte
        self._next = 0  # of the first byte behind the latest block

    def read(self, start: int, shape: tuple[int, int], strides: tuple[int, int]) -> Tensor:
        """Read (count, columns) elements from byte `start`; strides in elements. Valid until the next read."""
        if not shape[0] * shape[1]:
            return torch.empty(shape, dtype=self._dtype)
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
        result = torch.empty(shape, dtype=self._dtype)
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
        piece = length * self._item_bytes
        needed = piece * len(starts)
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
            read_into(self._file, start, whole[index * piece : (index + 1) * piece])
        count = needed // self._item_bytes
        return torch.frombuffer(self._buffer, dtype=self._dtype, count=count, offset=offset)


class StoredRows:
    """Single rows of a stored tensor in any order, as bytes: no bit is changed on the way.

    Args:
        stored: at least one axis, of any dtype. A tensor whose rows do not lie in one piece is first copied to a file
            without a name, which the system removes by itself.
        file: the open file that holds it.
        folder: where that copy goes.
    """

    def __init__(self, stored: StoredTensor, *, file: BinaryIO, folder: Path) -> None:
        self.row_bytes = stored.nbytes // max(stored.shape[0], 1)
        self._file, self._start = file, stored.start
        if not is_contiguous(stored):
            self._file, self._start = tempfile.TemporaryFile(dir=folder, buffering=0), 0  # noqa: SIM115 - the next line
            weakref.finalize(self, self._file.close)
            try:
                for part in read_bytes(stored, file=file):
                    self._file.write(part)
            except OSError as err:
                raise OutputError(
                    f"{folder} has no room for a copy of {stored.name!r}, whose rows lie apart: {err.strerror}.",
                    hint=f"It takes {stored.nbytes} bytes while the run lasts; free some, or name another --output.",
                ) from err
        self._buffer = bytearray()

    def read(self, rows: Tensor) -> Tensor:
        """Read rows by number, (count,) -> (count, row_bytes) uint8, valid until the next read.

        Rows that follow each other in the file are read at once.
        """
        count, width = len(rows), self.row_bytes
        if not count * width:
            return torch.empty(count, width, dtype=torch.uint8)
        if len(self._buffer) < count * width:
            self._buffer = bytearray(count * width)
        firsts = [0, *((rows[1:] != rows[:-1] + 1).nonzero().squeeze(1) + 1).tolist(), count]
        view, descriptor, preadv = memoryview(self._buffer), self._file.fileno(), os.preadv
        for first, last, row in zip(firsts, firsts[1:], rows[firsts[:-1]].tolist(), strict=False):
            part, start = view[first * width : last * width], self._start + row * width
            if preadv(descriptor, [part], start) < len(part):  # a million of these are most of what this takes
                read_into(self._file, start, part)
        return torch.frombuffer(self._buffer, dtype=torch.uint8, count=count * width).view(count, width)


def read_bytes(stored: StoredTensor, *, file: BinaryIO) -> Iterator[memoryview]:
    """Yield the dense, row-major bytes of a tensor of any dtype and strides, bit for bit, in blocks."""
    if stored.numel == 0:
        return
    if is_contiguous(stored):
        yield from contiguous_bytes(stored, file=file)
        return
    # Bytes are moved as they are: through an integer view, so that no NaN is made quiet on the way.
    real = as_real(stored)
    carrier = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}[ITEM_BYTES[real.dtype]]
    rows = TableRows(replace(real, dtype=carrier), file=file)
    for block in rows.blocks():
        yield tensor_bytes(block)


def tensor_bytes(values: Tensor) -> memoryview:
    """Copy a tensor's elements, row-major, from whatever device to bytes."""
    if values.numel() == 0:
        return memoryview(b"")
    buffer = bytearray(values.numel() * values.element_size())
    torch.frombuffer(buffer, dtype=values.dtype).view(values.shape).copy_(values)
    return memoryview(buffer)
