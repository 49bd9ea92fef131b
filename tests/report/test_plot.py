"""The picture of a sweep: it names its tables, is the same twice, and no name can break it."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest

from embcompress.report.plot import PANELS_MAX, PLOT_FORMS, STYLES, render_plot
from embcompress.results import SweepResult
from tests.report.hostile import AT_A_PROMPT
from tests.report.results import sweep_result

STARTS = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


def texts(picture: bytes) -> str:
    """Collect all letters of an SVG."""
    return "\n".join(element.text or "" for element in ET.fromstring(picture).iter() if element.tag.endswith("text"))


@pytest.mark.parametrize("form", PLOT_FORMS)
def test_render_plot_gives_the_same_bytes_twice(form: str) -> None:
    """Each form starts as its kind of file does, holds no date, and leaves matplotlib's settings as they were."""
    before = dict(mpl.rcParams)
    first = render_plot(sweep_result(), form)
    assert first.startswith(STARTS[form])
    assert render_plot(sweep_result(), form) == first
    assert dict(mpl.rcParams) == before


def test_render_plot_names_tables_ways_and_the_bound() -> None:
    """A panel names its table and shape, the last one all tables; the legend names every way once."""
    shown = texts(render_plot(two_tables(), ".svg"))
    for part in ("entities.weight", "20000 x 4 x 6 float32", "all 2 tables together", "times smaller"):
        assert part in shown
    (table,) = sweep_result().tables
    assert {curve.method for curve in table.curves} == set(STYLES)
    assert [way for way in STYLES if way in shown] == [curve.method for curve in table.curves if curve.points]
    assert shown.count("coded") == shown.count("Gaussian bound") == shown.count("recommended") == 1


def test_render_plot_draws_the_largest_tables() -> None:
    """Of eight tables six are drawn, the largest first, and the total says that two are not."""
    (table,) = sweep_result().tables
    tables = [dataclasses.replace(table, name=f"table{size}", bytes_before=size) for size in range(8)]
    shown = texts(render_plot(dataclasses.replace(sweep_result(), tables=tuple(tables)), ".svg"))
    assert [f"table{size}" in shown for size in range(8)] == [False] * 2 + [True] * PANELS_MAX
    assert "2 not shown" in shown
    assert shown.index("table7") < shown.index("table2")


@pytest.mark.parametrize("name", [*AT_A_PROMPT, "formula"])
def test_render_plot_survives_any_name(name: str) -> None:
    """A name is shown as it is, shortened in its middle: no formula, no control character, no broken XML."""
    hostile = AT_A_PROMPT.get(name, r"a$\frac{1}$b")
    shown = texts(render_plot(sweep_result(hostile), ".svg"))
    if name == "formula":
        assert hostile in shown
    if name == "long":
        assert "x" * 22 + "…" + "x" * 21 in shown


def test_render_plot_of_errors_that_are_zero() -> None:
    """A logarithm has no place for 0: such points are left out, and a panel without any says so."""
    result = sweep_result()
    (table,) = result.tables
    zeros = tuple(
        dataclasses.replace(
            curve, points=tuple(dataclasses.replace(one, relative=0.0, bound_relative=0.0) for one in curve.points)
        )
        for curve in table.curves
    )
    empty = dataclasses.replace(result, tables=(dataclasses.replace(table, curves=zeros),))
    assert "nothing to show" in texts(render_plot(empty, ".svg"))


def two_tables() -> SweepResult:
    """Make a result of two tables."""
    (table,) = (result := sweep_result()).tables
    return dataclasses.replace(result, tables=(table, dataclasses.replace(table, name="relations.weight")))
