"""A table on its way into an artifact as codes: held to its bytes or its error while it is written."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embcompress.artifact.schema import (
    CODEBOOK_SUFFIX,
    CODED,
    CODES_SUFFIX,
    INDEX_SUFFIX,
    CompressedTable,
    coded_entries,
)
from embcompress.artifact.writer import Entry, SafetensorsWriter
from embcompress.coding.bound import coded_report
from embcompress.coding.codebook import KINDS_MAX, Codebook, make_row_index
from embcompress.coding.coder import CodedBlock, encode_block
from embcompress.coding.fitting import Estimate, Fit, Kinds, fine_steps, fitted_kinds, kinds_of_rows, scales_of
from embcompress.coding.symbols import PER_OCTAVE
from embcompress.compression.coded_source import CodedSource
from embcompress.compression.encoding import Encoding, held_error
from embcompress.compression.plan import PlannedTable, describe
from embcompress.exceptions import BudgetError
from embcompress.linalg.blocks import full_float32
from embcompress.linalg.error import ErrorAccumulator, row_norms
from embcompress.linalg.solvers import SolverChoice
from embcompress.linalg.spectrum import spectrum_report
from embcompress.results import TableReport
from embcompress.tables.source import Setting

# Shares of the rows after which the step is set anew, so that the whole comes out as it was meant to: what the rows
# before were off by is small, and the rows behind take it over.
REVISED_AT = (0.75, 0.92, 0.98)
# How much of its bytes, and how much of its squared error, a table may leave unused.
BYTES_SLACK = 4e-4
ERROR_SLACK = 5e-4
# Of small tables a few bytes are a larger share.
SLACK_BYTES = 24
# Tries at the step of strings of fixed length, and by how much more squared error they leave than others.
FIXED_TRIES = 4
FIXED_PRICE = 1.01
# Rounding of sums in float32, as a share of the squared error.
ERROR_ROUNDING = 1e-6
# Tries at the last rows, and at the whole table.
LAST_TRIES = 12
WHOLE_TRIES = 6
# By how much the step of the last rows may differ from that of those before, if there are any.
STEP_RANGE = 4.0
# How far a whole table that came out too large, or with too much error, aims below that.
AGAIN = 0.998


@dataclass
class Allowance:
    """Bytes that tables share: each takes what it is expected to, and leaves the rest to those behind.

    Attributes:
        left: bytes that nobody has taken.
        expected: of the tables that are still to be written, in their order.
        least: bytes that each can be made of. What is left over or lacking falls on them in proportion to what they are
            expected to take beyond.
    """

    left: int
    expected: list[float]
    least: list[float]

    @property
    def own(self) -> int:
        """What the next table may take."""
        if len(self.expected) == 1:
            return self.left
        beyond = [max(nbytes - least, 1.0) for nbytes, least in zip(self.expected, self.least, strict=True)]
        return math.ceil(self.least[0] + (self.left - sum(self.least)) * beyond[0] / sum(beyond))

    def take(self, nbytes: int) -> None:
        """Take the next table's bytes."""
        self.left -= nbytes
        del self.expected[0], self.least[0]


