"""The action and the pipelines of examples/ci run as they are written, and take nothing from outside for a script."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import torch
import yaml

import embcompress
from tests.command_line import run
from tests.fixtures import WORDS, save
from tests.report.workflow_log import commands_in, read_outputs

ROOT = Path(__file__).parent.parent
CI = ROOT / "examples" / "ci"
WORD_ROWS = 500
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
ACTIONS: Mapping[str, set[str]] = {
    "actions/checkout@v4": set(),
    "actions/setup-python@v5": {"python-version"},
    "actions/upload-artifact@v4": {"name", "path"},
}  # what is used of others, and the inputs given to it
# Records what pip is asked for and installs nothing, but lets Python look for pip, with the options that it was given.
PYTHON = """#!/bin/sh
option=
if [ "${{1-}}" = -I ]; then option=-I; shift; fi
if [ "${{1-}} ${{2-}}" = "-m pip" ]; then
    shift 2
    printf "%s\\n" "$*" >> {record}
    set -- -c "import pip"
fi
exec {python} $option "$@"
"""
# Asks the process of the test to run the command line as it was called, and tells what came of it.
ASK = """#!/bin/sh
printf '%s\\0' "$@" > "$0.arguments"
env -0 > "$0.environment"
echo > "$QUESTIONS"
read -r code < "$ANSWERS"
cat "$0.stdout"
cat "$0.stderr" >&2
exit "$code"
"""
SCRIPT_SECONDS_MAX = 300
OWN_PROCESS = f"#!{sys.executable}\nfrom embcompress.__main__ import main\nmain()\n"  # as pip makes it


@dataclass
class Runner:
    """A machine that runs steps: a folder with a model, and a PATH on which `embcompress` is the tree under test.

    Attributes:
        folder: with models/model.pt and the report of its last release.
        installed: the arguments of each call of pip.
        outputs: of the steps that have run, by their ids.
        uploads: the files of each upload, by its name.
        log: stdout and stderr of all.
    """

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    uploads: dict[str, list[str]] = field(default_factory=dict)
    log: str = ""

    def __post_init__(self) -> None:
        tools = self.folder / "bin"
        tools.mkdir()
        record = shlex.quote(str(self.folder / "pip.txt"))
        python = shlex.quote(sys.executable)
        scripts = {
            "pip": f'#!/bin/sh\nprintf "%s\\n" "$*" >> {record}\n',
            "python": PYTHON.format(record=record, python=python),
            "embcompress": ASK,
        }
        for name, text in scripts.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)

    @property
    def tool(self) -> Path:
        """Name what is called as `embcompress`."""
        return self.folder / "bin" / "embcompress"

    @property
    def installed(self) -> list[str]:
        """Read what pip was asked for."""
        record = self.folder / "pip.txt"
        return record.read_text().splitlines() if record.exists() else []

    def shell(self, script: str, environment: Mapping[str, str], *, interpreter: str = "bash -eo pipefail") -> int:
        """Run a script as a runner does, and return its exit code."""
        base = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
        }
        path = self.folder / "script.sh"
        path.write_text(script)
        (reading, questions), (answers, writing) = os.pipe(), os.pipe()
        shared = {"QUESTIONS": f"/dev/fd/{questions}", "ANSWERS": f"/dev/fd/{answers}"}
        with open(self.folder / "log.txt", "w+", encoding="utf-8") as log:
            process = subprocess.Popen(
                [*interpreter.split(), path],
                cwd=self.folder, env={**base, **self.variables, **environment, **shared}, pass_fds=(questions, answers),
                stdout=log, stderr=log,
            )  # fmt: skip
            os.close(questions)
            os.close(answers)
            limit = Timer(SCRIPT_SECONDS_MAX, process.kill)
            limit.daemon = True
            limit.start()
            with open(reading, encoding="utf-8") as asked, open(writing, "w", encoding="utf-8") as answered:
                for _ in asked:  # until the script and all that it has started have ended
                    print(self._run_here(), file=answered, flush=True)
            code = process.wait()
            limit.cancel()
            log.seek(0)
            self.log += log.read()
        return code

    def _run_here(self) -> int:
        """Run the command line as the script called it, in its folder and its environment; return the exit code."""
        arguments, environment = (
            self.tool.with_suffix(kind).read_text().split("\0")[:-1] for kind in (".arguments", ".environment")
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in os.environ:
                patch.delenv(name)
            for entry in environment:
                patch.setenv(*entry.split("=", 1))
            outcome = run(*arguments)
        self.tool.with_suffix(".stdout").write_text(outcome.out)
        self.tool.with_suffix(".stderr").write_text(outcome.err)
        return outcome.code

    def github_job(self, job: Mapping[str, Any], environment: Mapping[str, str]) -> int:
        """Run the steps of a job: after one that fails, only those whose condition says so."""
        code = 0
        for step in job["steps"]:
            if code == 0 or "!cancelled()" in step.get("if", ""):
                code = self.github_step(step, {}, environment) or code
        return code

    def gitlab_job(self, job: Mapping[str, Any]) -> int:
        """Run the script of a job up to the line that fails, and take its artifacts in.

        Source: https://docs.gitlab.com/ci/yaml/#artifactswhen and #artifactsreports: reports are always taken in.
        """
        code = 0
        for line in job["script"]:
            code = code or self.shell(line, job["variables"])
        artifacts = job["artifacts"]
        if {"on_success": code == 0, "on_failure": code != 0, "always": True}[artifacts.get("when", "on_success")]:
            self._upload("paths", artifacts["paths"])
        self._upload("junit", artifacts["reports"]["junit"])
        return code

    def break_evaluate(self) -> None:
        """Let `embcompress evaluate` find that a gate failed, and what comes before it leave files and end well."""
        self.tool.write_text(
            '#!/bin/sh\n[ "$1" = evaluate ] && exit 3\ntouch model.safetensors model.report.json model.xml\n'
        )

    def _upload(self, name: str, paths: Sequence[str]) -> None:
        self.uploads[name] = [path for path in paths if (self.folder / path).is_file()]

    def github_step(self, step: Mapping[str, Any], inputs: Mapping[str, str], environment: Mapping[str, str]) -> int:
        """Run a step of a workflow or of a composite action."""
        step = self._evaluate(dict(step), inputs)
        if step.get("if") == "False":
            return 0
        own = {**environment, **step.get("env", {})}
        if "run" in step:
            files = {name: self.folder / f"{name}.txt" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
            files["GITHUB_OUTPUT"].write_text("")
            code = self.shell(
                step["run"],
                {**own, "GITHUB_ACTIONS": "true", **{name: str(path) for name, path in files.items()}},
            )
            if "id" in step:
                self.outputs[step["id"]] = read_outputs(files["GITHUB_OUTPUT"].read_text() or "\n")
            return code
        given = step.get("with", {})
        if step["uses"] == "./":
            return self._action(given, step["id"])
        assert set(given) == ACTIONS[step["uses"]]
        if "path" in given:
            self._upload(given["name"], given["path"].split())
        return 0

    def _action(self, given: Mapping[str, str], step_id: str) -> int:
        action = yaml.safe_load((ROOT / "action.yml").read_text())
        assert set(given) <= set(action["inputs"])
        inputs = {name: given.get(name, one.get("default", "")) for name, one in action["inputs"].items()}
        code = 0
        for step in action["runs"]["steps"]:
            code = code or self.github_step(step, inputs, {"GITHUB_ACTION_PATH": str(ROOT)})
        self.outputs[step_id] = {name: self._evaluate(one["value"], inputs) for name, one in action["outputs"].items()}
        return code

    def _evaluate(self, value: Any, inputs: Mapping[str, str]) -> Any:
        """Put values in place of expressions, but never in a script: there none may be."""
        if isinstance(value, dict):
            assert not EXPRESSION.search(value.get("run", ""))
            return {key: self._evaluate(one, inputs) for key, one in value.items()}
        return EXPRESSION.sub(lambda match: self._value(match[1], inputs), value) if isinstance(value, str) else value

    def _value(self, expression: str, inputs: Mapping[str, str]) -> str:
        if expression == "!cancelled()":
            return "True"
        if parsed := re.fullmatch(r"inputs\.([\w-]+)( != '')?", expression):
            return str(inputs[parsed[1]] != "") if parsed[2] else inputs[parsed[1]]
        parsed = re.fullmatch(r"steps\.(\w+)\.outputs\.(\w+)", expression)
        assert parsed is not None, expression
        return self.outputs.get(parsed[1], {}).get(parsed[2], "")


@pytest.fixture(scope="module")
def last_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a model, and the report that a project keeps of its last release, which had weights as floats."""
    folder = tmp_path_factory.mktemp("release")
    report = folder / "last-release.report.json"
    words = torch.load(WORDS, weights_only=True)["embedding.weight"][:WORD_ROWS]
    model = save(folder / "model.pt", {"embedding.weight": words.clone()})
    embcompress.approximate(model, bases=8, output=folder / "old.safetensors", report=report)
    return report


