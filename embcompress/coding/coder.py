"""Rows of weights to strings and back, a block at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.codebook import ZERO_KIND, Codebook, Layout
from embcompress.coding.compiled import in_threads
from embcompress.coding.index_kernels import move_strings
from embcompress.coding.read_kernels import read_strings
from embcompress.coding.search_kernels import LANES, search
from embcompress.coding.symbols import SLOPE, Symbols, Trellis, load_symbols
from embcompress.coding.write_kernels import UNIT_BITS, Decoded, count_bits, write_strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A string of fixed length: bits that it is kept free of, and may have left; rounds of the search for each row's slope,
# and the octaves that it goes either way.
FITTING_MARGIN = 1.0
FITTING_SLACK = 3.0
FITTING_ROUNDS = 7
SLOPE_RANGE = 4.0
# Rows of one call into a kernel: few enough to share among cores, many enough for what a call costs.
CHUNK_ROWS = 512


@dataclass(frozen=True)
class CodedBlock:
    """Rows as strings.

    Attributes:
        strings: uint8, one behind the other in the order of the rows.
        lengths: (rows,) int64, bytes of each.
        weights: (rows, rank) float32, what they decode to.
    """

    strings: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    weights: Tensor


def chunks_of(kinds: NDArray[np.int64], *, threads: int) -> list[tuple[int, NDArray[np.int64]]]:
    """Sort rows by their kinds, and cut them into pieces for the kernels: the kind and the rows of each."""
    if not len(kinds):
        return []
    order = np.argsort(kinds, kind="stable")
    firsts = np.flatnonzero(np.diff(kinds[order], prepend=-1))
    size = min(CHUNK_ROWS, max(LANES, -(-len(kinds) // (2 * threads))))
    pieces = []
    for first, last in zip(firsts, [*firsts[1:], len(order)], strict=True):
        kind = int(kinds[order[first]])
        if kind != ZERO_KIND:
            pieces += [(kind, order[begin : min(begin + size, last)]) for begin in range(first, last, size)]
    return pieces


def encode_block(
    weights: Tensor,  # (rows, rank) float32
    kinds: NDArray[np.int64],  # (rows,)
    *,
    codebook: Codebook,
    threads: int,
    excess: int | None = None,
) -> CodedBlock:
    """Encode rows, given their kinds.

    With an `excess` all strings of a kind have as many bytes as are expected of it, and so many more.
    """
    symbols, trellis = load_symbols(), codebook.trellis
    numbers = _numbers(weights, kinds, codebook)
    decoded = np.zeros(numbers.shape, np.float32)
    pieces = chunks_of(codebook.alike[kinds], threads=threads)
    strings: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(pieces)
    lengths = np.zeros(len(kinds), np.int64)

    def encode(index: int) -> None:
        kind, order = pieces[index]
        layout = codebook.layout(kind)
        if excess is None:
            points, fillers = _search(numbers, order, layout, symbols, trellis), None
        else:
            nbytes = max(0, int(codebook.expected_lengths[kind]) + excess)
            points, fillers = _search_within(numbers, order, layout, symbols, trellis, nbytes=nbytes)
        strings[index], lengths[order] = write_strings(
            points, layout.tables, layout.raw_bits, prefixed=layout.prefixed, symbols=symbols,
            fillers=fillers, decoded=Decoded(order, layout.columns, decoded),
        )  # fmt: skip

    in_threads([partial(encode, index) for index in range(len(pieces))], threads=threads)
    positions = lengths.cumsum() - lengths
    whole = np.empty(int(lengths.sum()), np.uint8)
    for (_, order), part in zip(pieces, strings, strict=True):
        own = lengths[order]
        move_strings(part, own.cumsum() - own, own, positions[order], whole)
    return CodedBlock(whole, lengths, _weights(decoded, kinds, codebook.row_steps(kinds), codebook))


def natural_bits(
    weights: Tensor,  # (rows, rank) float32
    kinds: NDArray[np.int64],  # (rows,)
    *,
    codebook: Codebook,
    threads: int,
) -> NDArray[np.float64]:
    """Count the bits that rows take where no length is asked of them, (rows,)."""
    symbols, trellis = load_symbols(), codebook.trellis
    numbers = _numbers(weights, kinds, codebook)
    pieces = chunks_of(codebook.alike[kinds], threads=threads)
    bits = np.zeros(len(kinds))

    def count(index: int) -> None:
        kind, order = pieces[index]
        layout = codebook.layout(kind)
        points = _search(numbers, order, layout, symbols, trellis)
        bits[order] = count_bits(points, layout.tables, layout.raw_bits, prefixed=layout.prefixed, symbols=symbols)

    in_threads([partial(count, index) for index in range(len(pieces))], threads=threads)
    return bits


def _numbers(weights: Tensor, kinds: NDArray[np.int64], codebook: Codebook) -> NDArray[np.float32]:
    """Turn weights into numbers in steps, less their centers, (rows, rank)."""
    steps = codebook.row_steps(kinds)
    inverse = np.where(steps > 0, 1 / np.maximum(steps, np.finfo(np.float32).tiny), 0).astype(np.float32)
    values, factors = weights.to("cpu", torch.float32), torch.from_numpy(inverse)[:, None]
    centers = codebook.centers
    if centers is None:
        values = values * factors
    else:
        values = values - centers_of(centers, torch.from_numpy(codebook.profiles[kinds]))
        values *= factors
    numbers: NDArray[np.float32] = values.numpy()
    return numbers


def _search(
    numbers: NDArray[np.float32],
    order: NDArray[np.int64],
    layout: Layout,
    symbols: Symbols,
    trellis: Trellis,
    slopes: NDArray[np.float32] | float = SLOPE,
) -> NDArray[np.int32]:
    return search(numbers, order, layout.columns, layout.tables, symbols=symbols, trellis=trellis, slopes=slopes)


def _search_within(
    numbers: NDArray[np.float32],
    order: NDArray[np.int64],
    layout: Layout,
    symbols: Symbols,
    trellis: Trellis,
    *,
    nbytes: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Find symbols whose strings have `nbytes` bytes, each by a slope of its own; also the bits that fill them up.

    A row that is too long at every slope keeps a longer string.
    """
    limit = 8.0 * nbytes - FITTING_MARGIN
    logs = np.full(len(order), np.log2(SLOPE))
    # At the first too many bits, at the last few enough.
    low, high = logs - SLOPE_RANGE, logs + SLOPE_RANGE
    points = np.zeros((len(order), len(layout.columns)), np.int32)
    best = np.full(len(order), -1.0)
    open_rows = np.arange(len(order))
    for turn in range(FITTING_ROUNDS):
        if not len(open_rows):
            break
        slopes = (2.0 ** logs[open_rows]).astype(np.float32)
        tried = _search(numbers, order[open_rows], layout, symbols, trellis, slopes)
        bits = count_bits(tried, layout.tables, layout.raw_bits, prefixed=layout.prefixed, symbols=symbols)
        fits = bits <= limit
        is_better = (fits & (bits > best[open_rows])) | (best[open_rows] < 0)
        points[open_rows[is_better]] = tried[is_better]
        best[open_rows[is_better & fits]] = bits[is_better & fits]
        high[open_rows[fits]] = np.minimum(high, logs)[open_rows[fits]]
        low[open_rows[~fits]] = np.maximum(low, logs)[open_rows[~fits]]
        # About a third of a bit a number for each doubling of the slope, at first; then between what was tried.
        guess = logs[open_rows] + (bits - limit + 2) / (max(len(layout.columns), 1) / 3)
        middle = (low[open_rows] + high[open_rows]) / 2
        is_inside = (guess > low[open_rows]) & (guess < high[open_rows]) & (turn < FITTING_ROUNDS // 2)
        logs[open_rows] = np.where(is_inside, guess, middle)
        open_rows = open_rows[~(fits & (bits > limit - FITTING_SLACK))]
    fillers = np.where(best >= 0, np.maximum(8 * nbytes - np.ceil(np.maximum(best, 0)) - 1, 0), 0).astype(np.int64)
    return points, _fit_fillers(points, fillers, layout, symbols, nbytes=nbytes)


def _fit_fillers(
    points: NDArray[np.int32],
    fillers: NDArray[np.int64],
    layout: Layout,
    symbols: Symbols,
    *,
    nbytes: int,
) -> NDArray[np.int64]:
    """Move the numbers of filling bits until strings have just `nbytes` bytes: how a state rounds is seen only then."""
    for _ in range(2 * UNIT_BITS):
        _, lengths = write_strings(
            points, layout.tables, layout.raw_bits, prefixed=layout.prefixed, symbols=symbols,
            fillers=fillers,
        )  # fmt: skip
        off = lengths - nbytes
        wrong = (off < 0) | ((off > 0) & (fillers > 0))
        if not wrong.any():
            break
        fillers = np.where(wrong, np.maximum(fillers - np.sign(off) * np.maximum(1, 4 * (np.abs(off) - 1)), 0), fillers)
    return fillers


def decode_block(
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],  # (rows,), where each string starts
    lengths: NDArray[np.int64],  # (rows,)
    *,
    kinds: NDArray[np.int64],  # (rows,)
    steps: NDArray[np.float32],  # (rows,), that of their kinds counted
    codebook: Codebook,
    threads: int,
    scales: NDArray[np.float32] | None = None,
    centers: NDArray[np.float32] | None = None,
) -> Tensor:
    """Decode rows to weights, (rows, rank) float32.

    They are multiplied by `scales`, (rank,), and `centers`, (profiles, rank), are added; by default those of the
    codebook, or ones.
    """
    # Whatever is there is written over.
    decoded = np.empty((len(kinds), codebook.rank), np.float32)
    layouts, profiles = codebook.kind_layouts[kinds], codebook.center_profiles[kinds]
    factors, targets = np.asarray(steps, np.float32), np.arange(len(kinds))
    size = max(CHUNK_ROWS, -(-len(kinds) // threads))

    def decode(first: int) -> None:
        own = slice(first, first + size)
        read_strings(
            codes, positions[own], lengths[own], layouts=layouts[own], factors=factors[own], targets=targets[own],
            steps=codebook.steps_of_layouts, trellis=codebook.trellis, decoded=decoded,
            scales=codebook.column_scales if scales is None else scales,
            centers=codebook.centers if centers is None else centers, profiles=profiles[own],
        )  # fmt: skip

    in_threads([partial(decode, first) for first in range(0, len(kinds), size)], threads=threads)
    return torch.from_numpy(decoded)


def _weights(
    decoded: NDArray[np.float32], kinds: NDArray[np.int64], steps: NDArray[np.float32], codebook: Codebook
) -> Tensor:
    """Turn numbers in steps into weights, in place."""
    weights = torch.from_numpy(decoded).mul_(torch.from_numpy(np.asarray(steps, np.float32))[:, None])
    centers = codebook.centers
    if codebook.column_scales is not None:
        weights *= torch.from_numpy(codebook.column_scales)
    if centers is not None:
        weights += centers_of(centers, torch.from_numpy(codebook.profiles[kinds]))
        is_zero = kinds == ZERO_KIND
        if is_zero.any():
            weights[torch.from_numpy(is_zero)] = 0
    return weights


def centers_of(centers: NDArray[np.float32], profiles: Tensor) -> Tensor:
    """Give the center of each row's profile; of one profile, the common case, once for all rows."""
    profile_centers = torch.from_numpy(centers)
    return profile_centers if len(profile_centers) == 1 else profile_centers[profiles]
