"""The progress of long work: a bar for a terminal, and lines for anything else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Timer

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from embcompress.report.colors import open_console
from embcompress.report.console import plain
from embcompress.report.names import shortened
from embcompress.text import human_bytes

Advance = Callable[[str, int, int, int], None]  # what is being done, rows done, rows in all, bytes of a row
MOMENT_SECONDS = 0.5  # shorter work shows no bar
LINE_SECONDS = 10.0  # between two lines
STARTING = "starting"
BESIDE, DOING_MIN = 62, 30  # columns of the bar with its numbers, and at least of what is being done


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(", ".join(_speeds(speed, task.fields["row_bytes"])))


@contextmanager
def progress_bar(environment: Mapping[str, str], *, moment: float = MOMENT_SECONDS) -> Iterator[Advance]:
    """Show one bar on stderr, of what is being done now, once work takes longer than a moment; take it away at the end.

    Args:
        environment: of the process.
        moment: in seconds.

    Yields:
        What a workflow calls with its progress.
    """
    # The time since the start moves on while nothing is counted, such as in a large SVD.
    columns = (TextColumn("{task.description}"), BarColumn(), _Speed(), TimeRemainingColumn(), TimeElapsedColumn())
    console = open_console(sys.stderr, environment)
    bar = Progress(*columns, console=console, transient=True)
    room = max(console.width - BESIDE, DOING_MIN)
    task = bar.add_task(STARTING, total=None, row_bytes=0)
    now_doing, last = "", 0
    timer = Timer(moment, bar.start)
    timer.daemon = True
    timer.start()

    def advance(doing: str, done: int, rows: int, row_bytes: int) -> None:
        nonlocal now_doing, last
        if doing != now_doing or done < last:  # other work, or a further pass
            bar.reset(task, total=rows, description=plain(shortened(doing, limit=room)).markup, row_bytes=row_bytes)
            now_doing = doing
        last = done
        bar.update(task, completed=min(done, rows), row_bytes=row_bytes)

    try:
        yield advance
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


class ProgressLines:
    """Lines now and then for what is no terminal: at most one in LINE_SECONDS, and one in that time however long it is.

    Args:
        started: the time on a clock, in seconds.
    """

    def __init__(self, started: float) -> None:
        self._last_line = self._started = started
        self._now: tuple[str, int, int, int] = ("", 0, 0, 0)  # doing, done, rows, bytes of a row
        self._first = self._last = (started, 0)  # time and rows done of this pass

    def advance(self, now: float, doing: str, done: int, rows: int, row_bytes: int) -> str:
        """Take in how far the work has come; return the line to show, empty where it is too soon or all is done."""
        if doing != self._now[0] or done < self._last[1]:  # other work, or a further pass
            self._first = (now, done)
        self._now, self._last = (doing, done, rows, row_bytes), (now, done)
        if done >= rows or now - self._last_line < LINE_SECONDS:
            return ""
        self._last_line = now
        seconds = now - self._first[0]
        rate = (done - self._first[1]) / seconds if seconds > 0 else None
        return progress_line(doing, done, rows, row_bytes, rate=rate)

    def wait(self, now: float) -> str:
        """Return a line where nothing was heard or shown for too long; empty where it is too soon."""
        if now - self._last_line < LINE_SECONDS:
            return ""
        self._last_line = now
        doing, done, rows, row_bytes = self._now
        since = f"{_duration(now - self._started)} since the start"
        if not doing:
            return f"{STARTING}, {since}"
        counts = progress_line(doing, done, rows, row_bytes, rate=None)
        return f"{f'after {doing!a}' if done >= rows else counts}, {since}"


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
