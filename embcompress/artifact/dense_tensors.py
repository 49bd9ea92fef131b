"""The tensors of the original, multiplied out of an artifact or as a checkpoint holds them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from embcompress.artifact.decoded_rows import open_decoded_rows
from embcompress.artifact.reader import Artifact
from embcompress.artifact.schema import CompressedTable, real_row_shape
from embcompress.artifact.tensors import gather
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.exceptions import ArtifactError
from embcompress.tables.progress import Progress
from embcompress.tables.rows import read_bytes, tensor_bytes
from embcompress.tables.table import block_rows_for


def read_dense(artifact: Artifact, stored: StoredTensor, *, device: str) -> Tensor:
    """Read into memory what an artifact has in place of a tensor of its original, multiplied out.

    Args:
        artifact: open.
        stored: the tensor in the original.
        device: where rows are multiplied out.

    Raises:
        ArtifactError: it has none of this name and shape, or one without the checksum of the header.
    """
    table = next((one for one in artifact.tables if stored.name in one.names), None)
    copied = artifact.tensors.get(stored.name)
    shape = table.dense_shape if table else copied.shape if copied else None
    if shape != stored.shape:
        raise ArtifactError(
            f"{artifact.checkpoint.path} should hold {stored.name!r} of shape {stored.shape}, "
            f"and holds {'none' if shape is None else shape}.",
            hint="Name the original that it was made from.",
        )
    if table is not None:
        return gather(dense_bytes(artifact, table, device=device, progress=None), replace(stored, dtype=table.dtype))
    assert copied is not None
    return gather(artifact.read(copied), copied)


def read_whole(checkpoint: Checkpoint, stored: StoredTensor) -> Tensor:
    """Read a tensor of a checkpoint into memory."""
    return gather(read_bytes(stored, files=checkpoint.files), stored)


def dense_bytes(
    artifact: Artifact, table: CompressedTable, *, device: str, progress: Progress | None
) -> Iterator[memoryview]:
    """Yield the rows of a table, multiplied out and rounded once, to the dtype of the original.

    In float64; coded weights of a table of at most float32, which are far from its rounding, in float32.
    """
    dtype = getattr(torch, table.dtype).to_real()
    made_in = torch.promote_types(dtype, torch.float32) if table.is_coded else torch.float64
    dense = open_decoded_rows(artifact, table, dtype=made_in, device=device)
    limits = torch.finfo(
        dtype
    )  # an approximation of the largest float16 may lie above it, and must not become infinity
    rows, dim = table.rows, math.prod(real_row_shape(table))
    step = block_rows_for(rows=rows, dim=dim, item_bytes=8)
    for first in range(0, rows, step):
        values = dense.read_next(min(step, rows - first)).clamp_(limits.min, limits.max)  # (block_rows, dim)
        yield tensor_bytes(values.to(dtype))
        if progress is not None:
            progress(f"{table.name}: rows", first + len(values), rows, dim * dtype.itemsize)
    dense.check()
