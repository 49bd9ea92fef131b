"""A reader of embcompress artifacts in NumPy alone, by docs/artifact.md: to be copied together with `symbols.bin`.

Rows come out in float32, float64 or complex64, whatever dtype the original had.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from io import BytesIO
from itertools import chain, islice, pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "C64": "<c8"}
POLYNOMIALS = {4: (0o5, 0o2), 8: (0o13, 0o4), 32: (0o45, 0o10), 256: (0o515, 0o362)}
CHUNK = 4096  # rows decoded side by side: their states stay in the cache


class Artifact:
    """An open artifact, a file or a folder of several: `tables` has each table's shape, dtype, rank and error."""

    def __init__(self, path: str | Path, symbols: str | Path | None = None) -> None:
        self._symbols = _Symbols(symbols or Path(__file__).with_name("symbols.bin"))
        self._coded: dict[str, _Coded] = {}
        self._tensors: dict[str, tuple[Any, str, list[int]]] = {}
        metadata: dict[str, str] = {}
        for file in sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else [Path(path)]:
            raw = np.memmap(file, np.uint8, "r")
            start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
            header = json.loads(raw[8:start].tobytes()) if start <= len(raw) else {}
            metadata |= header.pop("__metadata__", {})
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0) + start
            if end != len(raw):
                raise ValueError(f"{file} has {len(raw)} bytes and should have {end}: it is cut short or damaged.")
            for name, entry in header.items():
                first, last = entry["data_offsets"]
                self._tensors[name] = raw[start + first : start + last], entry["dtype"], entry["shape"]
        document = json.loads(metadata.get("embcompress", '{"schema_version": "none"}'))
        if document["schema_version"] not in {1, 2}:
            raise ValueError(f"{path} has schema version {document['schema_version']}; this reader reads 1 and 2.")
        self.tables, self._checksums, self.names = document["tables"], document["crc32"], sorted(self._tensors)
        if any(name not in self._tensors for name in self._checksums):
            raise ValueError(f"{path} lacks tensors of the artifact: a file is missing.")

    def tensor(self, name: str, ids: Any = None) -> Any:
        """Read a stored tensor, whole and checked by its crc32, or its rows of given ids, unchecked."""
        raw, dtype, shape = self._tensors[name]
        if ids is None and f"{zlib.crc32(raw.data):08x}" != self._checksums[name]:
            raise ValueError(f"tensor {name!r} does not have its crc32: the file was changed or damaged.")
        values = raw.view(DTYPES[dtype]).reshape(shape) if dtype in DTYPES else raw
        values = np.array(values if ids is None else values[ids])
        return (values.astype("<u4") << 16).view("<f4") if dtype == "BF16" else values

    def labels(self, table: str) -> list[str]:
        """List the labels of a table's rows; KeyError where the artifact has none."""
        text, ends = self.tensor(f"{table}.labels").tobytes(), self.tensor(f"{table}.label_offsets").tolist()
        return [text[first:last].decode() for first, last in pairwise(ends)]

    def rows(self, table: str, ids: Any = None) -> Any:
        """Read rows by id from their own bytes, (ids,) -> (ids, *shape); without ids all, checked by crc32."""
        entry = self.tables[table]
        count, *shape = entry["shape"]
        chosen = np.arange(count) if ids is None else np.asarray(ids, np.int64).ravel()
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < count:
            raise IndexError(f"table {table!r} has rows 0 to {count - 1}; got {chosen.min()} to {chosen.max()}.")
        is_complex, wide = entry["dtype"] == "complex64", "<f8" if entry["dtype"] == "float64" else "<f4"
        if entry["coding"] == "coded":
            if "levels" in entry:
                raise ValueError(f"table {table!r} has codes of schema 1, which this reader does not read.")
            if table not in self._coded:
                book, index = (self.tensor(table + end).tobytes() for end in (".codebook", ".index"))
                dim = math.prod(shape) * (1 + is_complex)
                self._coded[table] = _Coded(
                    book, index, count=count, rank=entry["rank"], dim=dim, symbols=self._symbols
                )
            if self._coded[table].starts[-1] != len(self._tensors[f"{table}.codes"][0]):
                raise ValueError(f"table {table!r} is damaged: its strings are not as long as its index says.")
            codes = self.tensor(f"{table}.codes") if ids is None else self._tensors[f"{table}.codes"][0]
            made = self._coded[table].rows(codes, chosen, wide)
            return (made.view("<c8") if is_complex else made).reshape(-1, *shape)
        ends = (".left", ".right") if entry["kind"] == "bilinear" else (".weights", ".bases")
        first = self.tensor(table + ends[0], None if ids is None else chosen)
        second = self.tensor(table + ends[1], None if ids is None or ends[1] == ".bases" else chosen)
        first, second = first.astype(wide), second.astype(np.promote_types(second.dtype, wide))
        second = second.reshape(len(second), -1) if ends[1] == ".bases" else second.swapaxes(-1, -2)
        return (first @ second).reshape(-1, *shape)


