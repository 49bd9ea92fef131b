"""Write a run's summary and outputs to the files that GitHub Actions provides."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from embcompress.exceptions import EmbcompressError
from embcompress.report import github, render
from embcompress.results import Result

DELIMITER_BYTES = 16  # of the random line around an output


def tell_result(result: Result, environment: Mapping[str, str], *, report: Sequence[Path], quiet: bool) -> str:
    """Append the report and the outputs of a run to the files of its step.

    Args:
        result: of the run.
        environment: of the process.
        report: the files that the report was asked to go to.
        quiet: write no warning.

    Returns:
        What goes to stderr: annotations, and a warning for each file that cannot be written.
    """
    warnings = _append(render(result, ".md"), github.outputs_of(result, report=report), environment)
    return github.annotate(result, quiet=quiet) + warnings


def files_of(result: Result, *, report: Sequence[Path]) -> list[str]:
    """List the files that a run has written: its output, and the reports that were asked for."""
    reports = [] if github.is_dry(result) else [str(path) for path in report]
    return [*filter(None, [github.written_path(result)]), *reports]


def tell_failure(failure: EmbcompressError, environment: Mapping[str, str], *, command: str) -> str:
    """Append what went wrong to the files of the step; return what goes to stderr, as `tell_result`."""
    warnings = _append(github.failure_summary(failure, command=command), github.failure_outputs(), environment)
    return github.failure_annotation(failure, command=command) + warnings


def _append(summary: str, outputs: Mapping[str, str], environment: Mapping[str, str]) -> str:
    text = github.render_outputs(outputs, delimiter=secrets.token_hex(DELIMITER_BYTES))
    contents: Mapping[str, Callable[[int], bytes]] = {
        "GITHUB_STEP_SUMMARY": lambda size: github.cut_summary(summary, already=size),
        "GITHUB_OUTPUT": lambda size: os.fsencode("\n" * bool(size) + text),
    }
    return "".join(_append_to(environment.get(name, ""), name, content) for name, content in contents.items())


def _append_to(path: str, name: str, content_at: Callable[[int], bytes]) -> str:
    """Append to a file, if there is one, what depends on its size; return a warning where that fails."""
    if not path:
        return ""
    try:
        # A pipe that nobody reads would be waited for.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(path, flags, 0o666), "wb") as file:
            file.write(content_at(os.fstat(file.fileno()).st_size))
    except OSError as err:
        return github.inert(f"warning: {name}={path!a} cannot be written: {err.strerror}.\n")
    return ""
