"""The plan of a run, known without reading a row: tables, ranks, bytes, solvers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.checkpoints.files import Files
from embcompress.checkpoints.tensors import ITEM_BYTES, Listing, contiguous_strides
from embcompress.compression.memory import estimate_memory
from embcompress.compression.plan import Plan, PlannedTable, choose_solver, plan_tables
from embcompress.exceptions import RankError, Retry, TableError
from embcompress.tables.factor_sizes import factor_bytes, largest_rank
from embcompress.tables.recognition import TABLE_DTYPES
from embcompress.tables.selection import choose_tables, group_tensors
from embcompress.tables.table import RING_BYTES, Table


def stored(name: str, *shape: int, dtype: str = "float32", start: int | None = None) -> StoredTensor:
    """Describe a dense tensor, at a place of its own unless one is given."""
    return StoredTensor(
        name, dtype, shape, contiguous_strides(shape), zlib.crc32(name.encode()) if start is None else start
    )


def checkpoint_of(*tensors: StoredTensor) -> Checkpoint:
    """Make an open checkpoint of nothing but a listing."""
    return Checkpoint(Path("model.pt"), "torch", 1000, Listing(tensors), Files(Path("model.pt")), tensors)


MODEL = checkpoint_of(
    stored("entities.weight", 100, 20),
    stored("relations.weight", 6, 20),
    stored("fc.weight", 20, 20),
    stored("fc.bias", 20),
    stored("steps", 4, 5, dtype="int64"),
)


def choose_and_plan(
    checkpoint: Checkpoint,
    *,
    bases: int,
    dtype: str = "same",
    table: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
) -> Plan:
    """Choose tables and plan them, as `approximate` does."""
    chosen = choose_tables(checkpoint, table=table, exclude=exclude, bases=bases)
    return plan_tables(checkpoint, chosen, bases=bases, dtype=dtype, table=table)


def test_group_tensors_joins_tied_names() -> None:
    """Tensors of the same place are one group in the order of the file; other views, dtypes and empty ones are not."""
    groups = group_tensors(
        [
            stored("wte.weight", 9, 4, start=0),
            stored("bias", 4, start=0),
            stored("lm_head.weight", 9, 4, start=0),
            stored("cast", 9, 4, start=0, dtype="int32"),
            stored("empty_1", 0, 4, start=0),
            stored("empty_2", 0, 4, start=0),
        ]
    )
    assert [group.names for group in groups] == [
        ("wte.weight", "lm_head.weight"),
        ("bias",),
        ("cast",),
        ("empty_1",),
        ("empty_2",),
    ]
    assert [group.is_matrix for group in groups] == [True, False, False, False, False]


@pytest.mark.parametrize("dtype", TABLE_DTYPES)
@pytest.mark.parametrize("shape", [(2, 2), (100, 20), (20, 100), (7, 3, 3), (1, 9), (5000, 1)])
def test_largest_rank_is_the_last_that_pays(shape: tuple[int, ...], dtype: str) -> None:
    """Its factors are smaller than the table; one more base would make them as large, or is more than the table has."""
    table = Table("t", (), stored("t", *shape, dtype=dtype))
    item_bytes = ITEM_BYTES[table.real_dtype]
    most = largest_rank(table, item_bytes)
    assert most == 0 or factor_bytes(table, most, item_bytes) < table.nbytes
    assert most + 1 > min(table.rows, table.dim) or factor_bytes(table, most + 1, item_bytes) >= table.nbytes


def test_plan_tables_takes_those_recognised() -> None:
    """Without patterns the entities and relations go, and the layer stays; 12 bases are more than 6 relations have."""
    plan = choose_and_plan(MODEL, bases=4)
    assert [(item.table.name, item.rank, item.bytes_after) for item in plan.tables] == [
        ("entities.weight", 4, 4 * 120 * 4),
        ("relations.weight", 4, 4 * 26 * 4),
    ]
    assert plan.skipped == ()
    plan = choose_and_plan(MODEL, bases=12)
    assert [item.table.name for item in plan.tables] == ["entities.weight"]
    assert [(item.name, item.reason) for item in plan.skipped] == [
        ("relations.weight", "is 6 x 20, so it has at most 6 bases, not 12")
    ]


@pytest.mark.parametrize(
    ("table", "exclude", "expected"),
    [
        (["*.weight"], [], ["entities.weight", "relations.weight", "fc.weight"]),
        (["fc.weight"], [], ["fc.weight"]),
        (["fc.*", "rel*"], [], ["relations.weight", "fc.weight"]),
        (["*"], ["relations*"], ["entities.weight", "fc.weight"]),
        ([], ["entities.weight"], ["relations.weight"]),
    ],
)
def test_plan_tables_follows_the_patterns(table: list[str], exclude: list[str], expected: list[str]) -> None:
    """Patterns take and leave by name; what is no matrix of floats is passed over where a wildcard reached it."""
    plan = choose_and_plan(MODEL, bases=2, table=table, exclude=exclude)
    assert [item.table.name for item in plan.tables] == expected


def test_plan_tables_names_a_tied_table_by_what_was_asked() -> None:
    """A table with two names goes by the recognised one, or by the one that --table names."""
    tied = checkpoint_of(stored("lm_head.weight", 50, 8, start=0), stored("wte.weight", 50, 8, start=0))
    (item,) = choose_and_plan(tied, bases=2).tables
    assert (item.table.name, item.table.tied_names) == ("wte.weight", ("lm_head.weight",))
    (item,) = choose_and_plan(tied, bases=2, table=["lm_head.weight"]).tables
    assert (item.table.name, item.table.tied_names) == ("lm_head.weight", ("wte.weight",))


@pytest.mark.parametrize(
    ("table", "bases", "message", "most"),
    [
        (["relations.weight"], 5, "would grow from 480 to 520 bytes", "4"),
        (["relations.weight"], 7, "at most 6 bases, not 7", "4"),
        ([], 30, "with 30 bases nothing in model.pt gets smaller", "16"),
        (["*.weight"], 17, "nothing in model.pt gets smaller", "16"),
        (["entities.*", "relations.weight"], 5, "'relations.weight' in model.pt would grow", "4"),
    ],
)
def test_plan_tables_tells_the_largest_rank_that_pays(table: list[str], bases: int, message: str, most: str) -> None:
    """A table named in full that cannot shrink, or none that can, is an error with the number to take instead."""
    with pytest.raises(RankError) as caught:
        choose_and_plan(MODEL, bases=bases, table=table)
    assert message in caught.value.message
    assert caught.value.retries == (Retry(("--bases", most)),)


def test_plan_tables_counts_the_stored_dtype() -> None:
    """A float16 table of 100 x 20 kept as float32 pays up to 8 bases, where as float16 it pays up to 16."""
    half = checkpoint_of(stored("entities.weight", 100, 20, dtype="float16"))
    assert choose_and_plan(half, bases=16).tables[0].bytes_after == 16 * 120 * 2
    assert choose_and_plan(half, bases=8, dtype="float32").tables[0].bytes_after == 8 * 120 * 4
    with pytest.raises(RankError, match="--bases 8"):
        choose_and_plan(half, bases=9, dtype="float32")


@pytest.mark.parametrize(
    ("table", "exclude", "message", "hint"),
    [
        (["entites.weight"], [], "--table entites.weight matches none of the 5", "--table entities.weight"),
        ([], ["entites*"], "--exclude entites* matches none", "--exclude entities.weight"),
        (["xyz"], [], "--table xyz matches none", "`embcompress inspect model.pt` lists them."),
        (["fc.bias"], [], "'fc.bias' in model.pt is float32 of shape (20,)", "inspect model.pt` lists the tables."),
        (["steps"], [], "'steps' in model.pt is int64 of shape (4, 5)", "inspect model.pt` lists the tables."),
        (["*bias"], [], "the patterns given leave no embedding table in model.pt.", ""),
        ([], ["*"], "--exclude leaves no matrix of model.pt.", "Exclude fewer."),
    ],
)
def test_plan_tables_refuses_patterns_without_a_table(
    table: list[str], exclude: list[str], message: str, hint: str
) -> None:
    """A pattern that fits nothing, or only what is no matrix of floats, is an error that says what was meant."""
    with pytest.raises(TableError) as caught:
        choose_and_plan(MODEL, bases=2, table=table, exclude=exclude)
    assert message in caught.value.message
    assert hint in str(caught.value)


def test_plan_tables_offers_candidates() -> None:
    """Where none is recognised, the five likeliest come as other arguments, none of which would fail for size."""
    names = ["a b.weight", "it's", "x", "*", "-y", "z"]
    layers = checkpoint_of(
        *(stored(name, 40 + 10 * index, 30) for index, name in enumerate(names)), stored("tiny", 2, 2)
    )
    with pytest.raises(TableError) as caught:
        choose_and_plan(layers, bases=19)
    assert caught.value.hint == "The largest candidates:"
    offered = [retry.arguments for retry in caught.value.retries]
    assert [words[1] for words in offered] == ["z", "-y", "*", "x", "it's"]
    assert offered[0] == ("--table", "z")
    assert offered[4] == ("--table", "it's", "--bases", "18")
    for words in offered:
        choose_and_plan(layers, bases=int(words[3]) if words[2:] else 19, table=[words[1]])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([], "model.pt holds no tensors."),
        ([stored("a", 5), stored("b", 3, 4, dtype="int64")], "no matrix of floats at all: only integers"),
        ([stored("a", 2, 2)], "no matrix of floats large enough to get smaller"),
        ([stored("a", 0, 8)], "no matrix of floats at all"),
    ],
)
def test_plan_tables_says_when_nothing_can_be_compressed(tensors: list[StoredTensor], message: str) -> None:
    """Without any candidate the error says why and offers no command."""
    with pytest.raises(TableError) as caught:
        choose_and_plan(checkpoint_of(*tensors), bases=2)
    assert message in caught.value.message
    assert "--table" not in caught.value.hint


def test_choose_solver_obeys_or_explains() -> None:
    """The solver asked for is taken; otherwise the choice comes with its reason and depends on the device."""
    planned = PlannedTable(Table("t", (), stored("t", 32_000, 2048)), 64, "float32")
    assert choose_solver(planned, solver="qr").name == "qr"
    assert choose_solver(planned, solver="qr").reason == "asked for"
    assert choose_solver(planned).name == "krylov"
    assert choose_solver(planned, device="cuda:0").name == "gram"
    assert "2048 x 2048 Gram matrix" in choose_solver(planned, device="cuda:0").reason


def test_estimate_memory_holds_no_rows_of_a_long_table() -> None:
    """Beyond the ring that blocks are read into, ten times the rows need no more memory by the Gram matrix.

    A dense SVD of them needs ten times the table; a table shorter than the ring needs only its own length of it.
    """

    def memory(rows: int, solver: str) -> int:
        tensors = checkpoint_of(stored("entities.weight", rows, 100))
        plan = choose_and_plan(tensors, bases=8)
        return estimate_memory(plan, [choose_solver(item, solver=solver) for item in plan.tables])

    assert memory(10**7, "gram") == memory(10**6, "gram")
    assert memory(10**7, "dense") - memory(10**6, "dense") == 9 * 10**6 * 100 * 24
    assert memory(10**6, "gram") - memory(10**5, "gram") == RING_BYTES - 10**5 * 100 * 4
