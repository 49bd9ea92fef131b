"""Reading checkpoints: one small module per format, told by the content and never by the file's ending."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from embcompress.checkpoints import safetensors_file
from embcompress.checkpoints.column_files import arrow_file, arrow_folder, parquet_file
from embcompress.checkpoints.files import Files, read_head
from embcompress.checkpoints.gguf_files import gguf_file
from embcompress.checkpoints.graph_folders import biggraph_folder, dglke_folder
from embcompress.checkpoints.hdf5_files import hdf5_file
from embcompress.checkpoints.hugging_face import folder
from embcompress.checkpoints.hugging_face.hub import download, parse_address
from embcompress.checkpoints.numpy_files import npy_file, npz_file
from embcompress.checkpoints.pickled import pickle_file
from embcompress.checkpoints.pieces import join_pieces
from embcompress.checkpoints.tensors import LeftOut, Listing, StoredTensor
from embcompress.checkpoints.torch_files import distributed_folder, legacy_file, shards_folder, torch_file
from embcompress.checkpoints.unread import tell_folder, tell_unread
from embcompress.checkpoints.word_vectors import (
    binary_file,
    fasttext_file,
    gensim_file,
    packed_file,
    spacy_folder,
    text_file,
)
from embcompress.exceptions import CheckpointError, DamagedFileError, UnknownFormatError

__all__ = ["FORMATS", "Checkpoint", "LeftOut", "StoredTensor", "open_checkpoint"]

# Each has NAME, is_recognised(path, head) -> bool, where head is the first HEAD_BYTES bytes of a file and empty of a
# folder, and read_listing(path, files) -> Listing. No two recognise one file; of a folder that holds what several read,
# the first counts: a model of Hugging Face with arrays or parts of data beside it is the model.
FORMATS: tuple[ModuleType, ...] = (
    safetensors_file,
    torch_file,
    legacy_file,
    pickle_file,
    npy_file,
    npz_file,
    gguf_file,
    hdf5_file,
    text_file,
    binary_file,
    fasttext_file,
    gensim_file,
    packed_file,
    parquet_file,
    arrow_file,
    distributed_folder,
    shards_folder,
    folder,
    spacy_folder,
    dglke_folder,
    biggraph_folder,
    arrow_folder,
)


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint: what is in it and the files that its bytes are read from.

    A context manager; closing it makes its tensors unreadable.

    Attributes:
        path: of what is read.
        tensors: in the order of the file, those that are cut into several tensors or stored with scales as one; two
            may share one place.
        address: where it was fetched from; empty where it was there.
    """

    path: Path
    format: str
    nbytes: int
    listing: Listing
    files: Files
    tensors: tuple[StoredTensor, ...]
    address: str = ""

    @property
    def name(self) -> str:
        """The address or the path that was asked for."""
        return self.address or str(self.path)

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


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint, a file or a folder, and list its tensors, without reading them and without running anything.

    Args:
        path: of a file or a folder, or an address on the Hugging Face hub, hf://org/name@revision/subfolder, from
            where it is fetched into the cache of huggingface_hub.

    Raises:
        CheckpointError: missing, neither a regular file nor a folder, not readable by this user, or not to be fetched.
        UnknownFormatError: empty, or of a content that no reader recognises.
        DamagedFileError: recognised, but cut short or untrue to itself.
    """
    address = parse_address(path)
    path = Path(path) if address is None else download(address)
    files = Files(path)
    try:
        head = b"" if path.is_dir() else read_head(path, files)
        chosen = _recognise(path, head)
        listing = chosen.read_listing(path, files)
        tensors = join_pieces(listing, path, files)
        return Checkpoint(
            path, chosen.NAME, files.nbytes, listing, files, tensors, "" if address is None else str(address)
        )
    except OSError as err:
        files.close()
        raise DamagedFileError(f"{path} cannot be read: {err.strerror}.") from err
    except BaseException:
        files.close()
        raise


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
