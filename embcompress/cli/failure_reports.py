"""The reports of a command that failed, for those who wait for their files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from embcompress.artifact.atomic_file import AtomicFile, check_output
from embcompress.exceptions import EmbcompressError, OutputError
from embcompress.report.failures import FAILURE_RENDERERS


def write_failure_reports(failure: EmbcompressError, parsed: Mapping[str, Any], *, command: str) -> None:
    """Write what went wrong to each report that was asked for, and pass over those that may not be written.

    A report that is there stays, with --force too: a command that fails leaves every old file as it was.

    Args:
        failure: of the command.
        parsed: the arguments of the command by their names: "report" and "dry_run" if it has them. Whatever
            else may be a path is taken for an input or another output, which no report replaces.
        command: as in "embcompress approximate".
    """
    if parsed.get("dry_run"):
        return
    others = [path for name, value in parsed.items() if name != "report" for path in _paths(value)]
    taken = {os.path.realpath(path) for path in others}
    for path in _paths(parsed.get("report")):
        ending = path.suffix.lower()
        if ending not in FAILURE_RENDERERS or os.path.realpath(path) in taken:
            continue
        with suppress(OutputError):
            target = check_output(path, force=False, inputs=others)
            with AtomicFile(target, force=False) as file:
                file.write(FAILURE_RENDERERS[ending](failure, command=command).encode())
                file.commit()


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, str | Path):
        yield Path(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)
