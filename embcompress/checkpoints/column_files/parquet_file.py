"""Parquet files: columns of lists of floats, or many columns of floats, as tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from embcompress.checkpoints.column_files.listing import list_parts, reading
from embcompress.checkpoints.column_files.values import import_arrow
from embcompress.checkpoints.files import Files
from embcompress.checkpoints.regions import FilesRegion
from embcompress.checkpoints.tensors import Listing
from embcompress.exceptions import DamagedFileError

NAME = "Parquet"
MAGIC = b"PAR1"
# Of the reads of each column: without, whole groups of rows are held at once, 0.7 GB instead of 0.3 of one of 0.3 GB.
BUFFER_BYTES = 2**16


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell a Parquet file by its first bytes."""
    return head.startswith(MAGIC)


def read_listing(path: Path, files: Files) -> Listing:
    """List the tables of a file by its columns, from its metadata alone.

    Raises:
        CheckpointError: pyarrow is not installed.
        DamagedFileError: cut short, or what it says of its columns cannot be true.
    """
    return list_parts(path, (open_part(path, files),), files)


@dataclass(frozen=True)
class ParquetPart:
    """One Parquet file of a table.

    Attributes:
        path: of the file.
        rows: of the table that it holds.
        nbytes: of the file.
        schema: of pyarrow.
        names: of its columns.
        entries: of each column in each group of rows, with the rows of the group; of records those of the first field.
    """

    path: Path
    files: Files
    rows: int
    nbytes: int
    names: tuple[str, ...]
    schema: Any = field(compare=False)
    entries: dict[str, tuple[tuple[int, int], ...]] = field(compare=False)

    def batches(self, columns: Sequence[str], *, rows: int) -> Iterator[Any]:
        """Yield record batches of some columns, of at most so many rows."""
        with reading(self.path, NAME):
            yield from _open(self.path, self.files).iter_batches(batch_size=rows, columns=list(columns))

    def list_length(self, column: str) -> int | None:
        """Tell how long the lists of a column are, if all are of one length; None where they are of several.

        Lists of several lengths may have the number of entries that those of one would have: then what reads the values
        refuses them.
        """
        groups = self.entries.get(column, ())
        lengths = {divmod(count, rows) for count, rows in groups if rows}
        length, rest = lengths.pop() if len(lengths) == 1 else (0, 1)
        return None if rest else length


def open_part(path: Path, files: Files) -> ParquetPart:
    """Read the metadata of a file.

    Raises:
        CheckpointError: pyarrow is not installed.
        DamagedFileError: they cannot be read.
    """
    file, _ = files.open(path)
    nbytes = os.fstat(file.fileno()).st_size
    with reading(path, NAME):
        opened = _open(path, files)
        groups = [opened.metadata.row_group(index) for index in range(opened.metadata.num_row_groups)]
        schema = opened.schema_arrow
        entries, leaf = {}, 0
        for field_ in schema:
            entries[field_.name] = tuple((group.column(leaf).num_values, group.num_rows) for group in groups)
            leaf += _count_leaves(field_.type)
        rows = [group.num_rows for group in groups]
        if any(count < 0 for counts in entries.values() for count in chain(*counts)) or any(row < 0 for row in rows):
            raise DamagedFileError(f"{path} tells of fewer than no rows.", hint="Copy or download it again.")
        return ParquetPart(path, files, sum(rows), nbytes, tuple(schema.names), schema, entries)


def _count_leaves(kind: Any) -> int:
    """Count the columns of the file that a column of the schema takes: one, or more if it holds records."""
    kind = getattr(kind, "storage_type", kind)
    inner = getattr(kind, "value_type", None)
    if inner is not None and kind.num_fields == 1 and not hasattr(kind, "key_type"):
        return _count_leaves(inner)
    if hasattr(kind, "key_type"):
        return _count_leaves(kind.key_type) + _count_leaves(kind.item_type)
    return sum(_count_leaves(kind.field(index).type) for index in range(kind.num_fields)) or 1


def _open(path: Path, files: Files) -> Any:
    parquet = import_arrow("pyarrow.parquet", path)
    file, base = files.open(path)
    window = FilesRegion(files, base, os.fstat(file.fileno()).st_size)
    return parquet.ParquetFile(window, buffer_size=BUFFER_BYTES, pre_buffer=False)
