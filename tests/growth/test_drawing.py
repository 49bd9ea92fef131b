"""Draws for ids: the law that the name promises, the same row for an id whatever else is drawn, and constraints."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from embcompress import nn
from embcompress.choices import CONSTRAINERS, FITTED, INITIALIZERS, METHODS, Choice
from embcompress.exceptions import UsageError
from embcompress.growth.drawing import DRAWN_IDS, Fitted, RowDraw, bind_constrainer
from embcompress.linalg.moments import RowMoments
from tests.cases import for_each

ROWS = 100_000
SIGMAS = 5  # standard errors allowed: one draw in a million exceeds them, and the seeds are fixed
ROW_SHAPES = [(4,), (2, 3), (3, 2)]  # vectors, matrices, and three complex numbers as the pairs that are stored
SINGLE = torch.finfo(torch.float32).eps


def draw_for(
    method: str,
    *,
    shape: tuple[int, ...] = (4,),
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    name: str = "entities.weight",
    fitted: Fitted | None = None,
) -> RowDraw:
    """Make a draw from what would be typed behind --method."""
    choice = Choice.parse(method, METHODS, option="--method")
    return RowDraw(choice, shape=shape, dtype=dtype, seed=seed, name=name, fitted=fitted)


def fit(rows: Tensor) -> Fitted:
    """Fit to rows (count, dim) as a workflow does."""
    seen = RowMoments(rows.shape[1], rows=len(rows))
    seen.add(rows)
    return Fitted(seen.mean, seen.factor())


def correlated(rows: int, dim: int, *, seed: int = 0) -> Tensor:
    """Draw rows around an offset whose columns are correlated."""
    generator = Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, dtype=torch.float64, generator=generator)
    return torch.randn(rows, dim, dtype=torch.float64, generator=generator) @ mix + torch.arange(1.0, dim + 1)


def fitted_for(method: str, shape: tuple[int, ...]) -> Fitted | None:
    """Fit to some rows where the method needs that."""
    return fit(correlated(50, math.prod(shape), seed=3)) if method in FITTED else None


def test_methods_are_all_tested() -> None:
    """Each method is in one of the lists of this file, or fitted, which have tests of their own."""
    drawn = {name for name, *_ in [*LAWS, *UNIT_ROWS]} | {"init_phases"}
    assert drawn | set(FITTED) == set(METHODS)
    assert drawn == set(INITIALIZERS) - {"pretrained", "init_quaternions"}


UNIFORM, NORMAL = "uniform", "normal"
# what is typed, the law of its entries, their mean and variance given the entries of a row
LAWS: list[tuple[str, str, str, Callable[[int], tuple[float, float]]]] = [
    ("xavier_uniform", "", UNIFORM, lambda f: (0, 2 / f)),  # a = sqrt(6 / f), and the variance of U(-a, a) is a^2 / 3
    ("xavier_uniform", ":gain=3", UNIFORM, lambda f: (0, 18 / f)),
    ("xavier_normal", "", NORMAL, lambda f: (0, 2 / f)),
    ("xavier_normal", ":gain=0.5", NORMAL, lambda f: (0, 0.5 / f)),
    ("normal", "", NORMAL, lambda _: (0, 1)),
    ("normal", ":mean=-3,std=0.5", NORMAL, lambda _: (-3, 0.25)),
    ("uniform", "", UNIFORM, lambda _: (1 / 2, 1 / 12)),
    ("uniform", ":a=-1,b=1", UNIFORM, lambda _: (0, 1 / 3)),
]
# what is typed, the plain draw, lowest and width of a uniform or None for a normal one, the order of the norm
UNIT_ROWS: list[tuple[str, str, tuple[float, float] | None, float]] = [
    ("xavier_uniform_norm", "", (-1, 2), 2),
    ("xavier_normal_norm", "", None, 2),
    ("normal_norm", "", None, 2),
    ("uniform_norm", "", (0, 1), 2),
    ("uniform_norm", ":a=-1,b=3,p=1", (-1, 4), 1),
    ("uniform_norm_p1", "", (0, 1), 1),
]


def standard_moment(law: str, order: int) -> float:
    """Tell E z^order of a law of mean 0 and variance 1: (order - 1)!! if normal, 3^(order/2) / (order + 1) if not."""
    if order % 2:
        return 0.0
    return 3 ** (order / 2) / (order + 1) if law == UNIFORM else math.prod(range(order - 1, 0, -2))


@pytest.mark.parametrize(("name", "arguments", "law", "moments"), LAWS, ids=[law[0] + law[1] for law in LAWS])
@for_each("shape", ROW_SHAPES)
def test_draw_follows_its_law(
    name: str, arguments: str, law: str, moments: Callable[[int], tuple[float, float]], shape: tuple[int, ...]
) -> None:
    """The first four moments of 10^5 rows are those of the law within five standard errors, and so are the bounds.

    Rows one id, one group of ids, and one entry apart are independent: their products average to zero.
    """
    rows = draw_for(name + arguments, shape=shape)(torch.arange(ROWS))
    assert (rows.shape, rows.dtype) == ((ROWS, *shape), torch.float32)
    mean, variance = moments(math.prod(shape))
    z = (rows.double() - mean) / math.sqrt(variance)
    for order in range(1, 5):
        expected = standard_moment(law, order)
        error = math.sqrt((standard_moment(law, 2 * order) - expected**2) / z.numel())
        assert float(z.pow(order).mean()) == pytest.approx(expected, abs=SIGMAS * error)
    flat = z.flatten(1)
    for product in (z[1:] * z[:-1], z[DRAWN_IDS:] * z[:-DRAWN_IDS], flat[:, 1:] * flat[:, :-1]):
        assert abs(float(product.mean())) < SIGMAS / math.sqrt(product.numel())
    if law == UNIFORM:  # outside the bounds nothing; each gap to a bound is exponential, mean 2 sqrt(3) / draws
        for gap in (math.sqrt(3) - float(z.max()), float(z.min()) + math.sqrt(3)):
            assert -1e-6 < gap < 20 * 2 * math.sqrt(3) / z.numel() + 1e-6  # 1e-6: the rounding of float32


@pytest.mark.parametrize(("name", "arguments", "bounds", "p"), UNIT_ROWS, ids=[law[0] + law[1] for law in UNIT_ROWS])
@for_each("shape", ROW_SHAPES)
def test_draw_has_rows_of_unit_norm(
    name: str, arguments: str, bounds: tuple[float, float] | None, p: float, shape: tuple[int, ...]
) -> None:
    """Each row has norm 1 over all its axes, and its entries have the moments of rows drawn and scaled in float64."""
    f = math.prod(shape)
    rows = draw_for(name + arguments, shape=shape)(torch.arange(ROWS)).double().flatten(1)
    norms = rows.abs().pow(p).sum(dim=1).pow(1 / p)
    assert float((norms - 1).abs().max()) < (f + 4) * SINGLE
    generator = Generator().manual_seed(99)
    plain = torch.randn(ROWS, f, dtype=torch.float64, generator=generator)
    if bounds is not None:
        plain = torch.rand(ROWS, f, dtype=torch.float64, generator=generator) * bounds[1] + bounds[0]
    oracle = plain / plain.abs().pow(p).sum(dim=1).pow(1 / p)[:, None]
    for order in range(1, 5):
        expected, seen = oracle.pow(order), rows.pow(order)
        error = math.sqrt(
            float(expected.var() + seen.var()) * f / rows.numel()
        )  # entries of a row depend on each other
        assert float(seen.mean()) == pytest.approx(float(expected.mean()), abs=SIGMAS * error)


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 2)], ids=str)
def test_draw_of_phases_is_uniform_on_the_circle(shape: tuple[int, ...]) -> None:
    """Pairs are cosine and sine of phases from U(0, 2 pi): modulus 1, and every harmonic of the phase averages to 0."""
    rows = draw_for("init_phases", shape=shape)(torch.arange(ROWS)).double()
    pairs = torch.view_as_complex(rows.reshape(-1, 2))
    assert float((pairs.abs() - 1).abs().max()) < 4 * SINGLE
    for harmonic in (1, 2, 3):  # E exp(i k phi) = 0, each part of variance 1/2
        mean = pairs.pow(harmonic).mean()
        assert max(abs(float(mean.real)), abs(float(mean.imag))) < SIGMAS * math.sqrt(0.5 / len(pairs))
    angles = torch.angle(pairs) / (2 * math.pi) % 1
    assert float(angles.min()) < 20 / len(pairs)
    assert float(angles.max()) > 1 - 20 / len(pairs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@for_each("shape", ROW_SHAPES)
def test_zeros_and_mean_are_exact(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Every row of zeros is 0, and every row of mean is the fitted mean, rounded once to the dtype."""
    ids = torch.tensor([5, 2000, 1])
    assert torch.equal(draw_for("zeros", shape=shape, dtype=dtype)(ids), torch.zeros(3, *shape, dtype=dtype))
    mean = correlated(9, math.prod(shape)).mean(dim=0)
    rows = draw_for("mean", shape=shape, dtype=dtype, fitted=Fitted(mean))(ids)
    expected = mean.to(torch.float64 if dtype == torch.float64 else torch.float32).to(dtype)
    assert torch.equal(rows, expected.view(shape).expand(3, *shape))


