"""Quantized tensors of torch: codes in one storage, scales and zero points in the pickle or in others."""

from __future__ import annotations

import math
from collections.abc import Callable

from embcompress.checkpoints.pickled.records import QuantizedReference, TensorReference
from embcompress.checkpoints.pieces import join
from embcompress.checkpoints.tensors import LeftOut, Piece, Scaling, StoredTensor, contiguous_strides, is_contiguous

NOT_READ = "a quantized tensor of a form that is not read"
SCALE_DTYPES = ("float32", "float64")

Place = Callable[[str, TensorReference], StoredTensor | LeftOut]


def place_quantized(name: str, tensor: QuantizedReference, locate: Place) -> StoredTensor | LeftOut:
    """Make a tensor of the values that dequantize() gives.

    Args:
        name: of the tensor.
        tensor: with codes of 8 bits, or of 4 in whole bytes, and scales along the first axis, the second or none.
        locate: finds where a tensor of numbers lies.
    """
    codes = _pack(tensor) if tensor.bits < 8 else tensor.codes
    block = _block(tensor)
    if codes is None or block is None:
        return LeftOut(name, NOT_READ)
    parts = [locate(f"{name} (codes)", codes)]
    numbers = {"scales": tensor.scale, "zero points": tensor.zero}
    parts += [
        locate(f"{name} ({kind})", value) for kind, value in numbers.items() if isinstance(value, TensorReference)
    ]
    stored = [part for part in parts if isinstance(part, StoredTensor)]
    if len(stored) < len(parts):
        return next(part for part in parts if isinstance(part, LeftOut))
    bits = tensor.bits if tensor.bits < 8 else 0
    if isinstance(tensor.scale, float) and isinstance(tensor.zero, int):
        scaling = Scaling(factor=tensor.scale, zero=tensor.zero, bits=bits)
    else:
        scales, zeros = stored[1:]
        if scales.dtype not in SCALE_DTYPES or not (is_contiguous(scales) and is_contiguous(zeros)):
            return LeftOut(name, NOT_READ)
        scaling = Scaling(scales, block, zeros=zeros, bits=bits)
    columns = math.prod(tensor.shape[1:])
    return join(name, [Piece(stored[0], 0, 0, columns, scaling)], dtype=tensor.dtype, shape=tensor.shape)


def _pack(tensor: QuantizedReference) -> TensorReference | None:
    """View codes of which two lie in a byte as bytes; None where a row begins within one."""
    codes, count = tensor.codes, 8 // tensor.bits
    is_whole = len(codes.shape) >= 2 and not codes.shape[-1] % count and not codes.offset % count
    if not is_whole or codes.strides != contiguous_strides(codes.shape):
        return None
    shape = (codes.shape[0], math.prod(codes.shape[1:]) // count)
    return TensorReference(codes.storage, codes.offset // count, shape, contiguous_strides(shape), codes.dtype)


def _block(tensor: QuantizedReference) -> tuple[int, int] | None:
    """Tell the rows and columns that share a scale; None where the scales are not along the first two axes."""
    if not tensor.shape or not math.prod(tensor.shape):
        return None
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    if tensor.axis is None:
        return rows, columns
    numbers = (tensor.scale, tensor.zero)
    if any(not isinstance(one, TensorReference) or one.shape != (tensor.shape[tensor.axis],) for one in numbers):
        return None
    if tensor.axis == 0:
        return 1, columns
    return (rows, 1) if tensor.axis == 1 and len(tensor.shape) == 2 else None
