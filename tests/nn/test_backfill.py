"""Tables put together from others: each id has the row that a plain loop would give it, and messages name the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from embcompress.exceptions import IdsError, NonFiniteError
from embcompress.nn import (
    BackfillRepresentation,
    Embedding,
    LowRankRepresentation,
    MultiBackfillRepresentation,
    Partition,
    PartitionRepresentation,
)
from tests.cases import for_each

MAX_ID = 60


def seeded(seed: int) -> Generator:
    """Make a generator of its own, so that no test depends on another's draws."""
    return torch.Generator().manual_seed(seed)


def given_table(rows: int, shape: Sequence[int] = (4,), *, seed: int = 0, **kwargs: Any) -> Embedding:
    """Make a frozen table of given values, each entry different."""
    dtype = kwargs.get("dtype", torch.float32)
    return Embedding.from_pretrained(torch.randn(rows, *shape, dtype=dtype, generator=seeded(seed)), **kwargs)


def assemble(max_id: int, known: Sequence[tuple[Sequence[int], Tensor]], backfill: Tensor) -> Tensor:
    """Put a dense table together row by row: the definition, (max_id, *shape).

    Args:
        max_id: the number of ids.
        known: ids of each base with its rows (count, *shape).
        backfill: rows of the other ids in ascending order.
    """
    owned = {identifier: rows[index] for ids, rows in known for index, identifier in enumerate(ids)}
    others = iter(backfill)
    return torch.stack([owned[identifier] if identifier in owned else next(others) for identifier in range(max_id)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each("sizes", [[1], [59], [17], [30, 1], [5, 9, 20]])
@for_each("shape", [(4,), (2, 3)])
def test_backfill_rows_belong_to_ids_in_the_order_given(
    sizes: list[int], shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> None:
    """Row j of a base is that of its ids[j], unsorted as they are; the rest have backfill rows in ascending order."""
    shuffled = torch.randperm(MAX_ID, generator=seeded(sum(sizes))).tolist()
    ids = [shuffled[sum(sizes[:number]) :][:size] for number, size in enumerate(sizes)]
    bases = [given_table(size, shape, seed=number, dtype=dtype) for number, size in enumerate(sizes)]
    backfill = given_table(MAX_ID - sum(sizes), shape, seed=99, dtype=dtype)
    expected = assemble(MAX_ID, [(i, base()) for i, base in zip(ids, bases, strict=True)], backfill())
    partitions = [Partition(i, base) for i, base in zip(ids, bases, strict=True)]
    tables = [MultiBackfillRepresentation(max_id=MAX_ID, partitions=partitions, backfill=backfill)]
    if len(ids) == 1:
        tables.append(BackfillRepresentation(MAX_ID, ids[0], bases[0], backfill=backfill))
    lookup = torch.randint(MAX_ID, (7, 5), generator=seeded(1))
    for table in tables:
        table.to(device)
        assert torch.equal(table().cpu(), expected)
        assert torch.equal(table(lookup.to(device)).cpu(), expected[lookup])


@pytest.mark.parametrize(
    "ids",
    [
        [9, 0, 4],
        (9, 0, 4),
        torch.tensor([9, 0, 4], dtype=torch.int32),
        torch.tensor([9, 0, 4], dtype=torch.uint8),
        dict.fromkeys([9, 0, 4]).keys(),
        range(9, 0, -3),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_backfill_takes_ids_of_every_kind(ids: Any) -> None:
    """Lists, tuples, tensors, keys and ranges that run down all keep their order."""
    base, backfill = given_table(3), given_table(7, seed=1)
    table = BackfillRepresentation(10, ids, base, backfill=backfill)
    order = ids.tolist() if isinstance(ids, Tensor) else list(ids)
    assert torch.equal(table(), assemble(10, [(order, base())], backfill()))


@pytest.mark.parametrize(
    ("hint", "kwargs", "cls"),
    [
        (None, {"shape": (2, 3), "initializer": "ones"}, Embedding),
        (None, {"shape": (2, 3), "initializer": "ones", "max_id": 3}, Embedding),
        (Embedding, {"shape": (2, 3), "initializer": "ones"}, Embedding),
        ("Embedding", {"shape": (2, 3), "initializer": "ones"}, Embedding),
        ("embedding", {"shape": (2, 3), "initializer": "ones"}, Embedding),
        # weights have L1 norm 1, so that bases of ones give rows of ones
        (LowRankRepresentation, {"shape": (2, 3), "initializer": "ones"}, LowRankRepresentation),
        ("low-rank", {"shape": (2, 3), "initializer": "ones", "num_bases": 2}, LowRankRepresentation),
        ("LowRankRepresentation", {"shape": (2, 3), "initializer": "ones"}, LowRankRepresentation),
        (Embedding(max_id=3, shape=(2, 3), initializer="ones"), None, Embedding),
    ],
    ids=str,
)
def test_backfill_makes_parts_from_modules_classes_and_names(hint: Any, kwargs: Any, cls: type) -> None:
    """A base and a backfill told as module, class, name or None stand at their ids with as many rows as these."""
    ones, zeros = torch.ones(3, 2, 3), torch.zeros(3, 2, 3)
    other = Embedding(max_id=3, shape=(2, 3), initializer="zeros")
    as_base = BackfillRepresentation(6, [5, 1, 2], hint, kwargs, backfill=other)
    as_partition = MultiBackfillRepresentation(
        max_id=6, partitions=[Partition([5, 1, 2], hint, kwargs)], backfill=other
    )
    as_backfill = BackfillRepresentation(6, [0, 3, 4], other, backfill=hint, backfill_kwargs=kwargs)
    expected = assemble(6, [([5, 1, 2], ones)], zeros)
    for table, number in ((as_base, 0), (as_partition, 0), (as_backfill, 1)):
        torch.testing.assert_close(table().detach(), expected)
        assert type(table.bases[number]) is cls
        assert table.bases[number].max_id == 3


def test_backfill_of_no_new_ids_is_none() -> None:
    """When bases hold every id there is no backfill: no further rows, no numbers that train, rows as given."""
    first, second = given_table(4), given_table(2, seed=1)
    partitions = [Partition([3, 5, 0, 1], first), Partition([4, 2], second)]
    table = MultiBackfillRepresentation(max_id=6, partitions=partitions)
    assert [base.max_id for base in table.bases] == [4, 2]
    assert "parameters=24, trainable=0" in repr(table)
    assert torch.equal(table(), assemble(6, [([3, 5, 0, 1], first()), ([4, 2], second())], torch.empty(0, 4)))
    one = BackfillRepresentation(4, [2, 3, 1, 0], first)
    assert len(one.bases) == 1
    assert torch.equal(one(), first()[[3, 2, 0, 1]])


@pytest.mark.parametrize("rank", [None, 2])
def test_backfill_trains_beside_a_frozen_base(rank: int | None) -> None:
    """Steps, constraints and resets leave a frozen base as it was to the bit, while the new rows reach their target."""
    base: Any = given_table(5, constrainer="normalize")
    if rank is not None:
        base = LowRankRepresentation.approximate(base, rank, trainable=False, constrainer="normalize")
    known = base().detach().clone()
    table = BackfillRepresentation(9, [7, 0, 2, 8, 4], base, backfill_kwargs={"constrainer": None})
    new_ids = torch.tensor([1, 3, 5, 6])
    target = torch.full((9, 4), 2.0)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.25)
    for _ in range(60):  # the distance to the target halves with every step: 2 * 0.25
        optimizer.zero_grad()
        (table() - target).square().sum().backward()
        optimizer.step()
        table.post_parameter_update()
    torch.testing.assert_close(table(new_ids).detach(), target[:4])
    assert torch.equal(base(), known)
    table.reset_parameters()
    assert torch.equal(base(), known)
    assert (table(new_ids) - 2).abs().min() > 1e-3
    assert torch.equal(table(torch.tensor([7, 0, 2, 8, 4])), known)


def test_backfill_bases_can_be_shared() -> None:
    """Two tables over one frozen base hold the same memory: what changes there shows in both, and nothing is copied."""
    base = given_table(3)
    tables = [
        BackfillRepresentation(5, [4, 0, 2], base),
        MultiBackfillRepresentation(max_id=4, partitions=[Partition([1, 3, 2], base)]),
    ]
    assert all(table.bases[0].stored.data_ptr() == base.stored.data_ptr() for table in tables)
    model = nn.ModuleList(tables)
    assert sum(parameter.numel() for parameter in model.parameters()) == 3 * 4 + 2 * 4 + 1 * 4
    with torch.no_grad():
        base.stored.mul_(2)
    assert torch.equal(tables[0](torch.tensor([4, 0, 2])), base())
    assert torch.equal(tables[1](torch.tensor([1, 3, 2])), base())


def real_entries(rows: Tensor) -> Tensor:
    """Flatten to the real entries, in float64."""
    rows = rows.detach()
    return (torch.view_as_real(rows) if rows.is_complex() else rows).double().flatten()


@pytest.mark.parametrize("kind", ["embedding", "low-rank", "normalized"])
@for_each("dtype", [torch.float64, torch.float32, torch.float16, torch.complex64])
def test_backfill_is_drawn_like_its_base(dtype: torch.dtype, kind: str) -> None:
    """Backfill entries have dtype, mean and deviation of the base's stored entries, each within 5 standard errors."""
    torch.manual_seed(3)
    base: Any = Embedding(
        max_id=10_000,
        shape=(5,),
        dtype=dtype,
        initializer="normal",
        initializer_kwargs={"mean": 3.0, "std": 0.5},
        normalizer="normalize" if kind == "normalized" else None,
    )
    if kind == "low-rank":
        base = LowRankRepresentation.approximate(base, 3)
    entries = real_entries(base.look_up(None))
    table = BackfillRepresentation(18_000, range(10_000), base)
    drawn = real_entries(table.bases[1].look_up(None))
    assert table().dtype == table.bases[1].dtype == dtype
    mean, deviation, count = float(entries.mean()), float(entries.std()), len(drawn)
    assert count == 8000 * 5 * (2 if dtype.is_complex else 1)
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * deviation / math.sqrt(count))
    assert float(drawn.std()) == pytest.approx(deviation, abs=5 * deviation / math.sqrt(2 * count))


class Foreign(nn.Module):
    """A representation that is none of ours: what bases of PyKEEN's are taken by."""

    def __init__(self, table: Embedding) -> None:
        super().__init__()
        self.table, self.max_id, self.shape = table, table.max_id, table.shape
        self.is_complex = table.dtype.is_complex
        self.dropout = nn.Dropout(0.5)

    def forward(self, indices: Tensor | None = None) -> Tensor:
        """Look up rows with half of their real entries dropped out."""
        rows: Tensor = self.table(indices)
        return torch.view_as_complex(self.dropout(torch.view_as_real(rows))) if self.is_complex else self.dropout(rows)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.complex64], ids=str)
def test_backfill_is_drawn_like_a_foreign_base(dtype: torch.dtype) -> None:
    """The backfill of a module that is none of ours has dtype, mean and deviation of its rows without dropout."""
    torch.manual_seed(4)
    base = Foreign(given_table(10_000, (5,), dtype=dtype, trainable=True)).train()
    table = BackfillRepresentation(18_000, range(10_000), base)
    entries, drawn = real_entries(base.eval()()), real_entries(table.eval().bases[1]())
    assert table.dtype == table.eval()().dtype == dtype
    mean, deviation, count = float(entries.mean()), float(entries.std()), len(drawn)
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * deviation / math.sqrt(count))
    assert float(drawn.std()) == pytest.approx(deviation, abs=5 * deviation / math.sqrt(2 * count))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@for_each("backfill", [None, "low-rank"])
