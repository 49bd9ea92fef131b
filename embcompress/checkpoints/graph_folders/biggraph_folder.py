"""Folders of PyTorch-BigGraph: the embeddings of each type of entity in partitions, one HDF5 file each.

Source: https://torchbiggraph.readthedocs.io/en/latest/input_output.html#checkpoint.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.hdf5_files.datasets import Hdf5Source, list_datasets
from embcompress.checkpoints.label_columns import writable
from embcompress.checkpoints.links import check_inside, is_inside
from embcompress.checkpoints.pieces import join_rows
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor
from embcompress.exceptions import CheckpointError, DamagedFileError

NAME = "PyTorch-BigGraph"
PARTITION = re.compile(r"embeddings_(?P<type>.+)_(?P<part>\d{1,6})\.v(?P<version>\d{1,9})\.h5")
MODEL = "model.v{}.h5"
NAMES = "entity_names_{}_{}.json"
VERSION_FILE = "checkpoint_version.txt"
COMPANIONS = re.compile(r"config\.json|checkpoint_version\.txt|(entity_names|entity_count|dynamic_rel).*\.(json|txt)")
DATASET = "embeddings"
NAMES_BYTES_MAX = 2**31  # of a file of names


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - a folder has none
    """Tell a folder by the names of its partitions."""
    return path.is_dir() and any(PARTITION.fullmatch(name) for name in os.listdir(path))


def read_listing(path: Path, files: Files) -> Listing:
    """List the embeddings of each type of entity as one table, in the order of its partitions, then the model's own.

    Where there are several versions, the one of checkpoint_version.txt, else the latest.

    Raises:
        CheckpointError: h5py is not installed; a partition is missing; a file is a link out of the folder.
        DamagedFileError: a file is damaged, or does not fit the others.
    """
    names = sorted(os.listdir(path))
    matches = [match for name in names if (match := PARTITION.fullmatch(name))]
    version = _version(path, files, {int(match["version"]) for match in matches})
    parts: dict[str, dict[int, Path]] = {}
    for match in matches:
        if int(match["version"]) == version:
            parts.setdefault(match["type"], {})[int(match["part"])] = path / match[0]
    placed: list[StoredTensor | LeftOut] = []
    labels = {}
    for kind, by_part in parts.items():
        name = f"embeddings_{kind}"
        partitions = _read_partitions(name, by_part, files)
        filled = [stored for stored in partitions if stored.shape[0]]
        placed.append(replace((filled or partitions)[0], name=name) if len(filled) < 2 else join_rows(name, filled))
        sizes = tuple(stored.shape[0] for stored in partitions)
        lists = tuple(path / NAMES.format(kind, part) for part in range(len(by_part)))
        if all(one.name in names for one in lists):
            labels[name] = _EntityNames(lists, sizes, files)
    if MODEL.format(version) in names:
        placed += list_datasets(_source(path / MODEL.format(version), files))
    return Listing(
        tensors=tuple(item for item in placed if isinstance(item, StoredTensor)),
        left_out=tuple(item for item in placed if isinstance(item, LeftOut)),
        labels=labels,
        companions=tuple(path / name for name in names if COMPANIONS.fullmatch(name) and is_inside(path / name, path)),
    )


def _version(path: Path, files: Files, versions: set[int]) -> int:
    if not (path / VERSION_FILE).is_file():
        return max(versions)
    content = _read(path / VERSION_FILE, files, nbytes_max=64)
    if not content.strip().isdigit() or int(content) not in versions:
        raise DamagedFileError(
            f"{path / VERSION_FILE} says version {content[:20]!r}, and {path} holds version {max(versions)}.",
            hint="Copy all files of the checkpoint.",
        )
    return int(content)


def _read_partitions(name: str, by_part: dict[int, Path], files: Files) -> list[StoredTensor]:
    """Find the table of each partition, in their order, and check that they fit each other."""
    missing = next((part for part in range(max(by_part) + 1) if part not in by_part), None)
    if missing is not None:
        raise CheckpointError(
            f"{by_part[max(by_part)].parent} holds {len(by_part)} partitions of {name!r}, and partition {missing} is "
            "missing.",
            hint="Copy all files of the checkpoint.",
        )
    tables: list[StoredTensor] = []
    for _, path in sorted(by_part.items()):
        datasets = [item for item in list_datasets(_source(path, files)) if item.name == DATASET]
        if not datasets or not isinstance(datasets[0], StoredTensor) or len(datasets[0].shape) != 2:
            raise DamagedFileError(f"{path} holds no matrix {DATASET!r}.", hint="Copy or download it again.")
        table = datasets[0]
        if tables and (table.dtype, table.shape[1]) != (tables[0].dtype, tables[0].shape[1]):
            raise DamagedFileError(
                f"{path} holds {table.dtype} of {table.shape[1]} columns, and the first partition {tables[0].dtype} "
                f"of {tables[0].shape[1]}."
            )
        # By a name of its own: the model may have a tensor of the same.
        tables.append(replace(table, name=path.name))
    return tables


def _source(path: Path, files: Files) -> Hdf5Source:
    check_inside(path, path.parent)
    file, base = files.open(path)
    return Hdf5Source(files, str(path), base, os.fstat(file.fileno()).st_size)


def _read(path: Path, files: Files, *, nbytes_max: int) -> bytes:
    check_inside(path, path.parent)
    file, _ = files.open(path)
    nbytes = os.fstat(file.fileno()).st_size
    if nbytes > nbytes_max:
        raise DamagedFileError(f"{path} has {nbytes} bytes, where {nbytes_max} are the most allowed.")
    return read_exactly(file, 0, nbytes)


@dataclass(frozen=True)
class _EntityNames:
    """The names of entities, read when they are asked for.

    Attributes:
        paths: of a list for each partition.
        rows: of each partition.
    """

    paths: tuple[Path, ...]
    rows: tuple[int, ...]
    files: Files

    def __call__(self) -> list[str]:
        """Read them.

        Raises:
            DamagedFileError: a file holds no list of names, or not one for each row.
        """
        labels: list[str] = []
        for path, rows in zip(self.paths, self.rows, strict=True):
            try:
                names = json.loads(_read(path, self.files, nbytes_max=NAMES_BYTES_MAX).decode())
            except (ValueError, RecursionError) as err:
                raise DamagedFileError(f"{path} is not JSON.", hint="Copy or download it again.") from err
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise DamagedFileError(f"{path} holds no list of names.", hint="Copy or download it again.")
            if len(names) != rows:
                raise DamagedFileError(f"{path} holds {len(names)} names, and its partition {rows} rows.")
            labels += map(writable, names)
        return labels
