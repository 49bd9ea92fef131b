"""Bytes that a pickle of protocol 2 holds as text, a character for each, decoded into one file when they are read."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.pickled.records import Span
from embcompress.exceptions import DamagedFileError

PART_BYTES = 2**20  # of text that is decoded at once
ALIGNMENT = 16  # of what is decoded, in bytes


@dataclass(frozen=True)
class _Part:
    """Some of the bytes of a text, and where they go."""

    content: Span | str
    skipped: int
    nbytes: int
    start: int


class LatinTexts:
    """The file of all bytes that the texts of a pickle stand for.

    Args:
        path: of the pickle, for messages.
        files: of the checkpoint.
        pickle_start: address that the places in the pickle are counted from.
        kind: of what the bytes are; those of one kind make one file.
    """

    def __init__(self, path: str, files: Files, pickle_start: int, *, kind: str) -> None:
        self._path, self._files, self._pickle_start, self._kind = path, files, pickle_start, kind
        self._parts: dict[int, _Part] = {}
        self._end = 0
        self._base: int | None = None

    def add(self, content: Span | str, nbytes: int, *, skipped: int = 0) -> None:
        """Take up bytes of a text, once however often, before the first is located."""
        assert self._base is None
        if id(content) not in self._parts:
            self._parts[id(content)] = _Part(content, skipped, nbytes, self._end)
            self._end += -(-nbytes // ALIGNMENT) * ALIGNMENT

    def locate(self, content: Span | str) -> int:
        """Find the address of the bytes of a text."""
        if self._base is None:
            parts = [(part.content, part.skipped, part.nbytes) for part in self._parts.values()]
            # One file for equal parts of one pickle: several may be decoded from one path.
            number = zlib.crc32(repr((self._pickle_start, parts)).encode("utf-8", "surrogatepass"))
            self._base = self._files.add(f"{self._path} (decoded {self._kind}, {number:08x})", self._end, self._make)
        return self._base + self._parts[id(content)].start

    def head(self, content: Span | str, count: int) -> bytes:
        """Decode the first bytes of a text, at least `count` where there are as many."""
        if isinstance(content, str):
            return self._encode(content)
        # Of which each takes one or two.
        part = bytearray(min(2 * count, content.nbytes))
        self._files.read_into(self._pickle_start + content.start, memoryview(part))
        try:
            return self._encode(codecs.getincrementaldecoder("utf-8")().decode(part))
        except UnicodeDecodeError as err:
            raise self._damaged() from err

    def _make(self, handle: BinaryIO) -> None:
        for part in self._parts.values():
            handle.seek(part.start)
            self._decode(part, handle)
        handle.truncate(self._end)

    def _decode(self, part: _Part, handle: BinaryIO) -> None:
        position = -part.skipped  # of the bytes that are wanted
        for text in self._texts(part.content):
            decoded = self._encode(text)
            handle.write(decoded[max(0, -position) : max(0, part.nbytes - position)])
            position += len(decoded)
        if position < part.nbytes:
            raise DamagedFileError(
                f"{self._path} holds a text of {position} bytes of values instead of {part.nbytes}: it is cut short or "
                "damaged.",
                hint="Copy or download it again.",
            )

    def _texts(self, content: Span | str) -> Iterator[str]:
        if isinstance(content, str):
            yield content
            return
        decoder = codecs.getincrementaldecoder("utf-8")()
        for position in range(0, content.nbytes, PART_BYTES):
            part = bytearray(min(PART_BYTES, content.nbytes - position))
            self._files.read_into(self._pickle_start + content.start + position, memoryview(part))
            try:
                yield decoder.decode(part, position + len(part) == content.nbytes)
            except UnicodeDecodeError as err:
                raise self._damaged() from err

    def _encode(self, text: str) -> bytes:
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError as err:
            raise self._damaged() from err

    def _damaged(self) -> DamagedFileError:
        return DamagedFileError(
            f"{self._path} holds bytes that are written as another text.", hint="Copy or download it again."
        )
