"""Word vectors as word2vec and GloVe write them: one table, a word for each row.

Numbers in text have the digits that give the same float32 again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from embcompress.artifact.atomic_file import AtomicFile
from embcompress.artifact.writer import Entry
from embcompress.exports.dense_model import DenseModel


def write_word2vec(model: DenseModel, file: AtomicFile) -> None:
    """Write a line with rows and columns, then a line for each row: its word, a blank, its numbers."""
    entry = model.only_table()
    file.write(b"%d %d\n" % entry.shape)
    _write_lines(model, entry, file)


def write_glove(model: DenseModel, file: AtomicFile) -> None:
    """Write the lines of word2vec without its first."""
    _write_lines(model, model.only_table(), file)


def write_word2vec_binary(model: DenseModel, file: AtomicFile) -> None:
    """Write a line with rows and columns, then for each row its word, a blank, its numbers as float32, a newline."""
    entry = model.only_table()
    words = iter(_words_of(model, entry))
    file.write(b"%d %d\n" % entry.shape)
    for rows in _row_blocks(model, entry):
        file.write(binary_rows(rows, words))


def binary_rows(rows: NDArray[np.float32], words: Iterator[str]) -> bytes:
    """Encode rows, (rows, dim), each behind the next word."""
    return b"".join(b"%b %b\n" % (next(words).encode(), row.tobytes()) for row in rows)


def text_rows(rows: NDArray[np.float32], words: Iterator[str]) -> bytes:
    """Write rows, (rows, dim), as lines, each behind the next word."""
    return "".join(f"{next(words)} {' '.join(map(np.float32.__str__, row))}\n" for row in rows).encode()


def _write_lines(model: DenseModel, entry: Entry, file: AtomicFile) -> None:
    # Readers take the last numbers of a line for its vector, so that a word may hold blanks.
    words = iter(_words_of(model, entry))
    for rows in _row_blocks(model, entry):
        file.write(text_rows(rows, words))


def _words_of(model: DenseModel, entry: Entry) -> Sequence[str]:
    """Give the words of the rows, none of which ends within itself; their ids where they have none."""
    return model.labels.get(entry.name) or [str(number) for number in range(entry.shape[0])]


def _row_blocks(model: DenseModel, entry: Entry) -> Iterator[NDArray[np.float32]]:
    """Yield consecutive rows as float32, (block_rows, dim)."""
    rest = b""
    dtype = getattr(torch, entry.dtype)
    row_bytes = max(1, entry.shape[1] * dtype.itemsize)
    for part in model.read(entry):
        content = rest + bytes(part)
        whole = len(content) // row_bytes * row_bytes
        rest = content[whole:]
        if whole:
            values = torch.frombuffer(bytearray(content[:whole]), dtype=dtype).view(-1, entry.shape[1])
            yield values.to(torch.float32).numpy()
