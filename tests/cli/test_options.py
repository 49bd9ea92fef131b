"""The options of each command, beside the parameters of the library's function of the same name."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Mapping
from typing import Any

import pytest

import embcompress
from embcompress.cli.app import app
from embcompress.cli.declaring import ADVANCED
from embcompress.cli.examples import EXAMPLES, SYNONYMS
from embcompress.cli.values import parse_ratio, read_share
from tests.command_line import run

COMMANDS = {str(info.callback.__name__): info.callback for info in app.registered_commands if info.callback}
del COMMANDS["explain"]  # which runs nothing
# Those that say how the command line prints, and the library's own.
PRINTING, OWN = {"json", "quiet", "verbose"}, {"progress", "block_rows"}
FIRST_OPTIONS_MAX = 12


def parameters_of(function: Any) -> Mapping[str, inspect.Parameter]:
    """List the parameters of a function."""
    return inspect.signature(function).parameters


def test_commands_are_those_of_the_library() -> None:
    """Each command has a function of its name; what makes, fills and saves modules is the library's alone."""
    of_modules = {"load", "load_labels", "load_model", "save", "apply_to", "apply_state_dict", "dense_state_dict"}
    assert set(COMMANDS) == set(embcompress.__all__) - {"__version__", "from_pretrained"} - of_modules


@pytest.mark.parametrize("name", COMMANDS)
def test_options_agree_with_the_library(name: str) -> None:
    """An option has the name of a parameter and its default, or None, by which the library's own is used."""
    declared, expected = parameters_of(COMMANDS[name]), parameters_of(getattr(embcompress, name))
    positional = {key for key, one in expected.items() if one.kind is one.POSITIONAL_OR_KEYWORD}
    arguments = [key for key, one in declared.items() if one.default is one.empty]
    assert len(arguments) == len(positional)
    assert set(declared) - set(arguments) - PRINTING == set(expected) - positional - OWN
    for key in set(declared) - set(arguments) - PRINTING:
        assert declared[key].default in (None, expected[key].default), key


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_a_dozen_options_before_the_advanced_ones(name: str) -> None:
    """What most users need stands first, each option once, and --help is no panel of its own."""
    text = run(name, "--help").out
    first, _, advanced = text.partition(f"─ {ADVANCED} ─")
    options = [line for line in first.splitlines() if line.startswith("│ --")]
    assert 0 < len(options) <= FIRST_OPTIONS_MAX
    assert "─ Options ─" not in text
    assert "--help" in advanced


def test_help_ends_with_examples() -> None:
    """Every command has some, each of its name and of options that it has; they stand whole below the panels."""
    assert set(EXAMPLES) == {*COMMANDS, "explain"}
    for name, examples in EXAMPLES.items():
        text = run(name, "--help").out
        for line, _ in examples:
            program, command, *words = shlex.split(line)
            assert (program, command) == ("embcompress", name)
            options = [word for word in words if word.startswith("-")]
            assert all(f" {option} " in text for option in options), line
            assert " ".join(line.split()) in " ".join(text.rpartition("Examples:")[2].split())


@pytest.mark.parametrize(("name", "meant"), [*SYNONYMS.items(), ("aproximate", "approximate")])
def test_a_command_by_another_name_is_told(name: str, meant: str) -> None:
    """What a command is called elsewhere, or mistyped, leads to ours."""
    outcome = run(name, "model.pt")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: there is no command {name!r}.\nhint: Did you mean {meant}?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["approximate", "m.pt", "--bases", "2.5"], "--bases takes a whole number, as in 8; got '2.5'."),
        (["approximate", "m.pt", "--energy", "much"], "--energy takes a share, as in 0.95 or 95%; got 'much'."),
        (["approximate", "m.pt", "--ratio", "nan"], "--ratio takes a number, as in 16 or 16x; got 'nan'."),
        (["approximate", "m.pt", "--ratio", "1x"], "--ratio must be above 1; got 1."),
        (["sweep", "m.pt", "--max-error", "120%"], "--max-error must be between 0 and 1; got 1.2."),
        (["approximate", "-", "--ratio", "4"], "- is no file, and nothing is read from or written to a pipe."),
        (["inspect", "m.pt", "--report", "-"], "--report - is no file, and nothing is read"),
        (["backfill", "m.pt", "--labels", "-"], "--labels - is no file, and nothing is read"),
    ],
)
def test_values_that_are_none_are_refused_in_our_words(arguments: list[str], message: str) -> None:
    """Each says which option, what was found and what was expected; nothing of the parser's own shows."""
    outcome = run(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")


def test_shares_may_be_in_per_cent() -> None:
    """`5%` is 0.05, and `16x` is 16: what is then missing is the file."""
    assert read_share("--energy", "0.95")("99.5 %") == 0.995
    assert read_share("--max-error", "0.05")("5%") == read_share("--max-error", "0.05")(0.05) == 0.05
    assert parse_ratio("16x") == parse_ratio("1.6e1") == 16
    for arguments in (["--max-error", "5%"], ["--ratio", "16x"], ["--energy", "99.5%"]):
        assert run("approximate", "missing.pt", *arguments).err.startswith("error: missing.pt does not exist")


def test_completion_can_be_installed() -> None:
    """The options that install it are in the help of the program."""
    assert "--install-completion" in run("--help").out


def test_explain_says_what_a_word_means() -> None:
    """In any case and as a plural; without a word, all of them; an unknown one leads to a known one."""
    assert run("explain", "P99").out.startswith("p99  The value that 99 of 100 rows stay below")
    assert {"bound", "energy", "tied", "coded"} <= {line.split("  ")[0] for line in run("explain").out.splitlines()}
    outcome = run("explain", "bond")
    assert (outcome.code, outcome.err) == (2, "error: no report has the word 'bond'.\nhint: Did you mean bound?\n")
