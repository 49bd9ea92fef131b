"""Files that are made when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.libraries import check_expansion
from embcompress.checkpoints.tensors import EXPANDED_BYTES_MAX, StoredTensor
from embcompress.exceptions import DamagedFileError
from embcompress.tables.rows import read_bytes
from embcompress.tables.ties import are_equal


def test_file_of_a_name_is_added_once(tmp_path: Path) -> None:
    """A name that was added before leads to the same place, and another one does not."""
    with Files(tmp_path) as files:
        first = files.add("a", 4, lambda file: file.write(b"abcd") and None)
        assert files.add("a", 4, lambda file: file.write(b"----") and None) == first
        assert files.add("b", 4, lambda file: file.write(b"----") and None) != first
        buffer = bytearray(4)
        files.read_into(first, memoryview(buffer))
        assert buffer == b"abcd"


def test_values_are_removed_once_they_were_copied(tmp_path: Path) -> None:
    """What is made for a copy of a tensor is made for it alone, and again when it is read again."""
    made = 0

    def make(file: BinaryIO) -> None:
        nonlocal made
        made += 1
        file.write(bytes(range(16)))

    with Files(tmp_path) as files:
        stored = StoredTensor("x", "uint8", (4, 4), (4, 1), files.add("x", 16, make), code_bytes=3)
        assert (files.is_made(stored.start), stored.nbytes, stored.stored_bytes) == (True, 16, 3)
        for times in (1, 2):
            assert b"".join(map(bytes, read_bytes(stored, files=files))) == bytes(range(16))
            assert made == times
        for _ in range(3):
            files.read_into(stored.start, memoryview(bytearray(4)))
        assert made == 3


def test_values_are_not_made_to_find_copies(tmp_path: Path) -> None:
    """Two tensors whose values would have to be made are told apart without making any."""

    def make(file: BinaryIO) -> None:
        raise AssertionError(file)

    with Files(tmp_path) as files:
        first, second = (
            StoredTensor(name, "float32", (2, 2), (2, 1), files.add(name, 16, make)) for name in ("a", "b")
        )
        assert not are_equal(first, second, files=files)
        assert are_equal(first, first, files=files)


def test_check_expansion_allows_what_can_be_packed() -> None:
    """Values may be as much larger as DEFLATE makes them, and a small buffer always; no more."""
    check_expansion(EXPANDED_BYTES_MAX, packed=0, name="x")
    check_expansion(1032 * 10**9, packed=10**9, name="x")
    with pytest.raises(DamagedFileError, match="x promises 2000000000000 bytes of values and has 1000000000"):
        check_expansion(2 * 10**12, packed=10**9, name="x")
