"""What must be known of a table before its weights get bits: rows in groups by norm, and the squares in each column."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from embcompress.linalg.blocks import Rows, full_float32
from embcompress.linalg.error import row_norms

GROUPS_MAX = 16  # of rows by norm; 32 and 64 gained nothing on two trained tables: docs/coding.md
TAIL_ROWS_MAX = 256
TAIL_SHARE = 1 / 256  # of the rows, the longest, make up the last group: they would stretch the levels of others
BORDER_ROWS = 2**16  # rows from which the borders between groups are taken
SAMPLE_NUMBERS = 2**18  # that levels are fitted to and distortions measured on
SAMPLE_ROWS_MAX = 4096


@dataclass(frozen=True)
class Moments:
    """Squares of the columns, group by group.

    Attributes:
        counts: (groups,) rows of each.
        squares: (groups, columns) float64, sums of squares over the rows.
        weighted: the same with each row counted by its weight; what a squared error is compared with.
    """

    counts: Tensor
    squares: Tensor
    weighted: Tensor

    def merge(self, sizes: tuple[int, ...]) -> Moments:
        """Put neighbouring groups together, so many at a time."""
        owners = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        empty = self.squares.new_zeros(len(sizes), self.squares.shape[1])
        return Moments(
            self.counts.new_zeros(len(sizes)).index_add_(0, owners, self.counts),
            empty.index_add(0, owners, self.squares),
            empty.index_add(0, owners, self.weighted),
        )

    @property
    def scales(self) -> Tensor:
        """The root mean square of each column in each group, (groups, columns) float64."""
        return (self.squares / self.counts.clamp_min(1)[:, None]).sqrt()


@dataclass(frozen=True)
class Survey:
    """A table as the coder sees it.

    Attributes:
        unit: a power of two near the typical entry; all squares are in units of its square.
        groups_of_rows: (rows,) uint8, 0..GROUPS_MAX - 1, by ascending norm.
        own: of the table's own columns.
        rotated: of the weights on the bases.
        sample: (sample rows, columns) float32, rows of the table in units of `unit`.
        sample_groups: (sample rows,) the group of each.
        longest: (rows, columns) float32, of the last group, TAIL_ROWS_MAX at most: few of them are in the sample.
        squared_norm: of the table in units of `unit`, rows counted by their weight.
        passes: how often the rows were read.
    """

    unit: float
    groups_of_rows: Tensor
    own: Moments
    rotated: Moments
    sample: Tensor
    sample_groups: Tensor
    longest: Tensor
    squared_norm: float
    passes: int


def survey(
    rows: Rows,
    bases: Tensor,  # (columns, dim) float64, orthonormal
    *,
    squared_norm: float,
    row_weights: Tensor | None = None,  # (rows,), in any unit
) -> Survey:
    """Go over the rows once: put them in groups by norm, and sum the squares of their columns and weights.

    Holds one byte a row and a few blocks. Groups hold about equally many rows each, but for the last, of the
    longest rows. With row weights a row's norm is
    taken times the square root of its weight, and the rows are read once more, for all norms.

    Args:
        rows: the table, free of NaN and infinity.
        bases: all that might be used.
        squared_norm: of the table, positive; its typical entry within the range of float32.
        row_weights: how much the squared error of each row counts.
    """
    unit = 2.0 ** round(math.log2(squared_norm / (rows.rows * rows.dim)) / 2)
    projector = bases.T.to(torch.float32)
    mean_weight = 1.0 if row_weights is None else float(row_weights.to(torch.float64).mean())
    weights = None if row_weights is None else (row_weights.to(torch.float64) / mean_weight).to(torch.float32)
    borders = _borders(rows, unit=unit, weights=weights)
    groups_of_rows = torch.empty(rows.rows, dtype=torch.uint8)
    sums = [[torch.zeros(GROUPS_MAX, count, dtype=torch.float64) for _ in range(2)] for count in (rows.dim, len(bases))]
    counts = torch.zeros(GROUPS_MAX, dtype=torch.float64)
    sampled = torch.arange(0, rows.rows, max(1, rows.rows // max(1, min(SAMPLE_ROWS_MAX, SAMPLE_NUMBERS // rows.dim))))
    sample: list[Tensor] = []
    longest: list[Tensor] = []
    for first, values in scaled_blocks(rows, unit):
        block_weights = None if weights is None else weights[first : first + len(values)].to(values.device)
        groups = torch.bucketize(_importance(values, block_weights), borders.to(values.device))
        groups_of_rows[first : first + len(values)] = groups.to("cpu", torch.uint8)
        inside = sampled[(sampled >= first) & (sampled < first + len(values))] - first
        sample.append(values[inside.to(values.device)].cpu())
        longest.append(values[groups == GROUPS_MAX - 1][: TAIL_ROWS_MAX - sum(map(len, longest))].cpu())
        member = torch.nn.functional.one_hot(groups, GROUPS_MAX).T.to(torch.float32)  # (groups, block_rows)
        counts += member.sum(dim=1).to("cpu", torch.float64)
        with full_float32():
            for total, columns in zip(sums, (values, values @ projector), strict=True):
                squares = columns.square()
                total[0] += (member @ squares).to("cpu", torch.float64)
                if block_weights is not None:
                    total[1] += ((member * block_weights) @ squares).to("cpu", torch.float64)
    own, rotated = (Moments(counts, total[0], total[0 if weights is None else 1]) for total in sums)
    return Survey(
        unit=unit,
        groups_of_rows=groups_of_rows,
        own=own,
        rotated=rotated,
        sample=torch.cat(sample),
        sample_groups=groups_of_rows[sampled],
        longest=torch.cat(longest),
        squared_norm=float(own.weighted.sum()),
        passes=1 if weights is None else 2,
    )


def scaled_blocks(rows: Rows, unit: float) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of each block's first row, and its values in units of `unit`, (block_rows, dim) float32."""
    first = 0
    for block in rows.blocks():
        wide = block if block.dtype == torch.float64 else block.to(torch.float32)
        yield first, (wide / unit).to(torch.float32)
        first += len(block)


def _borders(rows: Rows, *, unit: float, weights: Tensor | None) -> Tensor:
    """Find what separates the groups: quantiles of the rows' norms, (GROUPS_MAX - 1,)."""
    if weights is None:
        sample = rows.sample(BORDER_ROWS)
        wide = sample if sample.dtype == torch.float64 else sample.to(torch.float32)
        sizes = row_norms((wide / unit).to(torch.float32))
    else:
        parts = [
            _importance(values, weights[first : first + len(values)]) for first, values in scaled_blocks(rows, unit)
        ]
        sizes = torch.cat(parts)
    ordered = sizes.sort().values
    shares = [group / (GROUPS_MAX - 1) for group in range(1, GROUPS_MAX - 1)] + [1 - TAIL_SHARE]
    places = (torch.tensor(shares, dtype=torch.float64) * len(ordered)).to(torch.int64)
    return ordered[places.clamp_max(len(ordered) - 1)].cpu()


def _importance(values: Tensor, weights: Tensor | None) -> Tensor:
    """Measure by what rows are put in groups, (block_rows,) float64."""
    norms = row_norms(values)
    return norms if weights is None else norms * weights.to(norms.device, torch.float64).sqrt()


def merged_groups(groups: Tensor, merge: tuple[int, ...]) -> Tensor:
    """Turn groups of the survey, uint8, into merged ones, uint8: so many neighbours at a time."""
    owners = torch.repeat_interleave(torch.arange(len(merge), dtype=torch.uint8), torch.tensor(merge))
    return owners[groups.to(torch.int64)]
