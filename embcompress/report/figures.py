"""The figures of the page: matplotlib's SVG, made a part of the page that follows its colours and loads nothing."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from embcompress.report.document.model import (
    CurvesDrawing,
    Drawing,
    ErrorsDrawing,
    GroupsDrawing,
    HistogramDrawing,
    SizesDrawing,
    SpectrumDrawing,
)
from embcompress.report.drawing import SETTINGS, STYLES, Palette, draw_curves
from embcompress.report.names import Name, shortened, text_of
from embcompress.report.wording import amount, share
from embcompress.text import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "ink": "#0a0b01",
        "muted": "#0a0b02",
        "line": "#0a0b03",
        "accent": "#0a0b04",
        "soft": "#0a0b05",
        "bad": "#0a0b06",
        "paper": "#0a0b07",
        "way-1": "#0a0b11",
        "way-2": "#0a0b12",
        "way-3": "#0a0b13",
        "way-4": "#0a0b14",
        "way-5": "#0a0b15",
    }
)
# Variable of the page's style sheet -> the colour that stands for it while matplotlib draws, used by nothing else.
INK, MUTED, LINE, ACCENT, SOFT, BAD = (VARIABLES[name] for name in ("ink", "muted", "line", "accent", "soft", "bad"))
PALETTE = Palette(INK, MUTED, LINE, {way: VARIABLES[f"way-{number}"] for number, way in enumerate(STYLES, start=1)})
THEME: Mapping[str, Any] = MappingProxyType(
    {
        **SETTINGS,
        "font.size": 9.5,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": LINE,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
    }
)
WIDTH = 3.4  # inches: 245 units of the picture: letters of 9.5 are 12 pixels high on a phone, and 10 in a row of four
HEIGHT = 2.3
BAR_INCHES = 0.42  # a table of the size bars
BAR_LETTERS = 44  # of the name and the value above a bar
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
FONT = re.compile(r"font: (?:\w+ )*?([\d.]+px) [^;]*")  # how matplotlib says size and fonts at once


def render_figure(drawing: Drawing, *, prefix: str) -> str:
    """Draw a figure as an SVG element for a page that has VARIABLES in its style.

    Args:
        drawing: what to draw.
        prefix: of the ids in it, its own for each figure of a page.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in letters that the font lacks
        mpl.rcdefaults()
        mpl.rcParams.update(dict(THEME))  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)  # type: ignore[union-attr, call-arg]
        if isinstance(drawing, SpectrumDrawing):
            _draw_spectrum(figure, drawing)
        elif isinstance(drawing, HistogramDrawing):
            _draw_histogram(figure.subplots(), drawing)
        elif isinstance(drawing, GroupsDrawing):
            _draw_groups(figure.subplots(), drawing)
        elif isinstance(drawing, SizesDrawing):
            _draw_sizes(figure, drawing)
        elif isinstance(drawing, ErrorsDrawing):
            _draw_errors(figure, drawing)
        else:
            _draw_curves(figure, drawing)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return _embedded(buffer.getvalue(), prefix=prefix)


def _draw_spectrum(figure: Figure, drawing: SpectrumDrawing) -> None:
    """Draw singular values by logarithms above the energy that as many directions hold."""
    spectrum = drawing.spectrum
    above, below = figure.subplots(2, 1, sharex=True)
    values = [(rank, value) for rank, value in zip(spectrum.ranks, spectrum.singular_values, strict=True) if value > 0]
    if values:
        above.plot(*zip(*values, strict=True), color=ACCENT, linewidth=1.6)
        above.set_yscale("log")
        _few_decades(above, [value for _, value in values])
    below.plot(spectrum.ranks, [100 * share for share in spectrum.energy], color=ACCENT, linewidth=1.6)
    below.fill_between(
        spectrum.ranks, [100 * share for share in spectrum.energy], color=ACCENT, alpha=0.12, linewidth=0
    )
    below.set_ylim(0, 104)
    below.set_yticks([0, 50, 100], ["0", "50 %", "100 %"])
    for axes, title in ((above, "singular values"), (below, "energy held")):
        axes.set_title(title, loc="left", fontsize=9.5, color=MUTED)
        _grid(axes, "y")
        if drawing.rank is not None:
            axes.axvline(drawing.rank, color=INK, linewidth=1, linestyle=(0, (3, 2)))
    below.set_xlabel("directions")
    below.set_xlim(left=min(1, spectrum.ranks[0]), right=max(spectrum.ranks[-1], drawing.rank or 0))
    below.locator_params(axis="x", nbins=6, integer=True)


