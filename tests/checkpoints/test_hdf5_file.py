"""HDF5 files against h5py, the layouts of Keras and PyTorch-BigGraph, and files that lead elsewhere."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from tests.checkpoints.contents import are_same_bits, expected_factors, factors_of, labels_of, large_table, tensors_of
from tests.command_line import run

h5py: Any = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'embcompress[hdf5]'")

DTYPES = ("f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "i8", "?")


def random_array(generator: np.random.Generator) -> Any:
    """Make an array of random bits of a random dtype, in either byte order."""
    code = DTYPES[generator.integers(len(DTYPES))]
    dtype = np.dtype(("<", ">")[generator.integers(2)] + code) if code != "?" else np.dtype(bool)
    shape = tuple(generator.integers(1, 9, generator.integers(0, 4)))
    raw = generator.integers(0, 2 if code == "?" else 256, int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
    return raw.view(dtype).reshape(shape)


def random_layout(shape: tuple[int, ...], generator: np.random.Generator) -> dict[str, Any]:
    """Choose how a dataset is laid out: contiguous, or in chunks that are packed in some way."""
    if not shape or generator.integers(3) == 0:
        return {}
    chunks = tuple(int(generator.integers(1, size + 1)) for size in shape)
    packing: tuple[dict[str, Any], ...] = (
        {},
        {"compression": "gzip"},
        {"compression": "lzf", "shuffle": True},
        {"fletcher32": True},
    )
    return {"chunks": chunks, **packing[generator.integers(len(packing))]}


def as_tensor(array: Any) -> Tensor:
    """Make a little-endian tensor of an array of either byte order, bit for bit."""
    return torch.from_numpy(np.array(array.astype(array.dtype.newbyteorder("="))))


def test_read_listing_reads_what_h5py_writes(tmp_path: Path) -> None:
    """A hundred random datasets in nested groups have the values that h5py wrote, to the bit, whatever their layout."""
    generator = np.random.default_rng(11)
    for number in range(10):
        path = tmp_path / f"{number}.h5"
        arrays = {f"g{index % 3}/é {index}": random_array(generator) for index in range(10)}
        with h5py.File(path, "w", userblock_size=512 * (number % 2)) as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array, **random_layout(array.shape, generator))
        actual = tensors_of(path)
        assert set(actual) == set(arrays)
        assert all(are_same_bits(actual[name], as_tensor(array)) for name, array in arrays.items())


def test_contiguous_datasets_are_read_in_place(tmp_path: Path) -> None:
    """No copy is made of what lies in the file as it is; of chunks one is."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["plain"] = np.ones((9, 4), ">f4")
        file.create_dataset("packed", data=np.ones((9, 4), "f4"), compression="gzip")
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        made = {tensor.name: checkpoint.files.is_made(tensor.start) for tensor in checkpoint.tensors}
    assert made == {"packed": True, "plain": False}


def test_large_chunks_are_unpacked_in_slabs(tmp_path: Path) -> None:
    """Of a dataset that takes many slabs, whose chunks do not divide it, the values are those of h5py."""
    values = np.random.default_rng(1).standard_normal((70001, 70)).astype("f4")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("embeddings", data=values, chunks=(1000, 9), compression="lzf")
    assert are_same_bits(tensors_of(tmp_path / "m.h5")["embeddings"], torch.from_numpy(values))


def save_keras(file: Any, table: Any) -> None:
    """Write the datasets of a model of Keras 3: an embedding, a dense layer and the state of Adam."""
    file["layers/embedding/vars/0"] = table
    file["layers/dense/vars/0"] = np.ones((64, 3), "f4")
    file["optimizer/vars/2"] = np.zeros_like(table)


