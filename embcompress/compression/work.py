"""The work that a table has taken: seconds, and passes over its rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Seconds, and passes over the rows of a table."""

    seconds: float = 0.0
    passes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.seconds + other.seconds, self.passes + other.passes)
