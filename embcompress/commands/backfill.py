"""Add rows for new ids to the tables of a checkpoint; the known rows stay as they are, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.output import ARTIFACT_STEM, DENSE_STEM, plan_output
from embcompress.artifact.schema import (
    CompressedTable,
    artifact_metadata,
    widest_metadata,
)
from embcompress.artifact.writer import copied_entry
from embcompress.checkpoints import open_checkpoint
from embcompress.choices import CONSTRAINERS, DEFAULT_METHOD, METHODS, NO_CONSTRAINER, Choice
from embcompress.commands.memory import estimate_backfill_memory
from embcompress.commands.run import (
    check_reports,
    check_seed,
    check_space,
    inputs_of,
    left_out,
    read_shard_size,
    resolve_device,
    write_reports,
)
from embcompress.compression.artifact_file import original_of
from embcompress.exceptions import UsageError
from embcompress.growth.fills import find_fills, read_fill_labels
from embcompress.growth.findings import ENERGY_EXACT, planned_warnings, table_report, vocabulary_report
from embcompress.growth.own_labels import grown_labels, label_names, place_base_rows
from embcompress.growth.placement import Placement
from embcompress.growth.plan import Base, BaseTable, CodedGrowth, GrowingTable, GrowthPlan, RowRequest, names_of
from embcompress.growth.plan_rows import plan_growing_table
from embcompress.growth.plan_tables import plan_growth
from embcompress.growth.unlabelled import PaddingRequest, settle_rows
from embcompress.results import BackfillResult, GrownTable, InputFile, OutputFile, Totals
from embcompress.tables.padding import begins_with_padding
from embcompress.tables.progress import Progress

Paths = Sequence[str | Path] | str | Path


def backfill(
    bases: Paths,
    *,
    max_id: int | None = None,
    base_ids: Paths = (),
    base_labels: Paths = (),
    labels: str | Path | None = None,
    row_offset: int | None = None,
    keep_padding: bool = False,
    drop_padding: bool = False,
    table: Sequence[str] | str = (),
    method: str | None = None,
    constrainer: str | None = None,
    fill: str | Path | None = None,
    fill_labels: str | Path | None = None,
    output: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    report: Paths = (),
    force: bool = False,
    dry_run: bool = False,
    max_shard_size: int | str | None = None,
    allow_expansion: bool = False,
    progress: Progress | None = None,
    block_rows: int | None = None,
) -> BackfillResult:
    """Add rows for new ids to the tables of one or more checkpoints, dense or compressed.

    Known rows keep their bits: those of a dense table, the weights or codes of a compressed one. On a compressed table
    new rows are made in the table's space and projected on its bases; on a coded one they are then coded by the step
    that most known rows have. Goes over the base rows twice; memory does not grow with them, but for the numbers
    that say which row goes where.

    Args:
        bases: checkpoints or artifacts; the other tensors come from the first.
        max_id: the number of ids. Needed with `base_ids`; with `labels` more than there are labels.
        base_ids: for each base a file: line j is the new id of row j.
        base_labels: for each base a file of its labels, in the order of its rows.
        labels: a file of the new labels, in the order of the new ids.
        row_offset: the row that the first label belongs to, of the base and of the new table; rows before it keep their
            ids. Without options on rows that have no label, none is dropped or moved on a guess: a single first row of
            zeros is taken for the one that has none, and where no label is new or moves, all rows stay.
        keep_padding: rows behind the last label stay, behind the last new one.
        drop_padding: rows behind the last label, or of a blank one, make room where new labels need their places.
        table: shell patterns of the tables to grow; empty: those recognised whose rows the ids are.
        method: `NAME` or `NAME:key=number,...`, a name of METHODS; default "gaussian", fitted to the kept rows.
        constrainer: the same for CONSTRAINERS, or "none"; applied to new rows alone. Default: that which a pickled
            model of PyKEEN tells of the table, for rows that are drawn.
        fill: a checkpoint with the new rows, in the order of the new ids.
        fill_labels: a file of the labels of these rows, in their order. New ids without one are drawn if `method` is
            given.
        output: default `<stem>-backfilled.safetensors` beside the first base.
        device: "auto", "cpu", "cuda" or "cuda:N".
        seed: of the draws. The row of an id depends on seed, table and id alone.
        report: files to write the report to; default `<output stem>.report.json`.
        force: overwrite existing outputs.
        dry_run: make all checks, read no row and write nothing.
        max_shard_size: bytes of the tensors of one file of a folder, or a text such as "5GB".
        allow_expansion: read an artifact whose tables claim to be far larger than it (`EXPANSION_MAX` times), too.
        progress: called with what is being done, rows done, rows in all and bytes of a row.
        block_rows: rows that are held at once; default: as many as take some MiB. What is drawn, kept and coded does
            not depend on it; what is fitted to the kept rows does, by the rounding of its sums.

    Raises:
        UsageError: arguments that contradict each other or lie outside their range.
        IdsError: ids or labels that do not say which row is whose.
        CheckpointError, ArtifactError, TableError, OutputError, DeviceError: as for `approximate`.
    """
    paths = _paths(bases)
    request = RowRequest(
        method=Choice.parse(method or DEFAULT_METHOD, METHODS, option="--method"),
        constrainer=None
        if constrainer in (None, NO_CONSTRAINER)
        else Choice.parse(constrainer, CONSTRAINERS, option="--constrainer"),
        seed=seed,
        may_draw=method is not None or fill is None,
        may_be_told=constrainer is None and fill is None,
        block_rows=_checked_block_rows(block_rows),
    )
    check_seed(seed)
    padding = _checked(
        PaddingRequest(row_offset, keep_padding, drop_padding, max_id),
        bases=len(paths),
        has_labels=bool(_paths(base_labels)),
    )
    patterns = (table,) if isinstance(table, str) else tuple(table)
    with ExitStack() as stack:
        opened = [
            Base.of(stack.enter_context(open_checkpoint(path)), allow_expansion=allow_expansion) for path in paths
        ]
        placed = place_base_rows(
            opened,
            max_id=max_id,
            base_ids=_paths(base_ids),
            base_labels=_paths(base_labels),
            labels=_path(labels),
            table=patterns,
        )
        tables = plan_growth(opened, placed.placement, table=patterns, padding=padding)
        named = (*_paths(base_ids), *_paths(base_labels), _path(labels), _path(fill), _path(fill_labels))
        files = [file for file in named if file is not None]
        sources = inputs_of(*(base.checkpoint for base in opened), others=files)
        goes_to = plan_output(
            output,
            source=opened[0].checkpoint,
            ending="-backfilled",
            stem=DENSE_STEM if opened[0].artifact is None else ARTIFACT_STEM,
            max_shard_bytes=read_shard_size(max_shard_size),
            force=force,
            inputs=sources,
        )
        reports = check_reports(
            report, output=goes_to.target, force=force, inputs=sources, is_folder=goes_to.form is not None
        )
        fills = find_fills(fill, tables, stack)
        chosen_device = resolve_device(device, dry_run=dry_run)
        coded: Mapping[str, CodedGrowth] = {}
        if not (dry_run and request.is_plain and not any(grown.first.is_coded for grown in tables)):
            from embcompress.commands import grow  # with torch, which no other dry run needs

            placement = _settle(placed.placement, padding, tables, coded_zeros=grow.starts_with_zeros)
            coded = grow.prepare_tables(tables, request, placement)
        else:
            placement = _settle(placed.placement, padding, tables)
        given = read_fill_labels(fill, fill_labels, placement, labels=_path(labels))
        plans = [
            plan_growing_table(
                grown,
                placement,
                request,
                coded=coded.get(grown.first.table.name),
                fill=fills.get(grown.first.table.name),
                given=given,
            )
            for grown in tables
        ]
        compressed = _compressed_tables(opened[0], plans)
        label_contents = grown_labels(tables, placement, labels=placed.new_labels)
        copied = {
            copied_entry(stored): stored
            for stored in opened[0].checkpoint.stored_beside(names_of(tables) | label_names(tables))
        }
        entries = [*(entry for plan in plans for entry in plan.entries), *label_contents, *copied]
        original = opened[0].artifact.original if opened[0].artifact else original_of(opened[0].checkpoint)
        metadata = (
            widest_metadata(compressed, entries=entries, original=original)
            if compressed
            else {"format": "pt", **original.metadata}
        )
        writer = goes_to.writer(entries, metadata)
        check_space(goes_to.resolved, writer.nbytes)
        inputs = tuple(InputFile(base.checkpoint.name, base.checkpoint.nbytes) for base in opened)
        planned = tuple(table_report(plan, request) for plan in plans)
        result = BackfillResult(
            command="backfill",
            input=inputs[0],
            further_inputs=inputs[1:],
            output=OutputFile(str(goes_to.target), None, writer.nbytes),
            vocabulary=vocabulary_report(placement, tables),
            tables=planned,
            skipped=tuple(skipped for base in opened for skipped in left_out(base.checkpoint)),
            totals=_totals(planned, inputs=inputs, written_bytes=writer.nbytes),
            warnings=(*placed.remarks, *planned_warnings(opened, plans, placement, fill=fill)),
            dry_run=dry_run,
        )
        if dry_run:
            texts = [file for file in files if file != _path(fill)]
            return replace(result, memory_bytes=_planned_memory(plans, request, texts=texts))
        with writer:
            reported = [
                grow.grow_table(
                    plan,
                    request,
                    writer,
                    folder=goes_to.resolved.parent,
                    device=chosen_device,
                    progress=progress,
                )
                for plan in plans
            ]
            for entry, content in label_contents.items():
                writer.write(entry, [content])
            for entry, stored in copied.items():
                writer.write(entry, grow.read_stored(opened[0], stored))
            if compressed:
                compressed = _with_errors(compressed, [grown.report for grown in reported])
                metadata = artifact_metadata(compressed, checksums=writer.checksums, original=original)
            sha256 = writer.finish(metadata)
            written = tuple(grown.report for grown in reported)
            result = replace(
                result,
                output=replace(result.output, sha256=sha256, bytes=writer.nbytes),
                tables=written,
                totals=_totals(written, inputs=inputs, written_bytes=writer.nbytes),
                warnings=(*result.warnings, *(text for grown in reported for text in grown.warnings)),
            )
            write_reports(result, reports, force=force, before=writer.commit)
    return result


def _paths(given: Paths) -> tuple[Path, ...]:
    return (Path(given),) if isinstance(given, str | Path) else tuple(Path(path) for path in given)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _checked_block_rows(block_rows: int | None) -> int | None:
    """Give the rows of a block back, and refuse fewer than one."""
    if block_rows is not None and block_rows < 1:
        raise UsageError(f"block_rows must be at least 1; got {block_rows}.")
    return block_rows


def _checked(request: PaddingRequest, *, bases: int, has_labels: bool) -> PaddingRequest:
    """Return a request, and refuse options on rows without a label that contradict each other.

    Raises:
        UsageError: it contradicts itself, or there are no labels, or several bases.
    """
    if request.keep and request.drop:
        raise UsageError("--keep-padding and --drop-padding contradict each other: give one of them.")
    if request.row_offset is not None and request.row_offset < 0:
        raise UsageError(f"--row-offset must be 0 or more; got {request.row_offset}.")
    option = "--row-offset" if request.row_offset is not None else "--keep-padding" if request.keep else ""
    if bases > 1 and option:
        raise UsageError(f"{option} goes with one BASE; of several, --drop-padding can drop rows without a label.")
    if request.is_told and not has_labels:
        raise UsageError(f"{option or '--drop-padding'} goes with --base-labels: --base-ids gives every row an id.")
    return request


def _settle(
    placement: Placement,
    padding: PaddingRequest,
    tables: Sequence[GrowingTable],
    *,
    coded_zeros: Callable[[BaseTable], bool] = lambda _: False,
) -> Placement:
    """Decide what becomes of rows without a label, as `settle_rows`; `coded_zeros` looks at rows of coded tables."""

    def begins_with_zeros(part: BaseTable) -> bool:
        if part.is_coded:
            return coded_zeros(part)
        return begins_with_padding(part.stored, surplus=1, files=part.base.checkpoint.files)

    first = tables[0].first
    return settle_rows(
        placement,
        padding,
        what=f"{first.table.name!r} in {first.base.path}",
        rows=[part.table.rows for part in tables[0].parts],
        begins_with_zeros=all(table.padding[0] == 1 and begins_with_zeros(table.first) for table in tables),
    )


def _compressed_tables(base: Base, plans: Sequence[GrowthPlan]) -> list[CompressedTable]:
    """List the tables of the new artifact: those that grew with their new length."""
    if base.artifact is None:
        return []
    grown = {plan.first.table.name: plan for plan in plans}
    tables = []
    for table in base.artifact.tables:
        plan = grown.get(table.name)
        if plan is None or plan.rank is None:
            tables.append(table)
            continue
        errors = [part.compressed.error for part in plan.parts if part.compressed]
        known = [error for error in errors if error is not None]
        worst = max(known) if len(known) == len(errors) else None
        tables.append(replace(table, rows=plan.placement.max_id, rank=plan.rank, error=worst, shards=()))
    return tables


def _with_errors(tables: Sequence[CompressedTable], grown: Sequence[GrownTable]) -> list[CompressedTable]:
    """Drop the error of a table where it is not known any more: rows went, or came that the bases do not hold.

    Where rows that the bases hold were only added, the largest error of the bases is still an upper bound.
    """
    changed = {
        one.name
        for one in grown
        if one.rows_dropped or (one.kept_energy is not None and one.kept_energy < ENERGY_EXACT)
    }
    return [replace(table, error=None) if table.name in changed else table for table in tables]


def _planned_memory(plans: Sequence[GrowthPlan], request: RowRequest, *, texts: Sequence[Path]) -> int:
    draws = any(plan.fill is None or plan.fill.stored.shape[0] < plan.placement.added for plan in plans)
    needs_covariance = draws and request.method.name == "gaussian"
    return estimate_backfill_memory(plans, texts=texts, needs_covariance=needs_covariance)


def _totals(tables: Sequence[GrownTable], *, inputs: Sequence[InputFile], written_bytes: int) -> Totals:
    before, after = sum(one.bytes_before for one in tables), sum(one.bytes_after for one in tables)
    return Totals(before, after, before / after, sum(file.bytes for file in inputs) / written_bytes)
