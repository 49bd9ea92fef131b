"""What decodes the strings of a table but for its bases: steps, kinds of rows, classes of columns. docs/artifact.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embcompress.coding.integers import decode_integers, encode_integers
from embcompress.coding.kernels import add_up
from embcompress.coding.rotation import CodedRotation
from embcompress.coding.symbols import (
    CLASS_MAX,
    CLASS_MIN,
    PER_OCTAVE,
    POLYNOMIALS,
    PREFIX_UNIT,
    Trellis,
    load_symbols,
    prefixed_columns,
    raw_bits_of,
    table_of,
    trellis_of,
)
from embcompress.exceptions import ArtifactError

# A row of zeros: no string.
ZERO_KIND = 0
# Steps of a table, at most.
STEPS_MAX = 16
KINDS_MAX = 2**20
PROFILES_MAX = 2**12
# Of the head: states, flags, steps, kinds, profiles, coded vectors.
HEAD = struct.Struct("<HBBIHI")
STEP = struct.Struct("<f")
SIZE = struct.Struct("<I")
# Contexts of the numbers of centers: a class each.
CENTER_CONTEXTS = 64
# Contexts of the lengths of strings: by how long they are expected to be.
LENGTH_CONTEXTS = 64
CENTER_STEP = struct.Struct("<f")
HAS_ROTATION, HAS_CENTERS = 1, 2


@dataclass(frozen=True)
class Layout:
    """Which columns the string of a row of one kind holds, in its order.

    Attributes:
        columns: (coded,) int64, by ascending class.
        tables: (coded,) int64, the class table of each.
        raw_bits: (coded,) int64.
        prefixed: how many of the last are in the prefix code.
    """

    columns: NDArray[np.int64]
    tables: NDArray[np.int64]
    raw_bits: NDArray[np.int64]
    prefixed: int


@dataclass(frozen=True)
class Codebook:
    """What decodes the strings of a table to weights.

    The weights of a row of kind n, with profile p, are
    `steps[step_numbers[n]] * 2^(scales[n] / 8) * numbers + centers[p]`, where the row's string holds the numbers of the
    columns whose class `classes[p] + shifts[n]` is at least CLASS_MIN, by ascending class; the other numbers are 0.
    Kind 0 has neither string nor center: rows of zeros.

    Attributes:
        states: of the trellis.
        rank: columns.
        steps: float32.
        profiles: (kinds,) int64, of each kind; of kind 0 it plays no part.
        shifts: (kinds,) int64, in eighths of an octave.
        scales: (kinds,) int64, of the step in eighths of an octave.
        step_numbers: (kinds,) int64, which of the steps.
        classes: (profiles, rank) int64, of the columns in rows of shift 0.
        center_numbers: (profiles, rank) int64, the centers over `center_step`; None for zeros.
        center_step: float32.
        rotation: the bases; None where the table's own columns are coded.
    """

    states: int
    rank: int
    steps: tuple[float, ...]
    profiles: NDArray[np.int64]
    shifts: NDArray[np.int64]
    scales: NDArray[np.int64]
    step_numbers: NDArray[np.int64]
    classes: NDArray[np.int64]
    center_numbers: NDArray[np.int64] | None = None
    center_step: float = 0.0
    rotation: CodedRotation | None = None
    # Of this codebook alone: `replace` with other kinds must not take them over.
    _layouts: dict[tuple[int, int] | None, Layout] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def kinds(self) -> int:
        """Count the kinds of rows."""
        return len(self.shifts)

    @property
    def trellis(self) -> Trellis:
        """The code that the strings are paths through."""
        return trellis_of(self.states)

    def layout(self, kind: int) -> Layout:
        """Tell which columns the strings of a kind hold."""
        # Kinds that differ in scale or step have the same columns.
        key = None if kind == ZERO_KIND else (int(self.profiles[kind]), int(self.shifts[kind]))
        if key not in self._layouts:
            empty = np.empty(0, np.int64)
            if key is None:
                self._layouts[key] = Layout(empty, empty, empty, 0)
            else:
                classes = self.classes[self.profiles[kind]] + self.shifts[kind]
                order = np.argsort(classes, kind="stable")
                order = order[classes[order] >= CLASS_MIN]
                inside = np.minimum(classes[order], CLASS_MAX)
                tables, raw_bits = table_of(inside), raw_bits_of(inside)
                prefixed = prefixed_columns(tables, raw_bits, load_symbols())
                self._layouts[key] = Layout(order, tables, raw_bits, prefixed)
        return self._layouts[key]

    @cached_property
    def alike(self) -> NDArray[np.int64]:
        """Tell the first kind whose strings hold the same columns as those of each, (kinds,)."""
        pairs = (self.profiles << 32) + self.shifts
        pairs[ZERO_KIND] = -(2**62)
        _, firsts, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        same: NDArray[np.int64] = firsts[inverse].astype(np.int64)
        return same

    @cached_property
    def expected_lengths(self) -> NDArray[np.int64]:
        """Tell about how many bytes a string of each kind has, (kinds,): a whole number on every processor."""
        symbols = load_symbols()
        entropies = symbols.prefix_bits - symbols.prefix_losses
        # Kinds that differ in scale or step have the same columns; a damaged file may claim a million of them.
        pairs = np.stack([self.profiles, self.shifts])
        pairs[:, ZERO_KIND] = -1, 0
        _, firsts, inverse = np.unique(pairs, axis=1, return_index=True, return_inverse=True)
        layouts = [self.layout(kind) for kind in firsts.tolist()]
        taken = [int(entropies[one.tables].sum()) + PREFIX_UNIT * int(one.raw_bits.sum()) for one in layouts]
        return np.array(taken, np.int64)[inverse.ravel()] // (8 * PREFIX_UNIT)

    @cached_property
    def centers(self) -> NDArray[np.float32] | None:
        """What is added to the numbers of each profile, (profiles, rank) float32."""
        if self.center_numbers is None:
            return None
        centers: NDArray[np.float32] = self.center_numbers.astype(np.float32) * np.float32(self.center_step)
        return centers

    @cached_property
    def kind_steps(self) -> NDArray[np.float32]:
        """The step of each kind, (kinds,) float32; 0 of rows of zeros."""
        factors = (2.0 ** (self.scales / PER_OCTAVE)).astype(np.float32)
        steps: NDArray[np.float32] = np.array(self.steps, np.float32)[self.step_numbers] * factors
        steps[ZERO_KIND] = 0
        return steps

    def row_steps(self, kinds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Tell the step of rows of given kinds, (n,) float32."""
        own: NDArray[np.float32] = self.kind_steps[kinds]
        return own

    def to_bytes(self) -> NDArray[np.uint8]:
        """Write it as it is stored."""
        flags = HAS_ROTATION * (self.rotation is not None) + HAS_CENTERS * (self.center_numbers is not None)
        vectors = 0 if self.rotation is None else len(self.rotation.classes)
        head = HEAD.pack(self.states, flags, len(self.steps), self.kinds, len(self.classes), vectors)
        parts = [head, *(STEP.pack(step) for step in self.steps)]
        if self.center_numbers is not None:
            parts.append(CENTER_STEP.pack(self.center_step))
        lists = [self.profiles, _unsigned(self.shifts), _unsigned(self.scales), self.step_numbers]
        tail = b""
        if self.rotation is not None:
            lists += [_unsigned(_differences(self.rotation.classes)), self.rotation.lengths]
            tail = self.rotation.strings.tobytes()
        # The first profile's classes tell what to expect of the others, and of the centers.
        lists += [_unsigned(_differences(self.classes[0])), _unsigned(self.classes[1:] - self.classes[0]).ravel()]
        coded = [encode_integers(values) for values in lists]
        if self.center_numbers is not None:
            contexts = _center_contexts(self.classes)
            coded.append(
                encode_integers(_unsigned(self.center_numbers).ravel(), contexts=contexts, count=CENTER_CONTEXTS)
            )
        for own in coded:
            parts += [SIZE.pack(len(own)), own.tobytes()]
        return np.frombuffer(b"".join([*parts, tail]), np.uint8)


