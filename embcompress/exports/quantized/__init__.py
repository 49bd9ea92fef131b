"""The forms that tables are written in for programs that serve them: one small module a format, one entry a kind."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from embcompress.exports.quantized.compressed_folder import CompressedTensorsFolder
from embcompress.exports.quantized.gguf_file import GgufFile
from embcompress.exports.quantized.kind import Kind
from embcompress.exports.quantized.torch_rows import TorchRows

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "gguf:q8_0": GgufFile("q8_0"),
        "gguf:q4_0": GgufFile("q4_0"),
        "gguf:iq4_nl": GgufFile("iq4_nl"),
        "torch:int8": TorchRows(8),
        "torch:int4": TorchRows(4),
        "compressed-tensors:w8": CompressedTensorsFolder(8),
        "compressed-tensors:w4": CompressedTensorsFolder(4),
    }
)  # by the keys of EXPORT_KINDS
