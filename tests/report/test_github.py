"""GitHub Actions: annotations, summary and outputs of a step, read back by the rules of its runner."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from embcompress.cli import main as cli
from embcompress.exceptions import EmbcompressError
from embcompress.report.github import (
    CUT,
    SUMMARY_BYTES_MAX,
    annotation,
    cut_summary,
    failure_annotation,
    failure_summary,
    inert,
    render_outputs,
)
from tests.command_line import Outcome, run
from tests.report.workflow_log import HOSTILE, commands_in, read_outputs


class Step:
    """A step of a workflow: its folder and files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.summary, self.outputs = folder / "summary", folder / "outputs"
        monkeypatch.chdir(folder)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(self.summary))
        monkeypatch.setenv("GITHUB_OUTPUT", str(self.outputs))
        for variable in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(variable, raising=False)

    def read(self) -> dict[str, str]:
        """Read the outputs."""
        return read_outputs(self.outputs.read_text())


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    """Stand in a step whose folder holds a small model."""
    generator = torch.Generator().manual_seed(0)
    safetensors.torch.save_file(
        {"entities.weight": torch.randn(90, 12, generator=generator)}, tmp_path / "m.safetensors"
    )
    return Step(tmp_path, monkeypatch)


def test_run_shows_up_beside_its_step(step: Step) -> None:
    """The report is the summary, the outputs are the report's numbers, and nothing is annotated where all is well."""
    outcome = run("approximate", "m.safetensors", "--bases", 4, "--neighbours", 0)
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads(Path("m-4bases.report.json").read_text())
    assert step.read() == {
        "ok": "true",
        "output": "m-4bases.safetensors",
        "bytes": str(Path("m-4bases.safetensors").stat().st_size),
        "ratio": repr(report["totals"]["ratio"]),
        "error": repr(report["tables"][0]["error"]["relative"]),
        "report": "m-4bases.report.json",
    }
    run("approximate", "m.safetensors", "--bases", 4, "--neighbours", 0, "--report", "a.md", "-f", "-q")
    assert step.read()["report"] == "a.md"
    first, second = step.summary.read_text().split("\n## ")
    assert Path("a.md").read_text() == f"## {second}"
    assert "m-4bases.safetensors" in first


def test_failed_gate_is_annotated(step: Step) -> None:
    """A gate that fails is an error beside the run with its number, and no output names the withheld file."""
    outcome = run(
        "approximate", "m.safetensors", "--bases", 2, "--neighbours", 0,
        "--fail-if", "error.relative > 0.1", "--report", "r.json", "--json",
    )  # fmt: skip
    assert outcome.code == 3
    document = json.loads(outcome.out)
    error = document["tables"][0]["error"]["relative"]
    ((kind, properties, message),) = commands_in(outcome.err)
    assert (kind, properties["title"]) == ("error", "embcompress approximate: gate failed")
    assert message == f"error.relative > 0.1 in table 'entities.weight': it is {error:.6g}."
    text = step.read()
    assert (text["ok"], text["report"], text["error"]) == ("false", "r.json", repr(error))
    assert (text["output"], text["bytes"]) == ("", "")  # no size of what is not there


DRY_RUNS = {
    "approximate": (["approximate", "m.safetensors", "--bases", 4], 0, ""),
    "failed gate": (["approximate", "m.safetensors", "--bases", 4, "--fail-if", "totals.ratio < 99"], 3, "false"),
    "backfill": (["backfill", "m.safetensors", "--max-id", 95, "--base-ids", "ids"], 0, ""),
    "reconstruct": (["reconstruct", "a.safetensors"], 0, ""),
    "evaluate": (["evaluate", "m.safetensors", "a.safetensors"], 0, ""),
}


@pytest.mark.parametrize(("args", "code", "ok"), DRY_RUNS.values(), ids=DRY_RUNS)
def test_dry_run_says_that_nothing_was_written(step: Step, args: list[object], code: int, ok: str) -> None:
    """No dry run is called good in its outputs, none names a report, and each summary says so once, at its start."""
    run("approximate", "m.safetensors", "--bases", 4, "--neighbours", 0, "-o", "a.safetensors")
    Path("ids").write_text("\n".join(map(str, range(90))))
    for file in (step.outputs, step.summary):
        file.unlink()
    assert run(*args, "-n", "--report", "r.json").code == code
    text = step.read()
    assert (text["ok"], text["report"], text["error"]) == (ok, "", "")
    evaluated = args[0] == "evaluate"
    size = str(Path("a.safetensors").stat().st_size)
    assert (text["output"], text["bytes"]) == (("a.safetensors", size) if evaluated else ("", ""))
    summary = step.summary.read_text()
    assert summary.count("Nothing was written.") == 1
    assert summary.splitlines()[2].startswith("Nothing was written.")
    assert not Path("r.json").exists()


