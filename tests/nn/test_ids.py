"""Lists of ids: taken in the order given from whatever has one, refused by name otherwise."""

from __future__ import annotations

import array
import re
from typing import Any

import numpy as np
import pytest
import torch

from embcompress.exceptions import EmbcompressError, IdsError
from embcompress.nn.ids import as_ids

MAX_ID = 100
WANTED = [7, 0, 99, 42]
INTEGERS = [
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
]


@pytest.mark.parametrize(
    "ids",
    [
        WANTED,
        tuple(WANTED),
        dict.fromkeys(WANTED),
        dict.fromkeys(WANTED).keys(),
        dict(enumerate(WANTED)).values(),
        iter(WANTED),
        (number for number in WANTED),
        array.array("b", WANTED),
        array.array("Q", WANTED),
        bytes(WANTED),
        np.array(WANTED),
        np.array(WANTED, dtype=np.uint16),
        [np.int32(number) for number in WANTED],
        [torch.tensor(number) for number in WANTED],
        torch.tensor([WANTED, WANTED]).T[:, 1],
        *(torch.tensor(WANTED, dtype=dtype) for dtype in INTEGERS),
    ],
    ids=lambda ids: f"{type(ids).__name__}-{getattr(ids, 'dtype', '')}",
)
def test_as_ids_keeps_the_order_given(ids: Any) -> None:
    """Whatever holds integers in an order gives them as int64 on the CPU in that order: 7, 0, 99, 42."""
    checked = as_ids(ids, max_id=MAX_ID)
    assert checked.tolist() == WANTED
    assert (checked.dtype, checked.device, checked.ndim) == (torch.int64, torch.device("cpu"), 1)


@pytest.mark.parametrize("ids", [range(MAX_ID), range(MAX_ID - 1, -1, -1), range(3, 30, 9)], ids=str)
def test_as_ids_takes_ranges_up_to_the_last_id(ids: range) -> None:
    """Ranges up, down and in steps are taken from 0 to max_id - 1, both included."""
    assert as_ids(ids, max_id=MAX_ID).tolist() == list(ids)


@pytest.mark.parametrize("ids", [{3, 1}, frozenset({3, 1}), set()], ids=str)
def test_as_ids_refuses_sets(ids: Any) -> None:
    """A set has no order: refused under the name of the argument, with what to give instead."""
    with pytest.raises(IdsError, match=r"people are a set, which has no order.* Give a list or a tensor"):
        as_ids(ids, max_id=MAX_ID, name="people")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "are empty"),
        (range(0), "are empty"),
        (torch.empty(0, dtype=torch.long), "are empty"),
        ([[]], "are empty"),
        ([-1, 4, -7], "must not be negative; got -1, -7."),
        (torch.tensor([-128], dtype=torch.int8), "must not be negative; got -128."),
        ([5, 100, 4], "must be below 100, the number of ids; got 100."),
        ([2**62], f"must be below 100, the number of ids; got {2**62}."),
        (torch.tensor([255], dtype=torch.uint8), "must be below 100, the number of ids; got 255."),
        ([4, 9, 4], "must not repeat; these do: 4."),
        (torch.tensor([8, 8], dtype=torch.uint8), "must not repeat; these do: 8."),
        ([1.0, 2.0], "must be integers; got torch.float32: 1.0, 2.0."),
        ([1, 2.5], "must be integers; got torch.float32: 1.0, 2.5."),
        (np.array([0.5]), "must be integers; got torch.float64: 0.5."),
        (torch.tensor([1j]), "must be integers; got torch.complex64: 1j."),
        ([True, 2], "must be integers below 2**63; got True."),
        (torch.tensor([True]), "must be integers; got torch.bool: True."),
        ([[1, 2], [3, 4]], "must be one list; got shape (2, 2)."),
        (torch.zeros(2, 1, 3, dtype=torch.long), "must be one list; got shape (2, 1, 3)."),
        (torch.tensor(3), "must be one list; got shape ()."),
        ([[1], [2, 3]], "must be integers below 2**63; got [1], [2, 3]."),
        (["a", "b"], "must be integers below 2**63; got 'a', 'b'."),
        ("012", "must be integers below 2**63; got '0', '1', '2'."),
        (np.array(["Q42"]), "must be integers below 2**63; got np.str_('Q42')."),
        ([None], "must be integers below 2**63; got None."),
        ([3, "a"], "must be integers below 2**63; got 'a'."),
        (3, "must be a list of integers; got 3."),
        (None, "must be a list of integers; got None."),
        ([1, 2**63], f"must be integers below 2**63; got {2**63}."),
        ([2**70], f"must be integers below 2**63; got {2**70}."),
        ([-(2**70)], f"must be integers below 2**63; got {-(2**70)}."),
        (torch.tensor([2**64 - 1], dtype=torch.uint64), f"must be integers below 2**63; got {2**64 - 1}."),
        ([5, 5, 5], "must not repeat; these do: 5."),
        (torch.ones(3, dtype=torch.long).to_sparse(), "must be integers; got"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_as_ids_refuses_by_name(ids: Any, message: str) -> None:
    """What gives no row an owner is an IdsError, a ValueError too, that tells the argument and the ids at fault."""
    with pytest.raises(IdsError, match=f"^people {re.escape(message)}") as caught:
        as_ids(ids, max_id=MAX_ID, name="people")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, EmbcompressError)


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        (range(-5, 0), "got -5, -4, -3, -2, -1."),
        (range(-6, 0), "got -6, -5, -4, -3, -2 and 1 more."),
        (range(100, 1100), "got 100, 101, 102, 103, 104 and 995 more."),
        ([*range(10, 40), *range(10, 40)], "these do: 10, 11, 12, 13, 14 and 25 more."),
        ([float(number) for number in range(8)], "torch.float32: 0.0, 1.0, 2.0, 3.0, 4.0 and 3 more."),
    ],
    ids=lambda value: str(value)[:30],
)
def test_as_ids_names_five_and_counts_the_rest(ids: Any, named: str) -> None:
    """A message names five ids in the order given, and tells how many more there are."""
    with pytest.raises(IdsError, match=f"{re.escape(named)}$"):
        as_ids(ids, max_id=MAX_ID)


def test_as_ids_takes_a_million() -> None:
    """A permutation of 10^6 ids comes back as it is; one that is repeated at the far end is found and named."""
    ids = torch.randperm(10**6, generator=torch.Generator().manual_seed(5))
    before = ids.clone()
    assert torch.equal(as_ids(ids, max_id=10**6), before)
    ids[-1] = ids[0]
    with pytest.raises(IdsError, match=f"must not repeat; these do: {int(ids[0])}."):
        as_ids(ids, max_id=10**6)
