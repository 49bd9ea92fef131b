"""The error of rows that are alike: in norm, or in how often they occur."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embcompress.results import RowGroup

GROUPS = 10  # of rows by norm and by row weight
NORM_RATIO = 1.01  # of two edges between bins of norms: a norm that bounds a group is off by at most half a bin, 0.5 %
NORM_FLOOR = 1e-30  # smaller norms count as zero; those beyond 1e30 as 1e30
NORM_BINS = math.ceil(math.log(1e60) / math.log(NORM_RATIO)) + 2


class GroupSums:
    """Squared norms and errors of rows, summed in numbered bins; mergeable."""

    def __init__(self, bins: int) -> None:
        self.sums = torch.zeros(3, bins, dtype=torch.float64)  # rows, squared norms, squared errors

    def add(self, bins: Tensor, norms: Tensor, errors: Tensor) -> None:
        """Count rows, each (rows,): the bin, the norm, the norm of the error."""
        for kind, values in enumerate((torch.ones_like(norms), norms.square(), errors.square())):
            self.sums[kind] += torch.bincount(bins, weights=values, minlength=self.sums.shape[1])

    def merge(self, other: GroupSums) -> None:
        """Add the sums of other rows."""
        self.sums += other.sums

    def group(self, first: int, last: int, *, low: float, high: float) -> RowGroup:
        """Take the bins from `first` up to but without `last` together."""
        rows, squared_norm, squared_error = self.sums[:, first:last].sum(dim=1).tolist()
        is_lost = not squared_norm and bool(squared_error)
        return RowGroup(int(rows), low, high, None if is_lost else relative_error(squared_error, squared_norm))


class NormGroups:
    """Errors of about GROUPS groups of rows by ascending norm; mergeable."""

    def __init__(self) -> None:
        self.sums = GroupSums(NORM_BINS)

    def add(self, norms: Tensor, errors: Tensor) -> None:
        """Count rows, each (rows,): the norm, the norm of the error."""
        self.sums.add(_norm_bins(norms).cpu(), norms.cpu(), errors.cpu())

    def groups(self) -> tuple[RowGroup, ...]:
        """Cut the rows by norm into groups of about equally many; bins are not cut."""
        counts = self.sums.sums[0]
        # The group that most of a bin's rows lie in, were all rows cut into equal parts.
        places = (counts.cumsum(0) - counts / 2) * (GROUPS / counts.sum().clamp_min(1))
        groups = []
        filled_bins = counts.nonzero().squeeze(1)
        for number in range(GROUPS):
            inside = filled_bins[places[filled_bins].long() == number].tolist()
            if inside:
                low, high = (0.0 if index == 0 else _norm_of(index) for index in (inside[0], inside[-1]))
                groups.append(self.sums.group(inside[0], inside[-1] + 1, low=low, high=high))
        return tuple(groups)


class FrequencyGroups:
    """Errors of GROUPS groups of equally many rows by ascending row weight, equal ones by id."""

    def __init__(self, row_weights: Tensor) -> None:  # (rows,)
        weights, order = row_weights.to("cpu", torch.float64).sort(stable=True)
        places = torch.arange(len(weights)) * GROUPS // max(len(weights), 1)
        self._group_of = torch.empty(len(weights), dtype=torch.uint8)
        self._group_of[order] = places.to(torch.uint8)
        self._numbers: list[int] = torch.unique(places).tolist()
        inside = [weights[places == number] for number in self._numbers]
        self._bounds = [(float(part[0]), float(part[-1])) for part in inside]
        self.sums = GroupSums(GROUPS)

    def add(self, ids: Tensor, norms: Tensor, errors: Tensor) -> None:
        """Count rows, each (rows,): the id, the norm, the norm of the error."""
        self.sums.add(self._group_of[ids].long(), norms, errors)

    def groups(self) -> tuple[RowGroup, ...]:
        """Compute the error of each group."""
        return tuple(
            self.sums.group(number, number + 1, low=low, high=high)
            for number, (low, high) in zip(self._numbers, self._bounds, strict=True)
        )


def _norm_bins(norms: Tensor) -> Tensor:
    """Number the bin of each norm, (rows,); 0 for what counts as zero."""
    places = (norms / NORM_FLOOR).clamp_min(1e-300).log_().div_(math.log(NORM_RATIO)).ceil_()
    return places.clamp_(0, NORM_BINS - 1).long()


def _norm_of(index: int) -> float:
    """Give the middle of a bin of norms."""
    return float(NORM_FLOOR * NORM_RATIO ** (index - 0.5))


def relative_error(squared_error: float, squared_norm: float) -> float:
    """Divide norms; no error is 0 of nothing too, and an error of nothing is all of it."""
    if not squared_error:
        return 0.0
    return math.sqrt(squared_error / squared_norm) if squared_norm else 1.0
