"""Find out what every way of compressing leaves at every size, and recommend one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from embcompress.artifact.atomic_file import AtomicFile, check_output
from embcompress.artifact.schema import CODED
from embcompress.checkpoints import open_checkpoint
from embcompress.commands.run import (
    check_reports,
    check_seed,
    inputs_of,
    left_out,
    refuse_compressed,
    refuse_existing,
    resolve_device,
    write_reports,
)
from embcompress.compression.budget import DEFAULT_MAX_ERROR, EFFORTS
from embcompress.compression.curves import PLAIN_DTYPES, TableMethods, measure_curves
from embcompress.compression.refusals import leave_dense
from embcompress.exceptions import BudgetError, UsageError
from embcompress.report.plot import plot_form, render_plot
from embcompress.results import InputFile, Recommendation, SweepCurve, SweepPoint, SweepResult, SweepTotals, SweptTable
from embcompress.tables.progress import Progress
from embcompress.tables.selection import choose_tables
from embcompress.tables.source import TableSource
from embcompress.text import did_you_mean, spell_command


def sweep(
    path: str | Path,
    *,
    table: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
    effort: str = EFFORTS[0],
    max_error: float = DEFAULT_MAX_ERROR,
    device: str = "auto",
    seed: int = 0,
    report: Sequence[str | Path] | str | Path = (),
    plot: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Measure error against bytes of every way to compress the embedding tables of a checkpoint.

    The methods are coded weights ("coded"), bases and weights as floats ("plain float32", "plain float16"), each
    at RATIOS, integers with a scale for each row ("int8 per row", "int4 per row") and the table in shorter floats
    ("float16"), each at its own size; beside each point stands the Gaussian rate-distortion bound of the spectrum at
    its bytes. Goes over the rows of each table once, reads a sample of them, and writes no artifact. What a point at a
    ratio has is what `approximate` makes of that ratio.

    Plain errors follow from the spectrum. Coded and integer ones are measured on the sample: up to 8192 rows and 2^21
    numbers, but 512 rows at least, and with `effort` "best" four times as much; of a smaller table that is the whole. A
    point says whether it is exact, and else its 95 % confidence band.

    The recommendation is the largest ratio at which some way leaves no table with more than `max_error`, the upper end
    of its band counted; of several ways at that ratio the one of the least error; if there is no such ratio, the point
    of the least error.

    Args:
        path: a checkpoint, as for `approximate`.
        table: shell patterns of the tables to take; empty: those recognised by name and shape.
        exclude: shell patterns of the tables to leave.
        effort: of codes: "fast", "default", or "best" for the least error in two to three times the time.
        max_error: relative Frobenius error that the recommendation allows each table.
        device: "auto", "cpu", "cuda" or "cuda:N".
        seed: of the randomized solver's start.
        report: files to write the report to, each ending choosing a renderer; none by default.
        plot: a file to draw the curves into, .svg, .png or .pdf; needs matplotlib.
        force: overwrite existing outputs.
        progress: called with what is being done, rows done, rows in all and bytes of a row.

    Raises:
        UsageError: an argument outside its range.
        CheckpointError: the input is not readable.
        TableError: no table, NaN or infinity.
        BudgetError: a table named in full, or every table chosen, is too small to compress.
        OutputError: a report or the picture cannot be written, or matplotlib is not installed.
        DeviceError: the device is not there.
    """
    if effort not in EFFORTS:
        raise UsageError(
            f"--effort must be {' or '.join(EFFORTS)}; got {effort!r}.", hint=did_you_mean(effort, EFFORTS)
        )
    if not 0 < max_error < 1:
        raise UsageError(f"--max-error must be between 0 and 1; got {max_error:.15g}.")
    check_seed(seed)
    named = [table] if isinstance(table, str) else list(table)
    excluded = [exclude] if isinstance(exclude, str) else list(exclude)
    with open_checkpoint(path) as checkpoint:
        refuse_compressed(checkpoint)
        inputs = inputs_of(checkpoint)
        reports = check_reports(report, output=None, force=True, inputs=inputs)
        picture = None if plot is None else _check_picture(Path(plot), reports, inputs=inputs)
        swept, skipped = [], []
        chosen = choose_tables(checkpoint, table=named, exclude=excluded)
        refuse_existing([*(path for path, _ in reports), *([picture[0]] if picture else [])], force=force)
        names = tuple(item.name for item in chosen)
        table_source = TableSource(checkpoint, resolve_device(device), seed, progress, names=names)
        for item in chosen:
            one = TableMethods(item, table_source, effort=effort)
            if any(one.can_be(method) for method in (CODED, *PLAIN_DTYPES)):
                swept.append(one)
            else:
                skipped.append(leave_dense(item, one.source.why_dense, path=checkpoint.path, named=named))
        if not swept:
            what = "; ".join(f"table {item.name!r} {item.reason}" for item in skipped)
            raise BudgetError(f"nothing in {checkpoint.path} gets smaller: {what}.")
        tables = tuple(one.report() for one in swept)
        before = sum(one.table.nbytes for one in swept)
        totals = SweepTotals(before, _alone(tables[0]) if len(tables) == 1 else measure_curves(swept, table_source))
        call = {
            "effort": effort if effort != EFFORTS[0] else None,
            "table": named,
            "exclude": excluded,
            "device": device if device != "auto" else None,
            "seed": seed or None,
        }
        result = SweepResult(
            command="sweep",
            input=InputFile(checkpoint.name, checkpoint.nbytes),
            tables=tables,
            skipped=(*left_out(checkpoint), *skipped),
            totals=totals,
            recommendation=recommend(totals, max_error=max_error, path=checkpoint.name, call=call),
        )
    if picture is None:
        write_reports(result, reports, force=force)
        return result
    target, form = picture
    with AtomicFile(target, force=force) as file:
        file.write(render_plot(result, form))
        write_reports(result, reports, force=force, before=file.commit)
    return result


