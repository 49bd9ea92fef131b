"""The options of each command, beside the parameters of the library's function of the same name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytest

import embcompress
from embcompress.cli.app import app
from embcompress.cli.options import ADVANCED
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
    """Each command has a function of its name, and `load` and `apply_to` are the library's alone."""
    assert set(COMMANDS) == set(embcompress.__all__) - {"__version__", "load", "load_labels", "apply_to"}


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
