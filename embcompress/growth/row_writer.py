"""The rows of a table that grows: known ones bit by bit in their new places, new ones made on the way."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from embcompress.artifact.tensors import check_finite
from embcompress.artifact.writer import TensorWriter
from embcompress.checkpoints import StoredTensor
from embcompress.growth.new_rows import NewRows
from embcompress.growth.plan import Base, BaseTable, GrowthPlan, RowRequest, planned_bytes
from embcompress.linalg.blocks import full_float32
from embcompress.linalg.moments import RowMoments, RowStatistics, measure_rows
from embcompress.tables.progress import Progress, row_bytes_of
from embcompress.tables.rows import StoredRows, TableRows, read_bytes, tensor_bytes
from embcompress.tables.table import block_rows_for


class RowWriter(ABC):
    """The rows of a growing table, in blocks in the order of the new ids.

    Args:
        plan: of the table.
        request: how new rows are made.
        bases: (rank, dim) float64; None where the columns are the table's own.
        folder: for copies of what lies in no order.
        device: where it is computed.

    Attributes:
        block_rows: rows that are held at once; None: as many as a block of the usual size has.
        kept_rows, new_rows: statistics of the rows as they are stored, once all are written.
        warnings: sentences on rows that could not be stored exactly.
    """

    def __init__(
        self,
        plan: GrowthPlan,
        request: RowRequest,
        *,
        bases: Tensor | None,
        folder: Path,
        device: str,
    ) -> None:
        self.plan = plan
        self.name = plan.first.table.name
        self.device = torch.device(device)
        self.block_rows = request.block_rows
        self.warnings: list[str] = []
        self._bases = None if bases is None else bases.to(self.device)
        # Of each part the new id of each row, -1 for those that go.
        self._new_ids = [torch.frombuffer(new_ids, dtype=torch.int64) for new_ids in plan.placement.new_ids]
        # Which part a new id has its row from, and which row; -1 for new ones.
        self._owner = torch.full((plan.placement.max_id,), -1, dtype=torch.int32)
        self._row = torch.full((plan.placement.max_id,), -1)
        for number, new_ids in enumerate(self._new_ids):
            rows = (new_ids >= 0).nonzero().squeeze(1)
            self._owner[new_ids[rows]] = number
            self._row[new_ids[rows]] = rows
        # Rows without a label are padding, or of another kind: they count in no statistic.
        self._has_label = torch.ones(plan.placement.max_id, dtype=torch.bool)
        self._has_label[torch.tensor(plan.placement.unlabelled, dtype=torch.int64)] = False
        self._new = NewRows(plan, request, ids=(self._owner < 0).nonzero().squeeze(1), folder=folder)
        self._new_energy = self._lost_energy = 0.0

    def measure(self, progress: Progress | None) -> None:
        """Go over the kept rows once: their mean, and what the method is fitted to."""
        needs_factor = self._new.needs_covariance
        labelled = self.plan.placement.kept_count - len(self.plan.placement.unlabelled)
        seen = RowMoments(self._columns, rows=labelled if needs_factor else None)
        left = 0
        parts = self.plan.parts
        total = sum(part.table.rows for part in parts)
        done = 0
        for number, part in enumerate(parts):
            first = 0
            for block in self._known_columns(number):
                new_ids = self._new_ids[number][first : first + len(block)]
                is_kept = ((new_ids >= 0) & self._has_label[new_ids.clamp_min(0)]).to(self.device)
                if not bool(torch.isfinite(block.sum())):  # a sum is finite only of finite numbers, and quicker
                    finite = torch.isfinite(block).all(dim=1)
                    left += int((is_kept & ~finite).sum())
                    is_kept &= finite
                seen.add(block if bool(is_kept.all()) else block[is_kept])
                first += len(block)
                done += len(block)
                if progress is not None:
                    progress(f"{self.name}: known rows", done, total, self._row_bytes(part))
        if left:
            self.warnings.append(
                f"{left} kept rows of {self.name!r} hold NaN or infinity: they are kept, but left out of all statistics"
            )
        mean, factor = seen.mean.to(self.device), seen.factor().to(self.device) if needs_factor else None
        if self._bases is not None:
            mean, factor = mean @ self._bases, None if factor is None else factor @ self._bases
        self._mean = mean
        self.kept_rows, self.new_rows = RowStatistics(mean), RowStatistics(mean)
        self._new.fit(mean, factor)

    @abstractmethod
    def write(self, writer: TensorWriter, progress: Progress | None) -> None:
        """Write everything that holds the table, new rows included."""

    @property
    def kept_energy(self) -> float | None:
        """The share of the squared norm of the new rows that is left as they are stored; None of a dense table."""
        if self.plan.rank is None or not len(self._new.ids):
            return None
        share = 1 - self._lost_energy / self._new_energy if self._new_energy else 1.0
        return max(share, 0.0)

    @property
    def attainable_energy(self) -> float:
        """The share of it that could be left for rows such as the kept ones."""
        return 1.0

    @property
    def _columns(self) -> int:
        """Count the numbers of a row as it is written."""
        return self.plan.rank or math.prod(self._new.shape)

    @property
    def nbytes(self) -> int:
        """Count the bytes of everything that holds the table, under one of its names; final once it is written."""
        return planned_bytes(self.plan)

    @abstractmethod
    def _known_columns(self, number: int) -> Iterator[Tensor]:
        """Yield all rows of a part in their order as numbers, (block_rows, columns), and check what was read."""

    @abstractmethod
    def _row_bytes(self, part: BaseTable) -> int:
        """Count the bytes that a row of a part is read from, about."""

    def _count_energy(self, exact: Tensor, lost: Tensor) -> None:
        """Take in new rows, (count, dim), and what they lost when they were stored."""
        self._new_energy += float(exact.square().sum())
        self._lost_energy += float(lost.square().sum())

    def _count(self, values: Tensor, first: int) -> None:
        """Take a block of rows as it is stored, (block_rows, dim), from a new id on, into the statistics."""
        ids = slice(first, first + len(values))
        seen = measure_rows(values, self._mean)
        is_new = (self._owner[ids] < 0).to(self.device)
        finite = torch.isfinite(seen.norms)
        self.kept_rows.add_measured(seen.where(finite & ~is_new & self._has_label[ids].to(self.device)))
        self.new_rows.add_measured(seen.where(finite & is_new))


class FloatRowWriter(RowWriter):
    """Rows that are stored as floats: those of a dense table, or weights on bases.

    The arguments are those of RowWriter.
    """

    def __init__(self, plan: GrowthPlan, request: RowRequest, *, folder: Path, device: str) -> None:
        parts = plan.parts
        super().__init__(plan, request, bases=_read_bases(plan), folder=folder, device=device)
        self._readers = [StoredRows(part.stored, files=part.base.checkpoint.files, folder=folder) for part in parts]
        self._dtype: torch.dtype = getattr(torch, parts[0].stored.dtype).to_real()  # of what is written
        if self._bases is not None:
            # Bases of several artifacts may span one space but for rounding, which perturbs singular values by at most
            # eps / 2 of their root sum of squares: directions below that are noise, and weights on them would explode.
            rounding = torch.finfo(getattr(torch, plan.entries[0].dtype).to_real()).eps
            cutoff = min(rounding * len(self._bases) ** 0.5, 0.5) if plan.is_stacked else None
            self._projector = torch.linalg.pinv(self._bases, rtol=cutoff)  # (dim, rank)

    def write(self, writer: TensorWriter, progress: Progress | None) -> None:  # noqa: D102 - as in RowWriter
        entries = self.plan.entries
        if self.plan.rank is not None:
            writer.write(entries[0], _bases_bytes(self.plan))
            entries = entries[1:]
        for part in self._blocks(progress):
            for entry in entries:
                writer.append(entry, part)

    def _blocks(self, progress: Progress | None) -> Iterator[memoryview]:
        """Yield the rows of consecutive new ids, as bytes."""
        rows, item_bytes = self.plan.placement.max_id, self._dtype.itemsize
        width = self._columns * item_bytes
        step = self.block_rows or block_rows_for(rows=rows, dim=self._columns, item_bytes=item_bytes)
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
            values = block.view(self._dtype).to(self.device)
            self._count(
                values if self._bases is None else values.to(torch.float32) @ self._bases.to(torch.float32), first
            )
            yield memoryview(memory)[: (last - first) * width]
            if progress is not None:
                progress(f"{self.name}: all rows", last, rows, width)

    def _row_bytes(self, part: BaseTable) -> int:
        return row_bytes_of(part.stored)

    def _known_columns(self, number: int) -> Iterator[Tensor]:
        """Yield the weights of a part, (block_rows, its rank), in its columns."""
        part = self.plan.parts[number]
        artifact, checksum, start = part.base.artifact, 0, self._offset(number)
        rows = TableRows(part.stored, files=part.base.checkpoint.files, block_rows=self.block_rows)
        for stored in rows.blocks():
            if artifact is not None:
                checksum = zlib.crc32(tensor_bytes(stored), checksum)
                check_finite(stored, part.stored, artifact=artifact)
            block = stored.to(self.device)
            after = self._columns - start - block.shape[1]
            yield torch.nn.functional.pad(block, (start, after)) if start or after else block
        if artifact is not None:
            artifact.check(part.stored, checksum)

    def _offset(self, number: int) -> int:
        """Return the first column of a part: bases that differ stand beside each other."""
        before = self.plan.parts[:number] if self.plan.is_stacked else ()
        return sum(part.stored.shape[1] for part in before)

    def _make(self, ids: Tensor) -> Tensor:
        """Make the rows of new ids, (count, columns) as they are written."""
        flat = self._new.make(ids)  # (count, dim)
        if self._bases is not None:
            exact = flat.to(self.device, torch.float64)
            with full_float32():
                weights = (exact @ self._projector).to(self._dtype)  # (count, rank)
                lost = exact - weights.to(torch.float64) @ self._bases
            self._count_energy(exact, lost)
            flat = weights.cpu()
        else:
            flat = flat.to(self._new.dtype)
        self._new.refuse_non_finite(ids, flat)
        return flat.contiguous()


def read_stored(base: Base, stored: StoredTensor) -> Iterator[memoryview]:
    """Yield the bytes of a tensor of a base; of an artifact's, check them against its header."""
    return read_bytes(stored, files=base.checkpoint.files) if base.artifact is None else base.artifact.read(stored)


def _bases_bytes(plan: GrowthPlan) -> Iterator[bytes | memoryview]:
    """Yield the bases as they are stored: once if all parts share them, else one after the other."""
    for part in plan.parts if plan.is_stacked else plan.parts[:1]:
        assert part.bases is not None
        yield from read_stored(part.base, part.bases)


def _read_bases(plan: GrowthPlan) -> Tensor | None:
    """Read the bases, (rank, dim) float64, for what is computed in the table's space."""
    if plan.rank is None:
        return None
    dtype = getattr(torch, plan.entries[0].dtype).to_real()
    content = bytearray().join(_bases_bytes(plan))
    bases = torch.frombuffer(content, dtype=dtype).view(plan.rank, -1)
    part = plan.first
    assert part.bases is not None
    assert part.base.artifact is not None
    check_finite(bases, part.bases, artifact=part.base.artifact)
    return bases.to(torch.float64)
