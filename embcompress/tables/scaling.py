"""Values of stored codes: FP8 and integers times their scales, block by block."""

from __future__ import annotations

import math
from dataclasses import replace

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

    Computed in float32, or in float64 where scales are, and rounded to `dtype`; with biases, as MLX does, the products
    too.

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
        self._blocks: dict[str, _BlockReader | _PackedColumns] = {
            tensor.name: _BlockReader(
                tensor,
                scaling.block,
                rows=self.rows,
                columns=columns,
                files=files,
                # Zero points may be uint8, too, and are numbers.
                is_exponent=tensor is scaling.scales and tensor.dtype in EXPONENTS,
            )
            for tensor in scaling.tensors
        }
        if scaling.zeros is not None and scaling.zero_bits:
            packed = _PackedColumns(
                scaling.zeros, scaling.zero_bits, block_columns=scaling.block[1], columns=columns, files=files
            )
            self._blocks[scaling.zeros.name] = packed

    def read(self, first: int, count: int) -> Tensor:
        """Read consecutive rows, (count, dim)."""
        codes = unpack(self._codes.read(first, count), self._scaling.bits)[:, : self.dim]
        return self._values(codes, first, count, slice(None))

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
            values = values.to(self._dtype) + self._spread(scaling.biases, first, count, columns).to(self._dtype)
        return values.to(self._dtype)

    def _spread(self, tensor: StoredTensor, first: int, count: int, columns: slice) -> Tensor:
        return self._blocks[tensor.name].spread(first, count)[:, columns]


class _BlockReader:
    """One entry for each block of a tensor, spread over its rows and columns."""

    def __init__(
        self,
        tensor: StoredTensor,
        block: tuple[int, int],
        *,
        rows: int,
        columns: int,
        files: Files,
        is_exponent: bool,
    ) -> None:
        self._block, self._columns = block, columns
        grid = (-(-rows // block[0]), -(-columns // block[1]))
        dtype = "uint8" if is_exponent else tensor.dtype
        flat = replace(tensor, dtype=dtype, shape=grid, strides=contiguous_strides(grid))
        self._is_exponent = is_exponent
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


class _PackedColumns:
    """Integers of which those of a column are one string of bits, spread over the columns of their blocks.

    Args:
        tensor: (words of a column, blocks of a row).
        bits: of an integer.
        block_columns: that share one.
        columns: in all.
        files: that hold it.
    """

    def __init__(self, tensor: StoredTensor, bits: int, *, block_columns: int, columns: int, files: Files) -> None:
        self._bits, self._block_columns, self._columns = bits, block_columns, columns
        self._word_bits = 8 * ITEM_BYTES[tensor.dtype]
        self._reader = StridedReader(tensor, files=files)

    def spread(self, first: int, count: int) -> Tensor:
        """Give the integers of consecutive rows, (count, columns)."""
        # The first before it that begins a word.
        begin = first // self._word_bits * self._word_bits
        word = begin * self._bits // self._word_bits
        end = -(-(first + count) * self._bits // self._word_bits)
        words = self._reader.read(word, end - word)  # (words, blocks)
        numbers = unpack(words.T, self._bits)[:, first - begin :][:, :count].T.to(torch.float32)  # (count, blocks)
        if self._block_columns >= self._columns:
            return numbers
        return numbers.repeat_interleave(self._block_columns, 1)[:, : self._columns]


def unpack(elements: Tensor, bits: int) -> Tensor:
    """Take codes out of rows that are strings of bits, the first in the lowest: (count, n) -> (count, codes).

    What is left over at the end of a row is no code.

    Args:
        elements: integers.
        bits: of a code, at most 8; 0: each element is one, and is given back as it is.

    Example:
        >>> unpack(torch.tensor([[0x21]], dtype=torch.uint8), 4).tolist()
        [[1, 2]]
    """
    if not bits:
        return elements
    # Flat first: of an axis of size 1 the step may be any, and views of other dtypes look at it.
    row_bytes = elements.shape[1] * elements.element_size()
    raw = elements.contiguous().flatten().view(torch.uint8).view(len(elements), row_bytes)
    # Bytes that end where a code does.
    period = math.lcm(bits, 8) // 8
    codes = raw.shape[1] * 8 // bits
    raw = torch.nn.functional.pad(raw, (0, -raw.shape[1] % period)).view(len(raw), -1, period)
    if period > 1:
        places = 8 * torch.arange(period, dtype=torch.int64)
        words = (raw.to(torch.int64) << places).sum(-1, keepdim=True)  # (count, periods, 1)
        shifts = torch.arange(0, 8 * period, bits, dtype=torch.int64)
    else:
        words, shifts = raw, torch.arange(0, 8, bits, dtype=torch.uint8)
    values: Tensor = (words >> shifts) & ((1 << bits) - 1)  # (count, periods, codes of a period)
    return values.flatten(1)[:, :codes]
