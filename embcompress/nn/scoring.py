"""The common part of tables that score queries without being built."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from embcompress.nn.module_rows import as_real_matrix


def flat_query(table: Any, query: Tensor) -> Tensor:
    """Check a query against the rows of a table, and flatten it: (*q, *shape) -> (*q, real entries of a row).

    Raises:
        ValueError: a query of another shape, or a complex one where rows are real or the other way round.
    """
    lead = query.shape[: max(query.ndim - len(table.shape), 0)]
    if query.shape[len(lead) :] != table.shape or query.is_complex() != table.is_complex:
        raise ValueError(
            f"a query is {table.dtype} of shape (..., {table.shape}); got {query.dtype} {tuple(query.shape)}."
        )
    real = torch.view_as_real(query.resolve_conj()) if query.is_complex() else query
    return real.reshape(*lead, math.prod(real.shape[len(lead) :]))


def score_in_blocks(
    score: Callable[[int, int], Tensor], *, rows: int, block_rows: int, has_graph: bool, threads: int = 1
) -> Tensor:
    """Score all rows block by block, (*q, rows).

    Args:
        score: gives the scores of rows from one number up to another, (*q, count).
        rows: of the table.
        block_rows: rows that are scored at once.
        has_graph: whether gradients are to reach what the scores are made of.
        threads: that score blocks beside each other, where there is no graph.
    """
    if has_graph or rows <= block_rows:
        blocks = [score(first, min(first + block_rows, rows)) for first in range(0, rows, block_rows)]
        return torch.cat(blocks, dim=-1) if len(blocks) > 1 else blocks[0]
    # torch.cat would hold all of them twice.
    scores: Tensor | None = None
    for first, block in _blocks(score, rows=rows, block_rows=block_rows, threads=threads):
        if scores is None:
            scores = block.new_empty(*block.shape[:-1], rows)
        scores[..., first : first + block.shape[-1]] = block
    assert scores is not None
    return scores


def _blocks(
    score: Callable[[int, int], Tensor], *, rows: int, block_rows: int, threads: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row of each block and its scores, in their order; up to `threads` wait behind the one yielded."""
    spans = [(first, min(first + block_rows, rows)) for first in range(0, rows, block_rows)]
    if min(threads, len(spans)) == 1:
        for first, last in spans:
            yield first, score(first, last)
        return

    def score_apart(first: int, last: int) -> tuple[int, Tensor]:
        with torch.no_grad():  # which a thread of its own does not know of
            return first, score(first, last)

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[tuple[int, Tensor]]] = deque()
        for span in spans:
            waiting.append(pool.submit(score_apart, *span))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def top_rows(
    score: Callable[[int, int], Tensor], *, rows: int, k: int, block_rows: int, threads: int = 1
) -> tuple[Tensor, Tensor]:
    """Find the rows of the k highest scores, without ever holding the scores of all rows.

    Args:
        score: gives the scores of rows from one number up to another, (*q, count).
        rows: of the table.
        k: 1..rows.
        block_rows: rows that are scored at once.
        threads: that score blocks beside each other; no gradients reach what the scores are made of then.

    Returns:
        The scores, highest first, and the ids of their rows, (*q, k) each. Of equal scores the lower id comes first.

    Raises:
        ValueError: more rows are asked for than there are, or none.
    """
    if not 1 <= k <= rows:
        raise ValueError(f"k must be 1..{rows}, the rows of the table; got {k}.")
    blocks = _blocks(score, rows=rows, block_rows=block_rows, threads=threads)
    best, ids = _top(next(blocks)[1], k)
    for first, block in blocks:
        # Later rows only come in by a higher score.
        if best.shape[-1] == k and not bool((block.amax(dim=-1) > best[..., -1]).any()) and not block.isnan().any():
            continue
        block_best, block_ids = _top(block, k)
        both, order = torch.cat([best, block_best], dim=-1).sort(dim=-1, descending=True, stable=True)
        best, ids = both[..., :k], torch.cat([ids, block_ids + first], dim=-1).gather(-1, order[..., :k])
    return best, ids


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k highest of the scores (*q, count), or all, and their places; of equal ones the first."""
    k = min(k, scores.shape[-1])
    values, places = scores.topk(k, dim=-1, sorted=False)
    # Where others equal the least of them, topk may have chosen any.
    is_tied = bool(((scores >= values.amin(dim=-1, keepdim=True)).sum(dim=-1) != k).any()) if scores.numel() else False
    if is_tied:
        values, places = scores.sort(dim=-1, descending=True, stable=True)
        return values[..., :k], places[..., :k]
    places, order = places.sort(dim=-1)
    values, order = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    return values, places.gather(-1, order)


def normalized_scorer(table: Any, flat: Tensor) -> Callable[[int, int], Tensor]:
    """Score normalised rows, which are looked up: for queries (*q, real entries of a row)."""

    def score(first: int, last: int) -> Tensor:
        rows = as_real_matrix(table.normalizer(table.look_up(torch.arange(first, last, device=table.device))))
        return flat @ rows.to(flat.dtype).T

    return score
