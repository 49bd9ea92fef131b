"""Rows to strings and back: decoding gives what the encoder promised, bit for bit, in any order, by any threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from embcompress.coding.codebook import Codebook
from embcompress.coding.coder import CHUNK_ROWS, CodedBlock, chunks_of, decode_block, encode_block
from embcompress.coding.row_index import make_row_index
from embcompress.coding.symbols import CLASS_MIN, PER_OCTAVE
from tests.cases import for_each
from tests.coding.codebooks import make_codebook, pad
from tests.coding.reference_decoder import decode_string

ROWS, RANK = 700, 30


def encode(codebook: Codebook, *, threads: int = 1) -> tuple[np.ndarray, np.ndarray, CodedBlock]:
    """Draw rows of weights of random kinds and encode them: weights, kinds, block."""
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, codebook.kinds, ROWS)
    weights = draw.standard_normal((ROWS, RANK)).astype(np.float32)
    weights[kinds == 0] = 0
    return weights, kinds, encode_block(torch.from_numpy(weights), kinds, codebook=codebook, threads=threads)


def decode(block: CodedBlock, kinds: np.ndarray, rows: np.ndarray, *, codebook: Codebook, threads: int) -> np.ndarray:
    """Decode some rows of a block."""
    index = make_row_index(kinds, block.lengths)
    weights = decode_block(
        pad(block.strings),
        index.positions(rows),
        block.lengths[rows],
        kinds=kinds[rows],
        steps=codebook.row_steps(kinds[rows]),
        codebook=codebook,
        threads=threads,
    )
    return weights.numpy()


@pytest.mark.parametrize("threads", [1, 2, 5])
@for_each("has_centers", [False, True])
def test_decoding_gives_what_was_promised(threads: int, *, has_centers: bool) -> None:
    """Rows of 60 kinds decode to the block's weights bit for bit, in any order, and rows of zeros to zeros."""
    codebook = make_codebook(rank=RANK, profiles=3, kinds=60)
    if not has_centers:
        codebook = replace(codebook, center_numbers=None, center_step=0.0)
    _, kinds, block = encode(codebook, threads=threads)
    promised = block.weights.numpy()
    whole = decode(block, kinds, np.arange(ROWS), codebook=codebook, threads=threads)
    assert whole.tobytes() == promised.tobytes()
    assert not whole[kinds == 0].any()
    assert not np.signbit(whole[kinds == 0]).any()
    assert not block.lengths[kinds == 0].any()
    order = np.random.default_rng(1).integers(0, ROWS, 2 * ROWS)
    assert decode(block, kinds, order, codebook=codebook, threads=threads).tobytes() == promised[order].tobytes()
    for row in (0, 17, ROWS - 1):
        assert decode(block, kinds, np.array([row]), codebook=codebook, threads=1).tobytes() == promised[row].tobytes()


def test_strings_are_the_same_with_any_number_of_threads() -> None:
    """Blocks that are encoded by 1 and 3 threads are the same bytes."""
    codebook = make_codebook(rank=RANK, profiles=2, kinds=25)
    blocks = [encode(codebook, threads=threads)[2] for threads in (1, 3)]
    assert blocks[0].strings.tobytes() == blocks[1].strings.tobytes()
    assert blocks[0].lengths.tolist() == blocks[1].lengths.tolist()


@pytest.mark.parametrize("excess", [1, 4])
def test_strings_of_fixed_length(excess: int) -> None:
    """Strings have the bytes expected of their kind and the excess, or a few more in 1 of 20, and decode as promised.

    Rows that are too long at every slope keep what they take: 2 bytes more in 1 of 100.
    """
    codebook = replace(make_codebook(rank=RANK, profiles=1, kinds=12, steps=1), center_numbers=None, center_step=0.0)
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, codebook.kinds, ROWS)
    deviations = (
        2.0 ** ((codebook.classes[0] + codebook.shifts[kinds][:, None]) / PER_OCTAVE)
        * codebook.kind_steps[kinds][:, None]
    )
    weights = torch.from_numpy((draw.standard_normal((ROWS, RANK)) * deviations).astype(np.float32))
    block = encode_block(weights, kinds, codebook=codebook, threads=1, excess=excess)
    asked = np.where(kinds == 0, 0, codebook.expected_lengths[kinds] + excess)
    off = block.lengths - asked
    assert np.isin(off, [0, 1, 2]).all()
    assert (off > 1).mean() < 0.01
    assert off.mean() < 0.05
    whole = decode(block, kinds, np.arange(ROWS), codebook=codebook, threads=1)
    assert whole.tobytes() == block.weights.numpy().tobytes()


def test_decoding_is_that_of_the_reference() -> None:
    """A weight is step * 2^(scale / 8) * number + center, the number from the row's string by the reference decoder.

    The product and the sum are each rounded to float32.
    """
    codebook = make_codebook(rank=RANK, profiles=3, kinds=60, states=32)
    _, kinds, block = encode(codebook)
    ends = block.lengths.cumsum()
    for row in range(0, ROWS, 7):
        kind, expected = int(kinds[row]), np.zeros(RANK, np.float32)
        if kind:
            profile = codebook.profiles[kind]
            classes = codebook.classes[profile] + codebook.shifts[kind]
            order = [k for k in sorted(range(RANK), key=lambda k: (classes[k], k)) if classes[k] >= CLASS_MIN]
            string = block.strings[ends[row] - block.lengths[row] : ends[row]].tobytes()
            _, numbers = decode_string(string, classes[order].tolist(), states=32)
            factor = np.float32(2.0 ** (codebook.scales[kind] / PER_OCTAVE))
            expected[order] = np.float32(codebook.steps[codebook.step_numbers[kind]]) * factor * np.float32(numbers)
            assert codebook.center_numbers is not None
            expected += codebook.center_numbers[profile].astype(np.float32) * np.float32(codebook.center_step)
        assert block.weights[row].numpy().tobytes() == expected.tobytes()


def test_weights_are_near_what_was_encoded() -> None:
    """Columns that are coded are off by 0.27 squared steps, to 0.05; others decode to their center."""
    codebook = make_codebook(rank=RANK, profiles=1, kinds=20, steps=1)
    weights, kinds, block = encode(codebook)
    off = block.weights.numpy() - weights
    assert codebook.centers is not None
    coded = []
    for row in range(ROWS):
        kind = int(kinds[row])
        if kind:
            columns = codebook.layout(kind).columns
            strong = columns[codebook.classes[0, columns] + codebook.shifts[kind] >= 16]
            coded.append(np.square(off[row, strong] / codebook.kind_steps[kind]))
            others = np.setdiff1d(np.arange(RANK), columns)
            assert np.array_equal(block.weights.numpy()[row, others], codebook.centers[0, others])
    assert np.concatenate(coded).mean() == pytest.approx(0.27, abs=0.05)


@pytest.mark.parametrize("threads", [1, 4])
@for_each("rows", [0, 1, 3 * CHUNK_ROWS])
def test_chunks_hold_each_row_once(rows: int, threads: int) -> None:
    """Chunks are of one kind each, of so many rows at most, and hold each row that is not zeros once."""
    kinds = np.random.default_rng(0).integers(0, 4, rows)
    chunks = chunks_of(kinds, threads=threads)
    assert (
        sorted(np.concatenate([np.empty(0, int), *(order for _, order in chunks)]).tolist())
        == np.flatnonzero(kinds).tolist()
    )
    for kind, order in chunks:
        assert (kinds[order] == kind).all()
        assert 1 <= len(order) <= CHUNK_ROWS
