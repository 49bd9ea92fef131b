"""Links in the folder of a checkpoint: those that lead out of it are not followed."""

from __future__ import annotations

from pathlib import Path

from embcompress.exceptions import CheckpointError

# Folders above that may hold the targets of links: in the cache of Hugging Face, snapshots/REVISION/[FOLDER/]FILE is a
# link into the folder `blobs` beside `snapshots`.
CACHE_DEPTH_MAX = 4
CACHE_FOLDER = "blobs"


def check_inside(path: Path, *, beside: Path | None = None) -> None:
    """Refuse a file that is a link to another folder than its own, but for the cache of Hugging Face.

    Args:
        path: of a file that the user did not name himself.
        beside: a file that he named: what lies where that one does may be a link, too.

    Raises:
        CheckpointError: it is.
    """
    folder, target = path.parent.resolve(), path.resolve().parent
    caches = [above / CACHE_FOLDER for above in folder.parents[:CACHE_DEPTH_MAX]]
    if target != folder and target not in caches and (beside is None or target != beside.resolve().parent):
        raise CheckpointError(
            f"{path} is a link out of its folder, to {path.resolve()}.", hint="Copy that file to its place."
        )
