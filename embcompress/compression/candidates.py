"""Candidate ranks of a table whose weights stay floats: its error at a size, its size at an error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.compression.plan import PlannedTable
from embcompress.compression.spectrum import find_spectrum
from embcompress.compression.time_and_passes import TimeAndPasses
from embcompress.linalg.exact import Factorization
from embcompress.linalg.precision import STORING_ERROR
from embcompress.tables.factor_sizes import factor_bytes
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table

# Weights below this are stored in float16 without a look at them.
FLOAT16_SAFE = 30_000.0
# Bytes of a tensor in the header, its checksum counted, beside its name twice.
ENTRY_BYTES = 110


@dataclass(frozen=True)
class Candidate:
    """One way to store a table.

    Attributes:
        nbytes: of its tensors.
        squared_error: as predicted, a share of the squared norm; rows counted by their weight.
        rank: the number of bases.
        header_bytes: about what its tensors take in the header.
    """

    nbytes: int
    squared_error: float
    rank: int
    header_bytes: int

    @property
    def cost(self) -> int:
        """Count the bytes of its tensors and about those of their header."""
        return self.nbytes + self.header_bytes


class TableCandidates:
    """The candidate ranks of one table: all that are smaller than it. Reads no row.

    Args:
        table: the table.
        factors: its spectrum, with row weights that of the scaled rows.
        stored_dtype: of floats.
        is_weighted: whether rows count differently.
        work: that the spectrum took.
    """

    def __init__(
        self,
        table: Table,
        factors: Factorization,
        *,
        stored_dtype: str,
        is_weighted: bool = False,
        work: TimeAndPasses | None = None,
    ) -> None:
        self.table, self.factors, self.stored_dtype = table, factors, stored_dtype
        self.work = TimeAndPasses(passes=factors.passes) if work is None else work
        self._is_weighted = is_weighted
        self._at_prices: dict[float, Candidate] = {}

    def planned(self, candidate: Candidate) -> PlannedTable:
        """Plan the table as a candidate says."""
        return PlannedTable(self.table, candidate.rank, self.stored_dtype)

    def at_price(self, price: float) -> Candidate:
        """Choose the candidate of the least squared error + price * bytes; errors are shares of the squared norm.

        Halving comes by the same prices for one size after the other, so what was chosen is remembered.
        """
        if price not in self._at_prices:
            best = self._best(self._all(), key=lambda candidate: candidate.squared_error + price * candidate.cost)
            self._at_prices[price] = best or self.least()
        return self._at_prices[price]

    def best_under(self, limit: int) -> Candidate | None:
        """Choose the least error at a cost of at most `limit` bytes; None where nothing fits."""
        fitting = [candidate for candidate in self._all() if candidate.cost <= limit]
        return self._best(fitting, key=lambda candidate: (candidate.squared_error, candidate.cost))

    def cheapest_for(self, squared_error: float) -> Candidate | None:
        """Choose the fewest bytes that leave at most a squared error, as predicted; None where nothing does."""
        enough = [candidate for candidate in self._all() if candidate.squared_error <= squared_error]
        return self._best(enough, key=lambda candidate: (candidate.cost, candidate.squared_error))

    def least(self) -> Candidate:
        """Make the candidate of the fewest bytes."""
        return self._candidate_of(1)

    def finest(self) -> Candidate:
        """Choose the candidate of the least error."""
        best = self._best(self._all(), key=lambda candidate: (candidate.squared_error, candidate.nbytes))
        return best or self.least()

    def _best(self, candidates: Iterable[Candidate], *, key: Callable[[Candidate], Any]) -> Candidate | None:
        smaller = [candidate for candidate in candidates if candidate.nbytes < self.table.nbytes]
        return min(smaller, key=key, default=None)

    def _all(self) -> list[Candidate]:
        """List the candidates by rank, from 1."""
        count = len(self.factors.bases)
        most = min(count, (self.table.nbytes - 1) // self._candidate_of(1).nbytes)
        return [self._candidate_of(rank) for rank in range(1, most + 1)]

    def _candidate_of(self, rank: int) -> Candidate:
        nbytes = factor_bytes(self.table, rank, ITEM_BYTES[self.stored_dtype])
        nbytes += rank * self.table.rows * self._wider_bytes
        rounding = STORING_ERROR[self.stored_dtype] if self.factors.squared_norm else 0.0
        # Two tensors: bases and weights.
        header_bytes = 2 * (ENTRY_BYTES + 2 * len(self.table.name))
        return Candidate(nbytes, self.tail(rank) + rounding**2, rank, header_bytes)

    @property
    def _wider_bytes(self) -> int:
        """Count the bytes that a float may take more where weights might overflow float16."""
        is_safe = self.stored_dtype != "float16" or (
            not self._is_weighted and float(self.factors.singular_values[0]) < FLOAT16_SAFE
        )
        return 0 if is_safe else 2

    def tail(self, rank: int) -> float:
        """Compute what a rank leaves of the squared norm, as a share of it, before rounding."""
        return self._tails[rank - 1] if self.factors.squared_norm else 0.0

    @cached_property
    def _tails(self) -> list[float]:
        """List what each rank leaves of the squared norm, from rank 1; of a table that is not zero."""
        energies = self.factors.singular_values.square().cumsum(0)
        total = max(self.factors.squared_norm, float(energies[-1]))
        tails: list[float] = ((total - energies).clamp_min(0) / total).tolist()
        return tails


def make_candidates(table: Table, table_source: TableSource, *, stored_dtype: str) -> TableCandidates:
    """Find the candidates of a table of a run; goes over its rows once.

    Raises:
        NonFiniteError: the table holds NaN or infinity; names the file.
    """
    started = time.perf_counter()
    factors = find_spectrum(table, table_source, stored_dtype=stored_dtype)
    is_weighted = table_source.row_weights(table) is not None
    work = TimeAndPasses(time.perf_counter() - started, factors.passes)
    return TableCandidates(table, factors, stored_dtype=stored_dtype, is_weighted=is_weighted, work=work)
