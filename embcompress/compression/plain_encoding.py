"""Weights as floats over shared bases."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from embcompress.artifact.schema import factor_dtypes, factor_entries
from embcompress.artifact.writer import TensorWriter
from embcompress.compression.encoding import Encoding, FittedTable, WrittenTable
from embcompress.compression.time_and_passes import TimeAndPasses
from embcompress.exceptions import NonFiniteError
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.exact import Factorization
from embcompress.linalg.precision import ROUNDING, STORING_ERROR
from embcompress.linalg.projection import fitting_dtype, largest_weight, measuring_dtype, project
from embcompress.linalg.spectrum import spectrum_report
from embcompress.linalg.svd import factorize
from embcompress.linalg.weighting import WeightedRows
from embcompress.results import TableReport
from embcompress.tables.rows import tensor_bytes


@dataclass(frozen=True)
class PlainFit(FittedTable):
    """The bases of a table.

    Attributes:
        factors: of the rows, with row weights of the scaled rows.
        bases: (rank, dim) as stored, real.
        row_weights: (rows,); None where all count alike.
        remarks: of the solver, and of passes and dtypes that storing needs.
    """

    factors: Factorization
    bases: Tensor
    row_weights: Tensor | None
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class PlainTable(WrittenTable):
    """A table that was written as bases and weights, and its fit."""

    fit: PlainFit


class PlainEncoding(Encoding[PlainFit, PlainTable]):
    """Rows as real weights over shared bases: a truncated SVD."""

    def fit(self) -> PlainFit:
        """Compute the bases as they will be stored, and choose the dtype of the weights."""
        started = time.perf_counter()
        planned, rows = self.planned, self._rows("bases")
        row_weights = self.table_source.row_weights(planned.table)
        try:
            factors = factorize(
                rows if row_weights is None else WeightedRows(rows, row_weights),
                planned.rank,
                solver=self.choice.name,
                tolerance=STORING_ERROR[planned.stored_dtype],
                seed=self.table_source.seed,
            )
        except NonFiniteError as err:
            raise self._refuse(err) from err
        stored_dtype = getattr(torch, planned.stored_dtype)
        bases = factors.bases.to(stored_dtype)
        remarks, passes = factors.remarks, factors.passes
        bases_dtype, weights_dtype = factor_dtypes(planned.table.dtype, planned.stored_dtype)
        # |weight| <= the largest singular value, so that most tables need no look at the weights before they are
        # written. Those of scaled rows bound nothing.
        most = float(factors.singular_values[0]) if row_weights is None else math.inf
        if most >= torch.finfo(stored_dtype).max / 2 and (most < math.inf or planned.stored_dtype == "float16"):
            largest = largest_weight(rows, bases)
            passes += 1
            why = f"the rows were read once more, to see whether weights fit into {weights_dtype}"
            fitting = str(fitting_dtype(getattr(torch, weights_dtype), largest=largest)).removeprefix("torch.")
            if fitting != weights_dtype:
                weights_dtype = fitting
                wanted = planned.stored_dtype
                why = f"weights are stored as {weights_dtype}: the largest, {largest:.3g}, overflows {wanted}"
            remarks += (why,)
        entries = factor_entries(self.compressed, bases_dtype=bases_dtype, weights_dtype=weights_dtype)
        return PlainFit(
            entries, TimeAndPasses(time.perf_counter() - started, passes), factors, bases, row_weights, remarks
        )

    def write(self, fitted: PlainFit, writer: TensorWriter) -> PlainTable:  # noqa: D102 - as in Encoding
        started = time.perf_counter()
        bases_entry, weights_entry = fitted.entries
        error = ErrorAccumulator(fitted.row_weights)
        writer.write(bases_entry, [tensor_bytes(fitted.bases)])
        writer.write(weights_entry, self._weights(fitted, error))
        # With row weights the spectrum is that of scaled rows.
        optimal_relative = fitted.factors.optimal_relative if fitted.row_weights is None else None
        return PlainTable(
            self._measured(error, optimal_relative=optimal_relative),
            error.zero_rows,
            sum(entry.nbytes for entry in fitted.entries),
            self.earlier + fitted.work + TimeAndPasses(time.perf_counter() - started, passes=1),
            fitted,
        )

    def report(self, written: PlainTable) -> TableReport:  # noqa: D102 - as in Encoding
        table, fit = self.planned.table, written.fit
        spectrum = None
        if fit.row_weights is None:
            spectrum = spectrum_report(fit.factors, side=min(table.rows, table.dim), rank=self.planned.rank)
        return replace(
            super().report(written), solver=fit.factors.solver, solver_remarks=fit.remarks, spectrum=spectrum
        )

    def _weights(self, fitted: PlainFit, error: ErrorAccumulator) -> Iterator[memoryview]:
        """Yield the weights as stored, and measure their error on the way."""
        weights_dtype: torch.dtype = getattr(torch, fitted.entries[1].dtype)
        rows = self._rows("weights")
        expected = max(fitted.factors.relative, ROUNDING[self.planned.stored_dtype])
        measured_in = measuring_dtype(
            relative=expected if fitted.row_weights is None else 0.0,
            norm=fitted.factors.squared_norm**0.5,
            dtypes=(rows.dtype, fitted.bases.dtype, weights_dtype),
        )
        for weights in project(rows, fitted.bases, weights_dtype=weights_dtype, measured_in=measured_in, error=error):
            yield tensor_bytes(weights)
