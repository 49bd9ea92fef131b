"""Initializers: draws of the law that the name promises, rows of unit norm, values given, whatever the dtype."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from embcompress.nn import INITIALIZERS
from embcompress.nn.initializers import as_given, fill, initializer_by_name, make_initializer, normal
from tests.cases import for_each

ROWS = 100_000
SIGMAS = 5  # standard errors allowed: one draw in a million exceeds them, and the seeds are fixed
ROW_SHAPES = [(4,), (2, 3), (3, 2)]  # vectors, matrices, and three complex numbers as the pairs that are stored
UNIFORM, NORMAL = "uniform", "normal"

# name, arguments, law, mean and variance of an entry, given the entries of a row
LAWS: list[tuple[str, dict[str, float], str, Any]] = [
    ("xavier_uniform", {}, UNIFORM, lambda f: (0, 2 / f)),  # a = sqrt(6 / f), and the variance of U(-a, a) is a^2 / 3
    ("xavier_uniform", {"gain": 3.0}, UNIFORM, lambda f: (0, 18 / f)),
    ("xavier_normal", {}, NORMAL, lambda f: (0, 2 / f)),
    ("xavier_normal", {"gain": 3.0}, NORMAL, lambda f: (0, 18 / f)),
    ("normal", {}, NORMAL, lambda _: (0, 1)),
    ("normal", {"mean": -3.0, "std": 0.5}, NORMAL, lambda _: (-3, 0.25)),
    ("uniform", {}, UNIFORM, lambda _: (1 / 2, 1 / 12)),
    ("uniform", {"a": -1.0, "b": 5.0}, UNIFORM, lambda _: (2, 3)),
]
# name, its arguments, the name of the draw, its arguments, the order of the norm
UNIT_ROWS: list[tuple[str, dict[str, float], str, dict[str, float], float]] = [
    ("xavier_uniform_norm", {}, "xavier_uniform", {}, 2),
    ("xavier_normal_norm", {}, "xavier_normal", {}, 2),
    ("normal_norm", {}, "normal", {}, 2),
    ("normal_norm", {"mean": 1.0, "std": 0.25}, "normal", {"mean": 1.0, "std": 0.25}, 2),
    ("uniform_norm", {}, "uniform", {}, 2),
    ("uniform_norm", {"a": -1.0, "b": 3.0, "p": 1.0}, "uniform", {"a": -1.0, "b": 3.0}, 1),
    ("uniform_norm_p1", {}, "uniform", {}, 1),
]
NO_DRAW = {"pretrained"}
FOURS = {"init_quaternions"}  # of tables whose last axis has four numbers
DRAWN = sorted(set(INITIALIZERS) - NO_DRAW - FOURS)


def start(
    name: str,
    kwargs: Mapping[str, Any] | None = None,
    *,
    shape: tuple[int, ...] = (4,),
    rows: int = ROWS,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    seed: int = 5,
) -> Tensor:
    """Fill a table of NaN, (rows, *shape), by an initializer with a seeded generator."""
    table = torch.full((rows, *shape), math.nan, dtype=dtype, device=device)
    fill(table, name, kwargs or {}, generator=Generator(device).manual_seed(seed))
    return table


def standard_moment(law: str, order: int) -> float:
    """Tell E z^order of a law of mean 0 and variance 1: (order - 1)!! if normal, 3^(order/2) / (order + 1) if not."""
    if order % 2:
        return 0.0
    return 3 ** (order / 2) / (order + 1) if law == UNIFORM else math.prod(range(order - 1, 0, -2))


def row_norm(table: Tensor, p: float) -> Tensor:
    """Compute sum(|x|^p)^(1/p) of each row, over all its axes, in float64."""
    return table.double().flatten(1).abs().pow(p).sum(dim=1).pow(1 / p)


def test_initializers_are_all_tested() -> None:
    """Each name of INITIALIZERS is in a list above, or in a test of its own."""
    assert {name for name, *_ in [*LAWS, *UNIT_ROWS]} | NO_DRAW | FOURS | {"init_phases"} == set(INITIALIZERS)


@pytest.mark.parametrize(("name", "kwargs", "law", "moments"), LAWS, ids=[f"{law[0]} {law[1]}" for law in LAWS])
@for_each("shape", ROW_SHAPES)
def test_initializer_draws_from_its_law(
    name: str, kwargs: dict[str, float], law: str, moments: Any, shape: tuple[int, ...], device: str
) -> None:
    """The first four moments are those of the law, within five standard errors; uniform draws reach their bounds."""
    table = start(name, kwargs, shape=shape, device=device).double()
    mean, variance = moments(math.prod(shape))
    z = (table - mean) / math.sqrt(variance)
    for order in range(1, 5):
        expected = standard_moment(law, order)
        error = math.sqrt((standard_moment(law, 2 * order) - expected**2) / z.numel())
        assert float(z.pow(order).mean()) == pytest.approx(expected, abs=SIGMAS * error)
    # rows and entries are independent: products with the next row, and with the next entry, average to zero
    for product in (z[1:] * z[:-1], z.flatten(1)[:, 1:] * z.flatten(1)[:, :-1]):
        assert abs(float(product.mean())) < SIGMAS / math.sqrt(product.numel())
    if law == UNIFORM:  # outside the bounds nothing; each gap to a bound is exponential, mean 2 sqrt(3) / draws
        for gap in (math.sqrt(3) - float(z.max()), float(z.min()) + math.sqrt(3)):
            assert -1e-6 < gap < 20 * 2 * math.sqrt(3) / z.numel() + 1e-6  # 1e-6: the rounding of float32


@pytest.mark.parametrize(("name", "kwargs", "drawn", "drawn_kwargs", "p"), UNIT_ROWS, ids=str)
@for_each("shape", ROW_SHAPES)
def test_initializer_scales_draws_to_unit_rows(
    name: str,
    kwargs: dict[str, float],
    drawn: str,
    drawn_kwargs: dict[str, float],
    p: float,
    shape: tuple[int, ...],
    device: str,
) -> None:
    """Rows are those of the plain draw over their norm, which runs over all axes of a row, pairs included."""
    table = start(name, kwargs, shape=shape, device=device)
    draw = start(drawn, drawn_kwargs, shape=shape, device=device).double()
    expected = draw / row_norm(draw, p).view(-1, *[1] * len(shape))
    tolerance = (math.prod(shape) + 4) * torch.finfo(torch.float32).eps  # a rounding per summand, and the division's
    torch.testing.assert_close(table.double(), expected, rtol=tolerance, atol=0)
    assert float((row_norm(table, p) - 1).abs().max()) < tolerance


@pytest.mark.parametrize("shape", [(6,), (2, 4), (3, 2)], ids=str)
def test_init_phases_draws_uniform_phases(shape: tuple[int, ...], device: str) -> None:
    """Pairs of the last axis have modulus 1, and E exp(i k phi) = 0, as of uniform and independent phases."""
    table = start("init_phases", shape=shape, device=device).double()
    z = torch.view_as_complex(table.view(ROWS, -1, 2))  # (rows, complex entries)
    assert float((z.abs() - 1).abs().max()) < 4 * torch.finfo(torch.float32).eps
    angles = [z, z.pow(2), z.pow(3), z[1:] * z[:-1].conj(), z[:, 1:] * z[:, :-1].conj()]
    for phasor in map(torch.view_as_real, angles):
        error = math.sqrt(1 / phasor.numel())  # of each part: its variance is 1/2, the numbers are numel / 2
        assert float(phasor.flatten(0, -2).mean(dim=0).abs().max()) < SIGMAS * error


@pytest.mark.parametrize("shape", [(3,), (4, 1)], ids=str)
def test_init_phases_refuses_an_odd_last_axis(shape: tuple[int, ...]) -> None:
    """Three reals are no pairs."""
    with pytest.raises(ValueError, match="holds no"):
        start("init_phases", shape=shape, rows=2)


@for_each("rows", [1, 7, ROWS])
def test_init_quaternions_draws_moduli_and_axes(rows: int, device: str) -> None:
    """Moduli are U(0, s) with s = (2 rows)^-1/2, phases independent of them, and an axis has parts of one sign."""
    table = start("init_quaternions", shape=(ROWS // rows, 4), rows=rows, device=device).double()
    scale = (2 * rows) ** -0.5
    modulus = torch.linalg.vector_norm(table, dim=-1).flatten() / scale  # U(0, 1): mean 1/2, variance 1/12
    assert float(modulus.max()) <= 1 + 1e-6
    assert float(modulus.mean()) == pytest.approx(1 / 2, abs=SIGMAS * math.sqrt(1 / 12 / len(modulus)))
    squares = (table[..., 0] / scale).square().flatten()  # m^2 cos^2: mean 1/6, mean of squares 1/5 * 3/8
    deviation = math.sqrt((3 / 40 - 1 / 36) / len(squares))
    assert float(squares.mean()) == pytest.approx(1 / 6, abs=SIGMAS * deviation)
    signs = table[..., 1:].sign()
    assert bool((signs == signs[..., :1]).all())


@pytest.mark.parametrize("shape", [(3,), (2, 8), (4, 1)], ids=str)
def test_init_quaternions_refuses_another_last_axis(shape: tuple[int, ...]) -> None:
    """Quaternions are four numbers."""
    with pytest.raises(ValueError, match="four numbers"):
        start("init_quaternions", shape=shape, rows=2)


@for_each("name", sorted(set(INITIALIZERS) - NO_DRAW))
def test_initializer_fills_a_parameter(name: str) -> None:
    """A parameter that trains gets the numbers that a tensor gets, and no graph, as from torch.nn.init."""
    parameter = nn.Parameter(torch.full((8, 2, 4), math.nan))
    assert INITIALIZERS[name](parameter, generator=Generator().manual_seed(5)) is parameter
    assert parameter.grad_fn is None
    assert torch.equal(parameter.detach(), start(name, shape=(2, 4), rows=8))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("XavierUniformNorm", "xavier_uniform_norm"),
        ("xavier-normal_", "xavier_normal"),
        ("InitPhases", "init_phases"),
        ("KaimingUniform", "kaiming_uniform_"),
    ],
)
def test_initializer_is_found_in_any_spelling(name: str, function: str) -> None:
    """Neither case nor separators matter, as in PyKEEN's resolver."""
    expected = INITIALIZERS.get(function) or getattr(torch.nn.init, function)
    assert initializer_by_name(name) is expected