def _few_decades(axes: Axes, values: Sequence[float]) -> None:
    """Label few powers of ten, and within a decade or two also their halves and fifths."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    decades = max(values) / min(values)
    subs = (1.0, 2.0, 5.0) if decades < 30 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _draw_histogram(axes: Axes, drawing: HistogramDrawing) -> None:
    """Draw bars from the first to the last bin that has rows, with marks at the median and at p99."""
    edges, counts = drawing.histogram.edges, drawing.histogram.counts
    axes.stairs(counts, edges, fill=True, color=SOFT)
    axes.stairs(counts, edges, color=ACCENT, linewidth=1)
    used = [index for index, count in enumerate(counts) if count]
    low, high = edges[used[0]], edges[used[-1] + 1]
    pad = 0.06 * (high - low)
    axes.set_xlim(max(0.0, low - pad), high + pad)
    top = max(counts) * 1.3
    axes.set_ylim(0, top)
    for row, (value, name) in enumerate(((drawing.p50, "median"), (drawing.p99, "p99"))):  # each on a line of its own
        axes.axvline(value, color=INK, linewidth=1, linestyle=(0, (3, 2)))
        is_far = value - low > 0.6 * (high - low)
        axes.annotate(
            f"{name} {value:.3g}",
            (value, top),
            xytext=(-3 if is_far else 3, -1 - 11 * row),
            textcoords="offset points",
            ha="right" if is_far else "left",
            va="top",
            fontsize=9,
        )
    axes.set_xlabel("relative error of a row")
    axes.set_ylabel("rows")
    axes.locator_params(axis="x", nbins=6)
    axes.locator_params(axis="y", nbins=5, integer=True)
    _grid(axes, "y")


def _draw_groups(axes: Axes, drawing: GroupsDrawing) -> None:
    """Draw a bar for each group, the worst in the colour of failures, with the values that divide the groups below."""
    shares = [group.relative or 0.0 for group in drawing.groups]
    worst = max(range(len(shares)), key=shares.__getitem__)
    colors = [BAD if index == worst else ACCENT for index in range(len(shares))]
    axes.bar(range(len(shares)), shares, width=0.82, color=colors)
    axes.axhline(drawing.relative, color=INK, linewidth=1, linestyle=(0, (3, 2)))
    axes.set_ylim(0, max(*shares, drawing.relative) * 1.12)
    step = max(1, -(-len(shares) // 4))
    places = [-0.5 + index for index in range(0, len(shares), step)]
    labels = [amount(drawing.groups[index].low) for index in range(0, len(shares), step)]
    if len(shares) - 0.5 - places[-1] < step:  # the last one would run into the end
        places, labels = places[:-1], labels[:-1]
    axes.set_xticks([*places, len(shares) - 0.5], [*labels, amount(drawing.groups[-1].high)])
    axes.set_xlim(-0.7, len(shares) - 0.3)
    axes.set_xlabel(f"{drawing.by} of the rows")
    axes.set_ylabel("relative error")
    axes.locator_params(axis="y", nbins=5)
    _grid(axes, "y")


def _draw_sizes(figure: Figure, drawing: SizesDrawing) -> None:
    """Draw for each table its bytes before, and over them those after; a single table as two columns."""
    if len(drawing.names) == 1:
        axes = figure.subplots()
        bars = axes.bar(["before", "after"], [*drawing.before, *drawing.after], width=0.6, color=[SOFT, ACCENT])
        axes.bar_label(bars, [human_bytes(size) for size in (*drawing.before, *drawing.after)], padding=3)
        axes.set_ylim(0, 1.12 * max(*drawing.before, *drawing.after, 1))
        axes.set_xlim(-0.8, 1.8)
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])
        axes.tick_params(axis="x", length=0)
        return
    said = [
        f"{human_bytes(before)} → {human_bytes(after)}"
        for before, after in zip(drawing.before, drawing.after, strict=True)
    ]
    _draw_bars(figure, drawing.names, under=drawing.before, over=drawing.after, said=said)


def _draw_errors(figure: Figure, drawing: ErrorsDrawing) -> None:
    """Draw for each table its error, and over it the least that it could be, where that is known."""
    said = [share(error) for error in drawing.errors]
    _draw_bars(figure, drawing.names, under=drawing.errors, over=drawing.least, said=said)


def _draw_bars(
    figure: Figure, names: Sequence[Name], *, under: Sequence[float], over: Sequence[float | None], said: Sequence[str]
) -> None:
    """Draw a bar under each name, a second one over it, and its value in words at the right."""
    count = len(names)
    figure.set_size_inches(WIDTH, BAR_INCHES * count + 0.15)
    axes = figure.subplots()
    widest = max((*under, *(one for one in over if one))) or 1
    for place, (name, below, above, value) in enumerate(zip(names, under, over, said, strict=True)):
        axes.barh(place, below, height=0.34, color=SOFT)
        axes.barh(place, above or 0, height=0.34, color=ACCENT)
        title = shortened(text_of(name), limit=BAR_LETTERS - len(value))
        axes.text(0, place - 0.26, title, va="bottom", fontsize=9, parse_math=False)
        axes.text(widest, place - 0.26, value, va="bottom", ha="right", fontsize=9, color=MUTED)
    axes.set_ylim(count - 0.7, -0.8)
    axes.set_xlim(0, widest)
    axes.set_axis_off()


def _draw_curves(figure: Figure, drawing: CurvesDrawing) -> None:
    figure.set_size_inches(WIDTH, 3.2)
    axes = figure.subplots()
    draw_curves(axes, drawing.curves, chosen=drawing.chosen, palette=PALETTE)
    axes.set_xlabel("times smaller")
    axes.set_ylabel("relative error")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1, handlelength=1.6
    )


def _grid(axes: Axes, axis: str) -> None:
    axes.grid(True, axis=axis, color=LINE, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _embedded(picture: bytes, *, prefix: str) -> str:
    """Make a part of a page out of an SVG file: no declarations, no fonts, the page's colours, ids of its own."""
    root = ET.fromstring(picture)  # noqa: S314 - drawn a moment ago; drops comments and what stands before the root
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{SVG}metadata", f"{SVG}style"}:
                parent.remove(child)
    referenced = set(re.findall(r"(?:url\(#|href=\"#)([\w-]+)", ET.tostring(root, encoding="unicode")))
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        attributes = dict(element.attrib)
        element.attrib.clear()
        for name, value in attributes.items():
            if name == "id" and value not in referenced:
                continue
            said = f"{prefix}{value}" if name == "id" else value
            said = f"#{prefix}{value[1:]}" if name == LINK else said.replace("url(#", f"url(#{prefix}")
            element.set("href" if name == LINK else name, _in_theme(said) if name == "style" else said)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("aria-hidden", "true")  # the figure around it says what it shows
    for element in root.iter():
        element.tail = None
        if element.tag not in {"text", "tspan"}:
            element.text = None
    return ET.tostring(root, encoding="unicode")


def _in_theme(style: str) -> str:
    """Put variables for colours, and leave the choice of a font to the page."""
    kept = []
    for declaration in FONT.sub(r"font-size: \1", style).split("; "):
        if not declaration.startswith("font-family"):
            kept.append(declaration)
    style = "; ".join(kept)
    for name, color in VARIABLES.items():
        style = style.replace(color, f"var(--{name})")
    return style
