"""The classes of columns and their symbols: levels, frequencies, and what the encoder reckons with. Without torch.

A column's class is its deviation over the step in eighths of an octave. The tables are part of the format: they are
trained once on normal samples by benchmarks/train_symbols.py and must not change. docs/coding.md tells the scheme.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLES_FILE = Path(__file__).with_name("symbols.npz")

# Classes in an octave. A deviation that is off by half a class costs 0.75 % of the error at four in an octave, 0.2 % at
# eight, and both those of columns and the scales of rows are rounded.
PER_OCTAVE = 8
# The least class with bits, of a deviation of 0.595 steps: below it a column takes 0.002 bits and gains nothing.
CLASS_MIN = -6
# The last class with tables of its own, of 16 steps. Above it the low bits of a symbol go as they are, and the tables
# of one octave with one such bit serve all classes.
CLASS_TRAINED = 32
# The highest class, of 2^20 steps: float32 has no more digits.
CLASS_MAX = 160
TRAINED = CLASS_TRAINED - CLASS_MIN + 1
TABLES = TRAINED + PER_OCTAVE
# By the class, from CLASS_MIN to CLASS_MAX: a search for the best step looks up some 10^5 times what else is ten
# operations on small arrays each time.
_ABOVE_TRAINED = np.arange(CLASS_MIN, CLASS_MAX + 1, dtype=np.int64) - CLASS_TRAINED
RAW_BITS_OF_CLASS = np.maximum(0, -(-_ABOVE_TRAINED // PER_OCTAVE))
TABLE_OF_CLASS = np.where(_ABOVE_TRAINED > 0, TRAINED + (_ABOVE_TRAINED - 1) % PER_OCTAVE, _ABOVE_TRAINED + TRAINED - 1)
SLOT_BITS = 12
SLOTS = 1 << SLOT_BITS
# Entries of a table, as they lie in memory.
ENTRY_BITS = 7
# A quotient by a frequency is a product with its inverse, of so many bits: exact for states below frequency * 2^20.
INVERSE_BITS = 44
# Bits that the first symbol of a string takes beside what it is worth, and how many parts of a bit are counted.
FIRST_BITS = 11
PREFIX_UNIT = 256
PREFIXED_MAX = 24
# The slope at which squared error is traded for bits, in squared steps a bit: -dD/dR = 2 ln 2 D at the squared error
# D = 1/4 that a step leaves.
SLOPE = math.log(2) / 2

# The trellis: a rate-1/2 convolutional code by the number of states, as (h0, h1) in octal.
# Source: Ungerboeck, Trellis-coded modulation with redundant signal sets, part II (1987), table I.
POLYNOMIALS = {4: (0o5, 0o2), 8: (0o13, 0o04), 32: (0o45, 0o10), 256: (0o515, 0o362)}


@dataclass(frozen=True)
class Trellis:
    """The code that says which of two sets of symbols a column has.

    In state s a column's symbols k stand for the levels near 2 k + set(s) steps. The next state is
    (2 s + (k mod 2 xor parity(s))) mod states.

    Attributes:
        sets: (states,) int64, 0 or 1.
        parities: (states,) int64, 0 or 1.
        subsets: (states, 2) int64, by the next state and which of its two predecessors it came from: set + 2 (k mod 2).
    """

    sets: NDArray[np.int64]
    parities: NDArray[np.int64]
    subsets: NDArray[np.int64]

    @cached_property
    def taps(self) -> tuple[int, int]:
        """Return what an odd symbol, and one of set 1, put into the decoder's register.

        After a symbol the register is (register >> 1) xor (the first if it is odd) xor (the second if its set is 1),
        from 0 on; its lowest bit is the set of the next symbol. These are the observer's coordinates of the same code:
        sets and parities are sums modulo 2 of bits of the state.
        """
        bits = 1 << np.arange(self.states.bit_length() - 1)
        first, second = (int((bits * own[bits]).sum()) for own in (self.sets, self.parities))
        return first, second

    @property
    def states(self) -> int:
        """Count the states."""
        return len(self.sets)


@cache
def trellis_of(states: int) -> Trellis:
    """Make the trellis of 4, 8, 32 or 256 states."""
    first, second = (polynomial >> 1 for polynomial in reversed(POLYNOMIALS[states]))

    def parity(number: int) -> int:
        return number.bit_count() & 1

    sets = np.array([parity(state & first) for state in range(states)], np.int64)
    parities = np.array([parity(state & second) for state in range(states)], np.int64)
    subsets = np.empty((states, 2), np.int64)
    for after in range(states):
        for which in range(2):
            before = (after >> 1) | (which * states // 2)
            subsets[after, which] = sets[before] + 2 * ((after & 1) ^ parities[before])
    return Trellis(sets, parities, subsets)


@dataclass(frozen=True)
class Symbols:
    """The tables of all classes. A table is that of a class and of one of the two sets: number 2 class table + set.

    Attributes:
        starts: (2 TABLES,) int64, the symbol k of the first entry. Symbols beyond the first and the last entry are
            escapes: these entries, and how far beyond.
        counts: (2 TABLES,) int64, entries.
        frequencies: (2 TABLES, entries) int64, out of SLOTS.
        cumulative: (2 TABLES, entries + 1) int64, sums of the frequencies before each.
        levels: (2 TABLES, entries) float32, in steps; of tables with raw bits 0.
        model: (TABLES, MODEL) float32, what the encoder takes bits and levels for, as `Model` names them.
        rates: (TABLES,) bits a number, of a normal variable of the class's deviation, encoded by 8 states.
        distortions: (TABLES,) the squared error left, in squared steps.
        entries: (2 TABLES, 2^ENTRY_BITS) uint64 for the decoder: bits 0..11 the sum of frequencies before it, 14
            whether k is odd, 15 whether more has to be read, 16..31 the frequency, 32..63 the level as float32.
        slots: (2 TABLES, SLOTS) uint8, slot -> entry.
        prefix_lengths: (2 TABLES, entries) int64, bits of each entry in a prefix code.
        prefix_codes: (2 TABLES, entries) int64, its bits, the first one lowest.
        prefix_slots: (2 TABLES, SLOTS) uint8, the next SLOT_BITS bits -> entry.
        prefix_bits: (TABLES,) int64, what a number takes in that code, raw bits not counted, in bits / PREFIX_UNIT.
        prefix_losses: (TABLES,) int64, by how much that is more than its entropy.
    """

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    cumulative: NDArray[np.int64]
    levels: NDArray[np.float32]
    model: NDArray[np.float32]
    rates: NDArray[np.float64]
    distortions: NDArray[np.float64]
    entries: NDArray[np.uint64]
    slots: NDArray[np.uint8]
    prefix_lengths: NDArray[np.int64]
    prefix_codes: NDArray[np.int64]
    prefix_slots: NDArray[np.uint8]
    prefix_bits: NDArray[np.int64]
    prefix_losses: NDArray[np.int64]

    @cached_property
    def costs(self) -> NDArray[np.float32]:
        """The bits of each entry, (2 TABLES, entries)."""
        costs: NDArray[np.float32] = (SLOT_BITS - np.log2(np.maximum(self.frequencies, 1))).astype(np.float32)
        return costs

    @cached_property
    def inverses(self) -> NDArray[np.uint64]:
        """2^INVERSE_BITS over the frequency of each entry, rounded up, laid out as `entries`."""
        frequencies = np.maximum((self.entries >> np.uint64(16)) & np.uint64(0xFFFF), np.uint64(1))
        inverses: NDArray[np.uint64] = (np.uint64(1 << INVERSE_BITS) + frequencies - np.uint64(1)) // frequencies
        return inverses


def table_of(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which class table each class has, and so `raw_bits_of` it how many bits go raw."""
    tables: NDArray[np.int64] = TABLE_OF_CLASS[np.minimum(np.maximum(classes, CLASS_MIN), CLASS_MAX) - CLASS_MIN]
    return tables


