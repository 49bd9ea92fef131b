"""The seconds that a table has taken so far, and the passes over its rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TimeAndPasses:
    """Seconds, and passes over the rows of a table; the sum of two is that of both."""

    seconds: float = 0.0
    passes: int = 0

    def __add__(self, other: TimeAndPasses) -> TimeAndPasses:
        return TimeAndPasses(self.seconds + other.seconds, self.passes + other.passes)
