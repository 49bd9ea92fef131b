"""What a table can be had for: its error at a size, its size at an error, in every way of coding that competes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embcompress.planning import factor_bytes
from embcompress.table import Table, TableRows
from embcompress.workflows.encoding import STORING_ERROR

if TYPE_CHECKING:
    from torch import Tensor

    from embcompress.coding.schemes import Allocation, Scheme
    from embcompress.coding.survey import Survey
    from embcompress.linalg.blocks import Rows
    from embcompress.linalg.exact import Factorization

RANK_MAX = 4096  # columns that are rotated: more need a matrix and a time that no table has paid back
NORMAL_RANGE = (1e-30, 1e30)  # typical entries that the coder's float32 takes; others stay floats
INT8, FLOAT16 = "int8", "float16"


@dataclass(frozen=True)
class Offer:
    """One way to store a table.

    Attributes:
        nbytes: of its tensors.
        squared_error: as predicted, a share of the squared norm; rows counted by their weight.
        rank: the number of bases, or of coded columns.
        allocation: the bits of its columns; None for weights as floats.
    """

    nbytes: int
    squared_error: float
    rank: int
    allocation: Allocation | None = None


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
        self.schemes: tuple[Scheme, ...] = ()
        self.passes = self.factors.passes
        self.squared_norm = self.factors.squared_norm  # of the table itself, its rows counted alike
        if row_weights is not None:
            self.squared_norm = measure_squared_norm(rows("norms"))
            self.passes += 1
        typical = math.sqrt(self.squared_norm / (table.rows * table.dim))
        if not is_plain and NORMAL_RANGE[0] < typical < NORMAL_RANGE[1]:
            self._add_schemes(rows("survey"), has_trellis=has_trellis)

    def _add_schemes(self, rows: TableRows, *, has_trellis: bool) -> None:
        from embcompress.coding.schemes import schemes_of
        from embcompress.coding.survey import survey

        bases = self.factors.bases
        found = survey(rows, bases, squared_norm=self.squared_norm, row_weights=self.row_weights)
        self.survey, self.passes = found, self.passes + found.passes
        if found.squared_norm > 0:
            self.schemes = schemes_of(found, bases.cpu(), has_trellis=has_trellis, bases_dtypes=(INT8, FLOAT16))

    def at_price(self, price: float) -> Offer:
        """Choose the offer of the least error and bytes together, at a price of a byte: a share of the squared norm."""
        offers = [_coded(scheme.allocate(price)) for scheme in self.schemes]
        return (
            self._best([*offers, *self._plain()], key=lambda offer: offer.squared_error + price * offer.nbytes)
            or self.least()
        )

    def best_under(self, limit: int) -> Offer | None:
        """Choose the least error in at most `limit` bytes; None where nothing fits."""
        offers = [_coded(found) for scheme in self.schemes if (found := scheme.best_under(limit)) is not None]
        fitting = [offer for offer in (*offers, *self._plain()) if offer.nbytes <= limit]
        return self._best(fitting, key=lambda offer: (offer.squared_error, offer.nbytes))

    def cheapest_for(self, squared_error: float) -> Offer | None:
        """Choose the fewest bytes that leave at most a squared error, as predicted; None where nothing does."""
        offers = [_coded(found) for scheme in self.schemes if (found := scheme.cheapest_for(squared_error)) is not None]
        enough = [offer for offer in (*offers, *self._plain()) if offer.squared_error <= squared_error]
        return self._best(enough, key=lambda offer: (offer.nbytes, offer.squared_error))

    def least(self) -> Offer:
        """The offer of the fewest bytes."""
        dear = 1.0  # a price at which nothing pays
        offers = [_coded(scheme.allocate(dear)) for scheme in self.schemes]
        return min((*offers, self._plain_offer(1)), key=lambda offer: offer.nbytes)

    def finest(self) -> Offer:
        """The offer of the least error."""
        offers = [_coded(scheme.allocate(0.0)) for scheme in self.schemes]
        return (
            self._best([*offers, *self._plain()], key=lambda offer: (offer.squared_error, offer.nbytes)) or self.least()
        )

    def _best(self, offers: Iterable[Offer], *, key: Callable[[Offer], Any]) -> Offer | None:
        smaller = [offer for offer in offers if offer.nbytes < self.table.nbytes]
        return min(smaller, key=key, default=None)

    def _plain(self) -> list[Offer]:
        """List the offers of weights as floats, a basis more each."""
        count = len(self.factors.bases)
        per_basis = (self.table.rows + self.table.dim) * self._item_bytes
        most = min(count, (self.table.nbytes - 1) // per_basis)
        return [self._plain_offer(rank) for rank in range(1, most + 1)]

    def _plain_offer(self, rank: int) -> Offer:
        return Offer(factor_bytes(self.table, rank, self._item_bytes), self._tail(rank), rank)

    def _tail(self, rank: int) -> float:
        """Predict what a rank leaves of the squared norm, rounding included."""
        norm = self.factors.squared_norm
        if not norm:
            return 0.0
        if not hasattr(self, "_tails"):
            squares = self.factors.singular_values.square()
            kept = squares.cumsum(0)
            total = max(norm, float(kept[-1]))
            self._tails = ((total - kept).clamp_min(0) / total).tolist()
        return self._tails[rank - 1] + STORING_ERROR[self.stored_dtype] ** 2  # type: ignore[no-any-return]


def _coded(allocation: Allocation) -> Offer:
    return Offer(allocation.nbytes, allocation.squared_error, len(allocation.columns), allocation)


def measure_squared_norm(rows: TableRows) -> float:
    """Sum the squares of a table's entries, in one pass."""
    from embcompress.linalg.blocks import product_dtype
    from embcompress.linalg.error import row_norms

    return sum(float(row_norms(block.to(product_dtype(block.dtype))).square().sum()) for block in rows.blocks())
