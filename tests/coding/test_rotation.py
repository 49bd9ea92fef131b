"""Coded bases: orthonormal whatever the precision, as near to the original as each vector's class says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from embcompress.coding.estimates import code_bases
from embcompress.coding.rotation import decode_rotation, encode_rotation, rotation_bits
from embcompress.coding.symbols import CLASS_MAX, PER_OCTAVE, distortions_of, load_symbols, rates_of
from tests.cases import for_each


def draw_vectors(count: int, dim: int, *, seed: int = 0) -> Tensor:
    """Draw orthonormal vectors, (count, dim) float64."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(dim, count, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(normal).Q.T.contiguous()


def expected_error(number: int) -> float:
    """Return the distance of a unit vector from its decoded direction at a class, of whose square a share D is left.

    Levels are means of what falls on them, so the squared cosine is 1 - D.
    """
    share = float(distortions_of(np.array([number]), load_symbols())[0]) / 2.0 ** (2 * number / PER_OCTAVE)
    return math.sqrt(2 - 2 * math.sqrt(1 - share))


@pytest.mark.parametrize(("count", "dim"), [(1, 1), (1, 2), (2, 2), (5, 5), (7, 40), (40, 40), (70, 100), (100, 100)])
@for_each("number", [-4, 6, 40, 120])
def test_rotation_is_orthonormal(count: int, dim: int, number: int) -> None:
    """Decoded vectors are orthonormal to 1e-12, whatever the precision, the first of them and completed ones, too."""
    coded = encode_rotation(draw_vectors(count, dim), np.full(count, number))
    for some in {count, dim, (count + 1) // 2}:
        vectors = decode_rotation(coded, some)
        assert vectors.shape == (some, dim)
        assert (vectors @ vectors.T - torch.eye(some, dtype=torch.float64)).abs().max() < 1e-12


@pytest.mark.parametrize("number", [0, 8, 16, 32, 48, 80, 120, CLASS_MAX])
def test_rotation_is_as_near_as_its_class(number: int) -> None:
    """64 vectors of 100 are off by what the class leaves, and by what of them lies along the errors of those before.

    The error of vector j lies along each of the 100 - j later ones by 1/sqrt(100 - j), and decoded vectors have to be
    orthogonal to j's: vector k is off by sqrt(1 + 1/100 + ... + 1/(100 - k)) of its own error. To 6 %.
    """
    vectors = draw_vectors(64, 100)
    actual = decode_rotation(encode_rotation(vectors, np.full(64, number)), 64)
    errors = torch.linalg.vector_norm(actual - vectors, dim=1)
    inherited = np.sqrt(1 + np.concatenate([[0], np.cumsum(1 / np.arange(100, 37, -1))]))
    ratios = errors.numpy() / inherited / expected_error(number)
    assert float(np.sqrt(np.square(ratios).mean())) == pytest.approx(1, abs=0.06)
    assert float(ratios.max()) < 1.6


def test_rotation_has_a_precision_for_each_vector() -> None:
    """10 fine vectors, 10 coarse ones, 20 fine ones: each is off by its class, the last by what the coarse ones left.

    10 errors of class 0, each along one of 70 to 51 remaining dimensions: 0.54 sqrt(10 / 60) = 0.22.
    """
    vectors = draw_vectors(40, 80)
    classes = np.repeat([48, 0, 48], [10, 10, 20])
    errors = torch.linalg.vector_norm(decode_rotation(encode_rotation(vectors, classes), 40) - vectors, dim=1)
    fine, coarse, last = (float(own.square().mean().sqrt()) for own in errors.split([10, 10, 20]))
    assert fine == pytest.approx(expected_error(48), rel=0.1)
    assert coarse == pytest.approx(expected_error(0), rel=0.1)
    assert last == pytest.approx(expected_error(0) * math.sqrt(1 / 6), rel=0.15)


@pytest.mark.parametrize("number", [16, 80, CLASS_MAX])
@for_each("dim", [3, 64, 500])
def test_rotation_of_axes(dim: int, number: int) -> None:
    """Axes in another order, of whose coordinates all but one are 0, come back to float64's rounding."""
    order = torch.randperm(dim, generator=torch.Generator().manual_seed(0))[: min(dim, 20)]
    vectors = torch.eye(dim, dtype=torch.float64)[order]
    actual = decode_rotation(encode_rotation(vectors, np.full(len(order), number)), len(order))
    assert (actual - vectors).abs().max() < 1e-14


@pytest.mark.parametrize("dim", [64, 500])
def test_rotation_of_vectors_near_axes(dim: int) -> None:
    """Vectors at 0.3 from axes, of the finest class, are off by its error, or by that of a step of 2^-23.

    Their largest coordinate is sqrt(dim) 2^20 steps of that class, which is more than the encoder's 2^23 where dim is
    above 64: the step is then wider, and dim coordinates are each off by half of it.
    """
    noise = torch.randn(dim, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors = torch.linalg.qr(torch.eye(dim, dtype=torch.float64) + 0.3 / math.sqrt(dim) * noise).Q.T[:20]
    actual = decode_rotation(encode_rotation(vectors, np.full(20, CLASS_MAX)), 20)
    limit = max(expected_error(CLASS_MAX), 0.51 * math.sqrt(dim) * 2.0**-23)
    assert float(torch.linalg.vector_norm(actual - vectors, dim=1).max()) < 1.3 * limit


def test_last_vector_of_a_whole_basis_follows() -> None:
    """The last vector is not coded, and is along the original's to the errors of the others; the sign is free."""
    vectors = draw_vectors(30, 30)
    coded, bases = code_bases(vectors, np.full(30, 80))
    assert len(coded.classes) == len(coded.lengths) == 29
    assert bases.shape == (30, 30)
    # The others' errors along it: (1/30 + ... + 1/2) of a squared error are 3.0, half of that is lacking of the cosine;
    # most of it is of the last few, so chance makes much of it.
    assert 1 - abs(float(bases[-1].double() @ vectors[-1])) < 5 * expected_error(80) ** 2
    whole, single = code_bases(torch.tensor([[-1.0]], dtype=torch.float64), np.array([16]))
    assert (len(whole.strings), single.tolist()) == (0, [[1.0]])


def test_rotation_is_the_same_each_time() -> None:
    """Coding twice gives the same strings, decoding twice the same bits; fewer vectors decode to the first ones."""
    vectors = draw_vectors(50, 70)
    first, second = (encode_rotation(vectors, np.full(50, 24)) for _ in range(2))
    assert first.strings.tobytes() == second.strings.tobytes()
    whole = decode_rotation(first, 50)
    assert torch.equal(whole, decode_rotation(second, 50))
    assert (decode_rotation(first, 20) - whole[:20]).abs().max() < 1e-12


def test_rotation_takes_half_the_numbers() -> None:
    """A whole basis of 100 takes (100 + 99 + ... ) times the class's rate, to 2 %, as is estimated."""
    classes = np.full(99, 24)
    coded = encode_rotation(draw_vectors(99, 100), classes)
    rates = rates_of(classes, load_symbols())
    payload = float((np.arange(100, 1, -1) * rates).sum())
    assert 8 * len(coded.strings) == pytest.approx(payload, rel=0.02)
    assert rotation_bits(classes, dim=100, rates=rates).sum() == pytest.approx(payload, rel=0.06)
    assert int(coded.lengths.sum()) == len(coded.strings)


def test_rotation_of_no_vectors() -> None:
    """Nothing coded decodes to the axes."""
    coded = encode_rotation(draw_vectors(3, 4)[:0], np.empty(0, np.int64))
    assert torch.equal(decode_rotation(coded, 3), torch.eye(4, dtype=torch.float64)[:3])
