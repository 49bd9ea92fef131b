"""How good a compressed table is, by what predicts the effect on a task, and the thresholds that this is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GRADES = ("good", "fair", "poor")  # from the best to the worst
NEIGHBOURS, COSINE, WORST_GROUP = "neighbours", "cosine", "worst_group"


@dataclass(frozen=True)
class Threshold:
    """The value of one measure from which a table is good, and the one from which it is fair; beyond, it is poor.

    Attributes:
        measure: "neighbours" (the share of nearest neighbours by cosine that stay), "cosine" (the mean over the rows)
            or "worst_group" (the largest relative error of a group of rows of similar norm).
        good: the value from which it is good; of a worst group, up to which.
        fair: the same of fair.
    """

    measure: str
    good: float
    fair: float


# From the samples of sample_checkpoints, with 8, 16 and 32 bases (docs/evaluation.md has the numbers): where all tables
# are good, the models lost 0.4 % of their MRR, where the worst is fair up to 20 %, where it is poor 11 to 69 %.
THRESHOLDS: Mapping[str, Threshold] = MappingProxyType(
    {
        NEIGHBOURS: Threshold(NEIGHBOURS, 0.75, 0.5),
        COSINE: Threshold(COSINE, 0.95, 0.85),
        WORST_GROUP: Threshold(WORST_GROUP, 0.4, 0.6),
    }
)


@dataclass(frozen=True)
class Grade:
    """The grade of a table: the worst that one of its measures has.

    Attributes:
        grade: "good", "fair" or "poor".
        measure: the one that decided, as in the thresholds; of several of one grade, the first.
        value: of that measure.
    """

    grade: str
    measure: str
    value: float