def read_codebook(stored: NDArray[np.uint8], *, rank: int, dim: int) -> Codebook:
    """Read what `Codebook.to_bytes` wrote.

    Args:
        stored: the bytes.
        rank: columns that are coded.
        dim: real entries of a row.

    Raises:
        ArtifactError: the bytes are no codebook of such a table.
    """
    try:
        return _read_codebook(stored.tobytes(), rank=rank, dim=dim)
    except (struct.error, ValueError, IndexError, KeyError, OverflowError) as err:
        raise ArtifactError(
            f"what decodes a coded table is damaged ({err}).", hint="Compress the original again."
        ) from err


def _read_codebook(stored: bytes, *, rank: int, dim: int) -> Codebook:
    states, flags, step_count, kinds, profiles, vectors = HEAD.unpack_from(stored)
    position = HEAD.size
    steps = [STEP.unpack_from(stored, position + number * STEP.size)[0] for number in range(step_count)]
    position += step_count * STEP.size
    center_step = 0.0
    if flags & HAS_CENTERS:
        (center_step,) = CENTER_STEP.unpack_from(stored, position)
        position += CENTER_STEP.size

    def read_list(count: int, contexts: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        nonlocal position
        (size,) = SIZE.unpack_from(stored, position)
        position += SIZE.size
        coded = np.frombuffer(stored[position : position + size], np.uint8)
        if len(coded) != size:
            raise ValueError("it ends too early")
        position += size
        return decode_integers(coded, count, contexts=contexts, count=1 if contexts is None else CENTER_CONTEXTS)

    if states not in POLYNOMIALS or not 1 <= step_count <= STEPS_MAX or not 1 <= kinds <= KINDS_MAX:
        raise ValueError("its head")
    if not 1 <= profiles <= PROFILES_MAX or profiles * rank > 2**31 or vectors > min(rank, dim):
        raise ValueError("its sizes")
    own_profiles, shifts, scales = read_list(kinds), _signed(read_list(kinds)), _signed(read_list(kinds))
    step_numbers = read_list(kinds)
    center_numbers = rotation = None
    if flags & HAS_ROTATION:
        precisions, string_lengths = _signed(read_list(vectors)).cumsum(), read_list(vectors)
    elif rank != dim:
        raise ValueError("its columns")
    first = _signed(read_list(rank)).cumsum()
    others = _signed(read_list((profiles - 1) * rank)).reshape(profiles - 1, rank)
    classes = np.concatenate([first[None], first + others])
    if not _is_inside(classes):
        raise ValueError("its classes")
    if flags & HAS_CENTERS:
        center_numbers = _signed(read_list(profiles * rank, _center_contexts(classes))).reshape(profiles, rank)
    if flags & HAS_ROTATION:
        strings = np.frombuffer(stored[position:], np.uint8)
        if int(string_lengths.sum()) != len(strings):
            raise ValueError("its bases")
        rotation = CodedRotation(dim, precisions, strings, string_lengths)
    is_right = (
        all(np.isfinite(step) and step >= 0 for step in steps)
        and bool((step_numbers < step_count).all())
        and bool((own_profiles < profiles).all())
        and np.isfinite(center_step)
        and all(_is_inside(values) for values in (shifts, scales))
        and (rotation is None or _is_inside(rotation.classes))
    )
    if not is_right:
        raise ValueError("its numbers")
    codebook = Codebook(
        states, rank, tuple(steps), own_profiles, shifts, scales, step_numbers, classes, center_numbers, center_step,
        rotation,
    )  # fmt: skip
    with np.errstate(over="ignore", invalid="ignore"):
        products = [codebook.kind_steps, *([] if codebook.centers is None else [codebook.centers])]
    if not all(np.isfinite(own).all() for own in products):
        raise ValueError("its steps")
    return codebook


def _is_inside(classes: NDArray[np.int64]) -> bool:
    """Tell whether differences and classes are such as a table can have: nothing overflows."""
    return not len(classes) or int(np.abs(classes).max()) < 2**12


def _unsigned(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold signed integers: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return np.where(values < 0, -2 * values - 1, 2 * values)


def _signed(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(values & 1, -(values + 1) // 2, values // 2)


def _differences(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tell each integer by its difference from the one before, the first from 0."""
    return np.diff(values, prepend=0)


def _center_contexts(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put the numbers of centers in contexts by the class of their column in the first profile."""
    own = np.clip(classes[0] - CLASS_MIN + 1, 0, CENTER_CONTEXTS - 1)
    return np.tile(own, len(classes))


@dataclass(frozen=True)
class RowIndex:
    """The kind of every row and the bytes of its string: four bytes a row in memory, and half a byte for places.

    Attributes:
        kinds: (rows,) uint16 or wider.
        lengths: (rows,) uint16 or wider.
    """

    kinds: NDArray[np.integer]
    lengths: NDArray[np.integer]

    @cached_property
    def _before(self) -> NDArray[np.int64]:
        """The bytes before each SPACING rows."""
        sums = np.add.reduceat(self.lengths, np.arange(0, len(self.lengths), SPACING), dtype=np.int64)
        return np.concatenate([[0], sums.cumsum()]).astype(np.int64)

    @property
    def nbytes(self) -> int:
        """Count the bytes of all strings."""
        return int(self._before[-1])

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tell where the strings of rows start, (n,) int64."""
        return add_up(rows, self._before, self.lengths, SPACING)

    def to_bytes(self, codebook: Codebook) -> NDArray[np.uint8]:
        """Write it as it is stored: profile, shift, scale and step of each row's kind, then the lengths.

        A list each behind its size: profiles plus 1, and 0 for rows of zeros; of the other rows shifts and scales less
        the least ones, steps, and lengths by how much they differ from what is expected of their kind.
        """
        own = self.kinds.astype(np.int64)
        is_used = own != ZERO_KIND
        used = own[is_used]
        profiles, expected = codebook.profiles[used], codebook.expected_lengths[used]
        more = _unsigned(self.lengths.astype(np.int64)[is_used] - expected)
        lists = [
            encode_integers(np.where(is_used, codebook.profiles[own] + 1, 0)),
            encode_integers(
                codebook.shifts[used] - _least(codebook.shifts), contexts=profiles, count=len(codebook.classes)
            ),
            encode_integers(codebook.scales[used] - _least(codebook.scales)),
            encode_integers(codebook.step_numbers[used]),
            encode_integers(more, contexts=_length_contexts(expected), count=LENGTH_CONTEXTS),
        ]
        parts = [part for own in lists for part in (np.frombuffer(SIZE.pack(len(own)), np.uint8), own)]
        return np.concatenate(parts)


def _least(values: NDArray[np.int64]) -> int:
    """Find the least of the kinds that are not zeros."""
    return int(values[ZERO_KIND + 1 :].min()) if len(values) > 1 else 0


def _length_contexts(expected: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put lengths in contexts by what is expected: the bits of that number, and its two highest behind the first."""
    safe = np.maximum(expected, 1)
    bits = np.array([int(size).bit_length() for size in range(int(safe.max()) + 1)] if len(safe) else [0])[safe]
    high = np.where(bits > 2, (safe >> np.maximum(bits - 3, 0)) & 3, safe & 3)
    contexts: NDArray[np.int64] = np.minimum(4 * bits + high, LENGTH_CONTEXTS - 1)
    return contexts


# Rows between two places that are kept.
SPACING = 16
INDEX_LISTS = 5


def read_row_index(stored: NDArray[np.uint8], *, rows: int, codebook: Codebook) -> RowIndex:
    """Read what `RowIndex.to_bytes` wrote.

    Raises:
        ArtifactError: the bytes are no index of such a table.
    """
    damaged = ArtifactError("the index of a coded table is damaged.", hint="Compress the original again.")
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
    known = {kind: number for number, kind in enumerate(zip(*(own.tolist() for own in columns), strict=True)) if number}
    # One integer for the four: what differs by more than a kind can is damaged, or is told by the list of kinds.
    if any(len(values) and int(np.abs(values).max()) >= 2**12 for values in (shifts, scales, steps)):
        raise damaged
    packed = ((profiles * 2**13 + shifts + 2**12) * 2**13 + scales + 2**12) * 2**13 + steps
    unique, firsts, inverse = np.unique(packed, return_index=True, return_inverse=True)
    kept = np.stack([profiles[firsts], shifts[firsts], scales[firsts], steps[firsts]]) if count else np.empty((4, 0))
    numbers = np.array([known.get(tuple(kind), -1) for kind in kept.T.tolist()], np.int64)
    assert len(numbers) == len(unique)
    if len(numbers) and int(numbers.min()) < 0:
        raise damaged
    kinds, lengths = np.full(rows, ZERO_KIND, np.int64), np.zeros(rows, np.int64)
    kinds[is_used] = numbers[inverse.ravel()] if count else ZERO_KIND
    expected = codebook.expected_lengths[kinds[is_used]]
    more = decode_integers(lists[4], count, contexts=_length_contexts(expected), count=LENGTH_CONTEXTS)
    lengths[is_used] = expected + _signed(more)
    if rows and int(lengths.min()) < 0:
        raise damaged
    return make_row_index(kinds, lengths)


def make_row_index(kinds: NDArray[np.integer], lengths: NDArray[np.integer]) -> RowIndex:
    """Make an index of kinds and lengths, (rows,) each."""
    return RowIndex(_narrow(kinds), _narrow(lengths))


def _narrow(values: NDArray[np.integer]) -> NDArray[np.integer]:
    return values.astype(np.uint16 if not len(values) or int(values.max()) < 2**16 else np.uint32)
