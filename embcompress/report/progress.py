"""A progress bar for long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from embcompress.report.terminal import plain


class _RowsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} rows/s" if speed else "")


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on stderr, and take it away at the end; yields what a workflow calls with its progress."""
    columns = (TextColumn("{task.description}"), BarColumn(), _RowsPerSecond(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks = {}

        def advance(doing: str, done: int, rows: int) -> None:
            if doing not in tasks:
                tasks[doing] = progress.add_task("", total=rows)
                progress.tasks[-1].description = plain(doing).markup
            progress.update(tasks[doing], completed=min(done, rows))

        yield advance
