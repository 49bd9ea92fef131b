"""Grades of tables: the worst of their measures, by thresholds that can be changed."""

from __future__ import annotations

import dataclasses

import pytest

from embcompress.evaluation.grading import grade_of, read_thresholds
from embcompress.exceptions import UsageError
from embcompress.results import THRESHOLDS, Grade, Overlap, RowGroup, TableReport
from tests.report.results import full_table


def table_of(*, overlap: float, cosine: float, worst: float) -> TableReport:
    """Make a table with these measures."""
    table = full_table()
    assert table.error is not None
    assert table.neighbours is not None
    groups = (RowGroup(10, 1.0, 2.0, worst / 2), RowGroup(10, 2.0, 3.0, worst), RowGroup(1, 3.0, 3.0, None))
    return dataclasses.replace(
        table,
        error=dataclasses.replace(
            table.error, cosine=dataclasses.replace(table.error.cosine, mean=cosine), by_norm=groups
        ),
        neighbours=dataclasses.replace(table.neighbours, cosine=Overlap(overlap, overlap, overlap)),
    )


@pytest.mark.parametrize(
    ("overlap", "cosine", "worst", "grade"),
    [
        (0.75, 0.95, 0.4, Grade("good", "neighbours", 0.75)),
        (0.749, 0.95, 0.4, Grade("fair", "neighbours", 0.749)),
        (0.5, 0.85, 0.6, Grade("fair", "neighbours", 0.5)),
        (0.9, 0.849, 0.5, Grade("poor", "cosine", 0.849)),
        (0.7, 0.96, 0.601, Grade("poor", "worst_group", 0.601)),
        (0.13, 0.93, 0.5, Grade("poor", "neighbours", 0.13)),
    ],
)
def test_grade_is_that_of_the_worst_measure(overlap: float, cosine: float, worst: float, grade: Grade) -> None:
    """A table is as good as the worst of its three measures; a limit itself belongs to the better grade."""
    assert grade_of(table_of(overlap=overlap, cosine=cosine, worst=worst), tuple(THRESHOLDS.values())) == grade


def test_grade_goes_by_what_was_measured() -> None:
    """Without neighbours the others decide, and without an error nothing does."""
    table = dataclasses.replace(table_of(overlap=0.1, cosine=0.9, worst=0.3), neighbours=None)
    assert grade_of(table, tuple(THRESHOLDS.values())) == Grade("fair", "cosine", 0.9)
    assert grade_of(dataclasses.replace(table, error=None), tuple(THRESHOLDS.values())) is None


def test_thresholds_can_be_changed() -> None:
    """A rule replaces the thresholds of its measure alone, as shares or in per cent."""
    strict = read_thresholds(["neighbours=95 %,90%", "worst-group=0.1,0.2"])
    assert [(one.good, one.fair) for one in strict] == [(0.95, 0.9), (0.95, 0.85), (0.1, 0.2)]
    assert grade_of(table_of(overlap=0.92, cosine=1.0, worst=0.05), strict) == Grade("fair", "neighbours", 0.92)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("neighbors=0.9,0.8", "--grade takes MEASURE=GOOD,FAIR of neighbours, cosine, worst_group"),
        ("cosine=0.9", "takes two shares of 0 to 1"),
        ("cosine=2,1", "takes two shares of 0 to 1"),
        ("cosine=0.8,0.9", "must be no larger"),
        ("worst_group=0.5,0.4", "must be no smaller"),
    ],
)
def test_thresholds_that_are_none_are_refused(rule: str, message: str) -> None:
    """Each says what was found and what was expected."""
    with pytest.raises(UsageError, match=message):
        read_thresholds(rule)
