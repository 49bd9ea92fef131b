"""A dense model that is to be written: its tensors one by one, the labels of its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from embcompress.artifact.writer import Entry
from embcompress.exceptions import UsageError
from embcompress.text import named


@dataclass(frozen=True)
class DenseModel:
    """The tensors of a dense model, in their order.

    Attributes:
        entries: name, dtype and shape of each.
        tables: those of them that are tables.
        read: yields the bytes of one, row-major and little-endian; to be called in the order of `entries`.
        tied: the first name of the memory that a further name stands for.
        labels: of the rows of a table, by its name.
    """

    entries: tuple[Entry, ...]
    tables: tuple[Entry, ...]
    read: Callable[[Entry], Iterator[memoryview]]
    tied: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def only_table(self, form: str) -> Entry:
        """Give the one table, for a form that holds no more.

        Raises:
            UsageError: there are several, or it is no matrix of real numbers.
        """
        tables = [entry for entry in self.tables if entry.name not in self.tied]
        if len(tables) != 1:
            raise UsageError(
                f"--to {form} holds one table, and the artifact has {len(tables)}: "
                f"{named([entry.name for entry in tables])}.",
                hint="--to npz or safetensors hold them all.",
            )
        if len(tables[0].shape) != 2 or tables[0].dtype.startswith("complex"):
            raise UsageError(
                f"--to {form} holds a matrix of real numbers, and {tables[0].name!r} is {tables[0].dtype} of shape "
                f"{tables[0].shape}.",
                hint="--to npz or safetensors hold it.",
            )
        return tables[0]
