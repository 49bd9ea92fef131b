"""Tables whose rows are decoded by the kernels of a GPU, and what these give in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.codebook import Codebook
from embcompress.coding.coder import encode_block
from embcompress.coding.lanes import PAIR_BITS
from embcompress.coding.row_index import make_row_index
from embcompress.coding.symbols import TABLES
from embcompress.nn import CodedRepresentation
from embcompress.nn.decode_operator import BUFFERS, decode_rows, read_decoder
from embcompress.nn.device_decoder import DeviceTable, decode_on_device, find_kernels
from tests.nn.coded_tables import make_table

Decoded = tuple[bytes, list[int]]  # the numbers as they lie in memory, and the profiles


def make_wild_table(*, rows: int = 30, states: int = 32) -> CodedRepresentation:
    """Make a table of all that strings can hold: rows of zeros, both codes, raw bits in two pieces, escapes."""
    draw = np.random.default_rng(0)
    classes = np.array([[160, 60, 40, 24, 8, -4, -20], [8, 8, 90, 90, 20, 0, -3]])
    profiles, shifts = np.array([0, 0, 1, 1, 0, 1]), np.array([0, 0, 0, -9, -40, -9])
    scales, step_numbers = np.array([0, 0, 3, -5, 0, 2]), np.array([0, 0, 1, 0, 1, 1])
    centers = draw.integers(-300, 300, classes.shape)
    codebook = Codebook(
        states, 7, (0.25, 0.7), profiles, shifts, scales, step_numbers, classes, centers, float(np.float32(0.003))
    )
    kinds = np.arange(rows) % codebook.kinds
    deviations = 2.0 ** ((classes[profiles] + shifts[:, None] + scales[:, None]) / 8) * 0.25
    values = draw.standard_normal((rows, 7)) * deviations[kinds]
    # As far as raw bits leave of what the encoder reaches.
    values[2::5] = np.clip(20 * values[2::5], -(2.0**20), 2.0**20)
    values[kinds == 0] = 0
    block = encode_block(torch.from_numpy(values).float(), kinds, codebook=codebook, threads=1)
    codes = codebook.steps_of_layouts.codes[1:].ravel()
    assert {0, 4, 16} <= set((codes >> PAIR_BITS).tolist())
    assert {False, True} == set((codes & (1 << PAIR_BITS) - 1 >= 2 * TABLES).tolist())
    return CodedRepresentation.from_codes(
        codes=torch.from_numpy(block.strings),
        index=make_row_index(kinds, block.lengths),
        codebook=codebook,
        bases=None,
        shape=7,
        dtype=torch.float32,
    )


def buffers_of(table: CodedRepresentation) -> dict[str, Tensor]:
    """Return what decodes a table."""
    return {name: table.get_buffer(name) for name in BUFFERS}


def make_device_table(table: CodedRepresentation) -> DeviceTable:
    """Make the tables of the kernels, on the CPU."""
    decoder = read_decoder(buffers_of(table), rows=table.max_id, rank=table.num_bases, profiles=None)
    return DeviceTable.of(decoder, device=torch.device("cpu"))


@torch.no_grad()
def decode_both_ways(name: str) -> list[tuple[Decoded, Decoded]]:
    """Decode rows by the kernel and by the CPU: of any order, without and with factors, of narrow and wide integers."""
    table = make_wild_table() if name == "wild" else make_table((3,), way=name, rows=40)[0]
    ids = torch.randperm(2 * table.max_id, generator=torch.Generator().manual_seed(0))[::2] % table.max_id
    buffers, pairs = buffers_of(table), []
    for scales, centers in ((None, None), (torch.linspace(-1, 2, table.num_bases), table.centers)):
        expected = decode_rows(ids, tuple(buffers.values()), rank=table.num_bases, scales=scales, centers=centers)
        actual = _decode(table, ids, buffers, scales=scales, centers=centers)
        pairs.append((_freeze(*actual), _freeze(*expected)))
        buffers = {**buffers, "kinds": buffers["kinds"].int(), "lengths": buffers["lengths"].int()}
        ids = ids[:5]
    return pairs


def decode_shapes(ids: Sequence[int]) -> list[tuple[int, ...]]:
    """Tell the shapes of what the kernel gives for rows of a table of 40 rows and 3 columns."""
    table = make_table((3,), way="centers")[0]
    own_ids = torch.tensor(ids, dtype=torch.int64)
    return [tuple(part.shape) for part in _decode(table, own_ids, buffers_of(table), scales=None, centers=None)]


def _decode(
    table: CodedRepresentation, ids: Tensor, buffers: dict[str, Tensor], **factors: Tensor | None
) -> tuple[Tensor, Tensor]:
    own = make_device_table(table)
    decoded = decode_on_device(ids, buffers, lambda: own, kernels=find_kernels(), **factors)
    assert decoded is not None
    return decoded


def _freeze(numbers: Tensor, profiles: Tensor) -> Decoded:
    return numbers.numpy().tobytes(), profiles.tolist()
