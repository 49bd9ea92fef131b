"""What reports at a prompt are made of: names that cannot move the cursor, and grids that become lines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from embcompress.report.names import spelled
from embcompress.results import Skipped


def plain(name: str) -> Text:
    r"""Show a name as it is: no markup, no control characters, so that no file can move the cursor.

    Example:
        >>> plain(chr(27) + "[2J").plain == r"\x1b[2J"
        True
    """
    return Text(spelled(name), overflow="fold")


class Records:
    """A grid where the console is wide enough for it, else lines."""

    def __init__(self, grid: Table, lines: Sequence[Text]) -> None:
        self.grid = grid
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_wide = console.measure(self.grid, options=options.update(max_width=10_000)).maximum <= options.max_width
        yield from [self.grid] if is_wide else self.lines


def left_lines(skipped: tuple[Skipped, ...]) -> list[RenderableType]:
    """Tell what was left as it was, and why."""
    return [Text.assemble("left: ", plain(item.name), " ", plain(item.reason)) for item in skipped]


def grid(*columns: tuple[str, str]) -> Table:
    """Make a grid without lines: of each column its title, and to which side it goes."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in columns:
        folds = justify == "left"
        made.add_column(title, justify=justify, no_wrap=not folds, overflow="fold")  # type: ignore[arg-type]
    return made


def bold(name: Text) -> Text:
    """Make a name stand out."""
    name.stylize("bold")
    return name
