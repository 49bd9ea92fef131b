"""Folders in which each worker of torch.distributed.checkpoint wrote its chunks to safetensors files.

Source: HuggingFaceStorageWriter(save_distributed=True) of torch/distributed/checkpoint/hf_storage.py.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from embcompress.checkpoints import safetensors_file
from embcompress.checkpoints.files import Files
from embcompress.checkpoints.links import path_within
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor, is_sizes
from embcompress.checkpoints.torch_files.chunks import Chunk, join_chunks
from embcompress.exceptions import DamagedFileError

NAME = "torch distributed safetensors"

ENDING = ".safetensors"
FILE = re.compile(r"shard-(\d{1,9})-model-\d{1,9}-of-\d{1,9}\.safetensors")
OFFSETS_KEY = "DCP_SHARDING_INFO"  # in the metadata of a file: where the chunks in it lie in their tensors


def is_recognised(path: Path, head: bytes) -> bool:
    """Tell a folder by the names of its safetensors files, which are all those of workers."""
    if head or not path.is_dir():
        return False
    names = [name for name in os.listdir(path) if name.endswith(ENDING)]
    return bool(names) and all(map(FILE.fullmatch, names))


def read_listing(path: Path, files: Files) -> Listing:
    """List the tensors, each joined of the chunks of all workers.

    Nothing in such a folder tells how many workers there were: of files that are missing at the end, a tensor that was
    cut along its first axis alone is shorter.

    Raises:
        DamagedFileError: a worker's file is missing, or chunks leave a gap, overlap or differ in their dtype.
    """
    names = _file_names(path)
    workers = {int(match[1]) for match in map(FILE.fullmatch, names) if match}
    missing = next((worker for worker in range(1, max(workers)) if worker not in workers), None)
    if missing is not None:
        raise DamagedFileError(
            f"{path} holds files of workers up to {max(workers)}, and none of worker {missing}.",
            hint="Copy the folder whole.",
        )
    chunks: dict[str, list[Chunk]] = {}
    left_out: list[LeftOut] = []
    for name in names:
        listing = safetensors_file.read_listing(path_within(path, name), files)
        offsets = _read_offsets(path / name, listing)
        for stored in listing.tensors:
            chunks.setdefault(stored.name, []).append(Chunk(stored, offsets[stored.name]))
        left_out += listing.left_out
    tensors = tuple(_join(name, parts, path) for name, parts in chunks.items())
    return Listing(tensors=tensors, left_out=tuple(left_out), is_flat=False)


def _file_names(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path) if FILE.fullmatch(name))


def _read_offsets(path: Path, listing: Listing) -> dict[str, tuple[int, ...]]:
    """Read where the first element of each chunk of a file lies in its tensor."""
    try:
        content = json.loads(listing.metadata.get(OFFSETS_KEY, ""))
        offsets_of = {stored.name: tuple(content[stored.name]["saved_offsets"]) for stored in listing.tensors}
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise DamagedFileError(f"{path} does not tell in its {OFFSETS_KEY} where each of its chunks lies.") from err
    for stored in listing.tensors:
        offsets = offsets_of[stored.name]
        if not is_sizes(offsets) or len(offsets) != len(stored.shape):
            raise DamagedFileError(f"{path} gives {stored.name[:100]!r} offsets that do not fit its axes.")
    return offsets_of


def _join(name: str, chunks: list[Chunk], path: Path) -> StoredTensor:
    first = chunks[0].tensor
    for chunk in chunks:
        if (chunk.tensor.dtype, len(chunk.tensor.shape)) != (first.dtype, len(first.shape)):
            raise DamagedFileError(f"{path} holds chunks of {name[:100]!r} of several dtypes or numbers of axes.")
    ends = ([offset + size for offset, size in zip(one.offsets, one.tensor.shape, strict=True)] for one in chunks)
    shape = tuple(map(max, zip(*ends, strict=True)))
    if first.opaque_bytes is not None and len(chunks) > 1:
        raise DamagedFileError(f"{path} holds {name[:100]!r} in chunks of dtype {first.dtype}, which is not read.")
    return join_chunks(name, chunks, dtype=first.dtype, shape=shape)
