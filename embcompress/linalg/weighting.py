"""Rows that count more or less: a table whose rows are scaled, so that any solver minimises a weighted error."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from embcompress.exceptions import UsageError
from embcompress.linalg.blocks import SampledRows, product_dtype, refuse_non_finite


class WeightedRows:
    """A table read with row i times sqrt(row_weights[i] / largest weight).

    The squared error of bases on these rows is the weighted one of the table: sum_i w_i |e_i - e_i B^T B|^2. So a
    solver finds the bases of the least weighted error here, and the weights of the rows, which must reproduce the
    unscaled ones, come from `project` on the table itself, rows that count nothing included.

    Scaled by the largest weight, no entry grows: none overflows that did not before, and what underflows is nothing
    beside the rows that count. Blocks come in the dtype that products of the table's own dtype are made in, as float16
    would lose the digits of rows that count little; scaling rounds once more in it. NaN and infinity, also in a row of
    weight 0, are refused under the name and number of the table's row.

    A solver tells norms, singular values and errors of the scaled rows: none of them bounds those of the table.

    Holds one block more than the table does, and (rows,) scales. A block is valid until the next one is asked for.

    Args:
        rows: the table.
        row_weights: (rows,), finite, 0 or larger, at least one larger; only their ratios matter.

    Raises:
        UsageError: row weights that are not such, or not as many as rows.

    Example:
        >>> from embcompress.linalg.blocks import TensorRows
        >>> rows = WeightedRows(TensorRows(torch.ones(2, 3)), torch.tensor([1.0, 4.0]))
        >>> [block.tolist() for block in rows.blocks()]
        [[[0.5, 0.5, 0.5], [1.0, 1.0, 1.0]]]
    """

    def __init__(self, rows: SampledRows, row_weights: Tensor) -> None:
        if len(row_weights) != rows.rows:
            raise UsageError(f"{rows.name} has {rows.rows} rows; got {len(row_weights)} row weights.")
        self.name, self.rows, self.dim, self.device = rows.name, rows.rows, rows.dim, rows.device
        self.dtype = product_dtype(rows.dtype)
        self._inner = rows
        # Rounding a scale changes a weight by 1e-7 of itself, and the bases as if it had been counted so.
        self._scales = relative_row_weights(row_weights).sqrt().to(self.device, self.dtype)  # (rows,)
        self._has_zeros = not bool(self._scales.all())

    def blocks(self) -> Iterator[Tensor]:
        """Yield consecutive scaled rows, (block_rows, dim)."""
        yield from self._scaled(self._inner.blocks())

    def column_blocks(self) -> Iterator[Tensor]:
        """Yield consecutive columns of the scaled rows, transposed: (block_columns, rows)."""
        yield from self._scaled(self._inner.column_blocks(), is_transposed=True)

    def sample(self, count: int) -> Tensor:
        """Read about `count` rows spread evenly over the table, each scaled like itself, (about count, dim)."""
        ids = self._inner.sample_ids(count).to(self.device)
        return self._inner.sample(count) * self._scales[ids, None]

    def _scaled(self, blocks: Iterator[Tensor], *, is_transposed: bool = False) -> Iterator[Tensor]:
        # Used again for each block: to take new memory for it costs more than the product.
        buffer = torch.empty(0, dtype=self.dtype, device=self.device)
        first = 0
        for block in blocks:
            scales = self._scales if is_transposed else self._scales[first : first + len(block), None]
            if buffer.numel() < block.numel():
                buffer = torch.empty(block.numel(), dtype=self.dtype, device=self.device)
            scaled = torch.mul(block, scales, out=buffer[: block.numel()].view(block.shape))
            # Infinity times a weight of 0 is NaN, so what is not finite is named by what the table itself holds.
            if self._has_zeros and not bool(torch.isfinite(scaled.sum())):
                refuse_non_finite(self._inner, block=block, first=first, is_transposed=is_transposed)
            yield scaled
            first += len(block)


def relative_row_weights(row_weights: Tensor) -> Tensor:
    """Divide row weights by the largest, (rows,) float64.

    Raises:
        UsageError: NaN, infinity, a negative weight, or none above 0.
    """
    exact = row_weights.to(torch.float64)
    is_right = bool(torch.isfinite(exact).all() & (exact >= 0).all() & exact.any())
    if not is_right:
        raise UsageError("row weights must be finite and 0 or larger, and at least one of them larger.")
    return exact / exact.max()
