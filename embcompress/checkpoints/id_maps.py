"""Ids and labels of entities and relations in files beside a model, as toolkits for knowledge graphs write them.

DGL-KE has entities.tsv or entities.dict (id<TAB>label, or the other way round), LibKGE entity_ids.del (id<TAB>label),
OpenKE entity2id.txt (a count, then label<TAB>id); of relations the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from embcompress.checkpoints.links import is_inside
from embcompress.checkpoints.streams import count_lines
from embcompress.checkpoints.tensors import StoredTensor
from embcompress.exceptions import IdsError

FILES: Mapping[str, tuple[str, ...]] = {
    "entity": ("entities.tsv", "entities.dict", "entity_ids.del", "entity2id.txt"),
    "relation": ("relations.tsv", "relations.dict", "relation_ids.del", "relation2id.txt"),
}
LABEL_FIRST = ("entity2id.txt", "relation2id.txt")  # where labels are numbers too, and nothing else tells
WORDS: Mapping[str, re.Pattern[str]] = {
    "entity": re.compile(r"(?:^|[._])ent(?:ity|ities)?(?:[._]|$)"),
    "relation": re.compile(r"(?:^|[._])rel(?:ation|ations)?(?:[._]|$)"),
}  # of a table's name
BYTES_MAX = 2**31  # of a file


@dataclass(frozen=True)
class TextList:
    """Labels that a checkpoint itself holds. Calling it gives them."""

    texts: tuple[str, ...]

    def __call__(self) -> Sequence[str]:
        """Give the labels."""
        return self.texts


@dataclass(frozen=True)
class IdMap:
    """A file of ids and labels, a pair a line. Calling it reads the labels in the order of the ids.

    Attributes:
        rows: of the table; there is a pair for each.
    """

    path: Path
    rows: int

    def __call__(self) -> Sequence[str]:
        r"""Read the labels; bytes that are not UTF-8 are written as \xff.

        Raises:
            IdsError: a line that is no pair, or ids that are not those of the rows, each once.
        """
        lines = self.path.read_bytes().decode("utf-8-sig", "backslashreplace").rstrip().split("\n")
        lines = [line.removesuffix("\r") for line in lines]
        if lines and lines[0].strip().isdecimal():
            lines = lines[1:]
        separator = "\t" if lines and "\t" in lines[0] else " "
        is_first = self.path.name in LABEL_FIRST
        for is_label_first in (is_first, not is_first):
            if is_label_first:
                pairs = [line.rpartition(separator)[::-2] for line in lines]
            else:
                pairs = [line.partition(separator)[::2] for line in lines]
            labels = _order(pairs, self.rows)
            if labels is not None:
                return labels
        raise IdsError(
            f"{self.path} gives no label to each of the {self.rows} rows of its table, once.",
            hint="Each line is an id, a tab and a label, or a label, a tab and an id.",
        )


def find_labels(
    tensors: Iterable[StoredTensor], folder: Path, *, own_labels: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Callable[[], Sequence[str]]]:
    """Find the labels of the tables of entities and relations, where there are as many as rows.

    Args:
        tensors: of a checkpoint.
        folder: where files of ids and labels may lie; none is read but to count its lines.
        own_labels: labels of "entity" and "relation" that the checkpoint itself holds.
    """
    labels: dict[str, Callable[[], Sequence[str]]] = {}
    maps_in = cache(lambda kind: tuple(_maps_in(folder, kind)))  # each file is counted once, if at all
    for tensor in tensors:
        kind = next((kind for kind, words in WORDS.items() if words.search(tensor.name)), "")
        if not kind or len(tensor.shape) < 2:
            continue
        texts = (own_labels or {}).get(kind, ())
        if len(texts) == tensor.shape[0]:
            labels[tensor.name] = TextList(tuple(texts))
            continue
        path = next((path for path, rows in maps_in(kind) if rows == tensor.shape[0]), None)
        if path is not None:
            labels[tensor.name] = IdMap(path, tensor.shape[0])
    return labels


def find_maps(folder: Path) -> tuple[Path, ...]:
    """List the files of ids and labels in a folder; links that lead out of it are no part of it."""
    paths = [folder / name for names in FILES.values() for name in names]
    return tuple(path for path in paths if path.is_file() and is_inside(path, folder))


def _maps_in(folder: Path, kind: str) -> Iterable[tuple[Path, int]]:
    """Yield the files of a kind with the number of their pairs. Links that lead out of the folder are no part of it."""
    for name in FILES[kind]:
        path = folder / name
        try:
            if path.is_file() and is_inside(path, folder) and path.stat().st_size <= BYTES_MAX:
                yield path, _count_pairs(path)
        except OSError:
            continue


def _count_pairs(path: Path) -> int:
    with path.open("rb") as file:
        has_count = file.readline(64).strip().isdigit()
        file.seek(0)
        return count_lines(file) - has_count


def _order(pairs: Sequence[Sequence[str]], rows: int) -> list[str] | None:
    """Put labels in the order of their ids; None where these are not all numbers below `rows`, each once."""
    labels: list[str | None] = [None] * rows
    for index, label in pairs:
        row = int(index) if index.isascii() and index.isdecimal() and len(index) < 19 else rows
        if row >= rows or labels[row] is not None:
            return None
        labels[row] = label
    ordered = [label for label in labels if label is not None]
    return ordered if len(ordered) == rows else None
