"""Memory estimates of the commands that read an artifact or add rows, made without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from embcompress.artifact.schema import CompressedTable, real_row_shape
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.compression.memory import BASE_MEMORY_BYTES
from embcompress.growth.plan import GrowthPlan, RowRequest
from embcompress.linalg.solvers import MATRICES_BYTES, SCORED_ROWS, SCORES_MAX
from embcompress.tables.table import RING_BYTES, Table, block_rows_for

KERNELS_BYTES = 128 * 2**20  # of numba and the compiled loops of the coder: 120 MB measured
INDEX_ROW_BYTES = 56  # of the index of a coded table while it is read or written: 50 measured at 10^6 rows
FLOAT64_BYTES = 8
SCORE_BYTES = 64  # of a score of a neighbour while the best are chosen: itself, its place, and both again in order
ROW_BYTES = 64  # of an id or a label of a base or of the new table, while they are matched: measured at 4.4 million
ID_BYTES = 24  # of a new id: where its row comes from, three numbers
TEXT_COPIES = 3  # of a file of ids or labels: its bytes, its characters and its lines
GZIP_RATIO = 5  # of such a file


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


def estimate_export_memory(tables: Iterable[Table]) -> int:
    """Estimate the most bytes that a run holds at once which rounds tables, one after the other: some blocks of rows.

    Args:
        tables: dense, or as they decode.
    """
    blocks = (block_rows_for(rows=item.rows, dim=item.dim, item_bytes=FLOAT64_BYTES) * item.dim for item in tables)
    return BASE_MEMORY_BYTES + RING_BYTES + KERNELS_BYTES + 8 * FLOAT64_BYTES * max(blocks, default=0)


def estimate_backfill_memory(plans: Sequence[GrowthPlan], request: RowRequest, *, texts: Iterable[Path]) -> int:
    """Estimate the most bytes that a run holds at once which adds rows to tables, one after the other.

    Args:
        plans: of the tables.
        request: how new rows are made.
        texts: the files of ids and labels.
    """
    draws = any(plan.fill is None or plan.fill.stored.shape[0] < plan.placement.added for plan in plans)
    needs_covariance = draws and request.method.name == "gaussian"
    sizes = ((path, path.stat().st_size) for path in texts)
    text = sum(size * (GZIP_RATIO if path.suffix == ".gz" else 1) for path, size in sizes)
    rows = sum(map(len, plans[0].placement.new_ids))
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