def test_backfill_treats_rows_like_its_base(backfill: str | None, dtype: torch.dtype) -> None:
    """New rows are normalised as the base's are, and dropped out in training with its probability."""
    row_options = {"normalizer": "normalize", "normalizer_kwargs": {"p": 1.0}, "dropout": 0.25}
    table = BackfillRepresentation(
        90, range(50), given_table(50, (3, 4), dtype=dtype, **row_options), backfill=backfill
    )
    norms = table.eval()().detach().abs().sum(dim=(1, 2))
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-14, atol=1e-14)  # a few roundings of 1
    assert table.bases[1].dropout.p == 0.25
    plain = {"normalizer": None, "dropout": None}
    configured = BackfillRepresentation(90, range(50), table.bases[0], backfill=backfill, backfill_kwargs=plain)
    rows = configured(torch.arange(50, 90)).detach()
    assert torch.equal(rows, configured.bases[1].look_up(None))
    assert float((rows.abs().sum(dim=(1, 2)) - 1).abs().min()) > 1e-6
    assert configured.bases[1].dropout is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_backfill_is_constrained_like_its_base(dtype: torch.dtype) -> None:
    """New rows of an entry deviation of 1 keep to the base's largest norm of 0.5 at once and after a step."""
    base = given_table(50, (3, 4), dtype=dtype, constrainer="clamp_norm", constrainer_kwargs={"maxnorm": 0.5})
    new_ids = torch.arange(50, 90)
    table = BackfillRepresentation(90, range(50), base)
    free = BackfillRepresentation(90, range(50), base, backfill_kwargs={"constrainer": None})
    options = {"constrainer": "clamp_norm", "constrainer_kwargs": {"maxnorm": 0.125}}
    other = BackfillRepresentation(90, range(50), base, backfill_kwargs=options)
    for one, norm in ((table, 0.5), (other, 0.125)):
        for _ in range(2):  # every one of the rows drawn is longer than that
            norms = torch.linalg.vector_norm(one(new_ids).detach(), dim=(1, 2))
            torch.testing.assert_close(norms, torch.full_like(norms, norm))
            with torch.no_grad():
                one.bases[1].stored.mul_(3)
            one.post_parameter_update()
    free.post_parameter_update()
    assert float(torch.linalg.vector_norm(free(new_ids), dim=(1, 2)).detach().min()) > 0.5


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"initializer": "ones"}, 1.0),
        ({"initializer": "constant", "initializer_kwargs": {"val": 7.0}}, 7.0),
        ({"initializer": "ones", "embedding_dim": 4}, 1.0),
        ({"initializer": "ones", "num_embeddings": 2}, 1.0),
        ({"initializer": "ones", "trainable": False}, 1.0),
    ],
    ids=str,
)
def test_backfill_starts_as_told(kwargs: dict[str, Any], expected: float) -> None:
    """Arguments given for the backfill stand before those of the base."""
    table = BackfillRepresentation(5, [4, 0, 2], given_table(3), backfill_kwargs=kwargs)
    assert table(torch.tensor([1, 3])).tolist() == [[expected] * 4] * 2
    assert table.bases[1].stored.requires_grad == kwargs.get("trainable", True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each("integer", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_partition_takes_rows_as_assigned(integer: torch.dtype, dtype: torch.dtype) -> None:
    """Id i has row assignment[i, 1] of base assignment[i, 0]; rows may serve many ids, or none."""
    bases = [given_table(size, (2, 3), seed=size, dtype=dtype) for size in (4, 1, 6)]
    places = torch.tensor([[2, 5], [0, 3], [1, 0], [2, 0], [0, 0], [2, 1]])
    assignment = places[torch.randint(len(places), (50,), generator=seeded(2))]
    owner, row = assignment.T.tolist()
    table = PartitionRepresentation(assignment.to(integer), bases=bases, shape=(2, 3))
    expected = torch.stack([bases[base]()[index] for base, index in zip(owner, row, strict=True)])
    assert torch.equal(table(), expected)
    assert table.assignment.dtype == torch.int64


def test_partition_makes_its_bases() -> None:
    """Bases told by class or name are made from kwargs, one for all or one for each."""
    assignment = torch.tensor([[0, 1], [1, 0], [0, 0]])
    each = PartitionRepresentation(
        assignment,
        bases=[Embedding, "embedding"],
        bases_kwargs=[{"max_id": 2, "shape": 3, "initializer": name} for name in ("ones", "zeros")],
    )
    assert each().tolist() == [[1.0] * 3, [0.0] * 3, [1.0] * 3]
    kwargs = {"max_id": 2, "shape": 3, "initializer": "ones"}
    assert PartitionRepresentation(assignment, bases=[None, None], bases_kwargs=kwargs)().tolist() == [[1.0] * 3] * 3
    assert PartitionRepresentation(assignment[[0, 2]], bases_kwargs=kwargs)().tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (torch.tensor([[0, 0], [2, 0], [1, 0], [-1, 0]]), "a base outside 0..1 for the ids 1, 3."),
        (torch.tensor([[0, 0], [0, 3], [1, 2], [1, -1]]), "a row that the base lacks for the ids 1, 2, 3."),
        (torch.tensor([[0, 0], [0, 1]]), "none has base 1."),
        (torch.tensor([[0, 0]] * 2 + [[0, 9]] * 7), "for the ids 2, 3, 4, 5, 6 and 2 more."),
        (torch.tensor([0, 1]), "must be (max_id, 2); got (2,)."),
        (torch.zeros(2, 3, dtype=torch.long), "must be (max_id, 2); got (2, 3)."),
        (torch.zeros(0, 2, dtype=torch.long), "must be (max_id, 2); got (0, 2)."),
        (torch.zeros(2, 2), "must be integers; got torch.float32."),
        (torch.zeros(2, 2, dtype=torch.bool), "must be integers; got torch.bool."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_partition_refuses_assignments(assignment: Tensor, message: str) -> None:
    """An assignment to what is not there, of the wrong form, or that leaves a base out is an IdsError by name."""
    with pytest.raises(IdsError, match=f"{re.escape(message)}$"):
        PartitionRepresentation(assignment, bases=[given_table(3), given_table(2)])


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([given_table(2, (5,))], "one shape; got (4,), (5,)"),
        ([given_table(2, (2, 2))], "one shape; got (4,), (2, 2)"),
        ([given_table(2, dtype=torch.float64)], "one dtype; got torch.float32, torch.float64"),
        ([given_table(2, dtype=torch.complex64)], "one dtype; got torch.float32, torch.complex64"),
        ([Embedding(max_id=2, shape=4, device="meta")], "one device; got cpu, meta"),
        (["nonsense"], "no representation is called 'nonsense'; there are Embedding"),
    ],
    ids=str,
)
def test_partition_refuses_bases_that_differ(others: list[Any], message: str) -> None:
    """Bases of two shapes, dtypes or devices are a ValueError that tells both, as is a name that nothing has."""
    base, ids = given_table(2), [[3, 1], [0, 2]]
    with pytest.raises(ValueError, match=re.escape(message)):
        PartitionRepresentation(torch.tensor([[0, 0], [1, 0]]), bases=[base, *others])
    with pytest.raises(ValueError, match=re.escape(message)):
        MultiBackfillRepresentation(
            max_id=5, partitions=[Partition(i, hint) for i, hint in zip(ids, [base, *others], strict=True)]
        )
    with pytest.raises(ValueError, match=re.escape(message)):
        BackfillRepresentation(4, [3, 1], base, backfill=others[0])


def test_partition_refuses_numbers_of_parts() -> None:
    """No bases, no partitions, or kwargs for more bases than there are, are a ValueError; so is another shape."""
    assignment = torch.zeros(2, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="bases are empty"):
        PartitionRepresentation(assignment, bases=[])
    with pytest.raises(ValueError, match="1 bases need as many bases_kwargs; got 2"):
        PartitionRepresentation(assignment, bases=Embedding, bases_kwargs=[{}, {}])
    with pytest.raises(ValueError, match="partitions are empty"):
        MultiBackfillRepresentation(max_id=2, partitions=[])
    with pytest.raises(ValueError, match=re.escape("have shape (4,); asked for (2, 2)")):
        PartitionRepresentation(assignment, shape=(2, 2), bases=given_table(2))
    with pytest.raises(ValueError, match=re.escape("have shape (4,); asked for (5,)")):
        BackfillRepresentation(4, [0, 1], given_table(2), shape=5)
    for max_id in (0, -3, 4.0, True):
        with pytest.raises(ValueError, match="max_id must be an integer of at least 1"):
            BackfillRepresentation(max_id, [0], given_table(1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "are empty"),
        (torch.empty(0, dtype=torch.long), "are empty"),
        ([0.0, 1.0, 2.5], "must be integers; got torch.float32: 0.0, 1.0, 2.5."),
        ([True, False, True], "must be integers below 2**63; got True, False, True."),
        (["0", "1", "2"], "must be integers"),
        ([4, -1, -6], "must not be negative; got -1, -6."),
        ([3, 1, 3], "must not repeat; these do: 3."),
        ([3, 8, 9], "must be below 8, the number of ids; got 8, 9."),
        ({0, 1, 2}, "are a set, which has no order"),
        (frozenset({0, 1, 2}), "are a set, which has no order"),
        ([[0, 1, 2]], "must be one list; got shape (1, 3)."),
        (torch.tensor(3), "must be one list; got shape ()."),
    ],
    ids=str,
)
def test_backfill_refuses_ids_by_name(ids: Any, message: str) -> None:
    """Ids that do not say whose row is whose are an IdsError that names them, and the base of several."""
    with pytest.raises(IdsError, match=f"^base_ids {re.escape(message)}"):
        BackfillRepresentation(8, ids, given_table(3))
    with pytest.raises(IdsError, match=f"^ids of base 1 {re.escape(message)}"):
        MultiBackfillRepresentation(
            max_id=8, partitions=[Partition([7, 5], given_table(2)), Partition(ids, given_table(3))]
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BackfillRepresentation(8, [0, 1], given_table(3)), "base 0 has 3 rows, and 2 ids were given"),
        (lambda: BackfillRepresentation(8, [0, 1, 2, 3], given_table(3)), "base 0 has 3 rows, and 4 ids were given"),
        (
            lambda: BackfillRepresentation(8, [0, 1], None, {"shape": 4, "max_id": 3}),
            "base 0 has 3 rows, and 2 ids were given",
        ),
        (
            lambda: BackfillRepresentation(8, [0, 1, 2], given_table(3), backfill=given_table(4)),
            "the backfill has 4 rows, and 5 ids are new",
        ),
        (
            lambda: BackfillRepresentation(8, [0, 1, 2], given_table(3), backfill_kwargs={"max_id": 6}),
            "the backfill has 6 rows, and 5 ids are new",
        ),
        (
            lambda: BackfillRepresentation(3, [2, 0, 1], given_table(3), backfill=given_table(1)),
            "the backfill has 1 rows, and all 3 ids have a base",
        ),
        (
            lambda: MultiBackfillRepresentation(
                max_id=8,
                partitions=[Partition([5, 1, 7], given_table(3)), Partition([7, 0, 5], given_table(3))],
            ),
            "ids of base 1 must not belong to another base too; got 7, 5.",
        ),
    ],
    ids=["few ids", "many ids", "kwargs of base", "backfill", "kwargs of backfill", "nothing new", "overlap"],
)
def test_backfill_refuses_parts_that_do_not_fit(make: Any, message: str) -> None:
    """More or fewer rows than ids, and ids in two partitions, are an IdsError that tells both numbers or the ids."""
    with pytest.raises(IdsError, match=re.escape(message)):
        make()


