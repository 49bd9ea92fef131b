"""Ids and labels of rows, read from files."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

from embcompress.exceptions import CheckpointError, IdsError
from embcompress.tables.text_files import is_integer, parse_json, read_text, repeated, split_lines, split_pairs
from embcompress.text import named

LABEL_COLUMNS = ["id", "label"]  # of PyKEEN's entity_to_id.tsv.gz


def read_labels(path: Path) -> list[str]:
    """Read the label of every id, in the order of the ids.

    The name tells the form, with or without a final .gz: `.tsv` holds id<TAB>label, quoted as pandas quotes, with or
    without a header; `.json` an object from label to id, a list of labels, or a tokenizer of Hugging Face; anything
    else one label a line.

    Raises:
        CheckpointError: the file cannot be read, or is not what its name says.
        IdsError: an id that is missing, duplicate, negative or no integer; a label given twice.
    """
    text = read_text(path)
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending == ".tsv":
        labels = _from_tsv(text, path)
    elif ending == ".json":
        labels = _from_json(text, path)
    else:
        labels = split_lines(text.rstrip("\r\n"))
        start = 1 if labels[:1] == ["\t".join(LABEL_COLUMNS)] else 0
        if len(labels) > start and all(is_integer(line.partition("\t")[0]) and "\t" in line for line in labels[start:]):
            raise CheckpointError(
                f"{path} holds id<TAB>label, and its name says one label a line.", hint="Name it .tsv."
            )
    if not labels:
        raise IdsError(f"{path} holds no labels.")
    if len(set(labels)) < len(labels):
        raise IdsError(f"{path} gives a label to several ids: {named(repeated(labels))}.")
    return labels


def read_ids(path: Path) -> array[int]:
    """Read one id a line, or a JSON list: line j tells the new id of base row j.

    Raises:
        CheckpointError: the file cannot be read.
        IdsError: a line that is no integer; names it.
    """
    text = read_text(path)
    if path.name.removesuffix(".gz").lower().endswith(".json"):
        found = parse_json(text, path)
        if not isinstance(found, list):
            raise CheckpointError(f"{path} holds no list of ids.")
        for place, item in enumerate(found, 1):
            if type(item) is not int:
                raise IdsError(f"{path}, item {place}: ids are integers; got {item!r}.")
        numbers: Iterable[int] = found
    else:
        lines = split_lines(text.rstrip("\r\n"))
        for place, line in enumerate(lines, 1):
            if not is_integer(line):
                raise IdsError(f"{path}, line {place}: ids are integers, one a line; got {line[:40]!r}.")
        numbers = map(int, lines)
    try:
        return array("q", numbers)
    except OverflowError as err:
        raise IdsError(f"{path} holds an id beyond 2^63.") from err


def _from_tsv(text: str, path: Path) -> list[str]:
    rows = split_pairs(text, path, form="id<TAB>label")
    start = 1 if rows[:1] == [LABEL_COLUMNS] else 0
    pairs = []
    for place, row in enumerate(rows[start:], start + 1):
        if not is_integer(row[0]):
            raise IdsError(f"{path}, row {place}: ids are integers; got {row[0][:40]!r}.")
        pairs.append((int(row[0]), row[1]))
    return _in_order(pairs, path)


def _from_json(text: str, path: Path) -> list[str]:
    found = parse_json(text, path)
    if isinstance(found, list) and all(isinstance(label, str) for label in found):
        return found
    if isinstance(found, dict) and isinstance(found.get("model"), dict):  # a tokenizer.json
        vocabulary, added = found["model"].get("vocab"), found.get("added_tokens", [])
        try:
            if isinstance(vocabulary, list):  # of a unigram model: [label, score]
                vocabulary = {label: index for index, (label, _) in enumerate(vocabulary)}
            found = {**vocabulary, **{token["content"]: token["id"] for token in added}}
        except (TypeError, ValueError, KeyError) as err:
            raise CheckpointError(f"{path} is no tokenizer with a vocabulary.") from err
        if not all(isinstance(label, str) for label in found):
            raise CheckpointError(f"{path} is no tokenizer with a vocabulary: a label is no text.")
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no vocabulary: neither labels with their ids nor a list of labels.")
    for label, index in found.items():
        if type(index) is not int:
            raise IdsError(f"{path}: the id of {label[:40]!r} is {str(index)[:40]}, which is no integer.")
    return _in_order([(index, label) for label, index in found.items()], path)


def _in_order(pairs: list[tuple[int, str]], path: Path) -> list[str]:
    """Put labels in the order of their ids, which must be 0..n - 1, each once."""
    pairs.sort(key=lambda pair: pair[0])
    for expected, (index, label) in enumerate(pairs):
        if index < 0:
            raise IdsError(f"{path}: ids must not be negative; {label[:40]!r} has {index}.")
        if index < expected:
            raise IdsError(f"{path} gives id {index} twice, also to {label[:40]!r}.")
        if index > expected:
            raise IdsError(
                f"{path} has no label for id {expected}; ids must be 0..{len(pairs) - 1}, each once.",
                hint="Give every row a label.",
            )
    return [label for _, label in pairs]
