"""Zip archives: where each member lies, whether stored or deflated."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from embcompress.checkpoints.files import read_exactly
from embcompress.checkpoints.regions import FileRegion
from embcompress.exceptions import DamagedFileError, UnknownFormatError

SIGNATURE = b"PK\x03\x04"
KERAS_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")  # of which the first of an archive of Keras is one
LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # signature ... flags, method ... lengths of name and extra field
DEFLATE_RATIO_MAX = 1032  # bytes that a deflated byte can stand for: two of 258 bytes in two bits each
PART_BYTES = 2**20  # of one read of a deflated member


@dataclass(frozen=True)
class Member:
    """A member of an archive.

    Attributes:
        start: of its bytes in the file.
        nbytes: of them, as they are stored.
        unpacked_bytes: of what they stand for.
        is_deflated: whether they are compressed.
        crc: of what they stand for.
    """

    name: str
    start: int
    nbytes: int
    unpacked_bytes: int
    is_deflated: bool
    crc: int


class ZipArchive:
    """The members of a zip archive, found by its directory.

    Args:
        file: that holds the archive, in binary.
        start: position of its first byte.
        nbytes: its length; None: up to the end of the file.

    Raises:
        DamagedFileError: the directory cannot be read, or names a member twice.
    """

    def __init__(self, file: BinaryIO, *, start: int = 0, nbytes: int | None = None) -> None:
        self.file = file
        self.path = str(file.name)
        self.start = start
        self.nbytes = os.fstat(file.fileno()).st_size - start if nbytes is None else nbytes
        self.members = self._read_directory()

    def _read_directory(self) -> dict[str, zipfile.ZipInfo]:
        try:
            region = io.BufferedReader(FileRegion(self.file, self.start, self.nbytes))
            with zipfile.ZipFile(region) as archive:
                infos = archive.infolist()
        # What zipfile raises besides BadZipFile on directories that contradict themselves: positions before the start
        # (OSError, ValueError) or beyond 64 bits (OverflowError), short fields (struct.error), names that are not
        # UTF-8 (ValueError), versions above 6.3 (NotImplementedError).
        except (zipfile.BadZipFile, OSError, ValueError, OverflowError, struct.error, NotImplementedError) as err:
            raise DamagedFileError(
                f"{self.path} begins as a zip archive, but its directory, which comes last, cannot be read ({err}): "
                "the file is cut short or damaged.",
                hint="Copy or download it again.",
            ) from err
        members = {info.filename: info for info in infos}
        if len(members) < len(infos):
            raise self.damaged("has two members of the same name")
        return members

    def damaged(self, what: str) -> DamagedFileError:
        """Make the exception of an archive that contradicts itself."""
        return DamagedFileError(f"{self.path} {what}.", hint="Copy or download it again, or save it anew.")

    def find(self, name: str) -> Member:
        """Find where a member lies.

        The local header is read as well: its extra field has a length of its own.

        Raises:
            DamagedFileError: it lies outside of the file, elsewhere than the directory says, or stands for more bytes
                than deflating can pack.
            UnknownFormatError: it is packed by another method than deflating.
        """
        info = self.members[name]
        shown = name[:100]
        if not 0 <= info.header_offset < self.nbytes:
            raise self.damaged(f"has its member {shown!r} outside of itself: it is cut short or damaged")
        header = read_exactly(self.file, self.start + info.header_offset, LOCAL_HEADER.size)
        signature, _, flags, method, *_, name_length, extra_length = LOCAL_HEADER.unpack(header)
        encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
        expected = info.orig_filename.encode(encoding, "replace")
        at_name = info.header_offset + LOCAL_HEADER.size
        if (
            signature != SIGNATURE
            or name_length != len(expected)
            or read_exactly(self.file, self.start + at_name, name_length) != expected
        ):
            raise self.damaged(f"has another member where its directory promises {shown!r}")
        if (flags | info.flag_bits) & 1:
            raise self.damaged(f"has its member {shown!r} encrypted")
        start = at_name + name_length + extra_length
        is_deflated = info.compress_type == zipfile.ZIP_DEFLATED
        if method != info.compress_type or not (is_deflated or info.compress_type == zipfile.ZIP_STORED):
            raise UnknownFormatError(
                f"{self.path} has its member {shown!r} packed by method {info.compress_type}, which is not read.",
                hint="Unpack the archive, and pack it anew without compression.",
            )
        most = info.compress_size * (DEFLATE_RATIO_MAX if is_deflated else 1)
        is_exact = is_deflated or info.file_size == info.compress_size
        if not is_exact or info.file_size > most or start + info.compress_size > self.nbytes:
            raise self.damaged(f"declares {info.file_size} bytes for its member {shown!r} and has fewer")
        return Member(name, self.start + start, info.compress_size, info.file_size, is_deflated, info.CRC)


def unpack(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield the bytes that a deflated member of an archive stands for, in parts, and check them.

    Raises:
        DamagedFileError: they are not deflated, more or fewer than declared, or of another checksum.
    """
    shown = f"{file.name} has a member {member.name[:100]!r}"
    hint = "Copy or download it again, or save it anew."
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    done, crc = 0, 0
    try:
        for position in range(0, member.nbytes, PART_BYTES):
            waiting = read_exactly(file, member.start + position, min(PART_BYTES, member.nbytes - position))
            while waiting and not inflater.eof:
                part = inflater.decompress(waiting, PART_BYTES)
                waiting = inflater.unconsumed_tail
                done += len(part)
                if done > member.unpacked_bytes:
                    raise DamagedFileError(
                        f"{shown} that unpacks to more than the {member.unpacked_bytes} bytes it declares.", hint=hint
                    )
                crc = zlib.crc32(part, crc)
                yield part
    except zlib.error as err:
        raise DamagedFileError(f"{shown} that cannot be unpacked ({err}).", hint=hint) from err
    if done != member.unpacked_bytes or crc != member.crc:
        raise DamagedFileError(f"{shown} whose length or checksum is wrong.", hint=hint)


def first_member(head: bytes) -> str:
    """Tell the name of the first member of a zip archive by its first bytes; empty where it is none."""
    if not head.startswith(SIGNATURE) or len(head) < LOCAL_HEADER.size:
        return ""
    length = LOCAL_HEADER.unpack_from(head)[-2]
    return head[LOCAL_HEADER.size : LOCAL_HEADER.size + length].decode("utf-8", "replace")
