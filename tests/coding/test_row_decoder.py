"""Rows by number, decoded row by row and column by column."""

from __future__ import annotations

import numpy as np

from embcompress.coding.read_kernels import PADDING
from embcompress.coding.row_decoder import RowDecoder
from tests.cases import for_each
from tests.nn.coded_tables import encode_table


@for_each("threads", [1, 3])
@for_each("way", ["centers", "bases"])
def test_columns_hold_the_numbers_of_rows(way: str, threads: int) -> None:
    """Blocks of columns hold, to the bit, what the rows at their places do, and ones where a row has a profile."""
    encoded = encode_table((19,), way=way).repeat(8)
    codes = np.concatenate([encoded.codes.numpy(), np.zeros(PADDING, np.uint8)])
    decoder = RowDecoder(encoded.index, encoded.codebook)
    rows = np.random.default_rng(0).integers(0, len(encoded.index.kinds), 500)
    expected = np.empty((500, encoded.codebook.rank), np.float32)
    profiles = decoder.decode(codes, rows, numbers=expected, threads=1)
    seen = []
    for block in decoder.decode_in_columns(codes, rows, block_rows=20, profiles=1):
        assert np.array_equal(block.columns[:-1].T, expected[block.places])
        assert np.array_equal(block.columns[-1], profiles[block.places] == 0)
        seen += block.places.tolist()
    assert sorted(seen) == list(range(500))
    again = np.empty_like(expected)
    decoder.decode(codes, rows, numbers=again, threads=threads)
    assert np.array_equal(again, expected)


@for_each("threads", [1, 3])
def test_scales_and_centers_of_any_strides(threads: int) -> None:
    """Factors that lie apart, and one that stands for all columns, give what the same numbers side by side do."""
    encoded = encode_table((19,), way="centers")
    codes = np.concatenate([encoded.codes.numpy(), np.zeros(PADDING, np.uint8)])
    decoder, rank = RowDecoder(encoded.index, encoded.codebook), encoded.codebook.rank
    rows = np.arange(len(encoded.index.kinds))
    draw = np.random.default_rng(0).standard_normal((2, rank, 3)).astype(np.float32)
    plain, actual = np.empty((len(rows), rank), np.float32), np.empty((len(rows), rank), np.float32)
    profiles = decoder.decode(codes, rows, numbers=plain, threads=1)
    for scales in (draw[0, :, 1], np.broadcast_to(draw[0, 0, :1], rank)):
        centers = draw[1, :, : len(encoded.codebook.classes)].T
        decoder.decode(codes, rows, numbers=actual, threads=threads, scales=scales, centers=centers)
        expected = plain * scales + centers[np.maximum(profiles, 0)]
        expected[profiles < 0] = 0
        assert np.array_equal(actual, expected)
