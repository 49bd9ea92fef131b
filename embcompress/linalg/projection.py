"""Weights of the rows in given bases, as they will be stored, and the error that they leave."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from embcompress.linalg.blocks import Rows, full_float32
from embcompress.linalg.error import ErrorAccumulator, row_norms

FLOAT32_ERROR_MIN = 1e-2  # below this relative error, the rounding of a float32 measurement shows in its sixth digit:
# rows that are alike are all off the same way, 7e-6 of an error of 1e-3, measured
FLOAT32_NORMS = (1e-12, 1e12)  # norms of tables whose squares float32 holds with all digits


def measuring_dtype(*, relative: float, norm: float, dtypes: tuple[torch.dtype, ...]) -> torch.dtype:
    """Choose the dtype in which weights are computed and the error is measured.

    Args:
        relative: the error expected, as a share of the norm.
        norm: the Frobenius norm of the table.
        dtypes: of the table, of its stored bases and weights.
    """
    is_plain = relative >= FLOAT32_ERROR_MIN and FLOAT32_NORMS[0] < norm < FLOAT32_NORMS[1]
    return torch.float32 if is_plain and torch.float64 not in dtypes else torch.float64


def project(
    rows: Rows,
    bases: Tensor,  # (rank, dim), as stored
    *,
    weights_dtype: torch.dtype,
    measured_in: torch.dtype,
    error: ErrorAccumulator,
) -> Iterator[Tensor]:
    """Compute the weights of every row, block by block, and measure the error of what will be stored.

    The weights are the least-squares ones for the bases as they are after storing, so that rounding the bases costs
    as little as it can. Goes over the rows once; holds two blocks.

    Yields:
        Weights (block_rows, rank) in `weights_dtype`.
    """
    exact = bases.to(torch.float64)
    projector = torch.linalg.pinv(exact).to(measured_in)  # (dim, rank)
    stored = exact.to(measured_in)  # (rank, dim)
    # Used again for each block: to take new memory for it cost more than the product itself.
    buffer = torch.empty(0, rows.dim, dtype=measured_in, device=rows.device)
    first = 0
    for block in rows.blocks():
        values = block.to(measured_in)
        if len(buffer) < len(values):
            buffer = torch.empty_like(values)
        with full_float32():  # not around the yield: between blocks the caller's own setting holds
            weights = (values @ projector).to(weights_dtype)  # (block_rows, rank)
            reconstructed = torch.mm(weights.to(measured_in), stored, out=buffer[: len(values)])  # (block_rows, dim)
        error.add_norms(
            norms=row_norms(values),
            reconstructed_norms=row_norms(reconstructed),
            errors=row_norms(reconstructed.sub_(values)),
            first=first,
        )
        first += len(block)
        yield weights


def largest_weight(rows: Rows, bases: Tensor) -> float:
    """Find the largest weight by magnitude, in float64: one pass, for tables whose weights may overflow when stored."""
    projector = torch.linalg.pinv(bases.to(torch.float64))  # (dim, rank)
    return max((float((block.to(torch.float64) @ projector).abs().max()) for block in rows.blocks()), default=0.0)


def fitting_dtype(dtype: torch.dtype, *, largest: float) -> torch.dtype:
    """Choose the narrowest dtype, from `dtype` on, that holds a magnitude.

    Example:
        >>> fitting_dtype(torch.float16, largest=70_000.0)
        torch.float32
    """
    while largest > torch.finfo(dtype).max:
        dtype = torch.float64 if dtype == torch.float32 else torch.float32
    return dtype
