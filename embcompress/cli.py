"""The command line: parse, call one workflow, render, exit. The only module that prints."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

import embcompress
from embcompress.budget import DEFAULT_MAX_ERROR, EFFORTS
from embcompress.choices import CONSTRAINERS, DEFAULT_METHOD, METHODS
from embcompress.exceptions import EmbcompressError, UsageError
from embcompress.gates import DEFAULT_MAX_REGRESSION
from embcompress.linalg.solvers import SOLVERS
from embcompress.output import discard_pending
from embcompress.planning import DEFAULT_NEIGHBOURS, STORED_DTYPES
from embcompress.report import RENDERERS
from embcompress.results import Result
from embcompress.suggestions import did_you_mean

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_GATE = 3
EXIT_SIGNAL = 128  # plus the signal's number
GRACE_SECONDS = 1.0  # what a signal leaves the main thread to run its handler; inside a long eigh it cannot
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last when a terminal or a connection closes
STOPPED = "stopped: no unfinished file was left behind."
SHOW_CURSOR = "\n\x1b[?25h"  # a progress bar hides it
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

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="A safetensors file, or a .pt, .pth, .bin, .ckpt, .pkl of torch.save.")
]
Artifact = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="A file that `approximate` wrote.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write the result.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite existing outputs.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Make all checks, tell sizes and memory, write nothing.")]
Report = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help=f"Where to write the report; the ending chooses its form ({', '.join(RENDERERS)}). Repeatable. "
        "Default: OUTPUT's stem + .report.json.",
    ),
]
OwnReport = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help=f"Where to write the report; the ending chooses its form ({', '.join(RENDERERS)}). Repeatable. "
        "Default: none.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
Neighbours = Annotated[
    int,
    typer.Option(
        "--neighbours",
        metavar="N",
        min=0,
        help="Rows of each table whose 10 nearest rows are looked for before and after; 0 for none.",
    ),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="EXPR",
        help="What must not be true of a number of the JSON report, as in 'error.relative > 0.05'; exits with 3. "
        "Repeatable.",
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline", metavar="FILE", help="JSON report of an earlier artifact, which this one must not be worse than."
    ),
]
MaxRegression = Annotated[
    str | None,
    typer.Option(
        "--max-regression",
        metavar="F",
        help=f"By how much worse than --baseline it may be, as in 1% or 0.01. Default: {DEFAULT_MAX_REGRESSION}.",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")]


class _StdoutError(Exception):
    """Standard output is on a full disk, or the like."""


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"embcompress {embcompress.__version__}")  # noqa: T201
        raise typer.Exit


@app.command()
def inspect(
    checkpoint: Checkpoint,
    report: Report = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List tables, shapes, dtypes and bytes, and what approximate would choose and why."""
    from embcompress import workflows

    _show(workflows.inspect(checkpoint, report=report or (), force=force), json=json, quiet=quiet, report=report)


