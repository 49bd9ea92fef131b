"""The report at a prompt: rich tables, every name escaped, since names come from files that anyone may have made."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from embcompress.exceptions import EmbcompressError
from embcompress.planning import human_bytes
from embcompress.report.names import spelled
from embcompress.results import (
    ApproximateResult,
    BackfillResult,
    EvaluateResult,
    GrownTable,
    InspectResult,
    ReconstructResult,
    Result,
    Skipped,
    SweepCurve,
    SweepPoint,
    SweepResult,
    TableReport,
)

SHOWN_OTHERS = 12  # of the tensors that are no tables; --json lists all


def render_terminal(result: Result) -> RenderableType:
    """Render a result for rich's console."""
    if isinstance(result, ApproximateResult):
        return _approximate(result)
    if isinstance(result, BackfillResult):
        return _backfill(result)
    if isinstance(result, InspectResult):
        return _inspect(result)
    if isinstance(result, SweepResult):
        return _sweep(result)
    if isinstance(result, EvaluateResult):
        return _evaluate(result)
    return _reconstruct(result)


def plain(name: str) -> Text:
    r"""Show a name as it is: no markup, no control characters, so that no file can move the cursor.

    Example:
        >>> plain(chr(27) + "[2J").plain == r"\x1b[2J"
        True
    """
    return Text(spelled(name), overflow="fold")


def render_failure(failure: EmbcompressError) -> Text:
    """Render what went wrong: `error:` says what, `hint:` what to do."""
    text = Text.assemble(("error: ", "bold red"), plain(failure.message))
    if failure.hint:
        text.append_text(Text.assemble("\n", ("hint: ", "bold"), Text("\n").join(map(plain, failure.hint.split("\n")))))
    return text


def _approximate(result: ApproximateResult) -> RenderableType:
    parts: list[RenderableType] = [_table_errors(result.tables), *_notes(result)]
    totals = result.totals
    verb = "would write" if result.dry_run else "wrote"
    summary = Text.assemble(
        f"{verb} ", plain(result.output.path),
        f" ({human_bytes(result.output.bytes)}, from {human_bytes(result.input.bytes)}; the tables are ",
        (f"{totals.ratio:.2f}x", "bold"), " smaller)",
    )  # fmt: skip
    parts.append(summary)
    return Group(*parts, *_memory(result.memory_bytes))


class _Records:
    """A grid where the console is wide enough for it, else lines."""

    def __init__(self, grid: Table, lines: Sequence[Text]) -> None:
        self.grid = grid
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_wide = console.measure(self.grid, options=options.update(max_width=10_000)).maximum <= options.max_width
        yield from [self.grid] if is_wide else self.lines


def _evaluate(result: EvaluateResult) -> RenderableType:
    parts: list[RenderableType] = [_table_errors(result.tables)]
    for check in result.checks:
        verdict = ("ok", "green") if check.passed else ("failed", "bold red")
        parts.append(Text.assemble(f"{check.name}: ", verdict, " ", plain(check.detail)))
    return Group(*parts)


def _table_errors(tables: Sequence[TableReport]) -> _Records:
    """Tell what became of each table; of the weighted error only where there is one."""
    weighted = [None if table.error is None else table.error.weighted_relative for table in tables]
    beside = [("weighted", "right")] if any(value is not None for value in weighted) else []
    # Beside the error of plain factors stands the least that their rank leaves, of coded ones the bound at their bytes.
    least = " or ".join(dict.fromkeys("bound" if table.coded else "optimum" for table in tables))
    grid = _grid(
        ("table", "left"), ("shape", "left"), ("bases", "right"), ("before", "right"), ("after", "right"),
        ("error", "right"), *beside, (least, "right"), ("p99 row", "right"), ("cosine", "right"),
        ("coding" if all(table.coded for table in tables) else "solver", "left"),
    )  # fmt: skip
    lines = []
    for table, value in zip(tables, weighted, strict=True):
        extra = "" if value is None else _share(value)
        name, shape, rank, before, after, error, optimum, tail, cosine, solver = _table_row(table)
        extras = [extra] if beside else []
        grid.add_row(name, shape, rank, before, after, error, *extras, optimum, tail, cosine, solver)
        lines += [_bold(name), Text(f"  {shape}, {rank} bases, {solver}: {before} -> {after}")]
        if error:
            errors = f"error {error}, weighted {extra}" if extra else f"error {error}"
            what = "bound" if table.coded else "optimum"
            lines.append(Text(f"  {errors}, {what} {optimum}; p99 row {tail}, mean cosine {cosine}"))
    return _Records(grid, lines)


def _table_row(table: TableReport) -> tuple[Text, str, str, str, str, str, str, str, str, str]:
    error = table.error
    measured = ("", "", "", "")
    if error is not None:
        known = error.optimal_relative if table.coded is None else table.coded.bound_relative
        optimum = "unknown" if known is None else _share(known)
        measured = (_share(error.relative), optimum, _share(error.row_relative.p99), f"{error.cosine.mean:.4f}")
    return (
        plain(table.name),
        f"{table.rows} x {' x '.join(map(str, table.shape))} {table.dtype}",
        "no" if table.coded and not table.coded.is_rotated else str(table.rank),
        human_bytes(table.bytes_before),
        human_bytes(table.bytes_after),
        *measured,
        f"{_means(table)}, {table.passes} passes" if table.passes else _means(table),
    )


