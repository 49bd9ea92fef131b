"""Strings of symbols: read again bit for bit, also by the reference decoder, and as short as they are worth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embcompress.coding.symbols import CLASS_MAX, CLASS_MIN, CLASS_TRAINED, PER_OCTAVE
from tests.coding.coded_strings import count_bits, layout_of, read, search, settle, write
from tests.coding.reference_decoder import bits_of_symbols, choose_prefixed, decode_string, table_and_raw_bits, tables

seldom = settings(max_examples=25, deadline=None)
FURTHEST = 2**22  # the symbol of 2^23 steps, which is as far as the encoder reaches
ALL_CLASSES = range(CLASS_MIN, CLASS_MAX + 1)


def assert_round_trip(symbols: np.ndarray, classes: Sequence[int], *, states: int) -> list[bytes]:
    """Assert that both decoders find the symbols, and the same numbers bit for bit; return the strings."""
    strings = write(symbols, classes, states=states)
    settled = settle(symbols, classes, states=states)
    assert read(strings, classes, states=states).tobytes() == settled.tobytes()
    for string, own, numbers in zip(strings, symbols.tolist(), settled.tolist(), strict=True):
        assert decode_string(string, classes, states=states) == (own, numbers)
    return strings


def draw_symbols(rows: int, classes: Sequence[int], *, seed: int) -> np.ndarray:
    """Draw symbols of normal numbers of each class's deviation, without a search."""
    draw = np.random.default_rng(seed)
    deviations = 2.0 ** (np.array(classes) / PER_OCTAVE)
    return np.rint(draw.standard_normal((rows, len(classes))) * deviations / 2).astype(np.int64)


