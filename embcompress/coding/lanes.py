"""A step of the decoder for LANES rows at once, in vector instructions that numba does not write of itself.

What is known of each row stands in arrays of one number a lane. Tables are read by gathers: an array of addresses.
Compiled for a processor without them, a gather becomes a load for each lane.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from embcompress.coding.symbols import ENTRY_BITS, SLOT_BITS
from embcompress.coding.write_kernels import UNIT_BITS

LANES = 16
# The code of a step: the number of a pair of tables, and raw bits above it.
PAIR_BITS = 9
# Bits of an entry, beside the sum of frequencies before it (0..11), a factor (16..27) and a shift (28..31).
ADDS_SLOT, IS_ESCAPE, IS_ODD, HAS_REST = 12, 13, 14, 15
FACTOR_SHIFT, SHIFT_SHIFT = 16, 28

_BYTE, _INT, _LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VECTOR, _LONGS = ir.VectorType(_INT, LANES), ir.VectorType(_LONG, LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)
# Bits of `kept`, above the index of the entry (0..8) and beside HAS_REST: the set of the symbol, and whether the table
# took it as odd.
KEPT_SET, KEPT_ODD = 9, 10
# The arguments of `step_alike` and `step_mixed`, by number.
(
    STATES, PLACES, PATHS, ENDS, STEPS, FACTORS, KEPT, CODES, STEP_CODES, COLUMNS, SLOTS, ENTRIES, TILE, LANE, CODE, AT,
    STRIDE, FORWARD, BACK,
) = range(19)  # fmt: skip


def _all(number: int, kind: Any = _VECTOR) -> Any:
    return ir.Constant(kind, [number] * LANES)


class _Lanes:
    """Vector instructions on the arrays of one call."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Any) -> None:
        # Elements are addressed as if they followed each other.
        assert all(kind.layout == "C" for kind in signature.args if isinstance(kind, types.Array))
        self.builder = builder
        self.pointers = [
            context.make_array(kind)(context, builder, value=value).data if isinstance(kind, types.Array) else None
            for kind, value in zip(signature.args, values, strict=True)
        ]

    def load(self, array: int, first: Any, kind: Any = _VECTOR) -> Any:
        """Load elements of an array that follow each other, one a lane."""
        place = self.builder.gep(self.pointers[array], [first])
        loaded = self.builder.load(self.builder.bitcast(place, kind.as_pointer()))
        loaded.align = 4
        return loaded

    def store(self, values: Any, array: int, first: Any) -> None:
        """Store what the lanes hold behind each other."""
        place = self.builder.gep(self.pointers[array], [first])
        self.builder.store(values, self.builder.bitcast(place, values.type.as_pointer())).align = 4

    def spread(self, number: Any, kind: Any = _VECTOR) -> Any:
        """Give all lanes one number."""
        empty = ir.Constant(kind, ir.Undefined)
        return self.builder.shuffle_vector(self.builder.insert_element(empty, number, _INT(0)), empty, _all(0))

    def gather(self, array: int, offsets: Any, *, mask: Any = None, kind: Any = _VECTOR) -> Any:
        """Load four or eight bytes a lane, at bytes of an array, below 2^31; zeros where a mask is off."""
        # Addressed as a base and offsets of 32 bits: of addresses of 64 bits an instruction takes half as many.
        places = self.builder.gep(self.pointers[array], [offsets], source_etype=_BYTE)
        places.type = ir.VectorType(_BYTE.as_pointer(), LANES)
        function = self._function(
            f"llvm.masked.gather.v{LANES}i{kind.element.width}.v{LANES}p0",
            ir.FunctionType(kind, [places.type, _INT, _MASK, kind]),
        )
        mask = _all(1, _MASK) if mask is None else mask
        return self.builder.call(function, [places, _INT(1), mask, _all(0, kind)])

    def scatter(self, values: Any, array: int, offsets: Any) -> None:
        """Store four bytes a lane, at bytes of an array."""
        places = self._addresses(array, offsets)
        kind = ir.FunctionType(ir.VoidType(), [_VECTOR, places.type, _INT, _MASK])
        function = self._function(f"llvm.masked.scatter.v{LANES}i32.v{LANES}p0", kind)
        self.builder.call(function, [values, places, _INT(4), _all(1, _MASK)])

    def _function(self, name: str, kind: Any) -> Any:
        return cgutils.get_or_insert_function(self.builder.module, kind, name)  # type: ignore[no-untyped-call]

    def _addresses(self, array: int, offsets: Any) -> Any:
        base = self.spread(self.builder.ptrtoint(self.pointers[array], _LONG), _LONGS)
        return self.builder.inttoptr(self.builder.add(base, offsets), ir.VectorType(_INT.as_pointer(), LANES))

    def cut(self, values: Any, first: int, count: int) -> Any:
        """Cut bits out of numbers."""
        above = self.builder.lshr(values, _all(first)) if first else values
        return self.builder.and_(above, _all((1 << count) - 1))

    def join(self, high: Any, bits: int, low: Any) -> Any:
        """Put numbers above others that have so many bits."""
        return self.builder.or_(self.builder.shl(high, _all(bits)), low)

    def read_unit(self, state: Any, place: Any, end: Any) -> tuple[Any, Any]:
        """Read a unit into each state that lacks one, and go on behind it."""
        builder = self.builder
        is_low = builder.icmp_unsigned("<", state, _all(1 << UNIT_BITS))
        lacks = builder.and_(is_low, builder.icmp_unsigned("!=", place, end))
        unit = self.gather(CODES, place, mask=lacks)
        filled = self.join(state, UNIT_BITS, self.cut(unit, 0, UNIT_BITS))
        moved = builder.add(place, _all(UNIT_BITS // 8))
        return builder.select(lacks, filled, state), builder.select(lacks, moved, place)

    def spread_bit(self, bits: Any) -> Any:
        """Make numbers of which all bits are one of numbers that are 1, none of those that are 0."""
        return self.builder.sub(_all(0), bits)

    def has_any(self, values: Any, bit: int) -> Any:
        """Return whether the number of any lane has a bit."""
        is_set = self.builder.icmp_unsigned("!=", self.cut(values, bit, 1), _all(0))
        lanes = self.builder.bitcast(is_set, ir.IntType(LANES))
        return self.builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, 0))