@pytest.mark.parametrize("shape", ROW_SHAPES, ids=str)
def test_gaussian_has_mean_and_covariance_of_the_rows(shape: tuple[int, ...]) -> None:
    """10^5 draws have the base's mean and covariance within five standard errors, and normal third and fourth moments.

    The standard error of a sample covariance of n normal draws is sqrt((C_ii C_jj + C_ij^2) / n).
    """
    base = correlated(300, math.prod(shape))
    rows = draw_for("gaussian", shape=shape, fitted=fit(base))(torch.arange(ROWS)).double().flatten(1)
    mean, covariance = base.mean(dim=0), torch.cov(base.T)  # divided by n - 1
    spread = covariance.diagonal()
    assert bool(((rows.mean(dim=0) - mean).abs() < SIGMAS * (spread / ROWS).sqrt()).all())
    error = ((torch.outer(spread, spread) + covariance.square()) / ROWS).sqrt()
    assert bool(((torch.cov(rows.T) - covariance).abs() < SIGMAS * error).all())
    z = (rows - mean) / spread.sqrt()
    for order in (3, 4):
        expected = standard_moment(NORMAL, order)
        error_of_moment = math.sqrt((standard_moment(NORMAL, 2 * order) - expected**2) / ROWS)
        assert float((z.pow(order).mean(dim=0) - expected).abs().max()) < SIGMAS * error_of_moment


