"""Artifacts read by their documentation alone: coded tables multiplied out in plain Python, bit by bit.

Of the package nothing is used but the tables of symbols, by the reference decoder of strings.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.coding.reference_decoder import CLASS_MAX, CLASS_MIN, PER_OCTAVE, decode_string, table_and_raw_bits, tables

DTYPES = {"U8": "<u1", "I8": "<i1", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", "I64": "<i8", "C64": "<c8"}
CENTER_CONTEXTS = 64
LENGTH_CONTEXTS = 64
LEARNT_BITS = 12
BLOCK_ROWS = 16
STATES_OF_BASES = 32


def parse(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, NDArray[Any]]]:
    """Take a file apart as docs/artifact.md tells: its header, the document in it, and the tensors."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    document = json.loads(header.pop("__metadata__")["embcompress"])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(raw[start + begin : start + end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            values = (values.astype("<u4") << 16).view("<f4")
        tensors[name] = values
    return header, document, tensors


def decode(path: Path, name: str) -> NDArray[np.float64]:
    """Decode a coded table of either schema, (rows, real entries of a row)."""
    _, document, tensors = parse(path)
    fields = document["tables"][name]
    own = {suffix.removeprefix(name): value for suffix, value in tensors.items() if suffix.startswith(f"{name}.")}
    if "levels" in fields:
        return _decode_windows(fields, own)
    weights, bases = decode_weights(path, name)
    return weights if bases is None else weights @ bases.astype(np.float32).astype(np.float64)


