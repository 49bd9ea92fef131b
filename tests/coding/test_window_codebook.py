"""Packed codes of schema 1: each bit is where docs/artifact.md says, each window points to the level named there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from embcompress.coding.constants import HALF_BIT, WINDOW_MAX, group_width
from embcompress.coding.window_codebook import (
    WindowCodebook,
    decode,
    indices_in_groups,
    pack_numbers,
    read_levels,
    unpack_numbers,
)
from embcompress.coding.window_decoder import WindowDecoder
from tests.cases import for_each

seldom = settings(max_examples=20, deadline=None)


def make_codebook(bits: list[list[int]], windows: dict[int, int]) -> WindowCodebook:
    """Make a codebook of given bits, with N(0, 1) levels and U(0, 1) scales."""
    generator = torch.Generator().manual_seed(len(bits[0]))
    counts = torch.tensor(bits, dtype=torch.uint8)
    scales = torch.rand(counts.shape, generator=generator) * (counts > 0)
    sizes = [(1 << window) * (2 if count == HALF_BIT else 1) for count, window in windows.items()]
    return WindowCodebook(counts, scales, windows, torch.randn(sum(sizes), generator=generator))


def level_of(codebook: WindowCodebook, row: bytes, *, group: int, column: int) -> int:
    """Find which level a column of a row has, bit by bit as docs/artifact.md tells; -1 for a column without bits."""
    bits = codebook.bits[group].tolist()
    if not bits[column]:
        return -1
    string = "".join(f"{byte:08b}" for byte in row)
    halves = [k for k in reversed(range(len(bits))) if bits[k] == HALF_BIT]  # these come first, two to a bit
    if bits[column] == HALF_BIT:
        end, is_second = halves.index(column) // 2 + 1, halves.index(column) % 2
    else:
        others = sum(count for count in bits[column:] if count != HALF_BIT)  # the last column comes first
        end, is_second = (len(halves) + 1) // 2 + others, 0
    window = codebook.windows[bits[column]]
    read = (string[-8:] + string[:end])[-window:]  # a ring: before the first byte comes the last
    start = sum(1 << width for count, width in codebook.windows.items() if count < bits[column])
    return start + (is_second << window) + int(read, 2)


@st.composite
def codebooks(draw: st.DrawFn) -> WindowCodebook:
    """Draw bits of up to 4 groups and 40 columns, halves among them, and windows, each at least the bits."""
    columns = draw(st.integers(1, 40))
    row = st.lists(st.integers(0, HALF_BIT), min_size=columns, max_size=columns)
    bits = draw(st.lists(row, min_size=1, max_size=4))
    least = {count: count for count in range(1, HALF_BIT)} | {HALF_BIT: 1}
    return make_codebook(bits, {count: draw(st.integers(own, WINDOW_MAX)) for count, own in least.items()})


def draw_codes(count: int, row_bytes: int, *, seed: int = 0) -> Tensor:
    """Draw bytes, (count, row_bytes)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, row_bytes), dtype=torch.uint8, generator=generator)


@seldom
@given(codebook=codebooks(), seed=st.integers(0, 2**20))
def test_read_levels_are_those_of_the_format(codebook: WindowCodebook, seed: int) -> None:
    """Each column of random rows has the level that the format names, whatever bits, windows and groups."""
    for group, layout in enumerate(codebook.layouts):
        own = codebook.bits[group][codebook.bits[group] != HALF_BIT]
        halves = codebook.columns - len(own)
        assert layout.row_bytes == (int(own.sum()) + (halves + 1) // 2 + 7) // 8
        codes = draw_codes(3, layout.row_bytes, seed=seed)
        actual = torch.full((3, codebook.columns), -1, dtype=torch.int32)
        actual[:, layout.columns] = read_levels(codes, layout)
        expected = [
            [level_of(codebook, bytes(row), group=group, column=k) for k in range(codebook.columns)]
            for row in codes.tolist()
        ]
        assert actual.tolist() == expected


def pack_rows(values: Tensor, bits: Tensor) -> Tensor:
    """Write the own bits of each column into one string a row.

    Args:
        values: (count, coded) uint8, each below 2^bits, in the order of the string.
        bits: (coded,) of each.

    Returns:
        (count, row_bytes) uint8, the first bit highest, zeros behind the last.
    """
    count = len(values)
    widths = bits.to("cpu", torch.int64)
    total = int(widths.sum())
    # For each bit of the string: the column it belongs to, and its place in there.
    owners = torch.repeat_interleave(torch.arange(len(widths)), widths)
    firsts = (widths.cumsum(0) - widths)[owners]
    places = (widths[owners] - 1 - (torch.arange(total) - firsts)).to(torch.uint8)
    single = (values.index_select(1, owners.to(values.device)) >> places.to(values.device)) & 1  # (count, total)
    single = torch.nn.functional.pad(single, (0, -total % 8)).view(count, -1, 8)
    powers = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=values.device)
    return (single * powers).sum(dim=2, dtype=torch.uint8)


