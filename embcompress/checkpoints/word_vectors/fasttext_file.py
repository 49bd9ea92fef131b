"""Binary models of fastText: options, a dictionary, the matrix of words and buckets of n-grams, the matrix of outputs.

Source: FastText::saveModel, Dictionary::save and DenseMatrix::save of https://github.com/facebookresearch/fastText.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.streams import BUFFER_BYTES, find_packing, most_bytes, open_stream
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor, contiguous_strides
from embcompress.exceptions import DamagedFileError, UnknownFormatError

NAME = "fastText"
MAGIC = b"\xba\x16\x4f\x2f"
VERSIONS = (11, 12)
# Magic, version; dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate; t.
OPTIONS = struct.Struct("<4si12id")
COUNTS = struct.Struct("<3i2q")  # of entries, words, labels; of tokens read, of n-grams kept by pruning
ENTRY = struct.Struct("<qb")  # count and kind of an entry, behind its text and a zero
WORD, LABEL = 0, 1
PRUNED = struct.Struct("<2i")
MATRIX = struct.Struct("<?2q")  # whether it is quantised; rows, columns
SUPERVISED = 3
TEXT_BYTES_MAX = 2**16  # of an entry; fastText itself reads none longer than a line
INPUT, OUTPUT = "input_vectors", "output_vectors"


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell a model of fastText by its first bytes."""
    return head.startswith(MAGIC)


@dataclass(frozen=True)
class Layout:
    """The parts of a model, as far as its first ones tell.

    Attributes:
        words: entries that are words; their rows come first.
        labels: entries that are labels.
        dim: columns.
        rows: of the input matrix: words, then buckets of n-grams.
        start: position of the input matrix's values.
        is_supervised: whether outputs are labels, and not words.
    """

    words: int
    labels: int
    dim: int
    rows: int
    start: int
    is_supervised: bool

    @property
    def end(self) -> int:
        """The position behind the input matrix."""
        return self.start + 4 * self.rows * self.dim

    @property
    def outputs(self) -> int:
        """The rows of the output matrix."""
        return self.labels if self.is_supervised else self.words


@dataclass(frozen=True)
class Entries:
    """The labels of a matrix: entries of one kind in the dictionary, then blanks. Calling it reads them.

    Attributes:
        rows: of the matrix.
        kind: WORD or LABEL.
    """

    path: Path
    files: Files
    rows: int
    kind: int

    def __call__(self) -> Sequence[str]:
        r"""Read the entries; bytes that are not UTF-8 are written as \xff."""
        texts = []
        with open_stream(self.path, self.files) as stream:
            for text, kind in _read_entries(_Parser(stream, self.path)):
                if kind == self.kind:
                    texts.append(text.decode("utf-8", "backslashreplace"))
        return [*texts, *[""] * (self.rows - len(texts))]


@dataclass(frozen=True)
class _Unpacking:
    """The way to a matrix of a packed model: calling it writes the values."""

    path: Path
    files: Files
    start: int
    shape: tuple[int, int]

    def __call__(self, target: BinaryIO) -> None:
        with open_stream(self.path, self.files) as stream:
            parser = _Parser(stream, self.path)
            for _ in parser.parts(self.start - MATRIX.size):
                pass
            if parser.take(MATRIX) != (False, *self.shape):
                raise _damaged(self.path, f"has another matrix than the one of {self.shape} that it promises")
            for part in parser.parts(4 * self.shape[0] * self.shape[1]):
                target.write(part)


def read_listing(path: Path, files: Files) -> Listing:
    """List the input and the output matrix. A row of the input is a word, then a bucket of n-grams, without a label.

    Reads the dictionary. The matrices of a packed model are unpacked to a temporary file when they are read.

    Raises:
        UnknownFormatError: a quantised model, or one of another version.
        DamagedFileError: cut short, or its counts cannot be true.
    """
    layout = _read_layout(path, files)
    file, base = files.open(path)
    size = os.fstat(file.fileno()).st_size
    is_packed = find_packing(read_exactly(file, 0, 8)) is not None
    shapes = {INPUT: (layout.rows, layout.dim), OUTPUT: (layout.outputs, layout.dim)}
    starts = {INPUT: layout.start, OUTPUT: layout.end + MATRIX.size}
    end = starts[OUTPUT] + 4 * layout.outputs * layout.dim
    left_out: tuple[LeftOut, ...] = ()
    if end > most_bytes(path, files):
        raise _damaged(path, f"should be {end} bytes by its counts and is {size}: it is cut short")
    if not is_packed:
        is_quantised, rows, columns = MATRIX.unpack(read_exactly(file, layout.end, MATRIX.size))
        if is_quantised:
            raise _quantised(path)
        if (rows, columns) != shapes[OUTPUT]:
            raise _damaged(path, f"has {rows} x {columns} outputs, where its dictionary tells of {shapes[OUTPUT]}")
        left_out = (LeftOut("the end of the file", f"{size - end} bytes behind the model"),) if size > end else ()
    tensors = []
    for name, shape in shapes.items():
        start = base + starts[name]
        if is_packed:
            start = files.add(f"{path}: {name}", 4 * shape[0] * shape[1], _Unpacking(path, files, starts[name], shape))
        tensors.append(StoredTensor(name, "float32", shape, contiguous_strides(shape), start))
    labels = {
        INPUT: Entries(path, files, layout.rows, WORD),
        OUTPUT: Entries(path, files, layout.outputs, LABEL if layout.is_supervised else WORD),
    }
    return Listing(tensors=tuple(tensors), left_out=left_out, labels=labels)


