"""Folders of packed integers, decompressed by compressed-tensors itself; it takes seconds to import."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import embcompress
from tests.fixtures import draw, save

library = pytest.importorskip(
    "compressed_tensors", reason="compressed-tensors is not installed: pip install '.[bench]'"
)


class Model(nn.Module):
    """Two tables of unlike groups and a layer that stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(70, 128)
        self.kinds_emb = nn.Embedding(9, 33)
        self.head = nn.Linear(8, 2)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folder_is_decompressed_into_a_model(bits: int, dtype: torch.dtype, tmp_path: Path) -> None:
    """A model that loads the folder by its configuration has tables of the reported error, in the model's own dtype."""
    state = {
        "tokens.weight": draw(70, 128, dtype=dtype),
        "kinds_emb.weight": draw(9, 33, seed=1, dtype=dtype),
        "head.weight": draw(2, 8, seed=2, dtype=dtype),
        "head.bias": torch.ones(2, dtype=dtype),
    }
    result = embcompress.export(save(tmp_path / "model.safetensors", state), f"compressed-tensors:w{bits}")
    folder = Path(result.output.path)
    section = json.loads((folder / "config.json").read_text())["quantization_config"]
    config = library.quantization.QuantizationConfig.model_validate(section)
    model = Model().to(dtype)
    library.quantization.apply_quantization_config(model, config)
    compressor = library.compressors.ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"), strict=True)
    compressor.decompress_model(model)
    assert model.head.weight.equal(state["head.weight"])
    for table in result.tables:
        made = dict(model.named_parameters())[table.name]
        assert made.dtype == dtype
        exact = state[table.name].double()
        relative = float((made.double() - exact).norm() / exact.norm())
        assert table.error is not None
        assert abs(table.error.relative / relative - 1) < 1e-5
        assert relative < (0.01 if bits == 8 else 0.15)