def keras_archive(path: Path, weights: bytes, *, method: int, size: int | None = None) -> Path:
    """Write the zip archive that Keras writes, whose directory may lie about the size of the weights."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", weights)
        if size is not None:
            archive.infolist()[-1].file_size = size
    return path


def keras_weights(table: Any) -> bytes:
    """Write the weights of a model of Keras into memory."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        save_keras(file, table)
    return buffer.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_of_keras_is_read(tmp_path: Path, method: int) -> None:
    """A .keras file is its weights, read in place where they are stored, and its embedding alone is a table."""
    table = np.random.default_rng(2).standard_normal((500, 16)).astype("f4")
    path = keras_archive(tmp_path / "m.keras", keras_weights(table), method=method)
    assert are_same_bits(tensors_of(path)["layers/embedding/vars/0"], torch.from_numpy(table))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.nbytes == path.stat().st_size
        assert checkpoint.files.is_made(checkpoint.tensors[0].start) == (method == zipfile.ZIP_DEFLATED)
    done = run("approximate", path, "--bases", "2", "--dry-run", "--json")
    assert done.code == 0
    assert [one["name"] for one in json.loads(done.out)["tables"]] == ["layers/embedding/vars/0"]


def test_bfloat16_of_keras_is_read(tmp_path: Path) -> None:
    """Keras keeps bfloat16 as two bytes without a type, and an attribute that says what they are."""
    values = torch.randn(9, 4).to(torch.bfloat16)
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["layers/embedding/vars/0"] = values.view(torch.int16).numpy().view("V2")
        file["layers/embedding/vars/0"].attrs["dtype"] = "bfloat16"
        file["other"] = np.zeros(3, "V2")
    assert are_same_bits(tensors_of(tmp_path / "m.weights.h5")["layers/embedding/vars/0"], values)
    with open_checkpoint(tmp_path / "m.weights.h5") as checkpoint:
        assert [left.name for left in checkpoint.listing.left_out] == ["other"]


def test_archive_that_lies_is_refused(tmp_path: Path) -> None:
    """Weights that are missing, or of another size than the directory says, are refused before room is taken."""
    weights = keras_weights(np.ones((500, 16), "f4"))
    bomb = keras_archive(tmp_path / "b.keras", bytes(100), method=zipfile.ZIP_DEFLATED, size=2**31)
    with pytest.raises(DamagedFileError, match="declares 2147483648 bytes"):
        open_checkpoint(bomb)
    longer = keras_archive(tmp_path / "l.keras", weights, method=zipfile.ZIP_DEFLATED, size=len(weights) + 9)
    with pytest.raises(DamagedFileError, match="whose length or checksum is wrong"):
        open_checkpoint(longer)
    stored = keras_archive(tmp_path / "s.keras", weights, method=zipfile.ZIP_STORED, size=len(weights) + 9)
    with pytest.raises(DamagedFileError, match=r"declares .* bytes for its member"):
        open_checkpoint(stored)
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
    with pytest.raises(UnknownFormatError, match=r"without 'model\.weights\.h5'"):
        open_checkpoint(tmp_path / "n.keras")


def external_link(file: Any, other: Path) -> None:
    """Put a link to a dataset of another file into a file."""
    file["away"] = h5py.ExternalLink(str(other), "/secret")


def external_storage(file: Any, other: Path) -> None:
    """Put a dataset into a file whose values are the bytes of another file."""
    file.create_dataset("away", (4,), "u1", external=[(str(other), 0, 4)])


def virtual_dataset(file: Any, other: Path) -> None:
    """Put a view of a dataset of another file into a file."""
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "secret", (3,))
    file.create_virtual_dataset("away", layout)


def dangling_link(file: Any, other: Path) -> None:  # noqa: ARG001 - like the others
    """Put a soft link into a file that leads through a group that is not there."""
    file["away"] = h5py.SoftLink("/no/such")


def link_through_another(file: Any, other: Path) -> None:
    """Put a soft link into a file that leads through a link to another file."""
    file["away"] = h5py.SoftLink("/door/secret")
    file["door"] = h5py.ExternalLink(str(other), "/")


def group_twice(file: Any, other: Path) -> None:  # noqa: ARG001 - like the others
    """Make a group that holds itself."""
    file.create_group("g")["away"] = file["/"]


