"""The labels of rows that a checkpoint holds itself: words of a file of vectors, ids of a map beside its tables.

A safetensors file keeps those of a table `T` as two tensors: `T.labels`, their UTF-8 bytes one behind the other, and
`T.label_offsets`, where each begins and the last ends, (rows + 1,) int32, or int64 from 2 GiB.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import BinaryIO

from embcompress.checkpoints import Checkpoint
from embcompress.checkpoints.tensors import StoredTensor, contiguous_bytes, contiguous_strides
from embcompress.exceptions import DamagedFileError

LABELS_SUFFIX = ".labels"
OFFSETS_SUFFIX = ".label_offsets"
OFFSET_TYPES = {"int32": "i", "int64": "q"}  # of array


def attach_labels(checkpoint: Checkpoint, *, as_in: Collection[str] | None = None) -> Checkpoint:
    """Add the labels that a format has as two tensors for each table, so that a copy of its tensors holds them.

    Reads the labels. A table of another number of rows than labels gets none.

    Args:
        checkpoint: an open one.
        as_in: names of tensors; None: labels of all tables, else only those whose tensors are among them.
    """
    tensors = {stored.name: stored for stored in checkpoint.tensors}
    added: list[StoredTensor] = []
    for name in checkpoint.listing.labels:
        table = tensors.get(name)
        if name + LABELS_SUFFIX in tensors or not (as_in is None or name + LABELS_SUFFIX in as_in):
            continue
        labels = read_own_labels(checkpoint, name, rows=table.shape[0]) if table is not None else ()
        if not labels:
            continue
        for part in encode_labels(name, labels):
            start = checkpoint.files.add(part.name, len(part.content), partial(_write, part.content))
            shape = (part.count,)
            added.append(StoredTensor(part.name, part.dtype, shape, contiguous_strides(shape), start))
    listing = replace(checkpoint.listing, tensors=(*checkpoint.listing.tensors, *added))
    return replace(checkpoint, listing=listing, tensors=(*checkpoint.tensors, *added)) if added else checkpoint


@dataclass(frozen=True)
class EncodedLabels:
    """One of the two tensors that hold the labels of a table, of one axis.

    Attributes:
        name: of the tensor.
        dtype: torch's name of it.
        count: of its elements.
        content: its bytes.
    """

    name: str
    dtype: str
    count: int
    content: bytes


def encode_labels(name: str, labels: Sequence[str]) -> tuple[EncodedLabels, EncodedLabels]:
    """Encode the labels of a table of this name as its two tensors."""
    texts = [label.encode("utf-8", "backslashreplace") for label in labels]
    ends = [0, *accumulate(map(len, texts))]
    dtype = "int32" if ends[-1] < 2**31 else "int64"
    offsets = array(OFFSET_TYPES[dtype], ends)
    if sys.byteorder == "big":
        offsets.byteswap()
    return (
        EncodedLabels(name + LABELS_SUFFIX, "uint8", ends[-1], b"".join(texts)),
        EncodedLabels(name + OFFSETS_SUFFIX, dtype, len(ends), offsets.tobytes()),
    )


def has_own_labels(checkpoint: Checkpoint, name: str) -> bool:
    """Tell whether a checkpoint holds the labels of a table's rows."""
    return name in checkpoint.listing.labels or any(
        stored.name == name + LABELS_SUFFIX and stored.dtype == "uint8" for stored in checkpoint.tensors
    )


def read_own_labels(checkpoint: Checkpoint, name: str, *, rows: int) -> Sequence[str]:
    """Read the labels of a table's rows that the checkpoint holds; empty where it holds none, or not one a row.

    Once they are attached, or in an artifact, they are read from their tensors, not from the format again.

    Raises:
        DamagedFileError: the two tensors of its labels do not fit together, or not the table.
    """
    tensors = {stored.name: stored for stored in checkpoint.tensors}
    texts, ends = tensors.get(name + LABELS_SUFFIX), tensors.get(name + OFFSETS_SUFFIX)
    is_pair = (
        texts is not None
        and ends is not None
        and (texts.dtype, len(texts.shape), len(ends.shape)) == ("uint8", 1, 1)
        and ends.dtype in OFFSET_TYPES
    )
    if not is_pair:
        labels = checkpoint.listing.labels[name]() if name in checkpoint.listing.labels else ()
        return labels if len(labels) == rows else ()
    assert texts is not None
    assert ends is not None
    offsets = array(OFFSET_TYPES[ends.dtype], _read(checkpoint, ends))
    if sys.byteorder == "big":
        offsets.byteswap()
    content = _read(checkpoint, texts)
    is_fitting = len(offsets) == rows + 1 and offsets[0] == 0 and offsets[-1] == len(content)
    if not is_fitting or any(map(int.__gt__, offsets, offsets[1:])):
        raise DamagedFileError(
            f"{checkpoint.path} holds labels of {name!r} whose {ends.name!r} do not fit {rows} rows and "
            f"{len(content)} bytes.",
            hint="Copy or download it again.",
        )
    return [content[start:end].decode("utf-8", "backslashreplace") for start, end in pairwise(offsets)]


def _read(checkpoint: Checkpoint, stored: StoredTensor) -> bytes:
    return b"".join(map(bytes, contiguous_bytes(stored, files=checkpoint.files)))


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
