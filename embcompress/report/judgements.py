"""Grades, gates and checks in words, the same in every form of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from embcompress.results import (
    COSINE,
    GRADES,
    NEIGHBOURS,
    WORST_GROUP,
    Check,
    Gate,
    Grade,
    TableReport,
    Threshold,
)

GRADE_TONES: Mapping[str, Literal["good", "warn", "bad"]] = MappingProxyType(
    {"good": "good", "fair": "warn", "poor": "bad"}
)
MEASURES: Mapping[str, str] = MappingProxyType(
    {NEIGHBOURS: "neighbours kept", COSINE: "mean cosine", WORST_GROUP: "error of the worst norm group"}
)  # of a threshold -> its name


def measure_value(measure: str, value: float) -> str:
    """Write a value of a measure that tables are graded by.

    Example:
        >>> measure_value("neighbours", 0.125), measure_value("cosine", 0.9812)
        ('12 %', '0.981')
    """
    return f"{100 * value:.0f} %" if measure == NEIGHBOURS else f"{value:.3f}"


def measure_text(table: TableReport, measure: str) -> str:
    """Name a measure of a table with its value; empty where it has none."""
    value = table.measures.get(measure)
    return "" if value is None else f"{MEASURES[measure]} {measure_value(measure, value)}"


def grade_reason(grade: Grade, thresholds: Sequence[Threshold]) -> str:
    """Say which measure decided a grade, and what the next better one takes.

    Example:
        >>> grade_reason(Grade("poor", "neighbours", 0.13), [Threshold("neighbours", 0.75, 0.5)])
        'neighbours kept 13 % (fair from 50 %)'
    """
    text = f"{MEASURES[grade.measure]} {measure_value(grade.measure, grade.value)}"
    threshold = next((one for one in thresholds if one.measure == grade.measure), None)
    if threshold is None or grade.grade == GRADES[0]:
        return text
    better, limit = (GRADES[0], threshold.good) if grade.grade == GRADES[1] else (GRADES[1], threshold.fair)
    return f"{text} ({better} {_limit_text(grade.measure, limit)})"


def thresholds_text(thresholds: Sequence[Threshold]) -> str:
    """Say what tables are graded by.

    Example:
        >>> thresholds_text([Threshold("neighbours", 0.75, 0.5)])
        'neighbours kept: good from 75 %, fair from 50 %'
    """
    texts = []
    for one in thresholds:
        good, fair = _limit_text(one.measure, one.good), _limit_text(one.measure, one.fair)
        texts.append(f"{MEASURES[one.measure]}: good {good}, fair {fair}")
    return "; ".join(texts)


def _limit_text(measure: str, limit: float) -> str:
    """Say on which side of a limit a grade lies."""
    return f"{'up to' if measure == WORST_GROUP else 'from'} {measure_value(measure, limit)}"


def gate_condition(gate: Gate) -> str:
    """Write the condition that fails a gate, without the numbers of a baseline.

    Example:
        >>> gate_condition(Gate("error.relative > 0.2 (baseline 0.198 +1 %)", "t", 0.3, False, True, 0.198, 0.01))
        'error.relative > 0.2'
    """
    return gate.expression if gate.baseline is None else gate.expression.partition(" (baseline")[0]


def gate_value(gate: Gate) -> str:
    """Write what a gate found: the number, or of a baseline before and after, the change and what was allowed.

    Example:
        >>> gate_value(Gate("error.relative > 0.202 (...)", "t", 0.3, False, True, 0.2, 0.01))
        '0.2 → 0.3 (+50 %, allowed +1 %)'
    """
    if gate.value is None:
        return "not known"
    if gate.baseline is None:
        return f"{gate.value:.6g}"
    change = f"{100 * (gate.value / gate.baseline - 1):+.3g} %" if gate.baseline else "from 0"
    sign = "-" if "<" in gate_condition(gate) else "+"
    return f"{gate.baseline:.4g} → {gate.value:.4g} ({change}, allowed {sign}{100 * (gate.allowed or 0.0):g} %)"


def gate_sentence(gate: Gate) -> str:
    """Say what a gate found.

    Example:
        >>> gate_sentence(Gate("error.relative > 0.2", "entities", 0.2031, passed=False))
        "error.relative > 0.2 in table 'entities': it is 0.2031."
    """
    if not gate.is_numeric:
        return f"{gate.expression}: {gate.table!r}."
    where = f" in table {gate.table!r}" if gate.table is not None else ""
    verdict = "the report has no value for it" if gate.value is None else f"it is {gate_value(gate)}"
    return f"{gate_condition(gate)}{where}: {verdict}."


def check_sentence(check: Check) -> str:
    """Say what a check found."""
    where = f" of {check.table!r}" if check.table is not None else ""
    return f"{check.name}{where}: {check.detail}."
