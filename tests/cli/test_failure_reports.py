"""The reports of a command that fails: JUnit and JSON say why, and no file is lost for them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest
import safetensors.torch
import torch

from embcompress.report.schema import report_schema
from tests.command_line import run, snapshot


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a small model."""
    generator = torch.Generator().manual_seed(0)
    safetensors.torch.save_file({"entity.weight": torch.randn(60, 8, generator=generator)}, tmp_path / "m.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("args", "code", "kind", "message"),
    [
        (["approximate", "nope.pt", "--bases", 2], 1, "checkpoint", "nope.pt does not exist."),
        (["approximate", "m.safetensors", "--bases", 99], 1, "rank", "so it has at most 8 bases, not 99."),
        (["approximate", "m.safetensors", "--bases", 2, "--energy", 0.5], 2, "usage", "--energy"),
        (["evaluate", "m.safetensors", "no\x1b<&\nart"], 1, "checkpoint", r"no\x1b<&"),
        (["inspect", "nope.pt"], 1, "checkpoint", "nope.pt does not exist."),
    ],
)
def test_reports_say_why_a_command_failed(args: list[object], code: int, kind: str, message: str) -> None:
    """JUnit holds one test case with the error, JSON the document that --json prints, other forms are not made."""
    outcome = run(*args, "--report", "r.xml", "--report", "r.JSON", "--report", "r.md", "--json")
    assert outcome.code == code
    document = json.loads(Path("r.JSON").read_text())
    assert document == json.loads(outcome.out)
    jsonschema.validate(document, report_schema())
    root = ET.parse("r.xml").getroot()
    for suite in (root, root.find("testsuite")):
        assert suite is not None
        assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["1", "0", "1"]
    (case,) = root.iter("testcase")
    assert (case.get("classname"), case.get("name")) == (f"embcompress.{args[0]}", f"embcompress {args[0]}")
    (error,) = case
    assert (error.tag, error.get("type")) == ("error", kind)
    assert message in str(error.get("message"))
    assert message in str(error.text)
    assert document["error"]["hint"] in str(error.text)
    assert not Path("r.md").exists()


def test_reports_of_a_failure_replace_nothing_unasked(folder: Path) -> None:
    """An old file stays, with --force too; a dry run writes nothing."""
    (folder / "old.xml").write_text("old")
    (folder / "labels.json").write_text("{}")
    (folder / "link.xml").symlink_to("m.safetensors")
    before = snapshot(folder)
    failing = ["approximate", "m.safetensors", "--bases", 99]
    for args in (
        [*failing, "--report", "old.xml"],
        [*failing, "--report", "old.xml", "-f"],
        [*failing, "--report", "link.xml", "-f"],
        [*failing, "--report", "labels.json", "--labels", "labels.json", "-f"],
        [*failing, "--report", "new.xml", "-o", "new.xml", "-f"],
        [*failing, "--report", "new.xml", "-n"],
        [*failing, "--report", "nowhere/new.xml"],
        [*failing, "--report", "new.xml", "--no-such-option"],
    ):
        assert run(*args).code in (1, 2)
        assert snapshot(folder) == before, args