@pytest.mark.parametrize(("gate", "code"), [([], 1), (["--fail-if", "error.relative > 0"], 3)])
def test_outputs_are_there_before_stdout_fails(step: Step, gate: list[str], code: int) -> None:
    """A full disk behind stdout costs no output, no summary and no gate's exit code; stderr says what was written."""
    err = io.StringIO()
    with open("/dev/full", "w") as full, contextlib.redirect_stderr(err), contextlib.redirect_stdout(full):
        ended = cli._run(["approximate", "m.safetensors", "--bases", "4", "--report", "r.json", *gate])
    assert ended == code
    text = step.read()
    assert (text["ok"], text["report"]) == (("false" if gate else "true"), "r.json")
    assert step.summary.read_text().startswith("## ")
    files = "r.json" if gate else "m-4bases.safetensors, r.json"
    last = err.getvalue().splitlines()[-1]
    assert last == (
        f"error: standard output cannot be written: No space left on device. The run is done; written: {files}."
    )


@pytest.mark.parametrize(
    ("args", "code", "command", "message"),
    [
        (["approximate", "nope", "--bases", 2], 1, "embcompress approximate", "nope does not exist.\nCheck the path."),
        (
            ["approximate", "m.safetensors", "--bases", 0],
            2,
            "embcompress approximate",
            "--bases must be at least 1; got 0.",
        ),
        (["::error::x"], 2, "embcompress", "there is no command '::error::x'."),
    ],
)
@pytest.mark.parametrize("is_json", [False, True])
def test_failing_command_is_annotated(
    step: Step, args: list[object], code: int, command: str, message: str, is_json: bool
) -> None:
    """What went wrong stands beside the run and in the summary; stdout of --json stays one document."""
    outcome = run(*args, *["--json"] * is_json)
    assert outcome.code == code
    ((kind, properties, text),) = commands_in(outcome.err)
    assert (kind, properties["title"]) == ("error", f"{command} failed")
    assert text.startswith(message) or message in text
    assert step.read() == {"ok": "false", "output": "", "bytes": "", "ratio": "", "error": "", "report": ""}
    assert step.summary.read_text().startswith(f"### {command} failed\n\n<pre>error: ")
    if is_json:
        assert json.loads(outcome.out)["ok"] is False


