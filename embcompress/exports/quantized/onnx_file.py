"""An ONNX model that looks rows up: ids in, float32 rows out, of codes in blocks with a scale each.

Of 8 bits codes are int8, taken by Gather and made numbers by DequantizeLinear, which any runtime of ONNX 1.16 has. No
runtime gathers 4 bits with operators of ONNX itself; GatherBlockQuantized, of onnxruntime's own, does, on uint8 with
two codes a byte, the first in the low half. A number is scale * (code - zero); zeros are packed as the codes are.

Source: onnx/defs/quantization/defs.cc; onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from embcompress.artifact.atomic_file import check_output
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import StoredTensor
from embcompress.exports.onnx_writer import (
    FLOAT32,
    INT64,
    MESSAGE_BYTES_MAX,
    Graph,
    Node,
    OnnxWriter,
    Port,
    data_path,
    is_split,
)
from embcompress.exports.quantized.integers import BYTE_PEAKS, BYTES, pack_halves, why_no_whole_bytes
from embcompress.exports.quantized.kind import ExportPlan, Kind, RoundedPart, TableEncoding
from embcompress.exports.quantized.source import SourceTable
from embcompress.exports.rounding import Scale, round_blocks, round_offset_blocks
from embcompress.exports.rounding_steps import Line, spread
from embcompress.results import TableHead

BLOCK = 32  # columns that share a scale; the last ones of a row may be fewer
CONTRIBUTED = "com.microsoft"  # the domain of onnxruntime's own operators
WIDTHS = spread(0.7, 1.05, 10)  # benchmarks: of twice as many the squared error fell by less than 1 %
IDS, ROWS = "ids", "rows"


class OnnxFile(Kind):
    """An ONNX model of tables.

    Args:
        bits: 8 or 4, of a code.
        bytes_max: of the model; a larger one has its tensors in a file beside it.
    """

    def __init__(self, bits: int, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        # Reports take the stem of what they report on, and -int8 is that of torch's rows.
        self.ending = f"-{bits}bit.onnx"
        self._bits, self._bytes_max = bits, bytes_max

    def why_unfit(self, source: SourceTable) -> str:  # noqa: D102 - as in Kind
        return why_no_whole_bytes(source.table.head, self._bits)

    def encode(self, source: SourceTable) -> TableEncoding:  # noqa: D102 - as in Kind
        return _Blocks(source.table.head, self._bits)

    def why_left_out(self, stored: StoredTensor) -> str:  # noqa: ARG002, D102 - as in Kind
        return "the model looks rows up, and computes nothing else"

    def check(self, plan: ExportPlan) -> None:
        """Refuse a file that is there where the tensors of a large model go.

        Raises:
            OutputError: there is one.
        """
        if is_split(plan.entries, self._bytes_max):
            check_output(data_path(plan.target), force=plan.force)

    def open_writer(self, plan: ExportPlan) -> OnnxWriter:  # noqa: D102 - as in Kind
        is_one = len(plan.tables) == 1
        nodes: list[Node] = []
        inputs, outputs = [], []
        for table, _ in plan.tables:
            ids, rows = (IDS, ROWS) if is_one else (f"{table.name}.{IDS}", f"{table.name}.{ROWS}")
            nodes += self._nodes(table.name, ids, rows)
            axes = ("batch", "length") if is_one else (f"{table.name}.batch", f"{table.name}.length")
            inputs.append(Port(ids, INT64, axes))
            outputs.append(Port(rows, FLOAT32, (*axes, table.shape[0])))
        domains = {CONTRIBUTED: 1} if self._bits == 4 else {}
        graph = Graph(nodes, inputs, outputs, domains, optional=not is_one)
        return OnnxWriter(plan.target, graph, plan.entries, force=plan.force, bytes_max=self._bytes_max)

    def _nodes(self, name: str, ids: str, rows: str) -> Sequence[Node]:
        codes, scales, zeros = _parts_of(name)
        half = f"{name}.float16"
        to_float = {"to": FLOAT32}
        if self._bits == 4:
            attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": BLOCK, "bits": 4}
            return (
                Node("GatherBlockQuantized", (codes, ids, scales, zeros), half, attributes, CONTRIBUTED),
                Node("Cast", (half,), rows, to_float),
            )
        row_codes, row_scales = f"{name}.row_codes", f"{name}.row_scales"
        return (
            Node("Gather", (codes, ids), row_codes, {"axis": 0}),
            Node("Gather", (scales, ids), half, {"axis": 0}),
            Node("Cast", (half,), row_scales, to_float),
            Node("DequantizeLinear", (row_codes, row_scales), rows, {"axis": -1, "block_size": BLOCK}),
        )


def _parts_of(name: str) -> tuple[str, str, str]:
    """Name the codes, the scales and the zeros of a table."""
    return f"{name}.codes", f"{name}.scales", f"{name}.zeros"


class _Blocks(TableEncoding):
    """A table of blocks."""

    def __init__(self, table: TableHead, bits: int) -> None:
        columns, self._bits = table.shape[0], bits
        codes, scales, zeros = _parts_of(table.name)
        blocks = math.ceil(columns / BLOCK)
        self._padding = blocks * BLOCK - columns
        self.entries = (
            Entry(codes, "int8" if bits == 8 else "uint8", (table.rows, columns * bits // 8)),
            Entry(scales, "float16", (table.rows, blocks)),
        )
        if bits == 4:
            self.entries += (Entry(zeros, "uint8", (table.rows, math.ceil(blocks / 2))),)
        self.fixed = {}
        # Of 4 bits rows are made as float16, in which a scale and a code next to the largest number are infinity.
        self.largest = torch.finfo(torch.float16).max * (127 if bits == 8 else 0.9)

    def round(self, values: Tensor) -> RoundedPart:
        rows, columns = values.shape
        blocks = torch.nn.functional.pad(values, (0, self._padding)).view(-1, BLOCK)
        return (
            self._round_bytes(blocks, rows, columns) if self._bits == 8 else self._round_halves(blocks, rows, columns)
        )

    def _round_bytes(self, blocks: Tensor, rows: int, columns: int) -> RoundedPart:
        rounded = round_blocks(blocks, Scale(BYTES, torch.float16), BYTE_PEAKS)
        made = rounded.values(BYTES)
        codes = rounded.codes.view(rows, -1)[:, :columns].contiguous()
        return RoundedPart((codes, rounded.scales.view(rows, -1)), made.view(rows, -1)[:, :columns])

    def _round_halves(self, blocks: Tensor, rows: int, columns: int) -> RoundedPart:
        rounded = round_offset_blocks(blocks, Line(15, torch.float16), WIDTHS)
        made = rounded.values().to(torch.float16).to(torch.float32)
        codes = pack_halves(rounded.codes.view(rows, -1)[:, :columns])
        parts = (codes, rounded.scales.view(rows, -1), pack_halves(rounded.zeros.view(rows, -1)))
        return RoundedPart(parts, made.view(rows, -1)[:, :columns])
