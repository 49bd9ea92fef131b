"""Read the header of a safetensors file: u64 length, JSON header, buffer.

Source: the format's description, https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from embcompress.checkpoints.files import Files, read_exactly
from embcompress.checkpoints.json_limits import check_json
from embcompress.checkpoints.tensors import (
    DIMS_MAX,
    ITEM_BYTES,
    LeftOut,
    Listing,
    StoredTensor,
    contiguous_strides,
    is_size,
)
from embcompress.exceptions import DamagedFileError

NAME = "safetensors"
HEADER_BYTES_MAX = 100_000_000  # the format's own limit
UNCHECKED_MAX = 2**20  # characters of a header that cannot take much memory, whatever it says
CODE = re.compile(r"[A-Z][A-Z0-9_]{0,31}")  # of a dtype
METADATA_KEY = "__metadata__"  # its place in the header; no tensor can have this name

DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "BOOL": "bool",
        "U8": "uint8",
        "I8": "int8",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E5M2": "float8_e5m2",
        "F8_E8M0": "float8_e8m0fnu",
        "I16": "int16",
        "U16": "uint16",
        "F16": "float16",
        "BF16": "bfloat16",
        "I32": "int32",
        "U32": "uint32",
        "F32": "float32",
        "I64": "int64",
        "U64": "uint64",
        "F64": "float64",
        "C64": "complex64",
    }
)  # the format's name -> torch's
NAMES_OF_DTYPES: Mapping[str, str] = MappingProxyType({torch_name: name for name, torch_name in DTYPES.items()})


def is_recognised(path: Path, head: bytes) -> bool:  # noqa: ARG001 - whatever its name
    """Tell a safetensors file by its first 16 bytes: a length of less than 2^56, then a JSON object."""
    return len(head) > 8 and head[7] == 0 and head[8:9] == b"{"


def read_listing(path: Path, files: Files) -> Listing:
    """List the tensors. Those of a dtype of fewer than 8 bits, or of one newer than this reader, are opaque.

    Raises:
        DamagedFileError: the header is cut, too long, not JSON, or tells of tensors that overlap, leave a gap or reach
            beyond the end of the file.
    """
    file, base = files.open(path)
    size = os.fstat(file.fileno()).st_size
    header_bytes = int.from_bytes(read_exactly(file, 0, 8), "little")
    if header_bytes > HEADER_BYTES_MAX:
        raise _damaged(file, f"claims a header of {header_bytes} bytes, where {HEADER_BYTES_MAX} is the most allowed")
    if 8 + header_bytes > size:
        raise _damaged(file, f"claims a header of {header_bytes} bytes and has only {size} in all: it is cut short")
    header = _parse(file, read_exactly(file, 8, header_bytes))
    metadata = header.pop(METADATA_KEY, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(file, "has metadata that is not a map from strings to strings")
    buffer_start = 8 + header_bytes
    tensors = []
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: _begin_of(file, *item)):
        tensor, end = _tensor(file, name, entry, buffer_start)
        if tensor.start - buffer_start != expected:
            raise _damaged(file, f"leaves a gap or an overlap before tensor {name!r}, at byte {expected} of its buffer")
        expected = end
        tensors.append(replace(tensor, start=base + tensor.start))
    behind = size - buffer_start - expected
    if behind < 0:
        raise _damaged(file, f"should be {size - behind} bytes by its header and is {size}: it is cut short")
    left_out = (LeftOut("the end of the file", f"{behind} bytes behind the last tensor"),) if behind else ()
    loading = f"safetensors.torch.load_file({str(file.name)!r})"
    return Listing(tensors=tuple(tensors), left_out=left_out, metadata=metadata, loading=loading)


def _parse(file: BinaryIO, raw: bytes) -> dict[str, Any]:
    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise _damaged(file, "names one tensor twice in its header")
        return result

    try:
        # Decoded here, since json would take UTF-16 too; encoded again, since it lets lone surrogates pass as \ud800.
        text = raw.decode()
        if len(text) > UNCHECKED_MAX:
            check_json(text)
        header = json.loads(text, object_pairs_hook=without_duplicates)
        json.dumps(header, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as err:
        raise _damaged(file, f"has a header that is not JSON ({err})") from err
    if not isinstance(header, dict):
        raise _damaged(file, "has a header that is not a JSON object")
    return header


def _begin_of(file: BinaryIO, name: str, entry: object) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(map(is_size, offsets))):
        raise _damaged(file, f"gives tensor {name!r} no pair of data_offsets")
    return offsets[0], offsets[1]


def _tensor(file: BinaryIO, name: str, entry: dict[str, Any], buffer_start: int) -> tuple[StoredTensor, int]:
    begin, end = entry["data_offsets"]
    shape = entry.get("shape")
    if not (isinstance(shape, list) and len(shape) <= DIMS_MAX and all(map(is_size, shape))):
        raise _damaged(file, f"gives tensor {name!r} no shape")
    code = entry.get("dtype")
    if not isinstance(code, str) or not CODE.fullmatch(code):
        raise _damaged(file, f"gives tensor {name!r} no dtype")
    if code not in DTYPES:
        dims, numel = tuple(shape), math.prod(shape)
        if not 0 <= begin <= end or 8 * (end - begin) % max(numel, 1) or (end > begin) != (numel > 0):
            raise _damaged(file, f"gives tensor {name!r} {end - begin} bytes, which no dtype of shape {shape} takes")
        return StoredTensor(name, code, dims, contiguous_strides(dims), buffer_start + begin, end - begin), end
    dtype = DTYPES[code]
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise _damaged(file, f"gives tensor {name!r} {end - begin} bytes, which is not {code} of shape {shape}")
    dims = tuple(shape)
    return StoredTensor(name, dtype, dims, contiguous_strides(dims), buffer_start + begin), end


def _damaged(file: BinaryIO, what: str) -> DamagedFileError:
    return DamagedFileError(f"{file.name} {what}.", hint="Copy or download it again.")
