"""Progress over the rows of a table."""

from __future__ import annotations

from collections.abc import Callable

from embcompress.checkpoints import StoredTensor

Progress = Callable[[str, int, int, int], None]
# What is being done, rows done, rows in all, bytes of a row as it is read or written; 0 where steps are counted.


def row_bytes_of(stored: StoredTensor) -> int:
    """Count the bytes of a row of a stored tensor; at least 1."""
    return max(1, stored.nbytes // max(1, stored.shape[0]))
