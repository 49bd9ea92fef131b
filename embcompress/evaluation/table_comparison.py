"""The report of one table, compared with what is stored of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from embcompress.artifact.coded import describe_codes
from embcompress.artifact.decoded_rows import open_decoded_rows
from embcompress.artifact.reader import Artifact
from embcompress.coding.bound import coded_report
from embcompress.compression.spectrum import RANK_MAX
from embcompress.evaluation.checks import TablePair
from embcompress.evaluation.comparison import add_block, measure_error, paired_blocks, search_neighbours
from embcompress.exceptions import ArtifactError, NonFiniteError
from embcompress.linalg.bilinear import RELATIVES_MAX, BilinearCompression
from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.precision import STORING_ERROR
from embcompress.linalg.projection import FLOAT32_ERROR_MIN, measuring_dtype
from embcompress.linalg.spectrum import spectrum_report
from embcompress.linalg.svd import Factorization, factorize
from embcompress.results import CodedReport, MatricesReport, NeighboursReport, TableReport
from embcompress.tables.source import TableSource


def unmeasured_report(pair: TablePair, artifact: Artifact) -> TableReport:
    """Report on a table by the headers alone."""
    table, compressed = pair.table, pair.compressed
    matrices = None
    if compressed.matrix is not None:
        matrices = MatricesReport(compressed.matrix, table.rows * pair.matrices_of_row, ())
    return TableReport(
        **vars(table.head),
        kind=compressed.kind,
        rank=compressed.rank,
        coding=compressed.coding,
        solver=None,
        solver_reason=None,
        passes=0,
        bytes_before=table.nbytes,
        bytes_after=sum(stored.nbytes for stored in artifact.factors(compressed)),
        error=None,
        seconds=0.0,
        matrices=matrices,
        coded=_coded(pair, artifact, None),
    )


def _coded(pair: TablePair, artifact: Artifact, factors: Factorization | None) -> CodedReport | None:
    """Describe how the weights of a coded table are stored; None for other tables, and where that is damaged."""
    compressed = pair.compressed
    if not compressed.is_coded:
        return None
    try:
        kinds, is_rotated, states = describe_codes(artifact, compressed)
    except ArtifactError:  # told as a check that failed, when the rows are read
        return None
    return coded_report(
        factors,
        rows=pair.table.rows,
        dim=pair.table.dim,
        nbytes=sum(stored.nbytes for stored in artifact.factors(compressed)),
        kinds=kinds,
        is_rotated=is_rotated,
        states=states,
    )


class TableComparison:
    """One table beside what is stored of it.

    Args:
        pair: the table, and its entry in the artifact.
        artifact: an open one.
        table_source: of the run.
        neighbours: rows whose nearest rows are looked for.
    """

    def __init__(self, pair: TablePair, artifact: Artifact, table_source: TableSource, *, neighbours: int) -> None:
        self._pair, self._artifact, self._table_source, self._neighbours = pair, artifact, table_source, neighbours
        self._stored_dtypes = [stored.dtype for stored in artifact.factors(pair.compressed)]

    def report(self) -> TableReport:
        """Measure everything in the report.

        Raises:
            ArtifactError: what is stored is damaged.
            NonFiniteError: the original holds NaN or infinity.
        """
        started = time.perf_counter()
        try:
            return replace(self._measured(), seconds=time.perf_counter() - started)
        except NonFiniteError as err:
            hint = "Name the original that the artifact was made from, or repair the row in both."
            raise NonFiniteError(f"{self._table_source.checkpoint.path}: {err.message}", hint=hint) from err

    def _measured(self) -> TableReport:
        report = unmeasured_report(self._pair, self._artifact)
        table, compressed = self._pair.table, self._pair.compressed
        factors, optimum, passes = self._best_possible()
        dtype = self._measuring_dtype(factors)
        seen = self._compare(dtype)
        if (
            dtype == torch.float32 and seen.error.result().relative < FLOAT32_ERROR_MIN
        ):  # less than the artifact records
            seen, passes = self._compare(torch.float64), passes + 1
        matrices = report.matrices
        facts = self._table_source.facts
        labels = facts.labels_of(table) if self._pair.matrices_of_row == 1 else ()
        unweighted = facts.unweighted_rows_of(table)
        return replace(
            report,
            passes=passes + 1,
            error=seen.error.result(optimal_relative=optimum, labels=labels, unweighted_rows=unweighted),
            matrices=None if matrices is None else replace(matrices, relative=seen.relatives),
            coded=_coded(self._pair, self._artifact, factors),
            spectrum=None
            if factors is None
            else spectrum_report(factors, side=min(table.rows, table.dim), rank=compressed.rank),
            neighbours=seen.neighbours,
            zero_rows=seen.error.zero_rows,
        )

    def _best_possible(self) -> tuple[Factorization | None, float | None, int]:
        """Find the spectrum, the least error that factors of the same rank leave, and count the passes it took."""
        table, compressed = self._pair.table, self._pair.compressed
        if compressed.matrix is not None:
            in1, in2 = compressed.matrix
            made = BilinearCompression(
                self._table_source.rows(table, "matrices"), in1=in1, in2=in2, rank=compressed.rank, dtype=torch.float64
            )
            for _ in made.blocks():
                pass
            return None, made.optimal_relative, 1
        stored = self._artifact.weights(compressed).dtype if not compressed.is_coded else table.real_dtype
        rank = min(table.rows, table.dim, RANK_MAX) if compressed.is_coded else compressed.rank
        factors = factorize(
            self._table_source.rows(table, "spectrum"),
            rank,
            tolerance=STORING_ERROR[stored],
            seed=self._table_source.seed,
        )
        return factors, None if compressed.is_coded else factors.optimal_relative, factors.passes

    def _measuring_dtype(self, factors: Factorization | None) -> torch.dtype:
        """Choose the dtype that the error is measured in, from the error that the artifact records."""
        if factors is None:
            return torch.float64
        floats = {self._pair.table.real_dtype, *self._stored_dtypes} & set(STORING_ERROR)
        return measuring_dtype(
            relative=self._pair.compressed.error or 0.0,
            norm=factors.squared_norm**0.5,
            dtypes=tuple(getattr(torch, name) for name in sorted(floats)),
        )

    def _compare(self, dtype: torch.dtype) -> _Seen:
        """Read the table and what is stored of it once."""
        pair, table_source = self._pair, self._table_source
        stored = open_decoded_rows(self._artifact, pair.compressed, dtype=dtype, device=table_source.device)
        rows = table_source.rows(pair.table, "comparison")
        search = search_neighbours(rows, stored, queries=self._neighbours, seed=table_source.seed)
        error = ErrorAccumulator(None if pair.compressed.matrix else table_source.row_weights(pair.table))
        relatives: list[float] = []
        has_each = pair.compressed.matrix is not None and pair.table.rows * pair.matrices_of_row <= RELATIVES_MAX
        for block in paired_blocks(rows, stored):
            if search is not None:
                add_block(search, block)
            block_relatives = measure_error(block, error, parts=pair.matrices_of_row)
            if has_each:
                relatives += block_relatives.tolist()
        return _Seen(error, tuple(relatives), None if search is None else search.result())


@dataclass(frozen=True)
class _Seen:
    """The measures of one comparison; `relatives` are those of the matrices of a bilinear table."""

    error: ErrorAccumulator
    relatives: tuple[float, ...]
    neighbours: NeighboursReport | None
