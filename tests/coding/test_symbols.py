"""The tables of symbols, which are part of the format: their sums, prefix codes, classes, and rates."""

from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest

from embcompress.coding.symbols import (
    CLASS_MAX,
    CLASS_MIN,
    CLASS_TRAINED,
    PER_OCTAVE,
    TABLES,
    TABLES_FILE,
    TRAINED,
    classes_of,
    distortions_of,
    load_symbols,
    prefix_lengths_of,
    rates_of,
    raw_bits_of,
    table_of,
)
from tests.coding.reference_decoder import huffman_lengths, table_and_raw_bits, tables

# Of the arrays of symbols.npz, in the order of their names, each by its dtype, shape and bytes. Files that were written
# with other tables cannot be read: change the format's number before you change this.
SHIPPED = "d5fbc19282a69929f4b14d92e96125729da998c12f2b49c09f5913fbb52834f7"


def test_tables_are_those_of_the_format() -> None:
    """Nobody has trained the tables anew."""
    digest = hashlib.sha256()
    with np.load(TABLES_FILE, allow_pickle=False) as file:
        for name in sorted(file.files):
            little = file[name].astype(file[name].dtype.newbyteorder("<"))
            digest.update(f"{name} {little.dtype.str} {little.shape}".encode() + little.tobytes())
    assert digest.hexdigest() == SHIPPED


def test_frequencies_fill_the_slots() -> None:
    """The frequencies of each table sum up to 4096, each entry has one, and slots are in proportion."""
    symbols = load_symbols()
    assert symbols.frequencies.shape[0] == 2 * TABLES == 94
    assert symbols.frequencies.sum(axis=1).tolist() == [4096] * 94
    for table, count in enumerate(symbols.counts):
        own = symbols.frequencies[table, :count]
        assert own.min() >= 1
        assert not symbols.frequencies[table, count:].any()
        assert np.bincount(symbols.slots[table], minlength=count).tolist() == own.tolist()
        assert (np.diff(symbols.slots[table].astype(int)) >= 0).all()


def test_levels_are_symmetric() -> None:
    """Levels come with their negatives, near their whole step, and as frequent but for what rounding left over."""
    symbols = load_symbols()
    for table, count in enumerate(symbols.counts[: 2 * TRAINED]):
        levels, own = symbols.levels[table, :count], symbols.frequencies[table, :count]
        assert np.array_equal(levels, -levels[::-1])
        assert np.abs(own - own[::-1]).max() < 16
        assert np.count_nonzero(own != own[::-1]) <= 2
        nominal = 2 * (symbols.starts[table] + np.arange(count)) + table % 2
        assert np.abs(levels - nominal).max() < 1.0
        assert (np.diff(levels) > 0.9).all()
    assert not symbols.levels[2 * TRAINED :].any()


def test_entries_pack_the_tables() -> None:
    """What the decoder reads of an entry is its level, frequency, parity and sum, and whether more has to be read."""
    symbols = load_symbols()
    for table, count in enumerate(symbols.counts.tolist()):
        before = 0
        for index in range(count):
            entry, frequency = int(symbols.entries[table, index]), int(symbols.frequencies[table, index])
            assert entry & 0xFFF == before
            assert entry >> 14 & 1 == (symbols.starts[table] + index) % 2
            assert entry >> 15 & 1 == (table >= 2 * TRAINED or index in (0, count - 1))
            assert entry >> 16 & 0xFFFF == frequency
            assert np.uint32(entry >> 32).view(np.float32) == symbols.levels[table, index]
            before += frequency


def test_prefix_codes_are_complete_and_free_of_prefixes() -> None:
    """The sum of 2^-length is 1, no code starts with another, and any 12 bits tell the one they start with."""
    symbols = load_symbols()
    for table, count in enumerate(symbols.counts.tolist()):
        lengths, codes = symbols.prefix_lengths[table, :count].tolist(), symbols.prefix_codes[table, :count].tolist()
        assert max(lengths) <= 12
        assert sum(2 ** (12 - length) for length in lengths) == 4096
        texts = [f"{code:0{length}b}"[::-1] for code, length in zip(codes, lengths, strict=True)]
        starts = sorted(texts)
        assert not any(after.startswith(before) for before, after in itertools.pairwise(starts))
        owners = [texts[entry] for entry in symbols.prefix_slots[table]]
        assert all(f"{slot:012b}"[::-1].startswith(own) for slot, own in enumerate(owners))
        assert dict(tables()[table].prefixes) == {(len(own), int(own, 2)): entry for entry, own in enumerate(texts)}


