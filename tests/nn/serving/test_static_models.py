"""Static embedding models over compressed tables: model2vec's, and sentence-transformers' StaticEmbedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import embcompress
from embcompress.exceptions import TableError
from tests.fixtures import draw, save

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

WORDS = ("the", "small", "table", "of", "rows", "[UNK]")
TEXTS = ["the small table", "rows of rows", "table"]


def make_tokenizer() -> Any:
    """Make a tokenizer of whole words."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed: pip install tokenizers")
    vocabulary = {word: number for number, word in enumerate(WORDS)} | {f"word{i}": i for i in range(6, 60)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Compress a file as model2vec writes it: one table called embeddings."""
    path = save(tmp_path / "model.safetensors", {"embeddings": draw(60, 12)})
    return Path(embcompress.approximate(path, bases=4, table="embeddings").output.path)


def dense(artifact: Path) -> np.ndarray:
    """Decode the table."""
    return embcompress.load(artifact)["embeddings"]().detach().numpy()


def test_apply_to_serves_a_static_model(artifact: Path, tmp_path: Path) -> None:
    """Sentences and tokens have the vectors that the dense rows give; saved, it is a dense model of these rows."""
    model2vec = pytest.importorskip("model2vec", reason="model2vec is not installed: pip install model2vec")
    exact = model2vec.StaticModel(dense(artifact), make_tokenizer(), normalize=True)
    model = model2vec.StaticModel(np.zeros((60, 12), np.float32), make_tokenizer(), normalize=True)
    assert set(embcompress.apply_to(model, artifact)) == {"embeddings"}
    np.testing.assert_allclose(model.encode(TEXTS), exact.encode(TEXTS), atol=1e-6)
    for one, two in zip(model.encode_as_sequence(TEXTS), exact.encode_as_sequence(TEXTS), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    assert (model.dim, len(model.embedding), model.embedding.dtype) == (12, 60, np.float32)
    model.save_pretrained(tmp_path / "saved")
    loaded = model2vec.StaticModel.from_pretrained(tmp_path / "saved")
    np.testing.assert_allclose(loaded.embedding, dense(artifact), atol=1e-6)


def test_apply_to_refuses_a_static_model_of_another_shape(artifact: Path) -> None:
    """A table of other columns is named with both shapes."""
    model2vec = pytest.importorskip("model2vec", reason="model2vec is not installed: pip install model2vec")
    model = model2vec.StaticModel(np.zeros((60, 11), np.float32), make_tokenizer())
    with pytest.raises(TableError, match=r"shape \(60, 11\); the artifact has 'embeddings' of shape \(60, 12\)"):
        embcompress.apply_to(model, artifact)


def test_apply_to_serves_a_static_model_for_fine_tuning(artifact: Path) -> None:
    """The EmbeddingBag of a StaticModelForClassification gives the vectors of the dense rows, and trains."""
    train = pytest.importorskip("model2vec.train", reason="model2vec[train] is not installed", exc_type=ImportError)
    options = {"tokenizer": make_tokenizer(), "hidden_dim": 8, "out_dim": 2}
    model = train.StaticModelForClassification(vectors=torch.zeros(60, 12), **options)
    exact = train.StaticModelForClassification(vectors=torch.from_numpy(dense(artifact)), **options)
    exact.head.load_state_dict(model.head.state_dict())
    (table,) = embcompress.apply_to(model, artifact).values()
    outputs = model(model.tokenize(TEXTS))
    torch.testing.assert_close(outputs, exact(exact.tokenize(TEXTS)), rtol=0, atol=1e-5)
    outputs.sum().backward()
    assert float(table.weights.grad.abs().sum()) > 0


def test_apply_to_serves_a_static_embedding(artifact: Path) -> None:
    """Sentences have the vectors that the dense rows give, and gradients reach the factors."""
    sentence_transformers = pytest.importorskip(
        "sentence_transformers", reason="sentence-transformers is not installed: pip install sentence-transformers"
    )
    static = sentence_transformers.sentence_transformer.modules.StaticEmbedding
    exact = sentence_transformers.SentenceTransformer(
        modules=[static(make_tokenizer(), embedding_weights=dense(artifact))], device="cpu"
    )
    model = sentence_transformers.SentenceTransformer(
        modules=[static(make_tokenizer(), embedding_dim=12)], device="cpu"
    )
    (table,) = embcompress.apply_to(model, artifact).values()
    np.testing.assert_allclose(model.encode(TEXTS), exact.encode(TEXTS), atol=1e-6)
    model(model.preprocess(TEXTS))["sentence_embedding"].sum().backward()
    assert float(table.weights.grad.abs().sum()) > 0
