"""Names from files that anyone may have made: shown as they are, and unable to do anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

NAME_MAX = 200  # characters of a name in a document
COMMAND_MAX = 100_000  # of a command
SENTENCE_MAX = 800  # of a sentence, which may hold names


@dataclass(frozen=True)
class Name:
    """A name, a path, a label or a command: text that was not written here, and is shown apart from our words."""

    text: str


@dataclass(frozen=True)
class Command(Name):
    """A command to be pasted: a name that is never shortened to fit a line."""


Inline = str | Name | tuple[str | Name, ...]  # a line of text; a renderer escapes all of it, and quotes its names

TIED = " = "  # between the names that one table has


def spelled(text: str) -> str:
    r"""Spell out what is not printed: control characters, line ends, marks that turn the direction, lone surrogates.

    Example:
        >>> spelled(chr(27) + "[2J")
        '\\x1b[2J'
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shortened(text: str, *, limit: int) -> str:
    """Leave out the middle of a long text.

    Example:
        >>> shortened("abcdefgh", limit=5)
        'ab…gh'
    """
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[len(text) - (limit - 1) // 2 :]}"


def parts_of(inline: Inline) -> tuple[str | Name, ...]:
    """List the parts of a line, each spelled out and of bounded length: what every renderer starts from."""
    parts = inline if isinstance(inline, tuple) else (inline,)
    return tuple(
        Name(shortened(spelled(part.text), limit=COMMAND_MAX if isinstance(part, Command) else NAME_MAX))
        if isinstance(part, Name)
        else shortened(spelled(part), limit=SENTENCE_MAX)
        for part in parts
    )


def listed(names: Iterable[str], *, between: str = ", ") -> Inline:
    """Write names in a row.

    Example:
        >>> text_of(listed(["a", "b"], between=TIED))
        'a = b'
    """
    return tuple(part for name in names for part in (between, Name(name)))[1:]


def text_of(inline: Inline) -> str:
    """Show a line as bare text."""
    return "".join(part.text if isinstance(part, Name) else part for part in parts_of(inline))