def _means(table: TableReport) -> str:
    """Tell what made the factors, or how the weights are coded."""
    coded = table.coded
    if coded is None:
        return table.solver or table.coding
    groups = "1 group" if coded.groups == 1 else f"{coded.groups} groups"
    return f"{coded.levels}, {coded.bits_per_entry:.2f} bits, {groups}"


def _notes(result: ApproximateResult) -> list[RenderableType]:
    notes: list[RenderableType] = []
    for table in result.tables:
        if table.tied_names:
            names = plain(", ".join(table.tied_names))
            notes.append(Text.assemble("tied: ", plain(table.name), " is also ", names))
        if table.matrices is not None:
            notes.append(Text.assemble("matrices: ", plain(table.name), _matrices(table)))
        if "; " in (table.solver_reason or ""):  # a reason of more than the choice: something needed a further look
            said = (table.solver_reason or "").partition("; ")[2]
            notes.append(Text.assemble("note: ", plain(table.name), f": {said}"))
    return notes + _skipped(result.skipped)


def _matrices(table: TableReport) -> str:
    """Tell how far the matrices of a bilinear table differ, and what its bytes would give as rows over shared bases."""
    assert table.matrices is not None
    in1, in2 = table.matrices.shape
    text = f" is {table.matrices.count} matrices of {in1} x {in2}"
    if table.matrices.relative:
        least, most = min(table.matrices.relative), max(table.matrices.relative)
        text += f", with errors from {_share(least)} to {_share(most)}"
    other = table.alternative
    if other is not None:
        leave = "" if other.relative is None else f", with an error of at least {_share(other.relative)}"
        text += f"; the same bytes pay for {other.rank} shared bases of whole rows{leave}"
    return text


def _skipped(skipped: tuple[Skipped, ...]) -> list[RenderableType]:
    return [Text.assemble("left: ", plain(item.name), " ", plain(item.reason)) for item in skipped]


def _inspect(result: InspectResult) -> RenderableType:
    parts: list[RenderableType] = []
    if result.tables:
        grid = _grid(("", "left"), ("matrix", "left"), ("shape", "left"), ("bytes", "right"), ("reason", "left"))
        for table in sorted(result.tables, key=lambda table: not table.chosen):
            name = plain(table.name)
            for tied in table.tied_names:
                name = Text.assemble(name, "\n= ", plain(tied))
            shape = f"{table.rows} x {' x '.join(map(str, table.shape))} {table.dtype}"
            mark = Text("table", style="green") if table.chosen else Text("")
            grid.add_row(mark, name, shape, human_bytes(table.bytes), plain(table.reason))
        parts.append(grid)
    shown = result.others[:SHOWN_OTHERS]
    if shown:
        listed = ", ".join(f"{other.name} {tuple(other.shape)} {other.dtype}" for other in shown)
        more = (
            f" and {len(result.others) - len(shown)} more (--json lists all)" if len(result.others) > len(shown) else ""
        )
        parts.append(Text.assemble("other tensors: ", plain(listed), more))
    parts += _skipped(result.skipped)
    count = sum(table.chosen for table in result.tables)
    chosen = f"{count} embedding table{'s' * (count != 1)}"
    parts.append(Text.assemble(plain(result.input.path), f": {human_bytes(result.input.bytes)}, {chosen}"))
    return Group(*parts)


def _backfill(result: BackfillResult) -> RenderableType:
    parts: list[RenderableType] = [_grown_tables(result.tables)]
    for table in result.tables:
        if table.tied_names:
            parts.append(Text.assemble("tied: ", plain(table.name), " is also ", plain(", ".join(table.tied_names))))
    parts += [Text.assemble(("warning: ", "bold yellow"), plain(warning)) for warning in result.warnings]
    verb = "would write" if result.dry_run else "wrote"
    read = human_bytes(sum(one.bytes for one in (result.input, *result.further_inputs)))
    size = f" ({human_bytes(result.output.bytes)}, from {read})"
    parts.append(Text.assemble(f"{verb} ", plain(result.output.path), size))
    return Group(*parts, *_memory(result.memory_bytes))


