"""Tables in forms that other programs serve: read back by the libraries that own the forms."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.choices import EXPORT_KINDS
from embcompress.exports.quantized import KINDS
from embcompress.report import render
from tests.fixtures import draw, draw_falling, save

NAME = "emb.weight"
TABLE = draw_falling(90, 64, fall=0.97)
STATE = {NAME: TABLE, "norm.weight": draw(64, seed=1).half(), "steps": torch.arange(5), "mask": torch.ones(3).bool()}


def read_gguf(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Dequantize the table with gguf, and read the other tensors."""
    gguf = pytest.importorskip("gguf", reason="reads GGUF files")
    tensors = {one.name: one for one in gguf.GGUFReader(path).tensors}
    table = tensors.pop(NAME)
    assert table.shape.tolist() == [64, 90]  # columns first, as GGML counts
    values = torch.from_numpy(gguf.quants.dequantize(table.data, table.tensor_type))
    return values, {name: torch.from_numpy(np.array(one.data)) for name, one in tensors.items()}


def read_bags(path: Path, bag: Any) -> tuple[Tensor, dict[str, Any]]:
    """Look every row up with an embedding bag of torch, each as a bag of its own."""
    tensors = safetensors.torch.load_file(path)
    ids = torch.arange(90)
    return bag(tensors.pop(NAME), ids, ids, mode=0), tensors


def read_packed(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Decompress the table with compressed-tensors, by the configuration in the folder."""
    library = pytest.importorskip("compressed_tensors", reason="reads folders of packed integers")
    section = json.loads((path / "config.json").read_text())["quantization_config"]
    config = library.quantization.QuantizationConfig.model_validate(section)
    (scheme,) = config.config_groups.values()
    assert scheme.targets == ["emb"]
    tensors = safetensors.torch.load_file(path / "model.safetensors")
    packed = {name.removeprefix("emb."): tensors.pop(name) for name in list(tensors) if name.startswith("emb.")}
    compressor = library.compressors.BaseCompressor.get_value_from_registry(config.format)
    return compressor.decompress(packed, scheme)["weight"], tensors


READERS: dict[str, Callable[[Path], tuple[Tensor, dict[str, Any]]]] = {
    "gguf": read_gguf,
    "torch:int8": lambda path: read_bags(path, torch.ops.quantized.embedding_bag_byte_rowwise_offsets),
    "torch:int4": lambda path: read_bags(path, torch.ops.quantized.embedding_bag_4bit_rowwise_offsets),
    "compressed-tensors": read_packed,
}


def reader_of(kind: str) -> Callable[[Path], tuple[Tensor, dict[str, Any]]]:
    """Find the reader of a kind."""
    return READERS.get(kind) or READERS[kind.partition(":")[0]]


def test_kinds_are_those_of_the_command_line() -> None:
    """One list for the help, one for what writes: of the same names."""
    assert list(KINDS) == list(EXPORT_KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_export_is_read_by_the_program_it_is_for(kind: str, tmp_path: Path) -> None:
    """The values that its library reads have the error of the report, and other tensors are copied."""
    result = embcompress.export(save(tmp_path / "model.safetensors", STATE), kind, neighbours=20)
    values, others = reader_of(kind)(Path(result.output.path))
    (table,) = result.tables
    assert table.error is not None
    relative = float((values.double() - TABLE).norm() / TABLE.double().norm())
    assert math.isclose(table.error.relative, relative, rel_tol=1e-5)
    assert relative < (0.01 if "8" in kind else 0.13)
    assert table.neighbours is not None
    assert table.neighbours.cosine.overlap > 0.7
    assert others["norm.weight"].equal(STATE["norm.weight"])
    assert others["steps"].equal(STATE["steps"])
    assert [one.name for one in result.skipped] == (["mask"] if kind.startswith("gguf") else [])
    assert json.loads(render(result, ".json"))["tables"][0]["coding"] == kind
