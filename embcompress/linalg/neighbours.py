"""Whether rows keep their nearest neighbours: exact search over all rows for a sample of them, block by block."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import torch
from torch import Tensor

from embcompress.linalg.blocks import full_float32
from embcompress.linalg.solvers import SCORED_ROWS, SCORES_MAX
from embcompress.results import NeighboursReport, Overlap

NEAREST = 10  # neighbours of a query, as retrieval at 10 looks at them
BAND_CONFIDENCE = 0.95  # share of all samples whose band holds the mean over all rows
SCORE_BITS = {torch.float32: 18, torch.float64: 40}  # of a score that count: equal rows get scores an ulp or two apart,
# by where in a block they lie, and which of 4000 equal rows are the nearest must not hang on that


def sample_queries(rows: int, count: int, *, seed: int) -> Tensor:
    """Draw the ids of distinct rows, ascending, (min(count, rows),) int64; the same for the same seed.

    Example:
        >>> len(sample_queries(1000, 100, seed=0)), sample_queries(3, 100, seed=0).tolist()
        (100, [0, 1, 2])
    """
    drawn = random.Random(seed).sample(range(rows), min(count, rows))  # noqa: S311 - no secret
    return torch.tensor(sorted(drawn), dtype=torch.int64)


class NearestRows:
    """The nearest rows of some queries by cosine and by inner product, found in one pass over blocks.

    Holds a chunk of scores and the best so far. Of scores that are equal in SCORE_BITS the row of the lower id is
    nearer. A row is no neighbour of itself; a row of zeros has the cosine 0 with all others.

    Args:
        ids: (queries,) of the queries, ascending.
        queries: (queries, dim) the rows of these ids, as they are in the table searched.
        nearest: how many neighbours of each are kept.
        dtype: float32 or float64, in which scores are made.
    """

    def __init__(self, ids: Tensor, queries: Tensor, *, nearest: int, dtype: torch.dtype) -> None:
        exact = queries.to(torch.float64)
        # At unit length no product of large rows overflows, and each query ranks as before.
        lengths = torch.linalg.vector_norm(exact, dim=1, keepdim=True)
        self._queries = torch.where(lengths > 0, exact / lengths, 0.0).to(dtype)
        self._ids = ids.to(queries.device)
        self._by_cosine = _BestSoFar(len(ids), nearest, device=queries.device, dtype=dtype)
        self._by_product = _BestSoFar(len(ids), nearest, device=queries.device, dtype=dtype)

    def add(self, values: Tensor, *, norms: Tensor, first: int) -> None:
        """Look through a block; blocks come in the order of the rows.

        Args:
            values: (block_rows, dim) in the dtype of the search.
            norms: (block_rows,) of the rows.
            first: the row number of the block's first row.
        """
        floor = torch.finfo(values.dtype).tiny
        step = max(1, min(SCORED_ROWS, SCORES_MAX // len(self._queries)))
        for start in range(0, len(values), step):
            chunk = values[start : start + step]
            with full_float32():
                scores = self._queries @ chunk.T  # (queries, chunk)
            low = first + start
            own = ((self._ids >= low) & (self._ids < low + len(chunk))).nonzero().squeeze(1)
            scores[own, self._ids[own] - low] = -math.inf
            self._by_product.offer(scores, first=low)
            lengths = norms[start : start + step].to(values.dtype).clamp_min(floor)
            self._by_cosine.offer(scores.div_(lengths), first=low)

    @property
    def by_cosine(self) -> Tensor:
        """The ids of the nearest rows by cosine, (queries, nearest), nearest first."""
        return self._by_cosine.ids

    @property
    def by_inner_product(self) -> Tensor:
        """The ids of the nearest rows by inner product, (queries, nearest), nearest first."""
        return self._by_product.ids


class _BestSoFar:
    """The best scores of each query and the ids that they belong to."""

    def __init__(self, queries: int, nearest: int, *, device: torch.device, dtype: torch.dtype) -> None:
        self._scores = torch.full((queries, nearest), -math.inf, dtype=dtype, device=device)
        self.ids = torch.full((queries, nearest), -1, dtype=torch.int64, device=device)

    def offer(self, scores: Tensor, *, first: int) -> None:
        """Take what is better than the worst so far, (queries, chunk) of rows from `first` on.

        An equal score is not better: it belongs to a later row. After a few chunks hardly any is, so that this costs
        the largest score of each query, a fifth of what comparing all of them costs.
        """
        asked = (scores.amax(dim=1) > self._scores[:, -1]).nonzero().squeeze(1)  # queries with something to gain
        if not len(asked):
            return
        gained, best_scores, best_ids = scores[asked], self._scores[asked], self.ids[asked]
        query, column = (gained > best_scores[:, -1:]).nonzero().unbind(1)  # (candidates,), by query and then by row
        counts = torch.bincount(query, minlength=len(asked))
        column_offered = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
        width = int(counts.max())
        offered = gained.new_full((len(asked), width), -math.inf)
        offered[query, column_offered] = _rounded(gained[query, column])
        ids = best_ids.new_full((len(asked), width), -1)
        ids[query, column_offered] = column + first
        # Stable, with the earlier rows in front: of equal scores the lower id stays.
        ranked, order = torch.cat([best_scores, offered], dim=1).sort(dim=1, descending=True, stable=True)
        nearest = self.ids.shape[1]
        self._scores[asked] = ranked[:, :nearest]
        self.ids[asked] = torch.cat([best_ids, ids], dim=1).gather(1, order[:, :nearest])


def _rounded(scores: Tensor) -> Tensor:
    """Round to SCORE_BITS of the mantissa.

    Source: Dekker, A floating-point technique for extending the available precision (1971), Veltkamp's splitting.
    """
    dropped = {torch.float32: 24, torch.float64: 53}[scores.dtype] - SCORE_BITS[scores.dtype]
    shifted: Tensor = scores * (2**dropped + 1)
    return shifted - (shifted - scores)


class NeighbourSearch:
    """The overlap of the nearest rows in a table and in what is stored of it, found in one pass over both.

    Args:
        ids: (queries,) ascending.
        queries: (queries, dim) the rows of these ids.
        stored_queries: (queries, dim) what is stored of them.
        rows: of the table, at least 2.
        seed: that the queries were drawn with.
        dtype: float32 or float64, in which scores are made.
    """

    def __init__(
        self, ids: Tensor, *, queries: Tensor, stored_queries: Tensor, rows: int, seed: int, dtype: torch.dtype
    ) -> None:
        self._rows, self._nearest, self._seed = rows, min(NEAREST, rows - 1), seed
        self._before = NearestRows(ids, queries, nearest=self._nearest, dtype=dtype)
        self._after = NearestRows(ids, stored_queries, nearest=self._nearest, dtype=dtype)

    def add(self, values: Tensor, norms: Tensor, *, stored: Tensor, stored_norms: Tensor, first: int) -> None:
        """Look through a block of both tables: (block_rows, dim) and (block_rows,) of each."""
        self._before.add(values, norms=norms, first=first)
        self._after.add(stored, norms=stored_norms, first=first)

    def result(self) -> NeighboursReport:
        """Compare the neighbours found."""
        pairs = (
            (self._before.by_cosine, self._after.by_cosine),
            (self._before.by_inner_product, self._after.by_inner_product),
        )
        # (queries, nearest, 1) against (queries, 1, nearest): which neighbour of before is one after
        shares = [
            (before[:, :, None] == after[:, None, :]).any(dim=2).to(torch.float64).mean(dim=1)
            for before, after in pairs
        ]
        cosine, inner_product = (mean_overlap(one, population=self._rows) for one in shares)
        return NeighboursReport(
            neighbours_per_query=self._nearest,
            queries=len(shares[0]),
            seed=self._seed,
            confidence=BAND_CONFIDENCE,
            cosine=cosine,
            inner_product=inner_product,
        )


def mean_overlap(shares: Tensor, *, population: int) -> Overlap:
    """Compute the mean of shares and a confidence band for the mean over all rows that they are a sample of.

    Student's t over the sample with one share of 0 and one of 1 added, so that a sample of equal shares still gets a
    band, and corrected for a finite population; the mean itself where every row was asked.

    Args:
        shares: (queries,) float64 in 0..1.
        population: how many rows there are.

    Source: Agresti & Caffo, Simple and effective confidence intervals for proportions (2000); Cochran, Sampling
    Techniques, sections 2.6 and 2.8.
    """
    count = len(shares)
    overlap = float(shares.mean())
    if count >= population:
        return Overlap(overlap, overlap, overlap)
    widened = torch.cat([shares.cpu(), torch.tensor([0.0, 1.0], dtype=torch.float64)])
    unseen = 1 - count / population
    # What was added speaks for the rows that were not asked: the fewer these are, the less it may move the band.
    center = overlap + (float(widened.mean()) - overlap) * unseen
    half = _student(len(widened) - 1) * float(widened.std()) * math.sqrt(unseen / len(widened))
    low, high = max(center - half, 0.0), min(center + half, 1.0)
    return Overlap(overlap, min(low, overlap), max(high, overlap))


def _student(degrees: int) -> float:
    """Approximate Student's t that BAND_CONFIDENCE of the distribution lies within; to 1 % from 4 degrees on.

    Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z = NormalDist().inv_cdf((1 + BAND_CONFIDENCE) / 2)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )
