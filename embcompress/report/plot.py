"""The curves of a sweep as a picture, drawn by matplotlib, which is imported only here and only when asked for."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from embcompress.exceptions import UsageError
from embcompress.planning import human_bytes
from embcompress.report.document.sweep import recommended_point
from embcompress.report.drawing import SETTINGS, STYLES, draw_curves, need_matplotlib
from embcompress.report.names import shortened, spelled
from embcompress.report.wording import shape_text
from embcompress.results import SweepResult, SweptTable

__all__ = ["PANELS_MAX", "PLOT_FORMS", "STYLES", "plot_form", "render_plot"]

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
            f"--plot {path}: no picture ends in {path.suffix or 'nothing'!r}.", hint=f"Use {', '.join(PLOT_FORMS)}."
        )
    need_matplotlib(f"--plot {path}")
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
            draw_curves(axes, curves, chosen=recommended_point(result) if is_total else None)
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
