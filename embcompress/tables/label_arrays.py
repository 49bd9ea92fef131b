"""Labels in arrays and tables of columns: .npy, read without NumPy, and Parquet, read by pyarrow."""

from __future__ import annotations

import ast
import importlib
import io
import math
import struct
from pathlib import Path
from typing import Any

from embcompress.checkpoints.label_columns import text_of
from embcompress.exceptions import CheckpointError, DamagedFileError
from embcompress.tables.label_forms import ReadLabels, choose_columns, read_columns
from embcompress.tables.text_files import read_content

NPY_MAGIC = b"\x93NUMPY"
ENCODINGS = {"<U": "utf-32-le", ">U": "utf-32-be", "|S": "utf-8"}  # of the texts that an array of NumPy holds


def read_npy(path: Path) -> list[str]:
    """Read an array of texts, one for each row, as NumPy saves it. No pickle is read.

    Raises:
        CheckpointError: the file cannot be read, is no such array or is damaged.
    """
    content = read_content(path)
    if not content.startswith(NPY_MAGIC):
        raise CheckpointError(f"{path} is no array that NumPy saved.")
    try:
        length = "<H" if content[6] == 1 else "<I"
        start = 8 + struct.calcsize(length)
        size = struct.unpack_from(length, content, 8)[0]
        header = ast.literal_eval(content[start : start + size].decode("latin-1").strip())
        dtype, shape = header["descr"], header["shape"]
    except (IndexError, struct.error, ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as err:
        raise DamagedFileError(f"{path} is a damaged file of NumPy: its header cannot be read.") from err
    if not isinstance(dtype, str) or dtype[:2] not in ENCODINGS or not dtype[2:].isdecimal():
        raise CheckpointError(
            f"{path} holds an array of {str(dtype)[:40]!r}, and labels are texts.",
            hint="Save them as texts: `numpy.save(path, labels.astype(str))`.",
        )
    if not isinstance(shape, tuple) or len(shape) != 1 or type(shape[0]) is not int or shape[0] < 0:
        raise CheckpointError(f"{path} holds an array of shape {str(shape)[:40]}; labels are one a row.")
    width = int(dtype[2:]) * (4 if dtype[1] == "U" else 1)
    values = memoryview(content)[start + size :]
    if len(values) != width * math.prod(shape):
        raise DamagedFileError(f"{path} holds {len(values)} bytes of labels, and its header {width * shape[0]}.")
    encoding = ENCODINGS[dtype[:2]]
    return [
        bytes(values[place : place + width]).decode(encoding, "backslashreplace").rstrip("\0")
        for place in range(0, len(values), max(width, 1))
    ]


def read_parquet(path: Path) -> ReadLabels:
    """Read the column of labels of a Parquet file, by its ids if it has some.

    Raises:
        CheckpointError: pyarrow is not installed, the file cannot be read, or no column is known to hold the labels.
        IdsError: ids that say of no row whose it is.
    """
    content = read_content(path)
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as err:
        raise CheckpointError(
            f"{path}: Parquet is read by pyarrow, which is not installed.", hint="pip install 'embcompress[parquet]'"
        ) from err
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        names = file.schema_arrow.names
        wanted = choose_columns(names, path)  # the vectors of the rows may stand beside their labels
        table = file.read(columns=[names[place] for place in wanted if place is not None])
        columns = [list(map(text_of, column.to_pylist())) for column in table.columns]
    except (OSError, ValueError, NotImplementedError) as err:  # what pyarrow's own exceptions are
        raise CheckpointError(f"{path} cannot be read as Parquet: {str(err).splitlines()[0]}.") from err
    return read_columns(table.column_names, columns, path)
