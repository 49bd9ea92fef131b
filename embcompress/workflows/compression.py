"""Compress the tables of a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embcompress.artifact import (
    CompressedTable,
    artifact_metadata,
    factor_dtypes,
    factor_entries,
    is_artifact,
    widest_metadata,
)
from embcompress.checkpoints import Checkpoint, open_checkpoint
from embcompress.exceptions import NonFiniteError, TableError, UsageError
from embcompress.linalg.solvers import SOLVERS, SolverChoice
from embcompress.output import check_output
from embcompress.planning import (
    STORED_DTYPES,
    PlannedTable,
    choose_solver,
    estimate_memory,
    plan_tables,
    quoted,
)
from embcompress.results import (
    ApproximateResult,
    Cosine,
    InputFile,
    OutputFile,
    RowRelative,
    Skipped,
    TableErrorReport,
    TableReport,
    Totals,
    WorstRow,
)
from embcompress.safetensors_writer import Entry, SafetensorsWriter, copied_entry
from embcompress.table import read_bytes, tensor_bytes
from embcompress.workflows.run import (
    Progress,
    check_reports,
    check_space,
    left_out,
    resolve_device,
    rows_of,
    write_reports,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from embcompress.linalg.error import ErrorAccumulator
    from embcompress.linalg.error import TableError as MeasuredError
    from embcompress.linalg.svd import Factorization

STORING_ERROR: Mapping[str, float] = {"float64": 1e-13, "float32": 3e-7, "float16": 1.2e-3, "bfloat16": 1e-2}
# Relative error that rounding to the stored dtype costs at most: digits below it are not asked of a solver.
ROUNDING: Mapping[str, float] = {"float64": 1e-16, "float32": 1e-7, "float16": 3e-4, "bfloat16": 2e-3}
# and what it costs typically: an error is never measured to be much smaller.

SEED_MAX = 2**63 - 1  # what torch's generators take on every device


@dataclass
class _Work:
    """A table on its way: planned, then factored, then written."""

    planned: PlannedTable
    factors: Factorization
    bases: Tensor  # (rank, dim), real, as stored
    compressed: CompressedTable
    entries: tuple[Entry, Entry]  # bases, weights
    remarks: tuple[str, ...]
    passes: int
    error: ErrorAccumulator
    seconds: float


def approximate(
    path: str | Path,
    *,
    bases: int,
    output: str | Path | None = None,
    dtype: str = "same",
    table: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
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
    source = Path(path)
    target = Path(output) if output else source.with_name(f"{source.stem}-compressed.safetensors")
    with open_checkpoint(source) as checkpoint:
        if is_artifact(checkpoint):
            raise TableError(
                f"{source} is compressed already.",
                hint=f"Compress the original, or restore one with `embcompress reconstruct {quoted(source)}`.",
            )
        plan = plan_tables(checkpoint, bases=bases, dtype=dtype, table=table, exclude=exclude)
        resolved = check_output(target, force=force, inputs=[source])
        reports = check_reports(report, output=target, force=force, source=source)
        compressed = tuple(_compressed(planned) for planned in plan.tables)
        left = (*left_out(checkpoint), *plan.skipped)
        place = resolve_device(device, dry_run=dry_run)
        if dry_run:
            choices = [choose_solver(planned, solver=solver, device=place) for planned in plan.tables]
            dtypes = [factor_dtypes(planned.table.dtype, planned.stored_dtype) for planned in plan.tables]
            pairs = [
                factor_entries(one, bases_dtype=of_bases, weights_dtype=of_weights)
                for one, (of_bases, of_weights) in zip(compressed, dtypes, strict=True)
            ]
            entries = _all_entries(checkpoint, compressed, pairs)
            metadata = widest_metadata(compressed, entries=entries, original=checkpoint.listing.metadata)
            size = SafetensorsWriter(resolved, entries, metadata=metadata).nbytes
            check_space(resolved, size)
            tables = [_planned_report(*pair) for pair in zip(plan.tables, choices, strict=True)]
            return _approximate_result(
                checkpoint, OutputFile(str(target), None, size), tables, left, memory=estimate_memory(plan, choices)
            )
        works = []
        for planned, one in zip(plan.tables, compressed, strict=True):
            choice = choose_solver(planned, solver=solver, device=place)
            works.append(
                _factorize(planned, one, choice, checkpoint=checkpoint, device=place, seed=seed, progress=progress)
            )
        entries = _all_entries(checkpoint, compressed, [work.entries for work in works])
        metadata = widest_metadata(compressed, entries=entries, original=checkpoint.listing.metadata)
        with SafetensorsWriter(resolved, entries, metadata=metadata, force=force) as writer:
            check_space(resolved, writer.nbytes)
            _write_entries(writer, works, checkpoint=checkpoint, device=place, progress=progress)
            tables = [_measured_report(work) for work in works]
            measured = [replace(work.compressed, error=work.error.result().relative) for work in works]
            sha256 = writer.finish(
                artifact_metadata(measured, checksums=writer.checksums, original=checkpoint.listing.metadata)
            )
            result = _approximate_result(checkpoint, OutputFile(str(target), sha256, writer.nbytes), tables, left)
            write_reports(result, reports, force=force, before=writer.commit)
    return result


def _check_choices(*, bases: int, dtype: str, solver: str, seed: int) -> None:
    if bases < 1:
        raise UsageError(f"--bases must be at least 1; got {bases}.")
    if dtype not in STORED_DTYPES:
        raise UsageError(f"--dtype must be one of {', '.join(STORED_DTYPES)}; got {dtype!r}.")
    if solver != "auto" and solver not in SOLVERS:
        raise UsageError(f"--solver must be auto or one of {', '.join(SOLVERS)}; got {solver!r}.")
    if not 0 <= seed <= SEED_MAX:
        raise UsageError(f"--seed must be 0..{SEED_MAX}; got {seed}.")


def _compressed(planned: PlannedTable) -> CompressedTable:
    item = planned.table
    return CompressedTable(
        name=item.name,
        tied_names=item.tied_names,
        shape=item.stored.shape,
        dtype=item.dtype,
        rank=planned.rank,
        error=None,
    )


def _all_entries(
    checkpoint: Checkpoint, compressed: Sequence[CompressedTable], pairs: Sequence[tuple[Entry, Entry]]
) -> list[Entry]:
    """List what goes into the artifact: the factors of each table, then everything else under its own name."""
    taken = {name for table in compressed for name in (table.name, *table.tied_names)}
    copied = [copied_entry(stored) for stored in checkpoint.tensors if stored.name not in taken]
    return [entry for pair in pairs for entry in pair] + copied


def _factorize(
    planned: PlannedTable,
    compressed: CompressedTable,
    choice: SolverChoice,
    *,
    checkpoint: Checkpoint,
    device: str,
    seed: int,
    progress: Progress | None,
) -> _Work:
    """Compute the bases of a table, as they will be stored, and settle the dtype of its weights."""
    import torch

    from embcompress.linalg.error import ErrorAccumulator
    from embcompress.linalg.projection import fitting_dtype, largest_weight
    from embcompress.linalg.svd import factorize

    started = time.perf_counter()
    item = planned.table
    rows = rows_of(item.stored, checkpoint, device=device, progress=progress, doing=f"{item.name}: bases")
    tolerance = STORING_ERROR[planned.stored_dtype]
    try:
        factors = factorize(rows, planned.rank, solver=choice.name, tolerance=tolerance, seed=seed)
    except NonFiniteError as err:
        raise NonFiniteError(f"{checkpoint.path}: {err.message}", hint=err.hint) from err
    stored_dtype = getattr(torch, planned.stored_dtype)
    stored_bases = factors.bases.to(stored_dtype)  # (rank, dim)
    remarks, passes = factors.remarks, factors.passes
    bases_dtype, weights_dtype = factor_dtypes(item.dtype, planned.stored_dtype)
    # |weight| <= the largest singular value, so that most tables need no look at the weights before they are written.
    if float(factors.singular_values[0]) >= torch.finfo(stored_dtype).max / 2:
        largest = largest_weight(rows, stored_bases)
        passes += 1
        why = f"the rows were read once more, to see whether weights fit into {weights_dtype}"
        fitting = str(fitting_dtype(getattr(torch, weights_dtype), largest=largest)).removeprefix("torch.")
        if fitting != weights_dtype:
            weights_dtype = fitting
            why = f"weights are stored as {weights_dtype}: the largest, {largest:.3g}, overflows {planned.stored_dtype}"
        remarks += (why,)
    return _Work(
        planned=planned,
        factors=factors,
        bases=stored_bases,
        compressed=compressed,
        entries=factor_entries(compressed, bases_dtype=bases_dtype, weights_dtype=weights_dtype),
        remarks=(choice.reason, *remarks),
        passes=passes + 1,
        error=ErrorAccumulator(),
        seconds=time.perf_counter() - started,
    )


def _write_entries(
    writer: SafetensorsWriter,
    works: Sequence[_Work],
    *,
    checkpoint: Checkpoint,
    device: str,
    progress: Progress | None,
) -> None:
    owners = {entry: work for work in works for entry in work.entries}
    stored = {tensor.name: tensor for tensor in checkpoint.tensors}
    for entry in writer.entries:
        work = owners.get(entry)
        started = time.perf_counter()
        if work is None:
            writer.write(entry, read_bytes(stored[entry.name], file=checkpoint.file))
        elif entry is work.entries[0]:
            writer.write(entry, [tensor_bytes(work.bases)])
        else:
            writer.write(entry, _weights(work, checkpoint=checkpoint, device=device, progress=progress))
        if work is not None:
            work.seconds += time.perf_counter() - started


def _weights(work: _Work, *, checkpoint: Checkpoint, device: str, progress: Progress | None) -> Iterator[memoryview]:
    """Yield the weights of a table as stored, and measure their error on the way."""
    import torch

    from embcompress.linalg.projection import measuring_dtype, project

    item = work.planned.table
    weights_dtype: torch.dtype = getattr(torch, work.entries[1].dtype)
    rows = rows_of(item.stored, checkpoint, device=device, progress=progress, doing=f"{item.name}: weights")
    measured_in = measuring_dtype(
        relative=max(work.factors.relative, ROUNDING[work.planned.stored_dtype]),
        norm=work.factors.squared_norm**0.5,
        dtypes=(rows.dtype, work.bases.dtype, weights_dtype),
    )
    for weights in project(rows, work.bases, weights_dtype=weights_dtype, measured_in=measured_in, error=work.error):
        yield tensor_bytes(weights)


def _planned_report(planned: PlannedTable, choice: SolverChoice) -> TableReport:
    item = planned.table
    return TableReport(
        name=item.name,
        tied_names=item.tied_names,
        rows=item.rows,
        shape=item.shape,
        dtype=item.dtype,
        kind="embedding",
        rank=planned.rank,
        coding="plain",
        solver=choice.name,
        solver_reason=choice.reason,
        passes=0,
        bytes_before=item.nbytes,
        bytes_after=planned.bytes_after,
        error=None,
        seconds=0.0,
    )


def _measured_report(work: _Work) -> TableReport:
    planned = work.planned
    return replace(
        _planned_report(planned, SolverChoice(work.factors.solver, "; ".join(work.remarks))),
        passes=work.passes,
        bytes_after=sum(entry.nbytes for entry in work.entries),
        error=_error_report(work.error.result(), work.factors.optimal_relative),
        seconds=work.seconds,
    )


def _error_report(error: MeasuredError, optimal_relative: float | None) -> TableErrorReport:
    return TableErrorReport(
        relative=error.relative,
        optimal_relative=optimal_relative,
        row_relative=RowRelative(
            mean=error.row_relative.mean,
            p50=error.row_relative.median,
            p99=error.row_relative.tail,
            max=error.row_relative.extreme,
        ),
        cosine=Cosine(mean=error.cosine.mean, p01=error.cosine.tail, min=error.cosine.extreme),
        worst_rows=tuple(WorstRow(row.id, None, row.relative) for row in error.worst_rows),
    )


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
