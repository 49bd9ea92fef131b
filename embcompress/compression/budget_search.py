"""Tables within a budget with weights as floats: the rank of each, and another where a measured error misses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embcompress.compression.budget import Budget
from embcompress.compression.candidates import Candidate, TableCandidates, make_candidates
from embcompress.compression.encoding import AnyEncoding, WrittenTable
from embcompress.compression.encoding_maker import EncodingMaker
from embcompress.compression.memory import estimate_spectrum_memory
from embcompress.compression.plain_encoding import PlainEncoding
from embcompress.compression.refusals import TOO_SMALL, error_reason, leave_dense, refuse_all_dense, refuse_size
from embcompress.compression.shared_bytes import count_bytes, share_bytes
from embcompress.compression.size_limit import size_limit
from embcompress.compression.time_and_passes import TimeAndPasses
from embcompress.linalg.precision import STORING_ERROR
from embcompress.linalg.solvers import SolverChoice
from embcompress.results import Skipped
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table

# A measured error below this share of its target is worth another try with fewer bytes.
RETRY_BELOW = 0.985
# The share of the target that a try aims at.
ERROR_MARGIN = 0.999
TRIES_MAX = 8
LOOSE_TRIES_MAX = 3
# A target is refused without measuring only if the least predicted error exceeds this many times it.
RETRY_FACTOR = 1.5
# The factor that a prediction may be off by.
PREDICTION_MARGIN = 1.1


@dataclass
class BudgetedTable:
    """A table, its candidates, and the one that it is stored by.

    Attributes:
        candidates: of the table.
        candidate: the one chosen.
        work: that was done for the table so far.
        best: under --max-error the cheapest candidate whose measured error was within the target.
    """

    candidates: TableCandidates
    candidate: Candidate
    work: TimeAndPasses
    best: Candidate | None = None

    @property
    def table(self) -> Table:
        """The table."""
        return self.candidates.table

    def learn(self, error: float, *, target: float, tries: int) -> Candidate | None:
        """Choose what to try next from the measured error of what was tried; None if nothing is within the target."""
        tried = self.candidate
        if error <= target:
            if self.best is None or tried.nbytes < self.best.nbytes:
                self.best = tried
            if self.best is not tried or not error or error >= RETRY_BELOW * target or tries >= LOOSE_TRIES_MAX:
                return self.best
        # What a prediction was off by, the next one will be off by, too.
        again = self.candidates.cheapest_for(tried.squared_error * (ERROR_MARGIN * target / error) ** 2)
        if error <= target:
            return again if again is not None and again.nbytes < tried.nbytes else tried
        if self.best is not None and tries >= TRIES_MAX // 2:
            return self.best
        finest = self.candidates.finest()
        if again is None or tries >= TRIES_MAX:
            again = finest
        return None if tried == finest else again


class WithinBudget(EncodingMaker):
    """The tables of a run, together within a budget, with weights as floats.

    Args:
        tables: those chosen.
        budget: of any kind but bases.
        table_source: of the run.
        stored_dtype: of floats, by table.
        named: patterns given in full: such a table is not left dense in silence.

    Raises:
        BudgetError: no table can meet the budget, or one that was named in full cannot.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        budget: Budget,
        table_source: TableSource,
        *,
        stored_dtype: Callable[[Table], str],
        named: Sequence[str],
    ) -> None:
        self._budget, self._table_source, self._named = budget, table_source, named
        self._tries = 0
        self._skipped: list[Skipped] = []
        measured = [make_candidates(table, table_source, stored_dtype=stored_dtype(table)) for table in tables]
        self._tables = self._choose([candidates for candidates in measured if self._is_smaller(candidates)])
        self._refuse_all_dense()

    @property
    def skipped(self) -> Sequence[Skipped]:  # noqa: D102 - as in EncodingMaker
        return self._skipped

    def encodings(self) -> list[AnyEncoding]:  # noqa: D102 - as in EncodingMaker
        return [self._encoding(table) for table in self._tables]

    def accepts(self, written: Sequence[WrittenTable]) -> bool:
        """Return whether measured errors are within the budget; if not, choose anew.

        Raises:
            BudgetError: nothing that was tried is.
        """
        if self._budget.kind != "max_error":
            return True
        self._tries += 1
        within, is_final = [], True
        for table, result in zip(self._tables, written, strict=True):
            again = table.learn(result.budgeted_relative, target=self._budget.amount, tries=self._tries)
            if again is None:
                self._skip(table.table, error_reason(result.budgeted_relative))
                is_final = False
                continue
            is_final = is_final and again is table.candidate
            table.candidate, table.work = again, result.work
            within.append(table)
        self._tables = within
        self._refuse_all_dense()
        return is_final

    def memory(self) -> int:  # noqa: D102 - as in EncodingMaker
        return estimate_spectrum_memory(table.table for table in self._tables)

    def _refuse_all_dense(self) -> None:
        if not self._tables:
            raise refuse_all_dense(self._budget, self._table_source.checkpoint.path, self._skipped)

    def _is_smaller(self, candidates: TableCandidates) -> bool:
        if candidates.least().nbytes < candidates.table.nbytes:
            return True
        self._skip(candidates.table, TOO_SMALL)
        return False

    def _skip(self, table: Table, reason: str, *, hint: str = "") -> None:
        path = self._table_source.checkpoint.path
        self._skipped.append(leave_dense(table, reason, path=path, named=self._named, hint=hint))

    def _choose(self, tables: Sequence[TableCandidates]) -> list[BudgetedTable]:
        is_size = self._budget.kind in {"ratio", "max_size"}
        chosen = self._choose_by_bytes(tables) if is_size and tables else map(self._choose_by_error, tables)
        return [
            BudgetedTable(candidates, candidate, candidates.work)
            for candidates, candidate in zip(tables, chosen, strict=True)
            if candidate is not None
        ]

    def _choose_by_error(self, candidates: TableCandidates) -> Candidate | None:
        """Choose the cheapest candidate that is predicted to be within the target; else say why there is none."""
        target = self._budget.amount**2
        if self._budget.kind == "energy":  # of the bases before rounding
            target = 1 - self._budget.amount + STORING_ERROR[candidates.stored_dtype] ** 2
        candidate = candidates.cheapest_for(target)
        if candidate is not None:
            return candidate
        finest = candidates.finest()
        if finest.squared_error <= target * RETRY_FACTOR**2 and self._budget.kind == "max_error":
            # Its error will be measured.
            return finest
        self._skip(
            candidates.table,
            error_reason(PREDICTION_MARGIN * finest.squared_error**0.5),
            hint="Allow a larger error, or halve the size of floats with --dtype float16.",
        )
        return None

    def _choose_by_bytes(self, tables: Sequence[TableCandidates]) -> Sequence[Candidate]:
        """Choose the candidates of the least error that fill the budget together."""
        checkpoint = self._table_source.checkpoint
        limit = size_limit(self._budget, [candidates.table for candidates in tables], checkpoint)
        chosen = share_bytes(tables, limit)
        if chosen is None:
            least = count_bytes(tables, [candidates.least() for candidates in tables], limit)
            before = sum(candidates.table.nbytes for candidates in tables)
            raise refuse_size(self._budget, checkpoint.path, least, before=before)
        return chosen

    def _encoding(self, table: BudgetedTable) -> PlainEncoding:
        solver, needs = table.candidates.factors.solver, self._budget.option
        return PlainEncoding(
            table.candidates.planned(table.candidate),
            SolverChoice(solver, f"for the spectrum, which {needs} needs"),
            self._table_source,
            earlier=table.work,
        )
