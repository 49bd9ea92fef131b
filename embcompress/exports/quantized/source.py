"""The tables that an export is made of: of a checkpoint as they are stored, of an artifact as they decode."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from embcompress.artifact.decoded_rows import open_decoded_rows
from embcompress.artifact.reader import Artifact
from embcompress.artifact.schema import CompressedTable, real_row_shape
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.exceptions import TableError
from embcompress.results import Skipped
from embcompress.tables.recognition import matches
from embcompress.tables.rows import TableRows, read_bytes
from embcompress.tables.selection import as_patterns, choose_tables, refuse_unmatched
from embcompress.tables.table import Table, block_rows_for
from embcompress.text import named, quoted


class SourceRows(Protocol):
    """The rows of a table, in blocks or one by one."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of every block."""

    def blocks(self) -> Iterator[Tensor]:
        """Yield consecutive rows, (block_rows, dim), each valid until the next."""

    def read(self, ids: Tensor) -> Tensor:
        """Read rows by id, (count,) -> (count, dim)."""


OpenRows = Callable[[str, Callable[[int], None]], SourceRows]  # a device, and what is told of rows read -> the rows


@dataclass(frozen=True)
class SourceTable:
    """A table to be exported.

    Attributes:
        table: its names, size and dtype.
        open_rows: opens its rows.
        bytes_before: that it takes dense.
        compressed: what an artifact holds of it; None: it is stored dense.
        factors: the tensors of an artifact that hold it as floats, by name.
        read: yields the bytes of one, and compares its checksum.
    """

    table: Table
    open_rows: OpenRows
    bytes_before: int
    compressed: CompressedTable | None = None
    factors: Mapping[str, StoredTensor] = field(default_factory=dict)
    read: Callable[[StoredTensor], Iterator[memoryview]] | None = None

    @property
    def is_bilinear(self) -> bool:
        """Whether its rows are matrices that are factored each by itself."""
        return self.compressed is not None and self.compressed.matrix is not None


@dataclass(frozen=True)
class CopiedTensor:
    """A tensor that is no exported table, and what yields its bytes."""

    stored: StoredTensor
    read: Callable[[], Iterator[memoryview]]


@dataclass(frozen=True)
class ExportSource:
    """What is exported.

    Attributes:
        checkpoint: an open one, or that of an artifact.
        tables: those chosen.
        copied: the other tensors.
        skipped: what is in none of both, and why.
        is_decoded: whether the rows are those that an artifact decodes to.
    """

    checkpoint: Checkpoint
    tables: tuple[SourceTable, ...]
    copied: tuple[CopiedTensor, ...]
    skipped: tuple[Skipped, ...] = ()
    is_decoded: bool = False


def open_source(
    checkpoint: Checkpoint, artifact: Artifact | None, *, table: Sequence[str] | str, exclude: Sequence[str] | str
) -> ExportSource:
    """Choose the tables to export, and list all else.

    Args:
        checkpoint: an open one.
        artifact: what it is read as, if it is an artifact.
        table: shell patterns of the tables to take, or one; empty: those recognised, or compressed.
        exclude: shell patterns of the tables to leave, or one.

    Raises:
        TableError: as `choose_tables`.
    """
    if artifact is not None:
        return _artifact_source(artifact, table=as_patterns(table), exclude=as_patterns(exclude))
    chosen = choose_tables(checkpoint, table=table, exclude=exclude)
    return ExportSource(
        checkpoint, tuple(_stored_table(checkpoint, one) for one in chosen), _copied(checkpoint, chosen)
    )


def without(
    source: ExportSource, names: Collection[str], skipped: Sequence[Skipped], *, is_dense: bool
) -> ExportSource:
    """Take tables out of those chosen: dense ones are copied like other tensors, compressed ones are not there.

    Args:
        source: with all of them.
        names: of the tables to take out.
        skipped: what to say of them.
        is_dense: whether they are stored dense.
    """
    tables = tuple(one for one in source.tables if one.table.name not in names)
    copied = _copied(source.checkpoint, [one.table for one in tables]) if is_dense else source.copied
    return replace(source, tables=tables, copied=copied, skipped=(*source.skipped, *skipped))


def _stored_table(checkpoint: Checkpoint, table: Table) -> SourceTable:
    def open_rows(device: str, on_rows: Callable[[int], None]) -> SourceRows:
        return stored_rows(checkpoint, table.stored, device=device, on_rows=on_rows)

    return SourceTable(table, open_rows, table.nbytes)


