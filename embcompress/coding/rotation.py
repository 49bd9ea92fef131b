"""Orthonormal bases in few bytes: each vector by its coordinates in the complement of those before it.

What decodes is orthonormal whatever the precision, so coarse bases cost coding gain and never error, and a whole
rotation takes half as many numbers as it has entries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.read_kernels import Steps, read_strings
from embcompress.coding.search_kernels import REACH, search
from embcompress.coding.symbols import (
    PER_OCTAVE,
    PREFIXED_MAX,
    SLOPE,
    Symbols,
    Trellis,
    load_symbols,
    prefixed_columns,
    raw_bits_of,
    table_of,
    trellis_of,
)
from embcompress.coding.write_kernels import Decoded, write_strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Bases are few: the larger code costs nothing that is noticed.
ROTATION_STATES = 32
# Reflections that are applied to the vectors behind them at once.
PANEL = 32


@dataclass(frozen=True)
class CodedRotation:
    """Orthonormal vectors, as they are stored.

    Attributes:
        dim: entries of a vector.
        classes: (coded,) int64: vector k has coordinates of 1/sqrt(dim - k) typically, over a step that makes them of
            this class.
        strings: uint8, one behind the other.
        lengths: (coded,) int64, bytes of each.
    """

    dim: int
    classes: NDArray[np.int64]
    strings: NDArray[np.uint8]
    lengths: NDArray[np.int64]


def rotation_bits(classes: NDArray[np.int64], *, dim: int, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the bits of each vector, its length and class counted."""
    return (dim - np.arange(len(classes))) * rates + 4 + 6 + 2


def encode_rotation(vectors: Tensor, classes: NDArray[np.int64]) -> CodedRotation:
    """Code orthonormal vectors.

    Goes over the vectors as a QR decomposition by Householder reflections does: 2 count^2 dim operations.

    Args:
        vectors: (count, dim) float64, about orthonormal, the most important first.
        classes: (count,) the precision of each.
    """
    count, dim = vectors.shape
    rest = vectors.to("cpu", torch.float64).clone()
    symbols, trellis = load_symbols(), trellis_of(ROTATION_STATES)
    strings, lengths = [], []
    for first in range(0, count, PANEL):
        last = min(count, first + PANEL)
        reflections: list[Tensor] = []
        for number in range(first, last):
            for reflection in reflections:
                rest[number] -= 2 * (rest[number] @ reflection) * reflection
            direction = rest[number, number:].numpy()
            coordinates, string = _code_direction(direction, int(classes[number]), symbols, trellis)
            reflection = torch.zeros(dim, dtype=torch.float64)
            reflection[number:] = torch.from_numpy(_reflection(coordinates))
            reflections.append(reflection)
            strings.append(string)
            lengths.append(len(string))
        _reflect(rest[last:], reflections)
    return CodedRotation(dim, classes, np.concatenate([np.empty(0, np.uint8), *strings]), np.array(lengths, np.int64))


def decode_rotation(coded: CodedRotation, count: int) -> Tensor:
    """Decode the first `count` vectors, (count, dim) float64, orthonormal.

    Vectors beyond those coded complete the basis in a way that is the same each time.
    """
    trellis = trellis_of(ROTATION_STATES)
    dim, used = coded.dim, min(len(coded.classes), count)
    positions = np.concatenate([[0], coded.lengths.cumsum()[:-1]]).astype(np.int64) if used else np.empty(0, np.int64)
    factors = torch.zeros(dim, used, dtype=torch.float64)
    scales, signs = torch.zeros(used, dtype=torch.float64), torch.ones(count, dtype=torch.float64)
    decoded = np.zeros((used, dim), np.float32)
    for first in range(0, used, PANEL):
        own = slice(first, min(first + PANEL, used))
        rows = np.arange(own.stop - first)
        steps = Steps.of([_layout(coded, number) for number in range(first, own.stop)], width=dim)
        read_strings(
            coded.strings, positions[own], coded.lengths[own], layouts=rows, factors=np.ones(len(rows), np.float32),
            targets=rows + first, steps=steps, trellis=trellis, decoded=decoded,
        )  # fmt: skip
    for number in range(used):
        size = dim - number
        coordinates = _unit(decoded[number, :size])
        reflection = _reflection(coordinates)
        # LAPACK's form: 1 - scale v v^T with v = 1 at its first entry.
        factors[number:, number] = torch.from_numpy(reflection / reflection[0])
        scales[number] = 2 * reflection[0] ** 2
        signs[number] = -1.0 if coordinates[0] > 0 else 1.0
    if not used:
        return torch.eye(count, dim, dtype=torch.float64)
    square = torch.nn.functional.pad(factors, (0, max(count - used, 0)))
    product = torch.linalg.householder_product(square, torch.nn.functional.pad(scales, (0, square.shape[1] - used)))
    vectors: Tensor = (product[:, :count] * signs).T.contiguous()
    return vectors


