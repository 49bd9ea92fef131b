"""Dicts and lists of vectors: one table, whose rows are in the order of the ids and whose labels are the keys."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress import approximate
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.files import Files
from embcompress.exceptions import DamagedFileError
from embcompress.tables.rows import TableRows
from embcompress.tables.selection import choose_tables

ROWS = torch.randn(40, 6, generator=torch.Generator().manual_seed(5))
WORDS = [f"Mr. {number}" for number in range(40)]


def read(path: Path, name: str = "embedding.weight") -> tuple[Tensor, list[str] | None]:
    """Read the one table of a file, and its labels."""
    with open_checkpoint(path) as checkpoint:
        assert [stored.name for stored in checkpoint.tensors] == [name]
        assert [table.name for table in choose_tables(checkpoint, table=[], exclude=[])] == [name]
        rows = torch.cat([block.clone() for block in TableRows(checkpoint.tensors[0], files=checkpoint.files).blocks()])
        labels = checkpoint.listing.labels.get(name)
        return rows, None if labels is None else list(labels())


KEYS: dict[str, tuple[list[Any], list[int], list[str] | None]] = {
    "words": (WORDS, list(range(40)), WORDS),
    "ids": (list(range(40)), list(range(40)), None),
    "ids, backwards": (list(range(40))[::-1], list(range(40))[::-1], None),
    "ids as text": ([str(number) for number in range(40)], list(range(40)), None),
    "ids with gaps, backwards": (
        [3 * number for number in range(40)][::-1],
        list(range(40))[::-1],
        [str(3 * number) for number in range(40)],
    ),
    "large ids": ([2**40 + n for n in range(40)], list(range(40)), [str(2**40 + number) for number in range(40)]),
    "negative ids": ([-n - 1 for n in range(40)], list(range(40)), [str(-number - 1) for number in range(40)]),
    "numbers of NumPy": ([numpy.int64(n) for n in range(40)], list(range(40)), None),
    "numbers of NumPy, big-endian": ([numpy.arange(40, dtype=">u2")[n] for n in range(40)], list(range(40)), None),
    "texts of NumPy": ([numpy.str_(word) for word in WORDS], list(range(40)), WORDS),
    "leading zeros": ([f"{n:03}" for n in range(40)], list(range(40)), [f"{number:03}" for number in range(40)]),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("values", ["views", "tensors", "arrays"])
def test_vectors_by_key_are_one_table(tmp_path: Path, kind: str, protocol: int, values: str) -> None:
    """Integers are ids, in their order; other keys are labels, in the order of the dict."""
    keys, order, labels = KEYS[kind]
    rows = ROWS.unbind() if values == "views" else [row.clone() for row in ROWS]
    vectors = [row.numpy() for row in ROWS] if values == "arrays" else rows
    torch.save(dict(zip(keys, vectors, strict=True)), tmp_path / "vectors.pt", pickle_protocol=protocol)
    actual, found_labels = read(tmp_path / "vectors.pt")
    assert actual.equal(ROWS[order])
    assert found_labels == labels


def test_vectors_below_a_key_are_named_by_it(tmp_path: Path) -> None:
    """The keys that lead to the dict come first in the name, but for those of wrappers."""
    vectors = OrderedDict(zip(WORDS, ROWS.clone().unbind(), strict=True))
    torch.save({"words": vectors, "dim": 6}, tmp_path / "a.pt")
    torch.save({"model": {"words": vectors}}, tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        assert read(tmp_path / name, "words.embedding.weight")[0].equal(ROWS)


@pytest.mark.parametrize("protocol", [2, 4])
def test_vectors_of_other_forms_are_one_table(tmp_path: Path, protocol: int) -> None:
    """Lists, two ids, columns of a matrix, half precision, and the high byte first."""
    forms: list[tuple[Any, Tensor]] = [
        ([row.clone() for row in ROWS], ROWS),
        ({1: ROWS[0].clone(), 0: ROWS[1].clone()}, ROWS[:2].flip(0)),
        (dict(enumerate(ROWS.repeat(3, 1).T.unbind())), ROWS.repeat(3, 1).T),
        (dict(enumerate(ROWS.T.clone().T[:, ::2].unbind())), ROWS[:, ::2]),
        (dict(enumerate(ROWS.half().numpy())), ROWS.half()),
        (dict(enumerate(ROWS.numpy().astype(">f8"))), ROWS.double()),
        (dict(enumerate([ROWS[0].clone()] * 40)), ROWS[:1].expand(40, 6)),
        (dict(enumerate([*ROWS.unbind()[5:], *ROWS.unbind()[:5]])), torch.cat([ROWS[5:], ROWS[:5]])),
    ]
    for value, expected in forms:
        torch.save(value, tmp_path / "vectors.pt", pickle_protocol=protocol)
        actual, labels = read(tmp_path / "vectors.pt")
        assert actual.dtype == expected.dtype
        assert actual.equal(expected)
        assert labels is None


def test_evenly_spaced_rows_are_read_in_place(tmp_path: Path) -> None:
    """Rows of one matrix, saved one by one, lie in the file itself; rows that were shuffled are copied together."""
    path = tmp_path / "vectors.pt"
    for order, is_in_place in ((range(40), True), ([7, *range(7), *range(8, 40)], False)):
        torch.save({f"w{number}": ROWS[number] for number in order}, path)
        with open_checkpoint(path) as checkpoint:
            assert (checkpoint.tensors[0].start < path.stat().st_size) == is_in_place


NO_TABLES: dict[str, Any] = {
    "biases": {f"layers.{n}.bias": row for n, row in enumerate(ROWS.clone().unbind())},
    "lengths": {n: torch.ones(4 + n % 2) for n in range(40)},
    "dtypes": {n: torch.ones(4, dtype=(torch.float32, torch.float64)[n % 2]) for n in range(40)},
    "integers": {n: torch.ones(4, dtype=torch.int64) for n in range(40)},
    "numbers": {n: torch.ones(1) for n in range(40)},
    "few": {word: torch.ones(4) for word in WORDS[:15]},
    "matrices": {n: torch.ones(4, 2) for n in range(40)},
    "other keys": {(n, n): torch.ones(4) for n in range(40)},
    "other values": {**{n: torch.ones(4) for n in range(40)}, 40: "x"},
    "orders of bytes": {n: numpy.ones(4, ("<f4", ">f4")[n % 2]) for n in range(40)},
    "lazy": {n: torch.ones(4, dtype=torch.complex64).conj() for n in range(40)},
}


@pytest.mark.parametrize("kind", NO_TABLES)
def test_other_dicts_stay_apart(tmp_path: Path, kind: str) -> None:
    """Biases, a few vectors, and vectors of several lengths or dtypes are no table."""
    torch.save({"a": NO_TABLES[kind], "b.weight": torch.ones(2, 2)}, tmp_path / "model.pt")
    with open_checkpoint(tmp_path / "model.pt") as checkpoint:
        assert not any(stored.name.endswith("embedding.weight") for stored in checkpoint.tensors)
        assert checkpoint.listing.labels == {}


def test_two_dicts_of_one_name_are_refused(tmp_path: Path) -> None:
    """A tensor that has the name of the table is an error, not a choice."""
    value = {"a": dict(enumerate(ROWS.unbind())), "a.embedding.weight": ROWS}
    torch.save(value, tmp_path / "model.pt")
    with pytest.raises(DamagedFileError, match=r"two tensors named 'a\.embedding\.weight'"):
        open_checkpoint(tmp_path / "model.pt")


def test_repeated_rows_are_bounded(tmp_path: Path) -> None:
    """A file of 2 MB in which a row of 1 MB is named a thousand times is not made into a gigabyte."""
    row = torch.ones(2**18)
    torch.save(dict(enumerate([row] * 1000)), tmp_path / "vectors.pt")
    with pytest.raises(DamagedFileError, match="repeats its rows to 1048576000 bytes"):
        open_checkpoint(tmp_path / "vectors.pt")


def test_rows_that_are_made_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy of the rows has no name, and is closed with the checkpoint."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "made"))
    (tmp_path / "made").mkdir()
    torch.save({word: row.clone() for word, row in zip(WORDS, ROWS, strict=True)}, tmp_path / "vectors.pt")
    with open_checkpoint(tmp_path / "vectors.pt") as checkpoint:
        files: Files = checkpoint.files
        TableRows(checkpoint.tensors[0], files=files).read(torch.tensor([3]))
        assert list((tmp_path / "made").iterdir()) == []
    assert files.closed


def test_vectors_give_the_same_bases_as_one_table(tmp_path: Path) -> None:
    """Bases and weights of 20,000 vectors are equal to the bit to those of their table; keys are labels besides."""
    table = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(1))
    safetensors.torch.save_file({"embedding.weight": table}, tmp_path / "a.safetensors")
    torch.save({f"w{n}": row.numpy() for n, row in enumerate(table)}, tmp_path / "b.pt")
    factors = []
    for name in ("a.safetensors", "b.pt"):
        approximate(
            tmp_path / name, bases=4, neighbours=0, output=tmp_path / f"{name}.out", report=[tmp_path / f"{name}.json"]
        )
        factors.append(safetensors.torch.load_file(tmp_path / f"{name}.out"))
    assert factors[1].keys() - factors[0].keys() == {"embedding.weight.labels", "embedding.weight.label_offsets"}
    assert all(factors[0][name].equal(factors[1][name]) for name in factors[0])
