"""The numbers that the codes of a format stand for, in units of a scale."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Levels(ABC):
    """The numbers that codes stand for, in units of a scale."""

    @abstractmethod
    def nearest(self, numbers: Tensor) -> Tensor:
        """Give the level nearest to each number, in its dtype; may be made in place."""

    @abstractmethod
    def codes(self, numbers: Tensor) -> Tensor:
        """Give the code of the level nearest to each number, uint8."""

    @abstractmethod
    def values(self, codes: Tensor) -> Tensor:
        """Give the levels of codes, float32."""


@dataclass(frozen=True)
class IntegerLevels(Levels):
    """Consecutive integers; the code of the least one is `zero + low`.

    Attributes:
        low: the least.
        high: the largest.
        zero: the code of 0, as bytes count: with 0, negative codes are their two's complement.
    """

    low: int
    high: int
    zero: int = 0

    def nearest(self, numbers: Tensor) -> Tensor:  # noqa: D102 - as in Levels
        return numbers.round_().clamp_(self.low, self.high)

    def codes(self, numbers: Tensor) -> Tensor:  # noqa: D102 - as in Levels
        return (self.nearest(numbers) + self.zero).to(torch.int16).to(torch.uint8)

    def values(self, codes: Tensor) -> Tensor:  # noqa: D102 - as in Levels
        return codes.view(torch.int8).to(torch.float32) if not self.zero else codes.to(torch.float32) - self.zero


@dataclass(frozen=True)
class OffsetLevels(Levels):
    """Consecutive integers, of which 0 has another code in each block.

    Attributes:
        top: the largest code; the least is 0.
        zeros: (blocks, 1) the code of 0, in the dtype of the numbers.
    """

    top: int
    zeros: Tensor

    def nearest(self, numbers: Tensor) -> Tensor:  # noqa: D102 - as in Levels
        return numbers.round_().add_(self.zeros).clamp_(0, self.top).sub_(self.zeros)

    def codes(self, numbers: Tensor) -> Tensor:  # noqa: D102 - as in Levels
        return (self.nearest(numbers) + self.zeros).to(torch.uint8)

    def values(self, codes: Tensor) -> Tensor:  # noqa: D102 - as in Levels
        return codes.to(torch.float32) - self.zeros.to(torch.float32)


class ListedLevels(Levels):
    """Any integers; a code is the place of one of them in ascending order.

    Args:
        levels: ascending.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        self._levels = torch.tensor(levels, dtype=torch.float32)
        # Halfway between integers, so that the half that a number lies in tells its level: a search for the place among
        # the levels takes ten times as long.
        self._first = levels[0] + levels[1] - 1
        halves = torch.arange(self._first, levels[-1] + levels[-2] + 1) / 2 + 0.25
        self._codes = (halves[:, None] - self._levels).abs().argmin(dim=1).to(torch.uint8)

    def nearest(self, numbers: Tensor) -> Tensor:  # noqa: D102 - as in Levels
        return self.values(self._codes_of(numbers)).to(numbers.dtype)

    def codes(self, numbers: Tensor) -> Tensor:  # noqa: D102 - as in Levels
        return self._codes_of(numbers)

    def values(self, codes: Tensor) -> Tensor:  # noqa: D102 - as in Levels
        return _look_up(self._levels, codes)

    def _codes_of(self, numbers: Tensor) -> Tensor:
        halves = numbers.mul(2).floor_().sub_(self._first).clamp_(0, len(self._codes) - 1)
        return _look_up(self._codes, halves)


def _look_up(table: Tensor, places: Tensor) -> Tensor:
    return table.to(places.device).index_select(0, places.reshape(-1).to(torch.int32)).view(places.shape)
