"""The JSON report of a result."""

from __future__ import annotations

import json
from typing import Any

from embcompress.evaluation.gates import Measured
from embcompress.report.json import render_json


def document(result: Measured) -> dict[str, Any]:
    """Read the JSON report of a result."""
    report: dict[str, Any] = json.loads(render_json(result))
    return report