def _grown_tables(tables: Sequence[GrownTable]) -> _Records:
    """Tell which tables got rows, and how the new rows look beside the known ones."""
    grid = _grid(
        ("table", "left"), ("shape", "left"), ("kept", "right"), ("added", "right"), ("dropped", "right"),
        ("new rows by", "left"), ("norm, kept / new", "left"), ("cosine, kept / new", "left"), ("held", "right"),
    )  # fmt: skip
    lines = []
    for table in tables:
        shape = f"{' x '.join(map(str, (table.rows, *table.shape)))} {table.dtype}"
        coding = "" if table.rank is None else f", {table.rank} bases"
        made = table.method + (f", {table.constrainer}" if table.constrainer else "")
        seen = (table.base_rows, table.new_rows)
        norms = " / ".join("-" if one is None else f"{one.norm.mean:.4g}" for one in seen)
        cosines = " / ".join("-" if one is None else f"{one.cosine.mean:.3f}" for one in seen)
        held = "" if table.energy_held is None else f"{table.energy_held:.1%}"
        counts = [str(count) for count in (table.rows_kept, table.rows_added, table.rows_dropped)]
        grid.add_row(plain(table.name), shape + coding, *counts, made, norms, cosines, held)
        lines += [
            _bold(plain(table.name)),
            Text(f"  {shape}{coding}: kept {counts[0]}, added {counts[1]}, dropped {counts[2]}"),
            Text(f"  new rows by {made}; kept / new: norm {norms}, cosine {cosines}" + (held and f"; held {held}")),
        ]
    return _Records(grid, lines)


def _reconstruct(result: ReconstructResult) -> RenderableType:
    verb = "would write" if result.dry_run else "wrote"
    count = len(result.tables)
    tables = f"{count} table{'s' * (count != 1)} multiplied out"
    counts = f" ({human_bytes(result.output.bytes)}, {result.tensors} tensors, {tables})"
    return Group(Text.assemble(f"{verb} ", plain(result.output.path), counts), *_memory(result.memory_bytes))


def _memory(memory_bytes: int | None) -> list[RenderableType]:
    """Tell what a dry run knows of the memory needed."""
    return [] if memory_bytes is None else [Text(f"memory needed: about {human_bytes(memory_bytes)}")]


def _sweep(result: SweepResult) -> RenderableType:
    parts: list[RenderableType] = []
    for table in result.tables:
        size = f"  {' x '.join(map(str, (table.rows, *table.shape)))} {table.dtype}, {human_bytes(table.bytes_before)}"
        parts.append(Text.assemble(_bold(plain(table.name)), size))
        parts += [Text.assemble("tied: is also ", plain(", ".join(table.tied_names)))] if table.tied_names else []
        parts += [_curves(table.curves), *(Text(f"note: {remark}.") for remark in table.remarks), Text()]
    if len(result.tables) > 1:
        size = f"  {len(result.tables)} tables, {human_bytes(result.totals.bytes_before)}; root mean square error"
        parts += [Text.assemble(("all together", "bold"), size), _curves(result.totals.curves), Text()]
    parts += _skipped(result.skipped)
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
        f"error {_share(said.relative)}: {said.reason}."
    )  # fmt: skip
    command = Text.assemble("  ", plain(said.command), no_wrap=True, overflow="ignore")  # to be pasted in one piece
    return Group(*parts, head, command)


def _curves(curves: Sequence[SweepCurve]) -> _Records:
    """Show every size that some way was tried at, the largest first, and what each way leaves there."""
    ways = [curve.way for curve in curves]
    # Ways held to the same ratio share a line; one that has a size of its own gets its own.
    lines: dict[tuple[float, str], dict[str, SweepPoint]] = {}
    for curve in curves:
        for point in curve.points:
            own = curve.way if point.asked_ratio is None else ""
            lines.setdefault((point.asked_ratio or point.ratio, own), {})[curve.way] = point
    titles = [title for way in ways for title in ((way, f"{way} / bound") if way == ways[0] else (way,))]
    grid = _grid(("size", "right"), ("bytes", "right"), ("bound", "right"), *((title, "right") for title in titles))
    texts = []
    for (ratio, _), found in sorted(lines.items(), key=lambda line: line[0]):
        first = next(iter(found.values()))
        bound = "" if first.bound_relative is None else _share(first.bound_relative)
        cells = []
        for way in ways:
            seen = found.get(way)
            cells.append("" if seen is None else _with_band(seen))
            if way == ways[0]:
                cells.append("" if seen is None or not seen.bound_relative else _over(seen))
        size = f"1/{ratio:.3g}"
        grid.add_row(size, human_bytes(first.bytes), bound, *cells)
        told = ", ".join(f"{title} {cell}" for title, cell in zip(titles, cells, strict=True) if cell)
        texts.append(Text(f"  {size}, {human_bytes(first.bytes)}: {told}" + (bound and f"; bound {bound}")))
    return _Records(grid, texts)


def _with_band(point: SweepPoint) -> str:
    return _share(point.relative) + ("" if point.exact else f" +-{(point.high - point.low) / 2:.1g}")


def _over(point: SweepPoint) -> str:
    assert point.bound_relative
    times = point.relative / point.bound_relative
    return f"{times:.3f}" if times < 100 else f"{times:.0e}"


def _grid(*columns: tuple[str, str]) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in columns:
        folds = justify == "left"
        grid.add_column(title, justify=justify, no_wrap=not folds, overflow="fold")  # type: ignore[arg-type]
    return grid


def _bold(name: Text) -> Text:
    name.stylize("bold")
    return name


def _share(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-3 or value == 0 else f"{value:.1e}"
