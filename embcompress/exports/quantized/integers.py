"""Integers of 8 and 4 bits, as several forms hold them."""

from __future__ import annotations

import torch
from torch import Tensor

from embcompress.exports.levels import IntegerLevels
from embcompress.exports.quantized.kind import why_no_real_matrix
from embcompress.exports.rounding_steps import spread
from embcompress.results import TableHead

BYTES = IntegerLevels(-127, 127)  # -128 is left out: kernels turn the sign of codes
BYTE_PEAKS = spread(112, 127.6, 32)  # benchmarks: of twice as many the squared error fell by less than 1 %


def pack_halves(codes: Tensor) -> Tensor:
    """Pack two codes of 4 bits in a byte, the first in the low half, (rows, count) -> (rows, half of it)."""
    even = torch.nn.functional.pad(codes, (0, codes.shape[1] % 2))
    return even[:, ::2] | even[:, 1::2] << 4


def why_no_whole_bytes(table: TableHead, bits: int) -> str:
    """Say why rows of codes of so many bits are no whole bytes, as `why_no_real_matrix`; empty where they are."""
    if why := why_no_real_matrix(table):
        return why
    return "has an odd number of columns, and a byte holds two codes" if table.shape[0] % (8 // bits) else ""
