"""Weights as floats over shared bases."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from embcompress.artifact.schema import factor_dtypes, factor_entries
from embcompress.artifact.writer import Entry, SafetensorsWriter
from embcompress.compression.encoding import Encoding, held_error
from embcompress.compression.plan import planned_entries
from embcompress.exceptions import NonFiniteError
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.precision import ROUNDING, STORING_ERROR
from embcompress.linalg.projection import fitting_dtype, largest_weight, measuring_dtype, project
from embcompress.linalg.spectrum import spectrum_report
from embcompress.linalg.svd import factorize
from embcompress.linalg.weighting import WeightedRows
from embcompress.results import TableReport
from embcompress.tables.rows import tensor_bytes


class PlainEncoding(Encoding):
    """Rows as real weights over shared bases: a truncated SVD."""

    def planned_entries(self) -> tuple[Entry, ...]:  # noqa: D102 - as in Encoding
        return planned_entries(self.planned)

    def fit(self) -> tuple[Entry, ...]:
        """Compute the bases as they will be stored, and settle the dtype of the weights."""
        started = time.perf_counter()
        planned, rows = self.planned, self._rows("bases")
        tolerance = STORING_ERROR[planned.stored_dtype]
        self._row_weights = self.setting.row_weights(planned.table)
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
        self._remarks, self._passes = factors.remarks, factors.passes + 1
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
        item = self.planned.table
        is_even = self._row_weights is None  # else the spectrum is that of weighted rows
        return replace(
            found,
            solver=self._factors.solver,
            solver_remarks=self._remarks,
            passes=self.earlier_passes + self._passes,
            bytes_after=sum(entry.nbytes for entry in self._entries),
            error=self._error_report(self._error, self._factors.optimal_relative if is_even else None),
            zero_rows=self._error.zero_rows,
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
