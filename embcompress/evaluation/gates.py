"""Conditions on the numbers of a report: given as expressions, or as the report of an earlier run."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from embcompress.compression.budget import parse_size
from embcompress.evaluation.baseline import DEFAULT_MAX_REGRESSION, Baseline, Measured, read_baseline, regressions
from embcompress.evaluation.report_numbers import look_up, number_names
from embcompress.exceptions import UsageError
from embcompress.results import Gate, TableReport
from embcompress.results.version_1 import current_name
from embcompress.text import did_you_mean, parse_share

OPERATORS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {
        ">=": operator.ge,
        "<=": operator.le,
        "==": operator.eq,
        "!=": operator.ne,
        ">": operator.gt,
        "<": operator.lt,
    }
)  # longer ones first: `>` is the start of `>=`

PARTS = ("alternative", "coded", "matrices", "neighbours", "spectrum")  # of a table's report, that some kinds lack

_CONDITION = re.compile(
    r"\s*(?P<name>[A-Za-z_][\w.]*(?:\[\d+\][\w.]*)*)\s*(?P<sign>" + "|".join(OPERATORS) + r")\s*(?P<number>\S.*?)\s*",
    re.ASCII,
)


@dataclass(frozen=True)
class Condition:
    """A condition that a report must not meet.

    Attributes:
        text: as it was given.
        name: of a number of the report, by its fields, as in `error.row_relative.p99` or `worst_rows.0.relative`.
        sign: a key of OPERATORS.
        limit: what the number is compared with.
        is_of_table: whether it is tested for every table.
    """

    text: str
    name: str
    sign: str
    limit: float
    is_of_table: bool


@dataclass(frozen=True)
class Conditions:
    """All conditions on a report: expressions, and an earlier report."""

    expressions: tuple[Condition, ...]
    baseline: Baseline | None = None

    def gates(self, result: Measured) -> tuple[Gate, ...]:
        """Test a report against all of them.

        A number that the report does not know passes no gate: a release shall not rest on it. What only tables of
        another kind have (PARTS) is tested for those that have it, if any does. In a dry run, which knows few numbers,
        gates on others are left out.
        """
        gates = [gate for condition in self.expressions for gate in _gates_of(result, condition)]
        if self.baseline is not None:
            gates += regressions(result, self.baseline)
        return tuple(gate for gate in gates if not result.dry_run or gate.value is not None or not gate.is_numeric)


def read_conditions(
    result_type: type[Measured],
    *,
    fail_if: Sequence[str] | str,
    baseline: str | Path | None,
    max_regression: float | str | None,
) -> Conditions:
    """Read all conditions on a report, before any work is done.

    Args:
        result_type: of the report.
        fail_if: expressions, each `NAME SIGN NUMBER`; the number may end in `%`, or in a unit of bytes.
        baseline: a JSON report of `approximate` or `evaluate`, or None.
        max_regression: by how much worse than the baseline each number may be: a share, or a text such as "1%"; None
            for DEFAULT_MAX_REGRESSION.

    Raises:
        UsageError: no such expression or share, a name that no number of the report has, a share without a baseline.
        CheckpointError: the baseline is not readable, or no such report.

    Example:
        >>> from embcompress.results import ApproximateResult
        >>> read_conditions(
        ...     ApproximateResult, fail_if="totals.ratio < 4", baseline=None, max_regression=None
        ... ).expressions[0].limit
        4.0
    """
    texts = [fail_if] if isinstance(fail_if, str) else fail_if
    of_table, of_report = (number_names(TableReport), number_names(result_type)) if texts else ((), ())
    expressions = tuple(_parse(text, of_table=of_table, of_report=of_report) for text in texts)
    if baseline is None and max_regression is not None:
        raise UsageError("--max-regression goes with --baseline.")
    allowed = parse_share(str(DEFAULT_MAX_REGRESSION if max_regression is None else max_regression).strip())
    if not 0 <= allowed < math.inf:  # NaN, too
        raise UsageError(f"--max-regression takes a share of 0 or more, as in 1% or 0.01; got {str(max_regression)!r}.")
    return Conditions(expressions, None if baseline is None else Baseline(read_baseline(Path(baseline)), allowed))


def _gates_of(result: Measured, condition: Condition) -> Iterator[Gate]:
    compare = OPERATORS[condition.sign]
    nodes: list[tuple[str | None, Any]] = [(None, result)]
    if condition.is_of_table:
        part = condition.name.partition(".")[0]
        having = [table for table in result.tables if part not in PARTS or getattr(table, part) is not None]
        nodes = [(table.name, table) for table in having or result.tables]
    for table, node in nodes:
        value = look_up(node, condition.name)
        passed = value is not None and not compare(value, condition.limit)
        yield Gate(condition.text, table, value, passed)


def _parse(text: str, *, of_table: Sequence[str], of_report: Sequence[str]) -> Condition:
    match = _CONDITION.fullmatch(text)
    is_of_bytes = match is not None and "bytes" in match["name"].rpartition(".")[2]
    limit = _number(match["number"], has_units=is_of_bytes) if match else math.nan
    if match is None or not math.isfinite(limit):
        raise UsageError(
            f"--fail-if takes NAME SIGN NUMBER, as in 'error.relative > 0.05' or 'output.bytes > 20MB'; got {text!r}.",
            hint=f"Signs are {' '.join(OPERATORS)}; names are those of the JSON report; units are for bytes.",
        )
    name = re.sub(r"\[(\d+)\]", r".\1", match["name"])
    # A name of version 1 means what it meant: a script that was written for it goes on.
    spellings = (name, current_name(name), current_name(name, within="tables"))
    name = next((one for one in spellings if _pattern(one) in (*of_table, *of_report)), name)
    pattern = _pattern(name)
    if pattern not in of_table and pattern not in of_report:
        raise UsageError(
            f"--fail-if {text!r}: the report has no number {match['name']!r}.",
            hint=did_you_mean(name, [*of_table, *(known for known in of_report if not known.startswith("tables."))])
            or "Names are those of the JSON report, as in error.relative or totals.ratio.",
        )
    return Condition(text.strip(), name, match["sign"], limit, is_of_table=pattern in of_table)


def _pattern(name: str) -> str:
    """Put 0 for every place in a list, as `number_names` does."""
    return re.sub(r"\.\d+(?=\.|$)", ".0", name)


def _number(text: str, *, has_units: bool) -> float:
    """Read a number, which may end in `%`, or in a unit of bytes; NaN for anything else."""
    share = parse_share(text)
    if not math.isnan(share) or not has_units:
        return share
    try:
        return float(parse_size(text))
    except UsageError:
        return math.nan
