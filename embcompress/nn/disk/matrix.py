"""Rows of one length, read from a file when they are asked for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embcompress.coding.frozen_kernels import move_strings
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

        Raises:
            ArtifactError: the file was changed, cut or replaced.
        """
        if not len(rows):
            return torch.empty(0, self.columns, dtype=self.dtype)
        unique, inverse = np.unique(rows, return_inverse=True)
        sizes = np.full(len(unique), self.row_bytes)
        parts = self.file.read(unique * self.row_bytes, sizes)
        out = np.empty(len(rows) * self.row_bytes, np.uint8)
        targets = np.arange(len(rows)) * self.row_bytes
        again = inverse.ravel()
        move_strings(parts.buffer, parts.positions[again], sizes[again], targets, out)
        return torch.from_numpy(out).view(self.dtype).view(len(rows), self.columns)
