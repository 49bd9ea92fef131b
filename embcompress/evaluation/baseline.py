"""The report of an earlier run as a bar that a new one must reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from embcompress.evaluation.report_numbers import look_up
from embcompress.exceptions import CheckpointError
from embcompress.results import (
    NOT_COMPRESSED,
    NOT_IN_BASELINE,
    SCHEMA_VERSION,
    ApproximateResult,
    EvaluateResult,
    Gate,
    TableReport,
)
from embcompress.results.version_1 import current_report
from embcompress.tables.text_files import parse_json, read_text

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
Measured = ApproximateResult | EvaluateResult


@dataclass(frozen=True)
class Baseline:
    """The numbers of an earlier report, and by how much a new one may be worse.

    Attributes:
        report: the JSON document.
        allowed: the share of each number.
    """

    report: Mapping[str, Any]
    allowed: float


def read_baseline(path: Path) -> Mapping[str, Any]:
    """Read the report of an earlier run, in the names of this version.

    Raises:
        CheckpointError: not readable, no report of a compression, or one of a run that failed or measured nothing.
    """
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
    if not tables or any(look_up(table, "error.relative") is None for table in tables):
        return "has no error for its tables" if tables else "has no tables"
    return ""


def regressions(result: Measured, baseline: Baseline) -> Iterator[Gate]:
    """Compare with the earlier report all that it knows of REGRESSIONS and of each of its tables."""
    if look_up(baseline.report, "totals.header_bytes") is None:  # of before headers were counted
        result = _without_header(result)
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


def _without_header(result: Measured) -> Measured:
    """Leave the header out of the ratio of a report."""
    stored = sum(table.bytes_after for table in result.tables)
    ratio = result.totals.bytes_before / stored if stored else 1.0
    return replace(result, totals=replace(result.totals, ratio=ratio))


def _sample(table: Any) -> tuple[float | None, ...]:
    """Identify the rows whose neighbours were compared: equal where they are the same."""
    return tuple(look_up(table, name) for name in ("rows", *(f"neighbours.{one}" for one in ("queries", "seed"))))


def _apart(now: TableReport, before: Mapping[str, Any], part: str, *, allowed: float) -> Iterator[Gate]:
    """Compare the overlaps of two samples by their bands: worse only where even the upper end is."""
    low = look_up(before, f"{part}.low")
    if low is None:
        return
    limit, value = low * (1 - allowed), look_up(now, f"{part}.high")
    expression = f"{part}.high < {limit:.6g} (baseline, of other rows, from {low:.6g} -{100 * allowed:g} %)"
    passed = value is not None and value >= limit
    yield Gate(expression, now.name, value, passed, baseline=low, allowed=allowed)


def _regression(
    now: Any, before: Mapping[str, Any], name: str, direction: int, *, allowed: float, table: str | None
) -> Iterator[Gate]:
    earlier = look_up(before, name)
    if earlier is None:
        return
    limit = earlier * (1 + direction * allowed)
    sign = ">" if direction == WORSE_IF_MORE else "<"
    value = look_up(now, name)
    passed = value is not None and (value <= limit if direction == WORSE_IF_MORE else value >= limit)
    change = f"{'+' if direction == WORSE_IF_MORE else '-'}{100 * allowed:g} %"
    expression = f"{name} {sign} {limit:.6g} (baseline {earlier:.6g} {change})"
    yield Gate(expression, table, value, passed, baseline=earlier, allowed=allowed)
