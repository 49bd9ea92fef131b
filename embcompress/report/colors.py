"""Rich's renderables as text for a stream: with colours where it is a terminal that has them, or as the user says."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console, RenderableType

DUMB_TERMINALS = ("dumb", "unknown")  # of TERM: they obey no escape code


def is_capable(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether a stream is a terminal on which the cursor can be moved."""
    return stream.isatty() and environment.get("TERM", "").lower() not in DUMB_TERMINALS


def wants_color(environment: Mapping[str, str]) -> bool | None:
    """Return what the user says of colours: NO_COLOR, FORCE_COLOR, or None where neither is set; empty is not set.

    Source: https://no-color.org and https://force-color.org.
    """
    if environment.get("NO_COLOR"):
        return False
    return True if environment.get("FORCE_COLOR") else None


def open_console(
    stream: TextIO,
    environment: Mapping[str, str],
    *,
    like: TextIO | None = None,
    width: int | None = None,
    soft_wrap: bool = False,
) -> Console:
    """Make a console that writes to a stream.

    Args:
        stream: where it writes.
        environment: of the process.
        like: the stream that the text is for, if it is another.
        width: columns; None for those of the terminal.
        soft_wrap: leave it to the terminal to wrap lines.
    """
    meant = like or stream
    wanted = wants_color(environment)
    detected = None if wanted is False else "auto"
    is_forced = wanted is True and not is_capable(meant, environment)
    return Console(
        file=stream,
        highlight=False,
        soft_wrap=soft_wrap,
        width=width,
        force_terminal=meant.isatty(),  # told, since rich reads an empty FORCE_COLOR as the wish for no terminal
        color_system="standard" if is_forced else detected,  # type: ignore[arg-type]
        no_color=False,  # rich would take away colours alone, and leave bold
    )


def render_text(
    renderable: RenderableType,
    environment: Mapping[str, str],
    *,
    like: TextIO,
    width: int | None = None,
    soft_wrap: bool = False,
) -> str:
    """Render what will be written to a stream, as text with escape codes where it takes them."""
    text = io.StringIO()
    open_console(text, environment, like=like, width=width, soft_wrap=soft_wrap).print(renderable, crop=False)
    return text.getvalue()
