"""The file of an artifact that is being made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embcompress.artifact.schema import (
    CompressedTable,
    artifact_metadata,
    widest_metadata,
)
from embcompress.artifact.writer import Entry, SafetensorsWriter, copied_entry
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.compression.bilinear_encoding import BilinearEncoding
from embcompress.compression.encoding import Encoding
from embcompress.compression.plain_encoding import PlainEncoding
from embcompress.compression.plan import PlannedTable
from embcompress.linalg.solvers import SolverChoice
from embcompress.tables.rows import read_bytes
from embcompress.tables.source import Setting

if TYPE_CHECKING:
    pass


def make_encoding(planned: PlannedTable, choice: SolverChoice, setting: Setting) -> Encoding:
    """Choose how a table with a given number of bases is encoded, from its plan."""
    kind = PlainEncoding if planned.matrix is None else BilinearEncoding
    return kind(planned, choice, setting)


def bytes_alone(encodings: Sequence[Encoding]) -> int:
    """Count the bytes of a file that holds these tables and nothing else, as far as they are known."""
    own = [entry for encoding in encodings for entry in encoding.planned_entries()]
    metadata = widest_metadata([encoding.compressed for encoding in encodings], entries=own, original={})
    return SafetensorsWriter(Path("artifact"), own, metadata=metadata).nbytes


class ArtifactFile:
    """What an artifact will hold: tables on their way, and everything else as it is."""

    def __init__(self, target: Path, setting: Setting, encodings: Sequence[Encoding], *, force: bool) -> None:
        self._target, self._force, self._encodings = target, force, encodings
        self.checkpoint = setting.checkpoint
        self._compressed = [encoding.compressed for encoding in encodings]
        self._copied = copied_tensors(self.checkpoint, self._compressed)

    @property
    def sizes(self) -> tuple[int, int]:
        """Count the bytes of the file, and of one with the compressed tables alone."""
        own = [entry for encoding in self._encodings for entry in encoding.planned_entries()]
        return self._writer(own).nbytes, bytes_alone(self._encodings)

    def open(self) -> SafetensorsWriter:
        """Fit all tables, and make what writes the file."""
        return self._writer([entry for encoding in self._encodings for entry in encoding.fit()])

    def finish(self, writer: SafetensorsWriter, errors: Sequence[float]) -> str:
        """Copy everything else, fill in the header, and return the sha256."""
        for entry, stored in self._copied.items():
            writer.write(entry, read_bytes(stored, file=self.checkpoint.file))
        measured = [replace(one, error=error) for one, error in zip(self._compressed, errors, strict=True)]
        original = self.checkpoint.listing.metadata
        return writer.finish(artifact_metadata(measured, checksums=writer.checksums, original=original))

    def _writer(self, own: Sequence[Entry]) -> SafetensorsWriter:
        entries = [*own, *self._copied]
        metadata = widest_metadata(self._compressed, entries=entries, original=self.checkpoint.listing.metadata)
        return SafetensorsWriter(self._target, entries, metadata=metadata, force=self._force)


def copied_tensors(checkpoint: Checkpoint, compressed: Sequence[CompressedTable]) -> dict[Entry, StoredTensor]:
    """List everything that is no compressed table, under its own name."""
    taken = {name for table in compressed for name in (table.name, *table.tied_names)}
    return {copied_entry(stored): stored for stored in checkpoint.tensors if stored.name not in taken}
