"""Tables as float32 for NumPy and for programs of word vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import UsageError
from tests.fixtures import WORDS, draw, save, write_lines


def test_words_are_the_labels(tmp_path: Path) -> None:
    """Those given with --labels stand before the rows, and our own reader finds them; ids would have none of them."""
    words = ["New York", "b", "straße"]
    labels = write_lines(tmp_path / "labels.txt", words)
    source = save(tmp_path / "model.safetensors", {"emb.weight": draw(3, 4)})
    path = Path(embcompress.export(source, "word2vec:text", labels=labels).output.path)
    assert path.name == "model-word2vec-text.txt"
    assert [line.rsplit(" ", 4)[0] for line in path.read_text().splitlines()[1:]] == words
    with pytest.raises(UsageError, match="1 of 3 labels are no words, such as 'New York'"):
        embcompress.export(source, "word2vec", labels=labels)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.tensors[0].shape == (3, 4)


def test_rows_of_an_artifact_are_decoded_to_floats(tmp_path: Path) -> None:
    """An .npy of a coded table holds what `reconstruct` writes, and the report its error against the original."""
    artifact = embcompress.approximate(WORDS, output=tmp_path / "words.safetensors", bases=8, neighbours=0).output.path
    result = embcompress.export(artifact, "npy", original=WORDS, neighbours=0, report=tmp_path / "npy.json")
    dense = embcompress.reconstruct(artifact, to="npy").output.path
    made, expected = np.load(result.output.path), np.load(dense)
    assert np.abs(made - expected).max() < 1e-6 * np.abs(expected).max()
    original = torch.load(WORDS, weights_only=True)["embedding.weight"].numpy()
    assert result.tables[0].error is not None
    relative = np.linalg.norm(made - original) / np.linalg.norm(original)
    assert abs(result.tables[0].error.relative / relative - 1) < 1e-5


def test_archive_holds_tables_of_any_shape_with_labels(tmp_path: Path) -> None:
    """Rows of several axes keep them, float16 becomes float32, labels are texts; bfloat16 is left out and said so."""
    state = {
        "emb.weight": draw(5, 4, dtype=torch.float16),
        "matrix_emb.weight": draw(6, 2, 3, seed=1),
        "bias": torch.ones(2, dtype=torch.bfloat16),
        "none": torch.empty(0, 3),
    }
    labels = write_lines(tmp_path / "labels.txt", "abcde")
    source = save(tmp_path / "model.safetensors", state)
    result = embcompress.export(source, "npz", labels=labels, table=["emb.weight", "matrix_emb.weight"])
    arrays = np.load(result.output.path)
    assert arrays["emb.weight"].dtype == np.float32
    assert (arrays["emb.weight"] == state["emb.weight"].numpy()).all()
    assert (arrays["matrix_emb.weight"] == state["matrix_emb.weight"].numpy()).all()
    assert arrays["emb.weight.labels"].tolist() == list("abcde")
    assert arrays["none"].shape == (0, 3)
    assert [(one.name, one.reason) for one in result.skipped] == [("bias", "NumPy has no dtype for bfloat16: left out")]
    again = embcompress.export(source, "npz", labels=labels, table=["emb.weight", "matrix_emb.weight"], force=True)
    assert again.output.sha256 == result.output.sha256


@pytest.mark.parametrize("kind", ["npy", "word2vec", "word2vec:text"])
def test_several_tables_are_refused_in_a_form_of_one(kind: str, tmp_path: Path) -> None:
    """They are named, with what holds them; one that is chosen is written, and the other is listed."""
    source = save(tmp_path / "model.safetensors", {"emb.weight": draw(40, 8), "rel_emb.weight": draw(9, 8, seed=1)})
    with pytest.raises(UsageError, match=r"2 are chosen: 'emb\.weight', 'rel_emb\.weight'") as caught:
        embcompress.export(source, kind)
    assert "--to npz" in caught.value.hint
    result = embcompress.export(source, kind, table="emb.weight")
    assert [one.name for one in result.skipped] == ["rel_emb.weight"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
