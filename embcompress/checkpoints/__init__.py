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
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError
from embcompress.text import suggest_file

__all__ = ["FORMATS", "Checkpoint", "LeftOut", "StoredTensor", "open_checkpoint"]

FORMATS: tuple[ModuleType, ...] = (safetensors_file, torch_zip)
# Each has NAME, is_recognised(head: bytes) -> bool and read_listing(file) -> Listing.

HEAD_BYTES = 64  # enough for every signature below

NOT_READ: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "is a git-lfs pointer, not the file itself",
        "Fetch the file with `git lfs pull`.",
    ),
    (
        b"\x80",
        "is a pickle outside a zip archive (torch.save before 1.6, or pickle.dump)",
        "Load it where you trust it and save its state_dict with torch.save or safetensors.",
    ),
    (b"\x89HDF", "is an HDF5 file", "Save its weights as safetensors."),
    (b"\x93NUMPY", "is a NumPy array", "Save it as safetensors: safetensors.numpy.save_file({'weight': array}, path)."),
    (b"\x1f\x8b", "is compressed with gzip", "Unpack it first."),
    (b"<!doctype", "is an HTML page, probably an error page of the server", "Download the file again."),
    (b"<html", "is an HTML page, probably an error page of the server", "Download the file again."),
    (b"<?xml", "is an XML page, probably an error message of the server", "Download the file again."),
    (b"{", "is JSON, not tensors", "Name the file that holds the tensors."),
)  # first bytes -> what the file is, and what to do about it


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
            raise CheckpointError(f"{path} is a folder.", hint="Name the checkpoint file inside it.")
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
    for candidate in FORMATS:
        if candidate.is_recognised(head):
            return candidate
    start = head.lstrip().lower()  # servers write <!DOCTYPE in either case, some after an empty line
    for signature, what, hint in NOT_READ:
        if start.startswith(signature.lower()):
            raise UnknownFormatError(f"{path} {what}.", hint=hint)
    tried = ", ".join(candidate.NAME for candidate in FORMATS)
    raise UnknownFormatError(
        f"no format recognised the content of {path} (tried {tried}).",
        hint="Save the model's state_dict with safetensors or torch.save.",
    )
