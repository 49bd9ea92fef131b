"""Tables that a checkpoint holds in a form that is not read, each with the line that makes floats of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.checkpoints.scales import PACKED_LEAF, WEIGHT_LEAF, find_scales
from embcompress.checkpoints.unread import SAVE_WHOLE
from embcompress.tables.recognition import TABLE_DTYPES, recognise

OTHER_DTYPES = ("bool", "float8_e8m0fnu")  # no numbers of a table: the second is a dtype of scales
LIBRARY_HINT = (
    "Dequantize it with the library that quantized it, and save the result: in transformers, model.dequantize()."
)
CONFIGURATION_HINT = (
    "Put the model's config.json beside the file: its entry `quantization` tells the bits, if MLX wrote both."
)

SCATTERED_MIN = 16  # vectors of one length: fewer may be the biases and norms of a small model
SCATTERED_SHARE = 0.9  # of all tensors
FLAT_PARAMETER = re.compile(r"(^|\.)_?flat_param(_\d+)?$")
SHOWN_SHAPE = (1000, 64)  # that a table could have whose own shape is not in the file
ZERO_HINT = (
    "Gather it in DeepSpeed's folder of the checkpoint: `python zero_to_fp32.py . OUTPUT`, which lies in that folder."
)


@dataclass(frozen=True)
class UnreadTable:
    """A matrix that is stored in a form that is not read.

    Attributes:
        name: of the tensor, or of several.
        what: it is, in words that follow "is".
        hint: the line that makes floats of it.
        stored: where it lies; None where no output can hold it.
        is_named: whether it is named like an embedding table.
        is_sure: whether it is a matrix of numbers beyond doubt; integers without a scale may be anything.
    """

    name: str
    what: str
    hint: str
    stored: StoredTensor | None
    is_named: bool
    is_sure: bool = True

    @property
    def reason(self) -> str:
        """Say what it is and, of what is named like a table, what to do."""
        return f"{self.what}. {self.hint}" if self.is_named else self.what


def find_unread_tables(checkpoint: Checkpoint) -> tuple[UnreadTable, ...]:
    """Find the matrices of FP8, of quantized integers, and those left out; what is named like a table comes first."""
    by_name = {stored.name: stored for stored in checkpoint.tensors}
    verdicts = [_judge(stored, by_name) for stored in checkpoint.tensors]
    tables = [table for table in verdicts if table is not None]
    tables += [
        UnreadTable(left.name, left.reason, left.hint, None, _is_named(left.name, SHOWN_SHAPE))
        for left in checkpoint.listing.left_out
        if left.hint
    ]
    return tuple(sorted(tables, key=lambda table: (not table.is_named, not table.is_sure)))


def tell_scattered(checkpoint: Checkpoint) -> tuple[str, str] | None:
    """Tell why a file has no matrix though its model has, and what to do; None where nothing tells.

    The parameters of DeepSpeed's ZeRO-3 are empty, those of FSDP flat, and of a dict of ids each row is one tensor.
    """
    tensors = [stored for stored in checkpoint.tensors if "float" in stored.dtype]
    empty = [stored for stored in tensors if stored.shape == (0,)]
    if empty and 2 * len(empty) > len(tensors):
        what = f"{len(empty)} parameters of shape (0,), {empty[0].name!r} among them"
        return f"{what}: DeepSpeed's ZeRO-3 keeps their values in other files", ZERO_HINT
    flat = [stored for stored in tensors if FLAT_PARAMETER.search(stored.name)]
    if flat:
        return f"the flat parameters of FSDP, {flat[0].name!r} among them, which have no shapes", SAVE_WHOLE
    return _tell_vectors(checkpoint, tensors)


def _tell_vectors(checkpoint: Checkpoint, tensors: list[StoredTensor]) -> tuple[str, str] | None:
    by_length: dict[int, list[StoredTensor]] = {}
    for stored in tensors:
        if len(stored.shape) == 1 and stored.shape[0] > 1 and not stored.name.endswith((".weight", ".bias")):
            by_length.setdefault(stored.shape[0], []).append(stored)
    vectors = max(by_length.values(), key=len, default=[])
    if len(vectors) < SCATTERED_MIN or len(vectors) < SCATTERED_SHARE * len(checkpoint.tensors):
        return None
    names = [stored.name for stored in vectors]
    # A key may hold dots itself: only what all share leads to the dict.
    first = names[0].partition(".")[0]
    is_nested = not checkpoint.listing.is_flat and all(name.startswith(f"{first}.") for name in names)
    keys = [name[len(first) + 1 :] for name in names] if is_nested else names
    order = "sorted(t, key=int)" if all(key.isdecimal() for key in keys) else "t"
    loading = f"{checkpoint.listing.loading}[{first!r}]" if is_nested else checkpoint.listing.loading
    what = f"{len(vectors)} vectors of {vectors[0].shape[0]} numbers, {names[0]!r} among them: one tensor for each row"
    line = (
        f"t = {loading}; torch.save({{'embedding.weight': torch.stack([t[key] for key in {order}])}}, 'converted.pt')"
    )
    return what, f"Put them into one table, whose rows are the keys in that order: {line}"


def _judge(stored: StoredTensor, by_name: Mapping[str, StoredTensor]) -> UnreadTable | None:
    """Tell whether a tensor is a matrix in a form that is not read."""
    if len(stored.shape) < 2 or not stored.numel or stored.dtype in (*TABLE_DTYPES, *OTHER_DTYPES):
        return None
    is_named = _is_named(stored.name, stored.shape)
    if stored.opaque_bytes is not None:
        return UnreadTable(stored.name, f"of dtype {stored.dtype}, which is not read", LIBRARY_HINT, stored, is_named)
    is_packed = bool(PACKED_LEAF.search(stored.name))
    is_float = stored.dtype.startswith("float8")
    if not (is_float or is_packed or stored.dtype in {"int8", "uint8", "uint32"}):
        return None
    scales, _ = find_scales(stored.name, by_name)
    if scales is None and not is_float:
        if not is_named or is_packed or stored.dtype == "uint32":
            return None
        what = f"integers ({stored.dtype}), named like a table: perhaps quantized, and no scales lie beside it"
        return UnreadTable(stored.name, what, LIBRARY_HINT, stored, is_named, is_sure=False)
    beside = f"and its scales {scales.name!r} do not tell how to read it" if scales else "and no scales lie beside it"
    kind = "FP8" if is_float else "packed codes" if stored.dtype == "uint32" else "quantized"
    hint = CONFIGURATION_HINT if stored.dtype == "uint32" else LIBRARY_HINT
    return UnreadTable(stored.name, f"{kind} ({stored.dtype}), {beside}", hint, stored, is_named)


def _is_named(name: str, shape: tuple[int, ...]) -> bool:
    return recognise((WEIGHT_LEAF.sub("weight", name),), shape=shape, dtype="float32").is_table
