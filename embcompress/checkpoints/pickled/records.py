"""The inert records that a pickle is read into: of what it names, refers to and describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TEXT_MAX = 4096  # characters of a key or a class's name; two equal ones are compared again in three bytes of pickle


@dataclass(frozen=True, eq=False, slots=True)
class Global:
    """A class or function that the pickle names: its name, never the thing itself."""

    module: str
    qualname: str

    @property
    def name(self) -> str:
        """Join the module and the name within it."""
        return f"{self.module}.{self.qualname}"


@dataclass(eq=False, slots=True, repr=False)
class Inert:
    """A stand-in for an object of a class that is not built: what the pickle says of it, unused.

    Attributes:
        origin: the class, or the function that would have made it.
        args: arguments it would have been called with.
        items: what was appended or added to it, as to a list or a set; None if nothing was.
        entries: what was set in it by key, as in a dict; None if nothing was.
        state: what its attributes would be; None if the pickle does not give them as a mapping.
        raw_state: what it would have been restored from, as the pickle gives it.
    """

    origin: Global
    args: tuple[object, ...]
    items: list[object] | None = None
    entries: dict[object, object] | None = None
    state: Mapping[object, object] | None = None
    raw_state: object = None

    @property
    def global_name(self) -> str:
        """Name the class or function, with its module."""
        return self.origin.name

    def __repr__(self) -> str:  # the contents may contain the object itself, or be 10^12 lines long
        return f"<Inert {self.global_name[:200]!r}>"


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class OpaqueKey:
    """A dict key that is kept apart by identity, because hashing or comparing it could take for ever.

    Nested tuples that share their parts have 2^depth leaves, and integers can be chosen to collide.
    """

    value: object


@dataclass(frozen=True, eq=False, slots=True)
class Span:
    """Bytes of a pickle, which are not held if there are many: their place in it.

    Attributes:
        start: position of the first, in bytes from the start of what was read.
        nbytes: how many.
        is_text: whether they are text in UTF-8. Pickles before protocol 3 write bytes as text, a character for each.
        content: themselves, if they are few: a number or a short label; empty otherwise.
    """

    start: int
    nbytes: int
    is_text: bool = False
    content: bytes = b""


@dataclass(frozen=True, eq=False, slots=True)
class StorageReference:
    """Memory that lies outside the pickle.

    Attributes:
        key: its name within the file.
        dtype: torch's name of the elements' dtype; None for bytes without one.
        numel: elements, or bytes where there is no dtype.
        location: the device it was saved from, such as "cpu" or "cuda:0".
        offset: its first element in the memory of that key, of which it is a part.
    """

    key: str
    dtype: str | None
    numel: int
    location: str
    offset: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class TensorReference:
    """A tensor as a view of a storage; nothing says yet that it lies inside.

    Attributes:
        storage: the memory it is a view of.
        offset: its first element, counted in elements from the start of the storage.
        shape: sizes of the axes.
        strides: step of each axis, in elements.
        dtype: torch's name of the dtype.
        pending: "conj", "neg" or both, if reading it as it lies would give the wrong values; empty otherwise.
    """

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    pending: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class QuantizedReference:
    """A tensor whose values are (code - zero) * scale, as torch quantizes to 8 bits, or 4 with two codes in a byte.

    Attributes:
        codes: as they are stored; of 4 bits, their shape and strides count codes.
        bits: of a code.
        scale: of all codes, or one for each index of an axis.
        zero: the code of 0, likewise.
        axis: of the scales; None where there is one.
    """

    codes: TensorReference
    bits: int
    scale: float | TensorReference
    zero: int | TensorReference
    axis: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.codes.shape

    @property
    def dtype(self) -> str:
        """Torch's name of the dtype of the values."""
        return "float32"
