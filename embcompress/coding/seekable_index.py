"""The seekable form of an index: rows in blocks, each of which tells their kinds and lengths by itself.

The bytes that tell them, a block's head, stand in front of its strings, so that one read finds a row. The index holds
what decodes heads, and the bytes of each block. docs/artifact.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.codebook import SIZE, ZERO_KIND, Codebook
from embcompress.coding.frozen_kernels import (
    ALWAYS,
    NEVER,
    STORED_BITS,
    count_bits_of,
    decode_blocks,
    encode_blocks,
    steps_before,
)
from embcompress.coding.index_kernels import add_up, move_strings
from embcompress.coding.integers import TREE_BITS, WIDTH_MAX, decode_integers, encode_integers, fold_signs
from embcompress.coding.row_index import (
    LENGTH_CONTEXTS,
    SPACING,
    RowIndex,
    damaged_index,
    length_contexts,
    make_row_index,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows of a block: with 32 the index takes half a bit a row less, and a row of 160 columns at 1/16 more pages.
BLOCK_ROWS = SPACING
# Of the index: bits of a kind and of a folded difference of lengths, bytes of an entry of the list of blocks, and the
# least bytes of a block.
HEAD = struct.Struct("<BBBI")
ENTRY_DTYPES = {0: np.uint8, 1: np.uint8, 2: np.uint16, 4: np.uint32}
# Blocks between two places that are kept in memory.
ANCHOR_BLOCKS = 64
# Blocks whose sizes are added up at once, a multiple of these.
ADDED_BLOCKS = 2**18
# Blocks that are decoded at once where all are.
DECODED_BLOCKS = 2**14


@dataclass(frozen=True)
class StoredIndex:
    """An index as it is stored.

    Attributes:
        index: bytes of the index itself.
        heads: bytes that stand in front of the strings of blocks, one head behind the other; empty but in the seekable
            form.
        head_sizes: (blocks,) bytes of each; empty but in the seekable form.
        string_sizes: (blocks,) bytes of the strings of each; empty but in the seekable form.
        coder_bytes: of the index, what decodes heads: as much in a table of more rows.
    """

    index: NDArray[np.uint8]
    heads: NDArray[np.uint8]
    head_sizes: NDArray[np.int64]
    string_sizes: NDArray[np.int64]
    coder_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Count the bytes of the index and of all heads."""
        return len(self.index) + len(self.heads)

    @cached_property
    def head_starts(self) -> NDArray[np.int64]:
        """Where each head starts among them, (blocks,)."""
        return np.cumsum(self.head_sizes) - self.head_sizes


