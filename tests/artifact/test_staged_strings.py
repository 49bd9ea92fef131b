"""Strings that wait for their heads: on a full disk the failure is told as one of the output."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embcompress.artifact.staged_strings import StagedStrings
from embcompress.exceptions import OutputError


@pytest.fixture
def _full_disk() -> Iterator[None]:
    """Let no file of this process grow beyond 100,000 bytes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("_full_disk")
@pytest.mark.parametrize("size", [3000, 50_000])
def test_a_full_disk_is_an_error_of_the_output(size: int, tmp_path: Path) -> None:
    """Neither small strings, which are written later than they are taken, nor large ones fail by another error."""

    def stage() -> None:
        with StagedStrings(tmp_path) as staged:
            for _ in range(40):
                staged.append(np.zeros(size, np.uint8))

    with pytest.raises(OutputError, match=r"cannot be written: File too large"):
        stage()
