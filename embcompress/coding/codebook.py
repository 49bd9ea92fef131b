"""The codebook of a table, all that decodes its strings but its bases: steps, kinds, classes. docs/artifact.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embcompress.coding.integers import decode_integers, encode_integers, fold_signs, unfold_signs
from embcompress.coding.read_kernels import Steps, check_steps
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
# Classes of columns that any codebook may have, and those that a byte of it may stand for: of equal ones, some hundred.
FREE_CLASSES = 2**22
CLASSES_OF_BYTE = 1000
# Of the head: states, flags, steps, kinds, profiles, coded vectors.
HEAD = struct.Struct("<HBBIHI")
STEP = struct.Struct("<f")
SIZE = struct.Struct("<I")
# Contexts of the numbers of centers: a class each.
CENTER_CONTEXTS = 64

CENTER_STEP = struct.Struct("<f")
HAS_ROTATION, HAS_CENTERS = 1, 2


@dataclass(frozen=True)
class Layout:
    """The columns that the string of a row of one kind holds, in its order.

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
    """All that decodes the strings of a table to weights.

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
        column_scales: (rank,) float32, by which numbers in steps are multiplied before centers are added; None for
            ones. Not part of the bytes, like the next.
        tuned_centers: (profiles, rank) float32, in place of those of `center_numbers`.
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
    column_scales: NDArray[np.float32] | None = None
    tuned_centers: NDArray[np.float32] | None = None
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
        """Return which columns the strings of a kind hold."""
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
        """Return the first kind whose strings hold the same columns as those of each, (kinds,)."""
        pairs = (self.profiles << 32) + self.shifts
        pairs[ZERO_KIND] = -(2**62)
        _, firsts, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        same: NDArray[np.int64] = firsts[inverse].astype(np.int64)
        return same

    @cached_property
    def steps_of_layouts(self) -> Steps:
        """The steps that decode the strings of each layout, in the order of `kind_layouts`."""
        layouts = [self.layout(kind) for kind in np.unique(self.alike).tolist()]
        return Steps.of([(own.columns, own.tables, own.raw_bits, own.prefixed) for own in layouts], width=self.rank)

    @cached_property
    def kind_layouts(self) -> NDArray[np.int64]:
        """The number of the layout of each kind, (kinds,)."""
        numbers: NDArray[np.int64] = np.unique(self.alike, return_inverse=True)[1].astype(np.int64)
        return numbers

    @cached_property
    def center_profiles(self) -> NDArray[np.int64]:
        """The profile whose center rows of each kind have, (kinds,); -1 for rows of zeros, which have none."""
        profiles: NDArray[np.int64] = self.profiles.copy()
        profiles[ZERO_KIND] = -1
        return profiles

    @cached_property
    def expected_lengths(self) -> NDArray[np.int64]:
        """Return about how many bytes a string of each kind has, (kinds,): a whole number on every processor."""
        symbols = load_symbols()
        entropies = symbols.prefix_bits - symbols.prefix_losses
        # Kinds that differ in scale or step have the same columns; a damaged file may claim a million of them.
        pairs = np.stack([self.profiles, self.shifts])
        pairs[:, ZERO_KIND] = -1, 0
        _, firsts, inverse = np.unique(pairs, axis=1, return_index=True, return_inverse=True)
        layouts = [self.layout(kind) for kind in firsts.tolist()]
        taken = [int(entropies[layout.tables].sum()) + PREFIX_UNIT * int(layout.raw_bits.sum()) for layout in layouts]
        return np.array(taken, np.int64)[inverse.ravel()] // (8 * PREFIX_UNIT)

    @cached_property
    def centers(self) -> NDArray[np.float32] | None:
        """The center that is added to the numbers of each profile, (profiles, rank) float32."""
        if self.tuned_centers is not None:
            return self.tuned_centers
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
        """Return the step of rows of given kinds, (n,) float32."""
        steps: NDArray[np.float32] = self.kind_steps[kinds]
        return steps

    def to_bytes(self) -> NDArray[np.uint8]:
        """Write it as it is stored."""
        flags = HAS_ROTATION * (self.rotation is not None) + HAS_CENTERS * (self.center_numbers is not None)
        vectors = 0 if self.rotation is None else len(self.rotation.classes)
        head = HEAD.pack(self.states, flags, len(self.steps), self.kinds, len(self.classes), vectors)
        parts = [head, *(STEP.pack(step) for step in self.steps)]
        if self.center_numbers is not None:
            parts.append(CENTER_STEP.pack(self.center_step))
        lists = [self.profiles, fold_signs(self.shifts), fold_signs(self.scales), self.step_numbers]
        tail = b""
        if self.rotation is not None:
            lists += [fold_signs(_differences(self.rotation.classes)), self.rotation.lengths]
            tail = self.rotation.strings.tobytes()
        # The first profile's classes tell what to expect of the others, and of the centers.
        lists += [fold_signs(_differences(self.classes[0])), fold_signs(self.classes[1:] - self.classes[0]).ravel()]
        coded = [encode_integers(values) for values in lists]
        if self.center_numbers is not None:
            contexts = _center_contexts(self.classes)
            coded.append(
                encode_integers(fold_signs(self.center_numbers).ravel(), contexts=contexts, count=CENTER_CONTEXTS)
            )
        for numbers in coded:
            parts += [SIZE.pack(len(numbers)), numbers.tobytes()]
        return np.frombuffer(b"".join([*parts, tail]), np.uint8)


def has_rotation(stored: NDArray[np.uint8]) -> bool:
    """Return whether the bytes of a codebook hold bases."""
    return len(stored) >= HEAD.size and bool(HEAD.unpack_from(stored.tobytes())[1] & HAS_ROTATION)


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
            f"the codebook of a coded table is damaged ({err}).", hint="Compress the original again."
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
    if (
        not 1 <= profiles <= PROFILES_MAX
        or profiles * rank > FREE_CLASSES + CLASSES_OF_BYTE * len(stored)
        or vectors > min(rank, dim)
    ):
        raise ValueError("its sizes")
    kind_profiles, shifts, scales = read_list(kinds), unfold_signs(read_list(kinds)), unfold_signs(read_list(kinds))
    step_numbers = read_list(kinds)
    center_numbers = rotation = None
    if flags & HAS_ROTATION:
        precisions, string_lengths = unfold_signs(read_list(vectors)).cumsum(), read_list(vectors)
    elif rank != dim:
        raise ValueError("its columns")
    first = unfold_signs(read_list(rank)).cumsum()
    others = unfold_signs(read_list((profiles - 1) * rank)).reshape(profiles - 1, rank)
    classes = np.concatenate([first[None], first + others])
    if not _is_inside(classes):
        raise ValueError("its classes")
    if flags & HAS_CENTERS:
        center_numbers = unfold_signs(read_list(profiles * rank, _center_contexts(classes))).reshape(profiles, rank)
    if flags & HAS_ROTATION:
        strings = np.frombuffer(stored[position:], np.uint8)
        if int(string_lengths.sum()) != len(strings):
            raise ValueError("its bases")
        rotation = CodedRotation(dim, precisions, strings, string_lengths)
    is_right = (
        all(np.isfinite(step) and step >= 0 for step in steps)
        and bool((step_numbers < step_count).all())
        and bool((kind_profiles < profiles).all())
        and np.isfinite(center_step)
        and all(_is_inside(values) for values in (shifts, scales))
        and (rotation is None or _is_inside(rotation.classes))
    )
    if not is_right:
        raise ValueError("its numbers")
    codebook = Codebook(
        states, rank, tuple(steps), kind_profiles, shifts, scales, step_numbers, classes, center_numbers, center_step,
        rotation,
    )  # fmt: skip
    check_steps(int(codebook.kind_layouts.max()) + 1, rank)
    with np.errstate(over="ignore", invalid="ignore"):
        products = [codebook.kind_steps, *([] if codebook.centers is None else [codebook.centers])]
    if not all(np.isfinite(product).all() for product in products):
        raise ValueError("its steps")
    return codebook


def _is_inside(classes: NDArray[np.int64]) -> bool:
    """Return whether differences and classes are such as a table can have: nothing overflows."""
    return not len(classes) or int(np.abs(classes).max()) < 2**12


def _differences(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each integer by its difference from the one before, the first from 0."""
    return np.diff(values, prepend=0)


def _center_contexts(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put the numbers of centers in contexts by the class of their column in the first profile."""
    contexts = np.clip(classes[0] - CLASS_MIN + 1, 0, CENTER_CONTEXTS - 1)
    return np.tile(contexts, len(classes))