@pytest.mark.parametrize("count", [2, 5])
def test_gaussian_of_few_rows_stays_in_their_span(count: int) -> None:
    """From fewer rows than columns the draws have their covariance, and leave their affine span by rounding only."""
    base = correlated(count, 8)
    rows = draw_for("gaussian", shape=(8,), fitted=fit(base))(torch.arange(20_000)).double()
    mean, covariance = base.mean(dim=0), torch.cov(base.T)
    error = ((torch.outer(covariance.diagonal(), covariance.diagonal()) + covariance.square()) / len(rows)).sqrt()
    assert bool(((torch.cov(rows.T) - covariance).abs() < SIGMAS * error).all())
    span = torch.linalg.svd(base - mean, full_matrices=False).Vh[: count - 1]
    centered = rows - mean
    left = centered - centered @ span.T @ span
    scale = float(centered.abs().max() + mean.abs().max())
    assert float(left.abs().max()) < 8 * 4 * SINGLE * scale  # float32 products of 8 summands


def test_gaussian_of_one_row_repeats_it() -> None:
    """One row, and one row many times, have no spread: every draw is that row."""
    row = correlated(1, 6).float()
    rows = draw_for("gaussian", shape=(6,), fitted=fit(row))(torch.arange(50))
    assert torch.equal(rows, row.expand(50, -1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@for_each("method", ["normal", "uniform_norm", "init_phases", "gaussian", "mean", "zeros"])
def test_draw_for_an_id_does_not_depend_on_the_others(method: str, dtype: torch.dtype) -> None:
    """Any ids, in any order, one by one or all at once, from a new draw or a used one: the row of an id is the same."""
    fitted = fitted_for(method, (3, 2))
    ids = torch.randperm(5 * DRAWN_IDS, generator=Generator().manual_seed(1))[:300]
    ids = torch.cat([ids, torch.tensor([0, DRAWN_IDS - 1, DRAWN_IDS, 10**9, 2**40])])
    draw = draw_for(method, shape=(3, 2), dtype=dtype, fitted=fitted)
    expected = draw(ids)
    assert (expected.shape, expected.dtype) == ((305, 3, 2), dtype)
    order = torch.randperm(len(ids), generator=Generator().manual_seed(2))
    assert torch.equal(draw(ids[order]), expected[order])
    for part in (ids[:1], ids[100:107], ids[-2:]):
        again = draw_for(method, shape=(3, 2), dtype=dtype, fitted=fitted)
        assert torch.equal(again(part), expected[(ids[None] == part[:, None]).nonzero()[:, 1]])
    assert draw(ids[:0]).shape == (0, 3, 2)


def test_draw_for_a_block_of_ids_is_that_of_all() -> None:
    """Consecutive ids drawn in blocks of 7, 1000 and 5000 are those drawn at once."""
    expected = draw_for("normal")(torch.arange(5000))
    for block in (7, 1000, 5000):
        draw = draw_for("normal")
        assert torch.equal(torch.cat([draw(part) for part in torch.arange(5000).split(block)]), expected)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"zeros", "mean"}))
