"""Folders of spaCy's vectors, as spaCy writes them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.word_vectors.word_hashes import hash_word
from embcompress.exceptions import CheckpointError, DamagedFileError
from embcompress.tables.rows import read_bytes

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)
WORDS = ["the", "\u65e5\u672c", "coffee", "x"]
# Of spacy.strings.hash_string of spaCy 3.8, for words of 1 to 20 bytes.
HASHES: Mapping[str, int] = {
    "z": 7187156974425934,
    "xy": 11107777099733393824,
    "\xe4y": 18152278002310351570,
    "y\u65e5": 980421480238702860,
    "\u65e5\xdf": 2372574045997959668,
    "\xe4 y\xe4": 18099630364570450965,
    "yx\U0001f600z": 3471748780142800137,
    " x\U0001f600 y": 2631388585279185455,
    "xyy\xe4xa a": 10744037944112725790,
    " x\u65e5\u65e5 x": 10156583895891329255,
    "a\xdf\U0001f600\u65e5a": 3726291693329010839,
    "\U0001f600y\xdf\u65e5\xdf": 3396704886216262233,
    "\xe4 y\xe4\u65e5\xdf\xdf": 5719722189486998048,
    "\xe4\xdfa\xdfx\xdfy\u65e5": 13205506465541555292,
    "\U0001f600  z\u65e5yaayx": 115609053741492286,
    "\U0001f600za  \xe4\u65e5\xdfy": 5139394279361254358,
    "\xe4a \U0001f600\u65e5\xe4x\xdf ": 14302571320718050051,
    "\u65e5zxaa\xe4\U0001f600\xe4\xdfa": 3362679633400522799,
    "\xe4yy\u65e5\xdf\xdfa\xdf\U0001f600z": 10304718272056624280,
    "\u65e5\u65e5yx aa\xe4a\xdfy\u65e5": 15766534963375294932,
}


def save_vectors(folder: Path, rows: Mapping[int, int], *, mode: str = "default") -> Path:
    """Write a folder: the array, the rows of hashes as msgpack, the words and the configuration."""
    folder.mkdir(parents=True)
    np.save(folder / "vectors.npy", TABLE)
    (folder / "vectors.npy").rename(folder / "vectors")
    pairs = b"".join(b"\xcf" + struct.pack(">Q", key) + bytes([row]) for key, row in rows.items())
    (folder / "key2row").write_bytes(b"\xdf" + struct.pack(">I", len(rows)) + pairs)
    (folder / "strings.json").write_text(json.dumps(WORDS))
    (folder / "vectors.cfg").write_text(json.dumps({"mode": mode}))
    return folder


def labels_of(path: Path) -> dict[str, list[str]]:
    """Read the labels of all tables."""
    with open_checkpoint(path) as checkpoint:
        return {name: list(read()) for name, read in checkpoint.listing.labels.items()}


@pytest.mark.parametrize("word", HASHES, ids=ascii)
def test_hash_word_equals_that_of_spacy(word: str) -> None:
    """Words of each length up to 20 bytes have the hashes that spaCy gives them."""
    assert hash_word(word) == HASHES[word]


def test_hash_word_of_nothing_is_zero() -> None:
    """The empty text is 0 in spaCy's store of strings."""
    assert hash_word("") == 0


def test_vectors_equal_what_spacy_has(tmp_path: Path) -> None:
    """Vectors and vocabulary that spaCy saved give its table, and each row the word that spaCy finds it by."""
    spacy = pytest.importorskip("spacy", reason="spaCy, the oracle for its vectors, is not installed")
    rng = np.random.default_rng(9)
    vocabulary = spacy.vocab.Vocab()
    words = [f"word {number} \u00f6" for number in range(300)]
    for word in words:
        vocabulary.set_vector(word, rng.standard_normal(20).astype(np.float32))
    vocabulary.to_disk(tmp_path / "vocab")
    for path in (tmp_path, tmp_path / "vocab"):
        with open_checkpoint(path) as checkpoint:
            (tensor,) = checkpoint.tensors
            content = b"".join(map(bytes, read_bytes(tensor, files=checkpoint.files)))
            assert content == vocabulary.vectors.data.tobytes()
            labels = checkpoint.listing.labels["vectors"]()
        assert [labels[vocabulary.vectors.key2row[vocabulary.strings[word]]] for word in words] == words
        assert len(labels) == len(vocabulary.vectors.data)


