"""What `backfill` does with the rows of a table."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from embcompress.artifact.writer import SafetensorsWriter
from embcompress.growth.coded_row_writer import CodedGrower
from embcompress.growth.findings import (
    measured_warnings,
    statistics_report,
    table_report,
)
from embcompress.growth.plan import GrowthPlan, RowRequest
from embcompress.growth.row_writer import FloatGrower
from embcompress.results import (
    GrownTable,
)
from embcompress.tables.progress import Progress


@dataclass(frozen=True)
class Grown:
    """What was found while a table was written."""

    report: GrownTable
    warnings: tuple[str, ...]


def grow_table(
    plan: GrowthPlan,
    request: RowRequest,
    writer: SafetensorsWriter,
    *,
    folder: Path,
    device: str,
    progress: Progress | None,
) -> Grown:
    """Write a table: each row in its place, new ones made on the way."""
    started = time.perf_counter()
    kind = FloatGrower if plan.coded is None else CodedGrower
    grower = kind(plan, request, folder=folder, device=device)
    grower.measure(progress)
    grower.write(writer, progress)
    found = replace(
        table_report(plan, request),
        energy_held=grower.energy_held,
        base_rows=statistics_report(grower.kept_rows),
        new_rows=statistics_report(grower.new_rows),
        bytes_after=grower.nbytes,
        seconds=time.perf_counter() - started,
    )
    return Grown(found, (*grower.warnings, *measured_warnings(found, holdable=grower.holdable)))
