"""Strings on their way into a seekable table: what stands in front of them is known only behind the last one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from embcompress.artifact.atomic_file import failure_of
from embcompress.coding.seekable_index import StoredIndex, put_heads

# Blocks that get their heads at once.
STAGED_BLOCKS = 2**14


class StagedStrings:
    """Strings of a table, kept in a file without a name beside the output until their heads are made.

    A context manager; takes as much room on the disk as the strings.

    Args:
        folder: where the output is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        except OSError as err:
            raise failure_of(folder, err) from err

    def __enter__(self) -> StagedStrings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing writes what a full disk did not take before, and fails again: what is told is the first failure.
        with suppress(OSError):
            self._file.close()

    def append(self, strings: NDArray[np.uint8]) -> None:
        """Keep the strings of the next rows.

        Raises:
            OutputError: the disk is full.
        """
        try:
            self._file.write(strings.data)
        except OSError as err:
            raise failure_of(self._folder, err) from err

    def rewind(self) -> None:
        """Take back what was appended."""
        self._file.seek(0)
        self._file.truncate()

    def blocks(self, stored: StoredIndex) -> Iterator[memoryview]:
        """Yield the strings with the head of each block in front of its own."""
        try:
            self._file.seek(0)
            for first in range(0, len(stored.head_sizes), STAGED_BLOCKS):
                count = min(STAGED_BLOCKS, len(stored.head_sizes) - first)
                nbytes = int(stored.string_sizes[first : first + count].sum())
                strings = np.frombuffer(self._file.read(nbytes), np.uint8)
                yield put_heads(stored, strings, first=first, blocks=count).data
        except OSError as err:
            raise failure_of(self._folder, err) from err
