"""Writing a GGUF file tensor by tensor.

Source: the format's description, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embcompress.artifact.atomic_file import AtomicFile, hash_file
from embcompress.artifact.writer import Entry

MAGIC, VERSION = b"GGUF", 3
ALIGNMENT = 32  # of tensors, in bytes: what readers assume
ARCHITECTURE = "embeddings"  # of the model: small letters and digits alone
UINT32, STRING = 4, 8  # the format's numbers of types of values


@dataclass(frozen=True)
class GgufTensor:
    """A tensor to be written.

    Attributes:
        entry: its name and its bytes.
        kind: GGML's number of its type.
        shape: of its values, rows first.
    """

    entry: Entry
    kind: int
    shape: tuple[int, ...]


class GgufWriter:
    """Writes the tensors of a GGUF file in any order, behind a header that is known from the start.

    The same tensors give the same bytes. A context manager; without `commit` nothing is left.

    Args:
        target: where the file goes.
        tensors: all of them.
        numbers: metadata, of 32 bits each.
        force: whether a file that is there by the time of `commit` is replaced.
    """

    def __init__(
        self, target: Path, tensors: Sequence[GgufTensor], *, numbers: Mapping[str, int], force: bool = True
    ) -> None:
        self._file = AtomicFile(target, force=force)
        starts: list[int] = []
        position = 0
        for tensor in tensors:
            starts.append(position)
            position = _aligned(position + tensor.entry.nbytes)
        self._header = _header(tensors, starts, numbers)
        self._starts = {tensor.entry: len(self._header) + start for tensor, start in zip(tensors, starts, strict=True)}
        self._written = {tensor.entry: 0 for tensor in tensors}
        self.nbytes = len(self._header) + position

    def __enter__(self) -> GgufWriter:
        with self._file.opening():
            self._file.write(self._header)
            self._file.truncate(self.nbytes)  # zeros, between the tensors, too
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.__exit__(*exception)

    def append(self, entry: Entry, part: bytes | memoryview) -> None:
        """Write the next bytes of a tensor."""
        self._file.write(part, at=self._starts[entry] + self._written[entry])
        self._written[entry] += len(part)

    def finish(self) -> str:
        """Return the sha256 of the file, which is still a temporary one."""
        for entry, written in self._written.items():
            assert written == entry.nbytes, f"{entry.name}: {written} bytes for {entry.nbytes}"
        return hash_file(self._file.path)

    def commit(self) -> None:
        """Put the file in its place."""
        self._file.commit()


def _header(tensors: Sequence[GgufTensor], starts: Sequence[int], numbers: Mapping[str, int]) -> bytes:
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), 1 + len(numbers))]
    parts += [_text("general.architecture"), struct.pack("<I", STRING), _text(ARCHITECTURE)]
    for key, number in numbers.items():
        parts += [_text(key), struct.pack("<II", UINT32, number)]
    for tensor, start in zip(tensors, starts, strict=True):
        sizes = tuple(reversed(tensor.shape or (1,)))
        parts += [_text(tensor.entry.name), struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, tensor.kind, start)]
    header = b"".join(parts)
    return header + b"\0" * (_aligned(len(header)) - len(header))


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
