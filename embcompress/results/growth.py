"""The findings of `backfill`."""

from __future__ import annotations

from dataclasses import dataclass

from embcompress.results.common import InputFile, OutputFile, Skipped, TableHead, Totals


@dataclass(frozen=True)
class Norms:
    """Euclidean norms of rows. Quantiles are within 0.1 % of their value."""

    mean: float
    p50: float
    p99: float
    max: float


@dataclass(frozen=True)
class MeanCosine:
    """Cosines of rows with the mean of the kept rows. Quantiles of 1 - cosine are within 0.1 % of their value."""

    mean: float
    p50: float
    p01: float
    min: float


@dataclass(frozen=True)
class RowStatisticsReport:
    """Rows as they are stored: how long they are, and how far from the mean direction."""

    norm: Norms
    cosine: MeanCosine


@dataclass(frozen=True)
class GrownTable(TableHead):
    """A table that got rows.

    Attributes:
        rows: of the new table.
        coding: "dense", or how its weights are stored.
        rank: the number of bases; None for a dense table.
        rows_kept, rows_added, rows_dropped: of the bases' rows, the new ones, and those without a place, as their label
            has gone or they are padding that went.
        rows_filled: of the new rows, how many came from --fill.
        method: how the other new rows were made.
        constrainer: what all new rows were held to; None for nothing.
        kept_energy: the share of the squared norm of the new rows that the bases hold; None for a dense table, or
            where no row is new.
        base_rows, new_rows: the rows kept and the new ones; None where there are none, or in a dry run.
    """

    kind: str
    coding: str
    rank: int | None
    rows_kept: int
    rows_added: int
    rows_dropped: int
    rows_filled: int
    method: str
    constrainer: str | None
    kept_energy: float | None
    base_rows: RowStatisticsReport | None
    new_rows: RowStatisticsReport | None
    bytes_before: int
    bytes_after: int
    seconds: float


@dataclass(frozen=True)
class VocabularyReport:
    """The ids that the old and the new vocabulary share, and those that only one has.

    Attributes:
        kept_ids: ids that a base row belongs to.
        new_ids: ids that none does.
        dropped_rows: base rows whose label has gone.
        padding_rows: base rows that had no label.
        new_labels, dropped_labels: the first few of them.
    """

    kept_ids: int
    new_ids: int
    dropped_rows: int
    padding_rows: int
    new_labels: tuple[str, ...]
    dropped_labels: tuple[str, ...]


@dataclass(frozen=True)
class BackfillResult:
    """The growth that `backfill` did, or in a dry run would do."""

    command: str
    input: InputFile  # the first base
    further_inputs: tuple[InputFile, ...]  # the others
    output: OutputFile
    vocabulary: VocabularyReport
    tables: tuple[GrownTable, ...]
    skipped: tuple[Skipped, ...]
    totals: Totals
    warnings: tuple[str, ...]
    dry_run: bool = False
    memory_bytes: int | None = None  # the most that the run should hold at once, told by a dry run
