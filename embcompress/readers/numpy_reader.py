"""A reader of embcompress artifacts in NumPy alone, by docs/artifact.md: this one file, made to be copied.

`Artifact(path).rows(table, ids)`; rows come in float32, float64 or complex64, whatever dtype the original had.
"""

import json
import zlib
from base64 import b64decode
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "C64": "<c8"}
POLYNOMIALS = {4: (0o5, 0o2), 8: (0o13, 0o4), 32: (0o45, 0o10), 256: (0o515, 0o362)}
CHUNK = 4096  # rows decoded side by side: their states stay in the cache


class Artifact:
    """An open artifact, a file or a folder of several: `tables` has each table's shape, dtype, rank and error."""

    def __init__(self, path: str | Path) -> None:
        self._tensors, self._coded, metadata = dict[str, Any](), dict[str, Any](), dict[str, str]()
        for file in sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else [path]:
            raw = np.memmap(file, np.uint8, "r")
            start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
            header = json.loads(raw[8:start].tobytes()) if start <= len(raw) else {}
            metadata |= header.pop("__metadata__", {})
            for name, entry in header.items():
                self._tensors[name] = raw[start:][slice(*entry["data_offsets"])], entry["dtype"], entry["shape"]
            if start + max((entry["data_offsets"][1] for entry in header.values()), default=0) != len(raw):
                raise ValueError(f"{file} is not as long as its header says: it is cut short or damaged.")
        document = json.loads(metadata.get("embcompress", '{"schema_version": "none"}'))
        if document["schema_version"] not in {1, 2}:
            raise ValueError(f"{path} has schema version {document['schema_version']}; this reader reads 1 and 2.")
        self.tables, self._checksums, self.names = document["tables"], document["crc32"], sorted(self._tensors)
        if self._checksums.keys() - self._tensors.keys():
            raise ValueError(f"{path} lacks tensors of the artifact: a file is missing.")

    def tensor(self, name: str, ids: Any = None) -> Any:
        """Read a stored tensor, whole and checked by its crc32, or its rows of given ids, unchecked."""
        raw, dtype, shape = self._tensors[name]
        if ids is None and f"{zlib.crc32(raw.data):08x}" != self._checksums[name]:
            raise ValueError(f"tensor {name!r} does not have its crc32: the file was changed or damaged.")
        values = np.array(raw.view(DTYPES.get(dtype, "u1")).reshape(shape)[... if ids is None else ids])
        return (values.astype("<u4") << 16).view("<f4") if dtype == "BF16" else values

    def labels(self, table: str) -> list[str]:
        """List the labels of a table's rows; KeyError where the artifact has none."""
        ends = self.tensor(f"{table}.label_offsets")
        return [text.tobytes().decode() for text in np.split(self.tensor(f"{table}.labels"), ends[1:-1])]

    def rows(self, table: str, ids: Any = None) -> Any:
        """Read rows by id from their own bytes, (ids,) -> (ids, *shape); without ids all, checked by crc32."""
        entry, (count, *shape) = self.tables[table], self.tables[table]["shape"]
        dtype = {"float64": "<f8", "complex64": "<c8"}.get(entry["dtype"], "<f4")
        chosen = np.arange(count) if ids is None else np.asarray(ids, np.int64).ravel()
        if ((chosen < 0) | (chosen >= count)).any():
            raise IndexError(f"table {table!r} has rows 0 to {count - 1}; got {chosen.min()} to {chosen.max()}.")
        some = None if ids is None else chosen  # None: whole tensors, which are checked
        if entry["kind"] == "bilinear":
            left, right = self.tensor(f"{table}.left", some), self.tensor(f"{table}.right", some)
            return np.matmul(left, right.swapaxes(-1, -2), dtype=dtype)
        if entry["coding"] == "plain":
            weights, bases = self.tensor(f"{table}.weights", some), self.tensor(f"{table}.bases")
            return np.matmul(weights, bases.reshape(len(bases), -1), dtype=dtype).reshape(-1, *shape)
        form = "schema 1" if "levels" in entry else entry["coding"]
        if form not in {"coded", "coded-seekable"}:
            raise ValueError(f"table {table!r} has codes of {form}, which this reader does not read; embcompress does.")
        if table not in self._coded:
            book, index = (BytesIO(self.tensor(f"{table}.{name}").tobytes()) for name in ("codebook", "index"))
            dim = int(np.prod(shape)) * (1 + (dtype == "<c8"))
            open_index = _open_blocks if form == "coded-seekable" else _open_index
            self._coded[table] = _open_coded(book, partial(open_index, index, count), rank=entry["rank"], dim=dim)
        codes = self.tensor(f"{table}.codes") if ids is None else self._tensors[f"{table}.codes"][0]
        made = self._coded[table](codes, chosen, np.finfo(dtype).dtype)
        return made.view(dtype).reshape(-1, *shape)


def _integers(file: BytesIO, count: int, contexts: Any = None, *, signed: bool = False) -> Any:
    """Read a list of integers behind its size, each bit by a chance that is learnt from those before it."""
    stored = file.read(int.from_bytes(file.read(4), "little"))
    width, rest, code, size = stored[0], iter(stored[5:]), int.from_bytes(stored[1:5].ljust(4, b"\0"), "big"), 2**32 - 1
    owners, top, values = [0] * count if contexts is None else contexts.tolist(), min(width, 12), []
    chances, seen = ([start] * ((max(owners, default=0) + 1) << top) for start in (1 << 14, 1))
    for owner in owners:
        prefix = 1
        for _ in range(width):
            at = (owner << top) + prefix
            part = (size >> 15) * (chances[at] if prefix < 4096 else 1 << 14)
            bit = code < part
            code, size = (code, part) if bit else (code - part, size - part)
            if prefix < 4096:
                seen[at] += seen[at] < 65
                chances[at] += ((32736 if bit else 32) - chances[at]) // seen[at]
            prefix = 2 * prefix + bit
            while size < 1 << 23:
                code, size = code << 8 | next(rest, 0), size << 8
        values.append(prefix - (1 << width))
    return _unfold(np.array(values, np.int64)) if signed else np.array(values, np.int64)


def _unfold(numbers: Any) -> Any:
    """Give integers that are stored as numbers of at least 0 their signs."""
    return numbers >> 1 ^ -(numbers & 1)


