"""Names that hold markup, escape codes and line ends, through every command: nothing of them comes through raw."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.command_line import run, run_at_terminal
from tests.report.workflow_log import HOSTILE, commands_in

NAMES = [*HOSTILE.values(), "a\rerror: b_embedding", "\x1b]8;;http://x\x07link\x1b]8;;\x07_embedding"]
RAW = set("\x1b\x9b\x07\u202e")
OWN_CODES = re.compile(r"\x1b\[[\d;]*m|\x1b\[\d*[AK]|\x1b\[\?25[lh]")  # colours, and what moves the cursor of a bar
FILE = "m\x1b[2J\n::error::x.pt"
LABELS = [f"\x1b[31m<script>{index}\u202e::add-mask::x" for index in range(90)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a model of hostile names, and hostile labels."""
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    torch.save({name: torch.randn(90, 12, generator=generator) for name in NAMES}, FILE)
    Path("labels").write_text("\n".join(LABELS))
    Path("new").write_text("\n".join(LABELS[10:] + [f"\x1b[32m{index}" for index in range(30)]))
    return tmp_path


def at_pipe(*args: object) -> tuple[int, str]:
    """Run the command line with its streams in pipes."""
    outcome = run(*args)
    return outcome.code, outcome.out + outcome.err


COMMANDS: dict[str, tuple[list[object], int]] = {
    "inspect": (["inspect", FILE], 0),
    "approximate": (["approximate", FILE, "--bases", 2, "--table", "*", "--labels", "labels", "--fail-if",
                     "error.relative > 0", "-o", "gated.safetensors"], 3),
    "approximate, with a file": (["approximate", FILE, "--bases", 2, "--table", "*", "--labels", "labels", "-f",
                                  "-o", "ok.safetensors"], 0),
    "evaluate": (["evaluate", FILE, "ok.safetensors", "--labels", "labels"], 0),
    "reconstruct": (["reconstruct", "ok.safetensors", "-f"], 0),
    "verify": (["verify", "ok.safetensors"], 0),
    "backfill": (["backfill", FILE, "--table", "*", "--base-labels", "labels", "--labels", "new", "-f"], 0),
    "sweep": (["sweep", FILE, "--table", NAMES[1].replace("[", "[[]"), "--effort", "fast"], 0),
    "too many bases": (["approximate", FILE, "--bases", 99, "--table", "*"], 1),
    "no such table": (["approximate", FILE, "--bases", 2, "--table", "\x1b[2J[/red]\n::x::y"], 1),
    "no such file": (["inspect", f"{FILE}x"], 1),
    "no such number": (["approximate", FILE, "--bases", 2, "--fail-if", "\x1b[2J > 1"], 2),
    "no such choice": (["approximate", FILE, "--bases", 2, "--solver", "\x1b[2J\n::x::y"], 2),
    "no such option": (["approximate", FILE, "--\x1b[2J\n::x::y"], 2),
    "no such command": (["\x1b[2J\n::x::y"], 2),
    "no such ending": (["inspect", FILE, "--report", "a.\x1b[2J"], 2),
}  # fmt: skip


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("shows", "is_in_actions"), [(run_at_terminal, False), (at_pipe, True)], ids=["at a terminal", "in Actions"]
)
def test_nothing_of_a_name_comes_through(
    shows: Callable[..., tuple[int, str]], is_in_actions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words and as JSON, at a terminal and in a pipe of GitHub Actions: our own colours, and text."""
    if is_in_actions:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary")
        monkeypatch.setenv("GITHUB_OUTPUT", "output")
    for what, (args, code) in COMMANDS.items():
        for form in ([], ["--json"]):
            more = ["-f"] if "--report" not in args and args[0] in {"approximate", "backfill", "reconstruct"} else []
            ended, shown = shows(*args, *more, *form)
            assert ended == code, (what, shown)
            text = OWN_CODES.sub("", shown)
            assert not re.search(r"[\r\n]error: b", text), (what, form)
            assert not RAW & set(text), (what, form)
            assert not is_in_actions or "\r" not in text, (what, form)  # at a terminal a bar returns to its start
            if is_in_actions:
                commands = commands_in(text)
                assert {kind for kind, _, _ in commands} <= {"error", "warning"}, (what, form)
                assert all(properties["title"].startswith("embcompress") for _, properties, _ in commands)
            elif form:
                assert json.loads(text)["schema_version"] == 2
