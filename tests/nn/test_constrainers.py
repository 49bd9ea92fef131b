"""Constrainers: each row by itself, over all its axes, as a float64 oracle has it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from embcompress.nn import CONSTRAINERS, NORMALIZERS
from embcompress.nn.constrainers import clamp, clamp_norm, complex_normalize, normalize, row_function, softmax
from tests.cases import for_each

ORDERS = [1, 2, math.inf]
DTYPES = [torch.float16, torch.float32, torch.float64, torch.complex64]
LEADING = [(6,), (3, 2), ()]  # the whole table or 1-D ids, 2-D ids, one id
SHAPES = [(4,), (2, 3)]


def draw(size: tuple[int, ...], dtype: torch.dtype = torch.float32, *, device: str = "cpu") -> Tensor:
    """Draw N(0, 1) entries on the CPU, the same on every device."""
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return torch.randn(size, dtype=wide, generator=Generator().manual_seed(2)).to(device, dtype)


def widen(x: Tensor) -> Tensor:
    """Cast to 64 bits a part."""
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


def norms_of(x: Tensor, axes: int, p: float) -> Tensor:
    """Compute the norms of rows that are the last axes of x, in float64 from the definition, (*leading, 1, ..., 1)."""
    moduli = widen(x).abs().reshape(*x.shape[: x.ndim - axes], -1)
    norms = moduli.amax(dim=-1) if p == math.inf else moduli.pow(p).sum(dim=-1).pow(1 / p)
    return norms.reshape(*norms.shape, *[1] * axes)


def rounding(x: Tensor, axes: int) -> float:
    """Bound the relative error of a row over its norm: a rounding per summand, of the norm, and of the quotient."""
    return (math.prod(x.shape[x.ndim - axes :]) + 4) * torch.finfo(x.dtype).eps


def assert_same_bits(actual: Tensor, expected: Tensor) -> None:
    """Compare to the bit, the sign of zero included."""
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    actual, expected = (torch.view_as_real(x.resolve_conj()) if x.is_complex() else x for x in (actual, expected))
    assert torch.equal(*(x.contiguous().view(integers[x.element_size()]) for x in (actual, expected)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@for_each("leading", LEADING)
@for_each("shape", SHAPES)
@for_each("p", ORDERS)
def test_normalize_gives_unit_rows(
    p: float, dtype: torch.dtype, shape: tuple[int, ...], leading: tuple[int, ...], device: str
) -> None:
    """Rows of any shape and any leading axes are x / |x|_p, of norm 1, in the dtype that they came in."""
    x = draw((*leading, *shape), dtype, device=device)
    function = row_function("normalize", {"p": p}, axes=len(shape))
    assert function is not None
    actual = function(x)
    assert actual.dtype == dtype
    tolerance = rounding(x, len(shape))
    torch.testing.assert_close(widen(actual), widen(x) / norms_of(x, len(shape), p), rtol=tolerance, atol=0)
    assert float((norms_of(actual, len(shape), p) - 1).abs().max()) < 2 * tolerance


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16], ids=str)
@for_each("p", ORDERS)
def test_normalize_leaves_zero_rows_zero(dtype: torch.dtype, p: float, device: str) -> None:
    """A row of zeros stays zeros, where 1e-12 rounds to 0 in float16 and 0 / 0 would be NaN; its neighbours do not."""
    x = draw((4, 2, 3), dtype, device=device)
    x[1:3] = 0
    actual = normalize(x, p=p)
    assert not actual[1:3].any()
    assert actual[1:3].isfinite().all()
    tolerance = rounding(x, 2)
    torch.testing.assert_close(widen(actual[::3]), widen(x[::3]) / norms_of(x[::3], 2, p), rtol=tolerance, atol=0)


@pytest.mark.parametrize(("eps", "divisor"), [(None, 1e-12), (1e-3, 1e-3)])
def test_normalize_divides_by_no_less_than_eps(eps: float | None, divisor: float) -> None:
    """A row of norm 5e-15 is divided by eps, 1e-12 unless said otherwise: x / max(|x|, eps)."""
    x = torch.tensor([[3e-15, -4e-15]], dtype=torch.float64)
    actual = normalize(x) if eps is None else normalize(x, eps=eps)
    torch.testing.assert_close(actual, x / divisor, rtol=1e-15, atol=0)


@pytest.mark.parametrize("name", ["normalize", "clamp_norm"])
@for_each("shape", SHAPES)
def test_norms_run_over_all_axes_but_the_first(shape: tuple[int, ...], name: str) -> None:
    """Called without `dim`, a function takes (rows, *shape): each row as if it were flat."""
    x = draw((5, *shape), torch.float64)
    kwargs = {"maxnorm": 0.5} if name == "clamp_norm" else {}
    actual = CONSTRAINERS[name](x, **kwargs)
    flat = CONSTRAINERS[name](x.flatten(1), **kwargs).view_as(x)
    torch.testing.assert_close(actual, flat, rtol=1e-15, atol=0)
    expected_norms = torch.full((5, 1), kwargs.get("maxnorm", 1.0), dtype=torch.float64)
    torch.testing.assert_close(norms_of(actual.flatten(1), 1, 2), expected_norms, rtol=1e-15, atol=0)


@pytest.mark.parametrize("p", [1, 2])
@for_each("dim", [0, 1, -1, (0, 2)])
def test_dim_given_is_that_of_torch(dim: int | tuple[int, ...], p: float) -> None:
    """The axes that a caller names are the ones summed over, counted from either end, here and through a name."""
    x = draw((4, 2, 3), torch.float64)
    expected = torch.nn.functional.normalize(x, p=p, dim=dim)  # type: ignore[arg-type]
    norms = x.abs().pow(p).sum(dim=dim, keepdim=True).pow(1 / p)
    clamped = x / norms.clamp_min(1.5) * 1.5
    assert int((norms > 1.5).sum()) > 0
    for function, kwargs, result in ((normalize, {}, expected), (clamp_norm, {"maxnorm": 1.5}, clamped)):
        given: dict[str, Any] = {**kwargs, "p": p, "dim": dim}
        torch.testing.assert_close(function(x, **given), result, rtol=1e-14, atol=0)
        bound = row_function(function, given, axes=1)
        assert bound is not None
        torch.testing.assert_close(bound(x), result, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@for_each("leading", LEADING)
@for_each("shape", SHAPES)
@for_each("p", ORDERS)
def test_clamp_norm_scales_down_long_rows_alone(
    p: float, dtype: torch.dtype, shape: tuple[int, ...], leading: tuple[int, ...], device: str
) -> None:
    """Rows above maxnorm get that norm and keep their direction; the others stay as they are, to the bit."""
    x = draw((*leading, *shape), dtype, device=device)
    norms = norms_of(x, len(shape), p)
    maxnorm = float(norms.mean()) if leading else float(norms) / 2
    function = row_function("clamp_norm", {"maxnorm": maxnorm, "p": p}, axes=len(shape))
    assert function is not None
    actual = function(x)
    assert actual.dtype == dtype
    is_long = (norms > maxnorm).reshape(leading)
    assert int(is_long.sum()) >= 1
    assert_same_bits(actual[~is_long], x[~is_long])
    expected = widen(x) * maxnorm / norms
    tolerance = rounding(x, len(shape))
    torch.testing.assert_close(widen(actual)[is_long], expected[is_long], rtol=tolerance, atol=0)


def test_clamp_norm_keeps_rows_of_exactly_maxnorm_and_zeros() -> None:
    """|(3, 4)| = 5 is not above 5, and -0.0 keeps its sign; (6, 8) comes down to (3, 4)."""
    x = torch.tensor([[3.0, 4.0], [-0.0, 0.0], [6.0, 8.0], [1e-30, -0.0]])
    actual = clamp_norm(x, maxnorm=5.0)
    assert_same_bits(actual[[0, 1, 3]], x[[0, 1, 3]])
    torch.testing.assert_close(actual[2], x[0])


@pytest.mark.parametrize("maxnorm", [0.0, -1.0, math.nan])
def test_clamp_norm_refuses_a_bound_not_above_zero(maxnorm: float) -> None:
    """A bound of 0 would wipe the table out, a negative one turn it round, NaN do nothing: ValueError."""
    with pytest.raises(ValueError, match="maxnorm must be above 0"):
        clamp_norm(torch.ones(2, 2), maxnorm=maxnorm)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.complex64, torch.complex128], ids=str)
@for_each("shape", [(4,), (3, 2), (2, 1, 6)])
@for_each("leading", [(6,), (3, 2)])
def test_complex_normalize_gives_entries_of_modulus_one(
    dtype: torch.dtype, leading: tuple[int, ...], shape: tuple[int, ...], device: str
) -> None:
    """Each entry is z / |z|; of a real table entries are (re, im) interleaved, never the two halves; zeros stay."""
    x = draw((*leading, *shape), dtype, device=device)
    x[1, ..., :2] = 0
    actual = complex_normalize(x)
    assert (actual.dtype, actual.shape) == (dtype, x.shape)
    z = widen(x) if dtype.is_complex else torch.complex(widen(x)[..., ::2], widen(x)[..., 1::2])
    expected = torch.where(z == 0, z, z / z.abs())
    expected = expected if dtype.is_complex else torch.stack([expected.real, expected.imag], dim=-1).flatten(-2)
    tolerance = 4 * torch.finfo(dtype).eps  # two squares, a root, a quotient
    torch.testing.assert_close(widen(actual), expected, rtol=tolerance, atol=tolerance)
    assert not actual[1, ..., :2].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each(("eps", "divisor"), [(None, 2**-23), (1e-3, 1e-3)])
def test_complex_normalize_divides_by_no_less_than_eps(eps: float | None, divisor: float, dtype: torch.dtype) -> None:
    """An entry of modulus 5e-9 is divided by eps, the rounding of float32 unless said otherwise."""
    x = torch.tensor([[3e-9, 4e-9]])
    actual = complex_normalize(torch.view_as_complex(x) if dtype.is_complex else x, eps=eps)
    actual = torch.view_as_real(actual) if dtype.is_complex else actual
    torch.testing.assert_close(actual, x / divisor, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [(2, 3), (2, 4, 1), ()], ids=str)
def test_complex_normalize_refuses_a_table_without_pairs(size: tuple[int, ...]) -> None:
    """An odd last axis, or no axis beside the rows, holds no pairs: ValueError with the shape."""
    with pytest.raises(ValueError, match=r"holds no \(re, im\) pairs"):
        complex_normalize(torch.ones(size))


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.25), (0.1, None), (None, -0.1), (0.3, 0.3)], ids=str)
def test_clamp_limits_entries(low: float | None, high: float | None, device: str) -> None:
    """Each entry is min(max(x, low), high) by itself, with one bound or both, equal ones too."""
    x = draw((5, 2, 3), torch.float64, device=device)
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    assert clamp(x, min=low, max=high).flatten().tolist() == [min(max(v, least), most) for v in x.flatten().tolist()]


@pytest.mark.parametrize(
    ("kwargs", "dtype", "message"),
    [
        ({}, torch.float32, "needs min, max or both"),
        ({"min": 1.0, "max": -1.0}, torch.float32, "min=1.0 is above max=-1.0"),
        ({"min": 0.0}, torch.complex64, "no order"),
    ],
    ids=["no bound", "crossed", "complex"],
)
def test_clamp_refuses(kwargs: dict[str, float], dtype: torch.dtype, message: str) -> None:
    """No bound, crossed bounds, and entries without an order are a ValueError that says which."""
    with pytest.raises(ValueError, match=message):
        clamp(torch.ones(2, 2, dtype=dtype), **kwargs)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("normalize", {}),
        ("normalize", {"p": 1}),
        ("normalize", {"p": 3}),
        ("clamp_norm", {"maxnorm": 2.0}),
        ("clamp_norm", {"maxnorm": 2.0, "p": 3}),
        ("complex_normalize", {}),
    ],
    ids=str,
)
@for_each("dtype", [torch.float64, torch.complex128])
def test_constrainer_has_the_gradient_of_its_values(name: str, kwargs: dict[str, Any], dtype: torch.dtype) -> None:
    """Finite differences agree, for rows of two axes, above and below maxnorm."""
    x = draw((3, 2, 2), dtype) * torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).view(3, 1, 1)
    assert torch.autograd.gradcheck(lambda rows: CONSTRAINERS[name](rows, **kwargs), x.requires_grad_())


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("normalize", None, [[0.6, 0.8]]),
        ("normalize_", {"p": math.inf}, [[0.75, 1.0]]),
        ("complex_normalize", {}, [[0.6, 0.8]]),
        ("clamp_", {"min": 3.5}, [[3.5, 4.0]]),
        ("clamp_norm", {"maxnorm": 2.5}, [[1.5, 2.0]]),
        ("ClampNorm", {"maxnorm": 2.5}, [[1.5, 2.0]]),
    ],
    ids=str,
)
def test_row_function_finds_a_name_and_binds_arguments(
    name: str, kwargs: dict[str, Any] | None, expected: list[list[float]]
) -> None:
    """(3, 4) becomes what the named function with these arguments makes of it; case and underscores are no matter."""
    function = row_function(name, kwargs, axes=1)
    assert function is not None
    torch.testing.assert_close(function(torch.tensor([[3.0, 4.0]])), torch.tensor(expected))


@pytest.mark.parametrize("name", ["nope", "", "softmax"])
def test_row_function_refuses_an_unknown_name(name: str) -> None:
    """A ValueError says the name and lists those that there are."""
    with pytest.raises(ValueError, match="normalize, complex_normalize, clamp, clamp_norm") as refused:
        row_function(name, None, axes=1)
    assert repr(name) in str(refused.value)


@pytest.mark.parametrize(
    ("given", "kwargs"),
    [
        ("normalize", {"maxnorm": 1.0}),
        ("complex_normalize", {"p": 2}),
        ("clamp", {"minimum": 0.0}),
        ("clamp_norm", {}),
        ("clamp_norm", {"max_norm": 1.0}),
        (clamp_norm, {"p": 2}),
    ],
    ids=["normalize", "complex_normalize", "clamp", "clamp_norm lacks", "clamp_norm", "function lacks"],
)
def test_row_function_refuses_wrong_arguments_at_once(given: str | Callable[..., Tensor], kwargs: Any) -> None:
    """An argument that is not taken, or one that is missing, is a TypeError before there is any row."""
    with pytest.raises(TypeError, match="argument"):
        row_function(given, kwargs, axes=1)


def test_row_function_takes_other_functions() -> None:
    """None stays None; a function of one's own gets its arguments and no others, no `dim` put in for it."""
    assert row_function(None, {}, axes=1) is None
    with pytest.raises(ValueError, match="arguments without a function"):
        row_function(None, {"p": 2}, axes=1)
    scaled = row_function(lambda rows, factor: rows * factor, {"factor": 3.0}, axes=2)
    assert scaled is not None
    assert scaled(torch.tensor([1.0, 2.0])).tolist() == [3, 6]
    plain = row_function(torch.neg, None, axes=1)
    assert plain is not None
    assert plain(torch.tensor([1.0])).tolist() == [-1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_norms_of_half_precision_do_not_overflow(dtype: torch.dtype) -> None:
    """300 entries of 300 have an L1 norm of 90000, beyond float16: rows become 1/300 each, and are clamped to 1."""
    x = torch.full((1, 300), 300.0, dtype=dtype)
    for actual in (normalize(x, p=1.0), clamp_norm(x, maxnorm=1.0, p=1.0)):
        assert actual.dtype == dtype
        torch.testing.assert_close(actual.float(), torch.full((1, 300), 1 / 300), rtol=1e-2, atol=0)


def test_clamp_norm_takes_frobenius_and_infinity() -> None:
    """PyKEEN's p="fro" is the Euclidean norm; a maxnorm of infinity changes nothing and has a gradient of ones."""
    x = torch.tensor([[3.0, 4.0]], requires_grad=True)
    torch.testing.assert_close(clamp_norm(x, maxnorm=1.0, p="fro"), x / 5)
    (gradient,) = torch.autograd.grad(clamp_norm(x, maxnorm=float("inf")).sum(), x)
    assert gradient.tolist() == [[1, 1]]


@pytest.mark.parametrize("shape", [(5,), (2, 3), ()], ids=str)
@for_each("lead", [(4,), (2, 3)])
def test_softmax_runs_over_each_row(shape: tuple[int, ...], lead: tuple[int, ...]) -> None:
    """Rows of several axes are one distribution each, for ids of one axis and of two; large entries do not overflow."""
    x = torch.randn(*lead, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 500
    function = row_function("Softmax", None, axes=len(shape), functions=NORMALIZERS)
    assert function is not None
    flat = x.reshape(*lead, -1)
    powers = (flat - flat.amax(dim=-1, keepdim=True)).exp()
    torch.testing.assert_close(function(x), (powers / powers.sum(dim=-1, keepdim=True)).view(x.shape))


def test_softmax_refuses_complex_rows() -> None:
    """There is no order and no distribution of them."""
    with pytest.raises(ValueError, match="no softmax"):
        softmax(torch.ones(2, 3, dtype=torch.complex64))
