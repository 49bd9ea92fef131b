"""The process of the command line: signals, streams, exit codes. The only module that prints."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from embcompress.artifact.atomic_file import discard_pending
from embcompress.report.github import inert

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_GATE = 3
EXIT_SIGNAL = 128  # plus the signal's number
GRACE_SECONDS = 1.0  # what a signal leaves the main thread to run its handler; inside a long eigh it cannot
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last when a terminal or a connection closes
STOPPED = "stopped: no unfinished file was left behind."
SHOW_CURSOR = "\n\x1b[?25h"  # a progress bar hides it


class StdoutError(Exception):
    """Standard output is on a full disk, or the like."""


def print_text(text: str) -> None:
    """Write to stdout: in GitHub Actions, nothing that would be a command there."""
    if is_in_actions():
        text = inert(text)
    with writing_stdout():
        sys.stdout.write(text)


def print_error(text: str, *, is_command: bool = False) -> None:
    """Write to stderr, as `print_text`; `is_command`: of GitHub Actions. What nobody can read is no failure."""
    if is_in_actions() and not is_command:
        text = inert(text)
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def is_in_actions() -> bool:
    """Return whether this is a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def open_streams(*, is_json: bool) -> None:
    """Make stdout and stderr take whatever is written, in any locale, and where the caller closed them."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8" if is_json else None, errors="backslashreplace")


@contextmanager
def writing_stdout() -> Iterator[None]:
    """Flush at the end, so that a full disk shows there, and tell it from other failures.

    A reader that went away, as `| head` does, has read what it wanted: no failure.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
    except OSError as err:
        raise StdoutError(err.strerror) from err


def discard_stdout() -> None:
    """Send what is still in the buffer nowhere, so that Python does not complain at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def install_signal_handlers() -> None:
    """End the process on a signal: from its handler, or from a thread while the main one is inside a long call.

    The handler raises nothing: in the middle of `import torch`, an exception is swallowed or aborts the process.
    """
    # What was started with a signal ignored, as by nohup, goes on ignoring it.
    handled = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in handled:
        signal.signal(number, _stop)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_stop_soon, args=(reading, frozenset(handled)), daemon=True).start()


def _stop(number: int, _: FrameType | None = None) -> NoReturn:
    """Remove what is half-written and end the process."""
    discard_pending()
    bar = SHOW_CURSOR if os.isatty(2) and os.environ.get("TERM") != "dumb" else ""
    with suppress(OSError):  # a terminal that is gone
        os.write(2, f"{bar}{STOPPED}\n".encode())
    os._exit(EXIT_SIGNAL + number)


def _stop_soon(reading: int, handled: frozenset[int]) -> NoReturn:
    """Wait for a signal, and stop if the main thread cannot do so within a moment."""
    number = 0
    while number not in handled:
        number = os.read(reading, 1)[0]
    time.sleep(GRACE_SECONDS)
    _stop(number)
