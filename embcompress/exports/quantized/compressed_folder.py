"""A folder as compressed-tensors reads it: tables of packed integers, and a configuration that tells of them.

Of the weight of a module it has `weight_packed`, (rows, words) int32, the codes of a row as one string of bits, the
first in the lowest; `weight_scale`, (rows, groups), and `weight_shape`. A number is scale * (code - 2^(bits - 1)).

Source: compressed_tensors/compressors/pack_quantized.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embcompress.artifact.folder_writer import FolderForm
from embcompress.artifact.output import DENSE_STEM
from embcompress.artifact.writer import Entry
from embcompress.exceptions import CheckpointError, UsageError
from embcompress.exports.levels import IntegerLevels
from embcompress.exports.quantized.integers import pack_halves
from embcompress.exports.quantized.kind import (
    ExportPlan,
    Kind,
    MetadataWriter,
    RoundedPart,
    TableEncoding,
    read_json,
    why_no_real_matrix,
)
from embcompress.exports.quantized.source import SourceTable
from embcompress.exports.rounding import Scale, round_blocks
from embcompress.exports.rounding_steps import spread
from embcompress.results import TableHead

CONFIGURATION = "config.json"
SECTION = "quantization_config"
LEAF = ".weight"  # of a module, which is all that is quantized
WORD_BITS = 32
GROUPS = (128, 64, 32)  # columns that share a scale, the first that divides a row; none does: the whole row
SCALE_DTYPES = ("float32", "float16", "bfloat16")  # what the numbers are made in, as the model holds its others
# Of the largest number of a dtype: readers multiply in it, and a level may lie beyond the number that it is nearest to.
REACH = 0.5
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

    def why_unfit(self, source: SourceTable) -> str:  # noqa: D102 - as in Kind
        table = source.table.head
        if not table.name.endswith(LEAF):
            return f"has a name that does not end in {LEAF}, and compressed-tensors holds weights of modules"
        return why_no_real_matrix(table)

    def encode(self, source: SourceTable) -> TableEncoding:  # noqa: D102 - as in Kind
        return _PackedWords(source.table.head, self._bits)

    def check(self, plan: ExportPlan) -> None:
        """Refuse a model that is quantized already.

        Raises:
            UsageError: its configuration says so.
            CheckpointError: its configuration cannot be read.
        """
        for module in {_module_of(plan, table) for table, _ in plan.tables}:
            name = _configuration_of(module)
            # Some models have the section and null in it.
            if _read_configuration(plan, name).get(SECTION) is not None:
                raise UsageError(
                    f"{plan.source.path} has a {name} with a {SECTION!r}: the model is quantized already.",
                    hint="Name the model that it was made from.",
                )

    def open_writer(self, plan: ExportPlan) -> MetadataWriter:  # noqa: D102 - as in Kind
        form = replace(_form_of(plan), contents=self._configurations(plan))
        return MetadataWriter(plan, form)

    def _configurations(self, plan: ExportPlan) -> dict[str, bytes]:
        """Make the configuration of each folder that holds tables, by its name in the output."""
        tables: dict[str, list[TableHead]] = {}
        for table, _ in plan.tables:
            tables.setdefault(_module_of(plan, table), []).append(table)
        contents = {}
        for module, its_tables in tables.items():
            name = _configuration_of(module)
            configuration = {**_read_configuration(plan, name), SECTION: self._section(module, its_tables)}
            contents[name] = (json.dumps(configuration, indent=2) + "\n").encode()
        return contents

    def _section(self, module: str, tables: Sequence[TableHead]) -> dict[str, Any]:
        """Say which modules are quantized, and how: a group of them for each number of columns that share a scale."""
        targets: dict[int, list[str]] = {}
        for table in tables:
            name = table.name.removeprefix(f"{module}/").removesuffix(LEAF)
            targets.setdefault(_group_of(table), []).append(name)
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


def _form_of(plan: ExportPlan) -> FolderForm:
    return FolderForm(DENSE_STEM, None, plan.companions, has_modules=True)


def _module_of(plan: ExportPlan, table: TableHead) -> str:
    """Name the folder within the folder that a table goes into, which has a configuration of its own; empty: none."""
    return _form_of(plan).module_of(Entry(table.name, table.dtype, table.dense_shape))


def _configuration_of(module: str) -> str:
    return f"{module}/{CONFIGURATION}" if module else CONFIGURATION


def _group_of(table: TableHead) -> int:
    """Choose how many columns share a scale; 0: all."""
    return next((columns for columns in GROUPS if table.shape[0] % columns == 0), 0)


def _read_configuration(plan: ExportPlan, name: str) -> Mapping[str, Any]:
    """Read the configuration of a model, or of a module of it; empty where it has none.

    Raises:
        CheckpointError: there is one, and it is no JSON object.
    """
    path: Path | None = plan.companions.get(name)
    if path is None:
        return {}
    content = read_json(path)
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
        self.fixed = {shape: [torch.tensor(table.dense_shape).numpy().astype("<i8").tobytes()]}
        self.largest = torch.finfo(self._dtype).max * REACH

    def round(self, values: Tensor) -> RoundedPart:
        rows = len(values)
        rounded = round_blocks(values.reshape(-1, self._group), Scale(self._levels, self._dtype), PEAKS[self._bits])
        codes = rounded.codes.view(rows, -1)
        if self._bits == 4:
            codes = pack_halves(codes)
        codes = torch.nn.functional.pad(codes, (0, self._row_bytes - codes.shape[1]))
        made = self._levels.values(rounded.codes).to(self._dtype) * rounded.scales[:, None]
        return RoundedPart((codes, rounded.scales.view(rows, -1)), made.to(torch.float32).view(values.shape))
