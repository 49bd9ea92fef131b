"""Writing a safetensors file tensor by tensor, with a header that is filled in at the end."""

from __future__ import annotations

import json
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embcompress.artifact.atomic_file import AtomicFile, hash_file
from embcompress.checkpoints import StoredTensor
from embcompress.checkpoints.safetensors_file import HEADER_BYTES_MAX, METADATA_KEY, NAMES_OF_DTYPES
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.exceptions import OutputError

CHECKSUM_KEY = "crc32"  # in the metadata: of the header as JSON, with NO_CHECKSUM in this place
NO_CHECKSUM = "0" * 8
HEADER_ALIGNMENT = 8  # bytes; what safetensors' own writer pads its header to


@dataclass(frozen=True)
class Entry:
    """A tensor to be written: its name, torch's name of its dtype, its shape.

    One that is growing has one axis of bytes, as many as are appended; its shape is an estimate. The dtype of an opaque
    one, as in `StoredTensor`, is the file's name of it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    is_growing: bool = False
    opaque_bytes: int | None = None

    @property
    def nbytes(self) -> int:
        """Count its bytes."""
        return StoredTensor(self.name, self.dtype, self.shape, (), 0, self.opaque_bytes).nbytes


def copied_entry(stored: StoredTensor) -> Entry:
    """Make the entry of a tensor that is copied bit for bit."""
    return Entry(stored.name, stored.dtype, stored.shape, opaque_bytes=stored.opaque_bytes)


def find_repeated(names: Iterable[str]) -> str | None:
    """Find the first name that is there more than once; None: each is there once.

    Example:
        >>> find_repeated(["a", "b", "c", "b", "a"])
        'a'
    """
    return next((name for name, count in Counter(names).items() if count > 1), None)


class TensorWriter(ABC):
    """Writes tensors in any order, and what tells of them at the end. Without `commit` nothing is left.

    A context manager.

    Attributes:
        entries: every tensor, in the order in which they lie.
    """

    entries: tuple[Entry, ...]

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Count the bytes of the output, room for headers included; exact after `finish`."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """Where the output lies until `commit`; whole after `finish`."""

    @property
    @abstractmethod
    def checksums(self) -> dict[str, str]:
        """The crc32 of each tensor by name, eight hexadecimal digits."""

    @abstractmethod
    def __enter__(self) -> TensorWriter: ...

    @abstractmethod
    def __exit__(self, *exception: Any) -> None: ...

    @abstractmethod
    def append(self, entry: Entry, part: bytes | memoryview) -> None:
        """Write the next bytes of a tensor. One pass over the rows may fill several tensors in turn.

        Of growing tensors the first is written whole before the second.
        """

    def write(self, entry: Entry, content: Iterable[bytes | memoryview]) -> None:
        """Write a whole tensor."""
        for part in content:
            self.append(entry, part)

    @abstractmethod
    def rewind(self, entry: Entry) -> None:
        """Take back what was appended to a growing tensor, the last one written."""

    @abstractmethod
    def finish(self, metadata: Mapping[str, str]) -> str:
        """Fill in what tells of the tensors and return the sha256 of the output, which is still a temporary one."""

    @abstractmethod
    def commit(self) -> None:
        """Put the output in its place."""


class SafetensorsWriter(TensorWriter):
    """Writes the tensors of a safetensors file in any order, and its header, for which room is kept, at the end.

    Tensors are laid out by descending element size, so that each is aligned, and in the order given within that;
    growing ones come last, and are written one after the other. The same entries and contents give the same bytes. A
    context manager; without `commit` nothing is left.

    Args:
        target: where the file goes.
        entries: every tensor of the file.
        metadata: as large as it can get; `finish` gives the final one.
        force: whether a file that is there by the time of `commit` is replaced.

    Raises:
        OutputError: two entries of one name, or a header longer than readers take.
    """

    def __init__(
        self, target: Path, entries: Sequence[Entry], *, metadata: Mapping[str, str], force: bool = True
    ) -> None:
        names = [entry.name for entry in entries]
        twice = find_repeated(names)
        if twice is not None or METADATA_KEY in names:
            raise OutputError(
                f"two tensors of the output would be named {twice or METADATA_KEY!r}: "
                "the checkpoint uses that name already.",
                hint="Rename the tensor in the checkpoint, or leave its table out with --exclude.",
            )
        self.entries = in_file_order(entries)
        self._growing = [entry for entry in self.entries if entry.is_growing]
        self.header_bytes = header_bytes(self.entries, metadata)
        if self.header_bytes > HEADER_BYTES_MAX:
            raise OutputError(
                f"the names and metadata of {target} take {self.header_bytes} bytes, and safetensors files "
                f"have at most {HEADER_BYTES_MAX}."
            )
        self._nbytes = 8 + self.header_bytes + sum(entry.nbytes for entry in entries)
        self._starts: dict[Entry, int] = {}
        position = 8 + self.header_bytes
        for entry in self.entries:
            self._starts[entry] = position
            position += 0 if entry.is_growing else entry.nbytes
        self._written = dict.fromkeys(self.entries, 0)  # bytes of each tensor so far
        self._checksums = dict.fromkeys(self.entries, 0)
        self._file = AtomicFile(target, force=force)

    def __enter__(self) -> SafetensorsWriter:
        with self._file.opening():
            self._file.write(b"\0" * (8 + self.header_bytes))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.__exit__(*exception)

    @property
    def target(self) -> Path:
        """Where the file goes."""
        return self._file.target

    @property
    def nbytes(self) -> int:  # noqa: D102 - as in TensorWriter
        return self._nbytes

    @property
    def path(self) -> Path:  # noqa: D102 - as in TensorWriter
        return self._file.path

    @property
    def checksums(self) -> dict[str, str]:  # noqa: D102 - as in TensorWriter
        return {entry.name: f"{checksum:08x}" for entry, checksum in self._checksums.items()}

    def append(self, entry: Entry, part: bytes | memoryview) -> None:  # noqa: D102 - as in TensorWriter
        self._file.write(part, at=self._start(entry) + self._written[entry])
        self._checksums[entry] = zlib.crc32(part, self._checksums[entry])
        self._written[entry] += len(part)

    def _start(self, entry: Entry) -> int:
        """Return where a tensor starts; of a growing one those before it are whole."""
        if not entry.is_growing:
            return self._starts[entry]
        before = self._growing[: self._growing.index(entry)]
        return self._starts[entry] + sum(self._written[other] for other in before)

    def rewind(self, entry: Entry) -> None:  # noqa: D102 - as in TensorWriter
        self._written[entry] = self._checksums[entry] = 0

    def finish(self, metadata: Mapping[str, str]) -> str:
        """Fill in the header and return the sha256 of the whole file, which is still a temporary one."""
        for entry, written in self._written.items():
            assert entry.is_growing or written == entry.nbytes, f"{entry.name}: {written} bytes for {entry.nbytes}"
        self._nbytes = 8 + self.header_bytes + sum(self._written.values())
        self._file.truncate(self._nbytes)
        header = _header(self.entries, metadata, sizes=list(self._written.values()))
        assert len(header) <= self.header_bytes
        header += b" " * (self.header_bytes - len(header))
        self._file.write(self.header_bytes.to_bytes(8, "little") + header, at=0)
        return hash_file(self.path)

    def commit(self) -> None:  # noqa: D102 - as in TensorWriter
        self._file.commit()


def file_bytes(entries: Sequence[Entry], metadata: Mapping[str, str]) -> int:
    """Count the bytes of a safetensors file of these tensors, the room kept for its header included.

    Example:
        >>> file_bytes([Entry("x", "float32", (2, 2))], {})
        80
    """
    return 8 + header_bytes(in_file_order(entries), metadata) + sum(entry.nbytes for entry in entries)


def in_file_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Order tensors as they lie in a file: by descending element size, growing ones last."""
    return tuple(sorted(entries, key=lambda entry: (entry.is_growing, -ITEM_BYTES.get(entry.dtype, 1))))


