"""Regularizers of rows: objects that are shown the rows of every lookup, or names of PyKEEN's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embcompress.nn.pykeen import load_pykeen


def make_regularizer(given: Any, kwargs: Mapping[str, Any] | None) -> Any:
    """Make a regularizer of a name or a class, or pass one through that is made already.

    Args:
        given: an object with `update(rows)`, a class of such objects, a name of one of PyKEEN's, as its resolver takes
            them ("lp", "LpRegularizer"), or None.
        kwargs: of its constructor.

    Raises:
        OutputError: a name, and PyKEEN is not installed.
        ValueError: nothing has this name, or arguments for what takes none.
        TypeError: it has no `update`, or its constructor does not take the arguments.
    """
    if given is None or not isinstance(given, str | type):
        if kwargs:
            what = "no regularizer" if given is None else f"a {type(given).__name__} that is made already"
            raise ValueError(f"{what} takes no arguments; got {', '.join(kwargs)}.")
        regularizer = given
    else:
        regularizer = (_class_of(given) if isinstance(given, str) else given)(**(kwargs or {}))
    if regularizer is not None and not callable(getattr(regularizer, "update", None)):
        raise TypeError(f"a regularizer has a method update(rows); got {regularizer!r}, which has none.")
    return regularizer


def _class_of(name: str) -> Any:
    resolver = load_pykeen("pykeen.regularizers", what=f"the regularizer {name!r}, given by name,").regularizer_resolver
    try:
        return resolver.lookup(name)
    except KeyError as err:
        raise ValueError(
            f"no regularizer is called {name!r}; there are {', '.join(sorted(resolver.options))}."
        ) from err
