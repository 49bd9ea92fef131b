"""Measures of a table and its reconstruction, row by row in float64: what the numerics are held to."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embcompress.linalg.neighbours import NEAREST

# Relative: scores nearer than this are equal; float64 rounding stays below 1e-13.
TIED = 1e-9


def nearest_rank(values: Tensor, share: float) -> float:
    """Find the smallest value that at least `share` of the values do not exceed."""
    return float(values.sort().values[max(1, math.ceil(share * len(values))) - 1])


def dense_measures(values: Tensor, reconstructed: Tensor) -> tuple[Tensor, Tensor]:
    """Compute row by row in float64: errors relative to the row, and 1 - cosine; zero rows by their conventions."""
    exact, other = values.double(), reconstructed.double()
    relatives, distances = [], []
    for row, image in zip(exact, other, strict=True):
        norm, size, error = float(row.norm()), float(image.norm()), float((image - row).norm())
        relatives.append(error / norm if norm else float(error > 0))
        # |a/|a| - b/|b||^2 / 2, which does not cancel where a and b are nearly parallel
        distance = float((row / norm - image / size).square().sum()) / 2 if norm and size else float(norm != size)
        distances.append(distance)
    return torch.tensor(relatives, dtype=torch.float64), torch.tensor(distances, dtype=torch.float64)


def dense_nearest(values: Tensor, ids: Tensor, *, by_cosine: bool, nearest: int = NEAREST) -> Tensor:
    """Rank all rows in float64 by scores to nine digits and then by id, (queries, nearest)."""
    exact = values.to(torch.float64)
    lengths = exact.norm(dim=1)
    unit = torch.where(lengths[:, None] > 0, exact / lengths[:, None], 0.0)
    scores = (unit if by_cosine else exact) @ unit[ids].T  # (rows, queries)
    step = TIED * (torch.ones(len(ids)) if by_cosine else scores.abs().amax(dim=0))
    scores = torch.where(step > 0, (scores / step.clamp_min(1e-300)).round(), 0.0)
    scores[ids, torch.arange(len(ids))] = -torch.inf
    return scores.sort(dim=0, descending=True, stable=True).indices[:nearest].T


def dense_overlap(values: Tensor, stored: Tensor, ids: Tensor, *, by_cosine: bool) -> Tensor:
    """Compute the share of the nearest rows that stay of each query, (queries,) float64."""
    nearest = min(NEAREST, len(values) - 1)
    pairs = zip(
        dense_nearest(values, ids, by_cosine=by_cosine, nearest=nearest).tolist(),
        dense_nearest(stored, ids, by_cosine=by_cosine, nearest=nearest).tolist(),
        strict=True,
    )
    return torch.tensor([len(set(before) & set(after)) / nearest for before, after in pairs], dtype=torch.float64)
