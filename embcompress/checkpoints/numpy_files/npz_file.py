"""Files of numpy.savez and savez_compressed: a zip archive of one member for each array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.numpy_files.arrays import PlacedArray, TextArray, check_names, place_array
from embcompress.checkpoints.numpy_files.header import HEAD_BYTES, read_header
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor
from embcompress.checkpoints.zip_archive import Member, ZipArchive, first_member, unpack
from embcompress.exceptions import DamagedFileError, UnknownFormatError

NAME = "npz"
ENDING = ".npy"
# Of several arrays of texts that have a table's rows, the first of these names holds its labels.
LABEL_NAMES = ("labels", "words", "index", "vocab", "vocabulary", "tokens", "keys", "names", "ids")


@dataclass(frozen=True)
class _Unpacking:
    """The way to the values of a deflated array: calling it writes them."""

    path: Path
    files: Files
    member: Member
    header_bytes: int

    def __call__(self, target: BinaryIO) -> None:
        file, _ = self.files.open(self.path)
        before = self.header_bytes
        for part in unpack(file, self.member):
            target.write(part[before:])
            before = max(0, before - len(part))


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell an archive of arrays by its first member; that of torch.save is a pickle."""
    return first_member(head).endswith(ENDING)


def read_listing(path: Path, files: Files) -> Listing:
    """List the arrays of an archive by their names; one of texts with as many rows as a table gives its labels.

    Stored arrays are read where they lie, deflated ones through a temporary file. Reads the archive's directory and the
    header of each array.

    Raises:
        UnknownFormatError: no array of numbers in it.
        DamagedFileError: cut short, or it declares what cannot be true.
    """
    file, base = files.open(path)
    archive = ZipArchive(file)
    members = [archive.find(name) for name in archive.members if not name.endswith("/")]
    _check_apart(archive, members)
    tensors: list[StoredTensor] = []
    texts: list[TextArray] = []
    left_out: list[LeftOut] = []
    for member in members:
        name = member.name.removesuffix(ENDING)
        if name == member.name:
            left_out.append(LeftOut(name, "not an array of NumPy"))
            continue
        placed = _place_member(path, files, member, base=base)
        tensors += placed.tensors
        texts += placed.texts
        left_out += placed.left_out
    if not tensors:
        reasons = f": {left_out[0].name!r} is {left_out[0].reason}" if left_out else ""
        raise UnknownFormatError(
            f"{path} holds no array of numbers{reasons}.",
            hint=left_out[0].hint if left_out and left_out[0].hint else "Name the file of the vectors.",
        )
    check_names(tensors, path=str(path))
    labels = {}
    for tensor in tensors:
        array = _labels_of(tensor, texts) if len(tensor.shape) > 1 else None
        if array is not None:
            labels[tensor.name] = array
    names = {array.name: table for table, array in labels.items()}
    for array in texts:
        what = (
            f"the labels of the rows of {names[array.name]!r}"
            if array.name in names
            else "texts, which are not carried along"
        )
        left_out.append(LeftOut(array.name, what))
    return Listing(tensors=tuple(tensors), left_out=tuple(left_out), labels=labels, dense_form="npz")


def _place_member(path: Path, files: Files, member: Member, *, base: int) -> PlacedArray:
    """Find the values of a member, which are its own bytes, or those that it is unpacked to."""
    file, _ = files.open(path)
    name = member.name.removesuffix(ENDING)
    called = f"{path}: {name}"
    if member.is_deflated:
        head = b""
        for part in unpack(file, member):
            head += part
            if len(head) >= HEAD_BYTES:
                break
    else:
        head = read_exactly(file, member.start, min(member.nbytes, HEAD_BYTES))
    header = read_header(head, name=called)
    start = base + member.start + header.nbytes
    if member.is_deflated:
        start = files.add(
            called,
            max(member.unpacked_bytes - header.nbytes, 0),
            _Unpacking(path, files, member, header.nbytes),
        )
    placed = place_array(header, name=name, start=start, files=files, path=called)
    if placed.nbytes is not None and placed.nbytes + header.nbytes != member.unpacked_bytes:
        raise DamagedFileError(
            f"{called} should be {header.nbytes + placed.nbytes} bytes by its header and is {member.unpacked_bytes}.",
            hint="Copy or download it again.",
        )
    return placed


def _check_apart(archive: ZipArchive, members: Sequence[Member]) -> None:
    """Check that no bytes belong to two members: archives that share them unpack to any size."""
    for one, other in pairwise(sorted(members, key=lambda member: member.start)):
        if one.start + one.nbytes > other.start:
            raise archive.damaged(f"has members {one.name[:100]!r} and {other.name[:100]!r} that overlap")


def _labels_of(tensor: StoredTensor, texts: Sequence[TextArray]) -> TextArray | None:
    """Find the texts that label the rows of a tensor; None where none or several may."""
    fitting = [array for array in texts if array.count == tensor.shape[0]]
    for name in LABEL_NAMES:
        for array in fitting:
            if array.name == name:
                return array
    return fitting[0] if len(fitting) == 1 else None