@seldom
@given(
    classes=st.lists(st.integers(CLASS_MIN, CLASS_MAX), max_size=40),
    rows=st.integers(1, 20),
    seed=st.integers(0, 2**20),
    states=st.sampled_from([4, 8, 32, 256]),
    wild=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_strings_round_trip(classes: list[int], rows: int, seed: int, states: int, wild: float) -> None:
    """Mixed classes in any order, with no, some or only symbols far out, come back."""
    symbols = draw_symbols(rows, classes, seed=seed)
    draw = np.random.default_rng(seed)
    sizes = 2.0 ** draw.uniform(0, 22, symbols.shape)
    far = (draw.choice([-1, 1], symbols.shape) * sizes).astype(np.int64)
    assert_round_trip(np.where(draw.random(symbols.shape) < wild, far, symbols), classes, states=states)


@pytest.mark.parametrize("states", [4, 8, 32, 256])
def test_strings_of_each_class(states: int) -> None:
    """5 rows of 12 columns of each class alone, found by the encoder, come back; 1000 deviations out, too."""
    for number in ALL_CLASSES:
        classes = [number] * 12
        values = np.random.default_rng(number - CLASS_MIN).standard_normal((5, 12)) * 2.0 ** (number / PER_OCTAVE)
        values[3, 5] *= 1e3
        values[4] *= 1e3
        assert_round_trip(search(values, classes, states=states), classes, states=states)


@pytest.mark.parametrize(
    "number", [CLASS_MIN, 0, CLASS_TRAINED, CLASS_TRAINED + 1, CLASS_TRAINED + 8, CLASS_TRAINED + 9, CLASS_MAX]
)
def test_strings_of_extreme_symbols(number: int) -> None:
    """Symbols of 2^23 steps either way, alone and in turns, are exact: 2 k + set is a whole number in float32."""
    symbols = np.array([[FURTHEST] * 9, [-FURTHEST] * 9, [FURTHEST, -FURTHEST, 0] * 3, [FURTHEST - 1] * 9])
    assert_round_trip(symbols, [number] * 9, states=8)
    settled = settle(symbols, [number] * 9, states=8)
    assert np.abs(settled.astype(np.int64) // 2 - symbols)[np.abs(symbols) > 100].max() == 0


@pytest.mark.parametrize("number", ALL_CLASSES[::13])
def test_strings_of_one_symbol(number: int) -> None:
    """Rows of nothing but one symbol, from the first entry's to the last one's and beyond, come back."""
    table, raw = table_and_raw_bits(number)
    own = tables()[2 * table]
    first, last = own.first << raw, (own.first + len(own.frequencies) - 1) << raw
    kinds = sorted({first - 2, first - 1, first, first + 1, -1, 0, 1, last - 1, last, last + 1, last + 2})
    assert_round_trip(np.array(kinds)[:, None].repeat(30, axis=1), [number] * 30, states=8)


@pytest.mark.parametrize("number", [CLASS_MIN, 0, 16, CLASS_TRAINED, 48, CLASS_MAX])
def test_strings_of_one_column(number: int) -> None:
    """A string of one column is as long as its prefix code asks for: 256 symbols of class 48 have 2 raw bits."""
    symbols = np.arange(-128, 128)[:, None]
    strings = assert_round_trip(symbols, [number], states=8)
    assert max(map(len, strings)) <= 5


def test_strings_of_no_columns() -> None:
    """Rows of which nothing is coded have strings of no bytes; no rows, no strings."""
    assert assert_round_trip(np.zeros((3, 0), np.int64), [], states=8) == [b""] * 3
    assert write(np.zeros((0, 4), np.int64), [1, 2, 3, 4], states=8) == []


def test_strings_are_read_in_any_order() -> None:
    """Rows read in any order, or some of them, are what they are; others are left alone; padding plays no part."""
    classes = [0, 6, 18, 28, 44, 62]
    symbols = draw_symbols(50, classes, seed=3)
    strings, expected = write(symbols, classes, states=32), settle(symbols, classes, states=32)
    order = np.random.default_rng(0).permutation(50)
    actual = read(strings, classes, states=32, order=order.tolist(), padding=b"\xff\xff")
    assert actual.tobytes() == expected.tobytes()
    some = read(strings, classes, states=32, order=[41, 7, 8])
    assert np.array_equal(some[[7, 8, 41]], expected[[7, 8, 41]])
    assert np.isnan(some).all(axis=1).sum() == 47


@pytest.mark.parametrize(
    "classes",
    [
        [CLASS_MIN] * 20,
        [-4] * 200,
        [0] * 5,
        [0] * 100,
        [8] * 60,
        [20] * 300,
        [CLASS_TRAINED] * 8,
        [80] * 30,
        sorted([*range(CLASS_MIN, 60, 2)] * 4),
    ],
    ids=lambda own: f"{own[0]}..{own[-1]}x{len(own)}",
)
def test_strings_take_what_their_symbols_are_worth(classes: list[int]) -> None:
    """A string takes 4 bits and what a start loses beyond its symbols' worth on average, 12 and twice that at most.

    4 bits are the rounding to bytes; a start loses what the prefix code is worse than the symbols are worth: 0.1 bits
    of class 20, 11 bits of class -6. Of 300 strings the mean is known to 0.2 bits.
    """
    values = np.random.default_rng(1).standard_normal((300, len(classes))) * 2.0 ** (np.array(classes) / PER_OCTAVE)
    symbols = search(values, classes, states=8)
    strings = write(symbols, classes, states=8)
    worth = [bits_of_symbols(own, classes, states=8) for own in symbols.tolist()]
    more = np.array([8 * len(string) for string in strings]) - np.array(worth)
    lost = choose_prefixed(classes)[1]
    assert more.mean() < 4.4 + lost
    assert more.max() < 12 + 2 * lost


def test_fillers_make_strings_longer_and_nothing_else() -> None:
    """Strings with 0 to 199 bits that tell nothing decode to the same numbers, and are as much longer, to 2 bytes."""
    classes = [-3, 0, 1, 5, 9, 14, 20, 33] * 4
    symbols = draw_symbols(200, classes, seed=5)
    fillers = np.arange(200)
    plain, filled = (write(symbols, classes, states=8, fillers=own) for own in (None, fillers))
    assert read(filled, classes, states=8).tobytes() == settle(symbols, classes, states=8).tobytes()
    for string, own in zip(filled[::20], symbols[::20].tolist(), strict=True):
        assert decode_string(string, classes, states=8)[0] == own
    more = np.array([len(string) for string in filled]) - np.array([len(string) for string in plain])
    assert filled[0] == plain[0]
    assert np.abs(more - fillers / 8).max() <= 2


@pytest.mark.parametrize("classes", [[0] * 100, [20] * 5, sorted([*range(CLASS_MIN, 60)] * 2), []], ids=len)
def test_bits_are_counted_as_they_are_worth(classes: list[int]) -> None:
    """The encoder counts -log2 of frequencies, the bits of prefix codes, raw bits and escapes; strings are that long.

    Frequencies count in float32, so to 1e-3; of a string, 8 bits are its rounding to bytes, and it may be shorter by
    what its state has zeros in front.
    """
    values = np.random.default_rng(2).standard_normal((50, len(classes))) * 2.0 ** (np.array(classes) / PER_OCTAVE)
    values[7:9] *= 1e3
    symbols = search(values, classes, states=8)
    counted = count_bits(symbols, classes, states=8)
    prefixed = choose_prefixed(classes)[0]
    worth = [bits_of_symbols(own, classes, states=8, prefixed=prefixed) for own in symbols.tolist()]
    assert counted == pytest.approx(worth, abs=1e-3)
    more = 8 * np.array([len(string) for string in write(symbols, classes, states=8)]) - counted
    assert more.max() < 12


def test_prefixed_columns_are_those_of_the_reference() -> None:
    """As many columns are in the prefix code as the reference decoder counts, for each class and for mixed ones."""
    draw = np.random.default_rng(0)
    lists = [[number] * 30 for number in ALL_CLASSES]
    lists += [sorted(draw.integers(CLASS_MIN, 50, draw.integers(0, 30)).tolist()) for _ in range(50)]
    assert [layout_of(own)[2] for own in lists] == [choose_prefixed(own)[0] for own in lists]
    assert layout_of([CLASS_MAX] * 3)[2] == 1


@seldom
@given(
    strings=st.lists(st.binary(max_size=40), min_size=1, max_size=10),
    classes=st.lists(st.integers(CLASS_MIN, CLASS_MAX), max_size=30),
)
def test_any_bytes_are_read_like_the_reference(strings: list[bytes], classes: list[int]) -> None:
    """Bytes that no encoder wrote decode to the same numbers, and no string reads what belongs to the next."""
    actual = read(strings, classes, states=8)
    expected = [decode_string(string, classes, states=8)[1] for string in strings]
    assert actual.tolist() == np.array(expected, np.float64).astype(np.float32).reshape(actual.shape).tolist()


@pytest.mark.parametrize("length", [20_000, 20_001])
def test_strings_longer_than_any_are_read_like_the_reference(length: int) -> None:
    """Of damaged strings, far longer than their columns can read, what is read is the same."""
    draw, classes = np.random.default_rng(length), [CLASS_MIN, 0, 12, CLASS_TRAINED, 50, CLASS_MAX]
    strings = [bytes(length), b"\xff" * length, b"\x00\xff" * (length // 2) + b"\x00"]
    strings += [draw.bytes(length + 2 * number) for number in range(20)]
    actual = read(strings, classes, states=8)
    expected = [decode_string(string, classes, states=8)[1] for string in strings]
    assert actual.tolist() == np.array(expected, np.float64).astype(np.float32).tolist()


def test_strings_are_those_of_the_format() -> None:
    """Symbols that follow from a formula have the same strings for ever: files that are written must be read."""
    classes = [-6, -4, -2, 0, 0, 3, 6, 11, 16, 24, 32, 33, 38, 42, 80, 160]
    rows, columns = np.arange(64)[:, None], np.arange(16)
    spread = (rows * 7919 + columns * 104729 + rows * columns * 31) % 1009 - 504
    symbols = spread * (2.0 ** (np.array(classes) / PER_OCTAVE)).astype(np.int64) // 400
    digests = [
        hashlib.sha256(b"|".join(assert_round_trip(symbols, classes, states=states))).hexdigest()[:16]
        for states in (4, 8, 32, 256)
    ]
    assert digests == ["039ac4c80aa5f5e2", "b75529880957e67a", "2f5536419c8e0f52", "f83299e6fb813547"]
