"""What every search for codes takes: rows chunk by chunk, sums over them, the stored numbers beside another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

# Worked on at once: half a megabyte of float32, which stays in a core's cache over all candidates.
CHUNK_NUMBERS = 2**17
REFINEMENTS = 3  # turns of choosing codes and fitting scales; a fourth gained less than 0.01 % of the squared error
TINY = 1e-30  # in place of a sum of squares of zero
ULPS = {2: (0, -1, 1), 4: (0,)}  # by bytes of a stored scale: those beside the nearest that are tried
MAGNITUDE = 0x7FFF  # bits of a 16-bit float without its sign

Part = TypeVar("Part", bound="Rounded")


@dataclass(frozen=True)
class Rounded:
    """Blocks of numbers, or rows, as codes.

    Attributes:
        codes: (blocks, size) uint8.
        scales: (blocks,) in the dtype that they are stored in.
    """

    codes: Tensor
    scales: Tensor


@dataclass(frozen=True)
class Line:
    """Numbers at equal distances, one for each code from 0 on.

    Attributes:
        top: the largest code; the least is 0.
        dtype: that scales are stored in, and biases where there are such.
    """

    top: int
    dtype: torch.dtype


def round_in_chunks(values: Tensor, round_chunk: Callable[[Tensor], Part]) -> Part:
    """Round blocks or rows, (blocks, size), as many at once as stay in a cache, and put the parts together."""
    step = max(1, CHUNK_NUMBERS // max(1, values.shape[1]))
    parts = [round_chunk(values[first : first + step]) for first in range(0, max(1, len(values)), step)]
    return type(parts[0])(*map(torch.cat, zip(*(vars(part).values() for part in parts), strict=True)))


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Multiply rows with rows, (rows, 1)."""
    products: Tensor = torch.linalg.vecdot(left, right)
    return products.unsqueeze(1)


def not_zero(numbers: Tensor) -> Tensor:
    """Put 1 in the place of zeros, to divide by: what is divided has no scale, and any code does."""
    return torch.where(numbers == 0, 1.0, numbers)


def stepped(numbers: Tensor, step: int) -> Tensor:
    """Move numbers of 16 bits away from zero, or towards it, by so many steps of their last digit."""
    if not step:
        return numbers
    bits = numbers.view(torch.int16).to(torch.int32)
    largest = torch.tensor(torch.finfo(numbers.dtype).max, dtype=numbers.dtype).view(torch.int16).item()
    magnitude = ((bits & MAGNITUDE) + step).clamp(0, int(largest))
    return (magnitude | (bits & ~MAGNITUDE)).to(torch.int16).view(numbers.dtype)


def spread(low: float, high: float, count: int) -> tuple[float, ...]:
    """List numbers at equal distances, both ends among them.

    Example:
        >>> spread(4, 5, 3)
        (4.0, 4.5, 5.0)
    """
    return tuple(low + (high - low) * step / (count - 1) for step in range(count))
