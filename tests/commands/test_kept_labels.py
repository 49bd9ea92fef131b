"""Labels that a checkpoint holds itself: kept in its artifact, used to grow it, and written again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress import approximate, backfill, evaluate, load_labels, reconstruct
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.row_labels import encode_labels, read_own_labels
from embcompress.exceptions import DamagedFileError, IdsError, UsageError

WORDS = ["the", "naïve", "New York", "", "日本", *[f"word{number}" for number in range(95)]]
VALUES = torch.randn(100, 12, generator=torch.Generator().manual_seed(0))


def write_npz(path: Path, words: Sequence[str] = WORDS) -> Path:
    """Write a table with the labels of its rows."""
    np.savez(path, emb=VALUES.numpy(), words=np.array(words))
    return path


def write_text(path: Path) -> Path:
    """Write word vectors as word2vec does; a blank word is none that text can hold."""
    lines = [f"{word or 'blank'} {' '.join(map(repr, row))}" for word, row in zip(WORDS, VALUES.tolist(), strict=True)]
    path.write_text("100 12\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def labels_in(path: Path, name: str) -> list[str]:
    """Read labels as the documentation of artifacts tells, without our reader."""
    tensors = safetensors.torch.load_file(path)
    content, ends = tensors[f"{name}.labels"].numpy().tobytes(), tensors[f"{name}.label_offsets"].tolist()
    return [content[start:end].decode() for start, end in itertools.pairwise(ends)]


def test_artifact_keeps_the_labels_and_evaluate_checks_them(tmp_path: Path) -> None:
    """Two tensors hold the words in the order of the rows; a changed one fails the check of copied tensors."""
    source = write_npz(tmp_path / "vectors.npz")
    result = approximate(source, bases=3)
    artifact = tmp_path / "vectors-3bases.safetensors"
    assert labels_in(artifact, "emb") == WORDS
    assert load_labels(artifact) == {"emb": WORDS}
    assert result.tables[0].error is not None
    worst = result.tables[0].error.worst_rows[0]
    assert worst.label == WORDS[worst.id]
    assert all(check.passed for check in evaluate(source, artifact, neighbours=0).checks)
    other = write_npz(tmp_path / "other.npz", [*WORDS[:-1], "other"])
    failed = [check for check in evaluate(other, artifact, neighbours=0).checks if not check.passed]
    assert {check.name for check in failed} == {"uncompressed_tensors"}


def test_reconstruct_writes_the_layout_of_the_original(tmp_path: Path) -> None:
    """Words stand before their rows, and in the archive of arrays as an array of texts; both are read again."""
    for source in (write_text(tmp_path / "words.txt"), write_npz(tmp_path / "arrays.npz")):
        approximate(source, bases=3, neighbours=0)
        artifact = tmp_path / f"{source.stem}-3bases.safetensors"
        reconstruct(artifact, output=tmp_path / "expected.safetensors", to="safetensors", force=True)
        reconstruct(artifact)
        (dense,) = (path for path in tmp_path.glob(f"{source.stem}-*-dense.*") if path.suffix != ".json")
        assert dense.suffix == source.suffix
        with open_checkpoint(source) as before, open_checkpoint(dense) as after:
            (name,) = (tensor.name for tensor in after.tensors)
            assert list(read_own_labels(after, name, rows=100)) == list(read_own_labels(before, name, rows=100))
    arrays = np.load(tmp_path / "arrays-3bases-dense.npz")
    expected = safetensors.torch.load_file(tmp_path / "expected.safetensors")["emb"]
    assert torch.from_numpy(arrays["emb"]).equal(expected)


@pytest.mark.parametrize("is_compressed", [False, True])
def test_backfill_matches_by_the_labels_of_the_base(tmp_path: Path, is_compressed: bool) -> None:
    """No --base-labels are needed; known rows move with their labels, and the new ones are written."""
    base = write_npz(tmp_path / "vectors.npz", [word or "blank" for word in WORDS])
    if is_compressed:
        approximate(base, bases=3, neighbours=0)
        base = tmp_path / "vectors-3bases.safetensors"
    labels = ["new", *[word or "blank" for word in WORDS[::-1]], "newer"]
    (tmp_path / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    output = tmp_path / "grown.safetensors"
    result = backfill(base, labels=tmp_path / "labels.txt", output=output)
    assert (result.tables[0].rows_kept, result.tables[0].rows_added) == (100, 2)
    assert labels_in(output, "emb") == labels
    grown = safetensors.torch.load_file(output)
    known: Tensor = VALUES
    name = "emb"
    if is_compressed:
        name = "emb.weights"
        known = safetensors.torch.load_file(base)[name]
    assert grown[name][1:101].equal(known.flip(0))


def test_backfill_by_ids_moves_labels(tmp_path: Path) -> None:
    """New ids without a label get a blank one."""
    base = write_npz(tmp_path / "vectors.npz")
    (tmp_path / "ids").write_text("\n".join(map(str, range(5, 105))), encoding="utf-8")
    backfill(base, max_id=110, base_ids=tmp_path / "ids", output=tmp_path / "grown.safetensors")
    assert labels_in(tmp_path / "grown.safetensors", "emb") == [""] * 5 + WORDS + [""] * 5


def test_backfill_names_a_base_without_labels(tmp_path: Path) -> None:
    """What to give is said where a base holds none."""
    torch.save({"emb.weight": VALUES}, tmp_path / "model.pt")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(UsageError, match="holds no labels of its rows") as caught:
        backfill(tmp_path / "model.pt", labels=tmp_path / "labels.txt")
    assert "--base-labels" in caught.value.hint


@pytest.mark.parametrize("offsets", [[0, 5, 4], [0, 1, 9], [1, 2, 4], [0, 2, 3, 4], [0, 4]])
def test_labels_that_do_not_fit_are_damage(tmp_path: Path, offsets: list[int]) -> None:
    """Offsets must begin at 0, never fall, and end with the bytes."""
    first, second = encode_labels("emb", ["ab", "cd"])
    tensors = {
        "emb": VALUES[:2].clone(),
        first.name: torch.frombuffer(bytearray(first.content), dtype=torch.uint8),
        second.name: torch.tensor(offsets, dtype=torch.int32),
    }
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    with (
        open_checkpoint(tmp_path / "model.safetensors") as checkpoint,
        pytest.raises(DamagedFileError, match="do not fit 2 rows and 4 bytes"),
    ):
        read_own_labels(checkpoint, "emb", rows=2)


def test_reconstruct_falls_back_where_a_label_is_no_word(tmp_path: Path) -> None:
    """Padding rows have blank labels, no words: safetensors by default, a refusal where words are asked for."""
    approximate(write_text(tmp_path / "words.txt"), bases=3, neighbours=0)
    labels = [word or "blank" for word in WORDS]
    (tmp_path / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    grown = tmp_path / "grown.safetensors"
    backfill(tmp_path / "words-3bases.safetensors", labels=tmp_path / "labels.txt", max_id=110, output=grown)
    result = reconstruct(grown, dry_run=True)
    assert result.output.path.endswith("grown-dense.safetensors")
    assert "10 of 110 labels are no words" in result.warnings[0]
    with pytest.raises(IdsError, match="--to glove writes a word before each row"):
        reconstruct(grown, to="glove", dry_run=True)
    reconstruct(grown)
    assert labels_in(tmp_path / "grown-dense.safetensors", "vectors") == labels + [""] * 10
