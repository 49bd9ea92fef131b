"""Gates: every number of a report can be held to a limit, and a report to an earlier one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from embcompress.evaluation.baseline import Measured
from embcompress.evaluation.gates import read_conditions
from embcompress.exceptions import UsageError
from embcompress.results import ApproximateResult, EvaluateResult
from tests.evaluation.documents import document, gates
from tests.fixtures import NAME

FLOOR = 1e-9  # relative: limits this far from a number are on one side of it


def walk(node: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """List the numbers of a JSON document by the way to them."""
    if isinstance(node, dict | list):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from walk(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield name, node


def ends_of_lists(numbers: Mapping[str, float]) -> dict[str, float]:
    """Keep the first and the last number of each list, or of each field of its items."""
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for name in numbers:
        pattern = re.sub(r"\b\d+\b", "0", name)
        first.setdefault(pattern, name)
        last[pattern] = name
    return {name: numbers[name] for name in (*first.values(), *last.values())}


def test_gates_name_every_number_of_a_report(results: tuple[Measured, Measured]) -> None:
    """Each number but the schema's version passes a limit beside it on one side, fails on the other, and is told.

    Of lists the first and the last item.
    """
    for result in results:
        values = dict(walk(document(result)))
        assert values.pop("schema_version") == 2
        numbers = list(ends_of_lists(values).items())
        assert len(numbers) > 40
        if isinstance(result, EvaluateResult):  # by the table's own names here, by those of the whole report there
            numbers = [(name.removeprefix("tables.0."), value) for name, value in numbers]
        expressions = []
        for name, value in numbers:
            step = FLOOR * max(abs(value), 1e-300)
            path = "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in name.split("."))[1:]
            expressions += [f"{name} > {value + step!r}", f"{name} > {value - step!r}", f"{path} == {value!r}"]
        told = iter(gates(result, *expressions))
        for (name, value), passing, failing, brackets in zip(numbers, told, told, told, strict=True):
            assert (passing.passed, failing.passed, brackets.passed) == (True, False, False), name
            assert passing.value == failing.value == brackets.value == value
            is_of_table = f"tables.0.{name}" in values
            assert passing.table == (result.tables[0].name if is_of_table else None)


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("rank > 3", False),
        ("rank>3", False),
        ("  rank  >  4  ", True),
        ("rank >= 4", False),
        ("rank<=4", False),
        ("rank < 4", True),
        ("rank == 4", False),
        ("rank != 4", True),
        ("rank != 5", False),
        ("rank > 4e0", True),
        ("rank > 0.3999e1", False),
        ("rank > -1", False),
        ("rank > 400%", True),
        ("rank > 399 %", False),
        ("rank < 400.1%", False),
        ("bytes_before > 19.2kB", True),
        ("bytes_before > 19.1kB", False),
        ("bytes_before > 18.75 KiB", True),
        ("bytes_before < 1MB", False),
        ("bytes_before < 1GiB", False),
        ("error.worst_rows[0].relative > 99", True),
        ("error.worst_rows.0.relative > 0", False),
        ("tables[0].rank > 3", False),
        ("tables.0.rank > 4", True),
    ],
)
def test_gates_read_expressions(expression: str, passed: bool, plain: EvaluateResult) -> None:
    """A table of 4 bases and 300 x 16 float32, in all signs, units and spaces; the expression is told as given."""
    (gate,) = gates(plain, expression)
    assert gate.passed is passed
    assert gate.expression == expression.strip()


@pytest.mark.parametrize(
    "expression",
    [
        "",
        ">",
        "rank",
        "rank >",
        "> 3",
        "rank 3",
        "rank = 3",
        "rank => 3",
        "rank > = 3",
        "rank > x",
        "rank > nan",
        "rank > 3 apples",
        "rank > 1e3MB",
        "rank > 3 or rank < 1",
        "3 < rank",
        "rank[x] > 3",
        "rank > %",
        "rank\n> 3; x",
        "error.worst_rows[-1].relative > 0",
    ],
)
def test_gates_refuse_what_is_no_expression(expression: str) -> None:
    """A usage error that shows the expression and how one looks."""
    with pytest.raises(UsageError, match="--fail-if") as refused:
        read_conditions(EvaluateResult, fail_if=expression, baseline=None, max_regression=None)
    assert repr(expression) in refused.value.message


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("error.relativ", "error.relative"),
        ("errors.relative", "error.relative"),
        ("neighbors.cosine.overlap", "neighbours.cosine.overlap"),
        ("total.ratio", "totals.ratio"),
        ("error.row_relative.p90", "error.row_relative.p99"),
    ],
)
def test_gates_tell_what_was_meant(name: str, meant: str) -> None:
    """A name that no number has is refused, with the nearest one."""
    with pytest.raises(UsageError, match="the report has no number") as refused:
        read_conditions(ApproximateResult, fail_if=f"{name} > 1", baseline=None, max_regression=None)
    assert meant in refused.value.hint


@pytest.mark.parametrize(
    "name", ["name", "error", "checks.0.passed", "dry_run", "spectrum.is_whole", "__class__", "ok"]
)
def test_gates_refuse_what_is_no_number(name: str) -> None:
    """Texts, truths, parts of a report and what Python alone knows are no numbers."""
    with pytest.raises(UsageError, match="the report has no number"):
        read_conditions(EvaluateResult, fail_if=f"{name} > 1", baseline=None, max_regression=None)


@pytest.mark.parametrize("sign", [">", "<", ">=", "<=", "==", "!="])
@pytest.mark.parametrize(
    "name",
    ["error.weighted_relative", "coded.bits_per_entry", "error.worst_rows.17.relative", "link_prediction.after.mrr"],
)
def test_gates_fail_where_a_number_is_not_known(name: str, sign: str, plain: EvaluateResult) -> None:
    """Null, or an item that a list does not have, passes no gate, whatever the sign."""
    (gate,) = gates(plain, f"{name} {sign} 0")
    assert (gate.value, gate.passed) == (None, False)


def test_gates_hold_every_table(plain: EvaluateResult) -> None:
    """A number of a table is held for each of them, and named; one of the report once."""
    other = replace(plain.tables[0], name="other", rank=9)
    both = replace(plain, tables=(*plain.tables, other))
    outcomes = [(gate.table, gate.value, gate.passed) for gate in gates(both, "rank > 5", "totals.ratio < 0")]
    assert outcomes == [(NAME, 4, True), ("other", 9, False), (None, plain.totals.ratio, True)]


def test_gates_of_a_dry_run_leave_out_what_is_not_known(plain: EvaluateResult) -> None:
    """What a dry run knows is held; what it cannot know is no gate."""
    dry = replace(plain, tables=(replace(plain.tables[0], error=None),), dry_run=True)
    outcomes = [(gate.expression, gate.passed) for gate in gates(dry, "error.relative > 0", "rank > 3", "rank > 4")]
    assert outcomes == [("rank > 3", False), ("rank > 4", True)]


@pytest.mark.parametrize("limit", ["5e999", "5k", "1_0", "٣", "0x10", "nan", "5%%", "20MB"])
def test_gates_take_only_limits_that_can_bite(limit: str) -> None:
    """What is no finite number, and a unit of bytes for what is no bytes, is refused before any work."""
    with pytest.raises(UsageError, match="--fail-if takes NAME SIGN NUMBER"):
        read_conditions(EvaluateResult, fail_if=f"error.relative > {limit}", baseline=None, max_regression=None)


def test_gates_on_parts_hold_where_a_table_has_them(plain: EvaluateResult) -> None:
    """A table of one row has no neighbours, which fails no gate on them; where no table has any, the gate fails."""
    lonely = replace(plain.tables[0], name="lonely", neighbours=None)
    condition = read_conditions(
        EvaluateResult, fail_if="neighbours.cosine.overlap < 0", baseline=None, max_regression=None
    )
    both = replace(plain, tables=(plain.tables[0], lonely))
    assert [(gate.table, gate.passed) for gate in condition.gates(both)] == [(plain.tables[0].name, True)]
    alone = replace(plain, tables=(lonely,))
    assert [(gate.table, gate.value, gate.passed) for gate in condition.gates(alone)] == [("lonely", None, False)]
