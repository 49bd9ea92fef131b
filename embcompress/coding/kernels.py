"""The encoder's hot loops, compiled by numba: rows of numbers to bit strings. `trellis` has them in plain torch too."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numba
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 8  # bits of a state
STATES = 1 << WINDOW
LANES = 16  # rows that go through the trellis side by side, so that every inner loop is contiguous; 8 and 32 gained
# nothing
CHUNK_ROWS = (
    1024  # rows of one call into a kernel: small enough to share among cores, large enough for the call's price
)
START = np.float32(0)
NEVER = np.float32(1e30)  # the cost of a state that cannot be
BEYOND = np.float32(3e38)  # above every cost; not infinity, which fast mathematics may take for impossible

Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    """Compile without the interpreter's lock, and keep the machine code on disk where there is a place for it."""
    try:
        return numba.njit(nogil=True, fastmath=True, cache=True)(function)  # type: ignore[return-value]
    except RuntimeError:  # neither the package's folder nor a cache of the user's can be written
        return numba.njit(nogil=True, fastmath=True)(function)  # type: ignore[return-value]


@_compiled
def _advance(
    cost: NDArray[np.int32],  # (STATES * LANES,), the bits of float32 costs
    float_cost: NDArray[np.float32],  # the same memory
    best: NDArray[np.int32],  # (STATES * LANES,)
    float_best: NDArray[np.float32],  # the same memory
    came_from: NDArray[np.uint8],  # (STATES >> bits) * LANES
    values: NDArray[np.float32],  # (LANES,)
    weight: np.float32,
    levels: NDArray[np.float32],  # (STATES,)
    bits: int,
) -> None:
    """Take all lanes through one column.

    The next state is (state << bits | own bits) mod STATES, so its predecessors share their low bits. Costs are not
    negative, so their bits are ordered as they are: the lowest bits of each make room for the predecessor's number, and
    one minimum gives both. That is off by 2^(bits - 24) of a cost, at most.
    """
    kept = (STATES >> bits) * LANES
    mask = np.int32(~((1 << bits) - 1))
    for index in range(kept):
        best[index] = cost[index] & mask
    for number in range(1, 1 << bits):
        tag = np.int32(number)
        others = cost[number * kept : (number + 1) * kept]
        for index in range(kept):
            best[index] = min(best[index], (others[index] & mask) | tag)
    for index in range(kept):
        came_from[index] = np.uint8(best[index] & ~mask)
    for low in range(STATES >> bits):
        before = float_best[low * LANES : (low + 1) * LANES]
        for own in range(1 << bits):
            state = (low << bits) + own
            level = levels[state]
            after = float_cost[state * LANES : (state + 1) * LANES]
            for lane in range(LANES):
                off = values[lane] - level
                after[lane] = before[lane] + weight * off * off


@_compiled
def _add_distance(
    cost: NDArray[np.float32],  # (STATES * LANES,)
    values: NDArray[np.float32],  # (LANES,)
    weight: np.float32,
    levels: NDArray[np.float32],  # (STATES,)
) -> None:
    """Count what a column without bits of its own leaves: its level follows from the state."""
    for state in range(STATES):
        level = levels[state]
        after = cost[state * LANES : (state + 1) * LANES]
        for lane in range(LANES):
            off = values[lane] - level
            after[lane] += weight * off * off


