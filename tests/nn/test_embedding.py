"""Embedding: the rows that were drawn or given, kept, constrained and looked up as PyKEEN's are."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from embcompress.nn import Embedding
from tests.cases import for_each

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
PYKEEN_ARGUMENTS = (
    "max_id, num_embeddings, embedding_dim, shape, initializer, initializer_kwargs, constrainer, constrainer_kwargs, "
    "trainable, dtype, normalizer, normalizer_kwargs, dropout"
)
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
SHAPES = [(4,), (2, 3)]
ROWS = 7


def draw(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, *, device: str = "cpu") -> Tensor:
    """Draw values (ROWS, *shape), N(0, 1), on the CPU, the same on every device."""
    return torch.randn(ROWS, *shape, dtype=dtype, generator=Generator().manual_seed(4)).to(device)


def interleave(values: Tensor) -> Tensor:
    """Lay complex entries out by hand: (rows, *shape) to (rows, re im re im ...); real ones flat."""
    if not values.is_complex():
        return values.flatten(1)
    flat = values.resolve_conj().flatten(1)
    stored = torch.empty(len(flat), 2 * flat.shape[1], dtype=flat.real.dtype, device=flat.device)
    stored[:, ::2], stored[:, 1::2] = flat.real, flat.imag
    return stored


def scale_rows(values: Tensor, *, maxnorm: float | None = None) -> Tensor:
    """Divide rows, over all their axes, by their norm, or by what is above maxnorm: in float64, then cast back."""
    wide = values.to(torch.complex128 if values.is_complex() else torch.float64)
    norms = wide.flatten(1).abs().square().sum(dim=1).sqrt().view(-1, *[1] * (values.ndim - 1))
    return (wide / (norms if maxnorm is None else (norms / maxnorm).clamp_min(1))).to(values.dtype)


def reset_from_the_deepest(model: torch.nn.Module) -> None:
    """Reset every submodule that can be, children before parents, as PyKEEN does when a model is made."""
    for module in reversed(list(model.modules())):
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()


class Recorder:
    """Stand in for a regularizer: keep the rows that it is shown."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def update(self, rows: Tensor) -> None:
        """Keep the rows."""
        self.seen.append(rows.detach().clone())


def count_up(table: Tensor, *, first: float = 0.0) -> Tensor:
    """Number the entries from `first`, in a new tensor."""
    return torch.arange(first, first + table.numel(), dtype=table.dtype, device=table.device).view_as(table)


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    """Make float64 torch's default for one test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


# --- construction


def test_embedding_has_the_signature_of_pykeen() -> None:
    """PyKEEN's arguments come first and in its order, may be left out, and mean the same when given by position."""
    parameters = inspect.signature(Embedding).parameters
    names = list(parameters)[:13]
    assert ", ".join(names) == PYKEEN_ARGUMENTS
    assert {name: parameters[name].default for name in names} == {**dict.fromkeys(names), "trainable": True}
    table = Embedding(
        3,
        3,
        None,
        (2, 2),
        count_up,
        {"first": 3.0},
        "clamp",
        {"max": 0.0},
        False,
        torch.float64,
        "clamp",
        {"min": 5.0},
        0.0,
    )
    assert table.stored.tolist() == [[3, 4, 5, 6], [7, 8, 9, 10], [11, 12, 13, 14]]
    assert table(torch.tensor(0)).tolist() == [[5, 5], [5, 6]]
    assert (table.dtype, table.stored.requires_grad) == (torch.float64, False)
    assert Embedding(3, None, 5).stored.shape == (3, 5)


