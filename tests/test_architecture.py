"""The rules of the package's shape, read off its source."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import embcompress
from tests.cases import for_each

ROOT = Path(embcompress.__file__).parent
TESTS = Path(__file__).parent
# From the bottom to the top: a room imports itself and those before it.
ROOMS = (
    "readers",
    "exceptions",
    "text",
    "choices",
    "results",
    "checkpoints",
    "tables",
    "linalg",
    "coding",
    "artifact",
    "nn",
    "exports",
    "compression",
    "growth",
    "evaluation",
    "link_prediction",
    "report",
    "commands",
    "cli",
    "__main__",
)
NUMERICS = ("linalg", "coding")  # these know torch, the standard library, each other, the results and the exceptions
# What help, listing a file and a dry run with a number of bases go through: seconds less without torch. All else in
# these rooms may import it, at the top.
TORCH_FREE = {
    "exceptions": (),
    "text": (),
    "choices": (),
    "results": (),
    "checkpoints": (),
    "tables": ("patches", "rows", "scaling", "source"),
    "linalg": ("*", "precision", "solvers"),
    "coding": ("*", "constants"),
    "artifact": ("coded", "decoded_rows", "dense_tensors", "staged_strings", "tensors"),
    "compression": ("*", "artifact_file", "budget", "memory", "plan"),
    "growth": (
        "*",
        "fills",
        "findings",
        "grown_file",
        "model_folders",
        "placement",
        "plan",
        "plan_rows",
        "plan_tables",
    ),
    "evaluation": ("*", "gates"),
    "report": (),
    "commands": (
        "approximate_rows",
        "backfill_rows",
        "evaluate",
        "export",
        "export_rows",
        "reconstruct_rows",
        "sweep",
        "verify",
    ),
    "cli": (),
    "__main__": (),
}  # room -> its modules that import torch, or, after a star, the only ones that do not
# Where a module of ours is imported inside a function: a command is imported when it is called, and three of them
# import what reads rows only where they begin to.
IMPORTED_WHEN_CALLED = {
    "embcompress.__main__": {"main": "embcompress.cli.main"},
    "embcompress.commands.approximate": {"approximate": "embcompress.commands.approximate_rows"},
    "embcompress.commands.backfill": {"backfill": "embcompress.commands.backfill_rows"},
    "embcompress.commands.reconstruct": {"reconstruct": "embcompress.commands.reconstruct_rows"},
    "embcompress.commands.run": {"resolve_device": "embcompress.linalg.devices"},
    # Triton does not come with every torch, and is imported where a GPU decodes.
    "embcompress.nn.device_decoder": {"find_kernels": "embcompress.coding.triton_kernels"},
    # A form of the report is imported when it is asked for: jinja2 is an extra.
    "embcompress.report": {f"_render_{form}": f"embcompress.report.{form}" for form in ("markdown", "html", "junit")},
}
EXTRAS = {"matplotlib", "jinja2", "markupsafe"}  # imported by what draws a picture or a page, when one is asked for
# The strings of coded tables are NumPy's arrays, which numba works on; the codes of schema 1 are read by torch alone.
WITH_NUMPY = {
    f"embcompress.coding.{name}"
    for name in (
        "codebook",
        "coder",
        "decode_kernels",
        "estimates",
        "fit",
        "frozen_kernels",
        "index_kernels",
        "integers",
        "kinds",
        "profiles",
        "read_kernels",
        "row_decoder",
        "rotation",
        "row_index",
        "search_kernels",
        "seekable_index",
        "statistics",
        "symbols",
        "write_kernels",
    )
}
COMPILED = {"embcompress.coding.compiled", "embcompress.coding.lanes"}
WITH_TRITON = {"embcompress.coding.triton_kernels"}
# The tables of symbols, and the sources of kernels, are shipped beside the module that reads them.
READ_SHIPPED_FILES = {"embcompress.coding.compiled", "embcompress.coding.symbols"}
CALLS_OF_THE_COMMAND_LINE = {"print", "exit", "quit", "sys.exit", "os._exit", "os.abort", "sys.stdout.write"}
MAY_END_THE_PROCESS = {"embcompress.cli.main", "embcompress.cli.process", "embcompress.__main__"}


def find_sources() -> dict[str, Path]:
    """Find every module of the package: its dotted name -> its file."""
    sources = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return sources


SOURCES = find_sources()


@cache
def tree_of(name: str) -> ast.Module:
    """Parse a module, once; not while tests are collected, which every worker does."""
    return ast.parse(SOURCES[name].read_text(encoding="utf-8"))


def walk(tree: ast.AST, *, at_import: bool) -> Iterator[ast.AST]:
    """Yield the nodes of a module; `at_import`: only those that run when it is imported, not for type checkers only."""
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        is_later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if at_import and (is_later or is_for_types):
            continue
        yield node
        # An expression imports nothing: most nodes of a module lie in one.
        if not isinstance(node, ast.expr):
            waiting += ast.iter_child_nodes(node)


@cache
def calls_of(name: str) -> frozenset[str]:
    """List the functions that a module calls, as they are written."""
    return frozenset(ast.unparse(node.func) for node in ast.walk(tree_of(name)) if isinstance(node, ast.Call))


@cache
def imports_of(name: str, *, at_import: bool) -> frozenset[str]:
    """List what a module imports, by the deepest dotted name that is a module of the package, or as written."""
    imported_names = set()
    for node in walk(tree_of(name), at_import=at_import):
        if isinstance(node, ast.Import):
            imported_names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                imported_names.add(inner if inner in SOURCES else module)
    return frozenset(imported_names)


def room_of(name: str) -> str:
    """Return the room of a module: the first name below the package; of the package itself an empty one."""
    return name.partition(".")[2].partition(".")[0]


def ours(imported: frozenset[str]) -> set[str]:
    """Keep the modules of the package, each with the packages that it lies in, which are imported first."""
    names = {name for name in imported if name in SOURCES}
    for name in tuple(names):
        while name := name.rpartition(".")[0]:
            names.add(name)
    return names


@cache
def imports_inside_functions(name: str) -> tuple[tuple[str, str], ...]:
    """List the function and what it imports, for every import that does not run when a module is imported."""
    return tuple(_imports_inside_functions(name))


def _imports_inside_functions(name: str) -> Iterator[tuple[str, str]]:
    for function in ast.walk(tree_of(name)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from ((function.name, alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        inner = f"{node.module}.{alias.name}"
                        yield function.name, inner if inner in SOURCES else str(node.module)


def is_torch_free(name: str) -> bool:
    """Return whether a module must not reach torch when it is imported, by TORCH_FREE; packages never do."""
    room, _, module = name.partition(".")[2].partition(".")
    if not room or room not in TORCH_FREE:
        return not room
    others = TORCH_FREE[room]
    if others[:1] == ("*",):
        return not module or module in others
    return module not in others


def imports_for_types(name: str) -> frozenset[str]:
    """List what only type checkers import."""
    return (
        imports_of(name, at_import=False)
        - imports_of(name, at_import=True)
        - {other for _, other in imports_inside_functions(name)}
    )


def is_package(name: str) -> bool:
    """Return whether a name is that of a package, which holds modules."""
    return any(other.startswith(f"{name}.") for other in SOURCES)


def is_below(name: str, package: str) -> bool:
    """Return whether a module is a package or lies in it."""
    return name == package or name.startswith(f"{package}.")


def test_source_is_found() -> None:
    """The rules below are held against the whole package."""
    assert {"embcompress", "embcompress.cli.app", "embcompress.linalg.svd", "embcompress.commands"} <= set(SOURCES)
    assert {room_of(name) for name in SOURCES} == {"", *ROOMS}


@for_each("name", [name for name in SOURCES if name.split(".")[1:2] and name.split(".")[1] in NUMERICS])
def test_numerics_know_no_file_and_no_console(name: str) -> None:
    """Numerics import torch, the standard library, each other, the results and the exceptions, and open no file."""
    allowed = {"embcompress.exceptions", "torch"}
    allowed |= {"numpy", "numpy.typing"} if name in WITH_NUMPY else set()
    allowed |= {"numba", "numba.core", "numba.extending", "llvmlite"} if name in COMPILED else set()
    allowed |= {"triton", "triton.language", "triton.errors"} if name in WITH_TRITON else set()
    closed = {"os", "io", "sys", "shutil", "tempfile", "logging"} | (
        set() if name in READ_SHIPPED_FILES else {"pathlib"}
    )
    for imported in imports_of(name, at_import=False):
        root = imported.partition(".")[0]
        is_known = any(is_below(imported, f"embcompress.{room}") for room in (*NUMERICS, "results"))
        assert root in sys.stdlib_module_names or root == "torch" or imported in allowed or is_known, (
            f"{name} imports {imported}"
        )
        assert root not in closed, f"{name} imports {imported}"
    assert not calls_of(name) & {"open", "input", "torch.load", "torch.save"}


@for_each("name", SOURCES)
def test_only_the_command_line_prints_and_exits(name: str) -> None:
    """No other module calls print or ends the process."""
    raised = {ast.unparse(node.exc) for node in ast.walk(tree_of(name)) if isinstance(node, ast.Raise) and node.exc}
    if name not in MAY_END_THE_PROCESS:
        assert not calls_of(name) & CALLS_OF_THE_COMMAND_LINE
        assert not any(text.startswith("SystemExit") for text in raised)


def test_modules_import_in_no_circle() -> None:
    """The imports of all modules, those inside functions included, have no cycle."""
    graph: Mapping[str, set[str]] = {
        name: {other for other in imports_of(name, at_import=False) - imports_for_types(name) if other in SOURCES}
        for name in SOURCES
    }
    assert len(tuple(TopologicalSorter(graph).static_order())) == len(SOURCES)  # raises CycleError


def test_families_of_formats_import_in_no_circle() -> None:
    """The packages in checkpoints, each taken as one, and the modules beside them import each other one way."""
    room = "embcompress.checkpoints"
    packages = {name for name in SOURCES if name.startswith(f"{room}.") and is_package(name)}

    def family(name: str) -> str:
        return next((package for package in packages if is_below(name, package)), name)

    graph: dict[str, set[str]] = {}
    for name in SOURCES:
        if is_below(name, room):
            others = {family(other) for other in imports_of(name, at_import=False) if is_below(other, room)}
            graph.setdefault(family(name), set()).update(others - {family(name)})
    assert len(packages) > 1
    assert len(tuple(TopologicalSorter(graph).static_order())) == len(graph)  # raises CycleError


@for_each("name", [name for name in SOURCES if room_of(name)])
def test_no_import_goes_upward(name: str) -> None:
    """A module imports from its own room and those below it, also inside functions and for types."""
    for imported in imports_of(name, at_import=False):
        if room_of(imported) and imported in SOURCES:
            assert ROOMS.index(room_of(imported)) <= ROOMS.index(room_of(name)), f"{name} imports {imported}"


def test_results_import_nothing() -> None:
    """What reports are made of knows only the standard library and itself."""
    for name in SOURCES:
        if is_below(name, "embcompress.results"):
            for imported in imports_of(name, at_import=False):
                root = imported.partition(".")[0]
                assert root in sys.stdlib_module_names or is_below(imported, "embcompress.results"), name


def test_readers_stand_alone() -> None:
    """The readers import the standard library and NumPy, and nothing of the package imports them."""
    for name in SOURCES:
        imported_names = imports_of(name, at_import=False)
        if room_of(name) == "readers":
            roots = {imported.partition(".")[0] for imported in imported_names}
            assert roots <= sys.stdlib_module_names | {"numpy"}, name
        else:
            assert not any(is_below(imported, "embcompress.readers") for imported in imported_names), name


@for_each("name", [name for name in SOURCES if is_torch_free(name)])
def test_light_modules_never_reach_torch(name: str) -> None:
    """Neither they nor what they import, packages included, imports torch, NumPy or numba, in a function either."""
    reached, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        imported = imports_of(module, at_import=True)
        roots = {
            other.partition(".")[0] for other in imported | {other for _, other in imports_inside_functions(module)}
        }
        assert not roots & {"torch", "numpy", "numba"}, f"{name} reaches {module}"
        waiting += ours(imported)


def test_ours_are_imported_inside_functions_only_by_commands() -> None:
    """No function hides a neighbour of its module, but for one import a command, and kernels that need Triton."""
    for name in SOURCES:
        imports = [
            (function, other) for function, other in imports_inside_functions(name) if is_below(other, "embcompress")
        ]
        assert dict(imports) == IMPORTED_WHEN_CALLED.get(name, {}), name
        assert len(imports) == len(dict(imports)), name
        others = {other.partition(".")[0] for _, other in imports_inside_functions(name)} - {"embcompress"}
        assert others <= EXTRAS, name


def test_nothing_catches_everything() -> None:
    """No bare except and no `except Exception`; BaseException only where it is raised again."""
    for name in SOURCES:
        for node in ast.walk(tree_of(name)):
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
        "torch": tuple(name for name in SOURCES if room_of(name) and not is_torch_free(name)),
        "rich": ("embcompress.report",),
        "typer": ("embcompress.cli",),
        "safetensors": (),
        "numpy": (
            *WITH_NUMPY,
            "embcompress.readers",
            "embcompress.artifact",
            "embcompress.exports",
            "embcompress.compression",
            "embcompress.growth",
            "embcompress.nn",
        ),
        "numba": tuple(COMPILED),
        "pickle": (),
        "click": (),  # typer carries its own
        "matplotlib": (),  # report, inside functions: an extra
    }[library]
    for name in SOURCES:
        imported = {other.partition(".")[0] for other in imports_of(name, at_import=True)}
        if not any(is_below(name, home) for home in homes):
            assert library not in imported, name


def read_tests(which: str) -> dict[str, ast.Module]:
    """Parse the modules of the tests that hold a regular expression: their path -> their tree. All take seconds."""
    texts = {str(path.relative_to(TESTS)): path.read_text(encoding="utf-8") for path in sorted(TESTS.rglob("*.py"))}
    return {path: ast.parse(text) for path, text in texts.items() if re.search(which, text, re.MULTILINE)}


def test_tests_share_through_modules_that_hold_none() -> None:
    """No module takes anything from one whose name begins with test_: what is shared lies beside the tests."""
    for path, tree in read_tests(r"^\s*((from|import)\b.*\b)?test_\w+(,| |$)").items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            parts = {part for name in (module, *names) for part in name.split(".")}
            if module.startswith("tests") or any(name.startswith("tests") for name in names):
                assert not any(part.startswith("test_") for part in parts), f"{path}, line {node.lineno}"


def test_tests_put_nothing_in_place_of_our_internals() -> None:
    """No test patches a constant or a function of the package: it gives an argument, or a real input."""
    for path, tree in read_tests(r"setattr\(|patch\(").items():
        ours = {
            alias.asname or alias.name.rpartition(".")[2]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if f"{getattr(node, 'module', '')}.{alias.name}".lstrip(".").startswith("embcompress")
        }
        for node in ast.walk(tree):
            is_patch = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("monkeypatch.setattr", "patch"))
            if is_patch and node.args:
                target = ast.unparse(node.args[0])
                assert target not in ours, f"{path}, line {node.lineno}"
                assert "embcompress" not in target, f"{path}, line {node.lineno}"
