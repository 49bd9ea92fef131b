"""The tables in the columns of one file of Parquet or Arrow, or of several that continue each other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from embcompress.checkpoints.column_files.schema import Matrix, repeated_names, sort_columns
from embcompress.checkpoints.column_files.values import (
    LABEL_ROWS,
    ArrowPart,
    ColumnLabels,
    MatrixValues,
    find_odd_list,
    import_arrow,
)
from embcompress.checkpoints.files import Files
from embcompress.checkpoints.libraries import check_expansion
from embcompress.checkpoints.tensors import ITEM_BYTES, LeftOut, Listing, StoredTensor, contiguous_strides
from embcompress.exceptions import DamagedFileError
from embcompress.text import named

ONE_LENGTH = "Give every row as many numbers, or leave it out, and save the file again."
ONE_DTYPE = "Cast them to one dtype, such as float32, and save the file again."


@contextlib.contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Say of what pyarrow cannot read that the file is damaged.

    Args:
        path: of the file.
        kind: of file, as messages name it.
    """
    arrow = import_arrow("pyarrow", path)
    try:
        yield
    # ArrowException is what pyarrow's own have in common; the others are what its bindings raise.
    except (arrow.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as err:
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise DamagedFileError(
            f"{path} cannot be read as {kind}: {reason.rstrip('.')}.", hint="Copy or download it again."
        ) from err


def list_parts(path: Path, parts: tuple[ArrowPart, ...], files: Files) -> Listing:
    """List the tables of files that continue each other, by their columns. Columns that are none are left out.

    Raises:
        DamagedFileError: a file has other columns than the first, or promises more than it can hold.
    """
    schema = parts[0].schema
    _check_schemas(parts)
    columns = sort_columns(schema)
    tensors: list[StoredTensor] = []
    left_out: list[LeftOut] = []
    rows = sum(part.rows for part in parts)
    for matrix in columns.matrices:
        width = matrix.width or _common_length(parts, matrix.columns[0])
        if width is None:
            left_out.append(LeftOut(matrix.name, _tell_lengths(parts, matrix.columns[0]), ONE_LENGTH))
            continue
        tensors.append(_place_table(path, parts, matrix, files, rows=rows, width=width))
    left_out += [LeftOut(name, "one of several columns of different dtypes", ONE_DTYPE) for name in columns.mixed]
    left_out += [
        LeftOut(name, "the labels of the rows" if name == columns.labels else f"a column of {kind}, no table")
        for name, kind in columns.others.items()
    ]
    labels = {} if columns.labels is None else dict.fromkeys((one.name for one in tensors), columns.labels)
    return Listing(
        tensors=tuple(tensors),
        left_out=tuple(left_out),
        labels={name: ColumnLabels(parts, column) for name, column in labels.items()},
    )


def _place_table(
    path: Path, parts: tuple[ArrowPart, ...], matrix: Matrix, files: Files, *, rows: int, width: int
) -> StoredTensor:
    shape = (rows, width)
    nbytes = rows * width * ITEM_BYTES[matrix.dtype]
    what = f"the table {matrix.name!r} of {path}"
    check_expansion(nbytes, packed=sum(part.nbytes for part in parts), name=what)
    start = files.add(what, nbytes, MatrixValues(parts, matrix, width).write)
    return StoredTensor(matrix.name, matrix.dtype, shape, contiguous_strides(shape), start)


def _check_schemas(parts: tuple[ArrowPart, ...]) -> None:
    first = parts[0]
    if again := repeated_names(first.names):
        raise DamagedFileError(
            f"{first.path} has several columns of one name: {named(again)}.", hint="Rename them, and save it again."
        )
    types = {field.name: field.type for field in first.schema}
    for part in parts[1:]:
        if {field.name: field.type for field in part.schema} != types:
            raise DamagedFileError(
                f"{part.path} has other columns than {first.path}.", hint="Name the file that holds the table."
            )


def _common_length(parts: tuple[ArrowPart, ...], column: str) -> int | None:
    """Tell the length that the lists of a column have in all files; None where they have several, or none."""
    lengths = {part.list_length(column) for part in parts if part.rows}
    return lengths.pop() or None if len(lengths) == 1 else None


def _tell_lengths(parts: tuple[ArrowPart, ...], column: str) -> str:
    """Name the first row whose list is of another length than the first."""
    width = None
    for part in parts:
        first = 0
        for batch in part.batches([column], rows=LABEL_ROWS):
            array = batch.column(batch.schema.get_field_index(column))
            if width is None and len(array):
                width = len(array[0].as_py() or ())
            row = find_odd_list(array, width or 0, part.path)
            if row is not None:
                numbers = array[row].as_py()
                has = "none" if numbers is None else len(numbers)
                return f"lists of different lengths: row {first + row} of {part.path.name} has {has}, the first {width}"
            first += len(array)
    return "lists without numbers"