class Ramp:
    """An initializer that is a class, with an argument."""

    def __init__(self, step: float) -> None:
        self.step = step

    def __call__(self, x: Tensor) -> Tensor:
        """Count in steps."""
        return torch.arange(x.numel()).view(x.shape) * self.step


def test_make_initializer_makes_a_class() -> None:
    """The arguments go to the class, and what it makes fills the table."""
    function, kwargs = make_initializer(Ramp, {"step": 2.0})
    table = torch.full((2, 2), math.nan)
    fill(table, function, kwargs)
    assert table.tolist() == [[0, 2], [4, 6]]


@pytest.mark.pykeen
def test_make_initializer_makes_a_class_of_pykeen_by_name() -> None:
    """Its values fill the table; a name that ends so and that PyKEEN lacks is refused with those that it has."""
    pytest.importorskip("pykeen", reason="PyKEEN is not installed: pip install -e '.[pykeen]'")
    values = torch.arange(6.0).view(2, 3)
    function, kwargs = make_initializer("PretrainedInitializer", {"tensor": values})
    table = torch.full((2, 3), math.nan)
    fill(table, function, kwargs)
    assert torch.equal(table, values)
    with pytest.raises(ValueError, match=r"'NoInitializer'; PyKEEN's classes are .*WeisfeilerLehmanInitializer"):
        make_initializer("NoInitializer", None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@for_each("shape", [(4,), (2, 3)])
def test_pretrained_copies_values(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    """Values of another dtype are cast, transposed ones and ones with a gradient are read; the table is no alias."""
    values = torch.randn(*reversed(shape), 7, dtype=torch.float64, generator=Generator().manual_seed(1))
    values = values.permute(*reversed(range(values.ndim))).requires_grad_()  # (7, *shape), not contiguous
    copy = values.detach().clone()
    table = torch.full((7, *shape), math.nan, dtype=dtype, device=device)
    assert INITIALIZERS["pretrained"](table, tensor=values) is table
    assert torch.equal(table.cpu(), copy.to(dtype))
    table.zero_()
    assert torch.equal(values, copy)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@for_each("is_conjugate", [False, True])
def test_pretrained_copies_complex_values_as_pairs(dtype: torch.dtype, is_conjugate: bool) -> None:
    """A complex entry fills (re, im); the sign of a conjugate that torch has only noted is not lost."""
    values = torch.complex(torch.arange(6.0), torch.arange(10.0, 16.0)).to(dtype).view(3, 2)
    values = values.conj() if is_conjugate else values
    table = torch.full((3, 2, 2), math.nan)
    fill(table, "pretrained", {"tensor": values})
    sign = -1.0 if is_conjugate else 1.0
    assert table.flatten(0, 1).tolist() == [[float(k), sign * (10 + k)] for k in range(6)]


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ((4,), torch.ones(1, 4)),
        ((4,), torch.ones(4)),
        ((4,), torch.ones(6, 4)),
        ((2, 3), torch.ones(5, 6)),
        ((4,), torch.ones(5, 2, dtype=torch.complex64)),
        ((2, 2), torch.ones(5, 2)),
    ],
    ids=["one row", "no rows", "rows", "flat", "complex for real", "real for complex"],
)
def test_pretrained_refuses_another_shape(shape: tuple[int, ...], values: Tensor) -> None:
    """What would broadcast, and what merely has as many numbers, is a ValueError, and the table stays as it was."""
    table = torch.zeros(5, *shape)
    with pytest.raises(ValueError, match="the table has shape"):
        fill(table, "pretrained", {"tensor": values})
    assert not table.any()


