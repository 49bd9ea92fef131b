"""The kinds of rows: numbered as they come, however the rows are cut, and kept by a codebook."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from embcompress.coding.codebook import ZERO_KIND
from embcompress.coding.kinds import FINE_PER_OCTAVE, FINE_STEPS, Kinds, fine_steps
from tests.coding.codebooks import make_codebook

ROWS = 300


def draw_columns() -> list[np.ndarray]:
    """Draw profile, shift, scale and number of the step of rows, many of them alike, negative ones too."""
    draw = np.random.default_rng(0)
    bounds = ((0, 3), (-5, 6), (-80, -77), (0, 16))
    return [draw.integers(low, high, ROWS) for low, high in bounds]


def number_by_hand(columns: list[np.ndarray]) -> tuple[list[int], list[tuple[int, ...]]]:
    """Number each new combination as it comes, from 1 on."""
    known: dict[tuple[int, ...], int] = {}
    numbers = [known.setdefault(kind, len(known) + 1) for kind in zip(*(own.tolist() for own in columns), strict=True)]
    return numbers, list(known)


@pytest.mark.parametrize("block_rows", [1, 7, ROWS])
def test_kinds_are_numbered_as_they_come(block_rows: int) -> None:
    """In blocks of any size: the numbers of a dictionary that is asked row by row; kind 0 is that of zeros."""
    columns, kinds = draw_columns(), Kinds()
    found = [kinds.number(*(own[at : at + block_rows] for own in columns)) for at in range(0, ROWS, block_rows)]
    numbers, known = number_by_hand(columns)
    assert np.concatenate(found).tolist() == numbers
    assert kinds.table == [(0, 0, 0, 0), *known]


def test_kinds_go_on_from_a_codebook() -> None:
    """A codebook's kinds keep their numbers, a new one gets the next, and the codebook that gets them tells it."""
    book = make_codebook(rank=4, profiles=3, kinds=20)
    kinds = Kinds.of(book)
    lists = [values[1:] for values in (book.profiles, book.shifts, book.scales, book.step_numbers)]
    assert kinds.number(*lists).tolist() == list(range(1, book.kinds))
    new = kinds.number(*(np.array([value]) for value in (2, 40, 0, 1)))
    assert new.tolist() == [book.kinds]
    grown = kinds.into(book)
    assert (grown.kinds, grown.shifts[-1]) == (book.kinds + 1, 40)
    for values, before in (
        (grown.profiles, book.profiles),
        (grown.shifts, book.shifts),
        (grown.scales, book.scales),
        (grown.step_numbers, book.step_numbers),
    ):
        assert values[: book.kinds].tolist() == before.tolist()


def test_copied_kinds_go_their_own_way() -> None:
    """What a copy numbers is not known of by the first."""
    kinds = Kinds()
    one = [np.array([value]) for value in (1, 2, 3, 4)]
    kinds.number(*one)
    copied = kinds.copy()
    copied.number(*(own + 1 for own in one))
    assert len(kinds.table) == 2
    assert len(copied.table) == 3
    assert copied.number(*one).tolist() == [ZERO_KIND + 1]


def test_fine_steps_are_a_32nd_of_an_octave_apart() -> None:
    """Sixteen steps as float32, the ninth the one asked for."""
    steps = fine_steps(0.7)
    assert len(steps) == FINE_STEPS
    assert steps[FINE_STEPS // 2] == float(np.float32(0.7))
    for low, high in pairwise(steps):
        assert high / low == pytest.approx(2 ** (1 / FINE_PER_OCTAVE), rel=1e-6)
