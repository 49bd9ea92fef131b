"""HDF5 files: weights of Keras (.h5, .weights.h5, .keras), and arrays that h5py and others wrote."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.hdf5_files.datasets import Hdf5Source, list_datasets
from embcompress.checkpoints.libraries import Window, check_expansion
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor
from embcompress.checkpoints.zip_archive import KERAS_MEMBERS, LOCAL_HEADER, first_member
from embcompress.exceptions import DamagedFileError, UnknownFormatError

NAME = "HDF5"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Where it may stand, in bytes: behind a block of another program's.
SIGNATURE_PLACES = (0, 512, 1024, 2048)
WEIGHTS = "model.weights.h5"
COPY_BYTES = 2**20


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
    if os.pread(file.fileno(), 4, 0) == b"PK\x03\x04":
        source = _find_weights(path, file, files, base=base, nbytes=nbytes)
    placed = list_datasets(source)
    return Listing(
        tensors=tuple(item for item in placed if isinstance(item, StoredTensor)),
        left_out=tuple(item for item in placed if isinstance(item, LeftOut)),
    )


def _find_weights(path: Path, file: BinaryIO, files: Files, *, base: int, nbytes: int) -> Hdf5Source:
    """Find the weights in an archive of Keras: in place, as Keras stores them, or unpacked when they are read."""
    try:
        with zipfile.ZipFile(Window(files, base, nbytes)) as archive:
            infos = [info for info in archive.infolist() if info.filename == WEIGHTS]
    # As zipfile raises them on directories that contradict themselves.
    except (zipfile.BadZipFile, OSError, ValueError, OverflowError, struct.error, NotImplementedError) as err:
        raise DamagedFileError(
            f"{path} begins as a zip archive, but its directory, which comes last, cannot be read ({err}): the file is "
            "cut short or damaged.",
            hint="Copy or download it again.",
        ) from err
    if len(infos) != 1:
        raise UnknownFormatError(
            f"{path} is an archive of Keras with {len(infos)} members {WEIGHTS!r}, where one is expected.",
            hint="Save the model again with model.save() or model.save_weights().",
        )
    (info,) = infos
    name = f"{WEIGHTS} in {path}"
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnknownFormatError(f"{name} is encrypted, or packed in a way that is not read.", hint="Unpack it first.")
    if not 0 <= info.header_offset <= nbytes - LOCAL_HEADER.size:
        raise _outside(name)
    header = LOCAL_HEADER.unpack(read_exactly(file, info.header_offset, LOCAL_HEADER.size))
    start = info.header_offset + LOCAL_HEADER.size + header[-2] + header[-1]
    if header[0] != b"PK\x03\x04" or start + info.compress_size > nbytes:
        raise _outside(name)
    if info.compress_type == zipfile.ZIP_STORED:
        if info.compress_size != info.file_size:
            raise _outside(name)
        return Hdf5Source(files, name, base + start, info.file_size)
    check_expansion(info.file_size, packed=info.compress_size, name=name)
    address = files.add(name, info.file_size, lambda made: _unpack(files, base + start, info, made, name))
    return Hdf5Source(files, name, address, info.file_size)


def _unpack(files: Files, start: int, info: zipfile.ZipInfo, made: BinaryIO, name: str) -> None:
    """Unpack a member, no further than its size."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    window = Window(files, start, info.compress_size)
    left, crc = info.file_size, 0
    while left:
        packed = unpacker.unconsumed_tail or window.read(COPY_BYTES)
        try:
            part = unpacker.decompress(packed or b"", min(left, COPY_BYTES))
        except zlib.error as err:
            raise _outside(name) from err
        if not part and (unpacker.eof or not packed):
            break
        made.write(part)
        left, crc = left - len(part), zlib.crc32(part, crc)
    if left or crc != info.CRC:
        raise _outside(name)


def _outside(name: str) -> DamagedFileError:
    return DamagedFileError(
        f"{name} is not what the archive's directory says of it: the file is cut short or damaged.",
        hint="Copy or download it again.",
    )
