"""The reader in NumPy alone, beside the package's own reconstruction."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import embcompress
from embcompress.coding.symbols import load_symbols
from embcompress.readers import numpy_reader
from embcompress.readers.numpy_reader import Artifact
from tests.artifact.damage import edit_document, flip
from tests.fixtures import CompressSample, draw_falling, save, write_lines
from tests.readers.oracle import COMMITTED, COMMITTED_V1, DATA, FRESH, artifact, reals, reconstructed


@pytest.mark.parametrize("name", [*COMMITTED, *FRESH])
def test_reader_gives_what_reconstruct_gives(name: str, compress_sample: CompressSample, tmp_path: Path) -> None:
    """Every table of every kind, whole and by id, in any order and more than once."""
    path = artifact(name, compress_sample)
    opened = Artifact(path)
    expected = reconstructed(path, tmp_path / "dense.safetensors")
    assert set(opened.tables) == set(expected)
    for table, (rows, tolerance) in expected.items():
        whole = opened.rows(table)
        assert list(whole.shape) == opened.tables[table]["shape"]
        np.testing.assert_allclose(reals(torch.from_numpy(whole)), rows, rtol=0, atol=tolerance)
        ids = np.random.default_rng(0).integers(0, len(rows), 40)
        some = reals(torch.from_numpy(opened.rows(table, ids)))
        np.testing.assert_allclose(some, rows[ids], rtol=0, atol=tolerance)
        assert opened.rows(table, []).shape == (0, *whole.shape[1:])


def test_reader_gives_more_rows_than_it_decodes_at_once(tmp_path: Path) -> None:
    """Rows of several chunks, some of them zeros and some of extreme scale, keep their places."""
    table = draw_falling(numpy_reader.CHUNK + 500, 8)
    table[::7] = 0
    table[5] *= 1e3
    path = save(tmp_path / "model.safetensors", {"entity.weight": table})
    packed = Path(embcompress.approximate(path, max_error=1e-4, effort="fast", neighbours=0).output.path)
    ((rows, _),) = reconstructed(packed, tmp_path / "dense.safetensors").values()
    read = Artifact(packed).rows("entity.weight")
    largest = abs(rows).max(1)  # of each row: a row may be a thousand times another
    assert (largest[table.abs().amax(1).numpy() > 0] > 0).all()
    assert (abs(read - rows).max(1) <= 1e-5 * largest).all()
    assert not read[::7].any()


def test_reader_reads_seekable_blocks(seekable: Path, tmp_path: Path) -> None:
    """Rows of blocks come as the package decodes them, whole and by id; ids need no block but their own."""
    path = Path(shutil.copy(seekable, tmp_path))
    ((rows, tolerance),) = reconstructed(path, tmp_path / "dense.safetensors").values()
    opened = Artifact(path)
    np.testing.assert_allclose(opened.rows("entity.weight"), rows, rtol=0, atol=tolerance)
    flip(path, "entity.weight.codes", bit=3, share=0.5)
    ids = [1204, 3, 40, 16, 3]
    np.testing.assert_allclose(Artifact(path).rows("entity.weight", ids), rows[ids], rtol=0, atol=tolerance)
    with pytest.raises(ValueError, match="does not have its crc32"):
        Artifact(path).rows("entity.weight")


def test_reader_gives_other_tensors_and_labels(tmp_path: Path) -> None:
    """A copied tensor comes bit for bit, labels as text, and a table without labels has none."""
    assert Artifact(DATA / "plain-v2.safetensors").tensor("layer.bias").tolist() == list(range(7))
    with pytest.raises(KeyError):
        Artifact(DATA / "plain-v2.safetensors").labels("float32.weight")
    names = [f"né_{row}" for row in range(200)]
    entries = draw_falling(200, 16).tolist()
    lines = [f"{name} {' '.join(map(str, row))}" for name, row in zip(names, entries, strict=True)]
    vectors = write_lines(tmp_path / "vectors.txt", ["200 16", *lines])
    opened = Artifact(embcompress.approximate(vectors, bases=4).output.path)
    assert [opened.labels(table) for table in opened.tables] == [names]


def test_reader_reads_a_folder_of_several_files(tmp_path: Path) -> None:
    """A folder cut by size gives the same rows as one file; without one of its files it is refused."""
    state = {"entity.weight": draw_falling(300, 16), "user.weight": draw_falling(200, 16, seed=1)}
    path = save(tmp_path / "model.safetensors", state)
    whole = embcompress.approximate(path, bases=4, output=tmp_path / "one.safetensors").output.path
    folder = tmp_path / "cut"
    embcompress.approximate(path, bases=4, output=folder, max_shard_size=6000)
    assert len(list(folder.glob("*.safetensors"))) > 1
    for table in state:
        np.testing.assert_array_equal(Artifact(folder).rows(table), Artifact(whole).rows(table))
    sorted(folder.glob("*.safetensors"))[-1].unlink()
    with pytest.raises(ValueError, match="a file is missing"):
        Artifact(folder)


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
def test_reader_refuses_a_file_cut_short(kept: float, tmp_path: Path) -> None:
    """Without its last bytes, or a part of its header, the file is not opened."""
    raw = (DATA / "coded-v2.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(raw[: int(kept * len(raw))])
    with pytest.raises(ValueError, match="cut short"):
        Artifact(tmp_path / "cut.safetensors")


def test_reader_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """A newer schema, a file that is no artifact, codes of schema 1 or of an unknown form, and ids that are no rows."""
    newer = Path(shutil.copy(DATA / "plain-v2.safetensors", tmp_path / "newer.safetensors"))
    edit_document(newer, lambda document: document.update(schema_version=3))
    with pytest.raises(ValueError, match="schema version 3; this reader reads 1 and 2"):
        Artifact(newer)
    with pytest.raises(ValueError, match="schema version none"):
        Artifact(save(tmp_path / "model.safetensors", {"entity.weight": draw_falling(20, 8)}))
    with pytest.raises(ValueError, match="codes of schema 1"):
        Artifact(COMMITTED_V1).rows("words.weight")
    other = Path(shutil.copy(DATA / "coded-v2.safetensors", tmp_path / "other.safetensors"))
    edit_document(other, lambda document: document["tables"]["words.weight"].update(coding="coded-otherwise"))
    with pytest.raises(ValueError, match="codes of coded-otherwise, which this reader does not read"):
        Artifact(other).rows("words.weight")
    for ids in ([-1], [3, 90]):
        with pytest.raises(IndexError, match="has rows 0 to 89"):
            Artifact(DATA / "plain-v2.safetensors").rows("float32.weight", ids)


@pytest.mark.parametrize("tensor", ["words.weight.codes", "words.weight.index", "words.weight.codebook"])
def test_reader_refuses_a_flipped_bit(tensor: str, tmp_path: Path) -> None:
    """A bit that is another one than was written is found by the checksum."""
    damaged = Path(shutil.copy(DATA / "coded-v2.safetensors", tmp_path / "damaged.safetensors"))
    flip(damaged, tensor, bit=3, share=0.5)
    with pytest.raises(ValueError, match=re.escape(f"tensor {tensor!r} does not have its crc32")):
        Artifact(damaged).rows("words.weight")


@pytest.mark.parametrize(
    ("file", "table", "tensor"), [("coded-v2", "words.weight", "codes"), ("plain-v2", "float32.weight", "weights")]
)
def test_reader_takes_rows_by_id_from_their_own_bytes(file: str, table: str, tensor: str, tmp_path: Path) -> None:
    """Where the last row is damaged, others are read by id as they were; the whole table is refused."""
    damaged = Path(shutil.copy(DATA / f"{file}.safetensors", tmp_path / "damaged.safetensors"))
    flip(damaged, f"{table}.{tensor}", bit=6, share=1)
    expected = Artifact(DATA / f"{file}.safetensors").rows(table, [3, 0])
    np.testing.assert_array_equal(Artifact(damaged).rows(table, [3, 0]), expected)
    with pytest.raises(ValueError, match="does not have its crc32"):
        Artifact(damaged).rows(table)


def test_reader_refuses_a_damaged_head(tmp_path: Path) -> None:
    """A head whose lengths do not fit its block is told when one of its rows is read by id; other blocks are read."""
    damaged = Path(shutil.copy(DATA / "grown-seekable-v2.safetensors", tmp_path))
    expected = Artifact(damaged).rows("entity.weight", [16])
    flip(damaged, "entity.weight.codes", bit=3, share=0)
    with pytest.raises(ValueError, match="the head of a block does not fit it"):
        Artifact(damaged).rows("entity.weight", [0])
    np.testing.assert_array_equal(Artifact(damaged).rows("entity.weight", [16]), expected)


def test_reader_needs_one_file_and_numpy_alone(tmp_path: Path) -> None:
    """Copied into an empty folder it reads codes, and neither the package nor torch is imported."""
    shutil.copy(numpy_reader.__file__, tmp_path)
    code = (
        "import sys; from numpy_reader import Artifact\n"
        "print(Artifact(sys.argv[1]).rows('words.weight', [7])[0, :3].tolist())\n"
        "assert not {'embcompress', 'torch', 'numba', 'safetensors'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(DATA / "coded-v2.safetensors")]
    printed = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(Artifact(DATA / "coded-v2.safetensors").rows("words.weight", [7])[0, :3].tolist())


@pytest.mark.parametrize("reader", ["numpy_reader.py", "reader.mjs"])
def test_shipped_symbols_are_those_of_the_format(reader: str) -> None:
    """The tables of symbols in the readers are the package's, as docs/artifact.md lays them out."""
    symbols = load_symbols()
    text = Path(numpy_reader.__file__).with_name(reader).read_text()
    (stored,) = re.findall(r'^(?:const )?SYMBOL_TABLES = "(.*?)"', text, re.MULTILINE)
    numbers = np.frombuffer(zlib.decompress(base64.b64decode(stored)), "<i4")
    np.testing.assert_array_equal(numbers[:94], np.concatenate([symbols.prefix_bits, symbols.prefix_losses]))
    spans, factors, shifts, own, sides, is_rare, levels = numbers[94:].reshape(7, -1)
    read = 0
    for place in range(188):  # the tables of the number system, and those of the prefix code
        table, count = place % 94, symbols.counts[place % 94]
        part = slice(read, read := read + count)
        frequencies, lengths = symbols.frequencies[table, :count], symbols.prefix_lengths[table, :count]
        order = np.arange(count) if place < 94 else np.argsort(lengths, kind="stable")
        assert spans[part].sum() == 4096
        np.testing.assert_array_equal(spans[part], frequencies if place < 94 else 4096 >> lengths[order])
        np.testing.assert_array_equal(factors[part], frequencies if place < 94 else 1)
        np.testing.assert_array_equal(shifts[part], 12 if place < 94 else lengths[order])
        np.testing.assert_array_equal(own[part], symbols.starts[table] + order)
        np.testing.assert_array_equal(sides[part], np.where(order == 0, -1, order == count - 1))
        np.testing.assert_array_equal(is_rare[part], (sides[part] != 0) | (table >= 78))
        np.testing.assert_array_equal(levels[part].view("<f4"), symbols.levels[table, order])
    assert read == len(spans)
