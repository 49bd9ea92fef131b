"""GrownRepresentation: rows of a compressed table, and dense ones behind."""

from __future__ import annotations

import pytest
import torch

from embcompress.nn import GrownRepresentation, LowRankHead, LowRankRepresentation
from tests.cases import for_each
from tests.fixtures import draw

ROWS, ADDED, DIM = 9, 3, 6


def make() -> GrownRepresentation:
    """Make nine rows over two bases, and three behind."""
    base = LowRankRepresentation.from_factors(bases=draw(2, DIM), weights=draw(ROWS, 2, seed=1))
    return GrownRepresentation(base, draw(ADDED, DIM, seed=2))


def dense() -> torch.Tensor:
    """Give the twelve rows."""
    return torch.cat([draw(ROWS, 2, seed=1) @ draw(2, DIM), draw(ADDED, DIM, seed=2)])


@for_each("ids", [None, torch.tensor([[0, 11], [9, 8]]), torch.tensor([], dtype=torch.long), torch.tensor(10)])
def test_grown_looks_rows_up_on_both_sides(ids: torch.Tensor | None) -> None:
    """Rows are the base's below its size and the added ones behind."""
    expected = dense() if ids is None else dense()[ids]
    torch.testing.assert_close(make()(ids).detach(), expected)


def test_grown_scores_all_rows() -> None:
    """Scores are those of the twelve rows; grown again, of all that there are."""
    table, query = make(), draw(2, DIM, seed=3)
    torch.testing.assert_close(table.scores(query).detach(), query @ dense().T)
    best, ids = LowRankHead(table).topk(query, 3)
    assert torch.equal(ids, (query @ dense().T).topk(3).indices)
    torch.testing.assert_close(best.detach(), (query @ dense().T).topk(3).values)
    again = GrownRepresentation(table, draw(1, DIM, seed=4))
    expected = query @ torch.cat([dense(), draw(1, DIM, seed=4)]).T
    torch.testing.assert_close(again.scores(query).detach(), expected)


def test_grown_sends_gradients_to_the_rows_asked_for() -> None:
    """A lookup sends gradients to the added row that it gives and to the factors of the known one, and no others."""
    table = make()
    table(torch.tensor([10, 4])).sum().backward()
    assert table.added.stored.grad.tolist() == [[0.0] * DIM, [1.0] * DIM, [0.0] * DIM]
    exact = torch.zeros(ROWS, 2)
    exact[4] = draw(2, DIM).sum(dim=1)
    torch.testing.assert_close(table.base.weights.grad, exact)


def test_grown_refuses_a_base_with_a_normalizer() -> None:
    """Rows of the base would lose it in silence: a ValueError."""
    base = LowRankRepresentation.from_factors(bases=draw(3, DIM), weights=draw(ROWS, 3, seed=1), normalizer="softmax")
    with pytest.raises(ValueError, match="has no normalizer"):
        GrownRepresentation(base, draw(1, DIM))
