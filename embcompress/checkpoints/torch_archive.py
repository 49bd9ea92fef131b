"""The zip archives of torch.save: where each member lies."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from embcompress.checkpoints.files import read_exactly
from embcompress.checkpoints.unread import tell_archive
from embcompress.checkpoints.zip_archive import ZipArchive
from embcompress.exceptions import UnknownFormatError


class TorchArchive(ZipArchive):
    """The members below the one folder that torch.save writes, found by the archive's directory."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.prefix = self._find_prefix()
        self.storages: dict[str, tuple[int, int]] = {}
        if f"{self.prefix}/byteorder" in self.members and self.read("byteorder", 16) != b"little":
            raise UnknownFormatError(
                f"{self.path} was saved on a big-endian machine, which is not read.",
                hint="Load it with torch and save it anew.",
            )

    def _find_prefix(self) -> str:
        prefixes = [name[:-9] for name in self.members if name.endswith("/data.pkl") and name.count("/") == 1]
        if not prefixes:
            what, hint = tell_archive(self.members)
            raise UnknownFormatError(f"{self.path} {what}.", hint=hint)
        if len(prefixes) > 1:
            raise self.damaged("has more than one data.pkl")
        prefix = prefixes[0]
        if any(name == f"{prefix}/constants.pkl" or name.startswith(f"{prefix}/code/") for name in self.members):
            raise UnknownFormatError(
                f"{self.path} is a TorchScript program, which is not read.",
                hint="Save its tensors instead: torch.save(torch.jit.load(path).state_dict(), new_path).",
            )
        return prefix

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

    def read(self, name: str, limit: int) -> bytes:
        """Read a member of at most `limit` bytes, and check it."""
        start, nbytes = self.locate(name)
        if nbytes > limit:
            raise UnknownFormatError(
                f"{self.path} has {nbytes} bytes in its member {name!r}, and at most {limit} are read.",
                hint="Save the model's state_dict() alone with torch.save.",
            )
        content = read_exactly(self.file, start, nbytes)
        crc = self.members[f"{self.prefix}/{name}"].CRC
        if crc not in (0, zlib.crc32(content)):  # 0: torch.serialization.set_crc32_options(False)
            raise self.damaged(f"has a member {name!r} whose checksum is wrong")
        return content

    def locate_storage(self, key: str) -> tuple[int, int]:
        """Find where a storage begins in the file and how long it is, in bytes."""
        if key not in self.storages:
            self.storages[key] = self.locate(f"data/{key}")
        return self.storages[key]
