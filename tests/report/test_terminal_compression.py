"""A compression at a prompt, beyond its table: what is kept, what is worst, what failed."""

from __future__ import annotations

import dataclasses
import re

import pytest

from embcompress.report.document.compression import BRIEF_MAX
from embcompress.report.wording import DRY_RUN
from embcompress.report.words import WORDS
from embcompress.results import ApproximateResult, EvaluateResult, Gate, Grade, NeighboursReport, Overlap, RowGroup
from tests.report.hostile import FORBIDDEN, HOSTILE
from tests.report.prompt import show
from tests.report.results import backfill_result, full_approximation, full_evaluation, full_table


def test_render_terminal_tells_what_a_table_keeps() -> None:
    """Of a long form, neighbours with their band, energy, norms and the three worst rows; of several tables by name."""
    shown = " ".join(show(full_approximation(label="apple"), verbose=True).split())
    assert "0.9791 87 % +-2 good 72 bases, 1.98 bits" in shown
    assert "p99 row cosine neighbours grade stored as" in shown
    for figure in (
        "directions 72 of 128 directions (they hold 98.8 % of the energy, before their weights are coded)",
        "norm kept 0.981 (median of stored over original; p01 0.911, p99 1.034)",
        "neighbours kept 87 % +-2 (of the 10 nearest by cosine; by inner product 84 % +-4; "
        "100 of 20000 rows sampled, +- is the 95 % band)",
        "stored as 8 states, 1.98 bits (72 bases by the gram solver, 57 kinds, 3 passes)",
        'worst rows 17 "apple" 0.4821, 48 "apple" 0.4721, 79 "apple" 0.4621, ...',
    ):
        assert figure in shown
    lines = show(full_evaluation(), verbose=True).splitlines()
    for name in ("entities.weight", "entities.weight.2", "entities.weight.3"):
        assert name in lines
        assert lines[lines.index(name) + 1].startswith("  ")


def test_render_terminal_shows_no_band_where_all_rows_were_asked() -> None:
    """Without a sample nothing speaks of confidence."""
    result = full_approximation()
    table = result.tables[0]
    overlap = Overlap(0.871, 0.871, 0.871)
    every = NeighboursReport(10, table.rows, 0, 0.95, overlap, overlap)
    shown = show(dataclasses.replace(result, tables=(dataclasses.replace(table, neighbours=every),)), verbose=True)
    assert "by inner product 87.1 %; all 20000 rows compared" in shown
    assert "+-" not in shown


@pytest.mark.parametrize(("relative", "is_told"), [(0.25, False), (0.26, True)])
def test_render_terminal_tells_of_groups_that_are_far_worse(relative: float, is_told: bool) -> None:
    """The worst group by norm and by frequency has a line where its error is over 1.25 times that of the table."""
    result = full_approximation()
    (table,) = result.tables
    assert table.error is not None
    groups = (RowGroup(500, 1.0, 1.5, 0.1), RowGroup(400, 1.5, 2.25, relative), RowGroup(1, 3.0, 3.0, None))
    error = dataclasses.replace(table.error, relative=0.2, by_norm=groups, by_frequency=groups)
    changed = dataclasses.replace(result, tables=(dataclasses.replace(table, error=error),))
    lines = show(changed, verbose=True).splitlines()
    lines_of_groups = [" ".join(line.split()) for line in lines if line.startswith("  worst ") and "group" in line]
    rows = [f"400 rows of {unit} 1.5 to 2.25: 1.30 times the error of the table" for unit in ("norm", "row weight")]
    expected = [f"worst norm group 0.2600 ({rows[0]})", f"worst row weight group 0.2600 ({rows[1]})"]
    assert lines_of_groups == expected * is_told


@pytest.mark.parametrize("result", [full_approximation(), full_evaluation()], ids=["approximate", "evaluate"])
def test_render_terminal_of_a_dry_run_says_what_was_not_judged(result: ApproximateResult | EvaluateResult) -> None:
    """A line tells it in a dry run, and none in a run."""
    assert DRY_RUN not in show(result)
    assert f"\n{DRY_RUN}\n" in show(dataclasses.replace(result, dry_run=True))


def test_render_terminal_looks_closer_at_the_worst_tables() -> None:
    """Of many tables the lines below the list tell of those with the largest error, and say so."""
    tables = []
    for number in range(9):
        table = full_table(f"layer{number}")
        assert table.error is not None
        error = dataclasses.replace(table.error, relative=0.1 + 0.01 * number)
        tables.append(dataclasses.replace(table, error=error, tied_names=(), solver_remarks=()))
    shown = show(dataclasses.replace(full_approximation(), tables=tuple(tables)), verbose=True)
    names = [line for line in shown.splitlines() if line.startswith("layer") and " " not in line]
    assert names == [f"layer{number}" for number in range(8, 8 - BRIEF_MAX, -1)]
    assert f"\n{BRIEF_MAX} of 9 tables, those with the lowest grade or with a note:\nlayer8\n" in shown
    few = dataclasses.replace(full_approximation(), tables=tuple(tables[:BRIEF_MAX]))
    assert "with the lowest grade" not in show(few, verbose=True)
    tables[0] = dataclasses.replace(tables[0], solver_remarks=("a further look",))
    shown = show(dataclasses.replace(full_approximation(), tables=tuple(tables)), verbose=True)
    assert "\n4 of 9 tables, those with the lowest grade or with a note:\nlayer8\n" in shown


