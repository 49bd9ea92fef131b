"""What every reader tells of a checkpoint: where each tensor lies, without reading it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import BinaryIO

from embcompress.exceptions import DamagedFileError

ITEM_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "bool": 1,
        "uint8": 1,
        "int8": 1,
        "float8_e4m3fn": 1,
        "float8_e5m2": 1,
        "float8_e8m0fnu": 1,
        "int16": 2,
        "uint16": 2,
        "float16": 2,
        "bfloat16": 2,
        "int32": 4,
        "uint32": 4,
        "float32": 4,
        "int64": 8,
        "uint64": 8,
        "float64": 8,
        "complex64": 8,
        "complex128": 16,
    }
)  # bytes of one element, by torch's name of the dtype

PIECE_BYTES = 4 * 2**20  # of one read of a tensor that lies in one piece
EXPANDED_BYTES_MAX = 64 * 2**20  # a broadcast buffer may be larger than its storage, but not without limit


@dataclass(frozen=True)
class StoredTensor:
    """One named tensor of a checkpoint, as a place in a file.

    Attributes:
        name: as the checkpoint's state dict names it.
        dtype: torch's name of it, a key of ITEM_BYTES; of an opaque tensor the file's own name.
        shape: sizes of the axes.
        strides: step of each axis, in elements, never negative.
        start: position in the file of the element at index zero, in bytes.
        opaque_bytes: its size, where the dtype is one that is not read: such a tensor is copied as bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int
    opaque_bytes: int | None = None

    @property
    def numel(self) -> int:
        """Count the elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Count the bytes of the dense tensor."""
        return self.numel * ITEM_BYTES[self.dtype] if self.opaque_bytes is None else self.opaque_bytes

    @property
    def place(self) -> tuple[int, str, tuple[int, ...], tuple[int, ...]]:
        """Identify the memory: tensors of equal place are one tensor under several names."""
        return self.start, self.dtype, self.shape, self.strides


@dataclass(frozen=True)
class LeftOut:
    """An entry of a checkpoint that no safetensors file can hold, and why.

    Attributes:
        hint: how to get a tensor out of it that is read; empty where it is none.
    """

    name: str
    reason: str
    hint: str = ""


Plain = bool | int | float | str | tuple["Plain", ...] | None  # what an attribute may say of itself


@dataclass(frozen=True)
class Named:
    """A function or class that an attribute of a pickled module names, never the thing itself.

    Attributes:
        name: with its module: "torch.nn.functional.normalize"; of an object that of its class.
        keywords: arguments bound to the function; None where they are not known, or it is an object.
    """

    name: str
    keywords: Mapping[str, Plain] | None = field(default_factory=dict)


@dataclass(frozen=True)
class ToldModule:
    """What a pickled module says of itself besides its tensors.

    Attributes:
        class_name: with its module: "pykeen.nn.modules.TransEInteraction".
        values: its attributes that are numbers, texts, booleans, None, or tuples of these.
        names: its other attributes, by what they are.
    """

    class_name: str
    values: Mapping[str, Plain] = field(default_factory=dict)
    names: Mapping[str, Named] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """What a reader found: the tensors in the order of the file, what is not one, and the file's own metadata.

    Attributes:
        row_shapes: the shape of a row by the name of its table, where a module tells it and the tensor is flat.
        graph_model: what a pickled knowledge-graph model of PyKEEN says of itself, by the path of each module in it;
            empty for anything else.
        loading: an expression of Python that loads its state dict, for hints.
        is_flat: whether the names are the keys of that state dict, and not joined of several.
    """

    tensors: tuple[StoredTensor, ...]
    left_out: tuple[LeftOut, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    row_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    graph_model: Mapping[str, ToldModule] = field(default_factory=dict)
    loading: str = ""
    is_flat: bool = True

    @property
    def loading_by_names(self) -> str:
        """The expression that loads the state dict by the names of its tensors; empty where there is none."""
        return self.loading if self.is_flat else ""


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Compute the row-major strides, in elements, of a dense tensor of this shape."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def read_exactly(file: BinaryIO, start: int, nbytes: int) -> bytes:
    """Read `nbytes` at `start`, without moving the file's position.

    Raises:
        DamagedFileError: the file ends before.
    """
    buffer = bytearray(nbytes)
    read_into(file, start, memoryview(buffer))
    return bytes(buffer)


def read_into(file: BinaryIO, start: int, buffer: memoryview) -> None:
    """Fill `buffer` from `start`, without moving the file's position.

    Reads by pread: a file that is cut while it is mapped kills the process by SIGBUS, here it raises.

    Raises:
        DamagedFileError: the file ends before the buffer is full.
    """
    done = 0
    while done < len(buffer):
        count = os.preadv(file.fileno(), [buffer[done:]], start + done)
        if count == 0:
            raise DamagedFileError(
                f"{file.name} ends at byte {start + done}, where {len(buffer) - done} more were expected: "
                "the file is cut short.",
                hint="Copy or download it again.",
            )
        done += count


def is_contiguous(stored: StoredTensor) -> bool:
    """Tell whether a tensor's elements lie in one piece, row-major."""
    expected = 1
    for size, step in zip(reversed(stored.shape), reversed(stored.strides), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def contiguous_bytes(stored: StoredTensor, *, file: BinaryIO) -> Iterator[memoryview]:
    """Yield the bytes of a contiguous tensor, bit for bit, in pieces that are valid until the next."""
    buffer = memoryview(bytearray(min(PIECE_BYTES, stored.nbytes)))
    for position in range(0, stored.nbytes, PIECE_BYTES):
        piece = buffer[: min(len(buffer), stored.nbytes - position)]
        read_into(file, stored.start + position, piece)
        yield piece
