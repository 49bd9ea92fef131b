"""The forms that a dense model is written in for other programs: one small module each, by the names of --to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from embcompress.artifact.atomic_file import AtomicFile
from embcompress.exports import numpy_arrays, torch_file, word_vectors
from embcompress.exports.dense_model import DenseModel

EXPORTS: Mapping[str, Callable[[DenseModel, AtomicFile], None]] = MappingProxyType(
    {
        "bin": torch_file.write,
        "npy": numpy_arrays.write_npy,
        "npz": numpy_arrays.write_npz,
        "word2vec": word_vectors.write_word2vec,
        "word2vec-binary": word_vectors.write_word2vec_binary,
        "glove": word_vectors.write_glove,
    }
)  # by the keys of DENSE_FORMS but safetensors, which the writer of artifacts writes
