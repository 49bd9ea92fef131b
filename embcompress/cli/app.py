"""The command line: parse, call one command, render, exit."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer import rich_utils
from typer.core import TyperCommand

import embcompress
from embcompress.artifact.atomic_file import discard_pending
from embcompress.choices import DEFAULT_NEIGHBOURS
from embcompress.cli.failure_reports import write_failure_reports
from embcompress.cli.github_step import files_of, tell_failure, tell_result
from embcompress.cli.options import (
    AllowedError,
    Artifact,
    BaseFiles,
    BaseIds,
    BaseLabels,
    Baseline,
    Bases,
    Bilinear,
    BilinearShape,
    Checkpoint,
    Constrainer,
    Device,
    DrawSeed,
    DryRun,
    Dtype,
    Effort,
    Energy,
    Evaluated,
    Exclude,
    FailIf,
    Fill,
    FillLabels,
    FixedRows,
    Force,
    Interaction,
    Json,
    Known,
    Labels,
    MaxError,
    MaxId,
    MaxRegression,
    MaxSize,
    Method,
    Neighbours,
    NewLabels,
    Original,
    Output,
    OwnReport,
    Plain,
    Plot,
    Quiet,
    Ratio,
    Report,
    RowWeights,
    SampleSeed,
    Seed,
    Solver,
    SolverSeed,
    Tables,
    TablesToGrow,
    TablesToTry,
    Triples,
)
from embcompress.cli.process import (
    EXIT_FAILED,
    EXIT_GATE,
    EXIT_USAGE,
    STOP_SIGNALS,
    StdoutError,
    discard_stdout,
    install_signal_handlers,
    is_in_actions,
    open_streams,
    print_error,
    print_text,
    writing_stdout,
)
from embcompress.compression.budget import DEFAULT_MAX_ERROR, EFFORTS
from embcompress.exceptions import EmbcompressError, UsageError
from embcompress.report.colors import is_capable, render_text, wants_color
from embcompress.report.json import is_ok, render_json, render_json_failure
from embcompress.report.names import spelled
from embcompress.report.progress import ProgressLines, progress_bar
from embcompress.report.terminal import render_failure, render_terminal
from embcompress.results import Result
from embcompress.text import did_you_mean

PIPE_WIDTH = 160  # columns of a report that no terminal shows
HELP_OPTIONS = frozenset({"-h", "--help"})
app = typer.Typer(
    name="embcompress",
    help="Compress trained embedding checkpoints: low-rank factors, one safetensors file, an error report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": sorted(HELP_OPTIONS)},
)


class _Command(TyperCommand):
    """A command that leaves its parsed arguments in the mapping that `_run` gave, for the reports of a failure."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        ctx.obj.update(ctx.params)
        return super().invoke(ctx)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print_text(f"embcompress {embcompress.__version__}\n")
        raise typer.Exit


