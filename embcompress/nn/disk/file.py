"""A file that rows are read from, many at once, as long as it stays the file that it was."""

from __future__ import annotations

import os
import weakref
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
        self._descriptor: int | None = None
        self._closing: weakref.finalize[..., DiskFile] | None = None
        self.is_closed = False
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None, "_closing": None}

    def close(self) -> None:
        """Close it for good."""
        self.is_closed = True
        if self._closing is not None:
            self._closing()
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
            _advise(descriptor, in_file, spans.sizes, WILL_NEED)
        done = _read(descriptor, in_file, spans.sizes, places, buffer)
        # After reading, so that a change in between is told too.
        if identify(os.fstat(descriptor)) != self._identity:
            raise self._changed("was changed or cut while rows are read from it")
        if done != len(in_file):
            raise self._changed("cannot be read where rows lie in it")
        return Parts(buffer, starts + (places - spans.starts)[spans.of_parts])

    def advise(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Tell the system of parts, as `read` takes them, that will be read; without an answer."""
        if IS_ADVISED and len(starts):
            spans = spans_of(starts, sizes)
            _advise(self._open(), spans.starts + self._position, spans.sizes, WILL_NEED)

    def _open(self) -> int:
        if self.is_closed:
            raise ArtifactError(f"{self.path} was closed.", hint="Load the artifact again.")
        if self._descriptor is None:
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as err:
                raise ArtifactError(
                    f"{self.path} cannot be opened: {err.strerror}.", hint="Load the artifact from where it is now."
                ) from err
            self._closing = weakref.finalize(self, os.close, descriptor)
            if identify(os.fstat(descriptor)) != self._identity:
                self._closing()
                raise self._changed("is not the file that was loaded")
            if IS_ADVISED:
                # Rows lie anywhere: what the system would read ahead is not needed.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            self._descriptor = descriptor
        return self._descriptor

    def _changed(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self.path} {what}.", hint="Load the artifact again, or restore the file.")
