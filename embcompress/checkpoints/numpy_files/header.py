"""Headers of arrays that NumPy saves: magic, version, length, and a dict of Python as text.

Source: numpy.lib.format, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import ast
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from embcompress.checkpoints.tensors import ITEM_BYTES, is_sizes
from embcompress.exceptions import DamagedFileError, UnknownFormatError

MAGIC = b"\x93NUMPY"
HEADER_BYTES_MAX = 10_000  # numpy's own limit: parsing longer ones can exhaust the stack
HEAD_BYTES = 12 + HEADER_BYTES_MAX  # that hold any header that is read
VERSIONS = (1, 2, 3)
LENGTHS = {1: "<H"}  # of the header, by version; "<I" for later ones

DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "b1": "bool",
        "u1": "uint8",
        "i1": "int8",
        "i2": "int16",
        "u2": "uint16",
        "f2": "float16",
        "i4": "int32",
        "u4": "uint32",
        "f4": "float32",
        "i8": "int64",
        "u8": "uint64",
        "f8": "float64",
        "c8": "complex64",
    }
)  # numpy's code without the order of bytes -> torch's name
CODE = re.compile(r"([<>|=])([a-zA-Z?])(\d{0,9})(\[.*\])?")  # order of bytes, kind, bytes; of dates also their unit
ENCODINGS = {"<U": "utf-32-le", ">U": "utf-32-be", "|S": "utf-8"}  # of texts
# What arrays of other kinds hold, and the dtype that they can be saved in; empty: none.
UNREAD_KINDS: tuple[tuple[str, str, str], ...] = (
    (r"O\d*", "objects of Python, which are pickled, and no pickle is read", ""),
    (r"V2", "values of 2 bytes of a dtype that NumPy does not record (bfloat16 of ml_dtypes is saved so)", "float32"),
    (r"V1", "values of 1 byte of a dtype that NumPy does not record (FP8 of ml_dtypes is saved so)", "float32"),
    (r"c\d+", "complex numbers of float64 or longer, which safetensors cannot hold", "complex64"),
    (r"f\d+", "floats of more than 8 bytes, which safetensors cannot hold", "float64"),
    (r"[US]\d+", "texts", ""),
    (r"[Mm]\d+", "dates or times", ""),
)


@dataclass(frozen=True)
class ArrayHeader:
    """The header of an array.

    Attributes:
        descr: numpy's description of the dtype: a code such as "<f4", or a list of fields.
        is_fortran: whether the first index is the one that changes fastest.
        nbytes: of the header, behind which the values lie.
    """

    descr: Any
    shape: tuple[int, ...]
    is_fortran: bool
    nbytes: int


@dataclass(frozen=True)
class Code:
    """A dtype of NumPy, taken apart.

    Attributes:
        kind: numpy's letter with the bytes of an element, such as "f4"; of texts the characters.
        dtype: torch's name; empty where it has none.
        item_bytes: of an element.
        encoding: of texts; empty of anything else.
    """

    kind: str
    dtype: str
    item_bytes: int
    is_big_endian: bool
    encoding: str = ""


def read_header(content: bytes | memoryview, *, name: str) -> ArrayHeader:
    """Read the header of an array, versions 1 to 3.

    Args:
        content: its first HEAD_BYTES bytes, or all where it has fewer.
        name: what messages call it.

    Raises:
        DamagedFileError: cut short, or no dict of a dtype, an order and a shape.
        UnknownFormatError: of a later version.
    """
    content = bytes(content[:HEAD_BYTES])
    damaged = DamagedFileError(
        f"{name} is a damaged file of NumPy: its header cannot be read.", hint="Copy or download it again."
    )
    if len(content) > len(MAGIC) and content.startswith(MAGIC) and content[6] not in VERSIONS:
        raise UnknownFormatError(
            f"{name} is a file of NumPy of version {content[6]}, and versions 1 to 3 are read.",
            hint="Load it with numpy.load and save it anew with numpy.save.",
        )
    try:
        length = LENGTHS.get(content[6], "<I")
        start = 8 + struct.calcsize(length)
        size = struct.unpack_from(length, content, 8)[0]
        text = content[start : start + size].decode("utf-8" if content[6] == 3 else "latin-1")
        if len(content) < start + size or not content.startswith(MAGIC):
            raise damaged
        # Of Python 2, whose long integers are written as 10L.
        header = ast.literal_eval(re.sub(r"\b(\d+)L\b", r"\1", text).strip())
        descr, shape, is_fortran = header["descr"], header["shape"], header["fortran_order"]
    except (IndexError, struct.error, ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as err:
        raise damaged from err
    if not is_sizes(shape) or not isinstance(is_fortran, bool) or not isinstance(descr, (str, list)):
        raise damaged
    return ArrayHeader(descr, shape, is_fortran, start + size)


def parse_code(descr: object) -> Code | None:
    """Take a code of a dtype apart; None where it is none, or of an object, whose bytes say nothing.

    Example:
        >>> parse_code(">f4").dtype
        'float32'
    """
    match = CODE.fullmatch(descr) if isinstance(descr, str) else None
    if match is None or match[2] == "O":
        return None
    order, letter, digits = match[1], match[2], match[3]
    count = int(digits or 1)
    kind = f"{letter}{count}"
    dtype = DTYPES.get(kind, "")
    # Texts of no characters take no bytes, and could be any number.
    encoding = ENCODINGS.get(order + letter, "") if count else ""
    item_bytes = ITEM_BYTES[dtype] if dtype else count * (4 if letter == "U" else 1)
    return Code(kind, dtype, item_bytes, order == ">", encoding)


def tell_unread(descr: object, *, name: str) -> tuple[str, str]:
    """Tell what an array of a dtype that is not read holds, and what to do about it.

    Args:
        descr: of the dtype.
        name: of the array, in the line that converts it.
    """
    code = descr.lstrip("<>|=") if isinstance(descr, str) else ""
    for pattern, what, dtype in UNREAD_KINDS:
        if re.match(rf"({pattern})(\[|$)", code):
            saving = f"{name}.astype('{dtype}')" if dtype else f"numpy.stack(list({name}))"
            return what, f"Save it as floats: numpy.save(path, {saving})." if dtype or code[:1] == "O" else ""
    if isinstance(descr, list):
        return "a structured array, of fields that do not lie in whole steps", (
            f"Save its fields apart: numpy.savez(path, **{{one: {name}[one] for one in {name}.dtype.names}})."
        )
    return f"values of dtype {str(descr)[:40]!r}, which is not read", ""


def order_strides(shape: tuple[int, ...], *, is_fortran: bool) -> tuple[int, ...]:
    """Compute the steps of the axes of an array, in elements.

    Example:
        >>> order_strides((3, 2), is_fortran=True)
        (1, 3)
    """
    sizes = shape if is_fortran else shape[::-1]
    steps = [math.prod(max(size, 1) for size in sizes[:axis]) for axis in range(len(sizes))]
    return tuple(steps if is_fortran else steps[::-1])
