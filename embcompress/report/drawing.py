"""What pictures share: whether they can be drawn, colours, and the curves of a sweep. Matplotlib is only passed in."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from embcompress.choices import STORING_METHODS
from embcompress.exceptions import OutputError
from embcompress.results import SweepCurve, SweepPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours and markers of the methods. Source: Okabe & Ito, Color Universal Design (2008): told apart by colour-blind
# readers.
MARKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#E69F00", "D"), ("#009E73", "^"), ("#CC79A7", "v"))
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


@dataclass(frozen=True)
class Palette:
    """The colours of curves.

    Attributes:
        ways: of each way of storing.
    """

    ink: str
    bound: str
    grid: str
    ways: Mapping[str, str]


PRINTED = Palette("#000000", "#595959", "#E6E6E6", {way: color for way, (color, _) in STYLES.items()})


def need_matplotlib(asked: str) -> None:
    """Refuse a picture before any work is done where nothing can draw it.

    Args:
        asked: the option and its file.

    Raises:
        OutputError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise OutputError(f"{asked} needs matplotlib, which is not installed.", hint="pip install 'embcompress[plot]'")


def draw_curves(
    axes: Axes, curves: Sequence[SweepCurve], *, chosen: SweepPoint | None, palette: Palette = PRINTED
) -> None:
    """Draw relative error against the ratio, both by logarithms; errors of 0 are left out."""
    seen: list[SweepPoint] = []
    bound: dict[float, float] = {}
    for curve in curves:
        color, marker = palette.ways[curve.way], STYLES[curve.way][1]
        points = [point for point in curve.points if point.relative > 0]
        seen += points
        bound |= {point.ratio: point.bound_relative for point in curve.points if point.bound_relative}
        if not points:
            continue
        ratios = [point.ratio for point in points]
        errors = [point.relative for point in points]
        line = "-" if STORING_METHODS[curve.way].integer_bits is None else "none"  # integers have one size
        axes.plot(ratios, errors, linestyle=line, color=color, marker=marker, markersize=4.5, label=curve.way)
        if any(not point.exact for point in points):
            low = [point.low or point.relative for point in points]
            axes.fill_between(ratios, low, [point.high for point in points], color=color, alpha=0.25, linewidth=0)
    if bound:
        ratios = sorted(bound)
        shares = [bound[ratio] for ratio in ratios]
        axes.plot(ratios, shares, "--", color=palette.bound, linewidth=1, zorder=1, label="Gaussian bound")
    if chosen is not None and chosen.relative > 0:
        axes.plot(
            [chosen.ratio],
            [chosen.relative],
            linestyle="none",
            marker="o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor=palette.ink,
            label="recommended",
        )
    if not seen:
        axes.text(0.5, 0.5, "nothing to show", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    _scale(axes, seen, grid=palette.grid)


def _scale(axes: Axes, points: Sequence[SweepPoint], *, grid: str) -> None:
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
    axes.grid(True, color=grid, linewidth=0.6)
    axes.set_axisbelow(True)
