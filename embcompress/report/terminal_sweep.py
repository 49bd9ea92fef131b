"""What `sweep` found, at a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from embcompress.report.console import Records, bold, grid, left_lines, plain
from embcompress.report.wording import band_text, over_text, points_by_size, shape_text, share
from embcompress.results import SweepCurve, SweepResult
from embcompress.text import human_bytes


def render_sweep(result: SweepResult) -> RenderableType:
    """Show every curve as a grid, then what is recommended, with its command."""
    parts: list[RenderableType] = []
    for table in result.tables:
        size = f"  {shape_text(table.rows, table.shape, table.dtype)}, {human_bytes(table.bytes_before)}"
        parts.append(Text.assemble(bold(plain(table.name)), size))
        parts += [Text.assemble("tied: is also ", plain(", ".join(table.tied_names)))] if table.tied_names else []
        parts += [_curves(table.curves), *(Text(f"note: {remark}.") for remark in table.remarks), Text()]
    if len(result.tables) > 1:
        size = f"  {len(result.tables)} tables, {human_bytes(result.totals.bytes_before)}; root mean square error"
        parts += [Text.assemble(("all together", "bold"), size), _curves(result.totals.curves), Text()]
    parts += left_lines(result.skipped)
    points = [point for table in result.tables for curve in table.curves for point in curve.points]
    if any(not point.exact for point in points):
        parts.append(Text("+-: 95 % confidence, from a sample of the rows; what has none is exact."))
    said = result.recommendation
    if said is None:
        parts.append(Text("nothing to recommend: not even the smallest ratio can be had."))
        return Group(*parts)
    style = "green" if said.is_within else "yellow"
    head = Text.assemble(
        ("recommended: ", f"bold {style}"), f"{said.way} at 1/{said.ratio:g}, {human_bytes(said.bytes)}, "
        f"error {share(said.relative)}: {said.reason}."
    )  # fmt: skip
    command = Text.assemble("  ", plain(said.command), no_wrap=True, overflow="ignore")  # to be pasted in one piece
    return Group(*parts, head, command)


def _curves(curves: Sequence[SweepCurve]) -> Records:
    """Show every size that some way was tried at, the largest first, and what each way leaves there."""
    ways = [curve.way for curve in curves]
    titles = [title for way in ways for title in ((way, f"{way} / bound") if way == ways[0] else (way,))]
    shown = grid(("size", "right"), ("bytes", "right"), ("bound", "right"), *((title, "right") for title in titles))
    texts = []
    for ratio, found in points_by_size(curves):
        first = next(iter(found.values()))
        bound = "" if first.bound_relative is None else share(first.bound_relative)
        cells = []
        for way in ways:
            seen = found.get(way)
            cells.append("" if seen is None else band_text(seen, sign="+-"))
            if way == ways[0]:
                cells.append("" if seen is None or not seen.bound_relative else over_text(seen))
        size = f"1/{ratio:.3g}"
        shown.add_row(size, human_bytes(first.bytes), bound, *cells)
        told = ", ".join(f"{title} {cell}" for title, cell in zip(titles, cells, strict=True) if cell)
        texts.append(Text(f"  {size}, {human_bytes(first.bytes)}: {told}" + (bound and f"; bound {bound}")))
    return Records(shown, texts)
