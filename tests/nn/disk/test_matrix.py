"""A matrix that rows are read from: in any order, in memory by the rows that are asked for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import torch

from embcompress.checkpoints.files import FilePlace, identify
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.disk.file import PAGE_BYTES, DiskFile
from embcompress.nn.disk.matrix import DiskMatrix

ROWS, COLUMNS = 2**19, 8


def test_rows_come_in_any_order_and_take_memory_by_their_number(tmp_path: Path) -> None:
    """Scattered and repeated rows come as asked for, and what lies between them is held of a block of rows alone."""
    path = tmp_path / "rows"
    values = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    values.tofile(path)
    matrix = DiskMatrix(
        DiskFile(FilePlace(path, identify(path.stat()), 0)), rows=ROWS, columns=COLUMNS, dtype=torch.float32
    )
    generator = np.random.default_rng(0)
    scattered = generator.permutation(np.append(np.arange(0, ROWS, 16), [3, ROWS - 1, 0]))
    matrix.read(scattered[:2])
    tracemalloc.start()
    read = matrix.read(scattered)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(read.numpy(), values[scattered])
    # All of the file is within a page of a row that is asked for: it is read, but never held.
    assert BLOCK_ROWS * PAGE_BYTES > values.nbytes > 2 * peak
    for rows in (np.arange(5, 3 * BLOCK_ROWS), np.array([7]), np.array([], np.int64)):
        assert np.array_equal(matrix.read(rows).numpy(), values[rows])
