"""Every exception that embcompress raises on purpose.

EmbcompressError
├── CheckpointError          the input cannot be read
│   ├── UnknownFormatError   no reader recognises the content, or it is a kind that is not read
│   └── DamagedFileError     cut short, or its own words about itself cannot be true
├── ArtifactError            a compressed file does not hold what its header says
├── TableError               no table to work on, or one that cannot be worked on
│   ├── RankError            a number of bases that the table does not have, or that saves nothing
│   └── NonFiniteError       NaN, infinity or a magnitude that float64 cannot square
├── BudgetError              a size or an error that no way of coding reaches
├── IdsError                 ids or labels that do not say which row is whose
├── OutputError              the output cannot be written, or must not be
├── DeviceError              the device asked for is not there
└── UsageError               arguments that contradict each other
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MESSAGE_MAX = 2000  # characters of a message or a hint: a screen of 25 lines of 80


def shorten(text: str, limit: int) -> str:
    """Cut a text in its middle to at most `limit` characters.

    Example:
        >>> shorten("a" * 30 + "b" * 30, 31)
        'aaaaaaaaaaaaa ... bbbbbbbbbbbbb'
    """
    kept = (limit - 5) // 2
    return text if len(text) <= limit else f"{text[:kept]} ... {text[-kept:]}"


@dataclass(frozen=True)
class Retry:
    """Arguments with which the same command leads on: they replace those of the same options, and all others stay.

    Attributes:
        arguments: options with their values, as in ("--bases", "62").
        note: what to know of them; may be empty.
    """

    arguments: tuple[str, ...]
    note: str = ""


class EmbcompressError(Exception):
    """The root of the tree: one sentence of what is wrong, one of what to do.

    Attributes:
        id: the kind of failure, stable across versions, for scripts.
        message: which thing, what was found, what was expected; MESSAGE_MAX characters, as the hint has.
        hint: what to do next; empty where there is nothing to say.
        retries: alternatives to the arguments given. The command line spells each as a whole command.
    """

    id = "error"

    def __init__(self, message: str, *, hint: str = "", retries: Sequence[Retry] = ()) -> None:
        # A file may bring names and numbers of any length, and no message is longer than a screen.
        message = shorten(message, MESSAGE_MAX)
        super().__init__(message)
        self.message = message
        self.hint = shorten(hint, MESSAGE_MAX)
        self.retries = tuple(retries)

    def __str__(self) -> str:
        alternatives = "".join(f"\n  {' '.join(retry.arguments)}" for retry in self.retries)
        return f"{self.message} {self.hint}".strip() + alternatives


class CheckpointError(EmbcompressError):
    """The input cannot be read."""

    id = "checkpoint"


class UnknownFormatError(CheckpointError):
    """No reader recognises the content, or it is a kind that is not read."""

    id = "unknown-format"


class DamagedFileError(CheckpointError):
    """The file is cut short, or what it says about itself cannot be true."""

    id = "damaged-file"


class ArtifactError(EmbcompressError):
    """A compressed file does not hold what its header says."""

    id = "artifact"


class TableError(EmbcompressError):
    """There is no table to work on, or one that cannot be worked on."""

    id = "table"


class RankError(TableError):
    """A number of bases that the table does not have, or that saves nothing."""

    id = "rank"


class NonFiniteError(TableError):
    """A table holds NaN, infinity, or a magnitude that float64 cannot square."""

    id = "non-finite"


class BudgetError(EmbcompressError):
    """A size or an error that no way of coding reaches."""

    id = "budget"


class IdsError(EmbcompressError, ValueError):
    """Ids or labels that do not say which row is whose: duplicate, negative, missing, in no order."""

    id = "ids"


class OutputError(EmbcompressError):
    """The output cannot be written, or must not be."""

    id = "output"


class DeviceError(EmbcompressError):
    """The device asked for is not there."""

    id = "device"


class UsageError(EmbcompressError):
    """Arguments that contradict each other or lie outside their range."""

    id = "usage"
