"""The report at a prompt: rich tables, every name escaped, since names come from files that anyone may have made."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from embcompress.exceptions import EmbcompressError
from embcompress.planning import human_bytes
from embcompress.report.console import Records, bold, grid, left_lines, plain
from embcompress.report.terminal_compression import render_compression
from embcompress.report.terminal_sweep import render_sweep
from embcompress.report.wording import compression_text, counted, shape_text, share
from embcompress.results import BackfillResult, GrownTable, InspectResult, ReconstructResult, Result, SweepResult

__all__ = ["plain", "render_failure", "render_terminal"]

SHOWN_OTHERS = 12  # of the tensors that are no tables; --json lists all


def render_terminal(result: Result) -> RenderableType:
    """Render a result for rich's console."""
    if isinstance(result, BackfillResult):
        return _backfill(result)
    if isinstance(result, InspectResult):
        return _inspect(result)
    if isinstance(result, SweepResult):
        return render_sweep(result)
    if isinstance(result, ReconstructResult):
        return _reconstruct(result)
    return render_compression(result)


def render_failure(failure: EmbcompressError) -> Text:
    """Render what went wrong: `error:` says what, `hint:` what to do."""
    text = Text.assemble(("error: ", "bold red"), plain(failure.message))
    if failure.hint:
        text.append_text(Text.assemble("\n", ("hint: ", "bold"), Text("\n").join(map(plain, failure.hint.split("\n")))))
    return text


def _inspect(result: InspectResult) -> RenderableType:
    parts: list[RenderableType] = []
    if result.compressed:
        shown = grid(
            ("table", "left"), ("shape", "left"), ("stored", "right"), ("bits a number", "right"), ("error", "right"),
            ("stored as", "left"),
        )  # fmt: skip
        for one in result.compressed:
            name = Text("\n= ").join(plain(name) for name in (one.name, *one.tied_names))
            numbers = (f"{one.bits_per_entry:.3g}", "" if one.relative is None else share(one.relative))
            shape = shape_text(one.rows, one.shape, one.dtype)
            shown.add_row(name, shape, human_bytes(one.bytes), *numbers, compression_text(one))
        parts.append(shown)
    if result.tables:
        shown = grid(("", "left"), ("matrix", "left"), ("shape", "left"), ("bytes", "right"), ("reason", "left"))
        for table in sorted(result.tables, key=lambda table: not table.chosen):
            name = plain(table.name)
            for tied in table.tied_names:
                name = Text.assemble(name, "\n= ", plain(tied))
            shape = f"{table.rows} x {' x '.join(map(str, table.shape))} {table.dtype}"
            mark = Text("table", style="green") if table.chosen else Text("")
            shown.add_row(mark, name, shape, human_bytes(table.bytes), plain(table.reason))
        parts.append(shown)
    listed = result.others[:SHOWN_OTHERS]
    if listed:
        names = ", ".join(f"{other.name} {tuple(other.shape)} {other.dtype}" for other in listed)
        more = (
            f" and {len(result.others) - len(listed)} more (--json lists all)"
            if len(result.others) > len(listed)
            else ""
        )
        parts.append(Text.assemble("other tensors: ", plain(names), more))
    parts += left_lines(result.skipped)
    count = sum(table.chosen for table in result.tables)
    counts = [counted(len(result.compressed), "compressed table")] if result.compressed else []
    counts += [counted(count, "embedding table")] if count or not result.compressed else []
    parts.append(Text.assemble(plain(result.input.path), f": {human_bytes(result.input.bytes)}, {', '.join(counts)}"))
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


def _grown_tables(tables: Sequence[GrownTable]) -> Records:
    """Tell which tables got rows, and how the new rows look beside the known ones."""
    shown = grid(
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
        shown.add_row(plain(table.name), shape + coding, *counts, made, norms, cosines, held)
        lines += [
            bold(plain(table.name)),
            Text(f"  {shape}{coding}: kept {counts[0]}, added {counts[1]}, dropped {counts[2]}"),
            Text(f"  new rows by {made}; kept / new: norm {norms}, cosine {cosines}" + (held and f"; held {held}")),
        ]
    return Records(shown, lines)


def _reconstruct(result: ReconstructResult) -> RenderableType:
    verb = "would write" if result.dry_run else "wrote"
    count = len(result.tables)
    tables = f"{count} table{'s' * (count != 1)} multiplied out"
    counts = f" ({human_bytes(result.output.bytes)}, {result.tensors} tensors, {tables})"
    return Group(Text.assemble(f"{verb} ", plain(result.output.path), counts), *_memory(result.memory_bytes))


def _memory(memory_bytes: int | None) -> list[RenderableType]:
    """Tell what a dry run knows of the memory needed."""
    return [] if memory_bytes is None else [Text(f"memory needed: about {human_bytes(memory_bytes)}")]
