"""The weights of the rows in stored bases: least squares, in the stored dtype, measured on the way."""

from __future__ import annotations

import itertools

import pytest
import torch

from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.projection import largest_weight, measuring_dtype, project
from tests.cases import for_each
from tests.linalg.tables import CountingRows, gaussian, token_like

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def weights_of(table: torch.Tensor, bases: torch.Tensor, *, measured_in: torch.dtype, block_rows: int) -> torch.Tensor:
    """Project a whole table, weights in the dtype of the bases."""
    blocks = project(
        TensorRows(table, block_rows=block_rows),
        bases,
        weights_dtype=bases.dtype,
        measured_in=measured_in,
        error=ErrorAccumulator(),
    )
    return torch.cat([weights.cpu() for weights in blocks])


@pytest.mark.parametrize("dtype", DTYPES)
@for_each("measured_in", [torch.float32, torch.float64])
def test_project_solves_least_squares_for_the_stored_bases(
    dtype: torch.dtype, measured_in: torch.dtype, device: str
) -> None:
    """Weights are those of torch.linalg.lstsq on the rounded bases, to the rounding of dtype and measurement."""
    table = gaussian(700, 40).to(dtype)
    bases = torch.linalg.qr(gaussian(40, 9, seed=1)).Q.T.to(dtype)
    bases[2] *= 3  # neither orthonormal
    bases[3] += bases[4]
    expected = torch.linalg.lstsq(bases.double().T, table.double().T).solution.T
    actual = weights_of(table.to(device), bases.to(device), measured_in=measured_in, block_rows=100)
    assert actual.dtype == dtype
    eps = max(torch.finfo(dtype).eps, torch.finfo(measured_in).eps)
    # Half an eps of the weight for storing, and a sum of 40 products of entries up to 5.
    assert float((actual.double() - expected).abs().max()) <= eps * (float(expected.abs().max()) / 2 + 40)


def test_project_reads_once_and_keeps_rows_in_order() -> None:
    """One pass, a block of weights per block of rows, in the order of the rows; nothing given is written to."""
    table, bases = gaussian(1000, 12), torch.linalg.qr(gaussian(12, 3)).Q.T
    copies = table.clone(), bases.clone()
    rows, error = CountingRows(TensorRows(table, block_rows=300)), ErrorAccumulator()
    actual = list(project(rows, bases, weights_dtype=torch.float64, measured_in=torch.float64, error=error))
    assert [len(weights) for weights in actual] == [300, 300, 300, 100]
    assert float((torch.cat(actual) - table @ bases.T).abs().max()) <= 1e-13
    assert rows.passes == 1
    assert error.result().relative == pytest.approx(
        float((table - table @ bases.T @ bases).norm() / table.norm()), rel=1e-12
    )
    assert torch.equal(table, copies[0])
    assert torch.equal(bases, copies[1])


def test_project_does_not_depend_on_the_blocks(device: str) -> None:
    """Blocks of 7 and of 5000 rows give the same float32 weights to rounding: 40 products of entries up to 5."""
    table = gaussian(3000, 40).float().to(device)
    bases = torch.linalg.qr(gaussian(40, 9)).Q.T.float().to(device)
    actual = [weights_of(table, bases, measured_in=torch.float32, block_rows=rows) for rows in (7, 5000)]
    assert float((actual[0] - actual[1]).abs().max()) <= 40 * 5 * 1.2e-7


def test_project_leaves_torch_alone_between_blocks() -> None:
    """A consumer sees its own precision of products between blocks, also when two projections take turns."""
    table, bases = gaussian(10, 4).float(), torch.eye(4)[:2]
    torch.set_float32_matmul_precision("medium")
    try:
        both = [
            project(
                TensorRows(table, block_rows=3),
                bases,
                weights_dtype=torch.float32,
                measured_in=torch.float32,
                error=ErrorAccumulator(),
            )
            for _ in range(2)
        ]
        for _ in itertools.zip_longest(*both):
            assert torch.get_float32_matmul_precision() == "medium"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_project_measures_rows_whose_squares_float32_drops(device: str) -> None:
    """Beside ordinary rows, those of norm 1e-25 and their reconstructions are not taken for zero rows."""
    table = torch.tensor([[1.0, 2.0, 1.0], [3e-25, 4e-25, 0.0], [0.0, 0.0, 1e-25]], device=device)
    error = ErrorAccumulator()
    bases = torch.eye(3, device=device)[:2]
    rows = TensorRows(table)
    for _ in project(rows, bases, weights_dtype=torch.float32, measured_in=torch.float32, error=error):
        pass
    errors = {row.id: row.relative for row in error.result().worst_rows}
    assert errors == {2: 1.0, 0: pytest.approx(6**-0.5, rel=1e-6), 1: 0.0}
    # The rows' cosines are sqrt(5 / 6), 1 and, against a zero row, 0.
    assert error.result().cosine.mean == pytest.approx(((5 / 6) ** 0.5 + 1 + 0) / 3, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_largest_weight_is_that_of_the_rows(dtype: torch.dtype, device: str) -> None:
    """The largest weight by magnitude agrees with a dense float64 product to 1e-12, also where float16 overflows."""
    table = token_like(500, 384, mean_share=0.9)
    table = (5000 / table.square().mean().sqrt() * table).to(dtype)
    bases = torch.linalg.svd(table.double(), full_matrices=False).Vh[:3].to(dtype)
    weights = torch.linalg.lstsq(bases.double().T, table.double().T).solution
    actual = largest_weight(TensorRows(table.to(device), block_rows=64), bases.to(device))
    assert actual == pytest.approx(float(weights.abs().max()), rel=1e-12)
    assert actual > torch.finfo(torch.float16).max  # the reason to look


@pytest.mark.parametrize(
    ("relative", "norm", "dtypes", "expected"),
    [
        (0.5, 1.0, (torch.float32, torch.float32), torch.float32),
        (0.5, 1.0, (torch.float16, torch.float16, torch.bfloat16), torch.float32),
        (1e-2, 1.0, (torch.float32,), torch.float32),
        (0.9e-2, 1.0, (torch.float32,), torch.float64),  # float32 rounding would show in the error
        (0.5, 1e13, (torch.float32,), torch.float64),  # squares near the end of float32
        (0.5, 1e-13, (torch.float32,), torch.float64),
        (0.0, 0.0, (torch.float32,), torch.float64),
        (0.5, 1.0, (torch.float64, torch.float32), torch.float64),
        (0.5, 1.0, (torch.float32, torch.float64), torch.float64),
    ],
)
def test_measuring_dtype_takes_float32_only_where_six_digits_come_out(
    relative: float, norm: float, dtypes: tuple[torch.dtype, ...], expected: torch.dtype
) -> None:
    """Float32 measures errors from 1e-2 on of tables of ordinary magnitude, unless float64 takes part."""
    assert measuring_dtype(relative=relative, norm=norm, dtypes=dtypes) == expected
