"""Machine code of kernels that is kept on disk."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from embcompress.coding import compiled

FIRST = """
from embcompress.coding.compiled import compiled
from {name} import STEP

@compiled
def add(number):
    return number + STEP
"""


def load(name: str, path: Path) -> ModuleType:
    """Run a module anew, as the next process would."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_compiled_sees_changes_of_the_other_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code on disk is used again, but not once a module beside the kernel's gives it another constant."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kernel, steps = tmp_path / "kernel_of_test.py", tmp_path / "steps_of_test.py"
    kernel.write_text(FIRST.format(name=steps.stem))
    results = []
    for step in (1, 1, 2):
        steps.write_text(f"STEP = {step}\n")
        # As an update may leave it.
        os.utime(steps, (0, 0))
        compiled._digest.cache_clear()
        monkeypatch.setitem(sys.modules, steps.stem, load(steps.stem, steps))
        add = load(kernel.stem, kernel).add
        results.append((add(40), sum(add.stats.cache_hits.values())))
    assert results == [(41, 0), (41, 1), (42, 0)]
