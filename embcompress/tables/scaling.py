"""Values of stored codes: FP8 and integers times their scales, block by block."""

from __future__ import annotations

import torch
from torch import Tensor

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.scales import EXPONENTS
from embcompress.checkpoints.tensors import ITEM_BYTES, Scaling, StoredTensor, contiguous_strides
from embcompress.tables.patches import StridedReader

EXPONENT_BIAS = 127  # of E8M0: the byte e stands for 2^(e - 127), and 255 for NaN
EXPONENT_NAN = 255
CHUNK_ROWS = 2048  # of scales that are read at once


class ScaledReader:
    """The rows of a tensor of codes as values.

    Computed in float32, or in float64 where scales are, and rounded once to `dtype`.

    Args:
        codes: of the stored tensor.
        scaling: how values are made of them.
        columns: of values in a row.
        files: that hold codes and scales.
        dtype: of the values.
    """

    def __init__(
        self, codes: StridedReader, scaling: Scaling, *, columns: int, files: Files, dtype: torch.dtype
    ) -> None:
        self.rows, self.dim = codes.rows, columns
        self._codes, self._scaling, self._files, self._dtype = codes, scaling, files, dtype
        self._blocks = {
            tensor.name: _BlockReader(tensor, scaling.block, rows=self.rows, columns=columns, files=files)
            for tensor in scaling.tensors
        }

    def read(self, first: int, count: int) -> Tensor:
        """Read consecutive rows, (count, dim)."""
        return self._values(unpack(self._codes.read(first, count), self._scaling.bits), first, count, slice(None))

    def read_columns(self, first: int, count: int) -> Tensor:
        """Read consecutive columns, transposed: (count, rows)."""
        if self._scaling.bits:
            parts = [
                self.read(row, min(CHUNK_ROWS, self.rows - row))[:, first : first + count].T
                for row in range(0, self.rows, CHUNK_ROWS)
            ]
            return torch.cat(parts, 1)
        codes = self._codes.read_columns(first, count).T  # (rows, count)
        return self._values(codes, 0, self.rows, slice(first, first + count)).T

    def _values(self, codes: Tensor, first: int, count: int, columns: slice) -> Tensor:
        """Scale codes of all or some columns, (count, columns) -> (count, columns)."""
        scaling = self._scaling
        is_wide = any(tensor.dtype == "float64" for tensor in scaling.tensors)
        values = codes.to(torch.float64 if is_wide else torch.float32)
        if scaling.zero:
            values = values - scaling.zero
        if scaling.zeros is not None:
            values = values - self._spread(scaling.zeros, first, count, columns)
        if scaling.scales is not None:
            values = values * self._spread(scaling.scales, first, count, columns)
        if scaling.factor != 1.0:
            values = values * scaling.factor
        if scaling.biases is not None:
            values = values + self._spread(scaling.biases, first, count, columns)
        return values.to(self._dtype)

    def _spread(self, tensor: StoredTensor, first: int, count: int, columns: slice) -> Tensor:
        return self._blocks[tensor.name].spread(first, count)[:, columns]


class _BlockReader:
    """One entry for each block of a tensor, spread over its rows and columns."""

    def __init__(self, tensor: StoredTensor, block: tuple[int, int], *, rows: int, columns: int, files: Files) -> None:
        self._block, self._columns = block, columns
        grid = (-(-rows // block[0]), -(-columns // block[1]))
        flat = StoredTensor(tensor.name, tensor.dtype, grid, contiguous_strides(grid), tensor.start)
        if tensor.dtype in EXPONENTS:
            flat = StoredTensor(tensor.name, "uint8", grid, contiguous_strides(grid), tensor.start)
        self._is_exponent = tensor.dtype in EXPONENTS
        self._reader = StridedReader(flat, files=files, ring_bytes=max(1, grid[1] * ITEM_BYTES[flat.dtype]))

    def spread(self, first: int, count: int) -> Tensor:
        """Give the entries of consecutive rows, (count, columns)."""
        block_rows, block_columns = self._block
        begin, end = first // block_rows, -(-(first + count) // block_rows)
        entries = self._reader.read(begin, end - begin)
        if self._is_exponent:
            powers = torch.pow(2.0, entries.to(torch.float64) - EXPONENT_BIAS).to(torch.float32)
            entries = powers.masked_fill(entries == EXPONENT_NAN, torch.nan)
        elif entries.dtype != torch.float64:
            entries = entries.to(torch.float32)
        if block_rows > 1:
            entries = entries.repeat_interleave(block_rows, 0)[first - begin * block_rows :][:count]
        if block_columns >= self._columns:
            return entries  # one column, which broadcasts
        return entries.repeat_interleave(block_columns, 1)[:, : self._columns]


def unpack(elements: Tensor, bits: int) -> Tensor:
    """Take codes out of integers that hold several, the first in the lowest bits: (count, n) -> (count, n * codes).

    Args:
        elements: integers.
        bits: of a code; 0: each element is one, and is given back as it is.

    Example:
        >>> unpack(torch.tensor([[0x21]], dtype=torch.uint8), 4).tolist()
        [[1, 2]]
    """
    if not bits:
        return elements
    width = 8 * elements.element_size()
    shifts = torch.arange(0, width, bits, dtype=torch.int64)
    words = elements.to(torch.int64) & ((1 << width) - 1)
    codes = (words.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)  # (count, n, codes)
    return codes.flatten(1)
