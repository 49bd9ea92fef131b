"""Initializers of tables. Each fills (rows, *shape) in place and returns it; complex tables come as pairs.

As those of torch.nn.init they fill parameters too, past the gradient.

Source: the formulas of PyKEEN's documentation of its initializers; for xavier, Glorot & Bengio, Understanding the
difficulty of training deep feedforward neural networks (2010), equation 16, with the entries of a row as fan-in and
fan-out.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Generator, Tensor

from embcompress.nn.constrainers import as_pairs, normalize, plain_name
from embcompress.nn.pykeen import load_pykeen

Initializer = Callable[..., Tensor]
CLASS_SUFFIX = "initializer"  # ends the names of PyKEEN's classes of initializers, and of no function


@torch.no_grad()
def xavier_uniform(x: Tensor, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from U(-a, a) with a = gain * sqrt(6 / f), f the entries of a row."""
    bound = gain * math.sqrt(6 / _row_size(x))
    return x.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def xavier_normal(x: Tensor, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from N(0, gain^2 * 2 / f), f the entries of a row."""
    return x.normal_(0, gain * math.sqrt(2 / _row_size(x)), generator=generator)


@torch.no_grad()
def xavier_uniform_norm(x: Tensor, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw as xavier_uniform, then scale each row to unit L2 norm."""
    return _normalized(xavier_uniform(x, gain=gain, generator=generator))


@torch.no_grad()
def xavier_normal_norm(x: Tensor, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw as xavier_normal, then scale each row to unit L2 norm."""
    return _normalized(xavier_normal(x, gain=gain, generator=generator))


@torch.no_grad()
def normal(x: Tensor, *, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from N(mean, std^2)."""
    return x.normal_(mean, std, generator=generator)


@torch.no_grad()
def normal_norm(x: Tensor, *, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from N(mean, std^2), then scale each row to unit L2 norm."""
    return _normalized(normal(x, mean=mean, std=std, generator=generator))


@torch.no_grad()
def uniform(x: Tensor, *, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from U(a, b)."""
    return x.uniform_(a, b, generator=generator)


@torch.no_grad()
def uniform_norm(
    x: Tensor, *, a: float = 0.0, b: float = 1.0, p: float = 2.0, generator: Generator | None = None
) -> Tensor:
    """Draw from U(a, b), then scale each row to unit norm of order p."""
    return _normalized(uniform(x, a=a, b=b, generator=generator), p=p)


@torch.no_grad()
def uniform_norm_p1(x: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Draw from U(0, 1), then scale each row to unit L1 norm: how low-rank weights start."""
    return uniform_norm(x, p=1.0, generator=generator)


@torch.no_grad()
def init_phases(x: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Draw unit complex numbers exp(i phi) with phi from U(0, 2 pi), as (cos, sin) pairs in the last axis.

    Raises:
        ValueError: the last axis holds no pairs.
    """
    pairs = as_pairs(x)  # (rows, ..., n, 2), the same memory
    phases = torch.empty_like(pairs[..., 0]).uniform_(0, 2 * math.pi, generator=generator)
    pairs.copy_(torch.stack([phases.cos(), phases.sin()], dim=-1))
    return x


@torch.no_grad()
def init_quaternions(x: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Draw quaternions m (cos phi, u sin phi): m from U(-s, s), s = 1 / sqrt(2 rows), phi from U(0, 2 pi), |u| = 1.

    The axis u is drawn from U(0, 1) in each direction and scaled to unit length.

    Args:
        x: (rows, ..., 4).
        generator: makes the draws repeatable.

    Raises:
        ValueError: the last axis holds no four numbers, or is the only one.

    Source: Zhang et al., Quaternion knowledge graph embeddings (2019), section 4.4, with PyKEEN's scale.
    """
    if x.ndim < 2 or x.shape[-1] != 4:
        raise ValueError(f"quaternions are four numbers in the last axis; got a table of shape {tuple(x.shape)}.")
    scale = (2 * math.prod(x.shape[:-2])) ** -0.5
    modulus, phase = torch.empty_like(x[..., 0]), torch.empty_like(x[..., 0])
    modulus.uniform_(-scale, scale, generator=generator)
    phase.uniform_(0, 2 * math.pi, generator=generator)
    axis = normalize(torch.empty_like(x[..., 1:]).uniform_(generator=generator), dim=-1)
    x[..., 0] = modulus * phase.cos()
    x[..., 1:] = axis * (modulus * phase.sin()).unsqueeze(-1)
    return x


@torch.no_grad()
def normal_columns(x: Tensor, *, mean: Tensor, deviation: Tensor, generator: Generator | None = None) -> Tensor:
    """Draw each column from a normal distribution of its own; `mean` and `deviation` have the entries of a row."""
    x.normal_(generator=generator)
    return x.mul_(deviation.to(x).view(x.shape[1:])).add_(mean.to(x).view(x.shape[1:]))


@torch.no_grad()
def pretrained(x: Tensor, *, tensor: Tensor) -> Tensor:
    """Copy given values (rows, *shape); complex ones fill a table of (re, im) pairs.

    Raises:
        ValueError: the table has another shape.
    """
    values = tensor.detach()
    values = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    if values.shape != x.shape:
        raise ValueError(f"the table has shape {tuple(x.shape)}, the values given {tuple(values.shape)}.")
    return x.copy_(values)


def as_given(x: Tensor) -> Tensor:
    """Leave the table as it is: its values were given, and there is nothing to draw them from again."""
    return x


INITIALIZERS: Mapping[str, Initializer] = MappingProxyType(
    {
        "xavier_uniform": xavier_uniform,
        "xavier_uniform_norm": xavier_uniform_norm,
        "xavier_normal": xavier_normal,
        "xavier_normal_norm": xavier_normal_norm,
        "normal": normal,
        "normal_norm": normal_norm,
        "uniform": uniform,
        "uniform_norm": uniform_norm,
        "uniform_norm_p1": uniform_norm_p1,
        "init_phases": init_phases,
        "init_quaternions": init_quaternions,
        "pretrained": pretrained,
    }
)


# Ours, and those of torch.nn.init that PyKEEN's resolver has as well, without the trailing underscore.
_BY_NAME = {plain_name(name): function for name, function in INITIALIZERS.items()} | {
    plain_name(name): function
    for name, function in vars(torch.nn.init).items()
    if name.endswith("_") and not name.startswith("_") and plain_name(name) not in map(plain_name, INITIALIZERS)
}


def initializer_by_name(name: str) -> Initializer:
    """Find an initializer: one of INITIALIZERS, else one of torch.nn.init's; case and separators do not matter.

    Raises:
        ValueError: neither has one of this name.
    """
    function: Initializer | None = _BY_NAME.get(plain_name(name))
    if function is None:
        raise ValueError(f"no initializer is called {name!r}; there are {', '.join(INITIALIZERS)} and torch.nn.init's.")
    return function


def make_initializer(
    given: str | Initializer | type, kwargs: Mapping[str, Any] | None
) -> tuple[Initializer, dict[str, Any]]:
    """Find an initializer, and the arguments that it takes beside the table.

    Args:
        given: a name of a function; a function of the table; or a class of such functions or, where PyKEEN is
            installed, the name of one of its module `init`, such as "PretrainedInitializer".
        kwargs: of the function, or of the class, which is made here.

    Raises:
        ValueError: nothing has this name.
        OutputError: the name of a class, and PyKEEN is not installed.
    """
    if isinstance(given, str):
        is_class = plain_name(given).endswith(CLASS_SUFFIX) and plain_name(given) not in _BY_NAME
        given = _class_of(given) if is_class else initializer_by_name(given)
    if isinstance(given, type):
        return given(**(kwargs or {})), {}
    return given, dict(kwargs or {})


def _class_of(name: str) -> type:
    module = load_pykeen("pykeen.nn.init", what=f"the initializer {name!r}")
    classes = {
        plain_name(other): cls
        for other, cls in vars(module).items()
        if isinstance(cls, type) and plain_name(other).endswith(CLASS_SUFFIX)
    }
    if plain_name(name) not in classes:
        names = ", ".join(sorted(cls.__name__ for cls in classes.values()))
        raise ValueError(f"no initializer is called {name!r}; PyKEEN's classes are {names}.")
    return classes[plain_name(name)]


@torch.no_grad()
def fill(
    table: Tensor, initializer: str | Initializer, kwargs: Mapping[str, Any], *, generator: Generator | None = None
) -> None:
    """Fill a table (rows, *shape), complex ones as pairs, by an initializer that need not work in place.

    Args:
        table: a contiguous tensor or a view of it.
        initializer: a name, or a function of the table.
        kwargs: passed on to it.
        generator: passed on where the initializer takes one.

    Raises:
        TypeError: a generator for an initializer that takes none.
        ValueError: values of another shape.
    """
    function = initializer_by_name(initializer) if isinstance(initializer, str) else initializer
    given = dict(kwargs)
    if generator is not None and function not in (pretrained, as_given):
        if not _takes_generator(function):
            raise TypeError(f"initializer {getattr(function, '__name__', function)!r} takes no generator.")
        given["generator"] = generator
    started = function(table, **given)
    if started is table:
        return
    started = torch.view_as_real(started.resolve_conj()) if started.is_complex() else started
    if started.shape != table.shape:
        raise ValueError(f"the initializer made shape {tuple(started.shape)} of a table {tuple(table.shape)}.")
    table.copy_(started)


def _takes_generator(function: Initializer) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin
        return False
    return any(parameter.name == "generator" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _row_size(x: Tensor) -> int:
    return math.prod(x.shape[1:])


def _normalized(x: Tensor, *, p: float = 2.0) -> Tensor:
    return x.copy_(normalize(x, p=p))
