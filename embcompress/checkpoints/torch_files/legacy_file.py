"""Files of torch.save before torch 1.6, or with `_use_new_zipfile_serialization=False`."""

from __future__ import annotations

import os
from pathlib import Path

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.pickled.legacy_stream import MAGIC, LegacyStream
from embcompress.checkpoints.pickled.named_tensors import NamedTensors
from embcompress.checkpoints.pickled.placed_tensors import Source, list_tensors
from embcompress.checkpoints.pickled.records import StorageReference
from embcompress.checkpoints.regions import FileRegion
from embcompress.checkpoints.tensors import Listing

NAME = "torch before 1.6"


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell by the magic number."""
    return MAGIC.match(head) is not None


def read_listing(path: Path, files: Files) -> Listing:
    """List the tensors by the names that the state dict gives them.

    Reads the pickles, and 8 bytes per storage.

    Raises:
        UnknownFormatError: of another protocol, or nothing in it is a tensor.
        DamagedFileError: cut short, or what it says of its storages or tensors cannot be true.
    """
    file, base = files.open(path)
    nbytes = os.fstat(file.fileno()).st_size
    saved = LegacyStream(FileRegion(file, 0, nbytes), str(path), nbytes=nbytes)

    def locate(storage: StorageReference) -> tuple[int, int]:
        position, nbytes = saved.locate(storage)
        return base + position, nbytes

    named = NamedTensors(saved.tree, saved.path, pickle_bytes=saved.pickle_bytes)
    return list_tensors(named, Source(saved.path, files, base, locate))
