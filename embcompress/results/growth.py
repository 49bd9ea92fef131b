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
    """Norms of rows as they are stored, and their cosines with the mean row."""

    norm: Norms
    cosine: MeanCosine


@dataclass(frozen=True)
class GrownTable(TableHead):
    """A table that got rows.

    Attributes:
        rows: of the new table.
        coding: "dense", or how its weights are stored.
        rank: the number of bases; None for a dense table.
        rows_kept, rows_added, rows_dropped: numbers of base rows that were kept, of new rows, of base rows dropped as
            padding, or as their label is gone.
        rows_filled: number of new rows that came from --fill.
        method: the initializer of the other new rows.
        constrainer: the constraint applied to all new rows; None for none.
        kept_energy: the share of the squared norm of the new rows that is left after projection on the bases, and
            coding; None for a dense table, or where no row is new.
        base_rows, new_rows: statistics of the kept and of the new rows; None where there are none, or in a dry run.
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
        kept_ids: number of ids with a base row.
        new_ids: number of ids without one.
        dropped_rows: number of base rows whose label is gone.
        padding_rows: number of base rows without a label.
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
    """The growth that `backfill` did, or in a dry run would do.

    Attributes:
        notes: sentences on the parts of a model that grew beside its tables.
    """

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
    memory_bytes: int | None = None  # estimate of the peak, in a dry run only
    notes: tuple[str, ...] = ()
