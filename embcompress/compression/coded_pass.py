"""One pass over the rows of a table that encodes them, and sets the step anew so that the whole keeps its goal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embcompress.coding.codebook import KINDS_MAX, Codebook
from embcompress.coding.coder import CodedBlock, encode_block
from embcompress.coding.estimates import Estimate
from embcompress.coding.fit import Fit
from embcompress.coding.kinds import Kinds, fine_steps, fitted_kinds, kinds_of_rows
from embcompress.coding.row_index import make_row_index
from embcompress.coding.seekable_index import StoredIndex, store_index
from embcompress.coding.statistics import scales_of
from embcompress.coding.symbols import PER_OCTAVE
from embcompress.compression.coded_goal import Goal
from embcompress.compression.coded_source import CodedSource
from embcompress.exceptions import BudgetError
from embcompress.linalg.blocks import full_float32
from embcompress.linalg.error import ErrorAccumulator, row_norms

# Shares of the rows after which the step is set anew, so that the whole comes out as it was meant to: what the rows
# before were off by is small, and the rows behind take it over.
REVISED_AT = (0.75, 0.92, 0.98)
# Rounding of sums in float32, as a share of the squared error.
ERROR_ROUNDING = 1e-6
# Tries at the last rows.
LAST_TRIES = 12
# By how much the step of the last rows may differ from that of those before, if there are any.
STEP_RANGE = 4.0
# Below this relative error rounding of products in float32 is seen.
FLOAT32_PRODUCTS_MIN = 1e-4


@dataclass(frozen=True)
class PassEnding:
    """The end of a pass: all that is stored behind the strings.

    Attributes:
        index: as stored.
        codebook: as stored.
        nbytes: of both, of the heads of blocks and of the strings.
        kinds: of rows, zeros counted.
        is_within: whether the goal was kept.
        share_left: the goal as a share of what was taken, 1 at most.
    """

    index: StoredIndex
    codebook: NDArray[np.uint8]
    nbytes: int
    kinds: int
    is_within: bool
    share_left: float


@dataclass(frozen=True)
class _Coded:
    """A block as it was encoded.

    Attributes:
        block: the strings.
        kinds: (block_rows,) of the rows.
        norms: (block_rows,) of the rows.
        stored_norms: (block_rows,) of what the strings decode to.
        errors: (block_rows,) norms of the differences.
        squared_error: of the block, rows counted by their weight.
    """

    block: CodedBlock
    kinds: NDArray[np.int64]
    norms: Tensor
    stored_norms: Tensor
    errors: Tensor
    squared_error: float


@dataclass(frozen=True)
class _LastTry:
    """The last block encoded at one step, with the kinds, steps, index and codebook that go with it."""

    coded: _Coded
    kinds: Kinds
    steps: list[float]
    index: StoredIndex
    codebook: NDArray[np.uint8]


class CodedPass:
    """One pass that encodes a table: the step is set anew a few times, and that of the last block until all fits.

    Args:
        source: the table.
        estimate: at the step to begin with.
        goal: of the table.
        error: takes what is measured.
        fixed_rows: whether all strings of a kind have one length; then the step stays.
    """

    def __init__(
        self, source: CodedSource, estimate: Estimate, *, goal: Goal, error: ErrorAccumulator, fixed_rows: bool
    ) -> None:
        self._source, self._estimate, self._goal, self._error = source, estimate, goal, error
        self._fit: Fit = estimate.fit
        self._excess = round(estimate.excess) if fixed_rows else None
        self._steps = list(fine_steps(estimate.step)) if fixed_rows else [estimate.step]
        self._kinds = Kinds()
        self._last_codebook: Codebook | None = None
        self._last_kinds: list[tuple[int, int, int, int]] = []
        # Made once: small arrays that stay between large ones that go keep the freed memory from being used again.
        self._rows_kinds = np.empty(source.table.rows, np.int64)
        self._rows_lengths = np.empty(source.table.rows, np.int64)
        # Bytes of strings or squared error of the rows so far.
        self._taken = 0.0
        weights = source.row_weights
        exact = None if weights is None else weights.to(torch.float64)
        self._row_weights = None if exact is None else exact / exact.mean()
        self._scales = scales_of(None if self._row_weights is None else self._row_weights.numpy(), source.table.rows)
        self._threads = torch.get_num_threads()
        relative = math.sqrt(estimate.squared_error)
        self._dtype = torch.float64 if relative < FLOAT32_PRODUCTS_MIN else torch.float32

    def encode(self, blocks: Iterator[Tensor], append: Callable[[NDArray[np.uint8]], None]) -> PassEnding:
        """Encode all rows.

        Args:
            blocks: of the table, (block_rows, dim) each.
            append: takes the strings of consecutive rows, (bytes,).

        Raises:
            BudgetError: there are more kinds of rows than a file may have.
        """
        first, rows = 0, self._source.table.rows
        revised = [round(share * rows) for share in REVISED_AT]
        ending: PassEnding | None = None
        for block in blocks:
            last = first + len(block)
            values = self._in_units(block)
            while revised and revised[0] <= first:
                del revised[0]
                self._revise(first)
            if last < rows:
                append(self._take(self._code(values, first), first))
            elif self._excess is None:
                ending = self._encode_last(values, first, append)
            else:
                ending = self._encode_last_fixed(values, first, append)
            first = last
        assert ending is not None
        return ending

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
            kinds = self._kinds_of(weights, norms == 0, first)
            block = encode_block(weights, kinds, codebook=self._codebook(), threads=self._threads, excess=self._excess)
            stored = block.weights.to(device, self._dtype)
            stored = stored if bases is None else stored @ bases
        stored_norms = row_norms(stored)
        errors = row_norms(stored.sub_(values))
        squared = errors.to("cpu", torch.float64).square()
        if self._row_weights is not None:
            squared *= self._row_weights[first : first + len(values)]
        return _Coded(block, kinds, norms, stored_norms, errors, float(squared.sum()))

    def _kinds_of(self, weights: Tensor, is_zero: Tensor, first: int) -> NDArray[np.int64]:
        """Choose the kinds of the rows of a block, (block_rows,)."""
        scales = self._scales[first : first + len(weights)]
        if self._excess is None:
            finer = round(PER_OCTAVE * math.log2(self._steps[-1] / self._fit.step))
            number = len(self._steps) - 1
            return kinds_of_rows(self._fit, weights, is_zero, scales, self._kinds, step_number=number, finer=finer)
        kinds = kinds_of_rows(
            self._fit, weights, is_zero, scales, self._kinds, step_number=len(self._steps) // 2, finer=0
        )
        return fitted_kinds(weights, kinds, self._kinds, self._codebook(), excess=self._excess, threads=self._threads)

    def _take(self, coded: _Coded, first: int) -> NDArray[np.uint8]:
        """Keep a block as it was encoded, and count it."""
        unit = self._source.statistics.unit
        self._error.add_norms(
            norms=coded.norms * unit,
            reconstructed_norms=coded.stored_norms * unit,
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
        is_before = self._source.statistics.sample_ids < first
        amounts = estimate.lengths if goal.is_bytes else estimate.squared_errors
        if not is_before.any() or is_before.all():
            return
        done = float(amounts[is_before].mean()) * first
        rest = float(amounts[~is_before].mean()) * (rows - first)
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
        used = {kind[3] for kind in self._kinds.table[1:]}
        if len(self._steps) - 1 in used:
            self._steps.append(step)
        else:
            self._steps[-1] = step

    def _encode_last(self, values: Tensor, first: int, append: Callable[[NDArray[np.uint8]], None]) -> PassEnding:
        """Encode the last block at the coarsest or finest step that keeps the goal, and finish index and codebook."""
        goal, kinds_before = self._goal, self._kinds.copy()
        start, count = self._steps[-1], len(self._steps)
        # Octaves beside `start` at which too little is taken, and too much.
        low = high = None
        octaves, best, best_taken = 0.0, None, -1.0
        for _ in range(LAST_TRIES):
            self._kinds, self._steps = kinds_before.copy(), self._steps[:count]
            self._set_step(start * 2.0**octaves)
            coded = self._code(values, first)
            index, codebook = self._finish(coded)
            tried = _LastTry(coded, self._kinds, list(self._steps), index, codebook)
            if goal.is_bytes:
                taken = self._taken + float(coded.block.lengths.sum()) + index.nbytes + len(codebook)
            else:
                taken = (self._taken + coded.squared_error) * (1 + ERROR_ROUNDING)
            fits = taken <= goal.limit
            if fits and taken > best_taken:
                best, best_taken = tried, taken
            if fits and taken >= goal.limit - goal.slack:
                break
            if fits == goal.is_bytes:
                # A finer step takes more bytes, a coarser one more error.
                high = octaves
            else:
                low = octaves
            octaves = min(max(self._next(octaves, low, high, taken, len(values), coded), -30.0), 30.0)
            if first and abs(octaves) > math.log2(STEP_RANGE):
                break
        chosen = tried if best is None else best
        self._kinds, self._steps = chosen.kinds, chosen.steps
        append(self._take(chosen.coded, first))
        return self._ending(chosen.index, chosen.codebook, taken=taken, is_within=best is not None)

    def _encode_last_fixed(self, values: Tensor, first: int, append: Callable[[NDArray[np.uint8]], None]) -> PassEnding:
        """Encode the last block, and finish: with strings of fixed length there is nothing left to choose."""
        coded = self._code(values, first)
        index, codebook = self._finish(coded)
        append(self._take(coded, first))
        if self._goal.is_bytes:
            taken = float(self._rows_lengths.sum() + index.nbytes + len(codebook))
        else:
            taken = self._taken * (1 + ERROR_ROUNDING)
        return self._ending(index, codebook, taken=taken, is_within=taken <= self._goal.limit)

    def _ending(self, index: StoredIndex, codebook: NDArray[np.uint8], *, taken: float, is_within: bool) -> PassEnding:
        return PassEnding(
            index,
            codebook,
            nbytes=int(self._rows_lengths.sum()) + index.nbytes + len(codebook),
            kinds=len(self._kinds.table),
            is_within=is_within,
            share_left=min(1.0, self._goal.limit / max(taken, 1e-300)),
        )

    def _next(
        self, octaves: float, low: float | None, high: float | None, taken: float, rows: int, coded: _Coded
    ) -> float:
        """Choose what to try next: as far as what is off asks for, between what was tried."""
        goal = self._goal
        aim = goal.limit - goal.slack / 2
        if goal.is_bytes:
            guess = octaves + 8 * (taken - aim) / rows / max(self._estimate.coded, 0.25)
        else:
            block_error = max(coded.squared_error, 1e-300)
            guess = octaves + 0.5 * math.log2(max(block_error + aim - taken, 0.05 * block_error) / block_error)
        if low is not None and high is not None:
            near, far = min(low, high), max(low, high)
            if not near < guess < far or far - near < 1e-3:
                guess = (near + far) / 2
        return guess

    def _codebook(self) -> Codebook:
        """Make the codebook of now: the one before where nothing is new, for what it knows of its kinds."""
        steps, last = tuple(self._steps), self._last_codebook
        if last is None or last.steps != steps or self._last_kinds != self._kinds.table:
            last = self._kinds.into(replace(self._fit.codebook, steps=steps))
            self._last_codebook, self._last_kinds = last, list(self._kinds.table)
        return last

    def _refuse_kinds(self) -> None:
        """Refuse more kinds of rows than a file may have: profiles, lengths, weights and steps multiply.

        Raises:
            BudgetError: there are.
        """
        if len(self._kinds.table) > KINDS_MAX:
            raise BudgetError(
                f"table {self._source.table.name!r} has more than {KINDS_MAX} kinds of rows.",
                hint="Leave out --effort best, --fixed-rows or --row-weights.",
            )

    def _finish(self, coded: _Coded) -> tuple[StoredIndex, NDArray[np.uint8]]:
        """Make index and codebook as they are stored, the block counted that is not taken yet."""
        self._refuse_kinds()
        first = self._source.table.rows - len(coded.kinds)
        self._rows_kinds[first:], self._rows_lengths[first:] = coded.kinds, coded.block.lengths
        unit = self._source.statistics.unit
        codebook = self._codebook()
        codebook = replace(
            codebook, steps=tuple(step * unit for step in codebook.steps), center_step=codebook.center_step * unit
        )
        index = make_row_index(self._rows_kinds, self._rows_lengths)
        return store_index(index, codebook, is_seekable=self._source.is_seekable), codebook.to_bytes()