@pytest.mark.parametrize(
    ("kwargs", "max_id", "shape"),
    [
        ({"max_id": 3, "embedding_dim": 4}, 3, (4,)),
        ({"num_embeddings": 3, "shape": 4}, 3, (4,)),
        ({"max_id": 3, "num_embeddings": 3, "shape": [2, 3]}, 3, (2, 3)),
        ({"max_id": 3, "shape": torch.Size([2, 1, 3])}, 3, (2, 1, 3)),
    ],
    ids=["embedding_dim", "num_embeddings", "both counts", "three axes"],
)
def test_embedding_takes_its_sizes_by_either_name(kwargs: dict[str, Any], max_id: int, shape: tuple[int, ...]) -> None:
    """max_id and num_embeddings are one number, embedding_dim is the shape of a vector; shape is a tuple after."""
    table = Embedding(**kwargs, initializer=count_up)
    assert (table.max_id, table.shape, type(table.shape)) == (max_id, shape, tuple)
    assert torch.equal(table(), torch.arange(float(max_id * math.prod(shape))).view(max_id, *shape))
    assert f"max_id={max_id}, shape={shape}, parameters={table().numel()}, trainable={table().numel()}" in repr(table)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"shape": 4}, "max_id is missing"),
        ({"max_id": 3, "num_embeddings": 4, "shape": 4}, "max_id=3 and num_embeddings=4"),
        ({"max_id": 3}, "exactly one of embedding_dim and shape"),
        ({"max_id": 3, "embedding_dim": 4, "shape": 4}, "exactly one of embedding_dim and shape"),
        ({"max_id": 0, "shape": 4}, "max_id must be an integer of at least 1; got 0"),
        ({"num_embeddings": 0, "shape": 4}, "at least 1; got 0"),
        ({"max_id": 3.0, "shape": 4}, "got 3.0"),
        ({"max_id": True, "shape": 4}, "got True"),
        ({"max_id": 3, "embedding_dim": 0}, "at least 1; got 0"),
        ({"max_id": 3, "shape": (2, -1)}, "at least 1; got -1"),
        ({"max_id": 3, "shape": 4, "initializer": "nope"}, "no initializer is called 'nope'"),
        ({"max_id": 3, "shape": 4, "constrainer": "nope"}, "no constrainer is called 'nope'"),
        ({"max_id": 3, "shape": 4, "normalizer": "nope"}, "no normalizer is called 'nope'"),
        ({"max_id": 3, "shape": 4, "dropout": 1.5}, "between 0 and 1"),
    ],
    ids=str,
)
def test_embedding_refuses_sizes_and_names(kwargs: dict[str, Any], message: str) -> None:
    """Sizes missing, given twice, at odds or below 1, and names that nothing has, are a ValueError that says which."""
    with pytest.raises(ValueError, match=message):
        Embedding(**kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"initializer": "normal", "initializer_kwargs": {"sd": 1.0}},
        {"initializer": "zeros", "generator": Generator()},
        {"constrainer": "clamp_norm"},
        {"constrainer": "normalize", "constrainer_kwargs": {"maxnorm": 1.0}},
        {"normalizer": "clamp", "normalizer_kwargs": {"minimum": 1.0}},
    ],
    ids=["initializer", "generator", "constrainer lacks", "constrainer", "normalizer"],
)
def test_embedding_refuses_wrong_arguments_at_construction(kwargs: dict[str, Any]) -> None:
    """What an initializer, a constrainer or a normalizer does not take, or lacks, is a TypeError before training."""
    with pytest.raises(TypeError):
        Embedding(3, shape=4, **kwargs)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16, torch.bfloat16], ids=str)
def test_embedding_has_the_dtype_and_device_asked_for(dtype: torch.dtype, device: str) -> None:
    """Rows and attributes have them, the stored table the real dtype of a part; entries are N(0, 1) by default."""
    table = Embedding(500, shape=(4, 5), dtype=dtype, device=device, generator=Generator(device).manual_seed(1))
    assert (table.dtype, table.device.type, table.is_complex) == (dtype, device, dtype.is_complex)
    rows = table(torch.tensor([[1, 2]], device=device))
    assert (rows.dtype, rows.device.type, rows.shape) == (dtype, device, (1, 2, 4, 5))
    assert table.stored.dtype == dtype.to_real()
    stored = table.stored.detach().double()
    draws = 10_000 * (1 + dtype.is_complex)
    assert stored.shape == (500, draws // 500)
    rounding = torch.finfo(dtype).eps
    assert float(stored.mean()) == pytest.approx(0, abs=5 / math.sqrt(draws) + rounding)
    assert float(stored.square().mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / draws) + rounding)


@pytest.mark.usefixtures("float64_by_default")
def test_embedding_has_the_default_dtype_of_torch() -> None:
    """Without a dtype it is torch's default at construction."""
    assert Embedding(3, shape=4).dtype == torch.float64
    assert Embedding.from_pretrained(torch.ones(3, 4, dtype=torch.float32)).dtype == torch.float32


