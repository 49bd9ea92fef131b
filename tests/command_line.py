"""The command line run in this process, and what it leaves in a folder: shared by its tests."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embcompress.cli import main as cli


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run of the command line: its exit code and what it printed."""

    code: int
    out: str
    err: str


def run(*args: object) -> Outcome:
    """Run the command line in this process, as `main` does but for signals and streams."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli._run([str(arg) for arg in args])
    return Outcome(code, out.getvalue(), err.getvalue())


def snapshot(folder: Path) -> dict[str, object]:
    """Note what lies below a folder: the bytes of files, the targets of links, the kind of anything else."""
    files: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content: object = stat.S_IFMT(mode)
        if stat.S_ISLNK(mode):
            content = os.readlink(path)
        elif stat.S_ISREG(mode):
            content = path.read_bytes()
        files[str(path.relative_to(folder))] = content
    return files


@dataclass
class Shown:
    """The bytes that a terminal was sent."""

    text: str = ""


@contextlib.contextmanager
def at_terminal() -> Iterator[Shown]:
    """Put a pseudo terminal in place of stdout and stderr; what it shows is known afterwards."""
    leader, follower = pty.openpty()
    shown, parts = Shown(), bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # Linux's way of saying that the other end was closed
            while part := os.read(leader, 65536):
                parts.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with (
            open(follower, "w", encoding="utf-8", errors="backslashreplace") as terminal,
            contextlib.redirect_stdout(terminal),
            contextlib.redirect_stderr(terminal),
        ):
            yield shown
    finally:
        reader.join(10)
        os.close(leader)
    shown.text = parts.decode(errors="backslashreplace").replace("\r\n", "\n")


def run_at_terminal(*args: object) -> tuple[int, str]:
    """Run the command line in this process at a pseudo terminal; returns its exit code and all that is shown."""
    with at_terminal() as shown:
        code = cli._run([str(arg) for arg in args])
    return code, shown.text
