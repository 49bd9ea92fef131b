"""Limits of a JSON document of a file, looked at before it is parsed: parsed, `[],` takes twenty times its bytes."""

from __future__ import annotations

import re

STRING = re.compile(r'"[^"]*"')
NO_BRACKET = re.compile(r"[^\[\]{}]+")
# Deeper than what is written (5: a document, its tables, one, its shards, one) with room for what a later version adds.
DEPTH_MAX = 16
# A list or an object needs its brackets, and mostly a key and a value: honest headers have some 40 bytes to each.
BYTES_OF_LIST_MIN = 6
SMALL_LISTS = 4096  # that any document may have


def check_json(text: str) -> None:
    """Refuse JSON that is nested too deeply, or that consists of brackets.

    Raises:
        ValueError: it is.
    """
    # Without escapes a string ends at the next quote.
    outside = STRING.sub("", text.replace("\\\\", "").replace('\\"', ""))
    count = outside.count("[") + outside.count("{")
    if count > len(text) // BYTES_OF_LIST_MIN + SMALL_LISTS:
        raise ValueError(f"it has {count} lists and objects in {len(text)} characters")
    depth = 0
    for bracket in NO_BRACKET.sub("", outside):
        depth += 1 if bracket in "[{" else -1
        if depth > DEPTH_MAX:
            raise ValueError(f"it is nested more than {DEPTH_MAX} deep")
