"""LowRankRepresentation.approximate: the optimum of Eckart and Young, from any table, into a module that trains."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from embcompress.exceptions import NonFiniteError, RankError, UsageError
from embcompress.nn import BackfillRepresentation, Embedding, LowRankRepresentation, Representation
from tests import fixtures
from tests.cases import for_each

draw = partial(fixtures.draw, dtype=torch.float64)

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# Rounding of what is stored, as a share of the norm: two factors with an error of at most eps/2 an entry each. In
# float64 the products themselves, of up to 300 terms, round no less than that.
ROUNDING = {dtype: torch.finfo(dtype).eps for dtype in FLOATS} | {torch.float64: 1e-14}
approximate = LowRankRepresentation.approximate


def as_matrix(rows: Tensor) -> Tensor:
    """View rows (count, *shape) as float64 (count, real entries of a row)."""
    rows = rows.detach()
    return (torch.view_as_real(rows.resolve_conj()) if rows.is_complex() else rows).double().flatten(1)


def relative_error(rows: Tensor, table: Tensor) -> float:
    """Measure |found - table| / |table| in float64."""
    return float((as_matrix(rows) - as_matrix(table)).norm() / as_matrix(table).norm())


def optimum(table: Tensor, rank: int) -> float:
    """Compute the least relative error of this rank: sqrt(sum of the dropped squared singular values) / norm."""
    squares = torch.linalg.svdvals(as_matrix(table)).square()
    return float((squares[rank:].sum() / squares.sum()).sqrt())


def assert_optimal(actual: Tensor, table: Tensor, rank: int, *, rounding: float) -> None:
    """Compare with the optimum: squared errors of approximation and of rounding add up; none is below the optimum."""
    best = optimum(table, rank)
    error = relative_error(actual, table)
    assert error <= (best**2 + rounding**2) ** 0.5 * (1 + 1e-6)
    assert error >= best * (1 - 1e-6) - rounding


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@for_each("shape", [(32,), (4, 8)])
def test_approximate_reaches_the_known_errors(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """500 x 32 normal entries are left with .92905, .81328 and .6233 of their norm by 3, 8 and 16 bases, to 1e-4."""
    torch.manual_seed(0)
    table = torch.randn(500, 32).to(dtype).view(500, *shape)
    for rank, expected in ((3, 0.92905), (8, 0.81328), (16, 0.6233)):
        low_rank = approximate(table, rank)
        assert (low_rank.max_id, low_rank.shape, low_rank.num_bases) == (500, shape, rank)
        assert low_rank.dtype == low_rank().dtype == low_rank.weights.dtype == low_rank.bases.dtype == dtype
        assert relative_error(low_rank(), table) == pytest.approx(expected, abs=1e-4)
    assert approximate(table).num_bases == 3


SPECTRA: dict[str, Callable[[Tensor], Tensor]] = {
    "geometric": lambda index: 0.5**index,
    "power": lambda index: (index + 1) ** -2.0,
    "cliff": lambda index: torch.where(index < 5, 1.0, 1e-3),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@for_each("spectrum", SPECTRA)
@for_each("rank", [1, 5, 24])
def test_approximate_reaches_the_optimum(spectrum: str, rank: int, dtype: torch.dtype) -> None:
    """On spectra that fall the error is sqrt(optimum^2 + rounding^2), also in the last basis: all of 24 columns."""
    left, right = (torch.linalg.qr(draw(size, 24, seed=size)).Q for size in (300, 24))
    values = SPECTRA[spectrum](torch.arange(24, dtype=torch.float64))
    table = (left * values @ right.T).to(dtype).view(300, 4, 6)
    assert_optimal(approximate(table, rank)(), table, rank, rounding=2 * ROUNDING[dtype])


@pytest.mark.parametrize("solver", ["auto", "gram", "qr", "dense", "krylov"])
@for_each("rank", [1, 6])
def test_approximate_by_each_solver(solver: str, rank: int) -> None:
    """Every solver gives the optimum of one table, to its tolerance of 1e-6 of the error, and the same for one seed."""
    table = draw(400, 40) * 0.8 ** torch.arange(40)
    actual, again = (approximate(table, rank, solver=solver, seed=3) for _ in range(2))
    assert relative_error(actual(), table) == pytest.approx(optimum(table, rank), rel=1e-6)
    assert torch.equal(actual(), again())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@for_each("rank", [1, 7, 19, 20])
def test_approximate_wide_tables(rank: int, dtype: torch.dtype) -> None:
    """20 rows of 300 columns take up to 20 bases, with which the error is nothing but rounding."""
    table = draw(20, 300, dtype=dtype)
    assert_optimal(approximate(table, rank)(), table, rank, rounding=4 * ROUNDING[dtype])


@pytest.mark.parametrize("shape", [(6,), (3, 4)], ids=str)
@for_each("conjugated", [False, True])
def test_approximate_complex_tables_as_pairs_of_reals(shape: tuple[int, ...], conjugated: bool) -> None:
    """A complex table gets the optimum of its real view (rows, 2 n), with real weights and complex bases."""
    table = draw(90, *shape, dtype=torch.complex64)
    table = table.conj() if conjugated else table
    for rank in (1, 5, 12):
        low_rank = approximate(table, rank)
        assert (low_rank.dtype, low_rank.weights.dtype) == (torch.complex64, torch.float32)
        assert low_rank.bases().dtype == torch.complex64
        assert_optimal(low_rank(), table, rank, rounding=4 * ROUNDING[torch.float32])


def make_values() -> Tensor:
    """Draw a float64 table (9000, 3, 4): more rows than one block holds."""
    return draw(9000, 3, 4) * 0.7 ** torch.arange(4)


def make_low_rank() -> LowRankRepresentation:
    """Make a table of rank 9."""
    return LowRankRepresentation.from_factors(bases=draw(9, 3, 4, seed=1), weights=draw(9000, 9, seed=2))


def make_backfill() -> BackfillRepresentation:
    """Make a table whose parts drop out, one of them in training and one in a mode of its own."""
    base = Embedding.from_pretrained(make_values()[:8500], dropout=0.5)
    kwargs = {"generator": torch.Generator().manual_seed(1)}
    table = BackfillRepresentation(9000, torch.arange(8999, 499, -1), base, backfill_kwargs=kwargs).train()
    table.bases[1].eval()
    return table


SOURCES: dict[str, Callable[[], Any]] = {
    "tensor": make_values,
    "strided tensor": lambda: make_values().transpose(1, 2)[::2],
    "parameter": lambda: nn.Parameter(make_values()),
    "torch embedding": lambda: nn.Embedding(9000, 12, _weight=make_values().flatten(1)),
    "embedding": lambda: Embedding.from_pretrained(make_values(), trainable=True),
    "embedding in training": lambda: Embedding.from_pretrained(make_values(), normalizer="normalize", dropout=0.5),
    "embedding served": lambda: Embedding.from_pretrained(make_values(), normalizer="normalize", dropout=0.5).eval(),
    "complex embedding": lambda: Embedding.from_pretrained(torch.complex(make_values(), make_values().flip(0))),
    "low rank": make_low_rank,
    "backfill": make_backfill,
}


@pytest.mark.parametrize("source", SOURCES)
def test_approximate_takes_every_kind_of_table(source: str) -> None:
    """The optimum is that of the rows served, without dropout; the source keeps values, modes, gradients and seed."""
    other = SOURCES[source]()
    before = copy.deepcopy(other)
    dense = other if isinstance(other, Tensor) else None
    if dense is None:
        dense = before.weight if isinstance(other, nn.Embedding) else before.eval()()
    modules = list(other.modules()) if isinstance(other, nn.Module) else []
    modes, seed = [module.training for module in modules], torch.get_rng_state()
    low_rank = approximate(other, 5)
    assert low_rank.shape == tuple(dense.shape[1:])
    assert_optimal(low_rank(), dense, 5, rounding=1e-13)
    assert [module.training for module in modules] == modes
    assert torch.equal(torch.get_rng_state(), seed)
    if modules:
        assert all(torch.equal(value, before.state_dict()[key]) for key, value in other.state_dict().items())
        assert all(parameter.grad is None for parameter in other.parameters())
    else:
        assert torch.equal(other, before)
        assert other.grad is None


def test_approximate_of_a_low_rank_table_is_that_table() -> None:
    """9 bases give back the rows of a table of rank 9 to rounding."""
    source = make_low_rank()
    torch.testing.assert_close(approximate(source, 9)().detach(), source().detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trainable", [None, True, False])
@for_each("source", ["tensor", "parameter", "embedding", "low rank"])
def test_approximate_leaves_no_graph(source: str, trainable: bool | None) -> None:
    """Factors are leaves, trainable unless told otherwise; their gradients do not reach the source."""
    other = SOURCES[source]()
    options = {} if trainable is None else {"trainable": trainable}
    low_rank = approximate(other, 2, **options)
    parameters = dict(low_rank.named_parameters())
    assert sorted(parameters) == ["bases._embeddings.weight", "weights"]
    for parameter in parameters.values():
        assert (parameter.is_leaf, parameter.grad_fn) == (True, None)
        assert parameter.requires_grad == (trainable is not False)
    assert low_rank().requires_grad == (trainable is not False)
    if trainable is not False:
        low_rank().square().sum().backward()
        assert all(parameter.grad is not None for parameter in parameters.values())
    if isinstance(other, nn.Module):
        assert all(parameter.grad is None for parameter in other.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_approximate_passes_arguments_on(dtype: torch.dtype) -> None:
    """Normalizer, dropout and constrainer are those of the result; neither of the first two is approximated."""
    table = draw(50, 3, 4, dtype=dtype)
    plain = approximate(table, 4)
    low_rank = approximate(
        table,
        4,
        normalizer="normalize",
        normalizer_kwargs={"p": 1.0},
        dropout=0.25,
        constrainer="clamp_norm",
        constrainer_kwargs={"maxnorm": 0.5},
    )
    assert low_rank.training
    rows = low_rank.eval()().detach()
    norms = rows.abs().sum(dim=(1, 2))
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-14, atol=1e-14)  # a few roundings of 1
    assert torch.equal(low_rank.look_up(None), plain.look_up(None))
    assert low_rank.dropout is not None
    assert low_rank.dropout.p == 0.25
    low_rank.post_parameter_update()  # the bases have norm 1, so that each is halved
    torch.testing.assert_close(low_rank.bases.stored, plain.bases.stored / 2, rtol=1e-14, atol=1e-14)


def test_approximate_gives_orthonormal_bases_and_projections() -> None:
    """Bases are orthonormal, and weights the inner products of rows with them: the least-squares ones."""
    table = draw(70, 3, 4)
    low_rank = approximate(table, 5)
    bases = low_rank.bases.stored.detach()
    torch.testing.assert_close(bases @ bases.T, torch.eye(5, dtype=torch.float64), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(low_rank.weights.detach(), table.flatten(1) @ bases.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("names", [["max_id"], ["shape"], ["dtype"], ["device"], ["device", "max_id"]], ids=str)
def test_approximate_refuses_what_the_table_tells(names: list[str]) -> None:
    """Size, shape, dtype and device are the table's: a TypeError names which were given."""
    values = {"max_id": 6, "shape": (4,), "dtype": torch.float64, "device": "cpu"}
    with pytest.raises(TypeError, match=f"takes no {' and '.join(names)}: the table"):
        approximate(draw(6, 4), 2, **{name: values[name] for name in names})