@app.command(cls=_Command)
def inspect(
    checkpoint: Checkpoint,
    report: Report = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List tables, shapes, dtypes and bytes, and what approximate would choose and why."""
    from embcompress.commands.inspect import inspect as command

    _show(command(checkpoint, report=report or (), force=force), json=json, quiet=quiet, report=report)


@app.command(cls=_Command)
def approximate(
    checkpoint: Checkpoint,
    bases: Bases = None,
    energy: Energy = None,
    max_error: MaxError = None,
    ratio: Ratio = None,
    max_size: MaxSize = None,
    plain: Plain = False,
    effort: Effort = EFFORTS[0],
    fixed_rows: FixedRows = False,
    output: Output = None,
    dtype: Dtype = "same",
    table: Tables = None,
    exclude: Exclude = None,
    bilinear: Bilinear = None,
    bilinear_shape: BilinearShape = None,
    row_weights: RowWeights = None,
    labels: Labels = None,
    solver: Solver = "auto",
    device: Device = "auto",
    seed: Seed = 0,
    neighbours: Neighbours = DEFAULT_NEIGHBOURS,
    fail_if: FailIf = None,
    baseline: Baseline = None,
    max_regression: MaxRegression = None,
    report: Report = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compress the embedding tables of a checkpoint to shared bases and the weights of each row.

    One of --bases, --energy, --max-error, --ratio and --max-size says how small; all but the first two store weights in
    few bits where that pays. Writes STEM-compressed.safetensors and its error report beside the checkpoint.
    """
    from embcompress.commands.approximate import approximate as command

    with _progress(json=json, quiet=quiet) as progress:
        result = command(
            checkpoint,
            bases=bases,
            energy=energy,
            max_error=max_error,
            ratio=ratio,
            max_size=max_size,
            plain=plain,
            effort=effort,
            fixed_rows=fixed_rows,
            output=output,
            dtype=dtype,
            table=table or (),
            exclude=exclude or (),
            bilinear=bilinear or (),
            bilinear_shape=_sides(bilinear_shape),
            row_weights=row_weights,
            labels=labels,
            solver=solver,
            device=device,
            seed=seed,
            neighbours=neighbours,
            fail_if=fail_if or (),
            baseline=baseline,
            max_regression=max_regression,
            report=report or (),
            force=force,
            dry_run=dry_run,
            progress=progress,
        )
    _show(result, json=json, quiet=quiet, report=report)


@app.command(cls=_Command)
def evaluate(
    original: Original,
    artifact: Evaluated,
    neighbours: Neighbours = DEFAULT_NEIGHBOURS,
    row_weights: RowWeights = None,
    labels: Labels = None,
    triples: Triples = None,
    known: Known = None,
    interaction: Interaction = None,
    fail_if: FailIf = None,
    baseline: Baseline = None,
    max_regression: MaxRegression = None,
    device: Device = "auto",
    seed: SampleSeed = 0,
    report: OwnReport = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what an artifact leaves of its original, and check it, from the two files alone.

    Exits with 3 where a check or a gate fails. Writes no file unless --report asks for one.
    """
    from embcompress.commands.evaluate import evaluate as command

    with _progress(json=json, quiet=quiet) as progress:
        result = command(
            original,
            artifact,
            neighbours=neighbours,
            row_weights=row_weights,
            labels=labels,
            triples=triples,
            known=known or (),
            interaction=interaction,
            fail_if=fail_if or (),
            baseline=baseline,
            max_regression=max_regression,
            device=device,
            seed=seed,
            report=report or (),
            force=force,
            dry_run=dry_run,
            progress=progress,
        )
    _show(result, json=json, quiet=quiet, report=report)


@app.command(cls=_Command)
def backfill(
    bases: BaseFiles,
    max_id: MaxId = None,
    base_ids: BaseIds = None,
    base_labels: BaseLabels = None,
    labels: NewLabels = None,
    table: TablesToGrow = None,
    method: Method = None,
    constrainer: Constrainer = None,
    fill: Fill = None,
    fill_labels: FillLabels = None,
    output: Output = None,
    device: Device = "auto",
    seed: DrawSeed = 0,
    report: Report = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add rows for new ids to the tables of a checkpoint; known rows stay as they are, to the bit.

    Writes STEM-backfilled.safetensors and its report beside the first BASE.
    """
    from embcompress.commands.backfill import backfill as command

    with _progress(json=json, quiet=quiet) as progress:
        result = command(
            bases,
            max_id=max_id,
            base_ids=base_ids or (),
            base_labels=base_labels or (),
            labels=labels,
            table=table or (),
            method=method,
            constrainer=constrainer,
            fill=fill,
            fill_labels=fill_labels,
            output=output,
            device=device,
            seed=seed,
            report=report or (),
            force=force,
            dry_run=dry_run,
            progress=progress,
        )
    _show(result, json=json, quiet=quiet, report=report)


@app.command(cls=_Command)
def reconstruct(
    artifact: Artifact,
    output: Output = None,
    device: Device = "auto",
    report: Report = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the dense checkpoint again: the same names, shapes and dtypes as the original.

    Writes STEM-dense.safetensors and its report beside the artifact.
    """
    from embcompress.commands.reconstruct import reconstruct as command

    with _progress(json=json, quiet=quiet) as progress:
        result = command(
            artifact,
            output=output,
            device=device,
            report=report or (),
            force=force,
            dry_run=dry_run,
            progress=progress,
        )
    _show(result, json=json, quiet=quiet, report=report)


@app.command(cls=_Command)
def sweep(
    checkpoint: Checkpoint,
    table: TablesToTry = None,
    exclude: Exclude = None,
    effort: Effort = EFFORTS[0],
    max_error: AllowedError = DEFAULT_MAX_ERROR,
    plot: Plot = None,
    device: Device = "auto",
    seed: SolverSeed = 0,
    report: OwnReport = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure error against bytes of every way to compress, and recommend one.

    Recommended is the largest of the ratios tried at which no table is left with more than --max-error, with the
    command that makes it. Writes no file unless --report or --plot asks for one.
    """
    from embcompress.commands.sweep import sweep as command

    with _progress(json=json, quiet=quiet) as progress:
        result = command(
            checkpoint,
            table=table or (),
            exclude=exclude or (),
            effort=effort,
            max_error=max_error,
            device=device,
            seed=seed,
            report=report or (),
            plot=plot,
            force=force,
            progress=progress,
        )
    _show(result, json=json, quiet=quiet, report=report)


def _sides(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise UsageError(f"--bilinear-shape takes two sides, as in 64,64; got {text!r}.")
    return int(parts[0]), int(parts[1])


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 refused or failed, 2 wrong usage, 3 a gate failed, 130/143 stopped."""
    args = list(sys.argv[1:] if argv is None else argv)
    code = EXIT_FAILED
    try:
        install_signal_handlers()
        open_streams(is_json="--json" in args)
        # What torch says on its first use where NumPy, which nothing here needs, is not installed.
        warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
        # Threads of torch that wait shall soon sleep and not spin: beside other work on two cores, an SVD of 200 x 384
        # took 6 s instead of 0.02 s. To let them sleep at once (OMP_WAIT_POLICY=PASSIVE) costs a fifth on an idle
        # machine. OpenMP reads this once, when torch is imported.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        code = _run(args)
    except SystemExit:  # how typer ends where the reader of its help went away
        code = 0 if HELP_OPTIONS & set(args) else EXIT_FAILED
        discard_stdout()
    except StdoutError as err:
        print_error(f"error: standard output cannot be written: {err}.\n")
        discard_stdout()
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the work is done, and a late signal does not undo it
        discard_pending()
    sys.exit(code)


def _run(args: list[str]) -> int:
    parsed: dict[str, Any] = {}
    try:
        if not args or HELP_OPTIONS & set(args):
            _color_help()
        returned = typer.main.get_command(app).main(args, prog_name="embcompress", standalone_mode=False, obj=parsed)
        with writing_stdout():
            pass  # what the help has left in the buffer
    except EmbcompressError as failure:
        return _fail(failure, args, parsed)
    except typer.BadParameter.__base__ as err:  # type: ignore[misc]  # every usage error, without importing click
        return _fail_usage(err, args)
    except MemoryError:
        return _fail(_out_of_memory(""), args, parsed)
    except OSError as err:  # such as a disk that cannot be read any more in the middle of a file
        where = f"{err.filename}: " if err.filename else ""
        return _fail(EmbcompressError(f"{where}{err.strerror or err}."), args, parsed)
    except RuntimeError as err:
        if "memory" not in str(err):  # how torch says it, on the CPU and on a GPU
            raise
        return _fail(_out_of_memory(f" ({str(err).splitlines()[0]})"), args, parsed)
    return returned if isinstance(returned, int) else 0


def _out_of_memory(detail: str) -> EmbcompressError:
    return EmbcompressError(f"out of memory{detail}.", hint="--dry-run tells the memory that a run needs.")


def _color_help() -> None:
    """Hold typer's help to NO_COLOR and FORCE_COLOR, as the reports are."""
    wanted = wants_color(os.environ)
    rich_utils.COLOR_SYSTEM = None if wanted is False else "auto"
    rich_utils.FORCE_TERMINAL = wanted is True or sys.stdout.isatty()


def _fail(failure: EmbcompressError, args: Sequence[str], parsed: Mapping[str, Any]) -> int:
    known = {str(command.callback.__name__) for command in app.registered_commands if command.callback}
    command = " ".join(["embcompress", *(known & set(args[:1]))])
    if parsed:
        write_failure_reports(failure, parsed, command=command)
    if is_in_actions():
        print_error(tell_failure(failure, os.environ, command=command), is_command=True)
    if "--json" in args:
        print_text(render_json_failure(failure))
    else:
        print_error(render_text(render_failure(failure), os.environ, like=sys.stderr, soft_wrap=True))
    return EXIT_USAGE if isinstance(failure, UsageError) else EXIT_FAILED


def _fail_usage(err: BaseException, args: Sequence[str]) -> int:
    context = getattr(err, "ctx", None)
    command = context.command_path if context is not None else "embcompress"
    format_message: Callable[[], str] = getattr(err, "format_message", lambda: str(err))
    message = format_message().rstrip()
    if "--json" not in args and type(err).__name__ == "NoArgsIsHelpError":
        print_text(f"{message}\n")  # the help text
        return EXIT_USAGE
    meant = ""
    if (mistyped := getattr(err, "option_name", None)) and (said := getattr(err, "message", "")):
        parameters = context.command.params if context is not None else ()
        known = [name for parameter in parameters for name in parameter.opts if name.startswith("-")]
        message, meant = f"{said.rstrip('.')}.", did_you_mean(mistyped, set(known) - {mistyped})
    hint = f"{meant} `{command} --help` lists the options.".lstrip()
    return _fail(UsageError(message, hint=hint), args, {})


def _show(result: Result, *, json: bool, quiet: bool, report: Sequence[Path] | None = None) -> None:
    """Print a result, and exit with EXIT_GATE where a gate or a check failed, whatever becomes of the printing.

    Args:
        result: of the command.
        json: as one document, and nothing else.
        quiet: not at all.
        report: the files that the report was asked to go to.
    """
    code = 0 if is_ok(result) else EXIT_GATE
    if is_in_actions():
        print_error(tell_result(result, os.environ, report=report or (), quiet=quiet), is_command=True)
    try:
        _print_result(result, json=json, quiet=quiet)
    except StdoutError as err:
        files = ", ".join(map(spelled, files_of(result, report=report or ())))
        done = f" The run is done; written: {files}." if files else ""
        print_error(f"error: standard output cannot be written: {err}.{done}\n")
        discard_stdout()
        code = code or EXIT_FAILED
    if code:
        raise typer.Exit(code)


def _print_result(result: Result, *, json: bool, quiet: bool) -> None:
    if json:
        print_text(render_json(result))
    elif not quiet:
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        print_text(render_text(render_terminal(result), os.environ, like=sys.stdout, width=width))


@contextmanager
def _progress(*, json: bool, quiet: bool) -> Iterator[Callable[[str, int, int, int], None] | None]:
    """Show progress on stderr: a bar at a terminal, a line now and then elsewhere, nothing for --json and --quiet."""
    if json or quiet:
        yield None
        return
    if is_capable(sys.stderr, os.environ):
        with progress_bar(os.environ) as advance:
            yield advance
        return
    lines = ProgressLines(time.monotonic())

    def show(doing: str, done: int, rows: int, row_bytes: int) -> None:
        line = lines.advance(time.monotonic(), doing, done, rows, row_bytes)
        if line:
            print_error(line + "\n")

    yield show
