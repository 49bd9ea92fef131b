"""The randomized solver against a dense float64 oracle: what it leaves, what it tells, and what it hands on."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.krylov import krylov_svd
from embcompress.linalg.svd import factorize
from tests.cases import for_each
from tests.linalg.tables import (
    BLOCK_ROWS,
    DIM,
    EXCESS,
    KRYLOV_EXCESS,
    ROWS,
    CountingRows,
    compress,
    gaussian,
    geometric,
    squared_bound,
    squared_error,
    squared_optimum,
    with_spectrum,
)


@pytest.mark.parametrize("is_wide", [False, True])
def test_krylov_svd_tells_what_its_bases_leave(is_wide: bool) -> None:
    """The error told is that of projecting on the bases, and the Ritz values are norms of the table along them."""
    table = with_spectrum(900, 400, singular_values=torch.arange(1.0, 401.0).double() ** -1)
    table = table.T.contiguous() if is_wide else table
    rows = CountingRows(TensorRows(table, block_rows=BLOCK_ROWS))
    found = krylov_svd(rows, 6, tolerance=0.0)
    left = table - table @ found.bases.T @ found.bases
    assert found.solver == "krylov"
    assert found.passes == rows.passes
    assert found.relative == pytest.approx(float(left.norm() / table.norm()), rel=1e-9)
    assert found.squared_norm == pytest.approx(float(table.square().sum()), rel=1e-12)
    torch.testing.assert_close(found.singular_values, (table @ found.bases.T).norm(dim=0), rtol=1e-9, atol=0)
    exact = torch.linalg.svdvals(table)[:6]
    assert bool((found.singular_values <= exact * (1 + 1e-12)).all())


def test_krylov_svd_hands_on_what_its_space_would_fill() -> None:
    """Of a table as narrow as twice a block the Gram matrix is made, which is exact, and the remark says why."""
    table = gaussian(ROWS, 60)
    found = krylov_svd(TensorRows(table, block_rows=BLOCK_ROWS), 3, tolerance=1e-13)
    right = torch.linalg.svd(table, full_matrices=False).Vh[:3]
    assert (found.solver, found.is_optimal) == ("gram", True)
    assert "as wide as the table" in found.remarks[0]
    torch.testing.assert_close(found.bases.T @ found.bases, right.T @ right, rtol=0, atol=1e-9)  # projectors


@cache
def decaying(spectrum: str) -> tuple[Tensor, Tensor]:
    """Build a (2600, 1024) float32 table of known spectrum, and its singular values (1024,)."""
    index = torch.arange(1.0, 1025.0, dtype=torch.float64)
    singular_values = {
        "i^-0.5": index**-0.5,
        "i^-1": index**-1,
        "i^-2": index**-2,
        "exp(-i/100)": torch.exp(-index / 100),
    }[spectrum]
    left, right = orthonormal_pair()
    return ((left * singular_values) @ right.T).to(torch.float32), singular_values


@cache
def orthonormal_pair() -> tuple[Tensor, Tensor]:
    """Draw singular vectors, (2600, 1024) and (1024, 1024) float64."""
    return torch.linalg.qr(gaussian(2600, 1024)).Q, torch.linalg.qr(gaussian(1024, 1024, seed=1)).Q


@pytest.mark.parametrize(
    ("spectrum", "is_wide"),
    [("i^-0.5", False), ("i^-0.5", True), ("i^-1", False), ("i^-2", True), ("exp(-i/100)", False)],
)
def test_krylov_svd_comes_near_the_optimum(spectrum: str, is_wide: bool, device: str) -> None:
    """On decaying spectra the error is within 1e-3 of the optimum, for every seed, and is not called optimal."""
    table, singular_values = decaying(spectrum)
    table = table.T.contiguous() if is_wide else table
    for rank, seed in ((4, 0), (64, 1), (120, 2)):
        compressed = compress(table, rank, solver="krylov", device=device, block_rows=1000, seed=seed)
        bound = squared_bound(squared_optimum(singular_values, rank), torch.float32, excess=KRYLOV_EXCESS)
        assert squared_error(table, compressed) <= bound, f"rank {rank}, seed {seed}"
        assert compressed.factors.is_optimal == (compressed.factors.solver != "krylov")


STEEP = {
    "exponential": torch.exp(-torch.arange(320, dtype=torch.float64) / 4),
    "low-rank": torch.ones(20, dtype=torch.float64),
    "cliff": torch.cat([torch.ones(20), torch.full((300,), 1e-4)]).double(),
}


@pytest.mark.parametrize("name", STEEP)
@for_each(
    ("dtype", "is_wide"),
    [
        (torch.float64, False),
        (torch.float64, True),
        (torch.float32, False),
        (torch.float32, True),
        (torch.float16, True),
        (torch.bfloat16, False),
    ],
)
def test_krylov_svd_meets_steep_spectra(name: str, is_wide: bool, dtype: torch.dtype, device: str) -> None:
    """Where float32 products hide what is left, more exact ones find it: the bound holds down to the storing error."""
    table = 10 * with_spectrum(900, 320, singular_values=STEEP[name])
    table = (table.T.contiguous() if is_wide else table).to(dtype)
    singular_values = torch.linalg.svdvals(table.double())
    for rank in (4, 20, 21, 60):
        compressed = compress(table, rank, solver="krylov", device=device)
        excess = EXCESS if compressed.factors.is_optimal else KRYLOV_EXCESS
        bound = squared_bound(squared_optimum(singular_values, rank), dtype, excess=excess)
        assert squared_error(table, compressed) <= bound, f"rank {rank}"


@pytest.mark.parametrize("is_descending", [False, True])
def test_krylov_svd_does_not_lean_on_its_sample(is_descending: bool) -> None:
    """Rows sorted by norm, the largest in a corner of the table, are still met within 1e-3 of the optimum."""
    scales = torch.linspace(-10, 0, 12_000).exp2()  # norms over a factor of 1000
    table = torch.randn(12_000, 256, generator=torch.Generator().manual_seed(5))
    table = table * torch.arange(1.0, 257.0) ** -0.5 * scales[:, None]
    table = table.flip(0).contiguous() if is_descending else table
    eigenvalues = torch.linalg.eigvalsh(table.double().T @ table.double()).flip(0)
    compressed = compress(table, 24, solver="krylov", block_rows=2048)
    bound = squared_bound(squared_optimum(eigenvalues.sqrt(), 24), torch.float32, excess=KRYLOV_EXCESS)
    assert squared_error(table, compressed) <= bound


def test_krylov_svd_finds_directions_that_no_sampled_row_has() -> None:
    """A few heavy rows between the sampled ones still get their direction."""
    table = torch.randn(20_000, 256, generator=torch.Generator().manual_seed(0))
    table[12_345:12_349] = 300 * torch.randn(4, 256, generator=torch.Generator().manual_seed(1))
    eigenvalues = torch.linalg.eigvalsh(table.double().T @ table.double()).flip(0)
    compressed = compress(table, 4, solver="krylov", block_rows=2048)
    bound = squared_bound(squared_optimum(eigenvalues.sqrt(), 4), torch.float32, excess=KRYLOV_EXCESS)
    assert squared_error(table, compressed) <= bound


def test_krylov_svd_does_not_take_underflow_for_a_zero_table(device: str) -> None:
    """Entries of 1e-30, whose float32 norms are zero, are factored in float64; a table of zeros is kept exactly."""
    tiny = (1e-30 * gaussian(ROWS, DIM) * geometric(DIM, decades=2)).to(torch.float32)
    compressed = compress(tiny, 8, solver="krylov", device=device)
    optimum = squared_optimum(torch.linalg.svdvals(tiny.double() * 1e30), 8)
    assert squared_error(tiny, compressed) <= squared_bound(optimum, torch.float32, excess=KRYLOV_EXCESS)
    zero = factorize(TensorRows(torch.zeros(ROWS, DIM, device=device)), 8, solver="krylov")
    assert (zero.squared_norm, zero.relative) == (0, 0)