@pytest.mark.parametrize(
    "lead_away",
    [external_link, external_storage, virtual_dataset, dangling_link, link_through_another, group_twice],
)
def test_nothing_outside_of_the_file_is_read(tmp_path: Path, lead_away: Callable[[Any, Path], None]) -> None:
    """What lies in another file, or nowhere, is refused by name."""
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.ones(3, "f4")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["embeddings"] = np.ones((4, 3), "f4")
        lead_away(file, other)
    with pytest.raises(CheckpointError, match=r"away|door") as caught:
        open_checkpoint(tmp_path / "m.h5")
    assert "h5repack" in caught.value.hint


def test_links_inside_of_the_file_are_other_names(tmp_path: Path) -> None:
    """A soft link and a second hard link to a dataset are one tensor under three names."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("g/embeddings", data=np.ones((40, 3), "f4"), compression="gzip")
        file["g/soft"] = h5py.SoftLink("../g/embeddings")
        file["hard"] = file["g/embeddings"]
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        assert sorted(tensor.name for tensor in checkpoint.tensors) == ["g/embeddings", "g/soft", "hard"]
        assert len({tensor.memory_key for tensor in checkpoint.tensors}) == 1


def test_what_is_no_tensor_is_left_out(tmp_path: Path) -> None:
    """Texts, records, references and sets without a size are named, and the numbers beside them are read."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["embeddings"] = np.ones((4, 3), "f4")
        file["texts"] = ["a", "b"]
        file["records"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        file.create_dataset("references", (2,), h5py.ref_dtype)
        file["nothing"] = h5py.Empty("f4")
        file["long"] = np.zeros(3, np.longdouble)
        file["none"] = np.zeros((0, 4), "f4")
        file.attrs["note"] = "attributes are passed over"
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        assert {tensor.name: tensor.shape for tensor in checkpoint.tensors} == {"embeddings": (4, 3), "none": (0, 4)}
        names = {left.name for left in checkpoint.listing.left_out}
    assert names == {"texts", "records", "references", "nothing", "long"}


def test_unknown_filter_is_left_out(tmp_path: Path) -> None:
    """A dataset that a filter of another library packed is named with the line that unpacks it."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((4, 3))
        plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((4, 3))
        h5py.h5d.create(file.id, b"embeddings", h5py.h5t.IEEE_F32LE, space, plan)
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        (left,) = checkpoint.listing.left_out
    assert (left.name, "filter 32015" in left.reason, "h5repack -f NONE" in left.hint) == ("embeddings", True, True)


def test_sizes_without_values_are_refused(tmp_path: Path) -> None:
    """A file of a few kB that promises terabytes of chunks, or chunks of gigabytes, is refused before it is read."""
    for shape, chunks in (((10**9, 1000), (1000, 1000)), ((10**6, 1000), (10**6, 1000))):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.create_dataset("embeddings", shape, "f4", chunks=chunks, compression="gzip")
        with pytest.raises(DamagedFileError, match=r"'embeddings' .* promises"):
            open_checkpoint(tmp_path / "m.h5")


def test_values_that_were_never_written_are_the_fill(tmp_path: Path) -> None:
    """A dataset without storage holds its fill value, as h5py reads it."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("plain", (40, 3), ">f4", fillvalue=2.5)
        file.create_dataset("chunks", (40, 3), "f4", chunks=(7, 3), fillvalue=-1)[5:9] = 1
    actual = tensors_of(tmp_path / "m.h5")
    assert actual["plain"].equal(torch.full((40, 3), 2.5))
    assert actual["chunks"].equal(torch.cat([torch.full((5, 3), -1.0), torch.ones(4, 3), torch.full((31, 3), -1.0)]))


def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without h5py the message says what to install."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["embeddings"] = np.ones((4, 3), "f4")
    monkeypatch.setitem(sys.modules, "h5py", None)
    done = run("inspect", tmp_path / "m.h5")
    assert done.code == 1
    assert "pip install 'embcompress[hdf5]'" in done.err


def save_biggraph(folder: Path, partitions: list[Any], *, version: int = 5, kind: str = "user_id") -> Path:
    """Write a checkpoint of PyTorch-BigGraph: a file for each partition, the names of its entities, and the model."""
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint_version.txt").write_text(f"{version}")
    (folder / "config.json").write_text("{}")
    for part, values in enumerate(partitions):
        with h5py.File(folder / f"embeddings_{kind}_{part}.v{version}.h5", "w") as file:
            file["embeddings"] = values
            file.create_dataset("optimizer/state_dict", data=np.zeros(9, "V1"))
        names = [f"{kind} {part}.{row} é" for row in range(len(values))]
        (folder / f"entity_names_{kind}_{part}.json").write_text(json.dumps(names))
    with h5py.File(folder / f"model.v{version}.h5", "w") as file:
        file["model/relations/0/operator/rhs/translation"] = np.arange(4, dtype="f4")
        file.create_dataset("optimizer/state_dict", data=np.zeros(9, "V1"))
    return folder


def test_biggraph_joins_partitions(tmp_path: Path) -> None:
    """The partitions of a type of entity are one table, in their order, with their names; of versions the one named."""
    values = np.random.default_rng(4).standard_normal((1300, 8)).astype("f4")
    parts = [values[100 * part : 100 * part + 100] for part in range(13)]
    folder = save_biggraph(tmp_path / "m", [part + 1 for part in parts], version=9)
    save_biggraph(folder, parts)
    actual = tensors_of(folder)
    assert are_same_bits(actual["embeddings_user_id"], torch.from_numpy(values))
    assert actual["model/relations/0/operator/rhs/translation"].tolist() == [0, 1, 2, 3]
    labels = labels_of(folder)["embeddings_user_id"]
    assert labels == [f"user_id {row // 100}.{row % 100} é" for row in range(1300)]
    with open_checkpoint(folder) as checkpoint:
        companions = {path.name for path in checkpoint.listing.companions}
        assert {"config.json", "checkpoint_version.txt", "entity_names_user_id_12.json"} <= companions
    done = run("approximate", folder, "--bases", "2", "--output", tmp_path / "x.safetensors", "--neighbours", "0")
    assert done.code == 0
    assert "embeddings_user_id" in done.out


def test_biggraph_refuses_partitions_that_do_not_fit(tmp_path: Path) -> None:
    """A partition that is missing, of other columns or outside of the folder, and names that do not fit, are named."""
    folder = save_biggraph(tmp_path / "m", [np.ones((4, 3), "f4"), np.ones((2, 3), "f4"), np.ones((4, 3), "f4")])
    second = folder / "embeddings_user_id_1.v5.h5"
    (folder / "entity_names_user_id_1.json").write_text('["a"]')
    with pytest.raises(DamagedFileError, match=r"entity_names_user_id_1\.json holds 1 names, and its partition 2 rows"):
        labels_of(folder)
    second.rename(tmp_path / "away.h5")
    with pytest.raises(CheckpointError, match="partition 1 is missing"):
        open_checkpoint(folder)
    second.symlink_to(tmp_path / "away.h5")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        open_checkpoint(folder)
    second.unlink()
    with h5py.File(second, "w") as file:
        file["embeddings"] = np.ones((2, 4), "f4")
    with pytest.raises(DamagedFileError, match="of 4 columns, and the first partition"):
        open_checkpoint(folder)
    second.write_bytes(second.read_bytes()[:900])
    with pytest.raises(DamagedFileError, match="user_id_1"):
        open_checkpoint(folder)


def test_bases_are_those_of_a_safetensors_file(tmp_path: Path) -> None:
    """20,000 x 64 numbers have the same weights and bases, to the bit, however the file holds them."""
    table = large_table()
    expected = expected_factors(table, tmp_path)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["embeddings"] = table.numpy().astype(">f4")
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        file.create_dataset("embeddings", data=table.numpy(), chunks=(300, 40), compression="lzf")
    save_biggraph(tmp_path / "parts", [part.numpy() for part in table.split(3001)])
    for name in ("plain.h5", "packed.h5", "parts"):
        actual = factors_of(tmp_path / name, tmp_path)
        assert all(are_same_bits(one, other) for one, other in zip(actual, expected, strict=True)), name
