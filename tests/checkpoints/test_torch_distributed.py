"""Folders of torch.distributed.checkpoint: the values of torch's own conversion, and nothing outside of them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import DefaultSavePlanner, FileSystemWriter
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType

from embcompress import approximate
from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from embcompress.tables.rows import TableRows, read_bytes

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
TABLE = torch.randn(60, 12, generator=torch.Generator().manual_seed(0))


class CutPlanner(DefaultSavePlanner):
    """Cuts each tensor at the given places of each axis, and gives every chunk to the next worker."""

    def __init__(self, state: Mapping[str, Tensor], cuts: Mapping[str, tuple[list[int], ...]]) -> None:
        super().__init__()
        self.state, self.cuts = state, cuts

    def plan(self, *, workers: int) -> list[SavePlan]:
        """Describe every chunk."""
        items: list[WriteItem] = []
        for name, tensor in self.state.items():
            edges = [[0, *cut, size] for cut, size in zip(self.cuts[name], tensor.shape, strict=True)]
            places = torch.cartesian_prod(*(torch.arange(len(edge) - 1) for edge in edges)).view(-1, tensor.dim())
            for location in places.tolist():
                offsets = torch.Size(edge[index] for edge, index in zip(edges, location, strict=True))
                ends = [edge[index + 1] for edge, index in zip(edges, location, strict=True)]
                sizes = torch.Size(end - offset for end, offset in zip(ends, offsets, strict=True))
                written = TensorWriteData(
                    ChunkStorageMetadata(offsets, sizes), TensorProperties.create_from_tensor(tensor), tensor.shape
                )
                items.append(WriteItem(MetadataIndex(name, offsets), WriteItemType.SHARD, tensor_data=written))
        return [SavePlan(items[worker::workers], planner_data={}) for worker in range(workers)]

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        """Give the values of a chunk."""
        assert write_item.tensor_data is not None
        chunk = write_item.tensor_data.chunk
        value = self.state[write_item.index.fqn]
        for axis, (offset, size) in enumerate(zip(chunk.offsets, chunk.sizes, strict=True)):
            value = value.narrow(axis, offset, size)
        return value


def save_cut(
    state: Mapping[str, Tensor], cuts: Mapping[str, tuple[list[int], ...]], path: Path, *, workers: int = 2
) -> Path:
    """Write a checkpoint as several workers do."""
    planner = CutPlanner(state, cuts)
    writer = FileSystemWriter(path)
    plans, metadata = planner.create_global_plan(planner.plan(workers=workers))
    writer.set_up_storage_writer(is_coordinator=True)
    writer.prepare_local_plan(plans[0])
    results = [writer.write_data(plan, planner).wait() for plan in writer.prepare_global_plan(plans)]
    writer.finish(metadata, results)
    return path


def save_whole(state: Mapping[str, Any], path: Path) -> Path:
    """Write a checkpoint in one process."""
    dcp.save(dict(state), storage_writer=FileSystemWriter(path), no_dist=True)
    return path


def read_back(path: Path) -> dict[str, Tensor]:
    """Read every tensor that is listed."""
    tensors = {}
    with open_checkpoint(path) as checkpoint:
        for stored in checkpoint.tensors:
            content = bytearray(b"".join(map(bytes, read_bytes(stored, files=checkpoint.files))))
            dtype = getattr(torch, stored.dtype)
            empty = torch.empty(stored.shape, dtype=dtype)
            tensors[stored.name] = torch.frombuffer(content, dtype=dtype).view(stored.shape) if content else empty
    return tensors


def assert_converted(path: Path) -> None:
    """Compare with what torch's own conversion to one file gives."""
    dcp_to_torch_save(path, path.with_suffix(".pt"))
    expected = torch.load(path.with_suffix(".pt"), weights_only=False)
    actual = read_back(path)
    assert sorted(actual) == sorted(expected)
    for name, value in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (value.dtype, value.shape)
        bits, wanted = (one.contiguous().reshape(-1).view(torch.uint8) for one in (actual[name], value))
        assert bits.equal(wanted)


def test_a_checkpoint_of_one_process_is_read(tmp_path: Path) -> None:
    """Tensors of every dtype, views, numbers and empty ones are equal to the bit."""
    dtypes = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.complex64)
    state = {str(dtype).removeprefix("torch."): TABLE.mul(9).to(dtype) for dtype in dtypes}
    state |= {"slice": TABLE[3:9, 1:7], "turned": TABLE.T, "number": torch.tensor(3.5), "empty": torch.empty(0, 3)}
    assert_converted(save_whole(state, tmp_path / "step"))


