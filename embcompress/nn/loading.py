"""The tables of an artifact as trainable modules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from embcompress.artifact.coded import read_coded, read_windowed
from embcompress.artifact.limits import check_expansion
from embcompress.artifact.reader import Artifact, read_artifact
from embcompress.artifact.schema import CompressedTable, real_row_shape
from embcompress.artifact.tensors import read_factor, read_tensor
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.row_labels import read_own_labels
from embcompress.coding.read_kernels import PADDING
from embcompress.coding.row_index import make_row_index
from embcompress.coding.seekable_index import take_heads_off
from embcompress.nn.bilinear import LowRankBilinear
from embcompress.nn.coded import CodedRepresentation
from embcompress.nn.disk.loading import open_disk_table
from embcompress.nn.low_rank import LowRankRepresentation
from embcompress.nn.representation import Representation
from embcompress.nn.window_coded import WindowCodedRepresentation

if TYPE_CHECKING:
    from embcompress.nn.disk.loading import DiskTable

    LoadedTable: TypeAlias = LowRankRepresentation | CodedRepresentation | WindowCodedRepresentation | LowRankBilinear


def load(
    path: str | Path, *, resident: bool = True, device: str = "cpu", allow_expansion: bool = False
) -> dict[str, LoadedTable | DiskTable]:
    """Load the tables of an artifact as trainable modules, by table name.

    A coded table keeps its codes, and decodes the rows that are looked up. A bilinear table becomes a LowRankBilinear
    whose outputs are its matrices, in the order of its rows.

    With `resident=False` rows stay in the file: what decodes them is loaded and checked, and each lookup reads what it
    needs. A coded table that was made with `--seekable` then opens at once and takes 0.13 bytes a row in memory; of
    another one the index of all rows is decoded first, and kept in some 5 bytes a row (of one of schema 1, 9). Plain
    tables take no memory for rows. The file must stay as it is. Its bytes cannot be checked by the checksum of the
    whole: `embcompress verify` does that. Bilinear tables are loaded whole: all their matrices take part in each
    product.

    Args:
        path: an artifact.
        resident: whether rows are loaded into memory.
        device: where the modules go.
        allow_expansion: read tables that claim to be far larger than the file (`EXPANSION_MAX` times), too.

    Raises:
        CheckpointError: not readable.
        ArtifactError: not an artifact, or one whose tensors do not have the checksums of its header; tables that
            expand too far.

    Example:
        >>> tables = load("model-16x.safetensors")  # doctest: +SKIP
        >>> tables["wte.weight"](torch.tensor([[3, 5]])).shape  # doctest: +SKIP
        torch.Size([1, 2, 768])
    """
    with open_checkpoint(Path(path)) as checkpoint:
        artifact = check_expansion(read_artifact(checkpoint), is_allowed=allow_expansion)
        tables = {}
        for table in artifact.tables:
            is_read = resident or table.matrix is not None
            loaded = load_table(artifact, table) if is_read else open_disk_table(artifact, table)
            if isinstance(loaded, Representation):
                loaded.table_name = table.name
            tables[table.name] = loaded.to(device)
        return tables


def load_labels(path: str | Path) -> dict[str, list[str]]:
    """Load the labels of the rows of an artifact's tables, by table name; of tables that have none, nothing.

    Raises:
        CheckpointError, ArtifactError: as `load`.
    """
    with open_checkpoint(Path(path)) as checkpoint:
        artifact = read_artifact(checkpoint)
        labels = {
            table.name: list(read_own_labels(checkpoint, table.name, rows=table.rows)) for table in artifact.tables
        }
        return {name: own for name, own in labels.items() if own}


def load_table(artifact: Artifact, table: CompressedTable) -> LoadedTable:
    """Load one table of an open artifact as a trainable module on the CPU.

    Raises:
        ArtifactError: a factor does not have the checksum of the header.
    """
    if table.is_windowed:
        window_factors = read_windowed(artifact, table)
        return WindowCodedRepresentation.from_codes(
            codes=[read_tensor(artifact, stored) for stored in artifact.codes(table)],
            groups_of_rows=window_factors.groups_of_rows,
            codebook=window_factors.codebook,
            bases=_shaped(window_factors.bases, table),
            shape=table.shape,
            dtype=getattr(torch, table.dtype),
        )
    if table.is_coded:
        factors = read_coded(artifact, table)
        (stored,) = artifact.codes(table)
        codes, index = read_tensor(artifact, stored), factors.index
        if table.is_seekable:
            codes = torch.from_numpy(take_heads_off(codes.numpy(), index, padding=PADDING))
            index = make_row_index(index.kinds, index.lengths)
        return CodedRepresentation.from_codes(
            codes=codes,
            index=index,
            codebook=factors.codebook,
            bases=_shaped(factors.bases, table),
            shape=table.shape,
            dtype=getattr(torch, table.dtype),
        )
    first, second = (read_factor(artifact, factor) for factor in artifact.factors(table))
    if table.matrix is None:
        return LowRankRepresentation.from_factors(bases=first, weights=second)
    form = LowRankBilinear.from_factors(left=first.flatten(0, -3), right=second.flatten(0, -3))
    form.table_shape = table.dense_shape
    return form


def _shaped(bases: Tensor | None, table: CompressedTable) -> Tensor | None:
    """Give bases the shape of a row."""
    return None if bases is None else bases.view(table.rank, *real_row_shape(table))
