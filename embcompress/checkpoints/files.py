"""The files that the tensors of a checkpoint lie in, as one space of addresses.

A tensor knows where it starts by one number, whichever file holds it: the number of the file times FILE_SPAN, plus the
position in it. The first file of a checkpoint has the addresses of its own positions.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from embcompress.exceptions import CheckpointError, DamagedFileError, OutputError
from embcompress.text import human_bytes, suggest_file

FILE_SPAN = 2**48  # bytes of addresses for each file: more than file systems let a file have in practice
# Descriptors kept open at once, of a checkpoint of thousands of files: macOS allows 256 to a process, and two
# checkpoints may be open.
OPEN_MAX = 96
# Bytes from the start of a file that tell a format: a tar archive says so at byte 257, text in its first lines.
HEAD_BYTES = 4096


@dataclass
class _File:
    """A file of a checkpoint: on disk, or made when it is first read."""

    name: str
    path: Path | None
    nbytes: int
    identity: tuple[int, ...] = ()
    make: Callable[[BinaryIO], None] | None = None
    handle: BinaryIO | None = field(default=None, repr=False)


@dataclass(frozen=True)
class FilePlace:
    """A position in a file on disk.

    Attributes:
        path: of the file.
        identity: by `identify`, when it was opened.
        position: in it.
    """

    path: Path
    identity: tuple[int, ...]
    position: int


class Files:
    """The open files of a checkpoint.

    Opened again by themselves where there are more than a process may hold open; a file that is then another one is an
    error. A context manager; closing it makes the tensors unreadable.

    Args:
        path: of the checkpoint, as messages name it.

    Attributes:
        nbytes: of all files on disk together.
        closed: whether they were closed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nbytes = 0
        self.closed = False
        self._files: list[_File] = []
        self._numbers: dict[Path | str, int] = {}
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()

    @classmethod
    def of(cls, file: BinaryIO) -> Files:
        """Take one file that is open already, whose positions are the addresses; closing is left to its owner."""
        files = cls(Path(str(getattr(file, "name", ""))))
        files._files.append(_File(str(files.path), None, os.fstat(file.fileno()).st_size, handle=file))
        files.nbytes = files._files[0].nbytes
        return files

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every file."""
        self.closed = True
        for handle in self._open.values():
            handle.close()
        for file in self._files:
            if file.make is not None and file.handle is not None:
                file.handle.close()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files on disk."""
        return tuple(name for name in self._numbers if isinstance(name, Path))

    def open(self, path: Path) -> tuple[BinaryIO, int]:
        """Open a file, once however often it is asked for, and tell the address of its first byte.

        The handle is valid until OPEN_MAX others were opened.

        Raises:
            CheckpointError: missing, not a regular file, or not readable by this user.
        """
        if path not in self._numbers:
            handle = _open_regular(path)
            status = os.fstat(handle.fileno())
            self._numbers[path] = len(self._files)
            self._files.append(_File(str(path), path, status.st_size, identify(status)))
            self._keep_open(self._numbers[path], handle)
            self.nbytes += status.st_size
        number = self._numbers[path]
        return self._handle(number), number * FILE_SPAN

    def add(self, name: str, nbytes: int, make: Callable[[BinaryIO], None]) -> int:
        """Add a file without a name that is made when it is first read, and return the address of its first byte.

        For values that lie in no file as they are: text, compressed or coded ones.

        Args:
            name: what messages call it; a name that was added before is the same file.
            nbytes: that `make` will write.
            make: writes them, from the start; raises CheckpointError where they cannot be had.
        """
        if name not in self._numbers:
            self._numbers[name] = len(self._files)
            self._files.append(_File(name, None, nbytes, make=make))
        number = self._numbers[name]
        assert self._files[number].nbytes == nbytes, f"{name}: two files of one name"
        return number * FILE_SPAN

    def place(self, start: int) -> FilePlace:
        """Tell which file on disk an address lies in, and where, for those who open it themselves."""
        number, position = divmod(start, FILE_SPAN)
        file = self._files[number]
        assert file.path is not None
        return FilePlace(file.path, file.identity, position)

    def is_made(self, start: int) -> bool:
        """Tell whether the file of an address is made when it is first read."""
        return self._files[start // FILE_SPAN].make is not None

    def release(self, start: int) -> None:
        """Remove the file of an address if it was made: it is made again when it is read again."""
        file = self._files[start // FILE_SPAN]
        if file.make is not None and file.handle is not None:
            file.handle.close()
            file.handle = None

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` from an address.

        Reads by pread: a file that is cut while it is mapped kills the process by SIGBUS, here it raises.

        Raises:
            DamagedFileError: the file ends before the buffer is full, cannot be read, or was replaced.
            OutputError: there is no room for one that is made.
        """
        handle, position = self.locate(start)
        try:
            read_into(handle, position, buffer, name=self._files[start // FILE_SPAN].name)
        except OSError as err:
            raise DamagedFileError(f"{self._files[start // FILE_SPAN].name} cannot be read: {err.strerror}.") from err

    def locate(self, start: int) -> tuple[BinaryIO, int]:
        """Find the file and the position of an address; the handle is valid until other files are read."""
        number, position = divmod(start, FILE_SPAN)
        return self._handle(number), position

    def _handle(self, number: int) -> BinaryIO:
        file = self._files[number]
        if file.handle is None and file.make is not None:
            file.handle = _made(file)
        if file.handle is not None:
            return file.handle
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        assert file.path is not None
        handle = _open_regular(file.path)
        if identify(os.fstat(handle.fileno())) != file.identity:
            handle.close()
            raise DamagedFileError(f"{file.name} was replaced while it was being read.", hint="Start again.")
        self._keep_open(number, handle)
        return handle

    def _keep_open(self, number: int, handle: BinaryIO) -> None:
        self._open[number] = handle
        if len(self._open) > OPEN_MAX:
            self._open.popitem(last=False)[1].close()


def read_head(path: Path, files: Files) -> bytes:
    """Read the first HEAD_BYTES bytes of a file, by which its format is told."""
    file, _ = files.open(path)
    return os.pread(file.fileno(), HEAD_BYTES, 0)


def read_into(file: BinaryIO, start: int, buffer: memoryview, *, name: str = "") -> None:
    """Fill `buffer` from a position of a file, without moving the file's own.

    Raises:
        DamagedFileError: the file ends before the buffer is full.
    """
    done = 0
    while done < len(buffer):
        count = os.preadv(file.fileno(), [buffer[done:]], start + done)
        if count == 0:
            raise DamagedFileError(
                f"{name or file.name} ends at byte {start + done}, where {len(buffer) - done} more were expected: "
                "the file is cut short.",
                hint="Copy or download it again.",
            )
        done += count


def read_exactly(file: BinaryIO, start: int, nbytes: int) -> bytes:
    """Read `nbytes` at a position of a file, without moving the file's own.

    Raises:
        DamagedFileError: the file ends before.
    """
    buffer = bytearray(nbytes)
    read_into(file, start, memoryview(buffer))
    return bytes(buffer)


def _open_regular(path: Path) -> BinaryIO:
    try:
        # Before opening: opening a pipe would wait for a writer.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(f"{path} is not a regular file.", hint="Copy its content to a file first.")
        return open(path, "rb", buffering=0)
    except FileNotFoundError as err:
        raise CheckpointError(f"{path} does not exist.", hint=suggest_file(path)) from err
    except OSError as err:
        raise CheckpointError(f"{path} cannot be opened: {err.strerror}.") from err


def identify(status: os.stat_result) -> tuple[int, ...]:
    """Return what tells a file from another, and from itself after it was changed."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _made(file: _File) -> BinaryIO:
    """Make a file without a name, which the system removes by itself."""
    assert file.make is not None
    handle = cast(BinaryIO, tempfile.TemporaryFile(buffering=2**20))  # noqa: SIM115 - closed by Files.close
    try:
        file.make(handle)
        handle.flush()
        written = os.fstat(handle.fileno()).st_size
    except OSError as err:
        handle.close()
        raise OutputError(
            f"{tempfile.gettempdir()} has no room for the values of {file.name}: {err.strerror}.",
            hint=f"They take {human_bytes(file.nbytes)} while the run lasts: name another folder with TMPDIR.",
        ) from err
    except BaseException:
        handle.close()
        raise
    if written != file.nbytes:
        handle.close()
        raise DamagedFileError(f"{file.name} holds {written} bytes of values, where {file.nbytes} were promised.")
    return handle