def test_as_given_leaves_the_table_to_the_bit() -> None:
    """No entry changes, NaN and the sign of zero included, and nothing is drawn."""
    table = torch.tensor([[1.5, -0.0], [math.nan, math.inf]])
    before, state = table.clone(), torch.get_rng_state()
    fill(table, as_given, {})
    assert torch.equal(table.view(torch.int32), before.view(torch.int32))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["zeros", "ones_", "trunc_normal", "orthogonal_", "kaiming_uniform", "constant"])
def test_torch_initializer_is_found_by_name(name: str) -> None:
    """With an underscore and without, the table is what torch.nn.init makes of it, on the same seed."""
    kwargs = {"val": 2.5} if name == "constant" else {}
    expected = torch.empty(50, 8)
    torch.manual_seed(3)
    getattr(torch.nn.init, f"{name.rstrip('_')}_")(expected, **kwargs)
    for spelled in (name.rstrip("_"), f"{name.rstrip('_')}_"):
        table = torch.full((50, 8), math.nan)
        torch.manual_seed(3)
        fill(table, spelled, kwargs)
        assert torch.equal(table, expected)


def test_torch_initializer_takes_the_generator() -> None:
    """Orthogonal tables have orthonormal columns, truncated normals stay within their bounds, by the given seed."""
    table = start("orthogonal", rows=200, shape=(8,), dtype=torch.float64)
    torch.testing.assert_close(table.T @ table, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-14)
    assert torch.equal(table, start("orthogonal_", rows=200, shape=(8,), dtype=torch.float64))
    truncated = start("trunc_normal", {"a": -0.5, "b": 0.5}, rows=2000)
    assert 0.49 < float(truncated.abs().max()) <= 0.5
    assert torch.equal(truncated, start("trunc_normal_", {"a": -0.5, "b": 0.5}, rows=2000))


