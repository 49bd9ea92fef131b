"""The solvers beside torch's and scikit-learn's: seconds and error over the optimum, in one run."""

from __future__ import annotations

import math

import torch
from harness import functions_in_turn, ratio_of, table
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.svd import factorize

RUNS = 5


def measure(title: str, values: Tensor, rank: int, *, optimum: float | None = None, with_full: bool) -> str:
    """Compare all solvers on one table; `optimum` is the squared error at this rank, computed here if not given."""
    rows = TensorRows(values)
    array = values.numpy()
    functions = {
        "embcompress": lambda: factorize(rows, rank).bases,
        f"torch.svd_lowrank(q={rank}, niter=2)": lambda: torch.svd_lowrank(values, q=rank, niter=2)[2].T,
        "sklearn randomized_svd": lambda: torch.from_numpy(randomized_svd(array, rank, random_state=0)[2]),
    }
    if with_full:
        functions["torch.linalg.svd"] = lambda: torch.linalg.svd(values, full_matrices=False).Vh[:rank]
    torch.manual_seed(0)
    bases = {name: function() for name, function in functions.items()}
    taken = functions_in_turn(functions, runs=RUNS)
    squared_norm = sum(float(block.double().square().sum()) for block in rows.blocks())
    if optimum is None:
        exact = factorize(rows, rank, solver="gram")
        optimum = exact.relative**2 * squared_norm
    lines = []
    for name, found in bases.items():
        basis = torch.linalg.qr(found.double().T).Q  # (dim, rank)
        kept = sum(float((block.double() @ basis).square().sum()) for block in rows.blocks())
        excess = math.sqrt(max(squared_norm - kept, 0) / optimum) - 1
        seconds = sorted(taken[name])
        lines.append(
            [
                name,
                f"{seconds[len(seconds) // 2]:.3f} ({seconds[0]:.3f} to {seconds[-1]:.3f})",
                f"{ratio_of(taken, name, 'embcompress'):.2f}",
                f"{excess:.1e}",
            ]
        )
    head = ["solver", "seconds, median (range)", "times embcompress", "error over the optimum, relative"]
    return f"**{title}**, {RUNS} runs of each in turn\n\n{table(head, lines)}\n"


def main() -> None:
    """Print both comparisons as Markdown."""
    torch.manual_seed(0)
    tall = torch.randn(1_000_000, 128) * torch.linspace(2, 0.5, 128)
    print(measure("1M x 128 float32, 8 bases", tall, 8, with_full=True))
    del tall
    left = torch.linalg.qr(torch.randn(32_768, 2048)).Q
    right = torch.linalg.qr(torch.randn(2048, 2048)).Q
    spectrum = torch.arange(1, 2049, dtype=torch.float64) ** -0.5
    wide = ((left * spectrum.float()) @ right.T).contiguous()
    del left, right
    optimum = float(spectrum[64:].square().sum())
    print(measure("32k x 2048 float32, singular values i^-0.5, 64 bases", wide, 64, optimum=optimum, with_full=False))


if __name__ == "__main__":
    main()
