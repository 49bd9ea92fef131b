"""How much memory runs need, told without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from embcompress.artifact import CompressedTable
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.coded_factors import real_row_shape
from embcompress.growth import GrowthPlan
from embcompress.linalg.solvers import MATRICES_BYTES, SCORED_ROWS, SCORES_MAX, SOLVERS, SolverChoice, SolverLoad
from embcompress.planning import Plan
from embcompress.table import RING_BYTES, Table, block_rows_for

BASE_MEMORY_BYTES = 300 * 2**20  # Python with torch loaded, measured on Linux
CODING_BYTES = 64 * 2**20  # of the compiled coder, measured
CODING_NUMBER_BYTES = 100  # of a number of the sample while it is encoded, measured at 8192 x 128 and 5461 x 384
CODING_ROW_BYTES = 48  # of a row: its kind, its length and its scale, and copies of two for the index
CODING_TRIES = 12  # steps that estimates are kept of
KERNELS_BYTES = 128 * 2**20  # of numba and the compiled loops of the coder: 120 MB measured
INDEX_ROW_BYTES = 56  # of the index of a coded table while it is read or written: 50 measured at 10^6 rows
FLOAT64_BYTES = 8
SCORE_BYTES = 64  # of a score of a neighbour while the best are chosen: itself, its place, and both again in order
ROW_BYTES = 64  # of an id or a label of a base or of the new table, while they are matched: measured at 4.4 million
ID_BYTES = 24  # of a new id: where its row comes from, three numbers
TEXT_COPIES = 3  # of a file of ids or labels: its bytes, its characters and its lines
GZIP_RATIO = 5  # of such a file


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
    largest = kept = 0
    for item, sample_rows in tables:
        numbers = max(sample_rows * item.dim, _block_numbers(item))
        vectors = min(item.rows, item.dim) * item.dim
        largest = max(largest, _spectrum_bytes(item) + CODING_NUMBER_BYTES * numbers + CODING_ROW_BYTES * item.rows)
        kept += 4 * sample_rows * item.dim + CODING_TRIES * (16 * sample_rows + 4 * vectors) + 2 * 8 * vectors
    return BASE_MEMORY_BYTES + CODING_BYTES + largest + kept


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
        ring = min(RING_BYTES, item.nbytes)  # what the blocks are read into
        largest = max(largest, ring + solver * 8 + 4 * block * max(item_bytes, 4))
    bases = sum(planned.rank * planned.table.dim * 8 for planned in plan.tables)
    return BASE_MEMORY_BYTES + largest + bases


def estimate_evaluation_memory(tables: Iterable[tuple[Table, int]]) -> int:
    """Estimate the most bytes that comparing tables with their artifact holds at once.

    Beside torch these are a few blocks, the Gram matrix of the smaller side with its eigenvectors, and the bases.

    Args:
        tables: each with its rank.
    """
    largest = 0
    for item, rank in tables:
        item_bytes = ITEM_BYTES[item.real_dtype]
        block = block_rows_for(rows=item.rows, dim=item.dim, item_bytes=item_bytes) * item.dim
        solver = 6 * min(item.rows, item.dim) ** 2 + 2 * rank * item.dim
        largest = max(largest, min(RING_BYTES, item.nbytes) + solver * 8 + 10 * block * 8 + item.rows)
    return BASE_MEMORY_BYTES + largest


def estimate_neighbour_memory(queries: int) -> int:
    """Estimate the bytes of the scores that are held at once while the neighbours of so many rows are looked for."""
    return SCORE_BYTES * min(SCORED_ROWS * queries, SCORES_MAX)


def estimate_reconstruct_memory(tables: Iterable[CompressedTable]) -> int:
    """Estimate the most bytes that a run holds at once which multiplies tables out, one after the other."""
    largest = 0
    for table in tables:
        dim = math.prod(real_row_shape(table))
        block = block_rows_for(rows=table.rows, dim=dim, item_bytes=FLOAT64_BYTES) * (dim + 2 * table.rank)
        matrices = 0 if table.matrix is None else 2 * max(MATRICES_BYTES, FLOAT64_BYTES * math.prod(table.matrix))
        bases = 0 if table.matrix else 2 * FLOAT64_BYTES * table.rank * dim
        largest = max(largest, 2 * FLOAT64_BYTES * block + matrices + bases)
    return BASE_MEMORY_BYTES + largest


def estimate_backfill_memory(plans: Sequence[GrowthPlan], *, texts: Iterable[Path], needs_covariance: bool) -> int:
    """Estimate the most bytes that a run holds at once which adds rows to tables, one after the other.

    Args:
        plans: of the tables.
        texts: the files of ids and labels.
        needs_covariance: whether new rows are drawn with the covariance of the known ones.
    """
    sizes = ((path, path.stat().st_size) for path in texts)
    text = sum(size * (GZIP_RATIO if path.suffix == ".gz" else 1) for path, size in sizes)
    rows = sum(len(place) for place in plans[0].placement.places)
    ids = plans[0].placement.max_id
    matching = TEXT_COPIES * text + ROW_BYTES * (rows + ids * (plans[0].placement.new is not None)) + ID_BYTES * ids
    largest = max(_table_bytes(plan, needs_covariance=needs_covariance) for plan in plans)
    return BASE_MEMORY_BYTES + matching + largest


def _table_bytes(plan: GrowthPlan, *, needs_covariance: bool) -> int:
    """Count the bytes of a few blocks, of the bases, and of the covariance with its eigenvectors."""
    first, rows = plan.first, plan.placement.max_id
    dim = math.prod(first.table.shape) * (2 if first.table.dtype.startswith("complex") else 1)
    columns = plan.rank or dim
    widest = max(columns, dim)
    block = block_rows_for(rows=rows, dim=columns, item_bytes=4) * widest
    covariance = 5 * columns**2 + columns * dim if needs_covariance else 0
    bases = 3 * columns * dim if plan.rank else 0
    known = sum(part.table.rows for part in plan.parts)
    coding = KERNELS_BYTES + INDEX_ROW_BYTES * max(rows, known) if plan.coded else 0
    return FLOAT64_BYTES * (3 * block + covariance + bases) + coding
