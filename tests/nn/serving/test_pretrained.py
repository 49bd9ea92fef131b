"""Folders of transformers and sentence-transformers with compressed tables: loaded by from_pretrained, or refused."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import embcompress
from embcompress.exceptions import TableError
from embcompress.nn import GrownRepresentation
from tests.nn.serving.architectures import ARCHITECTURES, BERT, DIM, VOCABULARY, serve

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    ("name", "options"),
    [("BERT", {}), ("GPT-2", {}), ("Llama untied", {}), ("Llama tied", {"ratio": 3, "effort": "fast"}), ("T5", {})],
    ids=["BERT", "GPT-2", "Llama untied", "Llama tied, coded", "T5"],
)
def test_saved_model_comes_back(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    """save_pretrained, then from_pretrained: the same logits, ties and dtype; the class's own raises; dense saves."""
    served = serve(ARCHITECTURES[name], tmp_path, **options)
    served.model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["embcompress"]["tables"]
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        type(served.dense).from_pretrained(tmp_path / "saved")
    served.model = embcompress.from_pretrained(tmp_path / "saved")
    served.forward()
    served.tie()
    dense = embcompress.from_pretrained(tmp_path / "saved", dense=True)
    assert isinstance(dense.get_input_embeddings(), nn.Embedding)
    dense.save_pretrained(tmp_path / "dense")
    served.model = type(served.dense).from_pretrained(tmp_path / "dense")
    served.forward()
    assert "embcompress" not in (tmp_path / "dense" / "config.json").read_text()


def test_grown_model_comes_back(tmp_path: Path) -> None:
    """Dense rows that resizing added are saved behind the compressed ones."""
    served = serve(ARCHITECTURES["Llama tied"], tmp_path)
    served.model.resize_token_embeddings(VOCABULARY + 4)
    served.model.save_pretrained(tmp_path / "saved")
    loaded = embcompress.from_pretrained(tmp_path / "saved")
    assert isinstance(loaded.get_input_embeddings(), GrownRepresentation)
    torch.testing.assert_close(loaded(**served.inputs).logits, served.model(**served.inputs).logits, rtol=0, atol=0)


def test_folder_of_approximate_is_loaded(tmp_path: Path) -> None:
    """A compressed folder becomes a model; an artifact under the name of a dense file is refused by transformers."""
    model = ARCHITECTURES["Llama untied"].make()
    model.save_pretrained(tmp_path / "model")
    made = embcompress.approximate(tmp_path / "model", bases=4)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        type(model).from_pretrained(made.output.path)
    loaded, dense = (embcompress.from_pretrained(made.output.path, dense=one) for one in (False, True))
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(loaded(ids).logits, dense(ids).logits, rtol=0, atol=1e-5)
    with pytest.raises(TableError, match="holds no compressed tables"):
        embcompress.from_pretrained(tmp_path / "model")
    artifact = embcompress.approximate(tmp_path / "model", bases=4, output=tmp_path / "artifact.safetensors")
    shutil.copy(artifact.output.path, tmp_path / "model" / "model.safetensors")
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        type(model).from_pretrained(tmp_path / "model")


def test_sentence_transformer_comes_back(tmp_path: Path) -> None:
    """SentenceTransformer.save, then from_pretrained: the same vectors; SentenceTransformer itself raises."""
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(VOCABULARY - 5))]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    folder = tmp_path / "bert"
    transformers.BertModel(transformers.BertConfig(**BERT)).save_pretrained(folder)
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(folder)
    parts = importlib.import_module("sentence_transformers.models")
    modules = [parts.Transformer(str(folder)), parts.Pooling(DIM)]
    model = library.SentenceTransformer(modules=modules, device="cpu")
    artifact = embcompress.approximate(folder, bases=4, output=tmp_path / "artifact.safetensors").output.path
    embcompress.apply_to(model, artifact)
    expected = model.encode(["w1 w2", "w5 w9 w1"], convert_to_tensor=True)
    model.save(str(tmp_path / "saved"))
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        library.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    loaded = embcompress.from_pretrained(tmp_path / "saved", device="cpu")
    torch.testing.assert_close(loaded.encode(["w1 w2", "w5 w9 w1"], convert_to_tensor=True), expected)