def test_backfill_of_a_million_ids() -> None:
    """10^6 ids in random order, 9 of 10 known: those have the base's rows to the bit, the others the backfill's."""
    shuffled = torch.randperm(10**6, generator=seeded(1))
    base_ids = shuffled[:900_000]
    base = Embedding.from_pretrained(torch.arange(1_800_000, dtype=torch.float32).view(-1, 2))
    table = BackfillRepresentation(10**6, base_ids, base)
    assert torch.equal(table(base_ids), base.stored)
    new_ids = shuffled[900_000:].sort().values
    assert torch.equal(table(new_ids), table.bases[1].stored)


def test_partition_looks_up_under_autocast() -> None:
    """Autocast computes a low-rank base in bfloat16; rows come in the dtype of the table all the same."""
    base = LowRankRepresentation(max_id=2, shape=4)
    table = PartitionRepresentation(torch.tensor([[0, 1], [1, 0]]), bases=[base, Embedding(max_id=1, shape=4)])
    expected = table().detach()
    with torch.autocast("cpu", torch.bfloat16):
        actual = table(torch.tensor([0, 1]))
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.detach(), expected, rtol=2e-2, atol=2e-2)


def test_backfill_constrains_frozen_new_rows() -> None:
    """New rows that will never take a step start within the constraint of the base."""
    base = Embedding.from_pretrained(torch.randn(5, 4), constrainer="normalize")
    table = BackfillRepresentation(8, range(5), base, backfill_kwargs={"trainable": False})
    torch.testing.assert_close(table()[5:].norm(dim=1), torch.ones(3))


