"""The goal of a coded table while it is written: bytes, or a squared error."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Shares of its bytes, and of its squared error, that a table may leave unused.
BYTES_SLACK = 4e-4
ERROR_SLACK = 5e-4
# Of small tables a few bytes are a larger share.
SLACK_BYTES = 24


@dataclass
class Allowance:
    """Bytes that tables share: each takes what it is expected to, and leaves the rest to those behind.

    Attributes:
        left: bytes that nobody has taken.
        expected: of the tables that are still to be written, in their order.
        least: bytes that each can be made of. What is left over or lacking falls on them in proportion to what they are
            expected to take beyond.
    """

    left: int
    expected: list[float]
    least: list[float]

    @property
    def next_share(self) -> int:
        """The bytes that the next table may take."""
        if len(self.expected) == 1:
            return self.left
        beyond = [max(nbytes - least, 1.0) for nbytes, least in zip(self.expected, self.least, strict=True)]
        return math.ceil(self.least[0] + (self.left - sum(self.least)) * beyond[0] / sum(beyond))

    def take(self, nbytes: int) -> None:
        """Take the next table's bytes."""
        self.left -= nbytes
        del self.expected[0], self.least[0]


@dataclass(frozen=True)
class Goal:
    """The limit of one table.

    Attributes:
        limit: bytes of all that is stored of it, or its squared error over the squared unit.
        target: the share of the limit that is aimed at.
        is_bytes: whether it is bytes.
    """

    limit: float
    target: float
    is_bytes: bool

    @property
    def slack(self) -> float:
        """The part of the limit that may be left."""
        return max(BYTES_SLACK * self.limit, SLACK_BYTES) if self.is_bytes else ERROR_SLACK * self.limit