def test_embedding_moves_and_casts_as_a_module() -> None:
    """A complex table cast by `double()` gives complex128 rows of the same values."""
    values = draw((2, 3), torch.complex64)
    table = Embedding.from_pretrained(values).double()
    assert table.dtype == torch.complex128
    assert torch.equal(table(), values.to(torch.complex128))


def test_embedding_shows_complex_tables_as_pairs() -> None:
    """An initializer sees (rows, d, 2): phases have modulus 1, and xavier counts both parts of each entry."""
    kwargs: dict[str, Any] = {"shape": 6, "dtype": torch.complex128, "generator": Generator().manual_seed(1)}
    phases = Embedding(2000, **kwargs, initializer="init_phases")().detach()
    torch.testing.assert_close(phases.abs(), torch.ones(2000, 6, dtype=torch.float64), rtol=1e-14, atol=0)
    # U(-a, a) with a = sqrt(6 / 12): of 24,000 draws the greatest misses a by a / 24,000 on average
    stored = Embedding(2000, **kwargs, initializer="xavier_uniform").stored.detach()
    assert float(stored.abs().max()) == pytest.approx(math.sqrt(1 / 2), rel=20 / 24_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_embedding_draws_from_the_generator(dtype: torch.dtype, device: str) -> None:
    """The same seed gives the same table whatever the global one, which stays where it was; another seed another."""
    tables = []
    for global_seed, seed in ((0, 1), (9, 1), (9, 2)):
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        generator = Generator(device).manual_seed(seed)
        tables.append(Embedding(5, shape=(2, 2), dtype=dtype, device=device, generator=generator).stored)
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(tables[0], tables[1])
    assert not torch.isclose(tables[0], tables[2]).any()


# --- looking up


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@for_each("shape", SHAPES)
def test_embedding_looks_up_rows(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    """None, 0-d, 1-D, 2-D and empty ids of every integer dtype give the rows of the values, to the bit."""
    values = draw(shape, dtype, device=device)
    table = Embedding.from_pretrained(values)
    assert (table.max_id, table.shape, table.device) == (ROWS, shape, values.device)
    assert torch.equal(table(), values)
    for integer in INTEGERS:
        given: list[Any] = [[3, 0, 6, 3], [[1, 2], [6, 0], [5, 5]], 4, [], [[]]]
        for ids in given:
            indices = torch.tensor(ids, dtype=integer, device=device)
            assert torch.equal(table(indices), values[indices.long()])


@pytest.mark.parametrize("ids", [[ROWS], [-1], [0, 2**40]], ids=str)
def test_embedding_refuses_ids_outside_the_table(ids: list[int]) -> None:
    """Too large an id and a negative one are an IndexError: no row is taken from the other end."""
    with pytest.raises(IndexError):
        Embedding.from_pretrained(draw((4,)))(torch.tensor(ids))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.complex64], ids=str)