def test_seed_and_table_change_the_draw(method: str) -> None:
    """Another seed, and another table of the same seed, give rows of which none is equal; no two ids share one."""
    fitted = fitted_for(method, (4,))
    ids = torch.arange(3 * DRAWN_IDS)
    first = draw_for(method, fitted=fitted)(ids)
    assert len(first.unique(dim=0)) == len(ids)
    assert torch.equal(draw_for(method, fitted=fitted)(ids), first)
    others: list[dict[str, Any]] = [{"seed": 1}, {"seed": 2**63 - 1}, {"name": "relations.weight"}]
    for options in others:
        other = draw_for(method, fitted=fitted, **options)(ids)
        assert not bool((other == first).all(dim=1).any())


def test_seed_table_and_group_are_not_confused() -> None:
    """Seed 1 of a table "1/x" and seed 11 of a table "x" have nothing in common, however they are written together."""
    ids = torch.arange(20 * DRAWN_IDS)[::DRAWN_IDS]
    rows = [draw_for("normal", seed=seed, name=name)(ids) for seed, name in ((1, "1/x"), (11, "x"), (1, "x"))]
    assert len(torch.cat(rows).unique(dim=0)) == 3 * len(ids)


def test_half_precision_rounds_the_same_draw() -> None:
    """A table of float16 or bfloat16 gets the float32 draw, rounded once: norms of 1 were not computed in halves."""
    ids = torch.arange(100)
    single = draw_for("normal_norm", shape=(50,))(ids)
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(draw_for("normal_norm", shape=(50,), dtype=dtype)(ids), single.to(dtype))


