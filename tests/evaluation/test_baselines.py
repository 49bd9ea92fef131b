"""Baselines: a report held to an earlier one, each number by the way it gets worse, and hostile files for one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embcompress.evaluation.baseline import REGRESSIONS, TABLE_REGRESSIONS, Measured
from embcompress.evaluation.gates import read_conditions
from embcompress.exceptions import CheckpointError, EmbcompressError, UsageError
from embcompress.results import EvaluateResult, Gate
from embcompress.results.common import NOT_COMPRESSED, NOT_IN_BASELINE
from tests.evaluation.documents import document
from tests.fixtures import NAME


def regressions(
    result: Measured, before: Mapping[str, Any], folder: Path, *, max_regression: float | str = 0.0
) -> tuple[Gate, ...]:
    """Hold a result to an earlier report."""
    path = folder / "old.report.json"
    path.write_text(json.dumps(before))
    return read_conditions(type(result), fail_if=(), baseline=path, max_regression=max_regression).gates(result)


def put(node: Any, name: str, value: object) -> None:
    """Change a number of a JSON document."""
    *way, last = name.split(".")
    for part in way:
        node = node[part]
    node[last] = value


def look_up(node: Any, name: str) -> Any:
    """Find a number of a JSON document; None where there is none."""
    for part in name.split("."):
        node = None if node is None else node[part]
    return node


def failing(gates: tuple[Gate, ...]) -> list[str]:
    """List the names of the numbers that are worse."""
    return [gate.expression.split()[0] for gate in gates if not gate.passed]


def test_baseline_of_the_same_run_passes(results: tuple[Measured, Measured], tmp_path: Path) -> None:
    """Nothing is worse than itself with 0 % allowed, and each number known is held."""
    for result in results:
        report = document(result)
        gates = regressions(result, report, tmp_path)
        known = [name for name in REGRESSIONS if look_up(report.get(name.split(".")[0]) and report, name) is not None]
        known += [name for name in TABLE_REGRESSIONS if look_up(report["tables"][0], name) is not None]
        assert failing(gates) == []
        assert [gate.expression.split()[0] for gate in gates] == known
        assert {"totals.ratio", "error.relative", "bytes_after"} <= set(known)


def test_baseline_fails_what_is_worse(results: tuple[Measured, Measured], tmp_path: Path) -> None:
    """Each number alone: 10 % worse fails at 9 % and passes at 12 %, better passes, and names number and table."""
    for result in results:
        report = document(result)
        for is_of_table, directions in ((True, TABLE_REGRESSIONS), (False, REGRESSIONS)):
            node = report["tables"][0] if is_of_table else report
            for name, direction in directions.items():
                if look_up(node if name.split(".")[0] in node else None, name) is None:
                    continue
                value = look_up(node, name)
                put(node, name, value / (1 + direction * 0.1))
                assert failing(regressions(result, report, tmp_path, max_regression="9%")) == [name]
                assert failing(regressions(result, report, tmp_path, max_regression=0.12)) == []
                (gate,) = (one for one in regressions(result, report, tmp_path) if not one.passed)
                assert (gate.value, gate.table) == (value, result.tables[0].name if is_of_table else None)
                put(node, name, value * (1 + direction * 0.1))
                assert failing(regressions(result, report, tmp_path)) == []
                put(node, name, value)


@pytest.mark.parametrize("name", TABLE_REGRESSIONS)
def test_baseline_passes_exactly_at_the_limit(name: str, plain: EvaluateResult, tmp_path: Path) -> None:
    """A number that is worse by just what is allowed passes, and by an ulp, or a byte, more it does not."""
    report = document(plain)
    direction = TABLE_REGRESSIONS[name]
    now, earlier = (500, 400) if name == "bytes_after" else (0.5 + direction * 0.125, 0.5)
    beyond = now + 1 if name == "bytes_after" else math.nextafter(now, direction * math.inf)
    put(report["tables"][0], name, earlier)
    for value, expected in ((now, []), (beyond, [name])):
        table = _with(plain.tables[0], name, value)
        gates = regressions(replace(plain, tables=(table,)), report, tmp_path, max_regression="25%")
        assert [one for one in failing(gates) if one == name] == expected


def _with(node: Any, name: str, value: float) -> Any:
    first, _, rest = name.partition(".")
    return replace(node, **{first: _with(getattr(node, first), rest, value) if rest else value})


def test_baseline_of_no_error_allows_none(plain: EvaluateResult, tmp_path: Path) -> None:
    """A share of 0 is 0: any error is worse than none."""
    report = document(plain)
    put(report["tables"][0], "error.relative", 0.0)
    assert failing(regressions(plain, report, tmp_path, max_regression=1000)) == ["error.relative"]


def test_baseline_without_a_header_is_held_without_one(plain: EvaluateResult, tmp_path: Path) -> None:
    """A report of before headers were counted has the ratio of the tensors alone, and is compared with that of now."""
    report = document(plain)
    ratio = report["totals"]["bytes_before"] / sum(table["bytes_after"] for table in report["tables"])
    del report["totals"]["header_bytes"]
    assert ratio > 1.01 * plain.totals.ratio
    for share, worse in ((1.0, []), (1.001, ["totals.ratio"])):
        put(report, "totals.ratio", share * ratio)
        gates = regressions(plain, report, tmp_path)
        assert failing(gates) == worse
        assert [gate.value for gate in gates if gate.expression.startswith("totals.ratio")] == [ratio]


def test_baseline_looks_at_the_tables_of_both(plain: EvaluateResult, tmp_path: Path) -> None:
    """A table that is gone fails and is named, so does one that the baseline lacks; one under a tied name is fine."""
    report = document(plain)
    report["tables"].append({**report["tables"][0], "name": "gone"})
    assert [
        (gate.table, gate.value, gate.passed) for gate in regressions(plain, report, tmp_path) if not gate.passed
    ] == [("gone", None, False)]
    more = replace(plain, tables=(*plain.tables, replace(plain.tables[0], name="added")))
    for result in (more, replace(more, dry_run=True)):
        gates = regressions(result, document(plain), tmp_path)
        assert [(gate.expression, gate.table) for gate in gates if not gate.passed] == [(NOT_IN_BASELINE, "added")]
    report = document(plain)
    report["tables"][0]["name"] = "head.weight"
    table = replace(plain.tables[0], tied_names=("head.weight",))
    gates = regressions(replace(plain, tables=(table,)), report, tmp_path)
    assert failing(gates) == []
    assert sum(gate.table == NAME for gate in gates) >= 4


def test_baseline_compares_what_both_know(plain: EvaluateResult, tmp_path: Path) -> None:
    """Null in the baseline is not compared; what the baseline knows and the run does not fails."""
    report = document(plain)
    known = len(regressions(plain, report, tmp_path))
    put(report["tables"][0], "neighbours", None)
    assert len(regressions(plain, report, tmp_path)) == known - 2
    less = replace(plain, tables=(replace(plain.tables[0], neighbours=None),))
    assert failing(regressions(less, document(plain), tmp_path)) == [
        "neighbours.cosine.high",
        "neighbours.inner_product.high",
    ]


def test_baseline_of_other_rows_is_compared_by_its_band(plain: EvaluateResult, tmp_path: Path) -> None:
    """Where other rows were asked, overlaps are worse only if the upper end lies below the lower end of before."""
    report = document(plain)
    put(report["tables"][0], "neighbours.seed", 7)
    high = plain.tables[0].neighbours.cosine.high if plain.tables[0].neighbours else math.nan
    for low, worse in ((high - 0.01, []), (high + 0.01, ["neighbours.cosine.high"])):
        put(report["tables"][0], "neighbours.cosine.low", low)
        put(report["tables"][0], "neighbours.cosine.overlap", low + 0.005)
        assert failing(regressions(plain, report, tmp_path)) == worse


def test_baseline_of_link_prediction_holds_for_what_ranks(results: tuple[Measured, Measured], tmp_path: Path) -> None:
    """An evaluation without triples fails a baseline with ranks; approximate, which never ranks, does not."""
    ranks = {"link_prediction": {"after": {"mrr": 0.5, "hits_at_10": 0.5}}}
    for result in results:
        is_evaluation = isinstance(result, EvaluateResult)
        silent = replace(result, link_prediction=None) if is_evaluation else result
        wanted = ["link_prediction.after.mrr", "link_prediction.after.hits_at_10"] if is_evaluation else []
        assert failing(regressions(silent, document(result) | ranks, tmp_path)) == wanted


@pytest.mark.parametrize("allowed", ["-1%", "nan", "inf", "x", "", "1MB", -0.5, math.nan])
def test_baseline_refuses_what_is_no_share(allowed: float | str, plain: EvaluateResult, tmp_path: Path) -> None:
    """A usage error that names the option and what was given."""
    with pytest.raises(UsageError, match="--max-regression takes a share") as refused:
        regressions(plain, document(plain), tmp_path, max_regression=allowed)
    assert repr(str(allowed)) in refused.value.message


def test_baseline_is_needed_for_a_share() -> None:
    """By how much worse than nothing cannot be asked."""
    with pytest.raises(UsageError, match="--max-regression goes with --baseline"):
        read_conditions(EvaluateResult, fail_if=(), baseline=None, max_regression=0.01)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "3",
        "null",
        "{}",
        '{"schema_version": 1, "command": "inspect", "tables": []}',
        '{"schema_version": 1, "command": "evaluate", "tables": {}}',
        '{"schema_version": 3, "command": "evaluate", "tables": []}',
        '{"schema_version": "1", "command": "evaluate", "tables": []}',
        '{"schema_version": 1, "command": ["evaluate"], "tables": []}',
        '{"schema_version": 1, "command": "evaluate", "tables": [], "tables": []}',
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"schema_version": 1, "command": "evaluate", "tables": [], "x": ' + "9" * 5000 + "}",
    ],
)
def test_baseline_refuses_what_is_no_report(text: str, tmp_path: Path) -> None:
    """A failure of ours that names the file."""
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(EmbcompressError) as refused:
        read_conditions(EvaluateResult, fail_if=(), baseline=path, max_regression=0)
    assert str(path) in refused.value.message


@pytest.mark.parametrize(
    "tables",
    [
        "[3]",
        "[null]",
        "[[]]",
        '["text"]',
        "[{}]",
        '[{"name": ["entity.weight"]}]',
        '[{"name": {"a": 1}}]',
        '[{"name": null}]',
        '[{"name": "\\ud800"}]',
        '[{"name": "a\\nb <script> \\u001b[31m"}]',
    ],
)
def test_baseline_refuses_tables_that_are_none(tables: str, tmp_path: Path) -> None:
    """What has no error for its tables is no baseline."""
    path = tmp_path / "old.json"
    path.write_text(f'{{"schema_version": 1, "command": "evaluate", "ok": true, "tables": {tables}}}')
    with pytest.raises(CheckpointError, match="has no error for its tables"):
        read_conditions(EvaluateResult, fail_if=(), baseline=path, max_regression=0)


@pytest.mark.parametrize("name", ['["entity.weight"]', '{"a": 1}', "null", '"\\ud800"', '"a\\nb <script> \\u001b[31m"'])
def test_baseline_misses_tables_of_no_name(name: str, plain: EvaluateResult, tmp_path: Path) -> None:
    """A table that is none of this run's is told as a missing one, in every renderer, and fails."""
    path = tmp_path / "old.json"
    table = f'{{"name": {name}, "error": {{"relative": 0.5}}}}'
    path.write_text(f'{{"schema_version": 1, "command": "evaluate", "ok": true, "tables": [{table}]}}')
    conditions = read_conditions(EvaluateResult, fail_if=(), baseline=path, max_regression=0)
    result = replace(plain, gates=conditions.gates(plain))
    assert [gate.expression for gate in result.gates] == [NOT_COMPRESSED, NOT_IN_BASELINE]
    assert document(result)["ok"] is False


