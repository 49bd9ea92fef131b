"""Add rows for new ids to the tables of a checkpoint; the known rows stay as they are, to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.output import ARTIFACT_STEM, DENSE_STEM, plan_output
from embcompress.checkpoints import open_checkpoint
from embcompress.commands.memory import estimate_backfill_memory
from embcompress.commands.run import (
    check_reports,
    check_seed,
    check_space,
    inputs_of,
    left_out,
    read_shard_size,
    resolve_device,
)
from embcompress.growth.fills import find_fills, read_fill_labels
from embcompress.growth.findings import planned_result
from embcompress.growth.grown_file import GrownFile
from embcompress.growth.model_folders import plan_model
from embcompress.growth.own_labels import place_base_rows
from embcompress.growth.plan import Base, CodedGrowth, RowRequest
from embcompress.growth.plan_rows import plan_growing_table
from embcompress.growth.plan_tables import plan_growth
from embcompress.growth.unlabelled import PaddingRequest, settle_tables
from embcompress.results import BackfillResult, OutputFile
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
    paths, id_files, label_files = _paths(bases), _paths(base_ids), _paths(base_labels)
    request = RowRequest.read(
        method=method, constrainer=constrainer, seed=seed, has_fill=fill is not None, block_rows=block_rows
    )
    check_seed(seed)
    padding = PaddingRequest(row_offset, keep_padding, drop_padding, max_id)
    padding.check(bases=len(paths), has_labels=bool(label_files))
    patterns = (table,) if isinstance(table, str) else tuple(table)
    with ExitStack() as stack:
        opened = [
            Base.of(stack.enter_context(open_checkpoint(path)), allow_expansion=allow_expansion) for path in paths
        ]
        placed = place_base_rows(
            opened,
            max_id=max_id,
            base_ids=id_files,
            base_labels=label_files,
            labels=_path(labels),
            table=patterns,
        )
        tables = plan_growth(opened, placed.placement, table=patterns, padding=padding)
        texts = [file for file in (*id_files, *label_files, _path(labels), _path(fill_labels)) if file is not None]
        sources = inputs_of(*(base.checkpoint for base in opened), others=(*texts, fill))
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
            from embcompress.commands import backfill_rows  # with torch, which no other dry run needs

            placement = settle_tables(tables, placed.placement, padding, coded_zeros=backfill_rows.starts_with_zeros)
            coded = backfill_rows.prepare_tables(tables, request, placement)
        else:
            placement = settle_tables(tables, placed.placement, padding)
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
        model = plan_model(goes_to, opened, plans)
        file = GrownFile(model, opened[0], plans, new_labels=placed.new_labels)
        check_space(file.target, file.writer.nbytes, staged=file.staged_bytes)
        planned = planned_result(
            opened,
            plans,
            request,
            output=OutputFile(str(goes_to.target), None, file.writer.nbytes),
            skipped=[skipped for base in opened for skipped in left_out(base.checkpoint)],
            remarks=placed.remarks,
            fill=fill,
            model=model,
        )
        if dry_run:
            memory = estimate_backfill_memory(plans, request, texts=texts)
            return replace(planned, dry_run=True, memory_bytes=memory)
        return backfill_rows.write_grown(
            file, opened[0], request, planned, device=chosen_device, progress=progress, reports=reports, force=force
        )


def _paths(given: Paths) -> tuple[Path, ...]:
    return (Path(given),) if isinstance(given, str | Path) else tuple(Path(path) for path in given)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