@pytest.fixture
def runner(tmp_path: Path, last_release: Path) -> Iterator[Runner]:
    """Stand in a project with a model and the report of its last release."""
    (tmp_path / "models").mkdir()
    model = last_release.with_name("model.pt")
    shutil.copy(model, tmp_path / "models" / model.name)
    shutil.copy(last_release, tmp_path / "models" / last_release.name)
    yield Runner(tmp_path, {"OMP_NUM_THREADS": "1"})
    assert (tmp_path / "models" / "model.pt").read_bytes() == model.read_bytes()


def assert_released(runner: Runner, *reports: str) -> dict[str, Any]:
    """Check that the artifact is there, eight times smaller and held to the last release, and that no test failed."""
    document: dict[str, Any] = json.loads((runner.folder / "model.report.json").read_text())
    assert document["ok"] is True
    assert document["totals"]["ratio"] >= 8
    last = json.loads((runner.folder / "models" / "last-release.report.json").read_text())
    earlier = last["tables"][0]["error"]["relative"]
    expected = f"error.relative > {1.01 * earlier:.6g} (baseline {earlier:.6g} +1 %)"
    assert expected in [gate["expression"] for gate in document["gates"]]
    assert document["output"]["bytes"] == (runner.folder / "model.safetensors").stat().st_size
    for report in reports:
        suites = ET.parse(runner.folder / report).getroot()
        assert suites.findall(".//testcase")
        assert not suites.findall(".//failure")
    return document