def header_bytes(entries: Sequence[Entry], metadata: Mapping[str, str]) -> int:
    """Count the bytes kept for a header: growing tensors get a digit more than they are expected to need.

    Args:
        entries: in the order of the file.
        metadata: as large as it can get.
    """
    widest = [entry.nbytes * 10 + 10 if entry.is_growing else entry.nbytes for entry in entries]
    return _aligned(len(_header(entries, metadata, sizes=widest)))


def _header(entries: Sequence[Entry], metadata: Mapping[str, str], *, sizes: Sequence[int]) -> bytes:
    header: dict[str, Any] = {METADATA_KEY: dict(sorted(metadata.items()))} if metadata else {}
    position = 0
    for entry, size in zip(entries, sizes, strict=True):
        end = position + size
        header[entry.name] = {
            "dtype": NAMES_OF_DTYPES.get(entry.dtype, entry.dtype),
            "shape": [size] if entry.is_growing else list(entry.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if metadata.get(CHECKSUM_KEY) != NO_CHECKSUM:
        return text
    return _replace_checksum(text, NO_CHECKSUM, f"{zlib.crc32(text):08x}")


def is_header_intact(header: bytes, checksum: str) -> bool:
    """Compare the header of a file, without the blanks at its end, with the checksum that it holds of itself."""
    return f"{zlib.crc32(_replace_checksum(header, checksum, NO_CHECKSUM)):08x}" == checksum


def _replace_checksum(header: bytes, before: str, after: str) -> bytes:
    mark = f'"{CHECKSUM_KEY}":"'
    return header.replace(f'{mark}{before}"'.encode(), f'{mark}{after}"'.encode(), 1)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // HEADER_ALIGNMENT) * HEADER_ALIGNMENT
