"""The document of `backfill`."""

from __future__ import annotations

from embcompress.report.document import parts
from embcompress.report.document.model import Column, Document, Fact, Grid, Section
from embcompress.report.names import TIED, Inline, listed
from embcompress.report.wording import NOTHING_WRITTEN, counted, percent, table_text
from embcompress.results import BackfillResult, GrownTable, VocabularyReport
from embcompress.text import human_bytes


def backfill_document(result: BackfillResult) -> Document:
    """Say how many rows stay, are new and are gone, and how the new ones look beside the known."""
    words = result.vocabulary
    sections = [
        *parts.warned(result.warnings),
        Section("Tables", grids=(_tables(result.tables),), is_titled=False),
        _vocabulary(words),
        *parts.left_dense(result.skipped),
        *parts.noted(result.notes),
    ]
    numbers = (
        Fact("rows kept", str(words.kept_ids), "identical to the bit"),
        Fact("new rows", str(words.new_ids)),
        Fact("labels gone", str(words.dropped_rows)),
        Fact(
            "size of the tables",
            human_bytes(result.totals.bytes_after),
            f"was {human_bytes(result.totals.bytes_before)}",
        ),
        *parts.memory_facts(result.memory_bytes),
    )
    inputs = (result.input, *result.further_inputs)
    facts = (
        *(parts.file_fact("base", one) for one in inputs),
        *parts.output_facts(result.output, is_dry=result.dry_run),
    )
    sizes = f"{human_bytes(result.output.bytes)}, from {human_bytes(sum(one.bytes for one in inputs))}"
    tables = counted(len(result.tables), "table")
    verdict = f"{NOTHING_WRITTEN} {tables} would grow." if result.dry_run else f"{tables} grown."
    return Document(
        result.command,
        (parts.base_name(result.input.path), f", {counted(words.new_ids, 'row')} added"),
        verdict,
        "dry run" if result.dry_run else "done",
        "plain" if result.dry_run or result.warnings else "good",
        numbers,
        facts,
        tuple(sections),
        parts.table_cases({table.name: table.seconds for table in result.tables}, result.skipped),
        (parts.written_fact(result.output, sizes, is_dry=result.dry_run),),
    )


def _tables(tables: tuple[GrownTable, ...]) -> Grid:
    titles = ("kept", "added", "dropped")
    columns = (
        Column("table", is_cut=True), Column("shape", is_brief=False),
        *(Column(title, "right") for title in titles), Column("new rows by"),
        Column("norm kept / new", "right", is_brief=False), Column("cosine kept / new", "right", is_brief=False),
        Column("kept energy", "right", is_brief=False),
    )  # fmt: skip
    rows: list[tuple[Inline, ...]] = []
    for table in tables:
        seen = (table.base_rows, table.new_rows)
        rows.append(
            (
                listed((table.name, *table.tied_names), between=TIED),
                table_text(table) + ("" if table.rank is None else f", {table.rank} bases"),
                str(table.rows_kept),
                str(table.rows_added),
                str(table.rows_dropped),
                table.method + (f", {table.constrainer}" if table.constrainer else ""),
                " / ".join("-" if one is None else f"{one.norm.mean:.4g}" for one in seen),
                " / ".join("-" if one is None else f"{one.cosine.mean:.3f}" for one in seen),
                "" if table.kept_energy is None else percent(table.kept_energy),
            )
        )
    return Grid("", columns, tuple(rows))


def _vocabulary(words: VocabularyReport) -> Section:
    facts = [Fact("kept", str(words.kept_ids)), Fact("new", str(words.new_ids)), Fact("gone", str(words.dropped_rows))]
    facts.append(Fact("padding", str(words.padding_rows), "base rows that had no label"))
    for label, names in (("the first new labels", words.new_labels), ("the first gone", words.dropped_labels)):
        if names:
            facts.append(Fact(label, listed(names)))
    return Section("Vocabulary", facts=tuple(facts), is_brief=False)
