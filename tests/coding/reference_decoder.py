"""A reference decoder of strings, in whole numbers of Python: slow, and nothing but what the format says.

It shares no code with the package and takes from it only the tables: first symbols, frequencies and levels. The tests
hold the compiled decoder to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import embcompress.coding

# By states: of which bits of a state the parity is its set, and of which its parity bit. These are h1 and h0 but for
# their last term. Source: Ungerboeck (1987), table I.
STATE_MASKS = {4: (0b01, 0b10), 8: (0b010, 0b101), 32: (0b00100, 0b10010), 256: (0b01111001, 0b10100110)}
LONGEST_PREFIX = 12
CLASS_MIN, CLASS_TRAINED, CLASS_MAX = -6, 32, 160
PER_OCTAVE = 8
UNARY_MAX = 31


@dataclass(frozen=True)
class Table:
    """A table of one class and one set: `prefixes` are (bits, code, first bit highest) -> entry."""

    first: int
    frequencies: list[int]
    levels: list[float]
    prefixes: dict[tuple[int, int], int]
    prefix_lengths: list[int]

    @property
    def prefix_cost(self) -> int:
        """What an entry takes in the prefix code on average, in bits / 256, rounded down."""
        return sum(map(int.__mul__, self.frequencies, self.prefix_lengths)) * 256 // 4096

    @property
    def entropy(self) -> float:
        """The entropy of an entry, in bits / 256."""
        return sum(frequency * (12 - math.log2(frequency)) for frequency in self.frequencies) * 256 / 4096


def huffman_lengths(frequencies: Sequence[int]) -> list[int]:
    """Compute code lengths: the two least are merged, of equal ones the earlier first, until none has over 12 bits."""
    least = 1
    while True:
        nodes = [(max(frequency, least), number, [number]) for number, frequency in enumerate(frequencies)]
        lengths = [0] * len(frequencies)
        for number in range(len(frequencies), 2 * len(frequencies) - 1):
            nodes.sort(key=lambda node: node[:2])
            (low, _, some), (high, _, others) = nodes[:2]
            for entry in some + others:
                lengths[entry] += 1
            nodes[:2] = [(low + high, number, some + others)]
        if max(lengths) <= LONGEST_PREFIX:
            return lengths
        least *= 2


def canonical_codes(lengths: Sequence[int]) -> dict[tuple[int, int], int]:
    """Number the codes by length, then by entry, each behind the one before."""
    codes, code, before = {}, 0, 0
    for length, entry in sorted((length, entry) for entry, length in enumerate(lengths)):
        code <<= length - before
        codes[length, code] = entry
        code, before = code + 1, length
    return codes


@cache
def tables() -> list[Table]:
    """Read the tables that are shipped, number 2 class table + set."""
    with np.load(Path(embcompress.coding.__file__).with_name("symbols.npz")) as file:
        starts, counts = file["starts"].tolist(), file["counts"].tolist()
        frequencies, levels = file["frequencies"].tolist(), file["levels"].tolist()
    read = []
    for start, count, own, known in zip(starts, counts, frequencies, levels, strict=True):
        lengths = huffman_lengths(own[:count])
        read.append(Table(start, own[:count], known[:count], canonical_codes(lengths), lengths))
    return read


def table_and_raw_bits(class_number: int) -> tuple[int, int]:
    """Return the class table of a class, and how many low bits of its symbols go raw."""
    inside = min(max(class_number, CLASS_MIN), CLASS_MAX)
    raw = 0
    while inside > CLASS_TRAINED + PER_OCTAVE * raw:
        raw += 1
    # The tables behind the trained ones are of one octave: that with one raw bit.
    return (inside - CLASS_MIN - PER_OCTAVE * max(raw - 1, 0)), raw


def choose_prefixed(classes: Sequence[int]) -> tuple[int, float]:
    """Choose how many of the last columns of a string are in the prefix code; also tell the bits that it then loses."""
    best, best_loss, taken, lost = 0, 11 * 256, 0, 0
    for number, class_number in enumerate(reversed(classes[-24:]), start=1):
        table, raw = table_and_raw_bits(class_number)
        pair = tables()[2 * table : 2 * table + 2]
        taken += sum(own.prefix_cost for own in pair) // 2 + 256 * raw
        lost += sum(own.prefix_cost - math.floor(own.entropy) for own in pair) // 2
        loss = lost + max(0, 11 * 256 - taken)
        if loss < best_loss:
            best, best_loss = number, loss
        if taken >= 11 * 256:
            break
    return best, best_loss / 256


class _State:
    """The state of the numeral system, and what of the string it has not read: the first bytes of it, highest first."""

    def __init__(self, string: bytes) -> None:
        head = min(len(string), 3 if len(string) % 2 else 4)
        self.value = int.from_bytes(string[:head], "big")
        self._rest = string[head:]

    def refill(self) -> None:
        """Read a unit of two bytes, the lower first, where the state is below 2^16."""
        if self.value < 1 << 16 and self._rest:
            self.value = (self.value << 16) + int.from_bytes(self._rest[:2], "little")
            self._rest = self._rest[2:]

    def take(self, bits: int) -> int:
        """Take raw bits, the highest first: as many as leave pieces of 15, then these."""
        number = 0
        while bits:
            some = (bits - 1) % 15 + 1
            number = (number << some) + self.value % (1 << some)
            self.value >>= some
            self.refill()
            bits -= some
        return number

    def take_entry(self, table: Table) -> int:
        """Decode an entry by its frequency: the slot of the state lies in it."""
        slot = self.value % 4096
        before, entry = 0, 0
        while slot >= before + table.frequencies[entry]:
            before += table.frequencies[entry]
            entry += 1
        self.value = table.frequencies[entry] * (self.value // 4096) + slot - before
        self.refill()
        return entry

    def take_prefixed(self, table: Table) -> int:
        """Decode an entry in the prefix code; its first bit is the lowest of the state."""
        code = length = 0
        while (length, code) not in table.prefixes:
            code = 2 * code + (self.value >> length) % 2
            length += 1
        self.value >>= length
        self.refill()
        return table.prefixes[length, code]

    def take_beyond(self) -> int:
        """Take how far beyond an escape is: Elias' gamma code of one more."""
        bits = 0
        while self.take(1):
            bits += 1
            if bits == UNARY_MAX:
                # Whatever follows was read already: the one that would be too many.
                self.take(1)
                break
        return (1 << bits) + self.take(bits) - 1


