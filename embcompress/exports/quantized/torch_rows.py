"""Rows of integers with a scale and a bias of their own, as torch's embedding bags read them.

A row is its codes, then its scale and its bias: of 8 bits as float32 (`embedding_bag_byte_rowwise_offsets`), of 4 bits
two codes in a byte, the first in its low half, as float16 (`embedding_bag_4bit_rowwise_offsets`).

Source: torch, aten/src/ATen/native/quantized/cpu/qembeddingbag_unpack.cpp.
"""

from __future__ import annotations

import torch
from torch import Tensor

from embcompress.artifact.writer import Entry
from embcompress.exports.line_rounding import LineSearch, round_rows
from embcompress.exports.quantized.integers import pack_halves, why_no_whole_bytes
from embcompress.exports.quantized.kind import (
    ExportPlan,
    Kind,
    MetadataWriter,
    RoundedPart,
    TableEncoding,
)
from embcompress.exports.quantized.source import SourceTable
from embcompress.exports.rounding_steps import Line, spread
from embcompress.results import TableHead

# Benchmarks: of twice as many candidates the squared error fell by less than 1 %.
SEARCHES = {
    8: LineSearch(
        widths=spread(0.95, 1.05, 16),
        moves=tuple(
            (stretch, shift)
            for stretch in (0.985, 0.99, 0.995, 1.0, 1.005, 1.01, 1.015)
            for shift in (-0.4, -0.2, 0.0, 0.2, 0.4)
        ),
    ),
    4: LineSearch(
        widths=spread(0.6, 1.05, 8),
        moves=tuple(
            (stretch, shift) for stretch in (0.92, 0.96, 1.0, 1.04, 1.08) for shift in (-0.5, -0.25, 0.0, 0.25, 0.5)
        ),
    ),
}  # bits of a code -> candidates for the scale and the bias
LINE_DTYPES = {8: torch.float32, 4: torch.float16}
# The operators multiply a code with its scale in float32, and the product reaches from the least number of a row beyond
# its largest.
FLOAT32_REACH = torch.finfo(torch.float32).max / 4


class TorchRows(Kind):
    """A safetensors file whose tables are tensors of packed rows.

    Args:
        bits: 8 or 4, of a code.
    """

    def __init__(self, bits: int) -> None:
        self.ending = f"-int{bits}.safetensors"
        self._bits = bits

    def why_unfit(self, source: SourceTable) -> str:  # noqa: D102 - as in Kind
        return why_no_whole_bytes(source.table.head, self._bits)

    def encode(self, source: SourceTable) -> TableEncoding:  # noqa: D102 - as in Kind
        return _PackedRows(source.table.head, self._bits)

    def open_writer(self, plan: ExportPlan) -> MetadataWriter:  # noqa: D102 - as in Kind
        return MetadataWriter(plan, metadata={"embedding_bag_bits": str(self._bits)})


class _PackedRows(TableEncoding):
    """A table of packed rows."""

    def __init__(self, table: TableHead, bits: int) -> None:
        self._bits, self._line_dtype = bits, LINE_DTYPES[bits]
        width = table.shape[0] * bits // 8 + 2 * self._line_dtype.itemsize
        self.entries = (Entry(table.name, "uint8", (table.rows, width)),)
        self.fixed = {}
        self.largest = min(torch.finfo(self._line_dtype).max, FLOAT32_REACH)

    def round(self, values: Tensor) -> RoundedPart:
        rounded = round_rows(values, Line((1 << self._bits) - 1, self._line_dtype), SEARCHES[self._bits])
        codes = rounded.codes if self._bits == 8 else pack_halves(rounded.codes)
        numbers = torch.stack([rounded.scales, rounded.biases], dim=1)  # (rows, 2)
        return RoundedPart((torch.cat([codes, numbers.view(torch.uint8)], dim=1),), rounded.values())
