"""The rows of a table of an open checkpoint, in blocks or one by one, without a bit changed on the way."""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from embcompress.checkpoints.files import Files, read_into
from embcompress.checkpoints.tensors import (
    AS_STORED,
    ITEM_BYTES,
    Piece,
    StoredTensor,
    contiguous_bytes,
    is_contiguous,
)
from embcompress.exceptions import OutputError
from embcompress.tables.patches import StridedReader
from embcompress.tables.scaling import ScaledReader
from embcompress.tables.table import RING_BYTES, as_real, block_rows_for

# Readers of pieces that are kept, with the memory that they read into: of rows below rows one is read after the other,
# of columns beside columns all are for each block.
STACKED_READERS_MAX = 2
BESIDE_READERS_MAX = 64
SAMPLE_CHUNKS = 256  # places from which a sample of rows is read


class TableRows:
    """The rows of a stored tensor as `linalg` asks for them: a Rows over files.

    Blocks are read by pread into one ring of memory, so it does not grow with the file. (Reading ahead
    in a thread gained nothing from a cached file: the products already keep all cores busy.) Where blocks begin
    depends on rows, columns and dtype alone, however many pieces the tensor has.

    Args:
        stored: at least one axis, of a float or complex dtype.
        files: that hold it.
        device: where the blocks go.
        on_rows: called with the number of rows of each block read, for progress.
        block_rows: of consecutive rows read at once; default: by the bytes of a row.
    """

    def __init__(
        self,
        stored: StoredTensor,
        *,
        files: Files,
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
        self._real, self._files = real, files
        self._item_bytes = ITEM_BYTES[real.dtype]
        self._on_rows = on_rows or (lambda _: None)
        self._block_rows = block_rows or block_rows_for(rows=self.rows, dim=self.dim, item_bytes=self._item_bytes)

    def blocks(self) -> Iterator[Tensor]:
        """Yield consecutive rows, (block_rows, dim)."""
        reader = self._open()
        for first in range(0, self.rows, self._block_rows):
            count = min(self._block_rows, self.rows - first)
            yield reader.read(first, count).to(self.device)
            self._on_rows(count)

    def column_blocks(self) -> Iterator[Tensor]:
        """Yield consecutive columns, transposed: (block_columns, rows)."""
        reader = self._open()
        step = block_rows_for(rows=reader.segment_columns, dim=self.rows, item_bytes=self._item_bytes)
        done = 0
        for segment in range(0, self.dim, reader.segment_columns):
            for first in range(0, reader.segment_columns, step):
                count = min(step, reader.segment_columns - first)
                yield reader.read_columns(segment + first, count).to(self.device)
                self._on_rows(self.rows * (done + count) // self.dim - self.rows * done // self.dim)
                done += count

    def read(self, ids: Tensor) -> Tensor:
        """Read a few rows by id, (count,) -> (count, dim), one after the other."""
        reader = self._open(ring_bytes=self.dim * self._item_bytes)
        rows = torch.empty(len(ids), self.dim, dtype=self.dtype)
        for index, number in enumerate(ids.tolist()):
            rows[index] = reader.read(number, 1)[0]
        return rows.to(self.device)

    def sample(self, count: int) -> Tensor:
        """Read about `count` rows, spread evenly over the table in consecutive chunks."""
        reader = self._open()
        firsts, chunk = self._sample_chunks(count)
        return torch.cat([reader.read(first, chunk).clone() for first in firsts]).to(self.device)

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

    def _open(self, *, ring_bytes: int = RING_BYTES) -> StridedReader | _JoinedReader:
        """Open a reader, whose memory is its own."""
        if self._real.pieces:
            return _JoinedReader(self._real, files=self._files, ring_bytes=ring_bytes)
        return StridedReader(self._real, files=self._files, ring_bytes=ring_bytes)


class _JoinedReader:
    """The rows of a real tensor that is made of pieces."""

    def __init__(self, stored: StoredTensor, *, files: Files, ring_bytes: int) -> None:
        self.rows = stored.shape[0]
        self.dim = self.segment_columns = math.prod(stored.shape[1:])
        self._dtype: torch.dtype = getattr(torch, stored.dtype)
        self._files = files
        self._pieces = stored.pieces  # ascending by row
        self._firsts = [piece.row for piece in self._pieces]
        self._rows_max = max(piece.rows for piece in self._pieces)
        is_stacked = all(piece.columns == self.dim for piece in self._pieces)
        self._readers_max = STACKED_READERS_MAX if is_stacked else BESIDE_READERS_MAX
        self._ring_bytes = ring_bytes // min(len(self._pieces), STACKED_READERS_MAX) if is_stacked else 0
        self._readers: dict[int, StridedReader | ScaledReader] = {}

    def read(self, first: int, count: int) -> Tensor:
        """Read consecutive rows, (count, dim), valid until the next read."""
        indices = self._touched(first, count)
        if len(indices) == 1 and self._pieces[indices[0]].columns == self.dim:
            return self._read_piece(indices[0], first, count)
        result = torch.empty(count, self.dim, dtype=self._dtype)
        for index in indices:
            piece = self._pieces[index]
            begin, end = max(first, piece.row), min(first + count, piece.row + piece.rows)
            columns = slice(piece.column, piece.column + piece.columns)
            result[begin - first : end - first, columns] = self._read_piece(index, begin, end - begin)
        return result

    def read_columns(self, first: int, count: int) -> Tensor:
        """Read consecutive columns, transposed: (count, rows)."""
        result = torch.empty(count, self.rows, dtype=self._dtype)
        for index, piece in enumerate(self._pieces):
            begin, end = max(first, piece.column), min(first + count, piece.column + piece.columns)
            reader = self._reader(index)
            step = reader.segment_columns if isinstance(reader, StridedReader) else end - begin
            column = begin
            while column < end:
                inner = column - piece.column
                width = min(end - column, step - inner % step)
                part = reader.read_columns(inner, width)  # (width, rows of the piece)
                result[column - first : column - first + width, piece.row : piece.row + piece.rows] = part
                column += width
        return result

    def _touched(self, first: int, count: int) -> list[int]:
        """Find the pieces that hold some of the rows."""
        begin = bisect_right(self._firsts, first - self._rows_max)
        end = bisect_right(self._firsts, first + count - 1)
        return [index for index in range(begin, end) if self._pieces[index].row + self._pieces[index].rows > first]

    def _read_piece(self, index: int, first: int, count: int) -> Tensor:
        return self._reader(index).read(first - self._pieces[index].row, count).to(self._dtype)

    def _reader(self, index: int) -> StridedReader | ScaledReader:
        """Find or open the reader of a piece."""
        if index not in self._readers:
            while len(self._readers) >= self._readers_max:
                self._readers.pop(next(iter(self._readers)))
            piece = self._pieces[index]
            self._readers[index] = _open_piece(piece, dtype=self._dtype, files=self._files, ring_bytes=self._ring_bytes)
        return self._readers[index]


def _open_piece(piece: Piece, *, dtype: torch.dtype, files: Files, ring_bytes: int) -> StridedReader | ScaledReader:
    codes = StridedReader(as_real(piece.tensor), files=files, ring_bytes=ring_bytes)
    if piece.scaling == AS_STORED:
        return codes
    return ScaledReader(codes, piece.scaling, columns=piece.columns, files=files, dtype=dtype)


class StoredRows:
    """Single rows of a stored tensor in any order, as bytes: no bit is changed on the way.

    Args:
        stored: at least one axis, of any dtype. A tensor whose rows do not lie in one piece is first copied to a file
            without a name, which the system removes by itself.
        files: that hold it.
        folder: where that copy goes.
    """

    def __init__(self, stored: StoredTensor, *, files: Files, folder: Path) -> None:
        self.row_bytes = stored.nbytes // max(stored.shape[0], 1)
        self._files, self._start = files, stored.start
        if not is_contiguous(stored):
            copy = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - the next line
            weakref.finalize(self, copy.close)
            self._files, self._start = Files.of(copy), 0
            try:
                for part in read_bytes(stored, files=files):
                    copy.write(part)
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
        file, position = self._files.locate(self._start)
        view, descriptor, preadv = memoryview(self._buffer), file.fileno(), os.preadv
        for first, last, row in zip(firsts, firsts[1:], rows[firsts[:-1]].tolist(), strict=False):
            part, start = view[first * width : last * width], position + row * width
            if preadv(descriptor, [part], start) < len(part):  # a million of these are most of what this takes
                read_into(file, start, part)
        return torch.frombuffer(self._buffer, dtype=torch.uint8, count=count * width).view(count, width)


def read_bytes(stored: StoredTensor, *, files: Files) -> Iterator[memoryview]:
    """Yield the dense, row-major bytes of a tensor of any dtype and strides, in blocks, those of its values if scaled.

    What is stored is moved bit for bit.
    """
    if stored.numel == 0:
        return
    if is_contiguous(stored):
        yield from contiguous_bytes(stored, files=files)
        # Of a model of hundreds of such tensors, all would fill the disk.
        files.release(stored.start)
        return
    real = as_real(stored if stored.shape else replace(stored, shape=(1,), strides=(1,)))
    if all(piece.scaling == AS_STORED and piece.tensor.dtype == stored.dtype for piece in stored.pieces):
        real = _carried(real)
    for block in TableRows(real, files=files).blocks():
        yield tensor_bytes(block)


def _carried(stored: StoredTensor) -> StoredTensor:
    """View a real tensor as integers of the same width, so that no NaN is made quiet on the way."""
    carrier = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}[ITEM_BYTES[stored.dtype]]
    pieces = tuple(replace(piece, tensor=replace(piece.tensor, dtype=carrier)) for piece in stored.pieces)
    return replace(stored, dtype=carrier, pieces=pieces)


def tensor_bytes(values: Tensor) -> memoryview:
    """Copy a tensor's elements, row-major, from whatever device to bytes."""
    if values.numel() == 0:
        return memoryview(b"")
    buffer = bytearray(values.numel() * values.element_size())
    torch.frombuffer(buffer, dtype=values.dtype).view(values.shape).copy_(values)
    return memoryview(buffer)
