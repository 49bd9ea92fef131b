"""What `inspect` listed and `reconstruct` wrote, as documents."""

from __future__ import annotations

from collections.abc import Sequence

from embcompress.planning import human_bytes
from embcompress.report.document.compression import base_name, left_dense
from embcompress.report.document.model import Case, Column, Document, Fact, Grid, Section
from embcompress.report.names import Inline, Name
from embcompress.report.wording import compression_text, counted, shape_text, share
from embcompress.results import InspectResult, ListedCompression, ListedTable, ReconstructResult


def inspect_document(result: InspectResult) -> Document:
    """Say which matrices are tables, and why; what is chosen comes first."""
    chosen = [table for table in result.tables if table.chosen]
    rest = [table for table in result.tables if not table.chosen]
    sections = [Section("Compressed tables", grids=(_compressed(result.compressed),))] if result.compressed else []
    sections += [
        Section(title, grids=(_matrices(tables),))
        for title, tables in (("Embedding tables", chosen), ("Other matrices", rest))
        if tables
    ]
    if result.others:
        columns = (Column("name"), Column("shape"), Column("bytes", "right"))
        rows = tuple(
            (Name(one.name), f"{' x '.join(map(str, one.shape)) or 'a number'} {one.dtype}", human_bytes(one.bytes))
            for one in result.others
        )
        sections.append(Section("Other tensors", grids=(Grid("No tables", columns, rows, is_folded=True),)))
    size = sum(table.bytes for table in chosen)
    compressed_size = sum(table.bytes for table in result.compressed)
    compressed = (Fact("compressed tables", str(len(result.compressed)), human_bytes(compressed_size)),)
    numbers = (
        *(compressed if result.compressed else ()),
        Fact("embedding tables", str(len(chosen)), human_bytes(size)),
        Fact("other matrices", str(len(rest))),
        Fact("other tensors", str(len(result.others))),
        Fact("file", human_bytes(result.input.bytes)),
    )
    count = counted(len(chosen), "embedding table")
    verdict = (
        f"{counted(len(chosen), 'table')} would be compressed." if chosen else "No embedding table was recognised."
    )
    if result.compressed:
        count = counted(len(result.compressed), "compressed table")
        verdict = f"{count}: an artifact, which is not compressed again."
    return Document(
        result.command,
        (base_name(result.input.path), f", {count}"),
        verdict,
        "listed",
        "plain",
        numbers,
        (Fact("input", Name(result.input.path), human_bytes(result.input.bytes)),),
        (*sections, *left_dense(result.skipped)),
        (
            *(Case("table", Name(table.name)) for table in (*result.compressed, *chosen)),
            *(Case("table", Name(item.name), skipped=item.reason) for item in result.skipped),
        ),
    )


def reconstruct_document(result: ReconstructResult) -> Document:
    """Say what the dense file holds."""
    tables = counted(len(result.tables), "table")
    would = "would be " if result.dry_run else ""
    grid = Grid("", (Column("multiplied out"),), tuple((Name(name),) for name in result.tables))
    facts = [Fact("artifact", Name(result.input.path), human_bytes(result.input.bytes))]
    facts.append(
        Fact("would write" if result.dry_run else "output", Name(result.output.path), human_bytes(result.output.bytes))
    )
    if result.output.sha256 is not None:
        facts.append(Fact("sha256", Name(result.output.sha256)))
    numbers = [
        Fact("tables", str(len(result.tables))),
        Fact("tensors", str(result.tensors)),
        Fact("dense file", human_bytes(result.output.bytes), f"from {human_bytes(result.input.bytes)}"),
    ]
    if result.memory_bytes is not None:
        numbers.append(Fact("memory needed", f"about {human_bytes(result.memory_bytes)}"))
    return Document(
        result.command,
        (base_name(result.input.path), ", dense again"),
        f"{tables} {would}multiplied out, {counted(result.tensors, 'tensor')} in all.",
        "dry run" if result.dry_run else "done",
        "plain" if result.dry_run else "good",
        tuple(numbers),
        tuple(facts),
        (Section("Tables", grids=(grid,)),) if result.tables else (),
        tuple(Case("table", Name(name)) for name in result.tables),
    )


def _matrices(tables: list[ListedTable]) -> Grid:
    rows: list[tuple[Inline, ...]] = []
    for table in tables:
        shape = shape_text(table.rows, table.shape, table.dtype)
        rows.append((_names(table), shape, human_bytes(table.bytes), table.reason))
    columns = (Column("matrix"), Column("shape"), Column("bytes", "right"), Column("reason"))
    return Grid("", columns, tuple(rows))


def _compressed(tables: Sequence[ListedCompression]) -> Grid:
    rows: list[tuple[Inline, ...]] = []
    for table in tables:
        error = "" if table.relative is None else share(table.relative)
        sizes = (human_bytes(table.bytes_before), human_bytes(table.bytes), f"{table.bits_per_entry:.3g}", error)
        shape = shape_text(table.rows, table.shape, table.dtype)
        rows.append((_names(table), shape, *sizes, compression_text(table)))
    right = tuple(Column(title, "right") for title in ("dense", "stored", "bits a number", "recorded error"))
    return Grid("", (Column("table"), Column("shape"), *right, Column("stored as")), tuple(rows))


def _names(table: ListedTable | ListedCompression) -> Inline:
    return (Name(table.name), *(part for name in table.tied_names for part in (" = ", Name(name))))
