"""The files of a folder, none outside of it, and the index that puts tensors into them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.exceptions import CheckpointError, DamagedFileError

JSON_BYTES_MAX = 100_000_000  # of an index, as of the header of a safetensors file; that of 60 000 tensors takes 6 MB
WEIGHT_MAP = "weight_map"
DRIVE = re.compile(r"[A-Za-z]:")
# Of Hugging Face's cache: models--org--name/snapshots/COMMIT holds links to models--org--name/blobs/HASH, which may be
# links to blobs/HA/HASH, a store that all models share and that this file marks.
SNAPSHOTS, BLOBS = "snapshots", "blobs"
SHARED_MARK = ".huggingface-shared-blobs"
SHARED_BLOB = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}")
AGAIN = "Copy or download all files of the checkpoint again."


class Folder:
    """A folder of files that are read: none that lies outside of it, by its name or by a link.

    A snapshot in the cache of huggingface_hub may hold links to the blobs of its own model.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = Path(os.path.realpath(path))
        self._blobs, self._shared = _find_blobs(self._root)

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
        real = Path(os.path.realpath(self.path / name))
        if self._root == real or self._root in real.parents:
            return True
        is_blob = self._blobs is not None and real.parent == self._blobs
        is_shared = self._shared is not None and bool(SHARED_BLOB.fullmatch(os.path.relpath(real, self._shared)))
        return is_blob or is_shared

    def file(self, name: str) -> Path:
        """Give the path of a file that may be read.

        Raises:
            CheckpointError: a link leads out of the folder.
        """
        if not self.holds(name):
            raise CheckpointError(
                f"{self.path / name} is a link to {os.path.realpath(self.path / name)}, outside of its folder.",
                hint="Name that file itself, or copy it into the folder.",
            )
        return self.path / name


def _find_blobs(root: Path) -> tuple[Path | None, Path | None]:
    """Find the blobs of the model whose snapshot a folder lies in, and those that all models share."""
    for commit in (root, *root.parents):
        model = commit.parent.parent
        if commit.parent.name == SNAPSHOTS and model.name.startswith("models--") and (model / BLOBS).is_dir():
            shared = model.parent / BLOBS
            return model / BLOBS, shared if (shared / SHARED_MARK).is_file() else None
    return None, None


def is_plain(name: object) -> bool:
    r"""Tell whether a name is that of a file in a folder or its subfolders, on every system.

    Example:
        >>> [is_plain(name) for name in ("a/b.bin", "../b", "/b", "C:b", "a\\b", "")]
        [True, False, False, False, False, False]
    """
    return (
        isinstance(name, str)
        and not DRIVE.match(name)
        and not re.search(r"[\\\0]", name)
        and all(part not in {"", ".", ".."} for part in name.split("/"))
    )


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
