"""The choice of a solver: a function of sizes, known without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from embcompress.linalg import svd
from embcompress.linalg.solvers import SOLVERS, SolverLoad, select_solver


@pytest.mark.parametrize(
    ("rows", "dim", "rank", "dtype", "device", "expected"),
    [
        (1, 1, 1, "float32", "cpu", "dense"),
        (512, 512, 8, "float32", "cpu", "dense"),
        (512, 513, 8, "float32", "cpu", "gram"),
        (2**18, 1, 1, "float16", "cpu", "dense"),
        (1_000_000, 128, 8, "float32", "cpu", "gram"),
        (30_522, 384, 48, "float32", "cpu", "gram"),
        (237, 40_000, 16, "float32", "cpu", "gram"),
        (1_000_000, 1023, 16, "float32", "cpu", "gram"),
        (1_000_000, 1024, 16, "float32", "cpu", "krylov"),
        (1024, 1_000_000, 16, "bfloat16", "cpu", "krylov"),
        (32_000, 2048, 64, "float32", "cpu", "krylov"),
        (32_000, 2048, 256, "float16", "cpu", "krylov"),
        (32_000, 2048, 257, "float16", "cpu", "gram"),
        (32_000, 2048, 64, "float64", "cpu", "gram"),
        (32_000, 4096, 64, "float64", "cpu", "krylov"),
        (32_000, 2048, 64, "float32", "cuda", "gram"),
        (32_000, 4096, 64, "float32", "cuda", "krylov"),
        (32_000, 8192, 64, "float64", "cuda", "gram"),
        (32_000, 16_384, 64, "float64", "cuda", "krylov"),
        (600, 600, 1, "float64", "cuda", "gram"),
    ],
)
def test_select_solver_goes_by_sizes(rows: int, dim: int, rank: int, dtype: str, device: str, expected: str) -> None:
    """Small tables go to a dense SVD, tables with a short side to a Gram matrix, the others to Krylov at low rank."""
    choice = select_solver(rows=rows, dim=dim, rank=rank, dtype=dtype, device=device)
    assert choice.name == expected
    assert choice.reason


def test_select_solver_says_why() -> None:
    """The reason names what decided: the size, the short side, or too many bases."""
    reasons = {
        (600, 400, 8): "600 x 400 is small enough for an exact SVD in memory",
        (10_000, 100, 8): "the 100 x 100 Gram matrix is small, and one pass over the rows gives the optimum",
        (10_000, 2000, 400): "400 bases are many for a side of 2000, and one pass over the rows gives the optimum",
        (10_000, 2000, 40): "both sides are large (10000 x 2000) for 40 bases: a Gram matrix would cost more",
    }
    for (rows, dim, rank), reason in reasons.items():
        assert select_solver(rows=rows, dim=dim, rank=rank, dtype="float32").reason == reason


def test_solvers_know_their_memory() -> None:
    """A dense SVD grows with the table, the exact solvers with the smaller side, a Krylov space with the rank."""
    load = SolverLoad(rows=1000, dim=20, rank=4, block_numbers=500)
    numbers = {name: solver.numbers(load) for name, solver in SOLVERS.items()}
    assert numbers == {"dense": 3 * 20_000, "gram": 6 * 400, "qr": 4 * 400 + 2 * 500, "krylov": 8 * 20 * 36}


def test_solvers_are_known_without_torch() -> None:
    """Importing the table of solvers does not import torch, which takes seconds."""
    code = "import sys, embcompress.linalg.solvers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_solvers_are_the_functions() -> None:
    """What is offered by name is what svd has, in the same order."""
    assert list(svd.FUNCTIONS) == list(SOLVERS)
