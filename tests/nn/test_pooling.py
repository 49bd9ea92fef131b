"""Bags over compressed tables: rows, gradients and refusals are those of torch's over the dense table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from embcompress.nn import CodedRepresentation, LowRankRepresentation
from embcompress.nn.pooling import pool_rows
from tests.cases import for_each
from tests.fixtures import draw
from tests.nn.coded_tables import make_table

ROWS, DIM = 40, 6
IDS = torch.tensor([3, 0, 7, 3, 39, 0, 1, 2])
OFFSETS = torch.tensor([0, 3, 3, 5])
SQUARE = IDS.view(2, 4)
Table = LowRankRepresentation | CodedRepresentation


def low_rank() -> Table:
    """Make 40 rows over three bases."""
    return LowRankRepresentation.from_factors(bases=draw(3, DIM), weights=draw(ROWS, 3, seed=1))


def softmax_weights() -> Table:
    """Make 40 rows over three bases, of weights that are normalised in every lookup."""
    kwargs = {"normalizer": "softmax"}
    return LowRankRepresentation.from_factors(bases=draw(3, DIM), weights=draw(ROWS, 3, seed=1), weight_kwargs=kwargs)


def with_bases() -> Table:
    """Make 40 coded rows over bases."""
    return make_table(way="bases")[0]


def own_columns() -> Table:
    """Make 40 coded rows without bases."""
    return make_table(way="own columns")[0]


ARGUMENTS = (
    {"offsets": OFFSETS},
    {"offsets": OFFSETS, "padding_idx": 0},
    {"offsets": OFFSETS, "padding_idx": 30},
    {"offsets": OFFSETS, "padding_idx": -1},
    {"offsets": torch.tensor([0, 3, 3, 8]), "include_last_offset": True},
    {"offsets": OFFSETS.int(), "max_norm": 0.5},
    {},
    {"padding_idx": 3},
)


@pytest.mark.parametrize("make", [low_rank, softmax_weights, with_bases, own_columns])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@for_each("arguments", ARGUMENTS)
@for_each("weighted", [False, True])
def test_pool_rows_equals_torch(make: object, mode: str, arguments: dict[str, object], weighted: bool) -> None:
    """Bags, their padding, empty ones and weights of samples give torch's results and gradients over the dense rows."""
    table = make()
    dense = table().detach().requires_grad_()
    ids = IDS if "offsets" in arguments else SQUARE
    weights = (
        [draw(*ids.shape, seed=2).requires_grad_() for _ in range(2)] if weighted and mode == "sum" else [None] * 2
    )
    theirs = dict(arguments)
    if "offsets" in theirs:
        theirs["offsets"] = theirs["offsets"].long()
    actual = pool_rows(table, ids, mode=mode, per_sample_weights=weights[0], **arguments)
    if "max_norm" in theirs:  # torch scales rows down in the table itself
        limit = theirs.pop("max_norm")
        scaled = dense * limit / dense.norm(dim=1, keepdim=True).clamp_min(limit)
        expected = nn.functional.embedding_bag(ids, scaled, mode=mode, per_sample_weights=weights[1], **theirs)
    else:
        expected = nn.functional.embedding_bag(ids, dense, mode=mode, per_sample_weights=weights[1], **theirs)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    factor = draw(*actual.shape, seed=4)
    (actual * factor).sum().backward()
    (expected * factor).sum().backward()
    if weights[0] is not None:
        torch.testing.assert_close(weights[0].grad, weights[1].grad, rtol=1e-4, atol=1e-4)
    if isinstance(table, LowRankRepresentation):
        used = table.weights_of(None).detach()
        of_weights, of_bases = dense.grad @ table.bases.stored.detach().T, used.T @ dense.grad  # by the chain rule
        if table.weight_normalizer is not None:
            of_weights = used * (of_weights - (used * of_weights).sum(dim=-1, keepdim=True))
        torch.testing.assert_close(table.weights.grad, of_weights, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(table.bases.stored.grad, of_bases, rtol=1e-4, atol=1e-4)
    elif table.bases is not None:
        by_chain_rule = table.weights_of(None).detach().T @ dense.grad.flatten(1)
        torch.testing.assert_close(table.bases.grad, by_chain_rule, rtol=1e-4, atol=1e-3)


@for_each("mode", ["sum", "max"])
@for_each("make", [low_rank, with_bases])
def test_pool_rows_compiles_without_a_break(make: object, mode: str) -> None:
    """Compiled as one graph, bags with padding are what they are without."""
    table = make()
    compiled = torch.compile(pool_rows, backend="eager", fullgraph=True)
    options = {"offsets": OFFSETS, "padding_idx": 0, "mode": mode}
    torch.testing.assert_close(compiled(table, IDS, **options), pool_rows(table, IDS, **options), rtol=1e-5, atol=1e-5)


def test_pool_rows_decodes_a_row_once() -> None:
    """Of ids that repeat, every row is decoded once."""
    table = with_bases()
    asked: list[Tensor] = []
    weights_of = table.weights_of
    table.weights_of = lambda ids: asked.append(ids) or weights_of(ids)
    pool_rows(table, IDS, offsets=OFFSETS)
    assert [ids.tolist() for ids in asked] == [[0, 1, 2, 3, 7, 39]]


@for_each("make", [low_rank, with_bases])
def test_pool_rows_refuses_what_torch_refuses(make: object) -> None:
    """Ids outside are named; weights of samples go with sums alone; offsets go with one axis alone."""
    table = make()
    with pytest.raises(IndexError, match=r"must be in 0\.\.39; got -1, 40\."):
        pool_rows(table, torch.tensor([[40, -1]]))
    with pytest.raises(NotImplementedError, match="mode='sum'"):
        pool_rows(table, SQUARE, mode="mean", per_sample_weights=torch.ones(2, 4))
    with pytest.raises(ValueError, match="offsets"):
        pool_rows(table, SQUARE, offsets=OFFSETS)
    with pytest.raises(ValueError, match="offsets"):
        pool_rows(table, IDS)