@seldom
@given(codebook=codebooks(), seed=st.integers(0, 2**20))
def test_pack_rows_is_read_back(codebook: WindowCodebook, seed: int) -> None:
    """A window of a column's own bits alone holds the value packed; zeros fill the last byte."""
    windows = {count: count for count in range(1, HALF_BIT)} | {HALF_BIT: 1}
    exact = WindowCodebook(codebook.bits, codebook.scales, windows, torch.arange(514.0))
    for layout in exact.layouts:
        own = layout.own_bits
        values = draw_codes(3, len(own), seed=seed) & ((1 << own) - 1).to(torch.uint8)
        codes = pack_rows(values, own)
        assert codes.shape == (3, layout.row_bytes)
        actual = read_levels(codes, layout) - layout.starts
        assert torch.equal(actual[:, own > 0], values.int()[:, own > 0])
        assert torch.equal(actual[:, 1:][:, own[1:] == 0], actual[:, :-1][:, own[1:] == 0])  # the bit of the pair
        if layout.row_bytes:
            assert not (codes[:, -1] & ((1 << -int(own.sum()) % 8) - 1)).any()


def test_pack_rows_writes_the_first_bit_highest() -> None:
    """3 bits 101, 1 bit 1, 6 bits 000110 are the bytes 1011_0001 10_000000."""
    packed = pack_rows(torch.tensor([[5, 1, 6]], dtype=torch.uint8), torch.tensor([3, 1, 6]))
    assert packed.tolist() == [[0b1011_0001, 0b10_000000]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_decode_multiplies_levels_by_scales(dtype: torch.dtype, device: str) -> None:
    """Weights of given bytes are the level of the window times the column's scale, exactly, on every device."""
    # The string of column 1 then 0: 10, 1. Windows of 3 bits: 010 -> 2 for column 1, 101 -> 5 for column 0.
    codebook = WindowCodebook(
        torch.tensor([[1, 2]], dtype=torch.uint8),
        torch.tensor([[2.0, 0.5]]),
        {1: 3, 2: 3},
        torch.arange(16, dtype=torch.float32),
    )
    layout = codebook.layouts[0].to(torch.device(device))
    codes = torch.tensor([[0b101_00000]], dtype=torch.uint8, device=device)
    levels, scales = codebook.levels.to(device, dtype), codebook.scales[0].to(device, dtype)
    weights = decode(codes, layout, levels=levels, scales=scales[layout.columns])
    assert layout.columns.tolist() == [1, 0]
    assert weights.tolist() == [[(8 + 2) * 0.5, 5 * 2.0]]
    assert weights.dtype == dtype


@pytest.mark.parametrize("count", [0, 1, 7, 8, 65])
@for_each("width", [1, 2, 4, 8])
def test_pack_numbers_is_undone(width: int, count: int) -> None:
    """Numbers below 2^width take ceil(count * width / 8) bytes and come back as they were."""
    numbers = draw_codes(1, count)[0] & ((1 << width) - 1)
    packed = pack_numbers(numbers, width)
    assert packed.shape == ((count * width + 7) // 8,)
    assert torch.equal(unpack_numbers(packed, width, count=count), numbers)


def test_pack_numbers_writes_the_first_number_highest() -> None:
    """3, 0, 2, 1, 1 in 2 bits are the bytes 11_00_10_01 and 01_000000."""
    assert pack_numbers(torch.tensor([3, 0, 2, 1, 1]), 2).tolist() == [0b11_00_10_01, 0b01_000000]


def test_group_width_is_the_least_that_holds_all_groups() -> None:
    """1 group takes no bits, 2 take 1, up to 4 take 2, up to 16 take 4, up to 256 take 8."""
    widths = [group_width(groups) for groups in (1, 2, 3, 4, 5, 16, 17, 256)]
    assert widths == [0, 1, 2, 2, 4, 4, 8, 8]


def test_places_count_the_rows_of_the_same_group_before() -> None:
    """Each row's place is the number of rows before it in its group."""
    groups = torch.tensor([2, 0, 2, 2, 0, 3], dtype=torch.uint8)
    assert indices_in_groups(groups, groups=4).tolist() == [0, 0, 1, 2, 1, 0]


@pytest.mark.parametrize("has_bases", [False, True])
def test_decoder_puts_rows_of_each_group_where_they_belong(*, has_bases: bool) -> None:
    """A block whose rows alternate between two groups holds, row by row, the levels times scales times bases.

    Group 0 codes column 0 in 1 bit, group 1 column 1 in 2 bits; float64, so the products are exact.
    """
    codebook = WindowCodebook(
        torch.tensor([[1, 0], [0, 2]], dtype=torch.uint8),
        torch.tensor([[2.0, 0.0], [0.0, 0.5]]),
        {1: 1, 2: 2},
        torch.tensor([-1.0, 1.0, -3.0, -1.0, 1.0, 3.0]),
    )
    bases = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 4.0]], dtype=torch.float64) if has_bases else None
    decoder = WindowDecoder(codebook, bases, dtype=torch.float64, device="cpu")
    codes = [
        torch.tensor([[0b1_0000000], [0]], dtype=torch.uint8),
        torch.tensor([[0b11_000000], [0b01_000000], [0]], dtype=torch.uint8),
    ]
    rows = decoder.decode(codes, torch.tensor([1, 0, 1, 1, 0], dtype=torch.uint8))
    weights = torch.tensor([[0, 1.5], [2, 0], [0, -0.5], [0, -1.5], [-2, 0]], dtype=torch.float64)
    assert torch.equal(rows, weights if bases is None else weights @ bases)
