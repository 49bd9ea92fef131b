"""Reconstruction error of a table, measured in one pass over its rows; mergeable, with sums in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from embcompress.exceptions import UsageError
from embcompress.linalg.quantiles import QuantileSketch
from embcompress.linalg.row_groups import FrequencyGroups, NormGroups, relative_error
from embcompress.linalg.weighting import relative_row_weights
from embcompress.results import Cosine, NormRatio, RowRelative, TableErrorReport, WorstRow

WORST_ROWS_KEPT = 10
PENDING_ROWS_MAX = 2**18  # counted at once; block by block took twice the time of the projection itself
FLOAT32_NORM_MIN = 1e-12  # squares of the entries of smaller rows lose digits in float32, and below 1e-19 all of them


class ErrorAccumulator:
    """Sums over rows of what a reconstruction leaves.

    Blocks may come in any order and on any device; `merge` adds what another worker saw of other rows. A row of zeros
    counts as no error if kept exactly, else as 1, and a table of zeros alike; the cosine with its reconstruction is 1
    where both are zero, 0 where one is.

    Args:
        row_weights: (rows,) of the whole table, by id: how much each row counts in `weighted_relative`, and in nothing
            else; only their ratios matter.

    Raises:
        UsageError: row weights that are negative or not finite, or none above 0.

    Example:
        >>> seen = ErrorAccumulator()
        >>> seen.add(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0]]), first=0)
        >>> seen.result().relative
        0.8
    """

    def __init__(self, row_weights: Tensor | None = None) -> None:
        self._row_weights = None if row_weights is None else relative_row_weights(row_weights)
        self._frequencies = None if row_weights is None else FrequencyGroups(row_weights)
        self._weighted_norm = 0.0  # squared, as below
        self._weighted_error = 0.0
        self._rows = 0
        self._zero_rows = 0
        self._squared_norm = 0.0
        self._squared_error = 0.0
        self._sum_relative = 0.0
        self._sum_distance = 0.0  # of 1 - cosine
        self._relatives = QuantileSketch()
        self._distances = QuantileSketch()
        self._sum_ratio = 0.0  # of norms, reconstructed over true, of rows that are not zero
        self._ratios = QuantileSketch()
        self._by_norm = NormGroups()
        self._worst: list[WorstRow] = []
        # Of rows not yet counted, as many blocks at once are cheaper. In two tensors made once: small ones that stay
        # between large ones that go keep the freed memory from being used again, which took 10 MB a block.
        self._pending: tuple[Tensor, Tensor] | None = None  # ids (PENDING_ROWS_MAX,), norms (3, PENDING_ROWS_MAX)
        self._pending_rows = 0

    def add(self, values: Tensor, reconstructed: Tensor, *, first: int) -> None:
        """Measure a block.

        Args:
            values: (block_rows, dim) of the table, in the dtype to measure in.
            reconstructed: (block_rows, dim), the same dtype. Row sums are made in that dtype, sums over rows in
                float64.
            first: the row number of the block's first row.
        """
        self.add_norms(
            norms=row_norms(values),
            reconstructed_norms=row_norms(reconstructed),
            errors=row_norms(reconstructed - values),
            first=first,
        )

    def add_norms(self, *, norms: Tensor, reconstructed_norms: Tensor, errors: Tensor, first: int) -> None:
        """Measure a block by the norms of its rows.

        Args:
            norms: (block_rows,) of the table's rows.
            reconstructed_norms: (block_rows,) of their reconstructions.
            errors: (block_rows,) of the differences.
            first: the row number of the block's first row.
        """
        device, done = norms.device, 0
        if self._pending is None:
            self._pending = (
                torch.empty(PENDING_ROWS_MAX, dtype=torch.int64, device=device),
                torch.empty(3, PENDING_ROWS_MAX, dtype=torch.float64, device=device),
            )
        ids, sizes = self._pending
        while done < len(norms):
            begin = self._pending_rows
            count = min(len(norms) - done, PENDING_ROWS_MAX - begin)
            torch.arange(first + done, first + done + count, out=ids[begin : begin + count])
            for own, part in zip(sizes, (norms, reconstructed_norms, errors), strict=True):
                own[begin : begin + count] = part[done : done + count]
            self._pending_rows += count
            done += count
            if self._pending_rows == PENDING_ROWS_MAX:
                self._count_pending()

    def merge(self, other: ErrorAccumulator) -> None:
        """Add what was measured of other rows.

        Raises:
            UsageError: the other one has other row weights.
        """
        mine, others = self._row_weights, other._row_weights
        if (mine is None) != (others is None) or (
            mine is not None and others is not None and not torch.equal(mine, others.to(mine.device))
        ):
            raise UsageError("errors are merged under the same row weights, or under none.")
        other._count_pending()
        self._rows += other._rows
        self._zero_rows += other._zero_rows
        self._squared_norm += other._squared_norm
        self._squared_error += other._squared_error
        self._weighted_norm += other._weighted_norm
        self._weighted_error += other._weighted_error
        self._sum_relative += other._sum_relative
        self._sum_distance += other._sum_distance
        self._relatives.merge(other._relatives)
        self._distances.merge(other._distances)
        self._sum_ratio += other._sum_ratio
        self._ratios.merge(other._ratios)
        self._by_norm.sums.merge(other._by_norm.sums)
        if self._frequencies is not None and other._frequencies is not None:
            self._frequencies.sums.merge(other._frequencies.sums)
        self._keep_worst(other._worst)

    def _count_pending(self) -> None:
        if self._pending is None or not self._pending_rows:
            return
        ids = self._pending[0][: self._pending_rows]
        norms, sizes, errors = self._pending[1][:, : self._pending_rows]
        self._pending_rows = 0
        is_empty = norms == 0
        relatives = torch.where(is_empty, (errors > 0).to(torch.float64), errors / norms.clamp_min(1e-300))
        # 1 - cosine without the cancellation of 1 - <e, r> / (|e| |r|): 2 <e, r> = |e|^2 + |r|^2 - |e - r|^2
        distances = (errors.square() - (norms - sizes).square()) / (2 * norms * sizes).clamp_min(1e-300)
        distances = torch.where(is_empty | (sizes == 0), (norms != sizes).to(torch.float64), distances.clamp(0, 2))
        self._rows += len(norms)
        self._zero_rows += int(is_empty.sum())
        self._squared_norm += float(norms.square().sum())
        self._squared_error += float(errors.square().sum())
        if self._row_weights is not None:
            self._row_weights = self._row_weights.to(ids.device)
            weights = self._row_weights[ids]  # (counted rows,)
            self._weighted_norm += float(weights.dot(norms.square()))
            self._weighted_error += float(weights.dot(errors.square()))
        self._sum_relative += float(relatives.sum())
        self._sum_distance += float(distances.sum())
        self._relatives.add(relatives)
        self._distances.add(distances)
        ratios = (sizes / norms)[~is_empty]
        self._sum_ratio += float(ratios.sum())
        self._ratios.add(ratios)
        self._by_norm.add(norms, errors)
        if self._frequencies is not None:
            self._frequencies.add(ids.cpu(), norms.cpu(), errors.cpu())
        least = relatives.topk(min(WORST_ROWS_KEPT, len(relatives))).values[-1]
        is_worse = relatives > least
        candidates = zip(ids[is_worse].tolist(), relatives[is_worse].tolist(), strict=True)
        tied = ids[relatives == least].sort().values[:WORST_ROWS_KEPT]  # the first ones: topk alone keeps any of them
        self._keep_worst(
            [WorstRow(number, None, relative) for number, relative in candidates]
            + [WorstRow(number, None, float(least)) for number in tied.tolist()]
        )

    def result(
        self,
        *,
        optimal_relative: float | None = None,
        labels: Sequence[str] = (),
        unweighted_rows: int | None = None,
    ) -> TableErrorReport:
        """Compute the error of the rows seen so far.

        Args:
            optimal_relative: the Eckart-Young optimum, if it is known.
            labels: of all rows, for the worst of them, blank for those that have none; or empty.
            unweighted_rows: how many of the row weights were not given, but are the least; None without row weights.
        """
        self._count_pending()
        rows = max(self._rows, 1)
        weighted = relative_error(self._weighted_error, self._weighted_norm)
        return TableErrorReport(
            relative=relative_error(self._squared_error, self._squared_norm),
            optimal_relative=optimal_relative,
            weighted_relative=None if self._row_weights is None else weighted,
            unweighted_rows=None if self._row_weights is None else unweighted_rows,
            row_relative=RowRelative(
                mean=self._sum_relative / rows,
                p50=self._relatives.quantile(0.5),
                p99=self._relatives.quantile(0.99),
                max=self._relatives.largest,
            ),
            cosine=Cosine(
                mean=1 - self._sum_distance / rows,
                p01=1 - self._distances.quantile(0.99),
                min=1 - self._distances.largest,
            ),
            worst_rows=tuple(replace(row, label=labels[row.id] or None) if labels else row for row in self._worst),
            histogram=self._relatives.histogram(),
            norm_ratio=self._norm_ratio(),
            by_norm=self._by_norm.groups(),
            by_frequency=None if self._frequencies is None else self._frequencies.groups(),
        )

    @property
    def zero_rows(self) -> int:
        """Count the rows of zeros seen so far."""
        self._count_pending()
        return self._zero_rows

    def _norm_ratio(self) -> NormRatio | None:
        count = int(self._ratios.counts.sum())
        if not count:
            return None
        p01, p50, p99 = (self._ratios.quantile(share) for share in (0.01, 0.5, 0.99))
        return NormRatio(self._sum_ratio / count, p01, p50, p99)

    def _keep_worst(self, candidates: list[WorstRow]) -> None:
        ranked = sorted([*self._worst, *candidates], key=lambda row: (-row.relative, row.id))
        self._worst = ranked[:WORST_ROWS_KEPT]


def row_norms(values: Tensor) -> Tensor:
    """Compute the Euclidean norm of each row, (rows,) float64.

    In the dtype of the values, which is forty times as fast as in float64, but for rows whose squares leave float32.
    """
    norms: Tensor = torch.linalg.vector_norm(values, dim=1).to(torch.float64)
    is_outside = (norms < FLOAT32_NORM_MIN) | norms.isinf()
    if values.dtype == torch.float32 and bool(is_outside.any()):
        norms[is_outside] = torch.linalg.vector_norm(values[is_outside], dim=1, dtype=torch.float64)
    return norms