@app.command()
def approximate(
    checkpoint: Checkpoint,
    bases: Annotated[
        int | None,
        typer.Option("--bases", metavar="K", min=1, help="Number of bases of every table; weights as floats."),
    ] = None,
    energy: Annotated[
        float | None,
        typer.Option(
            "--energy", metavar="F", help="Share of its squared norm that each table keeps, 0 to 1; weights as floats."
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            "--max-error",
            metavar="F",
            help="Relative error that no table exceeds, weighted by --row-weights; in the fewest bytes.",
        ),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            "--ratio", metavar="R", help="The chosen tables become R times smaller together; with the least error."
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size", metavar="SIZE", help="Bytes of the whole file, as in 1.5MB or 2GiB; with the least error."
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Keep --max-error, --ratio and --max-size to weights as floats.")
    ] = False,
    effort: Annotated[
        str,
        typer.Option(
            "--effort", metavar="EFFORT", help=f"{' or '.join(EFFORTS)}: time or error of weights in few bits."
        ),
    ] = EFFORTS[0],
    output: Output = None,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            metavar="DTYPE",
            help=f"What floats are stored in: {', '.join(STORED_DTYPES)}; with --plain, --bases or --energy.",
        ),
    ] = "same",
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", metavar="GLOB", help="Tables to compress, by name. Repeatable. Default: those recognised."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Tables to leave dense. Repeatable.")
    ] = None,
    bilinear: Annotated[
        list[str] | None,
        typer.Option(
            "--bilinear",
            metavar="GLOB",
            help="Tables of which each matrix is factored by itself, into A B^T with K columns. Repeatable.",
        ),
    ] = None,
    bilinear_shape: Annotated[
        str | None,
        typer.Option(
            "--bilinear-shape",
            metavar="IN1,IN2",
            help="Sides of these matrices, where rows are flat and nothing tells.",
        ),
    ] = None,
    row_weights: Annotated[
        Path | None,
        typer.Option(
            "--row-weights",
            metavar="FILE",
            help="How much the error of each row counts: a number a line, .tsv of id or label<TAB>count, or .json.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Labels of the rows, for --row-weights and the report."),
    ] = None,
    solver: Annotated[
        str, typer.Option("--solver", metavar="SOLVER", help=f"auto, {', '.join(SOLVERS)}; with --bases.")
    ] = "auto",
    device: Device = "auto",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of the randomized solver and the sample of --neighbours.")
    ] = 0,
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
    from embcompress import workflows

    with _progress(json=json, quiet=quiet) as progress:
        result = workflows.approximate(
            checkpoint,
            bases=bases,
            energy=energy,
            max_error=max_error,
            ratio=ratio,
            max_size=max_size,
            plain=plain,
            effort=effort,
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


@app.command()
def evaluate(
    original: Annotated[Path, typer.Argument(metavar="ORIGINAL", help="The checkpoint that was compressed.")],
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="What `approximate` made of it.")],
    neighbours: Neighbours = DEFAULT_NEIGHBOURS,
    row_weights: Annotated[
        Path | None,
        typer.Option(
            "--row-weights",
            metavar="FILE",
            help="How much the error of each row counts: a number a line, .tsv of id or label<TAB>count, or .json.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Labels of the rows, for --row-weights and the worst rows."),
    ] = None,
    triples: Annotated[
        Path | None,
        typer.Option(
            "--triples",
            metavar="FILE",
            help="Triples of a knowledge graph to rank before and after, head<TAB>relation<TAB>tail. Needs PyKEEN.",
        ),
    ] = None,
    known: Annotated[
        list[Path] | None,
        typer.Option("--known", metavar="FILE", help="Other triples that are true and count in no rank. Repeatable."),
    ] = None,
    interaction: Annotated[
        str | None,
        typer.Option(
            "--interaction",
            metavar="NAME",
            help="What scores triples, as in ComplEx or TransE:p=1. Default: what the pickled model tells.",
        ),
    ] = None,
    fail_if: FailIf = None,
    baseline: Baseline = None,
    max_regression: MaxRegression = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the sample of --neighbours.")] = 0,
    report: OwnReport = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what an artifact leaves of its original, and check it, from the two files alone.

    Exits with 3 where a check or a gate fails. Writes no file unless --report asks for one.
    """
    from embcompress import workflows

    with _progress(json=json, quiet=quiet) as progress:
        result = workflows.evaluate(
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


@app.command()
def backfill(
    bases: Annotated[
        list[Path],
        typer.Argument(metavar="BASE", help="Checkpoints or artifacts with the known rows."),
    ],
    max_id: Annotated[
        int | None, typer.Option("--max-id", metavar="N", help="Number of ids. With --labels: if larger than theirs.")
    ] = None,
    base_ids: Annotated[
        list[Path] | None,
        typer.Option("--base-ids", metavar="FILE", help="Line j: the new id of base row j. Once for each BASE."),
    ] = None,
    base_labels: Annotated[
        list[Path] | None,
        typer.Option(
            "--base-labels",
            metavar="FILE",
            help="Labels of the base rows: .tsv[.gz] of id<TAB>label, a JSON vocabulary or tokenizer, or one a line. "
            "Once for each BASE.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="The new labels, in the order of the new ids.")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", metavar="GLOB", help="Tables to grow. Repeatable. Default: those recognised with as many rows."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help=f"How new rows are made: {', '.join(METHODS)}; arguments as in uniform:a=-1,b=1. "
            f"Default: {DEFAULT_METHOD}, with mean and covariance of the known rows.",
        ),
    ] = None,
    constrainer: Annotated[
        str | None,
        typer.Option(
            "--constrainer",
            metavar="NAME",
            help=f"What new rows are held to: {', '.join(CONSTRAINERS)}; arguments as in clamp_norm:maxnorm=1.",
        ),
    ] = None,
    fill: Annotated[
        Path | None,
        typer.Option("--fill", metavar="FILE", help="A checkpoint with the new rows, in the order of the new ids."),
    ] = None,
    fill_labels: Annotated[
        Path | None,
        typer.Option(
            "--fill-labels", metavar="FILE", help="Labels of the rows of --fill; others are drawn by --method."
        ),
    ] = None,
    output: Output = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the draws.")] = 0,
    report: Report = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add rows for new ids to the tables of a checkpoint; known rows stay as they are, to the bit.

    Writes STEM-backfilled.safetensors and its report beside the first BASE.
    """
    from embcompress import workflows

    with _progress(json=json, quiet=quiet) as progress:
        result = workflows.backfill(
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


@app.command()
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
    from embcompress import workflows

    with _progress(json=json, quiet=quiet) as progress:
        result = workflows.reconstruct(
            artifact,
            output=output,
            device=device,
            report=report or (),
            force=force,
            dry_run=dry_run,
            progress=progress,
        )
    _show(result, json=json, quiet=quiet, report=report)


@app.command()
def sweep(
    checkpoint: Checkpoint,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", metavar="GLOB", help="Tables to try, by name. Repeatable. Default: those recognised."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Tables to leave. Repeatable.")
    ] = None,
    effort: Annotated[
        str,
        typer.Option(
            "--effort", metavar="EFFORT", help=f"{' or '.join(EFFORTS)}: time or error of weights in few bits."
        ),
    ] = EFFORTS[0],
    max_error: Annotated[
        float,
        typer.Option(
            "--max-error", metavar="F", help="Relative error, 0 to 1, that the recommendation allows each table."
        ),
    ] = DEFAULT_MAX_ERROR,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE", help="Where to draw error against size: .svg, .png or .pdf. Needs matplotlib."
        ),
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Start of the randomized solver.")] = 0,
    report: OwnReport = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure error against bytes of every way to compress, and recommend one.

    Recommended is the largest of the ratios tried at which no table is left with more than --max-error, with the
    command that makes it. Writes no file unless --report or --plot asks for one.
    """
    from embcompress import workflows

    with _progress(json=json, quiet=quiet) as progress:
        result = workflows.sweep(
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
        _install_signal_handlers()
        _open_streams(is_json="--json" in args)
        # What torch says on its first use where NumPy, which nothing here needs, is not installed.
        warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
        # Threads of torch that wait shall soon sleep and not spin: beside other work on two cores, an SVD of 200 x 384
        # took 6 s instead of 0.02 s. To let them sleep at once (OMP_WAIT_POLICY=PASSIVE) costs a fifth on an idle
        # machine. OpenMP reads this once, when torch is imported.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        code = _run(args)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        _discard_stdout()
    except _StdoutError as err:
        print(f"error: standard output cannot be written: {err}.", file=sys.stderr)  # noqa: T201
        _discard_stdout()
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the work is done, and a late signal does not undo it
        discard_pending()
    sys.exit(code)


def _run(args: list[str]) -> int:
    try:
        if not args or HELP_OPTIONS & set(args):
            _color_help()
        returned = typer.main.get_command(app).main(args, prog_name="embcompress", standalone_mode=False)
        with _writing_stdout():
            pass  # what the help has left in the buffer
    except EmbcompressError as failure:
        return _fail(failure, args)
    except typer.BadParameter.__base__ as err:  # type: ignore[misc]  # every usage error, without importing click
        return _fail_usage(err, args)
    except MemoryError:
        return _fail(_out_of_memory(""), args)
    except BrokenPipeError:
        raise
    except OSError as err:  # such as a disk that cannot be read any more in the middle of a file
        where = f"{err.filename}: " if err.filename else ""
        return _fail(EmbcompressError(f"{where}{err.strerror or err}."), args)
    except RuntimeError as err:
        if "memory" not in str(err):  # how torch says it, on the CPU and on a GPU
            raise
        return _fail(_out_of_memory(f" ({str(err).splitlines()[0]})"), args)
    return returned if isinstance(returned, int) else 0


def _out_of_memory(detail: str) -> EmbcompressError:
    return EmbcompressError(f"out of memory{detail}.", hint="--dry-run tells the memory that a run needs.")


def _color_help() -> None:
    """Hold typer's help to NO_COLOR and FORCE_COLOR, as the reports are."""
    from typer import rich_utils

    from embcompress.report.colors import wants_color

    wanted = wants_color(os.environ)
    rich_utils.COLOR_SYSTEM = None if wanted is False else "auto"
    rich_utils.FORCE_TERMINAL = wanted is True or sys.stdout.isatty()


