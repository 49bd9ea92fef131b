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
from embcompress.exceptions import CheckpointError, UsageError
from embcompress.results import (
    NOT_COMPRESSED,
    NOT_IN_BASELINE,
    SCHEMA_VERSION,
    ApproximateResult,
    EvaluateResult,
    Gate,
    TableReport,
)
from embcompress.results.schema import define
from embcompress.results.version_1 import current_name, current_report
from embcompress.tables.text_files import parse_json, read_text
from embcompress.text import did_you_mean

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
DEFAULT_MAX_REGRESSION = "1%"  # of each number in a baseline
WORSE_IF_MORE, WORSE_IF_LESS = 1, -1
TABLE_REGRESSIONS: Mapping[str, int] = MappingProxyType(
    {
        "error.relative": WORSE_IF_MORE,
        "error.weighted_relative": WORSE_IF_MORE,
        "error.row_relative.p99": WORSE_IF_MORE,
        "neighbours.cosine.overlap": WORSE_IF_LESS,
        "neighbours.inner_product.overlap": WORSE_IF_LESS,
        "bytes_after": WORSE_IF_MORE,
    }
)
REGRESSIONS: Mapping[str, int] = MappingProxyType(
    {
        "totals.ratio": WORSE_IF_LESS,
        "link_prediction.after.mrr": WORSE_IF_LESS,
        "link_prediction.after.hits_at_10": WORSE_IF_LESS,
    }
)
# What --baseline compares -> which way it gets worse; of each table, and of the report.

PARTS = ("alternative", "coded", "matrices", "neighbours", "spectrum")  # of a table's report, that some kinds lack

_CONDITION = re.compile(
    r"\s*(?P<name>[A-Za-z_][\w.]*(?:\[\d+\][\w.]*)*)\s*(?P<sign>" + "|".join(OPERATORS) + r")\s*(?P<number>\S.*?)\s*",
    re.ASCII,
)
_SHARE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)", re.ASCII)
Measured = ApproximateResult | EvaluateResult


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
class Baseline:
    """The numbers of an earlier report, and by how much a new one may be worse.

    Attributes:
        report: the JSON document.
        allowed: the share of each number.
    """

    report: Mapping[str, Any]
    allowed: float


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
            gates += _regressions(result, self.baseline)
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
    allowed = _share(str(DEFAULT_MAX_REGRESSION if max_regression is None else max_regression).strip())
    if not 0 <= allowed < math.inf:  # NaN, too
        raise UsageError(f"--max-regression takes a share of 0 or more, as in 1% or 0.01; got {str(max_regression)!r}.")
    return Conditions(expressions, None if baseline is None else Baseline(_read_report(Path(baseline)), allowed))


def _read_report(path: Path) -> Mapping[str, Any]:
    document = parse_json(read_text(path), path, values="fields of a report")
    is_report = isinstance(document, dict) and isinstance(document.get("tables"), list)
    if not is_report or document.get("command") not in ("approximate", "evaluate"):
        raise CheckpointError(
            f"--baseline {path} is not the report of a compression.",
            hint="Name the .report.json that `approximate` wrote, or what `evaluate --report FILE.json` wrote.",
        )
    assert isinstance(document, dict)
    version = document.get("schema_version")
    if version not in (1, SCHEMA_VERSION):
        raise CheckpointError(
            f"--baseline {path} has schema version {str(version)[:20]}; this embcompress reads 1 to {SCHEMA_VERSION}.",
            hint="Update embcompress, or name a report that this version wrote.",
        )
    report = current_report(document) if version == 1 else document
    wrong = _why_no_baseline(report)
    if wrong:
        raise CheckpointError(f"--baseline {path} {wrong}.", hint="Name the report of the last good release.")
    return report


def _why_no_baseline(report: Mapping[str, Any]) -> str:
    """Say why nothing can be compared with a report; empty where it can."""
    if report.get("dry_run"):
        return "is the report of a dry run, which measured nothing"
    if report.get("withheld") or not report.get("ok"):
        return "is the report of a run that failed a gate or a check"
    tables = report["tables"]
    if not tables or any(_look_up(table, "error.relative") is None for table in tables):
        return "has no error for its tables" if tables else "has no tables"
    return ""


def _gates_of(result: Measured, condition: Condition) -> Iterator[Gate]:
    compare = OPERATORS[condition.sign]
    nodes: list[tuple[str | None, Any]] = [(None, result)]
    if condition.is_of_table:
        part = condition.name.partition(".")[0]
        having = [table for table in result.tables if part not in PARTS or getattr(table, part) is not None]
        nodes = [(table.name, table) for table in having or result.tables]
    for table, node in nodes:
        value = _look_up(node, condition.name)
        passed = value is not None and not compare(value, condition.limit)
        yield Gate(condition.text, table, value, passed)


