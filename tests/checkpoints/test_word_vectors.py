"""Word vectors as text and in word2vec's binary form, against what gensim reads of them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from embcompress.tables.rows import read_bytes

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "gzip, two members": lambda content: gzip.compress(content[:99]) + gzip.compress(content[99:]),
}


def read_vectors(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read the table and the words of a file."""
    with open_checkpoint(path) as checkpoint:
        (tensor,) = checkpoint.tensors
        content = b"".join(map(bytes, read_bytes(tensor, files=checkpoint.files)))
        assert (tensor.name, tensor.dtype) == ("vectors", "float32")
        values = np.frombuffer(content, np.float32).reshape(tensor.shape)
        return values, list(checkpoint.listing.labels["vectors"]())


def written(path: Path, content: bytes) -> Path:
    """Write a file."""
    path.write_bytes(content)
    return path


def read_by_gensim(path: Path, **options: object) -> tuple[np.ndarray, list[str]]:
    """Read a file with gensim."""
    models = pytest.importorskip("gensim.models", reason="gensim, the oracle for word vectors, is not installed")
    vectors = models.KeyedVectors.load_word2vec_format(str(path), **options)
    return vectors.vectors, list(vectors.index_to_key)


def random_number(rng: np.random.Generator) -> str:
    """Draw a number as text: of any magnitude and length, of the floats half way between two others, or none."""
    kind = rng.integers(8)
    value = float(rng.standard_normal() * 10.0 ** rng.integers(-50, 45))
    if kind == 0:
        return str(
            rng.choice(["nan", "inf", "-inf", "0", "-0", "+1", "1e400", ".5", "5.", "1E-3", "1e-46", "3.4028236e38"])
        )
    if kind == 1:  # half way between two float32, and a little more than a double can hold
        near = np.float32(abs(rng.standard_normal()) + 1e-3)
        middle = (float(near) + float(np.nextafter(near, np.float32(np.inf)))) / 2
        return f"{middle:.60f}".rstrip("0") + str(rng.choice(["", "0000001"]))
    return str(rng.choice([f"{value:.6g}", f"{value:.17g}", f"{value:.3e}", f"{float(rng.standard_normal()):.6f}"]))


def random_words(rng: np.random.Generator, count: int) -> list[str]:
    """Draw unique words, some of them numbers, of other scripts, or with marks that are no blanks in bytes."""
    kinds = ["the", "7", "0.5", "-3e5", "nan", "日本", "na\u00a0me", "x\u2028y", "</s>", "\u0130\U0001f600", "#", '"']
    return [f"{rng.choice(kinds)}{'' if number < 1 else number}" for number in range(count)]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("has_header", [True, False])
def test_text_equals_gensim_to_the_bit(tmp_path: Path, has_header: bool) -> None:
    """Forty files of random numbers and words give the bits, the words and the order that gensim gives."""
    rng = np.random.default_rng(3)
    for number in range(40):
        rows, dim = int(rng.integers(1, 30)), int(rng.integers(1 if has_header else 6, 20))
        words = random_words(rng, rows)
        lines = [" ".join([word, *(random_number(rng) for _ in range(dim))]) for word in words]
        content = "\n".join(([f"{rows} {dim}"] if has_header else []) + lines) + "\n"
        path = written(tmp_path / f"{number}.txt", content.encode())
        with np.errstate(over="ignore"):
            expected, expected_words = read_by_gensim(path, binary=False, no_header=not has_header)
        if not has_header and not all(re.fullmatch(r"[-+.\deEnainf]+", field) for field in lines[0].split(" ")[-5:]):
            continue
        values, actual = read_vectors(path)
        assert values.tobytes() == expected.tobytes()
        assert actual == expected_words == words


@pytest.mark.parametrize("packer", PACKERS)
def test_binary_equals_gensim_to_the_bit(tmp_path: Path, packer: str) -> None:
    """Files of word2vec's binary form, with and without newlines, packed or not, give gensim's bits and words."""
    rng = np.random.default_rng(4)
    for number in range(20):
        rows, dim = int(rng.integers(1, 40)), int(rng.integers(2, 90))
        values = np.frombuffer(rng.bytes(4 * rows * dim), np.float32).reshape(rows, dim)
        words = random_words(rng, rows)
        end = b"\n" if number % 2 else b""
        content = f"{rows} {dim}\n".encode()
        content += b"".join(f"{word} ".encode() + row.tobytes() + end for word, row in zip(words, values, strict=True))
        path = written(tmp_path / f"{number}.bin", content)
        expected, expected_words = read_by_gensim(path, binary=True)
        actual, actual_words = read_vectors(written(tmp_path / f"{number}.packed", PACKERS[packer](content)))
        assert actual.tobytes() == expected.tobytes() == values.tobytes()
        assert actual_words == expected_words == words


