"""Grades of compressed tables: by their neighbours, their cosine and their worst group of rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from embcompress.exceptions import UsageError
from embcompress.results import GRADES, THRESHOLDS, WORST_GROUP, Grade, TableReport, Threshold
from embcompress.text import did_you_mean, parse_share


def read_thresholds(texts: Sequence[str] | str) -> tuple[Threshold, ...]:
    """Read the thresholds that tables are held to: those of THRESHOLDS, but for the measures that are given.

    Args:
        texts: each `MEASURE=GOOD,FAIR`, as in `neighbours=90%,75%`.

    Raises:
        UsageError: no such measure, no two shares, or a good one that is worse than a fair one.

    Example:
        >>> read_thresholds("neighbours=90%,75%")[0]
        Threshold(measure='neighbours', good=0.9, fair=0.75)
    """
    thresholds = dict(THRESHOLDS)
    for text in [texts] if isinstance(texts, str) else texts:
        name, _, numbers = text.partition("=")
        measure = name.strip().replace("-", "_")
        if measure not in thresholds:
            raise UsageError(
                f"--grade takes MEASURE=GOOD,FAIR of {', '.join(THRESHOLDS)}; got {text!r}.",
                hint=did_you_mean(measure, THRESHOLDS) or "For example: --grade neighbours=90%,75%.",
            )
        shares = [parse_share(number) for number in numbers.split(",")]
        if len(shares) != 2 or not all(math.isfinite(one) and 0 <= one <= 1 for one in shares):
            raise UsageError(f"--grade {text}: {measure} takes two shares of 0 to 1, as in {measure}=90%,75%.")
        good, fair = shares
        if (fair < good) if measure == WORST_GROUP else (fair > good):
            side = "no smaller" if measure == WORST_GROUP else "no larger"
            raise UsageError(f"--grade {text}: the second share, of fair, must be {side} than the first, of good.")
        thresholds[measure] = Threshold(measure, good, fair)
    return tuple(thresholds.values())


def grade_tables(tables: Iterable[TableReport], thresholds: Sequence[Threshold]) -> tuple[TableReport, ...]:
    """Give each table its grade; none to one of which nothing was measured."""
    return tuple(replace(table, grade=grade_of(table, thresholds)) for table in tables)


def grade_of(table: TableReport, thresholds: Sequence[Threshold]) -> Grade | None:
    """Grade a table by the worst of its measures; None where there is none."""
    of = {threshold.measure: threshold for threshold in thresholds}
    grades = [
        Grade(_grade(value, of[measure]), measure, value) for measure, value in table.measures.items() if measure in of
    ]
    return max(grades, key=lambda one: GRADES.index(one.grade), default=None)


def _grade(value: float, threshold: Threshold) -> str:
    sign = -1 if threshold.measure == WORST_GROUP else 1
    if sign * value >= sign * threshold.good:
        return GRADES[0]
    return GRADES[1] if sign * value >= sign * threshold.fair else GRADES[2]