def decode_string(string: bytes, classes: Sequence[int], *, states: int) -> tuple[list[int], list[float]]:
    """Decode a string to its symbols, and to the numbers in steps that they stand for.

    Args:
        string: the bytes of a row.
        classes: of the columns, in the order of the string.
        states: of the trellis.
    """
    set_mask, parity_mask = STATE_MASKS[states]
    first_prefixed = len(classes) - choose_prefixed(classes)[0]
    state, node = _State(string), 0
    symbols, numbers = [], []
    for column, class_number in enumerate(classes):
        number, raw = table_and_raw_bits(class_number)
        which = (node & set_mask).bit_count() % 2
        table = tables()[2 * number + which]
        entry = state.take_entry(table) if column < first_prefixed else state.take_prefixed(table)
        symbol, beyond = table.first + entry, 0
        if entry in (0, len(table.frequencies) - 1):
            beyond = state.take_beyond()
            symbol += beyond if entry else -beyond
        symbol = (symbol << raw) + state.take(raw)
        symbols.append(symbol)
        numbers.append(float(2 * symbol + which) if raw or beyond else table.levels[entry])
        node = (2 * node + (symbol + (node & parity_mask).bit_count()) % 2) % states
    return symbols, numbers


def bits_of_symbols(symbols: Sequence[int], classes: Sequence[int], *, states: int, prefixed: int = 0) -> float:
    """Add up what the symbols of a row are worth: -log2 of their frequencies, raw bits, and those of escapes.

    The last `prefixed` ones count with the bits of their prefix code.
    """
    set_mask, parity_mask = STATE_MASKS[states]
    bits, node = 0.0, 0
    for column, (symbol, class_number) in enumerate(zip(symbols, classes, strict=True)):
        number, raw = table_and_raw_bits(class_number)
        table = tables()[2 * number + (node & set_mask).bit_count() % 2]
        index, last = (symbol >> raw) - table.first, len(table.frequencies) - 1
        beyond = -index if index <= 0 else index - last
        entry = min(max(index, 0), last)
        is_prefixed = column >= len(classes) - prefixed
        bits += table.prefix_lengths[entry] if is_prefixed else 12 - math.log2(table.frequencies[entry])
        bits += raw
        bits += 2 * math.floor(math.log2(beyond + 1)) + 1 if beyond >= 0 else 0
        node = (2 * node + (symbol + (node & parity_mask).bit_count()) % 2) % states
    return bits
