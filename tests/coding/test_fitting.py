"""Estimates of a table's bytes and error against its encoding, over spectra, weights, magnitudes and clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from embcompress.coding.codebook import read_codebook
from embcompress.coding.coder import encode_block
from embcompress.coding.estimates import Estimate, Estimator
from embcompress.coding.fit import SHIFT_MAX, shifts_of
from embcompress.coding.kinds import Kinds, kinds_of_rows
from embcompress.coding.rotation import decode_rotation
from embcompress.coding.row_index import make_row_index
from embcompress.coding.statistics import SCALE_MAX, Statistics, sample_rows, scales_of, step_for_bits
from tests.cases import for_each


def draw_table(rows: int, dim: int, *, halving: float, norms: float = 0.0, seed: int = 0) -> np.ndarray:
    """Draw a Gaussian table whose deviations halve every `halving` vectors, of lognormal norms, float64."""
    draw = np.random.default_rng(seed)
    basis = np.linalg.qr(draw.standard_normal((dim, dim)))[0]
    table = (draw.standard_normal((rows, dim)) * 2.0 ** (-np.arange(dim) / halving)) @ basis
    return table * np.exp(norms * draw.standard_normal(rows))[:, None]


def measure(table: np.ndarray, *, weights: np.ndarray | None = None, sample: int | None = None) -> Statistics:
    """Measure a table by a dense decomposition in float64; the unit is 2^round(log2 of the typical entry)."""
    rows, dim = table.shape
    own = np.ones(rows) if weights is None else weights / weights.mean()
    norm = math.sqrt(float((table**2 * own[:, None]).sum()))
    unit = 2.0 ** round(math.log2(norm / math.sqrt(table.size))) if norm else 1.0
    scaled = table / unit
    _, values, vectors = np.linalg.svd(scaled * np.sqrt(own)[:, None], full_matrices=False)
    ids = np.arange(rows)
    if sample is not None:
        ids = np.sort(np.random.default_rng(0).choice(rows, sample, replace=False))
    return Statistics(
        rows=rows,
        dim=dim,
        unit=unit,
        squared_norm=float((values**2).sum()),
        energies=values**2,
        vectors=torch.from_numpy(vectors.copy()),
        sample=torch.from_numpy(scaled[ids].astype(np.float32)),
        sample_ids=ids,
        sample_weights=None if weights is None else own[ids],
    )


@dataclass(frozen=True)
class Encoded:
    """A table as it was encoded: all its bytes, and its rows decoded, in the table's unit."""

    nbytes: int
    decoded: np.ndarray


def encode_table(estimate: Estimate, table: np.ndarray, *, unit: float, weights: np.ndarray | None = None) -> Encoded:
    """Encode all rows as an estimate says, and decode them by what a reader has."""
    rows = torch.from_numpy((table / unit).astype(np.float32))
    fit, kinds = estimate.fit, Kinds.of(estimate.fit.codebook)
    scales = scales_of(None if weights is None else weights / weights.mean(), len(table))
    projected = fit.project(rows)
    own = kinds_of_rows(fit, projected, (rows == 0).all(dim=1), scales, kinds)
    codebook = kinds.into(fit.codebook)
    block = encode_block(projected, own, codebook=codebook, threads=1)
    stored = codebook.to_bytes()
    read = read_codebook(stored, rank=codebook.rank, dim=table.shape[1])
    bases = torch.eye(table.shape[1]) if read.rotation is None else decode_rotation(read.rotation, read.rank).float()
    nbytes = len(block.strings) + len(make_row_index(own, block.lengths).to_bytes(codebook)) + len(stored)
    return Encoded(nbytes, (block.weights @ bases).double().numpy() * unit)


def relative_error(decoded: np.ndarray, table: np.ndarray, *, weights: np.ndarray | None = None) -> float:
    """Compute the relative error, rows counted by their weight."""
    own = (np.ones(len(table)) if weights is None else weights)[:, None]
    return math.sqrt(float((own * (decoded - table) ** 2).sum() / (own * table**2).sum()))


def settle_at(statistics: Statistics, share: float, *, states: int = 8, profiles: int = 1) -> Estimate:
    """Estimate at a step that is a share of the typical entry, with the bases coded."""
    step = share * math.sqrt(statistics.squared_norm / (statistics.rows * statistics.dim))
    estimator = Estimator(statistics, states=states, threads=1, profiles=profiles)
    return estimator.with_coded_bases(estimator.at(step))


