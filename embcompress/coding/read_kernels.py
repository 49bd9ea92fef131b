"""The decoder of strings of rows: symbols, and what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.decode_kernels import OFFSETS, decode_strings, sort_rows
from embcompress.coding.index_kernels import Located
from embcompress.coding.lanes import ADDS_SLOT, FACTOR_SHIFT, IS_ESCAPE, PAIR_BITS, SHIFT_SHIFT
from embcompress.coding.symbols import ENTRY_BITS, SLOT_BITS, SLOTS, TABLES, TRAINED, Trellis, load_symbols

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Bytes behind the last string in the buffers of modules, and so in their state dicts; no decoder reads them.
PADDING = 2

# The pair of tables of steps that decode nothing, behind those of both codes.
NO_PAIR = 4 * TABLES
# Steps of all layouts, at most: a lane tells the place of its own, of four bytes, below OFFSETS.
ALL_STEPS_MAX = OFFSETS // 4


@dataclass(frozen=True)
class DecoderTables:
    """The tables of both codes as the decoder reads them: those of the prefix code behind the others.

    Attributes:
        slots: uint8, slot -> entry.
        entries: uint64, below as `lanes` names their bits, above the bits of the level of each, where there are raw
            bits those of its symbol.
        starts: int64, the symbol of the first entry of each table.
        counts: int64, entries of each table.
    """

    slots: NDArray[np.uint8]
    entries: NDArray[np.uint64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]


@cache
def decoder_tables() -> DecoderTables:
    """Lay out the tables that are shipped."""
    symbols = load_symbols()
    low = (symbols.entries & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    frequencies = low >> np.uint32(16)
    assert int(frequencies.max()) < SLOTS
    index = np.arange(1 << ENTRY_BITS)
    is_escape = (index == 0) | (index == symbols.counts[:, None] - 1)
    flags = low & np.uint32(0xC000) | is_escape.astype(np.uint32) << np.uint32(IS_ESCAPE)
    asymmetric = (
        (low & np.uint32(SLOTS - 1)) | flags | np.uint32(1 << ADDS_SLOT)
        | frequencies << np.uint32(FACTOR_SHIFT) | np.uint32(SLOT_BITS << SHIFT_SHIFT)
    )  # fmt: skip
    prefix_lengths = np.zeros_like(low)
    prefix_lengths[:, : symbols.prefix_lengths.shape[1]] = symbols.prefix_lengths
    prefixed = flags | np.uint32(1 << FACTOR_SHIFT) | prefix_lengths << np.uint32(SHIFT_SHIFT)
    idle = np.full((2, 1 << ENTRY_BITS), 1 << FACTOR_SHIFT, np.uint32)
    levels = (symbols.entries >> np.uint64(32)).astype(np.uint32)
    # Numbers with raw bits have no levels: the bits of their symbols instead.
    levels[2 * TRAINED :] = (symbols.starts[2 * TRAINED :, None] + index).astype(np.int32).view(np.uint32)
    # A gather of the last slot reads three bytes more.
    idle_slots = np.zeros(2 * SLOTS + 3, np.uint8)
    all_entries = np.concatenate([asymmetric, prefixed, idle]).ravel().astype(np.uint64)
    all_levels = np.concatenate([levels, levels, np.zeros_like(idle)]).ravel().astype(np.uint64)
    return DecoderTables(
        slots=np.concatenate([symbols.slots.ravel(), symbols.prefix_slots.ravel(), idle_slots]),
        entries=all_entries | all_levels << np.uint64(32),
        starts=np.concatenate([symbols.starts, symbols.starts, [0, 0]]),
        counts=np.concatenate([symbols.counts, symbols.counts, [1, 1]]),
    )


def check_steps(layouts: int, width: int) -> None:
    """Raise an OverflowError if layouts of so many columns have more steps than the decoder finds."""
    if layouts * width > ALL_STEPS_MAX:
        raise OverflowError(f"{layouts} layouts of {width} columns")


@dataclass(frozen=True)
class Steps:
    """The steps that decode strings, by layout: behind those that decode a number stand the columns without one.

    Attributes:
        codes: (layouts, columns) uint32, as `lanes` reads them.
        columns: (layouts, columns) int32, the column of each step.
        sizes: (layouts,) int64, steps that decode a number.
    """

    codes: NDArray[np.uint32]
    columns: NDArray[np.int32]
    sizes: NDArray[np.int64]

    @classmethod
    def of(
        cls, layouts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]], *, width: int
    ) -> Steps:
        """Write the steps of layouts.

        Args:
            layouts: of each the columns that its strings hold, in their order; their class tables; their raw bits; and
                how many of the last are in the prefix code.
            width: all columns.

        Raises:
            OverflowError: more than ALL_STEPS_MAX steps.
        """
        check_steps(len(layouts), width)
        codes = np.full((len(layouts), width), NO_PAIR, np.uint32)
        all_columns = np.empty((len(layouts), width), np.int32)
        for number, (columns, tables, raw_bits, prefixed) in enumerate(layouts):
            coded, others = len(columns), np.ones(width, np.bool_)
            codes[number, :coded] = raw_bits << PAIR_BITS | 2 * tables
            codes[number, coded - prefixed : coded] += np.uint32(2 * TABLES)
            others[columns] = False
            all_columns[number, :coded], all_columns[number, coded:] = columns, np.flatnonzero(others)
        return cls(codes, all_columns, np.array([len(layout[0]) for layout in layouts], np.int64))


def read_strings(
    codes: NDArray[np.uint8],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    *,
    layouts: NDArray[np.int64],
    factors: NDArray[np.float32],
    targets: NDArray[np.int64],
    steps: Steps,
    trellis: Trellis,
    decoded: NDArray[np.float32],
    scales: NDArray[np.float32] | None = None,
    centers: NDArray[np.float32] | None = None,
    profiles: NDArray[np.int64] | None = None,
) -> None:
    """Decode the strings of rows into `decoded`, times a factor each.

    Args:
        codes: in which the strings lie.
        positions: (rows,), where each string starts.
        lengths: (rows,), bytes of each.
        layouts: (rows,), of which layout each is.
        factors: (rows,), the step of each.
        targets: (rows,), in which row of `decoded` each belongs.
        steps: of the layouts.
        trellis: of the codebook.
        decoded: (all rows, columns), written.
        scales: (columns,), a further factor of each column; None for ones.
        centers: (profiles, columns), what is added; None for zeros.
        profiles: (rows,), whose center each row has; -1 for none.
    """
    located = Located(positions, lengths, layouts, np.full(len(layouts), -1) if profiles is None else profiles, factors)
    order = sort_rows(layouts, len(steps.sizes))
    StringDecoder(steps, trellis).read(
        codes, located, order=order, targets=targets, decoded=decoded, scales=scales,
        centers=None if profiles is None else centers,
    )  # fmt: skip


class StringDecoder:
    """The decoder of strings of given layouts.

    Args:
        steps: of the layouts.
        trellis: of the codebook.
    """

    def __init__(self, steps: Steps, trellis: Trellis) -> None:
        self.steps = steps
        tables, (forward, back) = decoder_tables(), trellis.taps
        self._width = width = steps.codes.shape[1]
        self._ones, self._none = np.ones(width, np.float32), np.empty(0, np.float32)
        self._no_targets = np.empty(0, np.int64)
        self._fixed = (
            steps.codes.ravel(), steps.columns.ravel(), steps.sizes, tables.slots, tables.entries, tables.starts,
            tables.counts, np.uint32(forward), np.uint32(back), width,
        )  # fmt: skip

    def read(
        self,
        codes: NDArray[np.uint8],
        located: Located,
        *,
        order: NDArray[np.int64],
        targets: NDArray[np.int64] | None,
        decoded: NDArray[np.float32],
        scales: NDArray[np.float32] | None,
        centers: NDArray[np.float32] | None,
    ) -> None:
        """Decode rows: the arguments of `read_strings`.

        Args:
            codes: in which the strings lie.
            located: the rows.
            order: which of them are decoded; those of a layout behind each other.
            targets: where in `decoded` each belongs; None for its own number.
            decoded: (all rows, columns), written.
            scales: of the columns, or None.
            centers: (profiles, columns), or None.
        """
        decode_strings(
            codes, located.positions, located.lengths, located.layouts, located.factors,
            self._no_targets if targets is None else targets, order, *self._fixed, located.profiles,
            self._ones if scales is None else np.ascontiguousarray(scales),
            self._none if centers is None else centers.ravel(), decoded.ravel(), 0,
        )  # fmt: skip

    def read_columns(
        self,
        codes: NDArray[np.uint8],
        located: Located,
        *,
        order: NDArray[np.int64],
        columns: NDArray[np.float32],
        stride: int,
    ) -> None:
        """Decode rows, in their order, column by column.

        Args:
            codes: in which the strings lie.
            located: the rows.
            order: as of `read`.
            columns: (columns + profiles) * stride, written: of each column a number a row, and up to LANES - 1 behind
                them.
            stride: numbers between two columns.
        """
        decode_strings(
            codes, located.positions, located.lengths, located.layouts, located.factors, self._no_targets, order,
            *self._fixed, located.profiles, self._ones, self._none, columns, stride,
        )  # fmt: skip
