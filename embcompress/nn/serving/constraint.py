"""Constraints of a table that steps of training kept, kept in every lookup instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from embcompress.nn.constrainers import RowFunction


@dataclass(frozen=True)
class RowConstraint:
    """A constraint that a table kept after every step, kept in every lookup instead, before any normalizer.

    Attributes:
        constrainer: a function of rows (count, *shape), PyKEEN's or ours.
        normalizer: a function of rows (*s, *shape), or None.
        axes: how many axes a row has.
    """

    constrainer: RowFunction
    normalizer: RowFunction | None
    axes: int

    def __call__(self, rows: Tensor) -> Tensor:
        """Constrain rows, (*s, *shape) -> (*s, *shape)."""
        lead = rows.shape[: rows.ndim - self.axes]
        constrained = self.constrainer(rows.reshape(-1, *rows.shape[len(lead) :])).view(rows.shape)
        return constrained if self.normalizer is None else self.normalizer(constrained)


def lookup_constraint(module: nn.Module) -> RowFunction | None:
    """Find what a representation does to its rows: a constrainer acts on a table, and sums of bases have none."""
    normalizer: Any = getattr(module, "normalizer", None)
    constrainer: Any = getattr(module, "constrainer", None)
    if constrainer is None:
        return normalizer  # type: ignore[no-any-return]
    return RowConstraint(constrainer, normalizer, len(module.shape))  # type: ignore[arg-type]
