"""Rows in memory, the switch for full float32, and the refusal of what is not finite."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from embcompress.exceptions import NonFiniteError
from embcompress.linalg.blocks import TensorRows, full_float32, product_dtype, refuse_non_finite
from embcompress.linalg.svd import factorize


@pytest.mark.parametrize("block_rows", [1, 4, 10, 100])
def test_tensor_rows_yields_all_rows_and_columns_in_order(block_rows: int, device: str) -> None:
    """Blocks put together are the matrix, column blocks its transpose, and no block is longer than asked."""
    values = torch.arange(70.0, device=device).view(10, 7)
    rows = TensorRows(values, block_rows=block_rows)
    assert (rows.rows, rows.dim, rows.dtype, rows.device) == (10, 7, torch.float32, values.device)
    for _ in range(2):
        blocks, columns = list(rows.blocks()), list(rows.column_blocks())
        assert torch.equal(torch.cat(blocks), values)
        assert torch.equal(torch.cat(columns), values.T)
        assert max(map(len, blocks + columns)) == min(block_rows, 10)


@pytest.mark.parametrize("count", [1, 3, 10, 50, 99, 100, 1000])
def test_tensor_rows_samples_evenly(count: int) -> None:
    """A sample is of rows in order, evenly spread, as many as asked to less than twice that, and its ids are told."""
    values = torch.arange(100.0)[:, None]
    actual = TensorRows(values).sample(count)[:, 0]
    assert torch.equal(values[TensorRows(values).sample_ids(count), 0], actual)
    assert min(count, 100) <= len(actual) < 2 * count
    gaps = actual.diff()
    assert not len(gaps) or float(gaps.min()) == float(gaps.max())
    assert float(actual[0]) + 100 - float(actual[-1]) <= 2 * (float(gaps.max()) if len(gaps) else 100)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_product_dtype_is_float32_below_float64(dtype: torch.dtype, expected: torch.dtype) -> None:
    """Products are made in float32 but for float64 tables."""
    assert product_dtype(dtype) == expected


def switches() -> tuple[str, ...]:
    """Read what torch computes float32 products in; torch 2.9 and later have a switch for each backend."""
    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):
        return (torch.get_float32_matmul_precision(), str(backends.cudnn.allow_tf32))
    precisions = (backends.fp32_precision, backends.cuda.matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision)
    return (*precisions, backends.cudnn.conv.fp32_precision)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_full_float32_puts_the_precision_back(precision: str) -> None:
    """Inside, products are in full float32; afterwards, and after an exception, every switch is as it was."""
    torch.set_float32_matmul_precision(precision)
    try:
        before = switches()
        with full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
        assert (torch.get_float32_matmul_precision(), switches()) == (precision, before)
        with pytest.raises(KeyError), full_float32():
            raise KeyError
        assert (torch.get_float32_matmul_precision(), switches()) == (precision, before)
        table = torch.full((4, 3), float("nan"))
        with pytest.raises(NonFiniteError):
            factorize(TensorRows(table), 1)
        assert (torch.get_float32_matmul_precision(), switches()) == (precision, before)
    finally:
        torch.set_float32_matmul_precision("highest")


NEW_SWITCH = """
import torch
from embcompress.linalg.blocks import full_float32

def read():
    backends = torch.backends
    return backends.fp32_precision, backends.cuda.matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision

def check():
    before = read()
    with full_float32():
        assert read()[1:] == ("ieee", "ieee"), read()
    assert read() == before, (before, read())

check()  # as torch starts: each backend inherits
torch.backends.cuda.matmul.fp32_precision = "tf32"
check()
torch.backends.cuda.matmul.fp32_precision = "none"
torch.backends.fp32_precision = "tf32"
check()
"""


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="needs torch 2.9, with a switch per backend")
def test_full_float32_knows_the_switches_of_the_backends() -> None:
    """A caller that set a backend's own switch, after which the global one cannot be read, gets it back."""
    subprocess.run([sys.executable, "-W", "error", "-c", NEW_SWITCH], check=True, timeout=60)


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda values: values[5, 2].fill_(float("nan")), "holds NaN in row 5:"),
        (lambda values: values[5, 2].fill_(-float("inf")), "holds infinity in row 5:"),
        (lambda values: values[5:, 1].fill_(float("inf")), "holds infinity in row 5:"),
        (lambda values: (values[5, 2].fill_(float("nan")), values[5, 1].fill_(float("inf"))), "holds NaN in row 5:"),
    ],
)
def test_refuse_non_finite_names_the_first_row(
    spoil: Callable[[torch.Tensor], object], message: str, is_transposed: bool
) -> None:
    """The message names the table, the first row of it that is not finite, and what it holds."""
    values = torch.zeros(9, 3)
    rows = TensorRows(values, name="table 'x'", block_rows=4)
    block = values.T if is_transposed else values[4:8]
    refuse_non_finite(rows, block=block, first=0 if is_transposed else 4, is_transposed=is_transposed)
    spoil(values)
    with pytest.raises(NonFiniteError, match=f"table 'x' {message}"):
        refuse_non_finite(rows, block=block, first=0 if is_transposed else 4, is_transposed=is_transposed)
