"""The command line: parse, call one command, render, exit."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import getdoc, signature
from typing import Annotated, Any, NoReturn

import typer
from typer import rich_utils
from typer.core import TyperCommand

import embcompress
from embcompress.artifact.atomic_file import discard_pending
from embcompress.choices import DEFAULT_NEIGHBOURS
from embcompress.cli import options as opt
from embcompress.cli.failure_reports import write_failure_reports
from embcompress.cli.github_step import tell_failure
from embcompress.cli.process import (
    EXIT_FAILED,
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
from embcompress.cli.retries import hint_with_commands
from embcompress.cli.showing import show, showing_progress
from embcompress.compression.budget import DEFAULT_MAX_ERROR, EFFORTS
from embcompress.exceptions import EmbcompressError, UsageError
from embcompress.report.colors import render_text, wants_color
from embcompress.report.json import render_json_failure
from embcompress.report.terminal import render_failure
from embcompress.text import did_you_mean

HELP_OPTIONS = frozenset({"-h", "--help"})
app = typer.Typer(
    name="embcompress",
    help="Compress trained embedding checkpoints: coded (quantized) weights over shared bases, one safetensors file, "
    "an error report.",
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

    def get_help_option(self, ctx: Any) -> Any:
        """Show --help among the advanced options, where it does not stand before all others."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = opt.ADVANCED
        return option


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print_text(f"embcompress {embcompress.__version__}\n")
        raise typer.Exit


def _command(declared: Callable[..., None]) -> Callable[..., None]:
    """Make a command of the options and the help that a function declares; it calls the library's function of its name.

    Options that were not given are left to the library's defaults; a test holds that both sides agree.
    """
    paragraphs = (getdoc(declared) or "").split("\n\n")

    @wraps(declared)
    def command(*, json: bool, quiet: bool, **parameters: Any) -> None:
        function = getattr(embcompress, declared.__name__)  # the only import of what runs
        expected = signature(function).parameters
        given = {name: value for name, value in parameters.items() if value is not None}
        positional = [given.pop(name) for name in list(given) if name not in expected]
        if json or quiet:  # read by huggingface_hub, whose bars show how far a download is
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        with showing_progress(json=json, quiet=quiet) as progress:
            shown = {"progress": progress} if "progress" in expected else {}
            result = function(*positional, **given, **shown)
        show(result, json=json, quiet=quiet, report=given.get("report"))

    return app.command(cls=_Command, help="\n\n".join(" ".join(one.split()) for one in paragraphs))(command)


