"""The pass over the rows of one table: rounded, written and measured block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from embcompress.exceptions import TableError
from embcompress.exports.quantized.kind import ExportWriter, TableEncoding
from embcompress.exports.quantized.source import SourceRows
from embcompress.linalg.blocks import refuse_non_finite
from embcompress.linalg.error import ErrorAccumulator, row_norms
from embcompress.linalg.neighbours import NeighbourSearch, sample_queries
from embcompress.results import NeighboursReport
from embcompress.tables.rows import TableRows, tensor_bytes


@dataclass(frozen=True)
class Measures:
    """What was measured of a table.

    Attributes:
        error: of its rows as they are stored.
        neighbours: None where there were no queries, or too few rows.
    """

    error: ErrorAccumulator
    neighbours: NeighboursReport | None


class TablePass:
    """One table on its way into an export.

    Args:
        name: of the table, for messages.
        rows: that are rounded.
        original: the rows that the error is measured against; None: those that are rounded.
        encoding: that rounds them.
        queries: how many rows look for their neighbours.
        seed: of their draw.
        row_weights: (rows,) float64, how much each row counts in the weighted error; None: none is measured.
    """

    def __init__(
        self,
        name: str,
        rows: SourceRows,
        *,
        original: TableRows | None,
        encoding: TableEncoding,
        queries: int,
        seed: int,
        row_weights: Tensor | None,
    ) -> None:
        self._name, self._rows, self._original, self._encoding = name, rows, original, encoding
        self._queries, self._seed, self._row_weights = queries, seed, row_weights
        self._dtype = torch.promote_types(rows.dtype, torch.float32)
        if original is not None:
            self._dtype = torch.promote_types(self._dtype, original.dtype)

    def write(self, writer: ExportWriter, *, count: int) -> Measures:
        """Write the tensors of the table, and measure it.

        Args:
            writer: of the export.
            count: of rows.

        Raises:
            NonFiniteError: the table holds NaN or infinity.
            TableError: it holds a number that the form cannot.
        """
        error, search = ErrorAccumulator(self._row_weights), self._open_search(count)
        first = 0
        for entry, content in self._encoding.fixed.items():
            for fixed_part in content:
                writer.append(entry, fixed_part)
        for values, wanted in self._blocks():
            norms = row_norms(wanted)
            rounded = self._encoding.round(values)
            for entry, part in zip(self._encoding.entries, rounded.parts, strict=True):
                writer.append(entry, tensor_bytes(part))
            made = rounded.values.to(self._dtype)
            made_norms = row_norms(made)
            if search is not None:
                search.add(wanted, norms, stored=made, stored_norms=made_norms, first=first)
            errors = row_norms(made - wanted)
            error.add_norms(norms=norms, reconstructed_norms=made_norms, errors=errors, first=first)
            first += len(values)
        return Measures(error, None if search is None else search.result())

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows, and those that their error is measured against."""
        first = 0
        originals = None if self._original is None else self._original.blocks()
        for block in self._rows.blocks():
            values = block.to(self._dtype)
            self._refuse_unfit(values, first=first)
            wanted = values
            if self._original is not None and originals is not None:
                kept = next(originals)
                wanted = kept.to(self._dtype)
                if not bool(torch.isfinite(wanted).all()):
                    refuse_non_finite(self._original, block=kept, first=first)
            yield values, wanted
            first += len(values)

    def _refuse_unfit(self, values: Tensor, *, first: int) -> None:
        largest = values.abs().amax(dim=1)  # (block_rows,), NaN where one is
        bad = (~(largest <= self._encoding.largest)).nonzero()
        if not len(bad):
            return
        number = float(largest[int(bad[0])])
        what = f"a number of magnitude {number:.3g}" if number < float("inf") else "NaN or infinity"
        raise TableError(
            f"table {self._name!r} holds {what} in row {first + int(bad[0])}, and the form holds numbers up to "
            f"{self._encoding.largest:.3g}.",
            hint="Repair or drop the row, or leave the table out with --exclude.",
        )

    def _open_search(self, count: int) -> NeighbourSearch | None:
        """Draw the queries and open the search for their neighbours; None where there are none."""
        if not self._queries or count < 2:
            return None
        ids = sample_queries(count, self._queries, seed=self._seed)
        queries = self._rows.read(ids).to(self._dtype).nan_to_num_()  # refused with their block, by their number
        wanted = queries if self._original is None else self._original.read(ids).to(self._dtype)
        stored = self._encoding.round(queries).values.to(self._dtype)
        return NeighbourSearch(
            ids, queries=wanted, stored_queries=stored, rows=count, seed=self._seed, dtype=self._dtype
        )
