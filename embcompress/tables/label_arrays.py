"""Labels in arrays and tables of columns: .npy, read without NumPy, and Parquet, read by pyarrow."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any, BinaryIO

from embcompress.checkpoints.column_files.parquet_file import BUFFER_BYTES
from embcompress.checkpoints.column_files.parquet_file import MAGIC as PARQUET_MAGIC
from embcompress.checkpoints.column_files.values import LABEL_ROWS
from embcompress.checkpoints.label_columns import text_of
from embcompress.checkpoints.numpy_files.arrays import decode_texts
from embcompress.checkpoints.numpy_files.header import MAGIC, parse_code, read_header
from embcompress.exceptions import CheckpointError, DamagedFileError
from embcompress.tables.label_forms import ReadLabels, choose_columns, read_columns
from embcompress.tables.text_files import read_content


def read_npy(path: Path) -> list[str]:
    """Read an array of texts, one for each row, as NumPy saves it. No pickle is read.

    Raises:
        CheckpointError: the file cannot be read, is no such array or is damaged.
    """
    content = read_content(path)
    if not content.startswith(MAGIC):
        raise CheckpointError(f"{path} is no array that NumPy saved.")
    header = read_header(content, name=str(path))
    code = parse_code(header.descr)
    if code is None or not code.encoding:
        raise CheckpointError(
            f"{path} holds an array of {str(header.descr)[:40]!r}, and labels are texts.",
            hint="Save them as texts: `numpy.save(path, labels.astype(str))`.",
        )
    if len(header.shape) != 1:
        raise CheckpointError(f"{path} holds an array of shape {str(header.shape)[:40]}; labels are one a row.")
    count, width = header.shape[0], code.item_bytes
    values = memoryview(content)[header.nbytes :]
    if len(values) != width * count:
        raise DamagedFileError(f"{path} holds {len(values)} bytes of labels, and its header {width * count}.")
    return decode_texts(values, count=count, step=width, width=width, encoding=code.encoding)


def read_parquet(path: Path) -> ReadLabels:
    """Read the column of labels of a Parquet file, by its ids if it has some.

    Raises:
        CheckpointError: pyarrow is not installed, the file cannot be read, or no column is known to hold the labels.
        IdsError: ids that say of no row whose it is.
    """
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as err:
        raise CheckpointError(
            f"{path}: Parquet is read by pyarrow, which is not installed.", hint="pip install 'embcompress[parquet]'"
        ) from err
    with _open_parquet(path) as content:
        try:
            file = parquet.ParquetFile(content, buffer_size=BUFFER_BYTES, pre_buffer=False)
            names = file.schema_arrow.names
            # The vectors of the rows may stand beside their labels, and take much more room.
            wanted = [names[index] for index in choose_columns(names, path) if index is not None]
            columns: dict[str, list[str]] = {name: [] for name in wanted}
            for batch in file.iter_batches(batch_size=LABEL_ROWS, columns=wanted):
                for name in wanted:
                    columns[name].extend(map(text_of, batch.column(name).to_pylist()))
        except (OSError, KeyError, ValueError, NotImplementedError) as err:  # what pyarrow's own exceptions are
            raise CheckpointError(f"{path} cannot be read as Parquet: {str(err).splitlines()[0]}.") from err
    return read_columns(tuple(columns), tuple(columns.values()), path)


def _open_parquet(path: Path) -> BinaryIO:
    """Open a file to be read in parts; its whole content where it is packed, or a pipe, which goes one way."""
    try:
        if path.is_file():
            file = path.open("rb")
            if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
                return file
            file.close()
    except OSError as err:
        raise CheckpointError(f"{path} cannot be read: {err.strerror or err}.") from err
    return io.BytesIO(read_content(path))