@_command
def inspect(
    checkpoint: opt.Checkpoint,
    report: opt.OwnReport = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """List the tables of a checkpoint or an artifact: shapes, dtypes, bytes, and what approximate would compress.

    Writes no file unless --report asks for one.
    """


@_command
def approximate(
    checkpoint: opt.Checkpoint,
    ratio: opt.Ratio = None,
    max_size: opt.MaxSize = None,
    max_error: opt.MaxError = None,
    bases: opt.Bases = None,
    energy: opt.Energy = None,
    table: opt.Tables = None,
    exclude: opt.Exclude = None,
    fail_if: opt.FailIf = None,
    output: opt.Output = None,
    report: opt.Report = None,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    effort: opt.Effort = EFFORTS[0],
    fixed_rows: opt.FixedRows = False,
    plain: opt.Plain = False,
    dtype: opt.Dtype = "same",
    row_weights: opt.RowWeights = None,
    labels: opt.Labels = None,
    bilinear: opt.Bilinear = None,
    bilinear_shape: opt.BilinearShape = None,
    solver: opt.Solver = "auto",
    neighbours: opt.Neighbours = DEFAULT_NEIGHBOURS,
    baseline: opt.Baseline = None,
    max_regression: opt.MaxRegression = None,
    max_shard_size: opt.MaxShardSize = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Compress the embedding tables of a checkpoint to shared bases and the weights of each row.

    Give one of --ratio, --max-size, --max-error, --bases, --energy. The first three store weights as codes (quantized)
    where that is smaller. Writes STEM-compressed.safetensors and its error report beside the checkpoint.
    """


@_command
def evaluate(
    original: opt.Original,
    artifact: opt.Evaluated,
    fail_if: opt.FailIf = None,
    baseline: opt.Baseline = None,
    max_regression: opt.MaxRegression = None,
    report: opt.OwnReport = None,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    triples: opt.Triples = None,
    known: opt.Known = None,
    interaction: opt.Interaction = None,
    allow_expansion: opt.AllowExpansion = False,
    row_weights: opt.RowWeights = None,
    labels: opt.Labels = None,
    neighbours: opt.Neighbours = DEFAULT_NEIGHBOURS,
    device: opt.Device = "auto",
    seed: opt.SampleSeed = 0,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Compare an artifact with its original: measure the error and verify the file.

    Exits with 3 if a check or a gate fails. Writes no file unless --report asks for one.
    """


@_command
def backfill(
    bases: opt.BaseFiles,
    labels: opt.NewLabels = None,
    base_labels: opt.BaseLabels = None,
    max_id: opt.MaxId = None,
    base_ids: opt.BaseIds = None,
    method: opt.Method = None,
    fill: opt.Fill = None,
    table: opt.TablesToGrow = None,
    output: opt.Output = None,
    report: opt.Report = None,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    fill_labels: opt.FillLabels = None,
    constrainer: opt.Constrainer = None,
    row_offset: opt.RowOffset = None,
    keep_padding: opt.KeepPadding = False,
    drop_padding: opt.DropPadding = False,
    allow_expansion: opt.AllowExpansion = False,
    max_shard_size: opt.MaxShardSize = None,
    device: opt.Device = "auto",
    seed: opt.DrawSeed = 0,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Add rows for new ids to the tables of a checkpoint or an artifact; known rows stay the same to the bit.

    Writes STEM-backfilled.safetensors and its report beside the first BASE.
    """


@_command
def reconstruct(
    artifact: opt.Artifact,
    to: opt.DenseForm = None,
    output: opt.Output = None,
    report: opt.Report = None,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    allow_expansion: opt.AllowExpansion = False,
    max_shard_size: opt.MaxShardSize = None,
    device: opt.Device = "auto",
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write the dense checkpoint again: the same names, shapes and dtypes as the original.

    Writes STEM-dense.safetensors and its report beside the artifact; of a folder, the folder NAME-dense.
    """


@_command
def sweep(
    checkpoint: opt.Checkpoint,
    max_error: opt.AllowedError = DEFAULT_MAX_ERROR,
    table: opt.TablesToTry = None,
    exclude: opt.Exclude = None,
    plot: opt.Plot = None,
    report: opt.OwnReport = None,
    force: opt.Force = False,
    effort: opt.Effort = EFFORTS[0],
    device: opt.Device = "auto",
    seed: opt.SolverSeed = 0,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Measure error against bytes of every way to compress, and recommend one, with its command.

    Recommends the highest ratio at which every table stays within --max-error. Writes no file unless --report or --plot
    asks for one.
    """


@_command
def verify(
    artifact: opt.Artifact,
    report: opt.OwnReport = None,
    force: opt.Force = False,
    allow_expansion: opt.AllowExpansion = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Check an artifact alone: header, checksums, sizes, finite numbers, every row, and the report beside it.

    Exits with 3 if a check fails. Writes no file unless --report asks for one.
    """


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
    return EmbcompressError(f"out of memory{detail}.", hint="--dry-run estimates the memory that a run needs.")


def _color_help() -> None:
    """Hold typer's help to NO_COLOR and FORCE_COLOR, as the reports are."""
    wanted = wants_color(os.environ)
    rich_utils.COLOR_SYSTEM = None if wanted is False else "auto"
    rich_utils.FORCE_TERMINAL = wanted is True or sys.stdout.isatty()


def _fail(failure: EmbcompressError, args: Sequence[str], parsed: Mapping[str, Any]) -> int:
    known = {str(command.callback.__name__) for command in app.registered_commands if command.callback}
    command = " ".join(["embcompress", *(known & set(args[:1]))])
    failure.hint = hint_with_commands(failure, args)
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
    if (mistyped := getattr(err, "option_name", None)) and (text := getattr(err, "message", "")):
        parameters = context.command.params if context is not None else ()
        known = [name for parameter in parameters for name in parameter.opts if name.startswith("-")]
        message, meant = f"{text.rstrip('.')}.", did_you_mean(mistyped, set(known) - {mistyped})
    hint = f"{meant} `{command} --help` lists the options.".lstrip()
    return _fail(UsageError(message, hint=hint), args, {})
