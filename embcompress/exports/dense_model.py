"""A dense model that is to be written: its tensors one by one, the labels of its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from embcompress.artifact.writer import Entry


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

    def only_table(self) -> Entry:
        """Give the one table of a model that has no more, by its first name."""
        (table,) = (entry for entry in self.tables if entry.name not in self.tied)
        return table
