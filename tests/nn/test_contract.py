"""One contract for every representation: whatever its parts, it is looked up, trained and saved in the same way."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from embcompress.coding.window_codebook import WindowCodebook
from embcompress.nn import (
    REPRESENTATIONS,
    BackfillRepresentation,
    CodedRepresentation,
    Embedding,
    LowRankRepresentation,
    MultiBackfillRepresentation,
    Partition,
    PartitionRepresentation,
    Representation,
    WindowCodedRepresentation,
)
from tests.cases import for_each
from tests.nn.coded_tables import make_table

ROWS = 9
SHAPES = [(6,), (3, 4)]
LOOKED_UP = [2, 5, 2]
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
ID_LISTS: tuple[Any, ...] = (7, [3], [8, 0, 3, 3], [[1, 2], [8, 0], [7, 7]], [[[4, 5]], [[5, 0]]], [], [[], []])


def seeded(seed: int) -> Generator:
    """Make a generator of its own, so that no test depends on another's draws."""
    return torch.Generator().manual_seed(seed)


def draw(rows: int, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Draw rows (rows, *shape) of N(0, 1)."""
    return torch.randn(rows, *shape, dtype=dtype, generator=seeded(seed))


def make_embedding(dtype: torch.dtype, shape: tuple[int, ...], *, seed: int = 0, **row_options: Any) -> Embedding:
    """Make 9 trainable rows."""
    return Embedding(max_id=ROWS, shape=shape, dtype=dtype, generator=seeded(seed), **row_options)


def make_low_rank(dtype: torch.dtype, shape: tuple[int, ...], *, seed: int = 0, **row_options: Any) -> Representation:
    """Make 9 rows over 3 bases, all trainable."""
    return LowRankRepresentation(
        max_id=ROWS, shape=shape, num_bases=3, dtype=dtype, generator=seeded(seed), **row_options
    )


def make_partition(dtype: torch.dtype, shape: tuple[int, ...], *, seed: int = 0, **row_options: Any) -> Representation:
    """Make 4 trainable rows, and 5 frozen ones over 2 bases."""
    assignment = torch.tensor([[1, 4], [0, 3], [0, 0], [1, 1], [1, 0], [1, 2], [0, 2], [1, 3], [0, 1]]).roll(seed, 0)
    trained = Embedding(max_id=4, shape=shape, dtype=dtype, generator=seeded(seed))
    frozen = LowRankRepresentation(
        max_id=5, shape=shape, num_bases=2, dtype=dtype, generator=seeded(seed + 1), trainable=False
    )
    return PartitionRepresentation(assignment, bases=[trained, frozen], **row_options)


def make_multi_backfill(
    dtype: torch.dtype, shape: tuple[int, ...], *, seed: int = 0, **row_options: Any
) -> Representation:
    """Make 2 frozen rows that are given, 3 trainable ones over 2 bases, and a backfill of 4."""
    given = Embedding.from_pretrained(draw(2, shape, dtype, seed))
    trained = LowRankRepresentation(max_id=3, shape=shape, num_bases=2, dtype=dtype, generator=seeded(seed + 1))
    ids = torch.arange(ROWS).roll(seed)
    return MultiBackfillRepresentation(
        max_id=ROWS,
        partitions=[Partition(ids[[7, 2]], given), Partition(ids[[5, 0, 3]], trained)],
        backfill_kwargs={"generator": seeded(seed + 2)},
        **row_options,
    )


def make_backfill(dtype: torch.dtype, shape: tuple[int, ...], *, seed: int = 0, **row_options: Any) -> Representation:
    """Make 3 frozen rows that are given, and a backfill of 6."""
    return BackfillRepresentation(
        max_id=ROWS,
        base_ids=torch.arange(ROWS).roll(seed)[[7, 2, 4]],
        base=Embedding.from_pretrained(draw(3, shape, dtype, seed)),
        backfill_kwargs={"generator": seeded(seed + 1)},
        **row_options,
    )


def make_coded(dtype: torch.dtype, shape: tuple[int, ...], *, seed: int = 0, **row_options: Any) -> Representation:
    """Make 9 rows of numbers over 2 bases."""
    table, _ = make_table(shape, dtype, rows=ROWS, zero_rows=(), step=0.05, seed=seed, row_options=row_options)
    return table


def make_window_coded(
    dtype: torch.dtype, shape: tuple[int, ...], *, seed: int = 0, **row_options: Any
) -> Representation:
    """Make 9 rows over 3 bases, 4 bits for each weight and 16 levels."""
    generator = seeded(seed)
    stored = (*shape, 2) if dtype.is_complex else shape
    return WindowCodedRepresentation.from_codes(
        codes=[torch.randint(0, 256, (ROWS, 2), dtype=torch.uint8, generator=generator)],
        groups_of_rows=None,
        codebook=WindowCodebook(
            bits=torch.full((1, 3), 4, dtype=torch.uint8),
            scales=0.5 + torch.rand(1, 3, generator=generator),
            windows={4: 4},
            levels=torch.randn(16, generator=generator),
        ),
        bases=torch.randn(3, *stored, generator=generator) / math.sqrt(3),
        shape=shape,
        dtype=dtype,
        **row_options,
    )


@dataclass(frozen=True)
class Case:
    """The expectations of one maker.

    Attributes:
        make: makes a table of ROWS rows, which `seed` changes in values and places but not in sizes.
        counts: numbers that it is made of and those that train, from the real entries of a row.
        touched: rows of the parameters that a step on LOOKED_UP changes, at seed 0.
    """

    make: Callable[..., Representation]
    counts: Callable[[int], tuple[int, int]]
    touched: dict[str, list[int]]


CASES = {
    "Embedding": Case(make_embedding, lambda dim: (9 * dim, 9 * dim), {"_embeddings.weight": [2, 5]}),
    "LowRankRepresentation": Case(
        make_low_rank,
        lambda dim: (27 + 3 * dim, 27 + 3 * dim),
        {"weights": [2, 5], "bases._embeddings.weight": [0, 1, 2]},
    ),
    "PartitionRepresentation": Case(
        make_partition, lambda dim: (4 * dim + 10 + 2 * dim, 4 * dim), {"bases.0._embeddings.weight": [0]}
    ),
    "MultiBackfillRepresentation": Case(
        make_multi_backfill,
        lambda dim: (2 * dim + 6 + 2 * dim + 4 * dim, 6 + 2 * dim + 4 * dim),
        {"bases.1.weights": [0], "bases.1.bases._embeddings.weight": [0, 1]},
    ),
    "BackfillRepresentation": Case(
        make_backfill, lambda dim: (3 * dim + 6 * dim, 6 * dim), {"bases.1._embeddings.weight": [3]}
    ),
}

# Tables that are made of codes, and never drawn: no name of a configuration makes them. What decodes them trains, stays
# in float32 at least, and all rows share it; their lookup breaks the graph of torch.compile.
CODED_CASES = {
    "CodedRepresentation": Case(make_coded, lambda dim: (2 + 2 * dim, 2 + 2 * dim), {}),
    "WindowCodedRepresentation": Case(make_window_coded, lambda dim: (19 + 3 * dim, 19 + 3 * dim), {}),
}
ALL_CASES = {**CASES, **CODED_CASES}

every_drawn_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
every_case = pytest.mark.parametrize("case", ALL_CASES.values(), ids=ALL_CASES.keys())
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
real_and_complex = pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
real_and_complex_double = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)


def assert_same_rows(actual: Tensor, expected: Tensor) -> None:
    """Compare rows: sums of 3 products of N(0, 1) numbers in another order differ by a few roundings of 1."""
    tolerance = 8 * torch.finfo(expected.dtype).eps
    torch.testing.assert_close(actual.detach(), expected.detach(), rtol=tolerance, atol=tolerance)


def parameters_of(table: nn.Module) -> dict[str, Tensor]:
    """Copy the parameters as they are now."""
    return {name: parameter.detach().clone() for name, parameter in table.named_parameters()}


def changed_since(table: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Name the parameters that are no longer the same to the bit."""
    return {name for name, parameter in table.named_parameters() if not torch.equal(parameter, before[name])}


def test_contract_covers_every_representation() -> None:
    """Each entry of REPRESENTATIONS has a case here, which makes that very class."""
    made = {name: type(case.make(torch.float32, (6,))) for name, case in CASES.items()}
    assert made == dict(REPRESENTATIONS)
    coded = [type(case.make(torch.float32, (6,))) for case in CODED_CASES.values()]
    assert coded == [CodedRepresentation, WindowCodedRepresentation]


@every_case
@for_each("shape", SHAPES)
@for_each("dtype", [torch.float32, torch.complex64])
def test_contract_attributes(case: Case, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """max_id, shape (a tuple), dtype and device are those of the rows; repr tells sizes and counts of numbers."""
    table = case.make(dtype, shape)
    rows = table()
    assert (table.max_id, table.shape, type(table.shape)) == (ROWS, shape, tuple)
    assert tuple(rows.shape) == (ROWS, *shape)
    assert (rows.dtype, rows.device) == (table.dtype, table.device) == (dtype, torch.device("cpu"))
    parameters, trainable = case.counts(rows[0].numel() * (2 if dtype.is_complex else 1))
    text = f"max_id=9, shape={shape}, parameters={parameters}, trainable={trainable}"
    # a table of several parts has repr on several lines, its own sizes first
    assert text in repr(table).partition("(bases)")[0]


@pytest.mark.parametrize("cls", [Embedding, LowRankRepresentation])
@for_each(("shape", "expected"), [(6, (6,)), ([3, 4], (3, 4)), (torch.Size([2]), (2,))])
def test_contract_shape_is_a_tuple(cls: type[Representation], shape: Any, expected: tuple[int, ...]) -> None:
    """A shape told as an int, a list or a torch.Size is kept as a plain tuple."""
    table = cls(max_id=ROWS, shape=shape)  # type: ignore[call-arg]
    assert (table.shape, type(table.shape)) == (expected, tuple)
    assert tuple(table().shape) == (ROWS, *expected)


@every_case
@for_each("shape", SHAPES)
@for_each("dtype", [torch.float32, torch.complex64])
def test_contract_looks_up_ids_of_any_shape(
    case: Case, shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> None:
    """0-d to 3-D and empty ids of every integer dtype give, on every device, the rows that None gives on the CPU."""
    table = case.make(dtype, shape)
    dense = table().detach()
    assert len(dense.flatten(1)[:, 0].abs().unique()) == ROWS, "rows that are alike would hide a mix-up"
    table = table.to(device)
    assert table.device.type == device
    assert_same_rows(table().cpu(), dense)
    for integer in INTEGERS:
        for ids in ID_LISTS:
            indices = torch.tensor(ids, dtype=integer)
            assert_same_rows(table(indices.to(device)).cpu(), dense[indices.long()])


@every_case
@for_each("dtype", [torch.float32, torch.complex64])
@for_each(
    "ids",
    [
        torch.tensor([ROWS]),
        torch.tensor(-1),
        torch.tensor([[0, -ROWS]]),
        torch.tensor([0, 2**40]),
        torch.tensor([-1], dtype=torch.int8),
        torch.tensor([255], dtype=torch.uint8),
    ],
)
def test_contract_refuses_ids_outside_the_table(case: Case, dtype: torch.dtype, ids: Tensor) -> None:
    """Too large an id and a negative one are an IndexError: no row is taken from the other end."""
    with pytest.raises(IndexError):
        case.make(dtype, (6,))(ids)


@every_case
@for_each("integral", [torch.bool, torch.float32, torch.float16, torch.complex64])
def test_contract_refuses_ids_that_are_no_integers(case: Case, integral: torch.dtype) -> None:
    """A mask is no list of ids, and 1.0 is no id: TypeError that tells the dtype."""
    with pytest.raises(TypeError, match=str(integral)):
        case.make(torch.float32, (6,))(torch.ones(ROWS).to(integral))


class Recorder:
    """A regularizer that keeps what it was shown."""

    def update(self, rows: Tensor) -> None:
        """Keep the rows."""
        self.rows = rows.detach()


@every_case
@for_each("shape", SHAPES)
@for_each("normalizer", [None, "normalize"])
@for_each("p", [0.25, 0.5])
@for_each("dtype", [torch.float64, torch.complex128])
def test_contract_drops_out_last_and_in_training_only(
    case: Case, shape: tuple[int, ...], normalizer: str | None, p: float, dtype: torch.dtype
) -> None:
    """Training zeroes entries with probability p and divides the rest, already normalised, by 1 - p."""
    recorder = Recorder()
    table = case.make(dtype, shape, normalizer=normalizer, dropout=p, regularizer=recorder).eval()
    ids = torch.arange(ROWS).repeat(300)
    dense = table(ids).detach()
    assert torch.equal(dense, table(ids))
    assert_same_rows(dense, case.make(dtype, shape, normalizer=normalizer)()[ids])
    torch.manual_seed(11)
    dropped = table.train()(ids).detach()
    is_kept = dropped != 0
    assert_same_rows(dropped[is_kept], dense[is_kept] / (1 - p))
    # five standard errors of a share among 16200 or more entries: about 2 %
    standard_error = (p * (1 - p) / dense.numel()) ** 0.5
    assert float((~is_kept).double().mean()) == pytest.approx(p, abs=5 * standard_error)
    assert_same_rows(recorder.rows, dense)  # shown after normalizing and before dropout


@every_case
@for_each("shape", SHAPES)
@for_each("dtype", [torch.float64, torch.complex128])
@for_each("p", [1.0, 2.0, float("inf")])
def test_contract_normalizes_each_row(case: Case, shape: tuple[int, ...], dtype: torch.dtype, p: float) -> None:
    """The normalizer named scales each row by its own norm of order p, whatever the shape of ids and rows."""
    table = case.make(dtype, shape, normalizer="normalize", normalizer_kwargs={"p": p})
    plain = case.make(dtype, shape)().detach().flatten(1)
    expected = plain / torch.linalg.vector_norm(plain.abs(), ord=p, dim=1, keepdim=True)
    for ids in (None, torch.tensor(3), torch.tensor([3, 8, 3]), torch.tensor([[1, 2], [8, 0], [7, 7]])):
        rows = table(ids).detach()
        wanted = expected if ids is None else expected[ids]
        assert_same_rows(rows, wanted.reshape(rows.shape))
        norms = torch.linalg.vector_norm(rows.reshape(-1, plain.shape[1]).abs(), ord=p, dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-14, atol=1e-14)  # a few roundings of 1


@every_drawn_case
@for_each("dtype", [torch.float32, torch.complex64])
def test_contract_reset_draws_what_trains(case: Case, dtype: torch.dtype) -> None:
    """reset_parameters changes every trainable parameter of a drawn table and no frozen one; frozen whole, none."""
    table = case.make(dtype, (3, 4))
    before = parameters_of(table)
    trainable = {name for name, parameter in table.named_parameters() if parameter.requires_grad}
    table.reset_parameters()
    assert changed_since(table, before) == trainable
    before = parameters_of(table)
    table.requires_grad_(False).reset_parameters()
    assert changed_since(table, before) == set()


def reset_bottom_up(module: nn.Module) -> None:
    """Reset children, then the module itself: what PyKEEN does to a model that it has just made."""
    for child in module.children():
        reset_bottom_up(child)
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        reset()


@every_drawn_case
@for_each("dtype", [torch.float32, torch.complex64])
def test_contract_reset_of_every_submodule_spares_frozen_tables(case: Case, dtype: torch.dtype) -> None:
    """A model that resets each of its submodules, torch.nn.Embedding included, leaves every frozen table as it was."""
    table = case.make(dtype, (3, 4))
    before = parameters_of(table)
    trainable = {name for name, parameter in table.named_parameters() if parameter.requires_grad}
    reset_bottom_up(nn.Sequential(table))
    assert changed_since(table, before) == trainable


@real_and_complex
def test_contract_reset_keeps_values_that_were_given(dtype: torch.dtype) -> None:
    """Trainable tables of given values start again from these values, frozen ones stay; a Backfill keeps its base's."""
    given, weights = draw(ROWS, (3, 4), dtype, 1), draw(5, (ROWS,), dtype.to_real(), 2)
    embedding = Embedding.from_pretrained(given, trainable=True)
    tables: list[Representation] = [
        Embedding.from_pretrained(given),
        embedding,
        LowRankRepresentation.from_factors(bases=given, weights=weights),
        LowRankRepresentation.approximate(given, 2),
        BackfillRepresentation(max_id=ROWS, base_ids=range(ROWS), base=Embedding.from_pretrained(given)),
        *(case.make(dtype, (3, 4)) for case in CODED_CASES.values()),
    ]
    before = [table().detach().clone() for table in tables]
    with torch.no_grad():
        embedding.stored.add_(1)
    for table, rows in zip(tables, before, strict=True):
        reset_bottom_up(table)
        assert torch.equal(table(), rows)


@every_case
@for_each("shape", SHAPES)
@for_each("dtype", [torch.float32, torch.complex64])
def test_contract_state_dict_round_trip(case: Case, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Another table of the same sizes, with other values in other places, loads strictly and is the same to the bit."""
    table, other = case.make(dtype, shape), case.make(dtype, shape, seed=4)
    assert not torch.equal(other(), table())
    other.load_state_dict(copy.deepcopy(table.state_dict()), strict=True)
    assert torch.equal(other(), table())
    nested = nn.ModuleDict({"entity": case.make(dtype, shape, seed=4)})
    nested.load_state_dict({f"entity.{key}": value for key, value in table.state_dict().items()}, strict=True)
    assert torch.equal(nested["entity"](), table())


@every_drawn_case
@for_each("dtype", [torch.float32, torch.complex64])
def test_contract_compiles_to_one_graph(case: Case, dtype: torch.dtype) -> None:
    """torch.compile(fullgraph=True) breaks nowhere and gives the rows that the eager module gives, gradients too."""
    torch._dynamo.reset()
    table = case.make(dtype, (3, 4), normalizer="normalize")
    ids = torch.tensor([[1, 2, 5], [8, 0, 5]])
    scale = torch.linspace(0, 1, 72, dtype=torch.float32).view(2, 3, 3, 4)
    trainable = [parameter for parameter in table.parameters() if parameter.requires_grad]
    actual, expected = torch.compile(table, fullgraph=True, backend="aot_eager")(ids), table(ids)
    assert_same_rows(actual, expected)
    gradients = [torch.autograd.grad((rows.abs() * scale).sum(), trainable) for rows in (actual, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # sums of 72 float32 products


@every_case
@for_each("shape", SHAPES)
@for_each("dtype", [torch.float64, torch.complex128])
@for_each("normalizer", [None, "normalize"])
def test_contract_gradients(case: Case, shape: tuple[int, ...], dtype: torch.dtype, normalizer: str | None) -> None:
    """Gradients to all trainable parameters are those of finite differences, to 1e-6 in float64."""
    table = case.make(dtype, shape, normalizer=normalizer)
    ids = torch.tensor([[2, 5], [2, 1], [0, 4]])
    start = {name: value.detach().requires_grad_() for name, value in table.named_parameters() if value.requires_grad}

    def look_up(*values: Tensor) -> Tensor:
        rows: Tensor = torch.func.functional_call(table, dict(zip(start, values, strict=True)), (ids,))
        return torch.view_as_real(rows) if rows.is_complex() else rows

    assert torch.autograd.gradcheck(look_up, tuple(start.values()), eps=1e-6, atol=1e-6, rtol=1e-6, fast_mode=True)


@every_drawn_case
@for_each("dtype", [torch.float32, torch.complex64])
def test_contract_step_changes_only_what_was_looked_up(case: Case, dtype: torch.dtype) -> None:
    """One step of SGD on the rows of ids 2 and 5 changes those rows of what trains, and nothing else by a bit."""
    table = case.make(dtype, (3, 4))
    before = parameters_of(table)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
    table(torch.tensor(LOOKED_UP)).abs().square().sum().backward()
    optimizer.step()
    table.post_parameter_update()
    changed = {
        name: (parameter != before[name]).any(dim=1).nonzero().flatten().tolist()
        for name, parameter in table.named_parameters()
    }
    assert {name: rows for name, rows in changed.items() if rows} == case.touched


@every_drawn_case
@for_each("shape", SHAPES)
@for_each("dtype", [torch.float16, torch.bfloat16])
def test_contract_half_precision(case: Case, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Half-precision rows on the CPU are those of the same numbers in float64 to a few roundings, and train."""
    table = case.make(dtype, shape, normalizer="normalize")
    ids = torch.tensor([[2, 5], [8, 0]])
    rows = table(ids)
    assert rows.dtype == table.dtype == dtype
    exact = copy.deepcopy(table).double()(ids).detach()
    # normalised rows: a rounding for each of the products, their sum, the norm and the quotient
    tolerance = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(rows.detach().double(), exact, rtol=tolerance, atol=tolerance)
    rows.square().sum().backward()
    gradients = [parameter.grad for parameter in table.parameters() if parameter.requires_grad]
    assert all(gradient.isfinite().all() and gradient.dtype == dtype for gradient in gradients if gradient is not None)


@every_case
@for_each("dtype", [torch.float32, torch.complex64])
def test_contract_deepcopy_shares_nothing(case: Case, dtype: torch.dtype) -> None:
    """A deep copy gives the same rows and trains the same parameters; doubling it leaves the first as it was."""
    table = case.make(dtype, (3, 4), normalizer="normalize", normalizer_kwargs={"p": 1.0}, dropout=0.25).eval()
    rows = table().detach().clone()
    twin = copy.deepcopy(table)
    assert torch.equal(twin(), rows)
    assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in table.parameters()]
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(table(), rows)
    assert not torch.equal(twin(), rows)


@every_case
@for_each("dtype", [torch.float32, torch.complex64])
def test_contract_unique_looks_repeated_ids_up_once(case: Case, dtype: torch.dtype) -> None:
    """The rows and the gradients are those of every id by itself, and what acts on a lookup sees each row once."""
    lengths: list[int] = []

    def count(rows: Tensor) -> Tensor:
        lengths.append(len(rows))
        return rows * 2

    ids = torch.tensor([[5, 2, 5], [5, 0, 2]])
    rows = {}
    for unique in (False, True):
        table = case.make(dtype, (6,), normalizer=count, unique=unique)
        rows[unique] = table(ids)
        assert table.unique is unique
    assert lengths == [2, 3]
    torch.testing.assert_close(rows[True], rows[False])
