"""Files that a checkpoint names, which must lie in its folder."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from embcompress.exceptions import DamagedFileError

SHOWN_MAX = 100  # characters of a name in a message


def path_within(folder: Path, name: str) -> Path:
    """Find a file by the name that another file of its folder gives it.

    Raises:
        DamagedFileError: the name leads out of the folder, by itself or by a link.
    """
    # As Windows reads it, which sees drive letters and both kinds of slashes.
    parts = PureWindowsPath(name).parts
    is_plain = bool(name) and "\0" not in name and not PureWindowsPath(name).anchor and ".." not in parts
    path = folder / name
    if not is_plain or not path.resolve().is_relative_to(folder.resolve()):
        raise DamagedFileError(
            f"{folder} names a file {name[:SHOWN_MAX]!r} that does not lie in it.",
            hint="Copy or download the folder again, from where you trust it.",
        )
    return path
