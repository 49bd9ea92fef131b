"""The tables of a run with --bases, the solver of each, and their bytes: known without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from embcompress.artifact.schema import CompressedTable, bilinear_entries, factor_dtypes, factor_entries
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import Checkpoint
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.exceptions import RankError, Retry
from embcompress.linalg.solvers import SolverChoice, select_solver
from embcompress.results import Alternative, MatricesReport, Skipped, TableReport
from embcompress.tables.factor_sizes import factor_bytes, largest_rank
from embcompress.tables.matrices import matrix_of
from embcompress.tables.recognition import matches
from embcompress.tables.selection import as_patterns
from embcompress.tables.table import Table


@dataclass(frozen=True)
class PlannedTable:
    """A table that will be compressed: its rank, the dtype of its factors, its bytes."""

    table: Table
    rank: int
    stored_dtype: str
    matrix: tuple[int, int] | None = None  # (in1, in2), where each matrix of the table is factored by itself

    @property
    def bytes_after(self) -> int:
        """Count the bytes of bases and weights, or of left and right factors."""
        item_bytes = ITEM_BYTES[self.stored_dtype]
        if self.matrix is None:
            return factor_bytes(self.table, self.rank, item_bytes)
        count = self.table.rows * self.table.dim // math.prod(self.matrix)
        return count * sum(self.matrix) * self.rank * item_bytes

    @property
    def rows_rank(self) -> int:
        """Count the shared bases that fit into the same bytes."""
        item_bytes = ITEM_BYTES[self.stored_dtype]
        most = self.bytes_after // ((self.table.rows + self.table.dim) * item_bytes)
        return min(most, self.table.rows, self.table.dim)


@dataclass(frozen=True)
class Plan:
    """The tables of a run in the order of the file, and those that stay dense, with reasons."""

    tables: tuple[PlannedTable, ...]
    skipped: tuple[Skipped, ...]


def plan_tables(
    checkpoint: Checkpoint,
    chosen: Sequence[Table],
    *,
    bases: int,
    dtype: str = "same",
    table: Sequence[str] | str = (),
    bilinear: Sequence[str] | str = (),
    bilinear_shape: tuple[int, int] | None = None,
) -> Plan:
    """Decide what becomes of each table that was chosen.

    Args:
        checkpoint: an open one.
        chosen: its tables, as `choose_tables` gives them.
        bases: the number of bases of every table.
        dtype: one of STORED_DTYPES.
        table: the shell patterns that chose them, or one: a table that is named in full is not left dense in silence.
        bilinear: shell patterns of the tables of which each matrix is factored by itself, or one.
        bilinear_shape: (in1, in2) of these matrices, where rows are flat and nothing else tells.

    Raises:
        RankError: a table named in full, or every table chosen, has fewer than `bases` rows or columns or would grow.
    """
    table, bilinear = as_patterns(table), as_patterns(bilinear)
    planned: list[PlannedTable] = []
    skipped: list[Skipped] = []
    # The largest number of bases at which any of them is smaller.
    most = 0
    for item in chosen:
        stored_dtype = item.real_dtype if dtype == "same" else dtype
        item_bytes = ITEM_BYTES[stored_dtype]
        if matches(bilinear, (item.name, *item.tied_names)):
            matrix = matrix_of(item, checkpoint, given=bilinear_shape)
            planned.append(PlannedTable(item, bases, stored_dtype, matrix))
            _check_matrices(planned[-1], checkpoint.path)
            continue
        reason = _why_dense(item, bases, item_bytes)
        if reason:
            best = largest_rank(item, item_bytes)
            most = max(most, best)
            if any(name in table for name in (item.name, *item.tied_names)):
                raise RankError(f"table {item.name!r} in {checkpoint.path} {reason}.", **_other_rank(best))
            skipped.append(Skipped(item.name, reason))
            continue
        planned.append(PlannedTable(item, bases, stored_dtype))
    if not planned:
        what = "; ".join(f"table {item.name!r} {item.reason}" for item in skipped)
        raise RankError(f"with {bases} bases nothing in {checkpoint.path} gets smaller: {what}.", **_other_rank(most))
    return Plan(tuple(planned), tuple(skipped))


def choose_solver(planned: PlannedTable, *, solver: str = "auto", device: str = "cpu") -> SolverChoice:
    """Choose the solver of a table for a device, "cpu" or "cuda...", unless one is asked for."""
    if planned.matrix is not None:
        return SolverChoice("dense", "an exact SVD of each {} x {} matrix".format(*planned.matrix))
    if solver != "auto":
        return SolverChoice(solver, "asked for")
    table = planned.table
    kind = device.partition(":")[0]
    return select_solver(rows=table.rows, dim=table.dim, rank=planned.rank, dtype=table.real_dtype, device=kind)


def _why_dense(table: Table, bases: int, item_bytes: int) -> str:
    """Say why a table stays dense at this number of bases; empty where it does not."""
    size = f"{table.rows} x {table.dim}" + (" reals" if table.is_complex else "")
    if bases > min(table.rows, table.dim):
        return f"is {size}, so it has at most {min(table.rows, table.dim)} bases, not {bases}"
    after = factor_bytes(table, bases, item_bytes)
    if after >= table.nbytes:
        return f"would grow from {table.nbytes} to {after} bytes: it is {size}, too small for {bases} bases"
    return ""


def _check_matrices(planned: PlannedTable, path: Path) -> None:
    """Refuse ranks that the matrices of a table do not have, or at which it would grow."""
    assert planned.matrix is not None
    (in1, in2), item = planned.matrix, planned.table
    if planned.rank > min(in1, in2) or planned.bytes_after >= item.nbytes:
        narrow = ITEM_BYTES[planned.stored_dtype] / ITEM_BYTES[item.real_dtype]
        even = in1 * in2 / (in1 + in2) / narrow
        most = max(min(in1, in2, math.ceil(even) - 1), 0)
        raise RankError(
            f"table {item.name!r} in {path} holds {in1} x {in2} matrices, which rank {planned.rank} does not make "
            f"smaller: only ranks below {even:.4g} do.",
            **_other_rank(most),
        )


class _Alternative(TypedDict):
    hint: str
    retries: Sequence[Retry]


def _other_rank(most: int) -> _Alternative:
    """Say with how many bases a table gets smaller."""
    if not most:
        return {"hint": "No number of bases makes it smaller.", "retries": ()}
    hint = "One base makes it smaller:" if most == 1 else f"Up to {most} bases make it smaller:"
    return {"hint": hint, "retries": [Retry(("--bases", str(most)))]}


def describe(planned: PlannedTable) -> CompressedTable:
    """Say of a planned table what the artifact will say, but for its error."""
    return CompressedTable(
        **vars(planned.table.head),
        rank=planned.rank,
        error=None,
        kind="embedding" if planned.matrix is None else "bilinear",
        matrix=planned.matrix,
        shards=planned.table.shards,
    )


def planned_entries(planned: PlannedTable) -> tuple[Entry, ...]:
    """Name the tensors of a planned table, as far as they are known without reading a row.

    Raises:
        OutputError: as `factor_dtypes`.
    """
    table = describe(planned)
    if planned.matrix is not None:
        return bilinear_entries(table, dtype=planned.stored_dtype)
    bases_dtype, weights_dtype = factor_dtypes(planned.table.dtype, planned.stored_dtype)
    return factor_entries(table, bases_dtype=bases_dtype, weights_dtype=weights_dtype)


def planned_report(planned: PlannedTable, choice: SolverChoice, *, seconds: float = 0.0) -> TableReport:
    """Report on a planned table without reading a row."""
    item, matrix = planned.table, planned.matrix
    matrices, alternative = None, None
    if matrix is not None:
        matrices = MatricesReport(matrix, item.rows * item.dim // math.prod(matrix), ())
        alternative = Alternative("embedding", planned.rows_rank, None) if planned.rows_rank else None
    return TableReport(
        **vars(item.head),
        kind="embedding" if matrix is None else "bilinear",
        rank=planned.rank,
        coding="plain",
        solver=choice.name,
        solver_reason=choice.reason,
        passes=0,
        bytes_before=item.nbytes,
        bytes_after=planned.bytes_after,
        error=None,
        seconds=seconds,
        matrices=matrices,
        alternative=alternative,
    )
