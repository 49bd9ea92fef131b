"""Low-rank factors of bilinear forms: each matrix of a batch as A B^T."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from embcompress.exceptions import NonFiniteError, RankError
from embcompress.linalg.blocks import Rows, refuse_magnitude
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.solvers import MATRICES_BYTES

MAGNITUDES = (1e-138, 1e150)  # of the largest entry of a matrix, whose squares float64 holds

RELATIVES_MAX = 10_000  # errors kept one by one; those of a million matrices would be larger than their factors


@dataclass(frozen=True)
class BilinearFactors:
    """Factors of a batch of matrices, W ~= left @ right^T, and the least squared error of their rank.

    Attributes:
        left: (batch, in1, rank) float64.
        right: (batch, in2, rank) float64.
        squared_norms: (batch,) of the matrices.
        optimal_squared_errors: (batch,), the sum of the dropped squared singular values (Eckart-Young).
    """

    left: Tensor
    right: Tensor
    squared_norms: Tensor
    optimal_squared_errors: Tensor


def factor_matrices(matrices: Tensor, rank: int) -> BilinearFactors:
    """Compute balanced factors of each matrix by truncated SVD: A = U sqrt(S), B = V sqrt(S).

    In float64, whatever the dtype. Balanced factors have equal norms, column by column, so that both are rounded and
    trained alike; the largest entry of each column of B is positive.

    Args:
        matrices: (batch, in1, in2), real.
        rank: 1 <= rank <= min(in1, in2).

    Raises:
        RankError: rank outside 1..min(in1, in2).
        NonFiniteError: a matrix holds NaN or infinity; names the first.

    Source: Eckart & Young, The approximation of one matrix by another of lower rank (1936).

    Example:
        >>> factors = factor_matrices(torch.diag(torch.tensor([4.0, 1.0])).unsqueeze(0), 1)
        >>> factors.left[0].abs().tolist(), factors.optimal_squared_errors.tolist()
        ([[2.0], [0.0]], [1.0])
    """
    largest = min(matrices.shape[1:])
    if not 1 <= rank <= largest:
        size = " x ".join(map(str, matrices.shape[1:]))
        raise RankError(f"matrices of {size} have ranks 1..{largest}; got {rank}.")
    bad = (~torch.isfinite(matrices)).flatten(1).any(dim=1).nonzero()
    if len(bad):
        raise NonFiniteError(f"matrix {int(bad[0])} holds NaN or infinity.")
    blocks = torch.split(matrices, matrices_at_once(*matrices.shape[1:]))
    parts = [_factor(block.to(torch.float64), rank) for block in blocks]
    return BilinearFactors(*(torch.cat(list(tensors)) for tensors in zip(*parts, strict=True)))


@dataclass(frozen=True)
class StoredFactors:
    """Factors of consecutive matrices in the dtype that they are stored in.

    Attributes:
        left: (count, in1, rank).
        right: (count, in2, rank).
    """

    left: Tensor
    right: Tensor


class BilinearCompression:
    """Factors every matrix of a table in one pass over its rows, and measures the error of what will be stored.

    Args:
        rows: of the table, each of one or more matrices (in1, in2), row-major.
        in1, in2: sides of a matrix.
        rank: of the factors.
        dtype: that they are stored in.

    Attributes:
        error: of all matrices, each counted as a row.
        relatives: of each matrix, its relative error; none of more than RELATIVES_MAX matrices.

    Raises:
        NonFiniteError: while iterating; a matrix holds NaN or infinity, or its factors leave the dtype.
    """

    def __init__(self, rows: Rows, *, in1: int, in2: int, rank: int, dtype: torch.dtype) -> None:
        self.error = ErrorAccumulator()
        self.relatives: list[float] = []
        self._rows, self._in1, self._in2, self._rank, self._dtype = rows, in1, in2, rank, dtype
        self._squared_norm = self._squared_optimum = 0.0

    def blocks(self) -> Iterator[StoredFactors]:
        """Yield the factors of consecutive matrices."""
        first = 0
        for block in self._rows.blocks():
            for matrices in torch.split(block.view(-1, self._in1, self._in2), matrices_at_once(self._in1, self._in2)):
                yield self._factor(matrices, first)
                first += len(matrices)

    @property
    def optimal_relative(self) -> float:
        """The least relative error of this rank, over all matrices (Eckart-Young)."""
        return (self._squared_optimum / self._squared_norm) ** 0.5 if self._squared_norm else 0.0

    def _factor(self, matrices: Tensor, first: int) -> StoredFactors:
        try:
            factors = factor_matrices(matrices, self._rank)
        except NonFiniteError as err:
            index = int((~torch.isfinite(matrices)).flatten(1).any(dim=1).nonzero()[0]) + first
            raise NonFiniteError(
                f"{self._rows.name} holds NaN or infinity in matrix {index}: no error could be measured.",
                hint="Repair it, or leave the table out with --exclude.",
            ) from err
        stored = StoredFactors(factors.left.to(self._dtype), factors.right.to(self._dtype))
        if not bool(torch.isfinite(stored.left).all() and torch.isfinite(stored.right).all()):
            raise NonFiniteError(
                f"{self._rows.name}: factors of its matrices overflow {self._dtype}.", hint="Use --dtype float32."
            )
        exact = matrices.to(torch.float64)
        sizes = exact.abs().flatten(1).amax(dim=1)
        if bool(((sizes > MAGNITUDES[1]) | ((sizes > 0) & (sizes < MAGNITUDES[0]))).any()):
            raise refuse_magnitude(self._rows.name)
        multiplied = stored.left.to(torch.float64) @ stored.right.to(torch.float64).mT  # (count, in1, in2)
        self.error.add(exact.flatten(1), multiplied.flatten(1), first=first)
        errors = (multiplied - exact).flatten(1).square().sum(dim=1)
        share = torch.where(
            factors.squared_norms > 0, errors / factors.squared_norms.clamp_min(1e-300), (errors > 0) * 1.0
        )
        self.relatives += share.sqrt().tolist() if first + len(share) <= RELATIVES_MAX else []
        if first + len(share) > RELATIVES_MAX:
            self.relatives.clear()
        self._squared_norm += float(factors.squared_norms.sum())
        self._squared_optimum += float(factors.optimal_squared_errors.sum())
        return stored


def matrices_at_once(in1: int, in2: int) -> int:
    """Count the matrices to decompose together."""
    return max(1, MATRICES_BYTES // (8 * in1 * in2))


def _factor(matrices: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # A power of two, so that scaling rounds nothing: squares of 1e200 leave float64, and LAPACK loses what is near
    # 1e-300.
    scale = torch.exp2(torch.floor(torch.log2(matrices.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-300))))
    u, s, vh = torch.linalg.svd(matrices / scale, full_matrices=False)
    root = s[:, None, :rank].sqrt() * scale.sqrt()  # (batch, 1, rank)
    left, right = u[:, :, :rank] * root, vh[:, :rank].mT * root
    peak = right.gather(1, right.abs().argmax(dim=1, keepdim=True))  # (batch, 1, rank)
    sign = torch.where(peak < 0, -1.0, 1.0)
    square = scale.flatten() ** 2
    return left * sign, right * sign, s.square().sum(dim=1) * square, s[:, rank:].square().sum(dim=1) * square
