"""The index of a coded table: the kind of every row, and the bytes of its string. docs/artifact.md."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embcompress.coding.codebook import SIZE, ZERO_KIND, Codebook
from embcompress.coding.index_kernels import add_up
from embcompress.coding.integers import decode_integers, encode_integers, fold_signs, unfold_signs
from embcompress.exceptions import ArtifactError

# Rows between two places that are kept.
SPACING = 16
INDEX_LISTS = 5
# Contexts of the lengths of strings: by how long they are expected to be.
LENGTH_CONTEXTS = 64


@dataclass(frozen=True)
class RowIndex:
    """The kind of every row and the bytes of its string: four bytes a row in memory, and half a byte for places.

    Attributes:
        kinds: (rows,) uint16 or wider.
        lengths: (rows,) uint16 or wider.
        heads: (blocks,) bytes in front of the strings of each SPACING rows, where the file has the seekable form; or
            None.
    """

    kinds: NDArray[np.integer]
    lengths: NDArray[np.integer]
    heads: NDArray[np.integer] | None = None

    @cached_property
    def before(self) -> NDArray[np.int64]:
        """The bytes before the strings of each SPACING rows, and of all."""
        sizes = np.add.reduceat(self.lengths, np.arange(0, len(self.lengths), SPACING), dtype=np.int64)
        heads = np.zeros(1, np.int64) if self.heads is None else self.heads.astype(np.int64)
        ends = (sizes + heads).cumsum()
        return np.concatenate([ends - sizes, ends[-1:]]).astype(np.int64)

    @property
    def nbytes(self) -> int:
        """Count the bytes of all strings, and of the heads of blocks."""
        return int(self.before[-1])

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the strings of rows start, (n,) int64."""
        return add_up(rows, self.before, self.lengths, SPACING)

    def heads_before(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bytes of the head that stands just before the string of each row, (n,): 0 but for a first row."""
        if self.heads is None:
            return np.zeros(len(rows), np.int64)
        return np.where(rows % SPACING == 0, self.heads[rows // SPACING], 0).astype(np.int64)

    def to_bytes(self, codebook: Codebook) -> NDArray[np.uint8]:
        """Write it as it is stored: profile, shift, scale and step of each row's kind, then the lengths.

        A list each behind its size: profiles plus 1, and 0 for rows of zeros; of the other rows shifts and scales less
        the least ones, steps, and lengths by how much they differ from what is expected of their kind.
        """
        kinds = self.kinds.astype(np.int64)
        is_used = kinds != ZERO_KIND
        used = kinds[is_used]
        profiles, expected = codebook.profiles[used], codebook.expected_lengths[used]
        more = fold_signs(self.lengths.astype(np.int64)[is_used] - expected)
        lists = [
            encode_integers(np.where(is_used, codebook.profiles[kinds] + 1, 0)),
            encode_integers(
                codebook.shifts[used] - _least(codebook.shifts), contexts=profiles, count=len(codebook.classes)
            ),
            encode_integers(codebook.scales[used] - _least(codebook.scales)),
            encode_integers(codebook.step_numbers[used]),
            encode_integers(more, contexts=length_contexts(expected), count=LENGTH_CONTEXTS),
        ]
        parts = [part for coded in lists for part in (np.frombuffer(SIZE.pack(len(coded)), np.uint8), coded)]
        return np.concatenate(parts)


def _least(values: NDArray[np.int64]) -> int:
    """Find the least of the kinds that are not zeros."""
    return int(values[ZERO_KIND + 1 :].min()) if len(values) > 1 else 0


def length_contexts(expected: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put lengths in contexts by what is expected: the bits of that number, and its two highest behind the first."""
    safe = np.maximum(expected, 1)
    bits = np.array([int(size).bit_length() for size in range(int(safe.max()) + 1)] if len(safe) else [0])[safe]
    high = np.where(bits > 2, (safe >> np.maximum(bits - 3, 0)) & 3, safe & 3)
    contexts: NDArray[np.int64] = np.minimum(4 * bits + high, LENGTH_CONTEXTS - 1)
    return contexts


def read_row_index(stored: NDArray[np.uint8], *, rows: int, codebook: Codebook) -> RowIndex:
    """Read what `RowIndex.to_bytes` wrote.

    Raises:
        ArtifactError: the bytes are no index of such a table.
    """
    damaged = damaged_index()
    lists, position, content = [], 0, stored.tobytes()
    for _ in range(INDEX_LISTS):
        if len(content) < position + SIZE.size:
            raise damaged
        (size,) = SIZE.unpack_from(content, position)
        position += SIZE.size
        lists.append(stored[position : position + size])
        position += size
    if position != len(content):
        raise damaged
    owners = decode_integers(lists[0], rows)
    is_used = owners > 0
    profiles, count = owners[is_used] - 1, int(is_used.sum())
    if count and int(profiles.max()) >= len(codebook.classes):
        raise damaged
    shifts = decode_integers(lists[1], count, contexts=profiles, count=len(codebook.classes)) + _least(codebook.shifts)
    scales = decode_integers(lists[2], count) + _least(codebook.scales)
    steps = decode_integers(lists[3], count)
    columns = (codebook.profiles, codebook.shifts, codebook.scales, codebook.step_numbers)
    stored_kinds = zip(*(column.tolist() for column in columns), strict=True)
    numbers_of_kinds = {kind: number for number, kind in enumerate(stored_kinds) if number}
    # One integer for the four: what differs by more than a kind can is damaged, or is told by the list of kinds.
    if any(len(values) and int(np.abs(values).max()) >= 2**12 for values in (shifts, scales, steps)):
        raise damaged
    packed = ((profiles * 2**13 + shifts + 2**12) * 2**13 + scales + 2**12) * 2**13 + steps
    unique, firsts, inverse = np.unique(packed, return_index=True, return_inverse=True)
    unique_kinds = np.stack([values[firsts] for values in (profiles, shifts, scales, steps)], axis=1)
    numbers = np.array([numbers_of_kinds.get(tuple(kind), -1) for kind in unique_kinds.tolist()], np.int64)
    assert len(numbers) == len(unique)
    if len(numbers) and int(numbers.min()) < 0:
        raise damaged
    kinds, lengths = np.full(rows, ZERO_KIND, np.int64), np.zeros(rows, np.int64)
    kinds[is_used] = numbers[inverse.ravel()] if count else ZERO_KIND
    expected = codebook.expected_lengths[kinds[is_used]]
    more = decode_integers(lists[4], count, contexts=length_contexts(expected), count=LENGTH_CONTEXTS)
    lengths[is_used] = expected + unfold_signs(more)
    if rows and int(lengths.min()) < 0:
        raise damaged
    return make_row_index(kinds, lengths)


def damaged_index() -> ArtifactError:
    """Say that an index is damaged."""
    return ArtifactError("the index of a coded table is damaged.", hint="Compress the original again.")


def make_row_index(
    kinds: NDArray[np.integer], lengths: NDArray[np.integer], *, heads: NDArray[np.integer] | None = None
) -> RowIndex:
    """Make an index of kinds and lengths, (rows,) each, and of the bytes of heads, if there are any."""
    return RowIndex(_narrow(kinds), _narrow(lengths), None if heads is None else _narrow(heads))


def _narrow(values: NDArray[np.integer]) -> NDArray[np.integer]:
    return values.astype(np.uint16 if not len(values) or int(values.max()) < 2**16 else np.uint32)