def test_binary_is_read_over_many_parts(tmp_path: Path) -> None:
    """Four megabytes of rows, longer than what is read at once, keep their values and words."""
    values = np.random.default_rng(5).standard_normal((9000, 120)).astype(np.float32)
    content = b"9000 120\n" + b"".join(f"w{row} ".encode() + values[row].tobytes() for row in range(9000))
    actual, words = read_vectors(written(tmp_path / "a.bin", content))
    assert actual.tobytes() == values.tobytes()
    assert words == [f"w{row}" for row in range(9000)]


@pytest.mark.parametrize(("packer", "has_header"), [("plain", True), ("plain", False), ("gzip", True), ("xz", False)])
def test_text_is_read_over_many_parts(tmp_path: Path, packer: str, has_header: bool) -> None:
    """Text longer than what is read at once, packed or not, is counted and read whole."""
    values = np.random.default_rng(6).standard_normal((1500, 50)).astype(np.float32)
    lines = [f"w{row} {' '.join(map(str, values[row].tolist()))}\n" for row in range(1500)]
    content = "".join((["1500 50\n"] if has_header else []) + lines).encode()
    actual, words = read_vectors(written(tmp_path / "a.txt", PACKERS[packer](content)))
    assert actual.tobytes() == values.tobytes()
    assert words == [f"w{row}" for row in range(1500)]


ROW = " 0.5 -1.25 3 0 1e-3 7"
VALUES = [0.5, -1.25, 3.0, 0.0, 1e-3, 7.0]
TEXTS: dict[str, tuple[bytes, list[str]]] = {
    "words with blanks": (f". . .{ROW}\nat x@y{ROW}\n a b{ROW}\nb{ROW}\n".encode(), [". . .", "at x@y", " a b", "b"]),
    "a word that ends with a whole number": (f"a{ROW}\nroute 66{ROW}\n".encode(), ["a", "route 66"]),
    "no word": (f"a{ROW}\n{ROW}\n".encode(), ["a", ""]),
    "carriage returns": (f"a{ROW}\r\nb{ROW}\r\n".encode(), ["a", "b"]),
    "blanks at ends of lines": (f"a{ROW} \nb b{ROW} \n".encode(), ["a", "b b"]),
    "tabs": (f"a{ROW}\nb\tb{ROW}\n".replace(" ", "\t").encode(), ["a", "b\tb"]),
    "no newline at the end": (f"a{ROW}\nb{ROW}".encode(), ["a", "b"]),
    "blank lines at the end": (f"a{ROW}\nb{ROW}\n\n \n".encode(), ["a", "b"]),
    "bytes that are not UTF-8": (f"a{ROW}\n".encode() + b"\xffb\xe9" + f"{ROW}\n".encode(), ["a", "\\xffb\\xe9"]),
    "the same word twice": (f"a{ROW}\na{ROW}\n".encode(), ["a", "a"]),
}  # fmt: skip


@pytest.mark.parametrize("has_header", [True, False])
@pytest.mark.parametrize("kind", TEXTS)
def test_text_reads_what_people_have(tmp_path: Path, kind: str, has_header: bool) -> None:
    """Each oddity leaves every row its place, its numbers and its word, with a header and without."""
    content, words = TEXTS[kind]
    header = f"{len(words)} 6\n".encode() if has_header else b""
    values, actual = read_vectors(written(tmp_path / "a.txt", header + content))
    assert actual == words
    assert values.tolist() == np.array([VALUES] * len(words), np.float32).tolist()


def test_text_passes_over_the_mark_of_utf_8(tmp_path: Path) -> None:
    """A byte order mark is no part of the header, nor of the first word."""
    for header in (b"1 6\n", b""):
        _, words = read_vectors(written(tmp_path / "a.txt", b"\xef\xbb\xbf" + header + f"a{ROW}\n".encode()))
        assert words == ["a"]


