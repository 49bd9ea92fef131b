"""Write the tables of a checkpoint or an artifact in a form that another program serves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from embcompress.artifact.atomic_file import check_output
from embcompress.artifact.limits import check_expansion
from embcompress.artifact.output import Output, beside, plan_folder
from embcompress.artifact.reader import Artifact, is_artifact, read_artifact
from embcompress.checkpoints import Checkpoint, StoredTensor, open_checkpoint
from embcompress.checkpoints.row_labels import attach_labels
from embcompress.choices import DEFAULT_NEIGHBOURS, EXPORT_KINDS
from embcompress.commands.export_rows import Quantization
from embcompress.commands.run import (
    check_neighbours,
    check_reports,
    check_seed,
    inputs_of,
    resolve_device,
)
from embcompress.evaluation.gates import read_conditions
from embcompress.exceptions import TableError, UsageError
from embcompress.exports.quantized import KINDS
from embcompress.exports.quantized.kind import Kind
from embcompress.exports.quantized.source import ExportSource, SourceTable, open_source, without
from embcompress.results import ExportResult, Skipped
from embcompress.tables.own_labels import add_own_labels
from embcompress.tables.progress import Progress
from embcompress.tables.row_info import read_row_info
from embcompress.tables.selection import as_patterns
from embcompress.tables.source import TableSource
from embcompress.text import did_you_mean, named, quoted


def export(
    path: str | Path,
    to: str,
    *,
    original: str | Path | None = None,
    output: str | Path | None = None,
    table: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
    row_weights: str | Path | None = None,
    labels: str | Path | None = None,
    neighbours: int = DEFAULT_NEIGHBOURS,
    fail_if: Sequence[str] | str = (),
    device: str = "auto",
    seed: int = 0,
    report: Sequence[str | Path] | str | Path = (),
    force: bool = False,
    dry_run: bool = False,
    allow_expansion: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Write the tables of a checkpoint or an artifact in a form that another program serves, and measure the error.

    Goes over the rows of each table once; holds a block of them. Every row is rounded by itself, with the scales that
    leave the least squared error, so that row weights change what is measured and not how rows are rounded.

    Args:
        path: a file or folder of any form that is read, or an artifact, whose rows are decoded block by block.
        to: a key of EXPORT_KINDS.
        original: the checkpoint that an artifact was made of, to measure the error against; None: against the rows
            that are rounded.
        output: default `<stem>-<kind>` with the ending of the form, beside the input.
        table: shell patterns of the tables to take; empty: those recognised by name and shape, of an artifact those
            that are compressed.
        exclude: shell patterns of the tables to leave.
        row_weights: a file with how much the error of each row counts.
        labels: a file with the labels of the rows, for row weights by label and for the report. Default, for the
            report alone: those that the input brings along.
        neighbours: rows of each table whose nearest rows are looked for among all rows, before and after; 0 for none.
        fail_if: conditions on the report that must not hold, such as "error.relative > 0.05". Where one does, the
            output is withheld, and an old one stays.
        device: "auto", "cpu", "cuda" or "cuda:N".
        seed: of the rows whose neighbours are looked for.
        report: files to write the report to, each ending choosing a renderer; default `<output stem>.report.json`.
        force: overwrite existing outputs.
        dry_run: make all checks, tell sizes and memory, and write nothing.
        allow_expansion: read an artifact whose tables claim to be far larger than it (`EXPANSION_MAX` times), too.
        progress: called with what is being done, rows done, rows in all and bytes of a row.

    Raises:
        UsageError: an argument outside its range.
        CheckpointError, ArtifactError: the input is not readable.
        TableError: no table that the form can hold, one named in full that it cannot, or NaN or infinity.
        OutputError, DeviceError: as for `approximate`.
    """
    kind = _find_kind(to)
    check_seed(seed)
    check_neighbours(neighbours)
    conditions = read_conditions(ExportResult, fail_if=fail_if, baseline=None, max_regression=None)
    with ExitStack() as stack:
        opened = stack.enter_context(open_checkpoint(path))
        artifact = check_expansion(read_artifact(opened), is_allowed=allow_expansion) if is_artifact(opened) else None
        checkpoint = opened if artifact else attach_labels(opened)
        reference = None if original is None else stack.enter_context(open_checkpoint(original))
        source = _choose(checkpoint, artifact, to, table=table, exclude=exclude)
        originals = {} if reference is None else _find_originals(reference, source, is_of_artifact=artifact is not None)
        inputs = inputs_of(checkpoint, *([reference] if reference else []), others=(row_weights, labels))
        planned = _plan_output(output, checkpoint, kind, force=force, inputs=inputs)
        reports = check_reports(report, output=planned.target, force=force, inputs=inputs, is_folder=kind.is_folder)
        chosen_device = resolve_device(device, dry_run=dry_run)
        chosen = [one.table for one in source.tables]
        facts = read_row_info(row_weights=row_weights, labels=labels, tables=lambda: chosen, files=checkpoint.files)
        if labels is None:
            facts = add_own_labels(facts, checkpoint, chosen)
        facts.check(chosen, path=row_weights)
        quantization = Quantization(
            kind,
            to,
            source,
            TableSource(checkpoint, chosen_device, seed, progress, facts),
            reference=reference,
            originals=originals,
            neighbours=neighbours,
            conditions=conditions,
            output=planned,
        )
        return quantization.plan() if dry_run else quantization.run(reports)


