"""Commands that a failure prints: pasted, each one works, and keeps what the user asked for."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import embcompress
from embcompress.cli.retries import repeat_command
from embcompress.exceptions import Retry
from tests.command_line import run
from tests.fixtures import draw_sloping

PACKAGE = Path(embcompress.__file__).parent


def save_known() -> None:
    """Save a table that is recognised, beside one that is not, and an artifact."""
    save_file({"entities.weight": draw_sloping(400, 32), "mystery": draw_sloping(300, 24)}, "known.safetensors")
    run("approximate", "known.safetensors", "--bases", "4", "-o", "artifact.safetensors")


def save_unknown() -> None:
    """Save two matrices of which nothing tells that they are tables."""
    save_file({"mystery one": draw_sloping(400, 32), "riddle": draw_sloping(300, 24)}, "unknown.safetensors")


def save_padded() -> None:
    """Save tables of 33 rows, labels of 30 of them, 36 new labels, and labels with a hole that is filled."""
    for number, name in enumerate(("padded", "second")):
        save_file({"wte.weight": draw_sloping(33, 8, seed=number), "bias": torch.ones(4)}, f"{name}.safetensors")
    for name, first, last in (("old", 0, 30), ("old2", 30, 60), ("few", 0, 9), ("new", 0, 36), ("all", 0, 64)):
        Path(f"{name}.txt").write_text("".join(f"t{number}\n" for number in range(first, last)))
    Path("holes.txt").write_text("".join(f"t{number}\n" if number != 7 else "\n" for number in range(33)))


# What is printed by each place that knows of other arguments, or names a whole command: a failing command each.
FAILURES: Mapping[str, tuple[Callable[[], None], str, int]] = {
    "no size": (save_known, "approximate known.safetensors --effort default", 2),
    "no size, in floats": (save_known, "approximate known.safetensors --dtype float16 --plain", 1),
    "unmatched table": (save_known, "approximate known.safetensors --ratio 4 --effort fast --table entites.weight", 1),
    "unmatched exclude": (save_known, "approximate known.safetensors --max-error=0.3 --exclude mistery", 1),
    "nothing recognised": (save_unknown, "approximate unknown.safetensors --ratio 4 --effort fast", 2),
    "nothing recognised by so many bases": (save_unknown, "approximate unknown.safetensors --bases 22", 2),
    "too many bases": (save_known, "approximate known.safetensors --bases 60", 1),
    "too many bases for a table": (save_known, "approximate known.safetensors --bases 60 --table mystery", 1),
    "too small": (save_known, "approximate known.safetensors --max-size 300", 1),
    "too small a ratio": (save_known, "approximate known.safetensors --ratio 100000", 1),
    "too small in floats": (save_known, "approximate known.safetensors --ratio 10000 --plain", 1),
    "nothing like it": (save_known, "approximate known.safetensors --bases 2 --table zzz", 1),
    "no matrix": (save_known, "approximate known.safetensors --bases 2 --table entities.weight --exclude mystery", 0),
    "rows without a label": (
        save_padded,
        "backfill padded.safetensors --base-labels old.txt --labels new.txt --seed 3",
        3,
    ),
    "rows without a label, and few ids": (
        save_padded,
        "backfill padded.safetensors --base-labels=old.txt --labels=new.txt --max-id 36",
        3,
    ),
    "rows behind the labels": (
        save_padded,
        "backfill padded.safetensors --base-labels old.txt --labels new.txt --row-offset 1 --max-id 38",
        2,
    ),
    "many rows without a label": (
        save_padded,
        "backfill padded.safetensors --base-labels few.txt --labels new.txt --table wte.weight",
        3,
    ),
    "rows without a label in several bases": (
        save_padded,
        "backfill padded.safetensors second.safetensors --base-labels old.txt --base-labels old2.txt --labels all.txt",
        1,
    ),
    "a blank label": (save_padded, "backfill padded.safetensors --base-labels holes.txt --labels new.txt", 1),
    "an artifact": (save_known, "approximate artifact.safetensors --bases 2", 1),
}


def save_large() -> None:
    """Save a table beside large matrices of which nothing tells what they are, and counts for some of them."""
    tensors = {
        "entities.weight": draw_sloping(700, 32),
        "mystery one": draw_sloping(1400, 24),
        "riddle[0]": draw_sloping(700, 24),
    }
    save_file(tensors, "large.safetensors")
    Path("counts.txt").write_text("".join(f"{number + 1}\n" for number in range(700)))


# What a run prints that is done, and knows of matrices that it left dense: how many of them go into its command.
RUNS: Mapping[str, int] = {
    "approximate large.safetensors --ratio 4 --effort fast": 2,
    "approximate large.safetensors --max-error=0.3 --effort fast --seed 3 -o 'a b.safetensors' --report r.md": 2,
    "approximate large.safetensors --max-size 230kB --effort fast --fixed-rows --neighbours 0 -f": 2,
    "approximate large.safetensors --bases 8 --dtype float16 --solver gram": 2,
    "approximate large.safetensors --bases 24 --device cpu --fail-if 'totals.ratio < 1'": 0,
    "approximate large.safetensors --bases 23": 2,
    "approximate large.safetensors --energy 0.5 --exclude 'rid*'": 1,
    "approximate large.safetensors --ratio 4 --plain --dry-run": 2,
    "approximate large.safetensors --ratio 6 --effort fast --row-weights counts.txt": 1,
    "approximate large.safetensors --bases 4 --table entities.weight": 0,
}


def commands_in(text: str) -> list[list[str]]:
    """Find the commands that a failure prints: lines of their own, and those in backticks."""
    lines = re.findall(r"^  (embcompress .*)$", text, flags=re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in (*lines, *re.findall(r"`(embcompress [^`]*)`", text))]


@pytest.mark.parametrize("name", FAILURES)
def test_printed_commands_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that is printed runs to its end, with the options that were given."""
    prepare, line, least = FAILURES[name]
    monkeypatch.chdir(tmp_path)
    prepare()
    given = shlex.split(line)
    outcome = run(*given)
    commands = commands_in(outcome.err)
    assert len(commands) >= least
    for command in commands:
        again = run(*command, *([] if command[0] == "inspect" else ["--force"]))
        assert again.code == 0, (command, again.err)
        if command[0] == "backfill":
            assert set(given) - {"--max-id", "36", "38"} <= set(command)
        asked = [option for option in ("--ratio", "--max-error", "--bases", "--max-size") if option in line]
        if command[0] == "approximate" and asked:
            assert any(argument.startswith(asked[0]) for argument in command)


