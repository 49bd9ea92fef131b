"""How small an error can be at a number of bits: the rate-distortion bound of a Gaussian source."""

from __future__ import annotations

import math

import torch
from torch import Tensor

HALVINGS = 100


def gaussian_bound(squares: Tensor, bits: float) -> float:
    """Compute the least relative error of rows drawn from a Gaussian with given variances, coded in `bits` a row.

    Reverse water-filling: every component is left with the same squared error, the water level, or with all of its
    variance where that is less. Real rows differ in norm, which a coder can make use of: it may come below.

    Args:
        squares: (columns,) squared singular values, or variances in any unit.
        bits: of a row.

    Source: Cover & Thomas, Elements of Information Theory, 2nd ed., theorem 10.3.3.

    Example:
        >>> gaussian_bound(torch.ones(4), 8.0)
        0.25
    """
    variances = squares[squares > 0].to("cpu", torch.float64)
    if not len(variances):
        return 0.0
    low, high = -1100.0, math.log2(float(variances.max()))  # of the level's logarithm: too many bits, no bit
    logs = variances.log2()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if float((logs - middle).clamp_min(0).sum()) / 2 > bits:
            low = middle
        else:
            high = middle
    return float((variances.clamp_max(2.0**high).sum() / variances.sum()).sqrt())
