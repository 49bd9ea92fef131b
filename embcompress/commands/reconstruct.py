"""Multiply an artifact out again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.atomic_file import AtomicFile, check_output, hash_file
from embcompress.artifact.limits import check_expansion
from embcompress.artifact.output import DENSE_STEM, Output, beside, plan_output
from embcompress.artifact.reader import Artifact, read_artifact
from embcompress.artifact.schema import CompressedTable
from embcompress.artifact.writer import Entry, copied_entry, file_bytes
from embcompress.checkpoints import StoredTensor, open_checkpoint
from embcompress.checkpoints.row_labels import LABELS_SUFFIX, OFFSETS_SUFFIX, read_own_labels
from embcompress.choices import DENSE_FORMS, WORD_ENDS
from embcompress.commands.memory import estimate_reconstruct_memory
from embcompress.commands.run import (
    check_reports,
    check_space,
    inputs_of,
    planned_file,
    read_shard_size,
    refuse_existing,
    resolve_device,
    write_reports,
)
from embcompress.exceptions import IdsError, UsageError
from embcompress.results import InputFile, ReconstructResult, Skipped
from embcompress.tables.progress import Progress
from embcompress.text import did_you_mean, find_fault, named

SAFETENSORS = "safetensors"
ONE_TABLE = ("npy", "word2vec", "word2vec-binary", "glove")
MEMBER_BYTES = 1024  # about, of what an archive of torch or NumPy has for each tensor beside its values
WORD_BYTES = 16  # about, of a word before its row
TEXT_BYTES = 11  # about, of a float32 as text with a blank


def reconstruct(
    path: str | Path,
    *,
    output: str | Path | None = None,
    to: str | None = None,
    max_shard_size: int | str | None = None,
    device: str = "auto",
    report: Sequence[str | Path] | str | Path = (),
    force: bool = False,
    dry_run: bool = False,
    allow_expansion: bool = False,
    progress: Progress | None = None,
) -> ReconstructResult:
    """Write the dense checkpoint of an artifact again: the names, shapes and dtypes of the original.

    A table that had several names is written under each, and one that was cut into shards as these, so that its state
    dict loads with strict=True.

    Args:
        path: an artifact: a file, or a folder of one.
        output: default `<stem>-dense` with the ending of the form, beside the input.
        to: a key of DENSE_FORMS; None: the form of the original where it is one of them, else safetensors. "npy" and
            word vectors hold one table alone.
        max_shard_size: bytes of the tensors of one file of a folder, or a text such as "5GB".
        device: "auto", "cpu", "cuda" or "cuda:N".
        report: files to write the report to; default `<output stem>.report.json`.
        force: overwrite existing outputs.
        dry_run: make all checks and write nothing.
        allow_expansion: read an artifact whose tables claim to be far larger than it (`EXPANSION_MAX` times), too.
        progress: called with what is being done, rows done, rows in all and bytes of a row.

    Raises:
        ArtifactError: not an artifact, or a stored tensor does not have the checksum of the header.
        UsageError: a form that does not hold what the artifact has.
        CheckpointError, OutputError, DeviceError: as for `approximate`.
    """
    if to is not None and to not in DENSE_FORMS:
        raise UsageError(
            f"--to must be one of {', '.join(DENSE_FORMS)}; got {to!r}.",
            hint=did_you_mean(to, DENSE_FORMS) or "What torch.save writes is bin.",
        )
    with open_checkpoint(path) as checkpoint, ExitStack() as stack:
        artifact, inputs = check_expansion(read_artifact(checkpoint), is_allowed=allow_expansion), inputs_of(checkpoint)
        form, warnings = _choose_form(artifact, to)
        shard_bytes = read_shard_size(max_shard_size)
        if form == SAFETENSORS:
            planned = plan_output(
                output,
                source=checkpoint,
                ending="-dense",
                stem=DENSE_STEM,
                max_shard_bytes=shard_bytes,
                force=True,
                inputs=inputs,
            )
            planned = replace(planned, force=force)
        else:
            if shard_bytes is not None:
                raise UsageError(f"--max-shard-size cuts safetensors files, and --to {form} writes one file.")
            target = Path(output) if output else beside(checkpoint.name, f"-dense{DENSE_FORMS[form]}")
            planned = Output(target, check_output(target, force=True, inputs=inputs), force)
        reports = check_reports(
            report, output=planned.target, force=True, inputs=inputs, is_folder=planned.form is not None
        )
        chosen_device = resolve_device(device, dry_run=dry_run)
        dense = _dense_tables(artifact)
        _check_one_table(form, dense)
        copied = {copied_entry(stored): stored for stored in artifact.copied}
        skipped = _left_behind(form, artifact, copied)
        metadata = {"format": "pt", **artifact.original.metadata}
        entries = (*dense, *copied)
        nbytes = file_bytes(entries, metadata) if form == SAFETENSORS else _count_bytes(form, dense, entries)
        check_space(planned.resolved, nbytes)
        result = ReconstructResult(
            command="reconstruct",
            input=InputFile(checkpoint.name, checkpoint.nbytes),
            output=planned_file(planned.target, nbytes),
            tables=tuple(table.name for table in artifact.tables),
            tensors=1 if form in ONE_TABLE else len(entries),
            skipped=skipped,
            warnings=warnings,
            dry_run=dry_run,
            memory_bytes=estimate_reconstruct_memory(artifact.tables) if dry_run else None,
        )
        if dry_run:
            return result
        refuse_existing([planned.target, *(path for path, _ in reports)], force=force)

        from embcompress.commands import reconstruct_rows

        model = reconstruct_rows.read_model(artifact, dense, copied, device=chosen_device, progress=progress)
        if form == SAFETENSORS:
            writer = stack.enter_context(planned.writer(entries, metadata))
            for entry in writer.entries:
                writer.write(entry, model.read(entry))
            sha256, nbytes, commit = writer.finish(metadata), writer.nbytes, writer.commit
        else:
            file = stack.enter_context(AtomicFile(planned.resolved, force=force))
            reconstruct_rows.export(model, form, file)
            sha256, nbytes, commit = hash_file(file.path), file.path.stat().st_size, file.commit
        result = replace(result, output=replace(result.output, sha256=sha256, bytes=nbytes, overwrites=False))
        write_reports(result, reports, force=force, before=commit)
    return result


def _choose_form(artifact: Artifact, to: str | None) -> tuple[str, tuple[str, ...]]:
    """Choose the form that is written, and say why where it is not that of the original.

    Raises:
        IdsError: words were asked for, and a label cannot be one.
    """
    form = to or (artifact.original.form if artifact.original.form in DENSE_FORMS else SAFETENSORS)
    if form not in WORD_ENDS:
        return form, ()
    for table in artifact.tables:
        fault = find_fault(read_own_labels(artifact.checkpoint, table.name, rows=table.rows), ends=WORD_ENDS[form])
        if fault and to is not None:
            raise IdsError(
                f"--to {form} writes a word before each row, and {fault} in {table.name!r}.",
                hint="--to safetensors, npz or npy keep such rows.",
            )
        if fault:
            return SAFETENSORS, (f"written as safetensors, not as {form} like the original: {fault} in {table.name}",)
    return form, ()


def _dense_tables(artifact: Artifact) -> dict[Entry, CompressedTable]:
    """List the tensors that are multiplied out, in the order of rows: tables by all their names, or their shards."""
    dense = {}
    for table in artifact.tables:
        for name, rows in table.shards or ((table.name, table.rows),):
            dense[Entry(name, table.dtype, (rows, *table.shape))] = table
        for name in table.tied_names:
            dense[Entry(name, table.dtype, table.dense_shape)] = table
    return dense


def _check_one_table(form: str, dense: Mapping[Entry, CompressedTable]) -> None:
    """Check that a form of one table holds what an artifact has.

    Raises:
        UsageError: there are several tables, or it is no matrix of real numbers.
    """
    if form not in ONE_TABLE:
        return
    tables = [entry for entry, table in dense.items() if table.shards or entry.name not in table.tied_names]
    if len(tables) != 1:
        raise UsageError(
            f"--to {form} holds one table, and the artifact has {len(tables)}: "
            f"{named([entry.name for entry in tables])}.",
            hint="--to npz or safetensors hold them all.",
        )
    if len(tables[0].shape) != 2 or tables[0].dtype.startswith("complex"):
        raise UsageError(
            f"--to {form} holds a matrix of real numbers, and {tables[0].name!r} is {tables[0].dtype} of shape "
            f"{tables[0].shape}.",
            hint="--to npz or safetensors hold it.",
        )


def _left_behind(form: str, artifact: Artifact, copied: Mapping[Entry, StoredTensor]) -> tuple[Skipped, ...]:
    """Say which tensors a form of one table does not hold; labels are not among them where it has words."""
    if form not in ONE_TABLE:
        return ()
    labels = {table.name + suffix for table in artifact.tables for suffix in (LABELS_SUFFIX, OFFSETS_SUFFIX)}
    names = [entry.name for entry in copied if form == "npy" or entry.name not in labels]
    return tuple(Skipped(name, f"--to {form} holds one table and nothing else") for name in names)


def _count_bytes(form: str, dense: Mapping[Entry, CompressedTable], entries: Sequence[Entry]) -> int:
    """Estimate the bytes of a form other than safetensors."""
    if form not in ONE_TABLE:
        return sum(entry.nbytes + MEMBER_BYTES for entry in entries)
    if form == "npy":
        return sum(entry.nbytes for entry in dense) + MEMBER_BYTES
    item_bytes = 4 if form == "word2vec-binary" else TEXT_BYTES
    return sum(entry.shape[0] * WORD_BYTES + math.prod(entry.shape) * item_bytes for entry in dense)
