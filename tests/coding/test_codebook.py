"""Codebooks and indexes of rows as they are stored: they come back, take little, and damaged ones are told."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embcompress.coding.codebook import HEAD, Codebook, read_codebook
from embcompress.coding.rotation import decode_rotation, encode_rotation
from embcompress.coding.row_index import make_row_index, read_row_index
from embcompress.coding.symbols import CLASS_MIN, PER_OCTAVE
from embcompress.exceptions import ArtifactError
from tests.cases import for_each
from tests.coding.codebooks import make_codebook
from tests.coding.reference_decoder import choose_prefixed, table_and_raw_bits, tables

often = settings(max_examples=30, deadline=None)
ARRAYS = ("profiles", "shifts", "scales", "step_numbers", "classes", "center_numbers")
ROWS = 500


def make_rotated() -> Codebook:
    """Make a codebook of 12 columns with 10 coded bases of 16 entries."""
    vectors = torch.linalg.qr(torch.randn(16, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q.T
    coded = encode_rotation(vectors.contiguous(), np.array([40, 36, 36, 33, 24, 24, 6, 0, -4, 8]))
    return replace(make_codebook(rank=12, profiles=3, kinds=20), rotation=coded)


def assert_same(actual: Codebook, codebook: Codebook) -> None:
    """Assert that two codebooks hold the same numbers."""
    assert (actual.states, actual.rank, actual.steps) == (codebook.states, codebook.rank, codebook.steps)
    for name in ARRAYS:
        own, expected = getattr(actual, name), getattr(codebook, name)
        assert (own is None) == (expected is None)
        assert own is None or own.tolist() == expected.tolist()
    assert actual.center_step == codebook.center_step
    assert (actual.rotation is None) == (codebook.rotation is None)
    if actual.rotation is not None:
        assert codebook.rotation is not None
        assert actual.rotation.dim == codebook.rotation.dim
        for name in ("classes", "strings", "lengths"):
            assert getattr(actual.rotation, name).tolist() == getattr(codebook.rotation, name).tolist()


@pytest.mark.parametrize("states", [4, 256])
@for_each(("profiles", "kinds", "steps"), [(1, 0, 1), (1, 1, 1), (1, 60, 3), (7, 300, 16)])
def test_codebook_round_trip(profiles: int, kinds: int, steps: int, states: int) -> None:
    """Codebooks of one profile and many, with and without centers, of one step and 16, come back."""
    codebook = make_codebook(rank=30, profiles=profiles, kinds=kinds, steps=steps, states=states)
    assert_same(read_codebook(codebook.to_bytes(), rank=30, dim=30), codebook)
    bare = replace(codebook, center_numbers=None, center_step=0.0)
    assert_same(read_codebook(bare.to_bytes(), rank=30, dim=30), bare)
    assert len(bare.to_bytes()) < len(codebook.to_bytes())


def test_codebook_with_bases_round_trip() -> None:
    """The strings of bases stand behind all else, and come back."""
    codebook = make_rotated()
    actual = read_codebook(codebook.to_bytes(), rank=12, dim=16)
    assert_same(actual, codebook)
    assert actual.rotation is not None
    assert codebook.rotation is not None
    assert torch.equal(decode_rotation(actual.rotation, 12), decode_rotation(codebook.rotation, 12))


def test_codebook_takes_little() -> None:
    """1000 columns of falling classes take 150 bytes at most, the head of 14, a step of 4 and 6 sizes of 4 counted.

    A class falls by one in every 20 columns, which is 0.29 bits a column by its entropy.
    """
    classes = (30 - np.arange(1000) // 20)[None]
    none = np.zeros(1, np.int64)
    stored = Codebook(8, 1000, (0.5,), none, none, none, none, classes).to_bytes()
    assert HEAD.size == 14
    assert 14 + 4 + 24 + 0.29 * 1000 / 8 < len(stored) <= 150


def test_layout_puts_columns_by_class() -> None:
    """A kind has the columns whose class and shift are -6 at least, weakest first, equal ones in the table's order."""
    classes = np.array([[10, -3, 0, 60, -3, 180, -18]])
    zeros = np.zeros(4, np.int64)
    codebook = Codebook(8, 7, (1.0,), zeros, np.array([0, 0, -6, 18]), zeros, zeros, classes)
    assert [codebook.layout(kind).columns.tolist() for kind in range(4)] == [
        [],
        [1, 4, 2, 0, 3, 5],
        [2, 0, 3, 5],
        [6, 1, 4, 2, 0, 3, 5],
    ]
    for kind in range(1, 4):
        layout = codebook.layout(kind)
        own = [int(classes[0, column] + codebook.shifts[kind]) for column in layout.columns]
        assert list(zip(layout.tables.tolist(), layout.raw_bits.tolist(), strict=True)) == [
            table_and_raw_bits(number) for number in own
        ]
        assert layout.prefixed == choose_prefixed(own)[0]


