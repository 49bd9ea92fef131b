"""The steps of `backfill` that need torch: check how rows are drawn, plan coded tables, write."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.writer import TensorWriter
from embcompress.commands.run import write_reports
from embcompress.growth.bias_writer import grown_bias
from embcompress.growth.coded_row_writer import CodedRowWriter, plan_coded, starts_with_zeros
from embcompress.growth.drawing import check_request
from embcompress.growth.findings import measured_result, measured_warnings, table_report
from embcompress.growth.grown_file import GrownFile
from embcompress.growth.placement import Placement
from embcompress.growth.plan import Base, CodedGrowth, GrowingTable, GrowthPlan, RowRequest
from embcompress.growth.row_writer import FloatRowWriter, read_stored
from embcompress.results import BackfillResult, GrownTable
from embcompress.tables.progress import Progress

__all__ = ["prepare_tables", "starts_with_zeros", "write_grown"]


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


def write_grown(
    file: GrownFile,
    base: Base,
    request: RowRequest,
    planned: BackfillResult,
    *,
    device: str,
    progress: Progress | None,
    reports: Sequence[tuple[Path, str]],
    force: bool,
) -> BackfillResult:
    """Write the grown tables, everything else of the first base, and the reports.

    Args:
        file: to be written.
        base: the first one, that the other tensors come from.
        request: how new rows are made.
        planned: the report before a row is read.
        device: where rows are worked on.
        progress: called with what is being done, rows done, rows in all and bytes of a row.
        reports: where the reports go, and what renders each.
        force: overwrite existing reports.
    """
    tables: list[GrownTable] = []
    warnings: list[str] = []
    with file.writer as writer:
        for plan in file.plans:
            table, its_warnings = _grow_table(
                plan, request, writer, folder=file.target.parent, device=device, progress=progress
            )
            tables.append(table)
            warnings += its_warnings
        for entry, content in file.labels.items():
            writer.write(entry, [content])
        for entry, bias in file.biases.items():
            writer.write(entry, [grown_bias(bias)])
        for entry, stored in file.copied.items():
            writer.write(entry, read_stored(base, stored))
        sha256 = writer.finish(file.metadata(tables))
        output = replace(planned.output, sha256=sha256, bytes=writer.nbytes)
        result = measured_result(planned, tables, output=output, warnings=warnings)
        write_reports(result, reports, force=force, before=writer.commit)
    return result


def _grow_table(
    plan: GrowthPlan,
    request: RowRequest,
    writer: TensorWriter,
    *,
    folder: Path,
    device: str,
    progress: Progress | None,
) -> tuple[GrownTable, Sequence[str]]:
    """Write a table: each row in its place, new ones made on the way; returns its report and warnings."""
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
    measured = measured_warnings(report, attainable_energy=row_writer.attainable_energy)
    return report, (*row_writer.warnings, *measured)
