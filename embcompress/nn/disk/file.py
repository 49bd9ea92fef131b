"""A file that rows are read from, many at once, as long as it stays the file that it was."""

from __future__ import annotations

import os
import weakref
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompress.checkpoints.files import FilePlace, identify
from embcompress.coding.compiled import FADVISE, PREAD, compiled
from embcompress.coding.read_kernels import PADDING
from embcompress.exceptions import ArtifactError

# Strings that end and begin no farther apart are read at once: what lies between them is in pages that are read anyway.
PAGE_BYTES = 4096
# Whether the system can be told what will be read, so that it reads many places at a time: cold, 65,536 rows come twice
# as fast as with 16 threads that read, for half the work; warm, it is a seventh of the reading.
IS_ADVISED = hasattr(os, "posix_fadvise")
WILL_NEED = getattr(os, "POSIX_FADV_WILLNEED", 0)


@compiled
def _read(
    descriptor: int,
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    places: NDArray[np.int64],
    buffer: NDArray[np.uint8],
) -> int:
    """Fill parts of a buffer from positions of a file; return the first that cannot be, or their number."""
    address = buffer.ctypes.data
    for number in range(len(starts)):
        done = np.int64(0)
        while done < sizes[number]:
            count = PREAD(
                np.int32(descriptor), np.uintp(address + places[number] + done), np.uintp(sizes[number] - done),
                np.int64(starts[number] + done),
            )  # fmt: skip
            if count <= 0:
                return number
            done += count
    return len(starts)


@compiled
def _advise(descriptor: int, starts: NDArray[np.int64], sizes: NDArray[np.int64], advice: int) -> None:
    """Tell the system of parts of a file that will be read."""
    for number in range(len(starts)):
        # Rows of zeros have no bytes, and a part of none would mean all up to the end of the file.
        if sizes[number]:
            FADVISE(np.int32(descriptor), np.int64(starts[number]), np.int64(sizes[number]), np.int32(advice))


@dataclass(frozen=True)
class Spans:
    """Parts of a file that are read at once each, and hold the parts that were asked for.

    Attributes:
        starts: (spans,) ascending.
        sizes: (spans,) bytes.
        of_parts: (parts,) the span of each part.
    """

    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    of_parts: NDArray[np.int64]


def spans_of(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Spans:
    """Join parts, (n,) ascending in their starts, that lie within a page of each other."""
    ends = np.maximum.accumulate(starts + sizes)
    is_first = np.ones(len(starts), bool)
    is_first[1:] = starts[1:] > ends[:-1] + PAGE_BYTES
    firsts = np.flatnonzero(is_first)
    lasts = np.append(firsts[1:], len(starts)) - 1
    return Spans(starts[firsts], ends[lasts] - starts[firsts], is_first.cumsum() - 1)


@dataclass(frozen=True)
class Parts:
    """Parts of a file in memory.

    Attributes:
        buffer: uint8, and PADDING zeros behind the last part.
        positions: (n,) where each part that was asked for starts in it.
    """

    buffer: NDArray[np.uint8]
    positions: NDArray[np.int64]


class _Descriptor:
    """An open file, closed with the last of those that read it: none closes it while another one reads."""

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)

    def reads(self, identity: tuple[int, ...]) -> bool:
        """Return whether it is open, and its file is the one that it was."""
        try:
            return identify(os.fstat(self.number)) == identity
        except OSError:
            return False


# What is open, by path and identity: a process has one descriptor for a file, however many tables lie in it. macOS
# allows 256 of them.
_open_files: MutableMapping[tuple[Path, tuple[int, ...]], _Descriptor] = weakref.WeakValueDictionary()


