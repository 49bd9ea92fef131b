"""The kinds of rows: their profile, the scale that they are decoded by, their step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from embcompress.coding.codebook import ZERO_KIND, Codebook
from embcompress.coding.coder import natural_bits
from embcompress.coding.fit import Fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Steps that rows of fixed length may have.
FINE_STEPS = 16
FINE_PER_OCTAVE = 32


class Kinds:
    """The kinds of rows that came up so far, numbered as they came; kind 0 is that of zeros."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int, int, int], int] = {}
        self.table: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]

    @classmethod
    def of(cls, codebook: Codebook) -> Kinds:
        """Go on from the kinds of a codebook."""
        kinds = cls()
        lists = (codebook.profiles, codebook.shifts, codebook.scales, codebook.step_numbers)
        kinds.table = list(zip(*(values.tolist() for values in lists), strict=True))
        for number, kind in enumerate(kinds.table):
            if number != ZERO_KIND:
                kinds._numbers.setdefault(kind, number)
        return kinds

    def copy(self) -> Kinds:
        """Copy them, to go on from here in another way."""
        other = Kinds()
        other._numbers, other.table = dict(self._numbers), list(self.table)
        return other

    def number(
        self,
        profiles: NDArray[np.int64],
        shifts: NDArray[np.int64],
        scales: NDArray[np.int64],
        step_numbers: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Number rows by their profile, shift, scale of the step, and step, (rows,) each."""
        packed = (profiles << 30) + ((shifts + 2**12) << 17) + ((scales + 2**12) << 4) + step_numbers
        unique, firsts, inverse = np.unique(packed, return_index=True, return_inverse=True)
        unique_numbers = np.empty(len(unique), np.int64)
        # In the order in which they came, so that they are numbered alike however rows are cut into blocks.
        for index in np.argsort(firsts).tolist():
            key = int(unique[index])
            kind = (key >> 30, ((key >> 17) & 8191) - 2**12, ((key >> 4) & 8191) - 2**12, key & 15)
            if kind not in self._numbers:
                self._numbers[kind] = len(self.table)
                self.table.append(kind)
            unique_numbers[index] = self._numbers[kind]
        numbered: NDArray[np.int64] = unique_numbers[inverse]
        return numbered

    def into(self, codebook: Codebook) -> Codebook:
        """Give a codebook these kinds."""
        profiles, shifts, scales, step_numbers = (
            np.array(values, np.int64) for values in zip(*self.table, strict=True)
        )
        return replace(codebook, profiles=profiles, shifts=shifts, scales=scales, step_numbers=step_numbers)


def kinds_of_rows(
    fit: Fit,
    weights: Tensor,
    is_zero: Tensor,
    scales: NDArray[np.int64],
    kinds: Kinds,
    *,
    step_number: int = 0,
    finer: int = 0,
) -> NDArray[np.int64]:
    """Return the kind of each row, (rows,), from its weights and the scale of its step.

    Args:
        fit: of the table.
        weights: (rows, rank).
        is_zero: (rows,) bool, which rows hold nothing but zeros.
        scales: (rows,) int64, in eighths of an octave.
        kinds: takes what is new.
        step_number: of the step of all these rows.
        finer: by how many eighths of an octave that is above the first step, which the classes refer to.
    """
    profiles = fit.profiles_of(weights)
    shifts = fit.shifts(weights, is_zero, profiles) - scales - finer
    row_kinds = kinds.number(profiles, shifts, scales, np.full_like(shifts, step_number))
    row_kinds[is_zero.cpu().numpy()] = ZERO_KIND
    return row_kinds


def fitted_kinds(
    weights: Tensor, row_kinds: NDArray[np.int64], kinds: Kinds, codebook: Codebook, *, excess: int, threads: int
) -> NDArray[np.int64]:
    """Give rows that shall have strings of fixed length the step at which they are about as long by themselves.

    Args:
        weights: (rows, rank).
        row_kinds: (rows,) the kind of each at the middle step.
        kinds: takes what is new.
        codebook: with the kinds so far, and `fine_steps`.
        excess: bytes of a string beyond what is expected.
        threads: of the encoder.
    """
    bits = natural_bits(weights, row_kinds, codebook=codebook, threads=threads)
    coded = np.array([len(codebook.layout(kind).columns) for kind in range(codebook.kinds)])[row_kinds]
    octaves = (bits - 8 * (codebook.expected_lengths[row_kinds] + excess)) / np.maximum(coded, 1)
    # Rounded towards the coarser step: the slope then gives bits back.
    steps = np.clip(np.ceil(octaves * FINE_PER_OCTAVE - 0.25), -(FINE_STEPS // 2), FINE_STEPS // 2 - 1)
    numbers = steps.astype(np.int64) + FINE_STEPS // 2
    fitted = kinds.number(codebook.profiles[row_kinds], codebook.shifts[row_kinds], codebook.scales[row_kinds], numbers)
    fitted[row_kinds == ZERO_KIND] = ZERO_KIND
    return fitted


def fine_steps(step: float) -> tuple[float, ...]:
    """List the steps that rows of fixed length may have; the middle one is `step`."""
    return tuple(
        float(np.float32(step * 2.0 ** ((number - FINE_STEPS // 2) / FINE_PER_OCTAVE))) for number in range(FINE_STEPS)
    )
