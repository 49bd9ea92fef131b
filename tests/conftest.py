"""Fixtures that every test may ask for."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads make a busy machine two hundred times slower
import pytest
import torch

import embcompress
from tests.fixtures import compress_sample, pair, small_pairs, small_results

__all__ = ["compress_sample", "pair", "small_pairs", "small_results"]

# Where bytecode is not kept, every run rewrites the asserts of all tests, and every child compiles the package again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Collecting makes millions of objects that stay, and to look through them again and again takes a third of its time.
gc.disable()
for _name in ("GITHUB_ACTIONS", "NO_COLOR", "FORCE_COLOR"):  # what the machine that runs the tests sets changes reports
    os.environ.pop(_name, None)


COMPILE = """
import sys, torch, embcompress
folder = sys.argv[1]
torch.save({"a_embedding": torch.randn(300, 16)}, folder + "/model.pt")
for options in ({}, {"seekable": True}, {"fixed_rows": True, "effort": "best"}):
    output = embcompress.approximate(folder + "/model.pt", ratio=6, force=True, **options).output.path
    embcompress.reconstruct(output, force=True)
    for resident in (True, False):
        embcompress.load(output, resident=resident)["a_embedding"](torch.arange(9))
"""


def pytest_configure(config: pytest.Config) -> None:
    """Compile the loops of coded weights once, while the workers collect: each would take ten seconds for it."""
    is_compiled = any(Path(embcompress.__file__).parent.glob("coding/__pycache__/search_kernels.*.nbi"))
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput") or is_compiled:
        return
    folder = tempfile.TemporaryDirectory()
    compiler = subprocess.Popen([sys.executable, "-c", COMPILE, folder.name], stdout=subprocess.DEVNULL)

    def finish() -> None:
        compiler.wait()
        folder.cleanup()

    config.add_cleanup(finish)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let more random files be read of each format than the suite has time for."""
    parser.addoption("--random-files", type=int, default=3, help="random files of each format, written by its library")


@pytest.fixture
def random_files(request: pytest.FixtureRequest) -> int:
    """Tell how many random files of a format are read."""
    count: int = request.config.getoption("--random-files")
    return count


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Name a device to compute on; the CUDA one is collected where there is one, or where `-m gpu` asks for it."""
    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device: torch.cuda.is_available() is False")
    return name


@pytest.fixture(scope="session")
def make_samples() -> ModuleType:
    """Import the script that trained the sample checkpoints, which needs PyKEEN."""
    path = Path(__file__).parent.parent / "sample_checkpoints" / "make_samples.py"
    spec = importlib.util.spec_from_file_location("make_samples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "make_samples", module)  # its dataclasses look up the module that they are in
        spec.loader.exec_module(module)
    return module


def pytest_collection_finish() -> None:
    """Collect garbage from here on, but for what was made so far."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked gpu where there is none; skip those marked pykeen where it is missing.

    Asked for by `-m gpu`, they are kept, and skip with their reason. Where PyKEEN is there, what it and its
    dependencies warn of may pass.
    """
    if not torch.cuda.is_available() and "gpu" not in config.getoption("markexpr"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("gpu")])
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    is_missing = importlib.util.find_spec("pykeen") is None
    for item in items:
        if item.get_closest_marker("pykeen"):
            item.add_marker(pytest.mark.filterwarnings("ignore"))
            if is_missing:
                item.add_marker(pytest.mark.skip(reason="PyKEEN is not installed: pip install -e '.[pykeen]'"))
