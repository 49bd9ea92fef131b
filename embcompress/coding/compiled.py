"""The compiler of the hot loops, and the threads that run them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])
# Of the C library, for compiled loops: from Python each call would take the interpreter's lock twice. pread takes
# descriptor, address, bytes and position; posix_fadvise, which not every system has, descriptor, position, bytes and
# advice.
PREAD: Any = numba.types.ExternalFunction("pread", numba.int64(numba.int32, numba.uintp, numba.uintp, numba.int64))
FADVISE: Any = numba.types.ExternalFunction(
    "posix_fadvise", numba.int32(numba.int32, numba.int64, numba.int64, numba.int32)
)


def compiled(function: Function) -> Function:
    """Compile without the interpreter's lock, and keep the machine code on disk where there is a place for it."""
    return _compile(function, fastmath=False)


def compiled_loosely(function: Function) -> Function:
    """Compile with sums in any order: what it decides need not be the same on every processor."""
    return _compile(function, fastmath=True)


def _compile(function: Function, *, fastmath: bool) -> Function:
    try:
        return numba.njit(nogil=True, fastmath=fastmath, cache=True)(function)  # type: ignore[return-value]
    except RuntimeError:
        # Neither the package's folder nor a cache of the user's can be written.
        return numba.njit(nogil=True, fastmath=fastmath)(function)  # type: ignore[return-value]


def in_threads(tasks: list[Callable[[], None]], *, threads: int) -> None:
    """Run tasks over so many threads of Python: numba's own abort the process when two threads use them at once."""
    if min(threads, len(tasks)) <= 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(min(threads, len(tasks))) as pool:
        for _ in pool.map(lambda task: task(), tasks):
            pass
