"""PyKEEN is told of our modules when it is imported, whenever that is, and is not imported for it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import embcompress
from embcompress.nn import REPRESENTATIONS, Representation
from embcompress.nn.pykeen import join_pykeen, when_imported

PACKAGE = Path(embcompress.__file__).parents[1]
# What PyKEEN has of that name, as far as it matters here.
STAND_IN = """
from abc import ABC

class Representation(ABC):
    pass

class Resolver:
    synonyms = {}

    def normalize(self, name):
        return name.lower().removesuffix("representation")

representation_resolver = Resolver()
"""
SCRIPT = """
import sys
import embcompress.nn as ours
assert "pykeen" not in sys.modules
import pykeen.nn as theirs
assert issubclass(ours.CodedRepresentation, theirs.Representation)
print(*sorted(theirs.representation_resolver.synonyms))
print(theirs.representation_resolver.synonyms["embcompress.lowrank"] is ours.LowRankRepresentation)
"""


def write_module(folder: Path, name: str, source: str) -> None:
    """Put a module where imports find it."""
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder whose modules can be imported, and are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("late", "late.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return tmp_path


def test_when_imported_calls_once_after_the_module_has_run(folder: Path) -> None:
    """Both callers see what the last line of the module set; a second import and a reload call nobody."""
    write_module(folder, "late.part", "value = 1\nvalue = 2\n")
    (folder / "late" / "__init__.py").touch()
    values: list[int] = []
    for _ in range(2):
        when_imported("late.part", lambda module: values.append(module.value))
    assert values == []
    module = importlib.import_module("late.part")
    importlib.reload(module)
    assert values == [2, 2]
    when_imported("late.part", lambda module: values.append(module.value + 1))
    assert values == [2, 2, 3]


def test_when_imported_tells_a_package_of_a_zip_file_from_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One loader loads all that a zip file holds: the call is for the package, with what its last line set."""
    with zipfile.ZipFile(tmp_path / "late.zip", "w") as archive:
        archive.writestr("late/__init__.py", "import late.part\nvalue = late.part.value + 1\n")
        archive.writestr("late/part.py", "value = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "late.zip")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in ("late", "late.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    values: list[int] = []
    when_imported("late", lambda module: values.append(module.value))
    importlib.import_module("late")
    assert values == [2]


def test_when_imported_waits_for_an_import_that_succeeds(folder: Path) -> None:
    """A module that raises, and one that is not there, are no import; the next try is."""
    names: list[str] = []
    when_imported("late", lambda module: names.append(module.__name__))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("late")
    write_module(folder, "late", "raise OSError('no folder')")
    importlib.invalidate_caches()
    with pytest.raises(OSError, match="no folder"):
        importlib.import_module("late")
    write_module(folder, "late", "value = 'a longer source, so that no old bytecode fits'")
    assert names == []
    importlib.import_module("late")
    assert names == ["late"]


def test_join_pykeen_leaves_another_shape_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in PyKEEN's place that has no base class is not touched."""
    stand_in = ModuleType("pykeen.nn")
    monkeypatch.setitem(sys.modules, "pykeen.nn", stand_in)
    before = dict(vars(stand_in))
    join_pykeen(Representation, REPRESENTATIONS)
    assert vars(stand_in) == before


def test_pykeen_imported_later_knows_our_representations(tmp_path: Path) -> None:
    """Ours do not import it; imported after them, it takes them for subclasses, and its resolver knows their names."""
    (tmp_path / "pykeen").mkdir()
    (tmp_path / "pykeen" / "__init__.py").touch()
    write_module(tmp_path, "pykeen.nn", STAND_IN)
    path = f"import sys; sys.path[:0] = {[str(tmp_path), str(PACKAGE)]}"
    done = subprocess.run(
        [sys.executable, "-c", path + SCRIPT], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stderr == ""
    names = [f"embcompress.{name}" for name in ("backfill", "embedding", "lowrank", "multibackfill", "partition")]
    assert done.stdout.split() == [*names, "True"]
