"""Coded tables whose steps are one share of their norms: the share at which all together take so many bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from embcompress.coding.estimates import Estimate
from embcompress.coding.statistics import step_for_bits
from embcompress.compression.coded_source import CodedSource
from embcompress.compression.size_limit import SizeLimit

SEARCH_TRIES = 16
# How near an estimate comes to its goal: what is left is made up while the table is written.
NEAR = 3e-4
# Octaves by which two tries for the share differ at most.
OCTAVES_MAX = 6.0
# Tries with the bases as they were coded.
SETTLE_ROUNDS = 6


class SharedStep:
    """Tables that are coded together. Errors are shares of each table's own norm, so its unit does not matter.

    Args:
        sources: the tables, at least one.
        on_step: called with the tables that were estimated so far, and how many that are at most.
    """

    def __init__(
        self, sources: Sequence[CodedSource], *, on_step: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        self._sources, self._on_step, self._steps = sources, on_step, 0

    def least(self) -> list[Estimate]:
        """Estimate every table at its coarsest step."""
        return self._at(math.inf)

    def beside(self, estimates: Sequence[Estimate], limit: SizeLimit) -> int:
        """Count the bytes of a file that are not the tables' own, as the limit counts them."""
        pairs = list(zip(self._sources, estimates, strict=True))
        entries = [entry for source, estimate in pairs for entry in source.entries(estimate)]
        return limit.beside([source.compressed(estimate) for source, estimate in pairs], entries)

    def fill(self, limit: SizeLimit, *, has_coded_bases: bool = True) -> list[Estimate] | None:
        """Choose the steps at which all tables together are expected to fill a file; None where not even the least fit.

        Args:
            limit: of the file.
            has_coded_bases: whether bases shall be coded, and profiles fitted; else they are only counted.
        """
        least = self.least()
        room = limit.nbytes - self.beside(least, limit)
        if _total(least) > room:
            return None
        estimates = self._search(room, like=least)
        if has_coded_bases:
            estimates = [
                source.estimator.with_coded_bases(estimate)
                for source, estimate in zip(self._sources, estimates, strict=True)
            ]
            estimates = self._settle(estimates, limit.nbytes - self.beside(estimates, limit))
        self._on_step(self._steps_max, self._steps_max)
        return estimates

    @property
    def _steps_max(self) -> int:
        return (1 + SEARCH_TRIES + SETTLE_ROUNDS) * len(self._sources)

    def _step(self) -> None:
        self._steps = min(self._steps + 1, self._steps_max)
        self._on_step(self._steps, self._steps_max)

    def _at(self, share: float) -> list[Estimate]:
        """Estimate all tables at a step that is one share of their norms."""
        estimates = []
        for source in self._sources:
            estimates.append(source.at(share))
            self._step()
        return estimates

    def _numbers(self, estimates: Sequence[Estimate]) -> float:
        """Count the numbers that strings hold: each takes about a bit more for every octave that the step is finer."""
        pairs = zip(self._sources, estimates, strict=True)
        counts = (source.table.rows * estimate.coded for source, estimate in pairs)
        return max(sum(counts), 1.0)

    def _search(self, limit: int, *, like: list[Estimate]) -> list[Estimate]:
        """Find the share at which all tables together are expected to take `limit` bytes; `like` fits them."""
        bits = 8 * limit / sum(source.table.rows * source.table.dim for source in self._sources)
        largest = max(self._sources, key=lambda source: source.table.nbytes)
        # log2 of the share, bytes over the limit, estimates.
        known: list[tuple[float, float, list[Estimate]]] = []
        at = math.log2(step_for_bits(largest.statistics, bits * largest.table.dim) / largest.scale)
        for _ in range(SEARCH_TRIES):
            estimates = self._at(2.0**at)
            over = _total(estimates) / limit - 1
            known.append((at, over, estimates))
            if abs(over) < NEAR or (over < 0 and self._are_finest(estimates)):
                break
            at = self._next([(octaves, over) for octaves, over, _ in known], limit, numbers=self._numbers(estimates))
        fitting = [(over, estimates) for _, over, estimates in known if over <= NEAR]
        return max(fitting, key=lambda pair: pair[0], default=(0.0, like))[1]

    def _are_finest(self, estimates: Sequence[Estimate]) -> bool:
        """Return whether no table can be finer."""
        pairs = zip(self._sources, estimates, strict=True)
        return all(estimate.step <= 1.0001 * source.statistics.finest_step for source, estimate in pairs)

    @staticmethod
    def _next(known: Sequence[tuple[float, float]], limit: int, *, numbers: float) -> float:
        """Choose the next try: a bit an octave for each number that is coded, kept between what was tried."""
        at, over = known[-1]
        guess = at + over * 8 * limit / numbers
        above = [octaves for octaves, over in known if over > 0]
        below = [octaves for octaves, over in known if over <= 0]
        if above and below:
            near, far = max(above), min(below)
            if not near < guess < far:
                guess = (near + far) / 2
        return min(max(guess, at - OCTAVES_MAX), at + OCTAVES_MAX)

    def _settle(self, estimates: list[Estimate], limit: int) -> list[Estimate]:
        """Move all steps by one factor, with the bases as they were coded."""
        octaves, best = 0.0, estimates
        # Octaves, bytes over the limit.
        known: list[tuple[float, float]] = []
        tried = estimates
        for _ in range(SETTLE_ROUNDS):
            over = _total(tried) / limit - 1
            known.append((octaves, over))
            if abs(over) <= abs(_total(best) / limit - 1):
                best = tried
            if abs(over) < NEAR or (over < 0 and self._are_finest(tried)):
                break
            octaves = self._next(known, limit, numbers=self._numbers(tried))
            tried = []
            for source, estimate in zip(self._sources, estimates, strict=True):
                tried.append(source.estimator.near(estimate, estimate.step * 2.0**octaves))
                self._step()
        return best


def _total(estimates: Sequence[Estimate]) -> float:
    return sum(estimate.nbytes for estimate in estimates)
