"""HDF5 files: weights of Keras (.h5, .weights.h5, .keras), and arrays that h5py and others wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from embcompress.checkpoints.files import Files, read_head
from embcompress.checkpoints.hdf5_files.datasets import Hdf5Source, list_datasets
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor
from embcompress.checkpoints.zip_archive import KERAS_MEMBERS, Member, ZipArchive, first_member, unpack
from embcompress.exceptions import UnknownFormatError

NAME = "HDF5"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Where it may stand, in bytes: behind a block of another program's.
SIGNATURE_PLACES = (0, 512, 1024, 2048)
WEIGHTS = "model.weights.h5"


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell an HDF5 file by its signature, and a zip archive of Keras by its first member."""
    is_hdf5 = any(head[position : position + len(SIGNATURE)] == SIGNATURE for position in SIGNATURE_PLACES)
    return is_hdf5 or first_member(head) in KERAS_MEMBERS


def read_listing(path: Path, files: Files) -> Listing:
    """List the datasets by their paths.

    Raises:
        CheckpointError: h5py is not installed; something in the file lies in another one.
        DamagedFileError: cut short, or what it says of its datasets cannot be true.
        UnknownFormatError: a zip archive of Keras without weights.
    """
    file, base = files.open(path)
    nbytes = os.fstat(file.fileno()).st_size
    source = Hdf5Source(files, str(path), base, nbytes)
    if first_member(read_head(path, files)) in KERAS_MEMBERS:
        source = _find_weights(path, file, files, base=base)
    placed = list_datasets(source)
    return Listing(
        tensors=tuple(item for item in placed if isinstance(item, StoredTensor)),
        left_out=tuple(item for item in placed if isinstance(item, LeftOut)),
    )


def _find_weights(path: Path, file: BinaryIO, files: Files, *, base: int) -> Hdf5Source:
    """Find the weights in an archive of Keras: in place, as Keras stores them, or unpacked when they are read."""
    archive = ZipArchive(file)
    if WEIGHTS not in archive.members:
        raise UnknownFormatError(
            f"{path} is an archive of Keras without {WEIGHTS!r}.",
            hint="Save the model again with model.save() or model.save_weights().",
        )
    member = archive.find(WEIGHTS)
    name = f"{WEIGHTS} in {path}"
    if not member.is_deflated:
        return Hdf5Source(files, name, base + member.start, member.nbytes)
    address = files.add(name, member.unpacked_bytes, lambda made: _write(path, files, member, made))
    return Hdf5Source(files, name, address, member.unpacked_bytes)


def _write(path: Path, files: Files, member: Member, made: BinaryIO) -> None:
    file, _ = files.open(path)
    for part in unpack(file, member):
        made.write(part)
