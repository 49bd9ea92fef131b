"""A GGUF file whose tables are quantized in blocks of 32 numbers of a row, as llama.cpp reads them.

A block is its scale, float16, and its codes: of Q8_0 as int8; of the others code j in the low half of byte j and code
j + 16 in the high half. Q4_0 stands for scale * (code - 8), IQ4_NL for scale * LEVELS[code].

Source: ggml, src/ggml-common.h and docs/gguf.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from embcompress.artifact.writer import Entry
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.checkpoints.gguf_files import gguf_file
from embcompress.checkpoints.row_labels import OFFSET_TYPES, OFFSETS_SUFFIX
from embcompress.exports.levels import IntegerLevels, Levels, ListedLevels
from embcompress.exports.quantized.gguf_writer import GgufTensor, GgufWriter
from embcompress.exports.quantized.integers import BYTE_PEAKS, BYTES
from embcompress.exports.quantized.kind import ExportPlan, Kind, RoundedPart, TableEncoding, why_no_real_matrix
from embcompress.exports.quantized.source import SourceTable
from embcompress.exports.rounding import Scale, round_blocks
from embcompress.exports.rounding_steps import spread
from embcompress.results import TableHead

BLOCK = 32
NAME_BYTES_MAX = 63  # GGML_MAX_NAME, with a zero behind the last
AXES_MAX = 4
LEVELS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
PLAIN_TYPES: Mapping[str, int] = MappingProxyType(
    {
        "float32": 0,
        "float16": 1,
        "int8": 24,
        "int16": 25,
        "int32": 26,
        "int64": 27,
        "float64": 28,
        "bfloat16": 30,
    }
)  # torch's name of a dtype -> GGML's number of the type


@dataclass(frozen=True)
class BlockType:
    """A type of blocks.

    Attributes:
        number: GGML's.
        file_type: llama.cpp's number of a file that consists mostly of it.
        levels: of its codes.
        peaks: candidates for the scale, as in `round_blocks`.
        largest: magnitude of a level.
        has_halves: whether a byte holds two codes.
    """

    number: int
    file_type: int
    levels: Levels
    peaks: Sequence[float]
    largest: float
    has_halves: bool = True


# Benchmarks: of twice as many candidates the squared error fell by less than 1 %.
BLOCK_TYPES: Mapping[str, BlockType] = MappingProxyType(
    {
        "q8_0": BlockType(8, 7, BYTES, BYTE_PEAKS, 127, has_halves=False),
        "q4_0": BlockType(2, 2, IntegerLevels(-8, 7, zero=8), (*spread(-9, -4.5, 12), *spread(4.5, 8, 12)), 7),
        "iq4_nl": BlockType(20, 25, ListedLevels(LEVELS), (*spread(-140, -80, 9), *spread(80, 126, 9)), 113),
    }
)


class GgufFile(Kind):
    """A GGUF file with the tables in one type of blocks, and other tensors as they are.

    Args:
        name: of the type, a key of BLOCK_TYPES.
    """

    def __init__(self, name: str) -> None:
        self.ending = f"-{name}.gguf"
        self._type = BLOCK_TYPES[name]

    def why_unfit(self, source: SourceTable) -> str:  # noqa: D102 - as in Kind
        table = source.table.head
        if len(table.name.encode()) > NAME_BYTES_MAX:
            return f"has a name of {len(table.name.encode())} bytes, and llama.cpp reads {NAME_BYTES_MAX}"
        if why := why_no_real_matrix(table):
            return why
        if table.shape[0] % BLOCK:
            return f"has {table.shape[0]} columns, and GGUF cuts rows into blocks of {BLOCK}"
        return ""

    def encode(self, source: SourceTable) -> TableEncoding:  # noqa: D102 - as in Kind
        return _Blocks(source.table.head, self._type)

    def why_left_out(self, stored: StoredTensor) -> str:  # noqa: D102 - as in Kind
        if stored.opaque_bytes is not None or stored.dtype not in PLAIN_TYPES:
            return f"GGUF has no type for {stored.dtype}"
        if len(stored.name.encode()) > NAME_BYTES_MAX:
            return f"its name has {len(stored.name.encode())} bytes, and llama.cpp reads {NAME_BYTES_MAX}"
        if stored.name.endswith(OFFSETS_SUFFIX) and stored.dtype in OFFSET_TYPES:
            return "it belongs to labels, and GGUF has no type for uint8, which they are"
        if not stored.numel or len(stored.shape) > AXES_MAX:
            return f"it has the shape {stored.shape}, and GGUF has 1 to {AXES_MAX} axes, none of them empty"
        return ""

    def warnings(self, source: Checkpoint) -> tuple[str, ...]:
        """Say that of a model of llama.cpp its tensors alone are kept, and those in codes as floats."""
        if source.format != gguf_file.NAME:
            return ()
        is_coded = any(stored.code_bytes is not None for stored in source.stored)
        floats = ", and quantized tensors beside the tables become float32" if is_coded else ""
        return (
            "the output holds tensors alone: llama.cpp runs no model from it, for architecture and tokenizer of "
            f"{source.name} are not copied{floats}. `llama-quantize --token-embedding-type` rounds a table within its "
            "model",
        )

    def open_writer(self, plan: ExportPlan) -> GgufWriter:  # noqa: D102 - as in Kind
        tensors = [
            GgufTensor(encoding.entries[0], self._type.number, table.dense_shape) for table, encoding in plan.tables
        ]
        tensors += [GgufTensor(entry, PLAIN_TYPES[entry.dtype], entry.shape) for entry in plan.copied]
        numbers = {"general.quantization_version": 2, "general.file_type": self._type.file_type}
        return GgufWriter(plan.target, tensors, numbers=numbers, force=plan.force)


class _Blocks(TableEncoding):
    """A table of blocks."""

    def __init__(self, table: TableHead, kind: BlockType) -> None:
        self._type = kind
        row_bytes = table.shape[0] // BLOCK * (2 + BLOCK // (2 if kind.has_halves else 1))
        self.entries = (Entry(table.name, "uint8", (table.rows, row_bytes)),)
        self.fixed = {}
        self.largest = kind.largest * torch.finfo(torch.float16).max

    def round(self, values: Tensor) -> RoundedPart:
        blocks = values.reshape(-1, BLOCK)
        rounded = round_blocks(blocks, Scale(self._type.levels, torch.float16), self._type.peaks)
        codes, half = rounded.codes, BLOCK // 2
        if self._type.has_halves:
            codes = codes[:, :half] | codes[:, half:] << 4
        part = torch.cat([rounded.scales[:, None].view(torch.uint8), codes], dim=1)
        return RoundedPart((part.view(len(values), -1),), rounded.values(self._type.levels).view(values.shape))