@pytest.mark.parametrize(
    ("shape", "rank", "largest"), [((6, 4), 5, 4), ((6, 4), 0, 4), ((6, 4), -1, 4), ((4, 6), 5, 4), ((9, 2, 3), 7, 6)]
)
def test_approximate_refuses_ranks(shape: tuple[int, ...], rank: int, largest: int) -> None:
    """More bases than rows or columns, or none, are a RankError that tells what is possible."""
    with pytest.raises(RankError, match=re.escape(f"must be 1..{largest}; got {rank}.")):
        approximate(draw(*shape), rank)


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "NaN"), (float("inf"), "infinity")])
@for_each("wrap", [lambda rows: rows, Embedding.from_pretrained])
def test_approximate_names_the_row_that_is_not_finite(value: float, message: str, wrap: Any) -> None:
    """NaN and infinity are a NonFiniteError that names the first such row, in whichever block it is."""
    table = draw(9000, 4)
    table[[8500, 8999], 3] = value
    with pytest.raises(NonFiniteError, match=f"holds {message} in row 8500"):
        approximate(wrap(table), 2)


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (torch.ones(6, 4, dtype=torch.int64), TypeError, "got torch.int64"),
        (torch.ones(6, 4, dtype=torch.bool), TypeError, "got torch.bool"),
        (torch.ones(6), ValueError, "got shape (6,)"),
        (torch.tensor(1.0), ValueError, "got shape ()"),
        (torch.ones(0, 4), ValueError, "got shape (0, 4)"),
        (torch.ones(4, 0), ValueError, "got shape (4, 0)"),
        (nn.Linear(4, 6), TypeError, "got Linear"),
        ([[1.0, 2.0]], TypeError, "got list"),
        ("table", TypeError, "got str"),
        (None, TypeError, "got NoneType"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_approximate_refuses_what_is_no_table(other: Any, error: type[Exception], message: str) -> None:
    """Integers and other objects are a TypeError, tensors without rows and columns a ValueError; both say what came."""
    with pytest.raises(error, match=re.escape(message)):
        approximate(other, 1)


@pytest.mark.parametrize("value", [5000.0, -65504.0])
def test_approximate_widens_weights_that_overflow(value: float) -> None:
    """Float16 entries of 5000 at 384 columns need weights of 97980: these are float32, and rows and scores finite."""
    table = torch.full((10, 384), value, dtype=torch.float16)
    low_rank = approximate(table, 1)
    assert (low_rank.bases.dtype, low_rank.weights.dtype, low_rank.dtype) == (torch.float16, *[torch.float32] * 2)
    assert float(low_rank.weights.detach().abs().max()) == pytest.approx(
        abs(value) * 384**0.5, rel=2 * ROUNDING[torch.float16]
    )
    assert relative_error(low_rank(), table) <= ROUNDING[torch.float16]
    query = torch.ones(384, dtype=torch.float16)
    assert low_rank.scores(query).tolist() == pytest.approx([384 * value] * 10, rel=ROUNDING[torch.float16])


def test_approximate_widens_float32_too() -> None:
    """Float32 entries of 1e38 at 384 columns need weights of 2e39: float64, with an error of rounding alone."""
    table = torch.full((10, 384), 1e38)
    low_rank = approximate(table, 1)
    assert (low_rank.bases.dtype, low_rank.weights.dtype) == (torch.float32, torch.float64)
    assert relative_error(low_rank(), table) <= ROUNDING[torch.float32]


def test_approximate_of_zeros_is_zeros() -> None:
    """A table of zeros has the optimum 0, which is reached: zeros, no NaN of a division."""
    assert approximate(torch.zeros(6, 4), 2)().tolist() == [[0.0] * 4] * 6


QUERIES: list[tuple[int, ...]] = [(), (5,), (2, 3), (0,), (1, 1, 4)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float32, torch.complex64], ids=str)
@for_each("shape", [(6,), (3, 4)])
@for_each("normalizer", [None, "normalize"])
def test_scores_are_inner_products_with_all_rows(
    shape: tuple[int, ...], dtype: torch.dtype, normalizer: str | None, device: str
) -> None:
    """scores(query) is query @ rows^T, of complex rows Re sum(query conj(row)), for any leading axes of the query."""
    low_rank = approximate(draw(40, *shape, dtype=dtype), 5, normalizer=normalizer, dropout=0.5).to(device)
    dense = low_rank.eval()(None).detach().cpu().to(torch.complex128)
    low_rank.train()  # dropout plays no part
    eps = torch.finfo(dtype).eps
    for lead in QUERIES:
        query = draw(*lead, *shape, dtype=dtype, seed=4)
        for asked in (query, query.conj(), query.transpose(0, -1).contiguous().transpose(0, -1)):
            products = asked.to(torch.complex128).unsqueeze(-len(shape) - 1) * dense.conj()  # (*q, 40, *shape)
            expected = products.flatten(-len(shape)).sum(dim=-1).real  # (*q, 40)
            actual = low_rank.scores(asked.to(device)).detach().cpu()
            assert actual.dtype == dtype.to_real()
            # sums of at most 24 products of N(0, 1) numbers, twice
            torch.testing.assert_close(actual.double(), expected, rtol=50 * eps, atol=50 * eps)