def _write_step(lanes: _Lanes, values: Any, *, is_alike: bool, is_raw: bool) -> Any:
    """Write the instructions of a step.

    Args:
        lanes: what they are written with.
        values: the arguments.
        is_alike: whether the next symbols of all rows have one code, or one each.
        is_raw: whether raw bits are decoded here, of rows that are alike.
    """
    builder, lane, code = lanes.builder, values[LANE], lanes.spread(values[CODE])
    state, place, path, end = (lanes.load(array, lane) for array in (STATES, PLACES, PATHS, ENDS))
    if not is_alike:
        place_of_step = builder.shl(builder.add(lanes.load(STEPS, lane), code), _all(2))
        code = lanes.gather(STEP_CODES, place_of_step)
    own_set, slot = lanes.cut(path, 0, 1), lanes.cut(state, 0, SLOT_BITS)
    table = builder.add(lanes.cut(code, 0, PAIR_BITS), own_set)
    index = lanes.cut(lanes.gather(SLOTS, lanes.join(table, SLOT_BITS, slot)), 0, 8)
    # The level of an entry stands behind it: one load for both.
    both = lanes.gather(ENTRIES, builder.shl(lanes.join(table, ENTRY_BITS, index), _all(3)), kind=_LONGS)
    entry, level = builder.trunc(both, _VECTOR), builder.trunc(builder.lshr(both, _all(32, _LONGS)), _VECTOR)
    number = None if is_raw else builder.bitcast(level, _FLOATS)
    # One formula for both codes: factor * (state >> shift) + (slot or 0) - the frequencies before.
    own_slot = builder.and_(slot, lanes.spread_bit(lanes.cut(entry, ADDS_SLOT, 1)))
    shifted = builder.lshr(state, builder.lshr(entry, _all(SHIFT_SHIFT)))
    product = builder.mul(lanes.cut(entry, FACTOR_SHIFT, SLOT_BITS), shifted)
    state = builder.add(product, builder.sub(own_slot, lanes.cut(entry, 0, SLOT_BITS)))
    state, place = lanes.read_unit(state, place, end)
    odd, rest = lanes.cut(entry, IS_ODD, 1), lanes.cut(entry, HAS_REST, 1)
    if is_raw:
        # Where there are raw bits the levels' bits are those of the symbol above them. Escapes come first: another's.
        raw, rest = builder.lshr(code, _all(PAIR_BITS)), lanes.cut(entry, IS_ESCAPE, 1)
        low = builder.and_(state, builder.sub(builder.shl(_all(1), raw), _all(1)))
        after_raw = lanes.read_unit(builder.lshr(state, raw), place, end)
        is_whole = builder.icmp_unsigned("==", rest, _all(0))
        state, place = (
            builder.select(is_whole, one, other) for one, other in zip(after_raw, (state, place), strict=True)
        )
        symbol, odd = builder.or_(builder.shl(level, raw), low), lanes.cut(low, 0, 1)
        number = builder.sitofp(lanes.join(symbol, 1, own_set), _FLOATS)
    # Trellis.taps
    added = builder.xor(
        builder.and_(lanes.spread(values[FORWARD]), lanes.spread_bit(odd)),
        builder.and_(lanes.spread(values[BACK]), lanes.spread_bit(own_set)),
    )
    path = builder.xor(builder.lshr(path, _all(1)), added)
    kept = index
    for bit, bits in ((KEPT_SET, own_set), (KEPT_ODD, odd), (HAS_REST, rest)):
        kept = builder.or_(kept, builder.shl(bits, _all(bit)))
    for array, numbers in ((STATES, state), (PLACES, place), (PATHS, path), (KEPT, kept)):
        lanes.store(numbers, array, lane)
    first, number = builder.add(values[AT], lane), builder.fmul(number, lanes.load(FACTORS, lane, _FLOATS))
    if is_alike:
        lanes.store(number, TILE, first)
    else:
        columns = builder.zext(lanes.gather(COLUMNS, place_of_step), _LONGS)
        in_tile = builder.add(
            builder.mul(columns, lanes.spread(values[STRIDE], _LONGS)),
            builder.add(ir.Constant(_LONGS, list(range(LANES))), lanes.spread(first, _LONGS)),
        )
        lanes.scatter(builder.bitcast(number, _VECTOR), TILE, builder.shl(in_tile, _all(2, _LONGS)))
    return lanes.has_any(kept, HAS_REST)


