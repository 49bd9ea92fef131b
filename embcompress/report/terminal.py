"""The report at a prompt: the short form of the document, in which no name can move the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from embcompress.exceptions import EmbcompressError
from embcompress.report.console import GAP, STYLES, Rows, indented, plain, text_line
from embcompress.report.document import document_of
from embcompress.report.document.model import Document, Fact, Grid, Section
from embcompress.report.names import Inline, text_of
from embcompress.report.words import WORDS
from embcompress.results import Result

__all__ = ["plain", "render_failure", "render_terminal", "render_words"]

NAMED_MAX = 6  # good rows that are named, and not only counted


def render_terminal(result: Result, *, verbose: bool = False) -> RenderableType:
    """Render a result for rich's console: the tables first, and last what was written and whether it is good.

    Args:
        result: of a run.
        verbose: every column, a closer look at the worst tables, and a legend.
    """
    document = document_of(result)
    shown = [section for section in document.sections if section.is_brief and (verbose or not section.is_detail)]
    details = [section for section in document.sections if section.is_detail]
    closer = [section for section in shown if section.is_detail]
    parts: list[RenderableType] = [_warning(warning) for warning in document.warnings]
    is_graded = False
    for section in sorted(shown, key=lambda section: section.is_late):
        if section.is_late and not is_graded:
            parts, is_graded = [*parts, *_grades(document, verbose=verbose)], True
        if len(parts) > len(document.warnings) and section.is_titled and not (section.is_detail or _is_judged(section)):
            parts.append(Text())
        if closer[:1] == [section] and len(closer) < len(details):
            parts.append(Text(f"{len(closer)} of {len(details)} tables, those with the lowest grade or with a note:"))
        is_titled = section.is_titled and not (section.is_detail and len(details) == 1)
        parts += _section(section, is_titled=is_titled, verbose=verbose)
    parts += [] if is_graded else _grades(document, verbose=verbose)
    parts += [_outcome(fact) for fact in document.outcome]
    parts += [Text.assemble(f"{fact.label}: ", _value(fact)) for fact in document.numbers if fact.is_brief]
    return Group(*parts)


def render_words(words: Iterable[str]) -> RenderableType:
    """Render what words of WORDS mean, a line each."""
    return _legend([(word, WORDS[word]) for word in words])


def render_failure(failure: EmbcompressError) -> Text:
    """Render what went wrong: `error:` says what, `hint:` what to do."""
    text = Text.assemble(("error: ", "bold red"), plain(failure.message))
    if failure.hint:
        text.append_text(Text.assemble("\n", ("hint: ", "bold"), Text("\n").join(map(plain, failure.hint.split("\n")))))
    return text


def _warning(text: Inline) -> Text:
    return Text.assemble(("warning: ", "bold yellow"), text_line(text))


def _grades(document: Document, *, verbose: bool) -> list[RenderableType]:
    """Say what the words mean or where to look them up, and how good the tables are."""
    if not document.legend:
        return []
    pointer = Text("more: --verbose; what a word means: embcompress explain WORD", style="dim")
    words = [Text(), _legend(document.legend), Text()] if verbose else [pointer]
    return [*words, *(_grade(fact) for fact in document.grades)]


def _grade(fact: Fact) -> Text:
    """Say how good tables are, in the colour of their grade."""
    label = [(f"{fact.label}: ", f"bold {STYLES[fact.tone]}")] if fact.label else []
    return Text.assemble(*label, text_line(fact.value))


def _section(section: Section, *, is_titled: bool, verbose: bool) -> Iterator[RenderableType]:
    """Show the grids of a section, its facts and its notes, under its title."""
    if is_titled and not _is_judged(section):
        title = text_line(section.title)
        title.stylize("bold")
        yield title
    for grid in section.grids:
        if grid.good:
            yield from _judged(grid, title=text_of(section.title).lower())
        elif not grid.is_folded:
            yield Rows(grid, is_brief=not verbose)
    facts = [(fact.label, _value(fact)) for fact in section.facts if fact.is_brief]
    facts += [(grid.title.lower(), _first_rows(grid)) for grid in section.grids if grid.brief_rows]
    if facts:
        yield indented(_aligned(facts))
    for note in section.notes:
        style = "bold yellow" if section.note == "warning" else ""
        yield Text.assemble((f"{section.note}: ", style), text_line(note))


def _is_judged(section: Section) -> bool:
    return any(grid.good for grid in section.grids)


def _judged(grid: Grid, *, title: str) -> Iterator[RenderableType]:
    """Say how many rows are good and, of few, which; then show the others."""
    bad = [index for index, tone in enumerate(grid.tones) if tone == "bad"]
    good = [row for row, tone in zip(grid.rows, grid.tones, strict=True) if tone != "bad"]
    names = Text(", ").join(text_line(row[1]) for row in good)
    count = Text(f"{len(good)} of {len(grid.rows)} {grid.good}", style="bold red" if bad else "green")
    is_few = 0 < len(good) <= NAMED_MAX
    yield Text.assemble(f"{title}: ", count, Text.assemble(" (", names, ")") if is_few else "")
    if bad:
        yield indented(Rows(grid, indices=bad))


def _legend(words: Iterable[tuple[str, str]]) -> RenderableType:
    return _aligned([(word, text_line(meaning)) for word, meaning in words])


def _first_rows(grid: Grid) -> Text:
    """Show the first rows of a folded grid on one line."""
    rows = [
        Text(" ").join(text_line(cell, quote='"' if index else "") for index, cell in enumerate(row) if cell)
        for row in grid.rows[: grid.brief_rows]
    ]
    more = ", ..." if len(grid.rows) > len(rows) else ""
    return Text.assemble(Text(", ").join(rows), more, overflow="fold")


def _aligned(facts: Sequence[tuple[str, Text]]) -> Table:
    """Show labels in a column beside their values."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in facts:
        table.add_row(Text(label), value)
    return table


def _outcome(fact: Fact) -> Text:
    if fact.is_whole:  # to be pasted in one piece
        return Text.assemble(" " * GAP, text_line(fact.value), no_wrap=True, overflow="ignore")
    label = [(f"{fact.label} ", f"bold {STYLES[fact.tone]}" if STYLES[fact.tone] else "")] if fact.label else []
    return Text.assemble(*label, _value(fact))


def _value(fact: Fact) -> Text:
    remark = f" ({text_line(fact.remark)})" if fact.remark else ""
    return Text.assemble(text_line(fact.value), remark, overflow="fold")
