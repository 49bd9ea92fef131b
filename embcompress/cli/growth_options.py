"""The arguments and options of `backfill` alone, each with its help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embcompress.choices import CONSTRAINERS, DEFAULT_METHOD, METHODS
from embcompress.cli.declaring import ADVANCED, ROWS, SIZE, TABLES, option
from embcompress.cli.values import parse_seed, read_whole

BaseFiles = Annotated[
    list[str],
    typer.Argument(metavar="BASE", help="Checkpoints or artifacts that hold the known rows."),
]
MaxId = Annotated[
    int | None,
    option(
        "--max-id N",
        SIZE,
        "Rows of the new table. Optional with --labels; a larger N pads it.",
        parser=read_whole("--max-id", "5000"),
    ),
]
BaseIds = Annotated[
    list[Path] | None,
    option(
        "--base-ids FILE", ROWS, "File with one new id per line: line j is where row j of BASE goes. Give one per BASE."
    ),
]
BaseLabels = Annotated[
    list[Path] | None,
    option(
        "--base-labels FILE",
        ROWS,
        "Labels of the base rows: .tsv or .csv of id and label, a JSON vocabulary or tokenizer, .npy, .parquet, "
        "sentencepiece's .vocab, or one per line. Give one per BASE.",
    ),
]
NewLabels = Annotated[
    Path | None,
    option("--labels FILE", ROWS, "Labels of the new table, in the order of its ids; formats as in --base-labels."),
]
RowOffset = Annotated[
    int | None,
    option(
        "--row-offset N",
        ADVANCED,
        "Row of the first label, in BASE and in the new table; rows before it keep their ids. Default: 0, or 1 "
        "where row 0 is all zeros and the only row without a label.",
        parser=read_whole("--row-offset", "1"),
    ),
]
KeepPadding = Annotated[
    bool,
    option(
        "--keep-padding", ADVANCED, "Keep rows of BASE behind its last label, and move them behind the last new label."
    ),
]
DropPadding = Annotated[
    bool, option("--drop-padding", ADVANCED, "Drop rows of BASE without a label where new labels need their ids.")
]
TablesToGrow = Annotated[
    list[str] | None,
    option(
        "--table GLOB",
        TABLES,
        "Tables to grow, by name. Repeatable. Default: the recognised tables with a row for each base id or label.",
    ),
]
Method = Annotated[
    str | None,
    option(
        "--method NAME",
        ROWS,
        f"Initializer of new rows: {', '.join(METHODS)}; with arguments, e.g. uniform:a=-1,b=1. "
        f"Default: {DEFAULT_METHOD}, with the mean and covariance of the known rows.",
    ),
]
Constrainer = Annotated[
    str | None,
    option(
        "--constrainer NAME",
        ADVANCED,
        f"Constraint applied to new rows: {', '.join(CONSTRAINERS)}; with arguments, e.g. clamp_norm:maxnorm=1; "
        "or none. Default: that of a pickled model of PyKEEN.",
    ),
]
Fill = Annotated[Path | None, option("--fill FILE", ROWS, "Checkpoint with the new rows, in the order of the new ids.")]
FillLabels = Annotated[
    Path | None,
    option("--fill-labels FILE", ADVANCED, "Labels of the rows of --fill; rows without one are drawn by --method."),
]
DrawSeed = Annotated[int, option("--seed N", ADVANCED, "Random seed of new rows.", parser=parse_seed)]
