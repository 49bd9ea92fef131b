"""The rules of the package's shape, read off its source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import embcompress

ROOT = Path(embcompress.__file__).parent
NUMERICS = ("linalg", "coding")  # these know torch, the standard library, themselves, results and exceptions
# The strings of coded tables are NumPy's arrays, which numba works on; the codes of schema 1 are read by torch alone.
WITH_NUMPY = {
    f"embcompress.coding.{name}"
    for name in ("codebook", "coder", "fitting", "integers", "kernels", "rotation", "symbols")
}
COMPILED = {"embcompress.coding.kernels"}
# The tables of symbols are shipped beside the module that reads them.
READ_SHIPPED_FILES = {"embcompress.coding.symbols"}
CALLS_OF_THE_COMMAND_LINE = {"print", "exit", "quit", "sys.exit", "os._exit", "os.abort", "sys.stdout.write"}
MAY_END_THE_PROCESS = {"embcompress.cli", "embcompress.__main__"}


def read_sources() -> dict[str, ast.Module]:
    """Parse every module of the package: its dotted name -> its tree."""
    sources = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name] = ast.parse(path.read_text(encoding="utf-8"))
    return sources


SOURCES = read_sources()


def walk(tree: ast.AST, *, at_import: bool) -> Iterator[ast.AST]:
    """Yield the nodes of a module; `at_import`: only those that run when it is imported, not for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        is_later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if at_import and (is_later or is_for_types):
            continue
        yield node
        yield from walk(node, at_import=at_import)


def imports_of(name: str, *, at_import: bool) -> set[str]:
    """List what a module imports, by the deepest dotted name that is a module of the package, or as written."""
    found = set()
    for node in walk(SOURCES[name], at_import=at_import):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                found.add(inner if inner in SOURCES else module)
    return found


def is_below(name: str, package: str) -> bool:
    """Tell whether a module is a package or lies in it."""
    return name == package or name.startswith(f"{package}.")


def test_source_is_found() -> None:
    """The rules below are held against the whole package."""
    assert {"embcompress", "embcompress.cli", "embcompress.linalg.svd", "embcompress.workflows"} <= set(SOURCES)


@pytest.mark.parametrize("name", [name for name in SOURCES if name.split(".")[1:2] and name.split(".")[1] in NUMERICS])
def test_numerics_know_no_file_and_no_console(name: str) -> None:
    """Numerics import torch, the standard library, their own package, results and exceptions, and open no file."""
    own = ".".join(name.split(".")[:2])
    allowed = {"embcompress.exceptions", "embcompress.results", "torch"}
    allowed |= {"numpy", "numpy.typing"} if name in WITH_NUMPY else set()
    allowed |= {"numba"} if name in COMPILED else set()
    closed = {"os", "io", "sys", "shutil", "tempfile", "logging"} | (
        set() if name in READ_SHIPPED_FILES else {"pathlib"}
    )
    for imported in imports_of(name, at_import=False):
        root = imported.partition(".")[0]
        is_below_own = any(
            is_below(imported, package) for package in (own, "embcompress.linalg")
        )  # coding stands on it
        assert root in sys.stdlib_module_names or root == "torch" or imported in allowed or is_below_own, (
            f"{name} imports {imported}"
        )
        assert root not in closed, f"{name} imports {imported}"
    calls = {ast.unparse(node.func) for node in ast.walk(SOURCES[name]) if isinstance(node, ast.Call)}
    assert not calls & {"open", "input", "torch.load", "torch.save"}


@pytest.mark.parametrize("name", SOURCES)
def test_only_the_command_line_prints_and_exits(name: str) -> None:
    """No other module calls print or ends the process."""
    calls = {ast.unparse(node.func) for node in ast.walk(SOURCES[name]) if isinstance(node, ast.Call)}
    raised = {ast.unparse(node.exc) for node in ast.walk(SOURCES[name]) if isinstance(node, ast.Raise) and node.exc}
    if name not in MAY_END_THE_PROCESS:
        assert not calls & CALLS_OF_THE_COMMAND_LINE
        assert not any(text.startswith("SystemExit") for text in raised)


def test_modules_import_in_no_circle() -> None:
    """The imports that run at import time, those of a module's own package included, have no cycle."""
    graph: Mapping[str, set[str]] = {
        name: {other for other in imports_of(name, at_import=True) if other in SOURCES} for name in SOURCES
    }
    assert len(tuple(TopologicalSorter(graph).static_order())) == len(SOURCES)  # raises CycleError


def test_reports_and_workflows_share_only_results() -> None:
    """Renderers know what was found, never how: report imports no workflow, and results import nothing of ours."""
    for name in SOURCES:
        imported = imports_of(name, at_import=False)
        if is_below(name, "embcompress.report"):
            assert not any(is_below(other, "embcompress.workflows") for other in imported), name
        if is_below(name, "embcompress.results"):
            ours = {other for other in imported if is_below(other, "embcompress")}
            assert all(is_below(other, "embcompress.results") for other in ours), name
        if not is_below(name, "embcompress.cli") and name != "embcompress.__main__":
            assert "embcompress.cli" not in imported, name


def test_nothing_catches_everything() -> None:
    """No bare except and no `except Exception`; BaseException only where it is raised again."""
    for name, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = "" if node.type is None else ast.unparse(node.type)
                assert caught not in {"", "Exception"}, f"{name}, line {node.lineno}"
                is_raised = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                assert caught != "BaseException" or is_raised, f"{name}, line {node.lineno}"


@pytest.mark.parametrize(
    "library", ["torch", "rich", "safetensors", "numpy", "numba", "pickle", "typer", "click", "matplotlib"]
)
def test_libraries_are_imported_where_they_belong(library: str) -> None:
    """What is slow, prints, or runs what a file says is imported only where the design puts it."""
    homes = {
        "torch": ("embcompress.linalg", "embcompress.coding", "embcompress.nn"),  # elsewhere inside functions
        "rich": ("embcompress.report",),
        "typer": ("embcompress.cli", "embcompress.options"),
        "safetensors": (),
        "numpy": tuple(WITH_NUMPY),  # elsewhere inside functions
        "numba": tuple(COMPILED),
        "pickle": (),
        "click": (),  # typer carries its own
        "matplotlib": (),  # report.plot, inside functions: an extra
    }[library]
    for name in SOURCES:
        imported = {other.partition(".")[0] for other in imports_of(name, at_import=True)}
        if not any(is_below(name, home) for home in homes):
            assert library not in imported, name
