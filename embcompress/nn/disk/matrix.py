"""Rows of one length, read from a file when they are asked for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embcompress.coding.index_kernels import move_strings
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.disk.file import DiskFile


class DiskMatrix:
    """Rows of a matrix in a file, each as long as the others.

    Args:
        file: that holds it, from its first row on.
        rows: of it.
        columns: of it.
        dtype: of its entries.
    """

    def __init__(self, file: DiskFile, *, rows: int, columns: int, dtype: torch.dtype) -> None:
        self.file, self.rows, self.columns, self.dtype = file, rows, columns, dtype
        self.row_bytes = columns * dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Count its bytes."""
        return self.rows * self.row_bytes

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Read rows by number, (count,) -> (count, columns), each place once.

        Holds twice the rows, and of BLOCK_ROWS of them what lies between, a page a row at most.

        Raises:
            ArtifactError: the file was changed, cut or replaced.
        """
        if not len(rows):
            return torch.empty(0, self.columns, dtype=self.dtype)
        unique, inverse = np.unique(rows, return_inverse=True)
        found = np.empty((len(unique), self.row_bytes), np.uint8)
        for first in range(0, len(unique), BLOCK_ROWS):
            self._fill(found[first : first + BLOCK_ROWS], unique[first : first + BLOCK_ROWS])
        # Rows that were asked for in order are not copied again.
        out = found if np.array_equal(unique, rows) else found[inverse.ravel()]
        return torch.from_numpy(out).view(self.dtype)

    def _fill(self, out: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        """Read rows, (count,) ascending, into their bytes, (count, row_bytes)."""
        sizes = np.full(len(rows), self.row_bytes, np.int64)
        parts = self.file.read(rows * self.row_bytes, sizes)
        move_strings(parts.buffer, parts.positions, sizes, sizes.cumsum() - sizes, out.ravel())
