"""A table whose weights are stored in few bits, on its way into an artifact."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from embcompress.artifact import CompressedTable
from embcompress.coded_factors import (
    BASES_SUFFIX,
    BASIS_SCALES_SUFFIX,
    BITS_SUFFIX,
    CODED,
    CODES_SUFFIX,
    GROUPS_SUFFIX,
    LEVELS_SUFFIX,
    SCALES_SUFFIX,
    coded_entries,
)
from embcompress.linalg.solvers import SolverChoice
from embcompress.planning import PlannedTable
from embcompress.results import TableReport
from embcompress.safetensors_writer import Entry, SafetensorsWriter
from embcompress.table import tensor_bytes
from embcompress.workflows.encoding import Encoding, Setting, describe, held_error
from embcompress.workflows.offers import Offer, TableOffers
from embcompress.workflows.table_reports import coded_report, spectrum_report

if TYPE_CHECKING:
    from torch import Tensor


class CodedEncoding(Encoding):
    """Weights in few bits, by an allocation that was chosen before.

    Args:
        planned: the table, with the number of its coded columns.
        choice: the solver that gave the spectrum.
        setting: of the run.
        offers: what the table can be had for.
        offer: the one chosen, coded.
    """

    def __init__(
        self, planned: PlannedTable, choice: SolverChoice, setting: Setting, *, offers: TableOffers, offer: Offer
    ) -> None:
        super().__init__(planned, choice, setting)
        assert offer.allocation is not None
        self._offers, self._allocation = offers, offer.allocation
        self._is_written = False

    @property
    def compressed(self) -> CompressedTable:  # noqa: D102 - as in Encoding
        windows = tuple(self._allocation.windows.items())
        return replace(describe(self.planned), coding=CODED, windows=windows)

    def planned_entries(self) -> tuple[Entry, ...]:  # noqa: D102 - as in Encoding
        return tuple(self._entries().values())

    def _entries(self) -> dict[str, Entry]:
        allocation = self._allocation
        scheme = allocation.scheme
        return coded_entries(
            self.compressed,
            bases_dtype=None if scheme.bases is None else scheme.bases.dtype,
            rows_in_groups=[int(count) for count in scheme.counts],
            row_bytes=allocation.row_bytes,
            scales=allocation.scales,
        )

    def fit(self) -> tuple[Entry, ...]:
        """Round what decodes the codes to what will be stored."""
        from embcompress.coding.encoder import settle

        started = time.perf_counter()
        assert self._offers.survey is not None
        self._coded = settle(self._allocation, self._offers.survey, self._offers.factors.bases)
        self.seconds += time.perf_counter() - started
        return self.planned_entries()

    def write(self, writer: SafetensorsWriter) -> float:  # noqa: D102 - as in Encoding
        from embcompress.coding.encoder import encode_rows
        from embcompress.linalg.error import ErrorAccumulator

        started = time.perf_counter()
        entries = self._entries()
        for suffix, values in self._tensors().items():
            writer.write(entries[suffix], [tensor_bytes(values)])
        self._error = ErrorAccumulator(self._offers.row_weights)
        norm = math.sqrt(self._offers.squared_norm)
        for block in encode_rows(self._rows("codes"), self._coded, norm=norm, error=self._error):
            for group, codes in enumerate(block.codes):
                writer.append(entries[f"{CODES_SUFFIX}{group}"], tensor_bytes(codes))
        self._is_written = True
        self.seconds += time.perf_counter() - started
        return self._error.result().relative

    @property
    def own_passes(self) -> int:  # noqa: D102 - as in Encoding
        return int(self._is_written)

    @property
    def measured_relative(self) -> float:  # noqa: D102 - as in Encoding
        return held_error(self._error.result())

    def _tensors(self) -> dict[str, Tensor]:
        """Give everything but the codes as it is stored."""
        import torch

        from embcompress.coding.codebook import pack_numbers

        coded, book = self._coded, self._coded.codebook
        bits = torch.nn.functional.pad(book.bits, (0, book.columns % 2))
        tensors = {
            BITS_SUFFIX: pack_numbers(bits.flatten(), 4),
            SCALES_SUFFIX: book.scales[book.bits > 0].to(torch.bfloat16),
            LEVELS_SUFFIX: book.levels.to(torch.float16),
        }
        if coded.bases is not None:
            tensors[BASES_SUFFIX] = coded.bases.stored
            if coded.bases.scales is not None:
                tensors[BASIS_SCALES_SUFFIX] = coded.bases.scales
        if coded.packed_groups is not None:
            tensors[GROUPS_SUFFIX] = coded.packed_groups
        return tensors

    def report(self) -> TableReport:  # noqa: D102 - as in Encoding
        allocation, item = self._allocation, self.planned.table
        bases = allocation.scheme.bases
        nbytes = sum(entry.nbytes for entry in self.planned_entries())
        is_even = self._offers.row_weights is None  # else the spectrum is that of weighted rows
        factors = self._offers.factors if is_even else None
        found = replace(
            self._plain_report(),
            coding=CODED,
            passes=self.earlier_passes + self.own_passes,
            bytes_after=nbytes,
            coded=coded_report(
                item,
                groups=allocation.scheme.groups,
                bases_dtype=None if bases is None else bases.dtype,
                windows=self.compressed.windows,
                nbytes=nbytes,
                factors=factors,
                predicted_relative=math.sqrt(allocation.squared_error),
            ),
            spectrum=None if factors is None else spectrum_report(factors, table=item, rank=self.planned.rank),
        )
        if not self._is_written:
            return found
        return replace(found, error=self._error_report(self._error.result(), None))
