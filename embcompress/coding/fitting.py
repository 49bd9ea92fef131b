"""What a table takes and loses at a step: estimated on a sample of its rows, which is encoded as the table would be."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.codebook import ZERO_KIND, Codebook, make_row_index
from embcompress.coding.coder import centers_of, encode_block, natural_bits
from embcompress.coding.kernels import REACH
from embcompress.coding.rotation import CodedRotation, decode_rotation, encode_rotation, rotation_bits
from embcompress.coding.symbols import (
    CLASS_MAX,
    CLASS_MIN,
    PER_OCTAVE,
    SLOPE,
    classes_of,
    distortions_of,
    load_symbols,
    rates_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Numbers and rows of a sample: rows differ in their bits by a sixth, so that 4096 of them tell the bytes to 0.3 %.
SAMPLE_NUMBERS = 2**20
SAMPLE_ROWS_MAX = 8192
SAMPLE_ROWS_MIN = 512
# By how many octaves bases are finer than what an error in them falls on; 1.5 and 2.5 gain as much, 3 less.
BASES_PRECISION = 2.0
# A column whose deviation is below so many steps tells nothing of a row's length.
TELLING = 0.55
# Rounds in which deviations of columns and lengths of rows are fitted to each other.
FIT_ROUNDS = 4
# Shifts of rows and scales of steps beyond are cut off: 2^25 and 2^10 either way.
SHIFT_MAX = 200
SCALE_MAX = 80
# Steps that rows of fixed length may have.
FINE_STEPS = 16
FINE_PER_OCTAVE = 32
FINE_BITS = 3.2
# Rows of a table for each profile, and of the sample at least; fewer tell too little of it.
PROFILE_ROWS = 300
PROFILE_ROWS_MIN = 24
PROFILE_ROUNDS = 12
PROFILE_START = 0.7
# A profile's deviations are drawn to those of the table as if so many of its rows had these.
PROFILE_TRUST = 30
# Where one way costs so many times as much as the other, so it does at steps coarser or finer by such a factor.
# Not at all finer ones: a table of few rows is rotated at coarse steps alone, where few vectors pay.
FAR_BETTER = 1.1
SAME_WAY = 2**0.5
# The finest step over the longest row of the sample: rows that are eight times as long are still within REACH.
FINEST_SHARE = 8 / float(REACH)
# A center's step is that of a table over the square root of its rows, times this.
CENTER_STEPS = 2.0


@dataclass(frozen=True)
class Statistics:
    """A table as the coder sees it, all numbers over `unit`.

    Attributes:
        rows: of the table.
        dim: real entries of a row.
        unit: a power of two near the typical entry.
        squared_norm: of the table, rows counted by their weight.
        energies: (count,) float64, descending: the squares of the table along each vector, rows counted by their
            weight.
        vectors: (count, dim) float64, orthonormal: its right singular vectors.
        sample: (sample rows, dim) float32.
        sample_ids: (sample rows,) int64, ascending: which rows these are.
        sample_weights: (sample rows,) float64, how much the squared error of each counts, 1 on average; None: alike.
    """

    rows: int
    dim: int
    unit: float
    squared_norm: float
    energies: NDArray[np.float64]
    vectors: Tensor
    sample: Tensor
    sample_ids: NDArray[np.int64]
    sample_weights: NDArray[np.float64] | None

    @property
    def finest_step(self) -> float:
        """The least step: numbers of it keep within the encoder's reach, and float32 has no finer digits."""
        largest = float(torch.linalg.vector_norm(self.sample, dim=1).max()) if len(self.sample) else 0.0
        return max(FINEST_SHARE * largest, 1e-30)

    @property
    def coarsest_step(self) -> float:
        """The step at which hardly a row has a string."""
        return max(2 * math.sqrt(float(self.energies[0]) / self.rows), self.finest_step)

    @cached_property
    def sample_scales(self) -> NDArray[np.int64]:
        """The scale of the step of each row of the sample."""
        return scales_of(self.sample_weights, len(self.sample))


