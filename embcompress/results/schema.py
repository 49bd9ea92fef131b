"""JSON Schema of the dataclasses of the results, read off their fields and docstrings."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from typing import Any

DRY_RUN_FIELDS = ("dry_run", "memory_bytes")  # only in the report of a dry run
FIELDS_OF_SOME_RUNS = (
    *DRY_RUN_FIELDS,
    "withheld",
    "skipped",
    "compressed_tables",
    "unrecognised_matrices",
    "unrecognised_command",
    "overwrites",
    # Added within schema version 2: a report of before does not have them.
    "notes",
    "thresholds",
    "grade",
    "header_bytes",
    "baseline",
    "allowed",
)  # left out where they would say nothing


def define(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Define a dataclass and all that it holds, and refer to it.

    Args:
        kind: of the results.
        definitions: by name, to which new ones are added.
    """
    reference = {"$ref": f"#/$defs/{kind.__name__}"}
    if kind.__name__ in definitions:
        return reference
    hints = typing.get_type_hints(kind)
    descriptions = _descriptions(kind)
    definitions[kind.__name__] = {}  # before its fields, which may hold the same kind
    properties = {}
    for field in dataclasses.fields(kind):
        properties[field.name] = _schema_of(hints[field.name], definitions)
        if field.name in descriptions:
            properties[field.name] = {"description": descriptions[field.name], **properties[field.name]}
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
        return define(hint, definitions)
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    return {"type": names[hint]}


def _first_sentence(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _descriptions(kind: type[Any]) -> dict[str, str]:
    """Read the attributes that a docstring describes; several names before one colon share their text."""
    _, _, attributes = (kind.__doc__ or "").partition("Attributes:\n")
    descriptions = {}
    for item in re.findall(r"^ {8}(\w+(?:, \w+)*): (.*(?:\n {12}.*)*)", attributes, re.MULTILINE):
        for name in item[0].split(", "):
            descriptions[name] = " ".join(item[1].split())
    return descriptions
