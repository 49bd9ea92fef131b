"""Factors of matrices: each at the Eckart-Young optimum of its rank, balanced, of one sign, in any dtype and scale."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from embcompress.exceptions import NonFiniteError, RankError
from embcompress.linalg.bilinear import BilinearCompression, BilinearFactors, factor_matrices, matrices_at_once
from embcompress.linalg.blocks import TensorRows
from embcompress.nn import LowRankBilinear
from tests.cases import for_each
from tests.linalg.tables import EPS, CountingRows, gaussian, hadamard, with_spectrum

OPTIMUM = 1e-6  # relative, of each matrix's squared error
ROUNDING = 1e-13  # of the norm: what a float64 SVD and a product of its factors leave

SHAPES = {
    "one number": (3, 1, 1),
    "row": (2, 1, 7),
    "column": (2, 7, 1),
    "square": (5, 8, 8),
    "square, alone": (1, 33, 33),
    "wide": (4, 5, 17),
    "tall": (4, 30, 6),
    "very wide": (2, 3, 400),
}
SPECTRA = {
    "gaussian": lambda side: None,  # noqa: ARG005
    "decaying": lambda side: 0.5 ** torch.arange(side, dtype=torch.float64),
    "flat": lambda side: torch.ones(side, dtype=torch.float64),
    "steps": lambda side: 2.0 ** -(torch.arange(side) // 3).double(),  # equal values in threes
    "low-rank": lambda side: (torch.arange(side) < 2).double(),
}


def draw(shape: tuple[int, int, int], spectrum: str = "gaussian") -> Tensor:
    """Draw matrices (batch, in1, in2) float64 of a spectrum, no two of the same scale."""
    batch, in1, in2 = shape
    values = SPECTRA[spectrum](min(in1, in2))
    matrices = [
        gaussian(in1, in2, seed=7 * number)
        if values is None
        else with_spectrum(in1, in2, singular_values=values, seed=7 * number)
        for number in range(batch)
    ]
    return torch.stack([matrix * 3.0**number for number, matrix in enumerate(matrices)])


def ranks_of(shape: tuple[int, int, int]) -> list[int]:
    """List the least rank, one between, and the full one."""
    side = min(shape[1:])
    return sorted({1, (side + 1) // 2, side})


def dropped_squares(matrices: Tensor, rank: int) -> Tensor:
    """Sum, for each matrix by itself, the squared singular values behind `rank`, (batch,): the oracle."""
    return torch.stack([torch.linalg.svdvals(matrix.double())[rank:].square().sum() for matrix in matrices])


def product(factors: BilinearFactors) -> Tensor:
    """Multiply the matrices out, (batch, in1, in2), by the definition."""
    return torch.einsum("bik,bjk->bij", factors.left, factors.right)


@pytest.mark.parametrize("spectrum", SPECTRA)
@for_each("shape", SHAPES.values())
def test_factors_leave_the_optimum_of_each_matrix(shape: tuple[int, int, int], spectrum: str) -> None:
    """Every matrix's squared error is the sum of its dropped squared singular values to 1e-6, and is told as such."""
    matrices = draw(shape, spectrum)
    norms = matrices.square().sum(dim=(1, 2))
    for rank in ranks_of(shape):
        factors = factor_matrices(matrices, rank)
        assert factors.left.shape == (shape[0], shape[1], rank)
        assert factors.right.shape == (shape[0], shape[2], rank)
        assert factors.left.dtype == factors.right.dtype == torch.float64
        expected = dropped_squares(matrices, rank)
        slack = OPTIMUM * expected + ROUNDING**2 * norms
        errors = (product(factors) - matrices).square().sum(dim=(1, 2))
        assert bool(((errors - expected).abs() <= slack).all())
        assert bool(((factors.optimal_squared_errors - expected).abs() <= slack).all())
        torch.testing.assert_close(factors.squared_norms, norms, rtol=1e-13, atol=0)


