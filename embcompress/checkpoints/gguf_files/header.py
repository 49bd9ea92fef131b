"""The header of a GGUF file: metadata, and the name, shape, type and place of each tensor.

Source: the format's description, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import BinaryIO

from embcompress.checkpoints.files import read_exactly
from embcompress.exceptions import DamagedFileError, UnknownFormatError

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # the first one counts in 32 bits, and has not been written since August 2023
CHUNK_BYTES = 2**20  # of a read
NAME_BYTES_MAX = 2**16 - 1  # of a key or a tensor's name; the format's own limit of keys
DIMS_MAX = 4  # axes of a tensor in ggml
DEPTH_MAX = 4  # arrays inside each other
TENSOR_BYTES_MIN = 24  # of what the header tells of a tensor, and of a key with its value
KEY_BYTES_MIN = 13
ALIGNMENT = 32  # of the tensors, in bytes, where nothing else is told
TOKENS_KEY = "tokenizer.ggml.tokens"
SCALARS: Mapping[int, str] = MappingProxyType(
    {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
)  # types of values that are single numbers -> their code in struct
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class TensorInfo:
    """The entry of a tensor in a header.

    Attributes:
        shape: sizes of the axes, the last of them that of a row: the reverse of the file's order.
        kind: GGML's number of its type.
        start: its position in the file, in bytes.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class TextArray:
    """An array of texts in a header: the position of the first, and how many there are."""

    start: int
    count: int


@dataclass(frozen=True)
class Header:
    """The header of a file.

    Attributes:
        is_big_endian: whether the bytes of its numbers begin with the highest.
        numbers: its metadata that is integers, by their keys.
        tokens: of the tokenizer; None where there is none.
    """

    tensors: tuple[TensorInfo, ...]
    is_big_endian: bool = False
    numbers: Mapping[str, int] = field(default_factory=dict)
    tokens: TextArray | None = None


