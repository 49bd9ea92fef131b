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