def test_render_terminal_of_an_artifact_that_is_withheld() -> None:
    """Each failed gate has its value, and the last line says that nothing was put in place."""
    shown = show(full_approximation())
    gates = [line.split() for line in shown.splitlines() if line.startswith("  FAILED")]
    assert gates == [
        ["FAILED", "error.relative", ">", "0.2", "entities.weight", "0.2031"],
        ["FAILED", "entities.weight", "not", "known"],
    ]
    assert "gates: 0 of 2 passed\n" in shown
    assert "not written: entities.weight failed a gate after measuring (11 MB -> 700 kB, " in shown
    assert "wrote" not in shown
    result = full_approximation()
    gates = tuple(dataclasses.replace(gate, passed=True) for gate in result.gates)
    shown = show(dataclasses.replace(result, gates=gates, withheld=False))
    assert "gates: 2 of 2 passed (error.relative > 0.2, entities.weight)\nwrote entities.weight (" in shown


def test_render_terminal_of_an_evaluation() -> None:
    """Gates and checks that failed have a line each, those that hold share one; the files come last."""
    lines = [line.rstrip() for line in show(full_evaluation()).splitlines()]
    assert lines[-6:] == [
        "gates: 2 of 3 passed (neighbours.cosine.overlap < 0.8, totals.ratio < 4)",
        "  verdict  fails if              table             value",
        "  FAILED   error.relative > 0.2  entities.weight  0.2031",
        "checks: 2 of 3 hold (checksums, uncompressed_tensors)",
        "  FAILED  tables of entities.weight.3  the original has 9 rows, and the artifact is made for 7",
        "compared entities.weight-compressed with entities.weight (11 MB -> 700 kB, 15.71x smaller; its tables 15.48x)",
    ]
    start = lines.index("Link prediction")
    assert lines[start + 1 : start + 6] == [
        "             MRR  Hits@1  Hits@3  Hits@10",
        "original  0.8213  0.7412  0.8931   0.9622",
        "artifact  0.8107  0.7281  0.8852   0.9591",
        "  interaction     complex",
        "  triples ranked  1074 (8544 known triples filtered out of the ranking)",
    ]
    scores = full_evaluation().link_prediction
    assert scores is not None
    shown = show(
        dataclasses.replace(full_evaluation(), link_prediction=dataclasses.replace(scores, known_triples=0)), width=300
    )
    assert "1074 (no known triples were filtered out of the ranking: --known names files of them)" in shown


@pytest.mark.parametrize("width", [40, 80, 120, 160])
def test_render_terminal_fits_its_width(width: int) -> None:
    """No line is longer than the console is wide, whether there is a grid or lines in its place."""
    for result in (full_approximation(), full_evaluation(), full_approximation("a.name_of/some-length" * 4)):
        assert max(map(len, show(result, width=width).splitlines())) <= width


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_render_terminal_of_a_full_report_is_safe_from_names(name: str) -> None:
    """Labels, expressions, details and names are text: nothing that a terminal obeys, no markup."""
    for result in (full_approximation(name), full_evaluation(name), backfill_result(name)):
        shown = show(result)
        assert not FORBIDDEN & set(shown)
        assert all(char.isprintable() or char == "\n" for char in shown)


def many_tables() -> ApproximateResult:
    """Make a compression of five tables with long names: two poor ones, a fair one, and two good ones."""
    grades = (
        Grade("good", "neighbours", 0.871),
        Grade("fair", "cosine", 0.9),
        Grade("poor", "neighbours", 0.13),
        Grade("good", "neighbours", 0.871),
        Grade("poor", "worst_group", 0.7),
    )
    tables = tuple(
        dataclasses.replace(full_table(f"model.encoder.layers.{number}.embedding_table_of_items.weight"), grade=grade)
        for number, grade in enumerate(grades)
    )
    return dataclasses.replace(full_approximation(), tables=tables, gates=(), withheld=False, skipped=())


def test_render_terminal_is_a_table_of_five_columns_in_80() -> None:
    """Names are cut in the middle, the worst tables come first, and grades say by what, with what is better."""
    lines = [line.rstrip() for line in show(many_tables(), width=80).splitlines()]
    assert lines[0].split() == ["table", "before", "after", "error", "weighted", "neighbours"]
    rows = [line for line in lines if line.startswith("model.encoder") and line.endswith("87 % +-2")]
    assert [re.sub(r"^\S+…\S+\.weight ", "", row).split()[:3] for row in rows] == [["10.2", "MB", "640"]] * 5
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for said in (
        "poor: neighbours kept 13 % (fair from 50 %): model.encoder.layers.2.embedding_table_of_items.weight",
        "poor: error of the worst norm group 0.700 (fair up to 0.600): model.encoder.layers.4.",
        "fair: mean cosine 0.900 (good from 0.950): model.encoder.layers.1.",
        "good: 2 tables not judged against a task: give evaluate --triples, or limits by --fail-if",
        "embcompress explain WORD",
    ):
        assert said in text
    judged = dataclasses.replace(many_tables(), gates=(Gate("totals.ratio < 4", None, 16.0, passed=True),))
    assert "not judged" not in show(judged)


def test_render_terminal_has_a_legend_in_its_long_form() -> None:
    """Five lines say what a grade is and what the columns mean."""
    shown = show(many_tables(), width=200, verbose=True)
    words = [line.split("  ")[0] for line in shown.split("\n\n")[-2].splitlines() if not line.startswith(" ")]
    assert words == ["grade", "error", "bound", "p99", "coded"]
    assert WORDS["coded"] in shown
    assert "neighbours kept: good from 75 %, fair from 50 %;" in shown
