"""Lists of integers: they come back, take what they are worth, and damaged ones are told or have the right length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embcompress.coding.integers import TREE_BITS, WIDTH_MAX, decode_integers, encode_integers
from embcompress.exceptions import ArtifactError

seldom = settings(max_examples=25, deadline=None)


@seldom
@given(
    pairs=st.lists(st.tuples(st.integers(0, 2**12), st.integers(0, 6)), max_size=200),
    width=st.integers(0, 12),
)
def test_integers_round_trip(pairs: list[tuple[int, int]], width: int) -> None:
    """Integers below any power of two, in contexts that are given again, come back."""
    values = np.array([value >> (12 - width) for value, _ in pairs], np.int64)
    contexts = np.array([context for _, context in pairs], np.int64)
    coded = encode_integers(values, contexts=contexts, count=7)
    assert decode_integers(coded, len(values), contexts=contexts, count=7).tolist() == values.tolist()
    alone = encode_integers(values)
    assert decode_integers(alone, len(values)).tolist() == values.tolist()


@pytest.mark.parametrize(
    "values",
    [[], [0], [1], [2**WIDTH_MAX - 1], [0] * 5000, [1] * 5000, [0] * 4000 + [2**20], [255, 0] * 2000, [256, 255] * 900],
    ids=lambda own: f"{own[:1]}..{own[-1:]}x{len(own)}",
)
def test_integers_of_extreme_lists(values: list[int]) -> None:
    """Lists of nothing, one number, one that repeats, and numbers on either side of a power come back."""
    coded = encode_integers(np.array(values, np.int64))
    assert decode_integers(coded, len(values)).tolist() == values


def test_integers_of_chance_carry() -> None:
    """Of 2000 short lists of wide integers, in which the coder carries into bytes written, each comes back."""
    draw = np.random.default_rng(0)
    for _ in range(2000):
        values = draw.integers(0, 2 ** draw.integers(1, 17), draw.integers(1, 12))
        assert decode_integers(encode_integers(values), len(values)).tolist() == values.tolist()


def entropy_of(shares: np.ndarray) -> float:
    """Compute the entropy in bits."""
    return float(-(shares * np.log2(shares)).sum())


@pytest.mark.parametrize("kind", ["uniform", "geometric", "two", "rare"])
def test_integers_take_their_entropy(kind: str) -> None:
    """100000 integers take their entropy and 0.008 bits a bit at most, and 3 % more at most where that is above a bit.

    A chance that moves by 1/64 of its distance varies by 1/128 of p (1 - p), which costs 1/(256 ln 2) = 0.0056 bits
    with each bit that is coded; of chances near 0 and 1 a little more.
    """
    shares = {
        "uniform": np.full(32, 1 / 32),
        "geometric": 0.7 ** np.arange(40) * 0.3 / (1 - 0.7**40),
        "two": np.array([0.3, 0.7]),
        "rare": np.array([0.98, 0.02]),
    }[kind]
    values = np.random.default_rng(0).choice(len(shares), 100_000, p=shares)
    bits = 8 * len(encode_integers(values)) / 100_000
    shares_found = np.bincount(values, minlength=len(shares))
    shares_found = shares_found[shares_found > 0] / 100_000
    least = entropy_of(shares_found)
    assert least < bits < least + 0.008 * (len(shares) - 1).bit_length()
    assert bits < 1.03 * least or least < 0.2


def test_integers_learn_in_contexts() -> None:
    """Where the context tells the number, 100000 of 64 take next to nothing; without it, 6 bits each."""
    draw = np.random.default_rng(0)
    contexts = draw.integers(0, 64, 100_000)
    with_contexts = encode_integers(63 - contexts, contexts=contexts, count=64)
    assert 8 * len(with_contexts) / 100_000 < 0.05
    assert 8 * len(encode_integers(63 - contexts)) / 100_000 == pytest.approx(6, rel=0.03)


@pytest.mark.parametrize("width", [1, 5])
def test_integers_that_repeat_take_next_to_nothing(width: int) -> None:
    """A million zeros behind a number take -log2(1 - 32/2^15) = 0.0014 bits a bit, the least chance that there is."""
    values = np.zeros(1_000_000, np.int64)
    values[0] = 2**width - 1
    bits = 8 * len(encode_integers(values))
    assert bits / 1_000_000 == pytest.approx(-width * np.log2(1 - 2.0**-10), rel=0.05)


@seldom
@given(coded=st.binary(max_size=60), length=st.integers(0, 300), contexts=st.integers(1, 5))
def test_damaged_integers_are_told_or_have_the_right_length(coded: bytes, length: int, contexts: int) -> None:
    """Any bytes are refused, or are so many integers below the power of two that the first byte says."""
    own = np.arange(length) % contexts
    stored = np.frombuffer(coded, np.uint8)
    if not coded or coded[0] > WIDTH_MAX or contexts << min(coded[0], TREE_BITS) > 2**26:
        with pytest.raises(ArtifactError, match="damaged"):
            decode_integers(stored, length, contexts=own, count=contexts)
        return
    values = decode_integers(stored, length, contexts=own, count=contexts)
    assert len(values) == length
    assert ((values >= 0) & (values < 1 << coded[0])).all()


def test_cut_integers_have_the_right_length() -> None:
    """A list that ends too early is read as if zeros followed: the numbers before are what they were."""
    values = np.random.default_rng(0).integers(0, 100, 500)
    coded = encode_integers(values)
    for length in range(1, len(coded), 7):
        actual = decode_integers(coded[:length], 500)
        assert len(actual) == 500
        # The coder looks 4 bytes ahead; 7 bits are a number.
        sure = max(0, (length - 6) * 8 // 8)
        assert actual[:sure].tolist() == values[:sure].tolist()
