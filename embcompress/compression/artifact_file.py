"""The file of an artifact that is being made, and its size; known without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.schema import CompressedTable, artifact_metadata, widest_metadata
from embcompress.artifact.writer import Entry, SafetensorsWriter, copied_entry, file_bytes
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.results import ApproximateResult, InputFile, OutputFile, Skipped, TableReport, Totals


class ArtifactFile:
    """An artifact to be: compressed tables, and everything else as it is.

    Args:
        target: where it goes.
        checkpoint: the original.
        compressed: the descriptions of its tables, but for their errors.
        force: whether a file that is there by then is replaced.

    Attributes:
        copied: everything that is no compressed table, under its own name.
    """

    def __init__(
        self, target: Path, checkpoint: Checkpoint, compressed: Sequence[CompressedTable], *, force: bool
    ) -> None:
        self._target, self._checkpoint, self._compressed, self._force = target, checkpoint, compressed, force
        self.copied = copied_tensors(checkpoint, compressed)

    def writer(self, table_entries: Sequence[Entry]) -> SafetensorsWriter:
        """Make the writer of the file, from the tensors of its tables."""
        entries = [*table_entries, *self.copied]
        metadata = widest_metadata(self._compressed, entries=entries, original=self._checkpoint.listing.metadata)
        return SafetensorsWriter(self._target, entries, metadata=metadata, force=self._force)

    def metadata(self, errors: Sequence[float], *, checksums: Mapping[str, str]) -> dict[str, str]:
        """Make the final metadata, with the error of each table."""
        measured = [replace(table, error=error) for table, error in zip(self._compressed, errors, strict=True)]
        return artifact_metadata(measured, checksums=checksums, original=self._checkpoint.listing.metadata)


def copied_tensors(checkpoint: Checkpoint, compressed: Sequence[CompressedTable]) -> dict[Entry, StoredTensor]:
    """List everything that is no compressed table, under its own name."""
    taken = {name for table in compressed for name in (table.name, *table.tied_names)}
    return {copied_entry(stored): stored for stored in checkpoint.tensors if stored.name not in taken}


def artifact_bytes(
    compressed: Sequence[CompressedTable], table_entries: Sequence[Entry], *, checkpoint: Checkpoint | None
) -> int:
    """Count the bytes of an artifact.

    Args:
        compressed: the descriptions of its tables.
        table_entries: their tensors.
        checkpoint: whose other tensors and metadata it holds, too; None for a file of the tables alone.
    """
    entries, original = list(table_entries), {}
    if checkpoint is not None:
        entries += copied_tensors(checkpoint, compressed)
        original = dict(checkpoint.listing.metadata)
    return file_bytes(entries, widest_metadata(compressed, entries=entries, original=original))


def approximate_result(
    checkpoint: Checkpoint,
    output: OutputFile,
    tables: Sequence[TableReport],
    skipped: Sequence[Skipped],
    *,
    warnings: Sequence[str] = (),
    memory: int | None = None,
) -> ApproximateResult:
    """Return what a run has written, or with `memory` what it would write."""
    before = sum(table.bytes_before for table in tables)
    after = sum(table.bytes_after for table in tables)
    return ApproximateResult(
        command="approximate",
        input=InputFile(str(checkpoint.path), checkpoint.nbytes),
        output=output,
        tables=tuple(tables),
        skipped=tuple(skipped),
        totals=Totals(before, after, before / after, checkpoint.nbytes / output.bytes),
        warnings=tuple(warnings),
        dry_run=memory is not None,
        memory_bytes=memory,
    )
