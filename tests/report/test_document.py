"""The document of a report, whatever form it has: verdicts, remarks, and details on demand."""

from __future__ import annotations

import dataclasses

import pytest

from embcompress.report.document import document_of
from embcompress.report.document.model import Fact, Grid
from embcompress.report.judgements import gate_sentence
from embcompress.report.names import text_of
from embcompress.report.wording import DRY_RUN, NOTHING_WRITTEN
from embcompress.results import ApproximateResult, EvaluateResult, Gate, NeighboursReport, Overlap, Result
from embcompress.results.common import NOT_COMPRESSED, NOT_IN_BASELINE
from tests.report.results import backfill_result, full_approximation, full_evaluation, full_table, reconstruct_result


def fact_of(result: Result, label: str) -> Fact:
    """Find a fact by its label, in the large numbers or in any section."""
    document = document_of(result)
    facts = [*document.numbers, *(fact for section in document.sections for fact in section.facts)]
    (match,) = (fact for fact in facts if fact.label == label)
    return match


def remarks_of(result: Result) -> list[str]:
    """List what is said beside the neighbours kept, first beside the large number."""
    document = document_of(result)
    facts = [*document.numbers, *(fact for section in document.sections for fact in section.facts)]
    return [fact.remark for fact in facts if fact.label.startswith("neighbours kept")]


def test_document_says_that_the_overlap_is_of_a_sample() -> None:
    """The number of rows that were sampled and what the band is stands beside the large number and in the details."""
    assert remarks_of(full_approximation()) == [
        "of the 10 nearest by cosine; 100 of 20000 rows sampled, ± is the 95 % band",
        "of the 10 nearest by cosine; by inner product 84 % ±4; 100 of 20000 rows sampled, ± is the 95 % band",
    ]


def test_document_says_that_all_rows_were_asked() -> None:
    """It says so, and speaks of no band."""
    overlap = Overlap(0.871, 0.871, 0.871)
    table = dataclasses.replace(full_table(), neighbours=NeighboursReport(10, 20_000, 0, 0.95, overlap, overlap))
    assert remarks_of(dataclasses.replace(full_approximation(), tables=(table,))) == [
        "of the 10 nearest by cosine; all 20000 rows compared",
        "of the 10 nearest by cosine; by inner product 87.1 %; all 20000 rows compared",
    ]


def test_document_says_how_many_rows_have_no_weight() -> None:
    """It stands beside the weighted error, in the details; where all have one nothing is said."""
    result = full_approximation()
    error = result.tables[0].error
    assert error is not None
    remarks = []
    for count in (0, 1, 28):
        weighted = dataclasses.replace(error, weighted_relative=0.125, unweighted_rows=count)
        table = dataclasses.replace(result.tables[0], error=weighted)
        remarks.append(fact_of(dataclasses.replace(result, tables=(table,)), "weighted error").remark)
    assert remarks == [
        "rows count by their row weight",
        "rows count by their row weight; 1 row had none, and counts least",
        "rows count by their row weight; 28 rows had none, and count least",
    ]


@pytest.mark.parametrize("result", [full_approximation(), full_evaluation()], ids=["approximate", "evaluate"])
def test_document_warns_of_what_was_told_of_rows(result: ApproximateResult | EvaluateResult) -> None:
    """What a file of labels was taken for is a warning in every form, as it is of a backfill."""
    warned = dataclasses.replace(result, warnings=("old.vocab was read as piece and score",))
    (section,) = (section for section in document_of(warned).sections if section.note == "warning")
    assert section.notes == ("old.vocab was read as piece and score",)
    assert not any(section.note == "warning" for section in document_of(result).sections)


