"""The commands: each declares its options and its help, calls the function of its name and shows what it returns."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import getdoc, signature
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import embcompress
from embcompress.choices import DEFAULT_NEIGHBOURS
from embcompress.cli import growth_options as grow
from embcompress.cli import options as opt
from embcompress.cli.declaring import ADVANCED
from embcompress.cli.examples import epilog_of
from embcompress.cli.process import print_text
from embcompress.cli.showing import show, showing_progress
from embcompress.compression.budget import DEFAULT_MAX_ERROR, EFFORTS
from embcompress.exceptions import UsageError
from embcompress.report.colors import render_text
from embcompress.report.terminal import render_words
from embcompress.report.words import WORDS, find_word
from embcompress.text import did_you_mean

CHECKPOINTS = frozenset({"checkpoint", "original", "artifact", "bases"})  # arguments that are texts
HELP_OPTIONS = frozenset({"-h", "--help"})
app = typer.Typer(
    name="embcompress",
    help="Compress trained embedding checkpoints: coded (quantized) weights over shared bases, one safetensors file, "
    "an error report.",
    no_args_is_help=True,
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
            option.rich_help_panel = ADVANCED
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
    def command(*, json: bool, quiet: bool, verbose: bool, **parameters: Any) -> None:
        _refuse_streams(parameters)
        function = getattr(embcompress, declared.__name__)  # the only import of what runs
        expected = signature(function).parameters
        given = {name: value for name, value in parameters.items() if value is not None}
        positional = [given.pop(name) for name in list(given) if name not in expected]
        if json or quiet:  # read by huggingface_hub, whose bars show how far a download is
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        with showing_progress(json=json, quiet=quiet) as progress:
            shown = {"progress": progress} if "progress" in expected else {}
            result = function(*positional, **given, **shown)
        show(result, json=json, quiet=quiet, verbose=verbose, report=given.get("report"))

    text = "\n\n".join(" ".join(one.split()) for one in paragraphs)
    return app.command(cls=_Command, help=text, epilog=epilog_of(declared.__name__))(command)


def _refuse_streams(parameters: Mapping[str, Any]) -> None:
    """Refuse `-`, by which other programs mean standard input or output.

    Raises:
        UsageError: it is the value of a parameter that names a file.
    """
    for name, value in parameters.items():
        values = value if isinstance(value, list) else [value]
        if not any(str(one) == "-" and (isinstance(one, Path) or name in CHECKPOINTS) for one in values):
            continue
        option = "" if name in CHECKPOINTS else f"--{name.replace('_', '-')} "
        hint = "--json prints the report on standard output." if name == "report" else "Name a file, as ./- if need be."
        raise UsageError(f"{option}- is no file, and nothing is read from or written to a pipe.", hint=hint)


@_command
def inspect(
    checkpoint: opt.Checkpoint,
    report: opt.OwnReport = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
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
    seekable: opt.Seekable = False,
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
    grade: opt.Grade = None,
    max_shard_size: opt.MaxShardSize = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Compress the embedding tables of a checkpoint to shared bases and the weights of each row.

    Give one of --ratio, --max-size, --max-error, --bases, --energy. The first three store weights as codes (quantized)
    where that is smaller. Writes STEM-16x.safetensors, named by the size, and its error report beside the checkpoint.
    """


@_command
def evaluate(
    original: opt.Original,
    artifact: opt.Evaluated,
    fail_if: opt.FailIf = None,
    baseline: opt.Baseline = None,
    max_regression: opt.MaxRegression = None,
    grade: opt.Grade = None,
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
    verbose: opt.Verbose = False,
) -> None:
    """Compare an artifact with its original: measure the error and verify the file.

    Exits with 3 if a check or a gate fails. Writes no file unless --report asks for one.
    """


@_command
def backfill(
    bases: grow.BaseFiles,
    labels: grow.NewLabels = None,
    base_labels: grow.BaseLabels = None,
    max_id: grow.MaxId = None,
    base_ids: grow.BaseIds = None,
    method: grow.Method = None,
    fill: grow.Fill = None,
    table: grow.TablesToGrow = None,
    output: opt.Output = None,
    report: opt.Report = None,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    fill_labels: grow.FillLabels = None,
    constrainer: grow.Constrainer = None,
    row_offset: grow.RowOffset = None,
    keep_padding: grow.KeepPadding = False,
    drop_padding: grow.DropPadding = False,
    allow_expansion: opt.AllowExpansion = False,
    max_shard_size: opt.MaxShardSize = None,
    device: opt.Device = "auto",
    seed: grow.DrawSeed = 0,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
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
    verbose: opt.Verbose = False,
) -> None:
    """Write the dense checkpoint again: the same names, shapes and dtypes as the original.

    Writes STEM-dense.safetensors and its report beside the artifact; of a folder, the folder NAME-dense.
    """


@_command
def export(
    checkpoint: opt.Exported,
    to: opt.ExportKind,
    table: opt.TablesToExport = None,
    exclude: opt.Exclude = None,
    fail_if: opt.FailIf = None,
    original: opt.ExportedFrom = None,
    output: opt.Output = None,
    report: opt.Report = None,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    row_weights: opt.MeasuredRowWeights = None,
    labels: opt.Labels = None,
    neighbours: opt.Neighbours = DEFAULT_NEIGHBOURS,
    allow_expansion: opt.AllowExpansion = False,
    device: opt.Device = "auto",
    seed: opt.SampleSeed = 0,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Write the tables in a form that another program serves, with the rounding that leaves the least error.

    Other tensors are copied where the form can hold them. Writes STEM-q4_0.gguf, STEM-int8.safetensors or the folder
    STEM-w4, and its error report, beside CKPT; docs/exports.md lists the forms.
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
    verbose: opt.Verbose = False,
) -> None:
    """Measure error against bytes of every way to compress, and recommend one, with its command.

    Recommends the highest ratio at which every table stays within --max-error. Writes no file unless --report or --plot
    asks for one.
    """


@app.command(cls=_Command, epilog=epilog_of("explain"))
def explain(word: opt.Word = None) -> None:
    """Say what a word of the reports means; without a word, all of them."""
    known = None if word is None else find_word(word)
    if word is not None and known is None:
        raise UsageError(
            f"no report has the word {word!r}.",
            hint=did_you_mean(word, WORDS) or f"Words: {', '.join(WORDS)}.",
        )
    print_text(render_text(render_words(WORDS if known is None else [known]), os.environ, like=sys.stdout))


@_command
def verify(
    artifact: opt.Artifact,
    report: opt.OwnReport = None,
    force: opt.Force = False,
    allow_expansion: opt.AllowExpansion = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Check an artifact alone: header, checksums, sizes, finite numbers, every row, and the report beside it.

    Exits with 3 if a check fails. Writes no file unless --report asks for one.
    """
