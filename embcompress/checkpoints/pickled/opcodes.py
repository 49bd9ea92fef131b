"""The opcodes of a pickle with their arguments, of which long ones are passed over and told by their place."""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO

from embcompress.checkpoints.pickled.records import TEXT_MAX, Span

HELD_MAX = 256  # bytes that are held: the numbers and labels of NumPy are written as such
LINE_MAX = 2**24  # bytes of an argument that ends with its line, as protocol 0 writes all
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
# Opcode -> bytes of the length in front of its argument, whether it has a sign, and what the argument is.
_LENGTHS: Mapping[str, tuple[int, bool, type]] = MappingProxyType(
    {
        "SHORT_BINBYTES": (1, False, bytes),
        "BINBYTES": (4, False, bytes),
        "BINBYTES8": (8, False, bytes),
        "BYTEARRAY8": (8, False, bytes),
        "SHORT_BINSTRING": (1, False, str),
        "BINSTRING": (4, True, str),
        "SHORT_BINUNICODE": (1, False, str),
        "BINUNICODE": (4, False, str),
        "BINUNICODE8": (8, False, str),
        "LONG4": (4, True, int),
    }
)


class LimitedLines(io.BufferedReader):
    """A buffered file whose lines have a bounded length."""

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read up to the end of a line, or LINE_MAX bytes."""
        return super().readline(LINE_MAX if size is None or size < 0 else size)


def read_operations(stream: BinaryIO, end: int) -> Iterator[tuple[str, object]]:
    """Yield the name and the argument of each opcode up to the end of a pickle.

    Not by `pickletools.genops`, which would hold every argument.
    """
    while True:
        code = stream.read(1)
        opcode = _OPCODES.get(code)
        if opcode is None:
            position = stream.tell() - len(code)
            raise ValueError(f"at position {position}, opcode {code!r} unknown" if code else "exhausted before its end")
        if opcode.name in _LENGTHS:
            yield opcode.name, _read_long(stream, end, opcode)
        else:
            yield opcode.name, None if opcode.arg is None else opcode.arg.reader(stream)
        if opcode.name == "STOP":
            return


def _read_long(stream: BinaryIO, end: int, opcode: pickletools.OpcodeInfo) -> object:
    """Read an argument that follows its length: the place of bytes and of long texts, others as they are."""
    assert opcode.arg is not None
    width, is_signed, kind = _LENGTHS[opcode.name]
    raw = stream.read(width)
    count = int.from_bytes(raw, "little", signed=is_signed)
    start = stream.tell()
    if len(raw) < width or not 0 <= count <= end - start:
        raise ValueError(f"expected {count} bytes in a {opcode.arg.name}, but only {end - start} remain")
    if kind is bytes or (kind is str and count > TEXT_MAX):
        content = stream.read(count) if count <= HELD_MAX else b""
        stream.seek(start + count)
        return Span(start, count, opcode.name.endswith(("UNICODE", "UNICODE8")), content)
    content = stream.read(count)
    if kind is int:
        return int.from_bytes(content, "little", signed=True)
    # What Python 2 wrote as a text of bytes is decoded as pickletools does it.
    return content.decode("latin-1") if "STRING" in opcode.name else content.decode("utf-8", "surrogatepass")
