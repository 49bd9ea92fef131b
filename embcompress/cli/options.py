"""The arguments and options of the command line, each with its help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embcompress.choices import CONSTRAINERS, DEFAULT_METHOD, METHODS, STORED_DTYPES
from embcompress.compression.budget import EFFORTS
from embcompress.evaluation.gates import DEFAULT_MAX_REGRESSION
from embcompress.linalg.solvers import SOLVERS
from embcompress.report import RENDERERS

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
Bases = Annotated[
    int | None,
    typer.Option("--bases", metavar="K", min=1, help="Number of bases of every table; weights as floats."),
]
Energy = Annotated[
    float | None,
    typer.Option(
        "--energy", metavar="F", help="Share of its squared norm that each table keeps, 0 to 1; weights as floats."
    ),
]
MaxError = Annotated[
    float | None,
    typer.Option(
        "--max-error",
        metavar="F",
        help="Relative error that no table exceeds, weighted by --row-weights; in the fewest bytes.",
    ),
]
Ratio = Annotated[
    float | None,
    typer.Option(
        "--ratio", metavar="R", help="The chosen tables become R times smaller together; with the least error."
    ),
]
MaxSize = Annotated[
    str | None,
    typer.Option(
        "--max-size", metavar="SIZE", help="Bytes of the whole file, as in 1.5MB or 2GiB; with the least error."
    ),
]
Plain = Annotated[bool, typer.Option("--plain", help="Keep --max-error, --ratio and --max-size to weights as floats.")]
Effort = Annotated[
    str,
    typer.Option(
        "--effort",
        metavar="EFFORT",
        help=f"{', '.join(EFFORTS)}. best: 2 to 4 % less error in two to three times the time. Only for coded weights.",
    ),
]
FixedRows = Annotated[
    bool,
    typer.Option(
        "--fixed-rows",
        help="Give all coded rows of one kind one length, for rows read in place from disk; 0.5 to 3 % more error.",
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="DTYPE",
        help=f"What floats are stored in: {', '.join(STORED_DTYPES)}; with --plain, --bases or --energy.",
    ),
]
Tables = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="GLOB", help="Tables to compress, by name. Repeatable. Default: those recognised."),
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Tables to leave as they are. Repeatable.")
]
Bilinear = Annotated[
    list[str] | None,
    typer.Option(
        "--bilinear",
        metavar="GLOB",
        help="Tables of which each matrix is factored by itself, into A B^T with K columns. Repeatable.",
    ),
]
BilinearShape = Annotated[
    str | None,
    typer.Option(
        "--bilinear-shape",
        metavar="IN1,IN2",
        help="Sides of these matrices, where rows are flat and nothing tells.",
    ),
]
RowWeights = Annotated[
    Path | None,
    typer.Option(
        "--row-weights",
        metavar="FILE",
        help="How much the error of each row counts: a number a line, .tsv of id or label<TAB>count, or .json.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="Labels of the rows, for --row-weights and the report."),
]
Solver = Annotated[str, typer.Option("--solver", metavar="SOLVER", help=f"auto, {', '.join(SOLVERS)}; with --bases.")]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="Of the randomized solver and the sample of --neighbours.")
]
Original = Annotated[Path, typer.Argument(metavar="ORIGINAL", help="The checkpoint that was compressed.")]
Evaluated = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="What `approximate` made of it.")]
Triples = Annotated[
    Path | None,
    typer.Option(
        "--triples",
        metavar="FILE",
        help="Triples of a knowledge graph to rank before and after, head<TAB>relation<TAB>tail. Needs PyKEEN.",
    ),
]
Known = Annotated[
    list[Path] | None,
    typer.Option("--known", metavar="FILE", help="Other triples that are true and count in no rank. Repeatable."),
]
Interaction = Annotated[
    str | None,
    typer.Option(
        "--interaction",
        metavar="NAME",
        help="What scores triples, as in ComplEx or TransE:p=1. Default: what the pickled model tells.",
    ),
]
SampleSeed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the sample of --neighbours.")]
BaseFiles = Annotated[
    list[Path],
    typer.Argument(metavar="BASE", help="Checkpoints or artifacts with the known rows."),
]
MaxId = Annotated[
    int | None, typer.Option("--max-id", metavar="N", help="Number of ids. With --labels: if larger than theirs.")
]
BaseIds = Annotated[
    list[Path] | None,
    typer.Option("--base-ids", metavar="FILE", help="Line j: the new id of base row j. Once for each BASE."),
]
BaseLabels = Annotated[
    list[Path] | None,
    typer.Option(
        "--base-labels",
        metavar="FILE",
        help="Labels of the base rows: .tsv[.gz] of id<TAB>label, a JSON vocabulary or tokenizer, or one a line. "
        "Once for each BASE.",
    ),
]
NewLabels = Annotated[
    Path | None, typer.Option("--labels", metavar="FILE", help="The new labels, in the order of the new ids.")
]
TablesToGrow = Annotated[
    list[str] | None,
    typer.Option(
        "--table", metavar="GLOB", help="Tables to grow. Repeatable. Default: those recognised with as many rows."
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help=f"How new rows are made: {', '.join(METHODS)}; arguments as in uniform:a=-1,b=1. "
        f"Default: {DEFAULT_METHOD}, with mean and covariance of the known rows.",
    ),
]
Constrainer = Annotated[
    str | None,
    typer.Option(
        "--constrainer",
        metavar="NAME",
        help=f"What new rows are held to: {', '.join(CONSTRAINERS)}; arguments as in clamp_norm:maxnorm=1.",
    ),
]
Fill = Annotated[
    Path | None,
    typer.Option("--fill", metavar="FILE", help="A checkpoint with the new rows, in the order of the new ids."),
]
FillLabels = Annotated[
    Path | None,
    typer.Option("--fill-labels", metavar="FILE", help="Labels of the rows of --fill; others are drawn by --method."),
]
DrawSeed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the draws.")]
TablesToTry = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="GLOB", help="Tables to try, by name. Repeatable. Default: those recognised."),
]
AllowedError = Annotated[
    float,
    typer.Option("--max-error", metavar="F", help="Relative error, 0 to 1, that the recommendation allows each table."),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE", help="Where to draw error against size: .svg, .png or .pdf. Needs matplotlib."
    ),
]
SolverSeed = Annotated[int, typer.Option("--seed", metavar="N", help="Start of the randomized solver.")]
