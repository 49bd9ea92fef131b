"""One table after compression: its error, its bytes, how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embcompress.results.common import TableHead
from embcompress.results.grades import COSINE, NEIGHBOURS, WORST_GROUP, Grade


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
class NormRatio:
    """Norm of each row as it is stored over what it was, of rows that are not zero. Within 0.1 % of the value."""

    mean: float
    p01: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Histogram:
    """Numbers of rows that have a relative error from one edge up to the next.

    Attributes:
        edges: ascending, one more than counts; the first is 0, the last at least the largest error.
        counts: of rows.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class RowGroup:
    """The error of rows of similar norm, or of similar row weight.

    Attributes:
        rows: number of rows.
        low: the least of their norms, or of their row weights.
        high: the largest. Norms are within 0.5 % of their value.
        relative: ||E - E_stored||_F / ||E||_F over these rows; None where they are all zero and not kept so.
    """

    rows: int
    low: float
    high: float
    relative: float | None


@dataclass(frozen=True)
class TableErrorReport:
    """The error of one table as it is stored.

    Attributes:
        relative: ||E - E_stored||_F / ||E||_F.
        optimal_relative: the Eckart-Young optimum at this rank; None where the solver cannot know it.
        weighted_relative: as relative, with the squares of each row times its row weight; None without row weights.
        unweighted_rows: number of rows without a weight in --row-weights, which get the smallest weight in it; None
            without row weights.
        norm_ratio: of the rows; None where all are zero.
        histogram: of the rows' relative errors.
        by_norm: about ten groups of rows by ascending norm.
        by_frequency: ten groups of equally many rows by ascending row weight; None without row weights.
    """

    relative: float
    optimal_relative: float | None
    weighted_relative: float | None = field(default=None, kw_only=True)
    unweighted_rows: int | None = field(default=None, kw_only=True)
    row_relative: RowRelative
    cosine: Cosine
    norm_ratio: NormRatio | None = field(kw_only=True)
    worst_rows: tuple[WorstRow, ...]
    histogram: Histogram = field(kw_only=True)
    by_norm: tuple[RowGroup, ...] = field(kw_only=True)
    by_frequency: tuple[RowGroup, ...] | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Overlap:
    """Mean share of the nearest rows of a query that stay among its nearest.

    Attributes:
        overlap: the mean over the queries.
        low: the lower end of the confidence band for the mean over all rows.
        high: the upper end. Both are `overlap` itself where every row was a query.
    """

    overlap: float
    low: float
    high: float


@dataclass(frozen=True)
class NeighboursReport:
    """The share of nearest neighbours that rows keep: the effect of the error on retrieval.

    Attributes:
        neighbours_per_query: number of nearest rows that are compared, without the row itself.
        queries: number of rows whose neighbours were searched among all rows.
        seed: of the draw of the queries.
        confidence: of the bands.
        cosine: neighbours by cosine.
        inner_product: neighbours by inner product.
    """

    neighbours_per_query: int
    queries: int
    seed: int
    confidence: float
    cosine: Overlap
    inner_product: Overlap


@dataclass(frozen=True)
class SpectrumReport:
    """Singular values of a table, and the energy that its leading directions keep.

    Attributes:
        is_whole: whether all singular values are known, and not only the leading ones.
        kept_energy: the share of the squared norm in as many leading directions as the table has bases.
        ranks: numbers of bases, ascending, thinned where there are many.
        singular_values: the one at each of these ranks.
        energy: the share of the squared norm that as many bases can keep.
    """

    is_whole: bool
    kept_energy: float
    ranks: tuple[int, ...]
    singular_values: tuple[float, ...]
    energy: tuple[float, ...]


@dataclass(frozen=True)
class MatricesReport:
    """The matrices of a bilinear table, in the order of its rows.

    Attributes:
        shape: (in1, in2) of each.
        count: of them.
        relative: the relative error of each; empty in a dry run, and of more than 10,000 matrices, whose errors are
            in the histogram.
    """

    shape: tuple[int, int]
    count: int
    relative: tuple[float, ...]


@dataclass(frozen=True)
class Alternative:
    """The other way of factoring a bilinear table in the same bytes: its rows over shared bases.

    Attributes:
        rank: the number of bases that fit into the bytes.
        relative: the smallest error with them; None in a dry run.
    """

    kind: str
    rank: int
    relative: float | None


@dataclass(frozen=True)
class CodedReport:
    """The codes that the weights of a table are stored as.

    Attributes:
        row_kinds: how many kinds of rows there are, by their scale; of codes of schema 1, groups of rows by norm.
        is_rotated: whether there are bases; else the table's own columns are coded.
        trellis_states: of the trellis that strings are found with; None for codes of schema 1.
        bits_per_entry: of the table, everything counted.
        bound_relative: the least relative error of a Gaussian source with the table's spectrum at these bytes; None
            where the spectrum is not known whole, or rows count differently.
        predicted_relative: the error that was predicted, by row weights if there are any; None in `evaluate`.
    """

    row_kinds: int
    is_rotated: bool
    trellis_states: int | None
    bits_per_entry: float
    bound_relative: float | None
    predicted_relative: float | None


@dataclass(frozen=True)
class TableReport(TableHead):
    """One table after compression. `error` is None in a dry run.

    Attributes:
        matrices: of a bilinear table, whose `error` counts each matrix as a row; else None.
        alternative: of a bilinear table, where a basis fits into its bytes; else None.
        coded: of a table with coded weights; else None.
        solver: the solver that gave the bases, chosen for `solver_reason`; None in `evaluate`.
        solver_remarks: further steps and their reasons: other solvers, further passes, a larger dtype.
        spectrum: None where it is not known: of bilinear tables, of weighted rows, in a dry run.
        neighbours: None where none were searched, or the table has too few rows.
        zero_rows: rows of zeros in the dense table; of a bilinear table, matrices of zeros. None where `error` is.
        grade: by the `thresholds` of the report; None where `error` is.
    """

    kind: str
    rank: int
    coding: str
    solver: str | None
    solver_reason: str | None
    solver_remarks: tuple[str, ...] = field(default=(), kw_only=True)
    passes: int
    bytes_before: int
    bytes_after: int
    error: TableErrorReport | None
    seconds: float
    matrices: MatricesReport | None = None
    alternative: Alternative | None = None
    coded: CodedReport | None = None
    spectrum: SpectrumReport | None = None
    neighbours: NeighboursReport | None = None
    zero_rows: int | None = None
    grade: Grade | None = None

    @property
    def measures(self) -> Mapping[str, float]:
        """The values that it is graded by, each by its measure, of those that were measured."""
        values = {} if self.neighbours is None else {NEIGHBOURS: self.neighbours.cosine.overlap}
        if self.error is not None:
            values[COSINE] = self.error.cosine.mean
            errors = [group.relative for group in self.error.by_norm if group.relative is not None]
            values |= {WORST_GROUP: max(errors)} if errors else {}
        return values
