"""Bags of rows of a table, summed, averaged or maximised as torch.nn.EmbeddingBag does, without building the table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from embcompress.nn.constrainers import clamp_norm


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
    unique, places = torch.unique(ids.long(), return_inverse=True)
    if padding_idx is not None:
        is_padding = unique == padding_idx
        # A bag's padding is told by its place among the distinct ids, where it is one of them.
        padding_place = int(is_padding.nonzero()) if bool(is_padding.any()) else None
    else:
        padding_place = None
    by_weights = mode != "max" and table.normalizer is None and max_norm is None and hasattr(table, "combine")
    try:
        values = table.weights_of(unique) if by_weights else table.at(unique)
    except IndexError as err:
        raise IndexError(table.describe_outside(unique)) from err
    if max_norm is not None:
        values = clamp_norm(values, maxnorm=max_norm, p=norm_type, dim=(-1,))
    pooled = nn.functional.embedding_bag(
        places,
        values,
        None if offsets is None else offsets.long(),
        mode=mode,
        per_sample_weights=None if per_sample_weights is None else per_sample_weights.to(values.dtype),
        include_last_offset=include_last_offset,
        padding_idx=padding_place,
    )
    rows: Tensor = table.combine(pooled) if by_weights else pooled
    return rows
