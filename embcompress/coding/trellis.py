"""Rows of numbers to bit strings, by Viterbi or number by number: in plain torch, or compiled on the CPU.

The level of a column is looked up by the last WINDOW_MAX bits of the row's string, so a string is a path through a
trellis of 2^WINDOW_MAX states, and the path of the least squared error is found by Viterbi over all states. The string
is a ring: before its first bit come its last ones. (To start from state 0 instead cost 2 % of the squared error at 200
columns of 1 bit.) The state in which the ring closes is told from a part of the way, and then held to.

Source: Viterbi, Error bounds for convolutional codes (1967); Marcellin & Fischer, Trellis coded quantization of
memoryless and Gauss-Markov sources (1990); Tseng et al., QTIP (2024), section 3.1, for levels looked up by a window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from embcompress.coding.codebook import pack_rows
from embcompress.coding.constants import BITS_MAX, WINDOW_MAX

STATES = 1 << WINDOW_MAX
TAIL_BITS, HEAD_BITS = 64, 64  # around the seam, from which the state is told in which a ring closes
TRIES_MAX, TRIES_BITS = 64, 512  # at a shorter string's state, and how many bits the tries may go through together
TORCH_ROWS = 2**15  # that go through the plain form at once: 1 kB of costs each, and up to 128 bytes a column


def encode(values: Tensor, bits: Tensor, *, weights: Tensor, levels: Tensor, kinds: Tensor) -> Tensor:
    """Find the bit string of each row that leaves the least weighted squared error.

    Costs 2^WINDOW_MAX steps a number. On the CPU compiled and over all cores, 10 to 20 million numbers a second on two
    of them; on a GPU in plain torch.

    Args:
        values: (rows, columns) in units of the columns' scales, in the order of the string.
        bits: (columns,) integers: the own bits, 0..BITS_MAX; 0 for a column whose level follows from the bits so far.
        weights: (columns,) what a squared error costs in each, such as the squared scale; 1 at most, for float32.
        levels: (KINDS, STATES): a level for each kind of column and each window.
        kinds: (columns,) which of the levels each column has.

    Returns:
        (rows, row bytes) uint8.
    """
    if values.device.type == "cpu":
        from embcompress.coding import kernels

        ring = close_ring(bits)
        return kernels.encode_trellis(
            values,
            bits,
            weights=weights,
            levels=levels,
            kinds=kinds,
            tail=ring.tail,
            head=ring.head,
            tries=ring.tries,
        )
    parts = torch.split(values, TORCH_ROWS)
    return torch.cat([encode_in_torch(part, bits, weights=weights, levels=levels, kinds=kinds) for part in parts])


@dataclass(frozen=True)
class Ring:
    """How the state is found in which a string closes to a ring.

    Attributes:
        tail: the column from which its end is tried out, from any state on.
        head: the column to which that is followed round, and from where it is traced back; 0 for a short string, which
            is gone round whole.
        tries: how many states are then held to, of which the best ring is taken.
    """

    tail: int
    head: int
    tries: int


def close_ring(bits: Tensor) -> Ring:
    """Tell how a string of columns with these own bits is closed to a ring."""
    sums = bits.cumsum(0)
    total = int(sums[-1])
    if total < TAIL_BITS:
        return Ring(0, 0, max(2, min(TRIES_MAX, TRIES_BITS // total)))
    return Ring(int((total - sums >= TAIL_BITS).sum()), min(int((sums < HEAD_BITS).sum()) + 1, len(bits)), 1)


def encode_in_torch(values: Tensor, bits: Tensor, *, weights: Tensor, levels: Tensor, kinds: Tensor) -> Tensor:
    """Do the same in plain torch on any device: the form to read, and the one that the compiled kernel is tested by."""
    rows, columns = values.shape
    path = _Path(values, bits.tolist(), weights=weights, tables=levels[kinds.to(levels.device)])
    padding = -int(bits.sum()) % 8
    ring = close_ring(bits)
    after = (
        torch.arange(STATES, device=values.device) << padding
    ) % STATES  # the state that a last byte's zeros lead to
    # The string is a ring: before it comes its own end. Which end that will be is tried out from any state on.
    cost = path.run(torch.zeros(rows, STATES, device=values.device), range(ring.tail, columns))
    cost = _pad(cost, after)
    cost = path.run(cost, range(ring.head or columns))
    if not ring.head:
        cost = _pad(cost, after)
    closed = torch.full((rows,), math.inf, device=values.device)
    numbers = torch.zeros(rows, columns, dtype=torch.uint8, device=values.device)
    for end in cost.topk(ring.tries, dim=1, largest=False).indices.T:
        origin = end
        for column in range(ring.head - 1, -1, -1):
            origin = path.before(origin, column)
        start = torch.full_like(cost, math.inf).scatter_(1, origin[:, None], 0.0)
        held = path.run(start, range(columns))
        least = torch.where(after == origin[:, None], held, math.inf).min(dim=1)
        is_better = least.values < closed
        closed = torch.where(is_better, least.values, closed)
        state = least.indices
        for column in range(columns - 1, -1, -1):
            own = (state & ((1 << path.bits[column]) - 1)).to(torch.uint8)
            numbers[:, column] = torch.where(is_better, own, numbers[:, column])
            state = path.before(state, column)
    return pack_rows(numbers, bits)


def _pad(cost: Tensor, after: Tensor) -> Tensor:
    """Go through the zeros that fill the last byte, (rows, STATES) -> (rows, STATES)."""
    empty = torch.full_like(cost, math.inf)
    return empty.scatter_reduce(1, after.expand(len(cost), -1), cost, "amin")


class _Path:
    """The ways of rows through the trellis: what they cost, and where each state was best come to from."""

    def __init__(self, values: Tensor, bits: list[int], *, weights: Tensor, tables: Tensor) -> None:
        self.bits = bits
        self._values, self._weights, self._tables = values, weights, tables
        self._came_from: dict[int, Tensor] = {}

    def run(self, cost: Tensor, columns: range) -> Tensor:
        """Go on through columns, (rows, STATES) -> (rows, STATES)."""
        for column in columns:
            own = self.bits[column]
            off = self._values[:, column : column + 1] - self._tables[column]  # (rows, STATES)
            # The next state is (state << bits | own bits) mod STATES: its predecessors share their low bits.
            least = cost.view(len(cost), 1 << own, -1).min(dim=1)  # over (rows, predecessors, low bits)
            self._came_from[column] = least.indices.to(torch.uint8)
            cost = least.values.repeat_interleave(1 << own, dim=1) + self._weights[column] * off.square()
        return cost

    def before(self, state: Tensor, column: int) -> Tensor:
        """Go one column back, (rows,) -> (rows,)."""
        own = self.bits[column]
        low = state >> own
        came_from = self._came_from[column].gather(1, low[:, None]).squeeze(1).to(torch.int64)
        return low + (came_from << (WINDOW_MAX - own))


def encode_scalar(values: Tensor, bits: Tensor, *, borders: Tensor) -> Tensor:
    """Give every number the nearest level of its column's own bits.

    Args:
        values: (rows, columns) in units of the columns' scales, in the order of the string.
        bits: (columns,) integers, 1..BITS_MAX.
        borders: (BITS_MAX + 1, 2^BITS_MAX - 1): for b bits 2^b - 1 numbers, each half-way between two levels.

    Returns:
        (rows, row bytes) uint8.
    """
    if values.device.type == "cpu":
        from embcompress.coding import kernels

        return kernels.encode_scalar(values, bits, borders=borders)
    return encode_scalar_in_torch(values, bits, borders=borders)


def encode_scalar_in_torch(values: Tensor, bits: Tensor, *, borders: Tensor) -> Tensor:
    """Do the same in plain torch on any device."""
    numbers = torch.empty(values.shape, dtype=torch.uint8, device=values.device)
    for own in torch.unique(bits).tolist():
        columns = (bits == own).nonzero().squeeze(1).to(values.device)
        found = torch.bucketize(values[:, columns].contiguous(), borders[own, : (1 << own) - 1].contiguous())
        numbers[:, columns] = found.to(torch.uint8)
    return pack_rows(numbers, bits)


def spread_levels(levels: Tensor) -> Tensor:
    """Repeat the levels of a narrower window, (2^window,), for every state: (STATES,)."""
    return levels.repeat(STATES // len(levels))


def borders_between(levels: Tensor) -> Tensor:
    """Compute what lies half-way between ascending levels, (count,) -> (count - 1,)."""
    return (levels[1:] + levels[:-1]) / 2


assert BITS_MAX <= WINDOW_MAX
