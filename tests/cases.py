"""Cases of one test that are too short to be tests of their own: collecting and reporting one takes milliseconds."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def for_each(
    names: str | tuple[str, ...], values: Iterable[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Call a test once for each value, as `parametrize` does, within one test; a failure tells the values.

    Only for tests that keep nothing between two calls: fixtures are set up once for all values.

    Args:
        names: of one argument, or of several that take a tuple each.
        values: of them.
    """
    known = tuple(values)
    assert known, "no cases"
    arguments = (names,) if isinstance(names, str) else names

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(**given: Any) -> None:
            for value in known:
                case = dict(zip(arguments, (value,) if isinstance(names, str) else value, strict=True))
                try:
                    test(**given, **case)
                # The last two end a test by themselves: one as a failure without the values, one with all later cases.
                except (Exception, pytest.fail.Exception, pytest.skip.Exception) as err:
                    raise AssertionError(f"for {case}: {err}") from err

        signature = inspect.signature(test)
        parameters = [one for name, one in signature.parameters.items() if name not in arguments]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        del run.__wrapped__  # pytest would ask it for its fixtures
        return run

    return decorate