class CodedEncoding(Encoding):
    """Weights as codes.

    Args:
        planned: the table.
        choice: the solver that gave the spectrum.
        setting: of the run.
        source: what is known of the table.
        estimate: at the step that was chosen, its bases coded.
        allowance: the bytes that it must not exceed, with those of the tables behind it; or None.
        max_error: the relative error that it must not exceed, or None.
        fixed_rows: whether all strings of a kind have one length.
    """

    def __init__(
        self,
        planned: PlannedTable,
        choice: SolverChoice,
        setting: Setting,
        *,
        source: CodedSource,
        estimate: Estimate,
        allowance: Allowance | None = None,
        max_error: float | None = None,
        fixed_rows: bool = False,
    ) -> None:
        super().__init__(planned, choice, setting)
        self._fixed_rows = fixed_rows
        self._source, self._estimate = source, estimate
        self._allowance, self._max_error = allowance, max_error
        self._passes = 0
        self._bytes: int | None = None

    @property
    def compressed(self) -> CompressedTable:  # noqa: D102 - as in Encoding
        return replace(describe(self.planned), coding=CODED)

    def planned_entries(self) -> tuple[Entry, ...]:  # noqa: D102 - as in Encoding
        estimate, rows = self._estimate, self.planned.table.rows
        index = math.ceil(estimate.index_row_bytes * rows)
        codebook = math.ceil(estimate.codebook_bytes)
        codes = max(0, math.ceil(estimate.nbytes) - index - codebook)
        return tuple(coded_entries(self.planned.table.name, codes=codes, index=index, codebook=codebook).values())

    def fit(self) -> tuple[Entry, ...]:
        """Name the tensors: all was fitted before."""
        return self.planned_entries()

    def write(self, writer: SafetensorsWriter) -> float:  # noqa: D102 - as in Encoding
        started = time.perf_counter()
        entries = dict(zip((CODES_SUFFIX, INDEX_SUFFIX, CODEBOOK_SUFFIX), self.planned_entries(), strict=True))
        target = 1.0
        for _ in range(WHOLE_TRIES):
            for entry in reversed(list(entries.values())):
                writer.rewind(entry)
            self._error = ErrorAccumulator(self._source.row_weights)
            goal = self._goal(target)
            if self._fixed_rows:
                self._fit_fixed(goal)
            run = _Run(self._source, self._estimate, goal=goal, error=self._error, fixed_rows=self._fixed_rows)
            self._passes += 1
            for strings in run.encode(self._rows("codes").blocks()):
                writer.append(entries[CODES_SUFFIX], strings.tobytes())
            if run.is_within:
                break
            target *= AGAIN * min(1.0, run.share_left)
        else:
            raise BudgetError(
                f"table {self.planned.table.name!r} could not be held to its budget in {WHOLE_TRIES} tries.",
                hint="Ask for a little more.",
            )
        writer.append(entries[INDEX_SUFFIX], run.index_bytes.tobytes())
        writer.append(entries[CODEBOOK_SUFFIX], run.codebook_bytes.tobytes())
        self._bytes = run.nbytes
        self._kinds = run.kinds
        if self._allowance is not None:
            self._allowance.take(run.nbytes)
        self.seconds += time.perf_counter() - started
        return self._error.result().relative

    def _fit_fixed(self, goal: _Goal) -> None:
        """Choose the step at which strings of fixed lengths are expected to come to the goal."""
        aim = goal.limit * goal.target - (goal.slack if goal.is_bytes else 0)
        for _ in range(FIXED_TRIES):
            estimate = self._estimate
            if goal.is_bytes:
                octaves = 8 * (estimate.fixed_bytes - aim) / self.planned.table.rows / max(estimate.coded, 0.25)
            else:
                norm = self._source.statistics.squared_norm
                octaves = 0.5 * math.log2(aim / max(estimate.squared_error * norm * FIXED_PRICE, 1e-300))
            if abs(octaves) < 2e-4:
                break
            step = estimate.step * 2.0 ** min(max(octaves, -1.0), 1.0)
            self._estimate = self._source.estimator.at_settled(estimate, step)

    def _goal(self, target: float) -> _Goal:
        """Say what the table is held to; `target` is the share of it that is aimed at."""
        if self._max_error is not None:
            return _Goal(self._max_error**2 * self._source.statistics.squared_norm, target, is_bytes=False)
        assert self._allowance is not None
        return _Goal(float(self._allowance.own), target, is_bytes=True)

    @property
    def own_passes(self) -> int:  # noqa: D102 - as in Encoding
        return self._passes

    @property
    def measured_relative(self) -> float:  # noqa: D102 - as in Encoding
        return held_error(self._error.result())

    def report(self) -> TableReport:  # noqa: D102 - as in Encoding
        item, estimate = self.planned.table, self._estimate
        nbytes = sum(entry.nbytes for entry in self.planned_entries()) if self._bytes is None else self._bytes
        is_even = self._source.row_weights is None  # else the spectrum is that of weighted rows
        factors = self._source.factors if is_even else None
        found = replace(
            self._plain_report(),
            coding=CODED,
            passes=self.earlier_passes + self._passes,
            bytes_after=nbytes,
            coded=coded_report(
                factors,
                rows=item.rows,
                dim=item.dim,
                nbytes=nbytes,
                kinds=(estimate.fit.codebook.kinds if self._bytes is None else self._kinds) - 1,
                is_rotated=estimate.fit.bases is not None,
                states=self._source.states,
                predicted_relative=math.sqrt(estimate.squared_error),
            ),
            spectrum=None
            if factors is None
            else spectrum_report(factors, side=min(item.rows, item.dim), rank=self.planned.rank),
        )
        if self._bytes is None:
            return found
        return replace(found, error=self._error_report(self._error, None), zero_rows=self._error.zero_rows)


