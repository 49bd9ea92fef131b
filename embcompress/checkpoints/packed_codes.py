"""Tables of codes of which several lie in one integer: of compressed-tensors, and of MLX.

Both write the codes of a row as one string of bits, the first in the lowest. How many bits a code has follows from the
shapes, or from the configuration beside the file.

Source: compressed_tensors/compressors/pack_quantized; mlx.core.quantize of mode "affine".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from embcompress.checkpoints.files import Files
from embcompress.checkpoints.links import is_inside
from embcompress.checkpoints.scales import FLOAT_SCALES, block_of
from embcompress.checkpoints.tensors import ITEM_BYTES, Piece, Scaling, StoredTensor, is_contiguous

T = TypeVar("T")

WORD_BITS = 32
PACKED_ENDING = "weight_packed"  # of compressed-tensors
GROUP_SIZES = (32, 64, 128)  # of MLX
GROUP_BITS = (2, 3, 4, 5, 6, 8)
CONFIGURATION = "config.json"
CONFIGURATION_BYTES_MAX = 2**24


@dataclass(frozen=True)
class PackedTable:
    """A table of packed codes.

    Attributes:
        name: of its values.
        piece: codes and scaling.
        also: tensors beside it that its values do not need: its shape.
    """

    name: str
    piece: Piece
    also: tuple[StoredTensor, ...] = ()


class PackedTables:
    """The packed tables of a checkpoint.

    Args:
        by_name: all its tensors.
        path: of the checkpoint; its configuration lies beside it, or in it if it is a folder.
        files: that hold them.
    """

    def __init__(self, by_name: Mapping[str, StoredTensor], path: Path, files: Files) -> None:
        self._by_name, self._files = by_name, files
        self._path = path

    def block_sides(self) -> tuple[int, int] | None:
        """Tell the rows and columns of a block of FP8 by the configuration; None where it does not tell."""
        match self._section("quantization_config").get("weight_block_size"):
            case [int(rows), int(columns)] if rows > 0 and columns > 0:
                return rows, columns
        return None

    @cached_property
    def _configuration(self) -> Mapping[str, Any]:
        return _read_configuration((self._path if self._path.is_dir() else self._path.parent) / CONFIGURATION)

    def _section(self, key: str) -> Mapping[str, Any]:
        section = self._configuration.get(key)
        return section if isinstance(section, dict) else {}

    def find(self, stored: StoredTensor) -> PackedTable | None:
        """Take a tensor for packed codes, if what lies beside it tells how."""
        if len(stored.shape) != 2 or not stored.numel or stored.opaque_bytes is not None or not is_contiguous(stored):
            return None
        if stored.name.endswith(PACKED_ENDING) and stored.dtype == "int32":
            return self._find_in_words(stored)
        if stored.name.endswith(".weight") and stored.dtype == "uint32":
            return self._find_groups(stored)
        return None

    def _find_in_words(self, stored: StoredTensor) -> PackedTable | None:
        """Read the scales and the shape that compressed-tensors stores beside codes."""
        stem = stored.name.removesuffix(PACKED_ENDING)
        scales, told_shape, zeros = (
            self._by_name.get(f"{stem}weight_{leaf}") for leaf in ("scale", "shape", "zero_point")
        )
        # With indices of groups, the columns were put into another order before they were cut.
        if scales is None or told_shape is None or {f"{stem}weight", f"{stem}weight_g_idx"} & self._by_name.keys():
            return None
        shape = self._read_integers(told_shape)
        if len(shape) != 2 or shape[0] != stored.shape[0]:
            return None
        bits = _only(bits for bits in range(1, 9) if _words(shape[1], bits) == stored.shape[1])
        block = block_of(scales, shape)
        if bits is None or block is None or scales.dtype not in FLOAT_SCALES or not is_contiguous(scales):
            return None
        scaling = _with_zeros(Scaling(scales, block, bits=bits, zero=1 << (bits - 1)), zeros, rows=shape[0])
        if scaling is None:
            return None
        return PackedTable(f"{stem}weight", Piece(stored, 0, 0, shape[1], scaling), also=(told_shape,))

    def _find_groups(self, stored: StoredTensor) -> PackedTable | None:
        """Read the groups of columns of MLX, each with a scale and a bias."""
        stem = stored.name.removesuffix("weight")
        scales, biases = (self._by_name.get(f"{stem}{leaf}") for leaf in ("scales", "biases"))
        if scales is None or biases is None or scales.dtype not in FLOAT_SCALES or biases.dtype != scales.dtype:
            return None
        if len(scales.shape) != 2 or not scales.numel or scales.shape[0] != stored.shape[0]:
            return None
        if biases.shape != scales.shape or not (is_contiguous(scales) and is_contiguous(biases)):
            return None
        group_bits, rest = divmod(WORD_BITS * stored.shape[1], scales.shape[1])
        forms = [(bits, size) for bits in GROUP_BITS for size in GROUP_SIZES if bits * size == group_bits]
        group = self._tell_group(stem.removesuffix("."))
        form = _only(form for form in forms if group is None or form == group)
        if rest or form is None:
            return None
        scaling = Scaling(scales, (1, form[1]), biases=biases, bits=form[0])
        return PackedTable(stored.name, Piece(stored, 0, 0, form[1] * scales.shape[1], scaling))

    def _tell_group(self, module: str) -> tuple[int, int] | None:
        """Read the bits and the columns of a group from the configuration; None where it does not tell."""
        section = self._section("quantization")
        own = section.get(module)
        configuration = own if isinstance(own, dict) else section
        bits, size = configuration.get("bits"), configuration.get("group_size")
        return (bits, size) if isinstance(bits, int) and isinstance(size, int) else None

    def _read_integers(self, stored: StoredTensor) -> tuple[int, ...]:
        """Read a short tensor of integers; empty where it is none."""
        if stored.dtype not in {"int32", "int64"} or stored.numel > 2 or not is_contiguous(stored):
            return ()
        buffer = bytearray(stored.nbytes)
        self._files.read_into(stored.start, memoryview(buffer))
        item = ITEM_BYTES[stored.dtype]
        numbers = (buffer[position : position + item] for position in range(0, len(buffer), item))
        return tuple(int.from_bytes(number, "little", signed=True) for number in numbers)


def _with_zeros(scaling: Scaling, zeros: StoredTensor | None, *, rows: int) -> Scaling | None:
    """Add zero points: one for each scale, packed along the rows or each by itself; None where they are neither."""
    scales, bits = scaling.scales, scaling.bits
    if zeros is None:
        return scaling
    if scales is None or not is_contiguous(zeros):
        return None
    if zeros.dtype == "int8" and zeros.numel == scales.numel:
        return replace(scaling, zeros=zeros)
    if zeros.dtype == "int32" and scaling.block[0] == 1 and zeros.shape == (_words(rows, bits), scales.shape[-1]):
        # They are offset by as much as the codes.
        return replace(scaling, zeros=zeros, zero_bits=bits, zero=0)
    return None


def _words(codes: int, bits: int) -> int:
    return -(-codes * bits // WORD_BITS)


def _only(candidates: Iterable[T]) -> T | None:
    """Give the one that there is; None where there are none or several."""
    values = list(candidates)
    return values[0] if len(values) == 1 else None


def _read_configuration(path: Path) -> Mapping[str, Any]:
    """Read the configuration of a model; empty where there is none."""
    try:
        is_there = path.is_file() and is_inside(path, path.parent)
        if not is_there or path.stat().st_size > CONFIGURATION_BYTES_MAX:
            return {}
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
