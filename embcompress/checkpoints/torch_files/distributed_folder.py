"""Folders of torch.distributed.checkpoint: a pickle of what there is, and files of chunks of tensors.

`.metadata` is a pickle of torch's class Metadata, read like any other: nothing of it runs. A `.distcp` file holds
archives of torch.save, one behind the other, each of one chunk of a tensor.

Source: torch/distributed/checkpoint/metadata.py and filesystem.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.links import path_within
from embcompress.checkpoints.pickled.named_tensors import NamedTensors
from embcompress.checkpoints.pickled.placed_tensors import Source, place_tensor
from embcompress.checkpoints.pickled.reader import PickleStream
from embcompress.checkpoints.pickled.records import Global, Inert, OpaqueKey, StorageReference, TensorReference
from embcompress.checkpoints.regions import FileRegion
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor, contiguous_strides, is_size, is_sizes
from embcompress.checkpoints.torch_files.archive import TorchArchive
from embcompress.checkpoints.torch_files.chunks import Chunk, join_chunks
from embcompress.exceptions import DamagedFileError, UnknownFormatError

NAME = "torch distributed"

METADATA = ".metadata"
ENDING = ".distcp"  # of the files of chunks
MODULE = "torch.distributed.checkpoint."
PLANNED = "__planned__"  # the location of a tensor of which only chunks are stored


@dataclass(frozen=True)
class _Location:
    """The place of an archive of torch.save: a file, and bytes in it."""

    file: str
    start: int
    nbytes: int


@dataclass(frozen=True)
class _Plan:
    """A tensor as the metadata describe it.

    Attributes:
        dtype: torch's name of it.
        shape: of the whole.
        chunks: offsets and sizes of each.
    """

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def is_recognised(path: Path, head: bytes) -> bool:
    """Tell a folder by the file of its metadata, beside files of chunks."""
    is_folder = not head and path.is_dir() and (path / METADATA).is_file()
    return is_folder and any(name.endswith(ENDING) for name in os.listdir(path))


def read_listing(path: Path, files: Files) -> Listing:
    """List the tensors by the names that torch's own conversion to one file gives them.

    Reads the metadata, and of each chunk the directory of its archive and its pickle.

    Raises:
        UnknownFormatError: nothing in it is a tensor, or chunks are compressed.
        DamagedFileError: what it says of files, chunks or tensors cannot be true.
    """
    return _Folder(path, files).list()


class _Folder:
    """A folder of torch.distributed.checkpoint."""

    def __init__(self, path: Path, files: Files) -> None:
        self.path, self._files = path, files
        file, _ = files.open(path_within(path, METADATA))
        self._pickle_bytes = os.fstat(file.fileno()).st_size
        region = FileRegion(file, 0, self._pickle_bytes)
        stream = PickleStream(region, name=str(path / METADATA), nbytes=self._pickle_bytes)
        state = _state(stream.read().value, "Metadata")
        entries = state.get("state_dict_metadata")
        places = state.get("storage_data")
        if not isinstance(entries, dict) or not isinstance(places, dict):
            raise self._damaged("do not list tensors and where they are stored")
        self._plans = {name: self._plan(name, entry) for name, entry in entries.items() if isinstance(name, str)}
        self._places = dict(self._locate_all(places))
        self._tree = self._make_tree(state.get("planner_data"))

    def list(self) -> Listing:
        named = NamedTensors(self._tree, str(self.path), pickle_bytes=self._pickle_bytes)
        items = [
            self._place_tensor(name, value.storage.key)
            for name, value in named.tensors
            if isinstance(value, TensorReference)
        ]
        return Listing(
            tensors=tuple(item for item in items if isinstance(item, StoredTensor)),
            left_out=(*(item for item in items if isinstance(item, LeftOut)), *named.left_out),
            is_flat=False,
        )

    def _plan(self, name: str, entry: object) -> _Plan | None:
        """Read the description of a tensor; None of what is stored as bytes."""
        if isinstance(entry, Inert) and entry.origin.qualname == "BytesStorageMetadata":
            return None
        state = _state(entry, "TensorStorageMetadata")
        shape, chunks = state.get("size"), state.get("chunks")
        dtype = _dtype(state.get("properties"))
        if not isinstance(shape, tuple) or not is_sizes(shape) or not isinstance(chunks, list) or not dtype:
            raise self._damaged(f"give {name[:100]!r} no dtype, size and chunks")
        parts: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # a replicated chunk may be listed twice
        for chunk in chunks:
            described = _state(chunk, "ChunkStorageMetadata")
            offsets, sizes = described.get("offsets"), described.get("sizes")
            if not (isinstance(offsets, tuple) and isinstance(sizes, tuple) and is_sizes(offsets) and is_sizes(sizes)):
                raise self._damaged(f"give a chunk of {name[:100]!r} no offsets and sizes")
            if not len(offsets) == len(sizes) == len(shape):
                raise self._damaged(f"give a chunk of {name[:100]!r} other axes than the tensor")
            parts[repr((offsets, sizes))] = offsets, sizes
        return _Plan(dtype, shape, tuple(parts.values()))

    def _locate_all(self, places: Mapping[object, object]) -> Iterator[tuple[tuple[str, str], _Location]]:
        for key, value in places.items():
            index = _state(key.value if isinstance(key, OpaqueKey) else key, "MetadataIndex")
            info = _state(value, "_StorageInfo")
            name, offset = index.get("fqn"), index.get("offset")
            file, start, nbytes = (info.get(part) for part in ("relative_path", "offset", "length"))
            if not isinstance(name, str) or not isinstance(file, str):
                raise self._damaged("name a chunk or its file by something that is no text")
            if not (isinstance(start, int) and isinstance(nbytes, int) and is_size(start) and is_size(nbytes)):
                raise self._damaged(f"give a chunk of {name[:100]!r} no place in {file[:100]!r}")
            if info.get("transform_descriptors"):
                raise UnknownFormatError(
                    f"{self.path} holds {name[:100]!r} compressed or encrypted, which is not read.",
                    hint="Save it without extensions.",
                )
            yield (name, repr(offset)), _Location(file, start, nbytes)

    def _make_tree(self, paths: object) -> object:
        """Nest the tensors as they were in the state dict that was saved."""
        tree: dict[object, object] = {}
        for name, plan in self._plans.items():
            steps = paths.get(name) if isinstance(paths, dict) else None
            if not isinstance(steps, tuple) or not steps or not all(isinstance(step, (str, int)) for step in steps):
                steps = (name,)
            parent = tree
            for step in steps[:-1]:
                child = parent.setdefault(step, {})
                if not isinstance(child, dict):
                    raise self._damaged(f"put {name[:100]!r} below a tensor")
                parent = child
            if steps[-1] in parent:
                raise self._damaged(f"put two tensors at {'.'.join(map(str, steps))[:100]!r}")
            parent[steps[-1]] = None if plan is None else _reference(name, plan)
        return tree

    def _place_tensor(self, name: str, key: str) -> StoredTensor | LeftOut:
        """Find all chunks of a tensor, and join them."""
        plan = self._plans[key]
        assert plan is not None
        chunks = []
        for offsets, sizes in plan.chunks:
            location = self._places.get((key, repr(offsets)))
            if location is None and not any(offsets):
                location = self._places.get((key, repr(None)))
            if location is None:
                raise self._damaged(f"do not tell where the chunk of {key[:100]!r} at {offsets} is stored")
            chunk = self._open_chunk(name, location)
            if isinstance(chunk, LeftOut):
                return chunk
            if (chunk.dtype, chunk.shape) != (plan.dtype, sizes):
                raise DamagedFileError(
                    f"{self.path / location.file} holds at byte {location.start} {chunk.dtype} of shape {chunk.shape}, "
                    f"where its metadata promise a chunk of {key[:100]!r} of {plan.dtype} of shape {sizes}."
                )
            chunks.append(Chunk(chunk, offsets))
        return join_chunks(name, chunks, dtype=plan.dtype, shape=plan.shape)

    def _open_chunk(self, name: str, location: _Location) -> StoredTensor | LeftOut:
        path = path_within(self.path, location.file)
        file, base = self._files.open(path)
        if location.start + location.nbytes > os.fstat(file.fileno()).st_size:
            raise DamagedFileError(
                f"{path} ends before byte {location.start + location.nbytes}, where a chunk of {name[:100]!r} should: "
                "it is cut short.",
                hint="Copy or download it again.",
            )
        archive = TorchArchive(file, start=location.start, nbytes=location.nbytes)
        start, nbytes = archive.locate_checked("data.pkl")
        tensor = PickleStream(FileRegion(file, start, nbytes), name=str(path), nbytes=nbytes).read().value
        if not isinstance(tensor, TensorReference):
            return LeftOut(name, "a chunk that is no tensor")

        def locate(storage: StorageReference) -> tuple[int, int]:
            position, held_bytes = archive.locate_storage(storage.key)
            return base + position, held_bytes

        placed = place_tensor(name, tensor, Source(str(path), self._files, base + start, locate), loading="")
        return placed if isinstance(placed, LeftOut) else replace(placed, name=f"{name} in {location.file}")

    def _damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(f"the metadata of {self.path} {what}.", hint="Copy or download the folder again.")


def _state(value: object, kind: str) -> Mapping[object, object]:
    """Read the attributes of an object of torch's distributed checkpoints; empty of anything else."""
    if isinstance(value, Inert) and value.origin.qualname == kind and value.origin.module.startswith(MODULE):
        return value.state or {}
    return {}


def _dtype(properties: object) -> str:
    """Read the dtype of the properties of a tensor, which come first in its state."""
    state = properties.raw_state if isinstance(properties, Inert) else None
    first = state[0] if isinstance(state, tuple) and state else None
    return first.qualname if isinstance(first, Global) and first.module == "torch" else ""


def _reference(name: str, plan: _Plan) -> TensorReference:
    """Stand in for a tensor of which only chunks are stored."""
    return TensorReference(
        StorageReference(name, plan.dtype, 0, PLANNED), 0, plan.shape, contiguous_strides(plan.shape), plan.dtype
    )
