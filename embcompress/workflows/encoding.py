"""How one table becomes tensors of the artifact: each way of encoding behind one contract."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embcompress.artifact import (
    CompressedTable,
    bilinear_entries,
    factor_dtypes,
    factor_entries,
    widest_metadata,
)
from embcompress.checkpoints import Checkpoint
from embcompress.exceptions import NonFiniteError
from embcompress.linalg.solvers import SolverChoice
from embcompress.planning import PlannedTable
from embcompress.results import (
    Alternative,
    MatricesReport,
    TableErrorReport,
    TableReport,
)
from embcompress.safetensors_writer import Entry, SafetensorsWriter
from embcompress.table import Table, TableRows, tensor_bytes
from embcompress.workflows.row_facts import RowFacts
from embcompress.workflows.run import Progress, rows_of

if TYPE_CHECKING:
    from embcompress.linalg.error import ErrorAccumulator

STORING_ERROR: Mapping[str, float] = {"float64": 1e-13, "float32": 3e-7, "float16": 1.2e-3, "bfloat16": 1e-2}
# Relative error that rounding to the stored dtype costs at most: digits below it are not asked of a solver.
ROUNDING: Mapping[str, float] = {"float64": 1e-16, "float32": 1e-7, "float16": 3e-4, "bfloat16": 2e-3}
# and what it costs typically: an error is never measured to be much smaller.


@dataclass(frozen=True)
class Setting:
    """What all tables of a run have in common.

    Attributes:
        checkpoint: an open one, that holds them.
        device: where their rows are worked on.
        seed: of randomized solvers.
        progress: called with what is being done, rows done, rows in all and bytes of a row.
        facts: row weights and labels.
    """

    checkpoint: Checkpoint
    device: str
    seed: int
    progress: Progress | None
    facts: RowFacts = field(default_factory=RowFacts)

    def rows(self, table: Table, doing: str) -> TableRows:
        """Open the rows of a table, telling of the progress."""
        doing = f"{table.name}: {doing}"
        return rows_of(table.stored, self.checkpoint, device=self.device, progress=self.progress, doing=doing)


class Encoding(ABC):
    """One table on its way into an artifact: planned, then fitted, then written and measured.

    Args:
        planned: what will become of it.
        choice: the solver.
        setting: of the run.
    """

    def __init__(self, planned: PlannedTable, choice: SolverChoice, setting: Setting) -> None:
        self.planned = planned
        self.choice = choice
        self.setting = setting
        self.seconds = 0.0
        self.earlier_passes = 0  # over the rows, by what was done before this encoding was made

    def continue_from(self, earlier: Encoding) -> None:
        """Count what an earlier try of the same table took: its own passes, and its time with all before."""
        self.seconds = earlier.seconds
        self.earlier_passes = earlier.earlier_passes + earlier.own_passes

    @property
    @abstractmethod
    def own_passes(self) -> int:
        """Count how often the rows were read by this encoding so far."""

    @property
    def compressed(self) -> CompressedTable:
        """What the artifact says of the table; its error is None until it is written."""
        return describe(self.planned)

    @abstractmethod
    def planned_entries(self) -> tuple[Entry, ...]:
        """Name the tensors as far as they are known without reading a row."""

    @abstractmethod
    def fit(self) -> tuple[Entry, ...]:
        """Find out what must be known before the first tensor is written, and name the tensors."""

    @abstractmethod
    def write(self, writer: SafetensorsWriter) -> float:
        """Write all tensors, measuring the error on the way; return the relative one."""

    @property
    @abstractmethod
    def measured_relative(self) -> float:
        """The measured error that a budget holds: of rows counted by their weight, where they have one."""

    @abstractmethod
    def report(self) -> TableReport:
        """Tell what became of the table, as far as that is known."""

    def _rows(self, doing: str) -> TableRows:
        return self.setting.rows(self.planned.table, doing)

    def _refuse(self, err: NonFiniteError) -> NonFiniteError:
        return NonFiniteError(f"{self.setting.checkpoint.path}: {err.message}", hint=err.hint)

    def _error_report(self, error: ErrorAccumulator, optimal_relative: float | None) -> TableErrorReport:
        item, matrix = self.planned.table, self.planned.matrix
        has_row_ids = matrix is None or item.dim == math.prod(matrix)  # else errors are told by matrix, not by row
        labels = self.setting.facts.labels_of(item) if has_row_ids else ()
        return error.result(optimal_relative=optimal_relative, labels=labels)

    def _plain_report(self) -> TableReport:
        item = self.planned.table
        return TableReport(
            **vars(item.head),
            kind=self.compressed.kind,
            rank=self.planned.rank,
            coding="plain",
            solver=self.choice.name,
            solver_reason=self.choice.reason,
            passes=0,
            bytes_before=item.nbytes,
            bytes_after=self.planned.bytes_after,
            error=None,
            seconds=self.seconds,
        )


class PlainEncoding(Encoding):
    """Rows as real weights over shared bases: a truncated SVD."""

    def planned_entries(self) -> tuple[Entry, ...]:  # noqa: D102 - as in Encoding
        bases_dtype, weights_dtype = factor_dtypes(self.planned.table.dtype, self.planned.stored_dtype)
        return factor_entries(self.compressed, bases_dtype=bases_dtype, weights_dtype=weights_dtype)

    def fit(self) -> tuple[Entry, ...]:
        """Compute the bases as they will be stored, and settle the dtype of the weights."""
        import torch

        from embcompress.linalg.error import ErrorAccumulator
        from embcompress.linalg.projection import fitting_dtype, largest_weight
        from embcompress.linalg.svd import factorize
        from embcompress.linalg.weighting import WeightedRows

        started = time.perf_counter()
        planned, rows = self.planned, self._rows("bases")
        tolerance = STORING_ERROR[planned.stored_dtype]
        self._row_weights = self.setting.facts.weights_of(planned.table)
        seen = rows if self._row_weights is None else WeightedRows(rows, self._row_weights)
        try:
            self._factors = factorize(
                seen, planned.rank, solver=self.choice.name, tolerance=tolerance, seed=self.setting.seed
            )
        except NonFiniteError as err:
            raise self._refuse(err) from err
        factors = self._factors
        stored_dtype = getattr(torch, planned.stored_dtype)
        self._bases = factors.bases.to(stored_dtype)  # (rank, dim), real, as stored
        self._remarks, self._passes = (self.choice.reason, *factors.remarks), factors.passes + 1
        bases_dtype, weights_dtype = factor_dtypes(planned.table.dtype, planned.stored_dtype)
        # |weight| <= the largest singular value, so that most tables need no look at the weights before they are
        # written. Those of scaled rows bound nothing.
        most = float(factors.singular_values[0]) if self._row_weights is None else math.inf
        if most >= torch.finfo(stored_dtype).max / 2 and (most < math.inf or planned.stored_dtype == "float16"):
            largest = largest_weight(rows, self._bases)
            self._passes += 1
            why = f"the rows were read once more, to see whether weights fit into {weights_dtype}"
            fitting = str(fitting_dtype(getattr(torch, weights_dtype), largest=largest)).removeprefix("torch.")
            if fitting != weights_dtype:
                weights_dtype = fitting
                wanted = planned.stored_dtype
                why = f"weights are stored as {weights_dtype}: the largest, {largest:.3g}, overflows {wanted}"
            self._remarks += (why,)
        self._error = ErrorAccumulator(self._row_weights)
        self._entries = factor_entries(self.compressed, bases_dtype=bases_dtype, weights_dtype=weights_dtype)
        self.seconds += time.perf_counter() - started
        return self._entries

    def write(self, writer: SafetensorsWriter) -> float:  # noqa: D102 - as in Encoding
        started = time.perf_counter()
        bases, weights = self._entries
        writer.write(bases, [tensor_bytes(self._bases)])
        writer.write(weights, self._weights())
        self.seconds += time.perf_counter() - started
        return self._error.result().relative

    def report(self) -> TableReport:  # noqa: D102 - as in Encoding
        found = self._plain_report()
        if not hasattr(self, "_error"):
            return found
        from embcompress.linalg.spectrum import spectrum_report

        item = self.planned.table
        is_even = self._row_weights is None  # else the spectrum is that of weighted rows
        return replace(
            found,
            solver=self._factors.solver,
            solver_reason="; ".join(self._remarks),
            passes=self.earlier_passes + self._passes,
            bytes_after=sum(entry.nbytes for entry in self._entries),
            error=self._error_report(self._error, self._factors.optimal_relative if is_even else None),
            spectrum=spectrum_report(self._factors, side=min(item.rows, item.dim), rank=self.planned.rank)
            if is_even
            else None,
        )

    @property
    def own_passes(self) -> int:  # noqa: D102 - as in Encoding
        return getattr(self, "_passes", 0)

    @property
    def measured_relative(self) -> float:  # noqa: D102 - as in Encoding
        return held_error(self._error.result())

    def _weights(self) -> Iterator[memoryview]:
        """Yield the weights as stored, and measure their error on the way."""
        import torch

        from embcompress.linalg.projection import measuring_dtype, project

        weights_dtype: torch.dtype = getattr(torch, self._entries[1].dtype)
        rows = self._rows("weights")
        expected = max(self._factors.relative, ROUNDING[self.planned.stored_dtype])
        measured_in = measuring_dtype(
            relative=expected if self._row_weights is None else 0.0,
            norm=self._factors.squared_norm**0.5,
            dtypes=(rows.dtype, self._bases.dtype, weights_dtype),
        )
        for weights in project(
            rows, self._bases, weights_dtype=weights_dtype, measured_in=measured_in, error=self._error
        ):
            yield tensor_bytes(weights)


class BilinearEncoding(Encoding):
    """Each matrix of the table as the product of a left and a right factor."""

    def planned_entries(self) -> tuple[Entry, ...]:  # noqa: D102 - as in Encoding
        return bilinear_entries(self.compressed, dtype=self.planned.stored_dtype)

    def fit(self) -> tuple[Entry, ...]:
        """Measure what the same bytes give by the other way of factoring; matrices need no look ahead."""
        from embcompress.linalg.svd import factorize

        started = time.perf_counter()
        self._rows_error, self._passes = None, 1
        if self.planned.rows_rank:
            try:
                factors = factorize(
                    self._rows("rows over shared bases"), self.planned.rows_rank, seed=self.setting.seed
                )
            except NonFiniteError as err:
                raise self._refuse(err) from err
            self._rows_error, self._passes = factors.relative, factors.passes + 1
        self.seconds += time.perf_counter() - started
        return self.planned_entries()

    def write(self, writer: SafetensorsWriter) -> float:  # noqa: D102 - as in Encoding
        import torch

        from embcompress.linalg.bilinear import BilinearCompression

        assert self.planned.matrix is not None
        started = time.perf_counter()
        in1, in2 = self.planned.matrix
        dtype = getattr(torch, self.planned.stored_dtype)
        self._found = BilinearCompression(self._rows("matrices"), in1=in1, in2=in2, rank=self.planned.rank, dtype=dtype)
        left, right = self.planned_entries()
        try:
            for factors in self._found.blocks():
                writer.append(left, tensor_bytes(factors.left))
                writer.append(right, tensor_bytes(factors.right))
        except NonFiniteError as err:
            raise self._refuse(err) from err
        self.seconds += time.perf_counter() - started
        return self._found.error.result().relative

    @property
    def own_passes(self) -> int:  # noqa: D102 - as in Encoding
        return getattr(self, "_passes", 0)

    @property
    def measured_relative(self) -> float:  # noqa: D102 - as in Encoding
        return held_error(self._found.error.result())

    def report(self) -> TableReport:  # noqa: D102 - as in Encoding
        planned, found = self.planned, self._plain_report()
        assert planned.matrix is not None
        count = planned.table.rows * planned.table.dim // (planned.matrix[0] * planned.matrix[1])
        is_written = hasattr(self, "_found")
        rank = planned.rows_rank
        found = replace(
            found,
            matrices=MatricesReport(planned.matrix, count, tuple(self._found.relatives) if is_written else ()),
            alternative=Alternative("embedding", rank, getattr(self, "_rows_error", None)) if rank else None,
        )
        if not is_written:
            return found
        error = self._error_report(self._found.error, self._found.optimal_relative)
        return replace(found, passes=self.earlier_passes + self._passes, error=error)


def make_encoding(planned: PlannedTable, choice: SolverChoice, setting: Setting) -> Encoding:
    """Choose how a table with a given number of bases is encoded, from its plan."""
    kind = PlainEncoding if planned.matrix is None else BilinearEncoding
    return kind(planned, choice, setting)


def bytes_alone(encodings: Sequence[Encoding]) -> int:
    """Count the bytes of a file that holds these tables and nothing else, as far as they are known."""
    own = [entry for encoding in encodings for entry in encoding.planned_entries()]
    metadata = widest_metadata([encoding.compressed for encoding in encodings], entries=own, original={})
    return SafetensorsWriter(Path("artifact"), own, metadata=metadata).nbytes


def describe(planned: PlannedTable) -> CompressedTable:
    """Say of a planned table what the artifact will say, but for its error."""
    return CompressedTable(
        **vars(planned.table.head),
        rank=planned.rank,
        error=None,
        kind="embedding" if planned.matrix is None else "bilinear",
        matrix=planned.matrix,
    )


def held_error(measured: TableErrorReport) -> float:
    """Choose the error that a budget holds: the weighted one, where rows have weights."""
    return measured.relative if measured.weighted_relative is None else measured.weighted_relative
