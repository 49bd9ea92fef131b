"""The codebook of a table coded as in schema 1, and decoding: docs/artifact.md has the bytes, docs/coding.md why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from embcompress.coding.constants import HALF_BIT, level_count


@dataclass(frozen=True)
class GroupLayout:
    """The columns of a group of rows in a row's bit string, in the order of the string.

    Attributes:
        columns: (coded,) int64, the columns that have bits: first those of half a bit, then the others, each from the
            last to the first.
        own_bits: (coded,) int64, of each; 1 and 0 in turn for columns of half a bit.
        kinds: (coded,) int64, which levels each has: its bits, or HALF_BIT and HALF_BIT + 1 in turn.
        last_bytes: (coded,) int64, the byte that holds the last bit of each.
        shifts: (coded,) int32, by how much a pair of bytes is shifted to the right for its window.
        masks: (coded,) int32, of the window's bits.
        starts: (coded,) int32, where its levels start in the flat list of levels.
        row_bytes: of a row's string.
    """

    columns: Tensor
    own_bits: Tensor
    kinds: Tensor
    last_bytes: Tensor
    shifts: Tensor
    masks: Tensor
    starts: Tensor
    row_bytes: int

    def to(self, device: torch.device) -> GroupLayout:
        """Move it to a device."""
        return GroupLayout(
            columns=self.columns.to(device),
            own_bits=self.own_bits.to(device),
            kinds=self.kinds.to(device),
            last_bytes=self.last_bytes.to(device),
            shifts=self.shifts.to(device),
            masks=self.masks.to(device),
            starts=self.starts.to(device),
            row_bytes=self.row_bytes,
        )


@dataclass(frozen=True)
class WindowCodebook:
    """All that decodes the codes of a table: bits and scales of each group and column, and the levels.

    The weight of a column is `scales[group, column]` times the level that the last `window` bits of the row's string
    point to, up to and with the column's own bits; the string is a ring: before its first byte comes its last. Columns
    stand in the string from the last to the first, those of half a bit before all others; these share their bits two
    by two.

    Attributes:
        bits: (groups, columns) uint8, 0..BITS_MAX or HALF_BIT; a column without bits has the weight 0.
        scales: (groups, columns) float32; 0 where there are no bits.
        windows: bits of a column -> bits of its window, WINDOW_MAX at most, the own ones at least.
        levels: float32, flat: for each key of `windows` in its order a table of 2^window, for HALF_BIT two, for the
            first and the second of a pair.
    """

    bits: Tensor
    scales: Tensor
    windows: Mapping[int, int]
    levels: Tensor

    @property
    def groups(self) -> int:
        """Count the groups of rows."""
        return self.bits.shape[0]

    @property
    def columns(self) -> int:
        """Count the columns."""
        return self.bits.shape[1]

    @cached_property
    def level_starts(self) -> dict[int, int]:
        """The index at which the levels of each number of bits start."""
        starts, position = {}, 0
        for bits, window in self.windows.items():
            starts[bits] = position
            position += level_count(bits, window)
        return starts

    @cached_property
    def layouts(self) -> tuple[GroupLayout, ...]:
        """The layout of each group of rows."""
        return tuple(self._layout(group) for group in range(self.groups))

    def _layout(self, group: int) -> GroupLayout:
        bits = self.bits[group].to("cpu", torch.int64)
        is_half = bits == HALF_BIT
        halves, others = (mask.nonzero().squeeze(1).flip(0) for mask in (is_half, (bits > 0) & ~is_half))
        columns = torch.cat([halves, others])
        seconds = torch.arange(len(halves)) % 2
        own_bits = torch.cat([1 - seconds, bits[others]])
        ends = own_bits.cumsum(0)  # bits of the string up to and with each column
        codes = bits[columns].tolist()
        windows = torch.tensor([self.windows[code] for code in codes], dtype=torch.int32)
        starts = torch.tensor([self.level_starts[code] for code in codes], dtype=torch.int32)
        starts[: len(halves)] += (seconds << windows[: len(halves)]).to(torch.int32)
        return GroupLayout(
            columns=columns,
            own_bits=own_bits,
            kinds=torch.cat([HALF_BIT + seconds, bits[others]]),
            last_bytes=(ends - 1) >> 3,
            shifts=(7 - ((ends - 1) & 7)).to(torch.int32),
            masks=(1 << windows) - 1,
            starts=starts,
            row_bytes=(int(ends[-1]) + 7) // 8 if len(ends) else 0,
        )


def read_levels(codes: Tensor, layout: GroupLayout) -> Tensor:
    """Return which level each column of rows of one group has.

    Args:
        codes: (count, row_bytes) uint8.
        layout: of the group, on the same device.

    Returns:
        (count, coded) int32, into the flat list of levels.
    """
    if not layout.row_bytes:
        return codes.new_empty(codes.shape, dtype=torch.int32)
    # Column by column in memory: to gather whole columns of bytes took a third of the time.
    wide = codes.new_empty(codes.shape[1] + 1, len(codes), dtype=torch.int32)
    wide[1:] = codes.T
    wide[0] = codes[:, -1]
    pairs = (wide[:-1] << 8).bitwise_or_(wide[1:])  # (row_bytes, count): each byte behind the one before it
    windows = pairs.index_select(0, layout.last_bytes)  # (coded, count)
    windows.bitwise_right_shift_(layout.shifts[:, None]).bitwise_and_(layout.masks[:, None])
    return windows.add_(layout.starts[:, None]).T


def decode(
    codes: Tensor,  # (count, row_bytes) uint8
    layout: GroupLayout,
    *,
    levels: Tensor,  # (all levels,)
    scales: Tensor,  # (coded,) of the layout's columns
) -> Tensor:
    """Decode rows of one group to the weights of its coded columns, (count, coded).

    Differentiable in levels and scales.
    """
    level_numbers = read_levels(codes, layout).T  # (coded, count), in one piece
    return (levels.index_select(0, level_numbers.reshape(-1)).view(level_numbers.shape) * scales[:, None]).T


def pack_numbers(numbers: Tensor, width: int) -> Tensor:
    """Pack numbers below 2^width, (count,) -> (bytes,) uint8, the first one highest; width 1, 2, 4 or 8."""
    share = 8 // width
    padded = torch.nn.functional.pad(numbers.to(torch.uint8), (0, -len(numbers) % share)).view(-1, share)
    shifts = torch.arange(8 - width, -1, -width, dtype=torch.uint8, device=numbers.device)
    return (padded << shifts).sum(dim=1, dtype=torch.uint8)


def unpack_numbers(packed: Tensor, width: int, *, count: int) -> Tensor:
    """Undo pack_numbers: (bytes,) uint8 -> (count,) uint8."""
    shifts = torch.arange(8 - width, -1, -width, dtype=torch.uint8, device=packed.device)
    numbers = (packed[:, None] >> shifts) & ((1 << width) - 1)
    return numbers.flatten()[:count]


def indices_in_groups(groups_of_rows: Tensor, *, groups: int) -> Tensor:
    """Number the rows of each group, as their codes stand, (rows,) -> (rows,) int32 where that is wide enough."""
    dtype = torch.int32 if len(groups_of_rows) < 2**31 else torch.int64
    indices = torch.empty(len(groups_of_rows), dtype=dtype, device=groups_of_rows.device)
    for group in range(groups):
        is_in = groups_of_rows == group
        indices[is_in] = torch.arange(int(is_in.sum()), dtype=dtype, device=indices.device)
    return indices
