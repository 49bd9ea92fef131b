"""Forms of a dense model: read back by the libraries that own them."""

from __future__ import annotations

import hashlib
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress import approximate, reconstruct
from embcompress.exceptions import OutputError, UsageError
from embcompress.report import render

NAME = "emb.weight"
TABLE = torch.randn(200, 24, generator=torch.Generator().manual_seed(0))
STEPS = torch.arange(5)


def compress(folder: Path, tensors: dict[str, Tensor], **options: object) -> Path:
    """Compress a checkpoint of these tensors in a folder, and name the artifact."""
    source = folder / "model.pt"
    torch.save(tensors, source)
    approximate(source, bases=4, neighbours=0, **options)  # type: ignore[arg-type]
    return folder / "model-4bases.safetensors"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Compress a table of float32 beside a tensor that is no table."""
    return compress(tmp_path, {NAME: TABLE, "steps": STEPS})


def dense_of(artifact: Path) -> Tensor:
    """Multiply the table out into a safetensors file, and read it."""
    path = artifact.with_name("expected.safetensors")
    reconstruct(artifact, output=path, to="safetensors", report=artifact.with_name("expected.json"))
    return safetensors.torch.load_file(path)[NAME]


def test_bin_is_read_by_torch(artifact: Path) -> None:
    """torch.load gives the same tensors, nothing else is left in the folder, and a second run gives the same bytes."""
    result = reconstruct(artifact, to="bin")
    path = artifact.with_name("model-4bases-dense.bin")
    state = torch.load(path, weights_only=True)
    assert list(state) == [NAME, "steps"]
    assert state[NAME].equal(dense_of(artifact))
    assert state["steps"].equal(STEPS)
    assert result.output.bytes == path.stat().st_size
    assert not [entry for entry in artifact.parent.iterdir() if entry.name.startswith(".")]
    assert reconstruct(artifact, to="bin", output=artifact.with_name("b.bin")).output.sha256 == result.output.sha256


@pytest.mark.parametrize("share", [0.62, 0.97, 0.999])
def test_bin_that_does_not_fit_is_refused(tmp_path: Path, share: float) -> None:
    """Wherever the file system ends, within a tensor or behind the last, its own fault is told, and nothing is left."""
    torch.save({"a_embedding": torch.randn(300, 64), "b": torch.randn(30_000)}, tmp_path / "model.pt")
    path = approximate(tmp_path / "model.pt", bases=8, neighbours=0).output.path
    nbytes = Path(reconstruct(path, to="bin", output=tmp_path / "dense.pt").output.path).stat().st_size
    before = set(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * nbytes), hard))
    try:
        with pytest.raises(OutputError, match="File too large"):
            reconstruct(path, to="bin", output=tmp_path / "more.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert set(tmp_path.iterdir()) == before


def test_bin_keeps_ties(tmp_path: Path) -> None:
    """Two names of one memory are one storage again."""
    artifact = compress(tmp_path, {NAME: TABLE, "lm_head.weight": TABLE})
    reconstruct(artifact, to="bin", output=tmp_path / "dense.bin")
    state = torch.load(tmp_path / "dense.bin", weights_only=True)
    assert state[NAME].data_ptr() == state["lm_head.weight"].data_ptr()


def test_npy_is_read_by_numpy(artifact: Path) -> None:
    """The one table; what the form does not hold is listed."""
    result = reconstruct(artifact, to="npy")
    array = np.load(artifact.with_name("model-4bases-dense.npy"))
    assert array.dtype == np.float32
    assert torch.from_numpy(array).equal(dense_of(artifact))
    assert [skipped.name for skipped in result.skipped] == ["steps"]
    assert result.tensors == 1
    assert "steps" in render(result, ".md")


def test_npz_is_read_by_numpy(tmp_path: Path) -> None:
    """All tensors by name; bfloat16 becomes float32, which holds its numbers."""
    artifact = compress(tmp_path, {NAME: TABLE.bfloat16(), "steps": STEPS})
    reconstruct(artifact, to="npz", output=tmp_path / "dense.npz")
    with np.load(tmp_path / "dense.npz") as arrays:
        assert set(arrays) == {NAME, "steps"}
        assert arrays[NAME].dtype == np.float32
        assert torch.from_numpy(arrays[NAME]).bfloat16().equal(dense_of(artifact))
        assert arrays["steps"].tolist() == STEPS.tolist()
    assert zipfile.ZipFile(tmp_path / "dense.npz").testzip() is None


@pytest.mark.parametrize("form", ["word2vec", "glove"])
def test_text_has_digits_that_give_the_same_floats(artifact: Path, form: str) -> None:
    """Every number reads back to the same float32; rows without labels are named by their ids."""
    reconstruct(artifact, to=form)
    lines = artifact.with_name(f"model-4bases-dense.{form}.txt").read_text().splitlines()
    if form == "word2vec":
        assert lines.pop(0) == "200 24"
    fields = [line.split(" ") for line in lines]
    assert [row[0] for row in fields] == [str(number) for number in range(200)]
    values = np.array([[float(number) for number in row[1:]] for row in fields]).astype(np.float32)
    assert torch.from_numpy(values).equal(dense_of(artifact))


def test_word2vec_binary_is_its_header_and_rows(artifact: Path) -> None:
    """Each row is its word, a blank, its float32 numbers, a newline."""
    reconstruct(artifact, to="word2vec-binary")
    content = artifact.with_name("model-4bases-dense.word2vec-binary.bin").read_bytes()
    expected = dense_of(artifact).numpy()
    rows = b"".join(b"%d %b\n" % (number, row.tobytes()) for number, row in enumerate(expected))
    assert content == b"200 24\n" + rows


@pytest.mark.parametrize("dry_run", [False, True])
def test_forms_of_one_table_refuse_two(tmp_path: Path, dry_run: bool) -> None:
    """The refusal names the tables and the forms that hold them; a dry run refuses, too."""
    artifact = compress(tmp_path, {NAME: TABLE, "other_emb.weight": TABLE.flip(0)})
    with pytest.raises(UsageError, match="--to npy holds one table, and the artifact has 2") as caught:
        reconstruct(artifact, to="npy", dry_run=dry_run)
    assert "npz" in caught.value.hint
    assert not list(tmp_path.glob("*dense*"))


def test_reconstruct_refuses_unknown_forms_and_limits_of_one_file(artifact: Path) -> None:
    """A mistyped form is told its neighbours; only safetensors are cut."""
    with pytest.raises(UsageError, match="--to must be one of") as caught:
        reconstruct(artifact, to="word2vce")
    assert "word2vec" in caught.value.hint
    with pytest.raises(UsageError, match="got 'torch'") as caught:
        reconstruct(artifact, to="torch")
    assert caught.value.hint == "What torch.save writes is bin."
    with pytest.raises(UsageError, match="writes one file"):
        reconstruct(artifact, to="npz", max_shard_size="1MB")


def test_shards_come_back_under_their_names(tmp_path: Path) -> None:
    """A table that was cut is written as its shards, whose rows are those of the whole."""
    parts = {f"ngram_embedding.shard_{number}.weight": part.clone() for number, part in enumerate(TABLE.split(70))}
    artifact = compress(tmp_path, {**parts, "steps": STEPS})
    compress(tmp_path, {"ngram_embedding.weight": TABLE}, output=tmp_path / "w.safetensors")
    reconstruct(tmp_path / "w.safetensors", output=tmp_path / "whole.safetensors")
    for form in ("safetensors", "bin", "npz"):
        reconstruct(artifact, to=form, output=tmp_path / f"dense.{form}", force=True)
    expected = safetensors.torch.load_file(tmp_path / "whole.safetensors")["ngram_embedding.weight"].split(70)
    arrays = np.load(tmp_path / "dense.npz")
    for number, part in enumerate(expected):
        name = f"ngram_embedding.shard_{number}.weight"
        assert safetensors.torch.load_file(tmp_path / "dense.safetensors")[name].equal(part)
        assert torch.load(tmp_path / "dense.bin", weights_only=True)[name].equal(part)
        assert torch.from_numpy(arrays[name]).equal(part)


def test_max_shard_size_cuts_artifact_and_dense_model(tmp_path: Path) -> None:
    """Files of at most so many bytes of tensors with an index, which are read as one artifact again."""
    tensors = {NAME: TABLE, "steps": STEPS, **{f"fc{number}": torch.randn(30, 30) for number in range(4)}}
    source = tmp_path / "model.pt"
    torch.save(tensors, source)
    approximate(source, bases=4, table=NAME, neighbours=5, max_shard_size=8000)
    folder = tmp_path / "model-4bases"
    names = sorted(path.name for path in folder.iterdir())
    assert names[1] == "embcompress-00001-of-00003.safetensors"
    assert names[-1] == "embcompress.safetensors.index.json"
    assert "SHA256SUMS" in names
    whole = tmp_path / "whole" / "model-4bases.safetensors"
    whole.parent.mkdir()
    compress(whole.parent, tensors, table=NAME)
    merged: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        shard = safetensors.torch.load_file(path)
        assert len(shard) == 1 or sum(value.nbytes for value in shard.values()) <= 8000
        merged |= shard
    expected = safetensors.torch.load_file(whole)
    assert set(merged) == set(expected)
    assert all(merged[name].equal(expected[name]) for name in expected)
    reconstruct(folder, max_shard_size="8KB")
    state: dict[str, Tensor] = {}
    for path in (tmp_path / "model-4bases-dense").glob("model-*.safetensors"):
        shard = safetensors.torch.load_file(path)
        assert len(shard) == 1 or sum(value.nbytes for value in shard.values()) <= 8000
        state |= shard
    assert state[NAME].equal(dense_of(whole))
    assert all(state[name].equal(tensors[name]) for name in tensors if name != NAME)


def test_folder_output_replaces_an_earlier_one_only(tmp_path: Path) -> None:
    """An output is replaced whole with --force; a folder that holds a file of anybody else never is."""
    source = tmp_path / "model.pt"
    torch.save({NAME: TABLE}, source)
    folder = tmp_path / "out"
    approximate(source, bases=4, output=folder, max_shard_size="1MB", neighbours=0)
    with pytest.raises(OutputError, match="exists already"):
        approximate(source, bases=4, output=folder, max_shard_size="1MB", neighbours=0)
    approximate(source, bases=5, output=folder, max_shard_size="1MB", neighbours=0, force=True)
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "embcompress.safetensors"]
    assert len(safetensors.torch.load_file(folder / "embcompress.safetensors")[f"{NAME}.bases"]) == 5
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"no earlier run wrote there: 'notes\.txt'"):
        approximate(source, bases=6, output=folder, max_shard_size="1MB", neighbours=0, force=True)
    assert (folder / "notes.txt").read_text() == "mine"
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(OutputError, match="no earlier run wrote there"):
        approximate(source, bases=4, output=other, max_shard_size="1MB", neighbours=0, force=True)
    assert (other / "cat.jpg").read_bytes() == b"meow"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_original_is_never_replaced_by_its_reconstruction(tmp_path: Path) -> None:
    """A folder of a model that we did not write stays, with force too."""
    model = tmp_path / "model"
    model.mkdir()
    safetensors.torch.save_file({NAME: TABLE}, model / "model.safetensors")
    (model / "config.json").write_text("{}")
    result = approximate(model, bases=4, neighbours=0)
    with pytest.raises(OutputError, match=r"'config\.json', 'model\.safetensors'"):
        reconstruct(result.output.path, output=model, force=True)
    assert safetensors.torch.load_file(model / "model.safetensors")[NAME].equal(TABLE)
    sums = (tmp_path / "model-4bases" / "SHA256SUMS").read_text().splitlines()
    assert [line.partition("  ")[2] for line in sums] == ["config.json", "embcompress.safetensors"]
    for line in sums:
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((tmp_path / "model-4bases" / name).read_bytes()).hexdigest() == digest
    content = (tmp_path / "model-4bases" / "SHA256SUMS").read_bytes()
    assert result.output.sha256 == hashlib.sha256(content).hexdigest()
