"""Word vectors as text: a word and its numbers a line, with a header (word2vec, fastText's .vec) or none (GloVe)."""

from __future__ import annotations

import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.streams import BUFFER_BYTES, LineCounter, count_lines, most_bytes, open_stream
from embcompress.checkpoints.tensors import Listing, StoredTensor, contiguous_strides
from embcompress.exceptions import DamagedFileError

NAME = "word vectors"
TENSOR = "vectors"
MARK = b"\xef\xbb\xbf"  # of UTF-8, which some editors put first

NUMBER = re.compile(rb"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)", re.IGNORECASE)
NUMBER_CUT = re.compile(rb"[-+.\dEeNnAaIiFfTtYy]*")  # the beginning of one
FRACTION = re.compile(rb"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?")  # a number that is not whole
HEADER = re.compile(rb"\s*(\d{1,15})[ \t]+(\d{1,9})\s*")
NUMBERS_TOLD = 5  # that end a line without a header: fewer may be any table of numbers
DIM_LINES = 100  # lines whose numbers are counted to tell the columns of a file without a header
LINE_BYTES_MIN = 2**16  # that any line may have, for its word
NUMBER_BYTES_MAX = 64  # of a number in a line, on average
VALUES_HELD = 2**18  # numbers that are written at once


@dataclass(frozen=True)
class Header:
    """The first line of word vectors, in either form.

    Attributes:
        rows: that are promised.
        dim: numbers of a row.
    """

    rows: int
    dim: int


