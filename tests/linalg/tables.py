"""Named test matrices, their optimum by a dense float64 SVD, and the way from a table to its stored factors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.projection import measuring_dtype, project
from embcompress.linalg.svd import Factorization, factorize

ROWS, DIM = 1500, 48
BLOCK_ROWS = 256  # six blocks, the last one shorter

EPS = {torch.float64: 1e-13, torch.float32: 3e-7, torch.float16: 1.2e-3, torch.bfloat16: 1e-2}
# What storing may cost, as a share of the norm: error^2 <= optimum^2 + (EPS * norm)^2. Also the solvers' tolerance.
ROUNDING = {torch.float64: 1e-16, torch.float32: 1e-7, torch.float16: 3e-4, torch.bfloat16: 2e-3}
# No error is expected to be smaller than this when the dtype of the measurement is chosen.
EXCESS = 1e-6  # relative excess that an exact solver may leave over the optimum
KRYLOV_EXCESS = 1e-3  # the same for the randomized one, on decaying spectra


def gaussian(rows: int, dim: int, *, seed: int = 0) -> Tensor:
    """Draw standard normal entries, (rows, dim) float64."""
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_spectrum(rows: int, dim: int, *, singular_values: Tensor, seed: int = 0) -> Tensor:
    """Build a table (rows, dim) float64 with random singular vectors."""
    known = len(singular_values)
    left = torch.linalg.qr(gaussian(rows, known, seed=seed)).Q
    right = torch.linalg.qr(gaussian(dim, known, seed=seed + 1)).Q
    return (left * singular_values) @ right.T


def geometric(count: int, *, decades: float) -> Tensor:
    """Count values falling evenly from 1 to 10^-decades, (count,) float64."""
    return torch.logspace(0, -decades, count, dtype=torch.float64)


def hadamard(side: int) -> Tensor:
    """Build Sylvester's matrix of +-1, (side, side) float64, side a power of two."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < side:
        matrix = torch.cat([torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)])
    return matrix


def exact_geometric(rows: int, dim: int, *, bits: int) -> tuple[Tensor, Tensor]:
    """Build a table whose singular values are known without rounding: its entries are sums of few powers of two.

    Returns:
        (rows, dim) float64 and (dim,): singular values sqrt(rows dim) 2^-i, i rising evenly to `bits`.
    """
    powers = (torch.arange(dim) * bits) // (dim - 1)
    scales = torch.exp2(-powers.to(torch.float64))
    table = (hadamard(rows)[:, :dim] * scales) @ hadamard(dim)
    return table, scales * (rows * dim) ** 0.5


def token_like(rows: int, dim: int, *, mean_share: float, seed: int = 0) -> Tensor:
    """Build a float32 table like those of language models: a slow spectrum, uneven norms and a common mean."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, dim, generator=generator) * torch.arange(1.0, dim + 1) ** -0.25
    values = values @ torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    values *= torch.rand(rows, 1, generator=generator) + 0.5
    mean = torch.randn(dim, generator=generator)
    size = float(values.norm() / mean.norm()) * (mean_share / (1 - mean_share) / rows) ** 0.5
    return values + size * mean


def _giant_row() -> Tensor:
    table = gaussian(ROWS, DIM)
    table[777] *= 1e4
    return table / 1e2  # so that float16 holds the giant


def _zero_rows() -> Tensor:
    table = gaussian(ROWS, DIM)
    table[::3] = 0
    table[700:1000] = 0  # a block of them
    return table


TABLES: dict[str, Callable[[], Tensor]] = {
    "tall": lambda: gaussian(ROWS, DIM),
    "square": lambda: gaussian(DIM, DIM),
    "wide": lambda: gaussian(DIM, ROWS),
    "low-rank": lambda: 30 * with_spectrum(ROWS, DIM, singular_values=torch.ones(5, dtype=torch.float64)),
    "low-rank-wide": lambda: 30 * with_spectrum(DIM, ROWS, singular_values=torch.ones(5, dtype=torch.float64)),
    "constant": lambda: torch.full((ROWS, DIM), 0.3, dtype=torch.float64),
    "zero": lambda: torch.zeros(ROWS, DIM, dtype=torch.float64),
    "zero-rows": _zero_rows,
    "giant-row": _giant_row,
    "giant-row-wide": lambda: _giant_row().T.contiguous(),  # noqa: PLW0108 - built when asked for
    "geometric-8": lambda: 30 * with_spectrum(ROWS, DIM, singular_values=geometric(DIM, decades=8)),
    "geometric-8-wide": lambda: 30 * with_spectrum(DIM, ROWS, singular_values=geometric(DIM, decades=8)),
    "geometric-12": lambda: 30 * with_spectrum(ROWS, DIM, singular_values=geometric(DIM, decades=12)),
    "geometric-12-wide": lambda: 30 * with_spectrum(DIM, ROWS, singular_values=geometric(DIM, decades=12)),
    "1e30": lambda: 1e30 * gaussian(ROWS, DIM),
    "1e-30": lambda: 1e-30 * gaussian(ROWS, DIM),
    "1e30-wide": lambda: 1e30 * gaussian(DIM, ROWS),
    "1e-30-wide": lambda: 1e-30 * gaussian(DIM, ROWS),
    "one-row": lambda: gaussian(1, DIM),
    "one-column": lambda: gaussian(ROWS, 1),
}
WIDE_RANGE = ("1e30", "1e-30", "1e30-wide", "1e-30-wide")  # float32 and float64 only


@cache
def table_of(name: str, dtype: torch.dtype) -> Tensor:
    """Build the named table in a dtype; not to be written to."""
    return TABLES[name]().to(dtype)


@cache
def singular_values_of(name: str, dtype: torch.dtype) -> Tensor:
    """Compute the oracle's singular values of the named table, as rounded to the dtype, (side,) float64."""
    return torch.linalg.svdvals(table_of(name, dtype).to(torch.float64))


