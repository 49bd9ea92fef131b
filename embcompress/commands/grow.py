"""The steps of `backfill` that need torch: check how rows are drawn, plan coded tables, write."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from embcompress.artifact.writer import TensorWriter
from embcompress.growth.coded_row_writer import CodedRowWriter, plan_coded, starts_with_zeros
from embcompress.growth.drawing import check_request
from embcompress.growth.findings import measured_warnings, table_report
from embcompress.growth.placement import Placement
from embcompress.growth.plan import CodedGrowth, GrowingTable, GrowthPlan, RowRequest
from embcompress.growth.row_writer import FloatRowWriter, read_stored
from embcompress.results import GrownTable
from embcompress.tables.progress import Progress

__all__ = ["Grown", "grow_table", "prepare_tables", "read_stored", "starts_with_zeros"]


@dataclass(frozen=True)
class Grown:
    """The report of a table that was written, and its warnings."""

    report: GrownTable
    warnings: tuple[str, ...]


def prepare_tables(
    tables: Sequence[GrowingTable], request: RowRequest, placement: Placement
) -> Mapping[str, CodedGrowth]:
    """Try how rows are drawn and constrained on each table; plan what will be written of the coded ones, by name.

    Raises:
        UsageError: as `check_request`.
        ArtifactError, TableError: as `plan_coded`.
    """
    for table in tables:
        check_request(request.method, request.constrainer, shape=table.first.table.shape, dtype=table.first.table.dtype)
    return {table.first.table.name: plan_coded(table.first, placement) for table in tables if table.first.is_coded}


def grow_table(
    plan: GrowthPlan,
    request: RowRequest,
    writer: TensorWriter,
    *,
    folder: Path,
    device: str,
    progress: Progress | None,
) -> Grown:
    """Write a table: each row in its place, new ones made on the way."""
    started = time.perf_counter()
    kind = FloatRowWriter if plan.coded is None else CodedRowWriter
    row_writer = kind(plan, request, folder=folder, device=device)
    row_writer.measure(progress)
    row_writer.write(writer, progress)
    report = replace(
        table_report(plan, request),
        kept_energy=row_writer.kept_energy,
        base_rows=row_writer.kept_rows.result(),
        new_rows=row_writer.new_rows.result(),
        bytes_after=row_writer.nbytes,
        seconds=time.perf_counter() - started,
    )
    return Grown(
        report, (*row_writer.warnings, *measured_warnings(report, attainable_energy=row_writer.attainable_energy))
    )
