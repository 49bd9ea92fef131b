"""The contract of a form that another program serves, and what a table becomes in it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor

from embcompress.artifact.folder_writer import FolderForm
from embcompress.artifact.output import Output
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.exceptions import CheckpointError, UsageError
from embcompress.exports.quantized.source import SourceTable
from embcompress.results import TableHead
from embcompress.text import named

FORMAT_METADATA: Mapping[str, str] = {"format": "pt"}  # Hugging Face loaders refuse a safetensors file without it


@dataclass(frozen=True)
class RoundedPart:
    """Consecutive rows as a form stores them.

    Attributes:
        parts: what goes into each tensor of the encoding, in their order, (rows, ...) of whatever dtype.
        values: (rows, dim) what a reader of the form makes of them.
    """

    parts: tuple[Tensor, ...]
    values: Tensor


class TableEncoding(ABC):
    """One table in a form: the tensors that hold it, and how its rows become their bytes.

    Attributes:
        entries: the tensors that have a part for each row.
        fixed: the other tensors, with their bytes in parts.
        largest: the largest magnitude of a number that the form holds.
        rank: of a form that holds factors, the number of bases.
    """

    entries: tuple[Entry, ...]
    fixed: Mapping[Entry, Iterable[bytes | memoryview]]
    largest: float
    rank: int | None = None

    @abstractmethod
    def round(self, values: Tensor) -> RoundedPart:
        """Round rows, (rows, dim) float32 or float64, each by itself."""

    @property
    def nbytes(self) -> int:
        """Count the bytes of all its tensors."""
        return sum(entry.nbytes for entry in (*self.entries, *self.fixed))


@dataclass(frozen=True)
class ExportPlan:
    """What an export is to hold.

    Attributes:
        target: where it goes, links followed.
        force: whether what is there by then is replaced.
        tables: names, sizes and dtypes of the tables, each with its encoding.
        copied: the tensors that are copied as they are.
        source: the checkpoint or the artifact that they come from.
        labels_of: gives the labels of a table's rows by its name; empty where there are none.
        companions: files that belong to the model, by their names in a folder.
    """

    target: Path
    force: bool
    tables: tuple[tuple[TableHead, TableEncoding], ...]
    copied: tuple[Entry, ...]
    source: Checkpoint
    labels_of: Callable[[str], Sequence[str]]
    companions: Mapping[str, Path] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All tensors."""
        encodings = (encoding for _, encoding in self.tables)
        return (*(entry for one in encodings for entry in (*one.entries, *one.fixed)), *self.copied)


class ExportWriter(Protocol):
    """Writes the tensors of an export in any order, each from its first byte to its last.

    A context manager; without `commit` nothing is left.
    """

    @property
    def nbytes(self) -> int:
        """Count the bytes of the output; exact after `finish`."""

    def __enter__(self) -> ExportWriter: ...

    def __exit__(self, *exception: Any) -> None: ...

    def append(self, entry: Entry, part: bytes | memoryview) -> None:
        """Write the next bytes of a tensor."""

    def finish(self) -> str:
        """Write all else and return the sha256 of the output, which is still a temporary one."""

    def commit(self) -> None:
        """Put the output in its place."""


class Kind(ABC):
    """A form that another program serves.

    Attributes:
        ending: of the default output's name.
        is_folder: whether the output is a folder.
    """

    ending: str
    is_folder: bool = False

    @abstractmethod
    def why_unfit(self, source: SourceTable) -> str:
        """Say why the form cannot hold a table, as the end of a sentence about it; empty where it can."""

    @abstractmethod
    def encode(self, source: SourceTable) -> TableEncoding:
        """Make the encoding of a table that fits."""

    def why_left_out(self, stored: StoredTensor) -> str:  # noqa: ARG002 - for forms that hold fewer
        """Say why the form does not hold a tensor that is no table; empty where it is copied."""
        return ""

    def warnings(self, source: Checkpoint) -> tuple[str, ...]:  # noqa: ARG002 - for forms that keep less of a model
        """Say what an output lacks that users of the source may take for granted, a sentence each."""
        return ()

    def check(self, plan: ExportPlan) -> None:  # noqa: B027 - for forms that hold fewer
        """Refuse what the form cannot hold together.

        Raises:
            EmbcompressError: of whatever kind says what is wrong.
        """

    @abstractmethod
    def open_writer(self, plan: ExportPlan) -> ExportWriter:
        """Make the writer of an output."""


class MetadataWriter:
    """A writer of a safetensors file, or a folder of one, whose metadata is known from the start.

    Args:
        plan: of the output.
        form: of a folder; None: one file.
        metadata: beside that of every file.
    """

    def __init__(
        self, plan: ExportPlan, form: FolderForm | None = None, *, metadata: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._metadata = {**FORMAT_METADATA, **metadata}
        output = Output(plan.target, plan.target, plan.force, form)
        self._writer = output.writer(plan.entries, self._metadata)

    @property
    def nbytes(self) -> int:  # noqa: D102 - as in ExportWriter
        return self._writer.nbytes

    def __enter__(self) -> MetadataWriter:
        self._writer.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._writer.__exit__(*exception)

    def append(self, entry: Entry, part: bytes | memoryview) -> None:  # noqa: D102 - as in ExportWriter
        self._writer.append(entry, part)

    def finish(self) -> str:  # noqa: D102 - as in ExportWriter
        return self._writer.finish(self._metadata)

    def commit(self) -> None:  # noqa: D102 - as in ExportWriter
        self._writer.commit()


def check_one_table(plan: ExportPlan, *, form: str, hint: str) -> None:
    """Refuse several tables in a form of one.

    Raises:
        UsageError: there are several.
    """
    if len(plan.tables) > 1:
        names = [table.name for table, _ in plan.tables]
        raise UsageError(f"{form} holds one table, and {len(names)} are chosen: {named(names)}.", hint=hint)


def read_json(path: Path) -> Any:
    """Read a file of JSON that belongs to a model.

    Raises:
        CheckpointError: it is none.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        raise CheckpointError(f"{path} cannot be read: {err}.") from err


def why_no_real_matrix(table: TableHead) -> str:
    """Say that a table is no matrix of real numbers, which few forms are more than; empty where it is one."""
    if table.dtype.startswith("complex"):
        return f"holds {table.dtype}, and the form has real numbers only"
    if len(table.shape) != 1:
        return f"has rows of shape {table.shape}, and the form has rows of numbers only"
    return ""
