"""Gates at the command line: exit code 3, an artifact withheld, and an old one that stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Outcome, run, snapshot
from tests.fixtures import NAME, save, small_state


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a checkpoint, and compress it once."""
    folder = tmp_path_factory.mktemp("sources")
    save(folder / "model.safetensors", small_state())
    assert approximate(folder, "--bases", 4).code == 0
    return folder


@pytest.fixture
def folder(sources: Path, tmp_path: Path) -> Path:
    """Copy the checkpoint, the artifact and its report."""
    return shutil.copytree(sources, tmp_path / "here")


def approximate(folder: Path, *options: object) -> Outcome:
    """Compress the checkpoint of a folder."""
    return run("approximate", folder / "model.safetensors", "--table", NAME, *options)


def report_of(folder: Path, name: str = "model-4bases.report.json") -> dict[str, Any]:
    """Read a JSON report."""
    report: dict[str, Any] = json.loads((folder / name).read_text())
    return report


def test_failed_gate_withholds_the_artifact(sources: Path, tmp_path: Path) -> None:
    """Exit code 3, no artifact and nothing half-written; the report tells the gate, and what was measured."""
    shutil.copy(sources / "model.safetensors", tmp_path)
    outcome = approximate(tmp_path, "--bases", 4, "--fail-if", "rank > 3", "--fail-if", "rank > 4")
    assert outcome.code == 3
    assert sorted(snapshot(tmp_path)) == ["model-4bases.report.json", "model.safetensors"]
    report = report_of(tmp_path)
    assert (report["ok"], report["withheld"]) == (False, True)
    assert report["gates"] == [
        {"expression": "rank > 3", "table": NAME, "value": 4, "passed": False, "is_numeric": True},
        {"expression": "rank > 4", "table": NAME, "value": 4, "passed": True, "is_numeric": True},
    ]
    expected = report_of(sources)["tables"][0]
    assert report["tables"][0] | {"seconds": 0} == expected | {"seconds": 0}
    assert report["output"]["sha256"] == report_of(sources)["output"]["sha256"]


def test_failed_gate_leaves_an_old_artifact(folder: Path) -> None:
    """With --force, too, the artifact stays byte for byte; the report beside it is replaced by that of the failure."""
    before = snapshot(folder)
    options = ("--force", "--output", folder / "model-4bases.safetensors")
    outcome = approximate(folder, "--bases", 2, *options, "--fail-if", "error.relative > 1e-3")
    assert outcome.code == 3
    after = snapshot(folder)
    assert set(after) == set(before)
    assert [name for name in before if after[name] != before[name]] == ["model-4bases.report.json"]
    assert report_of(folder)["withheld"] is True


def test_passed_gate_changes_nothing(folder: Path) -> None:
    """The artifact is the same as without a gate, `withheld` is not said, and the gate is told as passed."""
    before = (folder / "model-4bases.safetensors").read_bytes()
    outcome = approximate(folder, "--bases", 4, "--force", "--fail-if", "error.relative > 0.99")
    assert outcome.code == 0
    assert (folder / "model-4bases.safetensors").read_bytes() == before
    report = report_of(folder)
    assert (report["ok"], "withheld" in report, report["gates"][0]["passed"]) == (True, False, True)


def test_failed_gate_is_printed(folder: Path) -> None:
    """As one JSON document with --json, in the text without, and nowhere with --quiet; the exit code stays."""
    options = ("--bases", 4, "--force", "--fail-if", "output.bytes > 1kB")
    outcome = approximate(folder, *options, "--json")
    report = json.loads(outcome.out)
    assert (outcome.code, outcome.err, report["ok"], report["withheld"]) == (3, "", False, True)
    assert report == report_of(folder)
    outcome = approximate(folder, *options)
    assert outcome.code == 3
    assert "output.bytes > 1kB" in outcome.out
    outcome = approximate(folder, *options, "--quiet")
    assert (outcome.code, outcome.out) == (3, "")


