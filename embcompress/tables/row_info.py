"""Weights and labels of the rows of tables, as a user gives them in files."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embcompress.checkpoints.files import Files
from embcompress.exceptions import IdsError
from embcompress.tables.labels import LabelFile, read_label_file
from embcompress.tables.padding import begins_with_padding, rows_of_labels
from embcompress.tables.row_weights import RowWeights, read_row_weights
from embcompress.tables.table import Table
from embcompress.text import named


@dataclass(frozen=True)
class RowInfo:
    """Row weights and labels, for the tables that have as many rows, or a few more.

    Attributes:
        row_weights: how much the squared error of each row counts; None: all alike.
        labels: of the rows; empty: none are known.
        offsets: the row that the first label belongs to, of each table that has labels.
        warnings: what a user should know of the files, and of rows without a label.
        notes: where labels come from that were not asked for.
        own_labels: of all rows of a table, by its name, that the checkpoint brings along; made when they are asked for.
    """

    row_weights: RowWeights | None = None
    labels: Sequence[str] = ()
    offsets: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    own_labels: Mapping[str, Callable[[], Sequence[str]]] = field(default_factory=dict)

    def weights_of(self, table: Table) -> Sequence[float] | None:
        """Give the weights of a table's rows, the least to those without a label; None where they are not its own."""
        given = self.row_weights
        if given is None:
            return None
        if len(given.values) == table.rows:
            return given.values
        offset = self.offsets.get(table.name)
        if offset is None or len(given.values) != len(self.labels):
            return None
        before, after = offset, table.rows - offset - len(self.labels)
        return array("d", [given.least]) * before + given.values + array("d", [given.least]) * after

    def unweighted_rows_of(self, table: Table) -> int | None:
        """Count a table's rows that the file gives no weight, so that they weigh the least; None without weights."""
        given = self.row_weights
        if given is None or self.weights_of(table) is None:
            return None
        return given.missing + table.rows - len(given.values)

    def labels_of(self, table: Table) -> Sequence[str]:
        """Give the labels of a table's rows, blank where there is none; empty where none are its own."""
        offset = self.offsets.get(table.name)
        if offset is None:
            return self.own_labels[table.name]() if table.name in self.own_labels else ()
        if len(self.labels) == table.rows:
            return self.labels
        return [*[""] * offset, *self.labels, *[""] * (table.rows - offset - len(self.labels))]

    def check(self, tables: Sequence[Table], *, path: str | Path | None) -> None:
        """Refuse row weights, or labels alone, that belong to none of these tables.

        Args:
            tables: those that will be looked at.
            path: where the row weights come from, for messages.

        Raises:
            IdsError: no table has as many rows.
        """
        if self.row_weights is not None and path is not None:
            if not any(self.weights_of(table) is not None for table in tables):
                raise IdsError(
                    f"{path} holds {len(self.row_weights.values)} weights, and no table has as many rows: "
                    f"{_sizes(tables)}.",
                    hint="Give one weight a row, 0 for a row that does not count.",
                )
        elif self.labels and not any(table.name in self.offsets for table in tables):
            raise _no_table(self.labels, tables)


def read_row_info(
    *,
    row_weights: str | Path | None,
    labels: str | Path | None,
    tables: Callable[[], Sequence[Table]],
    files: Files,
) -> RowInfo:
    """Read row weights and labels.

    Args:
        row_weights: a file, or None.
        labels: a file, or None.
        tables: gives those that they may be for. Where all have equally many rows and no labels are given, ids need not
            all have a number.
        files: that hold them: where there is one row more than labels, its first row tells which.

    Raises:
        CheckpointError: a file cannot be read.
        IdsError: what it holds cannot be; labels of no table.
    """
    if labels is None and row_weights is None:
        return RowInfo()
    chosen = tables()
    known = LabelFile([]) if labels is None else read_label_file(Path(labels))
    warnings = list(known.warnings)
    offsets: dict[str, int] = {}
    if known.labels:
        count = len(known.labels)
        rows = rows_of_labels(count, {table.rows for table in chosen})
        for table in chosen:
            if table.rows == rows:
                offsets[table.name], warning = _find_first_row(table, count, files)
                warnings += [warning] if warning else []
        if not offsets:
            raise _no_table(known.labels, chosen)
    else:
        sizes = {table.rows for table in chosen}
        rows = next(iter(sizes)) if len(sizes) == 1 else None
    weights = None
    if row_weights is not None:
        weights = read_row_weights(Path(row_weights), labels=known.labels or None, rows=rows)
        warnings += weights.warnings
    return RowInfo(weights, known.labels, offsets, tuple(warnings))


def _find_first_row(table: Table, count: int, files: Files) -> tuple[int, str]:
    """Find the row of the first of `count` labels, and what to say of the rows that have none."""
    surplus = table.rows - count
    if not surplus:
        return 0, ""
    has = f"{table.name!r} has {table.rows} rows and {count} labels"
    if begins_with_padding(table.stored, surplus=surplus, files=files):
        return 1, f"{has}: row 0 is all zeros, so the first label was taken for that of row 1"
    return 0, f"{has}, which were taken for those of rows 0..{count - 1}"


def _no_table(labels: Sequence[str], tables: Sequence[Table]) -> IdsError:
    return IdsError(
        f"--labels holds {len(labels)} labels, and no chosen table has as many rows, or a few more: {_sizes(tables)}."
    )


def _sizes(tables: Sequence[Table]) -> str:
    return named([f"{table.name}: {table.rows} rows" for table in tables])
