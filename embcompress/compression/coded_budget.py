"""Tables within a budget as codes: one Lagrange multiplier for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from embcompress.coding.estimates import Estimate
from embcompress.compression.budget import Budget
from embcompress.compression.coded_encoding import CodedEncoding
from embcompress.compression.coded_goal import Allowance
from embcompress.compression.coded_source import NOT_NORMAL, CodedSource
from embcompress.compression.encoding import AnyEncoding
from embcompress.compression.encoding_maker import EncodingMaker
from embcompress.compression.first_run import with_compile_note
from embcompress.compression.memory import estimate_coding_memory
from embcompress.compression.refusals import error_reason, leave_dense, refuse_all_dense, refuse_size
from embcompress.compression.shared_step import NEAR, SEARCH_TRIES, SharedStep
from embcompress.compression.size_limit import size_limit
from embcompress.results import Skipped
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table

SEARCHING = "search for the bits of each table"
PLAIN_HINT = "Add --plain to store its weights as floats."
# The share of the allowed error that an estimate aims at.
ERROR_AIM = 0.9998
# An error that is estimated above the target by less than this factor is tried before it is refused.
ESTIMATE_TOLERANCE = 1.02
# An estimate of the least bytes may be off by this factor and these bytes: what is hardly more is refused, too.
LEAST_MARGIN = 1.002
LEAST_MARGIN_BYTES = 64


@dataclass(frozen=True)
class EstimatedTable:
    """A table, and its estimate at the step that was chosen."""

    source: CodedSource
    estimate: Estimate


class CodedWithinBudget(EncodingMaker):
    """The tables of a run, together within a budget, as codes that meet it while they are written.

    Args:
        tables: those chosen.
        budget: --ratio, --max-size or --max-error.
        table_source: of the run.
        named: patterns given in full: such a table is not left dense in silence.
        dry_run: whether bases need not be coded.
        fixed_rows: whether all strings of a kind have one length.
        seekable: whether rows are to be read one at a time.

    Raises:
        BudgetError: no table can meet the budget, or one that was named in full cannot.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        budget: Budget,
        table_source: TableSource,
        *,
        named: Sequence[str],
        dry_run: bool = False,
        fixed_rows: bool = False,
        seekable: bool = False,
    ) -> None:
        self._budget, self._table_source, self._named = budget, table_source, named
        self._dry_run, self._fixed_rows = dry_run, fixed_rows
        self._skipped: list[Skipped] = []
        sources = [
            source
            for table in tables
            if self._is_codable(source := CodedSource(table, table_source, effort=budget.effort, is_seekable=seekable))
        ]
        self._allowance: Allowance | None = None
        if budget.kind == "max_error":
            estimates = self._hold_errors(sources)
            self._tables = [EstimatedTable(source, estimate) for source, estimate in estimates if estimate is not None]
            self._refuse_all_dense(self._tables)
        else:
            self._refuse_all_dense(sources)
            self._tables, self._allowance = self._share_bytes(sources)

    @property
    def skipped(self) -> Sequence[Skipped]:  # noqa: D102 - as in EncodingMaker
        return self._skipped

    def encodings(self) -> list[AnyEncoding]:  # noqa: D102 - as in EncodingMaker
        return [
            CodedEncoding(
                table.source,
                table.estimate,
                self._table_source,
                needs=self._budget.option,
                allowance=self._allowance,
                max_error=self._budget.amount if self._budget.kind == "max_error" else None,
                fixed_rows=self._fixed_rows,
            )
            for table in self._tables
        ]

    def memory(self) -> int:  # noqa: D102 - as in EncodingMaker
        samples = ((table.source.table, len(table.source.statistics.sample)) for table in self._tables)
        return estimate_coding_memory(samples)

    def _is_codable(self, source: CodedSource) -> bool:
        """Return whether a table gains by codes; else say why it stays dense."""
        reason = source.why_dense
        if reason:
            self._skip(source.table, reason, hint=PLAIN_HINT if reason == NOT_NORMAL else "")
        return not reason

    def _skip(self, table: Table, reason: str, *, hint: str) -> None:
        path = self._table_source.checkpoint.path
        self._skipped.append(leave_dense(table, reason, path=path, named=self._named, hint=hint))

    def _refuse_all_dense(self, tables: Sequence[object]) -> None:
        if not tables:
            hint = PLAIN_HINT if any(table.reason == NOT_NORMAL for table in self._skipped) else ""
            raise refuse_all_dense(self._budget, self._table_source.checkpoint.path, self._skipped, hint=hint)

    def _hold_errors(self, sources: Sequence[CodedSource]) -> list[tuple[CodedSource, Estimate | None]]:
        """Choose the step of each table, telling how many are chosen."""
        doing, estimates = with_compile_note(SEARCHING), []
        for number, source in enumerate(sources):
            self._table_source.tell(doing, number, len(sources))
            estimates.append((source, self._hold_error(source)))
        self._table_source.tell(doing, len(sources), len(sources))
        return estimates

    def _hold_error(self, source: CodedSource) -> Estimate | None:
        """Choose the step that leaves a table just the error that is allowed; else say why it stays dense."""
        target = self._budget.amount * ERROR_AIM
        estimate = _search_error(source, target)
        error = math.sqrt(estimate.squared_error)
        if error > target * ESTIMATE_TOLERANCE or estimate.nbytes >= source.table.nbytes:
            least = math.sqrt(_finest(source).squared_error)
            self._skip(source.table, error_reason(least), hint="Allow a larger error.")
            return None
        return estimate if self._dry_run else source.estimator.with_coded_bases(estimate)

    def _share_bytes(self, sources: Sequence[CodedSource]) -> tuple[list[EstimatedTable], Allowance]:
        """Choose the one share of its norm that every table's step is, so that all together fill the budget."""
        tables, checkpoint = [source.table for source in sources], self._table_source.checkpoint
        limit = size_limit(self._budget, tables, checkpoint)
        shared = SharedStep(sources, on_step=partial(self._table_source.tell, with_compile_note(SEARCHING)))
        estimates = shared.fill(limit, has_coded_bases=not self._dry_run)
        least = shared.least()
        least_bytes = sum(estimate.nbytes for estimate in least) + shared.beside(least, limit)
        smallest = math.ceil(least_bytes * LEAST_MARGIN) + LEAST_MARGIN_BYTES
        if estimates is None or limit.nbytes < smallest:
            before = sum(table.nbytes for table in tables)
            raise refuse_size(self._budget, checkpoint.path, smallest, before=before)
        allowance = Allowance(
            limit.nbytes - shared.beside(estimates, limit),
            [estimate.nbytes for estimate in estimates],
            [estimate.nbytes for estimate in least],
        )
        pairs = zip(sources, estimates, strict=True)
        return [EstimatedTable(source, estimate) for source, estimate in pairs], allowance


