"""The ways of coding a table that compete, with levels fitted and distortions measured on its sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from embcompress.coding.constants import HALF_BIT
from embcompress.coding.levels import LevelTables, fit_levels
from embcompress.coding.schemes import Allocation, BasesForm, Scheme, bases_forms
from embcompress.coding.survey import Moments, Survey, merged_groups

OWN_MERGES = ((16,), (4,) * 4, (1,) * 16)  # how many of the survey's groups go together: levels are fitted to these
OTHER_MERGES = (*((size, 16 - size) for size in (*range(2, 16, 2), 15)), (2,) * 8)
# These compete with the levels of LENDERS at first, and those that do best with levels of their own. Two groups are cut
# in several places, since a byte more for every row of one is the smallest step that a size can take.
LENDERS = {2: (4,) * 4, 8: (1,) * 16}
SMALL_NUMBERS = 2**20  # of a table, below which a kilobyte of levels for half bits may not pay
FINALISTS = 4  # on a table whose norms vary widely, lent levels predicted a quarter of the squared error


@dataclass(frozen=True)
class _Sample:
    """Rows to fit levels to: the survey's sample, and of the longest rows as many as there are.

    Attributes:
        rows: (sample rows, columns) float32.
        groups: (sample rows,) uint8, of the survey.
        weights: (sample rows,) float32, how many rows of its group each stands for.
    """

    rows: Tensor
    groups: Tensor
    weights: Tensor

    @classmethod
    def of(cls, found: Survey) -> _Sample:
        """Put the longest rows in the place of those of their group that happen to be in the sample."""
        last = len(found.own.counts) - 1
        is_other = found.sample_groups != last
        groups = torch.cat([found.sample_groups[is_other], torch.full((len(found.longest),), last, dtype=torch.uint8)])
        seen = torch.bincount(groups, minlength=last + 1)
        stands_for = (found.own.counts / seen.clamp_min(1)).to(torch.float32)
        return cls(torch.cat([found.sample[is_other], found.longest]), groups, stands_for[groups.to(torch.int64)])


class Contest:
    """The ways of coding one table: rotated and not, in 1 to 16 groups of rows, with scalar levels and a trellis.

    Args:
        found: the survey of the table.
        bases: (columns, dim) float64, those of the survey.
        has_trellis: whether levels by a trellis compete.
        bases_dtypes: what bases may be stored in.
    """

    def __init__(self, found: Survey, bases: Tensor, *, has_trellis: bool, bases_dtypes: tuple[str, ...]) -> None:
        self._survey, self._has_trellis = found, has_trellis
        self._forms: tuple[BasesForm, ...] = bases_forms(bases, dtypes=bases_dtypes)
        self._sample = _Sample.of(found)
        self._rotated = self._sample.rows @ bases.T.to("cpu", torch.float32)
        self._fitted: dict[tuple[bool, tuple[int, ...]], tuple[LevelTables, ...]] = {}
        both = (True, False)
        self.own = tuple(
            scheme for is_rotated in both for merge in OWN_MERGES for scheme in self._schemes(is_rotated, merge)
        )
        self._others = tuple(
            scheme
            for is_rotated in both
            for merge in OTHER_MERGES
            for scheme in self._schemes(is_rotated, merge, levels_of=LENDERS[len(merge)])
        )

    def enter(
        self, find: Callable[[Scheme], Allocation | None], *, key: Callable[[Allocation], Any]
    ) -> list[Allocation]:
        """Find an allocation in every scheme; of those with lent levels only the finalists, with their own.

        Args:
            find: what is asked of a scheme.
            key: the least is the best.
        """
        lent = sorted((found for scheme in self._others if (found := find(scheme)) is not None), key=key)
        finalists = dict.fromkeys((found.scheme.bases is not None, found.scheme.merge) for found in lent)
        schemes = list(self.own)
        for is_rotated, merge in list(finalists)[:FINALISTS]:
            schemes += self._schemes(is_rotated, merge)
        return [found for scheme in schemes if (found := find(scheme)) is not None]

    def _schemes(
        self, is_rotated: bool, merge: tuple[int, ...], *, levels_of: tuple[int, ...] | None = None
    ) -> list[Scheme]:
        found = self._survey
        moments = self._moments(is_rotated).merge(merge)
        forms: tuple[BasesForm | None, ...] = self._forms if is_rotated else (None,)
        return [
            Scheme(form, moments, tables, merge, len(found.groups_of_rows), found.squared_norm)
            for tables in self._levels(is_rotated, levels_of or merge)
            for form in forms
        ]

    def _moments(self, is_rotated: bool) -> Moments:
        return self._survey.rotated if is_rotated else self._survey.own

    def _levels(self, is_rotated: bool, merge: tuple[int, ...]) -> tuple[LevelTables, ...]:
        """Fit levels to the sample, divided by the scales of its groups; 0 where there are none."""
        if (is_rotated, merge) not in self._fitted:
            sample = self._rotated if is_rotated else self._sample.rows
            scales = self._moments(is_rotated).merge(merge).scales.to(torch.float32)
            scales = scales[merged_groups(self._sample.groups, merge).to(torch.int64)]  # (sample rows, columns)
            numbers = torch.where(scales > 0, sample / scales.clamp_min(torch.finfo(torch.float32).tiny), 0)
            # A group counts by its rows and by their squares: what errors in it cost.
            counted = self._sample.weights * scales.square().mean(dim=1)
            fitted = fit_levels(numbers, row_weights=counted, has_trellis=self._has_trellis)
            if self._survey.sample.shape[1] * len(self._survey.groups_of_rows) < SMALL_NUMBERS:
                fitted += tuple(tables.without_halves() for tables in fitted if HALF_BIT in tables.tables)
            self._fitted[is_rotated, merge] = fitted
        return self._fitted[is_rotated, merge]