def test_expected_lengths_are_the_entropies() -> None:
    """The bytes that are expected of a kind are the entropies of its columns' tables and raw bits, to 2 bytes."""
    codebook = make_codebook(rank=60, profiles=4, kinds=80)
    for kind in range(1, codebook.kinds):
        own = codebook.classes[codebook.profiles[kind]] + codebook.shifts[kind]
        bits = 0.0
        for number in own[own >= CLASS_MIN].tolist():
            table, raw = table_and_raw_bits(number)
            bits += sum(one.entropy for one in tables()[2 * table : 2 * table + 2]) / 512 + raw
        assert codebook.expected_lengths[kind] == pytest.approx(bits / 8, abs=2)
    assert codebook.expected_lengths[0] == 0


def test_steps_of_kinds() -> None:
    """A kind's step is its own of the steps times 2^(scale / 8); rows of zeros have none."""
    codebook = make_codebook(rank=3, profiles=1, kinds=50, steps=3)
    steps = codebook.row_steps(np.arange(51))
    expected = [
        codebook.steps[number] * math.pow(2.0, scale / PER_OCTAVE)
        for number, scale in zip(codebook.step_numbers.tolist(), codebook.scales.tolist(), strict=True)
    ]
    assert steps[0] == 0
    assert np.allclose(steps[1:], expected[1:], rtol=2.0**-23, atol=0)
    assert codebook.centers is not None
    assert codebook.center_numbers is not None
    assert np.allclose(codebook.centers, codebook.center_numbers * codebook.center_step, rtol=2.0**-23, atol=0)


@often
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
    cut=st.none() | st.integers(0, 300),
    is_rotated=st.booleans(),
)
def test_damaged_codebooks_are_told_or_valid(
    changes: list[tuple[int, int]], cut: int | None, *, is_rotated: bool
) -> None:
    """Bytes changed or cut off are refused, or are another codebook, whose numbers decode and are stored again."""
    codebook = make_rotated() if is_rotated else make_codebook(rank=16, profiles=2, kinds=15)
    stored = codebook.to_bytes().copy()
    for position, byte in changes:
        stored[position % len(stored)] = byte
    try:
        actual = read_codebook(stored[:cut], rank=codebook.rank, dim=16)
    except ArtifactError:
        return
    assert_same(read_codebook(actual.to_bytes(), rank=actual.rank, dim=16), actual)
    assert np.isfinite(actual.kind_steps).all()
    assert actual.centers is None or np.isfinite(actual.centers).all()
    for kind in range(min(actual.kinds, 50)):
        layout = actual.layout(kind)
        assert len(set(layout.columns.tolist())) == len(layout.columns) <= actual.rank
    if actual.rotation is not None:
        vectors = decode_rotation(actual.rotation, actual.rank)
        assert (vectors @ vectors.T - torch.eye(len(vectors), dtype=torch.float64)).abs().max() < 1e-12


