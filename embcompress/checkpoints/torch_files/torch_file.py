"""Files of torch.save since torch 1.6: a zip archive of one pickle and one uncompressed member per storage.

The pickle is read by `pickles`, which runs nothing; of the storages only the places are noted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.id_maps import find_labels
from embcompress.checkpoints.pickled.named_tensors import NamedTensors
from embcompress.checkpoints.pickled.placed_tensors import Source, list_tensors
from embcompress.checkpoints.pickled.reader import PickleStream
from embcompress.checkpoints.pickled.records import StorageReference
from embcompress.checkpoints.regions import FileRegion
from embcompress.checkpoints.tensors import Listing
from embcompress.checkpoints.torch_files.archive import TorchArchive
from embcompress.checkpoints.zip_archive import KERAS_MEMBERS, SIGNATURE, first_member

NAME = "torch"


def is_recognised(path: Path, head: bytes) -> bool:
    """Tell by the first bytes whether this is a zip archive, and none of NumPy's arrays or of Keras.

    A part of a distributed checkpoint is one archive of torch.save behind the other.
    """
    member = first_member(head)
    is_other = member.endswith(".npy") or member in KERAS_MEMBERS
    return head.startswith(SIGNATURE) and not is_other and path.suffix != ".distcp"


def read_listing(path: Path, files: Files) -> Listing:
    """List the tensors of a file of torch.save by the names that its state dict gives them.

    A whole pickled module is listed as its own state_dict() would be, as far as that follows from its parameters,
    buffers and children. Reads the archive's directory, the pickle, and 30 bytes per storage.

    Raises:
        UnknownFormatError: a zip archive of another kind, TorchScript, or nothing in it is a tensor.
        DamagedFileError: cut short, or what it says of its members or tensors cannot be true.
    """
    file, base = files.open(path)
    archive = TorchArchive(file)
    start, nbytes = archive.locate_checked("data.pkl")
    tree = PickleStream(FileRegion(file, start, nbytes), name=archive.path, nbytes=nbytes).read().value

    def locate(storage: StorageReference) -> tuple[int, int]:
        position, held_bytes = archive.locate_storage(storage.key)
        return base + position, held_bytes

    named = NamedTensors(tree, archive.path, pickle_bytes=nbytes)
    listing = list_tensors(named, Source(archive.path, files, base + start, locate))
    labels = find_labels(listing.tensors, path.parent, own_labels=named.graph_labels)
    return replace(listing, labels={**labels, **listing.labels})