@pytest.mark.parametrize("spectrum", ["gaussian", "decaying", "flat", "steps"])
@for_each("shape", SHAPES.values())
def test_factors_are_balanced(shape: tuple[int, int, int], spectrum: str) -> None:
    """The columns of A, and those of B, are orthogonal with norms sqrt(s): both Gram matrices are diag(s)."""
    matrices = draw(shape, spectrum)
    for rank in ranks_of(shape):
        factors = factor_matrices(matrices, rank)
        for matrix, left, right in zip(matrices, factors.left, factors.right, strict=True):
            values = torch.linalg.svdvals(matrix)[:rank]
            slack = 1e-13 * float(values[0])
            torch.testing.assert_close(left.T @ left, values.diag(), rtol=0, atol=slack)
            torch.testing.assert_close(right.T @ right, values.diag(), rtol=0, atol=slack)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_factors_have_one_sign(shape: tuple[int, int, int]) -> None:
    """The largest entry of each column of B is positive, so that -W has the same B, and -A."""
    matrices = draw(shape)
    rank = min(shape[1:])
    factors, opposite = factor_matrices(matrices, rank), factor_matrices(-matrices, rank)
    peaks = factors.right.gather(1, factors.right.abs().argmax(dim=1, keepdim=True))
    assert bool((peaks > 0).all())
    slack = 1e-12 * float(factors.right.abs().max())
    torch.testing.assert_close(opposite.right, factors.right, rtol=0, atol=slack)
    torch.testing.assert_close(opposite.left, -factors.left, rtol=0, atol=slack)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_factors_are_the_same_each_time(shape: tuple[int, int, int]) -> None:
    """The same matrices give the same bits, whatever their memory layout, and the global generator is left alone."""
    matrices = draw(shape)
    state = torch.get_rng_state()
    factors = factor_matrices(matrices, 1)
    for again in (matrices.clone(), matrices.mT.contiguous().mT):
        other = factor_matrices(again, 1)
        assert torch.equal(other.left, factors.left)
        assert torch.equal(other.right, factors.right)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scale", [1e-200, 1e-150, 1e-30, 1e30, 1e150, 1e200])
def test_factors_of_every_magnitude(scale: float) -> None:
    """Far from 1 the factors are as good: no square leaves float64 on the way, and both sides have sqrt(scale)."""
    matrices = draw((4, 6, 9), "decaying")
    for rank in (1, 3, 6):
        factors = factor_matrices(matrices * scale, rank)
        root = math.sqrt(scale)
        scaled = torch.einsum("bik,bjk->bij", factors.left / root, factors.right / root)
        expected = dropped_squares(matrices, rank)
        errors = (scaled - matrices).square().sum(dim=(1, 2))
        slack = OPTIMUM * expected + ROUNDING**2 * matrices.square().sum(dim=(1, 2))
        assert bool(((errors - expected).abs() <= slack).all())
        sizes = factors.left.norm(dim=1) / root, factors.right.norm(dim=1) / root
        torch.testing.assert_close(sizes[0], sizes[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [1e-140, 1e-30, 1e30, 1e140])
def test_optimum_of_every_magnitude(scale: float) -> None:
    """What is told of norm and optimum scales with the square of the matrices, to twenty roundings."""
    matrices = draw((4, 6, 9), "decaying")
    plain, scaled = factor_matrices(matrices, 2), factor_matrices(matrices * scale, 2)
    torch.testing.assert_close(scaled.squared_norms / scale**2, plain.squared_norms, rtol=5e-15, atol=0)
    actual, expected = scaled.optimal_squared_errors / scale**2, plain.optimal_squared_errors
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=0)


def test_one_large_matrix_does_not_drown_a_small_one() -> None:
    """A matrix of 1e-30 beside one of 1e30 is factored as well as by itself: each is scaled alone."""
    matrices = draw((2, 6, 9))
    scales = torch.tensor([1e-30, 1e30], dtype=torch.float64)
    factors = factor_matrices(matrices * scales[:, None, None], 2)
    errors = (product(factors) / scales[:, None, None] - matrices).square().sum(dim=(1, 2))
    torch.testing.assert_close(errors, dropped_squares(matrices, 2), rtol=OPTIMUM, atol=0)


def test_zero_matrices_have_zero_factors() -> None:
    """A matrix of zeros among others has factors of zeros, no error and no NaN."""
    matrices = draw((3, 5, 4))
    matrices[1] = 0
    for rank in (1, 4):
        factors = factor_matrices(matrices, rank)
        assert not factors.left[1].any()
        assert not factors.right[1].any()
        assert (float(factors.squared_norms[1]), float(factors.optimal_squared_errors[1])) == (0, 0)
        assert bool(torch.isfinite(factors.left).all() and torch.isfinite(factors.right).all())
        errors = (product(factors) - matrices)[[0, 2]].square().sum(dim=(1, 2))
        expected = dropped_squares(matrices, rank)[[0, 2]]
        slack = OPTIMUM * expected + ROUNDING**2 * matrices[[0, 2]].square().sum(dim=(1, 2))
        assert bool(((errors - expected).abs() <= slack).all())