def _make_step(*, is_alike: bool, is_raw: bool = False) -> Any:
    # numba reads the number of arguments off the signature, so that each has a name.
    def step(  # type: ignore[no-untyped-def]
        _, states, places, paths, ends, steps, factors, kept, codes, step_codes, columns, slots, entries, tile, _lane,
        _code, _at, _stride, _forward, _back,
    ):  # fmt: skip
        arguments = (
            states, places, paths, ends, steps, factors, kept, codes, step_codes, columns, slots, entries, tile,
            types.int64, types.uint32, types.int64, types.int64, types.uint32, types.uint32,
        )  # fmt: skip

        def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return _write_step(_Lanes(context, builder, signature, values), values, is_alike=is_alike, is_raw=is_raw)

        return types.boolean(*arguments), write

    return intrinsic(step)


step_alike, step_mixed = _make_step(is_alike=True), _make_step(is_alike=False)
step_raw = _make_step(is_alike=True, is_raw=True)

# The arguments of `write_rows`, by number.
(
    _NUMBERS, _TARGETS, _SCALES, _CENTERS, _CENTER_PLACES, _ROWS, _FIRST_LANE, _FIRST_COLUMN, _LANES_WIDTH, _ROW_WIDTH,
) = range(10)  # fmt: skip


def _write_rows(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Write the instructions that turn LANES columns of LANES lanes into parts of rows, times their factors."""
    lanes = _Lanes(context, builder, signature, values)
    lane, column = values[_FIRST_LANE], values[_FIRST_COLUMN]

    def place_of(number: int) -> Any:
        columns = builder.mul(builder.add(column, _LONG(number)), values[_LANES_WIDTH])
        return builder.add(columns, lane)

    vectors = [lanes.load(_NUMBERS, place_of(number), _FLOATS) for number in range(LANES)]
    # Perfect shuffles: after log2(LANES) rounds vector i holds what element i of each held.
    half = LANES // 2
    low = ir.Constant(_VECTOR, [number // 2 + LANES * (number % 2) for number in range(LANES)])
    high = ir.Constant(_VECTOR, [half + number // 2 + LANES * (number % 2) for number in range(LANES)])
    for _ in range(LANES.bit_length() - 1):
        pairs = zip(vectors[:half], vectors[half:], strict=True)
        vectors = [builder.shuffle_vector(one, two, mask) for one, two in pairs for mask in (low, high)]
    scales = lanes.load(_SCALES, column, _FLOATS)
    for number, vector in enumerate(vectors):
        place = builder.add(lane, _LONG(number))
        target, center = (
            builder.load(builder.gep(lanes.pointers[array], [place])) for array in (_TARGETS, _CENTER_PLACES)
        )
        product = builder.fmul(vector, scales)
        product = builder.fadd(product, lanes.load(_CENTERS, builder.add(center, column), _FLOATS))
        lanes.store(product, _ROWS, builder.add(builder.mul(target, values[_ROW_WIDTH]), column))
    return context.get_dummy_value()


def _type_rows(  # type: ignore[no-untyped-def]
    _, numbers, targets, scales, centers, center_places, rows, _lane, _column, _lanes_width, _row_width
):
    """Write LANES numbers of each of LANES rows, times the factors of columns, where they belong.

    Args:
        _: numba's.
        numbers: float32, column by column, `lanes_width` apart.
        targets: int64, the row of each lane.
        scales: float32, of each column.
        centers: float32, profile by profile, which are added.
        center_places: int64, where in them each lane's begins.
        rows: float32, row by row, `row_width` apart; written.
        _lane: the first.
        _column: the first.
        _lanes_width: numbers between two columns in `numbers`.
        _row_width: numbers between two rows in `rows`.
    """
    return types.void(numbers, targets, scales, centers, center_places, rows, *[types.int64] * 4), _write_rows


write_rows: Any = intrinsic(_type_rows)


def _write_copy(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    lanes = _Lanes(context, builder, signature, values)
    source, target = builder.gep(lanes.pointers[0], [values[1]]), builder.gep(lanes.pointers[2], [values[3]])
    cgutils.raw_memcpy(builder, target, source, values[4], 1)  # type: ignore[no-untyped-call]
    return context.get_dummy_value()


def _type_copy(_, source, _first, target, _place, _count):  # type: ignore[no-untyped-def]
    """Copy bytes from a place of an array to a place of another: a slice would be checked and counted."""
    return types.void(source, types.int64, target, types.int64, types.int64), _write_copy


copy_bytes: Any = intrinsic(_type_copy)
