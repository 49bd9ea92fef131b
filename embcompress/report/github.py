"""Annotations, outputs and the summary of a step of GitHub Actions. Text only: `cli` writes it.

Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions, and the runner's parser: a line
is a command where it starts with `::`, after blanks, or holds `##[` anywhere.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from embcompress.exceptions import EmbcompressError
from embcompress.report.document import document_of
from embcompress.report.json import is_ok
from embcompress.report.judgements import check_sentence, gate_sentence
from embcompress.report.names import spelled, text_of
from embcompress.results import (
    ApproximateResult,
    BackfillResult,
    Check,
    EvaluateResult,
    Gate,
    InspectResult,
    ReconstructResult,
    Result,
    SweepResult,
    VerifyResult,
)
from embcompress.text import report_path

SUMMARY_BYTES_MAX = 2**20  # of a step; a longer file is not shown at all
ANNOTATIONS_MAX = 10  # of a kind that GitHub keeps of a step
CUT = (
    "\n**GitHub shows 1 MiB of a step, so the end of this report is missing here; the report files are complete.**\n\n"
)
# Put first: at the end it could stand inside of something that is folded.
COMMAND_START = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*):(?=:)", re.MULTILINE)
OLD_COMMAND_START = "##["


def inert(text: str) -> str:
    r"""Spell out what the runner would take for a command; of JSON, the document stays the same.

    Example:
        >>> inert("::add-mask::x") == r"\x3a:add-mask::x"
        True
    """
    spelled = COMMAND_START.sub(r"\1\\x3a", text)
    return spelled.replace(OLD_COMMAND_START, r"#\u0023[")


def annotation(kind: str, message: str, *, title: str) -> str:
    """Make the line that shows a message beside the run.

    Args:
        kind: "error", "warning" or "notice".
        message: any text.
        title: any text.
    """
    return f"::{kind} title={_escape_property(title)}::{_escape(message)}\n"


def annotate(result: Result, *, quiet: bool = False) -> str:
    """Make a line for each gate and each check that failed, and, unless quiet, for each warning and note."""
    lines = [
        annotation("error", gate_sentence(gate), title=f"embcompress {result.command}: gate failed")
        for gate in _gates(result)
        if not gate.passed
    ]
    lines += [
        annotation("error", check_sentence(check), title=f"embcompress {result.command}: check failed")
        for check in _checks(result)
        if not check.passed
    ]
    if len(lines) > ANNOTATIONS_MAX:
        more = len(lines) - ANNOTATIONS_MAX + 1
        title = f"embcompress {result.command}: {more} more failed"
        lines[ANNOTATIONS_MAX - 1 :] = [annotation("error", "The summary of the step lists all of them.", title=title)]
    warnings = () if quiet else _warnings(result)
    lines += [annotation("warning", text, title=f"embcompress {result.command}") for text in warnings[:ANNOTATIONS_MAX]]
    notes: tuple[str, ...] = ()
    if isinstance(result, ApproximateResult | BackfillResult | EvaluateResult) and not quiet:
        notes = result.notes
    lines += [annotation("notice", text, title=f"embcompress {result.command}") for text in notes[:ANNOTATIONS_MAX]]
    return "".join(lines)


def failure_annotation(failure: EmbcompressError, *, command: str) -> str:
    """Make the line that says why a command failed."""
    message = f"{failure.message}\n{failure.hint}" if failure.hint else failure.message
    return annotation("error", message, title=f"{command} failed")


def failure_summary(failure: EmbcompressError, *, command: str) -> str:
    """Say in Markdown why a command failed."""
    message = "\n".join(filter(None, (f"error: {failure.message}", failure.hint and f"hint: {failure.hint}")))
    return f"### {command} failed\n\n<pre>{html.escape(_printable(message))}</pre>\n"


def outputs_of(result: Result, *, report: Sequence[Path]) -> dict[str, str]:
    """List the outputs of a step: what the run made and how good it is; empty where there is no such thing.

    Args:
        result: of the run.
        report: the files that the report was asked to go to; without any, it lies beside the output.
    """
    output, nbytes, ratio, error = written_path(result), "", "", ""
    first = str(report[0]) if report else ""
    if isinstance(result, ApproximateResult | BackfillResult | ReconstructResult):
        target = Path(result.output.path)
        first = first or str(report_path(target, is_folder=target.is_dir()))
        nbytes = str(result.output.bytes) if output else ""
    elif isinstance(result, EvaluateResult):
        output, nbytes = result.artifact.path, str(result.artifact.bytes)
    if isinstance(result, ApproximateResult | BackfillResult | EvaluateResult):
        ratio = repr(result.totals.ratio)
    if isinstance(result, ApproximateResult | EvaluateResult):
        errors = [table.error.relative for table in result.tables if table.error is not None]
        error = repr(max(errors)) if errors else ""
    ok = "false" if not is_ok(result) else "" if is_dry(result) else "true"
    outputs = {"ok": ok, "output": output, "bytes": nbytes, "ratio": ratio, "error": error}
    return {**outputs, "report": "" if is_dry(result) else first}


def failure_outputs() -> dict[str, str]:
    """List the outputs of a step that failed."""
    return {"ok": "false", "output": "", "bytes": "", "ratio": "", "error": "", "report": ""}


def is_dry(result: Result) -> bool:
    """Whether a result is that of a dry run, which measures and writes nothing."""
    return not isinstance(result, InspectResult | SweepResult | VerifyResult) and result.dry_run


def written_path(result: Result) -> str:
    """Name the file that a run wrote beside its reports; empty where there is none."""
    if not isinstance(result, ApproximateResult | BackfillResult | ReconstructResult) or result.dry_run:
        return ""
    return "" if isinstance(result, ApproximateResult) and result.withheld else str(Path(result.output.path))


def render_outputs(outputs: Mapping[str, str], *, delimiter: str) -> str:
    r"""Write outputs of a step as GITHUB_OUTPUT takes them.

    Args:
        outputs: by name.
        delimiter: a line that nobody can guess, so that no value can end itself and go on with another output.

    Example:
        >>> render_outputs({"ok": "true"}, delimiter="d41d8")
        'ok<<d41d8\ntrue\nd41d8\n'
    """
    return "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in outputs.items())


def cut_summary(markdown: str, *, already: int) -> bytes:
    """Cut a summary, at the end of a line, to what GitHub shows of a step.

    Args:
        markdown: the summary.
        already: bytes in the file, by earlier commands of the same step.
    """
    content = f"{chr(10) * bool(already)}{markdown.rstrip()}\n".encode("utf-8", "backslashreplace")
    if len(content) <= SUMMARY_BYTES_MAX - already:
        return content
    left = SUMMARY_BYTES_MAX - already - len(CUT.encode())
    if left < 0:
        return b""
    return CUT.encode() + content[: content.rfind(b"\n", 0, left) + 1]


def _gates(result: Result) -> Sequence[Gate]:
    return result.gates if isinstance(result, ApproximateResult | EvaluateResult) else ()


def _warnings(result: Result) -> Sequence[str]:
    own = result.warnings if isinstance(result, ApproximateResult | BackfillResult | EvaluateResult) else ()
    return (*map(text_of, document_of(result).warnings), *own)


def _checks(result: Result) -> Iterable[Check]:
    return result.checks if isinstance(result, EvaluateResult | VerifyResult) else ()


def _printable(text: str) -> str:
    """Spell out what a terminal or a browser would obey, but for the ends of lines."""
    return "\n".join(map(spelled, text.split("\n")))


def _escape(text: str) -> str:
    r"""Escape a message; a carriage return is no end of a line here, and is spelled out before.

    Example:
        >>> _escape("100 %\n::x")
        '100 %25%0A\\x3a:x'
    """
    printable = inert(_printable(text))
    return printable.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text.replace("\n", " ")).replace(":", "%3A").replace(",", "%2C")
