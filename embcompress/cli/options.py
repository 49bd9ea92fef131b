"""The arguments and options of the command line but for those of `backfill`, each with its help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embcompress.artifact.limits import EXPANSION_MAX
from embcompress.choices import DENSE_FORMS, EXPORT_KINDS, STORED_DTYPES
from embcompress.cli.declaring import ADVANCED, OUTPUT, QUALITY, SIZE, TABLES, option
from embcompress.cli.values import Sides, parse_ratio, parse_seed, parse_sides, read_share, read_whole
from embcompress.compression.budget import EFFORTS
from embcompress.evaluation.baseline import DEFAULT_MAX_REGRESSION
from embcompress.linalg.solvers import SOLVERS
from embcompress.report import RENDERERS
from embcompress.results import THRESHOLDS

REPORT = f"File to write the report to; its ending chooses the form: {', '.join(RENDERERS)}. Repeatable."
# Checkpoints are texts, since a Path would make hf:/org/name of hf://org/name.
Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CKPT",
        help="Checkpoint to read, a file or a folder: safetensors, torch, Hugging Face or hf://org/name, NumPy, word "
        "vectors, GGUF, HDF5, Parquet.",
    ),
]
Artifact = Annotated[str, typer.Argument(metavar="ARTIFACT", help="Artifact to read: what `approximate` wrote.")]
Output = Annotated[
    Path | None, option("-o --output FILE", OUTPUT, "File or folder to write. Default: beside the input.")
]
DenseForm = Annotated[
    str | None,
    option(
        "--to FORM",
        OUTPUT,
        f"Form of the dense model: {', '.join(DENSE_FORMS)}. "
        "Default: that of the original if it was NumPy or word vectors, else safetensors.",
    ),
]
Exported = Annotated[
    str, typer.Argument(metavar="CKPT", help="Checkpoint or artifact whose tables are exported, a file or a folder.")
]
ExportKind = Annotated[
    str,
    option(
        "--to KIND",
        OUTPUT,
        f"Form of the tables: {'; '.join(f'{name}: {what}' for name, what in EXPORT_KINDS.items())}.",
    ),
]
ExportedFrom = Annotated[
    str | None,
    option(
        "--original CKPT",
        QUALITY,
        "Checkpoint that an artifact was made of, to measure the error against. Default: against the rows of the "
        "artifact.",
    ),
]
TablesToExport = Annotated[
    list[str] | None,
    option(
        "--table GLOB",
        TABLES,
        "Tables to export, by name. Repeatable. Default: the recognised embedding tables; of an artifact, those that "
        "are compressed.",
    ),
]
MaxShardSize = Annotated[
    str | None,
    option(
        "--max-shard-size SIZE",
        ADVANCED,
        "Write a folder of files of at most this many bytes of tensors each, e.g. 5GB, and their index.",
    ),
]
AllowExpansion = Annotated[
    bool,
    option(
        "--allow-expansion",
        ADVANCED,
        f"Read an artifact whose tables claim more than {EXPANSION_MAX} times its bytes, too.",
    ),
]
Force = Annotated[bool, option("-f --force", OUTPUT, "Overwrite files that exist.")]
DryRun = Annotated[bool, option("-n --dry-run", OUTPUT, "Check everything, predict sizes and memory, write nothing.")]
Report = Annotated[
    list[Path] | None,
    option(
        "--report FILE",
        OUTPUT,
        f"{REPORT} Default: OUTPUT's stem + .report.json.",
    ),
]
OwnReport = Annotated[
    list[Path] | None,
    option(
        "--report FILE",
        OUTPUT,
        f"{REPORT} Default: no file.",
    ),
]
Json = Annotated[bool, option("--json", ADVANCED, "Print one JSON document on stdout and nothing else there.")]
Verbose = Annotated[
    bool, option("-v --verbose", ADVANCED, "Show every column, a closer look at the worst tables, and a legend.")
]
Quiet = Annotated[bool, option("-q --quiet", ADVANCED, "Print only errors.")]
Neighbours = Annotated[
    int,
    option(
        "--neighbours N",
        ADVANCED,
        "Number of sampled rows per table whose 10 nearest neighbours are compared before and after compression; "
        "0 turns it off.",
        parser=read_whole("--neighbours", "100"),
    ),
]
FailIf = Annotated[
    list[str] | None,
    option(
        "--fail-if EXPR",
        QUALITY,
        "Fail (exit code 3) if this condition on a field of the JSON report holds, e.g. 'error.relative > 0.05'. "
        "Repeatable.",
    ),
]
Baseline = Annotated[
    Path | None,
    option(
        "--baseline FILE",
        ADVANCED,
        "Fail (exit code 3) if this artifact is worse than the one in this earlier JSON report.",
    ),
]
MaxRegression = Annotated[
    str | None,
    option(
        "--max-regression F",
        ADVANCED,
        f"How much worse than --baseline each number may be, e.g. 1% or 0.01. Default: {DEFAULT_MAX_REGRESSION}.",
    ),
]
Grade = Annotated[
    list[str] | None,
    option(
        "--grade RULE",
        ADVANCED,
        "Threshold of the grades good and fair, MEASURE=GOOD,FAIR, e.g. neighbours=90%,75%. Repeatable. Default: "
        f"{', '.join(f'{one.measure}={one.good:g},{one.fair:g}' for one in THRESHOLDS.values())}.",
    ),
]
Device = Annotated[str, option("--device DEVICE", ADVANCED, "Where to compute: auto, cpu, cuda or cuda:N.")]
Bases = Annotated[
    int | None,
    option(
        "--bases K",
        SIZE,
        "Rank: number of bases per table. Weights are stored as floats.",
        parser=read_whole("--bases", "8"),
    ),
]
Energy = Annotated[
    float | None,
    option(
        "--energy F",
        SIZE,
        "Share of its squared norm that each table keeps, e.g. 0.95 or 95%. Weights are stored as floats.",
        parser=read_share("--energy", "0.95"),
    ),
]
MaxError = Annotated[
    float | None,
    option(
        "--max-error F",
        SIZE,
        "Make the smallest file in which no table's relative error exceeds F, e.g. 0.05 or 5% (rows weighted by "
        "--row-weights, if given).",
        parser=read_share("--max-error", "0.05"),
    ),
]
Ratio = Annotated[
    float | None,
    option(
        "--ratio R",
        SIZE,
        "Shrink the chosen tables R-fold in total, everything counted, with the smallest error.",
        parser=parse_ratio,
    ),
]
MaxSize = Annotated[
    str | None,
    option(
        "--max-size SIZE", SIZE, "Make the whole file at most this large, e.g. 1.5MB or 2GiB, with the smallest error."
    ),
]
Plain = Annotated[
    bool,
    option("--plain", ADVANCED, "Store weights as floats, never as codes, with --max-error, --ratio or --max-size."),
]
Effort = Annotated[
    str,
    option(
        "--effort EFFORT",
        ADVANCED,
        f"Time against error of coded weights: {', '.join(EFFORTS)}. best: 2 to 4 % less error than default, two "
        "to three times as slow. fast: 1 % more error, hardly faster on long tables.",
    ),
]
FixedRows = Annotated[
    bool,
    option(
        "--fixed-rows",
        ADVANCED,
        "Give coded rows of one kind the same length in bytes, so that they can be read in place from disk; 0.5 "
        "to 3 % more error.",
    ),
]
Seekable = Annotated[
    bool,
    option(
        "--seekable",
        ADVANCED,
        "Let coded rows be read from disk one at a time, without loading the file: "
        "embcompress.load(path, resident=False). Costs about 1.5 bits a row.",
    ),
]
Dtype = Annotated[
    str,
    option(
        "--dtype DTYPE",
        ADVANCED,
        f"Dtype of stored floats: {', '.join(STORED_DTYPES)}. Only with --plain, --bases or --energy.",
    ),
]
Tables = Annotated[
    list[str] | None,
    option(
        "--table GLOB", TABLES, "Tables to compress, by name. Repeatable. Default: the recognised embedding tables."
    ),
]
Exclude = Annotated[list[str] | None, option("--exclude GLOB", TABLES, "Tables to leave dense, by name. Repeatable.")]
Bilinear = Annotated[
    list[str] | None,
    option(
        "--bilinear GLOB",
        ADVANCED,
        "Tables whose rows are matrices (e.g. RESCAL relations): factor each matrix as A B^T of rank K. Repeatable.",
    ),
]
BilinearShape = Annotated[
    Sides | None,
    option(
        "--bilinear-shape IN1,IN2",
        ADVANCED,
        "Shape of these matrices, if rows are stored flat and the checkpoint does not record it.",
        parser=parse_sides,
    ),
]
RowWeights = Annotated[
    Path | None,
    option(
        "--row-weights FILE",
        ADVANCED,
        "Weight of each row's error: a file with a number per line, a table of id or label and count, or .json. "
        "Rows without one weigh the least.",
    ),
]
MeasuredRowWeights = Annotated[
    Path | None,
    option(
        "--row-weights FILE",
        ADVANCED,
        "Weight of each row's error in the weighted error; formats as in `approximate`. Rows without one weigh the "
        "least. Each row is rounded by itself, whatever its weight.",
    ),
]
Labels = Annotated[
    Path | None,
    option(
        "--labels FILE",
        ADVANCED,
        "Labels of the rows, for --row-weights and the report: .tsv, .csv, .json, .npy, .parquet, a tokenizer, "
        "sentencepiece's .vocab or one per line.",
    ),
]
Solver = Annotated[
    str, option("--solver SOLVER", ADVANCED, f"Solver of the SVD: auto, {', '.join(SOLVERS)}. Only with --bases.")
]
Seed = Annotated[
    int,
    option(
        "--seed N", ADVANCED, "Random seed of the randomized solver and of the --neighbours sample.", parser=parse_seed
    ),
]
Original = Annotated[str, typer.Argument(metavar="ORIGINAL", help="Checkpoint that was compressed.")]
Evaluated = Annotated[str, typer.Argument(metavar="ARTIFACT", help="Artifact that `approximate` made of it.")]
Triples = Annotated[
    Path | None,
    option(
        "--triples FILE",
        QUALITY,
        "Triples of a knowledge graph, head<TAB>relation<TAB>tail, to rank with the original and with the artifact. "
        "Needs PyKEEN.",
    ),
]
Known = Annotated[
    list[Path] | None,
    option(
        "--known FILE",
        ADVANCED,
        "Further true triples, filtered out of the ranking (e.g. the training set). Repeatable.",
    ),
]
Interaction = Annotated[
    str | None,
    option(
        "--interaction NAME",
        ADVANCED,
        "Interaction that scores triples, e.g. ComplEx or TransE:p=1. Default: that of the pickled model.",
    ),
]
SampleSeed = Annotated[int, option("--seed N", ADVANCED, "Random seed of the --neighbours sample.", parser=parse_seed)]
Word = Annotated[
    str | None, typer.Argument(metavar="WORD", help="Word of a report, e.g. bound, p99, tied. Default: all words.")
]
TablesToTry = Annotated[
    list[str] | None,
    option("--table GLOB", TABLES, "Tables to try, by name. Repeatable. Default: the recognised embedding tables."),
]
AllowedError = Annotated[
    float,
    option(
        "--max-error F",
        SIZE,
        "Largest relative error that the recommendation allows any table, e.g. 0.05 or 5%.",
        parser=read_share("--max-error", "0.05"),
    ),
]
Plot = Annotated[
    Path | None,
    option("--plot FILE", OUTPUT, "File to draw error against size in: .svg, .png or .pdf. Needs matplotlib."),
]
SolverSeed = Annotated[int, option("--seed N", ADVANCED, "Random seed of the randomized solver.", parser=parse_seed)]