def test_names_are_those_of_the_converted_file(tmp_path: Path) -> None:
    """The model is taken out of what it was saved with, as out of the file that torch makes of the folder."""
    state = {
        "model": {"emb.weight": TABLE, "layers": [torch.ones(2), torch.ones(3)]},
        "optimizer": {"state": {"emb.weight": {"exp_avg": TABLE}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "extra": torch.ones(2, 2, dtype=torch.int64),
    }
    path = save_whole(state, tmp_path / "step")
    dcp_to_torch_save(path, tmp_path / "model.pt")
    with open_checkpoint(path) as folder, open_checkpoint(tmp_path / "model.pt") as file:
        assert folder.format == "torch distributed"
        names = [stored.name for stored in file.tensors]
        assert sorted(stored.name for stored in folder.tensors) == sorted(names)
        assert "emb.weight" in names
        assert [left.reason for left in folder.listing.left_out] == ["beside the model, and not carried along"]


CUTS: dict[str, tuple[tuple[int, ...], tuple[list[int], ...]]] = {
    "rows": ((60, 12), ([13, 14, 40], [])),
    "columns": ((60, 12), ([], [5, 6])),
    "a grid": ((60, 12), ([20, 40], [1, 7])),
    "a vector": ((60,), ([7, 31],)),
    "rows of matrices": ((10, 4, 6), ([3], [], [])),
    "the middle axis": ((10, 4, 6), ([], [1, 3], [])),
    "the last axis": ((10, 4, 6), ([], [], [2])),
    "all axes": ((6, 4, 5, 3), ([2], [3], [1, 4], [2])),
}


@pytest.mark.parametrize("kind", CUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_chunks_of_several_workers_are_joined(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    """Chunks of rows, columns, grids and of any axes are one tensor, equal to the bit."""
    shape, cuts = CUTS[kind]
    generator = torch.Generator().manual_seed(1)
    state = {"emb.weight": torch.randn(*shape, generator=generator).to(dtype), "w": torch.ones(3, dtype=dtype)}
    assert_converted(save_cut(state, {"emb.weight": cuts, "w": ([2],)}, tmp_path / "step", workers=3))


def test_chunks_are_joined_like_torch_does_on_random_cuts(tmp_path: Path) -> None:
    """Forty folders of random shapes, cuts and workers."""
    generator = torch.Generator().manual_seed(2)
    for number in range(40):
        state, cuts = {}, {}
        for name in ("a", "b"):
            shape = torch.randint(1, 6, (int(torch.randint(1, 4, (1,), generator=generator)),), generator=generator)
            state[name] = torch.randn(*shape.tolist(), generator=generator)
            cuts[name] = tuple(
                sorted({int(cut) for cut in torch.randint(1, 6, (2,), generator=generator) if cut < size})
                for size in shape.tolist()
            )
        assert_converted(save_cut(state, cuts, tmp_path / str(number), workers=1 + number % 3))


def test_a_table_in_chunks_is_read_in_blocks(tmp_path: Path) -> None:
    """Rows, columns and single rows of a grid are those of the whole."""
    path = save_cut({"emb": TABLE}, {"emb": ([17, 40], [5])}, tmp_path / "step")
    ids = torch.tensor([59, 0, 17, 16])
    with open_checkpoint(path) as checkpoint:
        rows = TableRows(checkpoint.tensors[0], files=checkpoint.files)
        assert torch.cat([block.clone() for block in rows.blocks()]).equal(TABLE)
        assert torch.cat([block.clone() for block in rows.column_blocks()]).equal(TABLE.T)
        assert rows.read(ids).equal(TABLE[ids])
        assert checkpoint.nbytes == sum(file.stat().st_size for file in path.iterdir())


def test_a_table_in_chunks_gives_the_same_bases_as_from_safetensors(tmp_path: Path) -> None:
    """Bases and weights of a 20,000 x 64 table are equal to the bit."""
    table = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(1))
    safetensors.torch.save_file({"embedding.weight": table}, tmp_path / "a.safetensors")
    save_cut({"embedding.weight": table}, {"embedding.weight": ([7000, 7001], [24])}, tmp_path / "b")
    factors = []
    for name in ("a.safetensors", "b"):
        output = tmp_path / f"{name}-out.safetensors"
        approximate(tmp_path / name, bases=4, neighbours=0, output=output, report=[tmp_path / f"{name}.json"])
        factors.append(safetensors.torch.load_file(output))
    assert all(factors[0][name].equal(factors[1][name]) for name in factors[0] | factors[1])


def metadata_of(path: Path) -> Metadata:
    """Load the metadata of a folder of our own."""
    metadata: Metadata = pickle.loads((path / ".metadata").read_bytes())
    return metadata


def change_places(**changes: object) -> Callable[[Metadata], None]:
    """Change where every chunk is said to be."""

    def change(metadata: Metadata) -> None:
        for location in metadata.storage_data.values():
            for name, value in changes.items():
                setattr(location, name, value)

    return change


def change_entry(**changes: object) -> Callable[[Metadata], None]:
    """Change the description of the table."""

    def change(metadata: Metadata) -> None:
        for name, value in changes.items():
            setattr(metadata.state_dict_metadata["emb"], name, value)

    return change


def chunk(*, offsets: tuple[int, ...], sizes: tuple[int, ...]) -> ChunkStorageMetadata:
    """Describe a chunk."""
    return ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))


LIES: dict[str, tuple[Callable[[Metadata], None], str]] = {
    "absolute": (change_places(relative_path="/etc/passwd"), "a file '/etc/passwd' that does not lie in it"),
    "above": (change_places(relative_path="../x.distcp"), "that does not lie in it"),
    "drive": (change_places(relative_path="C:x.distcp"), "that does not lie in it"),
    "backslash": (change_places(relative_path="..\\x.distcp"), "that does not lie in it"),
    "empty": (change_places(relative_path=""), "that does not lie in it"),
    "no file": (change_places(relative_path="none.distcp"), "does not exist"),
    "no text": (change_places(relative_path=7), "by something that is no text"),
    "behind": (change_places(offset=2**40), "cut short"),
    "long": (change_places(length=2**40), "cut short"),
    "negative": (change_places(offset=-1), "no place in"),
    "inside": (change_places(offset=1), "outside of itself"),
    "compressed": (change_places(transform_descriptors=["zstd"]), "compressed or encrypted"),
    "shape": (change_entry(size=torch.Size([61, 12])), "a piece is missing"),
    "terabytes": (change_entry(size=torch.Size([2**40, 12])), "a piece is missing"),
    "axes": (change_entry(size=torch.Size([60, 12, 1])), "other axes than the tensor"),
    "no size": (change_entry(size=None), "no dtype, size and chunks"),
    "no chunks": (change_entry(chunks=[]), "a piece is missing"),
    "no dtype": (change_entry(properties=None), "no dtype, size and chunks"),
    "dtype": (
        change_entry(properties=TensorProperties(torch.float64)),
        "a chunk of 'emb' of float64",
    ),
    "sizes": (
        change_entry(chunks=[chunk(offsets=(0, 0), sizes=(30, 11))]),
        "float32 of shape .30, 12., where its metadata promise",
    ),
    "unknown chunk": (change_entry(chunks=[chunk(offsets=(3, 0), sizes=(30, 12))]), "do not tell where the chunk"),
    "twice": (lambda metadata: metadata.planner_data.update(emb=("w",), w=("w",)), "put two tensors at 'w'"),
    "below": (lambda metadata: metadata.planner_data.update(emb=("w", "x"), w=("w",)), "below a tensor"),
    "no list": (lambda metadata: setattr(metadata, "storage_data", None), "do not list tensors"),
}


@pytest.mark.parametrize("kind", LIES)
def test_metadata_that_lie_are_refused(tmp_path: Path, kind: str) -> None:
    """Names that lead out of the folder, places beyond the files, and chunks that do not fit are named."""
    change, message = LIES[kind]
    path = save_cut({"w": torch.ones(2), "emb": TABLE}, {"w": ([],), "emb": ([30], [])}, tmp_path / "step", workers=1)
    metadata = metadata_of(path)
    metadata.planner_data = {"w": ("w",), "emb": ("emb",)}
    change(metadata)
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    """A file of chunks or metadata that is a link to one elsewhere is not read; within the folder it is."""
    for name in ("*.distcp", ".metadata"):
        path = save_whole({"emb": TABLE}, tmp_path / name[-4:])
        (file,) = path.glob(name)
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(CheckpointError, match="outside of its folder"):
            open_checkpoint(path)
        (tmp_path / "elsewhere").rename(path / "here")
        file.unlink()
        file.symlink_to("here")
        assert read_back(path)["emb"].equal(TABLE)


@pytest.mark.parametrize("name", [".metadata", "*.distcp"])
def test_cut_files_are_refused(tmp_path: Path, name: str) -> None:
    """Cut at 40 places, the metadata or a file of chunks is named."""
    path = save_cut({"emb": TABLE}, {"emb": ([30], [])}, tmp_path / "step", workers=1)
    (file,) = path.glob(name)
    content = file.read_bytes()
    for step in range(40):
        file.write_bytes(content[: len(content) * step // 40])
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(path)
        assert str(path) in caught.value.message


def test_nothing_in_the_metadata_or_a_chunk_runs(tmp_path: Path) -> None:
    """A call in the metadata is inert, as is one in the pickle of a chunk; torch's own reader runs the first."""

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (f"open({str(tmp_path / 'marker')!r}, 'w').close()",)

    path = save_whole({"emb": TABLE}, tmp_path / "step")
    good = (path / ".metadata").read_bytes()
    metadata = metadata_of(path)
    for change in ("planner_data", "storage_meta"):
        setattr(metadata, change, Payload())
        (path / ".metadata").write_bytes(pickle.dumps(metadata))
        with open_checkpoint(path) as checkpoint:
            assert [stored.name for stored in checkpoint.tensors] == ["emb"]
    assert not (tmp_path / "marker").exists()
    pickle.loads(pickle.dumps(metadata))
    (tmp_path / "marker").unlink()
    (path / ".metadata").write_bytes(good)
    buffer = io.BytesIO()
    torch.save(Payload(), buffer)
    metadata = metadata_of(path)
    (location,) = metadata.storage_data.values()
    location.offset, location.length = 0, buffer.tell()
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    (path / location.relative_path).write_bytes(buffer.getvalue())
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.listing.left_out[0].reason == "a chunk that is no tensor"
    assert not (tmp_path / "marker").exists()


def test_bytes_alone_are_no_checkpoint(tmp_path: Path) -> None:
    """A folder of what is no tensor is refused."""
    path = save_whole({"epoch": 3}, tmp_path / "step")
    assert isinstance(metadata_of(path).state_dict_metadata["epoch"], BytesStorageMetadata)
    with pytest.raises(UnknownFormatError, match="no tensor was found"):
        open_checkpoint(path)


def test_a_part_alone_leads_to_its_folder(tmp_path: Path) -> None:
    """The file of chunks and the index name the folder; a folder without the index is named as that."""
    path = save_whole({"emb": TABLE}, tmp_path / "step")
    (file,) = path.glob("*.distcp")
    for part in (file, path / ".metadata"):
        with pytest.raises(UnknownFormatError) as caught:
            open_checkpoint(part)
        assert caught.value.hint == "Name the folder that it lies in."
    (path / ".metadata").unlink()
    with pytest.raises(CheckpointError, match=r"no \.metadata"):
        open_checkpoint(path)


def save_shards(state: Mapping[str, Tensor], cuts: Mapping[str, tuple[list[int], ...]], path: Path) -> Path:
    """Write a safetensors file for each of several workers, each with one chunk of a tensor."""
    planner = CutPlanner(state, cuts)
    workers = max(len(plan.items) for plan in planner.plan(workers=1))
    plans, metadata = planner.create_global_plan(planner.plan(workers=workers))
    writer = dcp.HuggingFaceStorageWriter(str(path), save_distributed=True)
    writer.set_up_storage_writer(is_coordinator=True)
    writer.prepare_local_plan(plans[0])
    writer.finish(metadata, [writer.write_data(plan, planner).wait() for plan in writer.prepare_global_plan(plans)])
    return path


@pytest.mark.parametrize("kind", CUTS)
def test_safetensors_files_of_several_workers_are_joined(tmp_path: Path, kind: str) -> None:
    """The offsets in the metadata of each file tell where its chunks lie."""
    shape, cuts = CUTS[kind]
    value = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    path = save_shards({"emb.weight": value, "w": torch.ones(3)}, {"emb.weight": cuts, "w": ([2],)}, tmp_path / "step")
    actual = read_back(path)
    assert actual["emb.weight"].equal(value)
    assert actual["w"].equal(torch.ones(3))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "torch distributed safetensors"
        assert checkpoint.nbytes == sum(file.stat().st_size for file in path.iterdir())


def test_safetensors_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A worker's file that is missing, offsets that are, or that overlap, and other dtypes are named."""
    path = save_shards({"emb": TABLE}, {"emb": ([20, 40], [])}, tmp_path / "step")
    files = sorted(path.iterdir())
    content = files[1].read_bytes()
    files[1].unlink()
    with pytest.raises(DamagedFileError, match="none of worker 2"):
        open_checkpoint(path)
    for change, message in (
        ((b"[20, 0]", b"[10, 0]"), "overlap at row"),
        ((b"[20, 0]", b"[-1, 0]"), "offsets that do not fit its axes"),
        ((b"[20, 0]", b"[20,00]"), "does not tell in its DCP_SHARDING_INFO"),
        ((b"saved_offsets", b"saved_offsetz"), "does not tell in its DCP_SHARDING_INFO"),
        ((b'"dtype":"F32"', b'"dtype":"I32"'), "of several dtypes"),
    ):
        assert change[0] in content
        files[1].write_bytes(content.replace(*change))
        with pytest.raises(DamagedFileError, match=message):
            open_checkpoint(path)