def _fail(failure: EmbcompressError, args: Sequence[str]) -> int:
    if "--json" in args:
        from embcompress.report.json import render_json_failure

        _print_json(render_json_failure(failure))
    else:
        from embcompress.report.colors import render_text
        from embcompress.report.terminal import render_failure

        _print_error(render_text(render_failure(failure), os.environ, like=sys.stderr, soft_wrap=True))
    if _is_in_actions():
        from embcompress.step import tell_failure

        known = {str(command.callback.__name__) for command in app.registered_commands if command.callback}
        command = " ".join(["embcompress", *(known & set(args[:1]))])
        _print_error(tell_failure(failure, os.environ, command=command), is_command=True)
    return EXIT_USAGE if isinstance(failure, UsageError) else EXIT_FAILED


def _fail_usage(err: BaseException, args: Sequence[str]) -> int:
    context = getattr(err, "ctx", None)
    command = context.command_path if context is not None else "embcompress"
    format_message: Callable[[], str] = getattr(err, "format_message", lambda: str(err))
    message = format_message().rstrip()
    if "--json" not in args and type(err).__name__ == "NoArgsIsHelpError":
        print(message)  # noqa: T201 - the help text
        return EXIT_USAGE
    meant = ""
    if (mistyped := getattr(err, "option_name", None)) and (said := getattr(err, "message", "")):
        parameters = context.command.params if context is not None else ()
        known = [name for parameter in parameters for name in parameter.opts if name.startswith("-")]
        message, meant = f"{said.rstrip('.')}.", did_you_mean(mistyped, set(known) - {mistyped})
    hint = f"{meant} `{command} --help` lists the options.".lstrip()
    return _fail(UsageError(message, hint=hint), args)