def test_codebook_that_is_cut_off_is_refused() -> None:
    """With bases every byte counts: no part of a codebook is one."""
    stored = make_rotated().to_bytes()
    for cut in range(len(stored)):
        with pytest.raises(ArtifactError, match="damaged"):
            read_codebook(stored[:cut], rank=12, dim=16)


def test_codebook_of_a_million_kinds_does_not_hang() -> None:
    """A damaged head that claims 524308 kinds, of which 32 differ, costs no layout for each.

    In time of this thread, with a margin: 1 s was measured, and 36 s when each kind had one.
    """
    zeros = np.zeros(20, np.int64)
    classes = np.tile(np.arange(64)[::-1] // 4, (3, 1))
    stored = Codebook(8, 64, (0.5,), zeros, np.arange(20) - 10, zeros, zeros, classes).to_bytes().copy()
    stored[HEAD.size - 8] = 8  # the third byte of the number of kinds
    started = time.thread_time()
    actual = read_codebook(stored, rank=64, dim=64)
    assert actual.kinds == len(actual.expected_lengths) == 8 * 2**16 + 20
    assert time.thread_time() - started < 12


def test_codebook_of_more_layouts_than_the_decoder_finds_is_refused() -> None:
    """513 layouts of 2^20 columns, one more than 2^29 steps hold, are told by a file of a kilobyte."""
    none = np.zeros(513, np.int64)
    classes = np.zeros((1, 2**20), np.int64)
    codebook = Codebook(8, 2**20, (1.0,), none, np.arange(-1, 512), none, none, classes)
    stored = codebook.to_bytes()
    assert len(stored) < 2**10
    with pytest.raises(ArtifactError, match="513 layouts of 1048576 columns"):
        read_codebook(stored, rank=2**20, dim=2**20)


def test_codebook_whose_steps_overflow_is_refused() -> None:
    """A step of 3e38 at a scale of 1, and a center of 300 times that, are infinite in float32."""
    codebook = make_codebook(rank=4, profiles=1, kinds=30, steps=1)
    for wrong in (replace(codebook, steps=(3e38,)), replace(codebook, center_step=3e38)):
        with pytest.raises(ArtifactError, match="its steps"):
            read_codebook(wrong.to_bytes(), rank=4, dim=4)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 100, 1000])
def test_positions_are_sums_of_lengths(rows: int) -> None:
    """The string of each row starts behind those before it, rows asked for in any order and twice."""
    draw = np.random.default_rng(rows)
    lengths = draw.integers(0, 70_000 if rows == 100 else 900, rows)
    index = make_row_index(np.ones(rows, np.int64), lengths)
    starts = lengths.cumsum() - lengths
    order = draw.integers(0, rows, 3 * rows)
    assert index.positions(np.arange(rows)).tolist() == starts.tolist()
    assert index.positions(order).tolist() == starts[order].tolist()
    assert index.nbytes == int(lengths.sum())
    assert index.lengths.dtype == (np.uint32 if int(lengths.max()) >= 2**16 else np.uint16)


