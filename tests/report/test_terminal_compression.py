"""What a compression says at a prompt beyond its table: what is kept, what is worst, what failed."""

from __future__ import annotations

import dataclasses

import pytest

from embcompress.report.terminal_compression import TABLES_MAX
from embcompress.report.wording import DRY_RUN
from embcompress.results import ApproximateResult, EvaluateResult, NeighboursReport, Overlap, RowGroup
from tests.report.hostile import HOSTILE
from tests.report.results import backfill_result, full_approximation, full_evaluation, full_table
from tests.report.test_terminal import FORBIDDEN, show


def test_render_terminal_tells_what_a_table_keeps() -> None:
    """Neighbours with their band, energy, norms and the three worst rows are shown; of several tables by name."""
    shown = " ".join(show(full_approximation(label="apple")).split())
    assert "0.9791 87 % +-2 8 states, 1.98 bits, 57 kinds, 3 passes" in shown
    assert "p99 row cosine neighbours coding" in shown
    assert (
        "keeps: 98.8 % of the energy, 0.981 of a row's norm (p01 0.911, p99 1.034), "
        "84 % +-4 of the neighbours by inner product" in shown
    )
    assert "+-: 95 % confidence, from 100 rows asked for their neighbours. tied:" in shown
    assert 'largest row errors: 17 "apple" 0.4821, 48 "apple" 0.4721, 79 "apple" 0.4621' in shown
    assert "keeps: entities.weight 98.8 %" in " ".join(show(full_evaluation()).split())


def test_render_terminal_shows_no_band_where_all_rows_were_asked() -> None:
    """Without a sample nothing speaks of confidence."""
    result = full_approximation()
    table = result.tables[0]
    overlap = Overlap(0.871, 0.871, 0.871)
    every = NeighboursReport(10, table.rows, 0, 0.95, overlap, overlap)
    shown = show(dataclasses.replace(result, tables=(dataclasses.replace(table, neighbours=every),)))
    assert "87.1 % of the neighbours by inner product" in shown
    assert "+-" not in shown


@pytest.mark.parametrize(("relative", "is_told"), [(0.25, False), (0.26, True)])
def test_render_terminal_tells_of_groups_that_are_far_worse(relative: float, is_told: bool) -> None:
    """The worst group by norm and by frequency has a line where its error is over 1.25 times that of the table."""
    result = full_approximation()
    (table,) = result.tables
    assert table.error is not None
    groups = (RowGroup(500, 1.0, 1.5, 0.1), RowGroup(400, 1.5, 2.25, relative), RowGroup(1, 3.0, 3.0, None))
    error = dataclasses.replace(table.error, relative=0.2, by_norm=groups, by_frequency=groups)
    lines = show(dataclasses.replace(result, tables=(dataclasses.replace(table, error=error),))).splitlines()
    told = [line for line in lines if line.startswith("by ")]
    assert (
        told
        == [
            "by norm: 400 rows of norm 1.5 to 2.25: error 0.2600, 1.30 times that of the table",
            "by frequency: 400 rows of row weight 1.5 to 2.25: error 0.2600, 1.30 times that of the table",
        ]
        * is_told
    )


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
        tables.append(dataclasses.replace(table, error=error, tied_names=()))
    shown = show(dataclasses.replace(full_approximation(), tables=tuple(tables)))
    told = [line.split()[1] for line in shown.splitlines() if line.startswith("keeps: ")]
    assert told == [f"layer{number}" for number in range(9 - TABLES_MAX, 9)]
    assert f"the {TABLES_MAX} of 9 tables with the largest error:\nkeeps: layer5 " in shown
    assert "with the largest error" not in show(dataclasses.replace(full_approximation(), tables=tuple(tables[:4])))


def test_render_terminal_of_an_artifact_that_is_withheld() -> None:
    """Each failed gate has its value, and the last line says that nothing was put in place."""
    shown = show(full_approximation())
    assert "gate failed: error.relative > 0.2 in table 'entities.weight': it is 0.2031.\n" in shown
    assert "gate failed: entities.weight: the report does not know it.\n" in shown
    assert "withheld: entities.weight was made and measured, and not put there (700 kB, from 11 MB; " in shown
    assert "wrote" not in shown
    result = full_approximation()
    gates = tuple(dataclasses.replace(gate, passed=True) for gate in result.gates)
    shown = show(dataclasses.replace(result, gates=gates, withheld=False))
    assert "gates: 2 of 2 passed\nwrote entities.weight (" in shown


def test_render_terminal_of_an_evaluation() -> None:
    """A check that failed has a line, those that hold share one; then come gates, and the files last."""
    lines = show(full_evaluation()).splitlines()
    assert lines[-5:] == [
        "check failed: tables of 'entities.weight.3': the original has 9 rows, and the artifact is made for 7.",
        "checks: checksums, untouched ok",
        "gate failed: error.relative > 0.2 in table 'entities.weight': it is 0.2031.",
        "gates: 2 of 3 passed",
        "compared entities.weight-compressed with entities.weight (700 kB, from 11 MB; the tables are 15.48x smaller)",
    ]
    assert (
        "link prediction: complex, 1074 triples: MRR 0.8213 -> 0.8107, Hits@1 0.7412 -> 0.7281, "
        "Hits@3 0.8931 -> 0.8852, Hits@10 0.9622 -> 0.9591"
    ) in lines
    scores = full_evaluation().link_prediction
    assert scores is not None
    shown = show(
        dataclasses.replace(full_evaluation(), link_prediction=dataclasses.replace(scores, known=0)), width=300
    )
    assert "0.9591; no known triples were left out of the ranks: --known names files of them\n" in shown


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