def stored_rows(
    checkpoint: Checkpoint, stored: StoredTensor, *, device: str, on_rows: Callable[[int], None] | None = None
) -> TableRows:
    """Open the rows of a stored tensor, in blocks of as many as the decoded rows of an artifact have."""
    return TableRows(
        stored, files=checkpoint.files, device=device, on_rows=on_rows, block_rows=block_rows_of(stored.shape)
    )


def block_rows_of(shape: Sequence[int]) -> int:
    """Count the rows of a block, whatever the dtype, so that two tables of one shape are read side by side."""
    return block_rows_for(rows=shape[0], dim=math.prod(shape[1:]), item_bytes=8)


def _copied(checkpoint: Checkpoint, chosen: Sequence[Table]) -> tuple[CopiedTensor, ...]:
    names = {name for table in chosen for name in (table.name, *table.tied_names)}
    return tuple(
        CopiedTensor(stored, partial(read_bytes, stored, files=checkpoint.files))
        for stored in checkpoint.stored_beside(names)
    )


def _artifact_source(artifact: Artifact, *, table: Sequence[str], exclude: Sequence[str]) -> ExportSource:
    path = artifact.checkpoint.path
    names = [name for one in artifact.tables for name in one.names]
    for option, patterns in (("--table", table), ("--exclude", exclude)):
        refuse_unmatched(option, patterns, names, path=path)
    tables, skipped = [], []
    for one in artifact.tables:
        if matches(exclude, one.names) or (table and not matches(table, one.names)):
            skipped.append(Skipped(one.name, "compressed in the artifact, and not chosen"))
        else:
            tables.append(_compressed_table(artifact, one))
    if not tables:
        raise TableError(
            f"no compressed table of {path} is chosen; it has {named([one.name for one in artifact.tables])}.",
            hint=f"`embcompress inspect {quoted(path)}` lists them.",
        )
    copied = tuple(CopiedTensor(stored, partial(artifact.read, stored)) for stored in artifact.copied)
    return ExportSource(artifact.checkpoint, tuple(tables), copied, tuple(skipped), is_decoded=True)


def _compressed_table(artifact: Artifact, compressed: CompressedTable) -> SourceTable:
    def open_rows(device: str, on_rows: Callable[[int], None]) -> SourceRows:
        return DecodedTable(artifact, compressed, device=device, on_rows=on_rows)

    shape = compressed.dense_shape
    # It lies nowhere: with such strides no row is looked for in the file, to see whether it is padding.
    stored = StoredTensor(compressed.name, compressed.dtype, shape, (0,) * len(shape), 0)
    nbytes = math.prod(shape) * ITEM_BYTES[compressed.dtype]
    table = Table(compressed.name, compressed.tied_names, stored)
    factors = {} if compressed.is_coded else {stored.name: stored for stored in artifact.factors(compressed)}
    return SourceTable(table, open_rows, nbytes, compressed, factors, artifact.read)


class DecodedTable:
    """The rows that a table of an artifact decodes to.

    Args:
        artifact: an open one.
        compressed: the table.
        device: where rows are multiplied out.
        on_rows: called with the number of rows of each block.
    """

    def __init__(
        self, artifact: Artifact, compressed: CompressedTable, *, device: str, on_rows: Callable[[int], None]
    ) -> None:
        real = getattr(torch, compressed.dtype).to_real()
        self.dtype: torch.dtype = torch.promote_types(real, torch.float32)
        self._artifact, self._compressed, self._device, self._on_rows = artifact, compressed, device, on_rows
        self._step = block_rows_of((compressed.rows, *real_row_shape(compressed)))

    def blocks(self) -> Iterator[Tensor]:
        """Yield consecutive rows, (block_rows, dim), and compare the checksums behind the last.

        Raises:
            ArtifactError: the file was changed or damaged.
        """
        rows = open_decoded_rows(self._artifact, self._compressed, dtype=self.dtype, device=self._device)
        for first in range(0, self._compressed.rows, self._step):
            count = min(self._step, self._compressed.rows - first)
            yield rows.read_next(count)
            self._on_rows(count)
        rows.check()

    def read(self, ids: Tensor) -> Tensor:
        """Read rows by id, (count,) -> (count, dim)."""
        rows = open_decoded_rows(self._artifact, self._compressed, dtype=self.dtype, device=self._device)
        return rows.read(ids).clone()
