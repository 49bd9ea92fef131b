"""The tables of an artifact as modules whose rows stay in its file."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from typing import TypeAlias

import torch

from embcompress.artifact.coded import read_coded, read_seekable_factors, read_windowed
from embcompress.artifact.reader import Artifact
from embcompress.artifact.schema import CompressedTable, real_row_shape
from embcompress.artifact.tensors import read_factor
from embcompress.checkpoints import StoredTensor
from embcompress.exceptions import ArtifactError
from embcompress.nn.disk.coded import DiskCodedRepresentation
from embcompress.nn.disk.file import DiskFile
from embcompress.nn.disk.low_rank import DiskLowRankRepresentation
from embcompress.nn.disk.matrix import DiskMatrix
from embcompress.nn.disk.strings import DiskStrings, IndexedStrings, SeekableStrings
from embcompress.nn.disk.window_coded import DiskWindowCodedRepresentation
from embcompress.text import brief

DiskTable: TypeAlias = DiskLowRankRepresentation | DiskCodedRepresentation | DiskWindowCodedRepresentation


def open_disk_table(artifact: Artifact, table: CompressedTable) -> DiskTable:
    """Open a table of vectors whose rows stay in the file.

    Raises:
        ArtifactError: what decodes its rows does not have the checksum of the header, or does not fit together; the
            header has no checksum of the rows.
    """
    if table.is_windowed:
        return _open_windowed(artifact, table)
    if table.is_coded:
        return _open_coded(artifact, table)
    bases, weights = artifact.factors(table)
    return DiskLowRankRepresentation(
        bases=read_factor(artifact, bases),
        weights=_open_matrix(artifact, weights),
        checksum=_checksum_of(artifact, weights),
    )


def _open_coded(artifact: Artifact, table: CompressedTable) -> DiskCodedRepresentation:
    (codes,) = artifact.codes(table)
    file = DiskFile(artifact.checkpoint.files.place(codes.start))
    strings: DiskStrings
    if table.is_seekable:
        seekable = read_seekable_factors(artifact, table)
        codebook, bases, strings = seekable.codebook, seekable.bases, SeekableStrings(file, seekable.index)
    else:
        factors = read_coded(artifact, table)
        codebook, bases, strings = factors.codebook, factors.bases, IndexedStrings(file, factors.index)
    centers = codebook.centers
    return DiskCodedRepresentation(
        strings=strings,
        codebook=replace(codebook, rotation=None, center_numbers=None, center_step=0.0),
        bases=None if bases is None else bases.view(table.rank, *real_row_shape(table)),
        scales=torch.ones(table.rank),
        centers=None if centers is None else torch.tensor(centers),
        max_id=table.rows,
        shape=table.shape,
        dtype=getattr(torch, table.dtype),
        checksum=_checksum_of(artifact, codes),
    )


def _open_windowed(artifact: Artifact, table: CompressedTable) -> DiskWindowCodedRepresentation:
    factors, codes = read_windowed(artifact, table), artifact.codes(table)
    bases, checksums = factors.bases, "".join(_checksum_of(artifact, stored) for stored in codes)
    return DiskWindowCodedRepresentation(
        codes=[_open_matrix(artifact, stored) for stored in codes],
        groups_of_rows=factors.groups_of_rows,
        codebook=factors.codebook,
        bases=None if bases is None else bases.view(table.rank, *real_row_shape(table)),
        shape=table.shape,
        dtype=getattr(torch, table.dtype),
        checksum=f"{zlib.crc32(checksums.encode()):08x}",
    )


def _checksum_of(artifact: Artifact, stored: StoredTensor) -> str:
    """Give the crc32 that the header has of rows, which are not read whole; raises as `open_disk_table`."""
    checksum = artifact.checksums.get(stored.name, "")
    if not re.fullmatch("[0-9a-f]{8}", checksum):
        raise ArtifactError(
            f"the header of {artifact.checkpoint.path} says {checksum[:20]!r} of the crc32 of tensor "
            f"{brief(stored.name)}, where eight hexadecimal digits were expected.",
            hint="Copy it again, or compress the original again.",
        )
    return checksum


def _open_matrix(artifact: Artifact, stored: StoredTensor) -> DiskMatrix:
    rows, columns = stored.shape
    file = DiskFile(artifact.checkpoint.files.place(stored.start))
    return DiskMatrix(file, rows=rows, columns=columns, dtype=getattr(torch, stored.dtype))