@pytest.mark.parametrize("name", ["xavier_normal_", "xavier_uniform_", "normal_", "uniform_"])
def test_own_initializers_go_before_torch(name: str) -> None:
    """A name that torch has too is ours, whose xavier takes the row for fan-in: the number of rows has no effect."""
    assert initializer_by_name(name) is INITIALIZERS[name.rstrip("_")]


@pytest.mark.parametrize("name", ["nope", "", "_", "calculate_gain", "no_grad_normal", "_no_grad_normal_", "torch"])
def test_unknown_initializer_is_refused_by_name(name: str) -> None:
    """A ValueError says the name and lists ours; what torch.nn.init has beside initializers is none."""
    with pytest.raises(ValueError, match=r"xavier_uniform_norm.*and torch.nn.init's") as refused:
        initializer_by_name(name)
    assert repr(name) in str(refused.value)


@pytest.mark.parametrize("name", [*DRAWN, "trunc_normal", "orthogonal"])
def test_generator_alone_decides_the_draw(name: str, device: str) -> None:
    """The same seed repeats a draw whatever the global one, which stays where it was; another seed gives another."""
    torch.manual_seed(0)
    first = start(name, rows=20, seed=1, device=device)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, start(name, rows=20, seed=1, device=device))
    assert not torch.isclose(first, start(name, rows=20, seed=2, device=device)).all()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", DRAWN)
