"""A state dict in a file of torch.save."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from embcompress.artifact.atomic_file import AtomicFile, failure_of, hash_file, keep_pending, remove_pending
from embcompress.artifact.writer import Entry
from embcompress.exports.dense_model import DenseModel

MEMBER_BYTES = 300  # that a tensor takes beside its numbers, about


def write(model: DenseModel, file: AtomicFile) -> None:
    """Write every tensor by its name; tied names share their memory, as torch.save keeps it.

    Tensors lie in files, which take as much of the disk as the output while it is written, and are mapped into memory:
    models may be larger than it.
    """
    state: dict[str, Tensor] = {}
    try:
        with _folder_beside(file.target) as folder:
            for index, entry in enumerate(model.entries):
                first = model.tied.get(entry.name)
                state[entry.name] = state[first] if first in state else _map(model, entry, folder / str(index))
            _save(state, file)
    except OSError as err:
        raise failure_of(file.target, err) from err


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Make a temporary folder beside an output."""
    made = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:50]}.")
    folder = Path(made.name)
    keep_pending(folder)
    with ExitStack() as stack:
        stack.callback(remove_pending, folder)  # last, when it is gone
        stack.enter_context(made)
        yield folder


class _Stream:
    """A stream that remembers why a write failed: torch.save tells of another error then, at another place."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:
        try:
            return self._stream.write(content)
        except OSError as err:
            self.fault = err
            raise

    def flush(self) -> None:
        self._stream.flush()


def _save(state: Mapping[str, Tensor], file: AtomicFile) -> None:
    # Into a stream: with a path, its name would be a part of the content.
    with file.path.open("wb") as opened:
        stream = _Stream(opened)
        try:
            torch.save(state, stream)  # type: ignore[arg-type]  # it writes and flushes, nothing else
        except RuntimeError:
            if stream.fault is not None:
                raise stream.fault from None
            raise


def _map(model: DenseModel, entry: Entry, path: Path) -> Tensor:
    """Write a tensor into a file and map it."""
    if entry.nbytes:
        with path.open("wb") as stream:
            for part in model.read(entry):
                stream.write(part)
    return _mapped(entry, path)


def _mapped(entry: Entry, path: Path) -> Tensor:
    """Map a tensor whose bytes are a file."""
    dtype = torch.uint8 if entry.opaque_bytes is not None else getattr(torch, entry.dtype)
    if not entry.nbytes:
        return torch.empty(entry.shape, dtype=dtype)
    content = torch.from_file(str(path), shared=False, size=entry.nbytes, dtype=torch.uint8)
    return content if entry.opaque_bytes is not None else content.view(dtype).view(entry.shape)


class StateWriter:
    """Writes a state dict whose tensors come part by part, in any order.

    The same tensors give the same bytes. A context manager; without `commit` nothing is left.

    Args:
        target: where the file goes.
        entries: the tensors, in their order.
        force: whether a file that is there by the time of `commit` is replaced.
    """

    def __init__(self, target: Path, entries: Sequence[Entry], *, force: bool) -> None:
        self._file, self._entries = AtomicFile(target, force=force), entries
        self._stack = ExitStack()
        self._streams: dict[Entry, BinaryIO] = {}
        self._folder = Path()
        self.nbytes = sum(entry.nbytes + MEMBER_BYTES for entry in entries)

    def __enter__(self) -> StateWriter:
        with ExitStack() as stack:
            stack.enter_context(self._file)
            self._folder = stack.enter_context(_folder_beside(self._file.target))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def append(self, entry: Entry, part: bytes | memoryview) -> None:
        """Write the next bytes of a tensor."""
        try:
            if entry not in self._streams:
                path = self._folder / str(self._entries.index(entry))
                self._streams[entry] = self._stack.enter_context(path.open("wb"))
            self._streams[entry].write(part)
        except OSError as err:
            raise failure_of(self._file.target, err) from err

    def finish(self) -> str:
        """Write the file and return its sha256."""
        try:
            for stream in self._streams.values():
                stream.close()
            state = {entry.name: _mapped(entry, self._folder / str(at)) for at, entry in enumerate(self._entries)}
            _save(state, self._file)
        except OSError as err:
            raise failure_of(self._file.target, err) from err
        self.nbytes = self._file.path.stat().st_size
        return hash_file(self._file.path)

    def commit(self) -> None:
        """Put the file in its place."""
        self._file.commit()
