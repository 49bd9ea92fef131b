"""Scores block by block, in one thread and in several."""

from __future__ import annotations

import torch
from torch import Tensor

from embcompress.nn.scoring import score_in_blocks, top_rows
from tests.cases import for_each

SCORES = torch.randint(0, 50, (2, 101), generator=torch.Generator().manual_seed(0)).float()


def score(first: int, last: int) -> Tensor:
    """Give the scores of some rows, of which no graph is kept in any thread but this one."""
    return SCORES[:, first:last] * torch.ones((), requires_grad=True)


@for_each("threads", [1, 3])
def test_blocks_come_together_in_their_order(threads: int) -> None:
    """All scores, and the highest ones with ties by the lower id, are those of the whole, whoever scored a block."""
    with torch.no_grad():
        scores = score_in_blocks(score, rows=101, block_rows=7, has_graph=False, threads=threads)
    assert torch.equal(scores, SCORES)
    best, ids = top_rows(score, rows=101, k=30, block_rows=7, threads=threads)
    expected = SCORES.sort(dim=-1, descending=True, stable=True)
    assert torch.equal(best, expected.values[:, :30])
    assert torch.equal(ids, expected.indices[:, :30])


def test_blocks_keep_their_graph() -> None:
    """With a graph gradients reach every block, and threads are not asked for."""
    weights = torch.ones(101, requires_grad=True)
    scores = score_in_blocks(
        lambda first, last: SCORES[:, first:last] * weights[first:last],
        rows=101,
        block_rows=7,
        has_graph=True,
        threads=3,
    )
    (gradient,) = torch.autograd.grad(scores.sum(), [weights])
    assert torch.equal(gradient, SCORES.sum(dim=0))
