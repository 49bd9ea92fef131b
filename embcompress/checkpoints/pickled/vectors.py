"""Tables that are kept as a dict or list of vectors, one for each row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embcompress.checkpoints.pickled.arrays import ArrayReference, reference_of, scalar_of
from embcompress.checkpoints.pickled.modules import entries_of, module_state
from embcompress.checkpoints.pickled.records import OpaqueKey, QuantizedReference, TensorReference

# Of a dict with labels or a list: fewer vectors of one length may be the biases and norms of a small model.
ROWS_MIN = 16
IDS_MIN = 2  # of a dict whose keys are integers, which is no state dict
TABLE_LEAF = "embedding.weight"  # of the name of such a table
ID = re.compile(r"0|[1-9]\d{0,18}")
PARAMETER = re.compile(r"(.*\.)?(weight|bias)")


@dataclass(frozen=True)
class VectorTable:
    """A table of which each row is a vector of its own.

    Attributes:
        rows: in the order of the ids, or of the dict.
        labels: of the rows; None where the ids are the numbers of the rows.
    """

    rows: Sequence[TensorReference | ArrayReference]
    labels: Sequence[str] | None


def find_vectors(node: object) -> VectorTable | None:
    """Take a dict or a list for a table if it holds nothing but vectors of floats of one dtype and length."""
    if module_state(node) is not None:
        return None
    entries = entries_of(node)
    if entries is not None:
        table = _table(entries.keys(), entries.values(), count=len(entries))
        return table if table is None else _by_id(table)
    if isinstance(node, (list, tuple)) and len(node) >= ROWS_MIN:
        rows = _vectors(node)
        return None if rows is None else VectorTable(rows, None)
    return None


def _table(keys: Iterable[object], values: Iterable[object], *, count: int) -> VectorTable | None:
    if count < IDS_MIN:
        return None
    labels: list[str] = []
    is_text = False
    for key in keys:
        label = _label(key)
        if label is None or PARAMETER.fullmatch(label):
            return None
        is_text |= isinstance(key, str)
        labels.append(label)
    rows = _vectors(values) if count >= ROWS_MIN or not is_text else None
    return None if rows is None else VectorTable(rows, labels)


def _label(key: object) -> str | None:
    """Write a key as a label: a text, or an integer, also one of NumPy."""
    if isinstance(key, OpaqueKey):
        key = key.value if isinstance(key.value, int) else scalar_of(key.value)
    return str(key) if isinstance(key, (str, int)) and not isinstance(key, bool) else None


def _vectors(values: Iterable[object]) -> list[TensorReference | ArrayReference] | None:
    rows: list[TensorReference | ArrayReference] = []
    kind: tuple[object, ...] | None = None
    for value in values:
        row = reference_of(value)
        if row is None or isinstance(row, QuantizedReference):
            return None
        if len(row.shape) != 1 or row.shape[0] < 2 or "float" not in row.dtype:
            return None
        kind = kind or _kind(row)
        if _kind(row) != kind:
            return None
        rows.append(row)
    return rows


def _kind(row: TensorReference | ArrayReference) -> tuple[object, ...]:
    return row.shape, row.dtype, isinstance(row, ArrayReference) and row.is_big_endian


def _by_id(table: VectorTable) -> VectorTable:
    """Put the rows into the order of their ids, if all labels are ids."""
    assert table.labels is not None
    if not all(map(ID.fullmatch, table.labels)):
        return table
    ids = list(map(int, table.labels))
    order = sorted(range(len(ids)), key=ids.__getitem__)
    rows = [table.rows[index] for index in order]
    is_whole = all(ids[index] == row for row, index in enumerate(order))
    return VectorTable(rows, None if is_whole else [table.labels[index] for index in order])
