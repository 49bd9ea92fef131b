"""LowRankRepresentation: rows equal to weights @ bases, however they are looked up, and factors that learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from embcompress.nn import LowRankRepresentation
from tests.cases import for_each

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
ROWS, RANK = 40, 5


def make_factors(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Draw bases (RANK, *shape) of a dtype and real weights (ROWS, RANK)."""
    generator = torch.Generator().manual_seed(7)
    bases = torch.randn(RANK, *shape, dtype=dtype, generator=generator)
    return bases, torch.randn(ROWS, RANK, dtype=dtype.to_real(), generator=generator)


def multiply(bases: Tensor, weights: Tensor) -> Tensor:
    """Multiply out the dense table: the definition, with no view of pairs and no flattening."""
    return torch.einsum("nk,k...->n...", weights.to(bases.dtype), bases)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64], ids=str)
@for_each("shape", [(6,), (3, 4), (2, 1, 3)])
def test_low_rank_looks_up_rows_of_the_product(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """None, 0-d, 1-D, 2-D and empty ids of every integer dtype give the rows of weights @ bases."""
    bases, weights = make_factors(shape, dtype)
    table = LowRankRepresentation.from_factors(bases=bases, weights=weights)
    dense = multiply(bases, weights)
    assert (table.max_id, table.shape, table.is_complex) == (ROWS, shape, dtype.is_complex)
    torch.testing.assert_close(table().detach(), dense, rtol=1e-6, atol=1e-6)
    for integer in INTEGERS:
        for ids in ([3, 0, 39, 3], [[1, 2], [39, 0], [7, 7]], 11, [], [[]]):
            indices = torch.tensor(ids, dtype=integer)
            torch.testing.assert_close(table(indices).detach(), dense[indices.long()], rtol=1e-6, atol=1e-6)


@for_each("dtype", [torch.float32, torch.complex64])
def test_low_rank_looks_up_its_own_dtype_under_autocast(dtype: torch.dtype) -> None:
    """Rows are what they are without autocast, as those of torch.nn.Embedding are; compiled as one graph, too."""
    bases, weights = make_factors((6,), dtype)
    table = LowRankRepresentation.from_factors(bases=bases, weights=weights)
    ids = torch.tensor([3, 0])
    expected = table(ids)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(table(ids), expected)
        assert torch.equal(torch.compile(table, backend="eager", fullgraph=True)(ids), expected)


@pytest.mark.parametrize("ids", [[ROWS], [-1], [0, 2**40]], ids=str)
def test_low_rank_refuses_ids_outside_the_table(ids: list[int]) -> None:
    """Too large an id and a negative one are an IndexError: no row is taken from the other end."""
    bases, weights = make_factors((6,))
    with pytest.raises(IndexError):
        LowRankRepresentation.from_factors(bases=bases, weights=weights)(torch.tensor(ids))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.complex64], ids=str)
def test_low_rank_refuses_ids_that_are_no_integers(dtype: torch.dtype) -> None:
    """A mask is no list of ids, and 2.7 is no row: TypeError, where a cast would look up some row."""
    bases, weights = make_factors((6,))
    with pytest.raises(TypeError, match="ids must be integers"):
        LowRankRepresentation.from_factors(bases=bases, weights=weights)(torch.ones(ROWS).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64], ids=str)
def test_low_rank_learns_both_factors(dtype: torch.dtype) -> None:
    """The gradients of sum |row|^2 are those of the dense product, and zero for weights of rows not looked up."""
    bases, weights = make_factors((3, 2), dtype)
    table = LowRankRepresentation.from_factors(bases=bases, weights=weights)
    ids = torch.tensor([4, 9, 4])
    table(ids).abs().square().sum().backward()
    expected_bases, expected_weights = bases.clone().requires_grad_(), weights.clone().requires_grad_()
    multiply(expected_bases, expected_weights)[ids].abs().square().sum().backward()
    expected = expected_bases.grad
    assert expected is not None
    expected = torch.view_as_real(expected) if dtype.is_complex else expected
    torch.testing.assert_close(table.bases.stored.grad, expected.flatten(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(table.weights.grad, expected_weights.grad, rtol=1e-5, atol=1e-5)
    assert table.weights.grad is not None
    assert table.weights.grad.any(dim=1).nonzero().flatten().tolist() == [4, 9]


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_low_rank_state_dict_round_trip(dtype: torch.dtype) -> None:
    """A new module of the same sizes loads the state dict strictly and gives the same rows to the bit."""
    bases, weights = make_factors((3, 2), dtype)
    table = LowRankRepresentation.from_factors(bases=bases, weights=weights)
    assert sorted(table.state_dict()) == ["bases._embeddings.weight", "weights"]
    other = LowRankRepresentation(max_id=ROWS, shape=(3, 2), num_bases=RANK, dtype=dtype)
    other.load_state_dict(table.state_dict(), strict=True)
    assert torch.equal(other(), table())


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_low_rank_draws_weights_of_unit_l1_norm(dtype: torch.dtype) -> None:
    """Fresh weights are rows of U(0, 1) over their L1 norm, bases N(0, 1); a generator repeats the draw."""
    table, again = (
        LowRankRepresentation(
            max_id=2000, shape=(200,), num_bases=50, dtype=dtype, generator=torch.Generator().manual_seed(3)
        )
        for _ in range(2)
    )
    assert table().dtype == dtype
    weights = table.weights.detach()
    assert torch.equal(weights, again.weights)
    assert torch.equal(table.bases.stored, again.bases.stored)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2000))
    # U(0, 1) over its sum: the spread of one weight is sqrt(1/12) / (50 / 2), within 5 % at 10^5 draws
    assert float(weights.min()) >= 0
    assert float(weights.std()) == pytest.approx((1 / 12) ** 0.5 / 25, rel=0.05)
    assert float(table.bases.stored.detach().std()) == pytest.approx(1, rel=0.05)


