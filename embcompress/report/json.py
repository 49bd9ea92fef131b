"""The JSON report, schema 2: docs/report.md describes it."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from embcompress.exceptions import EmbcompressError
from embcompress.results import SCHEMA_VERSION, ApproximateResult, EvaluateResult, InspectResult, Result, VerifyResult
from embcompress.results.schema import DRY_RUN_FIELDS

UNUSUAL = re.compile(r"[^\n\x20-\x7e]")


def render_json(result: Result) -> str:
    """Render a result as one JSON document; floats in full, never NaN."""
    fields: dict[str, Any] = dataclasses.asdict(result)
    if not fields.get("dry_run"):
        for name in DRY_RUN_FIELDS:
            fields.pop(name, None)
        fields.get("output", {}).pop("overwrites", None)
    for gate in fields.get("gates", ()):
        for name in ("baseline", "allowed") if gate["baseline"] is None else ():
            del gate[name]
    if not fields.get("withheld"):
        fields.pop("withheld", None)
    if isinstance(result, ApproximateResult) and not result.unrecognised_matrices:
        del fields["unrecognised_matrices"], fields["unrecognised_command"]
    if isinstance(result, EvaluateResult) and not result.skipped:
        del fields["skipped"]
    if isinstance(result, InspectResult):
        for name in ("skipped", "compressed_tables"):
            if not fields[name]:
                del fields[name]
    document = {"schema_version": SCHEMA_VERSION, "command": fields.pop("command"), "ok": is_ok(result), **fields}
    return _dump(document)


def render_json_failure(failure: EmbcompressError) -> str:
    """Render what went wrong as one JSON document."""
    error = {"id": failure.id, "message": failure.message, "hint": failure.hint}
    return _dump({"schema_version": SCHEMA_VERSION, "ok": False, "error": error})


def is_ok(result: Result) -> bool:
    """Whether every gate and every check of a result holds."""
    if isinstance(result, VerifyResult):
        return all(check.passed for check in result.checks)
    if not isinstance(result, ApproximateResult | EvaluateResult):
        return True
    is_sound = isinstance(result, ApproximateResult) or all(check.passed for check in result.checks)
    return is_sound and all(gate.passed for gate in result.gates)


def _dump(document: dict[str, Any]) -> str:
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    # Only inside strings: what a terminal would obey, marks that turn the direction of text, and lone surrogates, which
    # a path that is not UTF-8 comes as.
    return UNUSUAL.sub(lambda match: match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1], text)