@pytest.mark.parametrize("line", RUNS)
def test_commands_of_a_run_work_after_it(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that takes unrecognised matrices along, pasted as it is, compresses them, and the tables again."""
    monkeypatch.chdir(tmp_path)
    save_large()
    first = run(*shlex.split(line))
    assert first.code == 0, first.err
    commands = commands_in(first.out)
    assert len(commands) == (RUNS[line] > 0)
    for command in commands:
        again = run(*command, "--json")
        assert again.code == 0, (command, again.err)
        document = json.loads(again.out)
        assert len(document["tables"]) == 1 + RUNS[line]
        assert "unrecognised_matrices" not in document
        assert document.get("dry_run", False) == ("--dry-run" in line)
        size = next(argument.partition("=") for argument in shlex.split(line)[2:] if argument.startswith("--"))
        assert size[0] in command


@pytest.mark.parametrize("size", ["--energy 0.999", "--max-error 0.001 --plain"])
def test_a_command_leaves_dense_what_turns_out_not_to_pay(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the rows tell whether a matrix can be held to an error: the command leaves it dense, and says so."""
    monkeypatch.chdir(tmp_path)
    flat = torch.linalg.qr(draw_sloping(4000, 24)).Q.contiguous()
    save_file(
        {"entities.weight": draw_sloping(2000, 4) @ draw_sloping(4, 32, seed=1), "mys[t]ery": flat}, "flat.safetensors"
    )
    (command,) = commands_in(run(*shlex.split(f"approximate flat.safetensors {size}")).out)
    again = run(*command, "--json")
    assert again.code == 0, again.err
    document = json.loads(again.out)
    assert [entry["name"] for entry in document["tables"]] == ["entities.weight"]
    assert [entry["name"] for entry in document["skipped"]] == ["mys[t]ery"]


def test_every_place_that_knows_of_other_arguments_is_tried() -> None:
    """As many places give alternatives as stand here: one that comes up needs a failure of its own above."""
    places = {
        str(path.relative_to(PACKAGE)): count
        for path in sorted(PACKAGE.rglob("*.py"))
        if "Retry" in (source := path.read_text())
        and (count := sum(isinstance(node, ast.Call) and _is_retry(node) for node in ast.walk(ast.parse(source))))
    }
    assert places == {
        "compression/budget.py": 2,
        "compression/plan.py": 1,
        "compression/refusals.py": 2,
        "growth/unlabelled.py": 3,
        "tables/selection.py": 2,
    }


def _is_retry(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "Retry"


@pytest.mark.parametrize(
    ("args", "arguments", "expected"),
    [
        (["approximate", "a b.pt", "--bases=9"], ("--bases", "4"), "embcompress approximate 'a b.pt' --bases 4"),
        (["sweep", "a.pt", "--table", "x", "--json", "-q"], ("--table", "y"), "embcompress sweep a.pt --table y"),
        (["approximate", "a.pt", "--ratio", "8", "--table", "x", "--table", "z"], ("--table", "y"),
         "embcompress approximate a.pt --ratio 8 --table y"),
        (["approximate", "--bases", "400", "-f", "--", "a.pt"], ("--bases", "4"),
         "embcompress approximate -f --bases 4 -- a.pt"),
        (["approximate", "a.pt", "--plain", "--ratio", "8"], ("--plain", "--bases", "4"),
         "embcompress approximate a.pt --ratio 8 --plain --bases 4"),
    ],
)  # fmt: skip
def test_repeat_command_replaces_what_is_given_anew(args: list[str], arguments: tuple[str, ...], expected: str) -> None:
    """Options of the same name go, wherever they stand and however they are written; all others stay."""
    assert repeat_command(args, Retry(arguments)) == expected