@pytest.mark.parametrize(
    "value", ["1" + "0" * 400, "1e999", "-1" + "0" * 400, "NaN", "true", '"0.1"', "[]", "{}", "[[1]]", "null"]
)
def test_baseline_takes_hostile_numbers_for_none(value: str, plain: EvaluateResult, tmp_path: Path) -> None:
    """What is no finite number in the baseline is compared with nothing, and breaks nothing."""
    path = tmp_path / "old.json"
    numbers = ", ".join(f'"{name}": {value}' for name in ("bytes_after", "rank"))
    error = f'{{"relative": 9, "weighted_relative": {value}}}'
    table = f'{{"name": "{NAME}", {numbers}, "error": {error}, "neighbours": {value}}}'
    path.write_text(
        f'{{"schema_version": 1, "command": "evaluate", "ok": true, "tables": [{table}], "totals": {value}, '
        f'"link_prediction": {value}}}'
    )
    gates = read_conditions(EvaluateResult, fail_if=(), baseline=path, max_regression=0).gates(plain)
    assert [gate.expression.split()[0] for gate in gates] == ["error.relative"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"dry_run": True}, "dry run"),
        ({"ok": False}, "failed a gate or a check"),
        ({"withheld": True}, "failed a gate or a check"),
        ({"ok": None}, "failed a gate or a check"),
        ({"tables": []}, "has no tables"),
    ],
)
def test_baseline_refuses_what_is_no_good_release(
    change: Mapping[str, Any], why: str, plain: EvaluateResult, tmp_path: Path
) -> None:
    """What measured nothing, or failed, is nothing to compare with."""
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document(plain) | change))
    with pytest.raises(CheckpointError, match=why):
        read_conditions(EvaluateResult, fail_if=(), baseline=path, max_regression=0)
