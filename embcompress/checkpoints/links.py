"""Files that belong to a checkpoint and that the user did not name: their names and links must not lead out of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from embcompress.exceptions import CheckpointError, DamagedFileError

DRIVE = re.compile(r"[A-Za-z]:")
SHOWN_MAX = 100  # characters of a name in a message
# Of Hugging Face's cache: models--org--name/snapshots/COMMIT holds links to models--org--name/blobs/HASH, which may be
# links to blobs/HA/HASH, a store that all models share and that this file marks.
SNAPSHOTS, BLOBS = "snapshots", "blobs"
REPOSITORIES = ("models--", "datasets--")
SHARED_MARK = ".huggingface-shared-blobs"
SHARED_BLOB = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}")


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


def is_inside(path: Path, folder: Path) -> bool:
    """Tell whether a file or folder lies in a folder when links are followed.

    A snapshot in the cache of huggingface_hub may hold links to the blobs of its own repository.
    """
    real, root = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if real == root or root in real.parents:
        return True
    blobs, shared = _find_blobs(root)
    is_blob = blobs is not None and real.parent == blobs
    return is_blob or (shared is not None and bool(SHARED_BLOB.fullmatch(os.path.relpath(real, shared))))


def check_inside(path: Path, folder: Path) -> Path:
    """Refuse a file that a link puts outside of a folder; else give its path.

    Args:
        path: of a file that the user did not name.
        folder: that the user named, or that the file lies in that he named.

    Raises:
        CheckpointError: a link leads out of the folder.
    """
    if not is_inside(path, folder):
        raise CheckpointError(
            f"{path} is a link to {os.path.realpath(path)}, outside of its folder.",
            hint="Copy that file into the folder, in place of the link.",
        )
    return path


def path_within(folder: Path, name: object) -> Path:
    """Find a file by the name that another file of its folder gives it.

    Raises:
        DamagedFileError: it is no name of a file in the folder.
        CheckpointError: a link leads out of the folder.
    """
    if not isinstance(name, str) or not is_plain(name):
        raise DamagedFileError(
            f"{folder} names a file {str(name)[:SHOWN_MAX]!r} that does not lie in it.",
            hint="Copy or download the folder again, from where you trust it.",
        )
    return check_inside(folder / name, folder)


def _find_blobs(root: Path) -> tuple[Path | None, Path | None]:
    """Find the blobs of the repository whose snapshot a folder lies in, and those that all models share."""
    for commit in (root, *root.parents):
        repository = commit.parent.parent
        is_snapshot = commit.parent.name == SNAPSHOTS and repository.name.startswith(REPOSITORIES)
        if is_snapshot and (repository / BLOBS).is_dir():
            shared = repository.parent / BLOBS
            return repository / BLOBS, shared if (shared / SHARED_MARK).is_file() else None
    return None, None
