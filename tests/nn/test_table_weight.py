"""The weight of a table: everything that torch does with a tensor, over rows that are decoded when they are needed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import embcompress.nn
from embcompress.nn import CodedRepresentation, LowRankHead, LowRankRepresentation
from embcompress.nn.table_weight import TableWeight
from tests.cases import for_each
from tests.fixtures import draw
from tests.nn.coded_tables import make_table

ROWS, DIM = 40, 6
IDS = torch.tensor([[3, 0], [39, 3]])
Table = LowRankRepresentation | CodedRepresentation


def low_rank() -> Table:
    """Make 40 rows over three bases."""
    return LowRankRepresentation.from_factors(bases=draw(3, DIM), weights=draw(ROWS, 3, seed=1))


def coded() -> Table:
    """Make 40 rows whose weights are coded."""
    return make_table()[0]


def dense_of(table: Table) -> Tensor:
    """Decode a table, without its graph."""
    return table().detach()


# What is done with a weight, and whether it may decode the whole table.
OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "embedding": (lambda weight: nn.functional.embedding(IDS, weight, padding_idx=3), False),
    "embedding of max_norm": (lambda weight: nn.functional.embedding(IDS, weight, max_norm=0.5), False),
    "embedding_bag": (lambda weight: nn.functional.embedding_bag(IDS, weight, mode="sum"), False),
    "linear": (lambda weight: nn.functional.linear(draw(2, weight.shape[1], seed=3), weight, torch.ones(ROWS)), False),
    "one row": (lambda weight: weight[5], False),
    "the last row": (lambda weight: weight[-1], False),
    "rows": (lambda weight: weight[IDS], False),
    "rows from the end": (lambda weight: weight[torch.tensor([-1, 2])], False),
    "index_select": (lambda weight: weight.index_select(0, IDS.flatten()), False),
    "torch.index_select": (lambda weight: torch.index_select(weight, 0, IDS.flatten()), False),
    "a column": (lambda weight: weight[:, 1], True),
    "a slice": (lambda weight: weight[2:5], True),
    "a mask": (lambda weight: weight[torch.arange(ROWS) < 3], True),
    "transposed product": (lambda weight: draw(2, weight.shape[1], seed=3) @ weight.T, True),
    "concatenated": (lambda weight: torch.cat([weight, weight]), True),
    "a sum": (lambda weight: weight.sum() + weight.norm(), True),
    "data": (lambda weight: weight.data.clone(), True),
    "rows of data": (lambda weight: weight.data[IDS], False),
    "embedding of data": (lambda weight: nn.functional.embedding(IDS, weight.data), False),
    "linear of data": (lambda weight: nn.functional.linear(draw(2, weight.shape[1], seed=3), weight.data), True),
    "numpy": (lambda weight: torch.from_numpy(weight.detach().numpy()), True),
}


@pytest.mark.parametrize("make", [low_rank, coded])
@for_each(("operate", "decodes"), OPERATIONS.values())
def test_weight_gives_what_the_dense_matrix_gives(
    make: Callable[[], Table], operate: Callable[[Tensor], Tensor], decodes: bool
) -> None:
    """Every operation gives the result of the decoded matrix; those by rows never decode the whole table."""
    table = make()
    expected = operate(dense_of(table))
    whole: list[None] = []
    look_up = table.look_up
    table.look_up = lambda ids: whole.append(None) or look_up(ids) if ids is None else look_up(ids)
    actual = operate(table.weight)
    torch.testing.assert_close(actual.detach(), expected, rtol=1e-5, atol=1e-5)
    assert type(actual) is Tensor
    assert bool(whole) is decodes


def test_weight_is_described_without_decoding() -> None:
    """Shape, dtype, device and what is trained are those of the table, and reading them looks nothing up."""
    table = low_rank().bfloat16()
    table.look_up = None  # any lookup would fail
    weight = table.weight
    assert (weight.shape, weight.size(), len(weight)) == ((ROWS, DIM), (ROWS, DIM), ROWS)
    assert (weight.dtype, weight.device, weight.ndim, weight.numel()) == (torch.bfloat16, table.device, 2, ROWS * DIM)
    assert weight.requires_grad
    assert weight.is_floating_point()
    weight.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in table.parameters())
    weight.requires_grad = True
    assert all(parameter.requires_grad for parameter in table.parameters())


def test_weight_sends_gradients_to_the_factors() -> None:
    """The gradient of a function of the weight is that of the dense matrix by the chain rule."""
    table = low_rank()
    scores = draw(2, DIM, seed=3) @ table.weight.T
    scores.square().sum().backward()
    dense = dense_of(table).requires_grad_()
    (draw(2, DIM, seed=3) @ dense.T).square().sum().backward()
    torch.testing.assert_close(table.weights.grad, dense.grad @ table.bases.stored.detach().T, rtol=1e-5, atol=1e-5)


WRITES: dict[str, Callable[[Tensor], Any]] = {
    "init": nn.init.zeros_,
    "copy_": lambda weight: weight.copy_(torch.zeros(ROWS, DIM)),
    "one row": lambda weight: weight.__setitem__(0, 0.0),
    "data": lambda weight: setattr(weight, "data", torch.zeros(ROWS, DIM)),
    "out": lambda weight: torch.add(torch.ones(ROWS, DIM), 1, out=weight),
    "init by name": lambda weight: nn.init.normal_(tensor=weight),
    "copy_ to data": lambda weight: weight.data.copy_(torch.zeros(ROWS, DIM)),
    "one row of data": lambda weight: weight.data.__setitem__(0, 0.0),
    "data in place": lambda weight: weight.data.mul_(2),
    "gradients of data": lambda weight: weight.data.requires_grad_(),
    "many": lambda weight: torch._foreach_mul_([weight], 2.0),
}


@for_each("write", WRITES.values())
def test_weight_refuses_to_be_written(write: Callable[[Tensor], Any]) -> None:
    """What would write to a decoded copy, and change nothing, is a TypeError; the table stays."""
    table = low_rank()
    before = dense_of(table)
    with torch.no_grad(), pytest.raises(TypeError, match="would write to the weight of a compressed table"):
        write(table.weight)
    assert torch.equal(dense_of(table), before)


class OwnProduct(torch.autograd.Function):
    """Scores with a backward of their own, as fused losses have: torch's Python code does not see its arguments."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, weight: Tensor) -> Tensor:
        """Score rows."""
        ctx.save_for_backward(query, weight)
        return query @ weight.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Give both gradients."""
        query, weight = ctx.saved_tensors
        return gradient @ weight, gradient.T @ query


@for_each("make", [low_rank, coded])
def test_weight_sends_gradients_from_functions_with_their_own_backward(make: Callable[[], Table]) -> None:
    """Such a function gives every parameter the gradient that the same product by torch gives it; data gives none."""
    table = make()
    query = draw(2, table.shape[0], seed=3)
    (query @ table.weight.T).square().sum().backward()
    expected = {name: parameter.grad.clone() for name, parameter in table.named_parameters()}
    table.zero_grad()
    with torch.no_grad():
        weight = table.weight
    OwnProduct.apply(query, weight).square().sum().backward()
    for name, parameter in table.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-4)
    assert not OwnProduct.apply(query, table.weight.data).requires_grad


def test_weight_refuses_what_would_act_on_a_copy() -> None:
    """An optimizer of the weight, hooks on it and its address would do nothing, in silence, or worse."""
    table = low_rank()
    with pytest.raises(ValueError, match="non-leaf"):
        torch.optim.SGD([table.weight], lr=1.0)
    for act in (lambda weight: weight.register_hook(print), lambda weight: weight.retain_grad()):
        with pytest.raises(TypeError, match="would act on one decoded copy"):
            act(table.weight)
    with pytest.raises(TypeError, match="has no memory of its own"):
        table.weight.data_ptr()


@for_each("make", [low_rank, lambda: LowRankHead(low_rank())])
def test_weight_refuses_to_be_assigned(make: Callable[[], Any]) -> None:
    """Another tensor is an AttributeError that says what to do; the weight itself, as tying assigns it, is fine."""
    module = make()
    before = module.weight.detach()
    for value in (nn.Parameter(torch.zeros(ROWS, DIM)), torch.zeros(ROWS, DIM), low_rank().weight):
        with pytest.raises(AttributeError, match="cannot be assigned: train the parameters"):
            module.weight = value
    module.weight = module.weight
    assert torch.equal(module.weight.detach(), before)


def test_weight_is_an_ordinary_tensor_to_a_compiler() -> None:
    """A compiled function that reads the weight compiles without a break."""
    table = low_rank()
    compiled = torch.compile(lambda query: query @ table.weight.T, backend="eager", fullgraph=True)
    query = draw(2, DIM, seed=3)
    torch.testing.assert_close(compiled(query), query @ dense_of(table).T)


@for_each("make", [low_rank, coded])
def test_table_can_be_read_like_an_embedding(make: Callable[[], Table]) -> None:
    """Sizes, length, rows by number, by slice, by list and by array are those of the dense rows."""
    table = make()
    dense = dense_of(table)
    assert (table.num_embeddings, len(table)) == (ROWS, ROWS)
    assert table.embedding_dim == dense.shape[1]
    assert torch.equal(table[5].detach(), dense[5])
    assert torch.equal(table[2:9:3].detach(), dense[2:9:3])
    for ids in ([1, 7], [[1], [7]], (1, 7), range(1, 3), [], IDS.int().numpy(), IDS.numpy()[::-1], IDS.to(torch.uint8)):
        at = torch.tensor(ids.tolist() if hasattr(ids, "tolist") else list(ids), dtype=torch.long)
        assert torch.equal(table(ids).detach(), dense[at])
    assert torch.equal(table(7).detach(), dense[7])
    assert len(list(table)) == ROWS


@for_each("make", [low_rank, coded])
def test_table_names_the_ids_that_it_lacks(make: Callable[[], Table]) -> None:
    """Ids outside are an IndexError with these ids, the size and the table's name; no integers are a TypeError."""
    table = make()
    table.table_name = "wte.weight"
    message = r"ids of table 'wte\.weight' must be in 0\.\.39; got -2, 40\."
    with pytest.raises(IndexError, match=message):
        table(torch.tensor([3, -2, 40]))
    with pytest.raises(IndexError, match=message):
        table([3, 40, -2])
    with pytest.raises(IndexError):
        table([2**70])
    for wrong in ([1.5], ["a"], torch.tensor([True]), [[1], [2, 3]], True):
        with pytest.raises(TypeError, match="ids must be integers"):
            table(wrong)


