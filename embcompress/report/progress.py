"""The progress of long work: a bar for a terminal, and lines for anything else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from embcompress.report.colors import open_console
from embcompress.report.console import plain
from embcompress.text import human_bytes

Advance = Callable[[str, int, int, int], None]  # what is being done, rows done, rows in all, bytes of a row
MOMENT_SECONDS = 0.5  # shorter work shows no bar
LINE_SECONDS = 10.0  # between two lines


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(", ".join(_speeds(speed, task.fields["row_bytes"])))


@contextmanager
def progress_bar(environment: Mapping[str, str], *, moment: float = MOMENT_SECONDS) -> Iterator[Advance]:
    """Show a bar on stderr once work takes longer than a moment, and take it away at the end.

    Args:
        environment: of the process.
        moment: in seconds.

    Yields:
        What a workflow calls with its progress.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), _Speed(), TimeRemainingColumn())
    bar = Progress(*columns, console=open_console(sys.stderr, environment), transient=True)
    tasks: dict[str, TaskID] = {}
    last: dict[str, int] = {}
    began: float | None = None

    def advance(doing: str, done: int, rows: int, row_bytes: int) -> None:
        nonlocal began
        now = time.monotonic()
        began = now if began is None else began
        if not bar.live.is_started:
            if now - began < moment:
                return
            bar.start()
        if doing not in tasks:
            tasks[doing] = bar.add_task(plain(doing).markup, total=rows, row_bytes=row_bytes)
        elif done < last[doing]:  # a further pass
            bar.reset(tasks[doing], total=rows)
        last[doing] = done
        bar.update(tasks[doing], completed=min(done, rows), row_bytes=row_bytes)

    try:
        yield advance
    finally:
        bar.stop()


class ProgressLines:
    """Lines now and then for what is no terminal.

    Args:
        started: the time on a clock, in seconds.
    """

    def __init__(self, started: float) -> None:
        self._last_line = started
        self._doing = ""
        self._first = self._last = (started, 0)  # time and rows done of this pass

    def advance(self, now: float, doing: str, done: int, rows: int, row_bytes: int) -> str:
        """Take in how far the work has come; return the line to show, empty where it is too soon or all is done."""
        if doing != self._doing or done < self._last[1]:  # other work, or a further pass
            self._doing, self._first = doing, (now, done)
        self._last = (now, done)
        if done >= rows or now - self._last_line < LINE_SECONDS:
            return ""
        self._last_line = now
        seconds = now - self._first[0]
        rate = (done - self._first[1]) / seconds if seconds > 0 else None
        return progress_line(doing, done, rows, row_bytes, rate=rate)


def progress_line(doing: str, done: int, rows: int, row_bytes: int, *, rate: float | None) -> str:
    """Say how far work has come, how fast it goes and how long it will take.

    Args:
        doing: what is being done.
        done: rows.
        rows: in all.
        row_bytes: of a row; 0 where steps are counted and no rows.
        rate: rows a second; None or 0 where it is not known yet.

    Example:
        >>> progress_line("t: weights", 1_200_000, 40_000_000, 512, rate=410_000)
        "'t: weights': 1,200,000 of 40,000,000 rows, 3 %, 410,000 rows/s, 210 MB/s, 95 s left"
    """
    counts = f"{doing!a}: {done:,} of {rows:,} {'rows' if row_bytes else 'steps'}, {done * 100 // max(rows, 1)} %"
    left = [f"{_duration((rows - done) / rate)} left"] if rate else []
    return ", ".join([counts, *_speeds(rate, row_bytes), *left])


def _speeds(rate: float | None, row_bytes: int) -> list[str]:
    """Say a speed in rows and in bytes, of three digits; nothing where it is not known."""
    if not rate or not row_bytes:
        return []
    digits = float(f"{rate:.3g}")
    return [f"{digits:,.0f} rows/s" if digits >= 100 else f"{digits:g} rows/s", f"{human_bytes(rate * row_bytes)}/s"]


def _duration(seconds: float) -> str:
    """Write a time to wait in one unit, or two."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
