"""The memory that compressing needs; known without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.compression.plan import Plan
from embcompress.linalg.solvers import MATRICES_BYTES, SOLVERS, SolverChoice, SolverLoad
from embcompress.tables.table import RING_BYTES, Table, block_rows_for

# Of Python with torch loaded, measured on Linux.
BASE_MEMORY_BYTES = 300 * 2**20
# Of the compiled coder, measured.
CODING_BYTES = 64 * 2**20
# Of a number of the sample while it is encoded, measured at 8192 x 128 and 5461 x 384.
CODING_NUMBER_BYTES = 100
# Of a row: its kind, its length and its scale, and copies of two for the index.
CODING_ROW_BYTES = 48
# Steps that estimates are kept of.
CODING_TRIES = 12


def estimate_spectrum_memory(tables: Iterable[Table]) -> int:
    """Estimate the most bytes that a run holds at once which chooses ranks by the spectra of tables."""
    largest = bases = 0
    for item in tables:
        side = min(item.rows, item.dim)
        largest = max(largest, _spectrum_bytes(item) + 10 * 4 * _block_numbers(item))
        bases += item.rows + 8 * side * item.dim
    return BASE_MEMORY_BYTES + largest + bases


def estimate_coding_memory(tables: Iterable[tuple[Table, int]]) -> int:
    """Estimate the most bytes that a run holds at once which encodes tables.

    Of every table it keeps the sample, the vectors and what tries left; of one at a time it holds the copies that
    encoding makes of the sample or of a block, and some numbers of every row.

    Args:
        tables: each with the rows of its sample.
    """
    largest = lasting = 0
    for item, sample_rows in tables:
        numbers = max(sample_rows * item.dim, _block_numbers(item))
        vectors = min(item.rows, item.dim) * item.dim
        largest = max(largest, _spectrum_bytes(item) + CODING_NUMBER_BYTES * numbers + CODING_ROW_BYTES * item.rows)
        lasting += 4 * sample_rows * item.dim + CODING_TRIES * (16 * sample_rows + 4 * vectors) + 2 * 8 * vectors
    return BASE_MEMORY_BYTES + CODING_BYTES + largest + lasting


def _spectrum_bytes(item: Table) -> int:
    """Count the bytes of what blocks are read into, and of a Gram matrix with its eigenvectors."""
    return min(RING_BYTES, item.nbytes) + 6 * 8 * min(item.rows, item.dim) ** 2


def _block_numbers(item: Table) -> int:
    item_bytes = max(ITEM_BYTES[item.real_dtype], 4)
    return block_rows_for(rows=item.rows, dim=item.dim, item_bytes=item_bytes) * item.dim


def estimate_memory(plan: Plan, choices: Sequence[SolverChoice]) -> int:
    """Estimate the most bytes that a run holds at once.

    They are torch itself, a few blocks, the matrix of a solver and the bases of all tables.
    """
    largest = 0
    for planned, choice in zip(plan.tables, choices, strict=True):
        item = planned.table
        item_bytes = ITEM_BYTES[item.real_dtype]
        block = block_rows_for(rows=item.rows, dim=item.dim, item_bytes=item_bytes) * item.dim
        solver = SOLVERS[choice.name].numbers(SolverLoad(item.rows, item.dim, planned.rank, block))
        if planned.matrix is not None:
            solver = 5 * max(MATRICES_BYTES // 8, math.prod(planned.matrix))
        # The blocks are read into a ring.
        ring = min(RING_BYTES, item.nbytes)
        largest = max(largest, ring + solver * 8 + 4 * block * max(item_bytes, 4))
    bases = sum(planned.rank * planned.table.dim * 8 for planned in plan.tables)
    return BASE_MEMORY_BYTES + largest + bases