def recommend(
    totals: SweepTotals, *, max_error: float, path: str | Path, call: Mapping[str, Any] = MappingProxyType({})
) -> Recommendation | None:
    """Choose the largest ratio at which some way keeps every table within an error; else the point of the least error.

    Args:
        totals: of the sweep.
        max_error: relative, allowed for each table.
        path: of the checkpoint.
        call: arguments of the sweep that the command shares; `effort` goes with coded weights only.
    """
    points = [
        (curve.method, point)
        for curve in totals.curves
        for point in curve.points
        if point.target_ratio is not None and point.largest_relative is not None
    ]
    if not points:
        return None
    within = [(method, point) for method, point in points if (point.largest_relative or 0.0) <= max_error]
    if within:
        most = max(point.target_ratio or 0 for _, point in within)
        method, point = min(((method, point) for method, point in within if point.target_ratio == most), key=_error_of)
        reason = f"the highest ratio tried at which every table's error is at most {max_error:g}"
    else:
        method, point = min(points, key=_error_of)
        reason = f"no ratio tried keeps every table's error within {max_error:g}; this point has the smallest error"
    storing = {} if method == CODED else {"plain": True, "dtype": PLAIN_DTYPES[method]}
    shared = {name: value for name, value in call.items() if method == CODED or name != "effort"}
    command = spell_command("approximate", path=path, ratio=point.target_ratio, **storing, **shared)
    return Recommendation(method, point.target_ratio or 0.0, point.bytes, point.relative, bool(within), reason, command)


def _error_of(candidate: tuple[str, SweepPoint]) -> float:
    return candidate[1].relative


def _alone(table: SweptTable) -> tuple[SweepCurve, ...]:
    """Make the totals of a single table."""
    return tuple(
        replace(
            curve,
            points=tuple(replace(point, rank=None, largest_relative=point.high) for point in curve.points),
        )
        for curve in table.curves
    )


def _check_picture(plot: Path, reports: Sequence[tuple[Path, str]], *, inputs: Sequence[Path]) -> tuple[Path, str]:
    """Check that a picture can be drawn, in which form and where it goes, before any work is done."""
    form = plot_form(plot)
    picture = check_output(plot, force=True, inputs=inputs)
    if picture in dict(reports):
        raise UsageError(f"--plot {plot} is also the path of a report of this run.", hint="Name another file.")
    return picture, form
