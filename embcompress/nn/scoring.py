"""The common part of tables that score queries without being built."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.module_rows import as_real_matrix


def flat_query(table: Any, query: Tensor) -> Tensor:
    """Check a query against the rows of a table, and flatten it: (*q, *shape) -> (*q, real entries of a row).

    Raises:
        ValueError: a query of another shape, or a complex one where rows are real or the other way round.
    """
    lead = query.shape[: max(query.ndim - len(table.shape), 0)]
    if query.shape[len(lead) :] != table.shape or query.is_complex() != table.is_complex:
        raise ValueError(
            f"a query is {table.dtype} of shape (..., {table.shape}); got {query.dtype} {tuple(query.shape)}."
        )
    real = torch.view_as_real(query.resolve_conj()) if query.is_complex() else query
    return real.reshape(*lead, math.prod(real.shape[len(lead) :]))


def score_normalized(table: Any, flat: Tensor) -> Tensor:
    """Score normalised rows, looked up block by block: (*q, real entries of a row) -> (*q, max_id)."""
    blocks = torch.split(torch.arange(table.max_id, device=table.device), BLOCK_ROWS)
    rows = (as_real_matrix(table.normalizer(table.look_up(block))) for block in blocks)
    return torch.cat([flat @ block.to(flat.dtype).T for block in rows], dim=-1)
