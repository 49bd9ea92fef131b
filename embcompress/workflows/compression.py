"""Compress the tables of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact import CompressedTable, artifact_metadata, is_artifact, widest_metadata
from embcompress.checkpoints import Checkpoint, StoredTensor, open_checkpoint
from embcompress.exceptions import TableError, UsageError
from embcompress.linalg.solvers import SOLVERS
from embcompress.output import check_output
from embcompress.planning import STORED_DTYPES, choose_solver, estimate_memory, plan_tables, quoted
from embcompress.results import ApproximateResult, InputFile, OutputFile, Skipped, TableReport, Totals
from embcompress.safetensors_writer import Entry, SafetensorsWriter, copied_entry
from embcompress.table import read_bytes
from embcompress.workflows.encoding import make_encoding
from embcompress.workflows.run import (
    Progress,
    check_reports,
    check_seed,
    check_space,
    left_out,
    resolve_device,
    write_reports,
)


def approximate(
    path: str | Path,
    *,
    bases: int,
    output: str | Path | None = None,
    dtype: str = "same",
    table: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
    bilinear: Sequence[str] | str = (),
    bilinear_shape: tuple[int, int] | None = None,
    solver: str = "auto",
    device: str = "auto",
    seed: int = 0,
    report: Sequence[str | Path] | str | Path = (),
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ApproximateResult:
    """Compress the embedding tables of a checkpoint to bases and weights, and measure the error of what is stored.

    Goes over the rows of each table twice, more often where its spectrum demands it (the report says why); memory
    does not grow with the number of rows.

    Args:
        path: a safetensors file, or any zip-format file of torch.save.
        bases: the number of bases of every table, at least 1.
        output: default `<stem>-compressed.safetensors` beside the input.
        dtype: what the factors are stored in, one of STORED_DTYPES.
        table: shell patterns of the tables to take; empty: those recognised by name and shape.
        exclude: shell patterns of the tables to leave dense.
        bilinear: shell patterns of the tables of which each matrix is factored by itself, into A B^T with `bases`
            columns.
        bilinear_shape: (in1, in2) of these matrices, where rows are flat and neither the checkpoint nor its other
            tables tell.
        solver: a key of SOLVERS, or "auto".
        device: "auto", "cpu", "cuda" or "cuda:N".
        seed: of the randomized solver's start.
        report: files to write the report to, each ending choosing a renderer; default `<output stem>.report.json`.
        force: overwrite existing outputs.
        dry_run: make all checks, tell sizes and memory, read no row and write nothing.
        progress: called with what is being done, rows done and rows in all.

    Raises:
        UsageError: an argument outside its range.
        CheckpointError: the input is not readable.
        TableError: no table, a rank that a table named in full does not have, NaN or infinity.
        OutputError: the output exists, is the input, cannot be written, or the disk is full.
        DeviceError: the device is not there.
    """
    _check_choices(bases=bases, dtype=dtype, solver=solver, seed=seed)
    if bilinear_shape is not None and (not bilinear or len(bilinear_shape) != 2 or min(bilinear_shape) < 1):
        raise UsageError("--bilinear-shape takes two sides of at least 1, and goes with --bilinear.")
    source = Path(path)
    target = Path(output) if output else source.with_name(f"{source.stem}-compressed.safetensors")
    with open_checkpoint(source) as checkpoint:
        if is_artifact(checkpoint):
            raise TableError(
                f"{source} is compressed already.",
                hint=f"Compress the original, or restore one with `embcompress reconstruct {quoted(source)}`.",
            )
        plan = plan_tables(
            checkpoint,
            bases=bases,
            dtype=dtype,
            table=table,
            exclude=exclude,
            bilinear=bilinear,
            bilinear_shape=bilinear_shape,
        )
        resolved = check_output(target, force=force, inputs=[source])
        reports = check_reports(report, output=target, force=force, inputs=[source])
        left = (*left_out(checkpoint), *plan.skipped)
        place = resolve_device(device, dry_run=dry_run)
        choices = [choose_solver(planned, solver=solver, device=place) for planned in plan.tables]
        encodings = [
            make_encoding(planned, choice, checkpoint=checkpoint, device=place, seed=seed, progress=progress)
            for planned, choice in zip(plan.tables, choices, strict=True)
        ]
        compressed = [encoding.compressed for encoding in encodings]
        original = checkpoint.listing.metadata
        if dry_run:
            own = [entry for encoding in encodings for entry in encoding.planned_entries()]
            copied = _copied(checkpoint, compressed)
            entries = [*own, *copied]
            metadata = widest_metadata(compressed, entries=entries, original=original)
            size = SafetensorsWriter(resolved, entries, metadata=metadata).nbytes
            check_space(resolved, size)
            tables = [encoding.report() for encoding in encodings]
            return _approximate_result(
                checkpoint, OutputFile(str(target), None, size), tables, left, memory=estimate_memory(plan, choices)
            )
        own = [entry for encoding in encodings for entry in encoding.fit()]
        copied = _copied(checkpoint, compressed)
        entries = [*own, *copied]
        metadata = widest_metadata(compressed, entries=entries, original=original)
        with SafetensorsWriter(resolved, entries, metadata=metadata, force=force) as writer:
            check_space(resolved, writer.nbytes)
            errors = [encoding.write(writer) for encoding in encodings]
            for entry, stored in copied.items():
                writer.write(entry, read_bytes(stored, file=checkpoint.file))
            measured = [replace(one, error=error) for one, error in zip(compressed, errors, strict=True)]
            metadata = artifact_metadata(measured, checksums=writer.checksums, original=original)
            output_file = OutputFile(str(target), writer.finish(metadata), writer.nbytes)
            tables = [encoding.report() for encoding in encodings]
            result = _approximate_result(checkpoint, output_file, tables, left)
            write_reports(result, reports, force=force, before=writer.commit)
    return result


def _copied(checkpoint: Checkpoint, compressed: Sequence[CompressedTable]) -> dict[Entry, StoredTensor]:
    """List everything that is no compressed table, under its own name."""
    taken = {name for table in compressed for name in (table.name, *table.tied_names)}
    return {copied_entry(stored): stored for stored in checkpoint.tensors if stored.name not in taken}


def _check_choices(*, bases: int, dtype: str, solver: str, seed: int) -> None:
    if bases < 1:
        raise UsageError(f"--bases must be at least 1; got {bases}.")
    if dtype not in STORED_DTYPES:
        raise UsageError(f"--dtype must be one of {', '.join(STORED_DTYPES)}; got {dtype!r}.")
    if solver != "auto" and solver not in SOLVERS:
        raise UsageError(f"--solver must be auto or one of {', '.join(SOLVERS)}; got {solver!r}.")
    check_seed(seed)


def _approximate_result(
    checkpoint: Checkpoint,
    output: OutputFile,
    tables: Sequence[TableReport],
    skipped: Sequence[Skipped],
    *,
    memory: int | None = None,
) -> ApproximateResult:
    before = sum(table.bytes_before for table in tables)
    after = sum(table.bytes_after for table in tables)
    return ApproximateResult(
        command="approximate",
        input=InputFile(str(checkpoint.path), checkpoint.nbytes),
        output=output,
        tables=tuple(tables),
        skipped=tuple(skipped),
        totals=Totals(before, after, before / after),
        dry_run=memory is not None,
        memory_bytes=memory,
    )
