"""How much each row counts in the error that is minimised: numbers read from a file, one for each row."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

from embcompress.exceptions import CheckpointError, IdsError
from embcompress.tables.text_files import is_integer, parse_json, read_text, split_lines, split_pairs
from embcompress.text import named

KEYS = ("id", "label")  # what the first column of a header may be called
VALUES = ("count", "frequency", "weight")  # and the second, or the one of a file without keys


def read_row_weights(path: Path, *, labels: Sequence[str] | None = None, rows: int | None = None) -> array[float]:
    """Read the weight of every row, in the order of the ids.

    The name tells the form, with or without a final .gz. `.tsv` holds id<TAB>count or label<TAB>count, quoted as
    pandas quotes; its header says which, and without one the first column holds labels if `labels` are given, else
    ids. `.json` holds a list of numbers, or an object from label to number if `labels` are given, else from id to
    number. Anything else holds one number a line, with or without a header. (The second column may also be called
    weight or frequency.)

    An id or a label without a number weighs 0: counts leave out what never occurred. But where nothing tells how many
    rows there are, every id needs one.

    Args:
        path: the file.
        labels: the label of each row, of which there must be as many as weights.
        rows: how many rows there are, if that is known.

    Returns:
        One weight a row: finite, 0 or larger, at least one of them larger.

    Raises:
        CheckpointError: the file cannot be read, or is not what its name says.
        IdsError: no number, a negative one or none above 0; an id or label twice, or that no row has; more or fewer
            weights than rows. Names the place or the first few.
    """
    text = read_text(path)
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if rows is not None and labels is not None and rows != len(labels):
        raise IdsError(f"--labels holds {len(labels)} labels, and there are {rows} rows.")
    size = rows if labels is None else len(labels)
    if ending == ".tsv":
        found = _from_tsv(text, path, labels=labels, rows=size)
    elif ending == ".json":
        found = _from_json(text, path, labels=labels, rows=size)
    else:
        found = _from_lines(text, path)
    if size is not None and len(found) != size:
        raise IdsError(
            f"{path} holds {len(found)} weights, and there are {size} {'rows' if labels is None else 'labels'}."
        )
    if not any(found):
        raise IdsError(f"{path} gives no row a weight above 0.")
    return found


def match_row_weights(row_weights: Sequence[float], tables: Mapping[str, int], *, path: Path) -> tuple[str, ...]:
    """Find the tables that weights belong to: those with as many rows.

    Args:
        row_weights: one for each row.
        tables: the number of rows of each table, by its name.
        path: where the weights come from, for messages.

    Raises:
        IdsError: no table has as many rows.

    Example:
        >>> match_row_weights([1.0, 5.0], {"entities": 2, "relations": 3}, path=Path("counts.txt"))
        ('entities',)
    """
    found = tuple(name for name, rows in tables.items() if rows == len(row_weights))
    if not found:
        sizes = named([f"{name}: {rows} rows" for name, rows in tables.items()])
        raise IdsError(
            f"{path} holds {len(row_weights)} weights, and no table has as many rows: {sizes}.",
            hint="Give one weight a row, 0 for a row that does not count.",
        )
    return found


def _from_lines(text: str, path: Path) -> array[float]:
    lines = split_lines(text.rstrip("\r\n"))
    start = 1 if lines and lines[0].strip().lower() in VALUES else 0
    weights = array("d", map(_weight, lines[start:]))
    for place, weight in enumerate(weights, start):
        if math.isnan(weight):
            raise _refusal(
                f"{path}, line {place + 1}",
                lines[place],
                hint="Name a table of id<TAB>count .tsv." if "\t" in lines[place] else "",
            )
    return weights


def _from_tsv(text: str, path: Path, *, labels: Sequence[str] | None, rows: int | None) -> array[float]:
    lines = split_pairs(text, path, form="id<TAB>count or label<TAB>count")
    header = lines[0] if lines and lines[0][0] in KEYS and lines[0][1].lower() in VALUES else None
    start = 0 if header is None else 1
    weights = array("d", (_weight(line[1]) for line in lines[start:]))
    for place, weight in enumerate(weights, start):
        if math.isnan(weight):
            raise _refusal(
                f"{path}, row {place + 1}",
                lines[place][1],
                hint="A header is id<TAB>count or label<TAB>count." if place == 0 else "",
            )
    keys = [line[0] for line in lines[start:]]
    if header is None:
        return _in_order(keys, weights, path=path, labels=labels, rows=rows)
    if header[0] == "id":
        return _by_id(keys, weights, path=path, rows=rows)
    if labels is None:
        raise IdsError(f"{path} weighs labels, and nothing tells their ids.", hint="Give --labels FILE.")
    return _by_label(keys, weights, path=path, labels=labels)


def _from_json(text: str, path: Path, *, labels: Sequence[str] | None, rows: int | None) -> array[float]:
    found = parse_json(text, path, values="weights")
    if isinstance(found, list):
        places: Sequence[str] = [f"item {place}" for place in range(1, len(found) + 1)]
        values: Sequence[object] = found
    elif isinstance(found, dict):
        places, values = list(found), list(found.values())
    else:
        raise CheckpointError(f"{path} holds neither a list of numbers nor an object from label or id to number.")
    weights = array("d", (math.nan if isinstance(value, str) else _weight(value) for value in values))
    for place, value, weight in zip(places, values, weights, strict=True):
        if math.isnan(weight):
            raise _refusal(f"{path}, {place if isinstance(found, list) else repr(place[:40])}", value)
    return weights if isinstance(found, list) else _in_order(places, weights, path=path, labels=labels, rows=rows)


def _weight(value: object) -> float:
    """Read a weight, NaN for anything that is none: no number, negative, infinite, or true."""
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return math.nan
    try:
        weight = float(value)
    except (ValueError, OverflowError):
        return math.nan
    is_grouped = isinstance(value, str) and "_" in value  # 1_000 is Python's way alone
    return weight if 0 <= weight < math.inf and not is_grouped else math.nan


def _refusal(place: str, value: object, *, hint: str = "") -> IdsError:
    found = repr(value[:40]) if isinstance(value, str) else str(value)[:40]
    return IdsError(f"{place}: a weight is a finite number, 0 or larger; got {found}.", hint=hint)


def _in_order(
    keys: Sequence[str], weights: array[float], *, path: Path, labels: Sequence[str] | None, rows: int | None
) -> array[float]:
    """Put weights in the order of the ids, by what stands beside them: labels if those are known, else ids."""
    if labels is None:
        return _by_id(keys, weights, path=path, rows=rows)
    return _by_label(keys, weights, path=path, labels=labels)


def _by_label(keys: Sequence[str], weights: array[float], *, path: Path, labels: Sequence[str]) -> array[float]:
    ids = dict(zip(labels, range(len(labels)), strict=True))
    if unknown := [key for key in keys if key not in ids]:
        hint = "A table of id<TAB>count says so in its header." if all(map(is_integer, unknown)) else ""
        raise IdsError(f"{path} weighs labels that --labels lacks: {named(unknown)}.", hint=hint)
    return _placed([ids[key] for key in keys], weights, path=path, rows=len(labels), keys=keys)


def _by_id(keys: Sequence[str], weights: array[float], *, path: Path, rows: int | None) -> array[float]:
    if wrong := [key for key in keys if not is_integer(key)]:
        raise IdsError(
            f"{path}: ids are integers; got {named(wrong)}.",
            hint="Give --labels FILE if these are labels: it tells their ids.",
        )
    ids = list(map(int, keys))
    size = len(ids) if rows is None else rows
    if wrong_ids := [index for index in ids if not 0 <= index < size]:
        raise IdsError(
            f"{path} holds {len(ids)} weights: their ids must be 0..{size - 1}; got {named(wrong_ids)}.",
            hint="Give every id a weight, 0 if it does not count." if rows is None else "",
        )
    return _placed(ids, weights, path=path, rows=size, keys=keys)


def _placed(ids: Sequence[int], weights: array[float], *, path: Path, rows: int, keys: Sequence[str]) -> array[float]:
    """Put each weight at the place of its id, and 0 everywhere else."""
    placed = array("d", bytes(8 * rows))
    seen = bytearray(rows)
    for index, weight, key in zip(ids, weights, keys, strict=True):
        if seen[index]:
            raise IdsError(f"{path} gives several weights to {key[:40]!r}.")
        seen[index] = 1
        placed[index] = weight
    return placed
