"""The part of `reconstruct` that reads rows: tables multiplied out, and everything else as it is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from embcompress.artifact.atomic_file import AtomicFile
from embcompress.artifact.dense_tensors import dense_bytes
from embcompress.artifact.reader import Artifact
from embcompress.artifact.schema import CompressedTable
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import StoredTensor
from embcompress.checkpoints.row_labels import read_own_labels
from embcompress.exports import EXPORTS
from embcompress.exports.dense_model import DenseModel
from embcompress.tables.progress import Progress


def read_model(
    artifact: Artifact,
    dense: Mapping[Entry, CompressedTable],
    copied: Mapping[Entry, StoredTensor],
    *,
    device: str,
    progress: Progress | None,
) -> DenseModel:
    """Open the dense model of an artifact, whose tensors are made when they are read.

    Args:
        artifact: an open one.
        dense: the tensors that are multiplied out; shards of a table follow each other.
        copied: all others.
        device: where rows are multiplied out.
        progress: called with what is being done, rows done, rows in all and bytes of a row.
    """
    reader = _Reader(artifact, dense, copied, device=device, progress=progress)
    return DenseModel(
        entries=(*dense, *copied),
        tables=tuple(dense),
        read=reader.read,
        tied={name: table.dense_names[0] for table in artifact.tables for name in table.tied_names if not table.shards},
        labels={
            table.name: labels
            for table in artifact.tables
            if (labels := read_own_labels(artifact.checkpoint, table.name, rows=table.rows))
        },
    )


def export(model: DenseModel, form: str, file: AtomicFile) -> None:
    """Write a dense model in a form of EXPORTS."""
    EXPORTS[form](model, file)


class _Reader:
    """Bytes of the tensors of a dense model; a table of several shards is decoded once for all of them."""

    def __init__(
        self,
        artifact: Artifact,
        dense: Mapping[Entry, CompressedTable],
        copied: Mapping[Entry, StoredTensor],
        *,
        device: str,
        progress: Progress | None,
    ) -> None:
        self._artifact, self._dense, self._copied = artifact, dense, copied
        self._device, self._progress = device, progress
        self._parts: Iterator[memoryview] = iter(())  # of the table whose shards are being read
        self._ahead = memoryview(b"")  # of them, read and not yet given
        self._shards_left = 0

    def read(self, entry: Entry) -> Iterator[memoryview]:
        """Yield the bytes of a tensor."""
        if entry not in self._dense:
            yield from self._artifact.read(self._copied[entry])
            return
        table = self._dense[entry]
        if not table.shards or entry.name in table.tied_names:
            yield from self._decode(table)
            return
        if entry.name == table.shards[0][0]:
            self._parts, self._ahead = self._decode(table), memoryview(b"")
            self._shards_left = len(table.shards)
        left = entry.nbytes
        while left:
            self._ahead = self._ahead or next(self._parts)
            count = min(left, len(self._ahead))
            yield self._ahead[:count]
            self._ahead, left = self._ahead[count:], left - count
        self._shards_left -= 1
        if not self._shards_left:
            for _ in self._parts:  # behind the last row the checksums are compared
                pass

    def _decode(self, table: CompressedTable) -> Iterator[memoryview]:
        return dense_bytes(self._artifact, table, device=self._device, progress=self._progress)
