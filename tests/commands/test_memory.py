"""Memory that a dry run tells, beside what runs were measured to hold."""

from __future__ import annotations

import pytest

from embcompress.checkpoints import StoredTensor
from embcompress.compression.memory import estimate_coding_memory
from embcompress.tables.table import Table


@pytest.mark.parametrize(
    ("rows", "dim", "sample_rows", "measured"),
    [(200_000, 128, 8192, 538), (30_000, 384, 5461, 581)],
)
def test_memory_of_coding_covers_what_was_measured(rows: int, dim: int, sample_rows: int, measured: int) -> None:
    """1.0 to 1.3 times the peak of `approximate --ratio 4` on Linux with two cores, in MiB, told by /usr/bin/time."""
    stored = StoredTensor("entities.weight", "float32", (rows, dim), (dim, 1), 0)
    table = Table("entities.weight", (), stored)
    estimate = estimate_coding_memory([(table, sample_rows)]) / 2**20
    assert measured <= estimate <= 1.3 * measured
