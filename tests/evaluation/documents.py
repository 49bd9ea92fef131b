"""The JSON report of a result, and what it is held to."""

from __future__ import annotations

import json
from typing import Any

from embcompress.evaluation.baseline import Measured
from embcompress.evaluation.gates import read_conditions
from embcompress.report.json import render_json
from embcompress.results import Gate


def document(result: Measured) -> dict[str, Any]:
    """Read the JSON report of a result."""
    report: dict[str, Any] = json.loads(render_json(result))
    return report


def gates(result: Measured, *expressions: str) -> tuple[Gate, ...]:
    """Hold a result to expressions."""
    return read_conditions(type(result), fail_if=expressions, baseline=None, max_regression=None).gates(result)