@_compiled
def _run(
    values: NDArray[np.float32],  # (rows, columns)
    lane_values: NDArray[np.float32],  # (LANES,)
    bits: NDArray[np.int64],
    weights: NDArray[np.float32],
    levels: NDArray[np.float32],
    kinds: NDArray[np.int64],
    cost: NDArray[np.int32],
    float_cost: NDArray[np.float32],
    best: NDArray[np.int32],
    float_best: NDArray[np.float32],
    came_from: NDArray[np.uint8],
    starts: NDArray[np.int64],
    first: int,
    begin: int,
    end: int,
) -> None:
    """Take the rows from `first` on, LANES at most, through the columns from `begin` to `end`."""
    for column in range(begin, end):
        for lane in range(min(LANES, len(values) - first)):
            lane_values[lane] = values[first + lane, column]
        args = came_from[starts[column] : starts[column + 1]]
        weight, table, own = weights[column], levels[kinds[column]], bits[column]
        # The number of bits as a constant of each branch: the loops over it are unrolled.
        if own == 0:
            _add_distance(float_cost, lane_values, weight, table)
        elif own == 1:
            _advance(cost, float_cost, best, float_best, args, lane_values, weight, table, 1)
        elif own == 2:
            _advance(cost, float_cost, best, float_best, args, lane_values, weight, table, 2)
        elif own == 3:
            _advance(cost, float_cost, best, float_best, args, lane_values, weight, table, 3)
        elif own == 4:
            _advance(cost, float_cost, best, float_best, args, lane_values, weight, table, 4)
        else:
            _advance(cost, float_cost, best, float_best, args, lane_values, weight, table, own)


@_compiled
def _encode_trellis(  # noqa: PLR0912 - a function call inside would be compiled into the caller anyway
    values: NDArray[np.float32],  # (rows, columns)
    bits: NDArray[np.int64],  # (columns,), their own bits; 0 for the second of a pair that shares one
    weights: NDArray[np.float32],  # (columns,)
    levels: NDArray[np.float32],  # (kinds, STATES)
    kinds: NDArray[np.int64],  # (columns,), which levels each has
    tail: int,  # the column from which the end of the ring is tried out
    head: int,  # the column to which it is followed round; 0: so many ends are tried out whole
    tries: int,
    codes: NDArray[np.uint8],  # (rows, bytes), zeros
) -> None:
    rows, columns = values.shape
    cost = np.empty(STATES * LANES, np.int32)
    best = np.empty(STATES * LANES, np.int32)
    float_cost, float_best = cost.view(np.float32), best.view(np.float32)
    starts = np.empty(columns + 1, np.int64)
    starts[0] = 0
    total = 0
    for column in range(columns):
        starts[column + 1] = starts[column] + (STATES >> bits[column]) * LANES * (bits[column] > 0)
        total += bits[column]
    padding = -total % 8
    came_from = np.empty(starts[columns], np.uint8)
    lane_values = np.zeros(LANES, np.float32)
    origins = np.zeros((tries, LANES), np.int64)
    closed = np.empty(LANES, np.float32)  # the cost of the best ring so far
    for first in range(0, rows, LANES):
        count = min(LANES, rows - first)
        # The string is a ring: before it comes its own end. Which end that will be is tried out from any state on.
        float_cost[:] = START
        for turn in range(2):
            begin = tail if turn == 0 else 0
            end = head if turn == 1 and head else columns
            _run(
                values, lane_values, bits, weights, levels, kinds, cost, float_cost, best, float_best, came_from,
                starts, first, begin, end,
            )  # fmt: skip
            if padding and (turn == 0 or not head):
                best[:] = cost
                float_cost[:] = NEVER
                for state in range(STATES):
                    after = ((state << padding) & (STATES - 1)) * LANES
                    for lane in range(LANES):
                        float_cost[after + lane] = min(float_cost[after + lane], float_best[state * LANES + lane])
        for lane in range(count):
            for number in range(tries):
                state = _least(float_cost, lane, 0, 0)
                float_cost[state * LANES + lane] = NEVER
                for column in range(head - 1, -1, -1):
                    state = _before(state, bits[column], came_from[starts[column] :], lane)
                origins[number, lane] = state
            closed[lane] = BEYOND
        for number in range(tries):
            float_cost[:] = NEVER
            for lane in range(count):
                float_cost[origins[number, lane] * LANES + lane] = START
            _run(
                values, lane_values, bits, weights, levels, kinds, cost, float_cost, best, float_best, came_from,
                starts, first, 0, columns,
            )  # fmt: skip
            for lane in range(count):
                state = _least(float_cost, lane, origins[number, lane] >> padding, (STATES - 1) >> padding)
                if float_cost[state * LANES + lane] >= closed[lane]:
                    continue
                closed[lane] = float_cost[state * LANES + lane]
                codes[first + lane] = 0
                end = total
                for column in range(columns - 1, -1, -1):
                    own = bits[column]
                    end -= own
                    _put(codes[first + lane], state & ((1 << own) - 1), own, end)
                    state = _before(state, own, came_from[starts[column] :], lane)


