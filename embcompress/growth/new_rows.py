"""Rows for new ids in the space of their table: given or drawn, and constrained."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from embcompress.choices import FITTED
from embcompress.exceptions import NonFiniteError
from embcompress.growth.drawing import Fitted, RowDraw, bind_constrainer
from embcompress.growth.plan import Fill, GrowthPlan, RowRequest
from embcompress.linalg.blocks import product_dtype
from embcompress.tables.rows import StoredRows
from embcompress.tables.table import REAL_PARTS


class NewRows:
    """The rows of new ids, the same for an id however often they are asked for.

    Args:
        plan: of the table.
        request: how they are made.
        ids: (added,) of the new rows, ascending.
        folder: for a copy of a fill whose rows lie apart.
    """

    def __init__(self, plan: GrowthPlan, request: RowRequest, *, ids: Tensor, folder: Path) -> None:
        first = plan.first
        self.name = first.table.name
        self.ids = ids
        self.is_complex = first.table.dtype in REAL_PARTS
        self.shape = (*first.table.shape, 2) if self.is_complex else first.table.shape  # of a row, as reals
        self.dtype: torch.dtype = getattr(torch, first.table.dtype).to_real()  # of the table's reals
        self._wide = product_dtype(self.dtype)  # rows are rounded once, after the constraint
        self._request = request
        self._constrain = bind_constrainer(plan.constrainer)
        self._fill = None if plan.fill is None else _FillRows(plan.fill, folder=folder)
        self._fill_row = torch.full((plan.placement.max_id,), -1)  # of each id its row of the fill
        if self._fill is not None:
            filled = torch.tensor(plan.filled) if plan.filled else ids
            self._fill_row[filled] = torch.arange(len(filled))
        draws = len(ids) > (0 if self._fill is None else self._fill.rows)
        self.needs_covariance = draws and request.method.name == "gaussian"

    def fit(self, mean: Tensor, factor: Tensor | None) -> None:
        """Take what was measured of the kept rows: their mean, (dim,), and a factor of the covariance, (k, dim)."""
        fitted = Fitted(mean.cpu(), None if factor is None else factor.cpu())
        method = self._request.method
        self._draw = RowDraw(
            method,
            shape=self.shape,
            dtype=self.dtype,
            seed=self._request.seed,
            name=self.name,
            fitted=fitted if method.name in FITTED else None,
        )

    def make(self, ids: Tensor) -> Tensor:
        """Make the rows of some of the ids, (count, dim) on the CPU, in at least float32."""
        rows = torch.empty(len(ids), *self.shape, dtype=self._wide)
        source = self._fill_row[ids]
        drawn = (source < 0).nonzero().squeeze(1)
        rows[drawn] = self._draw(ids[drawn]).to(self._wide)
        if self._fill is not None:
            given = (source >= 0).nonzero().squeeze(1)
            rows[given] = self._fill.read(source[given]).view(len(given), *self.shape).to(self._wide)
        shaped = self._constrain(torch.view_as_complex(rows) if self.is_complex else rows)
        return (torch.view_as_real(shaped) if self.is_complex else shaped).flatten(1)

    def refuse_non_finite(self, ids: Tensor, values: Tensor) -> None:
        """Refuse rows of ids whose values, (count, any), do not fit into their dtype.

        Raises:
            NonFiniteError: one holds NaN or infinity; names the first such id.
        """
        if bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all()):
            return  # a sum is finite only of finite numbers, and quicker
        bad = int(ids[(~torch.isfinite(values)).any(dim=1).cpu()][0])
        raise NonFiniteError(
            f"the new row of id {bad} in table {self.name!r} holds NaN, or a number beyond {values.dtype}.",
            hint="Check --fill, --method and --constrainer.",
        )


class _FillRows:
    """Rows given for new ids, read in any order."""

    def __init__(self, fill: Fill, *, folder: Path) -> None:
        self.rows = fill.stored.shape[0]
        self._reader = StoredRows(fill.stored, files=fill.base.checkpoint.files, folder=folder)
        self._dtype: torch.dtype = getattr(torch, fill.stored.dtype).to_real()

    def read(self, rows: Tensor) -> Tensor:
        """Read rows by number, (count, reals of a row)."""
        return self._reader.read(rows).view(self._dtype)