@pytest.mark.parametrize("rank", [1, 5, 15, 16])
def test_equal_singular_values_cost_what_is_dropped(rank: int) -> None:
    """Of a Hadamard matrix of side 16, whose singular values are all 4, rank r leaves (16 - r) 16 exactly to 1e-13."""
    factors = factor_matrices(hadamard(16)[None], rank)
    expected = 16.0 * (16 - rank)
    assert float(factors.optimal_squared_errors) == pytest.approx(expected, rel=1e-13, abs=1e-24)
    error = float((product(factors)[0] - hadamard(16)).square().sum())
    assert error == pytest.approx(expected, rel=1e-13, abs=1e-24)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_narrow_matrices_are_factored_in_float64(dtype: torch.dtype) -> None:
    """The error is that of a float64 SVD of the values as they are, not of one in their dtype."""
    matrices = draw((3, 8, 12), "decaying").to(dtype)
    exact = matrices.double()
    for rank in (2, 7, 8):
        factors = factor_matrices(matrices, rank)
        errors, expected = (product(factors) - exact).square().sum(dim=(1, 2)), dropped_squares(exact, rank)
        slack = OPTIMUM * expected + ROUNDING**2 * exact.square().sum(dim=(1, 2))
        assert bool(((errors - expected).abs() <= slack).all())


def test_more_matrices_than_are_decomposed_at_once() -> None:
    """Batches beyond the memory for one decomposition come back in order, each with its own factors."""
    count = matrices_at_once(1000, 2) + 50
    assert 50 < count < 10_000
    generator = torch.Generator().manual_seed(3)
    matrices = torch.randn(count, 1000, 2, generator=generator)
    factors = factor_matrices(matrices, 1)
    assert len(factors.left) == len(factors.right) == count
    # closed form: the singular values of a matrix of two columns are the roots of the eigenvalues of its 2 x 2 Gram
    first, second = matrices.double().unbind(dim=2)
    trace = first.square().sum(dim=1) + second.square().sum(dim=1)
    spread = torch.hypot(
        first.square().sum(dim=1) - second.square().sum(dim=1), 2 * (first * second).sum(dim=1)
    )  # the difference of the eigenvalues
    expected = (trace - spread) / 2
    torch.testing.assert_close(factors.optimal_squared_errors, expected, rtol=1e-11, atol=0)
    errors = torch.stack(
        [
            (left @ right.T - matrix).square().sum()
            for left, right, matrix in zip(
                factors.left[::97], factors.right[::97], matrices[::97].double(), strict=True
            )
        ]
    )
    torch.testing.assert_close(errors, expected[::97], rtol=OPTIMUM, atol=0)


@pytest.mark.parametrize("rank", [0, -1, 5, 100])
def test_ranks_that_matrices_do_not_have_are_refused(rank: int) -> None:
    """A rank outside 1..min(in1, in2) is a RankError that tells size and ranks, also from the module."""
    for fail in (factor_matrices, LowRankBilinear.from_dense):
        with pytest.raises(RankError, match=rf"matrices of 4 x 9 have ranks 1\.\.4; got {rank}\."):
            fail(torch.ones(2, 4, 9), rank)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_matrix_that_is_not_finite_is_named(bad: float) -> None:
    """The first matrix that holds NaN or infinity is named by its number, also from the module."""
    matrices = draw((5, 4, 6))
    matrices[2, 3, 5] = matrices[4, 0, 0] = bad
    for fail in (factor_matrices, LowRankBilinear.from_dense):
        with pytest.raises(NonFiniteError, match="matrix 2 holds NaN or infinity"):
            fail(matrices, 1)


# ---------------------------------------------------------------------------------------- from_dense and to_dense


