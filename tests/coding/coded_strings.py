"""Strings of given symbols and classes, for tests: written, read and settled by the kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embcompress.coding import read_kernels, search_kernels, write_kernels
from embcompress.coding.symbols import SLOPE, load_symbols, prefixed_columns, raw_bits_of, table_of, trellis_of


def layout_of(classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the class tables and raw bits of columns, and how many of the last are in the prefix code."""
    own = np.array(classes, np.int64)
    tables, raw_bits = table_of(own), raw_bits_of(own)
    return tables, raw_bits, prefixed_columns(tables, raw_bits, load_symbols())


def search(values: np.ndarray, classes: Sequence[int], *, states: int) -> np.ndarray:
    """Find the symbols of rows of values in steps, (rows, columns) int32."""
    points = search_kernels.search(
        np.asarray(values, np.float32),
        np.arange(len(values)),
        np.arange(len(classes)),
        layout_of(classes)[0],
        symbols=load_symbols(),
        trellis=trellis_of(states),
        slopes=SLOPE,
    )
    assert np.array_equal(points, points_of(points >> 1, states=states))
    symbols: np.ndarray = points >> 1
    return symbols


def points_of(symbols: np.ndarray, *, states: int) -> np.ndarray:
    """Tell 2 k + set of symbols k, as the trellis gives the sets, (rows, columns) int32."""
    trellis, points = trellis_of(states), np.empty(symbols.shape, np.int32)
    state = np.zeros(len(symbols), np.int64)
    for column, own in enumerate(np.asarray(symbols, np.int64).T):
        points[:, column] = 2 * own + trellis.sets[state]
        state = ((state << 1) | ((own & 1) ^ trellis.parities[state])) & (states - 1)
    return points


def settle(symbols: np.ndarray, classes: Sequence[int], *, states: int) -> np.ndarray:
    """Return what symbols stand for in steps, (rows, columns) float32."""
    numbers = np.zeros(symbols.shape, np.float32)
    write(symbols, classes, states=states, numbers=numbers)
    return numbers


def write(
    symbols: np.ndarray,
    classes: Sequence[int],
    *,
    states: int,
    fillers: np.ndarray | None = None,
    numbers: np.ndarray | None = None,
) -> list[bytes]:
    """Write the symbols of rows, a string each, and what they stand for into `numbers`."""
    tables, raw_bits, prefixed = layout_of(classes)
    strings, lengths = write_kernels.write_strings(
        points_of(symbols, states=states),
        tables,
        raw_bits,
        prefixed=prefixed,
        symbols=load_symbols(),
        fillers=fillers,
        decoded=None
        if numbers is None
        else write_kernels.Decoded(np.arange(len(symbols)), np.arange(len(classes)), numbers),
    )
    ends = lengths.cumsum().tolist()
    assert len(strings) == (ends[-1] if ends else 0)
    return [strings[end - length : end].tobytes() for end, length in zip(ends, lengths.tolist(), strict=True)]


def read(
    strings: Sequence[bytes],
    classes: Sequence[int],
    *,
    states: int,
    order: Sequence[int] | None = None,
    padding: bytes = bytes(read_kernels.PADDING),
) -> np.ndarray:
    """Read strings that stand one behind the other, (rows, columns) float32; rows that are not in `order` are NaN."""
    tables, raw_bits, prefixed = layout_of(classes)
    lengths = np.array([len(string) for string in strings], np.int64)
    numbers = np.full((len(strings), len(classes)), np.nan, np.float32)
    rows = np.arange(len(strings)) if order is None else np.array(order, np.int64)
    layout = (np.arange(len(classes)), tables, raw_bits, prefixed)
    read_kernels.read_strings(
        np.frombuffer(b"".join(strings) + padding, np.uint8),
        (lengths.cumsum() - lengths)[rows],
        lengths[rows],
        layouts=np.zeros(len(rows), np.int64),
        factors=np.ones(len(rows), np.float32),
        targets=rows,
        steps=read_kernels.Steps.of([layout], width=len(classes)),
        trellis=trellis_of(states),
        decoded=numbers,
    )
    return numbers


def count_bits(symbols: np.ndarray, classes: Sequence[int], *, states: int) -> np.ndarray:
    """Count the bits of strings as the encoder does, (rows,) float64."""
    tables, raw_bits, prefixed = layout_of(classes)
    own = points_of(symbols, states=states)
    return write_kernels.count_bits(own, tables, raw_bits, prefixed=prefixed, symbols=load_symbols())
