"""Forms that frameworks write labels in, told apart by what the lines of a file hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from embcompress.checkpoints.label_columns import LABEL_COLUMNS, find_columns
from embcompress.exceptions import CheckpointError, IdsError
from embcompress.tables.text_files import is_integer, is_number, split_lines, split_rows
from embcompress.text import named

HEADERS = (("id", "label"), ("label", "id"))  # of lines without quotes, which may be labels themselves
FLAG = " #fairseq:overwrite"  # behind a count in fairseq's dictionaries
PLAIN = ""  # of a form that cannot be taken for another
LABEL_AND_ID = "label and id"


@dataclass(frozen=True)
class ReadLabels:
    """Labels in the order of their ids, and the form that they were found in: empty where it is no guess."""

    labels: list[str]
    form: str


def read_lines(text: str, path: Path, *, ending: str) -> ReadLabels:
    """Read labels from lines without quotes.

    They are, in this order: a count, then a label and its id a line (OpenKE); id<TAB>label (LibKGE's .del, RotatE's
    .dict); piece<TAB>score (sentencepiece's .vocab), or a token and its count, parted by a tab or a space (fairseq's
    dict.txt), in all lines and the tokens unique; a label and its id; else one label a line.

    Raises:
        CheckpointError: the name says id<TAB>label, and a line does not.
        IdsError: ids that say of no row whose it is.
    """
    lines = split_lines(text.rstrip("\r\n"))
    if len(lines) > 1 and is_integer(lines[0]) and int(lines[0]) == len(lines) - 1:
        pairs = [_split_last(line) for line in lines[1:]]
        if all(label for label, _ in pairs) and _are_all_ids([number for _, number in pairs]):
            return ReadLabels(order_labels([(int(number), label) for label, number in pairs], path), LABEL_AND_ID)
    if tuple(lines[0].split("\t")) in HEADERS if lines else False:
        rows = [line.split("\t", 1) if lines[0].startswith("id") else line.rsplit("\t", 1) for line in lines]
        return _from_table(rows, path)
    is_id_map = ending in {".del", ".dict"}
    pairs = [(first, rest) for first, tab, rest in (line.partition("\t") for line in lines) if tab]
    if is_id_map and len(pairs) < len(lines):
        number = next(number for number, line in enumerate(lines, 1) if "\t" not in line)
        raise CheckpointError(f"{path}, row {number}: expected id<TAB>label; got {lines[number - 1][:60]!r}.")
    if pairs and (is_id_map or (len(pairs) == len(lines) and all(is_integer(first) for first, _ in pairs))):
        return _from_pairs(pairs, path)
    numbered = split_numbers(lines, has_newlines=ending == ".vocab")
    if numbered is not None and (ending == ".vocab" or _is_dictionary(numbered, is_tabbed="\t" in lines[0])):
        return _from_pairs(numbered, path)
    return ReadLabels(lines, PLAIN)


def read_table(text: str, path: Path, *, delimiter: str) -> ReadLabels:
    """Read labels from a table, quoted as pandas quotes, with or without a header.

    Raises:
        CheckpointError: a quote left open, or columns of which none is known to hold the labels.
        IdsError: ids that say of no row whose it is.
    """
    form = "id<TAB>label" if delimiter == "\t" else "id,label"
    return _from_table(split_rows(text, path, form=form, delimiter=delimiter), path, form=form)


def read_columns(names: Sequence[str], columns: Sequence[Sequence[str]], path: Path) -> ReadLabels:
    """Read labels from columns that have names.

    Raises:
        CheckpointError: none of them is known to hold the labels.
        IdsError: ids that say of no row whose it is.
    """
    key, label = choose_columns(names, path)
    if key is None:
        return ReadLabels(list(columns[label]), f"the column {names[label]!r}, in the order of the rows")
    pairs = []
    for number, (index, text) in enumerate(zip(columns[key], columns[label], strict=True), 1):
        if not is_integer(index):
            raise IdsError(f"{path}, row {number}: ids are integers; got {index[:40]!r}.")
        pairs.append((int(index), text))
    is_usual = (names[key], names[label]) in HEADERS
    return ReadLabels(
        order_labels(pairs, path),
        PLAIN if is_usual else f"ids in the column {names[key]!r}, labels in {names[label]!r}",
    )


def choose_columns(names: Sequence[str], path: Path) -> tuple[int | None, int]:
    """Tell the places of the columns of ids, None where there is none, and of labels.

    Raises:
        CheckpointError: none of them is known to hold the labels.
    """
    columns = find_columns(names)
    if columns is not None:
        return columns
    if len(names) == 1:
        return None, 0
    raise CheckpointError(
        f"{path} has the columns {named(names)}, and none is called {', '.join(LABEL_COLUMNS[:4])} ...",
        hint="Call the one that holds the labels `label`.",
    )


def order_labels(pairs: list[tuple[int, str]], path: Path) -> list[str]:
    """Put labels in the order of their ids. An id that has none gets a blank label.

    Raises:
        IdsError: an id that is negative or stands there twice; fewer labels than ids that have none.
    """
    pairs.sort(key=lambda pair: pair[0])
    for position, (index, label) in enumerate(pairs):
        if index < 0:
            raise IdsError(f"{path}: ids must not be negative; {label[:40]!r} has {index}.")
        if position and index == pairs[position - 1][0]:
            raise IdsError(f"{path} gives id {index} twice, also to {label[:40]!r}.")
    size = pairs[-1][0] + 1 if pairs else 0
    if size > 2 * len(pairs):
        first = next(position for position, (index, _) in enumerate([*pairs, (-1, "")]) if index != position)
        raise IdsError(
            f"{path} has labels for {len(pairs)} of {size} ids; the first that has none is {first}.",
            hint="Give every row a label. Of a tokenizer, name tokenizer.json, which holds the added tokens too.",
        )
    labels = [""] * size
    for index, label in pairs:
        labels[index] = label
    return labels


def _from_table(rows: list[list[str]], path: Path, *, form: str = "id<TAB>label") -> ReadLabels:
    if not rows:
        return ReadLabels([], PLAIN)
    width = len(rows[0])
    is_header = not any(map(is_number, rows[0])) and find_columns(rows[0]) is not None
    if not is_header and not (width == 2 or (width == 1 and form == "id,label")):
        raise CheckpointError(f"{path}, row 1: expected {form}; got {chr(9).join(rows[0])[:60]!r}.")
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            expected = form if width == 2 else f"{width} columns"
            raise CheckpointError(f"{path}, row {number}: expected {expected}; got {chr(9).join(row)[:60]!r}.")
    if is_header:
        return read_columns(rows[0], list(zip(*rows[1:], strict=True)) or [[]] * width, path)
    if width == 1:
        return ReadLabels([row[0] for row in rows], PLAIN)
    return _from_pairs([(row[0], row[1]) for row in rows], path)


def _from_pairs(pairs: Sequence[tuple[str, str]], path: Path) -> ReadLabels:
    """Tell which of two columns holds the labels, and what the other one is: ids, or numbers that order nothing."""
    first, second = zip(*pairs, strict=True)
    has_ids, has_numbers = all(map(is_integer, first)), all(map(is_number, second))
    if has_ids and not (has_numbers and _are_all_ids(second) and not _are_all_ids(first)):
        return ReadLabels(order_labels([(int(index), label) for index, label in pairs], path), PLAIN)
    if not has_numbers:
        number = next(number for number, index in enumerate(first, 1) if not is_integer(index))
        raise IdsError(f"{path}, row {number}: ids are integers; got {first[number - 1][:40]!r}.")
    if _are_all_ids(second):
        return ReadLabels(order_labels([(int(index), label) for label, index in pairs], path), LABEL_AND_ID)
    is_counted = all(map(is_integer, second)) and not any(number.strip().startswith("-") for number in second)
    return ReadLabels(list(first), "token and count" if is_counted else "piece and score")


def _is_dictionary(pairs: Sequence[tuple[str, str]], *, is_tabbed: bool) -> bool:
    """Tell whether lines are tokens and numbers, and not labels that end in a number: `Windows 10`, `Ubuntu 22`."""
    if len({token for token, _ in pairs}) < len(pairs):
        return False
    return is_tabbed or all(float(first) >= float(second) for (_, first), (_, second) in pairwise(pairs))


def _are_all_ids(numbers: Sequence[str]) -> bool:
    """Tell whether numbers are ids, in any order and perhaps with holes: counts repeat, fall, or are larger."""
    if not all(map(is_integer, numbers)):
        return False
    ids = list(map(int, numbers))
    if sorted(ids) == list(range(len(ids))):
        return True
    is_falling = all(first > second for first, second in pairwise(ids))
    return not is_falling and len(set(ids)) == len(ids) and min(ids) >= 0 and max(ids) < 2 * len(ids)


def _split_last(line: str) -> tuple[str, str]:
    label, _, number = line.rstrip().rpartition("\t" if "\t" in line else " ")
    return label, number


def split_numbers(lines: Sequence[str], *, has_newlines: bool = False) -> list[tuple[str, str]] | None:
    """Part every line into a token and a number; None where one of them has none, or there is but one line.

    Args:
        lines: of a text.
        has_newlines: whether a token may hold some, as a piece of sentencepiece may: it then goes on in the next line.
    """
    pairs, before = [], ""
    separator = "\t" if any("\t" in line for line in lines) else " "
    for line in lines:
        token, divider, number = (before + line.removesuffix(FLAG)).rpartition(separator)
        if divider and (is_number(number) if separator == "\t" else is_integer(number)) and (token or before):
            pairs.append((token, number))
            before = ""
        elif has_newlines and separator == "\t" and not divider and len(before) < len(lines):
            before += f"{line}\n"
        else:
            return None
    return pairs if len(pairs) > 1 and not before else None
