"""The exact solvers against a dense float64 oracle: each by itself, and where one hands on to the next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.exact import dense_svd, fix_signs, gram_svd, orthonormal, qr_svd
from embcompress.linalg.svd import factorize
from tests.cases import for_each
from tests.linalg.tables import (
    BLOCK_ROWS,
    CountingRows,
    compress,
    gaussian,
    geometric,
    squared_bound,
    squared_error,
    squared_optimum,
    table_of,
    token_like,
    with_spectrum,
)

SOLVE: dict[str, Callable[..., object]] = {"dense": dense_svd, "gram": gram_svd, "qr": qr_svd}


@pytest.mark.parametrize("solver", SOLVE)
@for_each("is_wide", [False, True])
@for_each("block_rows", [1, 37, 400])
def test_exact_solvers_find_the_singular_subspace(solver: str, is_wide: bool, block_rows: int) -> None:
    """In blocks of any size: singular values, error, and the projector on the leading vectors, to 1e-9."""
    table = with_spectrum(90, 40, singular_values=geometric(40, decades=2))
    table = table.T.contiguous() if is_wide else table
    _, values, right = torch.linalg.svd(table, full_matrices=False)
    found = SOLVE[solver](TensorRows(table, block_rows=block_rows), 5, tolerance=1e-13)
    torch.testing.assert_close(found.singular_values, values, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.bases.T @ found.bases, right[:5].T @ right[:5], rtol=0, atol=1e-9)
    expected = float((values[5:].square().sum() / values.square().sum()).sqrt())
    assert found.relative == pytest.approx(expected, rel=1e-9)
    assert found.optimal_relative == pytest.approx(expected, rel=1e-9)
    assert (found.solver, found.remarks) == (solver, ())


def test_fix_signs_makes_the_first_of_the_largest_entries_positive() -> None:
    """Rows flip whole; of entries that differ by rounding the first one decides; zeros stay."""
    bases = torch.tensor([[1.0, -2.0], [-3.0, 3.0 + 1e-9], [2.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert fix_signs(bases).tolist() == [[-1.0, 2.0], [3.0, -3.0 - 1e-9], [2.0, 1.0], [0.0, 0.0]]


def test_orthonormal_spans_its_columns() -> None:
    """Columns of lengths over 12 decades are projected on themselves, and the basis is orthonormal to 1e-14."""
    columns = gaussian(30, 5) * torch.logspace(-6, 6, 5, dtype=torch.float64)
    basis = orthonormal(columns)
    torch.testing.assert_close(basis.T @ basis, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(basis @ (basis.T @ columns), columns, rtol=1e-12, atol=0)


NARROW = {
    # Where MKL adds up thousands of float32 products one after the other, and columns are few: it did worst there.
    "low-rank": lambda: with_spectrum(20_000, 8, singular_values=torch.ones(4, dtype=torch.float64)),
    "cliff": lambda: with_spectrum(20_000, 8, singular_values=torch.tensor([1.0] * 4 + [1e-5] * 4).double()),
    "alike-rows": lambda: torch.linspace(0.1, 0.9, 9, dtype=torch.float64).expand(20_000, 9),
    "outer-product": lambda: torch.outer(torch.linspace(0.1, 1, 20_000), torch.linspace(0.2, 0.9, 16)).double(),
    "repeated-rows": lambda: gaussian(5, 12).abs().repeat(4000, 1),
}


@pytest.mark.parametrize("name", NARROW)
@for_each("is_wide", [False, True])
def test_gram_svd_measures_the_rounding_of_its_products(name: str, is_wide: bool, device: str) -> None:
    """Narrow tables, whose float32 products are off by up to 280 eps, still get the optimum at every rank."""
    table = NARROW[name]().to(torch.float32)
    table = table.T.contiguous() if is_wide else table.contiguous()
    singular_values = torch.linalg.svdvals(table.to(torch.float64))
    for rank in range(1, min(table.shape) + 1):
        compressed = compress(table, rank, solver="gram", device=device, block_rows=8192)
        bound = squared_bound(squared_optimum(singular_values, rank), torch.float32)
        assert squared_error(table, compressed) <= bound, f"rank {rank}"


@pytest.mark.parametrize("size", [100, 300, 1000, 2000, 4000, 10_000])
def test_gram_svd_weighs_its_rounding_against_the_optimum(size: int, device: str) -> None:
    """Beside one heavy row, float32 products are kept while they cost under 1e-6 of the optimum, and no longer."""
    table = gaussian(4000, 64).float()
    table[7] *= size
    singular_values = torch.linalg.svdvals(table.double())
    for rank in (2, 8, 32):
        compressed = compress(table, rank, solver="gram", device=device, block_rows=4000)
        bound = squared_bound(squared_optimum(singular_values, rank), torch.float32)
        assert squared_error(table, compressed) <= bound, f"rank {rank}"
        # Of the optimum they cost 8e-9 at most up to a size of 300, 1e-6 at 1000 and 4e-6 at 2000, measured.
        assert compressed.factors.passes == 1 or size > 300
        assert compressed.factors.passes == 2 or size < 4000


@pytest.mark.parametrize(
    ("name", "ranks"),
    [("gaussian", (1, 32, 127, 128)), ("tokens", (8, 96, 350)), ("tokens-around-a-mean", (8, 192, 600))],
)
def test_gram_svd_reads_ordinary_tables_once(name: str, ranks: tuple[int, ...], device: str) -> None:
    """A table without a steep spectrum needs one pass with float32 products and no remark, at any rank."""
    tables = {
        "gaussian": lambda: torch.randn(100_000, 128, generator=torch.Generator().manual_seed(0)),
        "tokens": lambda: token_like(20_000, 384, mean_share=0.1),
        "tokens-around-a-mean": lambda: token_like(6_000, 768, mean_share=0.5),
    }
    rows = CountingRows(TensorRows(tables[name]().to(device)))
    for number, rank in enumerate(ranks, start=1):
        result = factorize(rows, rank, solver="gram", tolerance=3e-7)
        assert (rows.passes, result.passes, result.remarks) == (number, 1, ())


@pytest.mark.parametrize(
    ("name", "dtype", "rank", "solver", "passes"),
    [
        ("geometric-8", torch.float32, 20, "gram", 2),  # float32 products, then float64 ones
        ("geometric-8-wide", torch.float32, 20, "gram", 3),  # and right vectors from left ones
        ("1e30", torch.float32, 8, "gram", 2),
        ("1e-30", torch.float32, 8, "gram", 2),
        ("geometric-12", torch.float64, 44, "qr", 2),  # float64 products, then QR
        ("geometric-12-wide", torch.float64, 44, "qr", 3),
    ],
)
def test_gram_svd_goes_on_to_a_more_exact_way(
    name: str, dtype: torch.dtype, rank: int, solver: str, passes: int
) -> None:
    """Where products lack digits or range, the next solver gives the bases, and remarks tell of each further pass."""
    result = factorize(TensorRows(table_of(name, dtype), block_rows=BLOCK_ROWS), rank, solver="gram")
    assert (result.solver, result.passes) == (solver, passes)
    assert len(result.remarks) == 1
    assert "float64" in result.remarks[0]


def test_gram_tells_no_optimum_that_rounding_hides() -> None:
    """Where storing costs more than the products' rounding, an optimum below that rounding is not told as a number."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(20_000, 4, generator=generator) @ torch.randn(4, 64, generator=generator)
    for tolerance, is_told in ((1e-2, False), (3e-7, True)):
        result = factorize(TensorRows(table), 4, solver="gram", tolerance=tolerance)
        assert result.is_optimal
        assert (result.optimal_relative is not None) == is_told
    assert result.optimal_relative is not None
    assert result.optimal_relative < 1e-6
    told = factorize(TensorRows(table), 2, solver="gram", tolerance=1e-2).optimal_relative
    squares = torch.linalg.svdvals(table.double()).square()
    assert told == pytest.approx(float((squares[2:].sum() / squares.sum()).sqrt()), rel=1e-4)
