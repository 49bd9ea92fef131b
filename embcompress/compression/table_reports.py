"""What was measured of a table, in the words of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from embcompress.coding.bound import gaussian_bound
from embcompress.linalg.error import TableError as MeasuredError
from embcompress.linalg.neighbours import CONFIDENCE, NeighbourOverlap
from embcompress.linalg.row_groups import RowGroup as MeasuredGroup
from embcompress.linalg.svd import Factorization
from embcompress.results import (
    CodedReport,
    Cosine,
    Histogram,
    NeighboursReport,
    NormRatio,
    Overlap,
    RowGroup,
    RowRelative,
    SpectrumReport,
    TableErrorReport,
    WorstRow,
)
from embcompress.tables.table import Table

SPECTRUM_POINTS = 64  # at most, of a spectrum in a report, and the rank in use beside them


def error_report(
    error: MeasuredError,
    optimal_relative: float | None,
    *,
    labels: Sequence[str] = (),
    unweighted_rows: int | None = None,
) -> TableErrorReport:
    """Turn what was measured into what the report says.

    Args:
        error: of the table as it is stored.
        optimal_relative: the least that it could be, if that is known.
        labels: of all rows, blank for those that have none; or empty.
        unweighted_rows: rows that were given no weight; None without row weights.
    """
    return TableErrorReport(
        relative=error.relative,
        optimal_relative=optimal_relative,
        weighted_relative=error.weighted_relative,
        unweighted_rows=None if error.weighted_relative is None else unweighted_rows,
        row_relative=RowRelative(
            mean=error.row_relative.mean,
            p50=error.row_relative.median,
            p99=error.row_relative.tail,
            max=error.row_relative.extreme,
        ),
        cosine=Cosine(mean=error.cosine.mean, p01=error.cosine.tail, min=error.cosine.extreme),
        norm_ratio=None if error.norm_ratio is None else NormRatio(**asdict(error.norm_ratio)),
        worst_rows=tuple(
            WorstRow(row.id, (labels[row.id] or None) if labels else None, row.relative) for row in error.worst_rows
        ),
        histogram=Histogram(error.histogram.edges, error.histogram.counts),
        by_norm=_row_groups(error.by_norm),
        by_frequency=None if error.by_frequency is None else _row_groups(error.by_frequency),
    )


def _row_groups(groups: Sequence[MeasuredGroup]) -> tuple[RowGroup, ...]:
    return tuple(RowGroup(group.rows, group.low, group.high, group.relative) for group in groups)


def spectrum_report(factors: Factorization, *, table: Table, rank: int) -> SpectrumReport | None:
    """Tell the spectrum that a solver found; None of a table of zeros.

    Args:
        factors: of the table's rows, counted alike.
        table: that they belong to.
        rank: the number of bases in use.
    """
    if not factors.squared_norm:
        return None
    values = factors.singular_values
    energies = (values.square().cumsum(0) / factors.squared_norm).clamp_max(1.0).tolist()
    known = len(energies)
    kept = min(rank, known)
    shown = [round(math.exp(math.log(known) * step / (SPECTRUM_POINTS - 1))) for step in range(SPECTRUM_POINTS)]
    ranks = sorted({*(range(1, known + 1) if known <= SPECTRUM_POINTS else shown), kept, known})
    return SpectrumReport(
        is_whole=known == min(table.rows, table.dim),
        kept=energies[kept - 1],
        ranks=tuple(ranks),
        singular_values=tuple(float(values[number - 1]) for number in ranks),
        energy=tuple(energies[number - 1] for number in ranks),
    )


def neighbours_report(found: NeighbourOverlap | None, *, seed: int) -> NeighboursReport | None:
    """Tell how many neighbours stay, of rows drawn with `seed`."""
    if found is None:
        return None
    return NeighboursReport(
        nearest=found.nearest,
        queries=found.queries,
        seed=seed,
        confidence=CONFIDENCE,
        cosine=Overlap(**asdict(found.cosine)),
        inner_product=Overlap(**asdict(found.inner_product)),
    )


def coded_report(
    table: Table,
    *,
    kinds: int,
    is_rotated: bool,
    states: int | None,
    nbytes: int,
    factors: Factorization | None,
    predicted_relative: float | None,
) -> CodedReport:
    """Tell how the weights of a table are stored as codes.

    Args:
        table: the dense one.
        kinds: of rows, by their scale.
        is_rotated: whether there are bases.
        states: of the trellis; None for codes of schema 1.
        nbytes: of all that the table is stored as.
        factors: of the rows counted alike, for the bound; None where they are not known.
        predicted_relative: the error that was expected; None where nothing was.
    """
    rate, bound = nbytes * 8 / table.rows, None
    if factors is not None and len(factors.singular_values) == min(table.rows, table.dim):
        bound = gaussian_bound(factors.singular_values.square(), rate)
    return CodedReport(
        kinds=kinds,
        is_rotated=is_rotated,
        states=states,
        bits_per_entry=rate / table.dim,
        bound_relative=bound,
        predicted_relative=predicted_relative,
    )
