"""The contract of every way in which a table becomes tensors of the artifact."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from embcompress.artifact.schema import CompressedTable, widest_metadata
from embcompress.artifact.writer import Entry, SafetensorsWriter
from embcompress.compression.plan import PlannedTable, describe, planned_report
from embcompress.exceptions import NonFiniteError
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.solvers import SolverChoice
from embcompress.results import TableErrorReport, TableReport
from embcompress.tables.rows import TableRows
from embcompress.tables.source import Setting


class Encoding(ABC):
    """One table on its way into an artifact: planned, then fitted, then written and measured.

    Args:
        planned: what will become of it.
        choice: the solver.
        setting: of the run.
    """

    def __init__(self, planned: PlannedTable, choice: SolverChoice, setting: Setting) -> None:
        self.planned = planned
        self.choice = choice
        self.setting = setting
        self.seconds = 0.0
        self.earlier_passes = 0  # over the rows, by what was done before this encoding was made

    def continue_from(self, earlier: Encoding) -> None:
        """Count what an earlier try of the same table took: its own passes, and its time with all before."""
        self.seconds = earlier.seconds
        self.earlier_passes = earlier.earlier_passes + earlier.own_passes

    @property
    @abstractmethod
    def own_passes(self) -> int:
        """Count how often the rows were read by this encoding so far."""

    @property
    def compressed(self) -> CompressedTable:
        """What the artifact says of the table; its error is None until it is written."""
        return describe(self.planned)

    @abstractmethod
    def planned_entries(self) -> tuple[Entry, ...]:
        """Name the tensors as far as they are known without reading a row."""

    @abstractmethod
    def fit(self) -> tuple[Entry, ...]:
        """Find out what must be known before the first tensor is written, and name the tensors."""

    @abstractmethod
    def write(self, writer: SafetensorsWriter) -> float:
        """Write all tensors, measuring the error on the way; return the relative one."""

    @property
    @abstractmethod
    def measured_relative(self) -> float:
        """The measured error that a budget holds: of rows counted by their weight, where they have one."""

    @abstractmethod
    def report(self) -> TableReport:
        """Tell what became of the table, as far as that is known."""

    def _rows(self, doing: str) -> TableRows:
        return self.setting.rows(self.planned.table, doing)

    def _refuse(self, err: NonFiniteError) -> NonFiniteError:
        return NonFiniteError(f"{self.setting.checkpoint.path}: {err.message}", hint=err.hint)

    def _error_report(self, error: ErrorAccumulator, optimal_relative: float | None) -> TableErrorReport:
        item, matrix = self.planned.table, self.planned.matrix
        has_row_ids = matrix is None or item.dim == math.prod(matrix)  # else errors are told by matrix, not by row
        labels = self.setting.facts.labels_of(item) if has_row_ids else ()
        unweighted = self.setting.facts.unweighted_rows_of(item)
        return error.result(optimal_relative=optimal_relative, labels=labels, unweighted_rows=unweighted)

    def _plain_report(self) -> TableReport:
        return planned_report(self.planned, self.choice, seconds=self.seconds)


def held_error(measured: TableErrorReport) -> float:
    """Choose the error that a budget holds: the weighted one, where rows have weights."""
    return measured.relative if measured.weighted_relative is None else measured.weighted_relative


def bytes_alone(encodings: Sequence[Encoding]) -> int:
    """Count the bytes of a file that holds these tables and nothing else, as far as they are known."""
    own = [entry for encoding in encodings for entry in encoding.planned_entries()]
    metadata = widest_metadata([encoding.compressed for encoding in encodings], entries=own, original={})
    return SafetensorsWriter(Path("artifact"), own, metadata=metadata).nbytes
