"""A table as the coder sees it: its spectrum, a sample of its rows, and estimates at any step."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch

from embcompress.artifact.schema import CODED, CompressedTable, coded_entries
from embcompress.artifact.writer import Entry
from embcompress.coding.estimates import Estimate, Estimator
from embcompress.coding.statistics import Statistics, sample_rows
from embcompress.compression.plan import PlannedTable, describe
from embcompress.compression.refusals import TOO_SMALL
from embcompress.compression.spectrum import find_spectrum
from embcompress.compression.time_and_passes import TimeAndPasses
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table

# Typical entries that a step in float32 serves, the finest of them a millionth of the longest row; tables of others
# stay as they are.
NORMAL_RANGE = (1e-31, 1e31)
NOT_NORMAL = "holds magnitudes out of the range that float32 steps can code"
# What the three tensors of a coded table take in a header, beside three times its name and the checksums' copies.
HEADER_BYTES = 3 * 110
# States of the trellis by effort: 4 leave 1 % more error than 8, 32 leave 1.2 % less.
STATES = {"fast": 4, "default": 8, "best": 32}
# Profiles that rows may have, by effort.
PROFILES = {"fast": 1, "default": 1, "best": 64}


class CodedSource:
    """One table that may be coded: goes over its rows once, and reads a sample of them.

    Args:
        table: the table.
        table_source: of the run.
        effort: a key of STATES.
        is_seekable: whether its rows are to be read one at a time.

    Attributes:
        factors: the spectrum, with row weights that of the scaled rows.
        row_weights: (rows,), or None.
        estimator: of bytes and errors.
        work: that this took.

    Raises:
        NonFiniteError: the table holds NaN or infinity; names the file.
    """

    def __init__(self, table: Table, table_source: TableSource, *, effort: str, is_seekable: bool = False) -> None:
        started = time.perf_counter()
        self.table, self.is_seekable = table, is_seekable
        self.row_weights = table_source.row_weights(table)
        self.factors = find_spectrum(table, table_source, stored_dtype=table.real_dtype)
        self.statistics = self._measure(table_source, profiles=PROFILES[effort])
        self.states = STATES[effort]
        self.estimator = Estimator(
            self.statistics,
            states=self.states,
            threads=torch.get_num_threads(),
            profiles=PROFILES[effort],
            is_seekable=is_seekable,
        )
        self.work = TimeAndPasses(time.perf_counter() - started, self.factors.passes)

    def _measure(self, table_source: TableSource, *, profiles: int) -> Statistics:
        table, factors = self.table, self.factors
        # From rows scaled by weight / largest weight to weights of 1 on average.
        scale = 1.0
        if self.row_weights is not None:
            exact = self.row_weights.to(torch.float64)
            scale = float(exact.max() / exact.mean())
        squared_norm = factors.squared_norm * scale
        typical = math.sqrt(squared_norm / (table.rows * table.dim))
        unit = 2.0 ** round(math.log2(typical)) if typical else 1.0
        rows = table_source.rows(table, "sample")
        count = sample_rows(rows=table.rows, dim=table.dim, profiles=profiles)
        ids = rows.sample_ids(count)
        sample = (rows.sample(count).to("cpu", torch.float64) / unit).to(torch.float32)
        weights = None
        if self.row_weights is not None:
            weights = (exact[ids] / exact.mean()).numpy()
        energies = factors.singular_values[: len(factors.bases)].square().cpu() * (scale / unit**2)
        return Statistics(
            rows=table.rows,
            dim=table.dim,
            unit=unit,
            squared_norm=squared_norm / unit**2,
            energies=energies.clamp_min(0).numpy(),
            vectors=factors.bases.to("cpu", torch.float64),
            sample=sample,
            sample_ids=ids.numpy(),
            sample_weights=weights,
        )

    @property
    def is_normal(self) -> bool:
        """Whether the magnitudes of the table are such as a step serves."""
        typical = self.statistics.unit
        return not self.statistics.squared_norm or NORMAL_RANGE[0] < typical < NORMAL_RANGE[1]

    @property
    def why_dense(self) -> str:
        """The reason to leave the table dense, going on from its name; empty where there is none."""
        if not self.is_normal:
            return NOT_NORMAL
        least = self.at(math.inf)
        return TOO_SMALL if least.nbytes + HEADER_BYTES + 3 * len(self.table.name) >= self.table.nbytes else ""

    @property
    def scale(self) -> float:
        """The norm of the table, which a step is a share of, so that errors are shares of each table's own."""
        return math.sqrt(self.statistics.squared_norm) or 1.0

    def at(self, share: float) -> Estimate:
        """Estimate the table at a step that is this share of its norm."""
        return self.estimator.at(min(share * self.scale, self.statistics.coarsest_step))

    def planned(self, estimate: Estimate) -> PlannedTable:
        """Plan the table as an estimate says."""
        return PlannedTable(self.table, estimate.fit.codebook.rank, self.table.real_dtype)

    def compressed(self, estimate: Estimate) -> CompressedTable:
        """Describe the table as the artifact will, but for its error."""
        return replace(describe(self.planned(estimate)), coding=CODED, is_seekable=self.is_seekable)

    def entries(self, estimate: Estimate) -> tuple[Entry, ...]:
        """Name the tensors, of as many bytes as they are expected to take: codes, index, codebook."""
        index = math.ceil(estimate.index_row_bytes * self.table.rows)
        codebook = math.ceil(estimate.codebook_bytes)
        codes = max(0, math.ceil(estimate.nbytes) - index - codebook)
        return tuple(coded_entries(self.table.name, codes=codes, index=index, codebook=codebook).values())