BAD_TEXTS: dict[str, tuple[bytes, str]] = {
    "fewer rows": (f"3 6\na{ROW}\nb{ROW}\n".encode(), "promises 3 rows and ends after 2"),
    "fewer rows, blank lines": (f"3 6\na{ROW}\nb{ROW}\n\n\n".encode(), "promises 3 rows and ends after 2"),
    "more rows": (f"1 6\na{ROW}\nb{ROW}\nc{ROW}\n\n".encode(), "promises 1 rows and holds 3"),
    "too few numbers": (f"2 6\na{ROW}\nb 1 2 3\n".encode(), "line 3: 3 numbers, where a word and 6 numbers"),
    "too few numbers at first": (f"2 6\nb 1 2 3\na{ROW}\n".encode(), "line 2: 3 numbers, where a word and 6 numbers"),
    "too many numbers": (f"2 6\na{ROW}\nb{ROW} 0.125\n".encode(), "line 3: 7 numbers, where a word and 6 numbers"),
    "too many whole numbers": (b"2 3\na 1 2 3\nb 1 2 3 4\n", "line 3: 4 numbers, where a word and 3 numbers"),
    "two lines in one": (f"a{ROW}\nb{ROW}\nc{ROW} d{ROW}\n".encode(), "line 3: 12 numbers, where a word and 6"),
    "no number": (f"2 6\na{ROW}\nb 1 2 x 4 5 6\n".encode(), "line 3: 'x' is no number"),
    "hexadecimal": (f"a{ROW}\nb 1 2 0x3 4 5 6\n".encode(), "line 2: '0x3' is no number"),
    "a blank line": (f"2 6\na{ROW}\n\nb{ROW}\n".encode(), "line 3: a blank line among the words"),
    "an endless line": (f"2 6\na{ROW}\nb".encode() + b"x" * 2**17, "line 3: more than 65536 bytes"),
    "promises more than it holds": (f"99999999999 300\na{ROW}\n".encode() * 2, "promises 99999999999 rows of 300"),
    "promises a wide row": (f"2 999999999\na{ROW}\n".encode() * 2, "promises 2 rows of 999999999"),
}


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_text_refuses_what_does_not_fit(tmp_path: Path, kind: str) -> None:
    """Lines and headers that do not fit are named with what they have and what was expected."""
    content, message = BAD_TEXTS[kind]
    path = written(tmp_path / "a.txt", content)
    with pytest.raises(DamagedFileError) as caught:
        read_vectors(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint


TWO = np.array([0.1, -2.5], np.float32).tobytes()
BAD_BINARIES: dict[str, tuple[bytes, str]] = {
    "fewer rows": (b"3 2\na " + TWO + b"\nwww " + TWO + b"\n" + b"w" * 9, "promises 3 rows and ends after 2"),
    "more rows": (b"1 2\na " + TWO + b"\nw " + TWO + b"\n", "promises 1 rows, and more bytes follow"),
    "an endless word": (b"2 2\na " + TWO + b"w" * 2**17, "row 1 has a word of more than 65536 bytes"),
    "promises more than it holds": (b"99999999999 300\na " + TWO, "promises 99999999999 rows of 300"),
}


@pytest.mark.parametrize("kind", BAD_BINARIES)
def test_binary_refuses_what_does_not_fit(tmp_path: Path, kind: str) -> None:
    """A header that the rows do not bear out is named with what it promises."""
    content, message = BAD_BINARIES[kind]
    path = written(tmp_path / "a.bin", content)
    with pytest.raises(DamagedFileError) as caught:
        read_vectors(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint


def test_binary_words_that_are_not_utf_8_are_kept_as_bytes(tmp_path: Path) -> None:
    """A byte that is no UTF-8 is written out in the label."""
    _, words = read_vectors(written(tmp_path / "a.bin", b"2 2\n\xffa " + TWO + b"b\xe9 " + TWO))
    assert words == ["\\xffa", "b\\xe9"]


@pytest.mark.parametrize("content", [b"2 3\nedge one\nedge two\n", b"a b c d e f\n", b"1 2 3 4 5 x\n", b"10 20\n"])
def test_other_texts_are_no_word_vectors(tmp_path: Path, content: bytes) -> None:
    """Text whose lines do not end with numbers is not taken for word vectors, nor a header without rows for some."""
    with pytest.raises(CheckpointError) as caught:
        read_vectors(written(tmp_path / "a.txt", content))
    assert isinstance(caught.value, UnknownFormatError) or "promises 10 rows" in caught.value.message


@pytest.mark.parametrize(("packer", "command"), [("gzip", "gunzip"), ("bzip2", "bunzip2"), ("xz", "unxz")])
def test_other_packed_files_are_to_be_unpacked(tmp_path: Path, packer: str, command: str) -> None:
    """A packed file of anything else is told to be unpacked first, by its command."""
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    content = struct.pack("<Q", len(header)) + header + bytes(4)
    with pytest.raises(UnknownFormatError, match=f"is compressed with {packer}") as caught:
        open_checkpoint(written(tmp_path / "model.safetensors.gz", PACKERS[packer](content)))
    assert command in caught.value.hint


def test_listing_text_reads_no_row(tmp_path: Path) -> None:
    """A header's word is taken for the shape: what is wrong in the last row shows when the values are read."""
    path = written(tmp_path / "a.txt", b"200000 6\n" + f"abc{ROW}\n".encode() * 199_999 + b"abc no numbers\n")
    with open_checkpoint(path) as checkpoint:
        (stored,) = checkpoint.tensors
        assert stored.shape == (200_000, 6)
        with pytest.raises(DamagedFileError, match="200001"):
            next(read_bytes(stored, files=checkpoint.files))