def test_document_lists_every_group_of_rows() -> None:
    """Each of ten groups by norm and by row weight is a row of a folded grid; a single group needs none."""
    result = full_approximation()

    def groups_of(result: ApproximateResult) -> dict[str, Grid]:
        (section,) = (section for section in document_of(result).sections if section.is_detail)
        assert all(grid.is_folded for grid in section.grids)
        return {grid.title: grid for grid in section.grids if grid.title != "Worst rows"}

    groups = groups_of(result)
    assert list(groups) == ["Error by norm", "Error by row weight"]
    assert groups["Error by norm"].rows[0] == ("2000", "1 to 1.3", "0.3100")
    assert [row[2] for row in groups["Error by norm"].rows] == [f"{0.31 - 0.015 * step:.4f}" for step in range(10)]
    assert groups["Error by row weight"].rows[9] == ("2000", "511 to 1023", "0.1640")
    error = result.tables[0].error
    assert error is not None
    alone = dataclasses.replace(error, by_norm=error.by_norm[:1], by_frequency=None)
    table = dataclasses.replace(result.tables[0], error=alone)
    assert groups_of(dataclasses.replace(result, tables=(table,))) == {}


@pytest.mark.parametrize("known", [0, 8544])
def test_document_says_what_was_left_out_of_the_ranks(known: int) -> None:
    """Without known triples it tells how to name some."""
    result = full_evaluation()
    assert result.link_prediction is not None
    scores = dataclasses.replace(result.link_prediction, known_triples=known)
    remark = fact_of(dataclasses.replace(result, link_prediction=scores), "triples ranked").remark
    assert remark == (
        "8544 known triples filtered out of the ranking"
        if known
        else "no known triples were filtered out of the ranking: --known names files of them"
    )


@pytest.mark.parametrize("result", [backfill_result(), reconstruct_result(), full_evaluation()])
def test_document_tells_the_memory_of_a_dry_run(result: Result) -> None:
    """The memory needed is among the large numbers where it is known, and else it is not spoken of."""
    assert "memory needed" not in {fact.label for fact in document_of(result).numbers}
    dry = dataclasses.replace(result, dry_run=True, memory_bytes=320_000_000)
    assert fact_of(dry, "memory needed").value == "about 320 MB"


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        (Gate("error.relative > 0.2", "a", 0.25, passed=False), "error.relative > 0.2 in table 'a': it is 0.25."),
        (Gate("totals.ratio < 4", None, 3.5, passed=False), "totals.ratio < 4: it is 3.5."),
        (Gate("totals.ratio < 4", None, None, passed=False), "totals.ratio < 4: the report has no value for it."),
        (Gate(NOT_IN_BASELINE, "a", None, passed=False, is_numeric=False), "table is not in the baseline: 'a'."),
        (
            Gate(NOT_COMPRESSED, "a", None, passed=False, is_numeric=False),
            "table of the baseline is not compressed: 'a'.",
        ),
    ],
)
def test_gate_sentence_says_what_was_found(gate: Gate, sentence: str) -> None:
    """It tells condition, table and value, and of a table that cannot be compared which one it is."""
    assert gate_sentence(gate) == sentence


def verdict_of(result: Result) -> str:
    """Give the verdict as text."""
    return text_of(document_of(result).verdict)


def dry(result: ApproximateResult | EvaluateResult, *, failed: bool) -> Result:
    """Make a dry run, with all that failed, or without."""
    gates = tuple(gate for gate in result.gates if failed or gate.passed)
    made = dataclasses.replace(result, gates=gates, dry_run=True)
    if isinstance(made, EvaluateResult):
        return dataclasses.replace(made, checks=tuple(check for check in made.checks if failed or check.passed))
    return dataclasses.replace(made, withheld=False)


def test_verdict_of_a_dry_run_says_that_nothing_measured_was_judged() -> None:
    """It says what was looked at, what of it holds or failed, and that the rest was not judged."""
    assert (
        verdict_of(dry(full_approximation(), failed=False))
        == f"{NOTHING_WRITTEN} 1 table would be compressed. {DRY_RUN}"
    )
    assert verdict_of(dry(full_approximation(), failed=True)) == f"{NOTHING_WRITTEN} 2 of 2 gates failed. {DRY_RUN}"
    verdict = (
        f"{NOTHING_WRITTEN} Only the headers were compared, of 3 tables; all 2 gates passed and all 2 checks hold."
    )
    assert verdict_of(dry(full_evaluation(), failed=False)) == f"{verdict} {DRY_RUN}"
    assert (
        verdict_of(dry(full_evaluation(), failed=True))
        == f"{NOTHING_WRITTEN} 1 of 3 gates and 1 of 3 checks failed. {DRY_RUN}"
    )
    assert "dry run" not in verdict_of(full_evaluation())
