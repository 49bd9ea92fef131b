"""Weights of rows in the error that is minimised: numbers read from a file, one for each row."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embcompress.exceptions import CheckpointError, IdsError
from embcompress.tables.label_forms import split_numbers
from embcompress.tables.text_files import (
    T,
    is_integer,
    parse_json,
    read_lenient_text,
    repeated,
    split_lines,
    split_pairs,
)
from embcompress.text import named

KEYS = ("id", "label")  # what the first column of a header may be called
VALUES = ("count", "frequency", "weight")  # and the second, or the one of a file without keys
DELIMITERS = {".tsv": "\t", ".csv": ","}
UNKNOWN_SHARE_MAX = 0.9  # of the labels of a file: where more are unknown, it is of another vocabulary


@dataclass(frozen=True)
class RowWeights:
    """The weights that a file gives.

    Attributes:
        values: of each row, or of each label where those are known; finite, 0 or larger, at least one of them larger.
        missing: how many of them the file gives no number: they weigh `least`.
        least: the least number above 0 that it gives.
        warnings: a sentence each, without a full stop.
    """

    values: array[float]
    missing: int
    least: float
    warnings: tuple[str, ...] = ()


def read_row_weights(path: Path, *, labels: Sequence[str] | None = None, rows: int | None = None) -> RowWeights:
    """Read the weight of every row, in the order of the ids.

    The name tells the form, with or without a final .gz. `.tsv` and `.csv` hold id and count, or label and count,
    quoted as pandas quotes; the header says which, and without one the first column holds labels if `labels` are given,
    else ids. `.json` holds a list of numbers, or an object from label to number if `labels` are given, else from id to
    number. Anything else holds one number a line, with or without a header, or a label and its count, parted by a tab
    or a space. (The second column may also be called weight or frequency.)

    A row without a number weighs the least that another one has: counts leave out what was not seen and may yet be met.
    But where nothing tells how many rows there are, every id needs one. Several rows of one label weigh the same.
    Labels that are not known are passed over.

    Args:
        path: the file.
        labels: the label of each row, of the first rows or of the last; a list of numbers has one for each.
        rows: how many rows there are, if that is known.

    Raises:
        CheckpointError: the file cannot be read, or is not what its name says.
        IdsError: no number, a negative one or none above 0; an id or label twice; an id that no row has; labels of
            which nearly all are unknown; more or fewer weights than rows. Names the place or the first few.
    """
    text = read_lenient_text(path).text
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    size = len(labels) if rows is None and labels is not None else rows
    is_table = ending == ".tsv" or (ending == ".csv" and "," in text.partition("\n")[0])
    if is_table:
        weights = _from_table(text, path, delimiter=DELIMITERS[ending], labels=labels, rows=size)
    elif ending == ".json":
        weights = _from_json(text, path, labels=labels, rows=size)
    else:
        weights = _from_lines(text, path, labels=labels)
    if size is not None and len(weights.values) not in {size, size if labels is None else len(labels)}:
        kind = f"{len(labels)} labels" if labels is not None else f"{size} rows"
        raise IdsError(f"{path} holds {len(weights.values)} weights, and there are {kind}.")
    return weights


def _from_lines(text: str, path: Path, *, labels: Sequence[str] | None) -> RowWeights:
    lines = split_lines(text.rstrip("\r\n"))
    if labels is not None and (pairs := split_numbers(lines)) is not None:
        counts = array("d", (_weight(number) for _, number in pairs))
        if not any(map(math.isnan, counts)):
            return _by_label([label for label, _ in pairs], counts, path=path, labels=labels)
    start = 1 if lines and lines[0].strip().lower() in VALUES else 0
    weights = array("d", map(_weight, lines[start:]))
    for index, weight in enumerate(weights, start):
        if math.isnan(weight):
            raise _refusal(
                f"{path}, line {index + 1}",
                lines[index],
                hint="Name a table of id<TAB>count .tsv." if "\t" in lines[index] else "",
            )
    return _filled(weights, path=path)


def _from_table(text: str, path: Path, *, delimiter: str, labels: Sequence[str] | None, rows: int | None) -> RowWeights:
    form = " or ".join(f"{key}{delimiter}count" for key in KEYS).replace("\t", "<TAB>")
    lines = split_pairs(text, path, form=form, delimiter=delimiter)
    header = lines[0] if lines and lines[0][0] in KEYS and lines[0][1].lower() in VALUES else None
    start = 0 if header is None else 1
    weights = array("d", (_weight(line[1]) for line in lines[start:]))
    for index, weight in enumerate(weights, start):
        if math.isnan(weight):
            raise _refusal(
                f"{path}, row {index + 1}",
                lines[index][1],
                hint="A header is id<TAB>count or label<TAB>count." if index == 0 else "",
            )
    keys = [line[0] for line in lines[start:]]
    if header is None:
        return _by_key(keys, weights, path=path, labels=labels, rows=rows)
    if header[0] == "id":
        return _by_id(keys, weights, path=path, rows=rows)
    if labels is None:
        raise IdsError(f"{path} weighs labels, and nothing tells their ids.", hint="Give --labels FILE.")
    return _by_label(keys, weights, path=path, labels=labels)


def _from_json(text: str, path: Path, *, labels: Sequence[str] | None, rows: int | None) -> RowWeights:
    content = parse_json(text, path, values="weights")
    if isinstance(content, list):
        places: Sequence[str] = [f"item {location}" for location in range(1, len(content) + 1)]
        values: Sequence[object] = content
    elif isinstance(content, dict):
        places, values = list(content), list(content.values())
    else:
        raise CheckpointError(f"{path} holds neither a list of numbers nor an object from label or id to number.")
    weights = array("d", (math.nan if isinstance(value, str) else _weight(value) for value in values))
    for location, value, weight in zip(places, values, weights, strict=True):
        if math.isnan(weight):
            raise _refusal(f"{path}, {location if isinstance(content, list) else repr(location[:40])}", value)
    if isinstance(content, list):
        return _filled(weights, path=path)
    return _by_key(places, weights, path=path, labels=labels, rows=rows)


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


def _refusal(location: str, value: object, *, hint: str = "") -> IdsError:
    shown = repr(value[:40]) if isinstance(value, str) else str(value)[:40]
    return IdsError(f"{location}: a weight is a finite number, 0 or larger; got {shown}.", hint=hint)


def _by_key(
    keys: Sequence[str], weights: array[float], *, path: Path, labels: Sequence[str] | None, rows: int | None
) -> RowWeights:
    """Put weights in the order of the ids, by what stands beside them: labels if those are known, else ids."""
    if labels is None:
        return _by_id(keys, weights, path=path, rows=rows)
    return _by_label(keys, weights, path=path, labels=labels)


def _by_label(keys: Sequence[str], weights: array[float], *, path: Path, labels: Sequence[str]) -> RowWeights:
    known = set(labels)
    unknown = [key for key in keys if key not in known]
    if len(unknown) > UNKNOWN_SHARE_MAX * len(keys):
        raise IdsError(
            f"{path} weighs {len(unknown)} of {len(keys)} labels that --labels lacks: {named(unknown)}.",
            hint="A table of id<TAB>count says so in its header."
            if all(map(is_integer, unknown))
            else "Check that --row-weights and --labels name files of one vocabulary.",
        )
    passed_over = f"{path.name}: {len(unknown)} of {len(keys)} labels are not among --labels, and were passed over"
    weight_of = _weight_of(keys, keys, weights, path=path)
    return _filled([weight_of.get(label) for label in labels], path=path, warnings=(passed_over,) if unknown else ())


def _by_id(keys: Sequence[str], weights: array[float], *, path: Path, rows: int | None) -> RowWeights:
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
    weight_of = _weight_of(ids, keys, weights, path=path)
    return _filled([weight_of.get(index) for index in range(size)], path=path)


def _weight_of(rows: Sequence[T], keys: Sequence[str], weights: array[float], *, path: Path) -> dict[T, float]:
    """Map what tells a row to its weight; refuse what stands there twice, by how it is spelled."""
    by_row = dict(zip(rows, weights, strict=True))
    if len(by_row) < len(rows):
        again = repeated(rows)[0]
        spelled = [key for row, key in zip(rows, keys, strict=True) if row == again][-1]
        raise IdsError(f"{path} gives several weights to {spelled[:40]!r}.")
    return by_row


def _filled(weights: Sequence[float | None], *, path: Path, warnings: tuple[str, ...] = ()) -> RowWeights:
    """Give rows that have no weight the least that another one has."""
    least = min((weight for weight in weights if weight), default=math.nan)
    if math.isnan(least):
        raise IdsError(f"{path} gives no row a weight above 0.")
    values = array("d", (least if weight is None else weight for weight in weights))
    return RowWeights(values, sum(weight is None for weight in weights), least, warnings)
