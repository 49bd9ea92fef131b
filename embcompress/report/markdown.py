"""The report as GitHub-flavoured Markdown, for a job summary or a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from embcompress.report.document import document_of
from embcompress.report.document.model import Fact, Grid, Section
from embcompress.report.names import Inline, Name, parts_of
from embcompress.results import Result

MARKS = {"good": "✅", "bad": "❌", "warn": "⚠️", "plain": "▪️"}
MARKUP = re.compile(r"([\\`*_{}\[\]<>#+=!|~$&-])")  # what can start markup, a formula or an entity
NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")  # what would start a list
REFERENCE = re.compile(r"@|://|www\.|#\d|GH-\d", re.IGNORECASE)  # what GitHub links though it is no markup
DETAILS_MAX = 20  # tables looked at closer: a job summary holds 1 MiB


def render_markdown(result: Result) -> str:
    """Render a result as Markdown: verdict, numbers, gates, tables, and the rest on demand."""
    document = document_of(result)
    warnings = [f"> {MARKS['warn']} **warning:** {_line(text)}" for text in document.warnings]
    lines = [
        *(line for text in warnings for line in (text, "")),
        f"## {MARKS[document.tone]} embcompress {_line(document.command)}: {_line(document.title)}",
        "",
        _line(document.verdict),
        "",
        " · ".join(_fact(fact) for fact in document.numbers),
        "",
    ]
    for section in document.sections:
        if not section.is_detail:
            lines += _section(section, level=3)
    details = [section for section in document.sections if section.is_detail]
    if details:
        lines += ["<details><summary>Table by table, with the worst rows</summary>", ""]
        for section in details[:DETAILS_MAX]:
            lines += _section(section, level=4)
        if len(details) > DETAILS_MAX:
            lines += [f"{len(details) - DETAILS_MAX} more tables are in the other forms of the report.", ""]
        lines += ["</details>", ""]
    lines += ["<details><summary>Files</summary>", "", *_facts(document.facts), "", "</details>"]
    return "\n".join(lines) + "\n"


def _section(section: Section, *, level: int) -> list[str]:
    lines = [f"{'#' * level} {_line(section.title)}", ""]
    if section.facts:
        lines += [*_facts(section.facts), ""]
    for grid in section.grids:
        lines += _grid(grid)
    for note in section.notes:
        lines += [f"- {_line(note)}"]
    return [*lines, ""] if section.notes else lines


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
    for index, row in enumerate(grid.rows):
        cells = [_line(cell) for cell in row]
        tone = grid.tones[index] if grid.tones else "plain"
        cells[0] = f"{MARKS[tone]} {cells[0]}" if tone != "plain" else cells[0]
        lines.append(_row([cell.replace("|", r"\|") if "`" in cell else cell for cell in cells]))
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
