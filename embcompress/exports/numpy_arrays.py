"""NumPy's .npy, of one table, and .npz, of all tensors.

bfloat16 and FP8, which NumPy has no dtypes for, become float32, which holds each of their numbers.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import torch

from embcompress.artifact.atomic_file import AtomicFile, failure_of
from embcompress.artifact.writer import Entry
from embcompress.checkpoints.row_labels import LABELS_SUFFIX, OFFSETS_SUFFIX
from embcompress.exports.dense_model import DenseModel

# So that the same model gives the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


def write_npy(model: DenseModel, file: AtomicFile) -> None:
    """Write the one table of a model, (rows, dim)."""
    entry = model.only_table()
    file.write(npy_header(entry))
    for part in numpy_bytes(model, entry):
        file.write(part)


def write_npz(model: DenseModel, file: AtomicFile) -> None:
    """Write every tensor of a model, uncompressed, by its name, and the labels of tables as arrays of texts."""
    labels = {name + LABELS_SUFFIX: texts for name, texts in model.labels.items() if texts}
    offsets = {name + OFFSETS_SUFFIX for name in model.labels}
    try:
        with zipfile.ZipFile(file.path, "w", zipfile.ZIP_STORED) as archive:
            for name, texts in labels.items():
                write_texts(archive, name, texts)
            for entry in model.entries:
                if entry.name in labels or entry.name in offsets:
                    continue
                with open_member(archive, entry.name) as stream:
                    stream.write(npy_header(entry))
                    for part in numpy_bytes(model, entry):
                        stream.write(part)
    except OSError as err:
        raise failure_of(file.target, err) from err


def write_texts(archive: zipfile.ZipFile, name: str, texts: Sequence[str]) -> None:
    """Write an array of texts into an archive."""
    with open_member(archive, name) as stream:
        np.lib.format.write_array(stream, np.array(texts, dtype=np.str_), allow_pickle=False)


def open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Begin an array in an archive, in which one is written at a time."""
    return archive.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w", force_zip64=True)


def npy_header(entry: Entry) -> bytes:
    """Make the first bytes of an array of NumPy, up to its numbers."""
    buffer = io.BytesIO()
    descr, shape = numpy_dtype(entry.dtype).str, entry.shape
    if entry.opaque_bytes is not None:
        descr, shape = "|u1", (entry.opaque_bytes,)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def numpy_dtype(dtype: str) -> np.dtype[np.generic]:
    """Give NumPy's dtype of the numbers of one of torch's: its own, or float32."""
    name = dtype if is_of_numpy(dtype) else "float32"
    little: np.dtype[np.generic] = np.dtype(name).newbyteorder("<")
    return little


def is_of_numpy(dtype: str) -> bool:
    """Tell whether NumPy has one of torch's dtypes."""
    try:
        # Other packages add dtypes to NumPy, such as ml_dtypes bfloat16, which files of NumPy do not name.
        return np.dtype(dtype).isbuiltin == 1
    except TypeError:
        return False


def numpy_bytes(model: DenseModel, entry: Entry) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a tensor in NumPy's dtype."""
    is_kept = is_of_numpy(entry.dtype) or entry.opaque_bytes is not None
    for part in model.read(entry):
        if is_kept or not len(part):
            yield part
        else:
            values = torch.frombuffer(bytearray(part), dtype=getattr(torch, entry.dtype))
            yield values.to(torch.float32).numpy().tobytes()
