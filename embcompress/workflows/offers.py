"""What a table can be had for: its error at a size, its size at an error, in every way of coding that competes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.coding.constants import PRICES
from embcompress.exceptions import NonFiniteError
from embcompress.planning import factor_bytes
from embcompress.table import Table, TableRows
from embcompress.workflows.encoding import STORING_ERROR, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from embcompress.coding.contest import Contest
    from embcompress.coding.schemes import Allocation, Scheme
    from embcompress.coding.survey import Survey
    from embcompress.linalg.blocks import Rows
    from embcompress.linalg.exact import Factorization

RANK_MAX = 4096  # columns that are rotated: more need a matrix and a time that no table has paid back
FLOAT16_SAFE = 30_000.0  # weights below this are stored in float16 without a look at them
NORMAL_RANGE = (1e-30, 1e30)  # typical entries that the coder's float32 takes; others stay floats
ENTRY_BYTES = 110  # of a tensor in the header, its checksum counted, beside its name twice
INT8, FLOAT16 = "int8", "float16"


@dataclass(frozen=True)
class Offer:
    """One way to store a table.

    Attributes:
        nbytes: of its tensors.
        squared_error: as predicted, a share of the squared norm; rows counted by their weight.
        rank: the number of bases, or of coded columns.
        header_bytes: about what its tensors take in the header: it decides between ways to store a small table.
        allocation: the bits of its columns; None for weights as floats.
    """

    nbytes: int
    squared_error: float
    rank: int
    header_bytes: int
    allocation: Allocation | None = None

    @property
    def cost(self) -> int:
        """Count the bytes of its tensors and about those of their header."""
        return self.nbytes + self.header_bytes


class TableOffers:
    """Every way to store one table that competes.

    Goes over the rows once for their spectrum, and where weights may be coded once more. Makes no offer that is not
    smaller than the table.

    Args:
        table: the table.
        rows: opens its rows; called with what is being done.
        stored_dtype: of floats.
        is_plain: whether weights stay floats.
        has_trellis: whether weights in few bits may be coded by a trellis.
        row_weights: (rows,), how much the squared error of each row counts.
        seed: of a randomized solver.
    """

    def __init__(
        self,
        table: Table,
        rows: Callable[[str], TableRows],
        *,
        stored_dtype: str,
        item_bytes: int,
        is_plain: bool,
        has_trellis: bool,
        row_weights: Tensor | None,
        seed: int,
    ) -> None:
        from embcompress.linalg.svd import factorize
        from embcompress.linalg.weighting import WeightedRows

        self.table, self.stored_dtype, self.row_weights = table, stored_dtype, row_weights
        self._item_bytes = item_bytes
        plain_rows = rows("spectrum")
        seen: Rows = plain_rows if row_weights is None else WeightedRows(plain_rows, row_weights)
        rank = min(table.rows, table.dim, RANK_MAX)
        tolerance = STORING_ERROR[stored_dtype]
        self.factors: Factorization = factorize(seen, rank, tolerance=tolerance, seed=seed)
        self.survey: Survey | None = None
        self._contest: Contest | None = None
        self._at_prices: dict[float, Offer] = {}
        self.seconds = 0.0  # that finding all this out took
        self.passes = self.factors.passes
        self.squared_norm = self.factors.squared_norm  # of the table itself, its rows counted alike
        if row_weights is not None:
            self.squared_norm = measure_squared_norm(rows("norms"))
            self.passes += 1
        typical = math.sqrt(self.squared_norm / (table.rows * table.dim))
        if not is_plain and NORMAL_RANGE[0] < typical < NORMAL_RANGE[1]:
            self._add_schemes(rows("survey"), has_trellis=has_trellis)

    def _add_schemes(self, rows: TableRows, *, has_trellis: bool) -> None:
        from embcompress.coding.contest import Contest
        from embcompress.coding.survey import survey

        bases = self.factors.bases
        found = survey(rows, bases, squared_norm=self.squared_norm, row_weights=self.row_weights)
        self.survey, self.passes = found, self.passes + found.passes
        if found.squared_norm > 0:
            self._contest = Contest(found, bases.cpu(), has_trellis=has_trellis, bases_dtypes=(INT8, FLOAT16))

    @property
    def _schemes(self) -> tuple[Scheme, ...]:
        """The ways of coding whose levels are their own."""
        return () if self._contest is None else self._contest.own

    def _enter(self, find: Callable[[Scheme], Allocation | None], *, key: Callable[[Allocation], Any]) -> list[Offer]:
        if self._contest is None:
            return []
        return [self._coded(found) for found in self._contest.enter(find, key=key)]

    def _coded(self, allocation: Allocation) -> Offer:
        header_bytes = self._header_bytes(tensors=_count_tensors(allocation.scheme))
        return Offer(
            allocation.nbytes, allocation.squared_error, len(allocation.columns), header_bytes, allocation=allocation
        )

    def _header_bytes(self, *, tensors: int) -> int:
        return tensors * (ENTRY_BYTES + 2 * len(self.table.name))

    def as_plain(self, stored_dtype: str) -> TableOffers:
        """Offer the same table with weights as floats of a dtype, and in no other way; reads no row."""
        other = copy.copy(self)
        other._contest = None
        other.stored_dtype, other._item_bytes = stored_dtype, ITEM_BYTES[stored_dtype]
        other.__dict__.pop("_tails", None)
        other._at_prices = {}
        return other

    def at_price(self, price: float) -> Offer:
        """Choose the offer of the least error and bytes together, at a price of a byte: a share of the squared norm.

        Halving comes by the same prices for one size after the other, so what was chosen is remembered.
        """
        if price not in self._at_prices:
            offers = [self._coded(scheme.allocate(price)) for scheme in self._schemes]
            best = self._best([*offers, *self._plain()], key=lambda offer: offer.squared_error + price * offer.cost)
            self._at_prices[price] = best or self.least()
        return self._at_prices[price]

    def best_under(self, limit: int) -> Offer | None:
        """Choose the least error at a cost of at most `limit` bytes; None where nothing fits."""

        def find(scheme: Scheme) -> Allocation | None:
            return scheme.best_under(limit - self._header_bytes(tensors=_count_tensors(scheme)))

        offers = self._enter(find, key=lambda found: found.squared_error)
        fitting = [offer for offer in (*offers, *self._plain()) if offer.cost <= limit]
        return self._best(fitting, key=lambda offer: (offer.squared_error, offer.cost))

    def cheapest_for(self, squared_error: float) -> Offer | None:
        """Choose the fewest bytes that leave at most a squared error, as predicted; None where nothing does."""
        offers = self._enter(lambda scheme: scheme.cheapest_for(squared_error), key=lambda found: found.nbytes)
        enough = [offer for offer in (*offers, *self._plain()) if offer.squared_error <= squared_error]
        return self._best(enough, key=lambda offer: (offer.cost, offer.squared_error))

    def least(self) -> Offer:
        """The offer of the fewest bytes."""
        offers = [self._coded(scheme.allocate(PRICES[1])) for scheme in self._schemes]
        return min((*offers, self._plain_offer(1)), key=lambda offer: offer.cost)

    def finest(self) -> Offer:
        """The offer of the least error."""
        offers = [self._coded(scheme.allocate(0.0)) for scheme in self._schemes]
        return (
            self._best([*offers, *self._plain()], key=lambda offer: (offer.squared_error, offer.nbytes)) or self.least()
        )

    def _best(self, offers: Iterable[Offer], *, key: Callable[[Offer], Any]) -> Offer | None:
        smaller = [offer for offer in offers if offer.nbytes < self.table.nbytes]
        return min(smaller, key=key, default=None)

    def _plain(self) -> list[Offer]:
        """List the offers of weights as floats, a basis more each."""
        count = len(self.factors.bases)
        most = min(count, (self.table.nbytes - 1) // self._plain_offer(1).nbytes)
        return [self._plain_offer(rank) for rank in range(1, most + 1)]

    def _plain_offer(self, rank: int) -> Offer:
        nbytes = factor_bytes(self.table, rank, self._item_bytes) + rank * self.table.rows * self._wider_bytes
        rounding = STORING_ERROR[self.stored_dtype] if self.factors.squared_norm else 0.0
        return Offer(nbytes, self.tail(rank) + rounding**2, rank, self._header_bytes(tensors=2))

    @property
    def _wider_bytes(self) -> int:
        """Count the bytes that a float may take more where weights might overflow float16."""
        is_safe = self.stored_dtype != "float16" or (
            self.row_weights is None and float(self.factors.singular_values[0]) < FLOAT16_SAFE
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


def make_offers(table: Table, setting: Setting, *, stored_dtype: str, is_plain: bool, effort: str) -> TableOffers:
    """Find out what a table of a run can be had for.

    Raises:
        NonFiniteError: the table holds NaN or infinity; names the file.
    """
    started = time.perf_counter()
    try:
        offers = TableOffers(
            table,
            lambda doing: setting.rows(table, doing),
            stored_dtype=stored_dtype,
            item_bytes=ITEM_BYTES[stored_dtype],
            is_plain=is_plain,
            has_trellis=effort == "best",
            row_weights=setting.facts.weights_of(table),
            seed=setting.seed,
        )
    except NonFiniteError as err:
        raise NonFiniteError(f"{setting.checkpoint.path}: {err.message}", hint=err.hint) from err
    offers.seconds = time.perf_counter() - started
    return offers


def _count_tensors(scheme: Scheme) -> int:
    bases = 0 if scheme.bases is None else 2 if scheme.bases.dtype == INT8 else 1
    return 3 + bases + (scheme.groups > 1) + scheme.groups


def measure_squared_norm(rows: TableRows) -> float:
    """Sum the squares of a table's entries, in one pass."""
    from embcompress.linalg.blocks import product_dtype
    from embcompress.linalg.error import row_norms

    return sum(float(row_norms(block.to(product_dtype(block.dtype))).square().sum()) for block in rows.blocks())
