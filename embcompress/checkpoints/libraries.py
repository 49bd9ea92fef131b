"""The libraries that own a format: imported when one is read, given its bytes, and not believed."""

from __future__ import annotations

import importlib
import io
from typing import Any

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.tensors import EXPANDED_BYTES_MAX
from embcompress.exceptions import CheckpointError, DamagedFileError

# Times that values may be larger than what they are unpacked from: DEFLATE reaches 1032.
EXPANSION_MAX = 1100


def import_library(module: str, *, extra: str, kind: str, path: object) -> Any:
    """Import a module of a library that an extra installs.

    Args:
        module: its dotted name.
        extra: of embcompress.
        kind: what it reads, as messages name it.
        path: of the file that is to be read.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as err:
        library = module.partition(".")[0]
        raise CheckpointError(
            f"{path}: {kind} is read by {library}, which is not installed.",
            hint=f"pip install 'embcompress[{extra}]'",
        ) from err


def check_expansion(nbytes: int, *, packed: int, name: str) -> None:
    """Refuse values that are far larger than what they would be unpacked from, before memory is taken for them.

    Args:
        nbytes: of the values, as the file tells.
        packed: bytes of the file that hold them.
        name: what messages call them.

    Raises:
        DamagedFileError: they are.
    """
    if nbytes > EXPANSION_MAX * packed + EXPANDED_BYTES_MAX:
        raise DamagedFileError(
            f"{name} promises {nbytes} bytes of values and has {packed} to make them of.",
            hint="Copy or download it again.",
        )


class Window(io.RawIOBase):
    """A part of a checkpoint's files as a file of its own, for libraries; closing it closes no other.

    Args:
        files: that hold it.
        start: address of its first byte.
        nbytes: its length.
    """

    def __init__(self, files: Files, start: int, nbytes: int) -> None:
        self._files, self._start, self._nbytes = files, start, nbytes
        self._position = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it has positions."""
        return True

    def tell(self) -> int:
        """Tell the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the position."""
        self._position = max(0, offset + {0: 0, 1: self._position, 2: self._nbytes}[whence])
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Read up to the end of the buffer or of the window."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._nbytes - self._position))
        if count:
            self._files.read_into(self._start + self._position, view[:count])
        self._position += count
        return count
