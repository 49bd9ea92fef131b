"""The least error at a number of bits: the rate-distortion bound of a Gaussian source."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embcompress.linalg.exact import Factorization
from embcompress.results import CodedReport

HALVINGS = 100


def gaussian_bound(squares: Tensor, bits: float, *, counts: Tensor | None = None) -> float:
    """Compute the least relative error of rows drawn from a Gaussian with given variances, coded in `bits` a row.

    Reverse water-filling: every component is left with the same squared error, the water level, or with all of its
    variance where that is less. Real rows differ in norm, which a coder can make use of: it may come below.

    Args:
        squares: (columns,) squared singular values, or variances in any unit.
        bits: of a row.
        counts: (columns,) how many columns there are of each variance; default: one.

    Source: Cover & Thomas, Elements of Information Theory, 2nd ed., theorem 10.3.3.

    Example:
        >>> gaussian_bound(torch.ones(4), 8.0)
        0.25
    """
    is_used = (squares > 0).cpu()
    variances = squares.to("cpu", torch.float64)[is_used]
    shares = torch.ones_like(variances) if counts is None else counts.to("cpu", torch.float64)[is_used]
    if not len(variances):
        return 0.0
    # Of the level's logarithm: at the first too many bits, at the last no bit.
    low, high = -1100.0, math.log2(float(variances.max()))
    logs = variances.log2()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if float(shares.dot((logs - middle).clamp_min(0))) / 2 > bits:
            low = middle
        else:
            high = middle
    return float((shares.dot(variances.clamp_max(2.0**high)) / shares.dot(variances)).sqrt())


def coded_report(
    factors: Factorization | None,
    *,
    rows: int,
    dim: int,
    nbytes: int,
    kinds: int,
    is_rotated: bool,
    states: int | None,
    predicted_relative: float | None = None,
) -> CodedReport:
    """Say how the weights of a table are stored as codes, beside the bound at the same bytes.

    Args:
        factors: of the rows counted alike, for the bound; None where they are not known.
        rows: of the table.
        dim: entries of a row; a complex one counts real and imaginary parts.
        nbytes: of all that the table is stored as.
        kinds: of rows, by their scale.
        is_rotated: whether there are bases.
        states: of the trellis; None for codes of schema 1.
        predicted_relative: the error that was expected; None where nothing was.
    """
    bits, bound = nbytes * 8 / rows, None
    if factors is not None and len(factors.singular_values) == min(rows, dim):
        bound = gaussian_bound(factors.singular_values.square(), bits)
    return CodedReport(
        row_kinds=kinds,
        is_rotated=is_rotated,
        trellis_states=states,
        bits_per_entry=bits / dim,
        bound_relative=bound,
        predicted_relative=predicted_relative,
    )
