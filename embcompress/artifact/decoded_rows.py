"""The rows of a compressed table multiplied out: block by block, in the order of the table, or single ones."""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embcompress.artifact.coded import read_coded, read_windowed
from embcompress.artifact.reader import Artifact
from embcompress.artifact.schema import CompressedTable
from embcompress.artifact.tensors import check_finite, read_factor
from embcompress.checkpoints import StoredTensor
from embcompress.checkpoints.files import Files, read_into
from embcompress.coding.codebook import Codebook
from embcompress.coding.coder import decode_block
from embcompress.coding.read_kernels import PADDING
from embcompress.coding.row_index import RowIndex
from embcompress.coding.window_codebook import indices_in_groups
from embcompress.coding.window_decoder import WindowDecoder
from embcompress.linalg.blocks import full_float32
from embcompress.linalg.solvers import MATRICES_BYTES
from embcompress.tables.rows import StoredRows, tensor_bytes


class DecodedRows(ABC):
    """The rows that a compressed table decodes to, complex entries as pairs of reals.

    Nothing is rounded to the dtype of the original, nor clamped to its range. What is read in order is checked by
    `check` at the end; what decodes it, when it is opened.

    Args:
        artifact: an open one.
        table: of it.
        dtype: float32 or float64, in which rows are multiplied out.
        device: where.

    Raises:
        ArtifactError: what decodes the rows does not have the checksum of the header, or does not fit together.
    """

    def __init__(self, artifact: Artifact, table: CompressedTable, *, dtype: torch.dtype, device: str) -> None:
        self.artifact, self.table, self.dtype, self.device = artifact, table, dtype, device
        self._next = 0
        self._stored = self._row_tensors()
        self._readers = [
            StoredRows(stored, files=artifact.checkpoint.files, folder=artifact.checkpoint.path.parent)
            for stored in self._stored
        ]
        self._checksums = [0] * len(self._stored)

    @abstractmethod
    def _row_tensors(self) -> Sequence[StoredTensor]:
        """Name the stored tensors that have a row, or a part of the rows, for each row of the table."""

    def read_next(self, count: int) -> Tensor:
        """Read the next rows, (count, dim); valid until the next read."""
        first, self._next = self._next, self._next + count
        return self._decode(torch.arange(first, first + count), is_in_order=True)

    def read(self, ids: Tensor) -> Tensor:
        """Read rows by id, (count,) -> (count, dim), without a checksum; valid until the next read."""
        return self._decode(ids, is_in_order=False)

    def check(self) -> None:
        """Compare the checksums of what was read in order, to be called after the last row.

        Raises:
            ArtifactError: the file was changed or damaged.
        """
        for stored, checksum in zip(self._stored, self._checksums, strict=True):
            self.artifact.check(stored, checksum)

    @abstractmethod
    def _decode(self, ids: Tensor, *, is_in_order: bool) -> Tensor:
        """Decode rows by id, (count,) -> (count, dim); those that come in order are added to the checksums."""

    def _stored_rows(self, number: int, rows: Tensor, *, is_in_order: bool) -> Tensor:
        """Read rows of one of the row tensors as bytes, (count, row bytes) uint8."""
        part = self._readers[number].read(rows)
        if is_in_order:
            self._checksums[number] = zlib.crc32(tensor_bytes(part), self._checksums[number])
        return part


class PlainRows(DecodedRows):
    """Rows of weights as floats over shared bases."""

    def __init__(self, artifact: Artifact, table: CompressedTable, *, dtype: torch.dtype, device: str) -> None:
        super().__init__(artifact, table, dtype=dtype, device=device)
        bases = read_factor(artifact, artifact.bases(table))
        real = torch.view_as_real(bases) if bases.is_complex() else bases
        self._bases = real.flatten(1).to(device, dtype)  # (rank, dim)
        # Used again for each block: new memory for each left up to 180 MB behind, torn in pieces.
        self._buffer = self._bases.new_empty(0, self._bases.shape[1])
        self._weights_dtype: torch.dtype = getattr(torch, artifact.weights(table).dtype)

    def _row_tensors(self) -> Sequence[StoredTensor]:
        return (self.artifact.weights(self.table),)

    def _decode(self, ids: Tensor, *, is_in_order: bool) -> Tensor:
        weights = self._stored_rows(0, ids, is_in_order=is_in_order).view(self._weights_dtype)  # (count, rank)
        check_finite(weights, self._stored[0], artifact=self.artifact)
        if len(self._buffer) < len(ids):
            self._buffer = self._bases.new_empty(len(ids), self._bases.shape[1])
        with full_float32():
            return torch.mm(weights.to(self.device, self.dtype), self._bases, out=self._buffer[: len(ids)])


