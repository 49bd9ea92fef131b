"""Vectors of spaCy: a folder with an array, a map from the hashes of words to rows, and the words."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.label_columns import writable
from embcompress.checkpoints.links import check_inside, is_inside
from embcompress.checkpoints.numpy_files.header import MAGIC
from embcompress.checkpoints.numpy_files.npy_file import list_array
from embcompress.checkpoints.tensors import LeftOut, Listing
from embcompress.checkpoints.word_vectors.word_hashes import hash_word
from embcompress.exceptions import DamagedFileError

NAME = "spaCy"
TENSOR = "vectors"
ARRAY, ROWS, CONFIG, WORDS = "vectors", "key2row", "vectors.cfg", "strings.json"
FILE_BYTES_MAX = 2**31  # of the map and of the words
# The forms of integers and of maps in msgpack, by the first byte: what follows it.
INTEGERS: Mapping[int, struct.Struct] = MappingProxyType(
    {
        0xCC: struct.Struct(">B"),
        0xCD: struct.Struct(">H"),
        0xCE: struct.Struct(">I"),
        0xCF: struct.Struct(">Q"),
        0xD0: struct.Struct(">b"),
        0xD1: struct.Struct(">h"),
        0xD2: struct.Struct(">i"),
        0xD3: struct.Struct(">q"),
    }
)
MAPS: Mapping[int, struct.Struct] = MappingProxyType({0xDE: struct.Struct(">H"), 0xDF: struct.Struct(">I")})
SMALL_MAPS = range(0x80, 0x90)


@dataclass(frozen=True)
class Words:
    """The words of the rows of a folder. Calling it reads them.

    Attributes:
        rows: of the table.
    """

    folder: Path
    rows: int

    def __call__(self) -> Sequence[str]:
        """Read the first word of each row; blank where the words do not hold it.

        Raises:
            DamagedFileError: the map or the words cannot be read.
        """
        words = {hash_word(word): word for word in _read_words(self.folder / WORDS)}
        labels = [""] * self.rows
        for key, row in _read_map(_read(self.folder / ROWS), name=str(self.folder / ROWS)):
            if 0 <= row < self.rows and not labels[row]:
                labels[row] = writable(words.get(key, ""))
        return labels


def is_recognised(path: Path, head: bytes) -> bool:
    """Tell a folder of spaCy's vectors, or of a pipeline that has some, by the names and the start of its files."""
    if head or not path.is_dir():
        return False
    try:
        with (_find_folder(path) / ARRAY).open("rb") as file:
            return (_find_folder(path) / ROWS).is_file() and file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_listing(path: Path, files: Files) -> Listing:
    """List the array as one table. Its rows are labelled where the words lie beside it and rows belong to words.

    Raises:
        CheckpointError: the array leads out of the folder.
        UnknownFormatError: it is none of numbers.
        DamagedFileError: it is cut short.
    """
    folder = _find_folder(path)
    listing = list_array(check_inside(folder / ARRAY, path), files, name=TENSOR)
    beside = [folder / name for name in (ROWS, CONFIG, WORDS)]
    companions = tuple(file for file in beside if file.is_file() and is_inside(file, path))
    for companion in companions:
        files.open(companion)  # which are part of the vectors, and count among their bytes
    listing = replace(listing, companions=companions)
    if folder / CONFIG in companions and _mode_of(folder / CONFIG) == "floret":  # rows are buckets of n-grams
        return listing
    if not {folder / ROWS, folder / WORDS} <= set(companions):
        note = LeftOut("the words of the rows", f"{WORDS}, which holds them, is missing")
        return replace(listing, left_out=(*listing.left_out, note))
    return replace(listing, labels={tensor.name: Words(folder, tensor.shape[0]) for tensor in listing.tensors})


def _find_folder(path: Path) -> Path:
    """Find the folder of the vectors: the one named, or that of its vocabulary."""
    places = (path, path / "vocab", path / "vectors")
    return next((folder for folder in places if (folder / ARRAY).is_file()), path)


def _mode_of(config: Path) -> object:
    try:
        content = json.loads(_read(config))
    except (OSError, ValueError, RecursionError):
        return None
    return content.get("mode") if isinstance(content, dict) else None


def _read_words(path: Path) -> Sequence[str]:
    try:
        words = json.loads(_read(path))
    except (OSError, ValueError, RecursionError) as err:
        raise _damaged(path, f"is no JSON ({err})") from err
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _damaged(path, "is no list of words")
    return words


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise _damaged(path, f"holds more than {FILE_BYTES_MAX} bytes")
    return content


def _read_map(content: bytes, *, name: str) -> Iterator[tuple[int, int]]:
    """Read a map of integers in msgpack.

    Source: https://github.com/msgpack/msgpack/blob/master/spec.md.
    """
    position = 0

    def take_integer() -> int:
        nonlocal position
        first = content[position]
        position += 1
        if first < 0x80:
            return first
        if first >= 0xE0:
            return first - 256
        form = INTEGERS[first]
        position += form.size
        return int(form.unpack_from(content, position - form.size)[0])

    try:
        first, position = content[0], 1
        if first in SMALL_MAPS:
            count = first - SMALL_MAPS.start
        else:
            count = int(MAPS[first].unpack_from(content, 1)[0])
            position += MAPS[first].size
        for _ in range(count):
            key = take_integer()
            yield key, take_integer()
    except (IndexError, KeyError, struct.error) as err:
        raise _damaged(Path(name), "is no map of integers in msgpack, or cut short") from err


def _damaged(path: Path, what: str) -> DamagedFileError:
    return DamagedFileError(f"{path} {what}.", hint="Save the vectors anew with spaCy.")
