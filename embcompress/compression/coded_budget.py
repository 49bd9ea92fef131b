"""Tables held to a budget as codes: one price for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embcompress.coding.fitting import Estimate
from embcompress.compression.budget import Budget
from embcompress.compression.budget_search import ceil_digits, leave_dense, refuse_size
from embcompress.compression.coded_encoding import Allowance, CodedEncoding, coded_bytes, coded_encoding_of
from embcompress.compression.coded_source import NOT_NORMAL, CodedSource
from embcompress.compression.encoding import Encoding
from embcompress.compression.memory import estimate_coding_memory
from embcompress.compression.shared_step import NEAR, SEARCH_TRIES, SharedStep
from embcompress.exceptions import BudgetError
from embcompress.results import Skipped
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table

PLAIN_HINT = "Add --plain to store its weights as floats."
# What an estimate of the error aims at, as a share of what is allowed.
ERROR_AIM = 0.9998
# A prediction may be off by so much: an error above the target by less is tried before it is refused.
ESTIMATE_TOLERANCE = 1.02


@dataclass
class CodedTable:
    """A table, what is known of it, and the estimate at the step that was chosen."""

    table: Table
    source: CodedSource
    estimate: Estimate | None = None


class CodedWithinBudget:
    """The tables of a run, held to a budget together as codes.

    Args:
        tables: those chosen.
        budget: --ratio, --max-size or --max-error.
        table_source: of the run.
        named: patterns given in full: such a table is not left dense in silence.
        size_of: counts the bytes of the whole file, and of one with these tables alone.
        dry_run: whether bases need not be coded.
        fixed_rows: whether all strings of a kind have one length.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        budget: Budget,
        table_source: TableSource,
        *,
        named: Sequence[str],
        size_of: Callable[[Sequence[Encoding]], tuple[int, int]],
        dry_run: bool = False,
        fixed_rows: bool = False,
    ) -> None:
        self._fixed_rows = fixed_rows
        self._budget, self._table_source, self._named, self._size_of = budget, table_source, named, size_of
        self._dry_run = dry_run
        self.skipped: list[Skipped] = []
        self._held = []
        for table in tables:
            held = CodedTable(table, CodedSource(table, table_source, effort=budget.effort))
            reason = held.source.why_dense
            if reason:
                hint = PLAIN_HINT if reason == NOT_NORMAL else ""
                self.skipped.append(leave_dense(table, reason, path=self._path, named=named, hint=hint))
            else:
                self._held.append(held)
        if self._held and budget.kind == "max_error":
            self._held = [held for held in self._held if self._hold_error(held)]
        self._refuse_nothing()
        self._allowance: Allowance | None = None
        if budget.kind != "max_error":
            self._allowance = self._share_bytes()

    @property
    def _path(self) -> Path:
        return self._table_source.checkpoint.path

    def _refuse_nothing(self) -> None:
        if not self._held:
            what = "; ".join(f"table {item.name!r} {item.reason}" for item in self.skipped)
            hint = PLAIN_HINT if any(item.reason == NOT_NORMAL for item in self.skipped) else ""
            raise BudgetError(f"{self._budget.option}: nothing in {self._path} gets smaller: {what}.", hint=hint)

    def encodings(self) -> list[Encoding]:
        """Make what writes each table."""
        pairs = [(held.source, held.estimate) for held in self._held]
        return [self._encoding(source, estimate) for source, estimate in pairs if estimate is not None]

    def accepts(self, errors: Sequence[float]) -> bool:  # noqa: ARG002 - each table was held to it when it was written
        """Tell whether measured errors are within the budget."""
        return True

    def estimate_memory(self) -> int:
        """Estimate the most bytes that the run holds at once."""
        return estimate_coding_memory((held.table, len(held.source.statistics.sample)) for held in self._held)

    def _encoding(self, source: CodedSource, estimate: Estimate) -> CodedEncoding:
        return coded_encoding_of(
            source,
            estimate,
            self._table_source,
            needs=self._budget.option,
            allowance=self._allowance,
            max_error=self._budget.amount if self._budget.kind == "max_error" else None,
            fixed_rows=self._fixed_rows,
        )

    def _hold_error(self, held: CodedTable) -> bool:
        """Choose the step that leaves a table just the error that is allowed; else say why it stays dense."""
        source, target = held.source, self._budget.amount * ERROR_AIM
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
            within = [one for one in tried if one.squared_error <= target**2]
            estimate = min(within, key=lambda one: one.nbytes, default=estimate)
        error = math.sqrt(estimate.squared_error)
        if error > target * ESTIMATE_TOLERANCE or estimate.nbytes >= held.table.nbytes:
            finest = self._finest(held)
            least = ceil_digits(math.sqrt(finest.squared_error))
            reason = f"reaches no error below {least} in fewer bytes than it has"
            hint = "Ask for a larger error."
            self.skipped.append(leave_dense(held.table, reason, path=self._path, named=self._named, hint=hint))
            return False
        held.estimate = estimate if self._dry_run else source.estimator.settled(estimate)
        return True

    def _finest(self, held: CodedTable) -> Estimate:
        """Find about the finest step at which a table is still smaller than it is."""
        source = held.source
        low, high = source.statistics.finest_step, source.statistics.coarsest_step
        for _ in range(SEARCH_TRIES):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if source.estimator.at(middle).nbytes < held.table.nbytes else (middle, high)
        return source.estimator.at(high)

    def _share_bytes(self) -> Allowance:
        """Choose the one share of its norm that every table's step is, so that all together fill the budget."""
        is_whole = self._budget.kind == "max_size"
        before = sum(held.table.nbytes for held in self._held)
        limit = int(self._budget.amount) if is_whole else int(before / self._budget.amount)

        def beside(estimates: Sequence[Estimate]) -> int:
            pairs = zip(self._held, estimates, strict=True)
            encodings = [self._encoding(held.source, estimate) for held, estimate in pairs]
            whole, own = self._size_of(encodings)
            return (whole if is_whole else own) - coded_bytes(encodings)

        shared = SharedStep([held.source for held in self._held])
        estimates = shared.fill(limit, beside=beside, is_settled=not self._dry_run)
        # An estimate may be off by a little: where hardly more than the least is asked for, that is refused, too.
        least = shared.least()
        smallest = math.ceil((sum(estimate.nbytes for estimate in least) + beside(least)) * 1.002) + 64
        if estimates is None or limit < smallest:
            raise refuse_size(self._budget, self._path, smallest, before=before, is_whole=is_whole)
        for held, estimate in zip(self._held, estimates, strict=True):
            held.estimate = estimate
        expected, least_of = ([one.nbytes for one in own] for own in (estimates, least))
        return Allowance(limit - beside(estimates), expected, least_of)
