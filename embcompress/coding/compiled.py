"""The compiler of the hot loops, and the threads that run them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching

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
    dispatcher: Any = numba.njit(nogil=True, fastmath=fastmath)(function)
    # It fails where neither the package's folder nor a cache of the user's can be written.
    with suppress(RuntimeError):
        dispatcher._cache = _SourceCache(function)  # type: ignore[no-untyped-call]
    return dispatcher  # type: ignore[no-any-return]


@cache
def _digest(folder: Path) -> str:
    """Hash the modules of a folder: about a millisecond."""
    content = sha256()
    for path in sorted(folder.glob("*.py")):
        content.update(path.name.encode() + sha256(path.read_bytes()).digest())
    return content.hexdigest()


def _stamped(locator: Any) -> Any:
    class Stamped(locator):  # type: ignore[misc]
        def get_source_stamp(self) -> object:
            folders = (Path(self._py_file).parent, Path(__file__).parent)
            return super().get_source_stamp(), [_digest(folder) for folder in folders]

    return Stamped


class _Stamps(caching.CompileResultCacheImpl):
    _locator_classes = tuple(_stamped(locator) for locator in caching.CacheImpl._locator_classes)  # type: ignore[assignment]


class _SourceCache(caching.FunctionCache):
    """Machine code on disk, of the sources of all kernels: numba's own looks at the file of the function alone.

    Of what another module gives a kernel, such as `lanes` and its constants, it would keep what has changed.
    """

    _impl_class = _Stamps


def in_threads(tasks: list[Callable[[], None]], *, threads: int) -> None:
    """Run tasks over so many threads of Python: numba's own abort the process when two threads use them at once."""
    if min(threads, len(tasks)) <= 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(min(threads, len(tasks))) as pool:
        for _ in pool.map(lambda task: task(), tasks):
            pass