def test_scores_of_a_wider_query_are_wider() -> None:
    """Float64 queries of a float16 table are scored in float64: to 1e-14, which float16 or float32 would miss."""
    low_rank = approximate(draw(40, 6).half(), 3)
    query = draw(4, 6)
    dense = low_rank.weights.detach().double() @ low_rank.bases.stored.detach().double()
    torch.testing.assert_close(low_rank.scores(query).detach(), query @ dense.T, rtol=1e-13, atol=1e-13)


def test_scores_train_the_factors() -> None:
    """Gradients of the scores are those of the dense product."""
    low_rank = approximate(draw(40, 6), 3)
    query = draw(4, 6, seed=1)
    factors = [low_rank.bases.stored, low_rank.weights]
    actual = torch.autograd.grad(low_rank.scores(query).square().sum(), factors)
    expected = torch.autograd.grad((query @ low_rank().T).square().sum(), factors)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("dtype", "shape", "query"),
    [
        (torch.float32, (6,), torch.ones(5)),
        (torch.float32, (6,), torch.ones(6, 5)),
        (torch.float32, (6,), torch.tensor(1.0)),
        (torch.float32, (6,), torch.ones(6, dtype=torch.complex64)),
        (torch.complex64, (6,), torch.ones(6)),
        (torch.complex64, (6,), torch.ones(12)),
        (torch.float32, (3, 4), torch.ones(12)),
        (torch.float32, (3, 4), torch.ones(4)),
        (torch.float32, (3, 4), torch.ones(2, 4, 3)),
    ],
    ids=lambda value: str(tuple(value.shape)) if isinstance(value, Tensor) else str(value),
)
def test_scores_refuse_queries_that_are_no_rows(dtype: torch.dtype, shape: tuple[int, ...], query: Tensor) -> None:
    """A query of another shape, or real for complex, is a ValueError that tells both shapes."""
    low_rank = approximate(draw(20, *shape, dtype=dtype), 2)
    message = f"a query is {dtype} of shape (..., {shape}); got {query.dtype} {tuple(query.shape)}."
    with pytest.raises(ValueError, match=re.escape(message)):
        low_rank.scores(query)