def coded_encoding_of(
    source: CodedSource,
    estimate: Estimate,
    setting: Setting,
    *,
    needs: str,
    allowance: Allowance | None = None,
    max_error: float | None = None,
    fixed_rows: bool = False,
) -> CodedEncoding:
    """Make what writes a table as an estimate says; `needs` names what asked for its spectrum."""
    encoding = CodedEncoding(
        PlannedTable(source.table, estimate.fit.codebook.rank, source.table.real_dtype),
        SolverChoice(source.factors.solver, f"for the spectrum, which {needs} needs"),
        setting,
        source=source,
        estimate=estimate,
        allowance=allowance,
        max_error=max_error,
        fixed_rows=fixed_rows,
    )
    encoding.seconds, encoding.earlier_passes = source.seconds, source.passes
    return encoding


def coded_bytes(encodings: Iterable[CodedEncoding]) -> int:
    """Count the bytes of the tensors of tables, as far as they are known."""
    return sum(entry.nbytes for encoding in encodings for entry in encoding.planned_entries())


@dataclass(frozen=True)
class _Goal:
    """What a table is held to.

    Attributes:
        limit: bytes of all that is stored of it, or its squared error over the squared unit.
        target: the share of the limit that is aimed at.
        is_bytes: which of the two.
    """

    limit: float
    target: float
    is_bytes: bool

    @property
    def slack(self) -> float:
        """What may be left of it."""
        return max(BYTES_SLACK * self.limit, SLACK_BYTES) if self.is_bytes else ERROR_SLACK * self.limit


