"""`evaluate` at the command line: what it refuses, what it writes, and what a dry run knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

import embcompress
from tests.artifact.damage import edit_original, failed, flip
from tests.command_line import run, snapshot
from tests.fixtures import NAME, OPTIONS, Pair


def test_evaluate_refuses_the_wrong_original(pair: Pair, tmp_path: Path) -> None:
    """An original with none of the tables ends in exit code 1 and names both files and a table."""
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"something": torch.zeros(300, 16)}, other)
    outcome = Pair(other, pair.artifact).evaluate()
    message = json.loads(outcome.out)["error"]["message"]
    assert outcome.code == 1
    assert all(word in message for word in (str(other), str(pair.artifact), NAME))


def test_evaluate_refuses_swapped_arguments(pair: Pair) -> None:
    """Exit code 2, and the command as it should be; an artifact in both places, too; and an original in both, 1."""
    outcome = run("evaluate", pair.artifact, pair.original, "--json")
    assert outcome.code == 2
    assert f"embcompress evaluate {pair.original} {pair.artifact}" in json.loads(outcome.out)["error"]["hint"]
    assert run("evaluate", pair.artifact, pair.artifact).code == 2
    outcome = run("evaluate", pair.original, pair.original)
    assert outcome.code == 1
    assert "is not a compressed file" in outcome.err


def test_evaluate_notices_an_artifact_that_was_grown(pair: Pair, tmp_path: Path) -> None:
    """Rows added by `backfill` make another table: the check of tables tells both sizes."""
    grown = tmp_path / "grown.safetensors"
    ids = tmp_path / "ids.txt"
    ids.write_text("".join(f"{row}\n" for row in range(300)))
    embcompress.backfill([pair.artifact], max_id=310, base_ids=[ids], table=NAME, output=grown)
    report = Pair(pair.original, grown).report()
    assert failed(report) == [("tables", NAME)]
    detail = next(check["detail"] for check in report["checks"] if not check["passed"])
    assert "300 x 16" in detail
    assert "310 x 16" in detail


@pytest.mark.parametrize("pair", OPTIONS, indirect=True)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_evaluate_refuses_an_original_with_nan(value: float, pair: Pair) -> None:
    """NaN or infinity in a table ends in exit 1 and names file, table and row, or matrix; the report says the same."""
    name = "relation.weight" if pair.artifact.read_bytes().count(b"relation.weight.left") else NAME
    edit_original(pair, lambda tensors: tensors[name][41].view(-1)[2:3].fill_(value))
    report = pair.original.with_name("found.json")
    outcome = pair.evaluate("--report", report)
    message = json.loads(outcome.out)["error"]["message"]
    assert outcome.code == 1
    assert all(word in message for word in (str(pair.original), repr(name), " 41"))
    assert json.loads(report.read_text()) == json.loads(outcome.out)


def test_evaluate_dry_run_reads_headers_alone(pair: Pair) -> None:
    """A damaged tensor passes a dry run, another shape does not; nothing is written, and the memory is told."""
    flip(pair.artifact, f"{NAME}.weights", bit=7, share=0.5)
    before = snapshot(pair.original.parent)
    outcome = pair.evaluate("--dry-run", "--report", pair.original.with_name("found.json"))
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert [check["name"] for check in document["checks"]] == ["schema", "tables"]
    assert (document["tables"][0]["error"], document["dry_run"]) == (None, True)
    assert document["memory_bytes"] > 2**20
    edit_original(pair, lambda tensors: tensors.update({NAME: tensors[NAME][:-1].clone()}))
    after = snapshot(pair.original.parent)
    assert failed(pair.report("--dry-run")) == [("tables", NAME)]
    assert snapshot(pair.original.parent) == after
    assert set(after) == set(before)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--neighbours", "-1"), 2, "neighbours"),
        (("--seed", "-1"), 2, "--seed"),
        (("--device", "gpu"), 2, "--device"),
        (("--row-weights", "none.txt"), 1, "none.txt"),
        (("--labels", "none.txt"), 1, "none.txt"),
        (("--report", "found.xyz"), 2, "found.xyz"),
    ],
)
def test_evaluate_refuses_arguments(options: tuple[str, str], code: int, says: str, pair: Pair) -> None:
    """Wrong arguments end before any work, and nothing is written."""
    before = snapshot(pair.original.parent)
    outcome = run("evaluate", pair.original, pair.artifact, *options)
    assert outcome.code == code
    assert says in outcome.err
    assert snapshot(pair.original.parent) == before


def test_evaluate_replaces_a_report_only_with_force(pair: Pair) -> None:
    """An existing report stays, byte for byte, unless --force; neither file compared is ever replaced."""
    path = pair.original.with_name("found.json")
    path.write_text("old")
    assert pair.evaluate("--report", path).code == 1
    assert path.read_text() == "old"
    assert pair.evaluate("--report", path, "--force").code == 0
    assert json.loads(path.read_text())["command"] == "evaluate"
    linked = pair.original.with_name("link.json")
    linked.symlink_to(pair.artifact)
    whole = pair.artifact.read_bytes()
    assert pair.evaluate("--report", linked, "--force").code != 0
    assert pair.artifact.read_bytes() == whole
