"""The grades of a report's tables: which decided, what they are held to, and whether a task was looked at."""

from __future__ import annotations

from collections.abc import Sequence

from embcompress.report.document.model import Fact
from embcompress.report.judgements import GRADE_TONES, grade_reason, measure_text, thresholds_text
from embcompress.report.names import Name
from embcompress.report.wording import counted, is_exported, least_word
from embcompress.report.words import WORDS
from embcompress.results import GRADES, ApproximateResult, EvaluateResult, Grade, TableReport

NAMED_MAX = 3  # tables of a grade that are named, and not only counted
# Of a run that nobody has said for what it is good enough.
NOT_JUDGED = "not judged against a task: give evaluate --triples, or limits by --fail-if"


def worst_grade(tables: Sequence[TableReport]) -> Grade | None:
    """Give the grade of the worst table; None where none has one."""
    grades = [table.grade for table in tables if table.grade is not None]
    return max(grades, key=lambda grade: GRADES.index(grade.grade), default=None)


def by_grade(tables: Sequence[TableReport]) -> list[TableReport]:
    """Order tables from the worst: by their grade, then by their error."""
    return sorted(tables, key=_badness, reverse=True)


def grade_facts(result: ApproximateResult | EvaluateResult) -> tuple[Fact, ...]:
    """Say in a line for each grade which tables have it and why, the worst first; then whether a task was looked at."""
    facts: list[Fact] = []
    for grade in reversed(GRADES):
        tables = by_grade([table for table in result.tables if table.grade is not None and table.grade.grade == grade])
        if not tables:
            continue
        if grade == GRADES[0] and len(tables) > 1:
            facts.append(Fact(grade, counted(len(tables), "table"), tone=GRADE_TONES[grade]))
            continue
        for table in tables[:NAMED_MAX]:
            assert table.grade is not None
            where: tuple[str | Name, ...] = () if len(result.tables) == 1 else (": ", Name(table.name))
            facts.append(Fact(grade, (_reason(table, result), *where), tone=GRADE_TONES[grade]))
        if len(tables) > NAMED_MAX:
            more = counted(len(tables) - NAMED_MAX, "more table")
            facts.append(Fact(grade, more, tone=GRADE_TONES[grade]))
    if facts and not result.gates and not (isinstance(result, EvaluateResult) and result.link_prediction):
        facts.append(Fact("", NOT_JUDGED))
    return tuple(facts)


def legend_of(result: ApproximateResult | EvaluateResult) -> tuple[tuple[str, str], ...]:
    """Say what the words of a report mean that a reader may not know; nothing where nothing was measured."""
    if all(table.error is None for table in result.tables):
        return ()
    graded = f"{thresholds_text(result.thresholds)}. --grade changes them." if result.thresholds else WORDS["grade"]
    own = [table for table in result.tables if not is_exported(table)]
    storing = dict.fromkeys("coded" if table.coded else "bases" for table in own)
    words = ("error", *dict.fromkeys(map(least_word, own)), "p99", *storing)
    return (("grade", graded), *((word, WORDS[word]) for word in words))


def _reason(table: TableReport, result: ApproximateResult | EvaluateResult) -> str:
    """Say what a grade rests on: of a good table all measures, of others the one that decided, with its threshold."""
    assert table.grade is not None
    if table.grade.grade == GRADES[0]:
        measures = [measure_text(table, threshold.measure) for threshold in result.thresholds]
        return ", ".join(filter(None, measures))
    return grade_reason(table.grade, result.thresholds)


def _badness(table: TableReport) -> tuple[int, float]:
    grade = -1 if table.grade is None else GRADES.index(table.grade.grade)
    return grade, table.error.relative if table.error else 0.0