@pytest.mark.parametrize("command", ["approximate", "evaluate"])
def test_unknown_name_ends_before_any_work(command: str, tmp_path: Path) -> None:
    """Exit code 2 with what was meant, although the files are not there either."""
    files = [tmp_path / "none.safetensors", tmp_path / "neither.safetensors"][: 1 if command == "approximate" else 2]
    options = ("--bases", 4) if command == "approximate" else ()
    outcome = run(command, *files, *options, "--fail-if", "error.relativ > 0.1")
    assert outcome.code == 2
    assert "error.relative" in outcome.err
    assert run(command, *files, *options, "--fail-if", "error.relative > 0.1").code == 1


def test_dry_run_holds_what_it_knows(folder: Path) -> None:
    """Sizes are held before a row is read, errors are not; nothing is written."""
    before = snapshot(folder)
    options = ("--bases", 4, "--force", "--dry-run", "--json", "--fail-if", "error.relative > 0")
    outcome = approximate(folder, *options)
    assert (outcome.code, json.loads(outcome.out)["gates"]) == (0, [])
    outcome = approximate(folder, *options, "--fail-if", "totals.ratio < 1000")
    assert outcome.code == 3
    document = json.loads(outcome.out)
    (gate,) = document["gates"]
    header = document["totals"]["header_bytes"]
    assert gate["value"] == pytest.approx(4 * 300 * 16 / (4 * (300 * 4 + 4 * 16) + header), rel=1e-12)
    assert 0 < header < 1000
    assert snapshot(folder) == before


def test_evaluate_fails_by_gate(folder: Path) -> None:
    """Exit code 3 with all checks passed, in the report and on stdout; the artifact stays where it is."""
    before = snapshot(folder)
    pair = (folder / "model.safetensors", folder / "model-4bases.safetensors")
    outcome = run("evaluate", *pair, "--json", "--fail-if", "neighbours.cosine.overlap < 1.01")
    report = json.loads(outcome.out)
    assert (outcome.code, report["ok"], "withheld" in report) == (3, False, False)
    assert all(check["passed"] for check in report["checks"])
    assert snapshot(folder) == before


def test_baseline_holds_a_release(folder: Path) -> None:
    """The report of an earlier run passes itself; fewer bases are worse, and pass only where that is allowed."""
    shutil.copy(folder / "model-4bases.report.json", folder / "old.json")
    assert approximate(folder, "--bases", 4, "--force", "--baseline", folder / "old.json").code == 0
    before = (folder / "model-4bases.safetensors").read_bytes()
    options = ("--force", "--output", folder / "model-4bases.safetensors", "--baseline", folder / "old.json")
    outcome = approximate(folder, "--bases", 3, *options, "--json")
    assert outcome.code == 3
    failed = {gate["expression"].split()[0] for gate in json.loads(outcome.out)["gates"] if not gate["passed"]}
    assert "error.relative" in failed
    assert "bytes_after" not in failed
    assert (folder / "model-4bases.safetensors").read_bytes() == before
    options = ("--baseline", folder / "old.json", "--max-regression", "300%")
    assert approximate(folder, "--bases", 3, "--force", *options).code == 0


def test_baseline_of_approximate_holds_an_evaluation(folder: Path) -> None:
    """What `approximate` reported is the baseline of an evaluation of the same artifact, to 0.001 %."""
    pair = (folder / "model.safetensors", folder / "model-4bases.safetensors")
    baseline = ("--baseline", folder / "model-4bases.report.json", "--max-regression", "0.001%")
    outcome = run("evaluate", *pair, *baseline, "--json")
    assert outcome.code == 0
    assert len(json.loads(outcome.out)["gates"]) == 6


@pytest.mark.parametrize("text", ["no JSON", "[" * 100_000, "\ufeff", '{"tables": []}'])
def test_hostile_baseline_ends_without_a_traceback(text: str, folder: Path) -> None:
    """Exit code 1, the file named, and nothing written."""
    (folder / "old.json").write_text(text)
    before = snapshot(folder)
    outcome = approximate(folder, "--bases", 4, "--force", "--baseline", folder / "old.json")
    assert (outcome.code, "old.json" in outcome.err) == (1, True)
    assert snapshot(folder) == before


def test_baseline_is_not_overwritten(folder: Path) -> None:
    """A report that would replace its own baseline is refused, with --force, too."""
    before = snapshot(folder)
    outcome = approximate(folder, "--bases", 4, "--force", "--baseline", folder / "model-4bases.report.json")
    assert outcome.code == 1
    assert snapshot(folder) == before
