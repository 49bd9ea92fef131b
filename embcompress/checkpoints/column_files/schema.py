"""The columns of an Arrow schema that are tables: of lists of floats, or several of floats that belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from embcompress.checkpoints.label_columns import ID_COLUMNS, find_columns

DTYPES = {"halffloat": "float16", "float": "float32", "double": "float64"}  # Arrow's name -> torch's
NUMBERED = re.compile(r"(?P<stem>.*?)(?P<number>\d{1,9})", re.DOTALL)
PARTING = "_.- "  # between the stem of a column's name and its number
UNNAMED = "embedding"  # columns that share no stem


@dataclass(frozen=True)
class Matrix:
    """A table in the columns of a file.

    Attributes:
        name: of the table.
        columns: one of lists, or the columns of the table, each of numbers.
        dtype: torch's name.
        width: numbers of a row; None: lists of any length, of which the schema does not tell.
    """

    name: str
    columns: tuple[str, ...]
    dtype: str
    width: int | None
    is_list: bool = False


@dataclass(frozen=True)
class Columns:
    """The columns of a schema by what they are.

    Attributes:
        matrices: in the order of the file.
        labels: the column with the labels of the rows; None where nothing tells.
        mixed: columns of floats that belong together and are of several dtypes.
        others: with the names of their types.
    """

    matrices: tuple[Matrix, ...]
    labels: str | None
    mixed: tuple[str, ...]
    others: dict[str, str]


def sort_columns(schema: Any) -> Columns:
    """Tell the columns of a schema of pyarrow apart.

    Numbered columns of floats (`embedding_0`, `embedding_1`, ...) are one table, in the order of their numbers; without
    any, and without lists, all columns of floats are.
    """
    lists: list[Matrix] = []
    floats: dict[str, str] = {}
    others: dict[str, str] = {}
    for field in schema:
        kind = _storage(field.type)
        dtype = DTYPES.get(str(kind))
        inner = DTYPES.get(str(_storage(kind.value_type))) if _is_list(kind) else None
        if inner is not None:
            lists.append(Matrix(field.name, (field.name,), inner, getattr(kind, "list_size", None), is_list=True))
        elif dtype is not None:
            floats[field.name] = dtype
        else:
            others[field.name] = str(field.type)[:60]
    groups = _group(floats, has_lists=bool(lists))
    matrices, mixed = list(lists), []
    names = {matrix.name for matrix in lists}
    for stem, columns in groups.items():
        dtypes = {floats.pop(column) for column in columns}
        if len(dtypes) > 1:
            mixed += columns
            continue
        name = stem if stem not in names else f"{stem}.columns"
        matrices.append(Matrix(name, tuple(columns), dtypes.pop(), len(columns)))
    return Columns(tuple(matrices), _find_labels(schema, others), tuple(mixed), {**floats, **others})


def _group(floats: dict[str, str], *, has_lists: bool) -> dict[str, list[str]]:
    """Put the names of columns of floats together that make a table, by what they share."""
    numbered: dict[str, dict[int, str]] = {}
    for name in floats:
        match = NUMBERED.fullmatch(name)
        if match:
            numbered.setdefault(match["stem"], {})[int(match["number"])] = name
    groups = {
        stem.rstrip(PARTING) or UNNAMED: [by_number[number] for number in sorted(by_number)]
        for stem, by_number in numbered.items()
        if len(by_number) > 1
    }
    if not groups and not has_lists and len(floats) > 1:
        groups = {_common_start(floats).rstrip(PARTING) or UNNAMED: list(floats)}
    return groups


def _common_start(names: Iterable[str]) -> str:
    """Tell what all names begin with."""
    ordered = sorted(names)
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(ordered[0], ordered[-1], strict=False))
    return "".join(letter for letter, _ in shared)


def _find_labels(schema: Any, others: dict[str, str]) -> str | None:
    """Find the column of labels: by its name, else ids, else the only one of texts."""
    names = list(others)
    columns = find_columns(names)
    if columns is not None:
        return names[columns[1]]
    ids = next((name for known in ID_COLUMNS for name in names if name.strip().lower() == known), None)
    texts = [name for name in names if str(schema.field(name).type) in {"string", "large_string"}]
    return ids if ids is not None else texts[0] if len(texts) == 1 else None


def _storage(kind: Any) -> Any:
    """Tell the type that an extension type is stored as."""
    return getattr(kind, "storage_type", kind)


def _is_list(kind: Any) -> bool:
    return str(kind).startswith(("list<", "large_list<", "fixed_size_list<"))


def repeated_names(names: Sequence[str]) -> list[str]:
    """List the names that are there more than once."""
    return sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
