"""The libraries that own a format: imported when one is read, given its bytes, and not believed."""

from __future__ import annotations

import importlib
from typing import Any

from embcompress.checkpoints.tensors import EXPANDED_BYTES_MAX
from embcompress.exceptions import CheckpointError, DamagedFileError

# Times that values may be larger than what they are unpacked from: DEFLATE reaches 1032.
EXPANSION_MAX = 1100


def import_library(module: str, *, extra: str, kind: str, path: object) -> Any:
    """Import a module of a library that an extra installs.

    Args:
        module: its dotted name.
        extra: of embcompress.
        kind: what it reads, as messages name it.
        path: of the file that is to be read.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as err:
        library = module.partition(".")[0]
        raise CheckpointError(
            f"{path}: {kind} is read by {library}, which is not installed.",
            hint=f"pip install 'embcompress[{extra}]'",
        ) from err


def check_expansion(nbytes: int, *, packed: int, name: str) -> None:
    """Refuse values that are far larger than what they would be unpacked from, before memory is taken for them.

    Args:
        nbytes: of the values, as the file tells.
        packed: bytes of the file that hold them.
        name: what messages call them.

    Raises:
        DamagedFileError: they are.
    """
    if nbytes > EXPANSION_MAX * packed + EXPANDED_BYTES_MAX:
        raise DamagedFileError(
            f"{name} promises {nbytes} bytes of values and has {packed} to make them of.",
            hint="Copy or download it again.",
        )
