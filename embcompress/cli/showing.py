"""The output of a run of the command line: its progress on stderr, its result on stdout."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import typer

from embcompress.cli.github_step import files_of, tell_result
from embcompress.cli.process import (
    EXIT_FAILED,
    EXIT_GATE,
    StdoutError,
    discard_stdout,
    is_in_actions,
    print_error,
    print_text,
)
from embcompress.report.colors import is_capable, render_text
from embcompress.report.json import is_ok, render_json
from embcompress.report.names import spelled
from embcompress.report.progress import ProgressLines, progress_bar
from embcompress.report.terminal import render_terminal
from embcompress.results import Result

PIPE_WIDTH = 160  # columns of a report that no terminal shows


def show(
    result: Result, *, json: bool, quiet: bool, verbose: bool = False, report: Sequence[Path] | None = None
) -> None:
    """Print a result, and exit with EXIT_GATE where a gate or a check failed, whatever becomes of the printing.

    Args:
        result: of the command.
        json: as one document, and nothing else.
        quiet: not at all.
        verbose: with every column.
        report: the files that the report was asked to go to.
    """
    code = 0 if is_ok(result) else EXIT_GATE
    if is_in_actions():
        print_error(tell_result(result, os.environ, report=report or (), quiet=quiet), is_command=True)
    try:
        _print_result(result, json=json, quiet=quiet, verbose=verbose)
    except StdoutError as err:
        files = ", ".join(map(spelled, files_of(result, report=report or ())))
        done = f" The run is done; written: {files}." if files else ""
        print_error(f"error: standard output cannot be written: {err}.{done}\n")
        discard_stdout()
        code = code or EXIT_FAILED
    if code:
        raise typer.Exit(code)


def _print_result(result: Result, *, json: bool, quiet: bool, verbose: bool) -> None:
    if json:
        print_text(render_json(result))
    elif not quiet:
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        print_text(render_text(render_terminal(result, verbose=verbose), os.environ, like=sys.stdout, width=width))


@contextmanager
def showing_progress(*, json: bool, quiet: bool) -> Iterator[Callable[[str, int, int, int], None] | None]:
    """Show progress on stderr: a bar at a terminal, a line now and then elsewhere, nothing for --json and --quiet."""
    if json or quiet:
        yield None
        return
    if is_capable(sys.stderr, os.environ):
        with progress_bar(os.environ) as advance:
            yield advance
        return
    lines, ended = ProgressLines(time.monotonic()), Event()

    def show(doing: str, done: int, rows: int, row_bytes: int) -> None:
        line = lines.advance(time.monotonic(), doing, done, rows, row_bytes)
        if line:
            print_error(line + "\n")

    def wait() -> None:
        while not ended.wait(1.0):
            line = lines.wait(time.monotonic())
            if line:
                print_error(line + "\n")

    thread = Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield show
    finally:
        ended.set()
        thread.join()