class _Run:
    """One pass that encodes a table: the step is set anew a few times, and that of the last block until all fits.

    Attributes:
        is_within: whether the goal was kept.
        share_left: what the goal is of what was taken.
        index_bytes, codebook_bytes: to be stored behind the strings.
        nbytes: of all three.
        kinds: of rows, zeros counted.
    """

    def __init__(
        self, source: CodedSource, estimate: Estimate, *, goal: _Goal, error: ErrorAccumulator, fixed_rows: bool
    ) -> None:
        self._source, self._estimate, self._goal, self._error = source, estimate, goal, error
        self._fit: Fit = estimate.fit
        self._excess = round(estimate.excess) if fixed_rows else None
        self._steps = list(fine_steps(estimate.step)) if fixed_rows else [estimate.step]
        self._table: Kinds = Kinds()
        self._last_codebook: Codebook | None = None
        self._last_kinds: list[tuple[int, int, int, int]] = []
        # Made once: small arrays that stay between large ones that go keep the freed memory from being used again.
        self._rows_kinds = np.empty(source.table.rows, np.int64)
        self._rows_lengths = np.empty(source.table.rows, np.int64)
        self._taken = 0.0
        weights = source.row_weights
        exact = None if weights is None else weights.to(torch.float64)
        self._row_weights = None if exact is None else exact / exact.mean()
        self._scales = scales_of(None if self._row_weights is None else self._row_weights.numpy(), source.table.rows)
        self._threads = torch.get_num_threads()
        relative = math.sqrt(estimate.squared_error)
        self._dtype = torch.float64 if relative < FLOAT32_PRODUCTS_MIN else torch.float32
        self.is_within = False
        self.share_left = 1.0

    def encode(self, blocks: Iterator[Tensor]) -> Iterator[NDArray[np.uint8]]:
        """Yield the strings of consecutive rows, (bytes,) uint8."""
        first, rows = 0, self._source.table.rows
        revised = [round(share * rows) for share in REVISED_AT]
        for block in blocks:
            last = first + len(block)
            values = self._in_units(block)
            while revised and revised[0] <= first:
                del revised[0]
                self._revise(first)
            if last < rows:
                yield self._take(self._code(values, first), first)
            elif self._excess is None:
                yield self._encode_last(values, first)
            else:
                yield self._finish_fixed(self._code(values, first), first)
            first = last

    def _in_units(self, block: Tensor) -> Tensor:
        wide = block if block.dtype == torch.float64 else block.to(torch.float32)
        return (wide / self._source.statistics.unit).to(self._dtype)

    def _code(self, values: Tensor, first: int) -> _Coded:
        """Encode a block at the step of now, and measure what is left of it."""
        device = values.device
        bases = None if self._fit.bases is None else self._fit.bases.to(device, self._dtype)
        with full_float32():
            weights = (values if bases is None else values @ bases.T).to(torch.float32)
            norms = row_norms(values)
            scales = self._scales[first : first + len(values)]
            kinds = kinds_of_rows(
                self._fit,
                weights,
                norms == 0,
                scales,
                self._table,
                step_number=len(self._steps) - 1 if self._excess is None else len(self._steps) // 2,
                finer=round(PER_OCTAVE * math.log2(self._steps[-1] / self._fit.step)) if self._excess is None else 0,
            )
            if self._excess is not None:
                kinds = fitted_kinds(
                    weights, kinds, self._table, self._codebook(), excess=self._excess, threads=self._threads
                )
            block = encode_block(weights, kinds, codebook=self._codebook(), threads=self._threads, excess=self._excess)
            made = block.weights.to(device, self._dtype)
            made = made if bases is None else made @ bases
        made_norms = row_norms(made)
        errors = row_norms(made.sub_(values))
        squared = errors.to("cpu", torch.float64).square()
        if self._row_weights is not None:
            squared *= self._row_weights[first : first + len(values)]
        return _Coded(block, kinds, norms, made_norms, errors, float(squared.sum()))

    def _take(self, coded: _Coded, first: int) -> NDArray[np.uint8]:
        """Keep a block as it was encoded, and count it."""
        unit = self._source.statistics.unit
        self._error.add_norms(
            norms=coded.norms * unit,
            reconstructed_norms=coded.made_norms * unit,
            errors=coded.errors * unit,
            first=first,
        )
        last = first + len(coded.kinds)
        self._rows_kinds[first:last], self._rows_lengths[first:last] = coded.kinds, coded.block.lengths
        self._taken += float(coded.block.lengths.sum()) if self._goal.is_bytes else coded.squared_error
        return coded.block.strings

    def _revise(self, first: int) -> None:
        """Set the step of the rows from `first` on so that all together come out at the goal."""
        if not first or self._excess is not None:
            return
        estimate, rows, goal = self._estimate, self._source.table.rows, self._goal
        seen = self._source.statistics.sample_ids < first
        known = estimate.lengths if goal.is_bytes else estimate.squared_errors
        if not seen.any() or seen.all():
            return
        done, rest = float(known[seen].mean()) * first, float(known[~seen].mean()) * (rows - first)
        if not done or not rest:
            return
        expected = rest * self._taken / done
        beside = estimate.codebook_bytes + estimate.index_row_bytes * rows if goal.is_bytes else 0.0
        wanted = goal.limit * goal.target - goal.slack / 2 - beside - self._taken
        if wanted <= 0:
            wanted = 0.1 * expected
        if goal.is_bytes:
            octaves = 8 * (expected - wanted) / (rows - first) / max(estimate.coded, 1.0)
        else:
            octaves = 0.5 * np.log2(wanted / expected)
        self._set_step(self._steps[-1] * 2.0 ** min(max(float(octaves), -0.5), 0.5))

    def _set_step(self, step: float) -> None:
        """Use another step from now on; one that no row has yet is replaced."""
        step = float(np.float32(max(step, self._source.statistics.finest_step)))
        if step == self._steps[-1]:
            return
        used = {kind[3] for kind in self._table.table[1:]}
        if len(self._steps) - 1 in used:
            self._steps.append(step)
        else:
            self._steps[-1] = step

    def _encode_last(self, values: Tensor, first: int) -> NDArray[np.uint8]:
        """Encode the last block at the coarsest or finest step that keeps the goal, and finish index and codebook."""
        goal, before = self._goal, self._table.copy()
        start, count = self._steps[-1], len(self._steps)
        low = high = None  # octaves beside `start`: too little taken, too much
        octaves, best, best_taken = 0.0, None, -1.0
        for _ in range(LAST_TRIES):
            self._table, self._steps = before.copy(), self._steps[:count]
            self._set_step(start * 2.0**octaves)
            coded = self._code(values, first)
            index, codebook = self._finish(coded)
            if goal.is_bytes:
                taken = self._taken + float(coded.block.lengths.sum()) + len(index) + len(codebook)
            else:
                taken = (self._taken + coded.squared_error) * (1 + ERROR_ROUNDING)
            self.share_left = min(1.0, goal.limit / max(taken, 1e-300))
            fits = taken <= goal.limit
            if fits and taken > best_taken:
                best, best_taken = (coded, self._table, list(self._steps), index, codebook), taken
            if fits and taken >= goal.limit - goal.slack:
                break
            if fits == goal.is_bytes:
                high = octaves  # a finer step takes more bytes, a coarser one more error
            else:
                low = octaves
            octaves = min(max(self._next(octaves, low, high, taken, len(values), coded), -30.0), 30.0)
            if first and abs(octaves) > math.log2(STEP_RANGE):
                break
        if best is None:
            best = (coded, self._table, list(self._steps), index, codebook)
        else:
            self.is_within = True
        coded, self._table, self._steps, self.index_bytes, self.codebook_bytes = best
        strings = self._take(coded, first)
        self._count_bytes()
        return strings

    def _finish_fixed(self, coded: _Coded, first: int) -> NDArray[np.uint8]:
        """Finish index and codebook: with strings of fixed length there is nothing left to choose."""
        self.index_bytes, self.codebook_bytes = self._finish(coded)
        strings = self._take(coded, first)
        self._count_bytes()
        taken = self.nbytes if self._goal.is_bytes else self._taken * (1 + ERROR_ROUNDING)
        self.is_within = taken <= self._goal.limit
        self.share_left = min(1.0, self._goal.limit / max(taken, 1e-300))
        return strings

    def _count_bytes(self) -> None:
        self.nbytes = int(self._rows_lengths.sum()) + len(self.index_bytes) + len(self.codebook_bytes)
        self.kinds = len(self._table.table)

    def _next(
        self, octaves: float, low: float | None, high: float | None, taken: float, rows: int, coded: _Coded
    ) -> float:
        """Choose what to try next: as far as what is off asks for, between what was tried."""
        goal = self._goal
        aim = goal.limit - goal.slack / 2
        if goal.is_bytes:
            guess = octaves + 8 * (taken - aim) / rows / max(self._estimate.coded, 0.25)
        else:
            own = max(coded.squared_error, 1e-300)
            guess = octaves + 0.5 * math.log2(max(own + aim - taken, 0.05 * own) / own)
        if low is not None and high is not None:
            near, far = min(low, high), max(low, high)
            if not near < guess < far or far - near < 1e-3:
                guess = (near + far) / 2
        return guess

    def _codebook(self) -> Codebook:
        """Make the codebook of now: the one before where nothing is new, for what it knows of its kinds."""
        steps, last = tuple(self._steps), self._last_codebook
        if last is None or last.steps != steps or self._last_kinds != self._table.table:
            last = self._table.into(replace(self._fit.codebook, steps=steps))
            self._last_codebook, self._last_kinds = last, list(self._table.table)
        return last

    def _refuse_kinds(self) -> None:
        """Refuse more kinds of rows than a file may have: profiles, lengths, weights and steps multiply.

        Raises:
            BudgetError: there are.
        """
        if len(self._table.table) > KINDS_MAX:
            raise BudgetError(
                f"table {self._source.table.name!r} has more than {KINDS_MAX} kinds of rows.",
                hint="Leave out --effort best, --fixed-rows or --row-weights.",
            )

    def _finish(self, coded: _Coded) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Make index and codebook as they are stored, the block counted that is not taken yet."""
        self._refuse_kinds()

        first = self._source.table.rows - len(coded.kinds)
        self._rows_kinds[first:], self._rows_lengths[first:] = coded.kinds, coded.block.lengths
        unit = self._source.statistics.unit
        codebook = self._codebook()
        codebook = replace(
            codebook, steps=tuple(step * unit for step in codebook.steps), center_step=codebook.center_step * unit
        )
        return make_row_index(self._rows_kinds, self._rows_lengths).to_bytes(codebook), codebook.to_bytes()


# Below this relative error rounding of products in float32 is seen.
FLOAT32_PRODUCTS_MIN = 1e-4


@dataclass(frozen=True)
class _Coded:
    """A block as it was encoded, and what is left of its rows."""

    block: CodedBlock
    kinds: NDArray[np.int64]
    norms: Tensor
    made_norms: Tensor
    errors: Tensor
    squared_error: float
