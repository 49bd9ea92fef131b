"""The values of tables in the columns of Arrow and Parquet files, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

from embcompress.checkpoints.column_files.schema import Matrix
from embcompress.checkpoints.label_columns import text_of
from embcompress.checkpoints.libraries import import_library
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.exceptions import CheckpointError

BATCH_BYTES = 16 * 2**20  # of values that are taken at once
LABEL_ROWS = 2**16  # of labels that are taken at once


class ArrowPart(Protocol):
    """One file of a table: of Parquet or of Arrow.

    Attributes:
        path: of the file.
        rows: of the table that it holds.
        nbytes: of the file.
        schema: of pyarrow.
        names: of its columns.
    """

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def nbytes(self) -> int: ...  # noqa: D102
    @property
    def schema(self) -> Any: ...  # noqa: D102
    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102

    def batches(self, columns: Sequence[str], *, rows: int) -> Iterator[Any]:
        """Yield record batches of some columns, of at most so many rows."""

    def list_length(self, column: str) -> int | None:
        """Tell how long the lists of a column are, if all are of one length; None where they are of several."""


def import_arrow(module: str, path: Path) -> Any:
    """Import a module of pyarrow.

    Raises:
        CheckpointError: it is not installed.
    """
    return import_library(module, extra="arrow", kind="Parquet and Arrow", path=path)


@dataclass(frozen=True)
class MatrixValues:
    """The values of a table.

    Attributes:
        parts: the files that hold it, in order.
        matrix: its columns.
        width: numbers of a row.
    """

    parts: tuple[ArrowPart, ...]
    matrix: Matrix
    width: int

    def write(self, file: BinaryIO) -> None:
        """Write them row by row.

        Raises:
            CheckpointError: a null, or a list of another length; names the row.
        """
        numpy = import_arrow("numpy", self.parts[0].path)
        row_bytes = self.width * ITEM_BYTES[self.matrix.dtype]
        for part in self.parts:
            first = 0
            for batch in part.batches(self.matrix.columns, rows=max(1, BATCH_BYTES // row_bytes)):
                arrays = [batch.column(batch.schema.get_field_index(name)) for name in self.matrix.columns]
                if self.matrix.is_list:
                    values = self._of_lists(arrays[0], part, first)
                else:
                    values = numpy.empty((batch.num_rows, self.width), self.matrix.dtype)
                    for index, array in enumerate(arrays):
                        values[:, index] = self._of_numbers(array, self.matrix.columns[index], part, first)
                file.write(numpy.ascontiguousarray(values).reshape(-1).view(numpy.uint8).data)
                first += batch.num_rows

    def _of_lists(self, array: Any, part: ArrowPart, first: int) -> Any:
        array = getattr(array, "storage", array)
        name = self.matrix.columns[0]
        if array.null_count:
            _refuse_null(part, name, first + _first_true(array.is_null()))
        row = find_odd_list(array, self.width, part.path)
        if row is not None:
            length = len(array[row].as_py())
            _refuse(part, name, first + row, f"a list of {length} numbers, where {self.width} were expected")
        values = array.flatten()
        if values.null_count:
            _refuse_null(part, name, first + _first_true(values.is_null()) // self.width)
        return values.to_numpy(zero_copy_only=False)

    def _of_numbers(self, array: Any, name: str, part: ArrowPart, first: int) -> Any:
        if array.null_count:
            _refuse_null(part, name, first + _first_true(array.is_null()))
        return array.to_numpy(zero_copy_only=False)


def find_odd_list(array: Any, width: int, path: Path) -> int | None:
    """Find the first list of a column that is null or of another length; None where all are of this one."""
    compute = import_arrow("pyarrow.compute", path)
    lengths = compute.fill_null(compute.list_value_length(getattr(array, "storage", array)), -1)
    odd = compute.not_equal(lengths, width)
    return _first_true(odd) if compute.any(odd).as_py() else None


def _first_true(array: Any) -> int:
    return int(array.to_numpy(zero_copy_only=False).argmax())


def _refuse_null(part: ArrowPart, column: str, row: int) -> NoReturn:
    _refuse(part, column, row, "no number")


def _refuse(part: ArrowPart, column: str, row: int, what: str) -> NoReturn:
    raise CheckpointError(
        f"{part.path} has {what} in column {column!r}, row {row}.",
        hint="Give every row as many numbers, or leave it out, and save the file again.",
    )


@dataclass(frozen=True)
class ColumnLabels:
    """The labels of rows in a column, read when they are asked for; blank where there is none.

    Attributes:
        parts: the files that hold it, in order.
        column: its name.
    """

    parts: tuple[ArrowPart, ...]
    column: str

    def __call__(self) -> list[str]:
        """Read them."""
        return [
            text_of(value)
            for part in self.parts
            for batch in part.batches([self.column], rows=LABEL_ROWS)
            for value in _as_bytes(batch.column(batch.schema.get_field_index(self.column))).to_pylist()
        ]


def _as_bytes(array: Any) -> Any:
    """View texts as bytes, which need not be UTF-8; anything else as it is."""
    array = array.dictionary_decode() if hasattr(array, "dictionary_decode") else array
    kind = {"string": "binary", "large_string": "large_binary"}.get(str(array.type))
    return array if kind is None else array.cast(kind)