def draw_index(codebook: Codebook, rows: int, *, zeros: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw kinds, a share of them of zeros, and lengths near what is expected."""
    draw = np.random.default_rng(rows)
    kinds = np.where(draw.random(rows) < zeros, 0, draw.integers(1, codebook.kinds, rows))
    lengths = np.maximum(codebook.expected_lengths[kinds] + np.rint(3 * draw.standard_normal(rows)), 0).astype(np.int64)
    return kinds, np.where(kinds == 0, 0, lengths)


@pytest.mark.parametrize("rows", [1, 2, 300, 5000])
@for_each("zeros", [0.0, 0.5, 1.0])
@for_each("profiles", [1, 5])
def test_index_round_trip(rows: int, zeros: float, profiles: int) -> None:
    """Kinds and lengths of rows, some, none or all of them zeros, come back."""
    codebook = make_codebook(rank=30, profiles=profiles, kinds=70)
    kinds, lengths = draw_index(codebook, rows, zeros=zeros)
    actual = read_row_index(make_row_index(kinds, lengths).to_bytes(codebook), rows=rows, codebook=codebook)
    assert actual.kinds.tolist() == kinds.tolist()
    assert actual.lengths.tolist() == lengths.tolist()


def plain_codebook() -> Codebook:
    """Make a codebook of one profile, step and scale, and of 20 shifts."""
    zeros = np.zeros(21, np.int64)
    shifts = np.array([0, *range(-10, 10)])
    return Codebook(8, 40, (0.5,), zeros, shifts, zeros, zeros, np.arange(40)[None] // 4)


def index_bits(kinds: np.ndarray, codebook: Codebook) -> int:
    """Count the bits of the index of rows whose strings are as long as expected."""
    return 8 * len(make_row_index(kinds, codebook.expected_lengths[kinds]).to_bytes(codebook))


def test_rows_of_zeros_take_next_to_nothing() -> None:
    """100000 rows of zeros take 0.02 bits each at most; 9 in 10 in runs of 1000 less than 0.1 a row beyond the others.

    Where every row is one by chance, which ones they are is worth 0.469 bits a row; 0.53 at most are taken.
    """
    codebook, draw = plain_codebook(), np.random.default_rng(0)
    rows = 100_000
    own = draw.integers(1, 21, rows)
    assert index_bits(np.zeros(rows, np.int64), codebook) < 0.02 * rows
    in_runs = np.arange(rows) // 1000 % 10 != 0
    by_chance = draw.random(rows) < 0.9
    for is_zero, limit in ((in_runs, 0.1), (by_chance, 0.53)):
        more = index_bits(np.where(is_zero, 0, own), codebook) - index_bits(own[~is_zero], codebook)
        assert more < limit * rows


def test_index_takes_its_entropy() -> None:
    """20 equally frequent shifts take log2(20) = 4.32 bits a row, lengths that are off by N(0, 3) 3.63; to 3 %."""
    codebook = plain_codebook()
    draw = np.random.default_rng(1)
    kinds = draw.integers(1, 21, 100_000)
    assert index_bits(kinds, codebook) / 100_000 == pytest.approx(math.log2(20), rel=0.03)
    lengths = codebook.expected_lengths[kinds] + 20 + np.rint(3 * draw.standard_normal(100_000)).astype(int)
    bits = 8 * len(make_row_index(kinds, lengths).to_bytes(codebook)) / 100_000
    assert bits == pytest.approx(math.log2(20) + math.log2(3 * math.sqrt(2 * math.pi * math.e)), rel=0.03)


@often
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
    cut=st.none() | st.integers(0, 1500),
    profiles=st.sampled_from([1, 4]),
)
def test_damaged_indexes_are_told_or_valid(changes: list[tuple[int, int]], cut: int | None, profiles: int) -> None:
    """Bytes changed or cut off are refused, or are the index of as many rows, of kinds that there are."""
    codebook = make_codebook(rank=16, profiles=profiles, kinds=30)
    stored = make_row_index(*draw_index(codebook, ROWS, zeros=0.2)).to_bytes(codebook).copy()
    for position, byte in changes:
        stored[position % len(stored)] = byte
    if cut is not None and cut < len(stored):
        # The sizes of the lists tell that something lacks.
        with pytest.raises(ArtifactError):
            read_row_index(stored[:cut], rows=ROWS, codebook=codebook)
        return
    try:
        actual = read_row_index(stored, rows=ROWS, codebook=codebook)
    except ArtifactError:
        return
    assert actual.kinds.shape == actual.lengths.shape == (ROWS,)
    assert int(actual.kinds.max()) < codebook.kinds
    assert not actual.lengths[actual.kinds == 0].any()
    assert actual.nbytes == int(actual.lengths.astype(np.int64).sum())
