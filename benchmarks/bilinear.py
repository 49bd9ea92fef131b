"""Low-rank interdependence of a batch beside the dense form that builds W, forward and backward: time and memory.

python bilinear.py               the comparison as Markdown
python bilinear.py KIND FORM     one forward and backward, for the peak memory of a process of its own
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

from harness import Run, functions_in_turn, python, ratio_of, run_command, table

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 4096  # b of the batch
COLUMNS = 512  # m
RANK = 8
RUNS = 5
KINDS = {"attribute": "W 4096 x 4096", "instance": "W 512 x 512"}
FORMS = {
    "low-rank": "LowRankInterdependence",
    "dense": "dense, W = A B^T formed",
    "nothing": "torch and the batch alone",
}


def make(kind: str, form: str) -> Callable[[], None]:
    """Make a batch and the function that sends it forward and backward."""
    # Imported here: a child's peak memory starts from its parent's.
    import torch

    from embcompress.nn import LowRankInterdependence

    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(ROWS, COLUMNS, generator=generator) / ROWS**0.5
    batch.requires_grad_()
    module = LowRankInterdependence(ROWS if kind == "attribute" else COLUMNS, RANK, kind=kind, generator=generator)

    def dense() -> Tensor:
        weight = module.left @ module.right.T  # (b, b) or (m, m)
        if kind == "attribute":
            return batch @ (batch.T @ weight @ batch)
        return (batch @ weight @ batch.T).T @ batch

    forward = {"low-rank": lambda: module(batch), "dense": dense, "nothing": lambda: batch}[form]

    def both_ways() -> None:
        batch.grad = module.left.grad = module.right.grad = None
        forward().sum().backward()

    return both_ways


def main() -> None:
    """Print both kinds as Markdown."""
    # Children first, while this process is small.
    peaks = {(kind, form): run_command(python(__file__, kind, form)) for kind in KINDS for form in FORMS}
    for kind in KINDS:
        print(measure(kind, {form: peaks[kind, form] for form in FORMS}))


def measure(kind: str, peaks: dict[str, Run]) -> str:
    """Time both forms of a kind in turn."""
    taken = functions_in_turn({form: make(kind, form) for form in ("low-rank", "dense")}, runs=RUNS)
    lines = []
    for form, title in FORMS.items():
        time_columns = ["", ""]
        if form in taken:
            seconds = taken[form]
            spread = f"{median(seconds) * 1e3:.1f} ({min(seconds) * 1e3:.1f} to {max(seconds) * 1e3:.1f})"
            time_columns = [spread, f"{ratio_of(taken, 'dense', form):.1f}"]
        beyond = (peaks[form].peak_bytes - peaks["nothing"].peak_bytes) / 1e6
        lines.append([title, *time_columns, f"{peaks[form].peak_bytes / 1e6:.0f}", f"{beyond:.0f}"])
    head = [
        "form",
        "milliseconds, median (range)",
        "times faster than dense",
        "peak memory, MB",
        "beyond the batch, MB",
    ]
    title = (
        f"**Bilinear interdependence, {kind}: batch {ROWS} x {COLUMNS} float32, {KINDS[kind]} of rank {RANK}**, "
        f"forward and backward, {RUNS} runs of each in turn"
    )
    return f"{title}\n\n{table(head, lines)}\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make(*sys.argv[1:])()
    else:
        main()
