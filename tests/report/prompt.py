"""A result as it is shown at a prompt."""

from __future__ import annotations

import io

from rich.console import Console

from embcompress.exceptions import EmbcompressError
from embcompress.report.terminal import render_failure, render_terminal
from embcompress.results import Result


def show(result: Result | EmbcompressError, *, width: int = 160, verbose: bool = False) -> str:
    """Render as for a pipe: without colours."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    shown = render_failure(result) if isinstance(result, EmbcompressError) else render_terminal(result, verbose=verbose)
    console.print(shown, crop=False)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
