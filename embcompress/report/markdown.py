"""The report as GitHub-flavoured Markdown, for a job summary or a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from embcompress.report.document import document_of
from embcompress.report.document.model import Fact, Grid, Section
from embcompress.report.names import Inline, Name, parts_of
from embcompress.report.wording import counted
from embcompress.results import Result

MARKS = {"good": "✅", "bad": "❌", "warn": "⚠️", "plain": "▪️"}
MARKUP = re.compile(r"([\\`*_{}\[\]<>#+=!|~$&-])")  # what can start markup, a formula or an entity
NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")  # what would start a list
REFERENCE = re.compile(r"@|://|www\.|#\d|GH-\d", re.IGNORECASE)  # what GitHub links though it is no markup
# Of a summary that is read beside others; the other forms of the report hold all.
LINES_MAX = 99
ROWS_MAX = 20  # of a grid


def render_markdown(result: Result) -> str:
    """Render a result as Markdown of at most LINES_MAX lines: verdict, numbers, gates, tables, and some on demand."""
    document = document_of(result)
    warnings = [f"> {MARKS['warn']} **warning:** {_line(text)}" for text in document.warnings]
    start = [
        *(line for text in warnings for line in (text, "")),
        f"## {MARKS[document.tone]} embcompress {_line(document.command)}: {_line(document.title)}",
        "",
        _line(document.verdict),
        "",
        *(line for fact in document.grades for line in (_grade(fact), "")),
        " · ".join(_fact(fact) for fact in document.numbers),
        "",
    ]
    end = [*_folded("Files", _facts(document.facts)), *_words(document.legend)]
    room = LINES_MAX - len(start) - len(end)
    sections, room = _fitting([one for one in document.sections if not one.is_detail], room=room, level=3)
    details = [section for section in document.sections if section.is_detail]
    if details:
        closer, _ = _fitting(details, room=room - len(_folded("", [])), level=4)
        sections += _folded("Table by table, with the worst rows", closer)
    return "\n".join([*start, *sections, *end]).rstrip("\n") + "\n"


def _fitting(sections: Sequence[Section], *, room: int, level: int) -> tuple[list[str], int]:
    """Write as many sections as there is room for, and count the others; return what is left of the room, too."""
    lines: list[str] = []
    left_out = 0
    room -= 2  # for the count
    for section in sections:
        written = _section(section, level=level)
        if left_out or len(written) > room:
            left_out += 1
            continue
        lines += written
        room -= len(written)
    if left_out:
        lines += [_left_out(left_out, "section"), ""]
    return lines, room


def _left_out(count: int, noun: str) -> str:
    return f"{counted(count, f'more {noun}')} {'is' if count == 1 else 'are'} in the other forms of the report."


def _grade(fact: Fact) -> str:
    label = f"{MARKS[fact.tone]} **{_line(fact.label)}** " if fact.label else ""
    return f"{label}{_line(fact.value)}"


def _words(legend: Sequence[tuple[str, str]]) -> list[str]:
    return _folded("Words", [f"- **{_line(word)}**: {_line(meaning)}" for word, meaning in legend]) if legend else []


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>", ""]


def _section(section: Section, *, level: int) -> list[str]:
    """Write a section; of one that looks closer at a table, folded grids by their first rows, or not at all."""
    lines = [f"{'#' * level} {_line(section.title)}", ""]
    brief = [f"- {_line(grid.title)} {_first_rows(grid)}" for grid in section.grids if grid.brief_rows]
    if section.facts or brief:
        lines += [*_facts(section.facts), *brief, ""]
    for grid in section.grids:
        if not (section.is_detail and grid.is_folded):
            lines += _grid(grid)
    for note in section.notes:
        lines += [f"- {_line(note)}"]
    return [*lines, ""] if section.notes else lines


def _first_rows(grid: Grid) -> str:
    """Write the first rows of a folded grid on one line."""
    rows = [" ".join(_line(cell) for cell in row if cell) for row in grid.rows[: grid.brief_rows]]
    return ", ".join(rows) + (", ..." if len(grid.rows) > len(rows) else "")


def _facts(facts: Sequence[Fact]) -> list[str]:
    return [f"- {_fact(fact)}" for fact in facts]


def _fact(fact: Fact) -> str:
    value = _line(fact.value)
    shown = value if "`" in value else f"**{value}**"
    return f"{_line(fact.label)} {shown}" + (f" ({_line(fact.remark)})" if fact.remark else "")


def _grid(grid: Grid) -> list[str]:
    lines = [f"<details><summary>{_line(grid.title)}</summary>", ""] if grid.is_folded else []
    lines.append(_row([_line(column.title) for column in grid.columns]))
    lines.append(_row(["---:" if column.align == "right" else "---" for column in grid.columns]))
    for index, row in enumerate(grid.rows[:ROWS_MAX]):
        cells = [_line(cell) for cell in row]
        tone = grid.tones[index] if grid.tones else "plain"
        cells[0] = f"{MARKS[tone]} {cells[0]}" if tone != "plain" else cells[0]
        lines.append(_row([cell.replace("|", r"\|") if "`" in cell else cell for cell in cells]))
    more = len(grid.rows) - ROWS_MAX
    lines += ["", _left_out(more, "row")] if more > 0 else []
    return [*lines, "", *(["</details>", ""] if grid.is_folded else [])]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(inline: Inline) -> str:
    """Escape a line: names become code, in which nothing is markup; so does a sentence that GitHub would link from."""
    return "".join(
        _code(part.text) if isinstance(part, Name) else _code(part) if REFERENCE.search(part) else _escaped(part)
        for part in parts_of(inline)
    )


def _escaped(text: str) -> str:
    return NUMBERED.sub(r"\1\\\2", MARKUP.sub(r"\\\1", text))


def _code(text: str) -> str:
    """Quote by more backticks than stand in a row in the text."""
    if not text.strip():
        return "`(no name)`" if not text else "`(blanks)`"
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{space}{text}{space}{fence}"
