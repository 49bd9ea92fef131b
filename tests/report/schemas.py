"""JSON schemas as tests hold reports to them."""

from __future__ import annotations

from typing import Any


def strict(schema: Any) -> Any:
    """Close every object of a schema, so that a field which it does not name shows."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return closed | {"additionalProperties": False} if "properties" in closed and "type" in closed else closed
