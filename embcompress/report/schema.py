"""The JSON Schema of the JSON report, read off the dataclasses of the results: one source for both."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from typing import Any

from embcompress.report.json import FIELDS_OF_SOME_RUNS
from embcompress.results import SCHEMA_VERSION, Result

DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMMANDS = {
    "ApproximateResult": "approximate",
    "BackfillResult": "backfill",
    "EvaluateResult": "evaluate",
    "InspectResult": "inspect",
    "ReconstructResult": "reconstruct",
    "SweepResult": "sweep",
}  # result -> the command that finds it


def report_schema() -> dict[str, Any]:
    """Make the schema of every document that a command prints or writes.

    A field may be added within a schema version, so objects may hold more than the schema names; none is renamed or
    removed.
    """
    definitions: dict[str, Any] = {}
    kinds = typing.get_args(Result)
    for kind in kinds:
        _define(kind, definitions)
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


def _define(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Define a dataclass and all that it holds, and refer to it."""
    reference = {"$ref": f"#/$defs/{kind.__name__}"}
    if kind.__name__ in definitions:
        return reference
    hints = typing.get_type_hints(kind)
    told = _descriptions(kind)
    definitions[kind.__name__] = {}  # before its fields, which may hold the same kind
    properties = {}
    for field in dataclasses.fields(kind):
        properties[field.name] = _schema_of(hints[field.name], definitions)
        if field.name in told:
            properties[field.name] = {"description": told[field.name], **properties[field.name]}
    definitions[kind.__name__] = {
        "type": "object",
        "description": _first_sentence(kind),
        "properties": properties,
        "required": [name for name in properties if name not in FIELDS_OF_SOME_RUNS],
    }
    return reference


def _schema_of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return {"anyOf": [_schema_of(arg, definitions) for arg in args]}
    if origin is tuple and args[-1] is Ellipsis:
        return {"type": "array", "items": _schema_of(args[0], definitions)}
    if origin is tuple:
        items = [_schema_of(arg, definitions) for arg in args]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return _define(hint, definitions)
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    return {"type": names[hint]}


def _first_sentence(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _descriptions(kind: type[Any]) -> dict[str, str]:
    """Read the attributes that a docstring describes; several names before one colon share their text."""
    _, _, attributes = (kind.__doc__ or "").partition("Attributes:\n")
    found = {}
    for item in re.findall(r"^ {8}(\w+(?:, \w+)*): (.*(?:\n {12}.*)*)", attributes, re.MULTILINE):
        for name in item[0].split(", "):
            found[name] = " ".join(item[1].split())
    return found
