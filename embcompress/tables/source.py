"""The source of the rows of a run's tables: an open checkpoint and a device."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.tables.progress import Progress, row_bytes_of
from embcompress.tables.row_info import RowInfo
from embcompress.tables.rows import TableRows
from embcompress.tables.table import Table


@dataclass(frozen=True)
class TableSource:
    """The source of the tables of a run: all that reading their rows takes.

    Attributes:
        checkpoint: an open one, that holds them.
        device: where their rows are worked on.
        seed: of randomized solvers.
        progress: called with what is being done, rows done, rows in all and bytes of a row.
        facts: row weights and labels.
        names: of all tables of the run, in their order, where it says which of them is at work.
    """

    checkpoint: Checkpoint
    device: str
    seed: int
    progress: Progress | None
    facts: RowInfo = field(default_factory=RowInfo)
    names: tuple[str, ...] = ()

    def rows(self, table: Table, doing: str) -> TableRows:
        """Open the rows of a table, telling of the progress."""
        doing = f"{self._place(table)}{table.name}: {doing}"
        return rows_of(table.stored, self.checkpoint, device=self.device, progress=self.progress, doing=doing)

    def tell(self, doing: str, done: int, steps: int) -> None:
        """Tell how many steps of work are done that goes over no rows."""
        if self.progress is not None:
            self.progress(doing, done, steps, 0)

    def _place(self, table: Table) -> str:
        """Say which of several tables it is."""
        if len(self.names) < 2 or table.name not in self.names:
            return ""
        return f"table {self.names.index(table.name) + 1} of {len(self.names)}, "

    def row_weights(self, table: Table) -> Tensor | None:
        """Give the weights of a table's rows, (rows,) float64; None where all count alike."""
        weights = self.facts.weights_of(table)
        return None if weights is None else torch.tensor(weights, dtype=torch.float64)


def rows_of(
    stored: StoredTensor, checkpoint: Checkpoint, *, device: str, progress: Progress | None, doing: str
) -> TableRows:
    """Follow the rows of a stored tensor, telling `progress` of each block."""
    done = 0
    row_bytes = row_bytes_of(stored)

    def advance(count: int) -> None:
        nonlocal done
        done = count if done >= stored.shape[0] else done + count  # a further pass starts from the first row
        if progress is not None:
            progress(doing, done, stored.shape[0], row_bytes)

    return TableRows(stored, files=checkpoint.files, device=device, on_rows=advance)
