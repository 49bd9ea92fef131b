"""The files of a folder, none outside of it, and the index that puts tensors into them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.links import check_inside, is_inside, is_plain
from embcompress.exceptions import DamagedFileError

JSON_BYTES_MAX = 100_000_000  # of an index, as of the header of a safetensors file; that of 60 000 tensors takes 6 MB
WEIGHT_MAP = "weight_map"
AGAIN = "Copy or download all files of the checkpoint again."


class Folder:
    """A folder of files that are read: none that lies outside of it, by its name or by a link.

    A snapshot in the cache of huggingface_hub may hold links to the blobs of its own model.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self, subfolder: str = "") -> list[str]:
        """List the names of the files in a subfolder, in order; links to files count."""
        with os.scandir(self.path / subfolder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())

    def subfolders(self) -> list[str]:
        """List the names of the subfolders, in order, that lie in the folder."""
        with os.scandir(self.path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and self.holds(entry.name))

    def holds(self, name: str) -> bool:
        """Tell whether a file or folder lies in this one when links are followed, or in the blobs of its snapshot."""
        return is_inside(self.path / name, self.path)

    def file(self, name: str) -> Path:
        """Give the path of a file that may be read.

        Raises:
            CheckpointError: a link leads out of the folder.
        """
        return check_inside(self.path / name, self.path)


def read_index(path: Path, files: Files) -> dict[str, str]:
    """Read the file of each tensor from an index, relative to its folder.

    Raises:
        DamagedFileError: it is no index, or names a file that is none in its folder.
    """
    content = read_json(path, files)
    weight_map = content.get(WEIGHT_MAP) if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise DamagedFileError(f"{path} has no {WEIGHT_MAP!r}, which tells the file of each tensor.", hint=AGAIN)
    for tensor, name in weight_map.items():
        if not is_plain(name):
            raise DamagedFileError(
                f"{path} puts {tensor!r} into {str(name)[:100]!r}, which is no file in its folder.",
                hint="A file is named relative to the index, with / and without .. in it.",
            )
    return {tensor: str(PurePosixPath(name)) for tensor, name in weight_map.items()}


def read_json(path: Path, files: Files) -> Any:
    """Read a file of JSON that belongs to a checkpoint.

    Raises:
        DamagedFileError: too large, no JSON, or a key stands twice in an object.
    """
    handle, _ = files.open(path)
    size = os.fstat(handle.fileno()).st_size
    if size > JSON_BYTES_MAX:
        raise DamagedFileError(f"{path} has {size} bytes, and at most {JSON_BYTES_MAX} are read.", hint=AGAIN)

    def without_duplicates(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            raise DamagedFileError(f"{path} has a name twice in an object.", hint=AGAIN)
        return result

    try:
        content = json.loads(read_exactly(handle, 0, size).decode(), object_pairs_hook=without_duplicates)
        json.dumps(content, ensure_ascii=False).encode()  # json lets lone surrogates pass, which no file can hold
    except (ValueError, RecursionError) as err:
        raise DamagedFileError(f"{path} is no JSON: {err}.", hint=AGAIN) from err
    return content