def test_backfill_takes_the_scale_of_rows_before_their_normalizer() -> None:
    """New rows of a normalised low-rank base have the deviation of its rows as stored, and the same normalizer."""
    base = LowRankRepresentation.from_factors(
        bases=torch.eye(4), weights=torch.randn(500, 4) * 3, normalizer="normalize"
    )
    table = BackfillRepresentation(2000, range(500), base)
    new = table.bases[1]
    deviation = float(base.weights.detach().std(correction=0))
    # five standard errors of a deviation measured on 6000 entries: sigma / sqrt(2 n)
    assert float(new.look_up(None).detach().std()) == pytest.approx(deviation, abs=5 * deviation / 12000**0.5)
    torch.testing.assert_close(table().norm(dim=1), torch.ones(2000))


def test_backfill_keeps_the_mean_beside_a_deviation_given() -> None:
    """Initializer arguments given alone replace their own, and the rest still follows the base."""
    base = Embedding.from_pretrained(torch.full((4, 3), 9.0))
    table = BackfillRepresentation(1000, range(4), base, backfill_kwargs={"initializer_kwargs": {"std": 0.5}})
    new = table()[4:].detach()
    assert float(new.mean()) == pytest.approx(9, abs=5 * 0.5 / new.numel() ** 0.5)
    assert float(new.std()) == pytest.approx(0.5, rel=0.1)


