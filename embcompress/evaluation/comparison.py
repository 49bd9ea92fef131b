"""A table beside what is stored of it: both read once, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from embcompress.artifact.decoded_rows import DecodedRows, open_decoded_rows
from embcompress.artifact.reader import Artifact
from embcompress.artifact.schema import CompressedTable
from embcompress.exceptions import ArtifactError
from embcompress.linalg.blocks import refuse_non_finite
from embcompress.linalg.error import ErrorAccumulator, row_norms
from embcompress.linalg.neighbours import NeighbourSearch, sample_queries
from embcompress.linalg.projection import measuring_dtype
from embcompress.results import NeighboursReport, TableErrorReport
from embcompress.tables.rows import TableRows


@dataclass(frozen=True)
class PairedBlock:
    """Consecutive rows of a table and what is stored of them, with their norms.

    Attributes:
        first: the row number of the first.
        values: (block_rows, dim), valid until the next block.
        stored: (block_rows, dim), valid until the next block.
        norms: (block_rows,) float64.
        stored_norms: (block_rows,) float64.
    """

    first: int
    values: Tensor
    stored: Tensor
    norms: Tensor
    stored_norms: Tensor


def paired_blocks(rows: TableRows, stored: DecodedRows) -> Iterator[PairedBlock]:
    """Read a table and what is stored of it side by side, in the dtype of the stored rows.

    Raises:
        NonFiniteError: the table holds NaN or infinity.
        ArtifactError: what is stored decodes to them, or does not have the checksum of the header.
    """
    first = 0
    for block in rows.blocks():
        values, decoded = block.to(stored.dtype), stored.read_next(len(block))
        norms, stored_norms = row_norms(values), row_norms(decoded)
        if not bool(torch.isfinite(norms).all()):
            refuse_non_finite(rows, block=block, first=first)
        bad = (~torch.isfinite(stored_norms)).nonzero()
        if len(bad):
            raise ArtifactError(
                f"table {stored.table.name!r} in {stored.artifact.checkpoint.path} decodes to NaN or infinity in row "
                f"{first + int(bad[0])}: the file was changed or damaged.",
                hint="Copy it again, or compress the original again.",
            )
        yield PairedBlock(first, values, decoded, norms, stored_norms)
        first += len(block)
    stored.check()


def measure_error(block: PairedBlock, error: ErrorAccumulator, *, parts: int = 1) -> Tensor:
    """Measure a block, and return the relative error of each row, or part of a row, as (block_rows * parts,).

    Args:
        block: of the table; its `stored` rows become the difference from its values.
        error: takes what is measured.
        parts: equal parts of a row that count as a row each: the matrices of a bilinear table.
    """
    norms, stored_norms = block.norms, block.stored_norms
    values, stored = block.values, block.stored
    if parts > 1:
        shape = (len(values) * parts, -1)
        values, stored = values.reshape(shape), stored.reshape(shape)
        norms, stored_norms = row_norms(values), row_norms(stored)
    errors = row_norms(stored.sub_(values))
    error.add_norms(norms=norms, reconstructed_norms=stored_norms, errors=errors, first=block.first * parts)
    return (errors / norms.clamp_min(1e-300)).where(norms > 0, (errors > 0).to(errors.dtype))


def search_neighbours(rows: TableRows, stored: DecodedRows, *, queries: int, seed: int) -> NeighbourSearch | None:
    """Draw the queries and open the search; None where there are no queries or no neighbours.

    Args:
        rows: of the table.
        stored: what is stored of them; scores are made in its dtype.
        queries: how many rows look for their neighbours.
        seed: of the draw.
    """
    if not queries or rows.rows < 2:
        return None
    ids = sample_queries(rows.rows, queries, seed=seed)
    return NeighbourSearch(
        ids,
        queries=rows.read(ids).to(stored.dtype),
        stored_queries=stored.read(ids).clone(),
        rows=rows.rows,
        seed=seed,
        dtype=stored.dtype,
    )


def add_block(search: NeighbourSearch, block: PairedBlock) -> None:
    """Look for neighbours in a block."""
    search.add(block.values, block.norms, stored=block.stored, stored_norms=block.stored_norms, first=block.first)


def compare_neighbours(
    rows: TableRows,
    artifact: Artifact,
    compressed: CompressedTable,
    *,
    error: TableErrorReport,
    queries: int,
    seed: int,
) -> NeighboursReport | None:
    """Look for the nearest rows of some queries in a table and in what is stored of it, in one pass over both.

    Args:
        rows: of the table.
        artifact: that stores it.
        compressed: what it is stored as.
        error: of the table, which determines the digits that scores need.
        queries: how many rows look for their neighbours.
        seed: of their draw.
    """
    largest = max((group.high for group in error.by_norm), default=0.0)  # norm of a row
    dtype = measuring_dtype(relative=error.relative, norm=largest, dtypes=(rows.dtype,))
    stored = open_decoded_rows(artifact, compressed, dtype=dtype, device=str(rows.device))
    search = search_neighbours(rows, stored, queries=queries, seed=seed)
    if search is None:
        return None
    for block in paired_blocks(rows, stored):
        add_block(search, block)
    return search.result()
