"""One compressed table in a document: its numbers, where it is bad, and what can be drawn of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from embcompress.report.document.model import (
    Column,
    Fact,
    Figure,
    Grid,
    GroupsDrawing,
    HistogramDrawing,
    Section,
    SpectrumDrawing,
    Tone,
)
from embcompress.report.document.table_figures import sizes_figure
from embcompress.report.judgements import GRADE_TONES
from embcompress.report.names import Inline, Name, listed
from embcompress.report.wording import (
    coding_text,
    counted,
    group_text,
    has_bases,
    is_exported,
    least_error,
    least_word,
    making_text,
    matrices_text,
    overlap_text,
    percent,
    sample_text,
    share,
    size_text,
    span_text,
    table_text,
    worst_group,
)
from embcompress.results import RowGroup, TableErrorReport, TableReport
from embcompress.text import human_bytes

NOT_KNOWN = "not known"
WORST_ROWS = 3  # in a short form
LEFT = ("table", "shape", "grade", "stored as")  # columns of words
BRIEF = ("table", "before", "after", "error", "weighted", "neighbours")  # in 80 columns
FAR_WORSE = 1.25  # times the error of its table: what a short form tells of a group of rows for


def tables_grid(tables: Sequence[TableReport], *, failed: frozenset[str]) -> Grid:
    """List the tables, a line each; numbers that none of them has get no column.

    Args:
        tables: of the report.
        failed: names of those with a failed gate or check.
    """
    errors = [table.error for table in tables]
    is_weighted = any(error is not None and error.weighted_relative is not None for error in errors)
    has_neighbours = any(table.neighbours is not None for table in tables)
    is_measured = any(error is not None for error in errors)
    # What another program serves is not held against what bases could keep.
    has_least = not all(map(is_exported, tables))
    least = " or ".join(dict.fromkeys(map(least_word, tables)))
    titles = ["table", "shape", "before", "after"]
    if is_measured:
        titles += ["error", *(["weighted"] if is_weighted else []), *([least] if has_least else [])]
        titles += ["p99 row", "cosine", *(["neighbours"] if has_neighbours else []), "grade"]
    titles += ["stored as"]
    rows: list[tuple[Inline, ...]] = []
    for table in tables:
        error, known = table.error, least_error(table)
        name: Inline = (Name(table.name), " (failed)") if table.name in failed else Name(table.name)
        cells: list[Inline] = [name, table_text(table)]
        cells += [human_bytes(table.bytes_before), human_bytes(table.bytes_after)]
        if is_measured:
            cells.append("" if error is None else share(error.relative))
            if is_weighted:
                value = None if error is None else error.weighted_relative
                cells.append("" if value is None else share(value))
            if has_least:
                cells.append("" if error is None else NOT_KNOWN if known is None else share(known))
            cells.append("" if error is None else share(error.row_relative.p99))
            cells.append("" if error is None else f"{error.cosine.mean:.4f}")
            if has_neighbours:
                cells.append("" if table.neighbours is None else overlap_text(table.neighbours.cosine))
            cells.append("" if table.grade is None else table.grade.grade)
        rows.append((*cells, size_text(table)))
    columns = tuple(
        Column(
            title,
            "left" if title in LEFT else "right",
            is_brief=title in BRIEF or (title == "cosine" and not has_neighbours),
            is_cut=title == "table",
        )
        for title in titles
    )
    return Grid("", columns, tuple(rows), tuple(_tone(table, failed=failed) for table in tables))


def _tone(table: TableReport, *, failed: frozenset[str]) -> Tone:
    """Give the tone of a table: of its grade, unless a gate or a check failed for it."""
    if table.name in failed:
        return "bad"
    return "plain" if table.grade is None else GRADE_TONES[table.grade.grade]


def table_section(
    table: TableReport, *, has_figures: bool, is_alone: bool, is_brief: bool, is_small: bool = False
) -> Section:
    """Look closer at one table.

    Args:
        table: of the report.
        has_figures: whether to draw it.
        is_alone: whether it is the only one, which has the figure of all tables among its own.
        is_brief: whether a short form looks closer, too.
        is_small: whether it is a small part of all.
    """
    error = table.error
    grids = () if error is None else (*((_worst_rows(error),) if error.worst_rows else ()), *_group_grids(error))
    return Section(
        Name(table.name),
        facts=(*_errors(table), *_worst_groups(error), *_storage(table)),
        grids=grids,
        notes=tuple(f"{remark}." for remark in table.solver_remarks),
        figures=(*_figures(table), *([sizes_figure([table])] if is_alone else [])) if has_figures else (),
        is_detail=True,
        is_brief=is_brief or bool(table.solver_remarks),
        is_small=is_small,
    )


def _errors(table: TableReport) -> list[Fact]:
    error, known = table.error, least_error(table)
    if error is None:
        return []
    beside = ""
    if known:
        beside = f"{error.relative / known:.2f} times the {least_word(table)}" if error.relative < 100 * known else ""
        beside = f"{least_word(table)} {share(known)}" + (beside and f": {beside}")
    facts = [Fact("error", share(error.relative), beside)]
    if error.weighted_relative is not None:
        note = "rows count by their row weight"
        if error.unweighted_rows:
            note += f"; {counted(error.unweighted_rows, 'row')} had none, and count"
            note += "s least" if error.unweighted_rows == 1 else " least"
        facts.append(Fact("weighted error", share(error.weighted_relative), note))
    rows = error.row_relative
    facts.append(Fact("error of a row", share(rows.p50), f"median; p99 {share(rows.p99)}, largest {share(rows.max)}"))
    cosine = error.cosine
    facts.append(Fact("cosine", f"{cosine.mean:.4f}", f"mean; p01 {cosine.p01:.4f}, least {cosine.min:.4f}"))
    if error.norm_ratio is not None:
        norms = error.norm_ratio
        note = f"median of stored over original; p01 {norms.p01:.3f}, p99 {norms.p99:.3f}"
        facts.append(Fact("norm kept", f"{norms.p50:.3f}", note, is_brief=True))
    if table.neighbours is not None:
        neighbours = table.neighbours
        product = f"by inner product {overlap_text(neighbours.inner_product)}"
        note = f"of the {neighbours.neighbours_per_query} nearest by cosine; {product}; {sample_text(table)}"
        facts.append(Fact("neighbours kept", overlap_text(neighbours.cosine), note, is_brief=True))
    if table.spectrum is not None and has_bases(table):
        directions = f"{table.rank} of {min(table.rows, math.prod(table.shape) * _parts_of(table))} directions"
        before = "before their weights are coded" if table.coded else "the rest is the error"
        note = f"they hold {percent(table.spectrum.kept_energy)} of the energy, {before}"
        facts.append(Fact("directions", directions, note, is_brief=True))
    return facts


def _parts_of(table: TableReport) -> int:
    """Count the real numbers of an entry: two of a complex one."""
    return 2 if table.dtype.startswith("complex") else 1


def _worst_groups(error: TableErrorReport | None) -> list[Fact]:
    facts: list[Fact] = []
    for unit, groups in () if error is None else _groups(error):
        worst = worst_group(groups)
        if worst is None or worst.relative is None or error is None:
            continue
        is_far = worst.relative > FAR_WORSE * error.relative > 0
        times = f": {worst.relative / error.relative:.2f} times the error of the table" if is_far else ""
        note = f"{group_text(worst, unit=unit)}{times}"
        facts.append(Fact(f"worst {unit} group", share(worst.relative), note, is_brief=is_far))
    return facts


def _group_grids(error: TableErrorReport) -> list[Grid]:
    return [
        Grid(
            f"Error by {unit}",
            (Column("rows", "right"), Column(unit), Column("error", "right")),
            tuple(
                (str(one.rows), span_text(one), NOT_KNOWN if one.relative is None else share(one.relative))
                for one in groups
            ),
            is_folded=True,
            is_drawn=True,
        )
        for unit, groups in _groups(error)
    ]


def _groups(error: TableErrorReport) -> list[tuple[Literal["norm", "row weight"], tuple[RowGroup, ...]]]:
    """List the groups of rows that differ: what their rows are alike in, and the groups."""
    known: list[tuple[Literal["norm", "row weight"], tuple[RowGroup, ...]]] = [("norm", error.by_norm)]
    known += [("row weight", error.by_frequency or ())]
    return [(unit, groups) for unit, groups in known if len(groups) > 1 and worst_group(groups)]


def _storage(table: TableReport) -> list[Fact]:
    facts = [
        Fact(
            "size",
            f"{human_bytes(table.bytes_before)} → {human_bytes(table.bytes_after)}",
            "its tensors, without the header",
        )
    ]
    facts.append(Fact("stored as", coding_text(table), making_text(table), is_brief=True))
    if table.tied_names:
        facts.append(Fact("also named", listed(table.tied_names), is_brief=True))
    if table.zero_rows:
        what = "rows" if table.matrices is None else "matrices"
        facts.append(Fact(f"{what} of zeros", str(table.zero_rows), "in the dense table", is_brief=True))
    if table.matrices is not None:
        facts.append(Fact("matrices", matrices_text(table), is_brief=True))
    return facts


def _worst_rows(error: TableErrorReport) -> Grid:
    has_labels = any(row.label is not None for row in error.worst_rows)
    columns = (Column("row", "right"), *([Column("label")] if has_labels else []), Column("error", "right"))
    rows: list[tuple[Inline, ...]] = []
    for row in error.worst_rows:
        label: tuple[Inline, ...] = ("" if row.label is None else Name(row.label),) if has_labels else ()
        rows.append((str(row.id), *label, share(row.relative)))
    return Grid("Worst rows", columns, tuple(rows), is_folded=True, brief_rows=WORST_ROWS)


def _figures(table: TableReport) -> tuple[Figure, ...]:
    figures: list[Figure] = []
    error, spectrum = table.error, table.spectrum
    if error is not None and sum(count > 0 for count in error.histogram.counts) > 1:
        rows = error.row_relative
        figures.append(
            Figure(
                "Error of the rows",
                f"Histogram of the error of {counted(table.rows, 'row')}: "
                f"median {share(rows.p50)}, p99 {share(rows.p99)}, largest {share(rows.max)}.",
                "Number of rows by relative error. Rows in a tail on the right are worse than the rest.",
                HistogramDrawing(error.histogram, rows.p50, rows.p99),
            )
        )
    if spectrum is not None and len(spectrum.ranks) > 1:
        rank = table.rank if has_bases(table) else None
        mark = f" The line marks the {table.rank} bases in use." if rank is not None else ""
        figures.append(
            Figure(
                "Spectrum",
                f"Singular values from {spectrum.singular_values[0]:.3g} down to {spectrum.singular_values[-1]:.3g}"
                + (f"; {table.rank} directions keep {percent(spectrum.kept_energy)} of the energy." if rank else "."),
                f"Singular values, and the energy that as many directions keep; a steep fall compresses well.{mark}"
                + ("" if spectrum.is_whole else " Only the leading values are known."),
                SpectrumDrawing(spectrum, rank),
            )
        )
    if error is not None:
        figures += _group_figures(error)
    return tuple(figures)


def _group_figures(error: TableErrorReport) -> list[Figure]:
    captions = {
        "norm": "Errors from short rows to long; the dashed line is that of the table, the worst group stands out.",
        "row weight": "Errors in tenths from rare rows to frequent ones, which should have the smallest.",
    }
    return [
        Figure(
            f"Error against {unit}",
            _groups_label(groups, unit),
            captions[unit],
            GroupsDrawing(groups, unit, error.relative),
        )
        for unit, groups in _groups(error)
    ]


def _groups_label(groups: Sequence[RowGroup], unit: str) -> str:
    errors = [
        f"{share(group.relative)} for {unit} {span_text(group)}" for group in groups if group.relative is not None
    ]
    return f"Error of groups of rows: {', '.join(errors)}."
