"""Each matrix of a table as the product of two factors."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from embcompress.artifact.writer import Entry, SafetensorsWriter
from embcompress.compression.encoding import Encoding, held_error
from embcompress.compression.plan import planned_entries
from embcompress.exceptions import NonFiniteError
from embcompress.linalg.bilinear import BilinearCompression
from embcompress.linalg.svd import factorize
from embcompress.results import Alternative, MatricesReport, TableReport
from embcompress.tables.rows import tensor_bytes


class BilinearEncoding(Encoding):
    """Each matrix of the table as the product of a left and a right factor."""

    def planned_entries(self) -> tuple[Entry, ...]:  # noqa: D102 - as in Encoding
        return planned_entries(self.planned)

    def fit(self) -> tuple[Entry, ...]:
        """Measure what the same bytes give by the other way of factoring; matrices need no look ahead."""
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
        return replace(
            found, passes=self.earlier_passes + self._passes, error=error, zero_rows=self._found.error.zero_rows
        )
