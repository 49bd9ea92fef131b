"""Weights as codes, which meet their size or error while they are written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embcompress.artifact.schema import CODED, CompressedTable
from embcompress.artifact.staged_strings import StagedStrings
from embcompress.artifact.writer import Entry, TensorWriter
from embcompress.coding.bound import coded_report
from embcompress.coding.estimates import Estimate
from embcompress.compression.coded_goal import Allowance, Goal
from embcompress.compression.coded_pass import CodedPass
from embcompress.compression.coded_source import CodedSource
from embcompress.compression.encoding import Encoding, FittedTable, WrittenTable
from embcompress.compression.time_and_passes import TimeAndPasses
from embcompress.exceptions import BudgetError
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.solvers import SolverChoice
from embcompress.linalg.spectrum import spectrum_report
from embcompress.results import TableReport
from embcompress.tables.source import TableSource

# Tries at the step of strings of fixed length, and by how much more squared error they leave than others.
FIXED_TRIES = 4
FIXED_PRICE = 1.01
# Tries at the whole table.
WHOLE_TRIES = 6
# The share of its goal that a whole table which missed it aims at next.
AGAIN = 0.998


@dataclass(frozen=True)
class CodedTable(WrittenTable):
    """A table that was written as codes.

    Attributes:
        estimate: at the step that it was begun with.
        kinds: of rows, zeros counted.
    """

    estimate: Estimate
    kinds: int


class CodedEncoding(Encoding[FittedTable, CodedTable]):
    """Weights as codes.

    Args:
        source: the table, and estimates of it.
        estimate: at the step that was chosen, its bases coded.
        table_source: of the run.
        needs: the option that asked for the spectrum.
        allowance: the bytes that it must not exceed, with those of the tables behind it; or None.
        max_error: the relative error that it must not exceed, or None.
        fixed_rows: whether all strings of a kind have one length.
    """

    def __init__(
        self,
        source: CodedSource,
        estimate: Estimate,
        table_source: TableSource,
        *,
        needs: str,
        allowance: Allowance | None,
        max_error: float | None,
        fixed_rows: bool,
    ) -> None:
        choice = SolverChoice(source.factors.solver, f"for the spectrum, which {needs} needs")
        super().__init__(source.planned(estimate), choice, table_source, earlier=source.work)
        self._source, self._estimate = source, estimate
        self._allowance, self._max_error, self._fixed_rows = allowance, max_error, fixed_rows

    @property
    def compressed(self) -> CompressedTable:  # noqa: D102 - as in Encoding
        return self._source.compressed(self._estimate)

    def planned_entries(self) -> tuple[Entry, ...]:  # noqa: D102 - as in Encoding
        return self._source.entries(self._estimate)

    def fit(self) -> FittedTable:
        """Name the tensors: all was fitted before."""
        return FittedTable(self.planned_entries(), TimeAndPasses())

    def write(self, fitted: FittedTable, writer: TensorWriter) -> CodedTable:
        """Write all tensors, anew where the whole table misses its goal.

        Raises:
            BudgetError: no try was within the goal.
        """
        if not self._source.is_seekable:
            codes = fitted.entries[0]
            return self._encode(fitted, writer, lambda strings: writer.append(codes, strings.tobytes()))
        with StagedStrings(writer.path.parent) as staged:
            return self._encode(fitted, writer, staged.append, staged)

    def _encode(
        self,
        fitted: FittedTable,
        writer: TensorWriter,
        append: Callable[[NDArray[np.uint8]], None],
        staged: StagedStrings | None = None,
    ) -> CodedTable:
        """Encode all rows until they meet the goal; `append` takes their strings, where they are not `staged` first."""
        started = time.perf_counter()
        codes, index, codebook = fitted.entries
        estimate, target, tries = self._estimate, 1.0, 0
        while tries < WHOLE_TRIES:
            tries += 1
            for entry in (codebook, index, codes):
                writer.rewind(entry)
            if staged is not None:
                staged.rewind()
            error = ErrorAccumulator(self._source.row_weights)
            goal = self._goal(target)
            if self._fixed_rows:
                estimate = self._fit_fixed(estimate, goal)
            one_pass = CodedPass(self._source, estimate, goal=goal, error=error, fixed_rows=self._fixed_rows)
            ending = one_pass.encode(self._rows("codes").blocks(), append)
            if ending.is_within:
                break
            target *= AGAIN * min(1.0, ending.share_left)
        else:
            raise BudgetError(
                f"table {self.planned.table.name!r} did not meet its budget in {WHOLE_TRIES} tries.",
                hint="Allow a slightly larger size or error.",
            )
        if staged is not None:
            writer.write(codes, staged.blocks(ending.index))
        writer.append(index, ending.index.index.tobytes())
        writer.append(codebook, ending.codebook.tobytes())
        if self._allowance is not None:
            self._allowance.take(ending.nbytes)
        work = self.earlier + fitted.work + TimeAndPasses(time.perf_counter() - started, tries)
        return CodedTable(self._measured(error), error.zero_rows, ending.nbytes, work, estimate, ending.kinds)

    def _fit_fixed(self, estimate: Estimate, goal: Goal) -> Estimate:
        """Choose the step at which strings of fixed lengths are expected to come to the goal."""
        aim = goal.limit * goal.target - (goal.slack if goal.is_bytes else 0)
        for _ in range(FIXED_TRIES):
            if goal.is_bytes:
                octaves = 8 * (estimate.fixed_bytes - aim) / self.planned.table.rows / max(estimate.coded, 0.25)
            else:
                norm = self._source.statistics.squared_norm
                octaves = 0.5 * math.log2(aim / max(estimate.squared_error * norm * FIXED_PRICE, 1e-300))
            if abs(octaves) < 2e-4:
                break
            step = estimate.step * 2.0 ** min(max(octaves, -1.0), 1.0)
            estimate = self._source.estimator.near(estimate, step)
        return estimate

    def _goal(self, target: float) -> Goal:
        """Make the goal of the table; `target` is the share of it that is aimed at."""
        if self._max_error is not None:
            return Goal(self._max_error**2 * self._source.statistics.squared_norm, target, is_bytes=False)
        assert self._allowance is not None
        return Goal(float(self._allowance.next_share), target, is_bytes=True)

    def planned_report(self) -> TableReport:  # noqa: D102 - as in Encoding
        estimate = self._estimate
        nbytes = sum(entry.nbytes for entry in self.planned_entries())
        report = replace(super().planned_report(), passes=self.earlier.passes, bytes_after=nbytes)
        return self._with_codes(report, estimate, kinds=estimate.fit.codebook.kinds)

    def report(self, written: CodedTable) -> TableReport:  # noqa: D102 - as in Encoding
        return self._with_codes(super().report(written), written.estimate, kinds=written.kinds)

    def _with_codes(self, report: TableReport, estimate: Estimate, *, kinds: int) -> TableReport:
        """Add to a report how the weights are stored, in `kinds` of rows with that of zeros."""
        table = self.planned.table
        # With row weights the spectrum is that of scaled rows.
        factors = self._source.factors if self._source.row_weights is None else None
        codes = coded_report(
            factors,
            rows=table.rows,
            dim=table.dim,
            nbytes=report.bytes_after,
            kinds=kinds - 1,
            is_rotated=estimate.fit.bases is not None,
            states=self._source.states,
            predicted_relative=math.sqrt(estimate.squared_error),
        )
        spectrum = None
        if factors is not None:
            spectrum = spectrum_report(factors, side=min(table.rows, table.dim), rank=self.planned.rank)
        return replace(report, coding=CODED, coded=codes, spectrum=spectrum)
