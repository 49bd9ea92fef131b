"""The documents of `inspect` and `reconstruct`."""

from __future__ import annotations

from collections.abc import Sequence

from embcompress.report.document import parts
from embcompress.report.document.model import Column, Document, Fact, Grid, Section, Tone
from embcompress.report.names import TIED, Inline, Name, listed
from embcompress.report.wording import NOTHING_WRITTEN, compression_text, counted, share, table_text
from embcompress.results import InspectResult, ListedCompression, ListedTable, ReconstructResult
from embcompress.text import human_bytes

OTHERS_MAX = 12  # of the tensors that are no tables, in a short form


def inspect_document(result: InspectResult) -> Document:
    """Say which matrices are tables, and why; what is chosen comes first."""
    chosen = [table for table in result.tables if table.chosen]
    rest = [table for table in result.tables if not table.chosen]
    sections = (
        [Section("Compressed tables", grids=(_compressed(result.compressed_tables),))]
        if result.compressed_tables
        else []
    )
    if result.tables:
        sections.append(Section("Matrices", grids=(_matrices([*chosen, *rest]),), is_titled=bool(sections)))
    if result.others:
        columns = (Column("name"), Column("shape"), Column("bytes", "right"))
        rows = tuple(
            (Name(one.name), f"{' x '.join(map(str, one.shape)) or 'a number'} {one.dtype}", human_bytes(one.bytes))
            for one in result.others
        )
        others = Grid("Other tensors", columns, rows, is_folded=True, brief_rows=OTHERS_MAX)
        sections.append(Section("Other tensors", grids=(others,), is_titled=False))
    size = sum(table.bytes for table in chosen)
    compressed_size = sum(table.bytes for table in result.compressed_tables)
    compressed = (Fact("compressed tables", str(len(result.compressed_tables)), human_bytes(compressed_size)),)
    numbers = (
        *(compressed if result.compressed_tables else ()),
        Fact("embedding tables", str(len(chosen)), human_bytes(size)),
        Fact("other matrices", str(len(rest))),
        Fact("other tensors", str(len(result.others))),
        Fact("file", human_bytes(result.input.bytes)),
    )
    tables = counted(len(chosen), "embedding table")
    if result.compressed_tables:
        tables = ", ".join([counted(len(result.compressed_tables), "compressed table"), *([tables] if chosen else [])])
    verdict = (
        f"{counted(len(chosen), 'table')} would be compressed." if chosen else "No embedding table was recognised."
    )
    if result.compressed_tables:
        verdict = (
            f"{counted(len(result.compressed_tables), 'compressed table')}: an artifact, which is not compressed again."
        )
    return Document(
        result.command,
        (parts.base_name(result.input.path), f", {tables}"),
        verdict,
        "listed",
        "plain",
        numbers,
        (parts.file_fact("input", result.input),),
        (*sections, *parts.left_dense(result.skipped)),
        parts.table_cases({table.name: 0.0 for table in (*result.compressed_tables, *chosen)}, result.skipped),
        (Fact("", (Name(result.input.path), f": {human_bytes(result.input.bytes)}, {tables}")),),
    )


def reconstruct_document(result: ReconstructResult) -> Document:
    """Say what the dense file holds."""
    tables = counted(len(result.tables), "table")
    would, nothing = ("would be ", f"{NOTHING_WRITTEN} ") if result.dry_run else ("", "")
    counts = f"{counted(result.tensors, 'tensor')}, {tables} multiplied out"
    written = f"{human_bytes(result.output.bytes)}, {counts}"
    grid = Grid("", (Column("multiplied out"),), tuple((Name(name),) for name in result.tables))
    numbers = (
        Fact("tables", str(len(result.tables))),
        Fact("tensors", str(result.tensors)),
        Fact("dense file", human_bytes(result.output.bytes), f"from {human_bytes(result.input.bytes)}"),
        *parts.memory_facts(result.memory_bytes),
    )
    return Document(
        result.command,
        (parts.base_name(result.input.path), ", dense again"),
        f"{nothing}{tables} {would}multiplied out, {counted(result.tensors, 'tensor')} in all.",
        "dry run" if result.dry_run else "done",
        "plain" if result.dry_run else "good",
        numbers,
        (parts.file_fact("artifact", result.input), *parts.output_facts(result.output, is_dry=result.dry_run)),
        (
            *((Section("Tables", grids=(grid,), is_brief=False),) if result.tables else ()),
            *parts.not_written(result.skipped),
            *parts.warned(result.warnings),
        ),
        parts.table_cases(dict.fromkeys(result.tables, 0.0)),
        (parts.written_fact(result.output, written, is_dry=result.dry_run),),
    )


def _compressed(tables: Sequence[ListedCompression]) -> Grid:
    rows: list[tuple[Inline, ...]] = []
    for table in tables:
        names = listed((table.name, *table.tied_names), between=TIED)
        shape = table_text(table)
        error = "" if table.relative is None else share(table.relative)
        sizes = (human_bytes(table.bytes_before), human_bytes(table.bytes), f"{table.bits_per_entry:.3g}", error)
        rows.append((names, shape, *sizes, compression_text(table)))
    titles = ("dense", "stored", "bits a number", "recorded error")
    numbers = tuple(Column(title, "right", is_brief=title != "bits a number") for title in titles)
    heads = (Column("table", is_cut=True), Column("shape", is_brief=False))
    return Grid("", (*heads, *numbers, Column("stored as", is_brief=False)), tuple(rows))


def _matrices(tables: list[ListedTable]) -> Grid:
    rows: list[tuple[Inline, ...]] = []
    for table in tables:
        names = listed((table.name, *table.tied_names), between=TIED)
        shape = table_text(table)
        rows.append(("table" if table.chosen else "", names, shape, human_bytes(table.bytes), table.reason))
    columns = (
        Column(""),
        Column("matrix", is_cut=True),
        Column("shape"),
        Column("bytes", "right"),
        Column("reason", is_prose=True),
    )
    tones: tuple[Tone, ...] = tuple("good" if table.chosen else "plain" for table in tables)
    return Grid("", columns, tuple(rows), tones, heads=2)
