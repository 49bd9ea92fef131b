"""Bags of rows of a table, summed, averaged or maximised as torch.nn.EmbeddingBag does, without building the table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from embcompress.nn.constrainers import clamp_norm

# A mark for each row of the table is cheaper than to sort the ids, up to so many rows for each id: benchmarks/bags.py.
ROWS_FOR_EACH_ID = 16


def pool_rows(
    table: Any,
    ids: Tensor,  # (count,) with offsets, or (bags, size)
    *,
    offsets: Tensor | None = None,  # (bags,), or (bags + 1,) where the last one is included
    mode: str = "mean",
    per_sample_weights: Tensor | None = None,  # as ids
    include_last_offset: bool = False,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
) -> Tensor:
    """Pool rows bag by bag, (bags, dim); the arguments are those of torch.nn.functional.embedding_bag.

    Sums and means are taken over the weights of the rows, and only their results multiplied by the bases. Of a coded
    table every distinct row is decoded once.

    Raises:
        IndexError: an id outside the table.
        ValueError, NotImplementedError: arguments that torch.nn.functional.embedding_bag refuses.
    """
    by_weights = mode != "max" and table.normalizer is None and max_norm is None and hasattr(table, "combine")
    ids = ids.long()
    if padding_idx is not None and padding_idx < 0:
        padding_idx += table.max_id
    if by_weights and _has_plain_weights(table):
        values, places, padding = table.weights, ids, padding_idx
    else:
        values, places, padding = _distinct(table, ids, padding_idx=padding_idx, by_weights=by_weights)
    if max_norm is not None:
        values = clamp_norm(values, maxnorm=max_norm, p=norm_type, dim=(-1,))
    try:
        pooled = nn.functional.embedding_bag(
            places,
            values,
            None if offsets is None else offsets.long(),
            mode=mode,
            per_sample_weights=None if per_sample_weights is None else per_sample_weights.to(values.dtype),
            include_last_offset=include_last_offset,
            padding_idx=padding,
        )
    except RuntimeError as err:  # that of an id outside, on the CPU
        if places.numel() and (int(places.min()) < 0 or int(places.max()) >= len(values)):
            raise IndexError(table.describe_outside(ids)) from err
        raise
    rows: Tensor = table.combine(pooled) if by_weights else pooled
    return rows


def _has_plain_weights(table: Any) -> bool:
    """Return whether the weights of a table are stored as they are multiplied by its bases."""
    return isinstance(getattr(table, "weights", None), Tensor) and getattr(table, "weight_normalizer", None) is None


def _distinct(
    table: Any, ids: Tensor, *, padding_idx: int | None, by_weights: bool
) -> tuple[Tensor, Tensor, int | None]:
    """Decode every distinct row once: values (distinct, columns), where each id's are, and where the padding's are.

    Raises:
        IndexError: an id outside the table.
    """
    if torch.compiler.is_compiling():
        return _all(table, ids, padding_idx=padding_idx, by_weights=by_weights)
    unique, places = _unique(ids, rows=table.max_id)
    try:
        values = table.weights_of(unique) if by_weights else table.at(unique)
    except IndexError as err:
        raise IndexError(table.describe_outside(unique)) from err
    if padding_idx is None:
        return values, places, None
    is_padding = unique == padding_idx
    return values, places, int(is_padding.nonzero()) if bool(is_padding.any()) else None


def _all(table: Any, ids: Tensor, *, padding_idx: int | None, by_weights: bool) -> tuple[Tensor, Tensor, int | None]:
    """Decode a row for each id: no size depends on ids, as a compiler needs. Results as of `_distinct`."""
    flat = ids.flatten()
    values = table.weights_of(flat) if by_weights else table.at(flat)
    places = torch.arange(len(flat), device=ids.device).view(ids.shape)
    if padding_idx is None:
        return values, places, None
    places = torch.where(ids == padding_idx, len(flat), places)
    return torch.cat([values, values.new_zeros(1, *values.shape[1:])]), places, len(flat)


def _unique(ids: Tensor, *, rows: int) -> tuple[Tensor, Tensor]:
    """Find distinct ids in ascending order, (distinct,), and the place of each id among them, as ids.

    By a mark for each row where there are few: to sort the ids costs more.
    """
    is_many = rows > ROWS_FOR_EACH_ID * ids.numel()
    if is_many or ids.device.type != "cpu" or not ids.numel() or int(ids.min()) < 0 or int(ids.max()) >= rows:
        unique, places = torch.unique(ids, return_inverse=True)
        return unique, places
    marks = torch.zeros(rows, dtype=torch.int32)
    marks[ids.flatten()] = 1
    return marks.nonzero().squeeze(1), (marks.cumsum(0) - 1)[ids]
