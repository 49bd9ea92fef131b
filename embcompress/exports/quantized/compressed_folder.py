"""A folder as compressed-tensors reads it: tables of packed integers, and a configuration that tells of them.

Of the weight of a module it has `weight_packed`, (rows, words) int32, the codes of a row as one string of bits, the
first in the lowest; `weight_scale`, (rows, groups), and `weight_shape`. A number is scale * (code - 2^(bits - 1)).

Source: compressed_tensors/compressors/pack_quantized.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embcompress.artifact.folder_writer import FolderForm, FolderWriter
from embcompress.artifact.output import DENSE_STEM
from embcompress.artifact.writer import Entry
from embcompress.exceptions import CheckpointError, UsageError
from embcompress.exports.levels import IntegerLevels
from embcompress.exports.quantized.kind import (
    FORMAT_METADATA,
    ExportPlan,
    Kind,
    MetadataWriter,
    RoundedPart,
    TableEncoding,
    why_no_real_matrix,
)
from embcompress.exports.rounding import Scale, round_blocks, spread
from embcompress.results import TableHead

CONFIGURATION = "config.json"
SECTION = "quantization_config"
LEAF = ".weight"  # of a module, which is all that is quantized
WORD_BITS = 32
GROUPS = (128, 64, 32)  # columns that share a scale, the first that divides a row; none does: the whole row
SCALE_DTYPES = ("float32", "float16", "bfloat16")  # what the numbers are made in, as the model holds its others
# Benchmarks: of twice as many candidates the squared error fell by less than 1 %.
PEAKS = {8: spread(116, 128, 40), 4: (*spread(-14, -5, 16), *spread(5, 13.5, 16))}


class CompressedTensorsFolder(Kind):
    """A folder of a safetensors file and a configuration; of a model's folder with its other files.

    Args:
        bits: 8 or 4, of a code.
    """

    is_folder = True

    def __init__(self, bits: int) -> None:
        self.ending = f"-w{bits}"
        self._bits = bits

    def why_unfit(self, table: TableHead) -> str:  # noqa: D102 - as in Kind
        if not table.name.endswith(LEAF):
            return f"has a name that does not end in {LEAF}, and compressed-tensors holds weights of modules"
        return why_no_real_matrix(table)

    def encode(self, table: TableHead) -> TableEncoding:  # noqa: D102 - as in Kind
        return _PackedWords(table, self._bits)

    def check(self, plan: ExportPlan) -> None:
        """Refuse a model that is quantized already.

        Raises:
            UsageError: its configuration says so.
            CheckpointError: its configuration cannot be read.
        """
        if SECTION in _read_configuration(plan):
            raise UsageError(
                f"{plan.source.path} has a {CONFIGURATION} with a {SECTION!r}: the model is quantized already.",
                hint="Name the model that it was made from.",
            )

    def open_writer(self, plan: ExportPlan) -> MetadataWriter:  # noqa: D102 - as in Kind
        configuration = {**_read_configuration(plan), SECTION: self._section(plan)}
        companions = {name: path for name, path in plan.companions.items() if name != CONFIGURATION}
        content = (json.dumps(configuration, indent=2, ensure_ascii=False) + "\n").encode()
        form = FolderForm(DENSE_STEM, None, companions, has_modules=True, contents={CONFIGURATION: content})
        writer = FolderWriter(plan.target, plan.entries, metadata=FORMAT_METADATA, form=form, force=plan.force)
        return MetadataWriter(writer, FORMAT_METADATA)

    def _section(self, plan: ExportPlan) -> dict[str, Any]:
        """Say which modules are quantized, and how: a group of them for each number of columns that share a scale."""
        targets: dict[int, list[str]] = {}
        for table, _ in plan.tables:
            targets.setdefault(_group_of(table), []).append(table.name.removesuffix(LEAF))
        groups = {}
        for number, (columns, names) in enumerate(targets.items()):
            strategy = {"strategy": "group", "group_size": columns} if columns else {"strategy": "channel"}
            weights = {"num_bits": self._bits, "type": "int", "symmetric": True, "dynamic": False, **strategy}
            groups[f"group_{number}"] = {
                "targets": names,
                "weights": weights,
                "input_activations": None,
                "output_activations": None,
                "format": "pack-quantized",
            }
        return {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "config_groups": groups,
            "ignore": [],
            "kv_cache_scheme": None,
        }


def _group_of(table: TableHead) -> int:
    """Choose how many columns share a scale; 0: all."""
    return next((columns for columns in GROUPS if table.shape[0] % columns == 0), 0)


def _read_configuration(plan: ExportPlan) -> Mapping[str, Any]:
    """Read the configuration of a model; empty where it has none.

    Raises:
        CheckpointError: there is one, and it is no JSON object.
    """
    path: Path | None = plan.companions.get(CONFIGURATION)
    if path is None:
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        raise CheckpointError(f"{path} cannot be read: {err}.") from err
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return content


class _PackedWords(TableEncoding):
    """A table of packed integers."""

    def __init__(self, table: TableHead, bits: int) -> None:
        columns, self._bits = table.shape[0], bits
        self._group = _group_of(table) or columns
        name = table.dtype if table.dtype in SCALE_DTYPES else "float32"
        self._dtype: torch.dtype = getattr(torch, name)
        self._row_bytes = 4 * math.ceil(columns * bits / WORD_BITS)
        half = 1 << (bits - 1)
        self._levels = IntegerLevels(-half, half - 1, zero=half)
        self.entries = (
            Entry(f"{table.name}_packed", "int32", (table.rows, self._row_bytes // 4)),
            Entry(f"{table.name}_scale", name, (table.rows, columns // self._group)),
        )
        shape = Entry(f"{table.name}_shape", "int64", (2,))
        self.fixed = {shape: torch.tensor(table.dense_shape).numpy().astype("<i8").tobytes()}
        self.largest = torch.finfo(self._dtype).max

    def round(self, values: Tensor) -> RoundedPart:
        rows = len(values)
        rounded = round_blocks(values.reshape(-1, self._group), Scale(self._levels, self._dtype), PEAKS[self._bits])
        codes = rounded.codes.view(rows, -1)
        if self._bits == 4:
            codes = torch.nn.functional.pad(codes, (0, codes.shape[1] % 2))
            codes = codes[:, ::2] | codes[:, 1::2] << 4
        codes = torch.nn.functional.pad(codes, (0, self._row_bytes - codes.shape[1]))
        made = self._levels.values(rounded.codes).to(self._dtype) * rounded.scales[:, None]
        return RoundedPart((codes, rounded.scales.view(rows, -1)), made.to(torch.float32).view(values.shape))
