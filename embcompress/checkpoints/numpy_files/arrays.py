"""Arrays of NumPy as tensors: whole, or the fields of a structured one; and arrays of texts as labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.numpy_files.header import ArrayHeader, Code, order_strides, parse_code, tell_unread
from embcompress.checkpoints.tensors import ITEM_BYTES, LeftOut, StoredTensor, name_fault
from embcompress.exceptions import DamagedFileError

PART_ROWS = 4096  # of texts that are read at once


@dataclass(frozen=True)
class TextArray:
    """Texts in an array or in a field of one, a fixed number of bytes each.

    Calling it reads them: the labels of the rows of a table.

    Attributes:
        name: of the array.
        start: address of the first one.
        step: bytes from one to the next.
        width: bytes of one.
    """

    name: str
    files: Files
    start: int
    count: int
    step: int
    width: int
    encoding: str

    def __call__(self) -> Sequence[str]:
        """Read the texts."""
        texts: list[str] = []
        for first in range(0, self.count, PART_ROWS):
            count = min(PART_ROWS, self.count - first)
            part = memoryview(bytearray((count - 1) * self.step + self.width))
            self.files.read_into(self.start + first * self.step, part)
            texts += decode_texts(part, count=count, step=self.step, width=self.width, encoding=self.encoding)
        return texts


@dataclass(frozen=True)
class PlacedArray:
    """The tensors and texts of an array, as places.

    Attributes:
        nbytes: of its values; None where the dtype does not tell.
    """

    nbytes: int | None
    tensors: tuple[StoredTensor, ...] = ()
    texts: tuple[TextArray, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def place_array(header: ArrayHeader, *, name: str, start: int, files: Files, path: str) -> PlacedArray:
    """Find where the tensors and texts of an array lie.

    Args:
        header: of it.
        name: what its tensor is called; fields are called `name.field`, or `field` where it is empty.
        start: address of its first value.
        files: that hold it.
        path: what messages call the file.

    Raises:
        DamagedFileError: fields that no array can have.
    """
    fields = list(_fields_of(header.descr, path=path))
    item_bytes = sum(code.item_bytes * math.prod(shape) for _, code, shape in fields if code)
    is_whole = all(code for _, code, _ in fields)
    nbytes = item_bytes * math.prod(header.shape) if is_whole else None
    tensors, texts, left_out = [], [], []
    offset = 0
    for field, code, inner in fields:
        own = f"{name}.{field}" if field and name else field or name
        size = code.item_bytes * math.prod(inner) if code else 0
        steps = item_bytes // ITEM_BYTES[code.dtype] if code and code.dtype else 0
        fault = name_fault(own)
        if fault:
            left_out.append(LeftOut(own, fault))
        elif code and code.dtype and is_whole and steps * ITEM_BYTES[code.dtype] == item_bytes:
            outer = order_strides(header.shape, is_fortran=header.is_fortran)
            strides = (
                *(step * (steps if field else 1) for step in outer),
                *order_strides(inner, is_fortran=False),
            )
            position = start + offset
            tensors.append(
                StoredTensor(
                    own, code.dtype, (*header.shape, *inner), strides, position, is_big_endian=code.is_big_endian
                )
            )
        elif code and code.encoding and is_whole and len(header.shape) == 1 and not inner:
            count, width = header.shape[0], code.item_bytes
            texts.append(TextArray(own, files, start + offset, count, item_bytes, width, code.encoding))
        elif field or not isinstance(header.descr, list):  # blanks between fields have no name
            what, hint = tell_unread(header.descr, name="array")
            left_out.append(LeftOut(own, what, hint))
        offset += size
    return PlacedArray(nbytes, tuple(tensors), tuple(texts), tuple(left_out))


def check_names(tensors: Sequence[StoredTensor], *, path: str) -> None:
    """Check that no two tensors have one name.

    Raises:
        DamagedFileError: they have.
    """
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise DamagedFileError(f"{path} has two arrays named {tensor.name[:200]!r}.", hint="Save it anew.")
        seen.add(tensor.name)


def decode_texts(part: memoryview, *, count: int, step: int, width: int, encoding: str) -> list[str]:
    r"""Decode texts of a fixed number of bytes each; what is no character is written as \xff.

    Args:
        part: the bytes from the first to the end of the last.
        count: of the texts.
        step: bytes from one to the next.
        width: bytes of one.
        encoding: of them.
    """
    return [
        bytes(part[row * step : row * step + width]).decode(encoding, "backslashreplace").rstrip("\0")
        for row in range(count)
    ]


def _fields_of(descr: object, *, path: str) -> Iterator[tuple[str, Code | None, tuple[int, ...]]]:
    """Yield the name, the code and the shape of each field; of a plain array one without a name."""
    if not isinstance(descr, list):
        yield "", parse_code(descr), ()
        return
    for entry in descr:
        match entry:
            case (str(field), kind):
                yield field, parse_code(kind), ()
            case ((_, str(field)), kind):  # with a title
                yield field, parse_code(kind), ()
            case (str(field), kind, tuple(shape)) if all(type(size) is int and size >= 0 for size in shape):
                yield field, parse_code(kind), shape
            case (str(field), kind, int(size)) if size >= 0:
                yield field, parse_code(kind), (size,)
            case _:
                raise DamagedFileError(
                    f"{path} is a damaged file of NumPy: a field of its array is {str(entry)[:60]!r}.",
                    hint="Copy or download it again.",
                )
