"""The JSON Schema of the JSON report, read off the dataclasses of the results: one source for both."""

from __future__ import annotations

import typing
from typing import Any

from embcompress.results import SCHEMA_VERSION, Result
from embcompress.results.schema import define

DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMMANDS = {
    "ApproximateResult": "approximate",
    "BackfillResult": "backfill",
    "EvaluateResult": "evaluate",
    "ExportResult": "export",
    "InspectResult": "inspect",
    "ReconstructResult": "reconstruct",
    "SweepResult": "sweep",
    "VerifyResult": "verify",
}  # result -> the command that finds it


def report_schema() -> dict[str, Any]:
    """Make the schema of every document that a command prints or writes.

    A field may be added within a schema version, so objects may hold more than the schema names; none is renamed or
    removed.
    """
    definitions: dict[str, Any] = {}
    kinds = typing.get_args(Result)
    for kind in kinds:
        define(kind, definitions)
    for kind in kinds:
        document = definitions[kind.__name__]
        document["properties"] |= {
            "schema_version": {"const": SCHEMA_VERSION},
            "command": {"const": COMMANDS[kind.__name__]},
            "ok": {"type": "boolean", "description": "Whether every gate and every check holds."},
        }
        document["required"] = ["schema_version", "command", "ok", *document["required"][1:]]
    definitions["Failure"] = {
        "type": "object",
        "description": "What went wrong: a command that was refused or failed.",
        "properties": {
            "schema_version": {"const": SCHEMA_VERSION},
            "ok": {"const": False},
            "error": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("id", "message", "hint")},
                "required": ["id", "message", "hint"],
            },
        },
        "required": ["schema_version", "ok", "error"],
    }
    return {
        "$schema": DIALECT,
        "title": f"embcompress report, schema {SCHEMA_VERSION}",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds] + [{"$ref": "#/$defs/Failure"}],
        "$defs": definitions,
    }