@pytest.mark.parametrize("spectrum", SPECTRA)
@for_each("shape", SHAPES.values())
def test_from_dense_is_the_optimum_of_each_slice(shape: tuple[int, int, int], spectrum: str) -> None:
    """`to_dense` of `from_dense` leaves, slice by slice, the dropped squared singular values, to 1e-6 of them."""
    matrices = draw(shape, spectrum)
    for rank in ranks_of(shape):
        form = LowRankBilinear.from_dense(matrices, rank)
        dense = form.to_dense().detach()
        assert (dense.shape, dense.dtype) == (matrices.shape, torch.float64)
        errors, expected = (dense - matrices).square().sum(dim=(1, 2)), dropped_squares(matrices, rank)
        slack = OPTIMUM * expected + ROUNDING**2 * matrices.square().sum(dim=(1, 2))
        assert bool(((errors - expected).abs() <= slack).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_from_dense_keeps_the_dtype(dtype: torch.dtype) -> None:
    """Narrow factors cost, beyond the optimum, what rounding them does: 2 sqrt(rank) roundings of the norm."""
    matrices = draw((3, 8, 12)).to(dtype)
    form = LowRankBilinear.from_dense(matrices, 3)
    assert {parameter.dtype for parameter in form.parameters()} == {dtype}
    exact = matrices.double()
    dense = form.left.detach().double() @ form.right.detach().double().mT
    errors = (dense - exact).flatten(1).norm(dim=1)
    optimum = dropped_squares(exact, 3).sqrt()
    # |A B^T - (A + dA)(B + dB)^T| <= |dA| |B| + |A| |dB| <= 2 u |A| |B|, and |A| |B| = sum s <= sqrt(rank) |W|
    slack = 2 * 3**0.5 * torch.finfo(dtype).eps * exact.flatten(1).norm(dim=1)
    assert bool((errors <= optimum + slack).all())
    assert bool((errors >= optimum * (1 - OPTIMUM)).all())


# ------------------------------------------------------------------------------------------- a table of many matrices


class ReusedRows(CountingRows):
    """Rows in blocks whose memory is used again, as those of a file are."""

    def blocks(self) -> Iterator[Tensor]:
        """Yield consecutive rows, in the same memory each time."""
        memory = torch.empty(self.inner.block_rows, self.dim, dtype=self.dtype)
        for block in super().blocks():
            memory.fill_(math.nan)
            yield memory[: len(block)].copy_(block)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@for_each("per_row", [1, 3])
def test_compression_measures_what_is_stored(dtype: torch.dtype, per_row: int) -> None:
    """In one pass: factors in the order of the rows, each matrix's error, and that of all, to 1e-12 of the oracle's."""
    matrices = draw((12, 6, 9)).mul_(torch.exp2(-torch.arange(12.0))[:, None, None]).to(dtype)
    matrices[4] = 0
    rows = ReusedRows(TensorRows(matrices.view(12 // per_row, -1), name="table 'r'", block_rows=2))
    actual = BilinearCompression(rows, in1=6, in2=9, rank=2, dtype=dtype)
    parts = list(actual.blocks())
    assert rows.passes == 1
    left, right = torch.cat([part.left for part in parts]), torch.cat([part.right for part in parts])
    assert (left.shape, right.shape) == ((12, 6, 2), (12, 9, 2))
    assert left.dtype == right.dtype == dtype
    exact = matrices.double()
    errors = (left.double() @ right.double().mT - exact).flatten(1).norm(dim=1)
    norms = exact.flatten(1).norm(dim=1)
    expected = torch.where(norms > 0, errors / norms.clamp_min(1e-300), 0.0)
    assert actual.relatives == pytest.approx(expected.tolist(), rel=1e-12)
    assert actual.relatives[4] == 0
    optimum = math.sqrt(float(dropped_squares(exact, 2).sum() / norms.square().sum()))
    assert actual.optimal_relative == pytest.approx(optimum, rel=1e-12)
    total = actual.error.result()
    assert total.relative == pytest.approx(float(errors.norm() / norms.norm()), rel=1e-12)
    assert optimum * (1 - OPTIMUM) <= total.relative <= optimum + 2 * 2**0.5 * EPS[dtype]
    assert total.row_relative.mean == pytest.approx(float(expected.mean()), rel=1e-12)
    worst = expected.argsort(descending=True, stable=True)[:10].tolist()
    assert [row.id for row in total.worst_rows] == worst


def test_compression_of_zeros_has_no_error() -> None:
    """A table of zeros is kept exactly: every error, and the optimum, is 0."""
    actual = BilinearCompression(TensorRows(torch.zeros(3, 12)), in1=3, in2=4, rank=1, dtype=torch.float32)
    assert all(not part.left.any() and not part.right.any() for part in actual.blocks())
    assert (actual.relatives, actual.optimal_relative, actual.error.result().relative) == ([0, 0, 0], 0, 0)


@pytest.mark.parametrize("per_row", [1, 3])
def test_compression_names_the_matrix_that_is_not_finite(per_row: int) -> None:
    """NaN in a later block is named by the number of its matrix in the table, with what to do."""
    matrices = draw((12, 6, 9))
    matrices[10, 2, 2] = math.nan
    rows = TensorRows(matrices.view(12 // per_row, -1), name="table 'r'", block_rows=2)
    with pytest.raises(NonFiniteError, match=r"table 'r' holds NaN or infinity in matrix 10: .*--exclude"):
        list(BilinearCompression(rows, in1=6, in2=9, rank=2, dtype=torch.float64).blocks())


def test_compression_refuses_factors_that_overflow() -> None:
    """Factors beyond float16's 65504 are refused with the table's name and a wider dtype; just below they are kept."""
    matrix = torch.zeros(1, 4, dtype=torch.float64)
    matrix[0, 0] = 66000.0**2  # its factors are 66000 each
    with pytest.raises(NonFiniteError, match=r"table 'r': factors .* overflow torch.float16\. Use --dtype float32"):
        list(
            BilinearCompression(
                TensorRows(matrix, name="table 'r'"), in1=2, in2=2, rank=1, dtype=torch.float16
            ).blocks()
        )
    matrix[0, 0] = 65504.0**2
    (part,) = BilinearCompression(TensorRows(matrix), in1=2, in2=2, rank=1, dtype=torch.float16).blocks()
    assert part.left.abs().tolist() == part.right.tolist() == [[[65504.0], [0.0]]]
