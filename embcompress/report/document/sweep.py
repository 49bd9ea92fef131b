"""The document of `sweep`."""

from __future__ import annotations

from collections.abc import Sequence

from embcompress.report.document import parts
from embcompress.report.document.model import Column, CurvesDrawing, Document, Fact, Figure, Grid, Section, Tone
from embcompress.report.names import Command, Inline, Name, listed
from embcompress.report.wording import (
    band_text,
    counted,
    has_meaningful_bound,
    over_text,
    points_by_size,
    share,
    table_text,
)
from embcompress.results import Recommendation, SweepCurve, SweepPoint, SweepResult, SweptTable
from embcompress.text import human_bytes

FIGURED_MAX = 12  # tables drawn, the largest first


def sweep_document(result: SweepResult) -> Document:
    """Say what is recommended, with its command, and show error against bytes for every way."""
    recommendation = result.recommendation
    largest = sorted(result.tables, key=lambda table: -table.bytes_before)[:FIGURED_MAX]
    sections: list[Section] = []
    numbers = [Fact("all tables", human_bytes(result.totals.bytes_before), counted(len(result.tables), "table"))]
    verdict: Inline = "Nothing to recommend: no tried ratio is reachable."
    outcome: tuple[Fact, ...] = (Fact("nothing to recommend:", "no tried ratio is reachable.", tone="warn"),)
    tone: Tone = "plain"
    state = "nothing to recommend"
    title: Inline = (parts.base_name(result.input.path), ", error against bytes")
    chosen = recommended_point(result)
    if recommendation is not None:
        state = "recommended" if recommendation.is_within_max_error else "recommended with a larger error"
        tone = "good" if recommendation.is_within_max_error else "warn"
        verdict = f"{recommendation.method} at 1/{recommendation.ratio:g}: {recommendation.reason}."
        title = (
            parts.base_name(result.input.path),
            f", recommended: {recommendation.method} at 1/{recommendation.ratio:g}",
        )
        numbers = [
            Fact(
                "times smaller",
                f"{recommendation.ratio:g}",
                f"{human_bytes(result.totals.bytes_before)} → {human_bytes(recommendation.bytes)}",
            ),
            Fact(
                "relative error",
                share(recommendation.relative),
                "all tables together" if len(result.tables) > 1 else "",
            ),
        ]
        if chosen is not None and chosen.bound_relative and has_meaningful_bound(chosen):
            numbers.append(Fact("times the bound", over_text(chosen), f"bound {share(chosen.bound_relative)}"))
        if chosen is not None and chosen.largest_relative is not None and len(result.tables) > 1:
            numbers.append(Fact("worst table", share(chosen.largest_relative), "upper end of its band"))
        numbers.append(Fact("stored as", recommendation.method))
        sections.append(
            Section("To make it", facts=(Fact("command", Command(recommendation.command)),), is_brief=False)
        )
        size = f"{recommendation.method} at 1/{recommendation.ratio:g}, {human_bytes(recommendation.bytes)}"
        made = f"{size}, error {share(recommendation.relative)}: {recommendation.reason}."
        outcome = (
            Fact("recommended:", made, tone=tone),
            Fact("", Command(recommendation.command), is_whole=True),
        )
    if len(result.tables) > 1:
        sections.append(
            Section(
                "All tables together",
                grids=(_grid(result.totals.curves, recommendation=recommendation),),
                notes=("errors are the root mean square of those of the tables.",),
                figures=_figures(result.totals.curves, chosen=chosen),
                is_late=True,
            )
        )
    for table in result.tables:
        is_alone = len(result.tables) == 1
        own, chosen_point = (recommendation, chosen) if is_alone else (None, None)
        sections.append(_table(table, own, chosen=chosen_point, has_figure=table in largest, is_alone=is_alone))
    points = [point for table in result.tables for curve in table.curves for point in curve.points]
    if any(not point.exact for point in points):
        band = "± is 95 % confidence, from a sample of the rows; values without ± are exact."
        sections.append(Section("Bands", notes=(band,), is_titled=False, is_late=True))
    return Document(
        result.command,
        title,
        verdict,
        state,
        tone,
        tuple(numbers),
        (parts.file_fact("input", result.input),),
        (*sections, *parts.left_dense(result.skipped)),
        parts.table_cases({table.name: table.seconds for table in result.tables}, result.skipped),
        outcome,
    )


def recommended_point(result: SweepResult) -> SweepPoint | None:
    """Find the point of the totals that the sweep recommends."""
    recommendation = result.recommendation
    if recommendation is None:
        return None
    curves = {curve.method: curve.points for curve in result.totals.curves}
    return next((point for point in curves[recommendation.method] if point.target_ratio == recommendation.ratio), None)


def _table(
    table: SweptTable,
    recommendation: Recommendation | None,
    *,
    chosen: SweepPoint | None,
    has_figure: bool,
    is_alone: bool,
) -> Section:
    shape = f", {table_text(table)}, {human_bytes(table.bytes_before)}"
    tied = (Fact("also named", listed(table.tied_names), is_brief=True),) if table.tied_names else ()
    return Section(
        (Name(table.name), shape),
        facts=tied,
        grids=(_grid(table.curves, recommendation=recommendation),),
        is_detail=not is_alone,
        notes=tuple(f"{remark}." for remark in table.remarks),
        figures=_figures(table.curves, chosen=chosen) if has_figure else (),
    )


def _grid(curves: Sequence[SweepCurve], *, recommendation: Recommendation | None) -> Grid:
    """List every point, the largest size first and of one size the least error first; mark the one recommended."""
    chosen = None if recommendation is None else (recommendation.method, recommendation.ratio)
    columns = (
        Column("size", "right"), Column("stored as"), Column("bytes", "right"), Column("error", "right"),
        Column("bound", "right"), Column("/ bound", "right", is_brief=False), Column(""),
    )  # fmt: skip
    rows: list[tuple[Inline, ...]] = []
    tones: list[Tone] = []
    for ratio, point_of in points_by_size(curves):
        points = sorted(point_of.items(), key=lambda pair: pair[1].relative)
        for index, (method, point) in enumerate(points):
            has_bound, is_chosen = has_meaningful_bound(point), (method, point.target_ratio) == chosen
            rows.append(
                (
                    "" if index else f"1/{ratio:.3g}",
                    method,
                    human_bytes(point.bytes),
                    band_text(point),
                    share(point.bound_relative) if has_bound and point.bound_relative else "",
                    over_text(point) if has_bound else "",
                    "recommended" if is_chosen else "",
                )
            )
            tones.append("good" if is_chosen else "plain")
    return Grid("", columns, tuple(rows), tuple(tones), heads=2)


def _figures(curves: Sequence[SweepCurve], *, chosen: SweepPoint | None) -> tuple[Figure, ...]:
    points = [(curve.method, point) for curve in curves for point in curve.points if point.relative > 0]
    if not points:
        return ()
    errors = ", ".join(f"{method} at 1/{point.ratio:.3g} has {share(point.relative)}" for method, point in points)
    ring = " The ring marks the recommendation." if chosen is not None else ""
    return (
        Figure(
            "Error against ratio",
            f"Relative error: {errors}.",
            "Lower is better, further right is smaller. No method gets below the dashed bound, "
            f"which leaves out the bytes that decoding needs.{ring}",
            CurvesDrawing(tuple(curves), chosen),
        ),
    )