def test_draw_leaves_the_global_generator_alone() -> None:
    """The generator of torch itself is after a draw where it was."""
    before = torch.get_rng_state()
    draw_for("normal")(torch.arange(10))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("normal", "normal", {}),
        ("zeros:", "zeros", {}),
        ("uniform:a=-1,b=1", "uniform", {"a": -1, "b": 1}),
        ("uniform_norm:p=1e0", "uniform_norm", {"p": 1}),
    ],
)
def test_choice_is_read_and_written(text: str, name: str, arguments: dict[str, float]) -> None:
    """NAME:key=number,... is read to a name and numbers, and its text reads to the same choice."""
    choice = Choice.parse(text, METHODS, option="--method")
    assert (choice.name, choice.arguments) == (name, arguments)
    assert Choice.parse(str(choice), METHODS, option="--method") == choice


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("gausian", "--method must be one of ", "Did you mean gaussian?"),
        ("unifrom:a=1", "got 'unifrom'", "Did you mean uniform?"),
        ("pretrained", "got 'pretrained'", ""),
        ("", "got ''", ""),
        ("Normal", "got 'Normal'", "Did you mean normal?"),
        ("uniform:a", "arguments are key=number, each once; got 'a'", ""),
        ("uniform:a=x,b=1", "got 'a=x'", ""),
        ("uniform:a=1;b=2", "got 'a=1;b=2'", ""),
    ],
)
def test_choice_refuses_what_is_no_method(text: str, message: str, hint: str) -> None:
    """A name that is none, and arguments that are no numbers, are wrong usage, with the name that was meant."""
    with pytest.raises(UsageError) as caught:
        Choice.parse(text, METHODS, option="--method")
    assert message in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uniform:c=1", "--method uniform takes a, b; got 'c'."),
        ("normal:mean=0,sd=1", "--method normal takes mean, std; got 'sd'."),
        ("init_phases:a=1", "--method init_phases takes no arguments; got 'a'."),
        ("normal:generator=1", "got 'generator'"),
        ("normal:x=1", "got 'x'"),
        ("zeros:a=1", "--method zeros takes no arguments; got 'a'."),
        ("gaussian:std=1", "--method gaussian takes no arguments; got 'std'."),
    ],
)
def test_draw_refuses_arguments_that_it_does_not_take(text: str, message: str) -> None:
    """An argument of another name is wrong usage, and the message lists those that there are."""
    with pytest.raises(UsageError) as caught:
        draw_for(text, fitted=fitted_for(text.partition(":")[0], (4,)))
    assert message in caught.value.message


def constrainer(text: str) -> Callable[[Tensor], Tensor]:
    """Bind what would be typed behind --constrainer."""
    return bind_constrainer(Choice.parse(text, CONSTRAINERS, option="--constrainer"))


def test_constrainers_do_what_they_say() -> None:
    """Rows 3-4-5 and smaller: each constrainer with its arguments does its formula; None leaves rows as they are."""
    rows = torch.tensor([[3.0, 4.0], [0.3, -0.4]])
    assert bind_constrainer(None)(rows) is rows
    for text, expected in {
        "normalize": [[0.6, 0.8], [0.6, -0.8]],
        "normalize:p=1": [[3 / 7, 4 / 7], [3 / 7, -4 / 7]],
        "complex_normalize": [[0.6, 0.8], [0.6, -0.8]],
        "clamp:max=1": [[1, 1], [0.3, -0.4]],
        "clamp:min=-0.1,max=3.5": [[3, 3.5], [0.3, -0.1]],
        "clamp_norm:maxnorm=1": [[0.6, 0.8], [0.3, -0.4]],
        "clamp_norm:maxnorm=0.7,p=1": [[0.3, 0.4], [0.3, -0.4]],
    }.items():
        torch.testing.assert_close(constrainer(text)(rows), torch.tensor(expected), rtol=4 * SINGLE, atol=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clamp", "clamp needs min, max or both"),
        ("clamp:min=1,max=0", "min=1.0 is above max=0.0"),
        ("clamp:low=1", "--constrainer clamp takes min, max; got 'low'."),
        ("clamp_norm", "maxnorm"),
        ("clamp_norm:maxnorm=0", "maxnorm must be above 0"),
        ("clamp_norm:maxnorm=-1", "maxnorm must be above 0"),
        ("normalize:dim=1", "--constrainer normalize takes p, eps; got 'dim'."),
        ("normalise", "--constrainer must be one of normalize, complex_normalize, clamp, clamp_norm; got 'normalise'."),
    ],
)
def test_constrainer_refuses_wrong_arguments(text: str, message: str) -> None:
    """Arguments that are missing, unknown or out of range are wrong usage before any row is made."""
    with pytest.raises(UsageError) as caught:
        constrainer(text)
    assert message in caught.value.message


def test_choices_are_the_functions() -> None:
    """What the command line offers by name is what the modules have, in the same order."""
    assert list(nn.INITIALIZERS) == list(INITIALIZERS)
    assert list(nn.CONSTRAINERS) == list(CONSTRAINERS)
