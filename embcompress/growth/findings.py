"""The report of a backfill and its warnings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.schema import CODED
from embcompress.growth.model_folders import ModelGrowth
from embcompress.growth.placement import Placement
from embcompress.growth.plan import Base, GrowingTable, GrowthPlan, RowRequest, names_of, planned_bytes
from embcompress.results import BackfillResult, GrownTable, InputFile, OutputFile, Skipped, Totals, VocabularyReport
from embcompress.text import NAMED_MAX, named

ENERGY_EXACT = 1 - 1e-4  # above this share nothing to speak of was lost by the projection
KEPT_ENERGY_MIN = 0.5  # below this share of the attainable energy of the new rows a report warns


def planned_result(
    opened: Sequence[Base],
    plans: Sequence[GrowthPlan],
    request: RowRequest,
    *,
    output: OutputFile,
    skipped: Sequence[Skipped],
    remarks: Sequence[str],
    fill: str | Path | None,
    model: ModelGrowth,
) -> BackfillResult:
    """Return what a run with these plans would write.

    Args:
        opened: the bases.
        plans: of the tables.
        request: how new rows are made.
        output: the file to be.
        skipped: what it cannot hold.
        remarks: on the files of labels.
        fill: the checkpoint of the rows that were given.
        model: what grows beside the tables.
    """
    inputs = tuple(InputFile(base.checkpoint.name, base.checkpoint.nbytes) for base in opened)
    tables = tuple(table_report(plan, request) for plan in plans)
    placement = plans[0].placement
    return BackfillResult(
        command="backfill",
        input=inputs[0],
        further_inputs=inputs[1:],
        output=output,
        vocabulary=vocabulary_report(placement, plans),
        tables=tables,
        skipped=tuple(skipped),
        totals=_totals(tables, inputs=inputs, written_bytes=output.bytes),
        warnings=(*remarks, *planned_warnings(opened, plans, placement, fill=fill, model=model), *model.warnings),
        notes=model.notes,
    )


def measured_result(
    planned: BackfillResult, tables: Sequence[GrownTable], *, output: OutputFile, warnings: Sequence[str]
) -> BackfillResult:
    """Put the tables as they were written in place of those that were planned, and add warnings of them."""
    inputs = (planned.input, *planned.further_inputs)
    return replace(
        planned,
        output=output,
        tables=tuple(tables),
        totals=_totals(tables, inputs=inputs, written_bytes=output.bytes),
        warnings=(*planned.warnings, *warnings),
    )


def vocabulary_report(placement: Placement, tables: Sequence[GrowingTable]) -> VocabularyReport:
    """Count what the old and the new vocabulary share."""
    return VocabularyReport(
        kept_ids=placement.kept_count,
        new_ids=placement.max_id - placement.kept_count,
        dropped_rows=len(placement.dropped),
        padding_rows=sum(tables[0].padding),
        new_labels=(placement.new or ())[:NAMED_MAX],
        dropped_labels=placement.dropped[:NAMED_MAX],
    )


def planned_warnings(
    opened: Sequence[Base],
    plans: Sequence[GrowthPlan],
    placement: Placement,
    *,
    fill: str | Path | None,
    model: ModelGrowth,
) -> tuple[str, ...]:
    """Say what a user should know of a plan, before a row is read."""
    warnings = []
    grown = names_of(plans) | {bias.entry.name for bias in model.biases}
    if placement.dropped:
        warnings.append(f"{len(placement.dropped)} rows were dropped with their labels: {named(placement.dropped)}")
    if placement.dropped_blank:
        warnings.append(f"{placement.dropped_blank} rows were dropped whose label is blank")
    for plan in plans:
        first = plan.first
        if plan.remark:
            warnings.append(plan.remark)
        warnings += [
            f"{part.table.name!r} in {part.base.path} {remark}"
            for part, remark in zip(plan.parts, placement.remarks, strict=False)
            if remark
        ]
        alike = [
            tensor.name
            for tensor in opened[0].dense
            if tensor.shape[:1] == (first.table.rows,) and tensor.name not in grown
        ]
        if alike:
            warnings.append(
                f"not grown, although they also have {first.table.rows} entries like the rows of "
                f"{first.table.name!r}: {named(alike)}"
            )
        if plan.fill and plan.fill.stored.dtype != first.table.dtype:
            warnings.append(
                f"the rows of --fill {fill} were rounded from {plan.fill.stored.dtype} to {first.table.dtype}"
            )
        if plan.rank is not None and plan.is_stacked:
            columns = math.prod(first.table.shape)
            more = (
                f", more than its {columns} columns: reconstruct and compress them together"
                if plan.rank > columns
                else ""
            )
            warnings.append(
                f"{first.table.name!r} has the bases of all {len(plan.parts)} inputs, {plan.rank} together{more}"
            )
    if len(opened) > 1:
        warnings.append(f"all other tensors come from {opened[0].path}")
    return tuple(warnings)


def measured_warnings(table: GrownTable, *, attainable_energy: float) -> tuple[str, ...]:
    """Say what a user should know of the new rows as they are stored.

    Args:
        table: the table as it was written.
        attainable_energy: the share of their squared norm that could be kept of rows such as the base rows: 1 where
            weights are floats, less where they are coded, so that no warning is about what codes lose by design.
    """
    warnings = []
    is_coded = table.coding == CODED
    if table.constrainer is not None and table.kept_energy is not None and table.kept_energy < ENERGY_EXACT:
        then = "coded" if is_coded else "projected on the bases"
        warnings.append(
            f"the new rows of {table.name!r} were constrained, then {then}: as stored they do not keep "
            "the constraint exactly"
        )
    if table.kept_energy is not None and table.kept_energy < KEPT_ENERGY_MIN * attainable_energy:
        what, more = ("bases and codes", f", of at most {attainable_energy:.1%}") if is_coded else ("bases", "")
        warnings.append(
            f"the {what} of {table.name!r} keep only {table.kept_energy:.1%} of the squared norm of its new rows"
            f"{more}. For {what} that fit them, too: `embcompress reconstruct`, backfill that, and approximate again"
        )
    return tuple(warnings)


def table_report(plan: GrowthPlan, request: RowRequest) -> GrownTable:
    """Report on a planned table; measured fields are None."""
    first = plan.first
    filled = 0 if plan.fill is None else plan.fill.stored.shape[0]
    rows = sum(part.table.rows for part in plan.parts)
    return GrownTable(
        **vars(replace(first.table.head, rows=plan.placement.max_id)),
        kind="embedding",
        coding=first.coding,
        rank=plan.rank,
        rows_kept=plan.placement.kept_count,
        rows_added=plan.placement.added,
        rows_dropped=rows - plan.placement.kept_count,
        rows_filled=filled,
        method="fill" if filled and filled == plan.placement.added else str(request.method),
        constrainer=str(plan.constrainer) if plan.constrainer else None,
        kept_energy=None,
        base_rows=None,
        new_rows=None,
        bytes_before=sum(tensor.nbytes for part in plan.parts for tensor in part.tensors),
        bytes_after=planned_bytes(plan),
        seconds=0.0,
    )


def _totals(tables: Sequence[GrownTable], *, inputs: Sequence[InputFile], written_bytes: int) -> Totals:
    before, after = sum(one.bytes_before for one in tables), sum(one.bytes_after for one in tables)
    return Totals(before, after, before / after, sum(file.bytes for file in inputs) / written_bytes)