def test_warnings_of_a_backfill_are_annotated(step: Step) -> None:
    """Each warning is one beside the run; with --quiet there is none."""
    Path("old").write_text("\n".join(f"e{i}" for i in range(90)))
    Path("new").write_text("\n".join(f"e{i}" for i in range(50, 100)))
    args = ["backfill", "m.safetensors", "--base-labels", "old", "--labels", "new", "-f"]
    ((kind, _, message),) = commands_in(run(*args).err)
    assert (kind, message.partition(", ")[0]) == ("warning", "50 rows were dropped with their labels: 'e0'")
    assert run(*args, "-q") == Outcome(0, "", "")
    assert step.read()["output"] == "m-backfilled.safetensors"


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_command_nothing(step: Step, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a tensor, a label or a file is called: no command of its own, no other output, no raw escape."""
    monkeypatch.setenv("COLUMNS", "60")
    torch.save({name: torch.randn(90, 12)}, "h.pt")
    runs = [
        ["inspect", "h.pt"],
        ["inspect", "h.pt", "--json"],
        ["approximate", "h.pt", "--bases", 2, "--neighbours", 0, "--fail-if", "error.relative > 0", "--table", "*"],
        ["approximate", "h.pt", "--bases", 99, "--table", "*"],
        ["approximate", "h.pt", "--bases", 2, "--table", name + "x"],
        ["inspect", name + "x"],
        [name],
    ]
    for args in runs:
        step.outputs.unlink(missing_ok=True)
        outcome = run(*args)
        text = outcome.out + outcome.err
        assert {command for command, _, _ in commands_in(text)} <= {"error"}
        assert all("failed" in properties["title"] for _, properties, _ in commands_in(text))
        assert set(step.read()) == {"ok", "output", "bytes", "ratio", "error", "report"}
        assert not set("\x1b\x9b\x07\u202e") & set(text)
        if "--json" in args:
            assert json.loads(outcome.out)["tables"][0]["name"] == name
    summary = step.summary.read_text()
    assert "<script" not in re.sub(r"`.*?`", "", summary)  # what is quoted is text
    assert not set("\x1b\x9b\x07\u202e") & set(summary)


def test_artifact_named_like_an_output_stays_one(step: Step) -> None:
    """A path with line ends is one value of one output, behind whatever the delimiter may be guessed to be."""
    name = "x\nEOF\nok<<EOF\nfalse.safetensors"
    assert run("approximate", "m.safetensors", "--bases", 2, "--neighbours", 0, "-o", name).code == 0
    assert (step.read()["output"], step.read()["ok"]) == (name, "true")
    delimiters = set(re.findall(r"<<([0-9a-f]{32})\n", step.outputs.read_text()))
    run("approximate", "m.safetensors", "--bases", 2, "--neighbours", 0, "-o", name, "-f")
    assert len(delimiters) == 1
    assert len(set(re.findall(r"<<([0-9a-f]{32})\n", step.outputs.read_text()))) == 2


@pytest.mark.parametrize("path", ["nowhere/file", ".", "/dev/full", "pipe"])
def test_files_that_cannot_be_written_cost_a_warning(step: Step, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing folder, a folder, a full disk and a pipe without reader are told in a line each, and no more."""
    os.mkfifo("pipe")
    for variable in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.setenv(variable, path)
    outcome = run("inspect", "m.safetensors")
    assert outcome.code == 0
    first, second = outcome.err.splitlines()
    assert first.startswith(f"warning: GITHUB_STEP_SUMMARY='{path}' cannot be written: ")
    assert second.startswith(f"warning: GITHUB_OUTPUT='{path}' cannot be written: ")
    assert not step.summary.exists()


@pytest.mark.parametrize("value", ["", "false", "1"])
def test_nothing_is_written_elsewhere(step: Step, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where GITHUB_ACTIONS is not true, its files stay as they are; where it names none, nothing is missing."""
    monkeypatch.setenv("GITHUB_ACTIONS", value)
    assert (run("inspect", "m.safetensors").err, step.outputs.exists(), step.summary.exists()) == ("", False, False)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("GITHUB_OUTPUT")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "")
    assert run("inspect", "m.safetensors").err == ""


def test_cut_summary_keeps_to_the_limit() -> None:
    """A summary is whole up to 1 MiB with what is there already; else cut at a line, which its first lines say."""
    line = "é" * 30 + "\n"
    assert cut_summary(line, already=0) == line.encode()
    assert cut_summary(line, already=5) == b"\n" + line.encode()
    long = line * 40_000
    for already in (0, 1, 1000, SUMMARY_BYTES_MAX - len(CUT.encode()) - 3):
        cut = cut_summary(long, already=already)
        assert SUMMARY_BYTES_MAX - 61 - already <= len(cut) <= SUMMARY_BYTES_MAX - already
        assert cut.decode().startswith(CUT)
        assert set(cut.decode()[len(CUT) :].split("\n")) <= {"é" * 30, ""}
    assert cut_summary(long, already=SUMMARY_BYTES_MAX) == b""
    assert cut_summary(long, already=2 * SUMMARY_BYTES_MAX) == b""
    assert cut_summary("\udcff", already=0) == b"\\udcff\n"


def test_annotation_escapes_what_github_demands() -> None:
    """Per cent and line ends in both, colons and commas in the title; parsed back, both are as they were."""
    line = annotation("error", "100 %, a:b\nc", title="t: 1,2 %\nx")
    assert line == "::error title=t%3A 1%2C2 %25 x::100 %25, a:b%0Ac\n"
    assert commands_in(line) == [("error", {"title": "t: 1,2 % x"}, "100 %, a:b\nc")]
    failure = EmbcompressError("what\r\n::error::x.", hint="do\nthis")
    assert commands_in(failure_annotation(failure, command="c")) == [
        ("error", {"title": "c failed"}, "what\\r\n\\x3a:error::x.\ndo\nthis")
    ]


def test_failure_summary_is_text() -> None:
    """No tag and no end of the block that a message holds is one of the page."""
    summary = failure_summary(EmbcompressError("</pre><script>\x1b[2J", hint="a & b"), command="c")
    assert summary == ("### c failed\n\n<pre>error: &lt;/pre&gt;&lt;script&gt;\\x1b[2J\nhint: a &amp; b</pre>\n")


@pytest.mark.parametrize(
    "text", ["::x::y", "  ::x::y", "\u00a0::x::y", "a\n::x", "##[error]x", "a ##[add-mask]x", ":::x"]
)
def test_inert_leaves_no_command(text: str) -> None:
    """No line starts with two colons, and none holds what the old form starts with; JSON keeps its meaning."""
    assert commands_in(text) or text in {"a\n::x", ":::x"}
    shown = inert(text)
    assert commands_in(shown) == []
    assert not any(line.lstrip().startswith("::") for line in shown.splitlines())
    assert json.loads(inert(json.dumps({"a": text}, indent=2))) == {"a": text}


def test_render_outputs_is_read_back() -> None:
    """Values of several lines, empty ones and such as look like outputs come back as they were."""
    values = {"a": "", "b": "x\ny<<z\n\n", "c": "d41d8"}
    assert read_outputs(render_outputs(values, delimiter="d41d8cd98f")) == values
