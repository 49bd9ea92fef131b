"""The figures of the page as parts of it, which follow its colours and load nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from embcompress.report.document.model import (
    CurvesDrawing,
    Drawing,
    ErrorsDrawing,
    GroupsDrawing,
    HistogramDrawing,
    NeighboursDrawing,
    SizesDrawing,
    SpectrumDrawing,
)
from embcompress.report.names import Name, shortened, text_of
from embcompress.report.svg import (
    Axes,
    Marker,
    Picture,
    Point,
    Scale,
    decade_ticks,
    left_margin,
    linear_ticks,
)
from embcompress.report.wording import amount, share
from embcompress.results import SweepCurve, SweepPoint
from embcompress.text import human_bytes

Sign = Marker | Literal["ring", "dashes"]  # what an entry of a legend has before its name
COLORS = ("ink", "muted", "line", "accent", "soft", "bad", "way-1", "way-2", "way-3", "way-4", "way-5")
# Variables of the page's style, in light and in dark.
WAYS: Mapping[str, tuple[str, Marker]] = MappingProxyType(
    {
        "coded": ("way-1", "circle"),
        "plain float32": ("way-2", "square"),
        "plain float16": ("way-3", "diamond"),
        "int8 per row": ("way-4", "up"),
        "int4 per row": ("way-5", "down"),
        "float16": ("muted", "square"),
    }
)  # way of a sweep -> colour and marker
WIDTH, HEIGHT = 245.0, 166.0  # units of a picture
CURVES_HEIGHT = 196.0  # without the legend
RIGHT = 8.0  # units at the right of axes, for the half of a label
BELOW = 28.0  # units below axes, for labels and title
BAR_HEIGHT, BAR_ROW = 10.3, 30.0  # of a table of the size bars, and with its name
BAR_LETTERS = 44  # of the name and the value above a bar
RING = 5.0  # radius of what surrounds a marker
LEGEND_COLUMNS, LEGEND_ROW = 3, 13.0


def render_figure(drawing: Drawing) -> str:
    """Draw a figure as an SVG element for a page that has COLORS in its style."""
    return str(DRAWERS[type(drawing)](drawing))


def _draw_spectrum(drawing: SpectrumDrawing) -> Picture:
    """Draw singular values by logarithms above the energy that as many directions hold."""
    picture, spectrum = Picture(WIDTH, HEIGHT), drawing.spectrum
    ranks = spectrum.ranks
    low, high = min(1, ranks[0]), max(ranks[-1], drawing.rank or 0)
    x = Scale(low, high, linear_ticks(low, high, most=6, is_whole=True), "directions")
    values = [(rank, value) for rank, value in zip(ranks, spectrum.singular_values, strict=True) if value > 0]
    least, most = min((value for _, value in values), default=1.0), max((value for _, value in values), default=1.0)
    least, most = (least / 1.2, most * 1.2)
    above = Scale(least, most, decade_ticks(least, most, most=4), is_log=True)
    below = Scale(0, 104, ((0, "0"), (50, "50 %"), (100, "100 %")))
    left = left_margin(above, below)
    middle, bottom = 62.0, HEIGHT - BELOW
    upper = Axes(x, above, left, WIDTH - RIGHT, 15, middle)
    lower = Axes(x, below, left, WIDTH - RIGHT, middle + 20, bottom)
    energy = [(rank, 100 * part) for rank, part in zip(ranks, spectrum.energy, strict=True)]
    shown = ((upper, "singular values", values), (lower, "energy kept", energy))
    for axes, title, points in shown:
        axes.draw(picture, has_x_labels=axes is lower)
        picture.text((left, axes.top - 5), title, "muted")
        places = [axes.at(*point) for point in points]
        if axes is lower:
            picture.area([*places, (places[-1][0], bottom), (places[0][0], bottom)], "accent", opacity=0.12)
        if places:
            picture.line(places, "accent")
        if drawing.rank is not None:
            across, _ = axes.at(drawing.rank, axes.y.low)
            picture.line(((across, axes.top), (across, axes.bottom)), "ink", width=1, is_dashed=True)
    return picture


def _draw_histogram(drawing: HistogramDrawing) -> Picture:
    """Draw bars from the first to the last bin that has rows, with marks at the median and at p99."""
    picture, edges, counts = Picture(WIDTH, HEIGHT), drawing.histogram.edges, drawing.histogram.counts
    used = [index for index, count in enumerate(counts) if count]
    first, last = used[0], used[-1] + 1
    pad = 0.06 * (edges[last] - edges[first])
    low, high, top = max(0.0, edges[first] - pad), edges[last] + pad, max(counts) * 1.3
    x = Scale(low, high, linear_ticks(low, high, most=6), "relative error of a row")
    y = Scale(0, top, linear_ticks(0, top, most=5, is_whole=True), "rows")
    axes = Axes(x, y, left_margin(y), WIDTH - RIGHT, 6, HEIGHT - BELOW)
    axes.draw(picture)
    places = [axes.at(edges[first], 0)]
    for index in range(first, last):
        places += [axes.at(edges[index], counts[index]), axes.at(edges[index + 1], counts[index])]
    places.append(axes.at(edges[last], 0))
    picture.area(places, "soft")
    picture.line(places, "accent", width=1)
    for row, (value, name) in enumerate(((drawing.p50, "median"), (drawing.p99, "p99"))):  # each on a line of its own
        across, _ = axes.at(value, 0)
        picture.line(((across, axes.top), (across, axes.bottom)), "ink", width=1, is_dashed=True)
        is_far = value - edges[first] > 0.6 * (edges[last] - edges[first])
        point = (across - 3 if is_far else across + 3, axes.top + 9 + 11 * row)
        picture.text(point, f"{name} {value:.3g}", anchor="end" if is_far else "start", size=9)
    return picture


def _draw_groups(drawing: GroupsDrawing) -> Picture:
    """Draw a bar for each group, the worst in the colour of failures, with the values that divide the groups below."""
    picture = Picture(WIDTH, HEIGHT)
    errors = [group.relative or 0.0 for group in drawing.groups]
    count, top = len(errors), max(*errors, drawing.relative) * 1.12 or 1.0
    step = max(1, -(-count // 4))
    divided = [(index - 0.5, amount(drawing.groups[index].low)) for index in range(0, count, step)]
    if count - 0.5 - divided[-1][0] < step:  # the last one would run into the end
        divided.pop()
    ticks = (*divided, (count - 0.5, amount(drawing.groups[-1].high)))
    x = Scale(-0.7, count - 0.3, ticks, f"{drawing.by} of the rows")
    y = Scale(0, top, linear_ticks(0, top, most=5), "relative error")
    axes = Axes(x, y, left_margin(y), WIDTH - RIGHT, 6, HEIGHT - BELOW)
    axes.draw(picture)
    worst = max(range(count), key=errors.__getitem__)
    for index, error in enumerate(errors):
        picture.bar(axes.at(index - 0.41, error), axes.at(index + 0.41, 0), "bad" if index == worst else "accent")
    places = (axes.at(x.low, drawing.relative), axes.at(x.high, drawing.relative))
    picture.line(places, "ink", width=1, is_dashed=True)
    return picture


def _draw_sizes(drawing: SizesDrawing) -> Picture:
    """Draw for each table its bytes before, and over them those after; a single table as two columns."""
    if len(drawing.names) > 1:
        pairs = zip(drawing.before, drawing.after, strict=True)
        values = [f"{human_bytes(before)} → {human_bytes(after)}" for before, after in pairs]
        return _draw_bars(drawing.names, under=drawing.before, over=drawing.after, values=values)
    picture = Picture(WIDTH, HEIGHT)
    sizes = (*drawing.before, *drawing.after)
    top, bottom = 16.0, HEIGHT - 18
    picture.line(((4, bottom), (WIDTH - 4, bottom)), "line", width=0.8)
    for title, size, middle, color in zip(("before", "after"), sizes, (75.0, 170.0), ("soft", "accent"), strict=True):
        height = (bottom - top) * size / max(*sizes, 1)
        picture.bar((middle - 28, bottom - height), (middle + 28, bottom), color)
        picture.text((middle, bottom - height - 4), human_bytes(size), anchor="middle")
        picture.text((middle, bottom + 13), title, "muted", anchor="middle")
    return picture


def _draw_errors(drawing: ErrorsDrawing) -> Picture:
    """Draw for each table its error, and over it the least that it could be, where that is known."""
    values = [share(error) for error in drawing.errors]
    return _draw_bars(drawing.names, under=drawing.errors, over=drawing.least, values=values)


def _draw_neighbours(drawing: NeighboursDrawing) -> Picture:
    """Draw for each table a bar of all neighbours, and over it the share that stays."""
    values = [f"{100 * share:.0f} %" for share in drawing.shares]
    return _draw_bars(drawing.names, under=[1.0] * len(values), over=drawing.shares, values=values)


def _draw_bars(
    names: Sequence[Name], *, under: Sequence[float], over: Sequence[float | None], values: Sequence[str]
) -> Picture:
    """Draw a bar under each name, a second one over it, and its value in words at the right."""
    picture = Picture(WIDTH, BAR_ROW * len(names) + 4)
    widest = max((*under, *(one for one in over if one))) or 1
    for index, (name, below, above, value) in enumerate(zip(names, under, over, values, strict=True)):
        base = BAR_ROW * index + 12
        picture.text((0, base), shortened(text_of(name), limit=BAR_LETTERS - len(value)), size=9)
        picture.text((WIDTH, base), value, "muted", anchor="end", size=9)
        for length, color in ((below, "soft"), (above or 0, "accent")):
            picture.bar((0, base + 3), (WIDTH * length / widest, base + 3 + BAR_HEIGHT), color)
    return picture


def _draw_curves(drawing: CurvesDrawing) -> Picture:
    """Draw relative error against the ratio, both by logarithms; errors of 0 are left out."""
    curves = [
        (curve, points) for curve in drawing.curves if (points := [one for one in curve.points if one.relative > 0])
    ]
    entries = len(curves) + 2
    picture = Picture(WIDTH, CURVES_HEIGHT + LEGEND_ROW * -(-entries // LEGEND_COLUMNS))
    axes = _curve_axes([point for _, points in curves for point in points])
    axes.draw(picture, has_x_grid=True)
    bound = {point.ratio: point.bound_relative for _, points in curves for point in points if point.bound_relative}
    legend: list[tuple[str, str, Sign]] = []
    if bound:
        picture.line(_from_below(axes, sorted(bound.items())), "muted", width=1, is_dashed=True)
    for curve, points in curves:
        _draw_curve(picture, axes, curve, points)
        legend.append((curve.method, *WAYS[curve.method]))
    legend += [("Gaussian bound", "muted", "dashes")] if bound else []
    chosen = drawing.chosen
    if chosen is not None and chosen.relative > 0:
        picture.circle(axes.at(chosen.ratio, chosen.relative), RING, "ink")
        legend.append(("recommended", "ink", "ring"))
    _draw_legend(picture, legend)
    return picture


def _curve_axes(points: Sequence[SweepPoint]) -> Axes:
    ratios, errors = [point.ratio for point in points], [point.relative for point in points]
    powers = range(math.floor(math.log2(min(ratios))), math.ceil(math.log2(max(ratios))) + 1)
    x_ticks = tuple((2.0**power, f"{2.0**power:g}") for power in powers)
    low, high = min(errors) / 1.6, max(*errors, 1.0) * 1.25
    x = Scale(2.0 ** powers[0] / 1.1, 2.0 ** powers[-1] * 1.1, x_ticks, "times smaller", is_log=True)
    y = Scale(low, high, decade_ticks(low, high, most=11), "relative error", is_log=True)
    return Axes(x, y, left_margin(y), WIDTH - RIGHT, 6, CURVES_HEIGHT - BELOW)


def _draw_curve(picture: Picture, axes: Axes, curve: SweepCurve, points: Sequence[SweepPoint]) -> None:
    """Draw one way: its band, a line unless it has one size only, and a marker at each point."""
    color, marker = WAYS[curve.method]
    low = [axes.at(one.ratio, max(one.low or one.relative, axes.y.low)) for one in points]
    high = [axes.at(one.ratio, min(one.high, axes.y.high)) for one in points]
    if any(not one.exact for one in points):
        picture.area([*low, *reversed(high)], color, opacity=0.25)
    line = [axes.at(one.ratio, one.relative) for one in points]
    if len(line) > 1:
        picture.line(line, color)
    for point in line:
        picture.marker(point, marker, color)


def _from_below(axes: Axes, values: Sequence[tuple[float, float]]) -> list[Point]:
    """Give the part of a rising line that lies inside of the axes: from where it comes in at the bottom."""
    places = [axes.at(ratio, max(error, 1e-300)) for ratio, error in values]
    inside = [index for index, (_, down) in enumerate(places) if down <= axes.bottom]
    if not inside or inside[0] == 0:
        return places if inside else []
    (x, y), (next_x, next_y) = places[inside[0] - 1 : inside[0] + 1]
    entry = x + (next_x - x) * (y - axes.bottom) / (y - next_y)
    return [(entry, axes.bottom), *places[inside[0] :]]


def _draw_legend(picture: Picture, entries: Sequence[tuple[str, str, Sign]]) -> None:
    """Name the curves below them: by their marker, or by a dashed line or a ring."""
    for index, (title, color, sign) in enumerate(entries):
        x = WIDTH / LEGEND_COLUMNS * (index % LEGEND_COLUMNS)
        y = CURVES_HEIGHT + LEGEND_ROW * (index // LEGEND_COLUMNS + 0.5)
        if sign == "ring":
            picture.circle((x + 4, y), 0.7 * RING, color)
        elif sign == "dashes":
            picture.line(((x, y), (x + 9, y)), color, width=1, is_dashed=True)
        else:
            picture.marker((x + 4, y), sign, color)
        picture.text((x + 11, y + 3), title, size=8)


DRAWERS: Mapping[type[Any], Callable[[Any], Picture]] = MappingProxyType(
    {
        CurvesDrawing: _draw_curves,
        ErrorsDrawing: _draw_errors,
        GroupsDrawing: _draw_groups,
        HistogramDrawing: _draw_histogram,
        NeighboursDrawing: _draw_neighbours,
        SizesDrawing: _draw_sizes,
        SpectrumDrawing: _draw_spectrum,
    }
)