def test_prefix_codes_are_near_the_entropy() -> None:
    """A Huffman code takes less than a bit more than the entropy; what the tables say of it is right to 1/256 bit."""
    symbols = load_symbols()
    for number in range(TABLES):
        pair = tables()[2 * number : 2 * number + 2]
        cost = [sum(f * n for f, n in zip(own.frequencies, own.prefix_lengths, strict=True)) / 4096 for own in pair]
        entropy = [own.entropy / 256 for own in pair]
        assert all(more <= taken < more + 1 for taken, more in zip(cost, entropy, strict=True))
        assert symbols.prefix_bits[number] / 256 == pytest.approx(sum(cost) / 2, abs=1.5 / 256)
        assert symbols.prefix_losses[number] / 256 == pytest.approx((sum(cost) - sum(entropy)) / 2, abs=1.5 / 256)


def test_entropies_round_alike_on_all_processors() -> None:
    """No entropy is so near a whole number of 1/256 bits that a logarithm's last digits decide how it is rounded."""
    assert min(abs(own.entropy - round(own.entropy)) for own in tables()) > 1e-6


def test_prefix_lengths_of_counts() -> None:
    """1, 1, 2, 4 take 3, 3, 2, 1 bits; one entry none; 40 powers of two 12 bits at most, completely."""
    assert prefix_lengths_of(np.array([1, 1, 2, 4])).tolist() == [3, 3, 2, 1]
    assert prefix_lengths_of(np.array([4096])).tolist() == [0]
    assert prefix_lengths_of(np.array([3, 0, 3])).tolist() == [1, 0, 1]
    steep = 2 ** np.arange(40)
    lengths = prefix_lengths_of(steep)
    assert lengths.max() <= 12
    assert (2.0**-lengths).sum() == 1.0
    assert lengths.tolist() == huffman_lengths(steep.tolist())


def test_classes_have_their_tables() -> None:
    """Classes -6..32 have tables of their own; above, each octave takes a raw bit and the same eight tables."""
    classes = np.arange(CLASS_MIN, CLASS_MAX + 1)
    expected = [table_and_raw_bits(number) for number in classes.tolist()]
    assert list(zip(table_of(classes).tolist(), raw_bits_of(classes).tolist(), strict=True)) == expected
    edges = np.array([-6, 0, 32, 33, 40, 41, 48, 160])
    assert table_of(edges).tolist() == [0, 6, 38, 39, 46, 39, 46, 46]
    assert raw_bits_of(edges).tolist() == [0, 0, 0, 1, 1, 2, 2, 16]
    assert table_of(np.array([-90, 500])).tolist() == [0, 46]
    assert raw_bits_of(np.array([-90, 500])).tolist() == [0, 16]


def test_classes_round_deviations() -> None:
    """A class is an eighth of an octave, to the nearest: 2^(1/16) is the edge between 0 and 1."""
    edge = 2.0 ** (1 / 16)
    ratios = np.array([1.0, edge * 0.999, edge * 1.001, 0.5, 2.0**20, 2.0**30, 0.0])
    assert classes_of(ratios).tolist()[:-1] == [0, 0, 1, -8, 160, 160]
    assert classes_of(ratios)[-1] < -1000


def test_rates_and_distortions_are_near_the_bound() -> None:
    """Each class leaves an error of at most 1.07 of 2^-rate deviations, none less.

    By 8 states, without the ends of strings. Above the trained classes rates grow by an octave's bit and nothing else
    changes.
    """
    classes = np.arange(CLASS_MIN, CLASS_MAX + 1)
    rates, left = rates_of(classes, load_symbols()), distortions_of(classes, load_symbols())
    over = np.sqrt(left / 2.0 ** (2 * classes / PER_OCTAVE) * 4**rates)
    assert over.max() < 1.07
    assert over.min() > 1.0
    assert (np.diff(rates) > 0).all()
    assert np.allclose(
        rates[classes > CLASS_TRAINED + PER_OCTAVE],
        rates[classes > CLASS_TRAINED][:-PER_OCTAVE] + 1,
        rtol=0,
        atol=1e-12,
    )
    # A step leaves 1/4 squared steps, as the slope supposes, to 5 %.
    assert np.abs(left[classes >= PER_OCTAVE] - 0.25).max() < 0.0125
    assert rates_of(np.array([CLASS_MIN - 1]), load_symbols()).tolist() == [0.0]
    assert distortions_of(np.array([-8, -16]), load_symbols()).tolist() == [0.25, 0.0625]
    assert math.isclose(float(rates[classes == 0][0]), 1.0, abs_tol=0.2)