@pytest.mark.parametrize(
    ("bases", "weights"),
    [((3, 4), (6, 2)), ((3, 2, 2), (3, 6)), ((3,), (6, 3)), ((), (6, 3)), ((3, 4), (3,)), ((3, 4), (6, 3, 1))],
    ids=str,
)
def test_from_factors_refuses_shapes(bases: tuple[int, ...], weights: tuple[int, ...]) -> None:
    """Factors whose ranks differ, or with too few or too many axes, are a ValueError that shows both shapes."""
    with pytest.raises(ValueError, match=re.escape(f"must agree in rank; got {bases} and {weights} torch.float64.")):
        LowRankRepresentation.from_factors(bases=draw(*bases), weights=draw(*weights))


PYKEEN_KEYS = {
    "since 1.11.1": ("weight._embeddings.weight", "base._embeddings.weight"),
    "up to 1.11.0": ("weight", "bases._embeddings.weight"),
    "ours": ("weights", "bases._embeddings.weight"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_pykeen_state_dict_gives_the_factors(dtype: torch.dtype) -> None:
    """The keys are those of PyKEEN since 1.11.1; weights @ bases, complex entries as pairs, are the rows."""
    low_rank = approximate(draw(40, 3, 4, dtype=dtype), 5)
    state = low_rank.pykeen_state_dict()
    assert list(state) == ["weight._embeddings.weight", "base._embeddings.weight"]
    weights, bases = state.values()
    assert (tuple(weights.shape), tuple(bases.shape)) == ((40, 5), (5, 24 if dtype.is_complex else 12))
    assert not any(value.requires_grad or value.is_complex() for value in state.values())
    torch.testing.assert_close((weights @ bases).double(), as_matrix(low_rank()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each("keys", PYKEEN_KEYS.values())
@for_each("prefix", ["", "entity_representations.0."])
def test_pykeen_state_dicts_load(keys: tuple[str, str], prefix: str, dtype: torch.dtype) -> None:
    """Keys of PyKEEN old and new load strictly, also below other modules, to the same rows bit for bit."""
    low_rank = approximate(draw(40, 3, 4, dtype=dtype), 5)
    factors = (low_rank.weights.detach(), low_rank.bases.stored.detach())
    state = {prefix + key: factor for key, factor in zip(keys, factors, strict=True)}
    parameters = dict(state)
    fresh = LowRankRepresentation(max_id=40, shape=(3, 4), num_bases=5, dtype=dtype)
    model: nn.Module = nn.ModuleDict({"entity_representations": nn.ModuleList([fresh])}) if prefix else fresh
    model.load_state_dict(state, strict=True)
    assert torch.equal(fresh(), low_rank())
    assert state.keys() == parameters.keys()  # the caller's own dict keeps its names


def test_pykeen_state_dicts_of_other_tables_are_refused() -> None:
    """Another number of bases, a key too few or one too many are errors of a strict load, as torch words them."""
    state = approximate(draw(40, 6), 5).pykeen_state_dict()
    weights, bases = state
    fresh = LowRankRepresentation(max_id=40, shape=6, num_bases=4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="size mismatch for weights"):
        fresh.load_state_dict(state)
    fresh = LowRankRepresentation(max_id=40, shape=6, num_bases=5, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=re.escape('Missing key(s) in state_dict: "bases._embeddings.weight"')):
        fresh.load_state_dict({weights: state[weights]})
    with pytest.raises(RuntimeError, match=re.escape('Missing key(s) in state_dict: "weights"')):
        fresh.load_state_dict({bases: state[bases]})
    with pytest.raises(RuntimeError, match=re.escape('Unexpected key(s) in state_dict: "regularizer"')):
        fresh.load_state_dict({**state, "regularizer": torch.ones(1)})


def test_approximate_is_inherited() -> None:
    """A subclass approximates into itself."""

    class Named(LowRankRepresentation):
        """A table with a name of its own."""

    actual: Representation = Named.approximate(draw(6, 4), 2)
    assert type(actual) is Named
    assert relative_error(actual(), draw(6, 4)) == pytest.approx(optimum(draw(6, 4), 2), rel=1e-12)


def test_low_rank_refuses_weights_that_its_dtype_cannot_hold() -> None:
    """Widened weights of a float16 table do not load into float16 ones as infinity: ValueError that says what to do."""
    wide = approximate(torch.full((10, 384), 5000.0, dtype=torch.float16), 1)
    fresh = LowRankRepresentation(max_id=10, shape=384, num_bases=1, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"beyond the torch\.float16"):
        fresh.load_state_dict(wide.state_dict())


def test_approximate_refuses_unknown_solvers() -> None:
    """A solver that does not exist is a UsageError that lists those that do."""
    with pytest.raises(UsageError, match="gram"):
        approximate(torch.eye(4), 2, solver="bogus")


def test_low_rank_of_rows_without_axes() -> None:
    """A low-rank table of numbers is weights times one number a basis."""
    table = LowRankRepresentation(max_id=3, shape=(), num_bases=2)
    torch.testing.assert_close(table(), table.weights @ table.bases())


def test_approximate_reads_embeddings_as_they_look_rows_up() -> None:
    """At full rank a table of max_norm gives the rows of its own lookup; a subclass may do more and is refused."""
    embedding = nn.Embedding(50, 8, max_norm=1.0)
    actual = approximate(embedding, 8)()
    torch.testing.assert_close(actual, embedding(torch.arange(50)), rtol=1e-5, atol=1e-6)
    scaled = type("Scaled", (nn.Embedding,), {"forward": lambda self, ids: 8 * nn.Embedding.forward(self, ids)})
    with pytest.raises(TypeError, match="Scaled may do more"):
        approximate(scaled(5, 4), 2)