class MatrixRows(DecodedRows):
    """Rows of matrices that are each the product of a left and a right factor."""

    def _row_tensors(self) -> Sequence[StoredTensor]:
        return self.artifact.factors(self.table)

    def _decode(self, ids: Tensor, *, is_in_order: bool) -> Tensor:
        assert self.table.matrix is not None
        factors = []
        for number, (stored, side) in enumerate(zip(self._stored, self.table.matrix, strict=True)):
            part = self._stored_rows(number, ids, is_in_order=is_in_order).view(getattr(torch, stored.dtype))
            check_finite(part, stored, artifact=self.artifact)
            factors.append(part.to(self.device, self.dtype).reshape(-1, side, self.table.rank))
        left, right = factors  # (matrices, in1, rank), (matrices, in2, rank)
        in1, in2 = self.table.matrix
        step = max(1, MATRICES_BYTES // (8 * in1 * in2))
        made = left.new_empty(len(left), in1, in2)
        with full_float32():
            for first in range(0, len(left), step):
                here = slice(first, first + step)
                torch.bmm(left[here], right[here].mT, out=made[here])
        return made.view(len(ids), -1)


@dataclass(frozen=True)
class Strings:
    """Strings of some rows in memory.

    Attributes:
        codes: uint8, in the order of the rows, of a seekable table with the heads of the blocks that begin with one of
            them, and PADDING bytes behind the last that play no part.
        positions: (count,) int64, where each starts.
        lengths: (count,) int64, bytes of each.
        kinds: (count,) int64, of the rows.
    """

    codes: NDArray[np.uint8]
    positions: NDArray[np.int64]
    lengths: NDArray[np.int64]
    kinds: NDArray[np.int64]

    @property
    def used(self) -> memoryview:
        """The bytes that lie in the file."""
        return self.codes.data[: len(self.codes) - PADDING]

    def decode(self, codebook: Codebook) -> Tensor:
        """Decode them to weights, (count, rank) float32."""
        return decode_block(
            self.codes,
            self.positions,
            self.lengths,
            kinds=self.kinds,
            steps=codebook.row_steps(self.kinds),
            codebook=codebook,
            threads=torch.get_num_threads(),
        )


class StringReader:
    """Strings of a coded table by row, in any order.

    Args:
        codes: the tensor that they lie in.
        index: where.
        files: that hold it.
    """

    def __init__(self, codes: StoredTensor, index: RowIndex, *, files: Files) -> None:
        self._codes, self._index, self._files = codes, index, files

    def read(self, rows: NDArray[np.int64]) -> Strings:
        """Read the strings of rows by number, (count,); of rows that follow each other at once."""
        kinds, lengths = self._index.kinds[rows].astype(np.int64), self._index.lengths[rows].astype(np.int64)
        # A head takes part like a string of the row behind it.
        heads = self._index.heads_before(rows)
        ends = (lengths + heads).cumsum()
        codes = np.empty((int(ends[-1]) if len(ends) else 0) + PADDING, np.uint8)
        codes[-PADDING:] = 0
        firsts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        file, position = self._files.locate(self._codes.start)
        starts = (self._index.positions(rows[firsts]) - heads[firsts] + position).tolist()
        places = [*(ends - lengths - heads)[firsts].tolist(), len(codes) - PADDING]
        view, descriptor, preadv = codes.data, file.fileno(), os.preadv
        for start, begin, end in zip(starts, places[:-1], places[1:], strict=True):
            part = view[begin:end]
            if preadv(descriptor, [part], start) < len(part):  # a million of these are most of what this takes
                read_into(file, start, part)
        return Strings(codes, ends - lengths, lengths, kinds)


class CodedRows(DecodedRows):
    """Rows of weights as codes."""

    def __init__(self, artifact: Artifact, table: CompressedTable, *, dtype: torch.dtype, device: str) -> None:
        super().__init__(artifact, table, dtype=dtype, device=device)
        factors = read_coded(artifact, table)
        self._codebook = factors.codebook
        self._bases = None if factors.bases is None else factors.bases.to(device, dtype)
        self._strings = StringReader(self._stored[0], factors.index, files=artifact.checkpoint.files)

    def _row_tensors(self) -> Sequence[StoredTensor]:
        return self.artifact.codes(self.table)

    def _decode(self, ids: Tensor, *, is_in_order: bool) -> Tensor:
        strings = self._strings.read(ids.numpy())
        if is_in_order:
            self._checksums[0] = zlib.crc32(strings.used, self._checksums[0])
        weights = strings.decode(self._codebook).to(self.device, self.dtype)
        if self._bases is None:
            return weights
        with full_float32():
            return weights @ self._bases


class WindowedRows(DecodedRows):
    """Rows of weights as codes of schema 1."""

    def __init__(self, artifact: Artifact, table: CompressedTable, *, dtype: torch.dtype, device: str) -> None:
        super().__init__(artifact, table, dtype=dtype, device=device)
        factors = read_windowed(artifact, table)
        self._decoder = WindowDecoder(factors.codebook, factors.bases, dtype=dtype, device=torch.device(device))
        self._groups = factors.groups_of_rows
        self._indices = indices_in_groups(self._groups, groups=len(self._stored))

    def _row_tensors(self) -> Sequence[StoredTensor]:
        return self.artifact.codes(self.table)

    def _decode(self, ids: Tensor, *, is_in_order: bool) -> Tensor:
        groups, indices = self._groups[ids], self._indices[ids].long()
        codes = [
            self._stored_rows(group, indices[groups == group], is_in_order=is_in_order)
            for group in range(len(self._stored))
        ]
        return self._decoder.decode(codes, groups)


def open_decoded_rows(artifact: Artifact, table: CompressedTable, *, dtype: torch.dtype, device: str) -> DecodedRows:
    """Open the rows of a table of an artifact, whatever its kind and coding: the arguments of DecodedRows."""
    if table.is_coded:
        return (WindowedRows if table.is_windowed else CodedRows)(artifact, table, dtype=dtype, device=device)
    kind = PlainRows if table.matrix is None else MatrixRows
    return kind(artifact, table, dtype=dtype, device=device)
