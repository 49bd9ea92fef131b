"""Low-rank tables as PyKEEN's own representation, loaded and asked by PyKEEN."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import embcompress
from embcompress.exceptions import TableError
from embcompress.results import ApproximateResult
from tests.fixtures import SAMPLES, draw_falling, save, write_lines

DOCS = Path(__file__).parents[2] / "docs" / "exports.md"
(LINES,) = [block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "pykeen" in block]
NAME = "entity_representations.0._embeddings.weight"
representations: Any = pytest.importorskip(
    "pykeen.nn.representation", reason="PyKEEN is not installed: pip install 'embcompress[pykeen]'"
)


def test_lines_of_the_docs_load_a_representation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyKEEN's rows are those that the artifact decodes to; the report has its rank, its bytes and its error."""
    monkeypatch.chdir(tmp_path)
    source = SAMPLES / "kinships-complex" / "model.safetensors"
    artifact = embcompress.approximate(source, output="model.safetensors", bases=6, neighbours=0).output.path
    result = embcompress.export(artifact, "pykeen", original=source, neighbours=0)
    assert result.output.path == "model-pykeen.pt"
    names: dict[str, Any] = {}
    exec(LINES, names)
    assert type(names["entities"]) is representations.LowRankRepresentation
    made, exact = names["entities"]().detach(), load_file(source)[NAME]
    decoded = load_file(embcompress.reconstruct(artifact).output.path)[NAME]
    assert (made - decoded).abs().max() < 1e-5 * decoded.abs().max()
    (table,) = (table for table in result.tables if table.name == NAME)
    assert (table.rank, table.bytes_after) == (6, (104 * 6 + 6 * 256) * 4)
    assert table.error is not None
    assert abs(table.error.relative / float((made - exact).norm() / exact.norm()) - 1) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_factors_are_those_of_the_artifact(dtype: torch.dtype, tmp_path: Path) -> None:
    """Bases and weights are copied bit for bit, rows of several axes as PyKEEN lays them out, the error is none."""
    source = save(tmp_path / "model.safetensors", {"emb.weight": draw_falling(70, 4, 6), "bias": torch.ones(3)})
    name = str(dtype).removeprefix("torch.")
    artifact = embcompress.approximate(source, bases=5, dtype=name, table="emb.weight", neighbours=0).output.path
    results = [embcompress.export(artifact, "pykeen", neighbours=3, force=True) for _ in range(2)]
    assert results[0].output.sha256 == results[1].output.sha256
    state = torch.load(results[0].output.path, weights_only=True)
    factors = load_file(artifact)
    assert state["emb.base._embeddings.weight"].equal(factors["emb.weight.bases"].view(5, 24))
    assert state["emb.weight._embeddings.weight"].equal(factors["emb.weight.weights"])
    assert state["bias"].equal(torch.ones(3))
    assert results[0].tables[0].error is not None
    assert results[0].tables[0].error.relative == 0
    rows = representations.LowRankRepresentation(max_id=70, shape=(4, 6), num_bases=5)
    rows.load_state_dict({key.removeprefix("emb."): value for key, value in state.items() if key != "bias"})
    dense = load_file(embcompress.reconstruct(artifact).output.path)["emb.weight"]
    assert (rows() - dense).abs().max() < (1e-5 if dtype == torch.float32 else 1e-2) * dense.abs().max()


def test_labels_are_left_out(tmp_path: Path) -> None:
    """Those of an artifact are no parameter of a model; of word vectors the factors get the name of their table."""
    lines = [f"word{number} {number} {number % 3} {number % 5}" for number in range(20)]
    artifact = embcompress.approximate(write_lines(tmp_path / "words.vec", ["20 3", *lines]), bases=1).output.path
    result = embcompress.export(artifact, "pykeen", neighbours=0)
    module = result.tables[0].name.removesuffix("weight").removesuffix(".")
    state = torch.load(result.output.path, weights_only=True)
    assert sorted(state) == [f"{module}.{leaf}._embeddings.weight" for leaf in ("base", "weight")]
    assert {one.reason for one in result.skipped} == {"PyKEEN keeps labels apart from tensors: left out"}


def test_what_has_no_float_factors_is_refused(small_results: Mapping[str, ApproximateResult], tmp_path: Path) -> None:
    """A dense table and one of codes are told what makes bases and weights of them; nothing is written."""
    source = save(tmp_path / "model.safetensors", {"emb.weight": draw_falling(30, 16)})
    with pytest.raises(TableError, match=r"is stored dense, .* `embcompress approximate --bases K`"):
        embcompress.export(source, "pykeen")
    with pytest.raises(TableError, match="is stored as codes") as caught:
        embcompress.export(small_results["coded"].output.path, "pykeen", output=tmp_path / "model.pt")
    assert "npy" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