def test_low_rank_takes_weights_wider_than_bases() -> None:
    """Weights that were widened because float16 could not hold them give finite rows in the wider dtype."""
    bases = torch.ones(1, 3, dtype=torch.float16)
    weights = torch.tensor([[98304.0], [1.0]])
    table = LowRankRepresentation.from_factors(bases=bases, weights=weights)
    assert table().tolist() == [[98304.0] * 3, [1.0] * 3]
    assert table().dtype == torch.float32


@pytest.mark.parametrize(
    ("bases", "weights"),
    [
        (torch.ones(2, 3), torch.ones(4, 3)),
        (torch.ones(2, 3), torch.ones(2)),
        (torch.ones(2), torch.ones(4, 2)),
        (torch.ones(2, 3), torch.ones(4, 2, dtype=torch.complex64)),
    ],
    ids=["ranks differ", "weights 1-D", "bases 1-D", "weights complex"],
)
def test_low_rank_refuses_factors_that_do_not_fit(bases: Tensor, weights: Tensor) -> None:
    """Factors of different ranks, of too few axes, or complex weights are a ValueError that shows both shapes."""
    with pytest.raises(ValueError, match="must agree in rank"):
        LowRankRepresentation.from_factors(bases=bases, weights=weights)


def test_low_rank_keeps_given_factors_and_the_seed() -> None:
    """Taking factors copies nothing and draws nothing: the memory is theirs, the generator where it was."""
    bases, weights = make_factors((6,))
    before = torch.get_rng_state()
    table = LowRankRepresentation.from_factors(bases=bases, weights=weights)
    assert table.bases.stored.data_ptr() == bases.data_ptr()
    assert table.weights.data_ptr() == weights.data_ptr()
    assert torch.equal(torch.get_rng_state(), before)
    assert "max_id=40, shape=(6,), parameters=230, trainable=230, num_bases=5" in repr(table)


@pytest.mark.parametrize("normalizer", [None, "normalize"])
def test_low_rank_finds_the_rows_of_the_highest_scores(normalizer: str | None) -> None:
    """The k highest scores of two blocks of rows, of which each stands twice, are those of all scores sorted."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.randint(-9, 9, (6000, 3), generator=draw).float().repeat(2, 1)
    table = LowRankRepresentation.from_factors(bases=torch.eye(3), weights=weights, normalizer=normalizer)
    query = torch.randn(2, 3, generator=draw)
    scores, ids = table.topk(query, 50)
    expected = table.scores(query).sort(dim=-1, descending=True, stable=True)
    assert torch.equal(scores, expected.values[:, :50])
    assert torch.equal(ids, expected.indices[:, :50])


@pytest.mark.parametrize("trainable", [True, False])
def test_low_rank_takes_arguments_of_both_factors(trainable: bool) -> None:
    """Weights are constrained, normalised in lookups and in scores, and trained or not by themselves."""
    table = LowRankRepresentation(
        max_id=ROWS,
        shape=6,
        num_bases=RANK,
        generator=torch.Generator().manual_seed(0),
        base_kwargs={"initializer": "xavier_normal", "trainable": False, "dtype": torch.float64, "shape": (6,)},
        weight_kwargs={
            "initializer": "uniform",
            "initializer_kwargs": {"a": 1.0, "b": 3.0},
            "normalizer": "softmax",
            "constrainer": "clamp",
            "constrainer_kwargs": {"max": 2.0},
            "trainable": trainable,
            "shape": RANK,
            "max_id": ROWS,
        },
    )
    assert (table.weights.requires_grad, table.bases.stored.requires_grad) == (trainable, False)
    start = table.weights.detach().clone()
    assert 1 <= float(start.min()) < 2 < float(start.max()) < 3
    table.post_parameter_update()
    weights = start.clamp(max=2.0) if trainable else start
    assert torch.equal(table.weights, weights)
    bases, query = table.bases().detach(), torch.linspace(-1, 1, 6, dtype=torch.float64)
    expected = weights.softmax(dim=-1) @ bases
    torch.testing.assert_close(table().detach(), expected)
    torch.testing.assert_close(table(torch.tensor([[3, 0]])).detach(), expected[torch.tensor([[3, 0]])])
    torch.testing.assert_close(table.scores(query).detach(), expected @ query)
    assert torch.equal(table.topk(query, 3)[1], (expected @ query).topk(3).indices)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"weight_kwargs": {"shape": 4}}, ValueError, "40 rows of 5 numbers; weight_kwargs say shape=4"),
        ({"weight_kwargs": {"max_id": 4}}, ValueError, "40 rows of 5 numbers; weight_kwargs say max_id=4"),
        ({"weight_kwargs": {"dropout": 0.5, "x": 1}}, TypeError, "got dropout, x"),
        ({"weight_kwargs": {"dtype": torch.complex64}}, TypeError, "weights are real; got torch.complex64"),
        ({"weight": "Text"}, TypeError, "weight must be an Embedding, by name or class; got Text"),
        ({"base": nn.Embedding(5, 6)}, TypeError, "base must be an Embedding, by name or class; got Embedding"),
    ],
    ids=str,
)
def test_low_rank_refuses_arguments_of_factors(kwargs: Any, error: type[Exception], message: str) -> None:
    """Sizes at odds, arguments that weights do not take, and factors that are made already or of another kind."""
    with pytest.raises(error, match=message):
        LowRankRepresentation(max_id=ROWS, shape=6, num_bases=RANK, **kwargs)
