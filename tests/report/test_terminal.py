"""The report at a prompt: the figures, and names that cannot move the cursor."""

from __future__ import annotations

import dataclasses

import pytest

from embcompress.exceptions import EmbcompressError
from embcompress.report.terminal import plain
from embcompress.results import (
    InputFile,
    ListedTensor,
    OutputFile,
    ReconstructResult,
)
from tests.report.hostile import AT_A_PROMPT, FORBIDDEN
from tests.report.prompt import show
from tests.report.results import approximate_result, backfill_result, inspect_result, sweep_result


@pytest.mark.parametrize("width", [80, 160])
def test_render_terminal_of_a_sweep(width: int) -> None:
    """A line for each way at each size: bytes, error with its band, and bound; what is recommended is marked."""
    lines = show(sweep_result(), width=width).splitlines()
    shown = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= width
    for figure in (
        "entities.weight, 20000 x 4 x 6 float32, 1.92 MB",
        "also named entities.weight",
        "note: plain low rank buys little.",
        "Left as it was entities.weight is so small",
        "note: +- is 95 % confidence",
        "recommended: coded at 1/8, 233 kB, error 0.0512: the largest ratio tried. embcompress entities.weight",
    ):
        assert figure in shown
    assert [line.split() for line in lines[1:7]] == [
        ["size", "stored", "as", "bytes", "error", "bound"],
        ["1/2", "float16", "960", "kB", "2.0e-04"],
        ["1/7.38", "int4", "per", "row", "260", "kB", "0.1234", "+-0.003", "0.0300"],
        ["1/8", "coded", "233", "kB", "0.0512", "+-0.001", "0.0400", "recommended"],
        ["1/16", "coded", "116", "kB", "0.2415", "+-0.002", "0.2000"],
        ["plain", "float32", "112", "kB", "0.8765", "0.2100"],
    ]
    assert "all tables together" not in shown  # of a single table


def test_render_terminal_of_a_sweep_prints_its_command_in_one_piece() -> None:
    """However narrow the console, the command stays on one line, to be pasted."""
    assert f"  embcompress {'x' * 300}\n" in show(sweep_result("x" * 300), width=40)


def test_render_terminal_of_a_sweep_without_a_recommendation() -> None:
    """It says that there is none."""
    shown = show(dataclasses.replace(sweep_result(), recommendation=None))
    assert shown.endswith("nothing to recommend: no tried ratio is reachable.\n")


def test_render_terminal_shows_the_figures() -> None:
    """Of a long form, shape, bases, bytes, errors, ratio, solver, passes, tied names, notes and what was left."""
    shown = " ".join(show(approximate_result(), verbose=True).split())
    for figure in (
        "entities.weight 5000 x 4 x 6 float32 480 kB 160 kB 0.1235 0.1234 0.3000 0.9876 8 bases",
        "stored as plain (8 bases by the gram solver, 3 passes)",
        "also named entities.weight",
        "note: a further look.",
        "Left as it was entities.weight would grow",
        "wrote entities.weight (1 MB -> 700 kB, 2.00x smaller; its tables 3.00x)",
    ):
        assert figure in shown


def test_render_terminal_of_a_dry_run_tells_memory() -> None:
    """A dry run says what would be written and what memory it takes, and shows no error."""
    result = approximate_result()
    tables = tuple(dataclasses.replace(table, error=None, passes=0) for table in result.tables)
    shown = show(dataclasses.replace(result, tables=tables, dry_run=True, memory_bytes=320_000_000))
    assert "would write entities.weight" in shown
    assert "memory needed: about 320 MB" in shown
    assert "0.12" not in shown


@pytest.mark.parametrize("width", [80, 200])
def test_render_terminal_shows_the_weighted_error_where_there_is_one(width: int) -> None:
    """It stands beside the plain error of its table alone; without row weights nothing speaks of weights."""
    result = approximate_result()
    assert "weighted" not in show(result, width=width)
    (plainly,) = result.tables
    assert plainly.error is not None
    weighted = dataclasses.replace(plainly, error=dataclasses.replace(plainly.error, weighted_relative=0.0456))
    shown = " ".join(show(dataclasses.replace(result, tables=(weighted, plainly)), width=width, verbose=True).split())
    if width == 200:
        assert "error weighted optimum p99 row cosine grade stored as" in shown
        assert "160 kB 0.1235 0.0456 0.1234 0.3000 0.9876 8 bases" in shown
        assert "160 kB 0.1235 0.1234 0.3000 0.9876 8 bases" in shown
    else:
        assert "error 0.1235, weighted 0.0456, optimum 0.1234, p99 row 0.3000, cosine 0.9876" in shown
        assert "error 0.1235, optimum 0.1234, p99 row 0.3000, cosine 0.9876" in shown


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0000"), (0.001, "0.0010"), (0.00012345, "1.2e-04"), (1e-9, "1.0e-09")]
)
def test_render_terminal_keeps_small_errors_apart_from_none(value: float, text: str) -> None:
    """An error of 1e-9 is not shown as 0."""
    result = approximate_result()
    error = result.tables[0].error
    assert error is not None
    table = dataclasses.replace(result.tables[0], error=dataclasses.replace(error, relative=value))
    assert f" {text} " in show(dataclasses.replace(result, tables=(table,)))


