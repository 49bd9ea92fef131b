"""The new id of every base row: by ids, or by the labels that two vocabularies share."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, compress, pairwise, repeat
from pathlib import Path

from embcompress.exceptions import IdsError
from embcompress.tables.text_files import repeated
from embcompress.text import named


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
            raise IdsError(f"{path}: ids must not repeat; twice or more often there are {named(repeated(ids))}.")
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
