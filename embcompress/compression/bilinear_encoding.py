"""Each matrix of a table as the product of two factors."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from embcompress.artifact.writer import TensorWriter
from embcompress.compression.encoding import Encoding, FittedTable, WrittenTable
from embcompress.compression.time_and_passes import TimeAndPasses
from embcompress.exceptions import NonFiniteError
from embcompress.linalg.bilinear import BilinearCompression
from embcompress.linalg.svd import factorize
from embcompress.results import TableReport
from embcompress.tables.rows import tensor_bytes


@dataclass(frozen=True)
class BilinearFit(FittedTable):
    """The other way of factoring the table, measured.

    Attributes:
        rows_error: relative error of as many shared bases of rows as fit into the same bytes; None if none fits.
    """

    rows_error: float | None


@dataclass(frozen=True)
class BilinearTable(WrittenTable):
    """A table that was written as factors of its matrices.

    Attributes:
        relatives: the relative error of each matrix, unless there are too many.
        rows_error: as in BilinearFit.
    """

    relatives: tuple[float, ...]
    rows_error: float | None


class BilinearEncoding(Encoding[BilinearFit, BilinearTable]):
    """Each matrix of the table as the product of a left and a right factor."""

    def fit(self) -> BilinearFit:
        """Measure what the same bytes give by the other way of factoring; matrices need no look ahead."""
        started = time.perf_counter()
        rows_error, passes = None, 0
        if self.planned.rows_rank:
            try:
                factors = factorize(
                    self._rows("rows over shared bases"), self.planned.rows_rank, seed=self.table_source.seed
                )
            except NonFiniteError as err:
                raise self._refuse(err) from err
            rows_error, passes = factors.relative, factors.passes
        return BilinearFit(self.planned_entries(), TimeAndPasses(time.perf_counter() - started, passes), rows_error)

    def write(self, fitted: BilinearFit, writer: TensorWriter) -> BilinearTable:  # noqa: D102 - as in Encoding
        assert self.planned.matrix is not None
        started = time.perf_counter()
        in1, in2 = self.planned.matrix
        dtype = getattr(torch, self.planned.stored_dtype)
        compression = BilinearCompression(self._rows("matrices"), in1=in1, in2=in2, rank=self.planned.rank, dtype=dtype)
        left, right = fitted.entries
        try:
            for factors in compression.blocks():
                writer.append(left, tensor_bytes(factors.left))
                writer.append(right, tensor_bytes(factors.right))
        except NonFiniteError as err:
            raise self._refuse(err) from err
        return BilinearTable(
            self._measured(compression.error, optimal_relative=compression.optimal_relative),
            compression.error.zero_rows,
            sum(entry.nbytes for entry in fitted.entries),
            self.earlier + fitted.work + TimeAndPasses(time.perf_counter() - started, passes=1),
            tuple(compression.relatives),
            fitted.rows_error,
        )

    def report(self, written: BilinearTable) -> TableReport:  # noqa: D102 - as in Encoding
        report = super().report(written)
        assert report.matrices is not None
        return replace(
            report,
            matrices=replace(report.matrices, relative=written.relatives),
            alternative=report.alternative and replace(report.alternative, relative=written.rows_error),
        )
