"""Names of the JSON report that schema version 1 wrote otherwise, for baselines and conditions of that time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "unrecognised": "unrecognised_matrices",
        "compressed": "compressed_tables",
        "tables.spectrum.kept": "kept_energy",
        "tables.coded.kinds": "row_kinds",
        "tables.coded.states": "trellis_states",
        "tables.neighbours.nearest": "neighbours_per_query",
        "tables.energy_held": "kept_energy",
        "tables.curves.way": "method",
        "tables.curves.points.asked_ratio": "target_ratio",
        "totals.curves.way": "method",
        "totals.curves.points.asked_ratio": "target_ratio",
        "recommendation.way": "method",
        "recommendation.is_within": "is_within_max_error",
        "link_prediction.known": "known_triples",
        "vocabulary.kept": "kept_ids",
        "vocabulary.new": "new_ids",
        "vocabulary.dropped": "dropped_rows",
        "vocabulary.padding": "padding_rows",
        "gates.is_of_number": "is_numeric",
    }
)
# A field by its path in version 1, places in lists left out -> its name now.


def current_name(name: str, *, within: str = "") -> str:
    """Spell the path of a field as this version does.

    Args:
        name: fields and places in lists, separated by dots.
        within: the field that the path starts below, such as "tables"; empty for the whole report.

    Example:
        >>> current_name("spectrum.kept", within="tables")
        'spectrum.kept_energy'
    """
    fields, path = [], [within] if within else []
    for part in name.split("."):
        path += [] if part.isdecimal() else [part]
        fields.append(part if part.isdecimal() else RENAMED.get(".".join(path), part))
    return ".".join(fields)


def current_report(fields: Mapping[str, Any], *, within: str = "") -> dict[str, Any]:
    """Spell the fields of a JSON report of version 1 as this version does; values stay as they are.

    Goes no deeper than RENAMED does, so that a report may be nested as deeply as JSON can be read.
    """
    current = {}
    for name, value in fields.items():
        path = f"{within}.{name}" if within else name
        if any(old.startswith(f"{path}.") for old in RENAMED):
            value = _current_value(value, within=path)  # noqa: PLW2901 - the same value, spelled anew
        current[RENAMED.get(path, name)] = value
    return current


def _current_value(value: Any, *, within: str) -> Any:
    if isinstance(value, list):
        return [current_report(item, within=within) if isinstance(item, dict) else item for item in value]
    return current_report(value, within=within) if isinstance(value, dict) else value