def test_render_terminal_lists_a_checkpoint() -> None:
    """Inspect shows what is compressed, each table with its reason, other tensors, what was left out, and counts."""
    shown = " ".join(show(inspect_result(), verbose=True).split())
    assert "table entities.weight 5000 x 24 float32 480 kB named like entities.weight = entities.weight" in shown
    assert "other tensors entities.weight a number int64 8 B" in shown
    assert "Left as it was entities.weight sparse" in shown
    assert "table shape dense stored bits a number recorded error stored as" in shown
    row = "entities.weight 900 x 48 float32 173 kB 13.5 kB 2.5 0.2500 coded, 40 coded columns = entities.weight"
    assert row in shown
    assert shown.endswith("entities.weight: 1 MB, 1 compressed table, 1 embedding table")
    many = dataclasses.replace(
        inspect_result(), tables=(), compressed_tables=(), others=(ListedTensor("a", (2,), "int8", 2),) * 20
    )
    assert " ".join(show(many).split()).count("a 2 int8 2 B,") == 12
    assert ", ...\n" in show(many, width=500)
    assert "0 embedding tables" in show(many)


def test_render_terminal_of_a_reconstruction() -> None:
    """The dense file, its size and how many tensors and tables it has."""
    result = ReconstructResult("reconstruct", InputFile("a", 1), OutputFile("b.safetensors", None, 2_000), ("t",), 3)
    assert show(result) == "wrote b.safetensors (2 kB, 3 tensors, 1 table multiplied out)\n"


@pytest.mark.parametrize("name", AT_A_PROMPT.values(), ids=AT_A_PROMPT)
@pytest.mark.parametrize("width", [40, 160])
def test_render_terminal_is_safe_from_names(name: str, width: int) -> None:
    """Whatever a name holds, it is shown as text: no escape, no markup obeyed, no character that is not printed."""
    dense = ReconstructResult("reconstruct", InputFile(name, 1), OutputFile(name, None, 2_000), (name,), 3)
    failure = EmbcompressError(f"table {name!r} of {name} is bad.", hint=f"Look at {name}.\n  command {name}")
    for result in (approximate_result(name), inspect_result(name), sweep_result(name), dense, failure):
        shown = show(result, width=width)
        assert not FORBIDDEN & set(shown)
        if name.startswith("[") and width == 160:
            assert name in shown


def test_plain_shows_what_it_is_given() -> None:
    """Printable text stays, the rest is spelled out."""
    assert plain("a ü \N{ROCKET} [b]").plain == "a ü \N{ROCKET} [b]"
    assert plain("\x1b\n\u202e").plain == r"\x1b\n\u202e"


def test_render_failure_says_error_and_hint() -> None:
    """One line of what is wrong and one of what to do; no hint where there is none; lines of a hint stay lines."""
    assert show(EmbcompressError("what.", hint="do:\n  this")) == "error: what.\nhint: do:\n  this\n"
    assert show(EmbcompressError("what.")) == "error: what.\n"


def test_render_terminal_leaves_columns_out_of_the_short_form() -> None:
    """In 80 columns a growth and a compressed table are rows of their counts and bytes, under the titles of these."""
    grown = [line.split() for line in show(backfill_result(), width=80).splitlines()]
    assert grown[:2] == [
        ["table", "kept", "added", "dropped", "new", "rows", "by"],
        ["entities.weight", "100", "20", "5", "gaussian,", "normalize"],
    ]
    listed = [line.split() for line in show(inspect_result(), width=80).splitlines()]
    assert listed[1:3] == [
        ["table", "dense", "stored", "recorded", "error"],
        ["entities.weight", "173", "kB", "13.5", "kB", "0.2500"],
    ]
