"""Regions of files, read as files of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.regions import FilesRegion
from embcompress.exceptions import DamagedFileError


def test_region_is_a_part_of_a_file(tmp_path: Path) -> None:
    """A region has its own positions, ends where it ends, and reads as a file does; one beyond the file is refused."""
    (tmp_path / "x").write_bytes(bytes(range(100)))
    with Files(tmp_path) as files:
        _, base = files.open(tmp_path / "x")
        region = FilesRegion(files, base + 10, 50)
        assert region.read(3) == bytes([10, 11, 12])
        assert region.seek(-4, 2) == 46
        assert (region.read(), region.read(5), region.tell()) == (bytes([56, 57, 58, 59]), b"", 50)
        with pytest.raises(ValueError, match="before the start"):
            region.seek(-100, 1)
        assert (region.seek(0), region.read(1)) == (0, bytes([10]))
        with pytest.raises(DamagedFileError, match="cut short"):
            FilesRegion(files, base + 90, 20).read()
