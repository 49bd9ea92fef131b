"""Text files of ids, labels and numbers: a line a row, two columns, or JSON."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from embcompress.exceptions import CheckpointError, IdsError
from embcompress.text import named, suggest_file

FILE_BYTES_MAX = 2**31  # of a file of ids, labels or weights, unpacked: a few bytes of gzip can promise any number
GZIP_MAGIC = b"\x1f\x8b"
# Of the lines that are not UTF-8: in a text of another encoding, or in a file that is no text, it is most of them.
ODD_SHARE_MAX = 0.5
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
T = TypeVar("T", str, int)


def repeated(items: Iterable[T]) -> list[T]:
    """List what stands there again, each time but its first."""
    seen: set[T] = set()
    return [item for item in items if item in seen or seen.add(item)]  # type: ignore[func-returns-value]


@dataclass(frozen=True)
class LenientText:
    r"""A text, and how many of its lines were not UTF-8: their other bytes are written as \xff."""

    text: str
    odd_lines: int


def read_content(path: Path) -> bytes:
    """Read a file, unpacked if it is packed by gzip.

    Raises:
        CheckpointError: the file cannot be read, is damaged or too large.
    """
    try:
        with path.open("rb") as file:  # read as it comes: it may be a pipe of the shell
            content = file.read(FILE_BYTES_MAX + 1)
        is_packed = content.startswith(GZIP_MAGIC)
        if path.name.endswith(".gz") and not is_packed:
            raise CheckpointError(f"{path} is named .gz and is not packed by gzip.")
        if is_packed:
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(FILE_BYTES_MAX + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise CheckpointError(f"{path} is a damaged gzip file: {err}.") from err
    except FileNotFoundError as err:
        raise CheckpointError(f"{path} does not exist.", hint=suggest_file(path)) from err
    except OSError as err:
        raise CheckpointError(f"{path} cannot be read: {err.strerror or err}.") from err
    if len(content) > FILE_BYTES_MAX:
        raise CheckpointError(f"{path} holds more than {FILE_BYTES_MAX} bytes, too many for a line a row.")
    return content


def read_text(path: Path) -> str:
    """Read a text in UTF-8, unpacked if it is packed by gzip.

    Raises:
        CheckpointError: the file cannot be read, is damaged, too large, or no text.
    """
    content = read_content(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise _not_utf8(path, content, err) from err


def read_lenient_text(path: Path) -> LenientText:
    """Read a text in UTF-8 of which a few lines may hold other bytes, which cost these lines alone.

    Raises:
        CheckpointError: as `read_text`, but for a few lines.
    """
    content = read_content(path)
    try:
        return LenientText(content.decode("utf-8-sig"), 0)
    except UnicodeDecodeError as err:
        lines = content.splitlines()
        odd = sum(not _is_utf8(line) for line in lines)
        if b"\0" in content or odd > ODD_SHARE_MAX * len(lines):
            raise _not_utf8(path, content, err) from err
        return LenientText(content.decode("utf-8-sig", "backslashreplace"), odd)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(path: Path, content: bytes, err: UnicodeDecodeError) -> CheckpointError:
    return CheckpointError(
        f"{path} is no text in UTF-8: byte {err.start} is {content[err.start]:#04x}.",
        hint="A text in another encoding: `iconv -f ENCODING -t UTF-8` converts it.",
    )


def is_integer(text: str) -> bool:
    """Tell whether a text is an integer of at most 19 digits: Python converts no more than 4300, and 2^63 has 19."""
    digits = text.strip().removeprefix("-")
    return text.isascii() and digits.isdigit() and len(digits) <= 19


def is_number(text: str) -> bool:
    """Tell whether a text is a decimal number, with or without a fraction or an exponent."""
    return NUMBER.fullmatch(text.strip()) is not None


def split_lines(text: str) -> list[str]:
    """Split at newlines alone: a label may hold any other separator that Unicode has."""
    lines = text.split("\n")
    if lines[-1] == "":  # behind the last newline; of an empty text all there is
        lines.pop()
    return [line.removesuffix("\r") for line in lines] if "\r" in text else lines


def split_rows(text: str, path: Path, *, form: str, delimiter: str = "\t") -> list[list[str]]:
    """Split a table, quoted as pandas quotes, into its rows, the header included.

    Raises:
        CheckpointError: a quote left open; names `form`, which was expected.
    """
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as err:
        raise CheckpointError(f"{path} is no table of {form}: {err}.") from err


def split_pairs(text: str, path: Path, *, form: str, delimiter: str = "\t") -> list[list[str]]:
    """Split a table of two columns, quoted as pandas quotes, into its rows, the header included.

    Raises:
        CheckpointError: a quote left open, or a row of more or fewer columns; names it, and `form`, which was expected.
    """
    rows = split_rows(text, path, form=form, delimiter=delimiter)
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise CheckpointError(f"{path}, row {number}: expected {form}; got {chr(9).join(row)[:60]!r}.")
    return rows


def parse_json(text: str, path: Path, *, values: str = "ids") -> Any:
    """Parse JSON, and refuse an object that gives several `values` to a key.

    Raises:
        CheckpointError: the text is no JSON.
        IdsError: a key stands there twice; names it.
    """

    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            raise IdsError(f"{path}: several {values} are given to {named(repeated(key for key, _ in pairs))}.")
        return content

    try:
        return json.loads(text, object_pairs_hook=refuse_repeats)
    except IdsError:
        raise
    except (ValueError, RecursionError) as err:
        raise CheckpointError(f"{path} is no JSON: {err}.") from err
