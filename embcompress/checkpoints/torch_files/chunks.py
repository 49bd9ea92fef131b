"""Tensors that are cut into chunks along any axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from embcompress.checkpoints.pieces import join
from embcompress.checkpoints.tensors import ITEM_BYTES, Piece, StoredTensor
from embcompress.exceptions import DamagedFileError

PIECES_MAX = 2**20  # of one tensor; a chunk that is cut along its last axis has one for each row of its inner axes


@dataclass(frozen=True)
class Chunk:
    """A part of a tensor, and where its first element lies in the whole."""

    tensor: StoredTensor
    offsets: tuple[int, ...]


def join_chunks(name: str, chunks: Sequence[Chunk], *, dtype: str, shape: tuple[int, ...]) -> StoredTensor:
    """Make a tensor of its chunks.

    Raises:
        DamagedFileError: they leave a gap, overlap, or reach outside of the tensor.
    """
    whole = next((chunk.tensor for chunk in chunks if chunk.tensor.shape == shape), None)
    if len(chunks) == 1 and whole is not None and not any(chunks[0].offsets):
        return replace(whole, name=name)
    pieces: list[Piece] = []
    for chunk in chunks:
        ends = [offset + size for offset, size in zip(chunk.offsets, chunk.tensor.shape, strict=True)]
        if any(end > size for end, size in zip(ends, shape, strict=True)):
            raise DamagedFileError(
                f"{chunk.tensor.name!r}, a chunk of {name!r}, reaches to {tuple(ends)} in a tensor of shape {shape}."
            )
        if chunk.tensor.numel:
            pieces += itertools.islice(_pieces(chunk, shape), PIECES_MAX)
        if len(pieces) >= PIECES_MAX:
            raise DamagedFileError(f"{name!r} is cut into more than {PIECES_MAX} pieces of its rows.")
    if not shape:
        raise DamagedFileError(f"{name!r} has one number and {len(chunks)} chunks.")
    return join(name, pieces, dtype=dtype, shape=shape)


def _pieces(chunk: Chunk, shape: tuple[int, ...]) -> Iterator[Piece]:
    """Cut a chunk into parts whose columns follow each other in a flattened row of the whole."""
    tensor, offsets = chunk.tensor, chunk.offsets
    # The axes behind `last` are whole, so that they and it together are columns in one run.
    last = max((axis for axis in range(1, len(shape)) if tensor.shape[axis] != shape[axis]), default=0)
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]  # columns of the whole, and rows at axis 0
    outer = range(1, last)
    kept_axes = (0, *range(max(last, 1), len(shape)))
    columns = math.prod(tensor.shape[axis] for axis in kept_axes[1:])
    first_column = offsets[last] * steps[last] if last else 0
    for index in itertools.product(*(range(tensor.shape[axis]) for axis in outer)):
        start = (
            tensor.start
            + sum(coordinate * tensor.strides[axis] for coordinate, axis in zip(index, outer, strict=True))
            * ITEM_BYTES[tensor.dtype]
        )
        column = first_column + sum(
            (offsets[axis] + coordinate) * steps[axis] for coordinate, axis in zip(index, outer, strict=True)
        )
        part = replace(
            tensor,
            shape=tuple(tensor.shape[axis] for axis in kept_axes),
            strides=tuple(tensor.strides[axis] for axis in kept_axes),
            start=start,
        )
        yield Piece(part, offsets[0], column, columns)
