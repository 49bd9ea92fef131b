"""Importing PyKEEN, an extra, and keeping it quiet."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from embcompress.exceptions import OutputError

LOGGERS = ("pykeen", "torch_max_mem")


def load_pykeen(module: str) -> Any:
    """Import a module of PyKEEN, without a word on stderr.

    The first import makes PyKEEN's empty folders, in ~/.data/pykeen with a README above, or where PYKEEN_HOME says.

    Raises:
        OutputError: PyKEEN is not installed, or its folders cannot be made.
    """
    try:
        is_there = importlib.util.find_spec("pykeen") is not None
    except ValueError:  # put in place by hand, without a spec
        is_there = True
    if not is_there:
        raise OutputError(
            "link prediction needs PyKEEN, which is not installed.",
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
