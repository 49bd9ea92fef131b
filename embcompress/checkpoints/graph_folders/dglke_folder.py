"""Folders of DGL-KE: `<dataset>_<model>_entity.npy`, the same of relations, and what lies beside them."""

from __future__ import annotations

import re
from pathlib import Path

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.id_maps import find_labels, find_maps
from embcompress.checkpoints.links import check_inside, is_inside
from embcompress.checkpoints.numpy_files.npy_file import OF_GRAPH, list_array
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor
from embcompress.exceptions import CheckpointError
from embcompress.text import named

NAME = "DGL-KE"
CONFIG = "config.json"


def is_recognised(path: Path, head: bytes) -> bool:
    """Tell a folder of DGL-KE by the name of an array of entities or relations in it."""
    return not head and path.is_dir() and bool(_find_prefixes(path))


def read_listing(path: Path, files: Files) -> Listing:
    """List the arrays of the one model in a folder as `entity`, `relation` and so on; ids beside them are labels.

    Raises:
        CheckpointError: of several models; an array that leads out of the folder.
    """
    prefixes = _find_prefixes(path)
    if len(prefixes) > 1:
        raise CheckpointError(
            f"{path} holds {len(prefixes)} models of DGL-KE: {named(prefixes)}.",
            hint=f"Name the file of a table, such as {path / f'{prefixes[0]}_entity.npy'}, or give each its folder.",
        )
    tensors: list[StoredTensor] = []
    left_out: list[LeftOut] = []
    for file in sorted(path.glob("*.npy")):
        if not file.name.startswith(f"{prefixes[0]}_"):
            left_out.append(LeftOut(file.name, "an array of another name than the model's"))
            continue
        check_inside(file, path)
        name = file.stem.removeprefix(f"{prefixes[0]}_")
        listing = list_array(file, files, name=name)
        tensors += listing.tensors
        left_out += listing.left_out
    config = path / CONFIG
    has_config = config.is_file() and is_inside(config, path)
    companions = (*((config,) if has_config else ()), *find_maps(path))
    return Listing(
        tensors=tuple(tensors),
        left_out=tuple(left_out),
        labels=find_labels(tensors, path),
        companions=companions,
    )


def _find_prefixes(path: Path) -> list[str]:
    """List what stands before `_entity.npy` and `_relation.npy` in a folder, each once."""
    try:
        names = [file.name for file in path.iterdir() if OF_GRAPH.fullmatch(file.name)]
    except OSError:
        return []
    return sorted({re.sub(r"_(entity|relation)\.npy$", "", name) for name in names})
