"""The encoder's search: near the best of all paths, and near the bound on normal samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from embcompress.coding import search_kernels
from embcompress.coding.symbols import CLASS_MAX, CLASS_MIN, PER_OCTAVE, SLOPE
from tests.cases import for_each
from tests.coding.coded_strings import read, search, settle, write
from tests.coding.reference_decoder import bits_of_symbols


def draw_normal(rows: int, columns: int, *, exponent: float) -> np.ndarray:
    """Draw normal numbers of a deviation of 2^(exponent / 8) steps, float32."""
    draw = np.random.default_rng([rows, columns, round(100 * exponent) + 1000])
    return (draw.standard_normal((rows, columns)) * 2.0 ** (exponent / PER_OCTAVE)).astype(np.float32)


def costs_of(values: np.ndarray, symbols: np.ndarray, classes: list[int], *, states: int) -> np.ndarray:
    """Compute squared error plus slope times bits of paths by the true tables, (paths,)."""
    off = values - settle(symbols, classes, states=states)
    bits = [bits_of_symbols(own, classes, states=states) for own in symbols.tolist()]
    return np.square(off).sum(axis=1) + SLOPE * np.array(bits)


@pytest.mark.parametrize("number", [CLASS_MIN, -2, 0, 6, 16, 32, 38])
def test_search_is_near_the_best_of_all_paths(number: int) -> None:
    """Rows of 4 columns cost 1 % more than the best path at most, all together, and 3 % each.

    Paths are tried of the 5 symbols nearest to each number, and 0. The search reckons with smooth bits and levels
    instead of the tables', which is all that it may lose.
    """
    classes = [number] * 4
    values = draw_normal(24, 4, exponent=number)
    actual = costs_of(values, search(values, classes, states=8), classes, states=8)
    best = np.empty(24)
    for row, own in enumerate(values):
        near = [sorted({0, *range(round(float(one) / 2) - 2, round(float(one) / 2) + 3)}) for one in own]
        best[row] = costs_of(own, np.array(list(itertools.product(*near))), classes, states=8).min()
    assert (actual >= best * (1 - 1e-6)).all()
    assert actual.sum() <= 1.01 * best.sum()
    assert (actual <= 1.03 * best).all()


# Bits a number of classes, with 8 states.
RATES = {-4: 0.585, 0: 1.086, 4: 1.604, 8: 2.083, 16: 3.071, 24: 4.069, 32: 5.06, 40: 6.053, 56: 8.05}


@pytest.mark.parametrize("number", RATES)
@for_each(("states", "limit"), [(8, 1.065), (32, 1.05)])
def test_normal_numbers_are_near_the_bound(number: int, states: int, limit: float) -> None:
    """Normal numbers at R bits, all bits of their strings counted, leave 2^-R times 1.065 with 8 states, 1.05 with 32.

    100000 numbers tell the error to 0.3 %.
    """
    values = draw_normal(100, 1024, exponent=number)
    classes = [number] * 1024
    strings = write(search(values, classes, states=states), classes, states=states)
    bits = 8 * sum(map(len, strings)) / values.size
    off = values.astype(np.float64) - read(strings, classes, states=states)
    error = float(np.sqrt(np.square(off).sum() / np.square(values.astype(np.float64)).sum()))
    assert bits == pytest.approx(RATES[number], abs=0.02)
    assert 1.0 < error * 2**bits < limit


def test_columns_of_mixed_classes_are_near_the_bound() -> None:
    """Columns whose deviations fall from 16 steps to 0.6 leave together what reverse water-filling leaves, times 1.065.

    The bound of components above the water level D is D each, at sum log2(deviation^2 / D) / 2 bits.
    """
    exponents = np.linspace(32, CLASS_MIN, 400)
    values = draw_normal(200, 400, exponent=0.0) * (2.0 ** (exponents / PER_OCTAVE)).astype(np.float32)
    classes = np.rint(exponents).astype(int)[::-1].tolist()
    values = np.ascontiguousarray(values[:, ::-1])
    strings = write(search(values, classes, states=8), classes, states=8)
    bits = 8 * sum(map(len, strings)) / len(strings)
    left = float(np.square(values - read(strings, classes, states=8)).sum()) / len(values)
    variances = 2.0 ** (2 * exponents / PER_OCTAVE)
    low, high = 1e-3, 10.0
    for _ in range(60):
        level = (low + high) / 2
        is_above = np.log2(np.maximum(variances / level, 1)).sum() / 2 < bits
        low, high = (low, level) if is_above else (level, high)
    assert 1.0 < np.sqrt(left / np.minimum(variances, level).sum()) < 1.065


def test_search_of_a_row_is_that_of_the_row_alone() -> None:
    """Rows are searched side by side and one by one, in any order, with the same error and bits to a thousandth."""
    classes = [0, 4, 8, 18, 26, 36, 50] * 5
    values = draw_normal(37, 35, exponent=16.0)
    together = costs_of(values, search(values, classes, states=32), classes, states=32)
    alone = [costs_of(own, search(own[None], classes, states=32), classes, states=32)[0] for own in values]
    assert np.allclose(together, alone, rtol=1e-3)
    order = np.random.default_rng(0).permutation(37)
    permuted = costs_of(values[order], search(values[order], classes, states=32), classes, states=32)
    assert np.allclose(permuted, together[order], rtol=1e-3)


@pytest.mark.parametrize("number", [CLASS_MIN, 0, 24, 48, CLASS_MAX])
def test_search_reaches_numbers_far_out(number: int) -> None:
    """Numbers up to 2^23 steps are met to 2 steps, what is beyond as 2^23, in rows whose other numbers are normal."""
    values = draw_normal(6, 12, exponent=min(number, 48))
    far = np.array([30.0, 1e3, -1e5, 2**22 + 0.5, -(2.0**23), 1e20], np.float32)
    values[np.arange(6), [0, 11, 5, 3, 7, 2]] = far
    classes = [number] * 12
    numbers = read(write(search(values, classes, states=8), classes, states=8), classes, states=8)
    assert np.abs(numbers - np.clip(values, -(2.0**23), 2.0**23)).max() <= 2.0


@pytest.mark.parametrize("states", [4, 8])
def test_search_closes_over_numbers_alone(states: int) -> None:
    """The search holds whole numbers and no function, whose name on disk would be another in every process."""
    closure = search_kernels._search_few(states).py_func.__closure__
    numbers = [number for cell in closure for number in np.atleast_1d(cell.cell_contents).tolist()]
    assert states in numbers
    assert all(type(number) is int for number in numbers)
