"""Writing a file so that it is there whole or not at all, and so that it survives a power cut."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from embcompress.exceptions import OutputError

HASH_BYTES = 2**20  # of one read
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_pending: set[Path] = set()  # temporary files and folders of this process, for a watchdog that has to end it


def discard_pending() -> None:
    """Remove every temporary file and folder of this process: for a signal that cannot wait for the main thread."""
    for path in tuple(_pending):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def keep_pending(path: Path) -> None:
    """Note a temporary file or folder that `discard_pending` removes."""
    _pending.add(path)


def remove_pending(path: Path) -> None:
    """Forget a temporary file or folder: it is gone, or in its place."""
    _pending.discard(path)


def check_output(target: Path, *, force: bool, inputs: Iterable[Path] = ()) -> Path:
    """Check that a file can be written at `target`, following links, before any work is done.

    Returns:
        The path that will be written.

    Raises:
        OutputError: it is one of the inputs, a folder, a device or a pipe; it exists and `force` is not given; its
            folder
            is missing or cannot be written.
    """
    resolved = Path(os.path.realpath(target))
    for path in inputs:
        if os.path.exists(resolved) and os.path.exists(path) and os.path.samefile(resolved, path):
            raise OutputError(f"the output {target} is the input itself.", hint="Name another file with --output.")
    try:
        mode = os.stat(resolved).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as err:
        raise OutputError(f"the output {target} cannot be used: {err.strerror}.") from err
    if mode is not None:
        if stat.S_ISDIR(mode):
            raise OutputError(f"the output {target} is a folder.", hint=f"Name a file: --output {target}/NAME.")
        if not stat.S_ISREG(mode):
            raise OutputError(f"the output {target} is not a regular file.", hint="Name another file with --output.")
        if not force:
            raise OutputError(f"the output {target} exists already.", hint="Overwrite it with --force.")
    if not resolved.parent.is_dir():
        raise OutputError(f"the folder {resolved.parent} of the output does not exist.", hint="Create it first.")
    if not os.access(resolved.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {resolved.parent} of the output cannot be written by this user.")
    return resolved


class AtomicFile:
    """A temporary file beside its target, renamed into place by `commit` and removed by anything else.

    A context manager. Its mode follows the umask; the file and its folder are synced, so that after a power cut
    either the old file or the whole new one is there.

    Args:
        target: the file.
        force: whether a file that is there by the time of `commit` is replaced.
    """

    def __init__(self, target: Path, *, force: bool = True) -> None:
        self.target = target
        self.force = force
        self.path = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}.tmp")
        self._descriptor = -1

    def __enter__(self) -> AtomicFile:
        try:
            _pending.add(self.path)  # first, so that a signal between the two leaves nothing
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as err:
            _pending.discard(self.path)
            raise self._failure(err) from err
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self.path in _pending:
            self.path.unlink(missing_ok=True)
            _pending.discard(self.path)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Enter, and write first what comes within: where that fails nothing is left, though no `__exit__` follows."""
        self.__enter__()
        try:
            yield
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def write(self, content: bytes | memoryview, *, at: int | None = None) -> None:
        """Append, or overwrite at a position.

        Raises:
            OutputError: the disk is full, or another fault of the file system.
        """
        left = memoryview(content)
        try:
            while left:
                count = os.write(self._descriptor, left) if at is None else os.pwrite(self._descriptor, left, at)
                at = None if at is None else at + count
                left = left[count:]
        except OSError as err:
            raise self._failure(err) from err

    def read(self, nbytes: int, *, at: int) -> bytes:
        """Read back what was written, at most `nbytes` from a position."""
        return os.pread(self._descriptor, nbytes, at)

    def truncate(self, nbytes: int) -> None:
        """Cut off what was written beyond `nbytes`."""
        try:
            os.ftruncate(self._descriptor, nbytes)
        except OSError as err:
            raise self._failure(err) from err

    def commit(self) -> None:
        """Sync, rename into place, sync the folder.

        Raises:
            OutputError: the file system refuses; nothing is left behind.
        """
        try:
            os.fsync(self._descriptor)
            if self.force or not self._link():
                os.replace(self.path, self.target)
        except FileExistsError as err:
            message = f"the output {self.target} was made by something else in the meantime."
            raise OutputError(message, hint="Overwrite it with --force.") from err
        except OSError as err:
            raise self._failure(err) from err
        _pending.discard(self.path)
        sync_folder(self.target.parent)

    def _link(self) -> bool:
        """Put the file in its place only if there is none; False where the file system has no links."""
        try:
            os.link(self.path, self.target)
        except FileExistsError:
            raise
        except OSError:
            return False
        self.path.unlink()
        return True

    def _failure(self, err: OSError) -> OutputError:
        return failure_of(self.target, err)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, 64 hexadecimal digits; reads it once."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(HASH_BYTES):
            digest.update(part)
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Sync the content of a file that is written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder, as far as the file system can: some of a network cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def failure_of(target: Path, err: OSError) -> OutputError:
    """Say that an output cannot be written, and what to do where the disk is full."""
    hint = "Free some space, or name another --output." if err.errno in NO_SPACE else ""
    return OutputError(f"{target} cannot be written: {err.strerror}.", hint=hint)
