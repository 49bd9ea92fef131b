"""Binary models of fastText, against what fastText itself reads of them."""

from __future__ import annotations

import bz2
import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embcompress.checkpoints import Checkpoint, open_checkpoint
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from embcompress.tables.rows import read_bytes
from tests.checkpoints.fasttext_files import fasttext_model

PACKERS: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}


def matrices_of(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Read both matrices."""
    return {
        tensor.name: np.frombuffer(
            b"".join(map(bytes, read_bytes(tensor, files=checkpoint.files))), np.float32
        ).reshape(tensor.shape)
        for tensor in checkpoint.tensors
    }


def random_model(rng: np.random.Generator) -> tuple[bytes, dict[str, np.ndarray], dict[str, list[str]]]:
    """Draw a model: its bytes, its matrices and the labels of their rows."""
    words = [f"w{number} ñ"[: int(rng.integers(2, 9))] + str(number) for number in range(rng.integers(1, 40))]
    labels = [f"__label__{number}" for number in range(rng.integers(0, 2) * rng.integers(1, 6))]
    buckets, dim = int(rng.integers(0, 50)), int(rng.integers(1, 30))
    inputs = rng.standard_normal((len(words) + buckets, dim)).astype(np.float32)
    outputs = rng.standard_normal((len(labels or words), dim)).astype(np.float32)
    content = fasttext_model(
        inputs, outputs, words=[word.encode() for word in words], labels=[label.encode() for label in labels]
    )
    names = {"input_vectors": words + [""] * buckets, "output_vectors": labels or words}
    return content, {"input_vectors": inputs, "output_vectors": outputs}, names


def test_model_equals_what_fasttext_reads(tmp_path: Path) -> None:
    """Forty random models, with and without buckets and labels, give fastText's matrices, words and labels."""
    fasttext = pytest.importorskip("fasttext", reason="fasttext-numpy2, the oracle for models of fastText, is missing")
    rng = np.random.default_rng(7)
    for number in range(40):
        content, matrices, labels = random_model(rng)
        path = tmp_path / f"{number}.bin"
        path.write_bytes(content)
        model = fasttext.load_model(str(path))
        with open_checkpoint(path) as checkpoint:
            actual = matrices_of(checkpoint)
            assert actual["input_vectors"].tobytes() == model.get_input_matrix().tobytes()
            assert actual["output_vectors"].tobytes() == model.get_output_matrix().tobytes()
            words = list(checkpoint.listing.labels["input_vectors"]())
            assert words[: len(model.words)] == model.words
            assert words == labels["input_vectors"]
            outputs = checkpoint.listing.labels["output_vectors"]()
            assert outputs == (model.labels if model.labels[0].startswith("__label__") else model.words)
            assert outputs == labels["output_vectors"]
            assert {name: values.tolist() for name, values in actual.items()} == {
                name: values.tolist() for name, values in matrices.items()
            }


@pytest.mark.parametrize("packer", PACKERS)
def test_model_is_read_packed(tmp_path: Path, packer: str) -> None:
    """A model longer than what is read at once gives the same matrices and labels, packed or not."""
    rng = np.random.default_rng(8)
    inputs = rng.standard_normal((9000, 40)).astype(np.float32)
    outputs = rng.standard_normal((7000, 40)).astype(np.float32)
    path = tmp_path / "a.bin"
    path.write_bytes(PACKERS[packer](fasttext_model(inputs, outputs)))
    with open_checkpoint(path) as checkpoint:
        actual = matrices_of(checkpoint)
        assert actual["input_vectors"].tobytes() == inputs.tobytes()
        assert actual["output_vectors"].tobytes() == outputs.tobytes()
        words = checkpoint.listing.labels["input_vectors"]()
        assert words == [f"word{row}" for row in range(7000)] + [""] * 2000


INPUTS, OUTPUTS = np.ones((5, 3), np.float32), np.ones((4, 3), np.float32)
GOOD = fasttext_model(INPUTS, OUTPUTS)
COUNTS = 4 + struct.calcsize("<i12id")  # position of the number of entries
MATRIX = COUNTS + struct.calcsize("<3i2q") + 4 * (len(b"word0\0") + 9)  # of the flag before the input matrix


def patched(position: int, form: str, *values: float) -> bytes:
    """Replace numbers of the model."""
    raw = struct.pack(form, *values)
    return GOOD[:position] + raw + GOOD[position + len(raw) :]


BAD_MODELS: dict[str, tuple[bytes, type[CheckpointError], str]] = {
    "quantised": (fasttext_model(INPUTS, OUTPUTS, is_quantised=True), UnknownFormatError, "a quantised model"),
    "version 9": (fasttext_model(INPUTS, OUTPUTS, version=9), UnknownFormatError, "of version 9"),
    "10^9 entries": (patched(COUNTS, "<3i", 10**9, 10**9, 0), DamagedFileError, "promises 1000000000 entries"),
    "negative": (patched(COUNTS, "<3i", 4, 5, -1), DamagedFileError, "promises 4 entries, 5 of them words"),
    "labels for words": (patched(COUNTS, "<3i", 4, 3, 1), DamagedFileError, "promises 3 words and has 4"),
    "10^15 n-grams": (patched(COUNTS + 20, "<q", 10**15), DamagedFileError, "n-grams that pruning kept"),
    "fewer rows than words": (patched(MATRIX + 1, "<2q", 3, 3), DamagedFileError, "has a matrix of 3 x 3"),
    "other columns": (patched(MATRIX + 1, "<2q", 3, 5), DamagedFileError, "has a matrix of 3 x 5"),
    "10^15 rows": (patched(MATRIX + 1, "<2q", 10**15, 3), DamagedFileError, "it is cut short"),
    "other outputs": (
        fasttext_model(INPUTS, OUTPUTS[:2], words=[b"a", b"b", b"c"]),
        DamagedFileError,
        "it is cut short",
    ),
    "an endless word": (GOOD[: COUNTS + 28] + b"x" * 2**17, DamagedFileError, "entry of more than 65536 bytes"),
}


@pytest.mark.parametrize("kind", BAD_MODELS)
def test_model_refuses_what_cannot_be_true(tmp_path: Path, kind: str) -> None:
    """A model whose counts contradict each other or the file is refused by name before its values are read."""
    content, error, message = BAD_MODELS[kind]
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        open_checkpoint(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint


def test_packed_model_sees_other_outputs_when_it_is_read(tmp_path: Path) -> None:
    """The shape of the outputs of a packed model is known from its dictionary, and checked where they are unpacked."""
    outputs = np.ones((2, 6), np.float32)
    content = fasttext_model(INPUTS, outputs, words=[b"a", b"b", b"c", b"d"])
    (tmp_path / "a.bin").write_bytes(gzip.compress(content))
    with open_checkpoint(tmp_path / "a.bin") as checkpoint, pytest.raises(DamagedFileError, match="another matrix"):
        matrices_of(checkpoint)


def test_model_notes_bytes_behind_it(tmp_path: Path) -> None:
    """Bytes behind the outputs are told of."""
    (tmp_path / "a.bin").write_bytes(GOOD + b"123")
    with open_checkpoint(tmp_path / "a.bin") as checkpoint:
        assert checkpoint.listing.left_out[0].reason == "3 bytes behind the model"
