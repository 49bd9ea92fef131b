"""Reading checkpoints: one small module per format, told by the content and never by the file's ending."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from embcompress.checkpoints import (
    binary_vectors,
    dglke,
    fasttext_binary,
    gensim_pickle,
    npy,
    npz,
    packed,
    safetensors_file,
    spacy_vectors,
    text_vectors,
    torch_zip,
)
from embcompress.checkpoints.files import Files
from embcompress.checkpoints.pieces import join_pieces
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor
from embcompress.checkpoints.unread import HEAD_BYTES, tell_folder, tell_unread
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError

__all__ = ["FORMATS", "Checkpoint", "LeftOut", "StoredTensor", "open_checkpoint"]

FORMATS: tuple[ModuleType, ...] = (
    safetensors_file,
    torch_zip,
    npy,
    npz,
    text_vectors,
    binary_vectors,
    fasttext_binary,
    packed,
    dglke,
    spacy_vectors,
    gensim_pickle,
)
# Each has NAME, is_recognised(path, head) -> bool, where head is the first HEAD_BYTES bytes of a file and empty of a
# folder, and read_listing(path, files) -> Listing.


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint: what is in it and the files that its bytes are read from.

    A context manager; closing it makes its tensors unreadable.

    Attributes:
        tensors: in the order of the file, those that are cut into several tensors or stored with scales as one; two
            may share one place.
    """

    path: Path
    format: str
    nbytes: int
    listing: Listing
    files: Files
    tensors: tuple[StoredTensor, ...]

    @property
    def stored(self) -> tuple[StoredTensor, ...]:
        """The tensors as they are stored, each shard and all scales by their own names."""
        return self.listing.tensors

    def stored_beside(self, names: Collection[str]) -> tuple[StoredTensor, ...]:
        """List what is stored that is no part of the tensors of these names, of their shards or of their scales."""
        parts = {source.name for tensor in self.tensors if tensor.name in names for source in tensor.sources}
        return tuple(tensor for tensor in self.stored if tensor.name not in names and tensor.name not in parts)

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.files.close()


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint, a file or a folder, and list its tensors, without reading them and without running anything.

    Raises:
        CheckpointError: missing, neither a regular file nor a folder, or not readable by this user.
        UnknownFormatError: empty, or of a content that no reader recognises.
        DamagedFileError: recognised, but cut short or untrue to itself.
    """
    files = Files(path)
    try:
        head = b"" if path.is_dir() else read_head(path, files)
        chosen = _recognise(path, head)
        listing = chosen.read_listing(path, files)
        return Checkpoint(path, chosen.NAME, files.nbytes, listing, files, join_pieces(listing, path))
    except OSError as err:
        files.close()
        raise DamagedFileError(f"{path} cannot be read: {err.strerror}.") from err
    except BaseException:
        files.close()
        raise


def read_head(path: Path, files: Files) -> bytes:
    """Read the first HEAD_BYTES bytes of a file."""
    file, _ = files.open(path)
    return os.pread(file.fileno(), HEAD_BYTES, 0)


def _recognise(path: Path, head: bytes) -> ModuleType:
    for candidate in FORMATS:
        if candidate.is_recognised(path, head):
            return candidate
    if path.is_dir():
        what, hint = tell_folder(path)
        raise CheckpointError(f"{path} {what}.", hint=hint)
    if not head:
        raise UnknownFormatError(f"{path} is empty.", hint="Copy or download it again.")
    unread = tell_unread(path, head)
    if unread is not None:
        what, hint = unread
        raise UnknownFormatError(f"{path} {what}.", hint=hint)
    tried = ", ".join(candidate.NAME for candidate in FORMATS)
    raise UnknownFormatError(
        f"no format recognised the content of {path} (tried {tried}).",
        hint="Save the model's state_dict with safetensors or torch.save.",
    )