@dataclass(frozen=True)
class HeadCoder:
    """The chances that heads of blocks are coded with.

    Attributes:
        widths: bits of a kind, and of a folded difference of lengths.
        chances_of_kinds: uint8, in 1/256, of each node of the trees of kinds: one for each step that the row before
            may have.
        chances_of_lengths: uint8, of each node of the trees of differences, context by context.
        steps: (kinds,) the number of the step of each kind.
        contexts: (kinds,) of the lengths of rows of each kind.
        expected: (kinds,) bytes that strings of each kind are expected to have.
    """

    widths: tuple[int, int]
    chances_of_kinds: NDArray[np.uint8]
    chances_of_lengths: NDArray[np.uint8]
    steps: NDArray[np.int64]
    contexts: NDArray[np.int64]
    expected: NDArray[np.int64]

    @property
    def chances(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Of kinds, and of lengths."""
        return self.chances_of_kinds, self.chances_of_lengths

    def decode(
        self,
        codes: NDArray[np.uint8],
        starts: NDArray[np.int64],  # (blocks,), in codes
        sizes: NDArray[np.int64],  # (blocks,), bytes
        counts: NDArray[np.int64],  # (blocks,), rows
    ) -> NDArray[np.int64]:
        """Decode heads: kinds, lengths and positions in `codes` of the rows, (3, blocks, BLOCK_ROWS).

        Raises:
            ArtifactError: a head that does not fit its block.
        """
        out = np.zeros((3, len(starts), BLOCK_ROWS), np.int64)
        is_good = decode_blocks(
            codes, starts, sizes, counts, steps=self.steps, contexts=self.contexts, expected=self.expected,
            widths=self.widths, chances=self.chances, out=out,
        )  # fmt: skip
        if not is_good:
            raise damaged_index()
        return out


@dataclass(frozen=True)
class SeekableIndex:
    """What finds the strings of rows in the file: 0.13 bytes a row in memory, 0.26 where a block has 64 KiB and more.

    Attributes:
        rows: of the table.
        coder: of the heads.
        least: bytes that every block has.
        entries: (blocks,) unsigned, bytes of each block beyond these; empty where all have as many.
    """

    rows: int
    coder: HeadCoder
    least: int
    entries: NDArray[np.unsignedinteger]

    @property
    def blocks(self) -> int:
        """Count the blocks."""
        return -(-self.rows // BLOCK_ROWS)

    @cached_property
    def anchors(self) -> NDArray[np.int64]:
        """The bytes before each ANCHOR_BLOCKS blocks, and of all."""
        firsts = np.arange(0, self.blocks, ANCHOR_BLOCKS)
        sizes = np.diff(np.append(firsts, self.blocks)) * np.int64(self.least)
        # A part at a time: numpy widens all that it adds up first, which of 300 million rows are 150 MB.
        for first in range(0, len(self.entries), ADDED_BLOCKS):
            part = self.entries[first : first + ADDED_BLOCKS]
            number = first // ANCHOR_BLOCKS
            sums = np.add.reduceat(part, np.arange(0, len(part), ANCHOR_BLOCKS), dtype=np.int64)
            sizes[number : number + len(sums)] += sums
        return np.concatenate([[0], sizes.cumsum()]).astype(np.int64)

    @property
    def nbytes(self) -> int:
        """Count the bytes of all blocks."""
        return int(self.anchors[-1])

    @property
    def memory(self) -> int:
        """Count the bytes that finding a block takes in memory."""
        return self.entries.nbytes + self.anchors.nbytes

    def starts(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where blocks start in the codes, (n,)."""
        within = blocks % ANCHOR_BLOCKS * self.least
        if not len(self.entries):
            return self.anchors[blocks // ANCHOR_BLOCKS] + within
        return add_up(blocks, self.anchors, self.entries, ANCHOR_BLOCKS) + within

    def sizes(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bytes of blocks, (n,)."""
        if not len(self.entries):
            return np.full(len(blocks), self.least, np.int64)
        return self.entries[blocks].astype(np.int64) + self.least

    def counts(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of blocks, (n,): all have BLOCK_ROWS but the last one."""
        return np.minimum(self.rows - blocks * BLOCK_ROWS, BLOCK_ROWS)

    def read_rows(self, parts: Iterable[memoryview]) -> RowIndex:
        """Read the kinds and lengths of all rows from the codes.

        Args:
            parts: the bytes of the codes, one behind the other.

        Raises:
            ArtifactError: a head that does not fit its block, or too few bytes.
        """
        kinds, lengths = np.empty(self.rows, np.uint32), np.empty(self.rows, np.uint32)
        heads, block, kept = np.empty(self.blocks, np.uint32), 0, np.empty(0, np.uint8)
        # The empty part at the end: blocks of rows of zeros have no bytes.
        for part in chain(parts, [memoryview(b"")]):
            kept = np.concatenate([kept, np.frombuffer(part, np.uint8)])
            while block < self.blocks:
                numbers = np.arange(block, min(block + DECODED_BLOCKS, self.blocks))
                sizes = self.sizes(numbers)
                ends = sizes.cumsum()
                whole = int(np.searchsorted(ends, len(kept), side="right"))
                if not whole:
                    break
                numbers, sizes, ends = numbers[:whole], sizes[:whole], ends[:whole]
                counts = self.counts(numbers)
                decoded = self.coder.decode(kept, ends - sizes, sizes, counts)
                first, last = block * BLOCK_ROWS, min((block + whole) * BLOCK_ROWS, self.rows)
                kinds[first:last] = decoded[0].ravel()[: last - first]
                lengths[first:last] = decoded[1].ravel()[: last - first]
                heads[block : block + whole] = sizes - decoded[1].sum(axis=1)
                kept, block = kept[int(ends[-1]) :], block + whole
        if block < self.blocks or len(kept):
            raise damaged_index()
        return make_row_index(kinds, lengths, heads=heads)


def _frozen(zeros: NDArray[np.int64], ones: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Make chances of what was counted, as they are stored."""
    chances = np.clip(
        (((ones << STORED_BITS) + (zeros + ones) // 2) // np.maximum(zeros + ones, 1)), NEVER + 1, ALWAYS - 1
    )
    chances[ones == 0] = NEVER
    chances[(ones > 0) & (zeros == 0)] = ALWAYS
    stored: NDArray[np.uint8] = chances.astype(np.uint8)
    return stored


def _coder_of(codebook: Codebook, widths: tuple[int, int], chances: list[NDArray[np.uint8]]) -> HeadCoder:
    expected = codebook.expected_lengths
    contexts = length_contexts(expected)
    return HeadCoder(widths, chances[0], chances[1], codebook.step_numbers, contexts, expected)


def store_index(index: RowIndex, codebook: Codebook, *, is_seekable: bool) -> StoredIndex:
    """Store an index, in the seekable form or in the one that is read whole; strings lie one behind the other."""
    if is_seekable:
        return store_seekable(index, codebook)
    none = np.empty(0, np.int64)
    return StoredIndex(index.to_bytes(codebook), np.empty(0, np.uint8), none, none)


def store_seekable(index: RowIndex, codebook: Codebook) -> StoredIndex:
    """Store an index in the seekable form, where all strings lie one behind the other."""
    kinds, lengths = index.kinds.astype(np.int64), index.lengths.astype(np.int64)
    used = kinds[kinds != ZERO_KIND]
    more = np.zeros(len(kinds), np.int64)
    more[kinds != ZERO_KIND] = fold_signs(lengths[kinds != ZERO_KIND] - codebook.expected_lengths[used])
    widths = (codebook.kinds - 1).bit_length(), int(more.max(initial=0)).bit_length()
    contexts = length_contexts(codebook.expected_lengths)
    steps = steps_before(kinds, codebook.step_numbers, block_rows=BLOCK_ROWS)
    counts = [
        count_bits_of(kinds, steps, width=widths[0], count=len(codebook.steps)),
        count_bits_of(more[kinds != ZERO_KIND], contexts[used], width=widths[1], count=LENGTH_CONTEXTS),
    ]
    coder = _coder_of(codebook, widths, [_frozen(*pair) for pair in counts])
    parts, part_sizes = encode_blocks(
        kinds, more, coder.steps, coder.contexts, widths=widths, chances=coder.chances, block_rows=BLOCK_ROWS
    )
    string_sizes = np.add.reduceat(lengths, np.arange(0, len(lengths), BLOCK_ROWS))
    sizes = part_sizes + string_sizes
    least = int(sizes.min(initial=2**32 - 1))
    beyond = sizes - least
    most = int(beyond.max(initial=0))
    item = next(item for item in ENTRY_DTYPES if most < 2 ** (8 * item))
    lists = [encode_integers(values.astype(np.int64)) for values in coder.chances]
    stored = [
        HEAD.pack(*widths, item, least),
        *(SIZE.pack(len(coded)) + coded.tobytes() for coded in lists),
        b"" if not item else beyond.astype(np.dtype(ENTRY_DTYPES[item]).newbyteorder("<")).tobytes(),
    ]
    whole = np.frombuffer(b"".join(stored), np.uint8)
    return StoredIndex(whole, parts, part_sizes, string_sizes, len(whole) - item * len(sizes))


def read_seekable(stored: NDArray[np.uint8], *, rows: int, codebook: Codebook) -> SeekableIndex:
    """Read what `store_seekable` made of an index.

    Raises:
        ArtifactError: the bytes are no such index of such a table.
    """
    content = stored.data
    try:
        width, difference_width, item, least = HEAD.unpack_from(content)
        position, chances = HEAD.size, []
        if width > WIDTH_MAX or difference_width > WIDTH_MAX or item not in ENTRY_DTYPES:
            raise damaged_index()
        for count, bits in ((len(codebook.steps), width), (LENGTH_CONTEXTS, difference_width)):
            (size,) = SIZE.unpack_from(content, position)
            position += SIZE.size
            coded = stored[position : position + size]
            position += size
            values = decode_integers(coded, count << min(bits, TREE_BITS))
            if int(values.max(initial=0)) > ALWAYS:
                raise damaged_index()
            chances.append(values.astype(np.uint8))
    except struct.error as err:
        raise damaged_index() from err
    blocks = -(-rows // BLOCK_ROWS)
    if len(content) - position != blocks * item:
        raise damaged_index()
    entries = np.frombuffer(content, np.dtype(ENTRY_DTYPES[item]).newbyteorder("<"), offset=position)
    # Copied, so that they are aligned and the rest is not kept.
    native = entries.astype(ENTRY_DTYPES[item])
    return SeekableIndex(rows, _coder_of(codebook, (width, difference_width), chances), least, native)


def put_heads(stored: StoredIndex, strings: NDArray[np.uint8], *, first: int, blocks: int) -> NDArray[np.uint8]:
    """Put the heads of consecutive blocks in front of their strings, which lie one behind the other."""
    sizes = stored.head_sizes[first : first + blocks]
    before = int(stored.head_starts[first])
    heads = stored.heads[before : before + int(sizes.sum())]
    string_sizes = stored.string_sizes[first : first + blocks]
    whole, starts = (
        np.empty(len(heads) + len(strings), np.uint8),
        (sizes + string_sizes).cumsum() - string_sizes - sizes,
    )
    move_strings(heads, sizes.cumsum() - sizes, sizes, starts, whole)
    move_strings(strings, string_sizes.cumsum() - string_sizes, string_sizes, starts + sizes, whole)
    return whole


def take_heads_off(codes: NDArray[np.uint8], index: RowIndex, *, padding: int) -> NDArray[np.uint8]:
    """Return the strings of all rows one behind the other, without heads, and so many bytes of zeros behind them."""
    ends = index.lengths.cumsum(dtype=np.int64)
    strings = np.zeros((int(ends[-1]) if len(ends) else 0) + padding, np.uint8)
    positions = index.positions(np.arange(len(index.kinds)))
    move_strings(codes, positions, index.lengths, ends - index.lengths, strings)
    return strings
