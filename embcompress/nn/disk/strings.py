"""Strings of a coded table by row, read from the file when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from embcompress.artifact.decoded_rows import Strings
from embcompress.coding.row_index import RowIndex
from embcompress.coding.seekable_index import BLOCK_ROWS, SeekableIndex
from embcompress.nn.disk.file import DiskFile


class DiskStrings(ABC):
    """Strings of rows, by number.

    Args:
        file: that holds them, from the first on.
        index: finds them.
    """

    _index: RowIndex | SeekableIndex

    def __init__(self, file: DiskFile, index: RowIndex | SeekableIndex) -> None:
        self.file, self._index = file, index

    @property
    def nbytes(self) -> int:
        """Count the bytes of all codes."""
        return self._index.nbytes

    @property
    @abstractmethod
    def memory(self) -> int:
        """Count the bytes in memory that finding rows takes."""

    @abstractmethod
    def read(self, rows: NDArray[np.int64]) -> Strings:
        """Read the strings of rows, (count,), in any order, some several times; each place is read once.

        Raises:
            ArtifactError: the file was changed, cut or replaced, or is damaged where a row lies.
        """

    def advise(self, rows: NDArray[np.int64]) -> None:
        """Tell the system of rows, (count,), that will be read."""
        self.file.advise(*self._places(rows))

    @abstractmethod
    def _places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where what is read for rows starts, ascending, and its bytes."""


class SeekableStrings(DiskStrings):
    """Strings that a seekable index finds: 0.13 bytes a row in memory, and one read a row."""

    _index: SeekableIndex

    @property
    def memory(self) -> int:  # noqa: D102 - as in DiskStrings
        return self._index.memory

    def read(self, rows: NDArray[np.int64]) -> Strings:  # noqa: D102 - as in DiskStrings
        blocks, inverse = np.unique(rows // BLOCK_ROWS, return_inverse=True)
        sizes = self._index.sizes(blocks)
        parts = self.file.read(self._index.starts(blocks), sizes)
        decoded = self._index.coder.decode(parts.buffer, parts.positions, sizes, self._index.counts(blocks))
        kinds, lengths, positions = decoded[:, inverse.ravel(), rows % BLOCK_ROWS]
        return Strings(parts.buffer, positions, lengths, kinds)

    def _places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        blocks = np.unique(rows // BLOCK_ROWS)
        return self._index.starts(blocks), self._index.sizes(blocks)


class IndexedStrings(DiskStrings):
    """Strings that an index in memory finds, about 4.5 bytes a row: of tables that were not made with --seekable."""

    _index: RowIndex

    @property
    def memory(self) -> int:  # noqa: D102 - as in DiskStrings
        return self._index.kinds.nbytes + self._index.lengths.nbytes

    def read(self, rows: NDArray[np.int64]) -> Strings:  # noqa: D102 - as in DiskStrings
        unique, inverse = np.unique(rows, return_inverse=True)
        lengths = self._index.lengths[unique].astype(np.int64)
        parts = self.file.read(self._index.positions(unique), lengths)
        again = inverse.ravel()
        kinds = self._index.kinds[rows].astype(np.int64)
        return Strings(parts.buffer, parts.positions[again], lengths[again], kinds)

    def _places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        unique = np.unique(rows)
        return self._index.positions(unique), self._index.lengths[unique].astype(np.int64)
