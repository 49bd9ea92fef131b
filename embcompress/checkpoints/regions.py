"""Consecutive bytes of files, read as files of their own."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

from embcompress.checkpoints.files import Files


class _Region(io.RawIOBase):
    """Consecutive bytes as a file of their own; closing it closes no other.

    Args:
        start: where the first byte lies.
        nbytes: how many there are at most.
    """

    def __init__(self, start: int, nbytes: int) -> None:
        self._start, self._nbytes, self._position = start, nbytes, 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that its position can be moved."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read the next bytes into a buffer, and count them."""
        part = memoryview(buffer).cast("B")[: max(0, self._nbytes - self._position)]
        count = self._read_at(self._start + self._position, part) if len(part) else 0
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position, and tell it.

        Raises:
            ValueError: it would lie before the start.
        """
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._nbytes}[whence]
        if origin + offset < 0:
            raise ValueError("a position before the start of a file")
        self._position = origin + offset
        return self._position

    def _read_at(self, start: int, buffer: memoryview) -> int:
        raise NotImplementedError


class FileRegion(_Region):
    """Consecutive bytes of an open file, which keeps its own position; a file that was cut ends where it ends.

    Args:
        file: an open one, in binary; closing it is left to its owner.
        start: position of the first byte.
        nbytes: how many there are at most.
    """

    def __init__(self, file: BinaryIO, start: int, nbytes: int) -> None:
        super().__init__(start, nbytes)
        self._file, self.name = file, file.name

    def _read_at(self, start: int, buffer: memoryview) -> int:
        return os.preadv(self._file.fileno(), [buffer], start)


class FilesRegion(_Region):
    """Consecutive bytes of a checkpoint's files, opened again where need be, for libraries; one cut short is an error.

    Args:
        files: that hold them.
        start: address of the first byte.
        nbytes: how many there are.
    """

    def __init__(self, files: Files, start: int, nbytes: int) -> None:
        super().__init__(start, nbytes)
        self._files = files

    def _read_at(self, start: int, buffer: memoryview) -> int:
        self._files.read_into(start, buffer)
        return len(buffer)
