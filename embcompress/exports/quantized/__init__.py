"""The forms that tables are written in for programs that serve them: one small module a format, one entry a kind."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from embcompress.choices import WORD_ENDS
from embcompress.exports.quantized.compressed_folder import CompressedTensorsFolder
from embcompress.exports.quantized.float_files import NumpyArchive, NumpyFile, WordVectors
from embcompress.exports.quantized.gguf_file import GgufFile
from embcompress.exports.quantized.kind import Kind
from embcompress.exports.quantized.onnx_file import OnnxFile
from embcompress.exports.quantized.pykeen_file import PykeenFile
from embcompress.exports.quantized.static_model import StaticModelFolder
from embcompress.exports.quantized.torch_rows import TorchRows
from embcompress.exports.word_vectors import binary_rows, text_rows

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "gguf:q8_0": GgufFile("q8_0"),
        "gguf:q4_0": GgufFile("q4_0"),
        "gguf:iq4_nl": GgufFile("iq4_nl"),
        "torch:int8": TorchRows(8),
        "torch:int4": TorchRows(4),
        "compressed-tensors:w8": CompressedTensorsFolder(8),
        "compressed-tensors:w4": CompressedTensorsFolder(4),
        "onnx:int8": OnnxFile(8),
        "onnx:int4": OnnxFile(4),
        "pykeen": PykeenFile(),
        "model2vec:float16": StaticModelFolder("float16"),
        "model2vec:int8": StaticModelFolder("int8"),
        "word2vec": WordVectors("-word2vec.bin", binary_rows, WORD_ENDS["word2vec-binary"]),
        "word2vec:text": WordVectors("-word2vec-text.txt", text_rows, WORD_ENDS["word2vec"]),
        "npy": NumpyFile(),
        "npz": NumpyArchive(),
    }
)  # by the keys of EXPORT_KINDS