class _Symbols:
    """The tables of symbols by slot; of each slot the entry and, packed, what reading it does to the state."""

    def __init__(self, path: str | Path) -> None:
        numbers = np.fromfile(path, "<i2").astype(np.int64)
        counts, starts, self.costs, self.losses = np.split(numbers[:282], [94, 188, 235])
        size, table = counts.sum(), np.arange(94).repeat(counts)
        frequencies, lengths = numbers[282 : 282 + 2 * size].reshape(2, size)
        levels = np.fromfile(path, "<i4", offset=564 + 4 * size).astype(np.int64)
        entry, first = np.arange(size), (counts.cumsum() - counts)[table]
        self.symbols = starts[table] + entry - first
        self.sides = (entry == first + counts[table] - 1) * 1 - (entry == first)
        packed = levels << 32 | ((self.sides != 0) | (table >= 78)) << 30 | (self.symbols & 1) << 29
        coded = entry.repeat(frequencies)
        before = np.arange(94 * 4096) - (frequencies.cumsum() - frequencies)[coded]
        order = np.lexsort((entry, lengths, table))
        backward = [int(f"{slot:012b}"[::-1], 2) for slot in range(4096)]
        prefixed = order.repeat(4096 >> lengths[order]).reshape(94, 4096)[:, backward].ravel()
        self.entries = np.concatenate([coded, prefixed])
        packed = np.concatenate([packed[coded] | before << 17 | frequencies[coded] << 4 | 12, packed[prefixed] | 16])
        packed[len(coded) :] |= lengths[prefixed]
        self.packed = packed

    def layout(self, classes: Any) -> tuple[Any, Any]:
        """Return the first slot of the table of each column, and its raw bits, from the classes in a string's order."""
        high = np.minimum(classes, 160) - 32
        tables, raw = np.where(high > 0, 39 + (high - 1) % 8, high + 38), np.maximum(0, (high + 7) // 8)
        taken = (self.costs[tables] + 256 * raw)[:-25:-1].cumsum()
        losses = self.losses[tables][:-25:-1].cumsum() + np.maximum(0, 2816 - taken)
        last = np.argmin([2816, *losses[: (taken < 2816).sum() + 1]])
        return (2 * tables + 94 * (np.arange(len(tables)) >= len(tables) - last)) << 12, raw

    def expect(self, slots: Any, raw: Any) -> int:
        """Return the bytes that are expected of the strings of a layout."""
        return int((self.costs - self.losses)[(slots >> 12) % 94 // 2].sum() + 256 * raw.sum()) // 2048

    def decode(self, codes: Any, starts: Any, sizes: Any, lanes: Any, layouts: Any, states: int) -> Any:
        """Decode strings side by side, (columns, strings); `lanes` are their layouts, ascending, the longest first."""
        counts = np.array([len(raw) for _, raw in layouts])
        slots, raws = np.zeros((2, max(counts, default=0), len(layouts)), np.int64)
        for lane, (slot, raw) in enumerate(layouts):
            slots[: len(raw), lane], raws[: len(raw), lane] = slot, raw
        low, high = (np.array([bin(s & h >> 1).count("1") & 1 for s in range(states)]) for h in POLYNOMIALS[states])
        after = (2 * np.arange(states)[:, None] + (np.arange(2) ^ low[:, None])).ravel() % states
        x, at, ends, path = np.zeros_like(starts), starts + np.minimum(sizes, 4 - sizes % 2), starts + sizes, 0 * starts
        for byte in range(4):
            has = np.flatnonzero(starts + byte < at)
            x[has] = x[has] << 8 | codes[starts[has] + byte]

        def fill(which: Any) -> None:
            which = which[(x[which] < 65536) & (at[which] < ends[which])]
            x[which] = x[which] << 16 | codes[at[which] + 1].astype(np.int64) << 8 | codes[at[which]]
            at[which] += 2

        def pull(which: Any, bits: Any) -> Any:
            value = np.zeros_like(which)
            while bits.any():
                some = np.where(bits > 0, (bits - 1) % 15 + 1, 0)
                value = value << some | x[which] & (1 << some) - 1
                x[which] >>= some
                fill(which[some > 0])
                bits = bits - some
            return value

        numbers = np.zeros((len(slots), len(starts)), np.float32)
        for column in range(len(slots)):
            live = np.searchsorted(lanes, (counts > column).sum())
            state, odd_set = x[:live], high[path[:live]]
            slot = slots[column][lanes[:live]] + (odd_set << 12) + (state & 4095)
            packed = self.packed[slot]
            x[:live] = (state >> (packed & 15)) * (packed >> 4 & 8191) + (packed >> 17 & 4095)
            fill(np.flatnonzero(x[:live] < 65536))
            odd, level = packed >> 29 & 1, (packed >> 32).astype(np.int32).view(np.float32)
            if len(rest := np.flatnonzero(packed >> 30 & 1)):
                entry, raw, bits = self.entries[slot[rest]], raws[column][lanes[rest]], np.zeros_like(rest)
                more = np.flatnonzero(self.sides[entry])
                while len(more := more[pull(rest[more], np.ones_like(more)) == 1]):
                    bits[more] += 1
                beyond = (1 << bits) + pull(rest, bits) - 1
                symbol = (self.symbols[entry] + self.sides[entry] * beyond << raw) + pull(rest, raw)
                odd[rest] = symbol & 1
                level[rest] = np.where(beyond + raw > 0, 2 * symbol + odd_set[rest], level[rest])
            numbers[column, :live], path[:live] = level, after[2 * path[:live] + odd]
        return numbers


def _numbers(file: BytesIO, count: int, contexts: Any = None, *, is_signed: bool = False) -> Any:
    """Read a list of integers behind its size, each bit by a chance that is learnt from those before it."""
    stored = file.read(int.from_bytes(file.read(4), "little"))
    width, values, size, top = stored[0], [], 2**32 - 1, min(stored[0], 12)
    rest, owners = chain(stored[1:], repeat(0)), [0] * count if contexts is None else contexts.tolist()
    code = int.from_bytes(bytes(islice(rest, 4)), "big")
    chances, seen = ([start] * ((max(owners, default=0) + 1) << top) for start in (1 << 14, 1))
    for owner in owners:
        prefix, node = 1, owner << top
        for _ in range(width):
            at = node + prefix
            part = (size >> 15) * (chances[at] if prefix < 4096 else 1 << 14)
            bit = code < part
            code, size = (code, part) if bit else (code - part, size - part)
            if prefix < 4096:
                seen[at] += seen[at] < 65
                chances[at] += ((32736 if bit else 32) - chances[at]) // seen[at]
            prefix = 2 * prefix + bit
            while size < 1 << 23:
                code, size = code << 8 | next(rest), size << 8
        values.append(prefix - (1 << width))
    numbers = np.array(values, np.int64)
    return numbers >> 1 ^ -(numbers & 1) if is_signed else numbers


def _bases(strings: Any, classes: Any, sizes: Any, *, count: int, dim: int, symbols: _Symbols) -> Any:
    """Decode `count` orthonormal vectors, (count, dim): reflections, of which each string holds one."""
    coded = len(classes)
    layouts = [symbols.layout(np.full(dim - k, max(own, -6))) for k, own in enumerate(classes)]
    numbers = symbols.decode(strings, sizes.cumsum() - sizes, sizes, np.arange(coded), layouts, 32).astype(np.float64)
    mirrors, signs = np.zeros((coded, dim)), np.ones(count)
    for k in range(coded):
        mirrors[k, k:] = numbers[: dim - k, k] if numbers[:, k].any() else np.eye(1, dim - k)[0]
        mirrors[k] /= np.linalg.norm(mirrors[k])
        signs[k] = -1 if mirrors[k, k] > 0 else 1
        mirrors[k, k] -= signs[k]
        mirrors[k] /= np.linalg.norm(mirrors[k])
    product = np.eye(dim)[:, :count]
    for k in reversed(range(0, coded, 32)):  # 32 at once, as 1 - W^T T W: as many single ones take longer
        panel = mirrors[k : k + 32]
        triangle = np.linalg.inv(np.triu(panel @ panel.T, 1) + np.eye(len(panel)) / 2)
        product -= panel.T @ (triangle @ (panel @ product))
    return (product * signs).T.astype(np.float32)


class _Coded:
    """A coded table but for its strings: what decodes them, and the layout, step, profile and place of each row's."""

    def __init__(self, codebook: bytes, index: bytes, *, count: int, rank: int, dim: int, symbols: _Symbols) -> None:
        file, self.symbols, self.rank, self.bases = BytesIO(codebook), symbols, rank, None
        self.states, flags, steps, kinds, profiles, vectors = struct.unpack("<HBBIHI", file.read(14))
        floats = np.frombuffer(file.read(4 * (steps + (flags >> 1))), "<f4")
        lists = [_numbers(file, kinds, is_signed=number in {1, 2})[1:] for number in range(4)]
        least_shift, least_scale = (min(values.tolist(), default=0) for values in lists[1:3])
        if flags & 1:
            own, sizes = _numbers(file, vectors, is_signed=True).cumsum(), _numbers(file, vectors)
        classes = np.tile(_numbers(file, rank, is_signed=True).cumsum(), (profiles, 1))
        classes[1:] += _numbers(file, (profiles - 1) * rank, is_signed=True).reshape(-1, rank)
        self.centers = np.zeros((profiles, rank), np.float32)
        if flags & 2:
            contexts = np.tile(np.clip(classes[0] + 7, 0, 63), profiles)
            centers = _numbers(file, profiles * rank, contexts, is_signed=True).reshape(-1, rank)
            self.centers = centers.astype(np.float32) * floats[-1]
        if flags & 1:
            self.bases = _bases(np.frombuffer(file.read(), np.uint8), own, sizes, count=rank, dim=dim, symbols=symbols)
        file = BytesIO(index)
        owners = _numbers(file, count)
        used, self.profiles = np.flatnonzero(owners), np.maximum(owners - 1, 0)
        profile = self.profiles[used]
        shift, scale = _numbers(file, len(used), profile) + least_shift, _numbers(file, len(used)) + least_scale
        self.steps, sizes = np.zeros(count, np.float32), np.zeros(count, np.int64)
        self.steps[used] = floats[_numbers(file, len(used))] * (2.0 ** (scale / 8)).astype(np.float32)
        pairs, which = np.unique(np.stack([profile, shift]), axis=1, return_inverse=True)
        which = which.reshape(-1)
        shifted = classes[pairs[0]] + pairs[1][:, None]
        columns = [own[shifted[lane, own] >= -6] for lane, own in enumerate(shifted.argsort(axis=1, kind="stable"))]
        layouts = [symbols.layout(shifted[lane, own]) for lane, own in enumerate(columns)]
        expected = [symbols.expect(*layout) for layout in layouts]
        at_least = [max(size, 1) for size in expected]
        high = [4 * n.bit_length() + (n >> max(0, n.bit_length() - 3) & 3) for n in at_least]
        more = _numbers(file, len(used), np.minimum(np.array(high, np.int64)[which], 63), is_signed=True)
        sizes[used] = np.array(expected, np.int64)[which] + more
        self.starts = np.concatenate([[0], sizes.cumsum()])
        order = sorted(range(len(columns)), key=lambda lane: -len(columns[lane]))
        empty = np.zeros(0, np.int64)  # rows of zeros have a layout without columns, the last
        self.columns = [*(columns[lane] for lane in order), empty]
        self.layouts = [*(layouts[lane] for lane in order), (empty, empty)]
        self.lanes = np.full(count, len(order))
        self.lanes[used] = np.argsort(order)[which]

    def rows(self, codes: Any, ids: Any, wide: str) -> Any:
        """Decode rows by id, (ids,) -> (ids, dim)."""
        made = np.empty((len(ids), self.rank if self.bases is None else self.bases.shape[1]), wide)
        order = np.argsort(self.lanes[ids], kind="stable")
        for begin in range(0, len(ids), CHUNK):
            chosen = ids[order[begin : begin + CHUNK]]
            lanes, starts = self.lanes[chosen], self.starts[chosen]
            sizes = self.starts[chosen + 1] - starts
            numbers = self.symbols.decode(codes, starts, sizes, lanes, self.layouts, self.states)
            weights = np.zeros((len(chosen), self.rank), np.float32)
            for lane in np.unique(lanes):
                first, last = np.searchsorted(lanes, [lane, lane + 1])
                columns = self.columns[lane]
                weights[first:last, columns] = numbers[: len(columns), first:last].T
            weights = weights * self.steps[chosen][:, None] + self.centers[self.profiles[chosen]]
            weights[lanes == len(self.layouts) - 1] = 0
            made[order[begin : begin + CHUNK]] = weights if self.bases is None else weights.astype(wide) @ self.bases
        return made
