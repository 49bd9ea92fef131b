"""The contract of every way in which a table becomes tensors of the artifact: plan, fit, write, report."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

from embcompress.artifact.schema import CompressedTable
from embcompress.artifact.writer import Entry, TensorWriter
from embcompress.compression.plan import PlannedTable, describe, planned_entries, planned_report
from embcompress.compression.time_and_passes import TimeAndPasses
from embcompress.exceptions import NonFiniteError
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.solvers import SolverChoice
from embcompress.results import TableErrorReport, TableReport
from embcompress.tables.rows import TableRows
from embcompress.tables.source import TableSource


@dataclass(frozen=True)
class FittedTable:
    """A table of which all is known that its first tensor needs.

    Attributes:
        entries: its tensors.
        work: of fitting it.
    """

    entries: tuple[Entry, ...]
    work: TimeAndPasses


@dataclass(frozen=True)
class WrittenTable:
    """A table as it was written and measured.

    Attributes:
        error: of the rows as they are stored.
        zero_rows: of the dense table.
        nbytes: of its tensors.
        work: of all that was done for it, earlier tries included.
    """

    error: TableErrorReport
    zero_rows: int
    nbytes: int
    work: TimeAndPasses

    @property
    def budgeted_relative(self) -> float:
        """The error that a budget limits: the weighted one, where rows have weights."""
        weighted = self.error.weighted_relative
        return self.error.relative if weighted is None else weighted


Fitted = TypeVar("Fitted", bound=FittedTable)
Written = TypeVar("Written", bound=WrittenTable)


class Encoding(ABC, Generic[Fitted, Written]):
    """One way of making a table into tensors of an artifact: `fit`, then `write`, then `report`.

    Keeps no state of a run: the result of one step is given to the next.

    Args:
        planned: the table, its rank and its dtype.
        choice: the solver.
        table_source: of the run.
        earlier: the work that was done for the table before.
    """

    def __init__(
        self, planned: PlannedTable, choice: SolverChoice, table_source: TableSource, *, earlier: TimeAndPasses
    ) -> None:
        self.planned = planned
        self.choice = choice
        self.table_source = table_source
        self.earlier = earlier

    @property
    def compressed(self) -> CompressedTable:
        """The artifact's description of the table, but for its error."""
        return describe(self.planned)

    def planned_entries(self) -> tuple[Entry, ...]:
        """Name the tensors as far as they are known without reading a row."""
        return planned_entries(self.planned)

    def planned_report(self) -> TableReport:
        """Report the table as far as it is known without reading a row."""
        return planned_report(self.planned, self.choice, seconds=self.earlier.seconds)

    @abstractmethod
    def fit(self) -> Fitted:
        """Find out what must be known before the first tensor is written, and name the tensors.

        Raises:
            NonFiniteError: the table holds NaN or infinity; names the file.
        """

    @abstractmethod
    def write(self, fitted: Fitted, writer: TensorWriter) -> Written:
        """Write all tensors, measuring the error on the way."""

    def report(self, written: Written) -> TableReport:
        """Report the table as it was written."""
        return replace(
            self.planned_report(),
            passes=written.work.passes,
            bytes_after=written.nbytes,
            error=written.error,
            zero_rows=written.zero_rows,
            seconds=written.work.seconds,
        )

    def _rows(self, doing: str) -> TableRows:
        return self.table_source.rows(self.planned.table, doing)

    def _refuse(self, err: NonFiniteError) -> NonFiniteError:
        return NonFiniteError(f"{self.table_source.checkpoint.path}: {err.message}", hint=err.hint)

    def _measured(self, error: ErrorAccumulator, *, optimal_relative: float | None = None) -> TableErrorReport:
        table, matrix = self.planned.table, self.planned.matrix
        # Errors of several matrices in a row are reported by matrix: such numbers are no rows.
        has_row_ids = matrix is None or table.dim == math.prod(matrix)
        facts = self.table_source.facts
        labels = facts.labels_of(table) if has_row_ids else ()
        unweighted_rows = facts.unweighted_rows_of(table)
        return error.result(optimal_relative=optimal_relative, labels=labels, unweighted_rows=unweighted_rows)


AnyEncoding: TypeAlias = Encoding[Any, Any]
