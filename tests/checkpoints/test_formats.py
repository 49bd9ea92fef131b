"""What holds for every reader of FORMATS."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress.checkpoints import FORMATS, Checkpoint, open_checkpoint
from embcompress.checkpoints.unread import HEAD_BYTES, SIGNATURES
from embcompress.exceptions import CheckpointError, UnknownFormatError
from embcompress.tables.rows import read_bytes
from tests.checkpoints.fasttext_files import fasttext_model

STATE: Mapping[str, Tensor] = {
    "z.weight": torch.arange(24, dtype=torch.float32).view(6, 4),
    "a.weight": torch.arange(6, dtype=torch.float64).view(2, 3),
    "half": torch.tensor([1.5, -2.0, float("nan")], dtype=torch.bfloat16),
    "step": torch.tensor(7),
    "mask": torch.tensor([True, False]),
    "none": torch.empty(0, 4),
}


def save_safetensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with safetensors, which wants every tensor dense and with memory of its own."""
    safetensors.torch.save_file({name: value.contiguous() for name, value in state.items()}, path)


def save_torch(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with torch.save."""
    torch.save(dict(state), path)


def save_npy(state: Mapping[str, Tensor], path: Path) -> None:
    """Write the only tensor with NumPy, which adds an ending to a path and none to a file."""
    with path.open("wb") as file:
        np.save(file, state["embedding.weight"].numpy())


def save_npz(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with NumPy: each array a member that is stored."""
    with path.open("wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in state.items()})


def save_vectors(state: Mapping[str, Tensor], path: Path, *, binary: bool) -> None:
    """Write with gensim."""
    models = pytest.importorskip("gensim.models", reason="gensim, which writes word vectors, is not installed")
    values = state["vectors"].numpy()
    vectors = models.KeyedVectors(values.shape[1])
    vectors.add_vectors([f"word{row}" for row in range(len(values))], values)
    vectors.save_word2vec_format(str(path), binary=binary)


def save_gensim(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with gensim's own save: a pickle, and an array beside it."""
    models = pytest.importorskip("gensim.models", reason="gensim, which writes these models, is not installed")
    values = state["vectors"].numpy()
    vectors = models.KeyedVectors(values.shape[1])
    vectors.add_vectors([f"word{row}" for row in range(len(values))], values)
    vectors.save(str(path), sep_limit=0)


def save_packed(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with gensim, and pack."""
    save_vectors(state, path, binary=True)
    path.write_bytes(gzip.compress(path.read_bytes()))


def save_fasttext(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a model of fastText by its layout: what fastText itself reads of such files, tests of its own hold."""
    path.write_bytes(fasttext_model(state["input_vectors"].numpy(), state["output_vectors"].numpy()))


def save_dglke(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a folder as DGL-KE names its files."""
    path.mkdir()
    for name, value in state.items():
        np.save(path / f"FB15k_ComplEx_{name}.npy", value.numpy())


def save_spacy(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a folder with the files of spaCy's vectors: what spaCy itself writes, tests of its own hold."""
    path.mkdir()
    np.save(path / "vectors.npy", state["vectors"].numpy())
    (path / "vectors.npy").rename(path / "vectors")
    (path / "key2row").write_bytes(b"\x81\x07\x00")
    (path / "strings.json").write_text('["a"]')


@dataclass(frozen=True)
class Case:
    """A writer of a format: the library that owns it.

    Attributes:
        write: a state dict to a path, which may become a folder.
        state: what the format can hold of STATE, or the like of it.
        is_told_by_content: whether the first bytes tell it, whatever the ending of the file.
        is_cut_told_by_rows: whether a cut file is an error at the latest when its rows are read: where rows have any
            length, only then they are counted.
    """

    write: Callable[[Mapping[str, Tensor], Path], object]
    state: Mapping[str, Tensor] = field(default_factory=lambda: STATE)
    is_told_by_content: bool = True
    is_cut_told_by_rows: bool = False


VECTORS: Mapping[str, Tensor] = {
    "vectors": torch.tensor(np.random.default_rng(0).standard_normal((200, 5)), dtype=torch.float32)
}

CASES: Mapping[str, Case] = {
    "safetensors": Case(save_safetensors),
    "torch": Case(save_torch),
    "npy": Case(save_npy, {"embedding.weight": torch.arange(24, dtype=torch.float32).view(6, 4)}),
    "npz": Case(save_npz, {name: value for name, value in STATE.items() if value.dtype != torch.bfloat16}),
    "word vectors": Case(partial(save_vectors, binary=False), VECTORS, is_cut_told_by_rows=True),
    "word2vec": Case(partial(save_vectors, binary=True), VECTORS, is_cut_told_by_rows=True),
    "fastText": Case(save_fasttext, {"input_vectors": VECTORS["vectors"], "output_vectors": VECTORS["vectors"][:90]}),
    "DGL-KE": Case(save_dglke, {"entity": VECTORS["vectors"], "relation": VECTORS["vectors"][:9]}),
    "spaCy": Case(save_spacy, VECTORS),
    "gensim": Case(save_gensim, VECTORS),
    "packed word vectors": Case(save_packed, VECTORS, is_cut_told_by_rows=True),
}
each_format = pytest.mark.parametrize("module", FORMATS, ids=lambda module: module.NAME)


def write(module: ModuleType, path: Path) -> Path:
    """Write the state of a format by the library that owns it."""
    CASES[module.NAME].write(CASES[module.NAME].state, path)
    return path


def contents_of(path: Path) -> dict[Path, bytes]:
    """Read all files of a checkpoint: of one that is a file also those beside it whose names begin with its own."""
    found = path.parent.glob(f"{path.name}*") if path.is_file() else path.rglob("*")
    files = sorted(file for file in found if file.is_file())
    return {file: file.read_bytes() for file in files}


def nbytes_of(path: Path) -> int:
    """Count the bytes of all files of a checkpoint."""
    return sum(map(len, contents_of(path).values()))


def read_all(checkpoint: Checkpoint, *, is_read: bool = True) -> None:
    """Read all tensors, or none."""
    for tensor in checkpoint.tensors if is_read else ():
        for _ in read_bytes(tensor, files=checkpoint.files):
            pass


def head_of(path: Path) -> bytes:
    """Read what readers are told by; empty of a folder."""
    return b"" if path.is_dir() else path.read_bytes()[:HEAD_BYTES]


def test_formats_have_a_name_each() -> None:
    """Names are unique, and each format has a writer in this test."""
    names = [module.NAME for module in FORMATS]
    assert len(set(names)) == len(names)
    assert set(names) == set(CASES)


@each_format
def test_format_is_told_by_its_content(module: ModuleType, tmp_path: Path) -> None:
    """Only the format's own reader recognises its files, under whatever ending, and nothing else's first bytes."""
    names = ("model.pt", "model.safetensors", "model.html", "model") if CASES[module.NAME].is_told_by_content else ()
    for name in names:
        with open_checkpoint(write(module, tmp_path / name)) as checkpoint:
            assert checkpoint.format == module.NAME
        head = head_of(tmp_path / name)
        assert [other.NAME for other in FORMATS if other.is_recognised(tmp_path / name, head)] == [module.NAME]
    assert not any(
        module.is_recognised(tmp_path / "x", signature.ljust(HEAD_BYTES, b" ")) for signature, _, _ in SIGNATURES
    )
    assert not any(
        module.is_recognised(tmp_path / "x", head) for head in (b"", b"\0", bytes(HEAD_BYTES), b"text\n" * 20)
    )


@each_format
def test_format_lists_names_dtypes_shapes_and_bytes(module: ModuleType, tmp_path: Path) -> None:
    """The same state dict gives the same tensors, bit for bit, from every format."""
    with open_checkpoint(write(module, tmp_path / "model")) as checkpoint:
        found = {tensor.name: tensor for tensor in checkpoint.tensors}
        state = CASES[module.NAME].state
        assert set(found) == set(state)
        for name, value in state.items():
            tensor = found[name]
            assert (tensor.shape, f"torch.{tensor.dtype}") == (tuple(value.shape), str(value.dtype))
            content = b"".join(map(bytes, read_bytes(tensor, files=checkpoint.files)))
            assert content == value.reshape(-1).view(torch.uint8).numpy().tobytes()
        assert checkpoint.listing.left_out == ()
        assert checkpoint.nbytes == nbytes_of(tmp_path / "model")


@each_format
def test_format_lists_the_same_twice(module: ModuleType, tmp_path: Path) -> None:
    """Listing reads only: it can be done again on the same open file, and the file is unchanged."""
    path = write(module, tmp_path / "model")
    before = contents_of(path)
    with open_checkpoint(path) as checkpoint:
        assert module.read_listing(path, checkpoint.files) == checkpoint.listing
    assert contents_of(path) == before


@each_format
def test_format_refuses_a_cut_file(module: ModuleType, tmp_path: Path) -> None:
    """Cut at 60 places over its length, a file is never read as a smaller checkpoint; the message names it.

    It is an error before a row is read, but for the formats that say otherwise.
    """
    path = write(module, tmp_path / "model")
    if path.is_dir():
        pytest.skip("a folder is not cut; tests of its own cut its files")
    raw = path.read_bytes()
    cut = tmp_path / "cut"
    for step in range(60):
        cut.write_bytes(raw[: len(raw) * step // 60])
        with pytest.raises(CheckpointError) as caught, open_checkpoint(cut) as checkpoint:
            read_all(checkpoint, is_read=CASES[module.NAME].is_cut_told_by_rows)
        assert str(cut) in caught.value.message
        assert caught.value.hint


@each_format
def test_format_closes_its_file(module: ModuleType, tmp_path: Path) -> None:
    """After the block, and after a refusal, no file stays open."""
    path = write(module, tmp_path / "model")
    with open_checkpoint(path) as checkpoint:
        pass
    assert checkpoint.files.closed
    if path.is_dir():
        return
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CheckpointError), open_checkpoint(path) as checkpoint:
        read_all(checkpoint)  # a file left open would be a ResourceWarning, which is an error here


@pytest.mark.parametrize(("signature", "what", "hint"), SIGNATURES, ids=[what for _, what, _ in SIGNATURES])
def test_open_checkpoint_says_what_an_unread_file_is(tmp_path: Path, signature: bytes, what: str, hint: str) -> None:
    """A file of a known other kind is named as what it is, with what to do about it."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(signature + bytes(100))
    with pytest.raises(UnknownFormatError) as caught:
        open_checkpoint(path)
    assert (caught.value.message, caught.value.hint) == (f"{path} {what}.", hint)


def gensim_like() -> bytes:
    """Pickle an object of a module that gensim has, without gensim."""
    return b"\x80\x04\x95\x30" + bytes(7) + b"\x8c\x1bgensim.models.keyedvectors\x94\x8c\x0cKeyedVectors\x94\x93\x94."


def old_torch() -> bytes:
    """Save by torch's format of before 1.6."""
    buffer = io.BytesIO()
    torch.save({"embedding.weight": torch.ones(5, 3)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def archive_of(name: str, content: bytes) -> bytes:
    """Put one member into a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


KINDS_OF_FILES: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "torch before 1.6": (
        "model.pt",
        old_torch,
        "was written by torch.save before torch 1.6",
        "torch.load(path, weights",
    ),
    "gensim": ("model.kv", gensim_like, "is a model that gensim has pickled", "KeyedVectors.load(path)"),
    "arrays": (
        "vectors.pkl",
        lambda: pickle.dumps({"a": np.ones(3)}),
        "is a pickle of NumPy arrays",
        "numpy.stack(list(vectors.values()))",
    ),
    "ONNX": (
        "model.onnx",
        lambda: b"\x08\x07\x12\x07pytorch\x1a\x05" + bytes(50),
        "is an ONNX model",
        "onnx.load(path)",
    ),
    "Flax": ("flax_model.msgpack", lambda: b"\x81\xa6params" + bytes(50), "is a msgpack file", "msgpack_restore"),
    "TensorFlow": ("model.ckpt.data-00000-of-00001", lambda: bytes(99), "is a part of a TensorFlow", "load_checkpoint"),
    "tar": ("model.tar", lambda: bytes(257) + b"ustar" + bytes(99), "is a tar archive", "tar -xf"),
    "Keras": ("model.keras", lambda: archive_of("model.weights.h5", b"\x89HDF"), "is a Keras model", "h5py.File"),
    "distcp": (
        "__0_0.distcp",
        lambda: bytes(9) + archive_of("archive/data.pkl", b"."),
        "of a distributed",
        "dcp_to_torch",
    ),
}


@pytest.mark.parametrize("kind", KINDS_OF_FILES)
def test_open_checkpoint_names_formats_that_are_not_read(tmp_path: Path, kind: str) -> None:
    """A file of another format is named as that, with the line that converts it."""
    name, make, what, hint = KINDS_OF_FILES[kind]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(UnknownFormatError) as caught:
        open_checkpoint(tmp_path / name)
    assert what in caught.value.message
    assert hint in caught.value.hint


def test_open_checkpoint_names_what_a_folder_holds(tmp_path: Path) -> None:
    """Of a folder the checkpoints in it are named, or how a distributed one is converted."""
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_bytes(b"{}")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    assert caught.value.hint == f"Name the checkpoint file in it: {tmp_path / 'model.safetensors'}."
    shards = tmp_path / "step-1"
    shards.mkdir()
    (shards / ".metadata").write_bytes(b"")
    (shards / "__0_0.distcp").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a folder with a distributed checkpoint") as caught:
        open_checkpoint(shards)
    assert "dcp_to_torch" in caught.value.hint