def test_backfill_refuses_arguments_for_modules_that_are_made() -> None:
    """Arguments beside a module would be overruled in silence: ValueError that names them."""
    base = Embedding(max_id=2, shape=3)
    with pytest.raises(ValueError, match="takes no arguments; got shape"):
        BackfillRepresentation(4, [0, 1], base, base_kwargs={"shape": 3})
    with pytest.raises(ValueError, match="takes no arguments; got dtype"):
        BackfillRepresentation(
            4, [0, 1], base, backfill=Embedding(2, shape=3), backfill_kwargs={"dtype": torch.float64}
        )


def test_backfill_shows_no_rows_to_regularizers() -> None:
    """Building a backfill and looking up other bases' rows shows a base's regularizer nothing."""
    seen: list[int] = []
    regularizer = SimpleNamespace(update=lambda rows: seen.append(len(rows)))
    base = Embedding.from_pretrained(torch.randn(3, 2), regularizer=regularizer)
    table = BackfillRepresentation(5, [4, 0, 2], base)
    table(torch.tensor([1, 3]))
    assert seen == []
    table(torch.tensor([4, 1, 0]))
    assert seen == [2]


def test_backfill_refuses_a_base_without_a_scale() -> None:
    """A base that holds NaN gives no scale for new rows; the hint says what to do."""
    with pytest.raises(NonFiniteError, match="backfill_kwargs"):
        BackfillRepresentation(4, [0, 1], Embedding.from_pretrained(torch.full((2, 3), float("nan"))))


