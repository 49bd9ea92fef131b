"""The numbers of a report by their names: which there are, and what they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from embcompress.results.schema import define


def number_names(kind: type[Any]) -> tuple[str, ...]:
    """List the numbers of a dataclass by their fields; an item of a list as number 0.

    Example:
        >>> from embcompress.results import TableReport
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


def look_up(node: Any, name: str) -> float | None:
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
