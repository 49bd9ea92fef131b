"""The randomized solver: a block Krylov space that starts from sampled rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from embcompress.linalg.blocks import Rows, product_dtype, refuse_non_finite
from embcompress.linalg.exact import Factorization, fix_signs, gram_svd, leaves_range, orthonormal

RITZ_CHANGE = 0.02  # change of the error at which the Krylov space stops growing; a next one is a twentieth of it
KRYLOV_EXCESS = 1e-3  # the excess over the optimum that a randomized solver may leave
KRYLOV_BLOCKS_MAX = 8
OVERSAMPLING = 0.5  # width of a Krylov block beyond the rank, as a share of the rank
OVERSAMPLING_MIN = 32  # and at least; with fewer, spectra like i^-0.5 need a further pass
SAMPLE_ROWS = 4096  # rows that start the Krylov space; half as many leave twice the excess
SAMPLE_PRODUCTS = 3  # subspace iterations on the sample
RANDOM_DIRECTIONS = 8  # of the start, beside those of the sample


def krylov_svd(rows: Rows, rank: int, *, tolerance: float, seed: int = 0) -> Factorization:
    """Approximate the leading right singular vectors in a block Krylov space of E^T E.

    The space starts from the leading directions of a few thousand sampled rows and grows by blocks of
    rank + max(32, rank / 2) directions, until a block changes the error by less than 2 %. Each block costs two passes
    over the rows; the last one, which only has to show what it adds, one cheaper pass: 2 on most tables, 15 at most.
    Holds one block of rows and (dim, blocks * width) in float64. On decaying spectra the error is within 1e-3 of the
    optimum, which this solver does not know. Where the rounding of its products could hide the tail they are made in
    float64, and where that is not enough `gram_svd` takes over.

    Raises:
        NonFiniteError: NaN or infinity; names the first such row.

    Source: Musco & Musco, Randomized block Krylov methods for stronger and faster approximate singular value
    decomposition (2015), algorithm 2; here with full reorthogonalisation, so that the Rayleigh-Ritz matrix needs no
    pass of its own.
    """
    if 2 * _krylov_width(rows, rank) > min(rows.rows, rows.dim):
        why = f"a Krylov space of {rank} bases would be as wide as the table, so its Gram matrix was made"
        exact = gram_svd(rows, rank, tolerance=tolerance, seed=seed)
        return replace(exact, remarks=(why, *exact.remarks))
    passes = 0
    remarks: tuple[str, ...] = ()
    for products in dict.fromkeys([product_dtype(rows.dtype), torch.float64]):
        factors, spent = _grow_krylov_space(rows, rank, products, tolerance=tolerance, seed=seed)
        passes += spent
        if factors is not None:
            return replace(factors, passes=passes, remarks=(*remarks, *factors.remarks))
        name = str(products).removeprefix("torch.")
        remarks += (f"the rounding or the range of {name} products could hide what the bases leave",)
    exact = gram_svd(rows, rank, tolerance=tolerance, seed=seed)
    return replace(exact, passes=exact.passes + passes, remarks=remarks + exact.remarks)


def _krylov_width(rows: Rows, rank: int) -> int:
    return min(rank + max(OVERSAMPLING_MIN, math.ceil(OVERSAMPLING * rank)), rows.rows, rows.dim)


@dataclass(frozen=True)
class _NormalProduct:
    """Products with E^T E of a block of directions Q (dim, width), in float64."""

    inner: Tensor  # Q^T E^T E Q, (width, width)
    image: Tensor | None  # E^T E Q, (dim, width)
    squared_norm: float  # of E


def _grow_krylov_space(
    rows: Rows, rank: int, products: torch.dtype, *, tolerance: float, seed: int
) -> tuple[Factorization | None, int]:
    """Find bases by products of one dtype, and count the passes; no bases where that dtype has too few digits."""
    width = _krylov_width(rows, rank)
    blocks_max = min(KRYLOV_BLOCKS_MAX, max(1, min(rows.rows, rows.dim) // width))
    newest = _sampled_start(rows, width, products, seed)  # (dim, width), orthonormal
    space = newest  # (dim, blocks * width), orthonormal
    images: list[Tensor] = []  # E^T E times each block, (dim, width)
    passes = 0
    error = math.inf
    while True:
        # What the newest block adds shows in E times it; its image is needed only if the space grows further.
        is_start = not images
        product = _normal_product(rows, newest, products, with_image=is_start)
        passes += 1
        if product is None:
            return None, passes
        ritz_values, ritz_vectors = torch.linalg.eigh(_ritz_matrix(space, images, newest, product.inner))
        ritz_values, ritz_vectors = ritz_values.flip(0).clamp_min(0), ritz_vectors.flip(1)
        squared_norm = product.squared_norm
        before, error = error, math.sqrt(max(squared_norm - float(ritz_values[:rank].sum()), 0.0))
        noise = torch.finfo(products).eps * float(ritz_values[0]) * rank
        if noise > 2 * KRYLOV_EXCESS * error**2 + tolerance**2 / 2 * squared_norm:
            return None, passes
        is_settled = before - error <= RITZ_CHANGE * error or error**2 <= tolerance**2 / 2 * squared_norm
        if is_settled or space.shape[1] == blocks_max * width:
            break
        if not is_start:
            product = _normal_product(rows, newest, products, with_image=True)
            passes += 1
        assert product is not None
        assert product.image is not None
        images.append(product.image)
        newest = product.image
        for _ in range(2):  # once loses orthogonality where the space is nearly invariant
            newest = orthonormal(newest - space @ (space.T @ newest))
        space = torch.cat([space, newest], dim=1)
    factors = Factorization(
        bases=fix_signs((space @ ritz_vectors[:, :rank]).T),
        singular_values=ritz_values[:rank].sqrt(),
        squared_norm=squared_norm,
        relative=error / math.sqrt(squared_norm) if squared_norm else 0.0,
        is_optimal=False,
        solver="krylov",
        passes=passes,
        remarks=() if passes <= 2 else (f"the Krylov space grew to {space.shape[1] // width} blocks of {width}",),
    )
    return factors, passes


def _normal_product(
    rows: Rows, directions: Tensor, products: torch.dtype, *, with_image: bool
) -> _NormalProduct | None:
    """Multiply in one pass; None where a square left the range of `products`."""
    right = directions.to(products)
    inner = directions.new_zeros(directions.shape[1], directions.shape[1])
    image = torch.zeros_like(directions) if with_image else None
    squared_norm = directions.new_zeros(())
    first = 0
    is_zero = True
    for block in rows.blocks():
        values = block.to(products)
        projected = values @ right  # (block_rows, width)
        row_norms = torch.linalg.vector_norm(values, dim=1)  # (block_rows,)
        product = projected.T @ projected
        # A NaN or an infinity anywhere in a row is one in its norm.
        if not bool(torch.isfinite(row_norms).all() & torch.isfinite(product).all()):
            refuse_non_finite(rows, block=block, first=first)
            return None
        inner += product
        if image is not None:
            image += values.T @ projected
        squared_norm += row_norms.to(torch.float64).square().sum()
        first += len(block)
        is_zero = is_zero and not bool(row_norms.any()) and not bool(block.any())  # norms underflow before entries do
    total = float(squared_norm)
    if leaves_range(total, rows, products, is_zero=is_zero):
        return None
    return _NormalProduct(inner, image, total)


def _ritz_matrix(space: Tensor, images: list[Tensor], newest: Tensor, inner: Tensor) -> Tensor:
    """Put together space^T E^T E space, (blocks * width, blocks * width), without the newest block's image."""
    if not images:
        return inner
    known = torch.cat(images, dim=1)  # (dim, (blocks - 1) * width)
    old = known.shape[1]
    left = space[:, :old].T @ known
    right = known.T @ newest
    return torch.cat([torch.cat([(left + left.T) / 2, right], dim=1), torch.cat([right.T, inner], dim=1)])


def _sampled_start(rows: Rows, width: int, products: torch.dtype, seed: int) -> Tensor:
    """Find leading directions of sampled rows by subspace iteration, (dim, width) float64, orthonormal.

    Drawn on the CPU, so that every device starts alike.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(rows.dim, width, generator=generator, dtype=torch.float64).to(rows.device)
    directions = orthonormal(drawn)
    values = rows.sample(min(max(SAMPLE_ROWS, 2 * width), rows.rows)).to(products)
    for _ in range(SAMPLE_PRODUCTS):
        image = (values.T @ (values @ directions.to(products))).to(torch.float64)
        if not bool(torch.isfinite(image).all()):
            return directions  # the pass over all rows will name the row
        directions = orthonormal(image)
    # What no sampled row knows of would stay out of the space for ever, were some directions not drawn at random.
    count = min(RANDOM_DIRECTIONS, width)
    return orthonormal(torch.cat([directions[:, : width - count], drawn[:, :count]], dim=1))