def _layout(coded: CodedRotation, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    """Describe the string of a vector, as `Steps.of` takes it."""
    size, classes = coded.dim - number, coded.classes[number : number + 1]
    tables, raw_bits = table_of(classes).repeat(size), raw_bits_of(classes).repeat(size)
    return np.arange(size), tables, raw_bits, _prefixed(classes, size)


def _code_direction(
    direction: NDArray[np.float64], number: int, symbols: Symbols, trellis: Trellis
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Code the direction of a vector; return it as it decodes, of unit norm, and its string."""
    size = len(direction)
    norm = float(np.linalg.norm(direction))
    # In steps: coordinates of 1/sqrt(size) typically are of their class's deviation.
    scaled = direction / max(norm, 1e-300) * math.sqrt(size) * 2.0 ** (number / PER_OCTAVE)
    # Of a vector along an axis one coordinate may be beyond what the encoder reaches: it is the direction that counts.
    scaled *= min(1.0, float(REACH) / max(float(np.abs(scaled).max()), 1e-300))
    classes = np.array([number], np.int64)
    tables, raw = table_of(classes).repeat(size), raw_bits_of(classes).repeat(size)
    order, columns = np.zeros(1, np.int64), np.arange(size)
    points = search(
        scaled[None].astype(np.float32), order, columns, tables, symbols=symbols, trellis=trellis, slopes=SLOPE
    )
    decoded = np.zeros((1, size), np.float32)
    prefixed = _prefixed(classes, size)
    string, _ = write_strings(
        points, tables, raw, prefixed=prefixed, symbols=symbols,
        decoded=Decoded(order, columns, decoded),
    )  # fmt: skip
    return _unit(decoded[0]), string


def _prefixed(classes: NDArray[np.int64], size: int) -> int:
    """Return how many of the last coordinates of a class are in the prefix code."""
    some = min(size, PREFIXED_MAX)
    return prefixed_columns(table_of(classes).repeat(some), raw_bits_of(classes).repeat(some), load_symbols())


def _unit(coordinates: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give a direction unit norm; of zeros the first axis."""
    exact = coordinates.astype(np.float64)
    norm = float(np.sqrt((exact * exact).sum()))
    if norm == 0:
        exact[0], norm = 1.0, 1.0
    unit: NDArray[np.float64] = exact / norm
    return unit


def _reflection(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the unit vector w for which 1 - 2 w w^T takes the first axis to -sign(c_0) c."""
    reflection = coordinates.copy()
    reflection[0] += 1.0 if coordinates[0] > 0 else -1.0
    unit: NDArray[np.float64] = reflection / np.sqrt((reflection * reflection).sum())
    return unit


def _reflect(rows: Tensor, reflections: list[Tensor]) -> None:
    """Apply reflections to rows in place, in their order, as two products.

    Source: Schreiber & Van Loan, A storage-efficient WY representation (1989).
    """
    if not len(rows):
        return
    stacked = torch.stack(reflections)  # (panel, dim)
    # H_1 ... H_n = 1 - W^T T W with T upper triangular.
    triangle = torch.zeros(len(stacked), len(stacked), dtype=torch.float64)
    inner = stacked @ stacked.T
    for number in range(len(stacked)):
        triangle[number, number] = 2.0
        triangle[:number, number] = -2.0 * triangle[:number, :number] @ inner[:number, number]
    rows -= ((rows @ stacked.T) @ triangle) @ stacked
