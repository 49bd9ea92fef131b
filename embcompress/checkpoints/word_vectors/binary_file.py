"""Word vectors in word2vec's binary form: a header, then for each row its word, a blank and its numbers as float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.streams import BUFFER_BYTES, most_bytes, open_stream
from embcompress.checkpoints.tensors import Listing, StoredTensor, contiguous_strides
from embcompress.checkpoints.word_vectors.text_file import LINE_BYTES_MIN, TENSOR, is_text, read_header
from embcompress.exceptions import DamagedFileError

NAME = "word2vec"
WORD_BYTES_MAX = 2**16  # of a word; word2vec itself cuts words at 100
TEXT_BYTES = frozenset((9, 10, 13, *range(32, 127)))  # that text without accents is made of


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell word2vec's binary form by its header, a word, and a first row that is no text."""
    first, newline, rest = head.partition(b"\n")
    header = read_header(first) if newline else None
    _, blank, values = rest.partition(b" ")
    if header is None or not blank or is_text(rest, header.dim):
        return False
    return not TEXT_BYTES.issuperset(values[: 4 * header.dim])


def read_listing(path: Path, files: Files) -> Listing:
    """List the vectors as one table of the shape that the header gives.

    Words have any length, so that rows are copied to a temporary file when the first is read.

    Raises:
        DamagedFileError: a header that promises more than the file can hold.
    """
    with open_stream(path, files) as stream:
        first = stream.readline(LINE_BYTES_MIN)
    header = read_header(first)
    most = most_bytes(path, files)
    if header is None or len(first) + header.rows * (4 * header.dim + 1) > most:
        promise = f"{header.rows} rows of {header.dim} numbers" if header else "no number of rows"
        raise DamagedFileError(
            f"{path} promises {promise} and holds {most} bytes at most: it is cut short.",
            hint="Copy or download it again.",
        )
    rows = BinaryVectors(path, files, header.rows, header.dim)
    shape = (header.rows, header.dim)
    start = files.add(f"{path}: {TENSOR}", 4 * header.rows * header.dim, rows.write_values)
    tensor = StoredTensor(TENSOR, "float32", shape, contiguous_strides(shape), start)
    return Listing(tensors=(tensor,), labels={TENSOR: rows}, dense_form="word2vec-binary")


@dataclass(frozen=True)
class BinaryVectors:
    """The rows of word2vec's binary form. Calling it reads the words."""

    path: Path
    files: Files
    rows: int
    dim: int

    def __call__(self) -> Sequence[str]:
        r"""Read the words, one a row; bytes that are not UTF-8 are written as \xff."""
        # The original program puts a newline behind each row.
        return [word.lstrip(b"\n").decode("utf-8", "backslashreplace") for word, _ in self._pairs()]

    def write_values(self, target: BinaryIO) -> None:
        """Write the numbers of all rows.

        Raises:
            DamagedFileError: more or fewer rows than promised, or a word without an end.
        """
        for _, values in self._pairs():
            target.write(values)

    def _pairs(self) -> Iterator[tuple[bytes, memoryview | bytes]]:
        """Yield the word and the numbers of each row."""
        width = 4 * self.dim
        with open_stream(self.path, self.files) as stream:
            stream.readline(LINE_BYTES_MIN)
            waiting, done = b"", 0
            while done < self.rows:
                part = stream.read(max(BUFFER_BYTES, width + WORD_BYTES_MAX))
                if not part:
                    raise DamagedFileError(
                        f"{self.path} promises {self.rows} rows and ends after {done}: the file is cut short.",
                        hint="Copy or download it again.",
                    )
                waiting += part
                position = 0
                while done < self.rows:
                    blank = waiting.find(b" ", position, position + WORD_BYTES_MAX)
                    if blank < 0 and len(waiting) - position >= WORD_BYTES_MAX:
                        raise self._damaged(f"row {done} has a word of more than {WORD_BYTES_MAX} bytes")
                    if blank < 0 or blank + 1 + width > len(waiting):
                        break
                    yield waiting[position:blank], waiting[blank + 1 : blank + 1 + width]
                    position = blank + 1 + width
                    done += 1
                waiting = waiting[position:]
            rest = waiting + stream.read(BUFFER_BYTES)
            if rest.strip(b"\r\n"):
                raise self._damaged(f"it promises {self.rows} rows, and more bytes follow the last")

    def _damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(
            f"{self.path} is damaged: {what}.",
            hint="Copy or download it again.",
        )
