"""The exact solvers: a dense SVD, the Gram matrix of the smaller side, a QR of the blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from embcompress.linalg.blocks import Rows, product_dtype, refuse_magnitude, refuse_non_finite

EXCESS_RELATIVE = 1e-6  # an exact solver's error over the optimum's, at most
NO_ERROR = 1e-6  # relative error that counts as none in the optimum of a solver
SPECTRUM_EXCESS = 1e-3  # the most that rounding may add to the squared optimum of an exact solver
SIGN_TIE = 1e-6  # entries this near to each other count as equal: rounding must not decide the sign of a basis
GRAM_ROWS = 2048  # rows of one product: a float32 sum over 65536 rows was off by 5 times as much as over 2048


@dataclass(frozen=True)
class Factorization:
    """The bases of a table and what the solver knows of their quality.

    Attributes:
        bases: (rank, dim) float64, orthonormal rows, by descending singular value.
        singular_values: (known,) float64, descending: all of them from an exact solver, the leading ones otherwise.
        squared_norm: the squared Frobenius norm of the table.
        relative: the error that the bases leave, as a share of the norm, before storing.
        is_optimal: whether no bases leave less, but for rounding.
        solver: the solver that gave the bases, a key of SOLVERS.
        passes: how often the rows were read.
        remarks: why another solver or a further pass was needed; empty if none was.
        optimal_relative: the Eckart-Young optimum; None where the solver cannot know it or rounding hides it.
    """

    bases: Tensor
    singular_values: Tensor
    squared_norm: float
    relative: float
    is_optimal: bool
    solver: str
    passes: int
    remarks: tuple[str, ...] = ()
    optimal_relative: float | None = None


def dense_svd(rows: Rows, rank: int, *, tolerance: float = 0.0, seed: int = 0) -> Factorization:  # noqa: ARG001
    """Compute one float64 SVD of the whole table.

    Goes over the rows once; holds the table twice in float64. Exact to float64 rounding of the largest singular value.

    Raises:
        NonFiniteError: NaN or infinity; torch's SVD would return NaN without a word.
    """
    blocks = []
    first = 0
    for block in rows.blocks():
        refuse_non_finite(rows, block=block, first=first)
        first += len(block)
        blocks.append(block.to(torch.float64, copy=True))
    values = torch.cat(blocks)  # (rows, dim)
    _, singular_values, right = torch.linalg.svd(values, full_matrices=False)
    return _exact(right[:rank], singular_values, rows=rows, solver="dense", passes=1)


def gram_svd(rows: Rows, rank: int, *, tolerance: float, seed: int = 0) -> Factorization:
    """Compute the singular vectors from the Gram matrix of the smaller side.

    Goes over the rows once, over a wide table (rows < dim) twice; holds one block and a few float64 matrices of side
    min(rows, dim). Products are in float32 (float64 for a float64 table) and summed in float64. Squaring halves the
    digits: where the rounding of the products, which is measured, could cost more than EXCESS_RELATIVE over the
    optimum, the products are made again in float64, and where that is not enough `qr_svd` takes over.

    Raises:
        NonFiniteError: NaN or infinity; names the first such row.

    Source: Golub & Van Loan, Matrix Computations, 4th ed., section 8.6.
    """
    is_wide = rows.rows < rows.dim
    remarks: tuple[str, ...] = ()
    passes = 0
    products = product_dtype(rows.dtype)
    while True:
        passes += 1
        gram = _gram_matrix(rows, products, is_wide=is_wide)
        if gram is None:
            if products == torch.float64:
                raise refuse_magnitude(rows.name)
            remarks += ("float32 cannot hold the squares of these magnitudes, so the products were made in float64",)
            products = torch.float64
            continue
        eigenvalues, vectors = torch.linalg.eigh(gram.matrix)
        eigenvalues, vectors = eigenvalues.flip(0).clamp_min(0), vectors.flip(1)
        rounding = _rounding_effect(gram, eigenvalues, vectors, rank=rank)
        if rounding.is_harmless(tolerance):
            break
        if products == torch.float64:
            exact = qr_svd(rows, rank, tolerance=tolerance, seed=seed)
            why = "singular values lie below the rounding of float64 products, so a QR of the blocks was made"
            return replace(exact, passes=exact.passes + passes, remarks=(*remarks, why))
        remarks += ("singular values lie below the rounding of float32 products, so float64 ones were made",)
        products = torch.float64
    leading = vectors[:, :rank].T  # (rank, min(rows, dim))
    if is_wide:
        leading = _right_from_left(rows, leading)
        passes += 1
    factors = _exact(leading, eigenvalues.sqrt(), rows=rows, solver="gram", passes=passes)
    return replace(
        factors,
        squared_norm=float(eigenvalues.sum()),
        optimal_relative=factors.relative if rounding.shows_optimum() else None,
        remarks=remarks,
    )


def qr_svd(rows: Rows, rank: int, *, tolerance: float = 0.0, seed: int = 0) -> Factorization:  # noqa: ARG001
    """Compute the singular vectors from the triangular factor of the table, block by block in float64.

    Goes over the rows once, over a wide table twice; holds one block in float64 and two triangles of side min(rows,
    dim). Exact to float64 rounding of the largest singular value; about 30 times the cost of a Gram pass.

    Raises:
        NonFiniteError: NaN or infinity; names the first such row.

    Source: Demmel, Grigori, Hoemmen & Langou, Communication-optimal parallel and sequential QR and LU factorizations
    (2012), section 2 (sequential TSQR).
    """
    is_wide = rows.rows < rows.dim
    side = min(rows.rows, rows.dim)
    triangle = torch.zeros(0, side, dtype=torch.float64, device=rows.device)
    first = 0
    for block in rows.column_blocks() if is_wide else rows.blocks():
        refuse_non_finite(rows, block=block, first=first, is_transposed=is_wide)
        first += len(block)
        triangle = torch.linalg.qr(torch.cat([triangle, block.to(torch.float64)]), mode="r").R
    _, singular_values, vectors = torch.linalg.svd(triangle, full_matrices=False)
    leading = vectors[:rank]
    if is_wide:
        leading = _right_from_left(rows, leading)
    return _exact(leading, singular_values, rows=rows, solver="qr", passes=2 if is_wide else 1)


def _exact(leading: Tensor, singular_values: Tensor, *, rows: Rows, solver: str, passes: int) -> Factorization:
    squares = singular_values**2
    squared_norm = float(squares.sum())
    if leaves_range(squared_norm, rows, torch.float64, is_zero=not bool(singular_values.any())):
        raise refuse_magnitude(rows.name)
    tail = float(squares[len(leading) :].sum())
    relative = math.sqrt(tail / squared_norm) if squared_norm else 0.0
    return Factorization(
        bases=fix_signs(leading),
        singular_values=singular_values,
        squared_norm=squared_norm,
        relative=relative,
        optimal_relative=relative,
        is_optimal=True,
        solver=solver,
        passes=passes,
    )


def fix_signs(bases: Tensor) -> Tensor:
    """Flip each basis so that its largest entry by magnitude is positive, the first of them if several are equal."""
    sizes = bases.abs()  # (rank, dim)
    is_largest = sizes >= (1 - SIGN_TIE) * sizes.amax(dim=1, keepdim=True)
    largest = bases.gather(1, is_largest.to(torch.int8).argmax(dim=1, keepdim=True))  # (rank, 1)
    return bases * torch.where(largest < 0, -1.0, 1.0)


@dataclass(frozen=True)
class _Gram:
    """The Gram matrix of the smaller side and the rounding of its products, both (side, side) float64.

    How far a float32 product is off depends on the BLAS, the shape and the table: from 0.02 to 280 times eps, measured.
    So it is not assumed but measured, on one part of the rows as heavy as any, and scaled up to all of them.
    """

    matrix: Tensor
    rounding: Tensor | None  # None: made in float64, and nothing finer to measure by


def _gram_matrix(rows: Rows, products: torch.dtype, *, is_wide: bool) -> _Gram | None:
    """Sum the products of the smaller side; None where a square left the range of `products`."""
    side = min(rows.rows, rows.dim)
    gram = torch.zeros(side, side, dtype=torch.float64, device=rows.device)
    rounding = None if products == torch.float64 else torch.zeros_like(gram)
    heaviest = 0.0
    first = 0
    is_zero = True
    for block in rows.column_blocks() if is_wide else rows.blocks():
        for part in torch.split(block, GRAM_ROWS):
            values = part.to(products)
            product = values.T @ values  # (side, side)
            squares = float(product.diagonal().sum(dtype=torch.float64))
            # A NaN or an infinity anywhere in the part shows on the diagonal: no second look at every entry.
            if not math.isfinite(squares):
                refuse_non_finite(rows, block=part, first=first, is_transposed=is_wide)
                return None
            gram += product
            if rounding is not None and squares > 2 * heaviest:
                heaviest = squares
                exact = part.to(torch.float64)
                rounding = product - exact.T @ exact
            first += len(part)
            is_zero = is_zero and squares == 0 and not bool(part.any())
    squared_norm = float(gram.trace())
    if leaves_range(squared_norm, rows, products, is_zero=is_zero):
        return None
    if rounding is not None and heaviest:
        rounding *= squared_norm / heaviest
    return _Gram(gram, rounding)


def leaves_range(squared_norm: float, rows: Rows, products: torch.dtype, *, is_zero: bool) -> bool:
    """Whether squares overflow, or are typically so small that `products` drops those of the smaller entries."""
    floor = torch.finfo(products).tiny / torch.finfo(products).eps ** 2
    is_small = not is_zero and squared_norm / (rows.rows * rows.dim) < floor
    return is_small or not math.isfinite(squared_norm)


def orthonormal(columns: Tensor) -> Tensor:
    """Compute an orthonormal basis of columns, (dim, count) float64, by QR."""
    basis: Tensor = torch.linalg.qr(columns).Q
    return basis


def _right_from_left(rows: Rows, left: Tensor) -> Tensor:
    """Turn leading left singular vectors (rank, rows) of a wide table into right ones (rank, dim), in one pass.

    In float64, whatever the table's dtype: float32 products left an error of up to 1e-7 in directions that belong to
    small singular values. Orthonormalised by QR, which also completes the directions that belong to zero ones.
    """
    right = torch.zeros(left.shape[0], rows.dim, dtype=torch.float64, device=rows.device)
    first = 0
    for block in rows.blocks():
        right += left[:, first : first + len(block)] @ block.to(torch.float64)
        first += len(block)
    return orthonormal(right.T).T


@dataclass(frozen=True)
class _RoundingEffect:
    """The squared error that the rounding of the products adds to a truncated SVD.

    Attributes:
        cost: what it adds to the squared error of the bases.
        drift: by how much it moves the squared optimum.
        tail: the squared optimum as computed, rounding included.
        squared_norm: of the table.
    """

    cost: float
    drift: float
    tail: float
    squared_norm: float

    def is_harmless(self, tolerance: float) -> bool:
        """Whether it costs the bases little beside the optimum, or beside what storing costs anyway."""
        storing = tolerance**2 / 2 * self.squared_norm
        if self.tail + self.drift <= storing:
            return True
        is_cheap = self.cost <= EXCESS_RELATIVE * self.tail + storing
        return is_cheap and self.drift <= SPECTRUM_EXCESS * self.tail + storing

    def shows_optimum(self) -> bool:
        """Whether the optimum can be told: it stands above the rounding, or is nothing beside the table."""
        is_nothing = self.tail + self.drift <= NO_ERROR**2 * self.squared_norm
        return is_nothing or self.drift <= 2 * SPECTRUM_EXCESS * self.tail


def _rounding_effect(
    gram: _Gram,
    eigenvalues: Tensor,  # (side,), descending
    vectors: Tensor,  # (side, side), in columns
    *,
    rank: int,
) -> _RoundingEffect:
    """Measure what the rounding of the products does.

    A rounding matrix E mixes a kept direction i with a dropped one j by an angle of E_ij / (lambda_i - lambda_j), which
    costs E_ij^2 / (lambda_i - lambda_j) of squared error; and all of them together cost a dropped direction no more
    than |E_j|. It moves the squared optimum by the trace of E over the dropped directions, which also bounds what the
    bases leave.
    """
    leading, dropped = eigenvalues[:rank], eigenvalues[rank:]
    if not len(dropped) or not bool(eigenvalues[0]):
        return _RoundingEffect(cost=0.0, drift=0.0, tail=0.0, squared_norm=float(eigenvalues.sum()))
    if gram.rounding is None:
        size = torch.finfo(torch.float64).eps * eigenvalues[0]
        mixing = (size / 2).expand(len(leading), len(dropped))
        drift = float(size)
    else:
        mapped = gram.rounding @ vectors[:, rank:]  # (side, dropped)
        # One part can be right by chance where the others are not: never below the typical entry.
        typical = torch.linalg.matrix_norm(gram.rounding) / len(eigenvalues)
        mixing = (vectors[:, :rank].T @ mapped).abs().clamp_min(typical)  # (rank, dropped)
        drift = float((mapped * vectors[:, rank:]).sum(dim=0).abs().sum())
    tail = float(dropped.sum())
    gaps = leading[:, None] - dropped[None, :]  # (rank, dropped)
    costs = (mixing**2 / gaps.clamp_min(1e-300)).sum(dim=0)
    cost = float(torch.minimum(costs, torch.linalg.vector_norm(mixing, dim=0)).sum())
    return _RoundingEffect(cost=cost, drift=drift, tail=tail, squared_norm=float(eigenvalues.sum()))
