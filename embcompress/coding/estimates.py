"""Bytes and error of a table at a step, estimated on a sample of its rows that is encoded as the table would be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.codebook import ZERO_KIND, Codebook
from embcompress.coding.coder import encode_block
from embcompress.coding.fit import Fit, classes_at, fit_table
from embcompress.coding.kinds import Kinds, kinds_of_rows
from embcompress.coding.profiles import PROFILE_ROWS, fit_profiles
from embcompress.coding.rotation import CodedRotation, decode_rotation, encode_rotation, rotation_bits
from embcompress.coding.row_index import make_row_index
from embcompress.coding.seekable_index import StoredIndex, store_index
from embcompress.coding.statistics import Statistics
from embcompress.coding.symbols import CLASS_MAX, CLASS_MIN, SLOPE, classes_of, distortions_of, load_symbols, rates_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# By how many octaves bases are finer than what an error in them falls on; 1.5 and 2.5 gain as much, 3 less.
BASES_PRECISION = 2.0
FINE_BITS = 3.2
# Where one way costs so many times as much as the other, so it does at steps coarser or finer by such a factor.
# Not at all finer ones: a table of few rows is rotated at coarse steps alone, where few vectors pay.
FAR_BETTER = 1.1
SAME_WAY = 2**0.5


@dataclass(frozen=True)
class Estimate:
    """The bytes and the error of a table at a step.

    Attributes:
        fit: how it is coded.
        nbytes: of codes, index and codebook.
        squared_error: as a share of the squared norm, rows counted by their weight.
        codebook_bytes: of the codebook alone.
        index_row_bytes: of the index, a row.
        lengths: (sample rows,) bytes of each string.
        squared_errors: (sample rows,) of each row, counted by its weight, over the squared unit.
        coded: numbers that a row's string holds, on average.
        excess: bytes by which strings are longer than is expected of their kinds, on average.
        fixed_bytes: of codes, index and codebook, where all strings of a kind are as long as that, rounded.
    """

    fit: Fit
    nbytes: float
    squared_error: float
    codebook_bytes: float
    index_row_bytes: float
    lengths: NDArray[np.int64]
    squared_errors: NDArray[np.float64]
    coded: float
    excess: float
    fixed_bytes: float

    @property
    def step(self) -> float:
        """The step."""
        return self.fit.step


class Estimator:
    """Estimates of one table at any step, the better of two ways: its own columns, or those of its singular vectors.

    Args:
        statistics: of the table.
        states: of the trellis.
        threads: of the encoder.
        profiles: that rows may have.
        is_seekable: whether the index is to be of the form that finds single rows.
    """

    def __init__(
        self, statistics: Statistics, *, states: int, threads: int, profiles: int = 1, is_seekable: bool = False
    ) -> None:
        self.statistics, self._states, self._threads = statistics, states, threads
        self._profiles, self._is_seekable = profiles, is_seekable
        self._known: dict[float, Estimate] = {}
        # The steps that one way was far better at, and whether that was the rotated one.
        self._better: dict[float, bool] = {}
        # Whether to try bases: with them, and without.
        self.ways: tuple[bool, ...] = (True, False)

    def at(self, step: float) -> Estimate:
        """Estimate bytes and error at a step, over the unit."""
        step = float(np.float32(min(max(step, self.statistics.finest_step), 1e30)))
        if step not in self._known:
            near = [
                is_rotated
                for other_step, is_rotated in self._better.items()
                if 1 / SAME_WAY < other_step / step < SAME_WAY
            ]
            estimates = [self._estimate(step, is_rotated=is_rotated) for is_rotated in near[:1] or self.ways]
            if len(estimates) > 1:
                first, second = (self._cost(estimate, step) for estimate in estimates)
                if max(first, second) > FAR_BETTER * min(first, second):
                    self._better[step] = first <= second
            self._known[step] = min(estimates, key=lambda estimate: self._cost(estimate, step))
        return self._known[step]

    def _cost(self, estimate: Estimate, step: float) -> float:
        """Count squared error and bytes together, at the price of a byte that the step stands for."""
        return estimate.squared_error * self.statistics.squared_norm + SLOPE * step**2 * 8 * estimate.nbytes

    def _estimate(self, step: float, *, is_rotated: bool) -> Estimate:
        statistics = self.statistics
        if is_rotated:
            precisions = self._bases_classes(step)
            bases = statistics.vectors[: len(precisions)].to(torch.float32)
            fit = self._fit_at(step, bases)
            rates = rates_of(precisions, load_symbols())
            rotation_bytes = float(rotation_bits(precisions, dim=statistics.dim, rates=rates).sum()) / 8
        else:
            fit, rotation_bytes = self._fit_at(step, None), 0.0
        return self.estimate_fit(fit, rotation_bytes=rotation_bytes)

    def with_coded_bases(self, estimate: Estimate) -> Estimate:
        """Code the bases, and estimate the table again with what they decode to."""
        if estimate.fit.bases is None:
            return estimate
        precisions = self._bases_classes(estimate.step)
        rotation, bases = code_bases(self.statistics.vectors, precisions)
        fit = self._fit_at(estimate.step, bases)
        fit = replace(fit, codebook=replace(fit.codebook, rotation=rotation))
        coded = self.estimate_fit(fit, rotation_bytes=0.0)
        count = min(self._profiles, self.statistics.rows // PROFILE_ROWS)
        if count < 2 or not fit.codebook.rank:
            return coded
        mixed = self.estimate_fit(fit_profiles(fit, self.statistics, count), rotation_bytes=0.0)
        return min(coded, mixed, key=lambda either: self._cost(either, estimate.step))

    def near(self, estimate: Estimate, step: float) -> Estimate:
        """Estimate at another step near that of an estimate with coded bases, and with these."""
        step = float(np.float32(max(step, self.statistics.finest_step)))
        if len(estimate.fit.deviations) > 1:
            classes = classes_at(estimate.fit.deviations, step)
            fit = replace(estimate.fit, codebook=replace(estimate.fit.codebook, steps=(step,), classes=classes))
        else:
            fit = self._fit_at(step, estimate.fit.bases)
            fit = replace(fit, codebook=replace(fit.codebook, rotation=estimate.fit.codebook.rotation))
        return self.estimate_fit(fit, rotation_bytes=0.0)

    def estimate_fit(self, fit: Fit, *, rotation_bytes: float) -> Estimate:
        """Encode the sample, and conclude from it to the table."""
        statistics = self.statistics
        weights = fit.project(statistics.sample)
        kinds = Kinds()
        is_zero = (statistics.sample == 0).all(dim=1)
        row_kinds = kinds_of_rows(fit, weights, is_zero, statistics.sample_scales, kinds)
        codebook = kinds.into(fit.codebook)
        block = encode_block(weights, row_kinds, codebook=codebook, threads=self._threads)
        off = (block.weights - weights).to(torch.float64)
        # Differences of squared norms would say no less than 1e-4 of a row: bases in float32 are no more orthonormal.
        rest = off if fit.bases is None else statistics.sample - fit.rebuild(block.weights)
        left = rest.to(torch.float64).square().sum(dim=1).numpy()
        if statistics.sample_weights is not None:
            left *= statistics.sample_weights
        share = statistics.rows / len(row_kinds)
        error = float(left.sum()) * share
        if fit.bases is not None and len(row_kinds) < statistics.rows:
            # What the columns leave out is known of the whole table.
            outside = statistics.squared_norm - float(statistics.energies[: len(fit.bases)].sum())
            inside = off.square().sum(dim=1).numpy()
            inside = inside if statistics.sample_weights is None else inside * statistics.sample_weights
            error = float(inside.sum()) * share + max(outside, 0.0)
        index = self._store_index(row_kinds, block.lengths, codebook)
        index_row_bytes = (index.nbytes - index.coder_bytes) / len(row_kinds)
        codebook_bytes = len(codebook.to_bytes()) + rotation_bytes + index.coder_bytes
        coded = np.array([len(codebook.layout(kind).columns) for kind in range(codebook.kinds)])[row_kinds]
        expected = codebook.expected_lengths[row_kinds]
        has_string = row_kinds != ZERO_KIND
        excess = float((block.lengths - expected)[has_string].mean()) if has_string.any() else 0.0
        fixed = np.where(has_string, np.maximum(expected + round(excess), 0), 0)
        # Beside the kinds the index then tells each row's step, in up to three bits.
        fixed_stored = self._store_index(row_kinds, fixed, codebook)
        fixed_index = (fixed_stored.nbytes - fixed_stored.coder_bytes) / len(row_kinds) * statistics.rows
        fixed_index += FINE_BITS / 8 * statistics.rows
        return Estimate(
            fit=replace(fit, codebook=codebook),
            nbytes=(float(block.lengths.sum()) * share + index_row_bytes * statistics.rows + codebook_bytes),
            squared_error=error / max(statistics.squared_norm, 1e-300),
            codebook_bytes=codebook_bytes,
            index_row_bytes=index_row_bytes,
            lengths=block.lengths,
            squared_errors=left,
            coded=float(coded.mean()),
            excess=excess,
            fixed_bytes=float(fixed.sum()) * share + fixed_index + codebook_bytes,
        )

    def _store_index(self, row_kinds: NDArray[np.int64], lengths: NDArray[np.int64], codebook: Codebook) -> StoredIndex:
        return store_index(make_row_index(row_kinds, lengths), codebook, is_seekable=self._is_seekable)

    def _fit_at(self, step: float, bases: Tensor | None) -> Fit:
        return fit_table(self.statistics, bases, step=step, states=self._states)

    def _bases_classes(self, step: float) -> NDArray[np.int64]:
        """Choose how many vectors are worth their bytes at a step, and how finely each is coded.

        A vector's coordinates are coded so finely that their error, times the deviation of its column, is small beside
        what it falls on: the step's error, or the weaker columns. An error e^2 in a column of variance v costs
        e^2 / (2 ln 2 v) bits, one in a direction that has none as much as at v = step^2 / 4: so it is their harmonic
        mean that counts.
        """
        statistics, symbols = self.statistics, load_symbols()
        variances = statistics.energies / statistics.rows
        count = len(variances)
        costs = 1 / np.maximum(np.pad(variances, (0, statistics.dim - count)), step**2 / 4)
        behind = np.append(np.cumsum(costs[::-1])[::-1][1:], 4 / step**2)[:count]
        weaker = np.sqrt(np.maximum(statistics.dim - 1 - np.arange(count), 1) / behind)
        ratios = 2.0**BASES_PRECISION * np.sqrt(variances) / weaker
        precisions = np.clip(classes_of(ratios), CLASS_MIN + 1, CLASS_MAX)
        classes = classes_of(np.sqrt(variances) / step)
        saved = statistics.rows * (
            variances / step**2 - distortions_of(classes, symbols) - SLOPE * rates_of(classes, symbols)
        )
        spent = SLOPE * rotation_bits(precisions, dim=statistics.dim, rates=rates_of(precisions, symbols))
        pays = (classes >= CLASS_MIN) & (saved > spent)
        rank = int(pays.nonzero()[0].max()) + 1 if pays.any() else 1
        return precisions[:rank]


def code_bases(vectors: Tensor, precisions: NDArray[np.int64]) -> tuple[CodedRotation, Tensor]:
    """Code as many vectors as there are precisions; also give what they decode to, (count, dim) float32.

    The last of a whole basis follows from the others.
    """
    count, dim = len(precisions), vectors.shape[1]
    coded = min(count, dim - 1)
    rotation = encode_rotation(vectors[:coded], precisions[:coded])
    return rotation, decode_rotation(rotation, count).to(torch.float32)