def read_header(file: BinaryIO) -> Header:
    """Read the header of an open file. Counts are held against the size of the file before they are followed.

    Raises:
        DamagedFileError: cut short, or untrue to itself.
        UnknownFormatError: of a version that is not read.
    """
    raw = read_exactly(file, len(MAGIC), 4)
    # A version is a small number: its low half is zero where the bytes are the other way round.
    is_big_endian = raw[:2] == b"\0\0"
    cursor = Cursor(file, position=8, is_big_endian=is_big_endian)
    version = int.from_bytes(raw, "big" if is_big_endian else "little")
    if version not in VERSIONS:
        raise UnknownFormatError(
            f"{file.name} is a GGUF file of version {version}, and {' and '.join(map(str, VERSIONS))} are read.",
            hint="Convert the model again with llama.cpp.",
        )
    tensor_count, key_count = cursor.number("Q"), cursor.number("Q")
    cursor.expect(tensor_count * TENSOR_BYTES_MIN + key_count * KEY_BYTES_MIN, f"{tensor_count} tensors")
    numbers: dict[str, int] = {}
    tokens = None
    keys = set()
    for _ in range(key_count):
        key, kind = cursor.name("key"), cursor.number("I")
        if key in keys:
            raise cursor.damaged(f"has the key {key[:100]!r} twice")
        keys.add(key)
        value = cursor.value(kind)
        if isinstance(value, int):
            numbers[key] = value
        elif isinstance(value, TextArray) and key == TOKENS_KEY:
            tokens = value
    infos = [_read_info(cursor) for _ in range(tensor_count)]
    alignment = numbers.get("general.alignment", ALIGNMENT)
    if alignment < 1 or alignment & (alignment - 1):
        raise cursor.damaged(f"aligns its tensors to {alignment} bytes, which is no power of two")
    start = -(-cursor.position // alignment) * alignment
    tensors = []
    names = set()
    for info in infos:
        if info.name in names:
            raise cursor.damaged(f"names the tensor {info.name[:100]!r} twice")
        names.add(info.name)
        tensors.append(TensorInfo(info.name, info.shape, info.kind, start + info.start))
    return Header(tuple(tensors), is_big_endian, numbers, tokens)


def _read_info(cursor: Cursor) -> TensorInfo:
    name = cursor.name("tensor's name")
    dims = cursor.number("I")
    if dims > DIMS_MAX:
        raise cursor.damaged(f"gives tensor {name[:100]!r} {dims} axes, where {DIMS_MAX} are the most allowed")
    shape = tuple(reversed([cursor.number("Q") for _ in range(dims)]))
    if any(size >= 2**63 for size in shape):
        raise cursor.damaged(f"gives tensor {name[:100]!r} the shape {shape}")
    return TensorInfo(name, shape, cursor.number("I"), cursor.number("Q"))


class Cursor:
    """A place in a header that is read from one end to the other.

    Args:
        file: an open one.
        position: where to begin, in bytes.
        is_big_endian: whether the bytes of its numbers begin with the highest.
    """

    def __init__(self, file: BinaryIO, *, position: int, is_big_endian: bool) -> None:
        self.position = position
        self._file = file
        self._nbytes = os.fstat(file.fileno()).st_size
        self._order = ">" if is_big_endian else "<"
        self._chunk, self._chunk_start = b"", 0

    def number(self, code: str) -> int:
        """Read an integer, by its code in struct."""
        return int(self._scalar(code))

    def name(self, what: str) -> str:
        """Read a short text."""
        length = self.number("Q")
        if length > NAME_BYTES_MAX:
            raise self.damaged(f"claims a {what} of {length} bytes, where {NAME_BYTES_MAX} are the most allowed")
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as err:
            raise self.damaged(f"has a {what} that is not UTF-8") from err

    def text(self) -> str:
        r"""Read a text; bytes that are not UTF-8 are written as \xff."""
        return self._take(self.number("Q")).decode("utf-8", "backslashreplace")

    def value(self, kind: int, *, depth: int = 0) -> int | float | TextArray | None:
        """Read a number, find an array of texts, or pass over a text or another array.

        Args:
            kind: the format's number of its type.
            depth: how many arrays it lies in.
        """
        if kind in SCALARS:
            return self._scalar(SCALARS[kind])
        if kind == STRING:
            self._skip(self.number("Q"))
            return None
        if kind != ARRAY or depth >= DEPTH_MAX:
            raise self.damaged(f"has metadata of type {kind}, which there is not")
        inner, count = self.number("I"), self.number("Q")
        if inner in SCALARS:
            self._skip(count * struct.calcsize(self._order + SCALARS[inner]))
            return None
        self.expect(count * (8 if inner == STRING else 12), f"an array of {count}")
        if inner == STRING:
            texts = TextArray(self.position, count)
            self._skip_texts(count)
            return texts
        for _ in range(count):
            self.value(inner, depth=depth + 1)
        return None

    def expect(self, nbytes: int, what: str) -> None:
        """Check that so many bytes may follow."""
        if self.position + nbytes > self._nbytes:
            raise self.damaged(f"claims {what} and has {self._nbytes} bytes in all: it is cut short or damaged")

    def damaged(self, what: str) -> DamagedFileError:
        """Make the exception that says what is wrong with the file."""
        return DamagedFileError(f"{self._file.name} {what}.", hint="Copy or download it again.")

    def _scalar(self, code: str) -> int | float:
        form = self._order + code
        value: int | float = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def _skip(self, nbytes: int) -> None:
        if self.position + nbytes > self._nbytes:
            self.expect(nbytes, f"a value of {nbytes} bytes")
        self.position += nbytes

    def _skip_texts(self, count: int) -> None:
        """Pass over texts: a vocabulary and its merges are a million of them."""
        length = struct.Struct(self._order + "Q")
        offset = self.position - self._chunk_start
        for _ in range(count):
            if not 0 <= offset <= len(self._chunk) - length.size:
                self.position = self._chunk_start + offset
                self._take(length.size)
                offset = self.position - length.size - self._chunk_start
            offset += length.size + length.unpack_from(self._chunk, offset)[0]
        self.position = self._chunk_start + offset
        self.expect(0, f"{count} texts")

    def _take(self, nbytes: int) -> bytes:
        begin = self.position
        self._skip(nbytes)
        offset = begin - self._chunk_start
        if offset < 0 or offset + nbytes > len(self._chunk):
            wanted = max(nbytes, min(CHUNK_BYTES, self._nbytes - begin))
            self._chunk, self._chunk_start, offset = read_exactly(self._file, begin, wanted), begin, 0
        return self._chunk[offset : offset + nbytes]
