"""Progress: a bar at a terminal, lines now and then elsewhere, with speeds and the time left."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import pytest

from embcompress.report.progress import ProgressLines, progress_bar, progress_line
from tests.command_line import at_terminal

NAMES = {
    "markup": "[red]x[/red] [/bold]",
    "escapes": "\x1b[2J\x1b]0;title\x07",
    "newline": "a\nerror: b",
    "bidi": "\u202egnp",
    "C1": "\x9b31m",
    "script": "<script>alert(1)</script>",
}
CURSOR_MOVES = re.compile(r"\x1b\[(\?25[lh]|\d*[AK])|\r")
COLORS = re.compile(r"\x1b\[[\d;]*m")


@pytest.mark.parametrize(
    ("done", "rows", "row_bytes", "rate", "line"),
    [
        (1_200_000, 40_000_000, 512, 410_123,
         "'t: weights': 1,200,000 of 40,000,000 rows, 3 %, 410,000 rows/s, 210 MB/s, 95 s left"),
        (500, 1000, 4, 0.5, "'t: weights': 500 of 1,000 rows, 50 %, 0.5 rows/s, 2 B/s, 17 min left"),
        (0, 2 * 10**8, 512, 2e4,
         "'t: weights': 0 of 200,000,000 rows, 0 %, 20,000 rows/s, 10.2 MB/s, 2 h 47 min left"),
        (999, 1000, 4, None, "'t: weights': 999 of 1,000 rows, 99 %"),
        (3, 8, 0, 0.25, "'t: weights': 3 of 8 steps, 37 %, 20 s left"),
    ],
)  # fmt: skip
def test_progress_line_says_how_far_and_how_fast(
    done: int, rows: int, row_bytes: int, rate: float | None, line: str
) -> None:
    """Rows, per cent, both speeds to three digits and the time left; of steps no speed, without a rate no guess."""
    assert progress_line("t: weights", done, rows, row_bytes, rate=rate) == line


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_progress_line_is_one_line_of_ascii(name: str) -> None:
    """Whatever a table is called, a line stays one line of printable ASCII."""
    line = progress_line(name, 1, 2, 4, rate=1.0)
    assert line.isascii()
    assert line.isprintable()


def test_progress_lines_come_every_ten_seconds() -> None:
    """Nothing is said before ten seconds, nor at the end; speeds are those of the pass, each pass counted anew."""
    lines = ProgressLines(100.0)
    assert lines.advance(102.0, "a", 1000, 9000, 100) == ""
    assert lines.advance(109.9, "a", 3000, 9000, 100) == ""
    assert (
        lines.advance(112.0, "a", 5000, 9000, 100) == "'a': 5,000 of 9,000 rows, 55 %, 400 rows/s, 40 kB/s, 10 s left"
    )
    assert lines.advance(121.0, "a", 6000, 9000, 100) == ""
    assert lines.advance(123.0, "a", 9000, 9000, 100) == ""
    # a further pass over the same rows, whose first block gives no speed yet
    assert lines.advance(124.0, "a", 1000, 9000, 100) == "'a': 1,000 of 9,000 rows, 11 %"
    assert (
        lines.advance(134.0, "a", 2000, 9000, 100) == "'a': 2,000 of 9,000 rows, 22 %, 100 rows/s, 10 kB/s, 70 s left"
    )
    assert lines.advance(144.0, "b", 2000, 9000, 8) == "'b': 2,000 of 9,000 rows, 22 %"


def test_progress_lines_go_on_while_nothing_is_counted() -> None:
    """A line every ten seconds says that the run goes on: before the first row, within a table, and after it."""
    lines = ProgressLines(100.0)
    assert lines.wait(109.0) == ""
    assert lines.wait(110.0) == "starting, 10 s since the start"
    assert lines.advance(111.0, "a", 0, 9000, 100) == ""
    assert lines.wait(119.0) == ""
    assert lines.wait(121.0) == "'a': 0 of 9,000 rows, 0 %, 21 s since the start"
    assert lines.advance(122.0, "a", 9000, 9000, 100) == ""
    assert lines.wait(131.0) == "after 'a', 31 s since the start"
    assert lines.advance(140.0, "b", 1, 2, 0) == ""
    assert lines.advance(141.0, "b", 1, 2, 0) == "'b': 1 of 2 steps, 50 %"


def shown_by_bar(name: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, *, moment: float) -> str:
    """Run a bar over two passes of a table with stderr at a pseudo terminal, and return what it shows."""
    for variable in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {"TERM": "xterm-256color", "COLUMNS": "160", **environment}.items():
        monkeypatch.setenv(variable, value)
    with at_terminal() as shown, progress_bar(os.environ, moment=moment) as advance:
        for done in (1000, 2000, 3000, 1000, 5000):
            advance(f"{name}: bases", done, 4000, 1_000_000)
    return shown.text


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_progress_bar_is_safe_from_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar over a table of any name shows speeds and moves the cursor, and nothing of a name is obeyed."""
    shown = shown_by_bar(name, {}, monkeypatch, moment=0)
    assert "rows/s" in shown
    assert re.search(r"[GT]B/s", shown)  # two thousand rows of a megabyte within less than a second
    text = COLORS.sub("", CURSOR_MOVES.sub("", shown))
    assert not set("\x1b\x9b\x07\u202e") & set(text)
    assert "\nerror" not in text
    if name.startswith(("[", "<")):
        assert name in text


def test_progress_bar_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has been done, one line is there, of what is being done; long names are cut in the middle."""
    for variable, value in {"TERM": "xterm-256color", "COLUMNS": "100"}.items():
        monkeypatch.setenv(variable, value)
    with at_terminal() as shown, progress_bar(os.environ, moment=0) as advance:
        for number in range(1, 27):
            name = f"table {number} of 26, model.encoder.layers.{number}.embedding.weight"
            advance(f"{name}: spectrum", 4000, 4000, 256)
            advance(f"{name}: codes", 2000, 4000, 256)
    text = COLORS.sub("", shown.text)
    assert text.count("\x1b[1A") <= 1  # moves to a line above: the one that takes the bar away
    assert "table 26 of 26" in text
    assert "…" in text


def test_progress_bar_obeys_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR leaves the moves of the cursor alone; an empty one is none."""
    assert COLORS.search(shown_by_bar("t", {"NO_COLOR": ""}, monkeypatch, moment=0))
    plain = shown_by_bar("t", {"NO_COLOR": "1"}, monkeypatch, moment=0)
    assert CURSOR_MOVES.search(plain)
    assert "\x1b" not in CURSOR_MOVES.sub("", plain)
    assert "\x1b" not in CURSOR_MOVES.sub(
        "", shown_by_bar("t", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, monkeypatch, moment=0)
    )


def test_progress_bar_does_not_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that ends within the moment shows nothing at all."""
    assert shown_by_bar("t", {}, monkeypatch, moment=60) == ""
