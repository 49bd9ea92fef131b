"""Codebooks with everything in them, for tests."""

from __future__ import annotations

import numpy as np

from embcompress.coding.codebook import Codebook
from embcompress.coding.read_kernels import PADDING


def make_codebook(*, rank: int, profiles: int, kinds: int, states: int = 8, steps: int = 3, seed: int = 0) -> Codebook:
    """Make a codebook of so many kinds beside that of zeros, all different, with centers, scales and steps."""
    draw = np.random.default_rng(seed)
    classes = np.sort(draw.integers(-16, 48, (profiles, rank)), axis=1)[:, ::-1].copy()
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < kinds:
        drawn[
            int(draw.integers(profiles)),
            int(draw.integers(-18, 19)),
            int(draw.integers(-8, 9)),
            int(draw.integers(steps)),
        ] = None
    own_profiles, shifts, scales, step_numbers = np.array([(0, 0, 0, 0), *drawn], np.int64).T.copy()
    return Codebook(
        states,
        rank,
        tuple(float(np.float32(0.1 * 1.7**number)) for number in range(steps)),
        own_profiles,
        shifts,
        scales,
        step_numbers,
        classes,
        draw.integers(-300, 300, (profiles, rank)),
        float(np.float32(0.003)),
    )


def pad(strings: np.ndarray) -> np.ndarray:
    """Put behind strings what the decoder may read."""
    return np.concatenate([strings, np.full(PADDING, 255, np.uint8)])
