"""Fixtures that the tests beside PyKEEN share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def fast_epochs() -> Iterator[None]:
    """Take what is alive out of garbage collection: PyKEEN collects after every epoch, which was 9/10 of its time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def nations() -> Any:
    """Read the Nations triples that come inside PyKEEN."""
    return pytest.importorskip(
        "pykeen.datasets", reason="PyKEEN is not installed: pip install -e '.[pykeen]'"
    ).Nations()