@pytest.mark.parametrize("share", [2.0, 0.5, 0.1, 1e-2, 1e-4])
@for_each("sample", [None, 1500])
def test_estimate_is_what_the_table_takes(share: float, sample: int | None) -> None:
    """A falling spectrum takes the bytes and has the error that were estimated: to 1 % and 2 % of a sample of 1500.

    Where the sample is the table, exactly, and the error to float32's rounding; at the finest step 1e-5 is left.
    """
    table = draw_table(4000, 48, halving=8, norms=0.3)
    statistics = measure(table, sample=sample)
    estimate = settle_at(statistics, share)
    encoded = encode_table(estimate, table, unit=statistics.unit)
    close = {"rel": 0.02} if sample else {"rel": 1e-3, "abs": 1e-7}
    assert math.sqrt(estimate.squared_error) == pytest.approx(relative_error(encoded.decoded, table), **close)
    assert estimate.nbytes == pytest.approx(encoded.nbytes, rel=0.01 if sample else 0, abs=100 if sample else 1)
    assert encoded.nbytes < 0.6 * table.size * 4


def test_estimates_before_bases_are_coded_are_near() -> None:
    """What is estimated with exact bases is within 2 % of what their coding makes of it, bytes and error."""
    statistics = measure(draw_table(4000, 48, halving=8))
    estimator = Estimator(statistics, states=8, threads=1)
    for step in (0.5, 0.1, 0.01):
        estimate = estimator.at(step)
        settled = estimator.with_coded_bases(estimate)
        assert estimate.nbytes == pytest.approx(settled.nbytes, rel=0.02)
        assert estimate.squared_error == pytest.approx(settled.squared_error, rel=0.04)


def test_bytes_fall_with_the_step() -> None:
    """Of 12 steps over four decades each coarser one takes fewer bytes and leaves more error."""
    statistics = measure(draw_table(1500, 32, halving=6, norms=0.5))
    estimator = Estimator(statistics, states=8, threads=1)
    estimates = [estimator.at(step) for step in np.geomspace(1e-3, 5, 12)]
    nbytes, errors = [one.nbytes for one in estimates], [one.squared_error for one in estimates]
    assert nbytes == sorted(nbytes, reverse=True)
    assert errors == sorted(errors)
    assert estimator.at(float(np.geomspace(1e-3, 5, 12)[3])) is estimates[3]


def test_tables_are_near_the_bound() -> None:
    """Rows of a falling spectrum take 0.1 bits a number and 5 a row more than reverse water-filling at their error.

    log2(1.06) = 0.085 bits of a number are the code's, and classes are off by a sixteenth of an octave at most; 4 bits
    of a row are the rounding to bytes, one the start of its string.
    """
    statistics = measure(draw_table(20_000, 48, halving=8), sample=2000)
    variances = (2.0 ** (-np.arange(48) / 8)) ** 2
    for share in (1.0, 0.25, 0.05):
        estimate = settle_at(statistics, share)
        low, high = 1e-9, 10.0
        for _ in range(80):
            level = math.sqrt(low * high)
            is_coarse = np.minimum(variances, level).sum() / variances.sum() > estimate.squared_error
            low, high = (low, level) if is_coarse else (level, high)
        least = np.log2(np.maximum(variances / level, 1)).sum() / 2
        assert least < 8 * float(estimate.lengths.mean()) < least + 0.1 * estimate.coded + 5


@pytest.mark.parametrize("states", [8, 32])
def test_rows_of_more_weight_have_less_error(states: int) -> None:
    """Rows of 16 times the weight have a quarter of the others' error: their step is 2^(-16 / 8) of the others'."""
    table = draw_table(4000, 32, halving=1e9)
    weights = np.where(np.arange(4000) % 2 == 1, 16.0, 1.0)
    statistics = measure(table, weights=weights)
    estimate = settle_at(statistics, 0.1, states=states)
    encoded = encode_table(estimate, table, unit=statistics.unit, weights=weights)
    errors = np.sqrt(np.square(encoded.decoded - table).mean(axis=1))
    assert errors[::2].mean() / errors[1::2].mean() == pytest.approx(4.0, rel=0.03)
    weighted = relative_error(encoded.decoded, table, weights=weights)
    assert math.sqrt(estimate.squared_error) == pytest.approx(weighted, rel=1e-4)
    assert estimate.nbytes == pytest.approx(encoded.nbytes, abs=1)


