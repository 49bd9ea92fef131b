"""The reader in JavaScript under node, beside the package's own reconstruction."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.readers import numpy_reader
from tests.artifact.damage import edit_document, flip
from tests.fixtures import CompressSample, draw_falling, save, write_lines
from tests.readers.oracle import COMMITTED, COMMITTED_V1, DATA, FRESH, artifact, reconstructed

READER = Path(numpy_reader.__file__).with_name("reader.mjs")
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def read(path: Path, folder: Path, ids: Sequence[int] = ()) -> Mapping[str, Any]:
    """Read all tables of an artifact in node: shapes, rows (rows, real entries), labels, and an error's message."""
    script = Path(__file__).with_name("read_rows.mjs")
    command = [str(NODE), script, READER, path, folder, *map(str, ids)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for table in told["tables"].values():
        table["rows"] = np.fromfile(folder / table["file"], "<f8").reshape(table["shape"][0], -1)
    return told


@pytest.mark.parametrize("name", [*COMMITTED, *FRESH])
def test_reader_gives_what_reconstruct_gives(name: str, compress_sample: CompressSample, tmp_path: Path) -> None:
    """Every table of every kind, whole from memory, and by id from ranges of the file."""
    path = artifact(name, compress_sample)
    expected = reconstructed(path, tmp_path / "dense.safetensors")
    least = min(len(rows) for rows, _ in expected.values())
    ids = np.random.default_rng(0).integers(0, least, 12).tolist()
    whole, some = read(path, tmp_path), read(path, tmp_path, ids)
    assert "error" not in whole
    assert "error" not in some
    assert set(whole["tables"]) == set(some["tables"]) == set(expected)
    for table, (rows, tolerance) in expected.items():
        np.testing.assert_allclose(whole["tables"][table]["rows"], rows, rtol=0, atol=tolerance)
        np.testing.assert_allclose(some["tables"][table]["rows"], rows[ids], rtol=0, atol=tolerance)


def test_reader_reads_rows_by_id_without_the_rest(tmp_path: Path) -> None:
    """Three rows of a long table take a small part of the file's bytes."""
    path = save(tmp_path / "model.safetensors", {"entity.weight": draw_falling(20_000, 16)})
    packed = Path(embcompress.approximate(path, bases=4, neighbours=0).output.path)
    told = read(packed, tmp_path, [0, 19_999, 5])
    assert told["bytesRead"] < packed.stat().st_size / 50
    assert told["tables"]["entity.weight"]["shape"] == [3, 16]


def test_reader_reads_seekable_blocks(seekable: Path, tmp_path: Path) -> None:
    """Rows of blocks come as the package decodes them, whole and by id; of the codes their own blocks are read."""
    ((rows, tolerance),) = reconstructed(seekable, tmp_path / "dense.safetensors").values()
    ids = [1204, 3, 40, 16, 3]
    whole = read(seekable, tmp_path)["tables"]["entity.weight"]["rows"]
    some = read(seekable, tmp_path, ids)
    np.testing.assert_allclose(whole, rows, rtol=0, atol=tolerance)
    np.testing.assert_allclose(some["tables"]["entity.weight"]["rows"], rows[ids], rtol=0, atol=tolerance)
    with open_checkpoint(seekable) as checkpoint:
        codes = next(one.nbytes for one in checkpoint.tensors if one.name == "entity.weight.codes")
    assert some["bytesRead"] < seekable.stat().st_size - 0.9 * codes


def test_reader_gives_labels(tmp_path: Path) -> None:
    """Labels come as text, in the order of the rows."""
    names = [f"né_{row}" for row in range(200)]
    entries = draw_falling(200, 16).tolist()
    lines = [f"{name} {' '.join(map(str, row))}" for name, row in zip(names, entries, strict=True)]
    vectors = write_lines(tmp_path / "vectors.txt", ["200 16", *lines])
    packed = Path(embcompress.approximate(vectors, bases=4).output.path)
    assert list(read(packed, tmp_path)["labels"].values()) == [names]


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
@pytest.mark.parametrize("ids", [(), (1, 2)])
def test_reader_refuses_a_file_cut_short(kept: float, ids: Sequence[int], tmp_path: Path) -> None:
    """Without its last bytes, or a part of its header, the file is not read, from memory nor in ranges."""
    raw = (DATA / "coded-v2.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(raw[: int(kept * len(raw))])
    assert "cut short" in read(tmp_path / "cut.safetensors", tmp_path, ids)["error"]


def test_reader_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """A newer schema, no artifact, codes of schema 1 or an unknown form, ids that are no rows, flipped bits."""
    newer, damaged, unknown = (
        Path(shutil.copy(DATA / "coded-v2.safetensors", tmp_path / f"{name}.safetensors"))
        for name in ("newer", "damaged", "unknown")
    )
    edit_document(newer, lambda document: document.update(schema_version=3))
    edit_document(unknown, lambda document: document["tables"]["words.weight"].update(coding="coded-otherwise"))
    flip(damaged, "words.weight.codes", bit=3, share=0.5)
    head = Path(shutil.copy(DATA / "grown-seekable-v2.safetensors", tmp_path))
    flip(head, "entity.weight.codes", bit=3, share=0)
    assert "the head of a block does not fit it" in read(head, tmp_path, [0])["error"]
    other = save(tmp_path / "model.safetensors", {"entity.weight": draw_falling(20, 8)})
    assert "schema version 3; this reader reads 1 and 2" in read(newer, tmp_path)["error"]
    assert "schema version none" in read(other, tmp_path)["error"]
    assert "codes of schema 1" in read(COMMITTED_V1, tmp_path)["error"]
    assert "codes of coded-otherwise, which this reader does not read" in read(unknown, tmp_path)["error"]
    assert "has rows 0 to 599" in read(DATA / "coded-v2.safetensors", tmp_path, [600])["error"]
    assert "words.weight.codes does not have its crc32" in read(damaged, tmp_path)["error"]
