"""What is known of a table before its weights get bits, against dense float64 sums."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from embcompress.coding.survey import GROUPS_MAX, Survey, survey
from embcompress.linalg.blocks import TensorRows
from embcompress.linalg.error import row_norms

ROWS, DIM = 700, 12


def spread_rows(*, seed: int = 0, rows: int = ROWS, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw rows (rows, DIM) of very different norms."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randn(rows, 1, generator=generator, dtype=torch.float64).exp()
    return (torch.randn(rows, DIM, generator=generator, dtype=torch.float64) * sizes).to(dtype)


def look_at(table: Tensor, *, row_weights: Tensor | None = None) -> tuple[Survey, Tensor]:
    """Survey a table over all its right singular vectors; return these too, (DIM, DIM) float64."""
    bases = torch.linalg.svd(table.double(), full_matrices=False).Vh
    squared_norm = float(table.double().square().sum())
    return survey(TensorRows(table), bases, squared_norm=squared_norm, row_weights=row_weights), bases


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25])
@pytest.mark.parametrize("is_weighted", [False, True], ids=["alike", "weighted"])
def test_survey_sums_are_those_of_float64(size: float, is_weighted: bool) -> None:
    """Counts, squares and weighted squares of each group and column are the dense float64 sums, to 1e-4."""
    table = spread_rows() * size
    weights = torch.rand(ROWS, generator=torch.Generator().manual_seed(1), dtype=torch.float64) if is_weighted else None
    found, bases = look_at(table, row_weights=weights)
    member = torch.nn.functional.one_hot(found.groups_of_rows.long(), GROUPS_MAX).T.double()  # (groups, rows)
    exact = table.double() / found.unit
    share = torch.ones(ROWS, dtype=torch.float64) if weights is None else weights / weights.mean()
    assert torch.equal(found.own.counts, member.sum(dim=1))
    for moments, columns in ((found.own, exact), (found.rotated, exact @ bases.T)):
        torch.testing.assert_close(moments.squares, member @ columns.square(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(moments.weighted, (member * share) @ columns.square(), rtol=1e-4, atol=1e-4)
    assert found.squared_norm == pytest.approx(float((exact.square().sum(dim=1) * share).sum()), rel=1e-5)
    assert 0.5 <= float(exact.square().mean().sqrt()) <= 2.0
    assert found.unit == 2.0 ** round(torch.tensor(found.unit, dtype=torch.float64).log2().item())
    assert found.passes == (2 if is_weighted else 1)


def test_survey_groups_are_by_norm() -> None:
    """No group holds a longer row than the next, nor more than a 15th of all; weights count by their root."""
    table = spread_rows()
    weights = torch.rand(ROWS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for given, sizes in ((None, row_norms(table)), (weights, row_norms(table) * weights.sqrt())):
        groups = look_at(table, row_weights=given)[0].groups_of_rows.long()
        assert int(torch.bincount(groups, minlength=GROUPS_MAX).max()) <= ROWS / 15 + 2
        ends = [(float(sizes[groups == one].min()), float(sizes[groups == one].max())) for one in range(GROUPS_MAX)]
        assert all(below[1] <= above[0] * (1 + 1e-6) for below, above in itertools.pairwise(ends))


def test_survey_sample_is_of_the_table() -> None:
    """A short table is its own sample, in units; the sampled rows carry their groups."""
    table = spread_rows()
    found, _ = look_at(table)
    torch.testing.assert_close(found.sample * found.unit, table)
    assert torch.equal(found.sample_groups, found.groups_of_rows)


@pytest.mark.parametrize("merge", [(16,), (2, 14), (4, 4, 4, 4), (1,) * 16], ids=str)
def test_moments_merge_neighbours(merge: tuple[int, ...]) -> None:
    """Merged groups have the sums of their members, and the root mean squares of all their rows as scales."""
    moments = look_at(spread_rows())[0].own
    merged = moments.merge(merge)
    assert merged.counts.tolist() == [float(part.sum()) for part in torch.split(moments.counts, merge)]
    for part, squares in zip(torch.split(moments.squares, merge), merged.squares, strict=True):
        torch.testing.assert_close(part.sum(dim=0), squares)
    torch.testing.assert_close(merged.scales, (merged.squares / merged.counts[:, None]).sqrt())


def test_survey_takes_fewer_rows_than_groups() -> None:
    """Three rows stand in three groups, and empty ones have the scale 0."""
    found, _ = look_at(spread_rows(rows=3))
    assert sorted(found.own.counts.tolist())[-3:] == [1, 1, 1]
    assert float(found.own.scales[found.own.counts == 0].abs().sum()) == 0
