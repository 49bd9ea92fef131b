"""The bytes that a budget leaves to tables, and the bytes that they would take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embcompress.artifact.schema import CompressedTable
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import Checkpoint
from embcompress.compression.artifact_file import artifact_bytes
from embcompress.compression.budget import Budget
from embcompress.tables.table import Table


@dataclass(frozen=True)
class SizeLimit:
    """Bytes that an artifact may take.

    Attributes:
        nbytes: at most.
        checkpoint: whose other tensors count, too; None for a file of the compressed tables alone.
    """

    nbytes: int
    checkpoint: Checkpoint | None = None

    def count(self, compressed: Sequence[CompressedTable], entries: Sequence[Entry]) -> int:
        """Count the bytes of an artifact of these tables, as the limit counts them."""
        return artifact_bytes(compressed, entries, checkpoint=self.checkpoint)

    def beside(self, compressed: Sequence[CompressedTable], entries: Sequence[Entry]) -> int:
        """Count those of them that are not the tables' own."""
        return self.count(compressed, entries) - sum(entry.nbytes for entry in entries)


class TensorLimit(SizeLimit):
    """Bytes that the tensors of tables may take, wherever they are stored."""

    def count(self, compressed: Sequence[CompressedTable], entries: Sequence[Entry]) -> int:  # noqa: ARG002, D102
        return sum(entry.nbytes for entry in entries)


def size_limit(budget: Budget, tables: Iterable[Table], checkpoint: Checkpoint) -> SizeLimit:
    """Turn --max-size into bytes of the file, or --ratio into bytes of the tables."""
    if budget.kind == "max_size":
        return SizeLimit(int(budget.amount), checkpoint)
    return SizeLimit(int(sum(table.nbytes for table in tables) / budget.amount))
