"""Files read from their start to their end, unpacked on the way where gzip, bzip2 or xz packed them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from embcompress.checkpoints.files import Files
from embcompress.exceptions import DamagedFileError

BUFFER_BYTES = 2**20


@dataclass(frozen=True)
class Packing:
    """A program that packs files.

    Attributes:
        magic: first bytes of what it packs.
        unpack: opens what is packed in a file.
        command: that unpacks a file.
        ratio_max: bytes that a packed one can stand for; of what holds numbers as text, where the format has no bound.
    """

    name: str
    magic: bytes
    unpack: Callable[[BinaryIO], object]
    command: str
    ratio_max: int


PACKINGS: tuple[Packing, ...] = (
    Packing("gzip", b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file), "gunzip -k", 1032),
    Packing("bzip2", b"BZh", bz2.BZ2File, "bunzip2 -k", 50_000),
    Packing("xz", b"\xfd7zXZ", lzma.LZMAFile, "unxz -k", 10_000),
)


class _Positions(io.RawIOBase):
    """A file of a checkpoint, read on from a position of its own."""

    def __init__(self, files: Files, start: int) -> None:
        self._files, self._next = files, start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        handle, position = self._files.locate(self._next)
        count = os.preadv(handle.fileno(), [buffer], position)
        self._next += count
        return count


class _Unpacked(io.RawIOBase):
    """The contents of a packed file; damage in it is an error that says so."""

    def __init__(self, inner: io.BufferedIOBase, path: Path, packing: Packing) -> None:
        self._inner, self._path, self._packing = inner, path, packing

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            return self._inner.readinto(buffer)
        except (EOFError, zlib.error, lzma.LZMAError, OSError, ValueError) as err:
            raise DamagedFileError(
                f"{self._path} is packed by {self._packing.name}, and cannot be unpacked ({err}): "
                "it is cut short or damaged.",
                hint="Copy or download it again.",
            ) from err


def find_packing(head: bytes) -> Packing | None:
    """Tell by the first bytes of a file what packed it; None where nothing did."""
    return next((packing for packing in PACKINGS if head.startswith(packing.magic)), None)


def open_stream(path: Path, files: Files) -> BinaryIO:
    """Open a file to be read from its start, unpacked.

    What it raises on reading: DamagedFileError where the packed content is cut short or damaged.
    """
    file, base = files.open(path)
    packing = find_packing(os.pread(file.fileno(), 8, 0))
    plain = io.BufferedReader(_Positions(files, base), BUFFER_BYTES)
    if packing is None:
        return cast(BinaryIO, plain)
    inner = cast(io.BufferedIOBase, packing.unpack(cast(BinaryIO, plain)))
    return cast(BinaryIO, io.BufferedReader(_Unpacked(inner, path, packing), BUFFER_BYTES))


def most_bytes(path: Path, files: Files) -> int:
    """Tell how many bytes a file can hold, unpacked: a bound of what its header may promise."""
    file, _ = files.open(path)
    packing = find_packing(os.pread(file.fileno(), 8, 0))
    return os.fstat(file.fileno()).st_size * (packing.ratio_max if packing else 1)


class LineCounter:
    """The number of lines of a text, without blank ones at its end.

    Attributes:
        lines: of the parts so far.
    """

    def __init__(self) -> None:
        self.lines = self._newlines = 0

    def add(self, part: bytes) -> None:
        """Count on in the next part of the text."""
        content = part.rstrip()
        if content:
            self.lines = self._newlines + content.count(b"\n") + 1
        self._newlines += part.count(b"\n")


def count_lines(stream: BinaryIO) -> int:
    """Count the lines from the position of a stream to its end, without blank ones there."""
    counter = LineCounter()
    while part := stream.read(BUFFER_BYTES):
        counter.add(part)
    return counter.lines
