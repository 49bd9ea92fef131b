"""What holds for every reader of FORMATS."""

from __future__ import annotations

import gzip
import io
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

import embcompress.checkpoints
from embcompress.checkpoints import FORMATS, Checkpoint, open_checkpoint
from embcompress.checkpoints.files import HEAD_BYTES
from embcompress.checkpoints.unread import SIGNATURES
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


def save_old_torch(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with torch.save in its older form."""
    torch.save(dict(state), path, _use_new_zipfile_serialization=False)


def save_npy(state: Mapping[str, Tensor], path: Path) -> None:
    """Write the only tensor with NumPy, which adds an ending to a path and none to a file."""
    with path.open("wb") as file:
        np.save(file, state["embedding.weight"].numpy())


def save_npz(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with NumPy: each array a member that is stored."""
    with path.open("wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in state.items()})


def save_gguf(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with gguf, which takes bfloat16 as bytes."""
    gguf = pytest.importorskip("gguf", reason="gguf is not installed: pip install 'embcompress[gguf]'")
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in state.items():
        if value.dtype == torch.bfloat16:
            writer.add_tensor(name, value.view(torch.uint8).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(name, value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def save_hdf5(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with h5py, bfloat16 as Keras does."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'embcompress[hdf5]'")
    with h5py.File(path, "w") as file:
        for name, value in state.items():
            is_bfloat16 = value.dtype == torch.bfloat16
            file[name] = value.view(torch.int16).numpy().view("V2") if is_bfloat16 else value.numpy()
            if is_bfloat16:
                file[name].attrs["dtype"] = "bfloat16"


def save_biggraph(state: Mapping[str, Tensor], path: Path) -> None:
    """Write as PyTorch-BigGraph does: the entities of each type in two partitions, all else as the model's own."""
    path.mkdir()
    for name, value in state.items():
        for part, rows in enumerate(value.split(4)) if name.startswith("embeddings_") else ():
            save_hdf5({"embeddings": rows}, path / f"{name}_{part}.v3.h5")
    save_hdf5({name: value for name, value in state.items() if name.startswith("model/")}, path / "model.v3.h5")


def save_folder(state: Mapping[str, Tensor], path: Path) -> None:
    """Write shards of at most 100 bytes and their index with huggingface_hub."""
    hub = pytest.importorskip("huggingface_hub")
    path.mkdir()
    hub.save_torch_state_dict(dict(state), path, max_shard_size=100)


def save_pickle(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with pickle, without torch.save."""
    path.write_bytes(pickle.dumps(dict(state)))


def save_distributed(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a folder with torch.distributed.checkpoint, in one process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(dict(state), storage_writer=dcp.FileSystemWriter(path), no_dist=True)


def save_shards(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a folder of safetensors files with torch.distributed.checkpoint, in one process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = dcp.HuggingFaceStorageWriter(str(path), save_distributed=True)
        dcp.save(dict(state), storage_writer=writer, no_dist=True)


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


def save_parquet(state: Mapping[str, Tensor], path: Path) -> None:
    """Write with pyarrow, each tensor as a column of lists."""
    reason = "pyarrow is not installed: pip install 'embcompress[arrow]'"
    pytest.importorskip("pyarrow.parquet", reason=reason).write_table(arrow_table(state), path)


def save_arrow(state: Mapping[str, Tensor], path: Path) -> None:
    """Write an Arrow file with pyarrow, each tensor as a column of lists."""
    ipc = pytest.importorskip("pyarrow.ipc", reason="pyarrow is not installed: pip install 'embcompress[arrow]'")
    table = arrow_table(state)
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def save_parts(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a folder of Parquet files, as Spark does."""
    path.mkdir()
    for part in range(3):
        rows = {name: value.tensor_split(3)[part] for name, value in state.items()}
        save_parquet(rows, path / f"part-0000{part}.parquet")


def arrow_table(state: Mapping[str, Tensor]) -> Any:
    """Make a table of pyarrow of matrices, each as a column of lists."""
    arrow = pytest.importorskip("pyarrow")
    columns = {
        name: arrow.FixedSizeListArray.from_arrays(arrow.array(value.flatten().numpy()), value.shape[1])
        for name, value in state.items()
    }
    return arrow.table(columns)


# Matrices of as many rows each, in the dtypes that Arrow has.
COLUMNS: Mapping[str, Tensor] = {
    "z": STATE["z.weight"],
    "a": torch.arange(12, dtype=torch.float64).view(6, 2) / 3,
    "half": torch.tensor([[1.5], [-2.0], [float("nan")], [0.0], [-0.0], [float("inf")]], dtype=torch.float16),
}


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
        is_cut_told_by_rows: whether a cut file is an error at the latest when its rows are read: where rows have any
            length, only then they are counted.
        is_drawn: whether other sizes can be written; of fastText a test of its own draws them.
    """

    write: Callable[[Mapping[str, Tensor], Path], object]
    state: Mapping[str, Tensor] = field(default_factory=lambda: STATE)
    is_cut_told_by_rows: bool = False
    is_drawn: bool = True


VECTORS: Mapping[str, Tensor] = {
    "vectors": torch.tensor(np.random.default_rng(0).standard_normal((200, 5)), dtype=torch.float32)
}

CASES: Mapping[str, Case] = {
    "safetensors": Case(save_safetensors),
    "torch": Case(save_torch),
    "torch before 1.6": Case(save_old_torch),
    "npy": Case(save_npy, {"embedding.weight": torch.arange(24, dtype=torch.float32).view(6, 4)}),
    "npz": Case(save_npz, {name: value for name, value in STATE.items() if value.dtype != torch.bfloat16}),
    "GGUF": Case(
        save_gguf, {name: value for name, value in STATE.items() if name != "mask"} | {"last": torch.ones(8, 4)}
    ),
    "HDF5": Case(save_hdf5),
    "PyTorch-BigGraph": Case(
        save_biggraph,
        {"embeddings_user": STATE["z.weight"], "embeddings_item": STATE["a.weight"], "model/x": torch.ones(3)},
    ),
    "Hugging Face folder": Case(save_folder),
    "pickle": Case(save_pickle),
    "torch distributed safetensors": Case(save_shards),
    "torch distributed": Case(save_distributed),
    "word vectors": Case(partial(save_vectors, binary=False), VECTORS, is_cut_told_by_rows=True),
    "word2vec": Case(partial(save_vectors, binary=True), VECTORS, is_cut_told_by_rows=True),
    "fastText": Case(
        save_fasttext, {"input_vectors": VECTORS["vectors"], "output_vectors": VECTORS["vectors"][:90]}, is_drawn=False
    ),
    "DGL-KE": Case(save_dglke, {"entity": VECTORS["vectors"], "relation": VECTORS["vectors"][:9]}),
    "spaCy": Case(save_spacy, VECTORS),
    "gensim": Case(save_gensim, VECTORS),
    "packed word vectors": Case(save_packed, VECTORS, is_cut_told_by_rows=True),
    "Parquet": Case(save_parquet, COLUMNS),
    "Arrow": Case(save_arrow, COLUMNS),
    "Parquet folder": Case(save_parts, COLUMNS),
}
each_format = pytest.mark.parametrize("module", FORMATS, ids=lambda module: module.NAME)


def write(module: ModuleType, path: Path) -> Path:
    """Write the state of a format by the library that owns it."""
    CASES[module.NAME].write(CASES[module.NAME].state, path)
    return path


def contents_of(path: Path) -> dict[Path, bytes]:
    """Read all files of a checkpoint: of one that is a file also those beside it whose names begin with its own."""
    paths = path.parent.glob(f"{path.name}*") if path.is_file() else path.rglob("*")
    files = sorted(file for file in paths if file.is_file())
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


def test_modules_of_formats_are_known_by_their_names() -> None:
    """What reads a format is a module whose name ends in file or folder, and every such module is in FORMATS."""
    root = Path(embcompress.checkpoints.__file__).parent
    paths = [path for path in root.rglob("*.py") if path.stem.endswith(("_file", "folder"))]
    assert {path.resolve() for path in paths} == {Path(str(module.__file__)).resolve() for module in FORMATS}


@each_format
def test_format_is_told_by_its_content(module: ModuleType, tmp_path: Path) -> None:
    """Only the format's own reader recognises its files, under whatever ending, and nothing else's first bytes."""
    for name in ("model.pt", "model.safetensors", "model.html", "model"):
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


STRAYS: Mapping[str, Callable[[Path], object]] = {
    "array": lambda path: np.save(path / "x.npy", np.ones((2, 3))),
    "DGL-KE": lambda path: np.save(path / "x_TransE_entity.npy", np.ones((2, 3))),
    "spaCy": lambda path: save_spacy(VECTORS, path / "vocab"),
    "PyTorch-BigGraph": lambda path: (path / "embeddings_user_0.v1.h5").write_bytes(b"x"),
    "Parquet": lambda path: (path / "part-00000.parquet").write_bytes(b"x"),
    "torch distributed": lambda path: (path / ".metadata").write_bytes(b"x"),
    "torch distributed safetensors": lambda path: (path / "shard-00001-model-00001-of-00001.safetensors").touch(),
}


@pytest.mark.parametrize("stray", STRAYS)
def test_a_model_beside_other_files_is_the_model(tmp_path: Path, stray: str) -> None:
    """A folder with a configuration and weights is one of Hugging Face, whatever arrays or data lie beside them."""
    (tmp_path / "config.json").write_text("{}")
    save_safetensors(STATE, tmp_path / "model.safetensors")
    STRAYS[stray](tmp_path)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.format == "Hugging Face folder"
        assert {tensor.name for tensor in checkpoint.tensors} == set(STATE)


def test_a_pickle_that_names_gensim_is_read(tmp_path: Path) -> None:
    """A word in a pickle does not make it a model of gensim: its classes do."""
    save_pickle({"gensim.weight": STATE["z.weight"]}, tmp_path / "a.pkl")
    with open_checkpoint(tmp_path / "a.pkl") as checkpoint:
        assert [tensor.name for tensor in checkpoint.tensors] == ["gensim.weight"]


def assert_holds(checkpoint: Checkpoint, state: Mapping[str, Tensor]) -> None:
    """Compare names, shapes, dtypes and every bit with what was written."""
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert set(tensors) == set(state)
    for name, value in state.items():
        tensor = tensors[name]
        assert (tensor.shape, f"torch.{tensor.dtype}") == (tuple(value.shape), str(value.dtype))
        content = b"".join(map(bytes, read_bytes(tensor, files=checkpoint.files)))
        assert content == value.reshape(-1).view(torch.uint8).numpy().tobytes()
    assert checkpoint.listing.left_out == ()


def draw_like(state: Mapping[str, Tensor], *, seed: int) -> dict[str, Tensor]:
    """Draw values for the names and dtypes of a state dict; all axes of one length there have one length again."""
    generator = torch.Generator().manual_seed(seed)
    lengths = {size: int(torch.randint(2, 60, (), generator=generator)) if size else 0 for size in range(1000)}
    drawn = {}
    for name, value in state.items():
        values = torch.randn([lengths[size] for size in value.shape], generator=generator) * 50
        drawn[name] = values > 0 if value.dtype == torch.bool else values.to(value.dtype)
    return drawn


@pytest.mark.parametrize("module", [one for one in FORMATS if CASES[one.NAME].is_drawn], ids=lambda module: module.NAME)
def test_format_reads_random_files(module: ModuleType, tmp_path: Path, random_files: int) -> None:
    """Files of random shapes and values, written by the library of the format, are read to the bit."""
    for seed in range(random_files):
        state = draw_like(CASES[module.NAME].state, seed=seed)
        path = tmp_path / f"model{seed}"
        CASES[module.NAME].write(state, path)
        with open_checkpoint(path) as checkpoint:
            assert_holds(checkpoint, state)


@each_format
def test_format_lists_names_dtypes_shapes_and_bytes(module: ModuleType, tmp_path: Path) -> None:
    """The same state dict gives the same tensors, bit for bit, from every format."""
    with open_checkpoint(write(module, tmp_path / "model")) as checkpoint:
        assert_holds(checkpoint, CASES[module.NAME].state)
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


def archive_of(name: str, content: bytes) -> bytes:
    """Put one member into a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


KINDS_OF_FILES: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "gensim": ("model.kv", gensim_like, "is a model that gensim has pickled", "KeyedVectors.load(path)"),
    "ONNX": (
        "model.onnx",
        lambda: b"\x08\x07\x12\x07pytorch\x1a\x05" + bytes(50),
        "is an ONNX model",
        "onnx.load(path)",
    ),
    "Flax": ("flax_model.msgpack", lambda: b"\x81\xa6params" + bytes(50), "is a msgpack file", "msgpack_restore"),
    "TensorFlow": ("model.ckpt.data-00000-of-00001", lambda: bytes(99), "is a part of a TensorFlow", "load_checkpoint"),
    "tar": ("model.tar", lambda: bytes(257) + b"ustar" + bytes(99), "is a tar archive", "tar -xf"),
    "distcp": (
        "__0_0.distcp",
        lambda: bytes(9) + archive_of("archive/data.pkl", b"."),
        "of a distributed",
        "Name the folder",
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
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "config.json").write_bytes(b"{}")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    assert caught.value.hint == f"Name the checkpoint file in it: {tmp_path / 'model.pt'}."
    shards = tmp_path / "step-1"
    shards.mkdir()
    (shards / "__0_0.distcp").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"parts of a distributed checkpoint and no \.metadata") as caught:
        open_checkpoint(shards)
    assert caught.value.hint == "Copy the folder whole."