def test_rows_are_labelled_by_the_hashes_of_words(tmp_path: Path) -> None:
    """A row takes its first word; one without a word, or of a hash that no word has, is blank."""
    rows = {hash_word("coffee"): 2, hash_word("the"): 0, hash_word("x"): 2, 12345: 1, hash_word("\u65e5\u672c"): 100}
    folder = save_vectors(tmp_path / "a", rows)
    assert labels_of(folder) == {"vectors": ["the", "", "coffee", ""]}
    with open_checkpoint(folder) as checkpoint:  # the words go beside an output as they are, and count in neither
        assert checkpoint.nbytes == sum(path.stat().st_size for path in checkpoint.files.paths)


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"\x80", ["", "", "", ""]),
        (b"\x81\xcf" + struct.pack(">Q", hash_word("the")) + b"\xcc\x03", ["", "", "", "the"]),
        (b"\xde\x00\x01\xcf" + struct.pack(">Q", hash_word("x")) + b"\xce\x00\x00\x00\x01", ["", "x", "", ""]),
        (b"\x82\xcf" + struct.pack(">Q", hash_word("x")) + b"\xff\x07\xd3" + struct.pack(">q", 2), ["", "", "", ""]),
    ],
)
def test_rows_are_read_in_every_form_of_msgpack(tmp_path: Path, content: bytes, labels: list[str]) -> None:
    """Maps and integers of any width are read; rows outside of the table are passed over."""
    folder = save_vectors(tmp_path / "a", {})
    (folder / "key2row").write_bytes(content)
    assert labels_of(folder) == {"vectors": labels}


@pytest.mark.parametrize(
    "content", [b"", b"\x91\x01", b"\x81\xcf\x00", b"\x81\x01", b"\x81\xa1a\x01", b"\xdf\xff\xff\xff\xff"]
)
def test_rows_that_are_no_map_are_an_error(tmp_path: Path, content: bytes) -> None:
    """A file that is cut, or holds anything but integers, is refused when labels are asked for."""
    folder = save_vectors(tmp_path / "a", {})
    (folder / "key2row").write_bytes(content)
    with pytest.raises(DamagedFileError, match="key2row is no map of integers"):
        labels_of(folder)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[" * 100_000])
def test_words_that_are_no_list_are_an_error(tmp_path: Path, content: str) -> None:
    """Words in anything but a list of texts are refused when labels are asked for."""
    folder = save_vectors(tmp_path / "a", {})
    (folder / "strings.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"strings\.json is no"):
        labels_of(folder)


def test_words_that_no_file_can_hold_are_written_out(tmp_path: Path) -> None:
    """Half a character, as JSON may hold, becomes an escape."""
    folder = save_vectors(tmp_path / "a", {hash_word("a\ud800"): 1})
    (folder / "strings.json").write_text('["a\\ud800"]')
    assert labels_of(folder) == {"vectors": ["", "a\\ud800", "", ""]}


def test_buckets_of_floret_have_no_labels(tmp_path: Path) -> None:
    """Rows that are buckets of n-grams belong to no word."""
    assert labels_of(save_vectors(tmp_path / "a", {hash_word("the"): 0}, mode="floret")) == {}


def test_missing_words_are_told_of(tmp_path: Path) -> None:
    """Without strings.json the table is read, and a note says why it has no labels."""
    folder = save_vectors(tmp_path / "a", {hash_word("the"): 0})
    (folder / "strings.json").unlink()
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.tensors[0].shape == (4, 3)
        assert checkpoint.listing.labels == {}
        assert "strings.json" in checkpoint.listing.left_out[0].reason


def test_an_array_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    """An array that is a link to another folder is not read."""
    folder = save_vectors(tmp_path / "a", {})
    (folder / "vectors").rename(tmp_path / "vectors.npy")
    (folder / "vectors").symlink_to(tmp_path / "vectors.npy")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        open_checkpoint(folder)