def test_global_seed_decides_a_draw_without_generator(name: str) -> None:
    """With no generator, torch.manual_seed repeats the draw, and the next draw is another one."""
    tables = [torch.empty(20, 4) for _ in range(3)]
    for seed, table in zip([7, 7, None], tables, strict=True):
        if seed is not None:
            torch.manual_seed(seed)
        fill(table, name, {})
    assert torch.equal(tables[0], tables[1])
    assert not torch.isclose(tables[1], tables[2]).all()


@pytest.mark.parametrize("name", DRAWN)
def test_initializer_works_in_place(name: str) -> None:
    """Called by itself it fills the very memory it is given, here some rows of a table, and returns it."""
    table = torch.full((70, 2, 4), math.nan)
    view = table[10:60]
    assert INITIALIZERS[name](view, generator=Generator().manual_seed(5)) is view
    assert torch.equal(view, start(name, shape=(2, 4), rows=50))
    assert table[:10].isnan().all()
    assert table[60:].isnan().all()


@pytest.mark.parametrize("name", DRAWN)
@for_each("dtype", [torch.float16, torch.bfloat16])
def test_initializer_draws_in_half_precision(name: str, dtype: torch.dtype) -> None:
    """Mean and mean square are the float64 draw's, but for the rounding of the dtype and the errors of two samples."""
    table = start(name, shape=(2, 4), dtype=dtype).double()
    exact = start(name, shape=(2, 4), dtype=torch.float64, seed=6)
    for order in (1, 2):
        moment = exact.pow(order)
        error = SIGMAS * math.sqrt(2 * float(moment.var()) / moment.numel())
        rounding = 2 * torch.finfo(dtype).eps * float(moment.abs().mean())
        assert float(table.pow(order).mean()) == pytest.approx(float(moment.mean()), abs=error + rounding)
    p = {"uniform_norm_p1": 1}.get(name, 2 if name.endswith("_norm") else None)
    if p is not None:  # the norm and each entry are rounded by half an eps
        assert float((row_norm(table, p) - 1).abs().max()) < 1.5 * torch.finfo(dtype).eps
    if name == "init_phases":
        moduli = torch.view_as_complex(table.view(ROWS, -1, 2)).abs()
        assert float((moduli - 1).abs().max()) < torch.finfo(dtype).eps