def raw_bits_of(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many low bits of a symbol go raw in each class."""
    raw: NDArray[np.int64] = RAW_BITS_OF_CLASS[np.minimum(np.maximum(classes, CLASS_MIN), CLASS_MAX) - CLASS_MIN]
    return raw


def rates_of(classes: NDArray[Any], symbols: Symbols) -> NDArray[np.float64]:
    """Return the bits a number that each class takes; 0 below CLASS_MIN."""
    raw = np.maximum(raw_bits_of(classes) - 1, 0)
    return np.where(classes < CLASS_MIN, 0.0, symbols.rates[table_of(classes)] + raw)


def distortions_of(classes: NDArray[Any], symbols: Symbols) -> NDArray[np.float64]:
    """Return the squared error that each class is left with, in squared steps; below CLASS_MIN all of it."""
    whole_variances = 2.0 ** (2 * np.asarray(classes, np.float64) / PER_OCTAVE)
    return np.where(classes < CLASS_MIN, whole_variances, symbols.distortions[table_of(classes)])


def classes_of(ratios: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round deviations over the step to classes, CLASS_MAX at most."""
    logs = PER_OCTAVE * np.log2(np.maximum(ratios, 1e-300))
    classes: NDArray[np.int64] = np.minimum(np.rint(logs), CLASS_MAX).astype(np.int64)
    return classes


def make_symbols(
    *,
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    frequencies: NDArray[np.int64],
    levels: NDArray[np.float32],
    model: NDArray[np.float32],
    rates: NDArray[np.float64],
    distortions: NDArray[np.float64],
) -> Symbols:
    """Put together what follows from the tables; the arguments are as in `Symbols`."""
    tables, most = frequencies.shape
    cumulative = np.concatenate([np.zeros((tables, 1), np.int64), frequencies.cumsum(axis=1)], axis=1)
    index = np.arange(most)
    is_escape = (index == 0) | (index == counts[:, None] - 1)
    is_raw = np.arange(tables)[:, None] >= 2 * TRAINED
    is_odd = (starts[:, None] + index) & 1
    entries = levels.view(np.uint32).astype(np.uint64) << np.uint64(32)
    entries |= frequencies.astype(np.uint64) << np.uint64(16)
    entries |= (is_escape | is_raw).astype(np.uint64) << np.uint64(15)
    entries |= is_odd.astype(np.uint64) << np.uint64(14)
    entries |= np.minimum(cumulative[:, :-1], SLOTS - 1).astype(np.uint64)
    slots = np.stack([np.repeat(index, counts_of_table).astype(np.uint8) for counts_of_table in frequencies])
    prefix_lengths = np.stack([prefix_lengths_of(counts_of_table) for counts_of_table in frequencies])
    prefix_codes, prefix_slots = np.zeros_like(prefix_lengths), np.zeros_like(slots)
    for table, counts_of_table in enumerate(prefix_lengths):
        prefix_codes[table], prefix_slots[table] = _prefix_codes_of(counts_of_table)
    # Sums of whole numbers, so that every processor makes the same strings of them.
    taken = (frequencies * prefix_lengths).sum(axis=1) * PREFIX_UNIT // SLOTS
    entropies = np.array([_entropy_of(counts_of_table) for counts_of_table in frequencies])
    return Symbols(
        starts, counts, frequencies, cumulative, levels, model, rates, distortions,
        np.pad(entries, ((0, 0), (0, (1 << ENTRY_BITS) - most))), slots,
        prefix_lengths, prefix_codes, prefix_slots, taken[::2] + taken[1::2] >> 1,
        (taken - entropies)[::2] + (taken - entropies)[1::2] >> 1,
    )  # fmt: skip


def prefix_lengths_of(frequencies: NDArray[np.int64]) -> NDArray[np.int64]:
    """Compute the lengths of a Huffman code of at most SLOT_BITS bits; 0 where there is no entry.

    Of equal counts the earlier one is merged first. Where a code would be longer, small counts are raised.
    """
    used = np.flatnonzero(frequencies)
    least = 1
    while True:
        heap: list[tuple[int, int, tuple[int, ...]]] = [
            (max(int(frequencies[entry]), least), number, (int(entry),)) for number, entry in enumerate(used)
        ]
        heapq.heapify(heap)
        lengths, number = np.zeros_like(frequencies), len(heap)
        while len(heap) > 1:
            first, second = heapq.heappop(heap), heapq.heappop(heap)
            merged = first[2] + second[2]
            lengths[list(merged)] += 1
            heapq.heappush(heap, (first[0] + second[0], number, merged))
            number += 1
        if int(lengths.max()) <= SLOT_BITS:
            return lengths
        least *= 2


def _prefix_codes_of(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Give each entry its canonical code: by length, then by entry; first bit lowest. Also: bits -> entry."""
    codes, slots = np.zeros_like(lengths), np.zeros(SLOTS, np.uint8)
    code, before = 0, 0
    for entry in sorted(np.flatnonzero(lengths).tolist(), key=lambda number: (int(lengths[number]), number)):
        length = int(lengths[entry])
        code <<= length - before
        before = length
        codes[entry] = int(f"{code:0{length}b}"[::-1], 2)
        slots[codes[entry] :: 1 << length] = entry
        code += 1
    return codes, slots


def _entropy_of(frequencies: NDArray[np.int64]) -> int:
    """Compute the entropy in bits / PREFIX_UNIT, rounded down."""
    used = frequencies[frequencies > 0]
    return int((used * (SLOT_BITS - np.log2(used))).sum() * PREFIX_UNIT / SLOTS)


def prefixed_columns(tables: NDArray[np.int64], raw_bits: NDArray[np.int64], symbols: Symbols) -> int:
    """Choose how many of the last columns of a string are in the prefix code.

    The state of an asymmetric numeral system takes about SLOT_BITS bits at its start, whatever the first symbols are
    worth, but for symbols of a prefix code. As many as together take that many bits make up for it; fewer where the
    prefix code loses more than that.
    """
    best, best_loss = 0, FIRST_BITS * PREFIX_UNIT
    taken = lost = 0
    for number in range(1, min(len(tables), PREFIXED_MAX) + 1):
        table = tables[-number]
        taken += int(symbols.prefix_bits[table]) + int(raw_bits[-number]) * PREFIX_UNIT
        lost += int(symbols.prefix_losses[table])
        loss = lost + max(0, FIRST_BITS * PREFIX_UNIT - taken)
        if loss < best_loss:
            best, best_loss = number, loss
        if taken >= FIRST_BITS * PREFIX_UNIT:
            break
    return best


@cache
def load_symbols() -> Symbols:
    """Read the tables that are shipped."""
    with np.load(TABLES_FILE, allow_pickle=False) as file:
        return make_symbols(
            starts=file["starts"].astype(np.int64),
            counts=file["counts"].astype(np.int64),
            frequencies=file["frequencies"].astype(np.int64),
            levels=file["levels"],
            model=file["model"],
            rates=file["rates"],
            distortions=file["distortions"],
        )