def _search_error(source: CodedSource, target: float) -> Estimate:
    """Estimate a table at the step that leaves about the error `target`, or the nearest that there is."""
    step = target * source.scale / math.sqrt(source.table.rows * source.table.dim) * 2
    low, high = 0.0, source.statistics.coarsest_step
    estimate = source.estimator.at(min(step, high))
    tried = []
    for _ in range(SEARCH_TRIES):
        error = math.sqrt(estimate.squared_error)
        tried.append(estimate)
        if abs(error / target - 1) < NEAR or (error <= target and estimate.step >= high):
            break
        low, high = (estimate.step, high) if error < target else (low, estimate.step)
        if high <= source.statistics.finest_step:
            break
        guess = estimate.step * target / max(error, 1e-300)
        step = guess if low < guess < high else math.sqrt(max(low, high / 16) * high)
        estimate = source.estimator.at(step)
    if estimate.squared_error > (target * ESTIMATE_TOLERANCE) ** 2:
        # The error of a table of few distinct values leaps: what leaves less is the next best.
        within = [estimate for estimate in tried if estimate.squared_error <= target**2]
        estimate = min(within, key=lambda estimate: estimate.nbytes, default=estimate)
    return estimate


def _finest(source: CodedSource) -> Estimate:
    """Find about the finest step at which a table is still smaller than it is."""
    low, high = source.statistics.finest_step, source.statistics.coarsest_step
    for _ in range(SEARCH_TRIES):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if source.estimator.at(middle).nbytes < source.table.nbytes else (middle, high)
    return source.estimator.at(high)