@dataclass(frozen=True)
class Compressed:
    """A table's stored factors, what the solver told, and what the accumulator measured."""

    factors: Factorization
    bases: Tensor  # (rank, dim), as stored
    weights: Tensor  # (rows, rank), as stored
    error: ErrorAccumulator
    measured_in: torch.dtype


def compress(
    table: Tensor, rank: int, *, solver: str, device: str = "cpu", block_rows: int = BLOCK_ROWS, seed: int = 0
) -> Compressed:
    """Take a table the way of compression/plain_encoding.py: factor, store the bases, project on them as stored."""
    rows = TensorRows(table.to(device), block_rows=block_rows)
    factors = factorize(rows, rank, solver=solver, tolerance=EPS[table.dtype], seed=seed)
    bases = factors.bases.to(table.dtype)
    measured_in = measuring_dtype(
        relative=max(factors.relative, ROUNDING[table.dtype]),
        norm=factors.squared_norm**0.5,
        dtypes=(table.dtype, bases.dtype, table.dtype),
    )
    error = ErrorAccumulator()
    weights = list(project(rows, bases, weights_dtype=table.dtype, measured_in=measured_in, error=error))
    return Compressed(factors, bases.cpu(), torch.cat(weights).cpu(), error, measured_in)


def squared_error(table: Tensor, compressed: Compressed) -> float:
    """Recompute in float64, from what is stored, the squared error as a share of the squared norm; 0 for 0 / 0."""
    exact = table.to(torch.float64)
    largest = float(exact.abs().max()) or 1.0  # squares of 1e200 must not overflow here
    scaled = exact / largest
    difference = scaled - (compressed.weights.to(torch.float64) / largest) @ compressed.bases.to(torch.float64)
    return float(difference.square().sum()) / (float(scaled.square().sum()) or 1.0)


def squared_optimum(singular_values: Tensor, rank: int) -> float:
    """Compute the Eckart-Young optimum as a share of the squared norm; 0 for a zero table."""
    scaled = singular_values / (float(singular_values[0]) or 1.0)
    return float(scaled[rank:].square().sum()) / (float(scaled.square().sum()) or 1.0)


def squared_bound(optimum: float, dtype: torch.dtype, *, excess: float = EXCESS) -> float:
    """Compute what the squared error may be: the optimum, a relative excess, and what storing costs."""
    return optimum * (1 + excess) ** 2 + EPS[dtype] ** 2


@dataclass
class CountingRows:
    """Rows that count how often they are gone over."""

    inner: TensorRows
    passes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.name, self.rows, self.dim = self.inner.name, self.inner.rows, self.inner.dim
        self.dtype, self.device = self.inner.dtype, self.inner.device

    def blocks(self) -> Iterator[Tensor]:
        """Yield consecutive rows."""
        self.passes += 1
        yield from self.inner.blocks()

    def column_blocks(self) -> Iterator[Tensor]:
        """Yield consecutive columns, transposed."""
        self.passes += 1
        yield from self.inner.column_blocks()

    def sample(self, count: int) -> Tensor:
        """Read a sample, which is no pass."""
        return self.inner.sample(count)