def read_header(line: bytes) -> Header | None:
    """Read the header of word vectors; None where the line is none."""
    match = HEADER.fullmatch(line.removeprefix(MARK))
    return Header(int(match[1]), int(match[2])) if match and int(match[2]) else None


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell word vectors by their first lines: two numbers, then a word with numbers; or a word with many numbers."""
    first, newline, rest = head.partition(b"\n")
    header = read_header(first)
    if header is not None:
        return bool(newline) and is_text(rest, header.dim)
    fields = first.split()
    numbers = fields[len(fields) - NUMBERS_TOLD - (not newline) : len(fields) - (not newline)]
    return len(fields) > NUMBERS_TOLD + (not newline) and all(map(NUMBER.fullmatch, numbers)) and b"\0" not in first


def is_text(rest: bytes, dim: int) -> bool:
    """Tell whether what follows a header is text, and not the numbers themselves; also where nothing follows.

    Args:
        rest: the first bytes behind the header.
        dim: numbers of a row.
    """
    line, newline, _ = rest.partition(b"\n")
    numbers = line.split()[1:][-dim:]
    if b"\0" in line or (newline and not numbers):
        return False
    # The last one of a line that is not over may be cut.
    cut = [] if newline else numbers[-1:]
    return all(map(NUMBER.fullmatch, numbers[: len(numbers) - len(cut)])) and all(map(NUMBER_CUT.fullmatch, cut))


def read_listing(path: Path, files: Files) -> Listing:
    """List the vectors as one table; its numbers are read when its rows are, its words when they are asked for.

    A header gives the shape. Without one the lines are counted, in parts.

    Raises:
        DamagedFileError: a header that promises more than the file can hold.
    """
    with open_stream(path, files) as stream:
        header = read_header(stream.readline(LINE_BYTES_MIN))
    has_header = header is not None
    if header is None:
        with open_stream(path, files) as stream:
            header = Header(count_lines(stream), _find_dim(path, files))
    most = most_bytes(path, files)
    if header.rows * (2 * header.dim) > most:
        raise DamagedFileError(
            f"{path} promises {header.rows} rows of {header.dim} numbers and holds {most} bytes at most.",
            hint="Copy or download it again, or correct its first line.",
        )
    text = VectorText(path, files, header.rows, header.dim, has_header)
    shape = (header.rows, header.dim)
    start = files.add(f"{path}: {TENSOR}", 4 * header.rows * header.dim, text.write_values)
    tensor = StoredTensor(TENSOR, "float32", shape, contiguous_strides(shape), start)
    return Listing(tensors=(tensor,), labels={TENSOR: text}, dense_form="word2vec" if text.has_header else "glove")


@dataclass(frozen=True)
class VectorText:
    """A text of word vectors. Calling it reads the words.

    Attributes:
        has_header: whether its first line is none of a word.
    """

    path: Path
    files: Files
    rows: int
    dim: int
    has_header: bool

    def __call__(self) -> Sequence[str]:
        r"""Read the words, one a row; bytes that are not UTF-8 are written as \xff."""
        words = []
        for number, line in self._lines():
            text = line.rstrip()
            # Most words are what stands before the first blank, and no number need be parted from the next.
            is_plain = text.count(b" ") == self.dim and text[:1] != b" "
            words.append(text.partition(b" ")[0] if is_plain else self._split(text, number)[0])
        return [word.decode("utf-8", "backslashreplace") for word in words]

    def write_values(self, target: BinaryIO) -> None:
        """Write the numbers as float32: each is read in double precision and rounded once.

        Raises:
            DamagedFileError: a line of more or fewer numbers, or of something else; more or fewer lines than promised.
        """
        dim, values_max = self.dim, VALUES_HELD
        values = array("f")
        for number, line in self._lines():
            fields = line.split()
            try:
                values.extend(map(float, fields[1:] if len(fields) == dim + 1 else self._split(line, number)[1]))
            except ValueError as err:
                raise self._damaged(number, f"{str(err).partition(': b')[2][:60]} is no number") from err
            if len(values) > values_max:
                _write(values, target)
        _write(values, target)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line of a word with its number in the file, and check how many there are."""
        limit = max(LINE_BYTES_MIN, NUMBER_BYTES_MAX * self.dim)
        with open_stream(self.path, self.files) as stream:
            number = done = 0
            while line := stream.readline(limit):
                number += 1
                if number == 1:
                    line = line.removeprefix(MARK)
                    if self.has_header:
                        continue
                if done == self.rows:
                    self._check_end(line, stream)
                    return
                if len(line) == limit:
                    raise self._damaged(number, f"more than {limit} bytes")
                if line.isspace():
                    break
                done += 1
                yield number, line
            if done < self.rows:
                rest = line + stream.read(LINE_BYTES_MIN)
                if rest.strip():
                    raise self._damaged(number, "a blank line among the words")
                raise DamagedFileError(
                    f"{self.path} promises {self.rows} rows and ends after {done}: the file is cut short.",
                    hint="Copy or download it again, or correct its first line.",
                )

    def _check_end(self, line: bytes, stream: BinaryIO) -> None:
        """Check that nothing but blanks follows the last row that is promised."""
        rest = LineCounter()
        while line:
            rest.add(line)
            line = stream.read(BUFFER_BYTES)
        if rest.lines:
            raise DamagedFileError(
                f"{self.path} promises {self.rows} rows and holds {self.rows + rest.lines}.",
                hint="Correct its first line, or copy or download it again.",
            )

    def _split(self, line: bytes, number: int) -> tuple[bytes, Sequence[bytes]]:
        """Split a line into its word, which may hold blanks, and its numbers.

        Raises:
            DamagedFileError: it has more or fewer numbers.
        """
        line = line.rstrip()
        parts = line.rsplit(None, self.dim)
        if len(parts) == self.dim and line[:1].isspace():
            parts.insert(0, b"")
        if len(parts) <= self.dim:
            raise self._damaged(number, f"{max(len(parts) - 1, 0)} numbers")
        numbers = parts[1:]
        own = FRACTION if any(map(FRACTION.fullmatch, numbers)) else NUMBER
        further = parts[0].split()[1:]
        if further and (own.fullmatch(further[-1]) or any(map(FRACTION.fullmatch, further))):
            count = self.dim + sum(1 for field in further if NUMBER.fullmatch(field))
            raise self._damaged(number, f"{count} numbers")
        return parts[0], numbers

    def _damaged(self, number: int, what: str) -> DamagedFileError:
        return DamagedFileError(
            f"{self.path}, line {number}: {what}, where a word and {self.dim} numbers were expected.",
            hint="Correct it (a word that ends with a number: write _ for its blanks), or download the file again.",
        )


def _find_dim(path: Path, files: Files) -> int:
    """Count the numbers at the end of most of the first lines: words may hold blanks."""
    with open_stream(path, files) as stream:
        lines = [stream.readline(2**20) for _ in range(DIM_LINES)]
    counts = Counter(_count_numbers(line.split()) for line in lines if line.strip())
    return max(1, counts.most_common(1)[0][0])  # of several that are as frequent, that of the earliest line


def _count_numbers(fields: Sequence[bytes]) -> int:
    """Count the numbers at the end of a line, of which the first field is the word, even if it is a number."""
    count = 0
    while count < len(fields) - 1 and NUMBER.fullmatch(fields[-1 - count]):
        count += 1
    return count


def _write(values: array[float], target: BinaryIO) -> None:
    """Write numbers, and forget them."""
    if sys.byteorder == "big":
        values.byteswap()
    target.write(values)
    del values[:]
