"""Candidate ranks of a table whose weights stay floats: its error at a size, its size at an error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.compression.spectrum import find_spectrum
from embcompress.linalg.exact import Factorization
from embcompress.linalg.precision import STORING_ERROR
from embcompress.tables.factor_sizes import factor_bytes
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table

FLOAT16_SAFE = 30_000.0  # weights below this are stored in float16 without a look at them
ENTRY_BYTES = 110  # of a tensor in the header, its checksum counted, beside its name twice


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
    """Every rank of one table. Makes no candidate that is not smaller than the table, and reads no row.

    Args:
        table: the table.
        factors: its spectrum, with row weights that of the scaled rows.
        stored_dtype: of floats.
        is_weighted: whether rows count differently.
    """

    def __init__(self, table: Table, factors: Factorization, *, stored_dtype: str, is_weighted: bool = False) -> None:
        self.table, self.factors, self.stored_dtype = table, factors, stored_dtype
        self._is_weighted = is_weighted
        self._at_prices: dict[float, Candidate] = {}
        self.seconds = 0.0  # that finding all this out took
        self.passes = factors.passes

    def _header_bytes(self, *, tensors: int) -> int:
        return tensors * (ENTRY_BYTES + 2 * len(self.table.name))

    def at_price(self, price: float) -> Candidate:
        """Choose the candidate of the least error and bytes together, at a price of a byte: a share of the squared norm.

        Halving comes by the same prices for one size after the other, so what was chosen is remembered.
        """
        if price not in self._at_prices:
            best = self._best(self._plain(), key=lambda candidate: candidate.squared_error + price * candidate.cost)
            self._at_prices[price] = best or self.least()
        return self._at_prices[price]

    def best_under(self, limit: int) -> Candidate | None:
        """Choose the least error at a cost of at most `limit` bytes; None where nothing fits."""
        fitting = [candidate for candidate in self._plain() if candidate.cost <= limit]
        return self._best(fitting, key=lambda candidate: (candidate.squared_error, candidate.cost))

    def cheapest_for(self, squared_error: float) -> Candidate | None:
        """Choose the fewest bytes that leave at most a squared error, as predicted; None where nothing does."""
        enough = [candidate for candidate in self._plain() if candidate.squared_error <= squared_error]
        return self._best(enough, key=lambda candidate: (candidate.cost, candidate.squared_error))

    def least(self) -> Candidate:
        """The candidate of the fewest bytes."""
        return self._candidate_of(1)

    def finest(self) -> Candidate:
        """The candidate of the least error."""
        return (
            self._best(self._plain(), key=lambda candidate: (candidate.squared_error, candidate.nbytes)) or self.least()
        )

    def _best(self, candidates: Iterable[Candidate], *, key: Callable[[Candidate], Any]) -> Candidate | None:
        smaller = [candidate for candidate in candidates if candidate.nbytes < self.table.nbytes]
        return min(smaller, key=key, default=None)

    def _plain(self) -> list[Candidate]:
        """List the candidates of weights as floats, a basis more each."""
        count = len(self.factors.bases)
        most = min(count, (self.table.nbytes - 1) // self._candidate_of(1).nbytes)
        return [self._candidate_of(rank) for rank in range(1, most + 1)]

    def _candidate_of(self, rank: int) -> Candidate:
        nbytes = factor_bytes(self.table, rank, ITEM_BYTES[self.stored_dtype])
        nbytes += rank * self.table.rows * self._wider_bytes
        rounding = STORING_ERROR[self.stored_dtype] if self.factors.squared_norm else 0.0
        return Candidate(nbytes, self.tail(rank) + rounding**2, rank, self._header_bytes(tensors=2))

    @property
    def _wider_bytes(self) -> int:
        """Count the bytes that a float may take more where weights might overflow float16."""
        is_safe = self.stored_dtype != "float16" or (
            not self._is_weighted and float(self.factors.singular_values[0]) < FLOAT16_SAFE
        )
        return 0 if is_safe else 2

    def tail(self, rank: int) -> float:
        """Compute what a rank leaves of the squared norm, as a share of it, before rounding."""
        norm = self.factors.squared_norm
        if not norm:
            return 0.0
        if not hasattr(self, "_tails"):
            squares = self.factors.singular_values.square()
            kept = squares.cumsum(0)
            total = max(norm, float(kept[-1]))
            self._tails = ((total - kept).clamp_min(0) / total).tolist()
        return self._tails[rank - 1]  # type: ignore[no-any-return]


def make_candidates(table: Table, table_source: TableSource, *, stored_dtype: str) -> TableCandidates:
    """Find out what a table of a run can be had for; goes over its rows once.

    Raises:
        NonFiniteError: the table holds NaN or infinity; names the file.
    """
    started = time.perf_counter()
    factors = find_spectrum(table, table_source, stored_dtype=stored_dtype)
    is_weighted = table_source.row_weights(table) is not None
    candidates = TableCandidates(table, factors, stored_dtype=stored_dtype, is_weighted=is_weighted)
    candidates.seconds = time.perf_counter() - started
    return candidates