def test_fill_takes_a_function_that_returns_a_new_table() -> None:
    """What a function returns is copied into the table, and its arguments reach it; a view of the table is no harm."""
    table = torch.arange(6.0).view(3, 2)
    fill(table, lambda x, shift: x.flip(0) + shift, {"shift": 10.0})
    assert table.tolist() == [[14, 15], [12, 13], [10, 11]]
    fill(table, torch.Tensor.neg_, {})
    assert table.tolist() == [[-14, -15], [-12, -13], [-10, -11]]


@pytest.mark.parametrize("is_view", [False, True], ids=["new", "view of the table"])
def test_fill_takes_a_function_that_returns_complex_entries(is_view: bool) -> None:
    """Complex entries (rows, d) fill the pairs (rows, d, 2), whether newly made or a complex view of the table."""

    def roots(pairs: Tensor) -> Tensor:
        angles = torch.arange(8.0).view(4, 2) * (math.pi / 4)
        made = torch.polar(torch.full_like(angles, 2), angles)
        return torch.view_as_complex(pairs).copy_(made) if is_view else made

    table = torch.full((4, 2, 2), math.nan)
    fill(table, roots, {})
    expected = [[2 * math.cos(k * math.pi / 4), 2 * math.sin(k * math.pi / 4)] for k in range(8)]
    torch.testing.assert_close(table.flatten(0, 1), torch.tensor(expected), rtol=0, atol=1e-6)


def test_fill_fills_a_parameter_outside_the_gradient() -> None:
    """A leaf that requires a gradient is filled in place and stays a leaf, without history."""
    parameter = torch.nn.Parameter(torch.zeros(3, 2))
    fill(parameter, lambda x: x + 1, {})
    assert parameter.tolist() == [[1, 1]] * 3
    assert parameter.is_leaf


def test_fill_passes_the_generator_to_a_function_that_takes_one() -> None:
    """A function of one's own, or a partial one, draws from the generator given."""
    tables = [torch.empty(5, 3) for _ in range(2)]
    for table in tables:
        fill(table, partial(normal, std=2.0), {}, generator=Generator().manual_seed(8))
    expected = 2 * torch.empty(5, 3).normal_(generator=Generator().manual_seed(8))
    for table in tables:
        torch.testing.assert_close(table, expected)


@pytest.mark.parametrize(
    ("initializer", "named"),
    [("zeros", "zeros_"), ("ones_", "ones_"), (lambda x: x.zero_(), "<lambda>")],
    ids=["zeros", "ones_", "lambda"],
)
def test_fill_refuses_a_generator_that_is_not_taken(initializer: Any, named: str) -> None:
    """A generator that would have no effect is a TypeError that names the initializer, before the table is touched."""
    table = torch.full((2, 2), 7.0)
    with pytest.raises(TypeError, match=f"'{named}' takes no generator"):
        fill(table, initializer, {}, generator=Generator())
    assert table.tolist() == [[7, 7], [7, 7]]


def test_fill_takes_conjugated_values_and_refuses_other_shapes() -> None:
    """A lazily conjugated result is resolved; one of another shape is an error and is not broadcast."""
    table = torch.arange(12.0).view(3, 2, 2)
    expected = table * torch.tensor([1.0, -1.0])
    fill(table, lambda x: torch.view_as_complex(x).conj(), {})
    torch.testing.assert_close(table, expected)
    with pytest.raises(ValueError, match=r"shape \(4,\) of a table \(2, 4\)"):
        fill(torch.zeros(2, 4), lambda _: torch.ones(4), {})


def test_fill_refuses_a_generator_for_a_builtin() -> None:
    """A function of torch without a signature takes no generator: TypeError, not torch's own."""
    with pytest.raises(TypeError, match="takes no generator"):
        fill(torch.zeros(2, 4), torch.zeros_like, {}, generator=torch.Generator())