def _print(text: str) -> None:
    """Write to stdout: in GitHub Actions, nothing that would be a command there."""
    if _is_in_actions():
        from embcompress.report.github import inert

        text = inert(text)
    with _writing_stdout():
        sys.stdout.write(text)


def _print_json(text: str) -> None:
    from embcompress.report.colors import spell_out_json

    _print(spell_out_json(text))


def _print_error(text: str, *, is_command: bool = False) -> None:
    """Write to stderr, as `_print`; `is_command`: of GitHub Actions. What nobody can read any more is no failure."""
    if _is_in_actions() and not is_command:
        from embcompress.report.github import inert

        text = inert(text)
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _is_in_actions() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _show(result: Result, *, json: bool, quiet: bool, report: Sequence[Path] | None = None) -> None:
    """Print a result, and exit with EXIT_GATE where a gate or a check failed.

    Args:
        result: of the command.
        json: as one document, and nothing else.
        quiet: not at all.
        report: the files that the report was asked to go to.
    """
    from embcompress.report.json import is_ok

    if json:
        from embcompress.report.json import render_json

        _print_json(render_json(result))
    elif not quiet:
        from embcompress.report.colors import render_text
        from embcompress.report.terminal import render_terminal

        width = None if sys.stdout.isatty() else PIPE_WIDTH
        _print(render_text(render_terminal(result), os.environ, like=sys.stdout, width=width))
    if _is_in_actions():
        from embcompress.step import tell_result

        _print_error(tell_result(result, os.environ, report=report or (), quiet=quiet), is_command=True)
    if not is_ok(result):
        raise typer.Exit(EXIT_GATE)


def _open_streams(*, is_json: bool) -> None:
    """Make stdout and stderr take whatever is written, in any locale, and where the caller closed them."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8" if is_json else None, errors="backslashreplace")


@contextmanager
def _writing_stdout() -> Iterator[None]:
    """Flush at the end, so that a full disk shows there, and tell it from other failures."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as err:
        raise _StdoutError(err.strerror) from err


def _discard_stdout() -> None:
    """Send what is still in the buffer nowhere, so that Python does not complain at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _progress(*, json: bool, quiet: bool) -> Iterator[Callable[[str, int, int, int], None] | None]:
    """Show progress on stderr: a bar at a terminal, a line now and then elsewhere, nothing for --json and --quiet."""
    if json or quiet:
        yield None
        return
    from embcompress.report.colors import is_capable
    from embcompress.report.progress import ProgressLines, progress_bar

    if is_capable(sys.stderr, os.environ):
        with progress_bar(os.environ) as advance:
            yield advance
        return
    lines = ProgressLines(time.monotonic())

    def show(doing: str, done: int, rows: int, row_bytes: int) -> None:
        line = lines.advance(time.monotonic(), doing, done, rows, row_bytes)
        if line:
            _print_error(line + "\n")

    yield show


def _install_signal_handlers() -> None:
    """End the process on a signal: from its handler, or from a thread while the main one is inside a long call.

    The handler raises nothing: in the middle of `import torch`, an exception is swallowed or aborts the process.
    """
    # What was started with a signal ignored, as by nohup, goes on ignoring it.
    handled = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in handled:
        signal.signal(number, _stop)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_stop_soon, args=(reading, frozenset(handled)), daemon=True).start()


def _stop(number: int, _: FrameType | None = None) -> NoReturn:
    """Remove what is half-written and end the process."""
    discard_pending()
    bar = SHOW_CURSOR if os.isatty(2) and os.environ.get("TERM") != "dumb" else ""
    with suppress(OSError):  # a terminal that is gone
        os.write(2, f"{bar}{STOPPED}\n".encode())
    os._exit(EXIT_SIGNAL + number)


def _stop_soon(reading: int, handled: frozenset[int]) -> NoReturn:
    """Wait for a signal, and stop if the main thread cannot do so within a moment."""
    number = 0
    while number not in handled:
        number = os.read(reading, 1)[0]
    time.sleep(GRACE_SECONDS)
    _stop(number)
