"""Compress the tables of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any

from embcompress.artifact.output import ARTIFACT_STEM, Output, plan_output
from embcompress.checkpoints import Checkpoint, open_checkpoint
from embcompress.checkpoints.row_labels import attach_labels
from embcompress.choices import DEFAULT_NEIGHBOURS, STORED_DTYPES
from embcompress.commands.memory import estimate_neighbour_memory
from embcompress.commands.run import (
    check_neighbours,
    check_reports,
    check_seed,
    check_space,
    inputs_of,
    left_out,
    planned_file,
    read_shard_size,
    refuse_compressed,
    refuse_existing,
    resolve_device,
)
from embcompress.commands.unrecognised import Unrecognised
from embcompress.compression.artifact_file import ArtifactFile, approximate_result
from embcompress.compression.budget import EFFORTS, Budget, choose_budget
from embcompress.compression.memory import estimate_memory
from embcompress.compression.plan import Plan, choose_solver, describe, plan_tables, planned_entries, planned_report
from embcompress.evaluation.gates import read_conditions
from embcompress.evaluation.grading import read_thresholds
from embcompress.exceptions import UsageError
from embcompress.linalg.solvers import SOLVERS, SolverChoice
from embcompress.results import ApproximateResult
from embcompress.tables.own_labels import add_own_labels
from embcompress.tables.progress import Progress
from embcompress.tables.row_info import read_row_info
from embcompress.tables.selection import choose_tables
from embcompress.tables.table import Table
from embcompress.tables.unrecognised import find_unrecognised
from embcompress.text import did_you_mean


def approximate(
    path: str | Path,
    *,
    bases: int | None = None,
    energy: float | None = None,
    max_error: float | None = None,
    ratio: float | None = None,
    max_size: int | str | None = None,
    plain: bool = False,
    effort: str = EFFORTS[0],
    fixed_rows: bool = False,
    seekable: bool = False,
    output: str | Path | None = None,
    dtype: str = "same",
    table: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
    bilinear: Sequence[str] | str = (),
    bilinear_shape: tuple[int, int] | None = None,
    row_weights: str | Path | None = None,
    labels: str | Path | None = None,
    solver: str = "auto",
    device: str = "auto",
    seed: int = 0,
    neighbours: int = DEFAULT_NEIGHBOURS,
    fail_if: Sequence[str] | str = (),
    baseline: str | Path | None = None,
    max_regression: float | str | None = None,
    grade: Sequence[str] | str = (),
    report: Sequence[str | Path] | str | Path = (),
    force: bool = False,
    dry_run: bool = False,
    max_shard_size: int | str | None = None,
    progress: Progress | None = None,
) -> ApproximateResult:
    """Compress the embedding tables of a checkpoint, and measure the error of what is stored.

    Exactly one of `bases`, `energy`, `max_error`, `ratio` and `max_size` sets the size. Goes over the rows of each
    table twice with `bases` or as codes, else three times, and more often where a spectrum, row weights or a missed
    error demand it (the report has their number); memory grows with the number of rows by a byte each, as codes by
    some fifty, with row weights by some ten more.

    Args:
        path: a file or folder of any form that is read, or the address of a model on the hub, hf://org/name@revision.
        bases: the number of bases of every table, at least 1, with weights as floats.
        energy: the share of its squared norm that every table keeps, above 0: as many bases as that takes, with weights
            as floats.
        max_error: relative Frobenius error that no table may exceed, in the fewest bytes; the weighted error where
            `row_weights` are given.
        ratio: by how many times the chosen tables together get smaller, everything that decoding needs counted; with
            the least error that can be had.
        max_size: bytes of the whole file, or a text such as "1.5MB"; with the least error that can be had.
        plain: keep max_error, ratio and max_size to weights as floats.
        effort: of codes: "fast", "default", or "best" for the least error in two to three times the time.
        fixed_rows: of codes: give all strings of rows of one kind one length, for rows that are read in place; costs a
            little error.
        seekable: of codes: let rows be read from disk one at a time, `load(path, resident=False)`; takes about one and
            a half bits a row more.
        output: default `<stem>-16x.safetensors` beside the input, by the size asked for: 16x, 8bases, 20MB, error0.1 or
            energy0.95; of a folder, the folder `<name>-16x`.
        dtype: what the factors are stored in, one of STORED_DTYPES.
        table: shell patterns of the tables to take; empty: those recognised by name and shape.
        exclude: shell patterns of the tables to leave dense.
        bilinear: shell patterns of the tables of which each matrix is factored by itself, into A B^T with `bases`
            columns.
        bilinear_shape: (in1, in2) of these matrices, where rows are flat and neither the checkpoint nor its other
            tables tell.
        row_weights: a file with how much the error of each row counts; the weighted error is minimised.
        labels: a file with the labels of the rows, for row weights by label and for the report. Default, for the report
            alone: those that the checkpoint brings along, as in a tokenizer.json beside it.
        solver: a key of SOLVERS, or "auto".
        device: "auto", "cpu", "cuda" or "cuda:N".
        seed: of the randomized solver's start, and of the rows whose neighbours are looked for.
        neighbours: rows of each table whose nearest rows are looked for among all rows, before and after; 0 for none.
        fail_if: conditions on the report that must not hold, such as "error.relative > 0.05". Where one does, the
            artifact is withheld, and an old one stays.
        baseline: the JSON report of an earlier artifact that this one must not be worse than.
        max_regression: by how much it may be: a share, or a text such as "1%", the default.
        grade: thresholds of the grades good and fair, each "MEASURE=GOOD,FAIR" of neighbours, cosine or worst_group.
        report: files to write the report to, each ending choosing a renderer; default `<output stem>.report.json`.
        force: overwrite existing outputs.
        dry_run: make all checks, tell sizes and memory, and write nothing; reads no row with `bases`.
        max_shard_size: bytes of the tensors of one file, or a text such as "5GB": writes a folder of such files and
            their index.
        progress: called with what is being done, rows done, rows in all and bytes of a row.

    Raises:
        UsageError: an argument outside its range.
        CheckpointError: the input is not readable.
        TableError: no table, a rank that a table named in full does not have, NaN or infinity.
        OutputError: the output exists, is the input, cannot be written, or the disk is full.
        DeviceError: the device is not there.
    """
    call = dict(locals())
    budget = choose_budget(
        bases=bases, energy=energy, max_error=max_error, ratio=ratio, max_size=max_size, plain=plain, effort=effort
    )
    _check_choices(dtype=dtype, solver=solver, seed=seed, neighbours=neighbours)
    for option, is_given in (("--fixed-rows", fixed_rows), ("--seekable", seekable)):
        if is_given and budget.is_plain:
            raise UsageError(f"{option} is for coded weights; {budget.option} stores weights as floats.")
    _check_choices_of_budget(budget, dtype=dtype, bilinear=bilinear, solver=solver)
    _check_bilinear(bilinear, shape=bilinear_shape, has_row_weights=row_weights is not None)
    thresholds = read_thresholds(grade)
    conditions = read_conditions(ApproximateResult, fail_if=fail_if, baseline=baseline, max_regression=max_regression)
    with open_checkpoint(path) as opened:
        refuse_compressed(opened)
        checkpoint = attach_labels(opened)
        inputs = inputs_of(checkpoint, others=(row_weights, labels, baseline))
        planned_output = plan_output(
            output,
            source=checkpoint,
            ending=budget.ending,
            stem=ARTIFACT_STEM,
            max_shard_bytes=read_shard_size(max_shard_size, has_max_size=budget.kind == "max_size"),
            force=True,
            inputs=inputs,
        )
        planned_output = replace(planned_output, force=force)
        reports = check_reports(
            report, output=planned_output.target, force=True, inputs=inputs, is_folder=planned_output.form is not None
        )
        chosen_device = resolve_device(device, dry_run=dry_run)
        choose = cache(partial(choose_tables, checkpoint, table=table, exclude=exclude, bilinear=bilinear, bases=bases))
        facts = read_row_info(
            row_weights=row_weights,
            labels=labels,
            tables=choose,
            files=checkpoint.files,
        )
        if labels is None:
            facts = add_own_labels(facts, checkpoint, choose())
        chosen: Plan | Sequence[Table]
        choices: list[SolverChoice] = []
        if budget.kind == "bases":
            chosen = plan_tables(
                checkpoint,
                choose(),
                bases=int(budget.amount),
                dtype=dtype,
                table=table,
                bilinear=bilinear,
                bilinear_shape=bilinear_shape,
            )
            facts.check([planned.table for planned in chosen.tables], path=row_weights)
            choices = [choose_solver(planned, solver=solver, device=chosen_device) for planned in chosen.tables]
            if dry_run:
                result = _planned_result(checkpoint, chosen, choices, planned_output, neighbours=neighbours)
                result = replace(result, warnings=facts.warnings, notes=facts.notes)
                result = _unrecognised(checkpoint, chosen, call).add_to(result)
                return replace(result, gates=conditions.gates(result))
        else:
            chosen = choose()
            facts.check(chosen, path=row_weights)

        from embcompress.commands.approximate_rows import Compression

        compression = Compression(
            checkpoint,
            budget,
            device=chosen_device,
            seed=seed,
            facts=facts,
            dtype=dtype,
            named=[table] if isinstance(table, str) else table,
            fixed_rows=fixed_rows,
            seekable=seekable,
            neighbours=neighbours,
            conditions=conditions,
            thresholds=thresholds,
            unrecognised=_unrecognised(checkpoint, chosen, call),
            output=planned_output,
            progress=progress,
        )
        if dry_run:
            return compression.plan(chosen)
        refuse_existing([planned_output.target, *(path for path, _ in reports)], force=force)
        return compression.run(chosen, choices, reports=reports)


def _check_choices_of_budget(budget: Budget, *, dtype: str, bilinear: Sequence[str] | str, solver: str) -> None:
    """Refuse what a budget leaves no choice of.

    Raises:
        UsageError: --dtype beside coded weights; --bilinear or --solver beside anything but --bases.
    """
    if dtype != "same" and not budget.is_plain:
        raise UsageError(
            f"--dtype {dtype} is for weights as floats; {budget.option} chooses how weights and bases are stored.",
            hint="Add --plain to keep weights as floats of this dtype.",
        )
    if budget.kind != "bases" and (bilinear or solver != "auto"):
        raise UsageError(f"--{'bilinear' if bilinear else 'solver'} goes with --bases, not with {budget.option}.")


def _check_bilinear(bilinear: Sequence[str] | str, *, shape: tuple[int, int] | None, has_row_weights: bool) -> None:
    """Refuse what does not go with --bilinear, or without it.

    Raises:
        UsageError: sides that are none, or of no matrices; row weights beside matrices.
    """
    if shape is not None and (not bilinear or len(shape) != 2 or min(shape) < 1):
        raise UsageError("--bilinear-shape takes two sides of at least 1, and goes with --bilinear.")
    if has_row_weights and bilinear:
        raise UsageError("--row-weights weighs rows, and --bilinear takes matrices: use one of them.")


def _check_choices(*, dtype: str, solver: str, seed: int, neighbours: int) -> None:
    if dtype not in STORED_DTYPES:
        raise UsageError(
            f"--dtype must be one of {', '.join(STORED_DTYPES)}; got {dtype!r}.",
            hint=did_you_mean(dtype, STORED_DTYPES),
        )
    if solver != "auto" and solver not in SOLVERS:
        raise UsageError(
            f"--solver must be auto or one of {', '.join(SOLVERS)}; got {solver!r}.",
            hint=did_you_mean(solver, ("auto", *SOLVERS)),
        )
    check_seed(seed)
    check_neighbours(neighbours)


def _unrecognised(checkpoint: Checkpoint, chosen: Plan | Sequence[Table], call: Mapping[str, Any]) -> Unrecognised:
    """Find the large matrices that may be tables and were not chosen; none where tables are named.

    Args:
        checkpoint: an open one.
        chosen: the tables.
        call: the arguments of `approximate`.
    """
    defaults = {name: parameter.default for name, parameter in signature(approximate).parameters.items()}
    given = {name: value for name, value in call.items() if name != "progress" and value != defaults[name]}
    if call["table"]:
        return Unrecognised((), (), given)
    tables = [planned.table for planned in chosen.tables] if isinstance(chosen, Plan) else chosen
    matrices = find_unrecognised(checkpoint, chosen=tables, exclude=call["exclude"], bases=call["bases"] or 1)
    if call["row_weights"] is not None or call["labels"] is not None:
        # These files are of so many rows, and no table of another length goes with them.
        lengths = {table.rows for table in tables}
        matrices = tuple(matrix for matrix in matrices if matrix.shape[0] in lengths)
    return Unrecognised(matrices, [tensor.name for tensor in checkpoint.tensors], given)


def _planned_result(
    checkpoint: Checkpoint,
    plan: Plan,
    choices: Sequence[SolverChoice],
    output: Output,
    *,
    neighbours: int,
) -> ApproximateResult:
    """Tell what a run with a number of bases would write."""
    file = ArtifactFile(output, checkpoint, [describe(planned) for planned in plan.tables])
    entries = [entry for planned in plan.tables for entry in planned_entries(planned)]
    size = file.writer(entries).nbytes
    check_space(output.resolved, size)
    return approximate_result(
        checkpoint,
        planned_file(output.target, size),
        [planned_report(planned, choice) for planned, choice in zip(plan.tables, choices, strict=True)],
        (*left_out(checkpoint), *plan.skipped),
        header=file.header_bytes(entries),
        memory=estimate_memory(plan, choices) + estimate_neighbour_memory(neighbours),
    )