UPLOADS = {
    "with-the-action": {
        "compressed-model-reports": ["model.report.json", "model.html", "model.xml"],
        "compressed-model": ["model.safetensors"],
    },
    "step-by-step": {
        "evaluated-model-reports": ["model.report.json", "evaluation.html", "evaluation.xml"],
        "evaluated-model": ["model.safetensors"],
    },
}


@pytest.mark.parametrize("job", UPLOADS)
def test_github_workflow_runs(runner: Runner, job: str) -> None:
    """Every step of either job ends well, the files to upload are there, and the summary holds the report."""
    workflow = yaml.safe_load((CI / "github-actions.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert runner.github_job(workflow["jobs"][job], workflow["env"]) == 0, runner.log
    assert runner.uploads == UPLOADS[job]
    assert commands_in(runner.log) == []
    summary = (runner.folder / "GITHUB_STEP_SUMMARY.txt").read_text()
    assert "embedding.weight" in summary
    if job == "with-the-action":
        document = assert_released(runner, "model.xml")
        error = document["tables"][0]["error"]["relative"]
        assert runner.outputs["compress"] == {
            "ok": "true", "output": "model.safetensors", "bytes": str(document["output"]["bytes"]),
            "ratio": repr(document["totals"]["ratio"]), "error": repr(error), "report": "model.report.json",
        }  # fmt: skip
        assert f"with an error of {error!r}\n" in runner.log
        assert runner.installed == [f"install --quiet {ROOT}"]
    else:
        assert_released(runner, "evaluation.xml")
        assert summary.count("\n## ") == 1  # after that of the first command
        assert runner.installed == ["install embcompress"]


def test_gitlab_pipeline_runs(runner: Runner) -> None:
    """Every line of the script ends well, and what it keeps is there."""
    job = yaml.safe_load((CI / "gitlab-ci.yml").read_text())["compress"]
    assert runner.gitlab_job(job) == 0, runner.log
    assert runner.uploads == {
        "paths": ["model.safetensors", "model.report.json"],
        "junit": ["model.xml", "evaluation.xml"],
    }
    assert_released(runner, *job["artifacts"]["reports"]["junit"])
    assert runner.installed == ["install embcompress"]


def test_artifact_that_fails_its_evaluation_is_not_uploaded(runner: Runner) -> None:
    """Where `evaluate` ends with 3, the job does too, and of what it made only reports are uploaded."""
    runner.break_evaluate()
    workflow = yaml.safe_load((CI / "github-actions.yml").read_text())
    assert runner.github_job(workflow["jobs"]["step-by-step"], workflow["env"]) == 3
    assert runner.uploads == {"evaluated-model-reports": ["model.report.json"]}
    for made in runner.folder.glob("model.*"):
        made.unlink()
    runner.uploads.clear()
    assert runner.gitlab_job(yaml.safe_load((CI / "gitlab-ci.yml").read_text())["compress"]) == 3
    assert runner.uploads == {"junit": ["model.xml"]}
    assert (runner.folder / "model.safetensors").is_file()


def test_release_script_releases(runner: Runner) -> None:
    """A model that keeps to the gate is released under the name asked for."""
    script = (CI / "release.sh").read_text()
    code = runner.shell(f"set -- models/model.pt 'a b.safetensors'\n{script}", {}, interpreter="sh")
    assert (code, "released: a b.safetensors" in runner.log) == (0, True)
    assert (runner.folder / "a b.safetensors").is_file()


@pytest.mark.parametrize(
    ("ended", "code", "message"),
    [(1, 1, "at fault"), (2, 1, "calls embcompress wrongly"), (3, 3, "would be too far"), (143, 1, "by a signal")],
)
def test_release_script_handles_every_exit_code(runner: Runner, ended: int, code: int, message: str) -> None:
    """Each exit code of embcompress ends in its own words, and only a failed gate ends in 3."""
    runner.tool.write_text(f"#!/bin/sh\nexit {ended}\n")
    script = (CI / "release.sh").read_text()
    assert runner.shell(f"set -- m a\n{script}", {}, interpreter="sh") == code
    assert re.search(rf"^nothing released: .*{message}", runner.log, re.MULTILINE)


@pytest.mark.parametrize(
    "given",
    [
        {"checkpoint": "$(touch evil)", "arguments": "--bases 2"},
        {"checkpoint": "x'; touch evil; '", "arguments": "--bases 2"},
        {"checkpoint": "models/model.pt", "arguments": "--bases 2 -n; touch evil"},
        {
            "checkpoint": "models/model.pt",
            "arguments": "--bases 2 -n `touch evil` $(touch evil) | touch evil\ntouch evil",
        },
        {"checkpoint": "--version", "arguments": ""},
        {"checkpoint": "models/model.pt", "arguments": "-n --bases 2", "command": "inspect x; touch evil #"},
        {"checkpoint": "models/model.pt", "arguments": "-n --bases 'unclosed"},
        {"checkpoint": "m", "arguments": "", "extras": "x]; touch evil; $(touch evil)"},
    ],
)
def test_inputs_of_the_action_are_never_run(runner: Runner, given: dict[str, str]) -> None:
    """Whatever the inputs hold, no shell runs it, and the step fails."""
    assert runner.github_step({"id": "it", "uses": "./", "with": given}, {}, {}) != 0
    assert not (runner.folder / "evil").exists()
    assert "embcompress 0" not in runner.log
    assert set(runner.outputs["it"]) == {"ok", "output", "bytes", "ratio", "error", "report"}
    assert runner.outputs["it"]["ok"] in {"false", ""}


def test_action_passes_arguments_and_gates_on(runner: Runner) -> None:
    """Quoted arguments arrive whole, and a failed gate fails the step with 3, annotated, with no output to publish."""
    given = {
        "checkpoint": "models/model.pt",
        "arguments": "--bases 2 --neighbours 0 --fail-if 'error.relative > 0.25' --output \"a b.safetensors\"",
        "extras": "",
        "python-version": "3.12",
    }
    assert runner.github_step({"id": "it", "uses": "./", "with": given}, {}, {}) == 3
    assert runner.installed == [f"install --quiet {ROOT}"]
    ((kind, properties, message),) = commands_in(runner.log)
    assert (kind, properties["title"]) == ("error", "embcompress approximate: gate failed")
    assert message.startswith("error.relative > 0.25 in table 'embedding.weight': it is 0.")
    assert not (runner.folder / "a b.safetensors").exists()
    outputs = runner.outputs["it"]
    assert (outputs["ok"], outputs["output"], outputs["report"]) == ("false", "", "a b.report.json")
    assert (runner.folder / "a b.report.json").is_file()


def test_action_runs_no_module_of_the_workspace(runner: Runner) -> None:
    """Modules in the checked-out folder that are called like those of Python, pip and embcompress are not imported."""
    runner.tool.write_text(OWN_PROCESS)
    evil = "import pathlib; pathlib.Path('evil').touch(); raise SystemExit('evil ran')\n"
    for name in ("os.py", "shlex.py", "site.py", "embcompress.py", "torch.py", "pip/__init__.py", "pip/__main__.py"):
        (runner.folder / name).parent.mkdir(exist_ok=True)
        (runner.folder / name).write_text(evil)
    given = {"checkpoint": "models/model.pt", "arguments": "--bases 2 --neighbours 0 --output a.safetensors"}
    assert runner.github_step({"id": "it", "uses": "./", "with": given}, {}, {}) == 0, runner.log
    assert runner.outputs["it"]["output"] == "a.safetensors"
    assert not (runner.folder / "evil").exists()
    assert runner.shell("python -m pip", {}) != 0  # without -I, the folder's modules come first
    assert (runner.folder / "evil").exists()