@for_each("make", [low_rank, coded])
def test_table_loses_no_rows_in_silence(make: Callable[[], Table]) -> None:
    """to_empty is refused where there are rows; on meta there are none, and memory that comes holds NaN."""
    table = make()
    dense = dense_of(table)
    with pytest.raises(RuntimeError, match="to_empty would leave"):
        nn.ModuleList([table]).to_empty(device="cpu")
    assert torch.equal(dense_of(table), dense)
    state = table.state_dict()
    emptied = copy.deepcopy(table).to("meta")
    assert emptied.device.type == "meta"
    emptied.to_empty(device="cpu")
    assert all(value.isnan().all() for value in emptied.parameters())
    emptied.load_state_dict(state)
    assert torch.equal(dense_of(emptied), dense)


@for_each("make", [low_rank, coded, lambda: LowRankHead(coded(), nn.Parameter(torch.ones(ROWS)))])
def test_table_is_copied_and_pickled(tmp_path_factory: pytest.TempPathFactory, make: Callable[[], Any]) -> None:
    """Copies, pickles and files read with weights_only and our safe_globals have the same weight."""
    module = make()
    expected = module.weight.detach()
    path = tmp_path_factory.mktemp("saved") / "module.pt"
    torch.save(module, path)
    with torch.serialization.safe_globals(embcompress.nn.safe_globals()):
        loaded = torch.load(path, weights_only=True)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded):
        assert isinstance(other.weight, TableWeight)
        assert torch.equal(other.weight.detach(), expected)
