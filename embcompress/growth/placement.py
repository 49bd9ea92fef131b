"""The new id of every base row: by ids, or by the labels that two vocabularies share."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise, repeat
from pathlib import Path

from embcompress.exceptions import IdsError
from embcompress.tables.text_files import repeated
from embcompress.text import named

# Of the base's labels: where more have gone, the files are hardly two states of one vocabulary.
GONE_SHARE_MAX = 0.9
FORM_HINT = "Check that --base-labels and --labels name the right files, in the right form."


@dataclass(frozen=True)
class Placement:
    """The new id of each row of the bases.

    Attributes:
        new_ids: for each base the new id of each of its rows, -1 for a row that is dropped; until rows without a label
            are settled, of its labelled rows alone.
        max_id: the number of ids.
        dropped: labels that the new vocabulary lacks, in the order of the bases' rows.
        dropped_blank: how many rows of a blank label have no place.
        new: labels that no base has, in the order of their ids; None where ids were given and no labels.
        labels: how many new labels there are.
        is_appended: whether the new labels begin with all those of the only base, in their order.
        offset: the id of the first new label.
        unlabelled: new ids of rows that have no label and stay.
        remarks: for each base what became of its rows without a label; empty where it has none.
    """

    new_ids: tuple[array[int], ...]
    max_id: int
    dropped: tuple[str, ...] = ()
    dropped_blank: int = 0
    new: tuple[str, ...] | None = None
    labels: int = 0
    is_appended: bool = False
    offset: int = 0
    unlabelled: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()

    @cached_property
    def kept_count(self) -> int:
        """Count the base rows that stay."""
        return sum(sum(index >= 0 for index in new_ids) for new_ids in self.new_ids)

    @property
    def added(self) -> int:
        """Count the new ids."""
        return self.max_id - self.kept_count


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
            raise IdsError(f"{path}: ids must not repeat; these do: {named(repeated(ids))}.")
        if len(bases) > 1:
            if wrong := [index for index in ids if index in taken]:
                raise IdsError(f"{path}: ids must not belong to another base too; got {named(wrong)}.")
            taken.update(ids)
    return Placement(tuple(bases), max_id)


def match_labels(bases: Sequence[Sequence[str]], labels: Sequence[str], *, max_id: int | None = None) -> Placement:
    """Find the new id of every labelled base row by its label.

    Where the new labels begin with all those of the only base, nothing has to be matched. A blank label is none: its
    row stays where the new label of its id is blank, too, and has no place otherwise.

    Args:
        bases: for each base the labels of its rows.
        labels: the new label of each id.
        max_id: the number of ids, if there are more than labels.

    Raises:
        IdsError: a label to be matched that several rows or ids have, nearly no label shared, or more labels than ids.

    Example:
        >>> match_labels([["a", "b"]], ["b", "c"]).new_ids
        (array('q', [-1, 0]),)
    """
    if max_id is not None and max_id < len(labels):
        raise IdsError(f"--max-id {max_id} is too small for {len(labels)} labels.")
    size = len(labels) if max_id is None else max_id
    count = len(bases[0])
    if len(bases) == 1 and list(labels[:count]) == list(bases[0]):
        known = set(bases[0])
        if again := [label for label in labels[count:] if label and label in known]:
            raise IdsError(f"--labels gives a label to several ids: {named(again)}.")
        new = tuple(filter(None, labels[count:]))
        return Placement((array("q", range(count)),), size, new=new, labels=len(labels), is_appended=True)
    starts = [0, *accumulate(map(len, bases))]
    rows: dict[str, int] = {}  # of all bases, one after the other: they are fewer than the new labels
    for base, (first, last) in zip(bases, pairwise(starts), strict=True):
        rows.update(zip(base, range(first, last), strict=True))
    rows.pop("", None)
    _refuse_ambiguous(bases, labels, rows)
    base_rows = array("q", map(rows.get, labels, repeat(-1)))  # for each new id its row
    if len(bases) == 1:
        for index, (old, label) in enumerate(zip(bases[0], labels, strict=False)):
            if not old and not label:
                base_rows[index] = index
    new_ids = array("q", [-1]) * starts[-1]
    for index, row in enumerate(base_rows):
        if row >= 0:
            new_ids[row] = index
    ids_of_bases = tuple(new_ids[first:last] for first, last in pairwise(starts))
    gone = [
        base[row] for base, its in zip(bases, ids_of_bases, strict=True) for row, index in enumerate(its) if index < 0
    ]
    dropped = list(filter(None, gone))
    _refuse_strangers(bases, labels, dropped)
    new = tuple(label for label, row in zip(labels, base_rows, strict=True) if row < 0 and label)
    return Placement(ids_of_bases, size, tuple(dropped), len(gone) - len(dropped), new, len(labels))


def _refuse_ambiguous(bases: Sequence[Sequence[str]], labels: Sequence[str], rows: dict[str, int]) -> None:
    """Refuse labels to be matched that stand several times on one side; those that have gone or are new do no harm."""
    if len(rows) < sum(map(len, bases)):
        counts = Counter(label for base in bases for label in base if label)
        if shared := [label for label in labels if counts[label] > 1]:
            if len(bases) == 1:
                raise IdsError(f"--base-labels gives a label to several rows: {named(shared)}.")
            raise IdsError(f"bases must not share labels; these are in several: {named(shared)}.")
    if len(set(labels)) < len(labels) and (again := repeated(label for label in labels if label in rows)):
        raise IdsError(f"--labels gives a label to several ids: {named(again)}.")


def _refuse_strangers(bases: Sequence[Sequence[str]], labels: Sequence[str], dropped: Sequence[str]) -> None:
    """Refuse vocabularies that share hardly a label."""
    total = sum(map(bool, (label for base in bases for label in base)))
    if len(dropped) == total:
        raise IdsError(
            f"no label of the base is among the {len(labels)} new ones; the base has {named(bases[0])}.",
            hint=FORM_HINT,
        )
    if len(dropped) > GONE_SHARE_MAX * total:
        raise IdsError(
            f"{len(dropped)} of {total} labels of the base are not among the {len(labels)} new ones: {named(dropped)}.",
            hint=FORM_HINT,
        )
