"""The seekable form of an index: blocks decode by themselves, and what is damaged is told and never followed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embcompress.coding.codebook import Codebook
from embcompress.coding.row_index import RowIndex, make_row_index
from embcompress.coding.seekable_index import (
    BLOCK_ROWS,
    SeekableIndex,
    StoredIndex,
    put_heads,
    read_seekable,
    store_index,
    take_heads_off,
)
from embcompress.exceptions import ArtifactError
from tests.coding.codebooks import make_codebook

CODEBOOK = make_codebook(rank=6, profiles=2, kinds=40)


def draw_index(rows: int, *, codebook: Codebook = CODEBOOK, spread: int = 3, seed: int = 0) -> RowIndex:
    """Draw kinds, some of them zeros, and lengths about what is expected of them."""
    generator = np.random.default_rng(seed)
    kinds = generator.integers(0, codebook.kinds, rows) * (generator.random(rows) < 0.9)
    lengths = np.maximum(codebook.expected_lengths[kinds] + generator.integers(-spread, spread + 1, rows), 0)
    return make_row_index(kinds, np.where(kinds > 0, lengths, 0))


def store(index: RowIndex, codebook: Codebook = CODEBOOK) -> tuple[StoredIndex, NDArray[np.uint8], NDArray[np.uint8]]:
    """Store an index: also the strings of its rows, drawn, and the codes, which are these with heads."""
    stored = store_index(index, codebook, is_seekable=True)
    strings = np.random.default_rng(1).integers(0, 256, int(index.lengths.sum()), dtype=np.uint8)
    return stored, strings, put_heads(stored, strings, first=0, blocks=len(stored.head_sizes))


def read(stored: StoredIndex, rows: int, codebook: Codebook = CODEBOOK) -> SeekableIndex:
    """Read an index from its bytes."""
    return read_seekable(stored.index, rows=rows, codebook=codebook)


def assert_round_trip(index: RowIndex, codebook: Codebook) -> None:
    """Check that rows come back from the codes in parts of any size, and strings from among the heads."""
    stored, strings, codes = store(index, codebook)
    seekable = read(stored, len(index.kinds), codebook)
    assert seekable.nbytes == len(codes) == stored.nbytes - len(stored.index) + len(strings)
    for part in (len(codes) + 1, 7 + len(codes) // 3):
        parts = [codes[first : first + part].data for first in range(0, len(codes), part)]
        rows = seekable.read_rows(parts)
        assert rows.kinds.tolist() == index.kinds.tolist()
        assert rows.lengths.tolist() == index.lengths.tolist()
        assert rows.nbytes == len(codes)
        assert take_heads_off(codes, rows, padding=3).tolist() == [*strings.tolist(), 0, 0, 0]


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 70), kinds=st.integers(0, 40), steps=st.integers(1, 4), spread=st.integers(0, 300),
    seed=st.integers(0, 2**20),
)  # fmt: skip
def test_seekable_index_round_trips(rows: int, kinds: int, steps: int, spread: int, seed: int) -> None:
    """Any kinds and lengths come back, whole blocks or not, and so do the strings between the heads."""
    codebook = make_codebook(rank=5, profiles=2, kinds=kinds, steps=steps, seed=seed)
    assert_round_trip(draw_index(rows, codebook=codebook, spread=spread, seed=seed), codebook)


@pytest.mark.parametrize("rows", [16 * 1100, 16 * 1100 + 5])
def test_blocks_decode_by_themselves(rows: int) -> None:
    """A block read alone gives its rows and where their strings start, whatever follows its last byte."""
    index = draw_index(rows)
    stored, strings, codes = store(index)
    seekable = read(stored, rows)
    first_strings = index.lengths.cumsum(dtype=np.int64) - index.lengths
    for block in (0, 63, 64, 1000, seekable.blocks - 1):
        number = np.array([block])
        (start,), (size,), counts = seekable.starts(number), seekable.sizes(number), seekable.counts(number)
        for filler in (0, 255):
            alone = np.concatenate([codes[start : start + size], np.full(8, filler, np.uint8)])
            kinds, lengths, positions = seekable.coder.decode(alone, np.array([0]), np.array([size]), counts)[:, 0]
            for at in range(counts[0]):
                row = block * BLOCK_ROWS + at
                assert (kinds[at], lengths[at]) == (index.kinds[row], index.lengths[row])
                own = strings[first_strings[row] : first_strings[row] + lengths[at]]
                assert alone[positions[at] : positions[at] + lengths[at]].tolist() == own.tolist()


def test_finding_takes_few_bytes_a_row() -> None:
    """In memory a block takes one or two bytes and its share of an anchor, and nothing where all are alike."""
    rows = 16 * 4096
    assert read(store(draw_index(rows))[0], rows).memory <= 0.14 * rows
    alike = make_row_index(np.ones(rows, np.int64), np.full(rows, 9))
    stored, _, codes = store(alike)
    assert (len(stored.heads), len(codes)) == (0, 9 * rows)
    assert len(stored.index) < 100
    assert read(stored, rows).memory <= 8 * (rows / 1024 + 1)


def test_heads_take_what_kinds_and_lengths_are_worth() -> None:
    """Heads are within two bytes a block of the entropies of kinds, given the step before, and of lengths."""
    codebook = make_codebook(rank=6, profiles=1, kinds=20, steps=1)
    index = draw_index(16 * 500, codebook=codebook, spread=2)

    def entropy(values: NDArray[np.int64]) -> float:
        counts = np.unique_counts(values).counts
        return float(-(counts * np.log2(counts / counts.sum())).sum())

    kinds, lengths = index.kinds.astype(np.int64), index.lengths.astype(np.int64)
    worth = entropy(kinds) + entropy(lengths - codebook.expected_lengths[kinds])
    assert 8 * len(store(index, codebook)[0].heads) < worth + 16 * 500


def test_damaged_index_is_told() -> None:
    """An index that is cut, or says other sizes than there are, is refused by name."""
    index = draw_index(100)
    stored, _, codes = store(index)
    cut = [stored.index[:size] for size in (0, 3, 7, 9, len(stored.index) - 1)]
    longer = np.append(stored.index, np.uint8(0))
    wrong_item = stored.index.copy()
    wrong_item[2] = 3
    for damaged in (*cut, longer, wrong_item):
        with pytest.raises(ArtifactError, match="damaged"):
            read_seekable(damaged, rows=100, codebook=CODEBOOK)
    for parts in ([codes[:-1].data], [codes.data, b"x"]):
        with pytest.raises(ArtifactError, match="damaged"):
            read(stored, 100).read_rows(parts)


def test_flipped_bits_are_told_or_stay_inside() -> None:
    """With any bit of index or heads flipped, what is read is refused, or its strings lie inside their blocks."""
    rows = 50
    stored, _, codes = store(draw_index(rows))
    places = itertools.product(range(len(stored.index) + 40), (0, 3, 7))
    refused = 0
    for byte, bit in places:
        index, damaged = stored.index.copy(), codes.copy()
        if byte < len(index):
            index[byte] ^= 1 << bit
        else:
            damaged[byte - len(index)] ^= 1 << bit
        try:
            seekable = read_seekable(index, rows=rows, codebook=CODEBOOK)
            if seekable.nbytes != len(codes):
                raise ArtifactError("other codes")
            blocks = np.arange(seekable.blocks)
            starts, sizes, counts = seekable.starts(blocks), seekable.sizes(blocks), seekable.counts(blocks)
            _, lengths, positions = seekable.coder.decode(damaged, starts, sizes, counts)
        except ArtifactError:
            refused += 1
            continue
        assert (lengths >= 0).all()
        for block, count in enumerate(counts):
            assert (positions[block, :count] >= starts[block]).all()
            assert (positions[block, :count] + lengths[block, :count] <= starts[block] + sizes[block]).all()
    assert refused > 20
