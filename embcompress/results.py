"""What a run found: data only, and the version of its JSON form.

Field names are those of the JSON report (docs/report.md); units are bytes, rows, seconds and shares of a Frobenius
norm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class InputFile:
    """The file that was read."""

    path: str
    bytes: int


@dataclass(frozen=True)
class OutputFile:
    """The file that was written; in a dry run the one that would be, its hash unknown."""

    path: str
    sha256: str | None
    bytes: int


@dataclass(frozen=True)
class RowRelative:
    """Relative error of the rows. Quantiles are within 0.1 % of their value."""

    mean: float
    p50: float
    p99: float
    max: float


@dataclass(frozen=True)
class Cosine:
    """Cosine of each row with its reconstruction. Quantiles of 1 - cosine are within 0.1 % of their value."""

    mean: float
    p01: float
    min: float


@dataclass(frozen=True)
class WorstRow:
    """One of the rows of the largest relative error."""

    id: int
    label: str | None
    relative: float


@dataclass(frozen=True)
class TableErrorReport:
    """The error of one table as it is stored.

    Attributes:
        relative: ||E - E_stored||_F / ||E||_F.
        optimal_relative: the Eckart-Young optimum at this rank; None where the solver cannot know it.
        weighted_relative: as relative, with the squares of each row times its row weight; None without row weights.
    """

    relative: float
    optimal_relative: float | None
    weighted_relative: float | None = field(default=None, kw_only=True)
    row_relative: RowRelative
    cosine: Cosine
    worst_rows: tuple[WorstRow, ...]


@dataclass(frozen=True)
class MatricesReport:
    """The matrices of a bilinear table, in the order of its rows.

    Attributes:
        shape: (in1, in2) of each.
        count: of them.
        relative: the relative error of each; empty in a dry run.
    """

    shape: tuple[int, int]
    count: int
    relative: tuple[float, ...]


@dataclass(frozen=True)
class Alternative:
    """What the same bytes give by the other way of factoring a bilinear table: its rows over shared bases.

    Attributes:
        rank: the number of bases that the bytes pay for.
        relative: the least error that they leave; None in a dry run.
    """

    kind: str
    rank: int
    relative: float | None


@dataclass(frozen=True)
class CodedReport:
    """How the weights of a table are stored in few bits.

    Attributes:
        groups: of rows by norm, each with its own bits and scales.
        is_rotated: whether there are bases; else the table's own columns are coded.
        bases_dtype: what they are stored in; None without bases.
        levels: "trellis" or "scalar".
        bits_per_entry: of the table, everything counted.
        bound_relative: the least relative error of a Gaussian source with the table's spectrum at these bytes; None
            where the spectrum is not known whole, or rows count differently.
        predicted_relative: the error that was expected, of rows counted by their weight.
    """

    groups: int
    is_rotated: bool
    bases_dtype: str | None
    levels: str
    bits_per_entry: float
    bound_relative: float | None
    predicted_relative: float


@dataclass(frozen=True)
class TableReport:
    """What became of one table. `error` is None in a dry run.

    Attributes:
        matrices: of a bilinear table, whose `error` counts each matrix as a row; else None.
        alternative: of a bilinear table, where its bytes pay for a basis; else None.
        coded: of a table with weights in few bits; else None.
    """

    name: str
    tied_names: tuple[str, ...]
    rows: int
    shape: tuple[int, ...]
    dtype: str
    kind: str
    rank: int
    coding: str
    solver: str
    solver_reason: str
    passes: int
    bytes_before: int
    bytes_after: int
    error: TableErrorReport | None
    seconds: float
    matrices: MatricesReport | None = None
    alternative: Alternative | None = None
    coded: CodedReport | None = None


@dataclass(frozen=True)
class Skipped:
    """A table that was left dense, or an entry that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Totals:
    """Bytes of the chosen tables together, each counted once however many names it has."""

    bytes_before: int
    bytes_after: int
    ratio: float


@dataclass(frozen=True)
class Gate:
    """A condition on the report, and whether it held."""

    expression: str
    table: str | None
    value: float
    passed: bool


@dataclass(frozen=True)
class ApproximateResult:
    """What `approximate` did, or in a dry run would do."""

    command: str
    input: InputFile
    output: OutputFile
    tables: tuple[TableReport, ...]
    skipped: tuple[Skipped, ...]
    totals: Totals
    gates: tuple[Gate, ...] = ()
    dry_run: bool = False
    memory_bytes: int | None = None  # the most that the run should hold at once, told by a dry run


@dataclass(frozen=True)
class ListedTable:
    """A matrix of a checkpoint, whether it would be compressed, and why."""

    name: str
    tied_names: tuple[str, ...]
    rows: int
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    chosen: bool
    reason: str


