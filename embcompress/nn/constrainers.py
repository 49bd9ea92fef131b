"""Constraints on rows, for a step of the optimizer or for every lookup. Norms are of one row, over all its axes.

Source: the formulas of PyKEEN's documentation of normalize, complex_normalize, clamp and clamp_norm; there norms run
over
`dim=1`, which is no row where ids have two axes, rows several, or entries are complex.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

EPS = 1e-12  # the least norm that is divided by, as in torch.nn.functional.normalize

Axes = int | tuple[int, ...]
RowFunction = Callable[..., Tensor]


def normalize(x: Tensor, *, p: float = 2.0, dim: Axes | None = None, eps: float = EPS) -> Tensor:
    """Scale each row to unit norm: x / max(|x|_p, eps).

    Args:
        x: (rows, *shape), real or complex.
        p: order of the norm; of complex rows that of the moduli.
        dim: the axes of a row; default: all but the first.
        eps: the least norm that is divided by.

    Example:
        >>> normalize(torch.tensor([[3.0, 4.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    norms = row_norms(x, p=p, dim=dim)
    return (x / norms.clamp_min(max(eps, torch.finfo(norms.dtype).tiny))).to(x.dtype)


def complex_normalize(x: Tensor, *, eps: float | None = None) -> Tensor:
    """Scale each complex entry to unit modulus: z / max(|z|, eps).

    Args:
        x: complex, or real with (re, im) interleaved in the last axis.
        eps: the least modulus that is divided by; default: the rounding of the dtype.

    Raises:
        ValueError: real, and the last axis holds no pairs.
    """
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    if x.is_complex():
        return x / x.abs().clamp_min(eps)
    pairs = as_pairs(x)
    return (pairs / row_norms(pairs, dim=-1).clamp_min(eps)).to(x.dtype).flatten(-2)


def clamp(x: Tensor, *, min: float | None = None, max: float | None = None) -> Tensor:  # noqa: A002
    """Limit each entry of a real table.

    Raises:
        ValueError: neither bound is given, they cross, or the table is complex, whose entries have no order.
    """
    if min is None and max is None:
        raise ValueError("clamp needs min, max or both.")
    if min is not None and max is not None and min > max:
        raise ValueError(f"min={min} is above max={max}.")
    if x.is_complex():
        raise ValueError("complex entries have no order to clamp by; use clamp_norm or complex_normalize.")
    return x.clamp(min, max)


def clamp_norm(x: Tensor, *, maxnorm: float, p: float | str = 2.0, dim: Axes | None = None) -> Tensor:
    """Scale down each row whose norm is above `maxnorm`; the others stay as they are, to the bit.

    Args:
        x: (rows, *shape), real or complex.
        maxnorm: the largest norm of a row, above 0.
        p: order of the norm, or "fro", which is 2.
        dim: the axes of a row; default: all but the first.

    Raises:
        ValueError: maxnorm is not above 0.
    """
    if not maxnorm > 0:
        raise ValueError(f"maxnorm must be above 0; got {maxnorm}.")
    if maxnorm == math.inf:
        return x
    norms = row_norms(x, p=p, dim=dim)
    return torch.where(norms > maxnorm, (x * (maxnorm / norms.clamp_min(maxnorm))).to(x.dtype), x)


CONSTRAINERS: Mapping[str, RowFunction] = MappingProxyType(
    {"normalize": normalize, "complex_normalize": complex_normalize, "clamp": clamp, "clamp_norm": clamp_norm}
)


def softmax(x: Tensor, *, dim: Axes | None = None) -> Tensor:
    """Make the entries of each row positive, with sum 1: exp(x) / sum exp(x).

    Args:
        x: (rows, *shape), real.
        dim: the axes of a row; default: all but the first.

    Raises:
        ValueError: complex rows.
    """
    if x.is_complex():
        raise ValueError("complex entries have no softmax.")
    axes = tuple(range(1, x.ndim)) if dim is None else dim
    if axes == ():  # torch would sum over all rows
        return torch.ones_like(x)
    return (x - torch.logsumexp(x, dim=axes, keepdim=True)).exp()


NORMALIZERS: Mapping[str, RowFunction] = MappingProxyType({**CONSTRAINERS, "softmax": softmax})  # of lookups


def row_norms(x: Tensor, *, p: float | str = 2.0, dim: Axes | None = None) -> Tensor:
    """Compute the norm of each row, real, with the axes of a row kept at size 1; a row of no axes is an entry.

    Half precision cannot hold the L1 norm of 300 entries of 300: those norms are in float32.
    """
    axes = tuple(range(1, x.ndim)) if dim is None else dim
    if axes == ():
        return x.abs()
    order = 2.0 if p == "fro" else p
    wide = torch.float32 if x.dtype in {torch.float16, torch.bfloat16} else None
    norms: Tensor = torch.linalg.vector_norm(x, ord=order, dim=axes, keepdim=True, dtype=wide)
    return norms


def as_pairs(x: Tensor) -> Tensor:
    """View a real table (..., 2n) with (re, im) interleaved in its last axis as (..., n, 2).

    Raises:
        ValueError: the last axis has an odd size, or there is none.
    """
    if not x.ndim or x.shape[-1] % 2:
        raise ValueError(f"a real table of shape {tuple(x.shape)} holds no (re, im) pairs in its last axis.")
    return x.view(*x.shape[:-1], x.shape[-1] // 2, 2)


def plain_name(name: str) -> str:
    """Reduce a name to what tells it from others, as PyKEEN's resolvers do: no case, no separators."""
    return "".join(filter(str.isalnum, name)).lower()


def row_function(
    given: str | RowFunction | None,
    kwargs: Mapping[str, Any] | None,
    *,
    axes: int,
    functions: Mapping[str, RowFunction] = CONSTRAINERS,
) -> RowFunction | None:
    """Find a function of rows by name, and bind its arguments, for rows that are the last `axes` axes.

    Args:
        given: a name, a function of (rows, **kwargs), or None.
        kwargs: bound to it.
        axes: how many axes a row has.
        functions: those that names stand for; case and separators do not matter.

    Raises:
        ValueError: no constrainer has this name.
        TypeError: arguments that it does not take.
    """
    if given is None:
        if kwargs:
            raise ValueError(f"arguments without a function that takes them: {', '.join(kwargs)}.")
        return None
    if isinstance(given, str):
        by_name = {plain_name(name): function for name, function in functions.items()}
        if plain_name(given) not in by_name:
            kind = "constrainer" if functions is CONSTRAINERS else "normalizer"
            raise ValueError(f"no {kind} is called {given!r}; there are {', '.join(functions)}.")
        given = by_name[plain_name(given)]
    bound = dict(kwargs or {})
    if given in (normalize, clamp_norm, softmax):
        bound.setdefault("dim", tuple(range(-axes, 0)))
    if given in NORMALIZERS.values():
        inspect.signature(given).bind(None, **bound)  # a wrong argument is told now, not in the middle of a training
    return partial(given, **bound) if bound else given
