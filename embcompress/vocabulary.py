"""Ids and labels of rows, read from files, and what two vocabularies share."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, compress, pairwise, repeat
from pathlib import Path
from typing import Any, TypeVar

from embcompress.exceptions import CheckpointError, IdsError
from embcompress.suggestions import suggest_file

FILE_BYTES_MAX = 2**31  # of a file of ids, labels or weights, unpacked: a few bytes of gzip can promise any number
GZIP_MAGIC = b"\x1f\x8b"
NAMED_MAX = 5  # how many ids or labels an exception names
T = TypeVar("T", str, int)
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
        raise IdsError(f"{path} gives a label to several ids: {named(_repeated(labels))}.")
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


@dataclass(frozen=True)
class Placement:
    """Where the rows of the bases go.

    Attributes:
        places: for each base the new id of each of its labelled rows, -1 for a row that is dropped.
        max_id: the number of ids.
        dropped: labels that the new vocabulary lacks, in the order of the bases' rows.
        new: labels that no base has, in the order of their ids; None where ids were given and no labels.
    """

    places: tuple[array[int], ...]
    max_id: int
    dropped: tuple[str, ...] = ()
    new: tuple[str, ...] | None = None

    @cached_property
    def kept(self) -> int:
        """Count the base rows that stay."""
        return sum(sum(index >= 0 for index in place) for place in self.places)

    @property
    def added(self) -> int:
        """Count the new ids."""
        return self.max_id - self.kept


def place_ids(bases: Sequence[array[int]], *, max_id: int, paths: Sequence[Path]) -> Placement:
    """Check that ids say where every base row goes.

    Args:
        bases: for each base the new id of each of its rows.
        max_id: the number of ids.
        paths: where the ids of each base come from, for messages.

    Raises:
        IdsError: an id that is negative, too large, given twice or by two bases; names it.
    """
    taken: set[int] = set()
    for ids, path in zip(bases, paths, strict=True):
        if not ids:
            raise IdsError(f"{path} holds no ids.")
        if wrong := [index for index in ids if index < 0]:
            raise IdsError(f"{path}: ids must not be negative; got {named(wrong)}.")
        if wrong := [index for index in ids if index >= max_id]:
            raise IdsError(f"{path}: ids must be below --max-id {max_id}; got {named(wrong)}.")
        if len(set(ids)) < len(ids):
            raise IdsError(f"{path}: ids must not repeat; twice or more often there are {named(_repeated(ids))}.")
        if len(bases) > 1:
            if wrong := [index for index in ids if index in taken]:
                raise IdsError(f"{path}: ids must not belong to another base too; got {named(wrong)}.")
            taken.update(ids)
    return Placement(tuple(bases), max_id)


def match_labels(bases: Sequence[Sequence[str]], labels: Sequence[str], *, max_id: int | None = None) -> Placement:
    """Find the new id of every base row by its label.

    Args:
        bases: for each base the labels of its rows.
        labels: the new label of each id.
        max_id: the number of ids, if there are more than labels.

    Raises:
        IdsError: a label in two bases, no label shared at all, or more labels than ids.

    Example:
        >>> match_labels([["a", "b"]], ["b", "c"]).places
        (array('q', [-1, 0]),)
    """
    if max_id is not None and max_id < len(labels):
        raise IdsError(f"{len(labels)} labels do not go into --max-id {max_id}.")
    starts = [0, *accumulate(map(len, bases))]
    rows: dict[str, int] = {}  # of all bases, one after the other: they are fewer than the new labels
    for base, (first, last) in zip(bases, pairwise(starts), strict=True):
        rows.update(zip(base, range(first, last), strict=True))
    if len(rows) < starts[-1]:  # harmless for labels that have gone
        counts = Counter(label for base in bases for label in base)
        if shared := [label for label in labels if counts[label] > 1]:
            raise IdsError(f"bases must not share labels; in more than one of them there are {named(shared)}.")
    found = array("q", map(rows.get, labels, repeat(-1)))  # for each new id its row
    place = array("q", [-1]) * starts[-1]
    for index, row in enumerate(found):
        if row >= 0:
            place[row] = index
    places = tuple(place[first:last] for first, last in pairwise(starts))
    dropped = [base[row] for base, its in zip(bases, places, strict=True) for row, index in enumerate(its) if index < 0]
    if len(dropped) == starts[-1]:
        raise IdsError(
            f"no label of the base is among the {len(labels)} new ones; the base has {named(bases[0])}.",
            hint="Check that --base-labels and --labels name the right files, in the right form.",
        )
    new = tuple(compress(labels, map((0).__gt__, found)))
    return Placement(places, len(labels) if max_id is None else max_id, tuple(dropped), new)


def named(labels: Sequence[object]) -> str:
    """Name the first few."""
    more = f" and {len(labels) - NAMED_MAX} more" if len(labels) > NAMED_MAX else ""
    return ", ".join(map(repr, labels[:NAMED_MAX])) + more


def _repeated(items: Iterable[T]) -> list[T]:
    """List what stands there again, each time but its first."""
    seen: set[T] = set()
    return [item for item in items if item in seen or seen.add(item)]  # type: ignore[func-returns-value]


def read_text(path: Path) -> str:
    """Read a text in UTF-8, unpacked if it is packed by gzip.

    Raises:
        CheckpointError: the file cannot be read, is damaged, too large, or no text.
    """
    try:
        with path.open("rb") as file:  # read as it comes: it may be a pipe of the shell
            content = file.read(FILE_BYTES_MAX + 1)
        is_packed = content.startswith(GZIP_MAGIC)
        if path.name.endswith(".gz") and not is_packed:
            raise CheckpointError(f"{path} is named .gz and is not packed by gzip.")
        if is_packed:
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(FILE_BYTES_MAX + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise CheckpointError(f"{path} is a damaged gzip file: {err}.") from err
    except FileNotFoundError as err:
        raise CheckpointError(f"{path} does not exist.", hint=suggest_file(path)) from err
    except OSError as err:
        raise CheckpointError(f"{path} cannot be read: {err.strerror or err}.") from err
    if len(content) > FILE_BYTES_MAX:
        raise CheckpointError(f"{path} holds more than {FILE_BYTES_MAX} bytes, too many for a line a row.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise CheckpointError(f"{path} is no text in UTF-8: byte {err.start} is {content[err.start]:#04x}.") from err


def is_integer(text: str) -> bool:
    """Tell whether a text is an integer of at most 19 digits: Python converts no more than 4300, and 2^63 has 19."""
    digits = text.strip().removeprefix("-")
    return text.isascii() and digits.isdigit() and len(digits) <= 19


def split_lines(text: str) -> list[str]:
    """Split at newlines alone: a label may hold any other separator that Unicode has."""
    lines = text.split("\n")
    if lines[-1] == "":  # behind the last newline; of an empty text all there is
        lines.pop()
    return [line.removesuffix("\r") for line in lines] if "\r" in text else lines


def split_pairs(text: str, path: Path, *, form: str) -> list[list[str]]:
    """Split a table of two columns, quoted as pandas quotes, into its rows, the header included.

    Raises:
        CheckpointError: a quote left open, or a row of more or fewer columns; names it, and `form`, which was expected.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    except csv.Error as err:
        raise CheckpointError(f"{path} is no table of {form}: {err}.") from err
    for place, row in enumerate(rows, 1):
        if len(row) != 2:
            raise CheckpointError(f"{path}, row {place}: expected {form}; got {chr(9).join(row)[:60]!r}.")
    return rows


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


def parse_json(text: str, path: Path, *, values: str = "ids") -> Any:
    """Parse JSON, and refuse an object that gives several `values` to a key.

    Raises:
        CheckpointError: the text is no JSON.
        IdsError: a key stands there twice; names it.
    """

    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise IdsError(f"{path}: several {values} are given to {named(_repeated(key for key, _ in pairs))}.")
        return found

    try:
        return json.loads(text, object_pairs_hook=refuse_repeats)
    except IdsError:
        raise
    except (ValueError, RecursionError) as err:
        raise CheckpointError(f"{path} is no JSON: {err}.") from err


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