def decode_weights(path: Path, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Decode the float32 weights of a table of schema 2, (rows, rank); and its bases, (rank, dim), or None."""
    _, document, tensors = parse(path)
    fields = document["tables"][name]
    own = {suffix.removeprefix(name): value for suffix, value in tensors.items() if suffix.startswith(f"{name}.")}
    shape = fields["shape"]
    dim = math.prod(shape[1:]) * (2 if fields["dtype"].startswith("complex") else 1)
    codebook = read_codebook(own[".codebook"].tobytes(), rank=fields["rank"], dim=dim)
    weights = np.zeros((shape[0], fields["rank"]))
    codes, index = own[".codes"].tobytes(), own[".index"].tobytes()
    if fields["coding"] == "coded-seekable":
        strings = read_blocks(index, codes, rows=shape[0], codebook=codebook)
    else:
        lengths_of_kinds = read_index(index, rows=shape[0], codebook=codebook)
        ends = np.cumsum([length for _, length in lengths_of_kinds]).tolist()
        assert ends[-1] == len(codes)
        strings = [
            (kind, codes[end - length : end]) for (kind, length), end in zip(lengths_of_kinds, ends, strict=True)
        ]
    for row, (kind, string) in enumerate(strings):
        if kind is not None:
            weights[row] = codebook.weights(kind, string)
    return weights, codebook.bases


@dataclass(frozen=True)
class Kind:
    """A kind of rows: (profile, shift, scale, number of the step)."""

    profile: int
    shift: int
    scale: int
    step_number: int


@dataclass(frozen=True)
class Codebook:
    """A codebook as it is documented; the first kind of the file, that of zeros, is left out.

    Attributes:
        states: of the trellis.
        steps: float32.
        kinds: of rows that have strings.
        classes: (profiles, rank).
        centers: (profiles, rank) float32.
        bases: (rank, dim), or None; to be rounded to float32.
    """

    states: int
    steps: Sequence[float]
    kinds: Sequence[Kind]
    classes: NDArray[np.int64]
    centers: NDArray[np.float32]
    bases: NDArray[np.float64] | None

    def columns(self, kind: Kind) -> list[tuple[int, int]]:
        """List the class and the number of each column that a string holds, in its order."""
        own = sorted((int(number) + kind.shift, column) for column, number in enumerate(self.classes[kind.profile]))
        return [(min(number, CLASS_MAX), column) for number, column in own if number >= CLASS_MIN]

    def weights(self, kind: Kind, string: bytes) -> NDArray[np.float64]:
        """Decode a row's string, (rank,): products and sums in float32."""
        columns = self.columns(kind)
        step = np.float32(self.steps[kind.step_number]) * np.float32(2.0 ** (kind.scale / PER_OCTAVE))
        row = np.zeros(len(self.classes[0]), np.float32)
        _, numbers = decode_string(string, [number for number, _ in columns], states=self.states)
        for (_, column), number in zip(columns, numbers, strict=True):
            row[column] = step * np.float32(number)
        return (row + self.centers[kind.profile]).astype(np.float64)

    def expected_length(self, kind: Kind) -> int:
        """Return about how many bytes a string has: from the entropies of the tables, in bits / 256."""
        bits = 0
        for number, _ in self.columns(kind):
            table, raw = table_and_raw_bits(number)
            pair = tables()[2 * table : 2 * table + 2]
            cost = sum(one.prefix_cost for one in pair) // 2
            lost = sum(one.prefix_cost - math.floor(one.entropy) for one in pair) // 2
            bits += cost - lost + 256 * raw
        return bits // (8 * 256)


def read_codebook(stored: bytes, *, rank: int, dim: int) -> Codebook:
    """Read what decodes strings."""
    states, flags, step_count, kinds, profiles, vectors = struct.unpack_from("<HBBIHI", stored)
    position = struct.calcsize("<HBBIHI")
    steps = struct.unpack_from(f"<{step_count}f", stored, position)
    position += 4 * step_count
    center_step = 0.0
    if flags & 2:
        (center_step,) = struct.unpack_from("<f", stored, position)
        position += 4
    reader = _Lists(stored, position)
    own_profiles, shifts, scales = reader.read(kinds), _unfold(reader.read(kinds)), _unfold(reader.read(kinds))
    step_numbers = reader.read(kinds)
    if flags & 1:
        precisions, lengths = np.cumsum(_unfold(reader.read(vectors))).tolist(), reader.read(vectors)
    first = np.cumsum(_unfold(reader.read(rank)))
    others = np.array(_unfold(reader.read((profiles - 1) * rank)), np.int64).reshape(profiles - 1, rank)
    classes = np.concatenate([first[None], first + others]).astype(np.int64)
    centers = np.zeros((profiles, rank), np.float32)
    if flags & 2:
        contexts = [min(max(int(number) - CLASS_MIN + 1, 0), CENTER_CONTEXTS - 1) for number in first] * profiles
        numbers = np.array(_unfold(reader.read(profiles * rank, contexts)), np.float32).reshape(profiles, rank)
        centers = numbers * np.float32(center_step)
    bases = None
    if flags & 1:
        strings, at = [], reader.position
        for length in lengths:
            strings.append(stored[at : at + length])
            at += length
        assert at == len(stored)
        bases = decode_bases(strings, precisions, count=rank, dim=dim)
    else:
        assert reader.position == len(stored)
    known = [Kind(*own) for own in zip(own_profiles, shifts, scales, step_numbers, strict=True)]
    return Codebook(states, steps, known[1:], classes, centers, bases)


def decode_bases(strings: Sequence[bytes], classes: Sequence[int], *, count: int, dim: int) -> NDArray[np.float64]:
    """Decode orthonormal vectors, (count, dim): each by its coordinates in the complement of those before it."""
    product, signs = np.eye(dim), np.ones(count)
    for number, (string, own) in enumerate(zip(strings, classes, strict=True)):
        _, numbers = decode_string(string, [own] * (dim - number), states=STATES_OF_BASES)
        coordinates = np.array(numbers)
        if not coordinates.any():
            coordinates[0] = 1.0
        coordinates /= np.linalg.norm(coordinates)
        signs[number] = -1.0 if coordinates[0] > 0 else 1.0
        mirror = np.zeros(dim)
        mirror[number:] = coordinates
        mirror[number] -= signs[number]
        mirror /= np.linalg.norm(mirror)
        product -= 2 * np.outer(product @ mirror, mirror)
    return (product[:, :count] * signs).T


def read_index(stored: bytes, *, rows: int, codebook: Codebook) -> list[tuple[Kind | None, int]]:
    """Read each row's kind, None for one of zeros, and the bytes of its string."""
    reader = _Lists(stored, 0)
    owners = reader.read(rows)
    profiles = [owner - 1 for owner in owners if owner]
    count = len(profiles)
    shifts, scales, step_numbers = reader.read(count, profiles), reader.read(count), reader.read(count)
    least_shift = min((kind.shift for kind in codebook.kinds), default=0)
    least_scale = min((kind.scale for kind in codebook.kinds), default=0)
    kinds = [
        Kind(profile, shift + least_shift, scale + least_scale, number)
        for profile, shift, scale, number in zip(profiles, shifts, scales, step_numbers, strict=True)
    ]
    assert set(kinds) <= set(codebook.kinds)
    known = {kind: codebook.expected_length(kind) for kind in set(kinds)}
    more = _unfold(reader.read(count, [_length_context(known[kind]) for kind in kinds]))
    assert reader.position == len(stored)
    used = iter([(kind, known[kind] + own) for kind, own in zip(kinds, more, strict=True)])
    return [next(used) if owner else (None, 0) for owner in owners]


def read_blocks(stored: bytes, codes: bytes, *, rows: int, codebook: Codebook) -> list[tuple[Kind | None, bytes]]:
    """Read each row's kind, None for one of zeros, and its string, from a seekable index and its codes."""
    width, difference_width, item, least = struct.unpack_from("<BBBI", stored)
    reader = _Lists(stored, struct.calcsize("<BBBI"))
    trees = len(codebook.steps) << min(width, LEARNT_BITS), LENGTH_CONTEXTS << min(difference_width, LEARNT_BITS)
    chances_of_kinds, chances_of_lengths = reader.read(trees[0]), reader.read(trees[1])
    blocks = -(-rows // BLOCK_ROWS)
    entries = [
        int.from_bytes(stored[reader.position + item * block :][:item], "little") if item else 0
        for block in range(blocks)
    ]
    assert len(stored) == reader.position + item * blocks
    expected = {kind: codebook.expected_length(kind) for kind in codebook.kinds}
    read, end = [], 0
    for block, entry in enumerate(entries):
        begin, end = end, end + least + entry
        head, step, own = _Head(codes[begin:]), 0, []
        for _ in range(min(BLOCK_ROWS, rows - block * BLOCK_ROWS)):
            number = head.read(chances_of_kinds, step, width)
            kind = codebook.kinds[number - 1] if number else None
            length = 0
            if kind is not None:
                step = kind.step_number
                context = _length_context(expected[kind])
                length = expected[kind] + _unfold([head.read(chances_of_lengths, context, difference_width)])[0]
            own.append((kind, length))
        at = end - sum(length for _, length in own)
        for kind, length in own:
            read.append((kind, codes[at : at + length]))
            at += length
    assert end == len(codes)
    return read


class _Head:
    """Integers of the head of a block: bits by chances that stay as they are."""

    def __init__(self, following: bytes) -> None:
        self._rest = iter(following)
        self._size, self._code = 2**32 - 1, int.from_bytes(bytes(next(self._rest, 0) for _ in range(4)), "big")

    def read(self, chances: Sequence[int], context: int, width: int) -> int:
        """Read the next integer of so many bits, whose tree is that of a context."""
        prefix = 1
        for bit_index in range(width):
            is_learnt = bit_index < LEARNT_BITS
            chance = chances[(context << min(width, LEARNT_BITS)) + prefix] if is_learnt else 128
            bit = int(chance == 255)
            if chance not in {0, 255}:
                part = (self._size >> 15) * 128 * chance
                bit = int(self._code < part)
                self._code, self._size = (self._code, part) if bit else (self._code - part, self._size - part)
                while self._size < 2**23:
                    self._code, self._size = (self._code << 8) + next(self._rest, 0), self._size << 8
            prefix = 2 * prefix + bit
        return prefix - 2**width


def _length_context(expected: int) -> int:
    """Put a length in a context: the bits of what is expected, and the two highest behind the first."""
    size = max(expected, 1)
    bits = size.bit_length()
    return min(4 * bits + ((size >> max(bits - 3, 0)) & 3), LENGTH_CONTEXTS - 1)


class _Lists:
    """Lists of integers behind each other, each behind its size in four bytes."""

    def __init__(self, stored: bytes, position: int) -> None:
        self._stored, self.position = stored, position

    def read(self, length: int, contexts: Sequence[int] | None = None) -> list[int]:
        """Read the next list, of so many integers."""
        (size,) = struct.unpack_from("<I", self._stored, self.position)
        begin = self.position + 4
        self.position = begin + size
        assert self.position <= len(self._stored)
        return decode_integers(self._stored[begin : self.position], length, contexts or [0] * length)


def decode_integers(stored: bytes, length: int, contexts: Sequence[int]) -> list[int]:
    """Decode integers bit by bit, the highest first, each bit by a chance that is learnt from those before it.

    The first byte is the width. A chance of 15 bits belongs to a context and the higher bits of the integer; bits below
    the highest twelve have even ones.
    """
    width, rest = stored[0], iter(stored[1:])
    size, code = 2**32 - 1, int.from_bytes(bytes(next(rest, 0) for _ in range(4)), "big")
    chances: dict[tuple[int, int], tuple[int, int]] = {}
    values = []
    for number in range(length):
        prefix = 1
        for bit_index in range(width):
            node = contexts[number], prefix
            chance, seen = chances.get(node, (2**14, 0))
            part = (size >> 15) * chance
            bit = int(code < part)
            code, size = (code, part) if bit else (code - part, size - part)
            if bit_index < LEARNT_BITS:
                seen = min(seen + 1, 64)
                moved = chance + ((2**15 - 32 if bit else 32) - chance) // (seen + 1)
                chances[node] = min(max(moved, 32), 2**15 - 32), seen
            prefix = 2 * prefix + bit
            while size < 2**23:
                code, size = (code << 8) + next(rest, 0), size << 8
        values.append(prefix - 2**width)
    return values


def _unfold(values: Sequence[int]) -> list[int]:
    """Turn 0, 1, 2, 3 into 0, -1, 1, -2."""
    return [-(value + 1) // 2 if value % 2 else value // 2 for value in values]


def _decode_windows(fields: Mapping[str, Any], own: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Decode a table coded as in schema 1."""
    rows, rank = fields["shape"][0], fields["rank"]
    bits = [[int(digit, 16) for digit in bytes(row).hex()][:rank] for row in own[".bits"]]
    scales, all_levels = iter(own[".scales"].tolist()), iter(own[".levels"].astype(float).tolist())
    scale = [[next(scales) if count else 0.0 for count in group] for group in bits]
    window = dict(fields["levels"])
    levels = {c: [next(all_levels) for _ in range(2**size * (2 if c == 9 else 1))] for c, size in window.items()}
    width = next(width for width in (0, 1, 2, 4, 8) if len(bits) <= 2**width)
    flags = "".join(f"{byte:08b}" for byte in own[".groups"]) if width else ""
    codes = [iter(own[f".codes.{group}"].tolist()) for group in range(len(bits))]
    weights = np.zeros((rows, rank))
    for row in range(rows):
        group = int(flags[row * width : (row + 1) * width], 2) if width else 0
        string, end = "".join(f"{byte:08b}" for byte in next(codes[group])), 0
        halves = [k for k in reversed(range(rank)) if bits[group][k] == 9]
        for k in [*halves, *(k for k in reversed(range(rank)) if bits[group][k] not in {0, 9})]:
            count = bits[group][k]
            is_second = count == 9 and halves.index(k) % 2
            end += (0 if is_second else 1) if count == 9 else count
            read = int((string[-8:] + string[:end])[-window[count] :], 2)
            weights[row, k] = scale[group][k] * levels[count][read + (2 ** window[count] if is_second else 0)]
    if ".bases" not in own:
        return weights
    bases = own[".bases"].astype(np.float64).reshape(rank, -1)
    if ".basis_scales" in own:
        bases = bases * own[".basis_scales"].astype(np.float64)[:, None]
    return weights @ bases