def test_embedding_refuses_ids_that_are_no_integers(dtype: torch.dtype) -> None:
    """A mask is no list of ids, and 2.7 is no row: TypeError."""
    with pytest.raises(TypeError, match="ids must be integers"):
        Embedding.from_pretrained(draw((4,)))(torch.ones(ROWS).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@for_each("shape", SHAPES)
def test_embedding_learns_the_rows_looked_up(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """The gradient of sum |row|^2 is 2 x per lookup, as often as an id occurs, and zero for other rows."""
    values = draw(shape, dtype)
    table = Embedding.from_pretrained(values, trainable=True)
    table(torch.tensor([[4, 1], [4, 4]])).abs().square().sum().backward()
    times = torch.tensor([0, 1, 0, 0, 3, 0, 0], dtype=dtype.to_real()).view(-1, 1)
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        table.stored.grad, 2 * times * interleave(values), rtol=tolerance, atol=tolerance * float(values.abs().max())
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_frozen_embedding_has_no_gradient(dtype: torch.dtype) -> None:
    """Nothing is trained: rows need no gradient, a loss made with them leaves none, and the count says 0."""
    table = Embedding(ROWS, shape=4, dtype=dtype, trainable=False)
    factor = torch.ones(4, requires_grad=True)
    rows = table(torch.tensor([1, 2]))
    (rows * factor).abs().sum().backward()
    torch.testing.assert_close(factor.grad, rows.abs().sum(dim=0))
    assert [parameter.grad for parameter in table.parameters()] == [None]
    assert not rows.requires_grad
    assert f"parameters={table.stored.numel()}, trainable=0" in repr(table)


# --- normalizer, regularizer, dropout


@pytest.mark.parametrize(("name", "kwargs"), [("normalize", {}), ("clamp_norm", {"maxnorm": 1.5})], ids=str)
@for_each("ids", [[0, 3, 3], [[1, 2], [6, 0]], 4, None, []])
@for_each("shape", SHAPES)
@for_each("dtype", [torch.float32, torch.complex64])
def test_embedding_normalizes_each_row_looked_up(
    name: str, kwargs: dict[str, float], dtype: torch.dtype, shape: tuple[int, ...], ids: Any, device: str
) -> None:
    """Rows have unit norm, or at most 1.5, over all their axes, for ids of any shape; the table is left alone."""
    values = draw(shape, dtype, device=device)
    table = Embedding.from_pretrained(values, normalizer=name, normalizer_kwargs=kwargs)
    indices = None if ids is None else torch.tensor(ids, dtype=torch.int64, device=device)
    expected = scale_rows(values, **kwargs)
    expected = expected if indices is None else expected[indices]
    torch.testing.assert_close(table(indices), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(table.stored, interleave(values))


def test_embedding_normalizes_then_regularizes_then_drops_out() -> None:
    """The regularizer sees unit rows, once a lookup and none zeroed; dropout of them zeroes some, doubles others."""
    values = draw((400,))
    recorder = Recorder()
    table = Embedding.from_pretrained(values, normalizer="normalize", dropout=0.5, regularizer=recorder)
    ids = torch.tensor([[2, 5], [0, 2]])
    torch.manual_seed(0)
    trained = table.train()(ids)
    expected = scale_rows(values)[ids]
    assert len(recorder.seen) == 1
    torch.testing.assert_close(recorder.seen[0], expected, rtol=1e-6, atol=1e-7)
    is_kept = trained != 0
    assert float(is_kept.double().mean()) == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(trained.numel()))
    torch.testing.assert_close(trained, 2 * expected * is_kept, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(table.eval()(ids), expected, rtol=1e-6, atol=1e-7)
    assert len(recorder.seen) == 2


def test_embedding_keeps_the_gradient_through_all_steps() -> None:
    """With normalizer and regularizer, the gradient of <row, g> is (g - <g, u> u) / |x|, where u = x / |x|."""
    values = draw((4,), torch.float64)
    table = Embedding.from_pretrained(values, trainable=True, normalizer="normalize", regularizer=Recorder())
    direction = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    (table(torch.tensor([3])) @ direction).sum().backward()
    unit, norm = values[3] / values[3].norm(), values[3].norm()
    assert table.stored.grad is not None
    expected = (direction - (direction @ unit) * unit) / norm
    torch.testing.assert_close(table.stored.grad[3], expected, rtol=1e-13, atol=1e-13)


# --- starting again


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_reset_draws_a_trainable_table_anew(dtype: torch.dtype) -> None:
    """The same parameter, which an optimizer may hold, gets the next draw of the same initializer."""
    kwargs = {"a": 5.0, "b": 6.0}
    table = Embedding(ROWS, shape=(2, 3), dtype=dtype, initializer="uniform", initializer_kwargs=kwargs)
    parameter, before = table.stored, table.stored.detach().clone()
    torch.manual_seed(1)
    table.reset_parameters()
    first = table.stored.detach().clone()
    assert table.stored is parameter
    assert parameter.requires_grad
    assert not torch.isclose(first, before).all()
    assert 5 <= float(first.min()) < float(first.max()) <= 6
    table.reset_parameters()
    assert not torch.isclose(table.stored, first).all()
    torch.manual_seed(1)
    table.reset_parameters()
    assert torch.equal(table.stored, first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each("how", ["trainable=False", "from_pretrained", "requires_grad_", "thawed"])
def test_reset_leaves_frozen_tables_to_the_bit(dtype: torch.dtype, how: str) -> None:
    """A table frozen at construction or later draws nothing; values given frozen stay even when thawed."""
    if how in ("from_pretrained", "thawed"):
        table = Embedding.from_pretrained(draw((2, 3), dtype))
        table.requires_grad_(how == "thawed")
    else:
        table = Embedding(ROWS, shape=(2, 3), dtype=dtype, trainable=how == "requires_grad_")
        table.requires_grad_(False)
    before, state = table.stored.detach().clone(), torch.get_rng_state()
    table.reset_parameters()
    assert torch.equal(table.stored, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("is_trainable", [False, True], ids=["frozen", "trainable"])
def test_reset_of_every_submodule_as_pykeen_does(is_trainable: bool) -> None:
    """Resetting the modules of a model from the deepest up keeps given tables, and draws a drawn one by its own law."""
    values = draw((2, 3), torch.complex64)
    given = Embedding.from_pretrained(values, trainable=is_trainable)
    drawn = Embedding(ROWS, shape=4, initializer="uniform", initializer_kwargs={"a": 5, "b": 6}, trainable=is_trainable)
    before = drawn.stored.detach().clone()
    model = torch.nn.ModuleList([torch.nn.ModuleList([given]), drawn, torch.nn.Linear(2, 2)])
    reset_from_the_deepest(model)
    assert torch.equal(given(), values)
    assert torch.equal(drawn.stored, before) != is_trainable
    stored = drawn.stored.detach()
    assert 5 <= float(stored.min()) < float(stored.max()) <= 6


# --- values given


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@for_each("is_trainable", [None, False, True])
@for_each("shape", SHAPES)
def test_from_pretrained_holds_a_copy(
    dtype: torch.dtype, shape: tuple[int, ...], is_trainable: bool | None, device: str
) -> None:
    """The rows are the values; changing either never changes the other; frozen unless told; a reset goes back."""
    values = draw(shape, dtype, device=device)
    copy = values.clone()
    table = Embedding.from_pretrained(values, **({} if is_trainable is None else {"trainable": is_trainable}))
    assert torch.equal(table(), copy)
    assert table.stored.requires_grad is bool(is_trainable)
    values.mul_(-2)
    assert torch.equal(table(), copy)
    if is_trainable:  # the copy to go back to is not the caller's either
        table.reset_parameters()
        assert torch.equal(table(), copy)
    with torch.no_grad():
        table.stored.fill_(9)
    assert torch.equal(values, copy * -2)
    table.reset_parameters()
    assert torch.equal(table.stored, interleave(copy) if is_trainable else torch.full_like(table.stored, 9))


@pytest.mark.parametrize("is_trainable", [False, True], ids=["frozen", "trainable"])
def test_from_pretrained_reads_tensors_of_any_layout(is_trainable: bool) -> None:
    """Transposed, expanded, conjugated and differentiable values give the rows that they show, without history."""
    conjugated = draw((4,), torch.complex64).conj()
    for values in (
        draw((5,)).T,
        torch.ones(1, 3).expand(4, 3),
        conjugated,
        conjugated.imag,
        draw((4,)).requires_grad_(),
    ):
        table = Embedding.from_pretrained(values, trainable=is_trainable)
        table.reset_parameters()
        assert torch.equal(table(), values)
        assert table.stored.is_leaf


def test_from_pretrained_passes_arguments_on() -> None:
    """A dtype given overrules that of the values; a normalizer and a constrainer work; the shape is not to be given."""
    values = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    table = Embedding.from_pretrained(
        values,
        trainable=True,
        dtype=torch.float64,
        normalizer="normalize",
        constrainer="clamp",
        constrainer_kwargs={"max": 1},
    )
    torch.testing.assert_close(table(), torch.tensor([[0.6, 0.8]] * 2, dtype=torch.float64), rtol=1e-6, atol=0)
    table.post_parameter_update()
    assert table.stored.tolist() == torch.tensor([[1, 1], [0.3, 0.4]]).double().tolist()
    for twice in ({"max_id": 2}, {"shape": 2}, {"initializer": "zeros"}):
        with pytest.raises(TypeError, match="multiple values"):
            Embedding.from_pretrained(values, **twice)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_from_pretrained_draws_nothing(dtype: torch.dtype) -> None:
    """The global generator stays where it was."""
    state = torch.get_rng_state()
    Embedding.from_pretrained(draw((4,), dtype), trainable=True).reset_parameters()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("is_trainable", [False, True], ids=["frozen", "trainable"])
def test_hold_takes_values_without_copying(is_trainable: bool) -> None:
    """The memory is the caller's, and what was frozen stays frozen."""
    table = Embedding(3, shape=(1, 2), dtype=torch.complex64, trainable=is_trainable)
    stored = torch.arange(12.0).view(3, 4)
    table.hold(stored)
    assert table.stored.data_ptr() == stored.data_ptr()
    assert table.stored.requires_grad is is_trainable
    assert table(torch.tensor(1)).tolist() == [[4 + 5j, 6 + 7j]]


# --- state, copies, files


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@for_each("shape", SHAPES)
def test_embedding_state_dict_is_that_of_pykeen(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """One key, `_embeddings.weight`, flat rows, complex entries as re and im in turn; loaded strictly to the bit."""
    values = draw(shape, dtype)
    state = Embedding.from_pretrained(values, normalizer="normalize", dropout=0.5).state_dict()
    assert list(state) == ["_embeddings.weight"]
    assert torch.equal(state["_embeddings.weight"], interleave(values))
    other = Embedding(ROWS, shape=shape, dtype=dtype)
    other.load_state_dict(state, strict=True)
    assert torch.equal(other(), values)


@pytest.mark.parametrize("is_trainable", [False, True], ids=["frozen", "trainable"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_embedding_survives_copying_and_pickling(
    how: str, dtype: torch.dtype, is_trainable: bool, tmp_path: Path
) -> None:
    """A copy gives the same rows, shares no memory, and normalises, constrains, freezes and resets as the original."""
    values = draw((2, 3), dtype)
    table = Embedding.from_pretrained(
        values,
        trainable=is_trainable,
        normalizer="normalize",
        constrainer="clamp_norm",
        constrainer_kwargs={"maxnorm": 0.5},
    )
    if how == "pickle":
        torch.save(table, tmp_path / "table.pt")
        again = torch.load(tmp_path / "table.pt", weights_only=False)
    else:
        again = copy.deepcopy(table)
    assert torch.equal(again(), table())
    assert again.stored.requires_grad is is_trainable
    again.post_parameter_update()
    constrained = scale_rows(values, maxnorm=0.5) if is_trainable else values
    torch.testing.assert_close(again.stored.detach(), interleave(constrained), rtol=1e-6, atol=1e-7)
    assert torch.equal(table.stored, interleave(values))
    reset_from_the_deepest(again)
    assert torch.equal(again.stored, interleave(values))


# --- constraints


@pytest.mark.parametrize(("name", "kwargs"), [("normalize", {}), ("clamp_norm", {"maxnorm": 1.5})], ids=str)
@for_each("shape", SHAPES)
@for_each("dtype", [torch.float32, torch.float64, torch.complex64])
def test_post_parameter_update_constrains_rows(
    name: str, kwargs: dict[str, float], dtype: torch.dtype, shape: tuple[int, ...], device: str
) -> None:
    """Every row gets unit norm, or at most 1.5, over all its axes; construction constrains nothing; memory stays."""
    values = draw(shape, dtype, device=device)
    values[2] = 0
    table = Embedding.from_pretrained(values, trainable=True, constrainer=name, constrainer_kwargs=kwargs)
    parameter, address = table.stored, table.stored.data_ptr()
    assert torch.equal(table(), values)
    table.post_parameter_update()
    expected = interleave(torch.where(values == 0, values, scale_rows(values, **kwargs)))
    tolerance = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(table.stored.detach(), expected, rtol=tolerance, atol=tolerance)
    assert (table.stored is parameter, table.stored.data_ptr()) == (True, address)
    assert (parameter.requires_grad, parameter.is_leaf, parameter.grad) == (True, True, None)


def test_post_parameter_update_constrains_entries() -> None:
    """complex_normalize turns entries to modulus 1, whether the table is complex or real with pairs; clamp clamps."""
    values = torch.tensor([[[3.0, 4.0, -5.0, 12.0], [0.0, 0.0, 0.0, -2.0]]])  # (1, 2, 4): two pairs in each
    expected = [[0.6, 0.8, -5 / 13, 12 / 13, 0, 0, 0, -1]]
    for given in (values, torch.view_as_complex(values.view(1, 2, 2, 2))):
        table = Embedding.from_pretrained(given, trainable=True, constrainer="complex_normalize")
        table.post_parameter_update()
        torch.testing.assert_close(table.stored.detach(), torch.tensor(expected), rtol=1e-6, atol=0)
    table = Embedding.from_pretrained(
        values, trainable=True, constrainer="clamp", constrainer_kwargs={"min": -1.0, "max": 3.5}
    )
    table.post_parameter_update()
    assert table.stored.tolist() == [[3, 3.5, -1, 3.5, 0, 0, 0, -1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each("constrainer", [torch.neg, torch.Tensor.neg_])
def test_post_parameter_update_takes_a_function(constrainer: Any, dtype: torch.dtype) -> None:
    """A function of the rows, which may work in place, is applied once."""
    values = draw((2, 3), dtype)
    table = Embedding.from_pretrained(values, trainable=True, constrainer=constrainer)
    table.post_parameter_update()
    assert torch.equal(table(), -values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each("constrainer", ["normalize", None])
def test_post_parameter_update_leaves_frozen_and_unconstrained_tables(
    constrainer: str | None, dtype: torch.dtype
) -> None:
    """A frozen table stays as it is to the bit, and so does one without a constrainer."""
    values = draw((2, 3), dtype)
    table = Embedding.from_pretrained(values, trainable=constrainer is None, constrainer=constrainer)
    table.post_parameter_update()
    assert torch.equal(table(), values)


def test_constrained_embedding_trains() -> None:
    """Steps of SGD with the constraint after each turn all rows to the direction that the loss wants."""
    table = Embedding.from_pretrained(draw((4,), torch.float64), trainable=True, constrainer="normalize")
    table.post_parameter_update()
    direction = torch.tensor([1.0, -2.0, 2.0, 0.0], dtype=torch.float64) / 3
    angles = (table().detach() @ direction).acos()
    optimizer = torch.optim.SGD(table.parameters(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        (-(table() @ direction)).sum().backward()
        optimizer.step()
        table.post_parameter_update()
    # the step adds the direction to a unit row, and the sum of two unit vectors halves their angle
    torch.testing.assert_close((table().detach() @ direction).acos(), angles / 8, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ids", [[], [[]], 1], ids=str)
def test_embedding_normalizes_pairs_for_ids_of_any_shape(ids: Any) -> None:
    """Empty ids give no rows, one id one row of entries of modulus 1."""
    values = torch.tensor([[0.0, 1.0, 1.0, 0.0], [3.0, 4.0, 0.0, -2.0]])
    table = Embedding.from_pretrained(values, normalizer="complex_normalize")
    indices = torch.tensor(ids, dtype=torch.int64)
    expected = torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.6, 0.8, 0.0, -1.0]])[indices]
    torch.testing.assert_close(table(indices), expected)


def test_embedding_of_rows_without_axes() -> None:
    """A table of numbers has the shape (), and one id gives one number."""
    table = Embedding.from_pretrained(torch.tensor([5.0, 7.0]))
    assert table.shape == ()
    assert table(torch.tensor(1)).item() == 7
    assert table().tolist() == [5, 7]


def test_embedding_refuses_constrainers_that_change_the_shape() -> None:
    """A constrainer whose result has as many numbers in another order is refused: a reshape would scramble rows."""
    table = Embedding(3, shape=(2, 3), constrainer=lambda x: x.transpose(1, 2))
    with pytest.raises(ValueError, match="the constrainer made shape"):
        table.post_parameter_update()


def test_embedding_conjugates_by_constrainer() -> None:
    """A constrainer may return a lazily conjugated table."""
    values = torch.tensor([[1 + 2j, 3 - 1j]])
    table = Embedding.from_pretrained(values, constrainer=torch.conj, trainable=True)
    table.post_parameter_update()
    torch.testing.assert_close(table().detach(), values.conj().resolve_conj())


def test_embedding_refuses_tables_of_integers() -> None:
    """An integer dtype is a TypeError that names it."""
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        Embedding(3, shape=4, dtype=torch.int64)
