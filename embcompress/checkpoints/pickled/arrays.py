"""NumPy arrays in a pickle: their dtype and shape, and where their bytes lie."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from embcompress.checkpoints.pickled.records import Global, Inert, QuantizedReference, Span, TensorReference
from embcompress.checkpoints.tensors import ITEM_BYTES, contiguous_strides, is_sizes

DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "b1": "bool",
        "i1": "int8",
        "u1": "uint8",
        "i2": "int16",
        "u2": "uint16",
        "i4": "int32",
        "u4": "uint32",
        "i8": "int64",
        "u8": "uint64",
        "f2": "float16",
        "f4": "float32",
        "f8": "float64",
        "c8": "complex64",
    }
)  # NumPy's kind and size -> torch's name
# Of ml_dtypes, by which arrays of JAX have them.
NARROW_FLOATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu")
OBJECTS = "an array of Python objects, which only running the pickle could make"


@dataclass(frozen=True, eq=False, slots=True)
class ArrayReference:
    """A dense array, whose bytes lie in the pickle.

    Attributes:
        content: its bytes; of short ones of protocol 2, a character for each.
        shape: sizes of the axes.
        strides: step of each axis, in elements.
        dtype: torch's name of the dtype.
        is_big_endian: whether the bytes of an element begin with the highest.
    """

    content: Span | str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    is_big_endian: bool = False

    @property
    def nbytes(self) -> int:
        """Count the bytes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


Reference = TensorReference | QuantizedReference | ArrayReference


class UnreadArrayError(ValueError):
    """An array that is not read, in words that say what it is."""


class UntrueArrayError(UnreadArrayError):
    """An array whose bytes are not as many as its shape says."""


def is_array(value: object) -> bool:
    """Tell whether this stands in for a NumPy array."""
    if not isinstance(value, Inert) or value.origin.module.partition(".")[0] != "numpy":
        return False
    return value.origin.qualname in {"_reconstruct", "_frombuffer", "ndarray"}


def reference_of(node: object) -> Reference | None:
    """Read where a tensor or an array lies; None where it is neither, or one that is not read."""
    if isinstance(node, (TensorReference, QuantizedReference)):
        return node
    try:
        return read_array(node) if isinstance(node, Inert) and is_array(node) else None
    except UnreadArrayError:
        return None


def scalar_of(node: object) -> int | str | None:
    """Read an integer or a text of NumPy; None of anything else."""
    match node:
        case Inert(
            origin=Global(qualname="scalar") as origin,
            args=(Inert(origin=Global(module="numpy", qualname="dtype"), args=(str(code), *_)) as dtype, content),
        ) if origin.module.startswith("numpy."):
            state = dtype.raw_state
            is_big_endian = isinstance(state, tuple) and len(state) > 1 and state[1] == ">"
            try:
                raw = _raw_bytes(content)
                if re.fullmatch(r"[iu][1248]", code) and len(raw) == int(code[1:]):
                    return int.from_bytes(raw, "big" if is_big_endian else "little", signed=code[0] == "i")
                if re.fullmatch(r"U\d{1,4}", code) and len(raw) == 4 * int(code[1:]):
                    return raw.decode("utf-32-be" if is_big_endian else "utf-32-le").rstrip("\0")
            except (UnreadArrayError, UnicodeError):
                return None
    return None


def _raw_bytes(content: object) -> bytes:
    raw = unwrap_bytes(content)
    return raw.content if isinstance(raw, Span) else raw.encode("latin-1")


def read_array(array: Inert) -> ArrayReference:
    """Read what a pickle says of an array.

    Raises:
        UnreadArrayError: of objects, of texts or of another dtype that no tensor has; UntrueArrayError if its bytes are
            not as many as its shape says.
    """
    if array.origin.qualname == "_frombuffer":
        content, dtype, shape, order = _parts(array.args, at_least=4)
    else:
        _, shape, dtype, is_fortran, content = _parts(array.raw_state, at_least=5)
        order = "F" if is_fortran is True else "C"
    name, is_big_endian = _read_dtype(dtype)
    if not isinstance(shape, tuple) or not is_sizes(shape):
        raise UnreadArrayError("an array without a shape")
    axes = array.args[4] if order == "K" and len(array.args) > 4 else None
    raw = unwrap_bytes(content)
    strides = _strides(shape, order=order, axes=axes)
    if order == "K" and isinstance(axes, tuple):
        shape = tuple(shape[axis] for axis in axes)
    reference = ArrayReference(raw, shape, strides, name, is_big_endian)
    nbytes, wanted = raw.nbytes if isinstance(raw, Span) else len(raw), reference.nbytes
    is_encoded = isinstance(raw, Span) and raw.is_text  # in one or two bytes each
    if not (wanted <= nbytes <= 2 * wanted if is_encoded else nbytes == wanted):
        raise UntrueArrayError(f"an array of {name} of shape {shape} with {nbytes} bytes instead of {wanted}")
    return reference


def _parts(value: object, *, at_least: int) -> tuple[object, ...]:
    if not isinstance(value, tuple) or len(value) < at_least:
        raise UnreadArrayError("an array that does not say how it is made")
    return value[:at_least]


def unwrap_bytes(content: object) -> Span | str:
    """Find the bytes of an array: protocol 2 of Python 3 writes them as a text that is to be encoded in Latin-1."""
    match content:
        case Inert(origin=Global(module="_codecs", qualname="encode"), args=((Span() | str()) as text, "latin1")):
            return text
        case Inert(origin=Global(qualname="bytes" | "bytearray"), args=()):
            return ""
        case list():
            raise UnreadArrayError(OBJECTS)
        case Span(is_text=False) | str():
            return content
    raise UnreadArrayError("an array whose bytes are elsewhere")


def _read_dtype(dtype: object) -> tuple[str, bool]:
    """Read torch's name of a NumPy dtype, and whether its elements begin with the highest byte."""
    match dtype:
        case Inert(origin=Global(module="numpy", qualname="dtype"), args=(str(code), *_), raw_state=state):
            order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
            if code in DTYPES:
                return DTYPES[code], order == ">"
            kinds = {"O": OBJECTS, "U": "an array of texts", "S": "an array of texts", "V": "an array of records"}
            raise UnreadArrayError(kinds.get(code[:1], f"an array of dtype {code[:20]}, which no tensor has"))
        case Inert(origin=Global(module="numpy", qualname="dtype"), args=(Global(module="ml_dtypes") as kind, *_)):
            if kind.qualname in NARROW_FLOATS:
                return kind.qualname, False
            raise UnreadArrayError(f"an array of dtype {kind.qualname[:40]}, which is not read")
    raise UnreadArrayError("an array without a dtype that is read")


def _strides(shape: tuple[int, ...], *, order: object, axes: object) -> tuple[int, ...]:
    """Compute the steps of an array that is stored row by row, column by column, or with its axes in another order."""
    if order == "F":
        return contiguous_strides(shape[::-1])[::-1]
    if order == "K" and axes is not None:
        if not isinstance(axes, tuple) or sorted(map(repr, axes)) != sorted(map(repr, range(len(shape)))):
            raise UnreadArrayError("an array whose axes are in no order")
        dense = contiguous_strides(shape)
        return tuple(dense[axis] for axis in axes)
    return contiguous_strides(shape)
