"""The nearest rows of a table against a dense float64 oracle, and how far the overlap of a sample can be off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from embcompress.linalg.error import row_norms
from embcompress.linalg.neighbours import (
    NEAREST,
    NearestRows,
    NeighbourSearch,
    mean_overlap,
    sample_queries,
)
from embcompress.linalg.solvers import SCORED_ROWS, SCORES_MAX
from tests.cases import for_each
from tests.linalg.oracles import dense_nearest, dense_overlap
from tests.linalg.tables import gaussian

ROWS = 400


def search(values: Tensor, ids: Tensor, *, block_rows: int, nearest: int = NEAREST) -> NearestRows:
    """Find the nearest rows block by block."""
    nearest_rows = NearestRows(ids, values[ids], nearest=nearest, dtype=values.dtype)
    for first in range(0, len(values), block_rows):
        block = values[first : first + block_rows]
        nearest_rows.add(block, norms=row_norms(block.to(torch.float64)), first=first)
    return nearest_rows


def assert_nearest(values: Tensor, *, block_rows: int, ids: Tensor | None = None) -> None:
    """Compare the nearest rows by both measures with the oracle, id by id and in order."""
    ids = torch.arange(len(values)) if ids is None else ids
    nearest = min(NEAREST, len(values) - 1)
    actual = search(values, ids, block_rows=block_rows, nearest=nearest)
    assert torch.equal(actual.by_cosine.cpu(), dense_nearest(values.cpu(), ids, by_cosine=True, nearest=nearest))
    assert torch.equal(
        actual.by_inner_product.cpu(), dense_nearest(values.cpu(), ids, by_cosine=False, nearest=nearest)
    )


def uneven(rows: int, dim: int, *, seed: int = 0) -> Tensor:
    """Draw rows of uneven norms, (rows, dim) float64, so that cosine and inner product rank differently."""
    return gaussian(rows, dim, seed=seed) * torch.logspace(-1, 1, rows, dtype=torch.float64)[:, None]


def ascending() -> Tensor:
    """Sort rows so that each is nearer to the last than all before it: every row betters the best so far."""
    angles = 1.5 * torch.linspace(0, 1, ROWS, dtype=torch.float64) ** 1.3  # uneven steps: no ties of two sides
    return torch.stack([angles.sin(), angles.cos()], dim=1) * torch.linspace(1, 2, ROWS, dtype=torch.float64)[:, None]


def duplicates() -> Tensor:
    """Draw rows of which three quarters are one and the same, and the others in pairs."""
    values = gaussian(ROWS, 64, seed=3)
    values[1::2] = values[::2].clone()
    values[torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))[: 3 * ROWS // 4]] = values[0].clone()
    return values


def zero_rows() -> Tensor:
    """Draw rows of which every third is zero."""
    values = gaussian(ROWS, 12)
    values[::3] = 0
    return values


def of_two_sizes() -> Tensor:
    """Draw rows of norms about 1e25 and 1e-25, which float32 holds and cannot square."""
    values = gaussian(ROWS, 12)
    values[::2] *= 1e25
    values[1::2] *= 1e-25
    return values


ORDERS: dict[str, Callable[[], Tensor]] = {
    "uneven": lambda: uneven(ROWS, 16),
    "ascending": ascending,
    "descending": lambda: ascending().flip(0),
    "duplicates": duplicates,
    "zero-rows": zero_rows,
    "all-zero": lambda: torch.zeros(ROWS, 5, dtype=torch.float64),
    "all-equal": lambda: gaussian(1, 64, seed=1).repeat(ROWS, 1),
    "opposite": lambda: torch.cat([gaussian(1, 8).repeat(200, 1), -gaussian(1, 8).repeat(200, 1)]),
    "1e25": of_two_sizes,
    "one-column": lambda: uneven(ROWS, 1),
}


@pytest.mark.parametrize("name", ORDERS)
@for_each("block_rows", [1, 7, ROWS])
def test_nearest_rows_are_those_of_a_dense_oracle(name: str, block_rows: int) -> None:
    """Of every row, id by id and nearest first, whatever the blocks; equal scores go to the lower id."""
    assert_nearest(ORDERS[name](), block_rows=block_rows, ids=torch.arange(0, ROWS, 3))


def test_nearest_rows_are_found_on_any_device(device: str) -> None:
    """In float64 a GPU finds the same rows in the same order."""
    assert_nearest(uneven(ROWS, 16).to(device), block_rows=100)


def test_nearest_rows_cross_the_chunks_of_a_block() -> None:
    """A block of two and a half chunks, with equal rows on both sides of each border, ranks as one."""
    rows = 5 * SCORED_ROWS // 2
    values = gaussian(rows, 32, seed=5)
    values[[SCORED_ROWS - 1, SCORED_ROWS, 2 * SCORED_ROWS - 1, 2 * SCORED_ROWS, rows - 1]] = values[7].clone()
    ids = torch.tensor([7, SCORED_ROWS - 1, SCORED_ROWS, rows - 1])
    assert_nearest(values, block_rows=rows, ids=ids)
    actual = search(values, ids, block_rows=rows).by_cosine[:, :5].tolist()
    twins = [7, SCORED_ROWS - 1, SCORED_ROWS, 2 * SCORED_ROWS - 1, 2 * SCORED_ROWS, rows - 1]
    assert actual == [[twin for twin in twins if twin != int(query)] for query in ids]


def test_nearest_rows_of_many_queries_are_scored_in_parts() -> None:
    """With more queries than a whole chunk has room for, all rows against all others are those of the oracle."""
    rows = 1500
    assert SCORES_MAX // rows < min(rows, SCORED_ROWS)
    assert_nearest(uneven(rows, 8), block_rows=rows)


@pytest.mark.parametrize("rows", [2, 3, 10, 11, 12])
@for_each("block_rows", [1, 7, 12])
def test_nearest_rows_of_few_rows_are_all_others(rows: int, block_rows: int) -> None:
    """A table of fewer than eleven rows has all its other rows as neighbours, in order and without a gap."""
    values = uneven(rows, 4, seed=2)
    assert_nearest(values, block_rows=block_rows)
    actual = search(values, torch.arange(rows), block_rows=block_rows, nearest=min(NEAREST, rows - 1))
    for query, ids in enumerate(actual.by_cosine.tolist()):
        assert query not in ids
        if rows <= NEAREST + 1:
            assert sorted([query, *ids]) == list(range(rows))


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_nearest_rows_in_float32_have_the_scores_of_the_oracle(scale: float) -> None:
    """In float32 the rows found are as near as the true ones to 1e-6 of the largest score, at any size of norms."""
    values = (scale * uneven(ROWS, 16)).to(torch.float32)
    exact = values.to(torch.float64)
    unit = exact / exact.norm(dim=1, keepdim=True)
    ids = torch.arange(0, ROWS, 5)
    actual = search(values, ids, block_rows=150)
    for got, rows in ((actual.by_cosine, unit), (actual.by_inner_product, exact)):
        scores = rows @ unit[ids].T  # (rows, queries)
        scores[ids, torch.arange(len(ids))] = -torch.inf
        best = scores.topk(NEAREST, dim=0).values.T  # (queries, nearest)
        slack = 1e-6 * float(scores[scores.isfinite()].abs().max())
        assert torch.allclose(scores.T.gather(1, got), best, rtol=0, atol=slack)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@for_each("seed", range(4))
def test_neighbour_search_finds_equal_rows_kept(seed: int, dtype: torch.dtype) -> None:
    """Where the rows that are alike stay alike, and all others stay as they are, every neighbour stays."""
    values = gaussian(4003, 64, seed=seed)
    alike = torch.randperm(4003, generator=torch.Generator().manual_seed(seed))[:3000]
    values[alike] = values[0].clone()
    stored = values.clone()
    stored[alike] *= 1 + 0.1 * seed  # other products, so other rounding; cosines stay
    values, stored = values.to(dtype), stored.to(dtype)
    ids = alike[:100].sort().values
    actual = NeighbourSearch(ids, queries=values[ids], stored_queries=stored[ids], rows=4003, seed=0, dtype=dtype)
    actual.add(values, row_norms(values), stored=stored, stored_norms=row_norms(stored), first=0)
    assert actual.result().cosine.overlap == 1


def compare(values: Tensor, stored: Tensor, ids: Tensor, *, block_rows: int) -> NeighbourSearch:
    """Search both tables block by block."""
    neighbour_search = NeighbourSearch(
        ids, queries=values[ids], stored_queries=stored[ids], rows=len(values), seed=0, dtype=torch.float64
    )
    for first in range(0, len(values), block_rows):
        one, two = values[first : first + block_rows], stored[first : first + block_rows]
        neighbour_search.add(one, row_norms(one), stored=two, stored_norms=row_norms(two), first=first)
    return neighbour_search


@pytest.mark.parametrize("rows", [2, 8, 300])
@for_each("block_rows", [7, 300])
def test_neighbour_search_tells_the_overlap_of_all_rows(rows: int, block_rows: int) -> None:
    """With every row as a query the overlap is that of the oracle to 1e-12, and its band is the value itself."""
    values = uneven(rows, 8)
    stored = values + 0.5 * uneven(rows, 8, seed=1)
    ids = torch.arange(rows)
    actual = compare(values, stored, ids, block_rows=block_rows).result()
    assert (actual.neighbours_per_query, actual.queries) == (min(NEAREST, rows - 1), rows)
    for band, by_cosine in ((actual.cosine, True), (actual.inner_product, False)):
        expected = float(dense_overlap(values, stored, ids, by_cosine=by_cosine).mean())
        assert band.overlap == pytest.approx(expected, rel=1e-12)
        assert band.low == band.overlap == band.high
    assert (actual.cosine.overlap == 1) == (rows <= NEAREST + 1)  # where all others are neighbours


def test_neighbour_search_keeps_its_band_on_ten_seeds() -> None:
    """The overlap over all 2500 rows lies in the band of 100 sampled ones, by both measures, for ten seeds."""
    values = uneven(2500, 24)
    stored = values + 0.25 * uneven(2500, 24, seed=1)
    truth = compare(values, stored, torch.arange(2500), block_rows=150).result()
    for seed in range(10):
        ids = sample_queries(2500, 100, seed=seed)
        actual = compare(values, stored, ids, block_rows=150).result()
        for band, whole in ((actual.cosine, truth.cosine), (actual.inner_product, truth.inner_product)):
            assert band.low <= whole.overlap <= band.high, seed
            assert 0 < band.high - band.low < 0.15
    assert 0.2 < truth.inner_product.overlap < 0.95
    assert 0.2 < truth.cosine.overlap < 0.95


@pytest.fixture(scope="module")
def real_shares() -> dict[str, Tensor]:
    """Measure the share of neighbours kept of each of 1200 rows, under much, some and hardly any noise."""
    values = uneven(1200, 16)
    shares_by_seed = {}
    for name, noise in (("low", 8.0), ("middle", 0.4), ("high", 0.01)):
        stored = values + noise * values.norm(dim=1, keepdim=True) / 4 * gaussian(1200, 16, seed=1)
        search = compare(values, stored, torch.arange(1200), block_rows=150)
        both = search._before.by_cosine[:, :, None] == search._after.by_cosine[:, None, :]
        shares_by_seed[name] = both.any(dim=2).to(torch.float64).mean(dim=1)
    means = [float(shares.mean()) for shares in shares_by_seed.values()]
    assert means == pytest.approx([0.0, 0.45, 1.0], abs=0.05)
    return shares_by_seed


@pytest.mark.parametrize("name", ["low", "middle", "high"])
@for_each(("count", "population"), [(10, 1200), (100, 1200), (600, 1200), (100, 104), (103, 104)])
def test_mean_overlap_covers_the_truth(name: str, count: int, population: int, real_shares: dict[str, Tensor]) -> None:
    """Of 200 draws 95 % cover the mean of all, less 3 % for chance (two deviations): few, half or nearly all rows."""
    shares = real_shares[name][:population]
    truth = float(shares.mean())
    generator = torch.Generator().manual_seed(count)
    covered = 0
    for _ in range(200):
        drawn = shares[torch.randperm(population, generator=generator)[:count]]
        band = mean_overlap(drawn, population=population)
        assert 0 <= band.low <= band.overlap <= band.high <= 1
        covered += band.low - 1e-12 <= truth <= band.high + 1e-12
    assert covered / 200 >= 0.92


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mean_overlap_of_equal_shares_has_a_width(share: float) -> None:
    """A hundred equal shares leave room for others among 10,000 rows: some percent, and none where all were asked."""
    band = mean_overlap(torch.full((100,), share, dtype=torch.float64), population=10_000)
    assert band.overlap == pytest.approx(share, rel=1e-12)
    assert 0.01 < band.high - band.low < 0.06
    assert band.low <= share <= band.high
    whole = mean_overlap(torch.full((100,), share, dtype=torch.float64), population=100)
    assert whole.low == whole.overlap == whole.high


def test_mean_overlap_of_one_query_is_wide() -> None:
    """One query among many tells next to nothing: the band is most of 0..1 and holds the share."""
    band = mean_overlap(torch.tensor([0.7], dtype=torch.float64), population=1000)
    assert band.low <= 0.1
    assert band.high >= 0.9


def test_sample_queries_draws_each_row_alike() -> None:
    """Ids are distinct, ascending and within the table; over 400 seeds each of 20 rows comes 100 times, give or take.

    Five deviations of a binomial of 400 draws at a quarter are 43.
    """
    counts = torch.zeros(20, dtype=torch.int64)
    for seed in range(400):
        ids = sample_queries(20, 5, seed=seed)
        assert ids.tolist() == sorted(set(ids.tolist()))
        assert torch.equal(ids, sample_queries(20, 5, seed=seed))
        counts += torch.bincount(ids, minlength=20)
    assert int((counts - 100).abs().max()) <= 43
    assert sample_queries(3, 100, seed=0).tolist() == [0, 1, 2]
    assert sample_queries(10**9, 3, seed=0).tolist() == sorted(sample_queries(10**9, 3, seed=0).tolist())


def test_sample_queries_leaves_random_states_alone() -> None:
    """Neither Python's nor torch's own generator is moved."""
    import random

    before, states = torch.get_rng_state(), random.getstate()
    sample_queries(1000, 100, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == states
