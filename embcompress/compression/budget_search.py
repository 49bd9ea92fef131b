"""Tables held to a budget with weights as floats: the rank of each, and another where a measured error misses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embcompress.compression.budget import Budget
from embcompress.compression.candidates import Candidate, TableCandidates, make_candidates
from embcompress.compression.encoding import Encoding
from embcompress.compression.memory import estimate_spectrum_memory
from embcompress.compression.plain_encoding import PlainEncoding
from embcompress.compression.plan import PlannedTable
from embcompress.compression.shared_bytes import share_bytes
from embcompress.exceptions import BudgetError, Retry
from embcompress.linalg.precision import STORING_ERROR
from embcompress.linalg.solvers import SolverChoice
from embcompress.results import Skipped
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table
from embcompress.text import human_bytes

RETRY_BELOW = 0.985  # a measured error below this share of its target is worth another try with fewer bytes
ERROR_MARGIN = 0.999  # what a try aims at
TOO_SMALL = "is so small that nothing makes it smaller"
TRIES_MAX = 8
LOOSE_TRIES_MAX = 3
RETRY_FACTOR = 1.5  # a least error predicted at so many times the target is measured before the target is refused
PREDICTION_MARGIN = 1.1  # by which a prediction may be off


@dataclass
class BudgetedTable:
    """A table, its candidates, and the one that it is stored by.

    Attributes:
        best: under --max-error the cheapest candidate whose measured error was within the target.
    """

    table: Table
    candidates: TableCandidates
    best: Candidate | None = None
    candidate: Candidate | None = None

    def learn(self, error: float, *, target: float, tries: int) -> Candidate | None:
        """Choose what to try next from the measured error of what was tried; None if nothing is within the target."""
        tried = self.candidate
        assert tried is not None
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


def ceil_digits(error: float) -> str:
    """Write an error in three digits, never rounded down."""
    digits = max(0, 2 - math.floor(math.log10(error))) if error else 0
    return f"{math.ceil(error * 10**digits) / 10**digits:.{digits}f}"


def floor_digits(ratio: float) -> str:
    """Write a ratio in four digits or more, never rounded up."""
    digits = max(0, 3 - math.floor(math.log10(ratio)))
    return f"{math.floor(ratio * 10**digits) / 10**digits:.{digits}f}"


def encoding_of(
    candidates: TableCandidates, candidate: Candidate, table_source: TableSource, *, needs: str
) -> Encoding:
    """Make what writes a table as one of its candidates says; `needs` names what asked for its spectrum."""
    choice = SolverChoice(candidates.factors.solver, f"for the spectrum, which {needs} needs")
    planned = PlannedTable(candidates.table, candidate.rank, candidates.stored_dtype)
    encoding = PlainEncoding(planned, choice, table_source)
    encoding.seconds, encoding.earlier_passes = candidates.seconds, candidates.passes
    return encoding


def refuse_size(budget: Budget, path: Path, least: int, *, before: int, is_whole: bool) -> BudgetError:
    """Make the exception for a size that cannot be had.

    Args:
        budget: the one asked for.
        path: of the checkpoint.
        least: bytes that can be had, of the file or of the tables.
        before: bytes of the tables as they are.
        is_whole: whether the file counts.
    """
    what = f"{least} bytes ({human_bytes(least)})"
    message = f"{budget.option}: the tables of {path} cannot be made that small."
    if is_whole:
        return BudgetError(message, hint=f"The smallest file is {what}:", retries=[Retry(("--max-size", str(least)))])
    if least < before:
        smallest = Retry(("--ratio", str(floor_digits(before / least))))
        return BudgetError(message, hint=f"The smallest that they can be is {what}:", retries=[smallest])
    return BudgetError(message, hint=f"With all that a file needs they take {what}, and {before} as they are.")


def leave_dense(table: Table, reason: str, *, path: Path, named: Sequence[str], hint: str = "") -> Skipped:
    """Say why a table stays dense.

    Args:
        table: the table.
        reason: goes on from its name.
        path: of the checkpoint.
        named: patterns given in full: such a table is not left dense in silence.
        hint: what else could be done.

    Raises:
        BudgetError: it was named in full.
    """
    if any(name in named for name in (table.name, *table.tied_names)):
        raise BudgetError(f"table {table.name!r} in {path} {reason}.", hint=hint)
    return Skipped(table.name, reason)


class WithinBudget:
    """The tables of a run, held to a budget together.

    Args:
        tables: those chosen.
        budget: of any kind but bases.
        table_source: of the run.
        stored_dtype: of floats, by table.
        named: patterns given in full: such a table is not left dense in silence.
        size_of: counts the bytes of the whole file, and of one with these tables alone.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        budget: Budget,
        table_source: TableSource,
        *,
        stored_dtype: Callable[[Table], str],
        named: Sequence[str],
        size_of: Callable[[Sequence[Encoding]], tuple[int, int]],
    ) -> None:
        self._budget, self._table_source, self._named, self._size_of = budget, table_source, named, size_of
        self._stored_dtype = stored_dtype
        self._tries = 0
        self.skipped: list[Skipped] = []
        held = [BudgetedTable(table, self._candidates_of(table)) for table in tables]
        self._held = [one for one in held if self._is_smaller(one)]
        if self._held:
            self._held = self._choose()
        self._refuse_nothing()

    def _refuse_nothing(self) -> None:
        if not self._held:
            what = "; ".join(f"table {item.name!r} {item.reason}" for item in self.skipped)
            raise BudgetError(f"{self._budget.option}: nothing in {self._path} gets smaller: {what}.")

    @property
    def _path(self) -> Path:
        return self._table_source.checkpoint.path

    def encodings(self) -> list[Encoding]:
        """Make what writes each table as it was chosen."""
        return [self._encoding(one, one.candidate) for one in self._held if one.candidate is not None]

    def accepts(self, errors: Sequence[float]) -> bool:
        """Tell whether measured errors are within the budget; if not, choose anew.

        Raises:
            BudgetError: nothing that was tried is.
        """
        if self._budget.kind != "max_error":
            return True
        self._tries += 1
        kept, is_final = [], True
        for one, error in zip(self._held, errors, strict=True):
            again = one.learn(error, target=self._budget.amount, tries=self._tries)
            if again is None:
                self._skip(one, f"reaches no error below {ceil_digits(error)} in fewer bytes than it has")
                is_final = False
                continue
            is_final = is_final and again is one.candidate
            one.candidate = again
            kept.append(one)
        self._held = kept
        self._refuse_nothing()
        return is_final

    def estimate_memory(self) -> int:
        """Estimate the most bytes that the run holds at once."""
        return estimate_spectrum_memory(one.table for one in self._held)

    def _candidates_of(self, table: Table) -> TableCandidates:
        return make_candidates(table, self._table_source, stored_dtype=self._stored_dtype(table))

    def _is_smaller(self, one: BudgetedTable) -> bool:
        if one.candidates.least().nbytes < one.table.nbytes:
            return True
        self._skip(one, TOO_SMALL)
        return False

    def _skip(self, one: BudgetedTable, reason: str, *, hint: str = "") -> None:
        self.skipped.append(leave_dense(one.table, reason, path=self._path, named=self._named, hint=hint))

    def _choose(self) -> list[BudgetedTable]:
        if self._budget.kind in {"ratio", "max_size"}:
            self._choose_by_bytes()
            return self._held
        kept = []
        for one in self._held:
            target = self._budget.amount**2
            if self._budget.kind == "energy":  # of the bases before rounding
                target = 1 - self._budget.amount + STORING_ERROR[one.candidates.stored_dtype] ** 2
            one.candidate = one.candidates.cheapest_for(target)
            finest = one.candidates.finest()
            if (
                one.candidate is None
                and finest.squared_error <= target * RETRY_FACTOR**2
                and self._budget.kind == "max_error"
            ):
                one.candidate = finest  # what it leaves will be measured
            if one.candidate is None:
                least = ceil_digits(PREDICTION_MARGIN * finest.squared_error**0.5)
                self._skip(
                    one,
                    f"reaches no error below {least} in fewer bytes than it has",
                    hint="Ask for a larger error, or let --dtype float16 halve what floats take.",
                )
                continue
            kept.append(one)
        return kept

    def _choose_by_bytes(self) -> None:
        is_whole = self._budget.kind == "max_size"
        before = sum(one.table.nbytes for one in self._held)
        limit = int(self._budget.amount) if is_whole else int(before / self._budget.amount)

        def size_of(candidates: Sequence[Candidate]) -> int:
            whole, own = self._size_of(
                [self._encoding(one, candidate) for one, candidate in zip(self._held, candidates, strict=True)]
            )
            return whole if is_whole else own

        chosen = share_bytes([one.candidates for one in self._held], limit=limit, size_of=size_of)
        if chosen is None:
            least = size_of([one.candidates.least() for one in self._held])
            raise refuse_size(self._budget, self._path, least, before=before, is_whole=is_whole)
        for one, candidate in zip(self._held, chosen, strict=True):
            one.candidate = candidate

    def _encoding(self, one: BudgetedTable, candidate: Candidate | None) -> Encoding:
        assert candidate is not None
        return encoding_of(one.candidates, candidate, self._table_source, needs=self._budget.option)
