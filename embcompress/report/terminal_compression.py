"""What `approximate` and `evaluate` found, at a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from embcompress.report.console import Records, bold, grid, left_lines, plain
from embcompress.report.wording import (
    DRY_RUN,
    bases_text,
    check_sentence,
    counted,
    gate_sentence,
    group_text,
    known_text,
    least_error,
    least_word,
    matrices_text,
    means_text,
    overlap_text,
    percent,
    shape_text,
    share,
    times_smaller,
    worst_group,
)
from embcompress.results import ApproximateResult, Check, EvaluateResult, Gate, LinkPrediction, Ranking, TableReport
from embcompress.text import human_bytes

TABLES_MAX = 4  # told more of below the list, those of the largest error; the other forms of the report tell of all
WORST_ROWS = 3
FAR_WORSE = 1.25  # times the error of its table: what a group of rows is told of for


def render_compression(result: ApproximateResult | EvaluateResult) -> RenderableType:
    """Show the tables, what else is to know of them, what failed, and what became of the file."""
    parts: list[RenderableType] = [_table_errors(result.tables), *_band(result.tables), *_notes(result.tables)]
    if isinstance(result, ApproximateResult):
        parts += left_lines(result.skipped)
    else:
        parts += [_link_prediction(result.link_prediction)] if result.link_prediction is not None else []
        parts += _checks(result.checks)
    parts += _gates(result.gates)
    parts.append(_written(result) if isinstance(result, ApproximateResult) else _compared(result))
    if result.dry_run:
        parts.append(Text(DRY_RUN))
    if result.memory_bytes is not None:
        parts.append(Text(f"memory needed: about {human_bytes(result.memory_bytes)}"))
    return Group(*parts)


def _written(result: ApproximateResult) -> Text:
    sizes = f"{human_bytes(result.output.bytes)}, from {human_bytes(result.input.bytes)}; the tables are "
    smaller = (times_smaller(result.totals.ratio), "bold")
    if result.withheld:
        return Text.assemble(
            ("withheld: ", "bold red"), plain(result.output.path),
            " was made and measured, and not put there (", sizes, smaller, " smaller)",
        )  # fmt: skip
    verb = "would write" if result.dry_run else "wrote"
    return Text.assemble(f"{verb} ", plain(result.output.path), " (", sizes, smaller, " smaller)")


def _compared(result: EvaluateResult) -> Text:
    verb = "would compare" if result.dry_run else "compared"
    return Text.assemble(
        f"{verb} ", plain(result.artifact.path), " with ", plain(result.input.path),
        f" ({human_bytes(result.artifact.bytes)}, from {human_bytes(result.input.bytes)}; the tables are ",
        (times_smaller(result.totals.ratio), "bold"), " smaller)",
    )  # fmt: skip


def _checks(checks: Sequence[Check]) -> list[Text]:
    """Say what does not hold, each on its own line, and name the rest on one."""
    lines = [
        Text.assemble(("check failed: ", "bold red"), plain(check_sentence(check)))
        for check in checks
        if not check.passed
    ]
    holding = ", ".join(check.name for check in checks if check.passed)
    return [*lines, Text.assemble("checks: ", holding, (" ok", "green"))] if holding else lines


def _gates(gates: Sequence[Gate]) -> list[Text]:
    """Name every gate that failed, with its value, and count those that passed."""
    lines = [
        Text.assemble(("gate failed: ", "bold red"), plain(gate_sentence(gate))) for gate in gates if not gate.passed
    ]
    passed = len(gates) - len(lines)
    if passed:
        lines.append(Text(f"gates: {passed} of {len(gates)} passed"))
    return lines


def _link_prediction(found: LinkPrediction) -> Text:
    def scores(one: Ranking) -> tuple[float, ...]:
        return (one.mrr, one.hits_at_1, one.hits_at_3, one.hits_at_10)

    told = ", ".join(
        f"{name} {before:.4f} -> {after:.4f}"
        for name, before, after in zip(
            ("MRR", "Hits@1", "Hits@3", "Hits@10"), scores(found.before), scores(found.after), strict=True
        )
    )
    remark = "" if found.known else f"; {known_text(found)}"
    counts = f", {counted(found.triples, 'triple')}: {told}{remark}"
    return Text.assemble("link prediction: ", plain(found.interaction), counts)


def _table_errors(tables: Sequence[TableReport]) -> Records:
    """Tell what became of each table; of weighted errors and of neighbours only where there are some."""
    has_weighted = any(table.error is not None and table.error.weighted_relative is not None for table in tables)
    has_neighbours = any(table.neighbours is not None for table in tables)
    # Beside the error of plain factors stands the least that their rank leaves, of coded ones the bound at their bytes.
    least = " or ".join(dict.fromkeys(map(least_word, tables)))
    shown = grid(
        ("table", "left"), ("shape", "left"), ("bases", "right"), ("before", "right"), ("after", "right"),
        ("error", "right"), *([("weighted", "right")] if has_weighted else []), (least, "right"),
        ("p99 row", "right"), ("cosine", "right"), *([("neighbours", "right")] if has_neighbours else []),
        ("coding" if all(table.coded for table in tables) else "solver", "left"),
    )  # fmt: skip
    lines = []
    for table in tables:
        error, optimum, tail, cosine = _measured(table)
        weighted = (
            ""
            if table.error is None or table.error.weighted_relative is None
            else (share(table.error.weighted_relative))
        )
        kept = "" if table.neighbours is None else overlap_text(table.neighbours.cosine, sign="+-")
        shape = shape_text(table.rows, table.shape, table.dtype)
        before, after = human_bytes(table.bytes_before), human_bytes(table.bytes_after)
        means = f"{means_text(table)}, {table.passes} passes" if table.passes else means_text(table)
        shown.add_row(
            plain(table.name), shape, bases_text(table), before, after, error,
            *([weighted] if has_weighted else []), optimum, tail, cosine, *([kept] if has_neighbours else []), means,
        )  # fmt: skip
        lines += [bold(plain(table.name)), Text(f"  {shape}, {bases_text(table)} bases, {means}: {before} -> {after}")]
        if error:
            errors = f"error {error}, weighted {weighted}" if weighted else f"error {error}"
            said = f"  {errors}, {least_word(table)} {optimum}; p99 row {tail}, mean cosine {cosine}"
            lines.append(Text(said + (kept and f", neighbours {kept}")))
    return Records(shown, lines)


def _measured(table: TableReport) -> tuple[str, str, str, str]:
    error = table.error
    if error is None:
        return ("", "", "", "")
    known = least_error(table)
    least = "unknown" if known is None else share(known)
    return (share(error.relative), least, share(error.row_relative.p99), f"{error.cosine.mean:.4f}")


def _band(tables: Sequence[TableReport]) -> list[Text]:
    """Say once what the band of the neighbours kept is, where only a sample of rows was asked."""
    found = [table.neighbours for table in tables if table.neighbours and table.neighbours.queries < table.rows]
    if not found:
        return []
    asked, confidence = max(one.queries for one in found), 100 * found[0].confidence
    return [Text(f"+-: {confidence:.0f} % confidence, from {asked} rows asked for their neighbours.")]


def _notes(tables: Sequence[TableReport]) -> list[RenderableType]:
    notes: list[RenderableType] = []
    for table in tables:
        if table.tied_names:
            names = plain(", ".join(table.tied_names))
            notes.append(Text.assemble("tied: ", plain(table.name), " is also ", names))
        if table.matrices is not None:
            notes.append(Text.assemble("matrices: ", plain(table.name), f" is {matrices_text(table)}"))
        if "; " in (table.solver_reason or ""):  # a reason of more than the choice: something needed a further look
            said = (table.solver_reason or "").partition("; ")[2]
            notes.append(Text.assemble("note: ", plain(table.name), f": {said}"))
    measured = [table for table in tables if table.error is not None]
    worst = sorted(measured, key=lambda table: -(table.error.relative if table.error else 0.0))[:TABLES_MAX]
    if len(measured) > TABLES_MAX:
        notes.append(Text(f"the {TABLES_MAX} of {len(measured)} tables with the largest error:"))
    for table in measured:
        if table in worst:
            notes += _looked_closer(table, name=Text.assemble(plain(table.name), " ") if len(tables) > 1 else Text())
    return notes


def _looked_closer(table: TableReport, *, name: Text) -> list[Text]:
    """Tell on a line each what a table keeps, which groups of rows fare far worse than it, and which rows worst.

    Args:
        table: with an error.
        name: to begin the lines with, where there is more than one table.
    """
    error = table.error
    assert error is not None
    kept = []
    if table.spectrum is not None and bases_text(table) != "no":
        kept.append(f"{percent(table.spectrum.kept)} of the energy")
    if error.norm_ratio is not None:
        norms = error.norm_ratio
        kept.append(f"{norms.p50:.3f} of a row's norm (p01 {norms.p01:.3f}, p99 {norms.p99:.3f})")
    if table.neighbours is not None:
        product = overlap_text(table.neighbours.inner_product, sign="+-")
        kept.append(f"{product} of the neighbours by inner product")
    lines = [Text.assemble("keeps: ", name, ", ".join(kept))] if kept else []
    for title, unit, groups in (
        ("by norm: ", "norm", error.by_norm),
        ("by frequency: ", "row weight", error.by_frequency or ()),
    ):
        group = worst_group(groups)
        if group is not None and group.relative is not None and group.relative > FAR_WORSE * error.relative > 0:
            times = f", {group.relative / error.relative:.2f} times that of the table"
            lines.append(
                Text.assemble(title, name, f"{group_text(group, unit=unit)}: error {share(group.relative)}{times}")
            )
    rows = [
        Text.assemble(
            str(row.id), *((' "', plain(row.label), '"') if row.label is not None else ()), f" {share(row.relative)}"
        )
        for row in error.worst_rows[:WORST_ROWS]
    ]
    if rows and error.row_relative.max > 0:
        lines.append(Text.assemble("largest row errors: ", name, Text(", ").join(rows)))
    return lines
