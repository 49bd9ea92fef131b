"""Models of gensim, as gensim saves them, and what stands in for their pickles."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import CheckpointError, IdsError, UnknownFormatError
from embcompress.tables.rows import read_bytes


@pytest.fixture
def models() -> ModuleType:
    """Import gensim's models, the oracle of these tests."""
    imported: ModuleType = pytest.importorskip("gensim.models", reason="gensim, the oracle, is not installed")
    return imported


def read_all(path: Path) -> dict[str, bytes]:
    """Read the bytes of all tensors."""
    with open_checkpoint(path) as checkpoint:
        return {
            tensor.name: b"".join(map(bytes, read_bytes(tensor, files=checkpoint.files)))
            for tensor in checkpoint.tensors
        }


def labels_of(path: Path) -> dict[str, list[str]]:
    """Read the labels of all tables."""
    with open_checkpoint(path) as checkpoint:
        return {name: list(read()) for name, read in checkpoint.listing.labels.items()}


def test_vectors_equal_what_gensim_saved(tmp_path: Path, models: ModuleType) -> None:
    """KeyedVectors give their table and their words in order, whatever blanks and scripts are in them."""
    values = np.random.default_rng(10).standard_normal((300, 7)).astype(np.float32)
    words = [f"w {number} \N{GRINNING FACE}" for number in range(300)]
    vectors = models.KeyedVectors(7)
    vectors.add_vectors(words, values)
    vectors.save(str(tmp_path / "a.kv"), sep_limit=0)
    assert read_all(tmp_path / "a.kv") == {"vectors": vectors.vectors.tobytes()}
    assert labels_of(tmp_path / "a.kv") == {"vectors": words}


def test_models_equal_what_gensim_saved(tmp_path: Path, models: ModuleType) -> None:
    """A trained model gives both its tables, with the words of its vectors for each."""
    sentences = [[f"w{(row * column) % 30}" for column in range(9)] for row in range(60)]
    model = models.Word2Vec(sentences, vector_size=6, min_count=1, epochs=1, workers=1)
    model.save(str(tmp_path / "a.model"), sep_limit=0)
    actual = read_all(tmp_path / "a.model")
    assert actual["wv.vectors"] == model.wv.vectors.tobytes()
    assert actual["syn1neg"] == model.syn1neg.tobytes()
    assert labels_of(tmp_path / "a.model") == dict.fromkeys(("wv.vectors", "syn1neg"), model.wv.index_to_key)


def test_small_models_are_to_be_converted(tmp_path: Path, models: ModuleType) -> None:
    """A model that gensim keeps in one pickle is named as such, with the line that converts it."""
    vectors = models.KeyedVectors(3)
    vectors.add_vectors(["a", "b"], np.ones((2, 3), np.float32))
    vectors.save(str(tmp_path / "a.kv"))
    with pytest.raises(UnknownFormatError, match="a model that gensim has pickled, without an array") as caught:
        open_checkpoint(tmp_path / "a.kv")
    assert "KeyedVectors.load(path)" in caught.value.hint


def save_like_gensim(path: Path, words: object) -> None:
    """Pickle an object of a class that is not gensim's, and rename the class in the pickle; save an array beside it."""
    content = pickle.dumps(SimpleNamespace(index_to_key=words), protocol=2)
    path.write_bytes(content.replace(b"ctypes\nSimpleNamespace\n", b"cgensim.models.keyedvectors\nKeyedVectors\n"))
    np.save(f"{path}.vectors.npy", np.ones((2, 3), np.float32))


@pytest.mark.parametrize("words", [["a"], ["a", None], None, {"a": 0, "b": 1}])
def test_words_that_do_not_fit_are_an_error(tmp_path: Path, words: object) -> None:
    """Fewer words than rows, or none that are texts, are refused when they are asked for."""
    save_like_gensim(tmp_path / "a.kv", words)
    assert list(read_all(tmp_path / "a.kv")) == ["vectors"]
    with pytest.raises(IdsError, match="for a table of 2 rows"):
        labels_of(tmp_path / "a.kv")


def test_words_that_are_numbers_or_no_text_are_written_out(tmp_path: Path) -> None:
    """Integers become texts, and half a character an escape."""
    save_like_gensim(tmp_path / "a.kv", [7, "a\ud800"])
    assert labels_of(tmp_path / "a.kv") == {"vectors": ["7", "a\\ud800"]}


class Planted:
    """An object whose pickle calls a function."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.path),)


def test_nothing_in_a_pickle_runs(tmp_path: Path) -> None:
    """A call planted in a model is not made, when it is listed nor when its words are read."""
    save_like_gensim(tmp_path / "a.kv", ["a", Planted(tmp_path / "planted")])
    with pytest.raises(IdsError):
        labels_of(tmp_path / "a.kv")
    assert not (tmp_path / "planted").exists()


def test_arrays_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    """An array that is a link to another folder is not read."""
    (tmp_path / "model").mkdir()
    save_like_gensim(tmp_path / "model" / "a.kv", ["a", "b"])
    (tmp_path / "model" / "a.kv.vectors.npy").rename(tmp_path / "other.npy")
    (tmp_path / "model" / "a.kv.vectors.npy").symlink_to(tmp_path / "other.npy")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        open_checkpoint(tmp_path / "model" / "a.kv")