def _find_kind(to: str) -> Kind:
    if to not in KINDS:
        raise UsageError(
            f"--to must be one of {', '.join(EXPORT_KINDS)}; got {to!r}.",
            hint=did_you_mean(to, EXPORT_KINDS) or "`embcompress reconstruct` writes dense checkpoints.",
        )
    return KINDS[to]


def _plan_output(
    output: str | Path | None, checkpoint: Checkpoint, kind: Kind, *, force: bool, inputs: Sequence[Path]
) -> Output:
    if kind.is_folder:
        return plan_folder(output, source=checkpoint, ending=kind.ending, force=force, inputs=inputs)
    target = Path(output) if output else beside(checkpoint.name, kind.ending)
    return Output(target, check_output(target, force=force, inputs=inputs), force)


def _choose(
    checkpoint: Checkpoint,
    artifact: Artifact | None,
    to: str,
    *,
    table: Sequence[str] | str,
    exclude: Sequence[str] | str,
) -> ExportSource:
    """Choose the tables; those that the form cannot hold are left, and it is said why.

    Raises:
        TableError: one of them was named in full, or no other is left.
    """
    source = open_source(checkpoint, artifact, table=table, exclude=exclude)
    unfit = {one.table.name: why for one in source.tables if (why := _why_unfit(one, to))}
    wrong = [name for name in unfit if name in as_patterns(table)] or list(unfit)[: len(unfit) == len(source.tables)]
    if wrong:
        one = next(one for one in source.tables if one.table.name == wrong[0])
        others = [other for other in KINDS if not _why_unfit(one, other)]
        raise TableError(
            f"table {wrong[0]!r} of {checkpoint.path} does not fit --to {to}: it {unfit[wrong[0]]}.",
            hint=f"Kinds that hold it: {', '.join(others)}."
            if others
            else f"`embcompress inspect {quoted(checkpoint.path)}` lists the tables; --table chooses others.",
        )
    what = "left as it is" if artifact is None else "left out"
    skipped = tuple(Skipped(name, f"{why}: {what}") for name, why in unfit.items())
    return without(source, unfit, skipped, is_dense=artifact is None)


def _why_unfit(one: SourceTable, to: str) -> str:
    return "holds matrices, each factored by itself" if one.is_bilinear else KINDS[to].why_unfit(one)


def _find_originals(reference: Checkpoint, source: ExportSource, *, is_of_artifact: bool) -> dict[str, StoredTensor]:
    """Find the tables in the checkpoint that an artifact was made of, by their names.

    Raises:
        UsageError: no artifact is exported, or the original is one.
        TableError: it lacks a table, or has another of its name.
    """
    if not is_of_artifact or is_artifact(reference):
        is_swapped = is_artifact(reference)
        raise UsageError(
            f"--original {reference.path} is an artifact itself: name the checkpoint that it was made of."
            if is_swapped
            else f"--original goes with an artifact; {source.checkpoint.path} is none, and its error is measured "
            "against its own rows.",
            hint="" if is_swapped else "Leave --original out.",
        )
    stored = {tensor.name: tensor for tensor in reference.tensors}
    originals = {}
    for one in source.tables:
        tensor = stored.get(one.table.name)
        if tensor is None or tensor.shape != one.table.stored.shape or tensor.dtype != one.table.dtype:
            what = "none" if tensor is None else f"{tensor.dtype} of shape {tensor.shape}"
            raise TableError(
                f"--original {reference.path} should hold {one.table.name!r} as {one.table.dtype} of shape "
                f"{one.table.stored.shape}, and holds {what}.",
                hint=f"Name the checkpoint that the artifact was made of; this one holds {named(list(stored))}.",
            )
        originals[one.table.name] = tensor
    return originals