class DiskFile:
    """A file that is read by position, never mapped: when it is cut, a read fails, and no signal comes.

    Opened when it is made, and again in a process that gets it by pickling. A fork shares the descriptor, which reading
    by position allows. When another file takes its name, what is open is read on; when it is itself changed or
    cut, or is another one when it is opened again, reading fails.

    Args:
        place: in it, from which positions count.
    """

    def __init__(self, place: FilePlace) -> None:
        self.path, self._identity, self._position = Path(os.path.abspath(place.path)), place.identity, place.position
        self._descriptor: _Descriptor | None = None
        self.is_closed = False
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}

    def close(self) -> None:
        """Close it for good; other tables of the file, and lookups that are under way, read on."""
        self.is_closed = True
        self._descriptor = None

    def read(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Parts:
        """Read parts by position, (n,) ascending in their starts; what lies within a page is read at once.

        Raises:
            ArtifactError: the file was changed, cut or replaced, cannot be read, or was closed.
        """
        if not len(starts):
            return Parts(np.zeros(PADDING, np.uint8), starts)
        descriptor, spans = self._open(), spans_of(starts, sizes)
        places = spans.sizes.cumsum() - spans.sizes
        buffer = np.empty(int(spans.sizes.sum()) + PADDING, np.uint8)
        buffer[-PADDING:] = 0
        in_file = spans.starts + self._position
        if IS_ADVISED and len(in_file) > 1:
            _advise(descriptor.number, in_file, spans.sizes, WILL_NEED)
        done = _read(descriptor.number, in_file, spans.sizes, places, buffer)
        self._refuse_change(descriptor)
        while done < len(in_file):
            # Interrupted, as file systems over a network allow: tried again, or the reason told.
            place = places[done]
            self._read_again(descriptor, int(in_file[done]), buffer.data[place : place + spans.sizes[done]])
            done += 1
            done += _read(descriptor.number, in_file[done:], spans.sizes[done:], places[done:], buffer)
            self._refuse_change(descriptor)
        return Parts(buffer, starts + (places - spans.starts)[spans.of_parts])

    def advise(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Tell the system of parts, as `read` takes them, that will be read; without an answer."""
        if IS_ADVISED and len(starts):
            spans = spans_of(starts, sizes)
            descriptor = self._open()
            _advise(descriptor.number, spans.starts + self._position, spans.sizes, WILL_NEED)

    def _open(self) -> _Descriptor:
        """Give what is open, so that it stays so while it is used."""
        if self.is_closed:
            raise ArtifactError(f"{self.path} was closed.", hint="Load the artifact again.")
        descriptor = self._descriptor
        if descriptor is None:
            try:
                opened = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as err:
                raise ArtifactError(
                    f"{self.path} cannot be opened: {err.strerror}.", hint="Load the artifact from where it is now."
                ) from err
            descriptor = _Descriptor(opened)
            if not descriptor.reads(self._identity):
                raise self._changed("is not the file that was loaded")
            if IS_ADVISED:
                # Rows lie anywhere: what the system would read ahead is not needed.
                os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_RANDOM)
            shared = _open_files.get((self.path, self._identity))
            # Programs that go on in the background close all descriptors, and others get the numbers.
            if shared is None or not shared.reads(self._identity):
                shared = _open_files[self.path, self._identity] = descriptor
            self._descriptor = descriptor = shared
        return descriptor

    def _refuse_change(self, descriptor: _Descriptor) -> None:
        """Refuse what was read, if the file has changed: asked after reading, so that a change in between is told."""
        if not descriptor.reads(self._identity):
            raise self._changed("was changed or cut while rows are read from it")

    def _read_again(self, descriptor: _Descriptor, start: int, part: memoryview) -> None:
        """Fill a part from a position, by calls that are repeated when they are interrupted."""
        done = 0
        while done < len(part):
            try:
                count = os.preadv(descriptor.number, [part[done:]], start + done)
            except OSError as err:
                raise self._changed(f"cannot be read where rows lie in it: {err.strerror}") from err
            if not count:
                raise self._changed("ends before the rows that lie in it")
            done += count

    def _changed(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self.path} {what}.", hint="Load the artifact again, or restore the file.")
