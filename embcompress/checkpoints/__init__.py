"""Reading checkpoints: one small module per format, told by the content and never by the file's ending."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import BinaryIO

from embcompress.checkpoints import safetensors_file, torch_zip
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor
from embcompress.checkpoints.unread import HEAD_BYTES, tell_folder, tell_unread
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from embcompress.text import suggest_file

__all__ = ["FORMATS", "Checkpoint", "LeftOut", "StoredTensor", "open_checkpoint"]

FORMATS: tuple[ModuleType, ...] = (safetensors_file, torch_zip)
# Each has NAME, is_recognised(head: bytes) -> bool and read_listing(file) -> Listing.


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint: what is in it and the file that its bytes are read from.

    A context manager; closing it makes its tensors unreadable.
    """

    path: Path
    format: str
    nbytes: int
    listing: Listing
    file: BinaryIO

    @property
    def tensors(self) -> tuple[StoredTensor, ...]:
        """The tensors in the order of the file; several may share one place."""
        return self.listing.tensors

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint and list its tensors, without reading them and without running anything in it.

    Raises:
        CheckpointError: missing, not a regular file, or not readable by this user.
        UnknownFormatError: empty, or of a content that no reader recognises.
        DamagedFileError: recognised, but cut short or untrue to itself.
    """
    try:
        mode = os.stat(path).st_mode  # before opening: opening a pipe would wait for a writer
        if stat.S_ISDIR(mode):
            what, hint = tell_folder(path)
            raise CheckpointError(f"{path} {what}.", hint=hint)
        if not stat.S_ISREG(mode):
            raise CheckpointError(f"{path} is not a regular file.", hint="Copy its content to a file first.")
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - the Checkpoint owns and closes it
    except FileNotFoundError as err:
        raise CheckpointError(f"{path} does not exist.", hint=suggest_file(path)) from err
    except OSError as err:
        raise CheckpointError(f"{path} cannot be opened: {err.strerror}.") from err
    try:
        head = file.read(HEAD_BYTES)
        chosen = _recognise(path, head)
        listing = chosen.read_listing(file)
    except OSError as err:
        file.close()
        raise DamagedFileError(f"{path} cannot be read: {err.strerror}.") from err
    except BaseException:
        file.close()
        raise
    return Checkpoint(path=path, format=chosen.NAME, nbytes=os.fstat(file.fileno()).st_size, listing=listing, file=file)


def _recognise(path: Path, head: bytes) -> ModuleType:
    if not head:
        raise UnknownFormatError(f"{path} is empty.", hint="Copy or download it again.")
    # A part of a distributed checkpoint is one archive of torch.save behind the other.
    is_part = path.name.endswith(".distcp")
    for candidate in FORMATS:
        if candidate.is_recognised(head) and not is_part:
            return candidate
    unread = tell_unread(path, head)
    if unread is not None:
        what, hint = unread
        raise UnknownFormatError(f"{path} {what}.", hint=hint)
    tried = ", ".join(candidate.NAME for candidate in FORMATS)
    raise UnknownFormatError(
        f"no format recognised the content of {path} (tried {tried}).",
        hint="Save the model's state_dict with safetensors or torch.save.",
    )
