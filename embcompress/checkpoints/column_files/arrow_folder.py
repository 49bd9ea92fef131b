"""Folders of Parquet or Arrow files that continue each other, as Spark and datasets write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from embcompress.checkpoints.column_files import arrow_file, parquet_file
from embcompress.checkpoints.column_files.listing import list_parts
from embcompress.checkpoints.column_files.values import ArrowPart
from embcompress.checkpoints.files import Files, read_head
from embcompress.checkpoints.links import check_inside
from embcompress.checkpoints.tensors import Listing
from embcompress.exceptions import CheckpointError, DamagedFileError

NAME = "Parquet folder"
# `part-00000-....snappy.parquet` of Spark and Dask, `data-00000-of-00003.arrow` of datasets.
PART = re.compile(r"part[-.]\d+.*\.parquet|(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(parquet|arrow)")


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - a folder has none
    """Tell a folder by the names of its parts."""
    return path.is_dir() and any(PART.fullmatch(name) for name in os.listdir(path))


def read_listing(path: Path, files: Files) -> Listing:
    """List the tables of a folder by the columns of its parts, whose rows follow each other in the order of names.

    Raises:
        CheckpointError: pyarrow is not installed; a part is missing, of another table, or a link out of the folder.
        DamagedFileError: a part is damaged, or has other columns than the first.
    """
    names = sorted((name for name in os.listdir(path) if PART.fullmatch(name)), key=_key)
    _check_numbers(path, names)
    parts = tuple(_open(check_inside(path / name, path), files) for name in names)
    return list_parts(path, parts, files)


def _key(name: str) -> list[tuple[int, str]]:
    """Order names as people do: `part.10` behind `part.9`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _check_numbers(path: Path, names: list[str]) -> None:
    """Check that parts that say how many they are are all there, and of one table."""
    matches = [match for name in names if (match := PART.fullmatch(name))]
    tables = {(match["stem"], match["count"]) for match in matches}
    if len(tables) > 1:
        raise CheckpointError(
            f"{path} holds the parts of several tables: {names[0]!r} and {names[-1]!r} are of different ones.",
            hint="Put the parts of each into a folder of its own.",
        )
    ((_, count),) = tables
    numbers = {int(match["number"]) for match in matches if match["number"]}
    missing = sorted(set(range(int(count or 0))) - numbers)
    if missing:
        raise CheckpointError(
            f"{path} holds {len(names)} of {int(count)} parts; the part {missing[0]} is missing.",
            hint="Copy or download all of them.",
        )


def _open(path: Path, files: Files) -> ArrowPart:
    head = read_head(path, files)
    for module in (parquet_file, arrow_file):
        if module.is_recognised(path, head):
            part: ArrowPart = module.open_part(path, files)
            return part
    raise DamagedFileError(f"{path} is neither a Parquet nor an Arrow file.", hint="Copy or download it again.")
