"""Profiles: groups of rows that each have their own center and deviations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from embcompress.coding.fit import CENTER_STEPS, Fit, classes_at, inverse_squares, profile_bits, squared_scales
from embcompress.coding.statistics import Statistics

# Rows of a table for each profile, and of the sample at least; fewer tell too little of it.
PROFILE_ROWS = 300
PROFILE_ROWS_MIN = 24
PROFILE_ROUNDS = 12
PROFILE_START = 0.7
# A profile's deviations are drawn to those of the table as if so many of its rows had these.
PROFILE_TRUST = 30


def fit_profiles(fit: Fit, statistics: Statistics, count: int) -> Fit:
    """Put rows in so many groups of their own center and deviations, so that they take fewer bits.

    Rows and groups are fitted to each other in turns, as in k-means, with the bits of a row in place of its distance.
    Goes over the sample PROFILE_ROUNDS times; holds (sample rows, count) numbers.
    """
    draw = np.random.default_rng(0)
    is_used = (statistics.sample != 0).any(dim=1)
    weights = fit.project(statistics.sample[is_used])
    exact = weights.to(torch.float64).numpy()
    rows, step, common = len(exact), fit.step, fit.deviations[0]
    count = min(count, rows // PROFILE_ROWS_MIN)
    if count < 2:
        return fit
    share = statistics.rows / len(statistics.sample)
    counted = None if statistics.sample_weights is None else statistics.sample_weights[is_used.numpy()]
    deviations = np.repeat(common[None], count, axis=0)
    chances = np.full(count, 1 / count)
    # Drawn rows, a little nearer to the middle than they are.
    centers = (exact[draw.choice(rows, count, replace=False)] * PROFILE_START).astype(np.float32)
    numbers, center_step = np.zeros(centers.shape, np.int64), 0.0
    for _ in range(PROFILE_ROUNDS):
        shares = np.stack([inverse_squares(spreads, step) for spreads in deviations])
        squares = squared_scales(weights, centers, shares)
        owners = profile_bits(squares, shares, deviations, chances, step).argmin(dim=1).numpy()
        scales = np.sqrt(np.maximum(squares.numpy()[np.arange(rows), owners], 1e-12))
        counts = np.bincount(owners, minlength=count)
        chances = np.maximum(counts, 0.5) / rows
        center_step = float(np.float32(step * min(1.0, CENTER_STEPS / math.sqrt(max(1.0, share * rows / count)))))
        for profile in range(count):
            if counts[profile] < PROFILE_ROWS_MIN:
                # Few rows tell little: it starts anew at a row that takes many bits.
                centers[profile] = exact[draw.integers(rows)] * PROFILE_START
                deviations[profile] = common
                continue
            member = owners == profile
            group, trust = exact[member], 1 / scales[member] ** 2
            trust = trust if counted is None else trust * np.maximum(counted[member], 1e-12)
            means = (group * trust[:, None]).sum(axis=0) / trust.sum()
            spread = np.square(group - means).mean(axis=0)
            # A mean that is no more than chance is none.
            pays = counts[profile] * share * np.log2(1 + means**2 / np.maximum(spread, step**2 / 4)) > 2 * (
                2 + 2 * np.log2(1 + np.abs(means) / center_step)
            )
            numbers[profile] = np.where(pays, np.clip(np.rint(means / center_step), -(2**20), 2**20), 0)
            centers[profile] = numbers[profile] * center_step
            normal = np.square((group - centers[profile]) / scales[member][:, None]).sum(axis=0)
            prior = (
                PROFILE_TRUST * common**2 * float(np.median(normal / np.maximum(common**2, 1e-150))) / counts[profile]
            )
            deviations[profile] = np.sqrt((normal + prior) / (counts[profile] + PROFILE_TRUST))
    numbers[counts < PROFILE_ROWS_MIN] = 0
    large = np.flatnonzero(counts >= PROFILE_ROWS_MIN)
    codebook = replace(
        fit.codebook,
        classes=classes_at(deviations[large], step),
        center_numbers=numbers[large],
        center_step=center_step,
    )
    return replace(fit, codebook=codebook, deviations=deviations[large], chances=chances[large])