def sample_rows(*, rows: int, dim: int, profiles: int = 1) -> int:
    """Tell how many rows a sample has: four times as many where profiles are fitted to it."""
    factor = 4 if profiles > 1 else 1
    return min(rows, factor * SAMPLE_ROWS_MAX, max(SAMPLE_ROWS_MIN, 2 * factor * SAMPLE_NUMBERS // dim))


def scales_of(weights: NDArray[np.float64] | None, rows: int) -> NDArray[np.int64]:
    """Choose each row's scale of the step, in eighths of an octave: 1 / sqrt(weight)."""
    if weights is None:
        return np.zeros(rows, np.int64)
    logs = -PER_OCTAVE / 2 * np.log2(np.maximum(weights, 1e-30))
    return np.clip(np.rint(logs), -SCALE_MAX, SCALE_MAX).astype(np.int64)


@dataclass(frozen=True)
class Fit:
    """How a table is coded at a step, but for its rows.

    Attributes:
        codebook: with the one step, and the kinds that the sample has.
        bases: (rank, dim) float32 as they decode, or those that they are coded from; None for the table's own columns.
        deviations: (profiles, rank) float64, of the columns in a row of scale 1, over the unit; 0 where there is
            nothing.
        chances: (profiles,) float64, the share of the rows that has each.
    """

    codebook: Codebook
    bases: Tensor | None
    deviations: NDArray[np.float64]
    chances: NDArray[np.float64]

    @property
    def step(self) -> float:
        """The first step."""
        return self.codebook.steps[0]

    def project(self, values: Tensor) -> Tensor:
        """Compute what is coded of rows, (rows, dim) -> (rows, rank)."""
        return values if self.bases is None else values @ self.bases.T

    def rebuild(self, weights: Tensor) -> Tensor:
        """Undo `project`, (rows, rank) -> (rows, dim)."""
        return weights if self.bases is None else weights @ self.bases

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """What turns the squares of a row's weights into its squared scale, (profiles, rank)."""
        return np.stack([inverse_squares(own, self.step) for own in self.deviations])

    def profiles_of(self, weights: Tensor) -> NDArray[np.int64]:
        """Choose each row's profile, (rows,): that in which it is expected to take the fewest bits."""
        if len(self.deviations) == 1:
            return np.zeros(len(weights), np.int64)
        centers = self.codebook.centers
        assert centers is not None
        squares = _squared_scales(weights, centers, self._shares)
        costs = _profile_bits(squares, self._shares, self.deviations, self.chances, self.step)
        return costs.argmin(dim=1).cpu().numpy()

    def shifts(self, weights: Tensor, is_zero: Tensor, profiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tell each row's scale in eighths of an octave, (rows,); of rows of zeros any."""
        centers = self.codebook.centers
        own = torch.from_numpy(profiles).to(weights.device)
        if centers is not None:
            weights = weights - centers_of(centers, own.cpu()).to(weights.device)
        shares = torch.from_numpy(self._shares.astype(np.float32)).to(weights.device)
        if len(shares) == 1:
            return shifts_of(weights, shares[0], is_zero)
        return _rounded_scales((weights.square() * shares[own]).sum(dim=1), is_zero)


def _squared_scales(weights: Tensor, centers: NDArray[np.float32], shares: NDArray[np.float64]) -> Tensor:
    """Compute each row's squared scale in each profile, (rows, profiles): sum_t share_t (w_t - c_t)^2."""
    device = weights.device
    own = torch.from_numpy(shares).to(device, torch.float32)
    middle = torch.from_numpy(centers.astype(np.float32)).to(device)
    exact = weights.to(torch.float32)
    squares = exact.square() @ own.T - 2 * exact @ (own * middle).T + (own * middle.square()).sum(dim=1)
    return squares.clamp_min_(1e-12)


def _profile_bits(
    squares: Tensor,  # (rows, profiles)
    shares: NDArray[np.float64],
    deviations: NDArray[np.float64],
    chances: NDArray[np.float64],
    step: float,
) -> Tensor:
    """Estimate the bits of each row in each profile, (rows, profiles), but for what all have in common."""
    telling = shares > 0
    logs = np.where(telling, np.log2(np.maximum(deviations, 1e-150) / step), 0.0).sum(axis=1)
    fixed = logs - np.log2(np.maximum(chances, 1e-9))
    numbers = torch.from_numpy(telling.sum(axis=1) / 2).to(squares)
    return numbers * torch.log2(squares) + torch.from_numpy(fixed).to(squares)


def shifts_of(weights: Tensor, shares: Tensor, is_zero: Tensor) -> NDArray[np.int64]:
    """Round the scales of rows to eighths of an octave, (rows,); of rows of zeros 0.

    Args:
        weights: (rows, rank) float32, less their centers.
        shares: (rank,) of `inverse_squares`.
        is_zero: (rows,) bool.
    """
    return _rounded_scales(weights.square() @ shares, is_zero)


def _rounded_scales(squares: Tensor, is_zero: Tensor) -> NDArray[np.int64]:
    logs = PER_OCTAVE / 2 * torch.log2(squares.clamp_min(1e-30))
    logs[is_zero] = 0
    return logs.round_().clamp_(-SHIFT_MAX, SHIFT_MAX).to("cpu", torch.int64).numpy()


def inverse_squares(deviations: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Weigh the columns that tell a row's length: the mean of squares over the columns' own."""
    telling = deviations > TELLING * step
    if telling.sum() < min(4, len(deviations)):
        telling = np.zeros(len(deviations), bool)
        telling[np.argsort(-deviations, kind="stable")[:4]] = True
    telling &= deviations > 0
    shares = np.where(telling, 1 / np.maximum(deviations, 1e-150) ** 2, 0.0)
    return shares / max(int(telling.sum()), 1)


class Kinds:
    """The kinds of rows that came up so far, numbered as they came; kind 0 is that of zeros."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int, int, int], int] = {}
        self.table: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]

    @classmethod
    def of(cls, codebook: Codebook) -> Kinds:
        """Go on from the kinds of a codebook."""
        kinds = cls()
        lists = (codebook.profiles, codebook.shifts, codebook.scales, codebook.step_numbers)
        kinds.table = list(zip(*(own.tolist() for own in lists), strict=True))
        for number, kind in enumerate(kinds.table):
            if number != ZERO_KIND:
                kinds._numbers.setdefault(kind, number)
        return kinds

    def copy(self) -> Kinds:
        """Copy them, to go on from here in another way."""
        other = Kinds()
        other._numbers, other.table = dict(self._numbers), list(self.table)
        return other

    def number(
        self,
        profiles: NDArray[np.int64],
        shifts: NDArray[np.int64],
        scales: NDArray[np.int64],
        step_numbers: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Number rows by their profile, shift, scale of the step, and step, (rows,) each."""
        packed = (profiles << 30) + ((shifts + 2**12) << 17) + ((scales + 2**12) << 4) + step_numbers
        unique, firsts, inverse = np.unique(packed, return_index=True, return_inverse=True)
        own = np.empty(len(unique), np.int64)
        # In the order in which they came, so that they are numbered alike however rows are cut into blocks.
        for index in np.argsort(firsts).tolist():
            key = int(unique[index])
            kind = (key >> 30, ((key >> 17) & 8191) - 2**12, ((key >> 4) & 8191) - 2**12, key & 15)
            if kind not in self._numbers:
                self._numbers[kind] = len(self.table)
                self.table.append(kind)
            own[index] = self._numbers[kind]
        numbered: NDArray[np.int64] = own[inverse]
        return numbered

    def into(self, codebook: Codebook) -> Codebook:
        """Give a codebook these kinds."""
        profiles, shifts, scales, step_numbers = (np.array(own, np.int64) for own in zip(*self.table, strict=True))
        return replace(codebook, profiles=profiles, shifts=shifts, scales=scales, step_numbers=step_numbers)


@dataclass(frozen=True)
class Estimate:
    """What a table would take and lose at a step.

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
    """

    def __init__(self, statistics: Statistics, *, states: int, threads: int, profiles: int = 1) -> None:
        self.statistics, self._states, self._threads = statistics, states, threads
        self._profiles = profiles
        self._known: dict[float, Estimate] = {}
        # The steps that one way was far better at, and whether that was the rotated one.
        self._better: dict[float, bool] = {}
        # Whether to try bases: with them, and without.
        self.ways: tuple[bool, ...] = (True, False)

    def at(self, step: float) -> Estimate:
        """Estimate bytes and error at a step, over the unit."""
        step = float(np.float32(min(max(step, self.statistics.finest_step), 1e30)))
        if step not in self._known:
            near = [way for own, way in self._better.items() if 1 / SAME_WAY < own / step < SAME_WAY]
            ways = near[:1] or self.ways
            found = [self._estimate(step, is_rotated=way) for way in ways]
            if len(found) > 1:
                first, second = (self._cost(one, step) for one in found)
                if max(first, second) > FAR_BETTER * min(first, second):
                    self._better[step] = first <= second
            self._known[step] = min(found, key=lambda one: self._cost(one, step))
        return self._known[step]

    def _cost(self, estimate: Estimate, step: float) -> float:
        """Count squared error and bytes together, at the price of a byte that the step stands for."""
        return estimate.squared_error * self.statistics.squared_norm + SLOPE * step**2 * 8 * estimate.nbytes

    def _estimate(self, step: float, *, is_rotated: bool) -> Estimate:
        statistics = self.statistics
        if is_rotated:
            precisions = self._bases_classes(step)
            bases = statistics.vectors[: len(precisions)].to(torch.float32)
            fit = self._fit(step, bases)
            rates = rates_of(precisions, load_symbols())
            rotation_bytes = float(rotation_bits(precisions, dim=statistics.dim, rates=rates).sum()) / 8
        else:
            fit, rotation_bytes = self._fit(step, None), 0.0
        return self.estimate_fit(fit, rotation_bytes=rotation_bytes)

    def settled(self, estimate: Estimate) -> Estimate:
        """Code the bases, and estimate the table again with what they decode to."""
        if estimate.fit.bases is None:
            return estimate
        precisions = self._bases_classes(estimate.step)
        rotation, bases = code_bases(self.statistics.vectors, precisions)
        fit = self._fit(estimate.step, bases)
        fit = replace(fit, codebook=replace(fit.codebook, rotation=rotation))
        settled = self.estimate_fit(fit, rotation_bytes=0.0)
        count = min(self._profiles, self.statistics.rows // PROFILE_ROWS)
        if count < 2 or not fit.codebook.rank:
            return settled
        mixed = self.estimate_fit(fit_profiles(fit, self.statistics, count), rotation_bytes=0.0)
        return min(settled, mixed, key=lambda one: self._cost(one, estimate.step))

    def at_settled(self, settled: Estimate, step: float) -> Estimate:
        """Estimate at another step near that of a settled estimate, with its bases."""
        step = float(np.float32(max(step, self.statistics.finest_step)))
        if len(settled.fit.deviations) > 1:
            classes = _classes(settled.fit.deviations, step)
            fit = replace(settled.fit, codebook=replace(settled.fit.codebook, steps=(step,), classes=classes))
        else:
            fit = self._fit(step, settled.fit.bases)
            fit = replace(fit, codebook=replace(fit.codebook, rotation=settled.fit.codebook.rotation))
        return self.estimate_fit(fit, rotation_bytes=0.0)

    def estimate_fit(self, fit: Fit, *, rotation_bytes: float) -> Estimate:
        """Encode the sample, and conclude from it to the table."""
        statistics = self.statistics
        weights = fit.project(statistics.sample)
        kinds = Kinds()
        is_zero = (statistics.sample == 0).all(dim=1)
        own = kinds_of_rows(fit, weights, is_zero, statistics.sample_scales, kinds)
        codebook = kinds.into(fit.codebook)
        block = encode_block(weights, own, codebook=codebook, threads=self._threads)
        off = (block.weights - weights).to(torch.float64)
        # Differences of squared norms would say no less than 1e-4 of a row: bases in float32 are no more orthonormal.
        rest = off if fit.bases is None else statistics.sample - fit.rebuild(block.weights)
        left = rest.to(torch.float64).square().sum(dim=1).numpy()
        if statistics.sample_weights is not None:
            left *= statistics.sample_weights
        share = statistics.rows / len(own)
        error = float(left.sum()) * share
        if fit.bases is not None and len(own) < statistics.rows:
            # What the columns leave out is known of the whole table.
            outside = statistics.squared_norm - float(statistics.energies[: len(fit.bases)].sum())
            inside = off.square().sum(dim=1).numpy()
            inside = inside if statistics.sample_weights is None else inside * statistics.sample_weights
            error = float(inside.sum()) * share + max(outside, 0.0)
        index_row_bytes = len(make_row_index(own, block.lengths).to_bytes(codebook)) / len(own)
        codebook_bytes = len(codebook.to_bytes()) + rotation_bytes
        coded = np.array([len(codebook.layout(kind).columns) for kind in range(codebook.kinds)])[own]
        expected = codebook.expected_lengths[own]
        has_string = own != ZERO_KIND
        excess = float((block.lengths - expected)[has_string].mean()) if has_string.any() else 0.0
        fixed = np.where(has_string, np.maximum(expected + round(excess), 0), 0)
        # Beside the kinds the index then tells each row's step, in up to three bits.
        fixed_index = len(make_row_index(own, fixed).to_bytes(codebook)) / len(own) * statistics.rows
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

    def _fit(self, step: float, bases: Tensor | None) -> Fit:
        """Fit deviations of the columns to the sample, and choose their classes."""
        statistics = self.statistics
        sample = statistics.sample if bases is None else statistics.sample @ bases.T
        exact = sample.to(torch.float64).numpy()
        is_used = exact.any(axis=1)
        used = exact if is_used.all() else exact[is_used]
        numbers, center_step = _fit_center(used, step, statistics.rows)
        used = used - numbers.astype(np.float32) * np.float32(center_step)
        deviations = _fit_deviations(np.square(used, out=used), step)
        none = np.zeros(1, np.int64)
        classes = _classes(deviations[None], step)
        codebook = Codebook(self._states, len(deviations), (step,), none, none, none, none, classes)
        if numbers.any():
            codebook = replace(codebook, center_numbers=numbers[None], center_step=center_step)
        return Fit(codebook, bases, deviations[None], np.ones(1))

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
        own = classes_of(np.sqrt(variances) / step)
        saved = statistics.rows * (variances / step**2 - distortions_of(own, symbols) - SLOPE * rates_of(own, symbols))
        spent = SLOPE * rotation_bits(precisions, dim=statistics.dim, rates=rates_of(precisions, symbols))
        pays = (own >= CLASS_MIN) & (saved > spent)
        kept = int(pays.nonzero()[0].max()) + 1 if pays.any() else 1
        return precisions[:kept]


def code_bases(vectors: Tensor, precisions: NDArray[np.int64]) -> tuple[CodedRotation, Tensor]:
    """Code as many vectors as there are precisions; also give what they decode to, (count, dim) float32.

    The last of a whole basis follows from the others.
    """
    count, dim = len(precisions), vectors.shape[1]
    coded = min(count, dim - 1)
    rotation = encode_rotation(vectors[:coded], precisions[:coded])
    return rotation, decode_rotation(rotation, count).to(torch.float32)


def fitted_kinds(
    weights: Tensor, own: NDArray[np.int64], kinds: Kinds, codebook: Codebook, *, excess: int, threads: int
) -> NDArray[np.int64]:
    """Give rows that shall have strings of fixed length the step at which they are about as long by themselves.

    Args:
        weights: (rows, rank).
        own: (rows,) the kind of each at the middle step.
        kinds: takes what is new.
        codebook: with the kinds so far, and `fine_steps`.
        excess: bytes of a string beyond what is expected.
        threads: of the encoder.
    """
    bits = natural_bits(weights, own, codebook=codebook, threads=threads)
    coded = np.array([len(codebook.layout(kind).columns) for kind in range(codebook.kinds)])[own]
    octaves = (bits - 8 * (codebook.expected_lengths[own] + excess)) / np.maximum(coded, 1)
    # Rounded towards the coarser step: the slope then gives bits back.
    steps = np.clip(np.ceil(octaves * FINE_PER_OCTAVE - 0.25), -(FINE_STEPS // 2), FINE_STEPS // 2 - 1)
    numbers = steps.astype(np.int64) + FINE_STEPS // 2
    fitted = kinds.number(codebook.profiles[own], codebook.shifts[own], codebook.scales[own], numbers)
    fitted[own == ZERO_KIND] = ZERO_KIND
    return fitted


def fine_steps(step: float) -> tuple[float, ...]:
    """List the steps that rows of fixed length may have; the middle one is `step`."""
    return tuple(
        float(np.float32(step * 2.0 ** ((number - FINE_STEPS // 2) / FINE_PER_OCTAVE))) for number in range(FINE_STEPS)
    )


def kinds_of_rows(
    fit: Fit,
    weights: Tensor,
    is_zero: Tensor,
    scales: NDArray[np.int64],
    kinds: Kinds,
    *,
    step_number: int = 0,
    finer: int = 0,
) -> NDArray[np.int64]:
    """Tell the kind of each row, (rows,), from its weights and the scale of its step.

    Args:
        fit: of the table.
        weights: (rows, rank).
        is_zero: (rows,) bool, which rows hold nothing but zeros.
        scales: (rows,) int64, in eighths of an octave.
        kinds: takes what is new.
        step_number: of the step of all these rows.
        finer: by how many eighths of an octave that is above the first step, which the classes refer to.
    """
    profiles = fit.profiles_of(weights)
    shifts = fit.shifts(weights, is_zero, profiles) - scales - finer
    own = kinds.number(profiles, shifts, scales, np.full_like(shifts, step_number))
    own[is_zero.cpu().numpy()] = ZERO_KIND
    return own


def _classes(deviations: NDArray[np.float64], step: float) -> NDArray[np.int64]:
    """Choose classes for deviations, (profiles, rank); what no row can have bits for is cut off."""
    return np.maximum(classes_of(deviations / step), CLASS_MIN - SHIFT_MAX - SCALE_MAX)


def fit_profiles(fit: Fit, statistics: Statistics, count: int) -> Fit:
    """Put rows in so many groups of their own center and deviations, so that they take fewer bits.

    Rows and groups are fitted to each other in turns, as in k-means, with the bits of a row in place of its distance.
    Goes over the sample PROFILE_ROUNDS times; holds (sample rows, count) numbers.
    """
    draw = np.random.default_rng(0)
    is_used = (statistics.sample != 0).any(dim=1)
    weights = fit.project(statistics.sample[is_used])
    exact = weights.to(torch.float64).numpy()
    rows, step, common = len(exact), fit.step, fit.deviations[0]
    count = min(count, rows // PROFILE_ROWS_MIN)
    if count < 2:
        return fit
    share = statistics.rows / len(statistics.sample)
    counted = None if statistics.sample_weights is None else statistics.sample_weights[is_used.numpy()]
    deviations = np.repeat(common[None], count, axis=0)
    chances = np.full(count, 1 / count)
    # Drawn rows, a little nearer to the middle than they are.
    centers = (exact[draw.choice(rows, count, replace=False)] * PROFILE_START).astype(np.float32)
    numbers, center_step = np.zeros(centers.shape, np.int64), 0.0
    for _ in range(PROFILE_ROUNDS):
        shares = np.stack([inverse_squares(own, step) for own in deviations])
        squares = _squared_scales(weights, centers, shares)
        owners = _profile_bits(squares, shares, deviations, chances, step).argmin(dim=1).numpy()
        scales = np.sqrt(np.maximum(squares.numpy()[np.arange(rows), owners], 1e-12))
        counts = np.bincount(owners, minlength=count)
        chances = np.maximum(counts, 0.5) / rows
        center_step = float(np.float32(step * min(1.0, CENTER_STEPS / math.sqrt(max(1.0, share * rows / count)))))
        for profile in range(count):
            if counts[profile] < PROFILE_ROWS_MIN:
                # Few rows tell little: it starts anew at a row that takes many bits.
                centers[profile] = exact[draw.integers(rows)] * PROFILE_START
                deviations[profile] = common
                continue
            member = owners == profile
            own, trust = exact[member], 1 / scales[member] ** 2
            trust = trust if counted is None else trust * np.maximum(counted[member], 1e-12)
            means = (own * trust[:, None]).sum(axis=0) / trust.sum()
            spread = np.square(own - means).mean(axis=0)
            # A mean that is no more than chance is none.
            pays = counts[profile] * share * np.log2(1 + means**2 / np.maximum(spread, step**2 / 4)) > 2 * (
                2 + 2 * np.log2(1 + np.abs(means) / center_step)
            )
            numbers[profile] = np.where(pays, np.clip(np.rint(means / center_step), -(2**20), 2**20), 0)
            centers[profile] = numbers[profile] * center_step
            normal = np.square((own - centers[profile]) / scales[member][:, None]).sum(axis=0)
            prior = (
                PROFILE_TRUST * common**2 * float(np.median(normal / np.maximum(common**2, 1e-150))) / counts[profile]
            )
            deviations[profile] = np.sqrt((normal + prior) / (counts[profile] + PROFILE_TRUST))
    numbers[counts < PROFILE_ROWS_MIN] = 0
    kept = np.flatnonzero(counts >= PROFILE_ROWS_MIN)
    codebook = replace(
        fit.codebook, classes=_classes(deviations[kept], step), center_numbers=numbers[kept], center_step=center_step
    )
    return replace(fit, codebook=codebook, deviations=deviations[kept], chances=chances[kept])


def _fit_center(values: NDArray[np.float64], step: float, rows: int) -> tuple[NDArray[np.int64], float]:
    """Choose what is taken off each column, as multiples of a step: its mean, where that saves more bits than it takes.

    A center that is off by its own step's rounding costs as much as the mean's chance over so many rows.
    """
    center_step = float(np.float32(step * min(1.0, CENTER_STEPS / math.sqrt(rows))))
    if not len(values):
        return np.zeros(values.shape[1], np.int64), center_step
    means, squares = values.mean(axis=0), np.square(values).mean(axis=0)
    numbers = np.rint(means / center_step)
    numbers = np.where(np.abs(numbers) < 2**20, numbers, 0.0)
    least = step**2 / 4
    raw = np.log2(np.maximum(squares, least))
    centered = np.log2(np.maximum(squares - means**2, least))
    saved = rows / 2 * (raw - centered)
    spent = 2 * np.log2(np.abs(numbers) + 1) + 1
    pays = saved > spent
    numbers = np.where(pays, numbers, 0.0).astype(np.int64)
    if (saved * pays).sum() < len(numbers) + 2 * 8:
        numbers[:] = 0
    return numbers, center_step


def _fit_deviations(squares: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Fit deviations of columns to squares (rows, columns) = (row's scale * column's deviation)^2 * chi^2."""
    if not len(squares):
        return np.zeros(squares.shape[1])
    deviations: NDArray[np.float64] = np.sqrt(squares.mean(axis=0))
    for _ in range(FIT_ROUNDS):
        scales = np.sqrt(squares @ inverse_squares(deviations, step))
        logs = PER_OCTAVE * np.log2(np.maximum(scales, 1e-150))
        rounded = 2.0 ** (np.rint(np.clip(logs, -SHIFT_MAX, SHIFT_MAX)) / PER_OCTAVE)
        # As a product: a quotient for each number took eight times as long.
        deviations = np.sqrt(rounded**-2.0 @ squares / len(squares))
    return deviations


def step_for_bits(statistics: Statistics, row_bits: float) -> float:
    """Guess the step that leads to so many bits a row: reverse water-filling over the energies."""
    logs = np.log2(np.maximum(statistics.energies / statistics.rows, 1e-300))
    low, high = float(logs.max()) - 60.0, float(logs.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(0, logs - middle).sum() / 2 > row_bits else (low, middle)
    return math.sqrt(2.0**high) / math.sqrt(distortions_of(np.array([8]), load_symbols())[0])
