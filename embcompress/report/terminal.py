"""The report at a prompt: rich tables, every name escaped, since names come from files that anyone may have made."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from embcompress.exceptions import EmbcompressError
from embcompress.planning import human_bytes
from embcompress.results import (
    ApproximateResult,
    BackfillResult,
    GrownTable,
    InspectResult,
    ReconstructResult,
    Result,
    Skipped,
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
    return _reconstruct(result)


def plain(name: str) -> Text:
    r"""Show a name as it is: no markup, no control characters, so that no file can move the cursor.

    Example:
        >>> plain(chr(27) + "[2J").plain == r"\x1b[2J"
        True
    """
    return Text("".join(char if char.isprintable() else ascii(char)[1:-1] for char in name), overflow="fold")


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
    if result.memory_bytes is not None:
        parts.append(Text(f"memory needed: about {human_bytes(result.memory_bytes)}"))
    return Group(*parts)


class _Records:
    """A grid where the console is wide enough for it, else lines."""

    def __init__(self, grid: Table, lines: Sequence[Text]) -> None:
        self.grid = grid
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_wide = console.measure(self.grid, options=options.update(max_width=10_000)).maximum <= options.max_width
        yield from [self.grid] if is_wide else self.lines


def _table_errors(tables: Sequence[TableReport]) -> _Records:
    """Tell what became of each table; of the weighted error only where there is one."""
    weighted = [None if table.error is None else table.error.weighted_relative for table in tables]
    beside = [("weighted", "right")] if any(value is not None for value in weighted) else []
    grid = _grid(
        ("table", "left"), ("shape", "left"), ("bases", "right"), ("before", "right"), ("after", "right"),
        ("error", "right"), *beside, ("optimum", "right"), ("p99 row", "right"), ("cosine", "right"),
        ("solver", "left"),
    )  # fmt: skip
    lines = []
    for table, value in zip(tables, weighted, strict=True):
        extra = "" if value is None else _share(value)
        name, shape, rank, before, after, error, optimum, tail, cosine, solver = _table_row(table)
        extras = [extra] if beside else []
        grid.add_row(name, shape, rank, before, after, error, *extras, optimum, tail, cosine, solver)
        lines += [_bold(name), Text(f"  {shape}, {rank} bases by {solver}: {before} -> {after}")]
        if error:
            errors = f"error {error}, weighted {extra}" if extra else f"error {error}"
            lines.append(Text(f"  {errors}, optimum {optimum}; p99 row {tail}, mean cosine {cosine}"))
    return _Records(grid, lines)


def _table_row(table: TableReport) -> tuple[Text, str, str, str, str, str, str, str, str, str]:
    error = table.error
    measured = ("", "", "", "")
    if error is not None:
        optimum = "unknown" if error.optimal_relative is None else _share(error.optimal_relative)
        measured = (_share(error.relative), optimum, _share(error.row_relative.p99), f"{error.cosine.mean:.4f}")
    return (
        plain(table.name),
        f"{table.rows} x {' x '.join(map(str, table.shape))} {table.dtype}",
        str(table.rank),
        human_bytes(table.bytes_before),
        human_bytes(table.bytes_after),
        *measured,
        f"{table.solver}, {table.passes} passes" if table.passes else table.solver,
    )


def _notes(result: ApproximateResult) -> list[RenderableType]:
    notes: list[RenderableType] = []
    for table in result.tables:
        if table.tied_names:
            names = plain(", ".join(table.tied_names))
            notes.append(Text.assemble("tied: ", plain(table.name), " is also ", names))
        if table.matrices is not None:
            notes.append(Text.assemble("matrices: ", plain(table.name), _matrices(table)))
        if "; " in table.solver_reason:  # a reason of more than the choice: something needed a further look
            said = table.solver_reason.partition("; ")[2]
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
    return Group(*parts)


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
    return Text.assemble(f"{verb} ", plain(result.output.path), counts)


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
