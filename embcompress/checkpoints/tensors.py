"""The tensors of a checkpoint as every reader lists them: where each lies, without its values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from embcompress.checkpoints.files import Files

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

PART_BYTES = 4 * 2**20  # of one read of a tensor whose elements follow each other
INTEGER_MAX = 2**63 - 1  # sizes, strides and offsets are int64 in torch
# Axes of a tensor: the limit of numpy, and of torch's operations. The product of a million sizes would take for ever.
DIMS_MAX = 64
EXPANDED_BYTES_MAX = 64 * 2**20  # a broadcast buffer may be larger than its storage, but not without limit


@dataclass(frozen=True)
class StoredTensor:
    """One named tensor of a checkpoint, as a place in a file.

    Attributes:
        name: as the checkpoint's state dict names it.
        dtype: torch's name of it, a key of ITEM_BYTES; of an opaque tensor the file's own name.
        shape: sizes of the axes.
        strides: step of each axis, in elements, never negative.
        start: address of the element at index zero, in bytes, as `Files` counts.
        opaque_bytes: its size, where the dtype is one that is not read: such a tensor is copied as bytes.
        is_big_endian: whether the bytes of an element begin with the highest.
        pieces: what it is put together of, ordered by row and column; it then lies nowhere itself, and its strides are
            those of a dense tensor.
        has_named_pieces: whether the state dict of its model has the pieces, each under its own name.
        code_bytes: that the checkpoint takes for the codes that its values are made of; None: it holds the values.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int
    opaque_bytes: int | None = None
    is_big_endian: bool = False
    pieces: tuple[Piece, ...] = ()
    has_named_pieces: bool = False
    code_bytes: int | None = None

    @property
    def numel(self) -> int:
        """Count the elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Count the bytes of the dense tensor."""
        return self.numel * ITEM_BYTES[self.dtype] if self.opaque_bytes is None else self.opaque_bytes

    @property
    def stored_bytes(self) -> int:
        """Count the bytes that the checkpoint takes for it: of pieces with their scales, of codes, or of the values."""
        if self.pieces:
            return sum(tensor.stored_bytes for tensor in self.sources)
        return self.nbytes if self.code_bytes is None else self.code_bytes

    @property
    def sources(self) -> tuple[StoredTensor, ...]:
        """The tensors of the checkpoint that it is made of, scales included: itself where it has no pieces."""
        if not self.pieces:
            return (self,)
        return tuple(tensor for piece in self.pieces for tensor in (piece.tensor, *piece.scaling.tensors))

    @property
    def memory_key(self) -> tuple[object, ...]:
        """Identify the memory: tensors of equal keys are one tensor under several names."""
        if self.pieces:
            return self.dtype, self.shape, *(tensor.memory_key for tensor in self.sources)
        return self.start, self.dtype, self.shape, self.strides


@dataclass(frozen=True)
class Scaling:
    """The way from stored codes to values: (code - zero) * scale * factor + bias, where the sum is of rounded products.

    All three tensors have one entry for each block of the codes, row-major: ceil(rows / block[0]) x ceil(columns /
    block[1]); a single entry where the block is larger.

    Attributes:
        scales: None: every scale is 1.
        block: rows and columns that share an entry.
        zeros: zero points; None: 0.
        biases: None: 0.
        factor: of all values.
        bits: of a code, where those of a row are one string of bits, the first in the lowest; 0: each is an element.
        zero: of all codes.
        zero_bits: of a zero point, where those of a column are such a string; 0: each is an element.
    """

    scales: StoredTensor | None = None
    block: tuple[int, int] = (1, 1)
    zeros: StoredTensor | None = None
    biases: StoredTensor | None = None
    factor: float = 1.0
    bits: int = 0
    zero: int = 0
    zero_bits: int = 0

    @property
    def tensors(self) -> tuple[StoredTensor, ...]:
        """The tensors that it takes beside the codes."""
        return tuple(tensor for tensor in (self.scales, self.zeros, self.biases) if tensor is not None)


AS_STORED = Scaling()


@dataclass(frozen=True)
class Piece:
    """A part of a tensor: rows and columns of it that one stored tensor holds.

    Attributes:
        tensor: its rows, (rows, ...), in the dtype of the whole unless it has a scaling.
        row: of the whole, that its first row is.
        column: of a flattened row of the whole, that its first is.
        columns: of a flattened row of the whole that it holds.
        scaling: how its values are made; AS_STORED: they are stored, in whatever dtype.
    """

    tensor: StoredTensor
    row: int
    column: int
    columns: int
    scaling: Scaling = AS_STORED

    @property
    def rows(self) -> int:
        """Count its rows."""
        return self.tensor.shape[0]


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
class ModuleRecord:
    """The attributes of a pickled module besides its tensors.

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
    """The contents of a checkpoint: the tensors in the order of the file, what is not one, and the file's own metadata.

    Attributes:
        row_shapes: the shape of a row by the name of its table, where a module tells it and the tensor is flat.
        graph_model: what a pickled knowledge-graph model of PyKEEN says of itself, by the path of each module in it;
            empty for anything else.
        loading: an expression of Python that loads its state dict, for hints.
        labels: the labels of the rows of a table, by its name, where the format has them; made when they are asked for.
        dense_form: the key of choices.DENSE_FORMS that writes a model as this format has it; empty: safetensors.
        companions: files beside the tensors that belong to the model: configuration, tokenizer, vocabulary.
        is_flat: whether the names are the keys of that state dict, and not joined of several.
    """

    tensors: tuple[StoredTensor, ...]
    left_out: tuple[LeftOut, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    row_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    graph_model: Mapping[str, ModuleRecord] = field(default_factory=dict)
    loading: str = ""
    is_flat: bool = True
    labels: Mapping[str, Callable[[], Sequence[str]]] = field(default_factory=dict)
    dense_form: str = ""
    companions: tuple[Path, ...] = ()


def is_size(value: object) -> bool:
    """Tell whether this is an integer that a size, a stride or an offset can be."""
    return type(value) is int and 0 <= value <= INTEGER_MAX


def is_sizes(value: object) -> bool:
    """Tell whether this is a tuple of sizes, no longer than a tensor has axes."""
    return type(value) is tuple and len(value) <= DIMS_MAX and all(is_size(item) for item in value)


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Compute the row-major strides, in elements, of a dense tensor of this shape."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_contiguous(stored: StoredTensor) -> bool:
    """Tell whether a tensor's elements follow each other in one file, row-major, as little-endian numbers."""
    if stored.pieces or stored.is_big_endian:
        return False
    expected = 1
    for size, step in zip(reversed(stored.shape), reversed(stored.strides), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def contiguous_bytes(stored: StoredTensor, *, files: Files) -> Iterator[memoryview]:
    """Yield the bytes of a contiguous tensor, bit for bit, in parts that are valid until the next."""
    buffer = memoryview(bytearray(min(PART_BYTES, stored.nbytes)))
    for position in range(0, stored.nbytes, PART_BYTES):
        part = buffer[: min(len(buffer), stored.nbytes - position)]
        files.read_into(stored.start + position, part)
        yield part


def name_fault(name: str) -> str:
    """Say why safetensors cannot hold a tensor of this name; empty if it can."""
    if not name or "\0" in name:
        return "its name is empty or contains a NUL"
    if name == "__metadata__":
        return "safetensors keeps its name for the metadata"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not valid text"
    return ""