@_compiled
def _least(cost: NDArray[np.float32], lane: int, wanted: int, mask: int) -> int:
    """Find the cheapest state of a lane among those whose bits under a mask are as wanted."""
    state = -1
    for other in range(STATES):
        if other & mask == wanted and (state < 0 or cost[other * LANES + lane] < cost[state * LANES + lane]):
            state = other
    return state


@_compiled
def _before(state: int, bits: int, came_from: NDArray[np.uint8], lane: int) -> int:
    """Go one column back."""
    if bits == 0:
        return state
    low = state >> bits
    number: int = came_from[low * LANES + lane]
    return low + (number << (WINDOW - bits))


@_compiled
def _put(row: NDArray[np.uint8], number: int, bits: int, start: int) -> None:
    """Write the bits of a number from bit `start` of a row's string on, the highest first; at most 8."""
    if bits == 0:
        return
    shift = 16 - (start & 7) - bits  # within the two bytes from the one that holds the first bit
    spread = number << shift
    row[start >> 3] |= np.uint8(spread >> 8)
    if spread & 255:
        row[(start >> 3) + 1] |= np.uint8(spread & 255)


@_compiled
def _encode_scalar(
    values: NDArray[np.float32],  # (rows, columns)
    bits: NDArray[np.int64],  # (columns,), at least 1
    borders: NDArray[np.float32],  # (9, 255), ascending: between neighbouring levels, as many as needed
    codes: NDArray[np.uint8],  # (rows, bytes), zeros
) -> None:
    rows, columns = values.shape
    for row in range(rows):
        end = 0
        for column in range(columns):
            own = bits[column]
            number = 0
            half = (1 << own) >> 1
            value = values[row, column]
            while half:  # a search by halves: as many steps as bits
                if value > borders[own, number + half - 1]:
                    number += half
                half >>= 1
            _put(codes[row], number, own, end)
            end += own


def encode_trellis(
    values: Tensor, bits: Tensor, *, weights: Tensor, levels: Tensor, kinds: Tensor, tail: int, head: int, tries: int
) -> Tensor:
    """Encode rows by Viterbi over all cores; the arguments and the result are those of `trellis.encode`."""
    arrays = (_array(weights, torch.float32), _array(levels, torch.float32), _array(kinds, torch.int64))
    return _over_chunks(_encode_trellis, values, bits, (*arrays, tail, head, tries))


def encode_scalar(values: Tensor, bits: Tensor, *, borders: Tensor) -> Tensor:
    """Encode every number by its nearest level; the arguments and the result are those of `trellis.encode_scalar`."""
    return _over_chunks(_encode_scalar, values, bits, (_array(borders, torch.float32),))


def _over_chunks(kernel: Callable[..., None], values: Tensor, bits: Tensor, constants: tuple[Any, ...]) -> Tensor:
    rows, own = _array(values, torch.float32), _array(bits, torch.int64)
    codes = np.zeros((len(rows), (int(own.sum()) + 7) // 8), np.uint8)

    threads = torch.get_num_threads()
    step = min(CHUNK_ROWS, -(-len(rows) // (threads * LANES)) * LANES)  # few rows are shared among all cores, too

    def encode(first: int) -> None:
        last = first + step
        kernel(rows[first:last], own, *constants, codes[first:last])

    chunks = range(0, len(rows), max(step, 1))
    workers = min(threads, len(chunks))
    if workers <= 1:
        for first in chunks:
            encode(first)
    else:
        # Threads of Python and not numba's own: those abort the process when two threads use them at once.
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(encode, chunks))
    return torch.from_numpy(codes)


def _array(values: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    return values.to(dtype).contiguous().numpy()
