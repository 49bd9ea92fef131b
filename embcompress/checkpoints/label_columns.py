"""Labels and ids in columns: the names by which columns that hold them are known, and labels as texts."""

from __future__ import annotations

from collections.abc import Sequence

# Names of columns in headers, in lower case; of several that are there the first one counts.
LABEL_COLUMNS = ("label", "labels", "name", "token", "word", "piece", "item", "entity", "relation", "user", "title")
ID_COLUMNS = ("id", "index", "idx", "row", "", "unnamed: 0", "__index_level_0__")


def writable(text: str) -> str:
    """Write out halves of characters, as JSON and pickles may hold them, that no file can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(value: object) -> str:
    """Write a value of a column as a label; blank where there is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return "" if value is None else str(value)


def find_columns(names: Sequence[str]) -> tuple[int | None, int] | None:
    """Find the columns of ids and labels by their names: None for ids that are not there, or where nothing is known."""
    lowered = [name.strip().lower() for name in names]
    key, label = (
        next((lowered.index(name) for name in known if name in lowered), None) for known in (ID_COLUMNS, LABEL_COLUMNS)
    )
    if label is None and key is not None and len(names) == 2:
        label = 1 - key
    return None if label is None else (key, label)