def test_backfill_of_a_backfill_is_like_the_first_base() -> None:
    """Widened twice, new rows still have the scale, dropout and constraint of the rows that all began with."""
    values = 7 + torch.randn(400, 3) * torch.tensor([0.01, 1.0, 30.0])
    first = Embedding.from_pretrained(
        values, constrainer="clamp_norm", constrainer_kwargs={"maxnorm": 50.0}, dropout=0.5
    )
    once = BackfillRepresentation(1000, range(400), first)
    twice = BackfillRepresentation(5000, range(1000), once).eval()
    new = twice.bases[1]
    assert new.dropout.p == 0.5
    rows = new().detach()
    assert float(rows.norm(dim=1).max()) <= 50 * (1 + 1e-6)
    # column by column, but for the third, which the constraint cuts; five standard errors at 4000 rows
    for column in range(2):
        mean, deviation = float(values[:, column].mean()), float(values[:, column].std())
        assert float(rows[:, column].mean()) == pytest.approx(mean, abs=0.2 * deviation + 0.1 * abs(mean))
        assert float(rows[:, column].std()) < 2.5 * deviation + 0.2 * abs(mean)


def test_backfill_follows_real_and_imaginary_parts() -> None:
    """Around 3 + 0j with a deviation of .01, new entries are around 3 + 0j too: parts are not pooled."""
    noise = torch.view_as_complex(torch.randn(500, 4, 2) * 0.01)
    table = BackfillRepresentation(3000, range(500), Embedding.from_pretrained(3 + noise))
    new = torch.view_as_real(table.bases[1]().detach())
    # five standard errors of means and deviations over 10^4 entries
    assert new.mean(dim=(0, 1)).tolist() == pytest.approx([3, 0], abs=2e-3)
    assert new.std(dim=(0, 1)).tolist() == pytest.approx([0.01, 0.01], rel=0.1)


