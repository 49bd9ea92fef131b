"""New ids of the rows of the bases, by ids and by labels."""

from __future__ import annotations

import random
from array import array
from pathlib import Path

import pytest

from embcompress.exceptions import IdsError
from embcompress.growth.placement import match_labels, place_ids


def test_place_ids_takes_them_as_they_are() -> None:
    """The places are the ids given, for each base; kept and added add up to the number of ids."""
    bases = [array("q", [7, 0]), array("q", [3]), array("q", [9, 2, 1])]
    placement = place_ids(bases, max_id=10, paths=[Path("a"), Path("b"), Path("c")])
    assert placement.new_ids == tuple(bases)
    assert (placement.kept_count, placement.added, placement.max_id) == (6, 4, 10)
    assert (placement.dropped, placement.new) == ((), None)


WRONG_PLACES: dict[str, tuple[list[list[int]], str]] = {
    "none": ([[]], "p0 holds no ids"),
    "negative": ([[0, -1, 2, -7]], "p0: ids must not be negative; got -1, -7."),
    "too large": ([[0, 10, 9, 11]], "p0: ids must be below --max-id 10; got 10, 11."),
    "duplicate": ([[4, 0, 4, 1, 0]], "p0: ids must not repeat; these do: 4, 0."),
    "duplicate in the second": ([[0], [2, 2]], "p1: ids must not repeat; these do: 2."),
    "overlap": ([[0, 1, 2], [5, 2, 1]], "p1: ids must not belong to another base too; got 2, 1."),
    "overlap with the first of three": ([[5, 0], [1, 2], [5]], "p2: ids must not belong to another base too; got 5."),
    "many": ([[-1 - number for number in range(9)]], "got -1, -2, -3, -4, -5 and 4 more."),
}


@pytest.mark.parametrize(("bases", "message"), WRONG_PLACES.values(), ids=WRONG_PLACES)
def test_place_ids_names_the_wrong_ones(bases: list[list[int]], message: str) -> None:
    """Negative, too large, duplicate and shared ids are refused by number, with the file that they are in."""
    with pytest.raises(IdsError) as caught:
        place_ids(
            [array("q", ids) for ids in bases], max_id=10, paths=[Path(f"p{number}") for number in range(len(bases))]
        )
    assert message in caught.value.message


def test_match_labels_finds_every_row() -> None:
    """Random vocabularies: each shared label goes to its new id, the others are dropped or new, in their orders."""
    generator = random.Random(3)
    old = generator.sample([f"w{number}" for number in range(60)], 40)
    labels = generator.sample([f"w{number}" for number in range(60)], 50)
    bases = [old[:15], old[15:16], old[16:]]
    placement = match_labels(bases, labels, max_id=57)
    for base, new_ids in zip(bases, placement.new_ids, strict=True):
        assert new_ids.tolist() == [labels.index(label) if label in labels else -1 for label in base]
    assert placement.dropped == tuple(label for label in old if label not in labels)
    assert placement.new == tuple(label for label in labels if label not in old)
    shared = len(set(old) & set(labels))
    assert (placement.max_id, placement.kept_count, placement.added) == (57, shared, 57 - shared)
    assert match_labels(bases, labels).max_id == 50


def test_match_labels_refuses_a_label_in_two_bases() -> None:
    """A new label that two bases have is refused by name; one that has gone may be in both."""
    with pytest.raises(IdsError, match=r"must not share labels; these are in several: 'b', 'c'\."):
        match_labels([["a", "b", "c"], ["c", "x", "b"]], ["b", "c"])
    with pytest.raises(IdsError, match=r"these are in several: 'b'\."):
        match_labels([["a", "b"], ["c"], ["b"]], ["b", "c"])
    assert match_labels([["a", "b"], ["a", "c"]], ["c", "b"]).dropped == ("a", "a")


def test_match_labels_refuses_vocabularies_that_share_nothing() -> None:
    """Not one label in common is an error that shows some of the old ones and asks for the right files."""
    with pytest.raises(IdsError) as caught:
        match_labels([["a", "b"]], ["A", "B", "C"])
    assert "no label of the base is among the 3 new ones; the base has 'a', 'b'." in caught.value.message
    assert "--base-labels" in caught.value.hint


def test_match_labels_needs_no_match_where_labels_are_appended() -> None:
    """Labels that stand twice, and blank ones, keep their places where the new labels begin with all the old ones."""
    old = ["a", "x", "", "x", "b", ""]
    placement = match_labels([old], [*old, "c", "", "c"])
    assert (placement.new_ids, placement.is_appended) == ((array("q", range(6)),), True)
    assert (placement.new, placement.dropped, placement.added) == (("c", "c"), (), 3)
    with pytest.raises(IdsError, match=r"--labels gives a label to several ids: 'a'\."):
        match_labels([old], [*old, "c", "a"])


def test_match_labels_refuses_labels_to_match_that_stand_twice() -> None:
    """A label of two rows, or of two new ids, is refused where it is shared; else it harms nobody."""
    with pytest.raises(IdsError, match=r"--base-labels gives a label to several rows: 'x'\."):
        match_labels([["a", "x", "x"]], ["x", "a"])
    with pytest.raises(IdsError, match=r"--labels gives a label to several ids: 'a'\."):
        match_labels([["a", "x"]], ["x", "a", "a"])
    placement = match_labels([["a", "y", "y"]], ["n", "n", "a"])
    assert (placement.new_ids, placement.dropped) == ((array("q", [2, -1, -1]),), ("y", "y"))


def test_match_labels_matches_no_blanks() -> None:
    """A blank label keeps its row where both vocabularies have one there, and has no place otherwise."""
    placement = match_labels([["a", "", "b", "", ""]], ["b", "", "", "a"])
    assert placement.new_ids == (array("q", [3, 1, 0, -1, -1]),)
    assert (placement.dropped, placement.dropped_blank, placement.new) == ((), 2, ())
    placement = match_labels([["a", ""], ["", "b"]], ["b", "", "a"])
    assert placement.new_ids == (array("q", [2, -1]), array("q", [-1, 0]))


def test_match_labels_refuses_more_labels_than_ids() -> None:
    """A --max-id below the number of labels is refused with both numbers; one that is equal is taken."""
    with pytest.raises(IdsError, match="--max-id 2 is too small for 3 labels"):
        match_labels([["a"]], ["a", "b", "c"], max_id=2)
    assert match_labels([["a"]], ["a", "b", "c"], max_id=3).added == 2
