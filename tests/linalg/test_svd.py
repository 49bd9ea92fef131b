"""The truncated SVD: every solver against a dense float64 oracle, on tables of all the kinds that break one."""

from __future__ import annotations

import math

import pytest
import torch

from embcompress.exceptions import NonFiniteError, RankError
from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.solvers import SOLVERS
from embcompress.linalg.svd import factorize
from tests.cases import for_each
from tests.linalg.tables import (
    BLOCK_ROWS,
    EXCESS,
    KRYLOV_EXCESS,
    ROWS,
    TABLES,
    WIDE_RANGE,
    CountingRows,
    compress,
    exact_geometric,
    gaussian,
    geometric,
    singular_values_of,
    squared_bound,
    squared_error,
    squared_optimum,
    table_of,
    with_spectrum,
)

EXACT_SOLVERS = ("dense", "gram", "qr")
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def ranks_of(name: str) -> list[int]:
    """List the ranks to try: one, a few, where the spectrum ends or nearly does, all."""
    side = min(TABLES[name]().shape)
    wanted = (1, 3, 5, 8, 20, 30, 40, side - 1, side) if name.startswith("geometric") else (1, 2, 5, 8, side)
    return sorted({rank for rank in wanted if 1 <= rank <= side})


CASES = [
    (name, dtype)
    for name in TABLES
    for dtype in DTYPES
    if name not in WIDE_RANGE or dtype in (torch.float32, torch.float64)
]


@pytest.mark.parametrize("solver", EXACT_SOLVERS)
@for_each(("name", "dtype"), CASES)
def test_factorize_keeps_the_optimum_in_stored_factors(name: str, dtype: torch.dtype, solver: str, device: str) -> None:
    """What is stored errs by the Eckart-Young optimum, 1e-6 of it at most, and the rounding of the stored dtype."""
    table = table_of(name, dtype)
    for rank in ranks_of(name):
        compressed = compress(table, rank, solver=solver, device=device)
        optimum = squared_optimum(singular_values_of(name, dtype), rank)
        assert squared_error(table, compressed) <= squared_bound(optimum, dtype), f"rank {rank}"
        assert compressed.factors.is_optimal


@pytest.mark.parametrize("solver", EXACT_SOLVERS)
@for_each("is_wide", [False, True])
def test_factorize_keeps_an_optimum_known_in_closed_form(solver: str, is_wide: bool) -> None:
    """Singular values down to 1e-12, known without rounding, are kept to 1e-6 above the storing error of 1e-13."""
    table, singular_values = exact_geometric(512, 64, bits=40)  # 2^-40 = 9e-13
    table = table.T.contiguous() if is_wide else table
    for rank in (1, 17, 33, 49, 60, 63):
        compressed = compress(table, rank, solver=solver)
        optimum = squared_optimum(singular_values, rank)
        assert squared_error(table, compressed) <= squared_bound(optimum, torch.float64), f"rank {rank}"


@pytest.mark.parametrize("solver", SOLVERS)
@for_each("dtype", DTYPES)
@for_each("name", ["tall", "wide", "low-rank", "constant", "zero", "geometric-8", "geometric-8-wide"])
def test_factorize_gives_orthonormal_bases_of_fixed_sign(
    name: str, solver: str, dtype: torch.dtype, device: str
) -> None:
    """Bases are orthonormal to 1e-10, to two eps once stored, and the largest entry of each is positive."""
    table = table_of(name, dtype)
    for rank in (1, 8, min(table.shape)):
        bases = factorize(TensorRows(table.to(device), block_rows=BLOCK_ROWS), rank, solver=solver).bases.cpu()
        assert (bases.shape, bases.dtype) == ((rank, table.shape[1]), torch.float64)
        identity = torch.eye(rank, dtype=torch.float64)
        assert float((bases @ bases.T - identity).abs().max()) <= 1e-10
        stored = bases.to(dtype).to(torch.float64)
        # Each entry is off by eps / 2 of itself, so a product of two unit vectors by at most eps; twice that for
        # second-order terms and the subnormals of float16.
        assert float((stored @ stored.T - identity).abs().max()) <= 2 * torch.finfo(dtype).eps + 1e-10
        assert torch.equal(bases.amax(dim=1) >= (1 - 1e-6) * bases.abs().amax(dim=1), torch.ones(rank).bool())


