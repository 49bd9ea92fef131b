"""The figures of the page: where values lie, round labels, and what of a line lies outside."""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ET

import pytest

from embcompress.report.document.model import CurvesDrawing, GroupsDrawing, HistogramDrawing
from embcompress.report.figures import WAYS, render_figure
from embcompress.report.plot import STYLES
from embcompress.report.svg import Axes, Scale, decade_ticks, linear_ticks
from embcompress.results import Histogram, RowGroup
from tests.report.results import sweep_result


def test_figures_and_pictures_know_the_same_ways() -> None:
    """Every way of a sweep has a colour on the page and in `sweep --plot`, in the same order."""
    assert list(WAYS) == list(STYLES)


@pytest.mark.parametrize("high", [1e-9, 0.3, 1.0, 47.0, 12_345.0])
@pytest.mark.parametrize("most", [4, 6])
def test_linear_ticks_are_round_and_few(high: float, most: int) -> None:
    """Two to `most` equal steps from 0, each 1, 2, 2.5 or 5 times a power of ten."""
    values = [value for value, _ in linear_ticks(0, high, most=most)]
    step = values[1]
    assert 2 <= len(values) <= most
    assert values == pytest.approx([index * step for index in range(len(values))])
    assert high - step < values[-1] <= high * (1 + 1e-9)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - round_) for round_ in (1, 2, 2.5, 5)) < 1e-9


def test_linear_ticks_of_whole_numbers() -> None:
    """Three rows have no half."""
    assert [label for _, label in linear_ticks(0, 3.9, most=5, is_whole=True)] == ["0", "1", "2", "3"]
    assert linear_ticks(1, 1, most=5) == ((1, "1"),)


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (0.02, 3.0), (1e-12, 1.0), (1e-300, 1e300)])
def test_decade_ticks_are_few(low: float, high: float) -> None:
    """At least one and at most six labels, all inside."""
    values = [value for value, _ in decade_ticks(low, high, most=6)]
    assert 1 <= len(values) <= 6
    assert all(low <= value <= high for value in values)


def test_axes_place_values() -> None:
    """Ends at ends; equal factors are equally far apart by logarithms; a side of one value has it in its middle."""
    axes = Axes(Scale(1, 100, (), is_log=True), Scale(0, 4, ()), 10, 110, 20, 60)
    assert axes.at(1, 0) == (10, 60)
    assert axes.at(10, 4) == pytest.approx((60, 20))
    assert axes.at(100, 1) == pytest.approx((110, 50))
    assert Scale(3, 3, ()).share(3) == 0.5


def points_of(figure: str, color: str) -> list[list[tuple[float, float]]]:
    """Read the points of every path that has a colour."""
    paths = [
        element.get("d") or "" for element in ET.fromstring(figure).iter("path") if color in element.get("style", "")
    ]
    return [[(float(x), float(y)) for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", path)] for path in paths]


def test_histogram_has_a_bar_as_high_as_its_count() -> None:
    """Heights of steps are to each other as counts are; empty bins at the end are left out."""
    drawing = HistogramDrawing(Histogram((0.0, 0.1, 0.2, 0.3, 0.4), (2, 8, 4, 0)), 0.15, 0.29)
    (outline,) = points_of(render_figure(drawing), "--accent")
    base = outline[0][1]
    heights = [base - y for _, y in outline[1:-1:2]]
    assert [height / heights[0] for height in heights] == pytest.approx([1, 4, 2], rel=1e-2)
    assert outline[-1][1] == base


def test_groups_mark_the_worst() -> None:
    """The bar of the largest error alone has the colour of failures; a group without an error has none to see."""
    groups = (RowGroup(5, 1.0, 2.0, 0.1), RowGroup(5, 2.0, 3.0, 0.3), RowGroup(5, 3.0, 4.0, None))
    figure = render_figure(GroupsDrawing(groups, "norm", 0.2))
    (worst,), others = points_of(figure, "--bad"), points_of(figure, "--accent")
    heights = [max(y for _, y in bar) - min(y for _, y in bar) for bar in (worst, *others)]
    assert heights == pytest.approx([3 * heights[1], heights[1], 0], rel=1e-2)


def test_curves_cut_the_bound_at_the_bottom() -> None:
    """Where the bound lies below the axes it starts at their bottom, and no point of it lies below."""
    curves = sweep_result().tables[0].curves
    low = dataclasses.replace(curves[0].points[0], bound_relative=1e-20)
    coded = dataclasses.replace(curves[0], points=(low, *curves[0].points[1:]))
    figure = render_figure(CurvesDrawing((coded,), low))
    root = ET.fromstring(figure)
    (bound, legend) = [path.get("d") or "" for path in root.iter("path") if path.get("stroke-dasharray")]
    downs = [float(y) for y in re.findall(r" ([\d.]+)", bound)]
    sides = [float(y) for points in points_of(figure, "--line") for _, y in points]
    assert downs[0] == pytest.approx(max(downs))
    assert max(downs) <= max(sides)
    assert legend
    letters = [element.text for element in root.iter("text")]
    assert letters[-3:] == ["coded", "Gaussian bound", "recommended"]
    assert len(list(root.iter("circle"))) == 2 + 1 + 2  # points, ring, and both in the legend