@pytest.mark.parametrize("num_bases", [1, 3, 8])
def test_backfill_scales_low_rank_rows(num_bases: int) -> None:
    """New low-rank rows have the mean and deviation of the base's entries, whatever the number of bases."""
    torch.manual_seed(5)
    base = Embedding.from_pretrained(2 + 1e-3 * torch.randn(200, 400))
    table = BackfillRepresentation(
        2000, range(200), base, backfill="low-rank", backfill_kwargs={"num_bases": num_bases}
    )
    rows = table.bases[1]().detach()
    # the bases hold 400 draws each: five standard errors of a mean and of a deviation over these alone
    assert float(rows.mean()) == pytest.approx(2, abs=5e-3 / 400**0.5)
    assert float(rows.std()) == pytest.approx(1e-3, rel=5 / 800**0.5)


def test_backfill_of_no_ids_keeps_its_graph() -> None:
    """No ids give no rows and a gradient of zeros, as torch.nn.Embedding does."""
    table = BackfillRepresentation(4, [0, 1], Embedding(2, shape=3))
    rows = table(torch.empty(0, dtype=torch.long))
    assert rows.shape == (0, 3)
    rows.sum().backward()


def test_partition_compiles_with_no_regularizer_shown_foreign_rows() -> None:
    """A compiled lookup reads every base for every id: with a regularizer in one of them that would change the loss."""
    torch._dynamo.reset()
    base = Embedding(max_id=2, shape=3, regularizer=SimpleNamespace(update=lambda _: None))
    table = torch.compile(BackfillRepresentation(4, [0, 1], base), backend="aot_eager", fullgraph=True)
    with pytest.raises(RuntimeError, match="regularizer"):
        table(torch.tensor([0, 3]))