def _layout(classes: Any) -> tuple[Any, ...]:
    """Lay out strings by classes of columns: places of columns; by place slots and raw bits; depths; expected bytes."""
    columns = np.argsort(classes, axis=1, kind="stable")  # those that are not coded come first, and take no part
    classes = np.take_along_axis(classes, columns, axis=1)
    coded, high = classes >= -6, classes.clip(-6, 160) - 32
    tables, raw = np.where(high > 0, 39 + (high - 1) % 8, high + 38), np.maximum(0, (high + 7) // 8)
    bits, losses = (COSTS[tables] + 256 * raw) * coded, LOSSES[tables] * coded
    lacking = np.maximum(0, 2816 - bits[:, :-25:-1].cumsum(axis=1))
    # Behind the first that lacks nothing, and behind all coded columns, nothing loses less.
    last = np.insert(losses[:, :-25:-1].cumsum(axis=1) + lacking, 0, 2816, axis=1).argmin(axis=1)
    is_prefixed = np.arange(classes.shape[1]) >= classes.shape[1] - last[:, None]
    expected = (bits - losses).sum(axis=1) // 2048
    return columns.argsort(axis=1), (2 * tables + 94 * is_prefixed) << 12, raw, coded.sum(axis=1), expected


def _decode(codes: Any, starts: Any, ends: Any, lanes: Any, layout: tuple[Any, ...], states: int) -> Any:
    """Decode strings side by side, (strings, columns); `lanes` are their layouts, those of most coded columns first."""
    places, slots, raws, depths, _ = layout
    high, low = (np.array([bin(s & h >> 1).count("1") & 1 for s in range(states)]) for h in POLYNOMIALS[states][::-1])
    after = (2 * np.arange(states)[:, None] + (np.arange(2) ^ low[:, None])).ravel() % states
    x, path, at = 0 * starts, 0 * starts, np.minimum(ends, starts + 4 - (ends - starts) % 2)
    for byte in range(4):
        has = np.flatnonzero(starts + byte < at)
        x[has] = x[has] << 8 | codes[starts[has] + byte]

    def fill(which: Any) -> None:
        which = which[(x[which] < 65536) & (at[which] < ends[which])]
        x[which] = x[which] << 16 | codes[at[which] + 1].astype(np.int64) << 8 | codes[at[which]]
        at[which] += 2

    def pull(which: Any, bits: Any) -> Any:
        value = 0 * which
        while bits.any():
            some = np.where(bits > 0, (bits - 1) % 15 + 1, 0)
            value, bits = value << some | x[which] & (1 << some) - 1, bits - some
            x[which] >>= some
            fill(which)
        return value

    begins = places.shape[1] - depths[lanes]  # the first coded place of each string
    numbers = np.zeros(places.shape[1:] + starts.shape, np.float32)
    for place in range(begins.min(initial=len(numbers)), len(numbers)):
        live = np.searchsorted(begins, place, side="right")
        state, own_set = x[:live], high[path[:live]]
        slot = slots[:, place][lanes[:live]] + (own_set << 12) + (state & 4095)
        packed = PACKED[slot]
        x[:live] = (state >> (packed & 15)) * (packed >> 4 & 8191) + (packed >> 17 & 4095)
        fill(np.flatnonzero(x[:live] < 65536))
        odd, level = packed >> 29 & 1, (packed >> 32).astype(np.int32).view(np.float32)
        if len(rest := np.flatnonzero(packed >> 30 & 1)):
            entry, raw, bits = ENTRIES[slot[rest]], raws[:, place][lanes[rest]], 0 * rest
            more = np.flatnonzero(SIDES[entry])
            while len(more := more[pull(rest[more], np.ones_like(more)) == 1]):
                bits[more] += 1
            beyond = (1 << bits) + pull(rest, bits) - 1
            symbol = (SYMBOLS[entry] + SIDES[entry] * beyond << raw) + pull(rest, raw)
            odd[rest] = symbol & 1
            level[rest] = np.where(beyond + raw > 0, 2 * symbol + own_set[rest], level[rest])
        numbers[place, :live], path[:live] = level, after[2 * path[:live] + odd]
    return np.take_along_axis(numbers.T, places[lanes], axis=1)


def _bases(codes: Any, classes: Any, sizes: Any, count: int, dim: int) -> Any:
    """Decode `count` orthonormal vectors, (count, dim): reflections, of which each string holds one."""
    vectors, ends = np.arange(len(classes)), sizes.cumsum()
    layout = _layout(np.where(np.arange(dim) < vectors[:, None], -7, np.maximum(classes, -6)[:, None]))
    mirrors = _decode(codes, ends - sizes, ends, vectors, layout, 32).astype(np.float64)
    mirrors[vectors, vectors] += ~mirrors.any(axis=1)
    signs = np.where(mirrors[vectors, vectors] > 0, -1.0, 1.0)
    mirrors[vectors, vectors] -= signs * np.linalg.norm(mirrors, axis=1)
    mirrors /= np.linalg.norm(mirrors, axis=1, keepdims=True)
    # H_0 H_1 ... = 1 - W^T T W, where the inverse of T is triangular: as many single products take longer.
    inverse = np.triu(mirrors @ mirrors.T, 1) + np.eye(len(mirrors)) / 2
    product = np.eye(dim)[:, :count] - mirrors.T @ np.linalg.solve(inverse, mirrors[:, :count])
    product[:, vectors] *= signs
    return product.T.astype(np.float32)


def _open_index(index: BytesIO, count: int, kinds: Any, expected: Any, contexts: Any) -> tuple[int, Any]:
    """Read an index of all rows: bytes of all strings, and a function of codes and ids as that of `_open_blocks`."""
    owners = _integers(index, count) - 1
    used = np.flatnonzero(owners >= 0)
    least = kinds[1:3, 1:].min(axis=1, initial=4096)
    shifts, scales = _integers(index, len(used), owners[used]) + least[0], _integers(index, len(used)) + least[1]
    # One integer for the four: shifts and scales lie within -4096..4095, steps below 256.
    places = np.array([1 << 34, 1 << 21, 1 << 8, 1])
    keys, own = places @ kinds, places @ np.stack([owners[used], shifts, scales, _integers(index, len(used))])
    order, own_kinds = keys.argsort(), np.zeros(count, np.int64)
    own_kinds[used] = order[np.searchsorted(keys, own, sorter=order)]
    sizes = expected[own_kinds]
    sizes[used] += _integers(index, len(used), contexts[own_kinds[used]], signed=True)
    ends = sizes.cumsum()
    return sizes.sum(), lambda _, ids: (own_kinds[ids], ends[ids] - sizes[ids], ends[ids])


def _open_blocks(index: BytesIO, count: int, kinds: Any, expected: Any, contexts: Any) -> tuple[int, Any]:
    """Read a seekable index: bytes of all blocks; a function of codes and ids: kinds, starts and ends of strings."""
    kind_bits, length_bits, item, least = np.frombuffer(index.read(7), "u1,u1,u1,<u4")[0].tolist()
    of_kinds = _integers(index, (kinds[3].max() + 1) << min(kind_bits, 12))  # those behind are of steps without kinds
    of_lengths = _integers(index, 64 << min(length_bits, 12))
    more = np.frombuffer(index.read(), f"<u{item}") if item else np.zeros(-(-count // 16))
    sizes = more.astype(np.int64) + least
    ends = sizes.cumsum()

    def find(codes: Any, ids: Any) -> tuple[Any, Any, Any]:
        blocks, owners = np.unique(ids // 16, return_inverse=True)
        own_kinds, lengths = np.zeros((2, 16, len(blocks)), np.int64)
        step, code, size, at = 0 * blocks, 0 * blocks, 0 * blocks + 2**32 - 1, ends[blocks] - sizes[blocks]

        def fill(which: Any) -> None:
            code[which] = code[which] << 8 | (codes.take(at[which], mode="clip") if len(codes) else 0)
            at[which] += 1

        def read(which: Any, owners: Any, width: int, chances: Any) -> Any:
            prefix = np.ones_like(which)
            for level in range(width):
                chance = chances[(owners << min(width, 12)) + prefix] if level < 12 else np.full_like(prefix, 128)
                part = np.where(chance == 255, size[which], (size[which] >> 15) * (chance << 7))
                bit = (chance == 255) | (code[which] < part)
                code[which] -= np.where(bit, 0, part)
                size[which] = np.where(bit, part, size[which] - part)
                low = which[size[which] < 1 << 23]  # by a byte at most: no coded chance is below 1/256
                size[low] <<= 8
                fill(low)
                prefix = 2 * prefix + bit
            return prefix - (1 << width)

        for _ in range(4):
            fill(np.arange(len(blocks)))
        for row in range(16):
            live = np.arange(np.searchsorted(16 * blocks + row, count))  # the last block may have fewer rows
            own_kinds[row, live] = read(live, step[live], kind_bits, of_kinds)
            used = np.flatnonzero(own_kinds[row])
            kind = own_kinds[row, used].clip(max=len(expected) - 1)
            step[used] = kinds[3, kind]
            lengths[row, used] = expected[kind] + _unfold(read(used, contexts[kind], length_bits, of_lengths))
        is_good = (own_kinds < len(expected)) & (lengths >= 0) & (lengths.sum(axis=0) <= sizes[blocks])
        if not is_good.all():
            raise ValueError("the artifact is damaged: the head of a block does not fit it.")
        # Strings end with their block.
        stops, places = ends[blocks] - lengths[::-1].cumsum(axis=0)[::-1] + lengths, (ids % 16, owners.reshape(-1))
        return own_kinds[places], (stops - lengths)[places], stops[places]

    return sizes.sum(), find


def _open_coded(book: BytesIO, open_index: Any, *, rank: int, dim: int) -> Any:
    """Read all of a coded table but its strings; return a function of these, ids and a dtype that decodes rows."""
    states, flags, steps, count, profiles, vectors = np.frombuffer(book.read(14), "<u2,u1,u1,<u4,<u2,<u4")[0].tolist()
    floats = np.frombuffer(book.read(4 * (steps + flags // 2)), "<f4")
    kinds = np.stack([_integers(book, count, signed=number in {1, 2}) for number in range(4)])
    # The last profile, number -1, is that of rows of zeros: none of its columns is coded.
    kinds[:, 0] = -1, 0, 0, 0
    if flags & 1:
        own, sizes = _integers(book, vectors, signed=True).cumsum(), _integers(book, vectors)
    first = _integers(book, rank, signed=True).cumsum()
    others = first + _integers(book, (profiles - 1) * rank, signed=True).reshape(-1, rank)
    classes, centers = np.vstack([first, others, np.full(rank, -1000)]), np.zeros((profiles + 1, rank), np.float32)
    if flags & 2:
        numbers = _integers(book, profiles * rank, np.tile((first + 7).clip(0, 63), profiles), signed=True)
        centers[:-1] = numbers.reshape(-1, rank).astype(np.float32) * floats[-1]
    bases = _bases(np.frombuffer(book.read(), np.uint8), own, sizes, rank, dim) if flags & 1 else None
    kind_steps = (2.0 ** (kinds[2] / 8)).astype(np.float32) * floats[kinds[3]]
    pairs, lanes = np.unique(kinds[:2], axis=1, return_inverse=True)
    lanes, layout = lanes.reshape(-1), _layout(classes[pairs[0]] + pairs[1][:, None])
    expected = layout[-1][lanes]
    digits = np.frexp(np.maximum(expected, 1))[1].astype(np.int64)
    contexts = np.minimum(63, 4 * digits + (np.maximum(expected, 1) >> np.maximum(0, digits - 3) & 3))
    nbytes, find = open_index(kinds, expected, contexts)

    def rows(codes: Any, ids: Any, wide: str) -> Any:
        if nbytes != len(codes):
            raise ValueError("the artifact is damaged: its strings are not as long as their index says.")
        own_kinds, starts, ends = find(codes, ids)
        own_lanes = lanes[own_kinds]
        made, order = np.empty((len(ids), dim), wide), np.lexsort((own_lanes, -layout[3][own_lanes]))
        for part in np.split(order, range(CHUNK, len(order), CHUNK)):
            numbers, kind = _decode(codes, starts[part], ends[part], own_lanes[part], layout, states), own_kinds[part]
            weights = (numbers * kind_steps[kind][:, None] + centers[kinds[0, kind]]).astype(wide)
            made[part] = weights if bases is None else weights @ bases
        return made

    return rows


# The tables of symbols, as docs/artifact.md lays them out; by slot the entry and, packed, what reading it does.
SYMBOL_TABLES = "eNrtfQl4FEX6fu6EMygiKkJUPEGIiisiQne1F/4U8MJ1VwX9e+AFeOC1CkHUZXdFURSCqEQRYXF3xQMNqDj9tQceKN4IglFXwRt1FUTE/N9v5ito257JTDKTi5rnee3uqu+sqq6u6ry0dnZWlgMcCQwE/gicBVwG3ABMAeYCBKwAfgS2ycnK6gUMBM4GyoB7gWeAVUBWblbWroAFnAZcBUwFngCWARuAznlZWf2AU4GrgHJgAbAC2ASU5GdlHRqorwSWA79I/dNw9SgwG7gduA4YCfwJOAboD/QC9gF2A7oAOwOdgR2AdkAroLWAz9sCxUAbuS4E8gV83tInz+cFUlcg9S1Er1WgPj9Qnx1rpqyfimPHbMGvLFS05Zpjfa44downcwQwujh2jCfD+DvwRdvY0V/O/jdCflPhb2NhfAXs3jZ29JdzPhsKY3r5gbpz8J8D2sSO/nJu0+8g/7/C2Hl2AFX4z6GtY8dg3f7Aq9BbWhg799dhOGSdhnF3aKvYMS9QPxiYB71HCmPn/jruo1egc0LL2LFlSFxjgTLoXlcYOw/W81jaBw33lxax4w4hMosAG/pOYew8OwQHABdB/5mi2PGAEBlu621w8hkG1hcFsfP8ELmTgVmwUVAUO54cIsN9cBrf47BTXhA7bxPStuOBl/leLowdx2f9vo0ZndgnTvrBliqInXcKkeN74HFgFWy9UBA7Pi7lQdn9gDU4WY0kP8uPne8Xp/06AF/zOIK9gwtix6+lPDskr+OAXdDnN+XHwOfHheTGU9qewB64eBs2n8yPHfl6T6nPDhlXV7APVPaAfGl+7PyKrPAxpvvWAk7FRQT2++fHjnxtZYX3M2M7YCZwGey/jeDfzYudz5S6MB2ev4YCf8PFTPh4My925OuhUh+mx/PD7nwv8nwCH+OgNz4vdv6q1OXG0eV26ijj6WEUXAvBi/JiR74eL/U5cfQxlLP68lwF3AGhbtDtmRc73yh1RXF0eR7eC3iAY0fBEPjcNi925OsHpL4gQez8vBjCzxIU3I6CD6H7SW7snMuGiExOAhvcrofynAN8lB2bL57OjR35+hWpb53ATr48F0ZnxZ7bN0FwCvTvzI2dc9lokYk3ZvKkrU+We+YrFG6E7sW5sSNffy31HePc7zonHs89uU+yYmuHa1E4GHZOzI2dc9kdItOyhvbh+j2AS7gNULgWeBUVe+bGjnzN5ZeIXCJ7Ok++Bw4H5gNXoXA4z/Pc/7mxcy6bLzLbJcjV3/7bAgcDt8i88CVQwWMiJ3bkay6/ReS2TdAXOnee/3bhORl4A/grKo5FxVvAOzmxcy57Q2R2EZ2cJOzyWBgIzAV6o+Jj4FJUzs6JHfmay+eKXOckbG9+Hsnz+XLgS+AmVOwPxWnA3Tmxcy77UmT2F538GmznyP3IsvsCZwMEHIbKt4CjIHBBTuzI11xOIrev6BUkkUOujKOdZQzcDFTzEZXtoXwGcF5O7JzLqkXmcNFpmWDOC47FVqLDa9NrgHeBo1HpAZ1h/4Cc2JGvufxdkesveq2SGJ/+tuNx1w04hZ/N/MzPjo2hH4A/QKh3Tuycy7hulsh2E91k2k+3Ic+97WW9fTwwCfgU+D8I/AdYB+TlxI58zeWfitzxotde7OQmmWO+zJXcNocAI4AFwPYQGMPtB+Tw/Z4TO+cyrlsgsoeIbmuxlZNC27aV++RgGXP8vP1W5uSpwOvASjlOlT3WtyJ3tuh1FjvJtrMeRy1kruI2O1b2PouBnSBwMfCE+P5QzrmM6xaL7LGiu53YykvSt25zHofbi42j5b5+GFjHaxgIjpM+ni9HvubydSJ3uejtI3ZapdD+/jFXKPu1Ep7XgNOB24A3eT0KoTOBaUAlsFDOuYzr3hTZ00W3RGwVJjn+wtqlhdw3u0r/8r10I/AU7/WAAyF8HjCRnw1y5Gsu/0nkbhS9g8XOtmI31fbxtxGv63cEugNHydivAJbLvTKYn9vAbbLnv1bKuG65yI4Q3e5iq00d2kqP4Xayb+ghts8DJgOejKW9oHA8MAK4QI58vZeMJU/kzxP9HmKvnW9c59Qivly5J1vL/qGr9Aevh66V5+hKHi+835ExdRGvu+Scy7hupcheK7oHi60OYrtAfKUao3/MFckcsoPsU3hOO0nusbtkXviO+wxKhwDHydx7nFxz+Xcid5fonSR29hS7bcVPfh1i1W3aSuZ5fh9TyvOlzIcTZG7gNsuHUvfAe6kjpSxf2vVh0TlbbJSKzfbioy5tq+8df/tuL/fjATLWzuD3AjKfv8DvVtgvFHfnZyvQTY58zeVfiNxM0TtD7BwgdrcPtHNuLeP232O6vbeR+2If2SedCIwCbpV18XLZV+0A5Z7AvjI2+JzLNorMfNEZJTb6is1O4kO3e14d2t0/XvSc2lbumS6ytusHnABcyOtk2dc9x3sqyYPvvXbAzoJiyeEjkXtA9C4UO/3Ebhfx09Y35+bWMRd/fxT6+mNH2cMcKOOAn0NXAVOknfn59A23p8zDfJ/uKudc9o3IzBedq8TGUWJzD/Gxje9dZl4acgmOL90/28l6Zm/gIInjVH4vwXsCafMIsEzeK3J//Cz5FUj/fCX1EZG/SfRPFXsHif3O4k/3U0EacwuOP3+f7SDvkkvlXQ2vW8+Vd4TT5H007+E/Bv7HtmBsE8eYHTv/n9S9IrLTRPdcsWWJ7d3E1zaB99C5Gcyxpa8fd5a5n/dqtsR2loyxm2UvwWvoJTJffwZ8Iuvfb+V6pdQvEPmbRf8ssWeL/T3Fn+7PlhnKNzhui+QZrPt1F5kD+Bk9APizrHnGSz/9R9Ybb0sffiXvTv4n5x9LnSey00R3hNgaILb3FV+6f1tLLOkew8F+zvM9z1rJWreDtP3uMu76yrqc15/ny96T32HcK89bV979LZP+fVGOy6TcFbl7Re8asXOK2O0rfnYXvx0kjla+515eBvo9rC3032PayBpbj4F9ZP5U8o6Yn9OXAjcAU4F/yph+QebfFcA7/N5Zzt+UugUiO1V0LxVbx4ntA8WXHgvbSiwtfHN1ptpBt0VwDmgh47Gdb2x0lTHLeyRH/p7C74gvknUtz9HTJdf5Mne/IHPc03J8Qcrni9x00btW7AwVu4742Vf86jHSTuJqETI3ZLJ9cgPzhf4bYXvpsxJ5Hu0v722PlnX+OfJ+9nr52ySv+R4CnpT54SX5m9Arcu5J3UMie7vojhZbJ4vtQ8XX3uJ7B4mlre8eKkjz2NHjo6WM0RJZsw6S97T3AEtZDsK9gD/J+4aR/K6V39PJGuxzyDwha/ah8qzb27e/qM36pDZ7tTOAUfI37jPqaa/mb0O95+0mz8BTZQ0wW977/iJ/Y1DAifwOGDhG2pbXtKvlPcFtcu8MlLlkN4m1TR3XejXt1c4K7NUKAnu1Ib69WkFgr3ZWhvZq/phbyDNlB1kDHyTvu4ZLDA/KeP1e/pa6j7z75ncwBwBdsmNj+SO5R+8ErhRegS3vGLrIeqV1mtbVNe3XTgjs194L7NdKgT6B/dp7gf3aCRncrwVzaCl90FHG5X4yt/9R5gxeG/xb5j9eK7KB9tL228q7St4z/yjP1KdlnimT/f6xcn/uLc+I9r51VH3u2YYm2LN1BDoAJXIeb882tB73bP61j+6j7WVO7y7vfLhtz5TYJks/PS/3Oq/tf2V9+TtIrry3XC1z1wJ5V3ijzE08jx4mzwvObSffOqcozWv8ZPZs/WXvMVzGkn/Pxvf7D7Jn4zm4SPZsP0idf89WJjaOF5sNsWfT65F20odd5H74g/xtaoi8Fx0j64m5Mp+9LmvVL+W9IPfdWjm+J+8BHwNmMD9A9t9DZVwcKn/H7Sp92d63Zi3IwJo10X5tVxmzwf3a9dJHD/n2a/+Vvdpqmfe/ljK9X3tIdK4P2a91F18NsV8rCKzJdT/vJevA/tIvp0ncZXLPzhKOzbPyrON+XSX5vi/Hl2Ve/be89/27cFbOkfe/R/jW4rv5+jvTe/R493Nd9mqLfXs1Pn7gO1+chr1afj3s1fx7eD1/t5Ex2VHeie0hc1EfWWedKHP5xcA4+Vsr39f/Aiplv75Y5raIjInnZFw8Iu/gymXddJXs5f8sY86Sdukm98dOsiYqzuBeJJN7tRtknrwvZK/2pLzLCu7V7hOdGxpgrxY1EJyA/GU5mZEZl/VbBPXDyutbxw4g07q6fJcAgjLJ2E6njXYBhMnaCXw1tK1UfBYFkE6beQEk0mnnj8GvFCeO38WdQGeXFOWDPn6XRxp96dzzAlOHRrK+Uo2xXYivVH3rNoqrl/Pbl42J4q6NjXZp0C9K5pmRgq28JPX9c3St+iTkJW6ivgmNKef3OYXZKorTz8nGFi/XBKnUGGPQZvCeTSrWBPn7nxVJj9caYrUDc327QDvkhdxyv/ERL5k4fpKOPSdxWzRkDkE/9ZFLURzbccdSmnKqlZ9a5FZUiz14Tb6D686055odP9fa+kw55+zEcSQ7ZtPht7a5p7pHTDUWO2T+Sfv4y665L+LF0i6FuSQnuVuuzrEF9y7B9W1Oiki2s4NjqKb+K0rQZrUeV3WMMazt2iXo15TiS1I4lRjbxdnD5NVifmoMMdcm7lSSCoszbJzaCcZBUS3u9XTmkGi+rmubpzxGMtD2uyS4D9ulYbykK6d4+WQqr0yNqVRyqGmeTPU+aSp91Zjzqym3cUn2YTK5JtqPpevvCJnM2W5i+SaTZzI520n2dU3vKuv6vKhr39dnOxQluM8bqh1SHQ81tUWieSDZdqnpHU1TaKNx9dg+GR87GdgLpWOfm+79ZHPaq9V579uU4m3AvU465qOGiD8vjWvM+t6zJZoP67M/Gmq/1hD5pHvfls7nldmzNZ49W2PP1+zXUtuvNYY9itmrZW6vVpc2yaun+6M57dPqo33Md0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0i3vu+QGhgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBhsfWhtYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYLDVIfj91bxAWW6GZPIDCPtObn4D6xQEkGld//eB/Qj7Rm5NttNpoyiAMNmCBL4a2lYqPlsEkE6bLQNIpFPk08vJ+u3/7ycsjmDciXQKU5QP+gjmkU5fOndtu1UAyfpKNcaiEF+p+tZtFE8v14ea4q6NjaI06LdI4pmRiq2WSernB+bOVPskN/DsqalvwmLKDckpL0Ff1Ta2eLkG+y6VGIM2g/dsMrEmyt//rEh2vNYUa0Fgri8KtEMQQR+5cRDPT7Kx59bQFg2ZQ9BPfeTSIo7teEhXTrXxU5vc/Pklu27OTWK+yM9grnkJcq2tz1RzzqshjmTHbDr81jb3VPdLqcZSEDL/pHv85SXRF/FiKUphLomHdMcW3LsE17etUkQysYSNoZr6r0WCNqvtuKprjGFtV5SgX1OJLy9JpBJjUZw9TMtazE+NIebaxJ1XxzjDxmlBgnHQohb3ejpzyKtD/Om+7zLR9oUJ7sOiNIyXdOWUXwPSnVemxlR+ivdFQQ15pHKfNJW+asz55dciv3jjsaZcE+3H0vVOPZM5FzSxfPNTREEKeYflXtO7yro+L+ra9/XZDi0S3OcN1Q75aR4TieaBZNulpnc0TaGN8uuxfTI9djKxF0rHPjfd+8nmtFdr2YT3aZncM6R7r5OO+agh4m+ZxjVmfe/ZEs2H9dkfDbVfa4h80r1va2n2bM1yz9bK7Nea1X6thdmrNeu9WkGa9yGZ3J81h31afbTPr9WxX5aP0xYsS5fMJpyHyeUmqKsvnV9wnUgvrwF1a5JJh42NKEvGTn4jtpWsbCZs/ozyVOwWZNh2qjobUFcbP4X17Ku2uj+hvi5+ixrYd11trIdMOuJo0chiSZetdZBLZ1wtM2DzR8hmIs5WGYj1B8hmMt7WGWyP/0G+PuJvUw/t9D106jOftvXYft9BryHyK26Adv0Wug2Zb7sGbO+10G8M+W/TiGL5Gna+ARpT22wLtAcaW1xfwVZjbq/tmkCMX8Dml0BTaMsOwPZAU4n3M9j9HGiKbdwR2AFoqvGvhv01QHPogx2BnYDmks8n8PMp0Bz7qBOw81aQ48fw+V9ga+jLzkCXrTDnKvj+EPgI2Br7uwTYBdjVtMXmtliJOFYBHwCmTbaMj92ArsDugGmf8PZp7LmZvVp6x0hTi7ep34tNPf7mNic2t3ya+7PL7Nma1xrE7Ne2zvWmaQezV0tmr2baJ3H76HiqJcYcKdPX2RmS2eSTy/XJaj7qJp+N+tYJ413mJKmrZbWutpWMrubd1qT7i08/N4M2wniUYW2oebu/+OozaUvralvadjxbG3328uLYzA3IptNmGK8zL4FtzQveKHJh3OxcXzv5eabaV5DfHbT9s89+fpI+wnic+Wn2pe+72vrSfrReWHvE8xmcu4Pzck2+NT856DvIs/fz2fN8cefH4Yz649dzaTzf2q/W1/EnE4O+P4PPseCzKdlY8mVcJhPLpsC8W9tY/HNaWCw6Dm1X28ryxRPMKRiTjiP4zA8+v+PF5p83wmLTNvz2C2uI8ZfAHKtj1HEF1yjBdUaY7V8Cc622n65Y/bn7Yw2Lr3UI3zLRv8vwx+y/Fzf4YtT2/TaL4vx7mODztKbY2VbYOi64Zkw1B93uOgcds/bjt90iTblornbYmjdsnZqunIK+gu2Z7n5aF2dtH7YOr8l38JkXL0edV9BnsF0T/duj4L818Y/1sFx1v+nc9L4ibG/jzzuY88aQdWQy/apz1nkGfQbbO5O5x9vTxdt3BdsgXv4b4zyH47WBvnfD4gmLJSyGXwNx5Pti8f9blsKQedvfJjp/fwyJ9qDB/XG8MfJrnHESjM0/F+t7038vfpNCO23jW2P748iq4d82Bf+9i7+9gnNta5mr2sh93DbB3xnj7eF1mwXbK/iuILi2DMYYnCv995OOUbdZvDjDYsxO8G/e4rWjf62mY0ymDdtKO+r20u83Er2TCWvTrDgxh71/CVtj+seg/3nnb1P//fGdtKluQx1HWMz+eFN5TxRvLazvmRYha4F4fV8ssSbzTqmm92Kpvu8Kzos13fP++9ufg25r3abxYoyXXybaPmzdoMdJW4nf3/a6DXWMNb2LrOm9X7I5BfdWwf1ucC4Jez4n6gvd7vHiTZTjtkn+2+j8kH/TGJZD8N4IPueD90VwXvlGYtLtnwoHtDH0lc4v+O9y9Fyv+8rf/u2TyK+m98/J5FbTe5fgv58M+/dx/md/8Fnrv7f0fBCcmzsk+bfEZN6z16Y/w/KOt/cJrnd0vv6xq8etzlf3p39MJpNvMn9bSJRrvL+JJPNvT4N7IP9aT+cabw2g79N49yHn1zGFvyMm+3eVmvo+rD3C2iLRvjdsXR62dvM//4L8Mt0Wn8uYTrYdkv0bU7z1VrzxkJXgb2E1vXPw7wOCa3//GiXsHujgWzPocR7sc835TOVvicn8/S3eOEn0t8TcJNvJ30b+9kn0bxH1vaPbJ+zfOPnngzXSRsm2SbJ/l0zXXmhdnDWZnjt1e8Tbq8Xb7zb2vVp1yFo8lTVtbfc9xUlwQhvjPi1evPH2RQ211wmuSxPtyRLt5+ozfv/e4LvA/iAZTmtYHpnYs4W979XzQ6L1lX627liHfVtj26+lynGtbf8kk0td923+9Y9+ptV1T2P2bMntXxLtXWras/nXJMEx5t+zdU7Dvs3s12q/X0u0Ng9bc8ZbC/jnyPrao5i92u/3av42qM0eJJm/EYetr5PZh8Tbg+i9Wir7s1Q4kvHW0In2adVJ3jPp3Kc1VPvocZMV4MHFu06nTE11jUGnserWt42mbqux2GxMtuvioyn4SofPpuw7nTE0x1gyEVOmbGYixqYYa6Z91Efs9eWrPnOpb58NkVtD+W7IXBs6hsaQe2OLpTG1SWOPrTG3VVOJsSm0YVONuSm2bXPJoTm0fXPNqTn2zdaW49bQh1t7zltjH5u2MO1g2sjshUx8Jl5zf5n4TT5mT2PyM/mafE07mHYw7bO1tY//V+37XmjYdbpl4sXR0DrJjp14unXxm6xuovp02Uj1HkqUU7ptpZJDsnKZslnbuSiZNqhtPKnK1zWP+vJVF5818ZkznW86n1t1iSFd7dAYY0lXH2UytkysXZpSrPXpw3BG0zOG0jWW6mvMNpYcGzLXxrJXasjcU/33L1mNIJ7srMbza4hx09j6rKnG2JTGm+Epmhya032XrhyaSk7mvmiav61hLKYj16aY89aWb6baoDm0hWkHM9dvrWPH7NW27vukqe4ZavtNEzOvmjy25rya+55ma9qzbU3rsq19v2b2KKYd6qtdTPsk3z7ZNZRlUqamusag01h169tGU7fVWGw2Jtt18dEUfKXDZ1P2nc4YmmMsmYgpUzYzEWNTjDXTPuoj9vryVZ+51LfPhsitoXw3ZK4NHUNjyL2xxdKY2qSxx9aY26qpxNgU2rCpxtwU27a55NAc2r655tQc+2Zry3Fr6MOtPeetsY9NW5h2MG2U2XYxMDAwMDAwMDAwMDAwaHxItK/NtEzYeWPQSXaPXxNftTZ+k9VNVJ8uG6m+66hvTmgqOSQjlymbtX1nlGp7pRpPKvJ1zaO+fNXFZ3Yt69KVbzrfL9YlhnS1Q2OMJV19lMnYMvGOuSnFWp8+DGc0PWMoXWOpvsZsY8mxIXNtLH/TasjcszMk29TGX1MaN42tz5pqjE1pvBmeosmhOd13mYor24wpk4MZiw0Wb7bJd6vr8+bQFqYdzFzfWMaOgYGBgYGBgYGBgYGBQWPlkI5z//zXlyN8hqOFazsry3att3aLALi2bZYZ/dILURkcN8vM77BHBNgs06V4SVQGx6jMX3t0cwft3jMCWDiHjOuy3NxrXovK4Si2XOBe13X2cB9b1icCWDjnss06ufu/GdXB8Tc6VSd1d4dlHREBLJxv1ul18Aj3yEvejergaOF6s87t1/Vwu548KAJYOBedLGK9s9ue455cviyqh6OFa9HLUqx75Zl7umfOHxIBLJz/Rvfcf5/nfvXlyqgujhauN+vu8egU94E3urlvTz41Alg4t1G2WXfwvy50P6n4KKqLo4Vrn98P3Y2HT3X3md3DfWL8GRHAwrmNMtR/GLUx4bJK94CcES6t+DRqA0cL1zbKN9soWzHVval/qTt+9dkRwMK5jTKxsQux2pFPPeEe13KEO2XXz6J2cLRwbaNc7OwStdXhD1Pdf+xb6rbZ5bwIYOHcRtlvbO2x4XF36KAR7s+dv4zawtHCtY3yzbZa9nrPjbSf6p775n5uxU4XRgAL5zbKbNRFbZ0+fp17ycAn3FZHjnL/ueTrqC0cLVzbKLdRb8fiakfrjl7m7rBfuXuUd4B72OIREcDCuY0yG3WQa8d+6fN/rXNH/lTpzpt/iXvPcd9GbeJo4dpGuY36zTb3bPeee/NJ09w1Uw50zxlwcQSwcG6jzEad2LSJ7T7aZ707v6LS3fPBS91nT/4+ahdHC9c2ym3Ui11b9f5HK5p65jJ3TP9p7vZf/cEddfKlEcDCuY0yG3U2ZKK22x7YidZN+8l9avgCd1Kf0W7XvB+itnG0cG2j3Ea9Dbmo7ays/WjJylbkXf2e+96P09yzdu7ttvrusghg4dxGmY06GzIsC5xB7Ge+szNt/PEnt9pZ6J7918vdi4//MeoHRwvXNspt1NuQEz9nqB1ndaf101rTwj7L3Zfm3+kW7niwaw27PAJYOLdRZqPOhgzLRn3RrYfSrfB1cv4G98Z/LHRndLjS3fbHdVFfOFq4tlFuo96GnIJ81FdW1nF099/3pf3Gt6Zpf1zuFt8w3c0+qY/7zRtXRAAL5zbKbNTZkFGQZR1gHLHfDy45lHrftzM9Om6Dm9/3SXfgf690n12yPtZPS9ZbuLZRbqPehpyCvPgdp5b+/Riavn0PKvyqNf35q+XuIT9Pd+d/1cc9bKerIoCFcxtlNupsyCjIsk7U9+3Pn0b/7t2PDizpTCtP/9m9Y++n3NzLr3atiRuivnG0cG2j3Ea9DTkFeQW9qG/0AO1+zkBa16YHre7ehvabtcLNy7vbzdqrr7vw1qsjgIVzG2U26mzIKMgq6LAucCtxHK/udzrlHNuPdhzdmV7+9md3xNKn3KXH/8Wtcn6OxoGjhWsb5TbqbcgpyCvoSRy3qq4/XUQDbh1IE67uQZeObUNz7PfdP1x1t/vFS33ds3r8JQJYOLdRZqPOhoyCrIIO60ZjifxvDP1UeTqtHtmPXijvTP8bvtE9fNTT7ty+17j5pRujseBo4dpGuY16G3IK8gp6CvrRWLKy/kY/nDmCpv9xIJ1wWw9ad08bevC/77tTW93j9rz8UHds92sigIVzG2U26mzIKMgq6Cjosg2e2+nA226h3WaOoYlXnE7rp/SjLrM704zFG929Xn3anTj/GveC+bG4cLRwbaPcRr0NOQV5BT0FfQU7bA+YRo989Vfaa8IIqqoYSN2n9qDyhW3o4mNXuv88/h73g6WHuofMvyYCWDi3UWajzoaMgqyCjoKugg22BTxMHOd+L95Cmy4bQ2+9dTqtebYf/e3DzvThkF/cbw5c5F4x6Fp3rv1L7Plq/2Lh2ka5jXobcgryCnoK+gp2JM6H1bml5VSWO4EGvTaCPvtoIL35dQ8a8mMbWrxkpftl5T3uw336uZfsfm0EsHBuo8xGnQ0ZBVkFHQVdBRtsCzZd4nh79ayg29tNon0vG0srjx5Kff6vP503pAvtvscm96IPFrn9O45xK3bdFI0XRwvXNspt1NuQU5BX0FPQV7CjYC8aL+yrgybNprNOKyelJtApBSPpQHsQDTi6J91xWVuafNsqd/0hM9z/fNzPHZg9JgJYOLdRZqPOhoyCrIKOgq6CDQVbbBO2X+dnMhV0mkcfbJpB4/eZRBv6jaUvBg+lPYf2p0eu6kJnj9/kzt7rGffbO8a4/SbG4sfRwrWNchv1NuQU5BX0FPQV7CjYU7AbjR9+1JQzKun8Y+fQNweV04OdJpB10UjaYfggilzRk+7+Z1t6+fNV7uxLZrgXdOvvfjNqTASwcG6jzEadDRkFWQUdBV0FGwq2FGyybX5WE+czvm2E+nWfR9n7V5DaeRKNP3gs7afQH3/qT+9P7kI9F21y5x/7jPvR/DFu3iOxfHC0cG2j3Ea9DTkFeQU9BX0FOwr2FOwq2I/mA39q7HeLqfWLT9BP1hw6sHM5jek4gd7tN5IOGTiIel/ek9Z6bWnnbT5wO02d4bY8vL+719VjIoCFcxtlNupsyCjIKugo6CrYULClYFPBNvuAr2+J8/vuzKXUYXSEduw2j3btU0FfWJPogjFjadzEofTgvf1pSlUXOqn7r27JPc+43/cb6w7f6ddofjhauLZRbqPehpyCvIKegr6CHQV7CnYV7Cv4ieYHv+rzI5bRwB9foKMPrqSiHeZQ10PKaVa/CfTF1SPpsImD6MZFPenEjW3p/XM+cDuvnOF2ntPfHfLemAhg4dxGmY06GzIKsgo6CroKNhRsKdhUsK3gg33BZ5bH+e5fUEUPI9/IsAh9dtk8Om1EBbW/eBJdtHIsfb18KE38sD9dkVVCi4b+6nZ/8Rl36RVj3RPOjuWLo4VrG+U26m3IKcgr6CnoK9hRsKdgV8G+gh8Ff9F8oe5Ur15NWb2W0dW3LKbzr6ikkcPnkHtBOQ24eAKdtGIkzX1/EF36TU+a1amYInd94FobZ7iPvdrfvarn2Ahg4dxGmY06GzIKsgo6CroKNhRsKdhUsK3gQ8GXgk/4LvK6nl5Ni+5aS8uOrqJBE5fSMZMidGH5PDrhlgq66++TaGGnMpq8xzC6fh+LnhtQQvsu/dW9ds+Ie8aqse7c12L542jh2ka5jXobcgryCnoK+gp2FOwp2FWwr+BHwZ+CXwX/HIeDu8K7dOJ6OuLENfTYmcuo3dTF9OSkSiq5dQ6t+Ec5fXPzBLq+xyia0GkwLTyklAqGFdPqoir3uyMq3G5dLbdgwdgIYOHcRpmNOhsyCrIKOgq6CjYUbCnYVLCt4EPBl4JPBd+IIw9x7IDx0M7LW1Ho3XhNNd05eS2tu6QK420pfTAqQiePmkc9RlXQf0dPosVfj6W83GF05O4W7XZ0CT3+8a/uZ6URd+MnY90hz8TaBkcL1zbKbdTbkFOQV9BT0Fewo2BPwa6CfQU/Cv4U/Cr4V4gDMbXjuJzR37byfnk915s+ej0509fQ8hHL6MyLF9OAMZW0+vI5dPUV5fTwXybQum9G0qk7DabJdiktOquYLimocjscU+EO7Wm5j587NgJYOLdRZqPOhoyCrIKOgq6CDQVbCjYVbCv4UPCl4FPBt0IMHAti2sX7+peO3oJ7ir0Njxd6e8+qppP/tpYuu7OK7rl5Kf2KsTQTY6ndlAo6ceokOq9bGT120DCKnGBRmwtLaNcdq93vj424z7Uvc+/oWB1tLxwtXNsot1FvQ05BXkFPQV/BjoI9BbsK9hX8KPhT8KvgXyEOB/E4iIvjA3b29v+4vfdw69Ze1epc7/6319PJM9fQgJuW0fRxi6nLnZX04p1z6KLpmE8nT6CK/UfRxiMH0ymnldLGa4ppSmmVe+vICvfTQZb73QtjI4CFcxtlNupsyCjIKugo6CrYULClYFPBtoIPBV8KPhV8K8TgIBYHMXFswH4Yb3t7a2eXeNd92tEb8nyxN+TTQm/c5Gr64fa1tM/1VfTuP5fSqooILXtgHv2/igr6qmISnX90GR3152F02UiL3phQQqccVe0+MyLiRg4rc88+PNaWOFq4tlFuo96GnIK8gp6CvoIdBXsKdhXsK/hR8KfgV8G/QhwO4nEQl4P4EOveHK/T+92u3sMLO3njNrb3Lnixlbfu2Vzvx4fW06Pla+iIO5ZR/pzF1O+flXTH/XPImlFOR83EvXviKPrknMH02eWlVHl7MVUMrHI3XF/hvjLccufNGxsBLJzbKLNRZ0NGQVZBR0FXwYaCLQWbCrYVfCj4UvCp4FshBgexOIjJQWwcI2K10bYHez9338/rsWYv76aPS7yZVR29i1cWe6MXF3qnoo3PvGMtPVdeRTtOXUrP34H7+655dMz0Cjr+zklkqzIac/wwGnGuRY/+o4Qi+1a7H50fcX84uMxd2DPWxjhauLZRbqPehpyCvIKegr6CHQV7CnYV7Cv4UfCn4FfBv0IcDuJxEJeD+BzE6SBexH4wx+/0rOzlPb7bvl7vJV29ATM7eYPntffeXtLKO2pprke3rCfvxjV05m3LqP00jOXySnpr+hy6dwrWnHdOoL4DRtFOZwymXqNL6YrJxfTioCr30fEV7v9dYrmRB8ZGAAvnNsps1NmQUZBV0FHQVbChYEvBpoJtBR8KvhR8KvhWiMFBLA5ichCbgxgdxMoxI/bj0PYDvKcvQB+80tsb9HmpN+2Jvbzhb5V4y9/t6H1UVey9/2qh1/LRalrjrqVRj1fR84uWUvHCCJ3/5Dxas7CCutIkmjumjO67aRg9NN2ixx4vodLrq90e0yPuO5djzrhO5ozrqi1c2yi3UW9DTkFeQU9BX8GOgj0Fuwr2Ffwo+FPwq+BfIQ4H8TiIy0F8DuJ0EK+DuB3Ej1wGcD7A4d7Ld/X1Xmt/oPfQ6u7elW919Ta80cmbvaq999DyVt71y3O9uxespzsja+jcJ5fRs95iyltQSb8+M4ceonL6P5pAT9w0ij6+YzAdOLeUyhcU008Tqtw3n6hwl8y23GtfGxsBLJzbKLNRZ0NGQVZBR0FXwYaCLQWbCrYVfCj4UvCp4FshBgexOIjJQWwOYnQQq4OYHcTOOQBnoG9O8do/Mtib12KAN+s9y7thRW/vX4tKvZNX7OVduaLE+3ZJR2/PV4u9cS8VetlTqmnI3WtpGN8ndy2lCzAXdZw+jyoxFy2aO4leHFlG7hXD6JVbLbp/Zgm9ena1++GtEXe3c8vch86P9RGOFq5tlNuotyGnIK+gp6CvYEfBnoJdBfsKfhT8KfhV8K8Qh4N4HMTlID4HcTqI10HcDuJ3kIeDfJDbKZwfcJq37M4TvQ1PH+ON/vwwr+3Svt737/fy5r3R3fvzy129V17p5O36Wnuv5OVW3sNLcr1uM9bTirvX0AH3LaMD7llMr9xdSafPmEMPzsL6898TaN9LR9El1w+mw8pL6ekHi2lcWZV7w70Vbp9bLHff/4yNABbObZTZqLMhoyCroKOgq2BDwZaCTQXbCj4UfCn4VPCtEIODWBzE5CA2BzE6iNVBzA5id5CDg1wc5MS5ARd7bz093Ntu9jCvVYdTvIfXDPaGFw3wjlphedkf9vYuX1HqXYy+LFlV4j3w347e3auKvdPfLfR6LaimY3G/5eJ+O+jppTR/UYTaRubRkmcqaO6zk+isSWX0+Mxh9OSDFs1dUEJnT6x2h/0n4g6rKHNnXxrrSxwtXNsot1FvQ05BXkFPQV/BjoI9BbsK9hX8KPhT8KvgXyEOB/E4iMtBfA7idBCvg7gdxO8gDwf5OMjLQX4O8uR8gYu85787y/v12VO9q9ac6M16/Rjv8w8P83Z8p6+3ZE0vrwD35H1VXb173+nkdXuvvZezqpU3eWWuN99dT8d6a2iFu4zKn1lMB0YqacKCOVTmldOGFybQ23ePon3mDKbIo6W00i2mHuVVbp8XK9zLH7DcKVVjI4CFcxtlNupsyCjIKugo6CrYULClYFPBtoIPBV8KPhV8K8TgIBYHMTmIzUGMDmJ1ELOD2B3k4CAXBzk5yM1BjpwrcAPu03Heux9f6V397SjvhvuGe10fG+Y5H/7Rq1w8GOP3KO/gNyxv7+d6e2++Vepd+Rrm19dLvB5vdvR649796PVC74cZ1XTV7LX0/P1VtN3speTOjFCfWfOo878ryHlkEv14TRl5E4bRp3daVP1QCd08rtpddXfE3Rv37qn3xvobRwvXNspt1NuQU5BX0FPQV7CjYE/BroJ9BT8K/hT8KvhXiMNBPA7ichCfgzgdxOsgbgfxY8wf5SAfB3k5yM9Bng7ydZA32mActwMw3uvU8lpvyE6jvSVXXuj1mHyWd+OLp3oWnei1/uQYb9DKw7zIir7eppd6eUe83d174KWu3lOvd/IWv9HeK3q1lXcJ1s0nzVpPl9+3hnaYtYzeqVhMV8+qpMfnzqGjHy2nWxdMoFl/G0Xb3TaYjv9XKR25sJgm3oh7fBbm5hmWe+buZRHAwrmNMht1NmQUZBV0FHQVbCjYUrCpYFvBh4IvBZ8KvhVicBCLg5gcxOYgRgexOojZQewOcnCQi4OcHOTmIEcHuTrI2UHu3AbArRgTE72xH0zwPm93gzfnzjLP+/JKz3tplPfJa8O9F74d5g2s+qN3+HuDvX2WH+VVvmZ5Fat6e8vfK/Umvb+XN/P9Em+nZR297VcUe9e8X+j95clqeuOJtfT9gioa9+RSuuvJCL1O82j75yrolZcm0W0zyqjPo8Pob5UWtXZLaPJ0jI+FEXfWg2XuA3fFxgeOFq5tlNuotyGnIK+gp6CvYEfBnoJdBfsKfhT8KfhV8K8Qh4N4HMTlID4HcTqI10HcDuJ3kIeDfBzk5SA/B3k6yNdB3g7yd9AODtoDbTOR2wf4h3d/5Y3eTSuv8/7U+lpvxsLLvDN/vNDrt/gs7/O3TvXO+ehE78NPj/GefPswb+lHfb157/Ty8lZ198Yv7eo9tqKTN/KD9t4zeJ4fg7lj0cPr6bKFa6j3gmV0x1OLqY9bST2fnUPZr5STtWQCzb1/FB07fzC9vaiU9ni1mP50f5V74vMVbsenLTf772URwMK5jTIbdTZkFGQVdBR0FWwo2FKwqWBbwYeCLwWfCr4VYnAQi4OYHMTmIEYHsTqI2UHsDnJwkIuDnBzk5iBHB7k6yNlB7g7awEFbcJs4hpVrfuZnfuZnfuZnfuZnfuZnfubXeH/MHY3xSMcxX9Nm7ihzSJknGuOHxrijMR5pTIa5o8wh9cswdzTGI43JMHeUOaTMJY1xSGO80RiHNMYN1XxQ5o0yf5S5o8wlZb6m8DOjvNEYh/S3OswbZf4oc0eZS+rXYd5ojEMa45NqDinzRpk/ytxR5pL6dZgzGuOPau7mFl4pc0mZN8r8UeaOMpfUr8ucUeaPMo80xh2N6WpbzBtl/ihzR5lLypxS4ZBGOaPMH2XeKHNJg7rMGWXuKPNGmUeqOaU+DmmUM8r8UeaNMpdU80o1h5Q5o8wdZd4o80g1p3QLhzTGF2XuKHNGmUe6hTO6hV/KXFLmjDJ3lHmjzCNl7ihzStmmtsV8UeaOMmeUeaRBW8wvZS4pc0aZO8q8UeaRMneUOaXMLY1xSGN8UeaOMmeUeaTMJ2XuqOaXag4p80WZN8qcUeaQMm+U+aSaW7qFQxrjizJ3lDmjzCNl3ihzSjW/VHNImS/KvFHmjDKHlHmjzCfV3NItHNIYV5R5o8wXZQ4pc0aZT6o5o36eKXNJmS/KvFHmjDKHlHmjzCdl7ihzS5ljyhzSIF+UOaTMGWU+KfNKmTuqeaaaQ+rnizJ/lDmjzCVl3ijzSjXHVHNIg1xR5o8yX5S5pMwpZd6o5oz6+abMJfXzRZk/ypxR5pIyb5R5pZpjqjmkQa4o80eZL8pcUuaMMq90C2d0C9+UuaR+rihzR5kvyjxS5owyp5S5pcwd1VxTzSEN8kSZO8pcUeaRMl+UOaVBnmmQQ+rnijJ3lPmizCNlzihzSpk3yvxSzTXdwiHdzBGNckY1V5R5pMwXZU4pc0uZN7qFM7qFd8pcUh9P1NVcUeaQMl+U+aTMGWVuKXNMmTuqOadbOKSb+aFRvqjmiTKHlLmizCdlvihzS4N80yCH1McTdTVXlDmkzBdlPilzRplbyrxR5plqzukWDulmfmiULyo8UVdzRZlPynxR5pYG+aZBDqmPI+oKT9TVXFHmkjJflHmlzBlljilzTZk7qrmnWzikWVmaJ+rjiLqaJ8pcUuaKMq+U+aXMGQ3yToMcUh8/1BWOqCs8UVdzRZlTynxR5pcyz5R5o1s4o1s4qMwl5Rg1R9THD3WFI+pqnihzSplbKnxR5pr+jn8a5JAKNzTKE/VxRKP8UeGKkuaLMr+UeabMG9WcUT8HlbmkHKvmh/q4oa7wQ13hiJLwREm4oiR8UQrjjAZ5qQk4oq7wREm4oqT5oswzZb4p80Y1Z9TPRWUuaRgvVHNGffxQEo4oCU+UhCtKwhelMM5okJ+agB/qCkeUhCdKwhUl4YuScEaZe7qZM+rnpDKXNIwTqvmiPm4oCT+UhCNKwhMlzRVl3mkYHzWMQ5qAG+oKP5SEI0rCEyXhipLwRZl3+jsuapBDGsYH1VxRHy+UhBtKwg8l4YiS8ERJc0WZfxrGSw3jkMbhhEb5oswN1RxSH0eUhCdKwhUl4Ysy//R3nNQghzTIA/VzRDUnVPNHfdxQEn4oCUeUhCdKwhVlHupmjmgYT9XPJQ3yQf1c0QA3lIQfSsIRJeGJknBFSfiizENVQW5qkEMa5ID6+aGaD6q5oz5eKAk3lIQfSsIRJeGJMgc1Lj81Hoc0yAPV/NAAHzTKHWVeqOaT+vihJBxREp4oaa4oc1HDOKphHFI/99PPCQ3hgUZ5o8wH1VzSAC80yjMVfigJR5R5qMrPS03EGQ3yWf38zyA3NMAHJR8nNMonZW6o5pgGOKJR/ilzReNxVONxSJn3yZxPPxeU2y7IAfXzRjUfVHNKfbxQ8nFDo9xT4YiS8ESZm6ri8VbjcUg17zPIBw3yQDVvNMAHjXJKmReqeaY+fihpjihzUYUnGuWmMl80jLsaxiFlnmc8DmiQ/6k5owEeaJRPKnxQ8nFCo5xT4YaS5ocyJ5W5qcwT1ZzQRDzWMC4p8z3DeKBhHFA/d9THByUfJzTKMxVuKPn4oVEuqvBESbiixHxRzREN47L6uaSp8D79fFE/B1TzSQNc0CjXVDihzD9Vmovq44dSMhzRmniuqfI/NW9U80A1nzTAB41yTYUXSj5uaJSPKhxREp4o81XjclnjcUhT4Xv6eaJ+7qfmkWoOqOaXBrigUe6pcEJJeKHE3FDNU9Uc0Zp4rTVxSJPlfAa5okEOqOaUai6o5poGOKFRHqpwQ0n4oZ5wRJmzmoAjGp/rytzSZDmeQW6on/Pp55D6+Z+aY6p5oJp7qvmgmpPq44V6wg1l3qqPA1ozzzURlzRZnmeQHxrkfWoeqeZ/an6p5oFu5p0KH1TzUX28UOapOpqzqjmiNXFca+KQJsPtDPJBw7iefv6o5n36+aV+Dqjmn/q4oJ6PDxrlqfp4oVH+KvNDk+G7JsMhTYbbGcYJDfI9/RxSP/dTc0w1B1RzT31cUM/HB41yVH280Ch3lfmhyXBdk+GQJuJyxuN/xuN4+rmjQb6nn2OquZ9+DmqAB8ocVcfPWQ3wQpnTmjT/NVkOaU18zjAOaBjH088bDfI9/fxSzf3U3FM/B9TPTdV8UM1b9fFCmc+aNPc1WQ6pn7/p527G43vyuInH6wxyRoM8Tz+/NMj59PNQNf9Tc1Q1D1RzVzUfVHNaNS90C+czeV5sMlzSeBzORLzPRPxOP3fUz/X080uDvE8/D1VzQDVHVXNB/fzVAC+U+a1Jc2ENh9T8zM/8zM/8zM/8zM/8zM/8zK9p//4/SjXMXQ=="  # noqa: E501
_numbers = np.frombuffer(zlib.decompress(b64decode(SYMBOL_TABLES)), "<i4").astype(np.int64)
COSTS, LOSSES = _numbers[:94].reshape(2, 47)
_spans, _factors, _shifts, SYMBOLS, SIDES, _rare, _levels = _numbers[94:].reshape(7, -1)
_slots = np.arange(len(_spans)).repeat(_spans).reshape(188, 4096)
_before = np.arange(188 * 4096).reshape(188, 4096) - (_spans.cumsum() - _spans)[_slots]
_before[94:] = 0  # of prefix codes, whose first bit is the lowest one of a slot
_slots[94:] = _slots[94:, [int(f"{slot:012b}"[::-1], 2) for slot in range(4096)]]
_actions = _levels << 32 | _rare << 30 | (SYMBOLS & 1) << 29 | _factors << 4 | _shifts
ENTRIES, PACKED = _slots.ravel(), (_actions[_slots] | _before << 17).ravel()