def _regressions(result: Measured, baseline: Baseline) -> Iterator[Gate]:
    """Compare with the earlier report all that it knows of REGRESSIONS and of each of its tables."""
    for name, direction in REGRESSIONS.items():
        if name.startswith("link_prediction") and isinstance(result, ApproximateResult):
            continue  # which ranks nothing
        yield from _regression(result, baseline.report, name, direction, allowed=baseline.allowed, table=None)
    now = {name: table for table in result.tables for name in (table.name, *table.tied_names)}
    compared = set()
    for before in baseline.report["tables"]:
        called = before.get("name")
        table = now.get(called) if isinstance(called, str) else None
        if table is None:
            yield Gate(NOT_COMPRESSED, str(called), None, passed=False, is_numeric=False)
            continue
        compared.add(table.name)
        has_asked_others = _sample(table) != _sample(before)
        for name, direction in TABLE_REGRESSIONS.items():
            part = name.rpartition(".")[0]
            if has_asked_others and name.endswith(".overlap"):
                yield from _apart(table, before, part, allowed=baseline.allowed)
            else:
                yield from _regression(table, before, name, direction, allowed=baseline.allowed, table=table.name)
    for table in result.tables:
        if table.name not in compared:
            yield Gate(NOT_IN_BASELINE, table.name, None, passed=False, is_numeric=False)


def _sample(table: Any) -> tuple[float | None, ...]:
    """Identify the rows whose neighbours were compared: equal where they are the same."""
    return tuple(_look_up(table, name) for name in ("rows", *(f"neighbours.{one}" for one in ("queries", "seed"))))


def _apart(now: TableReport, before: Mapping[str, Any], part: str, *, allowed: float) -> Iterator[Gate]:
    """Compare the overlaps of two samples by their bands: worse only where even the upper end is."""
    low = _look_up(before, f"{part}.low")
    if low is None:
        return
    limit, value = low * (1 - allowed), _look_up(now, f"{part}.high")
    expression = f"{part}.high < {limit:.6g} (baseline, of other rows, from {low:.6g} -{100 * allowed:g} %)"
    yield Gate(expression, now.name, value, passed=value is not None and value >= limit)


def _regression(
    now: Any, before: Mapping[str, Any], name: str, direction: int, *, allowed: float, table: str | None
) -> Iterator[Gate]:
    earlier = _look_up(before, name)
    if earlier is None:
        return
    limit = earlier * (1 + direction * allowed)
    sign = ">" if direction == WORSE_IF_MORE else "<"
    value = _look_up(now, name)
    passed = value is not None and not OPERATORS[sign](value, limit)
    change = f"{'+' if direction == WORSE_IF_MORE else '-'}{100 * allowed:g} %"
    yield Gate(f"{name} {sign} {limit:.6g} (baseline {earlier:.6g} {change})", table, value, passed)


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


def _share(text: str) -> float:
    """Read a number, which may end in `%`; NaN for anything else."""
    match = _SHARE.fullmatch(text.strip())
    return math.nan if match is None else float(match[1]) / (100 if match[2] else 1)


def _number(text: str, *, has_units: bool) -> float:
    """Read a number, which may end in `%`, or in a unit of bytes; NaN for anything else."""
    share = _share(text)
    if not math.isnan(share) or not has_units:
        return share
    try:
        return float(parse_size(text))
    except UsageError:
        return math.nan


def number_names(kind: type[Any]) -> tuple[str, ...]:
    """List the numbers of a dataclass by their fields; an item of a list as number 0.

    Example:
        >>> "error.row_relative.p99" in number_names(TableReport)
        True
    """
    definitions: dict[str, Any] = {}
    return tuple(_numbers_in(define(kind, definitions), definitions))


def _numbers_in(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    """List the numbers inside a value of this schema: an empty name for the value itself."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if schema.get("type") in {"integer", "number"}:
        yield ""
    for option in schema.get("anyOf", ()):
        yield from _numbers_in(option, definitions)
    inside = dict(schema.get("properties", {}))
    inside |= {"0": schema["items"]} if "items" in schema else {}
    inside |= {"0": schema["prefixItems"][0]} if "prefixItems" in schema else {}
    for name, value in inside.items():
        yield from (f"{name}.{inner}" if inner else name for inner in _numbers_in(value, definitions))


def _look_up(node: Any, name: str) -> float | None:
    """Follow fields, keys and places of a list to a number; None where there is none."""
    for part in name.split("."):
        if isinstance(node, Mapping):
            node = node.get(part)
        elif isinstance(node, (list, tuple)):
            node = node[int(part)] if part.isdecimal() and int(part) < len(node) else None
        else:
            node = getattr(node, part, None)
    if not isinstance(node, (int, float)) or isinstance(node, bool):
        return None
    try:
        number = float(node)
    except OverflowError:  # JSON has integers of any length
        return None
    return number if math.isfinite(number) else None