@dataclass(frozen=True)
class ListedTensor:
    """A tensor of a checkpoint that cannot be a table."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class InspectResult:
    """What a checkpoint holds."""

    command: str
    input: InputFile
    tables: tuple[ListedTable, ...]
    others: tuple[ListedTensor, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class ReconstructResult:
    """What `reconstruct` wrote."""

    command: str
    input: InputFile
    output: OutputFile
    tables: tuple[str, ...]
    tensors: int
    dry_run: bool = False


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
class GrownTable:
    """A table that got rows.

    Attributes:
        rows: of the new table.
        coding: "dense", or how its weights are stored.
        rank: the number of bases; None for a dense table.
        rows_kept, rows_added, rows_dropped: of the bases' rows, the new ones, and those whose label has gone; rows of
            padding count as dropped.
        rows_filled: of the new rows, how many came from --fill.
        method: how the other new rows were made.
        constrainer: what all new rows were held to; None for nothing.
        energy_held: the share of the squared norm of the new rows that the bases hold; None for a dense table, or
            where no row is new.
        base_rows, new_rows: the rows kept and the new ones; None where there are none, or in a dry run.
    """

    name: str
    tied_names: tuple[str, ...]
    rows: int
    shape: tuple[int, ...]
    dtype: str
    kind: str
    coding: str
    rank: int | None
    rows_kept: int
    rows_added: int
    rows_dropped: int
    rows_filled: int
    method: str
    constrainer: str | None
    energy_held: float | None
    base_rows: RowStatisticsReport | None
    new_rows: RowStatisticsReport | None
    bytes_before: int
    bytes_after: int
    seconds: float


@dataclass(frozen=True)
class VocabularyReport:
    """What the old and the new vocabulary share.

    Attributes:
        kept: ids that a base row belongs to.
        new: ids that none does.
        dropped: base rows whose label has gone.
        padding: base rows that had no label.
        new_labels, dropped_labels: the first few of them.
    """

    kept: int
    new: int
    dropped: int
    padding: int
    new_labels: tuple[str, ...]
    dropped_labels: tuple[str, ...]


@dataclass(frozen=True)
class BackfillResult:
    """What `backfill` did, or in a dry run would do."""

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


@dataclass(frozen=True)
class SweepPoint:
    """What one way of storing a table, or all tables together, leaves at one size.

    Attributes:
        asked_ratio: the ratio that it was made for; None for a way that has one size only.
        ratio: by how many times its bytes are fewer.
        bytes: of the tensors.
        rank: the number of bases, or of coded columns; None in totals and for integers.
        relative: the relative error; in totals the root mean square of those of the tables.
        low: the lower end of its 95 % confidence band; `relative` itself where it is exact.
        high: the upper end.
        exact: whether every row was looked at, and not a sample.
        bound_relative: the least relative error of a Gaussian source with the same spectrum at these bytes; None where
            the spectrum is not known whole.
        largest_relative: in totals the error of the worst table, the upper end of its band; else None.
    """

    asked_ratio: float | None
    ratio: float
    bytes: int
    rank: int | None
    relative: float
    low: float
    high: float
    exact: bool
    bound_relative: float | None
    largest_relative: float | None = None


@dataclass(frozen=True)
class SweepCurve:
    """One way of storing, by ascending ratio; empty where the way cannot be had."""

    way: str
    points: tuple[SweepPoint, ...]


@dataclass(frozen=True)
class SweptTable:
    """Error against bytes of one table.

    Attributes:
        passes: how often its rows were read.
        sample_rows: how many of them were encoded to see what is left.
        remarks: sentences on what pays and what does not, without the table's name.
    """

    name: str
    tied_names: tuple[str, ...]
    rows: int
    shape: tuple[int, ...]
    dtype: str
    bytes_before: int
    passes: int
    sample_rows: int
    curves: tuple[SweepCurve, ...]
    remarks: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class SweepTotals:
    """Error against bytes of all tables together, each counted once however many names it has."""

    bytes_before: int
    curves: tuple[SweepCurve, ...]


@dataclass(frozen=True)
class Recommendation:
    """The point that a sweep recommends, and the command that makes it.

    Attributes:
        way: a way of the curves.
        ratio: as the command asks for it.
        bytes: of the tensors.
        relative: the error in total.
        is_within: whether every table keeps to the error that was allowed.
        reason: one sentence.
        command: ready to paste into a shell.
    """

    way: str
    ratio: float
    bytes: int
    relative: float
    is_within: bool
    reason: str
    command: str


@dataclass(frozen=True)
class SweepResult:
    """What `sweep` found; `recommendation` is None where not even the smallest ratio can be had."""

    command: str
    input: InputFile
    tables: tuple[SweptTable, ...]
    skipped: tuple[Skipped, ...]
    totals: SweepTotals
    recommendation: Recommendation | None


Result = ApproximateResult | BackfillResult | InspectResult | ReconstructResult | SweepResult
