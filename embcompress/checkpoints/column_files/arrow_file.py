"""Arrow files (IPC and Feather) and streams: columns of lists of floats, or many columns of floats, as tables.

Source: the encapsulated messages of https://arrow.apache.org/docs/format/Columnar.html.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from embcompress.checkpoints.column_files.listing import list_parts, reading
from embcompress.checkpoints.column_files.values import import_arrow
from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.regions import FilesRegion
from embcompress.checkpoints.tensors import Listing
from embcompress.exceptions import DamagedFileError

NAME = "Arrow"
MAGIC = b"ARROW1\0\0"
CONTINUATION = b"\xff\xff\xff\xff"  # before the length of a message, since Arrow 0.15
SCHEMA_BYTES_MAX = 2**24  # of the first message of a stream, where its length tells a stream
SCHEMA, RECORD_BATCH = 1, 3  # kinds of messages


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell an Arrow file by its first bytes, and a stream by its first message, which is the schema."""
    if head.startswith(MAGIC):
        return True
    length = int.from_bytes(head[4:8], "little")
    if not head.startswith(CONTINUATION) or length % 8 or not 0 < length <= SCHEMA_BYTES_MAX:
        return False
    try:
        return _read_message(head[8 : 8 + length])[0] == SCHEMA
    except struct.error:
        return False


def read_listing(path: Path, files: Files) -> Listing:
    """List the tables of a file by its columns, from the heads of its messages and, of lists of any length, one batch.

    Raises:
        CheckpointError: pyarrow is not installed.
        DamagedFileError: cut short, or what it says of its columns cannot be true.
    """
    return list_parts(path, (open_part(path, files),), files)


@dataclass(frozen=True)
class IpcPart:
    """One Arrow file of a table.

    Attributes:
        path: of the file.
        rows: of the table that it holds.
        nbytes: of the file.
        is_stream: whether it is a stream, which has no directory.
        schema: of pyarrow.
        names: of its columns.
    """

    path: Path
    files: Files
    rows: int
    nbytes: int
    is_stream: bool
    names: tuple[str, ...]
    schema: Any = field(compare=False)

    def batches(self, columns: Sequence[str], *, rows: int) -> Iterator[Any]:
        """Yield record batches of some columns, of at most so many rows."""
        with reading(self.path, NAME):
            for batch in self._stored_batches(columns):
                # What a file says of its lists may lead outside of them.
                for name in columns:
                    batch.column(batch.schema.get_field_index(name)).validate(full=True)
                for first in range(0, batch.num_rows, rows):
                    yield batch.slice(first, rows)

    def list_length(self, column: str) -> int | None:
        """Tell how long the first list of a column is; what reads the values refuses others."""
        first = next((batch for batch in self.batches([column], rows=1) if batch.num_rows), None)
        values = None if first is None else first.column(first.schema.get_field_index(column))[0].as_py()
        return None if values is None else len(values)

    def _stored_batches(self, columns: Sequence[str]) -> Iterator[Any]:
        ipc = import_arrow("pyarrow.ipc", self.path)
        file, base = self.files.open(self.path)
        window = FilesRegion(self.files, base, os.fstat(file.fileno()).st_size)
        if self.is_stream:
            yield from ipc.open_stream(window)
            return
        indices = [self.schema.get_field_index(name) for name in columns]
        opened = ipc.open_file(window, options=ipc.IpcReadOptions(included_fields=indices))
        for index in range(opened.num_record_batches):
            yield opened.get_batch(index)


def open_part(path: Path, files: Files) -> IpcPart:
    """Read the schema of a file and count its rows.

    Raises:
        CheckpointError: pyarrow is not installed.
        DamagedFileError: they cannot be read.
    """
    file, base = files.open(path)
    nbytes = os.fstat(file.fileno()).st_size
    is_stream = os.pread(file.fileno(), len(MAGIC), 0) != MAGIC
    ipc = import_arrow("pyarrow.ipc", path)
    with reading(path, NAME):
        opened = (ipc.open_stream if is_stream else ipc.open_file)(FilesRegion(files, base, nbytes))
        schema = opened.schema
        names = tuple(schema.names)
    rows = _count_rows(file, 0 if is_stream else len(MAGIC), nbytes)
    return IpcPart(path, files, rows, nbytes, is_stream, names, schema)


def _count_rows(file: BinaryIO, position: int, nbytes: int) -> int:
    """Count the rows of the record batches from a position on, reading only the heads of messages."""
    rows = 0
    try:
        while position + 4 <= nbytes:
            word = read_exactly(file, position, 4)
            position += 4
            if word == CONTINUATION:
                word = read_exactly(file, position, 4)
                position += 4
            length = int.from_bytes(word, "little")
            if not length:
                return rows
            if position + length > nbytes:
                raise _cut(file, position)
            kind, body, count = _read_message(read_exactly(file, position, length))
            position += length + body
            if position > nbytes or body < 0 or count < 0:
                raise _cut(file, position)
            rows += count if kind == RECORD_BATCH else 0
    except struct.error as err:
        raise _cut(file, position) from err
    return rows


def _cut(file: BinaryIO, position: int) -> DamagedFileError:
    return DamagedFileError(
        f"{file.name} has a message before byte {position} that is not whole: it is cut short or damaged.",
        hint="Copy or download it again.",
    )


def _read_message(content: bytes) -> tuple[int, int, int]:
    """Tell the kind of a message, the bytes of its body and, of a record batch, its rows.

    Raises:
        struct.error: a place outside of it.
    """
    message = _number(content, 0, "I")
    kind, body, header = (_field(content, message, index) for index in (1, 3, 2))
    batch = header + _number(content, header, "I") if header else 0
    length = _field(content, batch, 0) if batch else 0
    return (
        _number(content, kind, "B") if kind else 0,
        _number(content, body, "q") if body else 0,
        _number(content, length, "q") if length and kind and _number(content, kind, "B") == RECORD_BATCH else 0,
    )


def _field(content: bytes, table: int, index: int) -> int:
    """Find the place of a field of a table of FlatBuffers; 0 where it is not there."""
    places = table - _number(content, table, "i")
    if 4 + 2 * index >= _number(content, places, "H"):
        return 0
    offset = _number(content, places + 4 + 2 * index, "H")
    return table + offset if offset else 0


def _number(content: bytes, position: int, code: str) -> int:
    if position < 0:
        raise struct.error("a place before the start")
    return int(struct.unpack_from(f"<{code}", content, position)[0])
