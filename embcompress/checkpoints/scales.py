"""The scales of a tensor that is stored as codes: found beside it by name, and understood by their shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from embcompress.checkpoints.tensors import Scaling, StoredTensor, is_contiguous

# Behind the name of a tensor, or in the place of its ending, the names of its scales.
SCALE_ENDINGS = ("_scale", "_scale_inv", "_scales", ".scale", ".scales")
SCALE_LEAVES = ("weight_scale", "weight_scale_inv", "scale", "scales", "scale_weight", "SCB")
ZERO_LEAVES = ("weight_zero_point", "zero_point", "zero_points", "zeros", "qzeros")
WEIGHT_LEAF = re.compile(r"(?:^|(?<=\.))q?weight(_packed|_q)?$")
PACKED_LEAF = re.compile(r"(^|\.)(qweight|weight_packed)$")  # several codes in one integer, in an order of its own
FLOAT_CODES = ("float8_e4m3fn", "float8_e5m2")
# Exponents of two in eight bits; uint8 where a writer has no such dtype.
EXPONENTS = ("float8_e8m0fnu", "uint8")
ZERO_DTYPES = ("int8", "uint8", "int32", "float16", "bfloat16", "float32")
FLOAT_SCALES = ("float16", "bfloat16", "float32", "float64")
BLOCK_SIDES = (128, 32, 64, 16)  # rows or columns with one scale, where the last block is shorter
# Of `weight_scale_inv`, as DeepSeek and those who follow it write it.
INVERSE_ENDING, INVERSE_SIDE = "_scale_inv", 128
SCB_FACTOR = 1 / 127  # of bitsandbytes, whose SCB is the largest magnitude of a row


def find_scaling(
    stored: StoredTensor, by_name: Mapping[str, StoredTensor], *, sides: Callable[[], tuple[int, int] | None]
) -> Scaling | None:
    """Find how the values of a tensor are made of what is stored; None where they are stored, or nothing tells.

    FP8 without scales beside it is taken as it is. Integers need scales; without a sign also zero points.

    Args:
        stored: of the checkpoint.
        by_name: all its tensors.
        sides: gives the rows and columns of a block with one scale, where the configuration of the model tells them.
    """
    is_matrix = len(stored.shape) >= 2 and stored.numel > 0 and not stored.pieces
    if not is_matrix or PACKED_LEAF.search(stored.name) or stored.dtype not in (*FLOAT_CODES, "int8", "uint8"):
        return None
    scales, zeros = find_scales(stored.name, by_name)
    is_float = stored.dtype in FLOAT_CODES
    if scales is None:
        return Scaling() if is_float and zeros is None else None
    usual = (INVERSE_SIDE, INVERSE_SIDE) if scales.name.endswith(INVERSE_ENDING) else None
    block = block_of(scales, stored.shape, sides=sides() or usual)
    has_known_dtype = scales.dtype in (FLOAT_SCALES + EXPONENTS if is_float else FLOAT_SCALES)
    if zeros is None:
        has_fitting_zeros = stored.dtype != "uint8"
    else:
        has_fitting_zeros = zeros.numel == scales.numel and zeros.dtype in ZERO_DTYPES and not is_float
    # Blocks are counted in the order of their entries.
    is_in_order = is_contiguous(scales) and (zeros is None or is_contiguous(zeros))
    if block is None or not (has_known_dtype and has_fitting_zeros and is_in_order):
        return None
    factor = SCB_FACTOR if scales.name.endswith("SCB") else 1.0
    return Scaling(scales, block, zeros=zeros, factor=factor)


def value_dtype(stored: StoredTensor, scaling: Scaling) -> str:
    """Choose the dtype of the values: the narrowest that holds FP8 times powers of two, else that of the scales.

    An FP8 number has four bits of significand, so that bfloat16 holds it times a power of two; times a float it takes
    float32.
    """
    scales = scaling.scales
    if scales is None or scales.dtype in EXPONENTS:
        return "bfloat16"
    return "float32" if stored.dtype in FLOAT_CODES else scales.dtype


def find_scales(name: str, by_name: Mapping[str, StoredTensor]) -> tuple[StoredTensor | None, StoredTensor | None]:
    """Find the scales and the zero points of a tensor by its name."""
    stem = WEIGHT_LEAF.sub("", name)
    leaves = (SCALE_LEAVES, ZERO_LEAVES) if stem != name else ((), ())
    scales = (*(name + ending for ending in SCALE_ENDINGS), *(stem + leaf for leaf in leaves[0]))
    zeros = (f"{name}_zero_point", *(stem + leaf for leaf in leaves[1]))
    scale, zero = (next((by_name[one] for one in names if one in by_name), None) for names in (scales, zeros))
    return scale, zero


def block_of(
    scales: StoredTensor, shape: tuple[int, ...], *, sides: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """Tell the rows and columns that share a scale; None where the shapes leave several choices, or none.

    Args:
        scales: of a tensor: a single one, one a row, or one a block.
        shape: of the tensor.
        sides: rows and columns of a block, where the name or the configuration tells them; they must fit the shapes.

    Example:
        >>> block_of(StoredTensor("x", "float32", (2, 3), (3, 1), 0), (256, 384))
        (128, 128)
        >>> block_of(StoredTensor("x", "float32", (2, 3), (3, 1), 0), (200, 384))  # 100 rows each, or 128 and 72
    """
    rows, columns = shape[0], math.prod(shape[1:])
    if scales.numel == 1:
        return rows, columns
    if scales.shape in {(rows,), (rows, 1)}:
        return 1, columns
    if len(scales.shape) != 2 or len(shape) != 2:
        return None
    block: list[int] = []
    for axis, (size, count) in enumerate(zip((rows, columns), scales.shape, strict=True)):
        even = {size // count} if count and not size % count else set()
        choices = even if count in {1, size} else even | {one for one in BLOCK_SIDES if -(-size // one) == count}
        if sides is not None and count not in {1, size}:
            choices = {sides[axis]} if -(-size // sides[axis]) == count else set()
        if len(choices) != 1:
            return None
        block += choices
    return block[0], block[1]
