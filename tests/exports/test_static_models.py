"""Folders of static models, loaded by model2vec, whose sentences are compared with those of the exact rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import embcompress
from embcompress.exceptions import CheckpointError, UsageError
from tests.fixtures import draw_falling, save

model2vec: Any = pytest.importorskip("model2vec", reason="model2vec, which loads the folders, is not installed")
tokenizers: Any = pytest.importorskip("tokenizers", reason="tokenizers, which model2vec reads with, is not installed")
SENTENCES = ["one two three", "nine", "four four five eight", ""]
WORDS = ["[UNK]", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TABLE = draw_falling(11, 48, fall=0.97)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder of a model with a tokenizer of ten words and one that was added."""
    model = tmp_path / "bert"
    model.mkdir()
    save(model / "model.safetensors", {"embeddings.word_embeddings.weight": TABLE, "pooler.bias": torch.ones(48)})
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_tokens(["ten"])
    tokenizer.save(str(model / "tokenizer.json"))
    (model / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 48}))
    (model / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Transformer"}]))
    return model


def load(path: str) -> Any:
    """Load a folder as its users do."""
    return model2vec.StaticModel.from_pretrained(path)


@pytest.mark.parametrize(("kind", "limit"), [("model2vec:float16", 1e-3), ("model2vec:int8", 1e-2)])
def test_sentences_are_those_of_the_exact_rows(kind: str, limit: float, folder: Path) -> None:
    """encode() gives the mean of the rows of the words, with their length; int8 far better than model2vec's own."""
    result = embcompress.export(folder, kind, neighbours=0)
    assert Path(result.output.path).name == f"bert-{kind.replace(':', '-')}"
    model = load(result.output.path)
    exact = model2vec.StaticModel(TABLE.numpy(), model.tokenizer, config={}, normalize=False)
    made, expected = model.encode(SENTENCES), exact.encode(SENTENCES)
    assert np.linalg.norm(made - expected) < limit * np.linalg.norm(expected)
    assert model.embedding.dtype == np.dtype(kind.partition(":")[2])
    rows = model.embedding.astype(np.float64) * (1 if model.weights is None else model.weights[:, None])
    relative = np.linalg.norm(rows - TABLE.numpy()) / np.linalg.norm(TABLE.numpy())
    assert result.tables[0].error is not None
    assert abs(result.tables[0].error.relative / relative - 1) < 1e-5
    if kind.endswith("int8"):
        scale = float(TABLE.abs().max() / 127)
        own = model2vec.model.quantize_model(exact, quantize_to="int8").encode(SENTENCES) * scale
        assert np.linalg.norm(made - expected) < 0.5 * np.linalg.norm(own - expected)


def test_own_configuration_weights_and_map_are_kept(folder: Path, tmp_path: Path) -> None:
    """A static model with clustered rows keeps them as float16; int8 has no place for its scales beside them."""
    base = load(embcompress.export(folder, "model2vec:float16", neighbours=0).output.path)
    mapping = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0])
    weights = np.linspace(0.5, 2, 11)
    clustered = model2vec.StaticModel(
        TABLE.numpy()[:5], base.tokenizer, {"mark": 7}, normalize=True, weights=weights, token_mapping=mapping
    )
    clustered.save_pretrained(tmp_path / "static")
    source = tmp_path / "static"
    result = embcompress.export(source, "model2vec:float16", table="embeddings", neighbours=0)
    model = load(result.output.path)
    assert (model.token_mapping == mapping).all()
    assert (model.weights == weights).all()
    assert (model.config["mark"], model.normalize) == (7, True)
    assert np.abs(model.encode(SENTENCES) - clustered.encode(SENTENCES)).max() < 1e-3
    with pytest.raises(UsageError, match="has mapping and weights of its tokens"):
        embcompress.export(source, "model2vec:int8", table="embeddings")


def test_artifact_of_a_folder_becomes_a_static_model(folder: Path) -> None:
    """Rows are those that the artifact decodes to, its tokenizer comes along."""
    artifact = embcompress.approximate(folder, bases=4, neighbours=0, table="*word_embeddings*").output.path
    model = load(embcompress.export(artifact, "model2vec:int8", neighbours=0).output.path)
    dense = load_file(Path(embcompress.reconstruct(artifact).output.path) / "model.safetensors")
    rows = torch.from_numpy(model.embedding * model.weights[:, None])
    expected = dense["embeddings.word_embeddings.weight"]
    assert (rows - expected).norm() < 0.01 * expected.norm()


def test_what_has_no_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    """A file without a tokenizer beside it, and a table of another number of rows, each with what to do."""
    alone = save(tmp_path / "alone.safetensors", {"emb.weight": TABLE})
    with pytest.raises(UsageError, match=r"has no tokenizer\.json beside it"):
        embcompress.export(alone, "model2vec:int8")
    save(folder / "model.safetensors", {"embeddings.word_embeddings.weight": TABLE[:10]})
    with pytest.raises(CheckpointError, match=r"has 11 tokens, and the table .* has 10 rows"):
        embcompress.export(folder, "model2vec:float16")
    (folder / "tokenizer.json").write_text("[]")
    with pytest.raises(CheckpointError, match="is no tokenizer of the tokenizers package"):
        embcompress.export(folder, "model2vec:float16")
