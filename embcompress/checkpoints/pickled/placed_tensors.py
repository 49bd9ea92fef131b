"""The tensors and arrays of an unpickled tree as places in the files that hold them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.pickled.arrays import ArrayReference, Reference
from embcompress.checkpoints.pickled.latin_text import LatinTexts
from embcompress.checkpoints.pickled.named_tensors import NamedTensors
from embcompress.checkpoints.pickled.quantized_tensors import place_quantized
from embcompress.checkpoints.pickled.records import QuantizedReference, Span, StorageReference, TensorReference
from embcompress.checkpoints.pickled.stacked_rows import stack_rows
from embcompress.checkpoints.pickled.unstorable_tensors import UNSTORABLE_TENSORS
from embcompress.checkpoints.pickled.vectors import VectorTable
from embcompress.checkpoints.tensors import EXPANDED_BYTES_MAX, ITEM_BYTES, LeftOut, Listing, StoredTensor
from embcompress.checkpoints.unread import converting_line
from embcompress.exceptions import DamagedFileError


@dataclass(frozen=True)
class Source:
    """The file that a pickle lies in, and the storages that it refers to.

    Attributes:
        path: what messages call it.
        files: of the checkpoint.
        pickle_start: address that the places in the pickle are counted from.
        locate: finds the address of a storage of the pickle, and how many bytes are there.
    """

    path: str
    files: Files
    pickle_start: int
    locate: Callable[[StorageReference], tuple[int, int]]


def list_tensors(tree: NamedTensors, source: Source) -> Listing:
    """List the tensors of a tree, each checked to lie in its file.

    Raises:
        DamagedFileError: a tensor reaches beyond its storage, or repeats what is stored too often.
    """
    loading = tree.loading if tree.is_flat else ""
    arrays = [value for _, value in tree.tensors if isinstance(value, ArrayReference)]
    arrays += [
        row
        for _, value in tree.tensors
        if isinstance(value, VectorTable)
        for row in value.rows
        if isinstance(row, ArrayReference)
    ]
    texts = LatinTexts(source.path, source.files, source.pickle_start, kind="arrays")
    for array in arrays:
        if isinstance(array.content, str) or array.content.is_text:
            texts.add(array.content, array.nbytes)
    placing = _Placing(source, texts, loading)
    stored = [placing.place_value(name, value) for name, value in tree.tensors]
    return Listing(
        tensors=tuple(item for item in stored if isinstance(item, StoredTensor)),
        left_out=(*(item for item in stored if isinstance(item, LeftOut)), *tree.left_out),
        row_shapes=tree.row_shapes,
        graph_model=tree.graph_model,
        loading=tree.loading,
        is_flat=tree.is_flat,
        labels={
            name: partial(list, value.labels)
            for name, value in tree.tensors
            if isinstance(value, VectorTable) and value.labels is not None
        },
    )


@dataclass(frozen=True)
class _Placing:
    """The way from what a pickle says of a tensor to its place.

    Attributes:
        source: of the pickle.
        texts: the contents of arrays that are decoded.
        loading: the expression that loads the state dict by its names, for hints.
    """

    source: Source
    texts: LatinTexts
    loading: str

    def place_value(self, name: str, value: Reference | VectorTable) -> StoredTensor | LeftOut:
        if isinstance(value, TensorReference):
            return place_tensor(name, value, self.source, loading=self.loading)
        if isinstance(value, QuantizedReference):
            return place_quantized(name, value, self.place_value)
        if isinstance(value, ArrayReference):
            content = value.content
            if isinstance(content, Span) and not content.is_text:
                start = self.source.pickle_start + content.start
            else:
                start = self.texts.locate(content)
            return StoredTensor(name, value.dtype, value.shape, value.strides, start, is_big_endian=value.is_big_endian)
        rows: list[StoredTensor] = []
        for row in value.rows:
            placed = self.place_value(name, row)
            if isinstance(placed, LeftOut):
                return placed
            rows.append(placed)
        return stack_rows(name, rows, files=self.source.files)


def place_tensor(name: str, tensor: TensorReference, source: Source, *, loading: str) -> StoredTensor | LeftOut:
    """Turn a tensor of a pickle into a place in the file that is known to exist.

    Raises:
        DamagedFileError: there is no such place.
    """
    storage = tensor.storage
    if storage.location == "meta":
        return LeftOut(name, UNSTORABLE_TENSORS["_rebuild_meta_tensor_no_storage"])
    if tensor.pending:
        calls = " and ".join(f"resolve_{flag}()" for flag in tensor.pending)
        return LeftOut(name, f"a lazy view of other values; call {calls} on it before saving")
    for dtype in (tensor.dtype, storage.dtype or "uint8"):
        if dtype not in ITEM_BYTES or dtype == "complex128":
            kind = f"{'FP8, ' if dtype.startswith('float8') else ''}of dtype {dtype[:100]}"
            wanted = "complex64" if dtype.startswith("complex") else "float32"
            line = converting_line(name, f"%s.to(torch.{wanted})", loading=loading)
            return LeftOut(name, f"{kind}, which safetensors cannot hold", line if len(tensor.shape) > 1 else "")
    start, held_bytes = source.locate(storage)
    storage_bytes = storage.numel * ITEM_BYTES[storage.dtype or "uint8"]
    view_start = storage.offset * ITEM_BYTES[storage.dtype or "uint8"]
    if view_start + storage_bytes > held_bytes:
        raise DamagedFileError(
            f"tensor {name!r} in {source.path} has a storage declared as {view_start + storage_bytes} bytes, "
            f"and {held_bytes} are there.",
            hint="Copy or download it again.",
        )
    item_bytes = ITEM_BYTES[tensor.dtype]
    numel = math.prod(tensor.shape)
    # Elements from the first to the last; of an empty tensor none, and its offset may lie anywhere.
    reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if numel and (tensor.offset + reach) * item_bytes > storage_bytes:
        raise DamagedFileError(
            f"tensor {name!r} in {source.path} reaches to byte {(tensor.offset + reach) * item_bytes} of a storage "
            f"of {storage_bytes} bytes.",
            hint="Copy or download it again.",
        )
    if numel > reach and numel * item_bytes > EXPANDED_BYTES_MAX:
        raise DamagedFileError(
            f"tensor {name!r} in {source.path} repeats {reach} stored elements to {numel}; "
            f"at most {EXPANDED_BYTES_MAX} bytes are made of repetition.",
            hint="Save it without expand(), or after clone().",
        )
    first = start + view_start + (tensor.offset * item_bytes if numel else 0)
    return StoredTensor(name=name, dtype=tensor.dtype, shape=tensor.shape, strides=tensor.strides, start=first)
