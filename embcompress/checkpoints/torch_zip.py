"""Files of torch.save since torch 1.6: a zip archive of one pickle and one uncompressed member per storage.

The pickle is read by `pickles`, which runs nothing; of the storages only the places are noted.
"""

from __future__ import annotations

import math
from pathlib import Path

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.id_maps import find_labels
from embcompress.checkpoints.named_tensors import UNHELD_TENSORS, NamedTensors
from embcompress.checkpoints.pickles import TensorReference, read_pickle
from embcompress.checkpoints.tensors import EXPANDED_BYTES_MAX, ITEM_BYTES, LeftOut, Listing, StoredTensor
from embcompress.checkpoints.torch_archive import TorchArchive
from embcompress.checkpoints.unread import converting_line
from embcompress.checkpoints.zip_archive import SIGNATURE, first_member
from embcompress.exceptions import DamagedFileError

NAME = "torch"

PICKLE_BYTES_MAX = 2**30  # bytes; a larger data.pkl holds arrays inline, which torch.save never writes


def is_recognised(path: Path, head: bytes) -> bool:
    """Tell by the first bytes whether this is a zip archive, and not one of arrays of NumPy.

    A part of a distributed checkpoint is one archive of torch.save behind the other.
    """
    is_archive = head.startswith(SIGNATURE) and not first_member(head).endswith(".npy")
    return is_archive and path.suffix != ".distcp"


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
    content = archive.read("data.pkl", PICKLE_BYTES_MAX)
    tree = NamedTensors(read_pickle(content, name=archive.path), archive.path, pickle_bytes=len(content))
    loading = tree.loading if tree.is_flat else ""
    stored = [_place(archive, name, tensor, base=base, loading=loading) for name, tensor in tree.tensors]
    tensors = tuple(item for item in stored if isinstance(item, StoredTensor))
    return Listing(
        tensors=tensors,
        left_out=(*(item for item in stored if isinstance(item, LeftOut)), *tree.left_out),
        row_shapes=tree.row_shapes,
        graph_model=tree.graph_model,
        loading=tree.loading,
        is_flat=tree.is_flat,
        labels=find_labels(tensors, path.parent, told=tree.graph_labels),
    )


def _place(
    archive: TorchArchive, name: str, tensor: TensorReference, *, base: int, loading: str
) -> StoredTensor | LeftOut:
    """Turn a tensor of the pickle into a place in the file that is known to exist."""
    storage = tensor.storage
    if storage.location == "meta":
        return LeftOut(name, UNHELD_TENSORS["_rebuild_meta_tensor_no_storage"])
    if tensor.pending:
        calls = " and ".join(f"resolve_{flag}()" for flag in tensor.pending)
        return LeftOut(name, f"a lazy view of other values; call {calls} on it before saving")
    for dtype in (tensor.dtype, storage.dtype or "uint8"):
        if dtype not in ITEM_BYTES or dtype == "complex128":
            kind = f"{'FP8, ' if dtype.startswith('float8') else ''}of dtype {dtype[:100]}"
            wanted = "complex64" if dtype.startswith("complex") else "float32"
            line = converting_line(name, f"%s.to(torch.{wanted})", loading=loading)
            return LeftOut(name, f"{kind}, which safetensors cannot hold", line if len(tensor.shape) > 1 else "")
    start, member_bytes = archive.locate_storage(storage.key)
    storage_bytes = storage.numel * ITEM_BYTES[storage.dtype or "uint8"]
    if storage_bytes > member_bytes:
        raise DamagedFileError(
            f"tensor {name!r} in {archive.path} has a storage declared as {storage_bytes} bytes, "
            f"and {member_bytes} are there.",
            hint="Copy or download it again.",
        )
    item_bytes = ITEM_BYTES[tensor.dtype]
    numel = math.prod(tensor.shape)
    # Elements from the first to the last; of an empty tensor none, and its offset may lie anywhere.
    reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if numel and (tensor.offset + reach) * item_bytes > storage_bytes:
        raise DamagedFileError(
            f"tensor {name!r} in {archive.path} reaches to byte {(tensor.offset + reach) * item_bytes} of a storage "
            f"of {storage_bytes} bytes.",
            hint="Copy or download it again.",
        )
    if numel > reach and numel * item_bytes > EXPANDED_BYTES_MAX:
        raise DamagedFileError(
            f"tensor {name!r} in {archive.path} repeats {reach} stored elements to {numel}; "
            f"at most {EXPANDED_BYTES_MAX} bytes are made of repetition.",
            hint="Save it without expand(), or after clone().",
        )
    first = base + (start + tensor.offset * item_bytes if numel else start)
    return StoredTensor(name=name, dtype=tensor.dtype, shape=tensor.shape, strides=tensor.strides, start=first)