def test_scales_are_eighths_of_an_octave_of_weights() -> None:
    """Weights of 16, 1, 1/4 have scales of -16, 0, 8, as steps go with 1 / sqrt(weight); 80 either way at most."""
    assert scales_of(np.array([16.0, 1.0, 0.25, 1e9, 0.0]), 5).tolist() == [-16, 0, 8, -SCALE_MAX, SCALE_MAX]
    assert scales_of(None, 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("magnitude", [1e-30, 1e-3, 1e30])
def test_magnitudes_do_not_matter(magnitude: float) -> None:
    """A table in any unit takes the bytes of the same table in another, to 2 %, with the same error to 2 %.

    Units are powers of two, so magnitudes between fall on other steps of the classes.
    """
    table = draw_table(800, 24, halving=6)
    plain = settle_at(measure(table), 0.1)
    statistics = measure(table * magnitude)
    estimate = settle_at(statistics, 0.1)
    assert 0.7 < statistics.squared_norm / statistics.sample.numel() < 2.1
    assert estimate.nbytes == pytest.approx(plain.nbytes, rel=0.02)
    assert estimate.squared_error == pytest.approx(plain.squared_error, rel=0.04)
    encoded = encode_table(estimate, table * magnitude, unit=statistics.unit)
    assert relative_error(encoded.decoded / magnitude, table) == pytest.approx(
        math.sqrt(estimate.squared_error), rel=1e-3
    )


@pytest.mark.parametrize("sample", [None, 600])
@for_each("share", [0.3, 1e-2, 1e-4])
def test_tables_of_low_rank_reach_any_error(share: float, sample: int | None) -> None:
    """Of rank 3 of 20, 3 columns are coded, and errors of the bases do not limit what a finer step reaches.

    3 columns in 20 leave 0.51 sqrt(3/20) = 0.197 steps, and the bases no more than makes 0.25 of it.
    """
    draw = np.random.default_rng(0)
    table = draw.standard_normal((2000, 3)) @ draw.standard_normal((3, 20))
    statistics = measure(table, sample=sample)
    statistics = Statistics(**{**vars(statistics), "energies": np.where(np.arange(20) < 3, statistics.energies, 0.0)})
    estimate = settle_at(statistics, share)
    encoded = encode_table(estimate, table, unit=statistics.unit)
    error = relative_error(encoded.decoded, table)
    assert estimate.fit.codebook.rank == 3
    assert 0.19 * share < error < 0.25 * share
    assert math.sqrt(estimate.squared_error) == pytest.approx(error, rel=0.02)


@pytest.mark.parametrize(("rows", "dim"), [(7, 20), (1, 20), (1, 1), (300, 1), (2, 2), (20, 20)])
@for_each("share", [0.5, 0.01])
def test_small_tables(rows: int, dim: int, share: float) -> None:
    """Tables of fewer rows than columns, of one row or one column are off by less than 0.75 of a step."""
    table = draw_table(rows, dim, halving=1e9)
    statistics = measure(table)
    estimate = settle_at(statistics, share)
    encoded = encode_table(estimate, table, unit=statistics.unit)
    error = relative_error(encoded.decoded, table)
    assert error < 0.75 * share
    assert math.sqrt(estimate.squared_error) == pytest.approx(error, rel=1e-3, abs=1e-6)
    assert estimate.nbytes == pytest.approx(encoded.nbytes, abs=1)


def test_table_of_zeros() -> None:
    """A table of zeros takes its codebook and next to nothing, and decodes to zeros."""
    table = np.zeros((5000, 8))
    statistics = measure(table)
    estimate = settle_at(statistics, 1.0)
    encoded = encode_table(estimate, table, unit=1.0)
    assert (estimate.squared_error, encoded.nbytes) == (0.0, round(estimate.nbytes))
    assert encoded.nbytes < 100
    assert not encoded.decoded.any()


def test_rows_of_zeros_are_exact() -> None:
    """Where 9 of 10 rows are zeros, these are exact, and the others take what they would alone and 0.53 bits a row."""
    table = draw_table(5000, 16, halving=1e9)
    is_zero = np.random.default_rng(0).random(5000) < 0.9
    table[is_zero] = 0
    statistics = measure(table)
    estimate = settle_at(statistics, 0.3)
    encoded = encode_table(estimate, table, unit=statistics.unit)
    assert not encoded.decoded[is_zero].any()
    assert estimate.nbytes == pytest.approx(encoded.nbytes, abs=1)
    alone = measure(table[~is_zero])
    step = estimate.step * statistics.unit / alone.unit
    estimator = Estimator(alone, states=8, threads=1)
    assert encoded.nbytes == pytest.approx(
        estimator.with_coded_bases(estimator.at(step)).nbytes + 0.53 * 5000 / 8, rel=0.03
    )


@pytest.mark.parametrize("share", [0.1, 0.03])
def test_profiles_pay_for_clusters(share: float) -> None:
    """Rows in 8 clusters take with profiles log2(det(1 + S))/2 - 3 bits fewer each, to 12 %, at the same step.

    A Gaussian code of the whole table takes log2(det(1 + S))/2 bits a row more than one of the unit noise within
    clusters, where S is the covariance of the 8 centers (rank 7); to tell which cluster a row is in takes log2(8) = 3
    of these. S has 7 eigenvalues near 25 * 32/8, and so 23 bits are saved, and 20 remain.
    """
    draw = np.random.default_rng(0)
    centers = 5 * draw.standard_normal((8, 32))
    owners = draw.integers(8, size=6000)
    table = centers[owners] + draw.standard_normal((6000, 32))
    statistics = measure(table)
    plain, mixed = (settle_at(statistics, share, profiles=profiles) for profiles in (1, 16))
    assert plain.step == mixed.step
    assert len(mixed.fit.deviations) == 8
    spread = np.cov(centers[owners].T, bias=True)
    predicted = np.linalg.slogdet(np.eye(32) + spread)[1] / math.log(2) / 2 - 3
    saved = 8 * ((plain.nbytes - plain.codebook_bytes) - (mixed.nbytes - mixed.codebook_bytes)) / 6000
    assert 15 < predicted < 25
    assert saved == pytest.approx(predicted, rel=0.12)
    assert mixed.nbytes < plain.nbytes
    assert mixed.squared_error == pytest.approx(plain.squared_error, rel=0.04)
    encoded = encode_table(mixed, table, unit=statistics.unit)
    assert encoded.nbytes == pytest.approx(mixed.nbytes, rel=0.002)
    assert relative_error(encoded.decoded, table) == pytest.approx(math.sqrt(mixed.squared_error), rel=0.002)


def test_kinds_are_numbered_as_they_come() -> None:
    """Rows of the same profile, shift, scale and step are of one kind, also negative ones; a copy goes its own way."""
    kinds = Kinds()
    profiles, shifts = np.array([0, 5, 0, 0]), np.array([-7, SHIFT_MAX, -7, 3])
    scales, steps = np.array([-SCALE_MAX, SCALE_MAX, -SCALE_MAX, 0]), np.array([0, 15, 0, 2])
    numbers = kinds.number(profiles, shifts, scales, steps)
    assert numbers[0] == numbers[2]
    assert sorted({*numbers.tolist()}) == [1, 2, 3]
    actual = [kinds.table[number] for number in numbers]
    assert actual == list(zip(profiles.tolist(), shifts.tolist(), scales.tolist(), steps.tolist(), strict=True))
    other = kinds.copy()
    assert other.number(np.array([1]), np.array([1]), np.array([1]), np.array([1])).tolist() == [4]
    assert len(kinds.table) == 4
    assert kinds.number(profiles[:1], shifts[:1], scales[:1], steps[:1]).tolist() == [numbers[0]]


def test_shifts_are_eighths_of_an_octave_of_lengths() -> None:
    """Rows of lengths 1, 2, 1/4, 2^30 and 0 have shifts 0, 8, -16, 200 and -200; rows of zeros 0."""
    lengths = torch.tensor([1.0, 2.0, 0.25, 2.0**30, 0.0, 0.0])
    rows = lengths[:, None] * torch.tensor([[0.6, 0.8]])
    is_zero = torch.tensor([False] * 5 + [True])
    assert shifts_of(rows, torch.ones(2), is_zero).tolist() == [0, 8, -16, SHIFT_MAX, -SHIFT_MAX, 0]


def test_step_for_bits_is_near_what_they_buy() -> None:
    """The step for R bits a row makes strings of R bits, to 8 % or the 5 bits of a string's end."""
    statistics = measure(draw_table(3000, 64, halving=16))
    for bits in (30.0, 100.0, 300.0):
        estimate = Estimator(statistics, states=8, threads=1).at(step_for_bits(statistics, bits))
        assert 8 * float(estimate.lengths.mean()) == pytest.approx(bits, rel=0.08, abs=5)


def test_sample_rows_are_bounded() -> None:
    """A sample has 2^21 numbers, 512 rows at least, 8192 at most, or all; four times as many for profiles."""
    assert [sample_rows(rows=10**6, dim=dim) for dim in (1, 256, 1024, 8192)] == [8192, 8192, 2048, 512]
    assert sample_rows(rows=100, dim=8192) == 100
    assert [sample_rows(rows=10**6, dim=dim, profiles=8) for dim in (1, 1024, 2**20)] == [32768, 8192, 512]
