"""Tables in the formats of arrays and word vectors, compressed as from safetensors."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import embcompress
from tests.checkpoints.fasttext_files import fasttext_model

ROWS, DIM = 9_000, 48  # more rows than a block has


def make_table() -> np.ndarray:
    """Draw a table whose columns fall off, so that its bases are well told apart."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((ROWS, DIM)) * np.geomspace(1, 1e-2, DIM)).astype(np.float32)


def save_npy(table: np.ndarray, path: Path) -> None:
    """Write one array."""
    with path.open("wb") as file:
        np.save(file, table)


def save_fortran(table: np.ndarray, path: Path) -> None:
    """Write one array column by column."""
    save_npy(np.asfortranarray(table), path)


def save_big_endian(table: np.ndarray, path: Path) -> None:
    """Write one array of the other order of bytes."""
    save_npy(table.astype(">f4"), path)


def save_npz(table: np.ndarray, path: Path) -> None:
    """Write an archive whose members are stored."""
    with path.open("wb") as file:
        np.savez(file, table)


def save_deflated(table: np.ndarray, path: Path) -> None:
    """Write an archive whose members are deflated."""
    with path.open("wb") as file:
        np.savez_compressed(file, table)


def save_vectors(table: np.ndarray, path: Path, *, binary: bool) -> None:
    """Write with gensim, as text in the fewest digits that keep each number."""
    models = pytest.importorskip("gensim.models", reason="gensim, which writes word vectors, is not installed")
    vectors = models.KeyedVectors(DIM)
    vectors.add_vectors([f"word{row}" for row in range(ROWS)], table)
    vectors.save_word2vec_format(str(path), binary=binary)


def save_fasttext(table: np.ndarray, path: Path) -> None:
    """Write a model of fastText, whose outputs are fewer and no table."""
    path.write_bytes(fasttext_model(table, np.zeros((1, DIM), np.float32)))


def save_glove(table: np.ndarray, path: Path) -> None:
    """Write a text without a header, packed by gzip."""
    lines = (f"word{row} {' '.join(map(str, values))}\n" for row, values in enumerate(table.tolist()))
    path.write_bytes(gzip.compress("".join(lines).encode(), compresslevel=1))


WRITERS: Mapping[str, Callable[[np.ndarray, Path], None]] = {
    "npy": save_npy,
    "npy, column by column": save_fortran,
    "npy, big-endian": save_big_endian,
    "npz": save_npz,
    "npz, deflated": save_deflated,
    "word2vec, text": partial(save_vectors, binary=False),
    "word2vec, binary": partial(save_vectors, binary=True),
    "fastText": save_fasttext,
    "GloVe, packed": save_glove,
}


def factors_of(path: Path) -> list[bytes]:
    """Compress a checkpoint to 8 bases, and read the bytes of bases and weights."""
    output = path.with_name("out.safetensors")
    embcompress.approximate(path, bases=8, output=output, force=True, neighbours=0)
    tensors = safetensors.torch.load_file(output)
    (stem,) = {name.removesuffix(".bases") for name in tensors if name.endswith(".bases")}
    return [tensors[f"{stem}.{part}"].numpy().tobytes() for part in ("bases", "weights")]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Compress the table from safetensors."""
    path = tmp_path_factory.mktemp("expected") / "model.safetensors"
    safetensors.torch.save_file({"embedding.weight": torch.tensor(make_table())}, path)
    return factors_of(path)


@pytest.mark.parametrize("form", WRITERS)
def test_approximate_gives_the_same_bytes_from_every_format(tmp_path: Path, expected: list[bytes], form: str) -> None:
    """A table of 9,000 x 48 gives the bases and weights that it gives from safetensors, bit for bit."""
    path = tmp_path / "vectors"
    WRITERS[form](make_table(), path)
    assert factors_of(path) == expected
