"""PyKEEN, an extra: imported late and quietly, and told of our representations once it is there."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import warnings
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from embcompress.exceptions import OutputError

LOGGERS = ("pykeen", "torch_max_mem")
REPRESENTATIONS_MODULE = "pykeen.nn"  # holds the base class of PyKEEN's representations and the resolver of their names
NAME_PREFIX = "embcompress."  # of our names in PyKEEN's resolver, which has its own "LowRank"


def load_pykeen(module: str, *, what: str = "link prediction") -> Any:
    """Import a module of PyKEEN, without a word on stderr.

    The first import makes PyKEEN's empty folders, in ~/.data/pykeen with a README above, or where PYKEEN_HOME says.

    Args:
        module: its dotted name.
        what: needs PyKEEN, for the message.

    Raises:
        OutputError: PyKEEN is not installed, or its folders cannot be made.
    """
    try:
        is_there = importlib.util.find_spec("pykeen") is not None
    except ValueError:  # put in place by hand, without a spec
        is_there = True
    if not is_there:
        raise OutputError(
            f"{what} needs PyKEEN, which is not installed.",
            hint="Install it: pip install 'embcompress[pykeen]'",
        )
    try:
        with quiet():
            return importlib.import_module(module)
    except OSError as err:
        raise OutputError(
            f"PyKEEN cannot make its folders: {err}.", hint="Set PYKEEN_HOME to a folder that can be written."
        ) from err
    except ImportError as err:
        raise OutputError(
            f"PyKEEN cannot be imported: {err}.", hint="Install it again: pip install 'embcompress[pykeen]'"
        ) from err


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of PyKEEN and of what it stands on from stderr; errors still show."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def join_pykeen(base: type, classes: Mapping[str, type]) -> None:
    """Make our classes representations to PyKEEN, now or right after it is imported.

    PyKEEN takes only subclasses of its own base class, and importing it takes seconds that most users of a table need
    not spend. So ours become virtual subclasses, as abc has them, and join its resolver as synonyms.

    Args:
        base: whose subclasses all are representations.
        classes: by the names under which the resolver finds them, after `NAME_PREFIX`.
    """

    def join(package: ModuleType) -> None:
        their_base, resolver = (
            getattr(package, "Representation", None),
            getattr(package, "representation_resolver", None),
        )
        if not isinstance(their_base, ABCMeta) or resolver is None:
            return  # a stand-in, or a release of another shape: nothing of it is needed to use our modules alone
        their_base.register(base)
        for name, cls in classes.items():
            resolver.synonyms.setdefault(resolver.normalize(NAME_PREFIX + name), cls)

    when_imported(REPRESENTATIONS_MODULE, join)


def when_imported(name: str, then: Callable[[ModuleType], None]) -> None:
    """Call a function with a module: now if it is imported already, else once, right after it is."""
    if (module := sys.modules.get(name)) is not None:
        then(module)
    else:
        sys.meta_path.insert(0, _AfterImport(name, then))


class _AfterImport(MetaPathFinder):
    """A finder that finds nothing itself, and calls a function once, after a module has run.

    Args:
        name: of the module.
        then: called with the module.
    """

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find the module, and follow its loader."""
        if fullname != self.name:
            return None
        after = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else []
        specs = (finder.find_spec(fullname, path, target) for finder in after)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)  # one that fails may be imported again, so that this finder stays
            # A loader of a zip file is that of all its modules.
            if module.__name__ == self.name and self in sys.meta_path:
                sys.meta_path.remove(self)
                self.then(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
