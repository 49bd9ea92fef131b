"""Folders of packed integers, decompressed by compressed-tensors itself; it takes seconds to import."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import embcompress
from tests.fixtures import draw, save

pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed: pip install '.[bench]'")
DOCS = Path(__file__).parents[2] / "docs" / "exports.md"
(LINES,) = [
    block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "compressed_tensors" in block
]


class Model(nn.Module):
    """Two tables of unlike groups and a layer that stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(70, 128)
        self.kinds_emb = nn.Embedding(9, 33)
        self.head = nn.Linear(8, 2)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folder_is_decompressed_into_a_model(
    bits: int, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of docs/exports.md give a model tables of the reported error, in its own dtype."""
    state = {
        "tokens.weight": draw(70, 128, dtype=dtype),
        "kinds_emb.weight": draw(9, 33, seed=1, dtype=dtype),
        "head.weight": draw(2, 8, seed=2, dtype=dtype),
        "head.bias": torch.ones(2, dtype=dtype),
    }
    result = embcompress.export(save(tmp_path / "model.safetensors", state), f"compressed-tensors:w{bits}")
    folder = Path(result.output.path)
    model = Model().to(dtype)
    monkeypatch.chdir(tmp_path)
    folder.rename("model-w4")
    exec(LINES, {"model": model})
    assert model.head.weight.equal(state["head.weight"])
    for table in result.tables:
        made = dict(model.named_parameters())[table.name]
        assert made.dtype == dtype
        exact = state[table.name].double()
        relative = float((made.double() - exact).norm() / exact.norm())
        assert table.error is not None
        assert abs(table.error.relative / relative - 1) < 1e-5
        assert relative < (0.01 if bits == 8 else 0.15)
