"""Triples of a knowledge graph, read from files: ids of head, relation and tail."""

from __future__ import annotations

import csv
import difflib
import io
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from embcompress.exceptions import CheckpointError, IdsError
from embcompress.tables.labels import read_labels
from embcompress.tables.text_files import is_integer, read_text, repeated
from embcompress.text import named

TRIPLE_COLUMNS = ["head", "relation", "tail"]
NUMERIC_STEM = "numeric_triples"  # PyKEEN's name of a file of ids
FORM = "head<TAB>relation<TAB>tail"


@dataclass(frozen=True)
class IdMap:
    """The map from the words of a column to ids.

    Attributes:
        kind: "entity" or "relation".
        plural: of it.
        count: ids are 0..count - 1.
        labels: of the ids, in their order; None where the words are the ids.
        path: where the labels come from; None without labels.
    """

    kind: str
    plural: str
    count: int
    labels: Sequence[str] | None = None
    path: Path | None = None

    @cached_property
    def ids(self) -> dict[str, int] | None:
        """The id of each label; None where there are no labels."""
        return None if self.labels is None else dict(zip(self.labels, range(len(self.labels)), strict=True))


def read_id_map(kind: str, *, rows: int, path: Path | None) -> IdMap:
    """Read the labels of entities or relations.

    Args:
        kind: "entity" or "relation".
        rows: how many there are.
        path: of the labels; None where triples hold ids.

    Raises:
        CheckpointError, IdsError: the labels cannot be read, are more or fewer than the rows, or one repeats.
    """
    plural = {"entity": "entities", "relation": "relations"}[kind]
    if path is None:
        return IdMap(kind, plural, rows)
    labels = read_labels(path)
    if len(labels) != rows:
        raise IdsError(
            f"{path} has {len(labels)} labels, and the model has {rows} {plural}.",
            hint="Give the labels that the model was trained with.",
        )
    if again := repeated(label for label in labels if label):
        raise IdsError(f"{path} gives a label to several {plural}: {named(again)}.")
    return IdMap(kind, plural, rows, labels, path)


def read_triples(path: Path, *, entities: IdMap, relations: IdMap) -> array[int]:
    """Read triples, a line each: head<TAB>relation<TAB>tail, quoted as pandas quotes, packed by gzip or not.

    Words are labels where there are any, and ids otherwise, and always in a file that is named numeric_triples, as
    PyKEEN names one. A first line of the words head, relation and tail is a header.

    Returns:
        The ids of head, relation and tail of one triple after the other, in the order of the file, repeats included.

    Raises:
        CheckpointError: the file cannot be read, or is no table of three columns; names the row.
        IdsError: no triple, or words that are no label or no id; names the first few and the row of the first.
    """
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline=""), delimiter="\t", strict=True))
    except csv.Error as err:
        raise CheckpointError(f"{path} is no table of {FORM}: {err}.") from err
    start = 1 if rows[:1] == [TRIPLE_COLUMNS] else 0
    for line, row in enumerate(rows[start:], start + 1):
        if len(row) != 3:
            raise CheckpointError(f"{path}, row {line}: expected {FORM}; got {chr(9).join(row)[:60]!r}.")
    if len(rows) == start:
        raise IdsError(f"{path} holds no triples.", hint=f"It should hold a triple a line: {FORM}.")
    is_numeric = path.name.partition(".")[0] == NUMERIC_STEM
    heads, kinds, tails = zip(*rows[start:], strict=True)
    columns = [
        _look_up(words, id_map, path=path, start=start, is_numeric=is_numeric)
        for words, id_map in (((*heads, *tails), entities), (kinds, relations))
    ]
    count = len(kinds)
    return array("q", chain.from_iterable(zip(columns[0][:count], columns[1], columns[0][count:], strict=True)))


def _look_up(words: Sequence[str], id_map: IdMap, *, path: Path, start: int, is_numeric: bool) -> array[int]:
    """Turn the words of a column, or of two of equal length one after the other, into ids."""
    ids = None if is_numeric else id_map.ids
    if ids is None:
        ids_of_words = array("q", (int(word) if is_integer(word) else -1 for word in words))
        wrong = [line for line, index in enumerate(ids_of_words) if not 0 <= index < id_map.count]
        if not wrong:
            return ids_of_words
    else:
        ids_of_words = array("q", (ids.get(word, -1) for word in words))
        wrong = [line for line, index in enumerate(ids_of_words) if index < 0]
        if not wrong:
            return ids_of_words
    unknown = list(dict.fromkeys(words[line][:60] for line in wrong))
    count = len(words) if id_map.kind == "relation" else len(words) // 2
    row = min(line % count for line in wrong) + start + 1
    names = id_map.kind if len(unknown) == 1 else id_map.plural
    what = f"{path} names {len(unknown)} unknown {names}, the first in row {row}: {named(unknown)}."
    if ids is None:
        reason = f" There are no labels, so words must be ids, 0..{id_map.count - 1}." if not is_numeric else ""
        hint = (
            f"Ids of {id_map.plural} are 0..{id_map.count - 1}."
            if is_numeric
            else f"Give the labels of {id_map.plural}."
        )
        raise IdsError(what + reason, hint=hint)
    if all(map(is_integer, unknown)):
        hint = f"If these are ids, name the file {NUMERIC_STEM}.tsv, as PyKEEN does."
    else:
        close = difflib.get_close_matches(unknown[0], id_map.labels or (), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"The labels are those of {id_map.path}."
    raise IdsError(what, hint=hint)
