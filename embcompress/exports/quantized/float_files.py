"""Tables as float32 in the files that programs for vectors read: word2vec's, NumPy's .npy and .npz."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embcompress.artifact.atomic_file import AtomicFile, failure_of, hash_file
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import StoredTensor
from embcompress.checkpoints.row_labels import LABELS_SUFFIX, OFFSETS_SUFFIX
from embcompress.exceptions import UsageError
from embcompress.exports.numpy_arrays import is_of_numpy, npy_header, open_member, write_texts
from embcompress.exports.quantized.kind import (
    ExportPlan,
    Kind,
    RoundedPart,
    TableEncoding,
    check_one_table,
    why_no_real_matrix,
)
from embcompress.exports.quantized.source import SourceTable
from embcompress.exports.word_vectors import binary_rows
from embcompress.results import TableHead
from embcompress.text import find_fault

MEMBER_BYTES = 300  # that an array takes in an archive beside its numbers, about
TEXT_BYTES, WORD_BYTES = 12, 8  # of a number and of a word, about
OTHERS = "`--to npz` writes several; --table chooses one."

RowsToBytes = Callable[[NDArray[np.float32], Iterator[str]], bytes]  # (rows, dim) and words -> what is written


class _FloatKind(Kind):
    """A form that has tables as float32."""

    def why_unfit(self, source: SourceTable) -> str:
        table = source.table.head
        return f"holds {table.dtype}, and the form gets float32" if table.dtype.startswith("complex") else ""

    def encode(self, source: SourceTable) -> TableEncoding:
        return _Floats(source.table.head)


class _OneTable(_FloatKind):
    """A form that has one table and nothing else.

    Attributes:
        what: the form, for messages.
    """

    what: str

    def why_left_out(self, stored: StoredTensor) -> str:  # noqa: ARG002 - as in Kind
        return "the form holds one table"

    def check(self, plan: ExportPlan) -> None:
        """Refuse several tables.

        Raises:
            UsageError: there are several.
        """
        check_one_table(plan, form=self.what, hint=OTHERS)


class WordVectors(_OneTable):
    """A file of word vectors, of one table.

    Args:
        ending: of the default output's name.
        write_rows: what encodes rows and their words.
        word_ends: characters that no word may hold.
    """

    what = "a file of word vectors"

    def __init__(self, ending: str, write_rows: RowsToBytes, word_ends: str) -> None:
        self.ending = ending
        self._write_rows, self._word_ends = write_rows, word_ends

    def why_unfit(self, source: SourceTable) -> str:  # noqa: D102 - as in Kind
        return why_no_real_matrix(source.table.head)

    def check(self, plan: ExportPlan) -> None:
        """Refuse several tables, and labels that are no words.

        Raises:
            UsageError: there are such.
        """
        super().check(plan)
        ((table, _),) = plan.tables
        if fault := find_fault(plan.labels_of(table.name), ends=self._word_ends):
            raise UsageError(
                f"word vectors have a word before each row, and {fault} in {table.name!r}.",
                hint="--to npz keeps such labels.",
            )

    def open_writer(self, plan: ExportPlan) -> _WordWriter:  # noqa: D102 - as in Kind
        ((table, encoding),) = plan.tables
        words = plan.labels_of(table.name) or [str(number) for number in range(table.rows)]
        return _WordWriter(plan, encoding.entries[0], words, self._write_rows)


class NumpyFile(_OneTable):
    """An .npy file, of one table."""

    ending, what = "-table.npy", "an .npy file"

    def open_writer(self, plan: ExportPlan) -> _ArrayWriter:  # noqa: D102 - as in Kind
        return _ArrayWriter(plan)


class NumpyArchive(_FloatKind):
    """An .npz file of all tables and tensors that NumPy has dtypes for, with the labels of rows."""

    ending = "-tables.npz"

    def why_left_out(self, stored: StoredTensor) -> str:  # noqa: D102 - as in Kind
        has_dtype = stored.opaque_bytes is None and is_of_numpy(stored.dtype)
        return "" if has_dtype else f"NumPy has no dtype for {stored.dtype}"

    def open_writer(self, plan: ExportPlan) -> _ArchiveWriter:  # noqa: D102 - as in Kind
        return _ArchiveWriter(plan)


class _Floats(TableEncoding):
    """A table as float32."""

    def __init__(self, table: TableHead) -> None:
        self.entries = (Entry(table.name, "float32", table.dense_shape),)
        self.fixed = {}
        self.largest = torch.finfo(torch.float32).max

    def round(self, values: Tensor) -> RoundedPart:
        floats = values.to(torch.float32)
        return RoundedPart((floats,), floats)


class _FileWriter:
    """A file that is written from its first byte to its last."""

    def __init__(self, plan: ExportPlan, nbytes: int) -> None:
        self._file = AtomicFile(plan.target, force=plan.force)
        self.nbytes = nbytes

    def __enter__(self) -> Any:
        with self._file.opening():
            self._begin()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.__exit__(*exception)

    def _begin(self) -> None:
        """Write what comes before all rows."""

    def finish(self) -> str:
        """Return the sha256 of the file, which is still a temporary one."""
        self.nbytes = self._file.path.stat().st_size
        return hash_file(self._file.path)

    def commit(self) -> None:
        """Put the file in its place."""
        self._file.commit()


class _WordWriter(_FileWriter):
    """Writes words and rows."""

    def __init__(self, plan: ExportPlan, entry: Entry, words: Sequence[str], write_rows: RowsToBytes) -> None:
        rows, self._dim = entry.shape
        self._head = b"%d %d\n" % entry.shape
        number_bytes = 4 if write_rows is binary_rows else TEXT_BYTES
        super().__init__(plan, len(self._head) + rows * (WORD_BYTES + self._dim * number_bytes))
        self._words, self._write_rows = iter(words), write_rows

    def _begin(self) -> None:
        self._file.write(self._head)

    def append(self, _: Entry, part: bytes | memoryview) -> None:
        """Write whole rows."""
        rows = np.frombuffer(part, dtype="<f4").reshape(-1, self._dim)
        self._file.write(self._write_rows(rows, self._words))


class _ArrayWriter(_FileWriter):
    """Writes one array."""

    def __init__(self, plan: ExportPlan) -> None:
        (entry,) = plan.entries
        self._head = npy_header(entry)
        super().__init__(plan, len(self._head) + entry.nbytes)

    def _begin(self) -> None:
        self._file.write(self._head)

    def append(self, _: Entry, part: bytes | memoryview) -> None:
        """Write the next numbers."""
        self._file.write(part)


class _ArchiveWriter(_FileWriter):
    """Writes arrays, one after the other, and before them the labels of their rows."""

    def __init__(self, plan: ExportPlan) -> None:
        super().__init__(plan, sum(entry.nbytes + MEMBER_BYTES for entry in plan.entries))
        tables = [table.name for table, _ in plan.tables]
        self._labels = {name + LABELS_SUFFIX: texts for name in tables if (texts := plan.labels_of(name))}
        # As texts they are there already.
        self._left_out = {*self._labels, *(name + OFFSETS_SUFFIX for name in tables)}
        self._empty = [entry for entry in plan.entries if not entry.nbytes]
        self._stack = ExitStack()
        self._open: tuple[Entry, IO[bytes]] | None = None

    def _begin(self) -> None:
        try:
            self._archive = self._stack.enter_context(zipfile.ZipFile(self._file.path, "w", zipfile.ZIP_STORED))
            for name, texts in self._labels.items():
                write_texts(self._archive, name, texts)
        except OSError as err:
            raise failure_of(self._file.target, err) from err

    def __exit__(self, *exception: Any) -> None:
        try:
            self._stack.close()  # where a member is open, the archive refuses to be closed
        except ValueError:
            pass
        finally:
            super().__exit__(*exception)

    def append(self, entry: Entry, part: bytes | memoryview) -> None:
        """Write the next numbers of an array, the same as before or the next."""
        if entry.name in self._left_out:
            return
        try:
            self._member(entry).write(part)
        except OSError as err:
            raise failure_of(self._file.target, err) from err

    def _member(self, entry: Entry) -> IO[bytes]:
        if self._open is None or self._open[0] != entry:
            self._close_member()
            self._open = (entry, open_member(self._archive, entry.name))
            self._open[1].write(npy_header(entry))
        return self._open[1]

    def _close_member(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def finish(self) -> str:
        """Write the list of arrays, and return the sha256 of the file."""
        try:
            for entry in self._empty:
                self._member(entry)
            self._close_member()
            self._stack.close()
        except OSError as err:
            raise failure_of(self._file.target, err) from err
        return super().finish()