class _Parser:
    """A stream, taken apart from its start."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self.path = stream, path
        self._waiting, self._position = b"", 0
        self.position = 0

    def take(self, layout: struct.Struct) -> tuple[int, ...]:
        """Take numbers."""
        self._fill(layout.size)
        values = layout.unpack_from(self._waiting, self._position)
        self._advance(layout.size)
        return values

    def take_text(self) -> bytes:
        """Take what stands before the next zero."""
        end = self._waiting.find(b"\0", self._position)
        if end < 0:
            self._fill(TEXT_BYTES_MAX, is_whole=False)
            end = self._waiting.find(b"\0", self._position)
        if end < 0:
            raise _damaged(self.path, f"has an entry of more than {TEXT_BYTES_MAX} bytes in its dictionary, or is cut")
        text = self._waiting[self._position : end]
        self._advance(end + 1 - self._position)
        return text

    def parts(self, nbytes: int) -> Iterator[bytes]:
        """Take bytes in parts."""
        while nbytes:
            self._fill(min(nbytes, BUFFER_BYTES))
            part = self._waiting[self._position : self._position + min(nbytes, BUFFER_BYTES)]
            self._advance(len(part))
            nbytes -= len(part)
            yield part

    def _advance(self, count: int) -> None:
        self._position += count
        self.position += count

    def _fill(self, count: int, *, is_whole: bool = True) -> None:
        if len(self._waiting) - self._position >= count:
            return
        self._waiting = self._waiting[self._position :] + self._stream.read(BUFFER_BYTES)
        self._position = 0
        if is_whole and len(self._waiting) < count:
            raise _damaged(self.path, f"ends at byte {self.position + len(self._waiting)}: it is cut short")


def _read_entries(parser: _Parser) -> Iterator[tuple[bytes, int]]:
    """Yield text and kind of each entry of the dictionary, and take what pruning adds to it."""
    parser.take(OPTIONS)
    entries, _, _, _, pruned = parser.take(COUNTS)
    for _ in range(entries):
        text = parser.take_text()
        _, kind = parser.take(ENTRY)
        yield text, kind
    for _ in range(max(pruned, 0)):
        parser.take(PRUNED)


def _read_layout(path: Path, files: Files) -> Layout:
    with open_stream(path, files) as stream:
        parser = _Parser(stream, path)
        _, version, *options = parser.take(OPTIONS)
        entries, words, labels, _, pruned = parser.take(COUNTS)
    if version not in VERSIONS:
        raise UnknownFormatError(
            f"{path} is a model of fastText of version {version}, and versions 11 and 12 are read.",
            hint="Load it with fastText and save it anew.",
        )
    dim, model = options[0], options[7]
    most = most_bytes(path, files)
    if min(words, labels) < 0 or words + labels != entries or entries * (1 + ENTRY.size) > most:
        raise _damaged(path, f"promises {entries} entries, {words} of them words and {labels} labels")
    if pruned * PRUNED.size > most:
        raise _damaged(path, f"promises {pruned} n-grams that pruning kept")
    with open_stream(path, files) as stream:
        parser = _Parser(stream, path)
        kinds = [kind for _, kind in _read_entries(parser)]
        is_quantised, rows, columns = parser.take(MATRIX)
        start = parser.position
    if is_quantised:
        raise _quantised(path)
    if kinds.count(WORD) != words or kinds.count(LABEL) != labels:
        raise _damaged(path, f"promises {words} words and has {kinds.count(WORD)}")
    if columns != dim or dim < 1 or rows < words:
        raise _damaged(path, f"has a matrix of {rows} x {columns}, where it tells of {words} words of {dim} numbers")
    return Layout(words, labels, dim, rows, start, model == SUPERVISED)


def _quantised(path: Path) -> UnknownFormatError:
    return UnknownFormatError(
        f"{path} is a quantised model of fastText (.ftz), which is not read: it is compressed already.",
        hint="Name the .bin that it was made of.",
    )


def _damaged(path: Path, what: str) -> DamagedFileError:
    return DamagedFileError(f"{path} {what}.", hint="Copy or download it again.")
