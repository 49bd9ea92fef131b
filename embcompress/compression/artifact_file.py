"""The file of an artifact that is being made, and its size; known without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from embcompress.artifact.marks import are_needed, mark_entries
from embcompress.artifact.output import Output
from embcompress.artifact.schema import CompressedTable, Original, artifact_metadata, widest_metadata
from embcompress.artifact.writer import Entry, TensorWriter, copied_entry, file_bytes
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.results import ApproximateResult, InputFile, OutputFile, Skipped, TableReport, Totals


class ArtifactFile:
    """An artifact to be: compressed tables, and everything else as it is.

    Args:
        output: where it goes.
        checkpoint: the original.
        compressed: the descriptions of its tables, but for their errors.

    Attributes:
        copied: everything that is no compressed table, under its own name.
    """

    def __init__(self, output: Output, checkpoint: Checkpoint, compressed: Sequence[CompressedTable]) -> None:
        self._output, self._checkpoint, self._compressed = output, checkpoint, compressed
        self.copied = copied_tensors(checkpoint, compressed)

    def writer(self, table_entries: Sequence[Entry]) -> TensorWriter:
        """Make the writer of the file, from the tensors of its tables."""
        entries = [*table_entries, *self.copied]
        entries += _marks(self._checkpoint, self._compressed, entries)
        metadata = widest_metadata(self._compressed, entries=entries, original=original_of(self._checkpoint))
        return self._output.writer(entries, metadata)

    def header_bytes(self, table_entries: Sequence[Entry]) -> int:
        """Count the bytes that a file of the tables alone has beside their tensors."""
        return header_bytes(self._compressed, table_entries)

    def metadata(self, errors: Sequence[float], *, checksums: Mapping[str, str]) -> dict[str, str]:
        """Make the final metadata, with the error of each table."""
        measured = [replace(table, error=error) for table, error in zip(self._compressed, errors, strict=True)]
        return artifact_metadata(measured, checksums=checksums, original=original_of(self._checkpoint))


def original_of(checkpoint: Checkpoint) -> Original:
    """Tell what an artifact keeps of a checkpoint."""
    return Original(checkpoint.listing.metadata, checkpoint.listing.dense_form)


def copied_tensors(checkpoint: Checkpoint, compressed: Sequence[CompressedTable]) -> dict[Entry, StoredTensor]:
    """List everything that is no part of a compressed table, as the checkpoint stores it, under its own name."""
    names = {name for table in compressed for name in (table.name, *table.tied_names)}
    return {copied_entry(stored): stored for stored in checkpoint.stored_beside(names)}


def artifact_bytes(
    compressed: Sequence[CompressedTable], table_entries: Sequence[Entry], *, checkpoint: Checkpoint | None
) -> int:
    """Count the bytes of an artifact.

    Args:
        compressed: the descriptions of its tables.
        table_entries: their tensors.
        checkpoint: whose other tensors and metadata it holds, too; None for a file of the tables alone.
    """
    entries, original = list(table_entries), Original()
    if checkpoint is not None:
        entries += copied_tensors(checkpoint, compressed)
        entries += _marks(checkpoint, compressed, entries)
        original = original_of(checkpoint)
    return file_bytes(entries, widest_metadata(compressed, entries=entries, original=original))


def _marks(checkpoint: Checkpoint, compressed: Sequence[CompressedTable], entries: Sequence[Entry]) -> Sequence[Entry]:
    """Name the marks of an artifact; none where its checkpoint is no model of Hugging Face."""
    if not are_needed(checkpoint.path):
        return ()
    return mark_entries((name for table in compressed for name in table.dense_names), entries)


def header_bytes(compressed: Sequence[CompressedTable], table_entries: Sequence[Entry]) -> int:
    """Count the bytes that a file of compressed tables and nothing else has beside their tensors."""
    return artifact_bytes(compressed, table_entries, checkpoint=None) - sum(entry.nbytes for entry in table_entries)


def totals_of(tables: Sequence[TableReport], *, header: int, before: int, after: int) -> Totals:
    """Sum up the bytes of tables and of files.

    Args:
        tables: of the report.
        header: bytes that decoding the tables needs beside their tensors.
        before: bytes of the file that was read.
        after: bytes of the artifact.
    """
    dense, stored = sum(table.bytes_before for table in tables), sum(table.bytes_after for table in tables)
    needed = stored + header if tables else 0
    return Totals(dense, needed, dense / needed if needed else 1.0, before / after, header)


def approximate_result(
    checkpoint: Checkpoint,
    output: OutputFile,
    tables: Sequence[TableReport],
    skipped: Sequence[Skipped],
    *,
    header: int,
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    memory: int | None = None,
) -> ApproximateResult:
    """Return what a run has written, or with `memory` what it would write; `header` as in `totals_of`."""
    return ApproximateResult(
        command="approximate",
        input=InputFile(checkpoint.name, checkpoint.nbytes),
        output=output,
        tables=tuple(tables),
        skipped=tuple(skipped),
        totals=totals_of(tables, header=header, before=checkpoint.nbytes, after=output.bytes),
        warnings=tuple(warnings),
        notes=tuple(notes),
        dry_run=memory is not None,
        memory_bytes=memory,
    )
