"""Train the trellis levels that embcompress ships: writes embcompress/coding/trained_levels.py, a few minutes long.

For each number of bits, levels start as shuffled quantiles of a normal distribution (Lloyd-Max levels from 6 bits on).
Normal samples are encoded, each level moves to the mean of what fell on it, and so on; noise that fades away helps out
of poor starts. Of several shuffles the best on samples that were not trained on is kept.
"""

from __future__ import annotations

import base64
import textwrap
from pathlib import Path

import torch
from torch import Tensor

from embcompress.coding.constants import HALF_BIT
from embcompress.coding.levels import code_alike
from embcompress.coding.scalar import lloyd_max
from embcompress.coding.trellis import STATES

TARGET = Path(__file__).parents[1] / "embcompress" / "coding" / "trained_levels.py"
ROWS, COLUMNS = 2000, 256  # samples of one iteration
ITERATIONS = 500
STARTS = 3
QUIET_SHARE = 0.3  # of the iterations at the end that go without noise
FEW = 3  # a level on which fewer samples fell stays where it is
CODES = (HALF_BIT, *range(1, 8))  # with 8 bits the window is the column's own, and Lloyd-Max levels serve
LLOYD_FROM = 6
SAMPLES = 2**21


def noise_of(code: int) -> float:
    """Tell the deviation of the first iteration's noise."""
    if code == HALF_BIT:
        return 0.2
    return (1.0 if code >= LLOYD_FROM else 0.5) * 2.0**-code


def start_of(code: int, normal: Tensor, *, seed: int) -> Tensor:
    """Make levels to start from: (STATES,), for half a bit (2 * STATES,)."""
    generator = torch.Generator().manual_seed(seed)
    if code == HALF_BIT:
        return 0.7 * torch.randn(2 * STATES, generator=generator)
    if code >= LLOYD_FROM:
        return lloyd_max(normal, 1 << code).repeat(STATES >> code)
    quantiles = torch.special.ndtri((torch.arange(STATES, dtype=torch.float64) + 0.5) / STATES).float()
    return quantiles[torch.randperm(STATES, generator=generator)]


def train(code: int, levels: Tensor, *, seed: int) -> Tensor:
    """Train levels from a start."""
    generator = torch.Generator().manual_seed(seed)
    for iteration in range(ITERATIONS):
        values = torch.randn(ROWS, COLUMNS, generator=generator)
        found = code_alike(values, code, levels)
        states = found.numbers.flatten().long()
        counts = torch.bincount(states, minlength=len(levels))
        sums = torch.bincount(states, values.flatten().double(), minlength=len(levels))
        levels = torch.where(counts > FEW, (sums / counts.clamp_min(1)).float(), levels)
        noise = noise_of(code) * (1 - iteration / (ITERATIONS * (1 - QUIET_SHARE)))
        if noise > 0:
            levels = levels + noise * torch.randn(len(levels), generator=generator)
    return levels.half().float()


def main() -> None:
    """Train all levels, print their errors and write the module."""
    tested = torch.randn(4000, 512, generator=torch.Generator().manual_seed(9))
    normal = torch.randn(SAMPLES, generator=torch.Generator().manual_seed(8))
    blocks, errors = [], {}
    for code in CODES:
        bits = 0.5 if code == HALF_BIT else code
        found = []
        for seed in range(STARTS):
            levels = train(code, start_of(code, normal, seed=seed), seed=100 + seed)
            found.append((float(code_alike(tested, code, levels).errors.square().mean()), levels))
        error, levels = min(found, key=lambda pair: pair[0])
        errors[bits] = error
        print(f"{bits} bits: squared error {error:.3g}, bound {4.0**-bits:.3g}", flush=True)
        text = base64.b85encode(levels.half().numpy().tobytes()).decode()
        lines = "\n".join(f'        "{line}"' for line in textwrap.wrap(text, 100))
        blocks.append(f"    {code}: (\n{lines}\n    ),")
    TARGET.write_text(
        '"""Levels of the trellis, trained on normal samples by benchmarks/train_levels.py.\n\n'
        "For each number of bits (9: half a bit) 256 float16 numbers for each column, little-endian, in base 85.\n"
        "Their squared errors at unit variance:\n"
        + textwrap.fill(", ".join(f"{bits}: {error:.3g}" for bits, error in errors.items()), 110)
        + '.\n"""\n\nfrom __future__ import annotations\n\nLEVELS_IN_BASE_85 = {\n'
        + "\n".join(blocks)
        + "\n}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
