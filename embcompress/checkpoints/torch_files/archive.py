"""The zip archives of torch.save: where each member lies."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from embcompress.checkpoints.files import read_exactly
from embcompress.checkpoints.zip_archive import ZipArchive
from embcompress.exceptions import UnknownFormatError

PART_BYTES = 2**20  # of a member that is checked at once


class TorchArchive(ZipArchive):
    """The members below the one folder that torch.save writes, found by the archive's directory.

    Args:
        file: that holds the archive, in binary.
        start: position of its first byte.
        nbytes: its length; None: up to the end of the file.
    """

    def __init__(self, file: BinaryIO, *, start: int = 0, nbytes: int | None = None) -> None:
        super().__init__(file, start=start, nbytes=nbytes)
        self.prefix = self._find_prefix()
        self.storages: dict[str, tuple[int, int]] = {}
        if f"{self.prefix}/byteorder" in self.members and not self._is_little_endian():
            raise UnknownFormatError(
                f"{self.path} was saved on a big-endian machine, which is not read.",
                hint="Load it with torch and save it anew.",
            )

    def _find_prefix(self) -> str:
        prefixes = [name[:-9] for name in self.members if name.endswith("/data.pkl") and name.count("/") == 1]
        if not prefixes:
            raise UnknownFormatError(
                f"{self.path} is a zip archive without data.pkl, so torch.save did not write it.",
                hint="If it is an archive of checkpoints, unpack it first.",
            )
        if len(prefixes) > 1:
            raise self.damaged("has more than one data.pkl")
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

    def locate(self, name: str) -> tuple[int, int]:
        """Find where a member begins in the file and how long it is, in bytes."""
        if f"{self.prefix}/{name}" not in self.members:
            raise self.damaged(f"has no member {name[:100]!r}, which its pickle refers to")
        member = self.find(f"{self.prefix}/{name}")
        if member.is_deflated:
            raise UnknownFormatError(
                f"{self.path} has its member {name[:100]!r} compressed, which torch.save does not do.",
                hint="Load it with torch.load and save it anew with torch.save.",
            )
        return member.start, member.nbytes

    def locate_checked(self, name: str) -> tuple[int, int]:
        """Find where a member begins in the file and how long it is, in bytes, and check its content."""
        start, nbytes = self.locate(name)
        expected = self.members[f"{self.prefix}/{name}"].CRC
        if expected:  # 0: torch.serialization.set_crc32_options(False)
            crc = 0
            for position in range(0, nbytes, PART_BYTES):
                crc = zlib.crc32(read_exactly(self.file, start + position, min(PART_BYTES, nbytes - position)), crc)
            if crc != expected:
                raise self.damaged(f"has a member {name!r} whose checksum is wrong")
        return start, nbytes

    def locate_storage(self, key: str) -> tuple[int, int]:
        """Find where a storage begins in the file and how long it is, in bytes."""
        if key not in self.storages:
            self.storages[key] = self.locate(f"data/{key}")
        return self.storages[key]
