"""The contract of the two makers of encodings: a fixed rank, and a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from embcompress.compression.encoding import AnyEncoding, WrittenTable
from embcompress.results import Skipped


class EncodingMaker(ABC):
    """The maker of the encodings of a run's tables, which also judges what was written by them."""

    @property
    @abstractmethod
    def skipped(self) -> Sequence[Skipped]:
        """The tables that stay dense, with reasons."""

    @abstractmethod
    def encodings(self) -> list[AnyEncoding]:
        """Make the encoding of each table as it is chosen by now."""

    def accepts(self, written: Sequence[WrittenTable]) -> bool:  # noqa: ARG002 - of those that measured errors decide on
        """Return whether the tables may stay as they were written; if not, choose anew for another try.

        Args:
            written: by each of `encodings`.

        Raises:
            BudgetError: no other try can do better.
        """
        return True

    @abstractmethod
    def memory(self) -> int:
        """Estimate the most bytes that the run holds at once."""
