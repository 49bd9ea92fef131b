"""Figures of several compressed tables beside each other: their bytes, their errors, the neighbours that they keep."""

from __future__ import annotations

from collections.abc import Sequence

from embcompress.report.document.model import ErrorsDrawing, Figure, NeighboursDrawing, SizesDrawing
from embcompress.report.names import Name
from embcompress.report.wording import counted, is_exported, least_error, least_word, percent, share
from embcompress.results import TableReport
from embcompress.text import human_bytes

BARS_MAX = 12  # tables with a bar, the largest


def sizes_figure(tables: Sequence[TableReport]) -> Figure:
    """Draw bytes before and after."""
    shown = _largest(tables)
    before, after = sum(table.bytes_before for table in shown), sum(table.bytes_after for table in shown)
    return Figure(
        "Size",
        f"Bytes of {counted(len(shown), 'table')}: {human_bytes(before)} before, {human_bytes(after)} after.",
        f"Bytes of the table before and after.{_left_out(tables, shown)}"
        if len(shown) == 1
        else f"Bytes of each table before, and in the stronger colour after.{_left_out(tables, shown)}",
        SizesDrawing(
            tuple(Name(table.name) for table in shown),
            tuple(table.bytes_before for table in shown),
            tuple(table.bytes_after for table in shown),
        ),
    )


def errors_figure(tables: Sequence[TableReport]) -> Figure | None:
    """Draw the errors of several tables beside the least that they could be; None where nothing was measured."""
    shown = [table for table in _largest(tables) if table.error is not None]
    if not shown:
        return None
    errors = tuple(table.error.relative for table in shown if table.error is not None)
    least = " or ".join(dict.fromkeys(map(least_word, shown)))
    beside = "" if all(map(is_exported, shown)) else f"; the stronger colour is its {least}, the least possible"
    return Figure(
        "Error",
        f"Relative errors of {counted(len(shown), 'table')}, from {share(min(errors))} to {share(max(errors))}.",
        f"The error of each table{beside}.{_left_out(tables, shown)}",
        ErrorsDrawing(tuple(Name(table.name) for table in shown), errors, tuple(map(least_error, shown))),
    )


def neighbours_figure(tables: Sequence[TableReport]) -> Figure | None:
    """Draw the share of neighbours that several tables keep; None where none were looked for."""
    shown = [table for table in _largest(tables) if table.neighbours is not None]
    if not shown:
        return None
    shares = tuple(table.neighbours.cosine.overlap for table in shown if table.neighbours is not None)
    return Figure(
        "Neighbours kept",
        f"Neighbours that {counted(len(shown), 'table')} keep, from {percent(min(shares))} to {percent(max(shares))}.",
        f"The share of the nearest rows of each table that stay; the whole bar is all.{_left_out(tables, shown)}",
        NeighboursDrawing(tuple(Name(table.name) for table in shown), shares),
    )


def _largest(tables: Sequence[TableReport]) -> list[TableReport]:
    return sorted(tables, key=lambda table: -table.bytes_before)[:BARS_MAX]


def _left_out(tables: Sequence[TableReport], shown: Sequence[TableReport]) -> str:
    return f" {counted(len(tables) - len(shown), 'table')} left out." if len(tables) > len(shown) else ""
