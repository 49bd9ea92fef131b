"""Ids and labels of rows, read from files."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embcompress.checkpoints.label_columns import writable
from embcompress.exceptions import CheckpointError, IdsError
from embcompress.tables.label_arrays import read_npy, read_parquet
from embcompress.tables.label_forms import PLAIN, ReadLabels, order_labels, read_lines, read_table
from embcompress.tables.text_files import is_integer, parse_json, read_lenient_text, read_text, split_lines

DELIMITERS = {".tsv": "\t", ".csv": ","}


@dataclass(frozen=True)
class LabelFile:
    """The labels of a file.

    Attributes:
        labels: in the order of the ids, each as often as it stands there; blank for ids that have none.
        warnings: a sentence each, without a full stop: what the file was taken for, where that can be wrong, and what
            is odd in it.
    """

    labels: list[str]
    warnings: tuple[str, ...] = ()


def read_labels(path: Path) -> list[str]:
    """Read the label of every id, in the order of the ids; as `read_label_file`."""
    return read_label_file(path).labels


def read_label_file(path: Path) -> LabelFile:
    """Read the label of every id.

    The name tells the form, with or without a final .gz: `.tsv` and `.csv` hold id and label or label and id, quoted as
    pandas quotes, with or without a header, which may also name a column of labels among others; `.json` an object
    from label to id or from id to label, a list of labels, a tokenizer of Hugging Face, or a configuration with
    id2label; `.npy` an array of texts; `.parquet` a column of labels. What anything else holds its lines tell:
    `read_lines`.

    Raises:
        CheckpointError: the file cannot be read, or is not what its name says.
        IdsError: an id that is duplicate, negative or no integer; more ids without a label than labels.
    """
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    odd_lines = 0
    if ending == ".npy":
        vocabulary = ReadLabels(read_npy(path), PLAIN)
    elif ending == ".parquet":
        vocabulary = read_parquet(path)
    else:
        content = read_lenient_text(path)
        odd_lines = content.odd_lines
        if ending == ".json":
            vocabulary = ReadLabels(_from_json(content.text, path), PLAIN)
        elif ending in DELIMITERS:
            vocabulary = read_table(content.text, path, delimiter=DELIMITERS[ending])
        else:
            vocabulary = read_lines(content.text, path, ending=ending)
    if not any(vocabulary.labels):
        raise IdsError(f"{path} holds no labels.")
    labels, surrogates = _all_writable(vocabulary.labels) if ending == ".json" else (vocabulary.labels, 0)
    warnings = []
    if vocabulary.form:
        warnings.append(f"{path.name} was read as {vocabulary.form}")
    if odd := odd_lines + surrogates:
        warnings.append(
            f"{path.name}: {odd} of {len(labels)} labels are not UTF-8, and their other bytes are written as \\xff"
        )
    if blank := labels.count(""):
        warnings.append(f"{path.name}: {blank} of {len(labels)} ids have no label, the first is {labels.index('')}")
    return LabelFile(labels, tuple(warnings))


def read_ids(path: Path) -> array[int]:
    """Read one id a line, or a JSON list: line j tells the new id of base row j.

    Raises:
        CheckpointError: the file cannot be read.
        IdsError: a line that is no integer; names it.
    """
    text = read_text(path)
    if path.name.removesuffix(".gz").lower().endswith(".json"):
        content = parse_json(text, path)
        if not isinstance(content, list):
            raise CheckpointError(f"{path} holds no list of ids.")
        for number, item in enumerate(content, 1):
            if type(item) is not int:
                raise IdsError(f"{path}, item {number}: ids are integers; got {item!r}.")
        numbers: Iterable[int] = content
    else:
        lines = split_lines(text.rstrip("\r\n"))
        for number, line in enumerate(lines, 1):
            if not is_integer(line):
                raise IdsError(f"{path}, line {number}: ids are integers, one a line; got {line[:40]!r}.")
        numbers = map(int, lines)
    try:
        return array("q", numbers)
    except OverflowError as err:
        raise IdsError(f"{path} holds an id beyond 2^63.") from err


def _from_json(text: str, path: Path) -> list[str]:
    content = parse_json(text, path)
    if isinstance(content, list) and any(isinstance(label, str) for label in content):
        return [label if isinstance(label, str) else "" for label in content]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no vocabulary: neither labels with their ids nor a list of labels.")
    if isinstance(content.get("model"), dict):
        return order_labels(_of_tokenizer(content, path), path)
    if isinstance(content.get("id2label"), dict):  # a config.json
        content = content["id2label"]
    if content and all(isinstance(label, str) for label in content.values()) and all(map(is_integer, content)):
        return order_labels([(int(index), label) for index, label in content.items()], path)
    for label, index in content.items():
        if type(index) is not int:
            raise IdsError(f"{path}: the id of {label[:40]!r} is {str(index)[:40]}, which is no integer.")
    return order_labels([(index, label) for label, index in content.items()], path)


def _of_tokenizer(tokenizer: dict[str, Any], path: Path) -> list[tuple[int, str]]:
    """List ids and labels of a tokenizer.json. An added token takes the place of the one that has its id."""
    vocabulary = tokenizer["model"].get("vocab")
    try:
        if isinstance(vocabulary, list):  # of a unigram model: [label, score]
            pairs = [(index, label) for index, (label, _) in enumerate(vocabulary)]
        else:
            pairs = [(index, label) for label, index in vocabulary.items()]
        added = [(token["id"], token["content"]) for token in tokenizer.get("added_tokens", [])]
    except (TypeError, ValueError, KeyError, AttributeError) as err:
        raise CheckpointError(f"{path} is no tokenizer with a vocabulary.") from err
    if not all(isinstance(label, str) for _, label in (*pairs, *added)):
        raise CheckpointError(f"{path} is no tokenizer with a vocabulary: a label is no text.")
    for index, label in (*pairs, *added):
        if type(index) is not int:
            raise IdsError(f"{path}: the id of {label[:40]!r} is {str(index)[:40]}, which is no integer.")
    replaced = {index for index, _ in added}
    return [*((index, label) for index, label in pairs if index not in replaced), *dict(added).items()]


def _all_writable(labels: list[str]) -> tuple[list[str], int]:
    """Write out halves of characters that no file can hold, and count the labels that have some."""
    try:
        "\n".join(labels).encode()
    except UnicodeEncodeError:
        written = list(map(writable, labels))
        return written, sum(one != other for one, other in zip(labels, written, strict=True))
    return labels, 0
