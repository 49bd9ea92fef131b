"""The curves of a sweep as a picture, drawn by matplotlib, which is imported only here and only when asked for."""

from __future__ import annotations

import importlib.util
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from embcompress.choices import STORING_METHODS
from embcompress.exceptions import OutputError, UsageError
from embcompress.report.document.sweep import recommended_point
from embcompress.report.names import shortened, spelled
from embcompress.report.wording import shape_text
from embcompress.results import SweepCurve, SweepPoint, SweepResult, SweptTable
from embcompress.text import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PANELS_MAX", "PLOT_FORMS", "STYLES", "plot_form", "render_plot"]

# Colours and markers of the methods. Source: Okabe & Ito, Color Universal Design (2008): told apart by colour-blind
# readers.
MARKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#E69F00", "D"), ("#009E73", "^"), ("#CC79A7", "v"), ("#666666", "s"))
STYLES: Mapping[str, tuple[str, str]] = MappingProxyType(dict(zip(STORING_METHODS, MARKS, strict=True)))
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "font.size": 8.5,
        "axes.titlesize": 9,
        "svg.fonttype": "none",  # letters stay letters: searchable, and a third of the bytes
        "svg.hashsalt": "embcompress",
        "pdf.fonttype": 42,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)
BOUND_COLOR, GRID_COLOR = "#595959", "#E6E6E6"
PLOT_FORMS: Mapping[str, Mapping[str, None]] = MappingProxyType(
    {".svg": {"Date": None}, ".png": {"Software": None}, ".pdf": {"CreationDate": None}}
)
# Ending of the file -> metadata left out of it: the same result gives the same bytes.
PANELS_MAX = 6  # tables drawn, the largest first; beside them the total
COLUMNS_MAX = 3  # of panels
PANEL_INCHES = (3.6, 3.0)
LEGEND_INCHES = 0.6
WIDTH_MIN = 5.4  # inches: what the legend takes
DOTS_PER_INCH = 150
PANEL_NAME_MAX = 44  # characters of a name above a panel


def plot_form(path: Path) -> str:
    """Choose the form of a picture by the ending of its file.

    Raises:
        UsageError: no form has this ending.
        OutputError: matplotlib is not installed.
    """
    form = path.suffix.lower()
    if form not in PLOT_FORMS:
        raise UsageError(
            f"--plot {path}: no picture ends in {path.suffix or 'nothing'!r}.",
            hint=f"Use {', '.join(PLOT_FORMS)}.",
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise OutputError(
            f"--plot {path} needs matplotlib, which is not installed.", hint="pip install 'embcompress[plot]'"
        )
    return form


def render_plot(result: SweepResult, form: str) -> bytes:
    """Draw relative error against the ratio: a panel for each table, the largest first, and one for the total.

    Both axes are logarithmic; errors of 0 are left out. The recommended point has a ring.

    Args:
        result: of a sweep.
        form: a key of PLOT_FORMS.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = sorted(result.tables, key=lambda table: -table.bytes_before)[:PANELS_MAX]
    panels = [(_title(table), table.curves) for table in shown]
    if len(result.tables) > 1:
        more = f", {len(result.tables) - len(shown)} not shown" if len(shown) < len(result.tables) else ""
        before = human_bytes(result.totals.bytes_before)
        panels.append((f"all {len(result.tables)} tables together\n{before}{more}", result.totals.curves))
    columns = min(COLUMNS_MAX, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in letters that the font lacks
        mpl.rcdefaults()
        mpl.rcParams.update(dict(SETTINGS))  # type: ignore[arg-type]
        size = (max(PANEL_INCHES[0] * columns, WIDTH_MIN), PANEL_INCHES[1] * rows + LEGEND_INCHES)
        figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
        all_axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for index, axes in enumerate(all_axes):
            if index >= len(panels):
                axes.set_visible(False)
                continue
            title, curves = panels[index]
            is_total = index == len(panels) - 1
            _draw_curves(axes, curves, chosen=recommended_point(result) if is_total else None)
            axes.set_title(title, loc="left", parse_math=False)
            if index % columns == 0:
                axes.set_ylabel("relative error")
            if index + columns >= len(panels):
                axes.set_xlabel("times smaller")
        handles = {
            label: handle for axes in all_axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=4 if columns > 1 else 3, frameon=False
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form[1:], metadata=dict(PLOT_FORMS[form]))
    return buffer.getvalue()


def _title(table: SweptTable) -> str:
    short = shortened(spelled(table.name), limit=PANEL_NAME_MAX)
    return f"{short}\n{shape_text(table.rows, table.shape, table.dtype)}"


def _draw_curves(axes: Axes, curves: Sequence[SweepCurve], *, chosen: SweepPoint | None) -> None:
    """Draw relative error against the ratio, both by logarithms; errors of 0 are left out."""
    seen: list[SweepPoint] = []
    bound: dict[float, float] = {}
    for curve in curves:
        color, marker = STYLES[curve.method]
        points = [point for point in curve.points if point.relative > 0]
        seen += points
        bound |= {point.ratio: point.bound_relative for point in curve.points if point.bound_relative}
        if not points:
            continue
        ratios = [point.ratio for point in points]
        errors = [point.relative for point in points]
        line = "none" if STORING_METHODS[curve.method].has_one_size else "-"
        axes.plot(ratios, errors, linestyle=line, color=color, marker=marker, markersize=4.5, label=curve.method)
        if any(not point.exact for point in points):
            low = [point.low or point.relative for point in points]
            axes.fill_between(ratios, low, [point.high for point in points], color=color, alpha=0.25, linewidth=0)
    if bound:
        ratios = sorted(bound)
        shares = [bound[ratio] for ratio in ratios]
        axes.plot(ratios, shares, "--", color=BOUND_COLOR, linewidth=1, zorder=1, label="Gaussian bound")
    if chosen is not None and chosen.relative > 0:
        axes.plot(
            [chosen.ratio],
            [chosen.relative],
            linestyle="none",
            marker="o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor="black",
            label="recommended",
        )
    if not seen:
        axes.text(0.5, 0.5, "nothing to show", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    _scale(axes, seen)


def _scale(axes: Axes, points: Sequence[SweepPoint]) -> None:
    """Give both axes logarithms and few, plain labels; the bound may leave below."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log", base=2)
    first, last = min(point.ratio for point in points), max(point.ratio for point in points)
    powers = range(math.floor(math.log2(first)), math.ceil(math.log2(last)) + 1)
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in powers]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    lowest, highest = min(point.relative for point in points), max(point.relative for point in points)
    axes.set_ylim(lowest / 1.6, max(highest, 1.0) * 1.25)
    is_short = lowest > 1e-3  # few decades: more labels than one a decade
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if is_short else (1.0,), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(True, color=GRID_COLOR, linewidth=0.6)
    axes.set_axisbelow(True)
