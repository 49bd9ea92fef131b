"""Truncated SVD of a table read in blocks: four solvers behind one contract.

Every solver takes `(rows, rank, *, tolerance, seed)` and returns a Factorization: orthonormal bases, whose largest
entry is positive, in float64. Sums over blocks are made in float64. A solver that meets a spectrum below the rounding
of its products goes on to the next more exact one and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from embcompress.exceptions import RankError, UsageError
from embcompress.linalg.blocks import Rows, full_float32
from embcompress.linalg.exact import Factorization, dense_svd, gram_svd, qr_svd
from embcompress.linalg.krylov import krylov_svd
from embcompress.linalg.solvers import SOLVERS, select_solver

__all__ = ["Factorization", "dense_svd", "factorize", "gram_svd", "krylov_svd", "qr_svd"]

FUNCTIONS: Mapping[str, Callable[..., Factorization]] = MappingProxyType(
    {"dense": dense_svd, "gram": gram_svd, "qr": qr_svd, "krylov": krylov_svd}
)


def factorize(
    rows: Rows, rank: int, *, solver: str = "auto", tolerance: float | None = None, seed: int = 0
) -> Factorization:
    """Compute the leading right singular vectors of a table.

    Args:
        rows: the table, re-iterable.
        rank: 1 <= rank <= min(rows, dim).
        solver: a key of SOLVERS, or "auto".
        tolerance: the relative error that storing costs anyway, below which digits do not matter; default: the
            rounding of the table's own dtype.
        seed: of the randomized solver's start.

    Raises:
        UsageError: no solver has this name.
        RankError: rank outside 1..min(rows, dim).
        NonFiniteError: the table holds NaN, infinity or magnitudes that float64 cannot square; names the first row.

    Example:
        >>> from embcompress.linalg.blocks import TensorRows
        >>> result = factorize(TensorRows(torch.diag(torch.tensor([3.0, 4.0]))), 1)
        >>> result.bases.tolist(), result.relative
        ([[0.0, 1.0]], 0.6)
    """
    largest = min(rows.rows, rows.dim)
    if not 1 <= rank <= largest:
        raise RankError(
            f"{rows.name} is {rows.rows} x {rows.dim}, so the number of bases must be 1..{largest}; got {rank}."
        )
    if solver not in {"auto", *SOLVERS}:
        raise UsageError(f"solver must be auto or one of {', '.join(SOLVERS)}; got {solver!r}.")
    if solver == "auto":
        dtype = str(rows.dtype).removeprefix("torch.")
        solver = select_solver(rows=rows.rows, dim=rows.dim, rank=rank, dtype=dtype, device=rows.device.type).name
    if tolerance is None:
        tolerance = torch.finfo(rows.dtype).eps
    with full_float32():
        return FUNCTIONS[solver](rows, rank, tolerance=tolerance, seed=seed)
