"""What a user tells of the rows of tables: how much each counts, and what it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embcompress.exceptions import IdsError
from embcompress.tables.labels import read_labels
from embcompress.tables.row_weights import match_row_weights, read_row_weights
from embcompress.tables.table import Table


@dataclass(frozen=True)
class RowFacts:
    """Row weights and labels, for the tables that have as many rows.

    Attributes:
        row_weights: how much the squared error of each row counts; None: all alike.
        labels: of the rows; empty: none are known.
    """

    row_weights: Sequence[float] | None = None
    labels: Sequence[str] = ()

    def weights_of(self, table: Table) -> Sequence[float] | None:
        """Give the weights of a table's rows; None where they are not this table's."""
        if self.row_weights is None or len(self.row_weights) != table.rows:
            return None
        return self.row_weights

    def labels_of(self, table: Table) -> Sequence[str]:
        """Give the labels of a table's rows; empty where they are not this table's."""
        return self.labels if len(self.labels) == table.rows else ()

    def check(self, tables: Sequence[Table], *, path: str | Path | None) -> None:
        """Refuse row weights, or labels alone, that belong to none of these tables.

        Args:
            tables: those that will be looked at.
            path: where the row weights come from, for messages.

        Raises:
            IdsError: no table has as many rows.
        """
        if self.row_weights is not None and path is not None:
            match_row_weights(self.row_weights, {table.name: table.rows for table in tables}, path=Path(path))
        elif self.labels and not any(len(self.labels) == table.rows for table in tables):
            sizes = ", ".join(f"{table.name!r} has {table.rows}" for table in tables)
            raise IdsError(f"--labels holds {len(self.labels)} labels, and no chosen table has as many rows: {sizes}.")


def read_row_facts(
    *, row_weights: str | Path | None, labels: str | Path | None, tables: Callable[[], Sequence[Table]]
) -> RowFacts:
    """Read row weights and labels.

    Args:
        row_weights: a file, or None.
        labels: a file, or None.
        tables: gives those that they may be for. Where all have equally many rows and no labels are given, ids without
            a number weigh 0.

    Raises:
        CheckpointError: a file cannot be read.
        IdsError: what it holds cannot be.
    """
    known = () if labels is None else tuple(read_labels(Path(labels)))
    if row_weights is None:
        return RowFacts(None, known)
    rows = {table.rows for table in tables()}
    only = next(iter(rows)) if len(rows) == 1 and not known else None
    return RowFacts(read_row_weights(Path(row_weights), labels=known or None, rows=only), known)
