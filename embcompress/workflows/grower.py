"""The rows of a table that grows: known ones bit by bit in their new places, new ones made on the way."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from embcompress.choices import FITTED
from embcompress.exceptions import NonFiniteError
from embcompress.growth import Fill, GrowthPlan, RowRequest
from embcompress.table import REAL_PARTS, StoredRows, TableRows, block_rows_for, tensor_bytes
from embcompress.workflows.run import Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Grower:
    """The rows of a growing table, block by block in the order of the new ids."""

    def __init__(self, plan: GrowthPlan, request: RowRequest, *, folder: Path, device: str) -> None:
        import torch

        from embcompress.nn.drawing import bind_constrainer

        first = plan.table.first
        self.plan = plan
        self.request = request
        self.name = first.name
        self.is_complex = first.dtype in REAL_PARTS
        self.shape = (*first.shape[1:], 2) if self.is_complex else first.shape[1:]  # of a row, as reals
        self.dtype: torch.dtype = getattr(torch, first.dtype).to_real()  # of the table's reals
        self.stored_dtype: torch.dtype = getattr(torch, first.stored.dtype).to_real()  # of those that are written
        self.device = torch.device(device)
        self.warnings: list[str] = []
        self._readers = [
            StoredRows(part.stored, file=part.base.checkpoint.file, folder=folder) for part in plan.table.parts
        ]
        self._constrain = bind_constrainer(request.constrainer)
        # Which base a new id has its row from, and which row; -1 for new ones.
        self._owner = torch.full((plan.placement.max_id,), -1, dtype=torch.int32)
        self._row = torch.full((plan.placement.max_id,), -1)
        self._places = [torch.frombuffer(place, dtype=torch.int64) for place in plan.placement.places]
        for number, place in enumerate(self._places):
            rows = (place >= 0).nonzero().squeeze(1)
            self._owner[place[rows]] = number
            self._row[place[rows]] = rows
        self._bases = self._read_bases()
        if self._bases is not None:
            # Bases of several artifacts may span one space but for rounding, which perturbs singular values by at most
            # eps / 2 of their root sum of squares: directions below that are noise, and weights on them would explode.
            rounding = torch.finfo(getattr(torch, plan.entries[0].dtype).to_real()).eps
            cutoff = min(rounding * len(self._bases) ** 0.5, 0.5) if plan.is_stacked else None
            self._projector = torch.linalg.pinv(self._bases, rtol=cutoff)  # (dim, rank)
        self._fill = None if plan.fill is None else _FillRows(plan.fill, folder=folder)
        self._fill_row = self._find_fill_rows()
        self._new_energy = self._lost_energy = 0.0

    def measure(self, progress: Progress | None) -> None:
        """Go over the kept rows once: their mean, and what the method is fitted to."""
        import torch

        from embcompress.linalg.moments import RowMoments, RowStatistics
        from embcompress.nn.drawing import Fitted, RowDraw

        draws = self.plan.placement.added > (0 if self._fill is None else self._fill.rows)
        is_gaussian = draws and self.request.method.name == "gaussian"
        seen = RowMoments(self._columns, rows=self.plan.placement.kept if is_gaussian else None)
        left = 0
        total = sum(part.shape[0] for part in self.plan.table.parts)
        done = 0
        for number, (part, place) in enumerate(zip(self.plan.table.parts, self._places, strict=True)):
            first = checksum = 0
            for stored in TableRows(part.stored, file=part.base.checkpoint.file).blocks():
                if part.base.artifact is not None:
                    checksum = zlib.crc32(tensor_bytes(stored), checksum)
                block = stored.to(self.device)
                kept = place[first : first + len(block)] >= 0
                kept = torch.nn.functional.pad(kept, (0, len(block) - len(kept))).to(self.device)  # rows of padding
                if not bool(torch.isfinite(block.sum())):  # a sum is finite only of finite numbers, and quicker
                    finite = torch.isfinite(block).all(dim=1)
                    left += int((kept & ~finite).sum())
                    kept &= finite
                values = block if bool(kept.all()) else block[kept]
                seen.add(self._widen(values, number))
                first += len(block)
                done += len(block)
                if progress is not None:
                    progress(f"{self.name}: known rows", done, total)
            if part.base.artifact is not None:
                part.base.artifact.check(part.stored, checksum)
        if left:
            self.warnings.append(
                f"{left} kept rows of {self.name!r} hold NaN or infinity: they stay, and count in no statistic"
            )
        mean, factor = seen.mean, seen.factor() if is_gaussian else None
        if self._bases is not None:
            mean, factor = mean @ self._bases, None if factor is None else factor @ self._bases
        self._mean = mean
        self.kept_rows, self.new_rows = RowStatistics(mean), RowStatistics(mean)
        fitted = Fitted(mean.cpu(), None if factor is None else factor.cpu())
        self._draw = RowDraw(
            self.request.method,
            shape=self.shape,
            dtype=self.dtype,
            seed=self.request.seed,
            name=self.name,
            fitted=fitted if self.request.method.name in FITTED else None,
        )

    def bases_bytes(self) -> Iterator[bytes | memoryview]:
        """Yield the bases as they are stored: once if all parts share them, else one after the other."""
        for part in self.plan.table.parts if self.plan.is_stacked else self.plan.table.parts[:1]:
            assert part.bases is not None
            yield from part.base.read(part.bases)

    def blocks(self, progress: Progress | None) -> Iterator[memoryview]:
        """Yield the rows of consecutive new ids, as bytes."""
        import torch

        rows, item_bytes = self.plan.placement.max_id, self.stored_dtype.itemsize
        width = self._columns * item_bytes
        step = block_rows_for(rows=rows, dim=self._columns, item_bytes=item_bytes)
        memory = bytearray(step * width)
        for first in range(0, rows, step):
            last = min(first + step, rows)
            block = torch.frombuffer(memory, dtype=torch.uint8, count=(last - first) * width).view(-1, width)
            if self.plan.is_stacked:
                block.zero_()  # the columns of the other parts' bases
            owner, row = self._owner[first:last], self._row[first:last]
            for number, reader in enumerate(self._readers):
                at = (owner == number).nonzero().squeeze(1)
                start = self._offset(number) * item_bytes
                block[:, start : start + reader.row_bytes].index_copy_(0, at, reader.read(row[at]))
            new = (owner < 0).nonzero().squeeze(1)
            if len(new):
                block.index_copy_(0, new, self._make(new + first).view(torch.uint8).view(len(new), width))
            self._count(block.view(self.stored_dtype), owner)
            yield memoryview(memory)[: (last - first) * width]
            if progress is not None:
                progress(f"{self.name}: all rows", last, rows)

    @property
    def energy_held(self) -> float | None:
        """The share of the squared norm of the new rows that the bases hold."""
        if self._bases is None or not self.plan.placement.added:
            return None
        held = 1 - self._lost_energy / self._new_energy if self._new_energy else 1.0
        return max(held, 0.0)

    @property
    def _columns(self) -> int:
        """Count the reals of a row as it is written."""
        return self.plan.rank or math.prod(self.shape)

    def _offset(self, number: int) -> int:
        """Tell the first column of a part: bases that differ stand beside each other."""
        before = self.plan.table.parts[:number] if self.plan.is_stacked else ()
        return sum(part.stored.shape[1] for part in before)

    def _widen(self, values: Tensor, number: int) -> Tensor:
        """Put the weights of a part (block_rows, its rank) in its columns, (block_rows, columns)."""
        start = self._offset(number)
        after = self._columns - start - values.shape[1]
        if not start and not after:
            return values
        import torch

        return torch.nn.functional.pad(values, (start, after))

    def _read_bases(self) -> Tensor | None:
        """Read the bases, (rank, dim) float64, for what is computed in the table's space."""
        import torch

        if self.plan.rank is None:
            return None
        dtype = getattr(torch, self.plan.entries[0].dtype).to_real()
        content = bytearray().join(self.bases_bytes())
        bases = torch.frombuffer(content, dtype=dtype).view(self.plan.rank, -1)
        return bases.to(self.device, torch.float64)

    def _find_fill_rows(self) -> Tensor:
        """Tell for each id its row of the fill, -1 where it has none."""
        import torch

        rows = torch.full((self.plan.placement.max_id,), -1)
        if self._fill is not None:
            new = (self._owner < 0).nonzero().squeeze(1)
            ids = torch.tensor(self.plan.filled) if self.plan.filled else new
            rows[ids] = torch.arange(len(ids))
        return rows

    def _make(self, ids: Tensor) -> Tensor:
        """Make the rows of new ids, (count, columns) as they are written."""
        import torch

        from embcompress.linalg.blocks import full_float32, product_dtype

        wide = product_dtype(self.dtype)  # rounded once, after the constraint
        rows = torch.empty(len(ids), *self.shape, dtype=wide)
        source = self._fill_row[ids]
        drawn = (source < 0).nonzero().squeeze(1)
        rows[drawn] = self._draw(ids[drawn]).to(wide)
        if self._fill is not None:
            given = (source >= 0).nonzero().squeeze(1)
            rows[given] = self._fill.read(source[given]).view(len(given), *self.shape).to(wide)
        shaped = self._constrain(torch.view_as_complex(rows) if self.is_complex else rows)
        flat = (torch.view_as_real(shaped) if self.is_complex else shaped).flatten(1)  # (count, dim)
        if self._bases is not None:
            exact = flat.to(self.device, torch.float64)
            with full_float32():
                weights = (exact @ self._projector).to(self.stored_dtype)  # (count, rank)
                lost = exact - weights.to(torch.float64) @ self._bases
            self._new_energy += float(exact.square().sum())
            self._lost_energy += float(lost.square().sum())
            flat = weights.cpu()
        else:
            flat = flat.to(self.dtype)
        if not bool(torch.isfinite(flat.sum())) and not bool(torch.isfinite(flat).all()):
            bad = int(ids[(~torch.isfinite(flat)).any(dim=1)][0])
            raise NonFiniteError(
                f"the new row of id {bad} in table {self.name!r} holds NaN, or a number beyond {flat.dtype}.",
                hint="Check --fill, --method and --constrainer.",
            )
        return flat.contiguous()

    def _count(self, stored: Tensor, owner: Tensor) -> None:
        """Take a block as it is written, (block_rows, columns), into the statistics."""
        import torch

        from embcompress.linalg.moments import measure_rows

        values = stored.to(self.device)
        if self._bases is not None:
            values = values.to(torch.float32) @ self._bases.to(torch.float32)
        seen = measure_rows(values, self._mean)
        is_new = (owner < 0).to(self.device)
        finite = torch.isfinite(seen.norms)
        self.kept_rows.add_measured(seen.where(finite & ~is_new))
        self.new_rows.add_measured(seen.where(finite & is_new))


class _FillRows:
    """Rows given for new ids, read in any order."""

    def __init__(self, fill: Fill, *, folder: Path) -> None:
        import torch

        self.rows = fill.stored.shape[0]
        self._reader = StoredRows(fill.stored, file=fill.base.checkpoint.file, folder=folder)
        self._dtype: torch.dtype = getattr(torch, fill.stored.dtype).to_real()

    def read(self, rows: Tensor) -> Tensor:
        """Read rows by number, (count, reals of a row)."""
        return self._reader.read(rows).view(self._dtype)
