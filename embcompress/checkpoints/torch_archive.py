"""The zip archives of torch.save: where each member lies."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from typing import BinaryIO

from embcompress.checkpoints.files import FileRegion, read_exactly
from embcompress.checkpoints.unread import tell_archive
from embcompress.exceptions import DamagedFileError, UnknownFormatError

PART_BYTES = 2**20  # of a member that is checked at once
LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # signature ... flags, method ... lengths of name and extra field


class TorchArchive:
    """The members below the one folder that torch.save writes, found by the archive's directory.

    Args:
        file: that holds the archive, in binary.
        start: position of its first byte.
        nbytes: its length; None: up to the end of the file.
    """

    def __init__(self, file: BinaryIO, *, start: int = 0, nbytes: int | None = None) -> None:
        self.file = file
        self.path = str(file.name)
        self.start = start
        self.nbytes = os.fstat(file.fileno()).st_size - start if nbytes is None else nbytes
        self.members = self._read_directory()
        self.prefix = self._find_prefix()
        self.storages: dict[str, tuple[int, int]] = {}
        if f"{self.prefix}/byteorder" in self.members and not self._is_little_endian():
            raise UnknownFormatError(
                f"{self.path} was saved on a big-endian machine, which is not read.",
                hint="Load it with torch and save it anew.",
            )

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
            raise self._damaged("has two members of the same name")
        return members

    def _find_prefix(self) -> str:
        prefixes = [name[:-9] for name in self.members if name.endswith("/data.pkl") and name.count("/") == 1]
        if not prefixes:
            what, hint = tell_archive(self.members)
            raise UnknownFormatError(f"{self.path} {what}.", hint=hint)
        if len(prefixes) > 1:
            raise self._damaged("has more than one data.pkl")
        prefix = prefixes[0]
        if any(name == f"{prefix}/constants.pkl" or name.startswith(f"{prefix}/code/") for name in self.members):
            raise UnknownFormatError(
                f"{self.path} is a TorchScript program, which is not read.",
                hint="Save its tensors instead: torch.save(torch.jit.load(path).state_dict(), new_path).",
            )
        return prefix

    def _is_little_endian(self) -> bool:
        start, nbytes = self.locate_checked("byteorder")
        return nbytes == len(b"little") and read_exactly(self.file, start, nbytes) == b"little"

    def _damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(f"{self.path} {what}.", hint="Copy or download it again, or save it anew.")

    def locate(self, name: str) -> tuple[int, int]:
        """Find where a member begins in the file and how long it is, in bytes.

        The local header is read as well: torch pads its extra field, so that storages are aligned.
        """
        info = self.members.get(f"{self.prefix}/{name}")
        if info is None:
            raise self._damaged(f"has no member {name[:100]!r}, which its pickle refers to")
        if not 0 <= info.header_offset < self.nbytes:
            raise self._damaged(f"has its member {name[:100]!r} outside of itself: it is cut short or damaged")
        header = read_exactly(self.file, self.start + info.header_offset, LOCAL_HEADER.size)
        signature, _, flags, method, *_, name_length, extra_length = LOCAL_HEADER.unpack(header)
        encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
        expected = info.orig_filename.encode(encoding, "replace")
        at_name = info.header_offset + LOCAL_HEADER.size
        if (
            signature != b"PK\x03\x04"
            or name_length != len(expected)
            or read_exactly(self.file, self.start + at_name, name_length) != expected
        ):
            raise self._damaged(f"has another member where its directory promises {name[:100]!r}")
        if (flags | info.flag_bits) & 1:
            raise self._damaged(f"has its member {name[:100]!r} encrypted")
        if method or info.compress_type:
            raise UnknownFormatError(
                f"{self.path} has its member {name[:100]!r} compressed, which torch.save does not do.",
                hint="Load it with torch.load and save it anew with torch.save.",
            )
        start = at_name + name_length + extra_length
        if info.file_size != info.compress_size or start + info.file_size > self.nbytes:
            raise self._damaged(f"declares {info.file_size} bytes for its member {name[:100]!r} and has fewer")
        return self.start + start, info.file_size

    def locate_checked(self, name: str) -> tuple[int, int]:
        """Find where a member begins in the file and how long it is, in bytes, and check its content."""
        start, nbytes = self.locate(name)
        expected = self.members[f"{self.prefix}/{name}"].CRC
        if expected:  # 0: torch.serialization.set_crc32_options(False)
            crc = 0
            for position in range(0, nbytes, PART_BYTES):
                crc = zlib.crc32(read_exactly(self.file, start + position, min(PART_BYTES, nbytes - position)), crc)
            if crc != expected:
                raise self._damaged(f"has a member {name!r} whose checksum is wrong")
        return start, nbytes

    def locate_storage(self, key: str) -> tuple[int, int]:
        """Find where a storage begins in the file and how long it is, in bytes."""
        if key not in self.storages:
            self.storages[key] = self.locate(f"data/{key}")
        return self.storages[key]
