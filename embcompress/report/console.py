"""The parts of a report at a prompt: text that cannot move the cursor, and grids that become lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from textwrap import wrap
from types import MappingProxyType

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from embcompress.report.document.model import Column, Grid, Tone
from embcompress.report.names import TIED, Inline, Name, shortened, spelled

STYLES: Mapping[Tone, str] = MappingProxyType({"plain": "", "good": "green", "warn": "yellow", "bad": "red"})
SIGNS = str.maketrans({"±": "+-", "→": "->"})  # many a log and terminal has no other letters
PROSE_MIN = 24  # columns to which sentences are folded before a grid becomes lines
TITLE_MIN = 8  # columns that a folded title may take: few lines of titles, and eight ways of a sweep in 80 columns
NAME_MIN = 12  # columns that are left of a name that is cut
GAP = 2  # columns between cells, and before what belongs to the line above


def plain(name: str) -> Text:
    r"""Show a name as it is: no markup, no control characters, so that no file can move the cursor.

    Example:
        >>> plain(chr(27) + "[2J").plain == r"\x1b[2J"
        True
    """
    return Text(spelled(name), overflow="fold")


def text_line(inline: Inline, *, tied: str = TIED, quote: str = "") -> Text:
    """Show a line.

    Args:
        inline: what to show.
        tied: to stand for TIED.
        quote: around names.
    """
    text = Text(overflow="fold")
    for part in inline if isinstance(inline, tuple) else (inline,):
        if isinstance(part, Name):
            text.append(f"{quote}{spelled(part.text)}{quote}")
        else:
            text.append(tied if part == TIED else spelled(part).translate(SIGNS))
    return text


def indented(renderable: RenderableType) -> Padding:
    """Move what belongs to the line above to the right of it."""
    return Padding(renderable, (0, 0, 0, GAP), expand=False)


class Rows:
    """A grid where the console is wide enough for it, if need be under folded titles; else lines for each row.

    Rich would cut off what does not fit, or break a line inside of a number.
    """

    def __init__(self, grid: Grid, *, indices: Sequence[int] | None = None, is_brief: bool = False) -> None:
        """Show a grid, or some of its rows; of a brief one the brief columns, with long names cut in the middle."""
        self.grid, self.is_brief = (_brief(grid) if is_brief else grid), is_brief
        self.indices = range(len(grid.rows)) if indices is None else indices
        self.cells = [[_cell(cell) for cell in self.grid.rows[row]] for row in self.indices]
        self._colour()

    def _colour(self) -> None:
        for row, cells in zip(self.indices, self.cells, strict=True):
            cells[0].stylize(self._style(row))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self.grid.columns
        if self.is_brief:
            self._cut_names(options.max_width)
        widths = [max(map(_width, cells), default=0) for cells in zip(*self.cells, strict=True)]
        widths = [
            min(width, PROSE_MIN) if column.is_prose else width for width, column in zip(widths, columns, strict=True)
        ]
        whole = [column.title for column in columns]
        folded = [
            "\n".join(wrap(column.title, max(width, TITLE_MIN))) if column.align == "right" else column.title
            for width, column in zip(widths, columns, strict=True)
        ]
        for titles in (whole, folded):
            shown = [max(width, _width(Text(title))) for width, title in zip(widths, titles, strict=True)]
            if sum(shown) + GAP * (len(shown) - 1) <= options.max_width:
                yield self._table(titles)
                return
        for row in self.indices:
            yield from self._lines(row)

    def _cut_names(self, width: int) -> None:
        """Leave out the middle of names, as far as the widest column of them needs to be narrower."""
        columns = self.grid.columns
        cut = next((index for index, column in enumerate(columns) if column.is_cut), None)
        if cut is None or not self.cells:
            return
        widths = [max(map(_width, cells)) for cells in zip(*self.cells, strict=True)]
        widths = [
            max(min(one, PROSE_MIN) if column.is_prose else one, _title_width(column))
            for one, column in zip(widths, columns, strict=True)
        ]
        room = width - sum(widths) - GAP * (len(widths) - 1) + widths[cut]
        if widths[cut] > room >= NAME_MIN:
            for row, cells in zip(self.indices, self.cells, strict=True):
                cells[cut] = _cell(_cut(self.grid.rows[row][cut], room))
            self._colour()

    def _style(self, row: int) -> str:
        return STYLES[self.grid.tones[row]] if self.grid.tones else ""

    def _table(self, titles: Sequence[str]) -> Table:
        is_told = any(not column.is_prose for column in self.grid.columns[self.grid.heads :])
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0), show_header=is_told)
        for title, column in zip(titles, self.grid.columns, strict=True):
            table.add_column(title, justify=column.align, no_wrap=not column.is_prose, overflow="fold")
        for cells in self.cells:
            table.add_row(*cells)
        return table

    def _lines(self, row: int) -> Iterator[RenderableType]:
        """Show what names a row on a line of its own, and below it the other cells with their titles."""
        columns, heads, cells = self.grid.columns, self.grid.heads, [text_line(cell) for cell in self.grid.rows[row]]
        cells[0].stylize(self._style(row))
        head = Text.assemble(Text(" ").join(cell for cell in cells[:heads] if cell), style="bold", overflow="fold")
        yield head
        titled_cells = [
            cell if column.is_prose else Text.assemble(f"{column.title} ", cell)
            for column, cell in zip(columns[heads:], cells[heads:], strict=True)
            if cell
        ]
        if titled_cells:
            yield indented(Text.assemble(Text(", ").join(titled_cells), overflow="fold"))


def _brief(grid: Grid) -> Grid:
    """Leave out the columns that a short form does not show."""
    kept = [index for index, column in enumerate(grid.columns) if column.is_brief]
    rows = tuple(tuple(row[index] for index in kept) for row in grid.rows)
    return replace(grid, columns=tuple(grid.columns[index] for index in kept), rows=rows)


def _cell(inline: Inline) -> Text:
    return text_line(inline, tied=f"\n{TIED.lstrip()}")


def _cut(inline: Inline, width: int) -> Inline:
    """Leave out the middle of the names of a cell, each of which has a line of its own."""
    parts = inline if isinstance(inline, tuple) else (inline,)
    beside = sum(len(part) for part in parts if isinstance(part, str) and part != TIED)
    room = max(width - beside - (len(TIED.lstrip()) if TIED in parts else 0), NAME_MIN)
    return tuple(Name(shortened(spelled(part.text), limit=room)) if isinstance(part, Name) else part for part in parts)


def _title_width(column: Column) -> int:
    """Give the width that a title takes where it is folded."""
    if column.align != "right":
        return len(column.title)
    return max(map(len, wrap(column.title, TITLE_MIN, break_long_words=False)), default=0)


def _width(text: Text) -> int:
    return max(line.cell_len for line in text.split("\n", allow_blank=True))
