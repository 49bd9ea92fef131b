"""A way of coding a table, and which column gets how many bits in it: the least error for the bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.constants import HALF_BIT, PRICE_STEPS, PRICES, group_width
from embcompress.coding.levels import CODES, RATES, LevelTables
from embcompress.coding.survey import Moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rungs = NDArray[np.int64]

SCALE_BYTES = 2  # bfloat16
LEVEL_BYTES = 2  # float16
INT8_STEPS = 127
NO_LEVELS = 1e300  # what a rung without levels leaves: infinity times a column without squares would be NaN
HALF_RUNG, ONE_BIT, TOP_RUNG = 1, 2, len(RATES) - 1
RATE_ARRAY = np.array(RATES)


@dataclass(frozen=True)
class BasesForm:
    """How bases are stored.

    Attributes:
        dtype: torch's name.
        basis_bytes: of each, its scale counted.
        noise: the squared error of a basis of unit norm.
    """

    dtype: str
    basis_bytes: int
    noise: float


def bases_forms(bases: Tensor, *, dtypes: tuple[str, ...]) -> tuple[BasesForm, ...]:
    """Measure what bases (count, dim), float64, lose in each dtype."""
    forms = []
    for dtype in dtypes:
        stored = store_bases(bases, dtype)
        noise = float((stored.values - bases).square().sum(dim=1).mean())
        forms.append(BasesForm(dtype, bases.shape[1] * stored.stored.element_size() + 4 * (dtype == "int8"), noise))
    return tuple(forms)


@dataclass(frozen=True)
class StoredBases:
    """Bases as they are stored, (count, dim), and if they are int8 their scales, (count,) float32."""

    stored: Tensor
    scales: Tensor | None

    @property
    def values(self) -> Tensor:
        """What they stand for, (count, dim) float64."""
        exact = self.stored.to(torch.float64)
        return exact if self.scales is None else exact * self.scales.to(torch.float64)[:, None]


def store_bases(bases: Tensor, dtype: str) -> StoredBases:
    """Round bases (count, dim), float64, to a dtype; to int8 with a scale each."""
    if dtype != "int8":
        return StoredBases(bases.to(getattr(torch, dtype)), None)
    scales = (bases.abs().amax(dim=1) / INT8_STEPS).to(torch.float32)
    steps = bases / scales.to(torch.float64).clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    return StoredBases(steps.round().clamp(-INT8_STEPS, INT8_STEPS).to(torch.int8), scales)


@dataclass(frozen=True)
class Scheme:
    """One way of coding a table.

    Its searches are made in NumPy: threads of torch that wait for each other on a busy machine made them fifty times
    as slow.

    Attributes:
        bases: how they are stored; None where the table's own columns are coded.
        moments: of the columns that are coded, merged to its groups.
        tables: the levels and what they cost and leave.
        merge: how many groups of the survey make up each of its groups.
        rows: of the table.
        squared_norm: of the table, rows counted by their weight.
    """

    bases: BasesForm | None
    moments: Moments
    tables: LevelTables
    merge: tuple[int, ...]
    rows: int
    squared_norm: float

    @property
    def groups(self) -> int:
        """Count the groups of rows."""
        return len(self.moments.counts)

    @cached_property
    def counts(self) -> Floats:
        """Count the rows of each group, (groups,)."""
        counts: Floats = self.moments.counts.numpy()
        return counts

    @cached_property
    def _shares(self) -> Floats:
        """The squares of each column as a share of the table's, (groups, columns)."""
        return (self.moments.weighted / self.squared_norm).numpy()

    @cached_property
    def _left(self) -> Floats:
        """What each rung leaves of the squared norm, (groups, columns, rungs)."""
        rounding = (self._noise + self._rounding)[:, :, None] * (RATE_ARRAY > 0)
        left: Floats = self._shares[:, :, None] * (self._distortions + rounding)
        return left

    @cached_property
    def _spent(self) -> Floats:
        """The bytes that each rung takes, (groups, 1, rungs)."""
        spent: Floats = self.counts[:, None] * RATE_ARRAY / 8 + SCALE_BYTES * (RATE_ARRAY > 0)
        return spent[:, None, :]

    @cached_property
    def _distortions(self) -> Floats:
        found = self.tables.distortions.numpy()
        return np.where(np.isfinite(found), found, NO_LEVELS)

    @cached_property
    def _rounding(self) -> Floats:
        """What rounding its scale to bfloat16 costs a column of numbers that the levels hit exactly."""
        scales = self.moments.scales
        rounded = scales.to(torch.bfloat16).to(torch.float64)
        off: Floats = ((rounded - scales) / scales.clamp_min(torch.finfo(torch.float32).tiny)).square().numpy()
        return off

    @property
    def _noise(self) -> float:
        return 0.0 if self.bases is None else self.bases.noise

    @property
    def basis_bytes(self) -> int:
        """Count the bytes of a basis."""
        return 0 if self.bases is None else self.bases.basis_bytes

    def allocate(self, price: float) -> Allocation:
        """Give each column in each group the bits that pay at a price: a share of the squared norm for a byte.

        A column is dropped where all its bits together do not pay for its basis. What is left of a row's last byte is
        given away by the greatest fall in error. At least one column has a bit.
        """
        cost = self._left + price * self._spent
        rungs = cost.argmin(axis=2)
        best = np.take_along_axis(cost, rungs[:, :, None], axis=2)[:, :, 0]
        saved = (cost[:, :, 0] - best).sum(axis=0)
        rungs[:, saved <= price * (self.groups / 2 + self.basis_bytes)] = 0
        if not rungs.any():
            place = int(self._shares.argmax())
            rungs[place // rungs.shape[1], place % rungs.shape[1]] = ONE_BIT
        return self._fill_bytes(rungs)

    def _fill_bytes(self, rungs: Rungs) -> Allocation:
        """Give away the bits of each row's last byte that are not used; columns of half a bit go in pairs."""
        rungs, groups = rungs.copy(), np.arange(self.groups)
        is_half = rungs == HALF_RUNG
        odd = is_half.sum(axis=1) % 2 == 1
        alone = np.where(is_half, self._shares, -1).argmax(axis=1)
        rungs[groups[odd], alone[odd]] = ONE_BIT
        spare = (-RATE_ARRAY[rungs].sum(axis=1) % 8).astype(np.int64)
        while spare.any():
            falls = self._falls(rungs)
            best = falls.argmax(axis=1)
            gets = (falls[groups, best] > 0) & (spare > 0)
            if not gets.any():
                break
            rungs[groups[gets], best[gets]] = _next_whole(rungs)[groups[gets], best[gets]]
            spare = np.where(gets, spare - 1, 0)
        return Allocation(self, rungs)

    def _falls(self, rungs: Rungs) -> Floats:
        """The fall in error of one more bit, (groups, columns); 0 at half a bit, and where it would need a basis."""
        is_open = (rungs >= ONE_BIT) | ((rungs == 0) & (rungs.any(axis=0) | (self.bases is None)))
        falls = self._distortions[rungs] - self._distortions[_next_whole(rungs)]
        return np.where(is_open, self._shares * falls, 0.0)

    def squared_error(self, rungs: Rungs) -> float:
        """Predict the squared error as a share of the squared norm."""
        # What the columns do not hold: rows of which the bases span a part only.
        outside = max(0.0, 1 - float(self._shares.sum()))
        noise = float((self._shares * (self._noise + self._rounding) * (rungs > 0)).sum())
        return float((self._shares * self._distortions[rungs]).sum()) + outside + noise

    def best_under(self, limit: int) -> Allocation | None:
        """Find the bits of the least error in at most `limit` bytes; None where not even the least fits."""
        found = self._search(lambda allocation: allocation.nbytes <= limit)
        return None if found is None else self._grow_to(found, limit)

    def cheapest_for(self, squared_error: float) -> Allocation | None:
        """Find the bits of the fewest bytes that leave at most a squared error, as predicted; None where none do."""
        return self._search(lambda allocation: allocation.squared_error > squared_error, is_upper=True)

    def _search(self, holds: Callable[[Allocation], bool], *, is_upper: bool = False) -> Allocation | None:
        """Find where a condition ceases to hold on the way from few bits to many.

        The two prices between which that happens are found by halving. At that price many cells of a flat spectrum flip
        together, so those that differ between the two are taken one after the other, by what they save for a byte.

        Returns:
            The last allocation for which it holds, or, if `is_upper`, the first for which it does not.
        """
        low, high = PRICES  # too cheap, too dear
        below, above = self.allocate(high), self.allocate(low)
        if not holds(below):
            return below if is_upper else None
        if holds(above):
            return None if is_upper else above
        for _ in range(PRICE_STEPS):
            middle = math.sqrt(low * high)
            found = self.allocate(middle)
            if holds(found):
                high, below = middle, found
            else:
                low, above = middle, found
        return self._between(below, above, holds, is_upper=is_upper)

    def _between(
        self, below: Allocation, above: Allocation, holds: Callable[[Allocation], bool], *, is_upper: bool
    ) -> Allocation:
        """Add to `below` what `above` has more, the best for a byte first, until the condition ceases to hold."""
        more = np.maximum(above.rungs - below.rungs, 0)
        after = below.rungs + more
        falls = self._shares * (self._distortions[below.rungs] - self._distortions[after])
        added = RATE_ARRAY[after] - RATE_ARRAY[below.rungs]
        prices = self.counts[:, None] * added / 8 + SCALE_BYTES * ((more > 0) & (below.rungs == 0))
        is_new = ~below.rungs.any(axis=0) & more.any(axis=0)  # columns that need a basis come as a whole
        gains = np.where(is_new, falls.sum(axis=0), falls)
        spent = np.where(is_new, prices.sum(axis=0) + self.basis_bytes, prices)
        worth = np.where(more > 0, gains / np.maximum(spent, 1e-300), -1.0).ravel()
        order = np.argsort(-worth, kind="stable")[: int((more > 0).sum())]
        low, high, last = 0, len(order), below  # with so many cells it holds, with so many it does not
        while high - low > 1:
            middle = (low + high) // 2
            rungs = below.rungs.ravel().copy()
            rungs[order[:middle]] += more.ravel()[order[:middle]]
            found = self._fill_bytes(rungs.reshape(below.rungs.shape))
            if holds(found):
                low, last = middle, found
            else:
                high, above = middle, found
        return above if is_upper else last

    def _grow_to(self, allocation: Allocation, limit: int) -> Allocation:
        """Spend what is left on single bytes for every row of a group."""
        while (grown := self._grow(allocation, limit - allocation.nbytes)) is not None:
            allocation = grown
        return allocation

    def _grow(self, allocation: Allocation, spare: int) -> Allocation | None:
        """Spend up to `spare` more bytes on one more for every row of a group, that which pays most; None: no way."""
        rungs, groups = allocation.rungs.copy(), np.arange(self.groups)
        gains = np.zeros(self.groups)
        for _ in range(8):
            falls = self._falls(rungs)
            best = falls.argmax(axis=1)
            gains += falls[groups, best]
            gets = falls[groups, best] > 0
            rungs[groups[gets], best[gets]] = _next_whole(rungs)[groups[gets], best[gets]]
        for group in np.argsort(-gains / np.maximum(self.counts, 1), kind="stable").tolist():
            if gains[group] <= 0 or self.counts[group] > spare:
                continue
            grown = allocation.rungs.copy()
            grown[group] = rungs[group]
            found = Allocation(self, grown)
            if found.nbytes - allocation.nbytes <= spare:  # new numbers of bits need levels of their own
                return found
        return None


@dataclass(frozen=True)
class Allocation:
    """A way of coding with the bits of each column in each group.

    Attributes:
        scheme: the way.
        rungs: (groups, columns), into RATES.
    """

    scheme: Scheme
    rungs: Rungs

    @cached_property
    def columns(self) -> Tensor:
        """The columns that are stored, (rank,): those with bits; all of them without bases."""
        if self.scheme.bases is None:
            return torch.arange(self.rungs.shape[1])
        return torch.from_numpy(self.rungs.any(axis=0).nonzero()[0])

    @cached_property
    def bits(self) -> Tensor:
        """What a codebook says of the bits of the columns that are stored, (groups, rank) uint8."""
        return torch.from_numpy(np.array(CODES, dtype=np.uint8)[self.rungs])[:, self.columns]

    @cached_property
    def squared_error(self) -> float:
        """The squared error that is predicted, as a share of the squared norm."""
        return self.scheme.squared_error(self.rungs)

    @cached_property
    def windows(self) -> Mapping[int, int]:
        """Code of a rung -> bits of its window, of those used, ascending."""
        used = sorted({CODES[rung] for rung in np.unique(self.rungs).tolist()} - {0})
        return {code: self.scheme.tables.windows[code] for code in used}

    @cached_property
    def row_bytes(self) -> tuple[int, ...]:
        """Bytes of a row's string in each group."""
        return tuple(np.ceil(RATE_ARRAY[self.rungs].sum(axis=1) / 8).astype(int).tolist())

    @cached_property
    def scales(self) -> int:
        """Count the columns of groups that have bits, and so a scale."""
        return int((self.rungs > 0).sum())

    @cached_property
    def nbytes(self) -> int:
        """Count the bytes of all its tensors."""
        scheme, rank = self.scheme, int(self.rungs.any(axis=0).sum()) if self.scheme.bases else self.rungs.shape[1]
        levels = sum((1 << window) * (2 if code == HALF_BIT else 1) for code, window in self.windows.items())
        return (
            rank * scheme.basis_bytes
            + scheme.groups * -(-rank // 2)
            + SCALE_BYTES * self.scales
            + LEVEL_BYTES * levels
            + -(-scheme.rows * group_width(scheme.groups) // 8)
            + int((scheme.counts * self.row_bytes).sum())
        )


def _next_whole(rungs: Rungs) -> Rungs:
    """Tell the rung of one more bit, of columns that have none or whole ones."""
    return np.where(rungs == 0, ONE_BIT, np.minimum(rungs + 1, TOP_RUNG))