def test_factorize_fixes_the_sign_of_bases_with_equal_entries() -> None:
    """Of several entries that differ by rounding only, the first decides the sign, whatever the solver."""
    pattern = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0])
    table = torch.outer(gaussian(ROWS, 1, seed=3)[:, 0], pattern.double())
    for solver in SOLVERS:
        bases = factorize(TensorRows(table, block_rows=BLOCK_ROWS), 1, solver=solver).bases
        assert torch.allclose(bases[0], pattern.double() / 5**0.5, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
@for_each("dtype", DTYPES)
@for_each("name", ["tall", "square", "wide", "zero-rows", "low-rank", "zero"])
def test_factorize_tells_the_spectrum(name: str, solver: str, dtype: torch.dtype, device: str) -> None:
    """Squared singular values, squared norm and error agree with the oracle to the rounding of the products."""
    table, expected = table_of(name, dtype), singular_values_of(name, dtype)
    result = factorize(TensorRows(table.to(device), block_rows=BLOCK_ROWS), 8, solver=solver)
    # A product is off by 9 eps of the largest eigenvalue at most, measured at 16 columns and more, and LAPACK by the
    # longer side times eps; float16 and bfloat16 are multiplied in float32, and dense and qr work in float64.
    is_double = dtype == torch.float64 or solver in ("dense", "qr")
    share = max(table.shape) * 2.3e-16 if is_double else 16 * 1.2e-7
    slack = share * float(expected[0]) ** 2
    squares, norm = expected.square(), float(expected.square().sum())
    if result.is_optimal:
        assert len(result.singular_values) == len(expected)
        actual = result.singular_values.cpu().square()
        assert float((actual - squares).abs().max()) <= slack
        assert abs(result.relative**2 * norm - float(squares[8:].sum())) <= len(expected) * slack
    else:  # Ritz values approach from below
        assert bool((result.singular_values[:8].cpu().square() <= squares[:8] + slack).all())
        assert result.relative**2 * norm >= float(squares[8:].sum()) - len(expected) * slack
    assert abs(result.squared_norm - norm) <= len(expected) * slack
    assert result.is_optimal == (result.solver != "krylov")


@pytest.mark.parametrize("solver", SOLVERS)
@for_each("name", ["tall", "wide", "geometric-8", "geometric-8-wide", "geometric-12", "1e30-wide", "zero"])
def test_factorize_counts_its_passes(name: str, solver: str) -> None:
    """The passes told are those made; a sample is none; and more than the solver promises come with a remark."""
    dtype = torch.float64 if name == "geometric-12" else torch.float32
    rows = CountingRows(TensorRows(table_of(name, dtype), block_rows=BLOCK_ROWS))
    result = factorize(rows, 8, solver=solver)
    assert result.passes == rows.passes
    promised = 2 if solver == "krylov" or ("wide" in name and solver != "dense") else 1
    assert result.remarks or result.passes <= promised


@pytest.mark.parametrize(
    ("solver", "rows", "dim"), [("dense", 600, 400), ("gram", 6000, 48), ("gram", 48, 6000), ("krylov", 1100, 1030)]
)
@for_each("dtype", DTYPES)
def test_factorize_chooses_a_solver_by_itself(
    solver: str, rows: int, dim: int, dtype: torch.dtype, device: str
) -> None:
    """A small table is solved densely, a long one by its Gram matrix, one large both ways by Krylov unless float64."""
    if device == "cuda" or dtype == torch.float64:
        solver = solver.replace("krylov", "gram")  # where the Gram matrix costs less, or exactness matters more
    table = (10 * with_spectrum(rows, dim, singular_values=geometric(48, decades=2))).to(dtype)
    compressed = compress(table, 6, solver="auto", device=device, block_rows=2000)
    singular_values = torch.linalg.svdvals(table.double())
    bound = squared_bound(
        squared_optimum(singular_values, 6), dtype, excess=KRYLOV_EXCESS if solver == "krylov" else EXCESS
    )
    assert compressed.factors.solver == solver
    assert squared_error(table, compressed) <= bound


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
@for_each("rank", [-1, 0, 4])
def test_factorize_refuses_a_rank_outside_the_table(rank: int, solver: str) -> None:
    """A table of 5 x 3 takes 1 to 3 bases, and the message says so."""
    with pytest.raises(RankError, match=rf"the tensor is 5 x 3, .* must be 1..3; got {rank}"):
        factorize(TensorRows(gaussian(5, 3)), rank, solver=solver)


@pytest.mark.parametrize("solver", SOLVERS)
def test_factorize_repeats_itself_to_the_bit(solver: str, device: str) -> None:
    """The same table, rank and seed give the same bytes; another seed moves only the randomized solver."""
    table = with_spectrum(ROWS, 200, singular_values=torch.arange(1.0, 201.0).double() ** -0.5).to(torch.float32)
    rows = TensorRows(table.to(device), block_rows=BLOCK_ROWS)
    once, again, other = (factorize(rows, 8, solver=solver, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(once.bases, again.bases)
    assert torch.equal(once.singular_values, again.singular_values)
    assert (once.relative, once.squared_norm) == (again.relative, again.squared_norm)
    assert torch.equal(once.bases, other.bases) == (solver != "krylov")


@pytest.mark.parametrize("solver", SOLVERS)
def test_factorize_agrees_between_thread_counts(solver: str) -> None:
    """One and two threads give the same bases to rounding: 1e-4 for float32 products, gaps of 1 % between them."""
    table = with_spectrum(ROWS, 128, singular_values=geometric(128, decades=2)).to(torch.float32)
    before = torch.get_num_threads()
    actual = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            actual.append(factorize(TensorRows(table, block_rows=BLOCK_ROWS), 8, solver=solver))
    finally:
        torch.set_num_threads(before)
    # An eigenvector turns by rounding / gap: 1e-7 / (1 - 10^(-4 / 127)) = 2e-6, and the reconstruction with it.
    assert float((actual[0].bases - actual[1].bases).abs().max()) <= 1e-4
    assert actual[0].relative == pytest.approx(actual[1].relative, rel=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_factorize_leaves_its_input_and_torch_alone(solver: str) -> None:
    """The table, the precision of products, the random state and the number of threads are as before."""
    torch.set_float32_matmul_precision("high")
    try:
        for name in ("tall", "wide", "geometric-8"):
            table = table_of(name, torch.float32).clone()
            state = torch.random.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
            factorize(TensorRows(table, block_rows=BLOCK_ROWS), 8, solver=solver)
            assert torch.equal(table, table_of(name, torch.float32))
            assert torch.equal(torch.random.get_rng_state(), state[0])
            assert (torch.get_num_threads(), torch.get_default_dtype()) == state[1:]
            assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("solver", SOLVERS)
@for_each("value", [float("nan"), float("inf"), -float("inf")])
@for_each("dtype", DTYPES)
@for_each("is_wide", [False, True])
def test_factorize_names_the_first_row_that_is_not_finite(
    solver: str, is_wide: bool, dtype: torch.dtype, value: float, device: str
) -> None:
    """NaN and infinity are refused by the number of their first row, several blocks in."""
    table = table_of("wide" if is_wide else "tall", dtype).clone()
    row = 31 if is_wide else 999
    table[row, 40] = value
    table[row + 5, 3] = value  # a later row in an earlier column
    what = "NaN" if math.isnan(value) else "infinity"
    rows = TensorRows(table.to(device), block_rows=10 if is_wide else BLOCK_ROWS)
    with pytest.raises(NonFiniteError, match=f"the tensor holds {what} in row {row}:"):
        factorize(rows, 8, solver=solver)


@pytest.mark.parametrize("solver", SOLVERS)
@for_each("is_wide", [False, True])
@for_each("magnitude", [1e200, 1e-200, 1e153])
def test_factorize_refuses_magnitudes_whose_squares_leave_float64(solver: str, magnitude: float, is_wide: bool) -> None:
    """Every solver alike, as the norm and the error are sums of squares: 1e153 squared overflows after 60 entries."""
    table = magnitude * gaussian(*((40, 300) if is_wide else (300, 40)))
    with pytest.raises(NonFiniteError, match="the tensor holds magnitudes beyond 1e150 or below 1e-138"):
        factorize(TensorRows(table, block_rows=64), 3, solver=solver)


@pytest.mark.parametrize("solver", SOLVERS)
@for_each("magnitude", [1e145, 1e-135])
def test_factorize_takes_magnitudes_whose_squares_float64_holds(solver: str, magnitude: float) -> None:
    """Just inside the range the bases are those of the same table at magnitude one."""
    plain = gaussian(300, 40) * geometric(40, decades=1)
    result = factorize(TensorRows(magnitude * plain, block_rows=64), 3, solver=solver)
    expected = factorize(TensorRows(plain, block_rows=64), 3, solver=solver)
    assert float((result.bases - expected.bases).abs().max()) <= 1e-9  # 1e-15 / gaps
    assert result.relative == pytest.approx(expected.relative, rel=1e-9)
