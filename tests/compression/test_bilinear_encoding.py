"""Tables of matrices on their way through the tool: chosen, factored, stored, reported, loaded, multiplied out."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import embcompress
from embcompress.exceptions import ArtifactError, NonFiniteError, OutputError, RankError, TableError, UsageError
from embcompress.linalg.bilinear import matrices_at_once
from embcompress.nn import LowRankBilinear, LowRankRepresentation
from embcompress.results import ApproximateResult, TableReport
from tests.cases import for_each
from tests.command_line import Outcome, run
from tests.fixtures import SAMPLES, CompressSample, draw, load_module, save

RESCAL = SAMPLES / "kinships-rescal" / "trained_model.pkl"
RELATIONS = "relation_representations.0._embeddings.weight"
ENTITIES = "entity_representations.0._embeddings.weight"
MEASURED = 1e-9  # relative: errors are measured in float64, from the factors as they are stored
STORING = {"float64": 1e-13, "float32": 1e-6, "float16": 5e-3, "bfloat16": 4e-2}
# What rounding A and B adds to the relative error: 2 sqrt(rank) eps at most, for ranks up to 4 and a share of two.


def as_bytes(value: Tensor) -> bytes:
    """Give the bytes of a tensor, row-major."""
    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def bilinear_table(result: ApproximateResult) -> TableReport:
    """Take the one bilinear table of a result."""
    (table,) = (table for table in result.tables if table.kind == "bilinear")
    return table


def factors_of(path: str | Path, name: str) -> tuple[Tensor, Tensor]:
    """Read the stored factors of a table as they are."""
    tensors = safetensors.torch.load_file(path)
    return tensors[f"{name}.left"], tensors[f"{name}.right"]


def multiply(path: str | Path, name: str) -> Tensor:
    """Multiply the stored factors out in float64, (matrices, in1, in2)."""
    left, right = factors_of(path, name)
    return left.double().flatten(0, -3) @ right.double().flatten(0, -3).mT


@dataclass(frozen=True)
class Case:
    """A checkpoint, how its matrices are asked for, and which ones they are."""

    state: Callable[[torch.dtype], dict[str, Tensor]]
    matrix: tuple[int, int]
    lead: tuple[int, ...]  # of the factors, before (in, rank)
    name: str = "relations.weight"
    options: Mapping[str, Any] = field(default_factory=dict)


CASES: dict[str, Case] = {
    "(R, d, d)": Case(lambda dtype: {"relations.weight": draw(7, 9, 9, dtype=dtype)}, (9, 9), (7,)),
    "(out, in1, in2) of an nn.Bilinear": Case(
        lambda dtype: {"bil.weight": draw(5, 6, 11, dtype=dtype), "bil.bias": draw(5, dtype=dtype)},
        (6, 11),
        (5,),
        name="bil.weight",
    ),
    "one form": Case(lambda dtype: {"bil.weight": draw(1, 11, 6, dtype=dtype)}, (11, 6), (1,), name="bil.weight"),
    "(R, k, d, d)": Case(lambda dtype: {"relations.weight": draw(7, 3, 8, 8, dtype=dtype)}, (8, 8), (7, 3)),
    "(R, j, k, in1, in2)": Case(lambda dtype: {"relations.weight": draw(5, 2, 3, 10, 6, dtype=dtype)}, (10, 6), (5, 6)),
    "flat beside entities": Case(
        lambda dtype: {
            "relations.weight": draw(7, 81, dtype=dtype),
            "entities.weight": draw(40, 9, seed=1, dtype=dtype),
        },
        (9, 9),
        (7,),
    ),
    "flat, k of them, beside entities": Case(  # 4 x 8 x 8 numbers could be one 16 x 16 matrix
        lambda dtype: {
            "relations.weight": draw(7, 256, dtype=dtype),
            "entities.weight": draw(40, 8, seed=1, dtype=dtype),
        },
        (8, 8),
        (7, 4),
    ),
    "flat and square, alone": Case(lambda dtype: {"relations.weight": draw(7, 81, dtype=dtype)}, (9, 9), (7,)),
    "flat, told by the caller": Case(
        lambda dtype: {
            "relations.weight": draw(7, 96, dtype=dtype),
            "entities.weight": draw(40, 9, seed=1, dtype=dtype),
        },
        (4, 12),
        (7, 2),
        options={"bilinear_shape": (4, 12)},
    ),
    "flat and square, told otherwise": Case(
        lambda dtype: {"relations.weight": draw(7, 64, dtype=dtype)},
        (4, 16),
        (7,),
        options={"bilinear_shape": (4, 16)},
    ),
}
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def assert_table(result: ApproximateResult, original: Tensor, case: Case, *, rank: int) -> None:
    """Check factors and report of a bilinear table against a dense float64 SVD of each matrix."""
    table = bilinear_table(result)
    in1, in2 = case.matrix
    left, right = factors_of(result.output.path, case.name)
    assert (left.shape, right.shape) == ((*case.lead, in1, rank), (*case.lead, in2, rank))
    exact = original.double().reshape(-1, in1, in2)
    values = torch.linalg.svdvals(exact)
    norms, dropped = values.norm(dim=1), values[:, rank:].norm(dim=1)
    errors = (multiply(result.output.path, case.name) - exact).flatten(1).norm(dim=1)
    assert table.error is not None
    assert table.matrices is not None
    assert (table.name, table.kind, table.rank, table.coding) == (case.name, "bilinear", rank, "plain")
    assert (table.matrices.shape, table.matrices.count) == (case.matrix, math.prod(case.lead))
    assert table.matrices.relative == pytest.approx((errors / norms).tolist(), rel=MEASURED)
    assert table.error.relative == pytest.approx(float(errors.norm() / norms.norm()), rel=MEASURED)
    assert table.error.optimal_relative == pytest.approx(float(dropped.norm() / norms.norm()), rel=MEASURED)
    slack = STORING[str(left.dtype).removeprefix("torch.")]
    assert bool((errors / norms <= dropped / norms + slack).all())
    assert bool((errors >= dropped * (1 - MEASURED)).all())
    assert table.error.row_relative.max == pytest.approx(float((errors / norms).max()), rel=MEASURED)
    worst = (errors / norms).argsort(descending=True)[:10].tolist()
    assert [row.id for row in table.error.worst_rows] == worst
    assert table.bytes_before == original.nbytes
    assert table.bytes_after == left.nbytes + right.nbytes
    assert_alternative(table, original, item_bytes=left.element_size())


def assert_alternative(table: TableReport, original: Tensor, *, item_bytes: int) -> None:
    """Check what the same bytes are said to give as whole rows over shared bases: the optimum of what they pay for."""
    rows = original.double().flatten(1)
    pays = min(table.bytes_after // (sum(rows.shape) * item_bytes), *rows.shape)
    if not pays:
        assert table.alternative is None
        return
    assert table.alternative is not None
    assert (table.alternative.kind, table.alternative.rank) == ("embedding", pays)
    squares = torch.linalg.svdvals(rows).square()
    optimum = float((squares[pays:].sum() / squares.sum()).sqrt())
    assert table.alternative.relative == pytest.approx(optimum, rel=MEASURED, abs=1e-12)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize(
    ("dtype", "ending"),
    [
        (torch.float64, ".safetensors"),
        (torch.float32, ".safetensors"),
        (torch.float32, ".pt"),
        (torch.float16, ".pt"),
        (torch.bfloat16, ".safetensors"),
    ],
    ids=str,
)
def test_matrices_go_and_come_back(tmp_path: Path, dtype: torch.dtype, case: Case, ending: str) -> None:
    """Every layout and dtype: factors and report as a float64 SVD says, module and dense table their product."""
    state = case.state(dtype)
    path = save(tmp_path / f"model{ending}", state)
    result = embcompress.approximate(path, bases=2, bilinear=case.name, **case.options)
    assert_table(result, state[case.name], case, rank=2)
    left, right = factors_of(result.output.path, case.name)
    assert left.dtype == right.dtype == dtype
    module = embcompress.load(result.output.path)[case.name]
    assert isinstance(module, LowRankBilinear)
    assert torch.equal(module.left, left.flatten(0, -3))
    assert torch.equal(module.right, right.flatten(0, -3))
    assert module.bias is None
    assert (module.out_features, module.in1_features, module.in2_features) == (math.prod(case.lead), *case.matrix)
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    expected = multiply(result.output.path, case.name).view(state[case.name].shape)
    actual = restored.pop(case.name)
    assert (actual.shape, actual.dtype) == (state[case.name].shape, dtype)
    if dtype == torch.float64:  # sums of two products in another order
        torch.testing.assert_close(actual, expected, rtol=1e-14, atol=1e-14)
    else:
        assert torch.equal(actual, expected.to(dtype))
    assert set(restored) == set(state) - {case.name}


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtype_is_what_factors_are_stored_in(tmp_path: Path, dtype: torch.dtype, stored: str) -> None:
    """--dtype sets the dtype of both factors; the error is that of the stored ones, and the dense dtype stays."""
    case = CASES["(out, in1, in2) of an nn.Bilinear"]
    state = case.state(dtype)
    options = {"bases": 1, "dtype": stored, "bilinear": case.name}
    result = embcompress.approximate(save(tmp_path / "model.safetensors", state), **options)
    assert_table(result, state[case.name], case, rank=1)
    assert {str(factor.dtype) for factor in factors_of(result.output.path, case.name)} == {f"torch.{stored}"}
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert restored["bil.weight"].dtype == dtype
    expected = multiply(result.output.path, case.name).to(dtype)
    torch.testing.assert_close(restored["bil.weight"], expected, rtol=0 if dtype != torch.float64 else 1e-14, atol=0)
    assert as_bytes(restored["bil.bias"]) == as_bytes(state["bil.bias"])


@pytest.mark.parametrize("name", ["(out, in1, in2) of an nn.Bilinear", "one form", "(R, k, d, d)"])
def test_ranks_up_to_the_largest_that_pays(tmp_path: Path, name: str) -> None:
    """Every rank below in1 in2 / (in1 + in2) is taken; its error falls, and the first that does not pay is refused."""
    case = CASES[name]
    state = case.state(torch.float32)
    path = save(tmp_path / "model.safetensors", state)
    in1, in2 = case.matrix
    most = math.ceil(in1 * in2 / (in1 + in2)) - 1
    errors = []
    for rank in range(1, most + 1):
        result = embcompress.approximate(path, bases=rank, bilinear=case.name, force=True)
        assert_table(result, state[case.name], case, rank=rank)
        error = bilinear_table(result).error
        assert error is not None
        errors.append(error.relative)
    assert errors == sorted(errors, reverse=True)
    assert most >= 3
    with pytest.raises(RankError, match=rf"smaller:\s+--bases {most}"):
        embcompress.approximate(path, bases=most + 1, bilinear=case.name, force=True)


def test_reconstruct_keeps_float16_finite(tmp_path: Path) -> None:
    """Where the product of the stored factors lies above 65504, the dense float16 table holds 65504, not infinity."""
    original = torch.full((3, 6, 6), 65504.0).half()
    original[:, 0, 0] = 0
    path = save(tmp_path / "model.safetensors", {"relations.weight": original})
    result = embcompress.approximate(path, bases=1, bilinear="relations*")
    product = multiply(result.output.path, "relations.weight")
    assert float(product.max()) > 65520  # from where on a rounding to float16 gives infinity
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert torch.equal(restored["relations.weight"], product.clamp(max=65504).half())


LONG = {
    "one row of more matrices than are decomposed at once": (
        (1, matrices_at_once(1000, 2) + 50, 1000, 2),
        torch.float16,
    ),
    "more rows than a block has": ((4200, 256, 2), torch.float32),
}


@pytest.mark.parametrize(("shape", "dtype"), LONG.values(), ids=LONG)
def test_matrices_beyond_one_block(tmp_path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """However rows and matrices are split, every matrix is in its place, with its own error, and comes back there."""
    original = draw(*shape, dtype=dtype)
    path = save(tmp_path / "model.safetensors", {"relations.weight": original})
    result = embcompress.approximate(path, bases=1, bilinear="relations*")
    table = bilinear_table(result)
    exact = original.double().flatten(0, -3)
    gram = exact.mT @ exact  # (count, 2, 2), whose eigenvalues are (trace +- spread) / 2
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    spread = torch.hypot(gram[:, 0, 0] - gram[:, 1, 1], 2 * gram[:, 0, 1])
    optimum = float(((trace - spread).sum() / 2 / trace.sum()).sqrt())
    assert table.error is not None
    assert table.matrices is not None
    assert table.error.optimal_relative == pytest.approx(optimum, rel=MEASURED)
    product = multiply(result.output.path, "relations.weight")
    errors = (product - exact).flatten(1).norm(dim=1)
    assert table.matrices.relative == pytest.approx((errors / trace.sqrt()).tolist(), rel=MEASURED)
    assert optimum < table.error.relative < optimum + STORING[table.dtype]
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    assert torch.equal(restored["relations.weight"], product.to(dtype).view(shape))


# ------------------------------------------------------------------------------------------------- the RESCAL sample


@dataclass(frozen=True)
class Sample:
    """The RESCAL sample: its relations as matrices of rank 4, its entities over 4 bases."""

    result: ApproximateResult
    original: Mapping[str, Tensor]


@pytest.fixture(scope="module")
def sample(compress_sample: CompressSample) -> Sample:
    """Compress a copy of the sample once; not to be written to."""
    result = compress_sample("kinships-rescal/trained_model.pkl", bases=4, bilinear="relation*")
    return Sample(result, load_module(RESCAL).state_dict())


def test_sample_has_the_errors_that_are_reported(sample: Sample) -> None:
    """The flat relations of PyKEEN's RESCAL are 25 matrices of 64 x 64, each at its optimum."""
    original = sample.original[RELATIONS]
    assert original.shape == (25, 4096)
    assert_table(sample.result, original, Case(lambda _: {}, (64, 64), (25,), name=RELATIONS), rank=4)
    table = bilinear_table(sample.result)
    assert table.bytes_after == 25 * (64 + 64) * 4 * 4
    assert table.error is not None
    assert table.error.relative == pytest.approx(table.error.optimal_relative, rel=1e-6)
    assert table.alternative is not None
    assert table.alternative.rank == table.bytes_after // ((25 + 4096) * 4) == 3


def test_sample_compresses_the_table_beside_it_as_before(sample: Sample, tmp_path: Path) -> None:
    """The entities get bases and weights, bit for bit those of a run without --bilinear, and the same report."""
    alone = embcompress.approximate(RESCAL, bases=4, output=tmp_path / "plain.safetensors")
    actual, expected = (safetensors.torch.load_file(result.output.path) for result in (sample.result, alone))
    for suffix in ("bases", "weights"):
        assert as_bytes(actual[f"{ENTITIES}.{suffix}"]) == as_bytes(expected[f"{ENTITIES}.{suffix}"])
    reports = [
        {**asdict(table), "seconds": 0}
        for result in (sample.result, alone)
        for table in result.tables
        if table.name == ENTITIES
    ]
    assert reports[0] == reports[1]
    assert (reports[0]["kind"], reports[0]["matrices"], reports[0]["alternative"]) == ("embedding", None, None)


def test_sample_totals_count_both_tables(sample: Sample) -> None:
    """Bytes before and after are the sums of both tables, and the file is these and its header."""
    totals = sample.result.totals
    assert totals.bytes_before == 104 * 64 * 4 + 25 * 4096 * 4
    assert totals.bytes_after - totals.header_bytes == 4 * (104 + 64) * 4 + 25 * 128 * 4 * 4
    assert totals.ratio == totals.bytes_before / totals.bytes_after
    path = Path(sample.result.output.path)
    assert path.stat().st_size == sample.result.output.bytes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sample.result.output.sha256


def test_sample_comes_back_into_its_model(sample: Sample, tmp_path: Path) -> None:
    """The dense file loads strictly into the original module; relations are the products, other tensors as before."""
    result = embcompress.reconstruct(sample.result.output.path, output=tmp_path / "dense.safetensors")
    dense = safetensors.torch.load_file(result.output.path)
    model = load_module(RESCAL)
    model.load_state_dict(dense, strict=True)
    expected = multiply(sample.result.output.path, RELATIONS).float().view(25, 4096)
    assert torch.equal(dense[RELATIONS], expected)
    for name, value in sample.original.items():
        if name not in {RELATIONS, ENTITIES}:
            assert as_bytes(dense[name]) == as_bytes(value)


def test_sample_scores_through_the_loaded_factors(sample: Sample) -> None:
    """`load` gives forms whose all_pairs are h^T W t of the multiplied matrices, for every relation."""
    tables = embcompress.load(sample.result.output.path)
    assert list(tables) == [ENTITIES, RELATIONS]
    form = tables[RELATIONS]
    assert isinstance(form, LowRankBilinear)
    assert isinstance(tables[ENTITIES], LowRankRepresentation)
    entities = sample.original[ENTITIES]
    scores = form.all_pairs(entities, entities).detach()  # (104, 104, 25)
    weight = multiply(sample.result.output.path, RELATIONS)
    exact = torch.einsum("hi,rij,tj->htr", entities.double(), weight, entities.double())
    left, right = (factor.double().abs() for factor in factors_of(sample.result.output.path, RELATIONS))
    moduli = torch.einsum("hi,rij,tj->htr", entities.double().abs(), left @ right.mT, entities.double().abs())
    bound = (64 + 64 + 4) * torch.finfo(torch.float32).eps * moduli
    assert bool(((scores.double() - exact).abs() <= bound).all())


class Representation(nn.Module):
    """Rows of a shape over a flat table, as PyKEEN pickles them."""

    def __init__(self, rows: int, *shape: int) -> None:
        super().__init__()
        self.shape = shape
        self._embeddings = nn.Embedding(rows, math.prod(shape))


@pytest.mark.parametrize("shape", [(10, 6), (6, 10), (2, 6, 10), (4, 8, 8)], ids=str)
def test_a_module_tells_the_shape_of_its_rows(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Of a pickled module with a `shape`, the matrices are its last two axes, whatever lies beside it."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"relations": Representation(7, *shape), "entities": Representation(40, 12)})
    path = tmp_path / "model.pkl"
    torch.save(model, path)
    name = "relations._embeddings.weight"
    case = Case(lambda _: {}, (shape[-2], shape[-1]), (7, *shape[:-2]), name=name)
    for options in ({}, {"exclude": "entities*"}, {"table": name}):
        result = embcompress.approximate(path, bases=2, bilinear=name, force=True, **options)
        assert_table(result, model.state_dict()[name], case, rank=2)
    listed = {table.name: table.reason for table in embcompress.inspect(path).tables}
    assert f"; --bilinear: {shape[-2]} x {shape[-1]} matrices, smaller up to rank 3" in listed[name]
    assert "--bilinear" not in listed["entities._embeddings.weight"]


# ----------------------------------------------------------------------------------------------------- which tables


def kinds(result: ApproximateResult) -> dict[str, str]:
    """Describe how each table was compressed."""
    return {table.name: table.kind for table in result.tables}


MIXED = {
    "entities.weight": draw(40, 8, seed=1),
    "relations.weight": draw(7, 64),
    "bil.weight": draw(5, 8, 8),
    "mask": torch.ones(3),
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"bilinear": "relations*"}, {"entities.weight": "embedding", "relations.weight": "bilinear"}),
        ({"bilinear": "relations*", "exclude": "ent*"}, {"relations.weight": "bilinear"}),
        ({"bilinear": "relations*", "table": "relations*"}, {"relations.weight": "bilinear"}),
        (
            {"bilinear": "bil.weight"},
            {"entities.weight": "embedding", "relations.weight": "embedding", "bil.weight": "bilinear"},
        ),
        ({"bilinear": "bil*", "table": "ent*"}, {"entities.weight": "embedding", "bil.weight": "bilinear"}),
        ({"bilinear": "bil*", "exclude": ["ent*", "rel*"]}, {"bil.weight": "bilinear"}),
        (
            {"bilinear": ["bil*", "rel*"]},
            {"entities.weight": "embedding", "relations.weight": "bilinear", "bil.weight": "bilinear"},
        ),
    ],
    ids=str,
)
def test_bilinear_chooses_tables_beside_the_others(
    tmp_path: Path, options: dict[str, Any], expected: dict[str, str]
) -> None:
    """A table named by --bilinear alone is taken, beside those recognised or named; the rest is copied to the bit."""
    result = embcompress.approximate(save(tmp_path / "model.safetensors", MIXED), bases=2, **options)
    assert kinds(result) == expected
    stored = safetensors.torch.load_file(result.output.path)
    factors = {"embedding": ("bases", "weights"), "bilinear": ("left", "right")}
    names = {f"{name}.{suffix}" for name, kind in expected.items() for suffix in factors[kind]}
    assert set(stored) == names | (set(MIXED) - set(expected))
    assert all(as_bytes(stored[name]) == as_bytes(MIXED[name]) for name in set(MIXED) - set(expected))


def test_tied_matrices_are_stored_once(tmp_path: Path) -> None:
    """A table of two names is factored once, found by either, and is dense under both again."""
    original = draw(5, 8, 8)
    torch.save({"a.weight": original, "b.weight": original}, tmp_path / "model.pt")
    result = embcompress.approximate(tmp_path / "model.pt", bases=2, bilinear="b.weight")
    table = bilinear_table(result)
    assert (table.name, table.tied_names) == ("b.weight", ("a.weight",))
    assert set(safetensors.torch.load_file(result.output.path)) == {"b.weight.left", "b.weight.right"}
    restored = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    expected = multiply(result.output.path, "b.weight").float()
    assert torch.equal(restored["a.weight"], expected)
    assert torch.equal(restored["b.weight"], expected)


AMBIGUOUS = {
    "no square": ({"relations.weight": draw(7, 96)}, "rows of 96 numbers"),
    "two widths fit": (
        {
            "relations.weight": draw(7, 576),
            "entities.weight": draw(40, 8, seed=1),
            "users.weight": draw(40, 12, seed=2),
        },
        "rows of 576 numbers",
    ),
}


@pytest.mark.parametrize(("state", "message"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_rows_of_which_nothing_tells_the_matrices_are_refused(
    tmp_path: Path, state: dict[str, Tensor], message: str
) -> None:
    """Flat rows without a square, or beside two tables that fit, are refused with the option that tells."""
    path = save(tmp_path / "model.safetensors", state)
    for dry_run in (True, False):
        with pytest.raises(TableError, match=rf"'relations.weight' .* {message}, .*--bilinear-shape IN1,IN2"):
            embcompress.approximate(path, bases=2, bilinear="relations*", dry_run=dry_run)
    assert list(tmp_path.iterdir()) == [path]
    count = state["relations.weight"].shape[1] // 96
    case = Case(lambda _: state, (8, 12), (7,) if count == 1 else (7, count))
    result = embcompress.approximate(path, bases=2, bilinear="relations*", bilinear_shape=(8, 12))
    assert_table(result, state["relations.weight"], case, rank=2)


def table_of(values: Tensor) -> dict[str, Tensor]:
    """Make the state of one table of relations."""
    return {"relations.weight": values}


REFUSED: dict[str, tuple[dict[str, Tensor], dict[str, Any], type[Exception], str]] = {
    "at the break-even": (
        table_of(draw(7, 8, 8)),
        {"bases": 4},
        RankError,
        r"8 x 8 matrices, which rank 4 does not make smaller: only ranks below 4 do\..*smaller:\s+--bases 3",
    ),
    "above the break-even": (
        table_of(draw(7, 10, 6)),
        {"bases": 5},
        RankError,
        r"10 x 6 .* only ranks below 3\.75 do\..*smaller:\s+--bases 3",
    ),
    "above a side": (
        table_of(draw(7, 100, 2)),
        {"bases": 3},
        RankError,
        r"100 x 2 .* only ranks below 1\.961 do\..*smaller:\s+--bases 1",
    ),
    "above a side in float16": (
        table_of(draw(7, 100, 2)),
        {"bases": 3, "dtype": "float16"},
        RankError,
        r"100 x 2 .* only ranks below 3\.922 do\..*smaller:\s+--bases 2",
    ),
    "in a wider dtype": (
        table_of(draw(7, 8, 8, dtype=torch.float16)),
        {"bases": 2, "dtype": "float32"},
        RankError,
        r"8 x 8 .* only ranks below 2 do\..*smaller:\s+--bases 1",
    ),
    "too small for any rank": (
        table_of(draw(7, 2, 2)),
        {"bases": 1},
        RankError,
        r"2 x 2 .* only ranks below 1 do\..*No number of bases makes it smaller",
    ),
    "complex": (
        table_of(draw(7, 8, 8).to(torch.complex64)),
        {"bases": 1},
        TableError,
        "'relations.weight' .* is complex, and forms are real",
    ),
    "integers": (table_of(torch.ones(7, 8, 8).long()), {"bases": 1}, TableError, "is int64 of shape"),
    "a vector": (table_of(draw(7)), {"bases": 1}, TableError, "is float32 of shape"),
    "no such table": (
        table_of(draw(7, 8, 8)),
        {"bases": 1, "bilinear": "relation.weight"},
        TableError,
        r"--bilinear relation.weight matches none .*\s+--bilinear relations.weight",
    ),
    "a shape that does not divide": (
        table_of(draw(7, 60)),
        {"bases": 1, "bilinear_shape": (7, 8)},
        TableError,
        "--bilinear-shape 7,8: the 60 columns of table 'relations.weight' .* are no multiple of 56",
    ),
    "a shape without matrices": (
        table_of(draw(7, 60)),
        {"bases": 1, "bilinear_shape": (6, 10), "bilinear": ()},
        UsageError,
        "goes with --bilinear",
    ),
    "a shape of nothing": (
        table_of(draw(7, 60)),
        {"bases": 1, "bilinear_shape": (0, 10)},
        UsageError,
        "two sides of at least 1",
    ),
    "a negative shape": (
        table_of(draw(7, 60)),
        {"bases": 1, "bilinear_shape": (-6, -10)},
        UsageError,
        "two sides of at least 1",
    ),
    "a name that is taken": (
        {**table_of(draw(7, 8, 8)), "relations.weight.left": torch.ones(3)},
        {"bases": 1},
        OutputError,
        "would be named 'relations.weight.left'",
    ),
}


@pytest.mark.parametrize(("state", "options", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_matrices_that_cannot_be_factored_are_refused(
    tmp_path: Path, state: dict[str, Tensor], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """What would grow, has no such rank, is complex or is no matrix is refused in words; nothing is written."""
    path = save(tmp_path / "model.safetensors", state)
    for dry_run in (True, False):
        with pytest.raises(error, match=message):
            embcompress.approximate(path, **{"bilinear": "relations.weight", **options}, dry_run=dry_run)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_matrix_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    """NaN or infinity is named by table and matrix, as a matrix of several in a row too, and nothing is written."""
    whole, several = draw(7, 8, 8), draw(2, 3, 8, 8)
    whole[5, 1, 2] = several[1, 1, 7, 0] = bad
    for number, state in ((5, table_of(whole)), (4, table_of(several))):
        path = save(tmp_path / "model.safetensors", state)
        with pytest.raises(NonFiniteError, match=rf"table 'relations.weight' holds \w+.* in (matrix|row) {number}:"):
            embcompress.approximate(path, bases=1, bilinear="relations*")
        assert list(tmp_path.iterdir()) == [path]


# ----------------------------------------------------------------------------------------------------- the artifact


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Compress a small model: four matrices a row of relations beside a table of entities."""
    state = {"relations.weight": draw(7, 256), "entities.weight": draw(40, 8, seed=1), "bias": torch.arange(3)}
    path = save(tmp_path / "model.safetensors", state)
    return Path(embcompress.approximate(path, bases=2, bilinear="relations*").output.path)


def parse(path: Path) -> tuple[dict[str, Any], bytes]:
    """Take a safetensors file apart by hand: its header, and its buffer."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def document_of(path: Path) -> dict[str, Any]:
    """Read what an artifact says of itself."""
    document: dict[str, Any] = json.loads(parse(path)[0]["__metadata__"]["embcompress"])
    return document


def rebuild(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write an artifact again with what it says of its relations changed in place."""
    header, buffer = parse(path)
    document = json.loads(header["__metadata__"]["embcompress"])
    change(document["tables"]["relations.weight"])
    header["__metadata__"]["embcompress"] = json.dumps(document)
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + buffer)


def test_artifact_says_what_the_matrices_are(artifact: Path) -> None:
    """The document has kind, matrix and the flat shape of the original, and the checksum of both factors."""
    document = document_of(artifact)
    error = document["tables"]["relations.weight"].pop("error")
    assert document["tables"]["relations.weight"] == {
        "kind": "bilinear",
        "coding": "plain",
        "shape": [7, 256],
        "dtype": "float32",
        "tied_names": [],
        "rank": 2,
        "matrix": [8, 8],
    }
    assert "matrix" not in document["tables"]["entities.weight"]
    original = draw(7, 256).double().view(28, 8, 8)
    measured = float((multiply(artifact, "relations.weight") - original).norm() / original.norm())
    assert error == {"relative": pytest.approx(measured, rel=MEASURED)}
    left, right = factors_of(artifact, "relations.weight")
    assert (left.shape, right.shape) == ((7, 4, 8, 2), (7, 4, 8, 2))
    assert document["crc32"]["relations.weight.left"] == f"{zlib.crc32(as_bytes(left)):08x}"
    assert document["crc32"]["relations.weight.right"] == f"{zlib.crc32(as_bytes(right)):08x}"


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two runs over one checkpoint, in folders of other names, write identical artifacts and reports but for times."""
    files = []
    for name in ("one", "another folder"):
        (tmp_path / name).mkdir()
        path = save(tmp_path / name / "model.safetensors", MIXED)
        result = embcompress.approximate(path, bases=2, bilinear=["relations*", "bil*"])
        tables = [{**asdict(table), "seconds": 0} for table in result.tables]
        files.append((Path(result.output.path).read_bytes(), tables))
    assert files[0] == files[1]


def assert_damaged(path: Path, message: str) -> None:
    """Check that load and reconstruct both refuse an artifact and leave nothing behind."""
    before = sorted(path.parent.iterdir())
    for fail in (embcompress.load, embcompress.reconstruct):
        with pytest.raises(ArtifactError, match=message):
            fail(path)
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("position", [0, -1])
@pytest.mark.parametrize("name", ["relations.weight.left", "relations.weight.right"])
def test_a_flipped_bit_in_a_factor_is_noticed(artifact: Path, name: str, position: int, bit: int) -> None:
    """One flipped bit, in the first or last byte of either factor, is named by load and reconstruct."""
    header, buffer = parse(artifact)
    start, end = header[name]["data_offsets"]
    raw = bytearray(artifact.read_bytes())
    raw[len(raw) - len(buffer) + (start if position == 0 else end - 1)] ^= 1 << bit
    artifact.write_bytes(raw)
    assert_damaged(artifact, f"tensor '{name}' in .* has the crc32 .* the file was changed or damaged")


LIES: dict[str, dict[str, Any]] = {
    "matrix does not divide": {"matrix": [5, 7]},
    "matrix negative": {"matrix": [-8, -8]},
    "matrix zero": {"matrix": [0, 8]},
    "matrix of others": {"matrix": [4, 16]},
    "matrix larger than a row": {"matrix": [16, 32]},
    "matrix of fewer a row": {"matrix": [16, 16]},
    "matrix huge": {"matrix": [10**30, 10**30]},
    "matrix of one side": {"matrix": [8]},
    "matrix of three sides": {"matrix": [8, 8, 4]},
    "matrix empty": {"matrix": []},
    "matrix null": {"matrix": None},
    "matrix text": {"matrix": "88"},
    "matrix number": {"matrix": 64},
    "matrix of texts": {"matrix": ["8", "8"]},
    "matrix of floats": {"matrix": [8.0, 8.0]},
    "matrix of bools": {"matrix": [True, True]},
    "matrix nested": {"matrix": [[8], 8]},
    "complex": {"dtype": "complex64"},
    "rank not stored": {"rank": 3},
    "rank huge": {"rank": 10**30},
    "rank 0": {"rank": 0},
    "more rows": {"shape": [8, 256]},
    "fewer columns": {"shape": [7, 192]},
    "columns that matrices do not fill": {"shape": [7, 257]},
    "shape 1-D": {"shape": [1792]},
    "kind of rows": {"kind": "embedding"},
    "kind unknown": {"kind": "trilinear"},
    "coding of a later version": {"coding": "codes"},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_artifact_that_lies_of_its_matrices_is_refused(artifact: Path, lie: dict[str, Any]) -> None:
    """Matrices that are none, or not those of the tensors, are an ArtifactError on every way in."""
    rebuild(artifact, lambda fields: fields.update(lie))
    assert_damaged(artifact, "model-2bases.safetensors|table 'relations.weight'")
    with pytest.raises(ArtifactError):
        embcompress.inspect(artifact)


def test_an_artifact_that_misses_its_matrices_is_refused(artifact: Path) -> None:
    """A bilinear table without its matrix is refused by the name of the key."""
    rebuild(artifact, lambda fields: fields.pop("matrix"))
    assert_damaged(artifact, "does not follow the schema of artifacts .*matrix")


def test_an_artifact_is_not_compressed_again(artifact: Path) -> None:
    """Neither its factors nor anything else of it is taken for a table."""
    for options in ({"bilinear": "relations*"}, {"bilinear": "*left"}, {}):
        with pytest.raises(TableError, match="is compressed already"):
            embcompress.approximate(artifact, bases=1, **options)


def test_inspect_tells_what_the_factors_are(artifact: Path) -> None:
    """The table is listed with its matrices, rank and error, each factor with its part, and none is offered anew."""
    error = document_of(artifact)["tables"]["relations.weight"]["error"]["relative"]
    result = embcompress.inspect(artifact)
    compressed = {table.name: table for table in result.compressed_tables}["relations.weight"]
    assert (compressed.kind, compressed.rows, compressed.shape) == ("bilinear", 7, (256,))
    assert (compressed.matrix, compressed.rank, compressed.relative) == ((8, 8), 2, error)
    assert compressed.bytes == 2 * 7 * 4 * 8 * 2 * 4
    listed = {table.name: table for table in result.tables}
    for side in ("left", "right"):
        table = listed[f"relations.weight.{side}"]
        assert (table.rows, table.shape, table.chosen) == (7, (4, 8, 2), False)
        assert table.reason == f"{side} factors of 'relations.weight'"
    assert listed["entities.weight.bases"].reason == "bases of 'entities.weight'"
    assert not any("--bilinear" in table.reason for table in listed.values())


OFFERED: dict[str, tuple[dict[str, Tensor], str]] = {
    "(R, d, d)": ({"relations.weight": draw(7, 9, 9)}, "9 x 9 matrices, smaller up to rank 4"),
    "nn.Bilinear": ({"bil.weight": draw(5, 6, 11)}, "6 x 11 matrices, smaller up to rank 3"),
    "wide matrices": ({"bil.weight": draw(5, 2, 100)}, "2 x 100 matrices, smaller up to rank 1"),
    "flat beside entities": (
        {"relations.weight": draw(7, 81), "entities.weight": draw(40, 9)},
        "9 x 9 matrices, smaller up to rank 4",
    ),
    "NTN beside entities": (
        {"relations.weight": draw(7, 256), "entities.weight": draw(40, 8)},
        "8 x 8 matrices, smaller up to rank 3",
    ),
}


@pytest.mark.parametrize(("state", "offer"), OFFERED.values(), ids=OFFERED)
def test_inspect_offers_to_factor_matrices(tmp_path: Path, state: dict[str, Tensor], offer: str) -> None:
    """The first table is offered as matrices up to the rank that pays, which approximate takes, and no other is."""
    path = save(tmp_path / "model.safetensors", state)
    listed = {table.name: table.reason for table in embcompress.inspect(path).tables}
    first = next(iter(state))
    assert {name for name, reason in listed.items() if "--bilinear" in reason} == {first}
    assert listed[first].endswith(f"; --bilinear: {offer}")
    most = int(offer.rpartition(" ")[2])
    result = embcompress.approximate(path, bases=most, bilinear=first, table=first)
    assert bilinear_table(result).rank == most


NOT_OFFERED: dict[str, dict[str, Tensor]] = {
    "entities of a square number of columns": {"entities.weight": draw(40, 64), "relations.weight": draw(7, 64)},
    "words and positions": {"wte.weight": draw(50, 16), "wpe.weight": draw(20, 16)},
    "complex matrices": {"relations.weight": draw(7, 8, 8).to(torch.complex64)},
    "matrices that never pay": {"relations.weight": draw(7, 2, 2)},
}


@pytest.mark.parametrize("state", NOT_OFFERED.values(), ids=NOT_OFFERED)
def test_inspect_does_not_offer_plain_rows(tmp_path: Path, state: dict[str, Tensor]) -> None:
    """Rows of a square number of columns are no matrices while nothing says so; complex or tiny ones never are."""
    path = save(tmp_path / "model.safetensors", state)
    assert not any("--bilinear" in table.reason for table in embcompress.inspect(path).tables)


@pytest.mark.parametrize("sample_file", ["kinships-complex", "kinships-transe", "words"])
def test_inspect_does_not_offer_the_other_samples(sample_file: str) -> None:
    """No table of the samples that hold plain rows is offered as matrices; RESCAL's relations are."""
    for path in sorted((RESCAL.parents[1] / sample_file).glob("*.*")):
        if path.suffix in {".pkl", ".pt", ".safetensors"}:
            assert not any("--bilinear" in table.reason for table in embcompress.inspect(path).tables)
    offered = {table.name for table in embcompress.inspect(RESCAL).tables if "--bilinear: 64 x 64" in table.reason}
    assert offered == {RELATIONS}


# ------------------------------------------------------------------------------------------------------------ serving


class Biaffine(nn.Module):
    """Scores words by forms of pairs of words."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.emb = nn.Embedding(40, 8)
        self.bil = nn.Bilinear(8, 8, 5, bias=bias)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Score pairs of ids: (*s), (*s) -> (*s, 5)."""
        scores: Tensor = self.bil(self.emb(first), self.emb(second))
        return scores


def compress_biaffine(model: nn.Module, folder: Path, **options: Any) -> Path:
    """Save a model and compress its forms to rank 2."""
    path = save(folder / "model.safetensors", model.state_dict())
    return Path(embcompress.approximate(path, **{"bases": 2, "bilinear": "bil.weight", **options}).output.path)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_apply_to_puts_forms_in_place(tmp_path: Path, dtype: torch.dtype, bias: bool) -> None:
    """nn.Bilinear becomes forms of the model's dtype, with its own bias, that give x1^T A B^T x2 + b."""
    torch.manual_seed(0)
    model = Biaffine(bias=bias)
    artifact = compress_biaffine(model, tmp_path, exclude="emb*")
    model.to(dtype).eval()
    first_bias, embedding = model.bil.bias, model.emb
    placed = embcompress.apply_to(model, artifact)
    assert placed == {"bil.weight": model.bil}
    assert isinstance(model.bil, LowRankBilinear)
    assert model.emb is embedding
    assert model.bil.bias is first_bias
    assert not model.bil.training
    assert {parameter.dtype for parameter in model.bil.parameters()} == {dtype}
    left, right = (factor.to(dtype).double() for factor in factors_of(artifact, "bil.weight"))
    first, second = torch.tensor([[3, 0], [39, 3]]), torch.tensor([[7, 7], [1, 20]])
    x1, x2 = model.emb(first).detach().double(), model.emb(second).detach().double()
    exact = torch.einsum("abi,oij,abj->abo", x1, left @ right.mT, x2) + (
        0 if first_bias is None else first_bias.detach().double()
    )
    moduli = torch.einsum("abi,oij,abj->abo", x1.abs(), left.abs() @ right.abs().mT, x2.abs())
    actual = model(first, second)
    assert actual.dtype == dtype
    bound = (8 + 8 + 2 + 1) * torch.finfo(dtype).eps * (moduli + 1)
    assert bool(((actual.detach().double() - exact).abs() <= bound).all())
    actual.sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in model.bil.parameters())


def test_apply_to_serves_both_kinds_at_once(tmp_path: Path) -> None:
    """An artifact of words and forms replaces both, and the model gives what the reconstructed weights give."""
    torch.manual_seed(0)
    model = Biaffine()
    artifact = compress_biaffine(model, tmp_path)
    dense = Biaffine()
    restored = safetensors.torch.load_file(embcompress.reconstruct(artifact).output.path)
    dense.load_state_dict(restored, strict=True)
    placed = embcompress.apply_to(model, artifact)
    assert placed == {"emb.weight": model.emb, "bil.weight": model.bil}
    ids = torch.arange(40)
    expected = dense(ids, ids.flip(0)).detach()
    # three float32 tables, each a rounding off, and sums of 8 x 8 products
    slack = (8 + 8 + 3) * torch.finfo(torch.float32).eps * 8 * float(expected.abs().max())
    torch.testing.assert_close(model(ids, ids.flip(0)).detach(), expected, rtol=0, atol=slack)


def test_apply_to_keeps_frozen_forms_frozen(tmp_path: Path) -> None:
    """Forms whose weight did not train do not train, and their bias goes on as it was."""
    model = Biaffine()
    model.bil.weight.requires_grad_(False)
    embcompress.apply_to(model, compress_biaffine(model, tmp_path, exclude="emb*"))
    trains = {name: parameter.requires_grad for name, parameter in model.bil.named_parameters()}
    assert trains == {"left": False, "right": False, "bias": True}


class OwnBilinear(nn.Bilinear):
    """Does more than torch's."""

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Evaluate forms and squash them."""
        return super().forward(x1, x2).tanh()


class Bare(nn.Module):
    """A weight that is used by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 8, 8))


def shared_forms() -> nn.Module:
    """Make two modules with one weight and a bias each."""
    one, two = nn.Bilinear(8, 8, 5), nn.Bilinear(8, 8, 5)
    two.weight = one.weight
    return nn.ModuleDict({"bil": one, "other": two})


def hooked_forms() -> nn.Module:
    """Make a module that somebody listens to."""
    module = nn.Bilinear(8, 8, 5)
    module.register_forward_hook(lambda *_: None)
    return nn.ModuleDict({"bil": module})


UNFIT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "more outputs": (lambda: nn.ModuleDict({"bil": nn.Bilinear(8, 8, 6)}), r"of shape \(6, 8, 8\)"),
    "missing": (lambda: nn.ModuleDict({"lin": nn.Linear(8, 8)}), "no parameter 'bil.weight'"),
}
# The forms stay dense, and the warning tells why.
DENSE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a subclass": (lambda: nn.ModuleDict({"bil": OwnBilinear(8, 8, 5)}), "'bil.weight' belongs to 'OwnBilinear'"),
    "a bare weight": (lambda: nn.ModuleDict({"bil": Bare()}), "'bil.weight' belongs to 'Bare'"),
    "shared": (shared_forms, "is shared by 'bil' and 'other'"),
    "hooked": (hooked_forms, "'bil.weight' belongs to 'Bilinear'"),
    "itself": (lambda: nn.Bilinear(8, 8, 5), "'weight' belongs to 'Bilinear'"),
}


@pytest.mark.parametrize(("make", "message"), UNFIT.values(), ids=UNFIT)
def test_apply_to_refuses_other_places(tmp_path: Path, make: Callable[[], nn.Module], message: str) -> None:
    """Forms go into torch's own nn.Bilinear alone; anything else is named and stays as it is."""
    artifact = compress_biaffine(Biaffine(), tmp_path, exclude="emb*")
    model = make()
    before = dict(model.named_modules()), [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(TableError, match=message):
        embcompress.apply_to(model, artifact)
    assert dict(model.named_modules()) == before[0]
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), before[1], strict=True))


@for_each(("make", "message"), DENSE.values())
def test_apply_to_reconstructs_forms_that_it_cannot_place(
    tmp_path_factory: pytest.TempPathFactory, make: Callable[[], nn.Module], message: str
) -> None:
    """Forms of any other module are multiplied out into its weight, with a warning; modules stay as they are."""
    artifact = compress_biaffine(Biaffine(), tmp_path_factory.mktemp("forms"), exclude="emb*")
    (form,) = embcompress.load(artifact).values()
    model = make()
    before = dict(model.named_modules())
    with pytest.warns(UserWarning, match=re.escape(message)):
        assert embcompress.apply_to(model, artifact) == {}
    assert dict(model.named_modules()) == before
    weight = next(parameter for name, parameter in model.named_parameters() if name.endswith("weight"))
    torch.testing.assert_close(weight, form.to_dense(), rtol=0, atol=1e-6)


def test_apply_to_reconstructs_an_embedding_of_matrices(tmp_path: Path) -> None:
    """Flat relations of an nn.Embedding cannot be looked up from forms: they stay dense, and the warning names them."""
    model = nn.ModuleDict({"relations": nn.Embedding(7, 64), "entities": nn.Embedding(40, 8)})
    path = save(tmp_path / "model.safetensors", model.state_dict())
    artifact = embcompress.approximate(path, bases=2, bilinear="relations*").output.path
    form = embcompress.load(artifact)["relations.weight"]
    with pytest.warns(UserWarning, match=r"'relations\.weight' belongs to 'Embedding'"):
        placed = embcompress.apply_to(model, artifact)
    assert "relations.weight" not in placed
    torch.testing.assert_close(model["relations"].weight, form.to_dense().flatten(1), rtol=0, atol=1e-6)


# ----------------------------------------------------------------------------------------------------------- backfill


def test_backfill_leaves_matrices_as_they_are(artifact: Path, tmp_path: Path) -> None:
    """The entities of an artifact grow; its relations keep their factors, their checksums and what is said of them."""
    ids = tmp_path / "ids.txt"
    ids.write_text("".join(f"{row}\n" for row in range(40)))
    result = embcompress.backfill(artifact, max_id=50, base_ids=ids)
    assert [(table.name, table.rows) for table in result.tables] == [("entities.weight", 50)]
    before, after = document_of(artifact), document_of(Path(result.output.path))
    assert after["tables"]["relations.weight"] == before["tables"]["relations.weight"]
    actual, expected = (factors_of(path, "relations.weight") for path in (result.output.path, artifact))
    assert [as_bytes(factor) for factor in actual] == [as_bytes(factor) for factor in expected]
    form = embcompress.load(result.output.path)["relations.weight"]
    assert isinstance(form, LowRankBilinear)
    assert torch.equal(form.left, expected[0].flatten(0, -3))


def test_backfill_does_not_grow_matrices(artifact: Path, tmp_path: Path) -> None:
    """Seven ids fit no table but the relations, which have no rows to draw: refused, by name too."""
    ids = tmp_path / "ids.txt"
    ids.write_text("".join(f"{row}\n" for row in range(7)))
    before = sorted(tmp_path.iterdir())
    for options in ({}, {"table": "relations*"}, {"table": "relations.weight.left"}):
        with pytest.raises(embcompress.exceptions.EmbcompressError):
            embcompress.backfill(artifact, max_id=9, base_ids=ids, **options)
    assert sorted(tmp_path.iterdir()) == before


# --------------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a small model."""
    monkeypatch.chdir(tmp_path)
    return save(tmp_path / "model.safetensors", {**MIXED, "ntn.weight": draw(6, 96)})


def test_json_tells_of_the_matrices(model: Path) -> None:
    """--json has kind, matrices and alternative of the table, null for the others, and is the report's own text."""
    outcome = run("approximate", "model.safetensors", "--bases", 2, "--bilinear", "rel*", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (model.parent / "model-2bases.report.json").read_text()
    tables = {table["name"]: table for table in json.loads(outcome.out)["tables"]}
    assert list(tables) == ["entities.weight", "relations.weight"]
    fields = tables["relations.weight"]
    exact = MIXED["relations.weight"].double().view(7, 8, 8)
    errors = (multiply(model.with_name("model-2bases.safetensors"), "relations.weight") - exact).flatten(1).norm(dim=1)
    relative = errors / exact.flatten(1).norm(dim=1)
    assert (fields["kind"], fields["rank"], fields["rows"], fields["shape"]) == ("bilinear", 2, 7, [64])
    assert (fields["bytes_before"], fields["bytes_after"]) == (7 * 64 * 4, 7 * 16 * 2 * 4)
    assert fields["matrices"] == {
        "shape": [8, 8],
        "count": 7,
        "relative": pytest.approx(relative.tolist(), rel=MEASURED),
    }
    squares = torch.linalg.svdvals(MIXED["relations.weight"].double()).square()
    optimum = float((squares[3:].sum() / squares.sum()).sqrt())
    assert fields["bytes_after"] // ((7 + 64) * 4) == 3
    assert fields["alternative"] == {"kind": "embedding", "rank": 3, "relative": pytest.approx(optimum, rel=MEASURED)}
    assert tables["entities.weight"]["kind"] == "embedding"
    assert tables["entities.weight"]["matrices"] is tables["entities.weight"]["alternative"] is None


def test_terminal_tells_of_the_matrices(model: Path) -> None:
    """The text names the matrices, the range of their errors, and what their bytes pay for as whole rows."""
    outcome = run("approximate", "model.safetensors", "--bases", 2, "--bilinear", "rel*", "--verbose")
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads((model.parent / "model-2bases.report.json").read_text())
    fields = next(table for table in report["tables"] if table["name"] == "relations.weight")
    text = " ".join(outcome.out.split())
    least, most = min(fields["matrices"]["relative"]), max(fields["matrices"]["relative"])
    other = fields["alternative"]["relative"]
    assert f"matrices 7 matrices of 8 x 8, with errors from {least:.4f} to {most:.4f}" in text
    assert f"the same bytes would hold 3 shared bases of whole rows, with an error of at least {other:.4f}" in text
    assert text.count(" matrices of ") == 1


def test_flat_rows_take_their_shape_from_the_option(model: Path) -> None:
    """Without --bilinear-shape 96 columns are refused with its name; with it they are eight by twelve."""
    args = ("approximate", "model.safetensors", "--bases", "2", "--bilinear", "ntn.weight", "--exclude", "[er]*")
    outcome = run(*args)
    assert (outcome.code, outcome.out) == (1, "")
    assert "error: table 'ntn.weight' in model.safetensors has rows of 96 numbers" in outcome.err
    assert "hint: Give them by --bilinear-shape IN1,IN2." in outcome.err
    assert list(model.parent.iterdir()) == [model]
    outcome = run(*args, "--bilinear-shape", "8,12", "--json")
    (table,) = json.loads(outcome.out)["tables"]
    assert (table["matrices"]["shape"], table["matrices"]["count"]) == ([8, 12], 6)
    left, right = factors_of(model.with_name("model-2bases.safetensors"), "ntn.weight")
    assert (left.shape, right.shape) == ((6, 8, 2), (6, 12, 2))


@pytest.mark.parametrize("text", ["8", "8,", "8,12,1", "0,12", "-8,-12", "8x12", "eight,twelve", "8.0,12", "", "²,4"])
def test_a_shape_that_is_none_is_wrong_usage(model: Path, text: str) -> None:
    """Anything but two sides of at least 1 exits 2 with the text, in words and in JSON, and writes nothing."""
    args = ("approximate", "model.safetensors", "--bases", "2", "--bilinear", "ntn*", f"--bilinear-shape={text}")
    outcome = run(*args)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"--bilinear-shape takes two sides, as in 64,64; got {text!r}." in outcome.err
    json_outcome = run(*args, "--json")
    assert (json_outcome.code, json_outcome.err) == (2, "")
    assert json.loads(json_outcome.out)["ok"] is False
    assert list(model.parent.iterdir()) == [model]


def test_matrices_that_would_grow_exit_1(model: Path) -> None:
    """The refusal tells the break-even rank in1 in2 / (in1 + in2) and the largest that pays; nothing is written."""
    outcome = run("approximate", "model.safetensors", "--bases", 4, "--bilinear", "bil.weight")
    assert (outcome.code, outcome.out) == (1, "")
    assert "which rank 4 does not make smaller: only ranks below 4" in outcome.err
    assert "hint: Up to 3 bases make it smaller:" in outcome.err
    json_outcome = run("approximate", "model.safetensors", "--bases", 4, "--bilinear", "bil.weight", "--json")
    assert (json_outcome.code, json.loads(json_outcome.out)["error"]["id"]) == (1, "rank")
    assert list(model.parent.iterdir()) == [model]


def test_a_dry_run_tells_the_sizes(model: Path) -> None:
    """-n writes nothing and tells the bytes of factors and file that the run then has; errors are not known."""
    args = ("approximate", "model.safetensors", "--bases", 2, "--bilinear", "rel*", "--bilinear", "bil*")
    outcome = run(*args, "-n", "--json")
    assert list(model.parent.iterdir()) == [model]
    planned = json.loads(outcome.out)
    done = json.loads(run(*args, "--json").out)
    assert (
        planned["output"]["bytes"]
        == done["output"]["bytes"]
        == model.with_name("model-2bases.safetensors").stat().st_size
    )
    assert planned["totals"] == done["totals"]
    for before, after in zip(planned["tables"], done["tables"], strict=True):
        assert before["error"] is None
        assert (before["kind"], before["bytes_after"]) == (after["kind"], after["bytes_after"])
        if before["kind"] == "bilinear":
            assert before["matrices"] == {**after["matrices"], "relative": []}
            assert before["alternative"] == {**after["alternative"], "relative": None}
    shown = run(*args, "-n", "-f", "-v")
    assert shown.code == 0
    text = " ".join(shown.out.split())
    assert "matrices 7 matrices of 8 x 8; the same bytes would hold 3 shared bases of whole rows" in text


def test_the_command_line_goes_the_whole_way(model: Path) -> None:
    """inspect, approximate, inspect and reconstruct of a file exit 0 and agree on the table."""
    offered = json.loads(run("inspect", "model.safetensors", "--json").out)["tables"]
    assert {table["name"] for table in offered if "--bilinear" in table["reason"]} == {"relations.weight", "bil.weight"}
    assert run("approximate", "model.safetensors", "--bases", 3, "--bilinear", "rel*", "-q") == Outcome(0, "", "")
    listed = json.loads(run("inspect", "model-3bases.safetensors", "--json").out)["compressed_tables"]
    kinds = {table["name"]: (table["kind"], table["matrix"], table["rank"]) for table in listed}
    assert kinds["relations.weight"] == ("bilinear", [8, 8], 3)
    assert run("reconstruct", "model-3bases.safetensors", "-q") == Outcome(0, "", "")
    dense = safetensors.torch.load_file(model.with_name("model-3bases-dense.safetensors"))
    expected = multiply(model.with_name("model-3bases.safetensors"), "relations.weight").float()
    assert torch.equal(dense["relations.weight"].view(7, 8, 8), expected)


def test_help_names_the_options() -> None:
    """--help tells both options with what they take."""
    text = re.sub(r"[│\s]+", " ", run("approximate", "--help").out)
    assert re.search(r"--bilinear GLOB Tables whose rows are matrices", text)
    assert re.search(r"--bilinear-shape IN1,IN2 Shape of these matrices", text)


@pytest.mark.parametrize("scale", [1e-200, 1e-310, 1e200])
def test_squares_beyond_float64_are_refused(tmp_path: Path, scale: float) -> None:
    """Matrices whose squares leave float64 would seem to have no error: NonFiniteError, also for one among others."""
    for rows in (1, 7):
        state = {"relations.weight": draw(rows, 6, 6, dtype=torch.float64)}
        state["relations.weight"][0] *= scale
        path = save(tmp_path / "m.safetensors", state)
        with pytest.raises(NonFiniteError, match="squares leave float64"):
            embcompress.approximate(path, bases=2, bilinear="relations*")


@pytest.mark.parametrize("options", [{"exclude": "ent*"}, {"table": "relations*"}, {}], ids=str)
def test_entities_tell_the_width_though_left(tmp_path: Path, options: dict[str, str]) -> None:
    """256 columns are 16 x 16 or four 8 x 8: the 8 columns of the entities say which, chosen or not."""
    path = save(tmp_path / "m.safetensors", {"relations.weight": draw(7, 256), "entities.weight": draw(40, 8)})
    result = embcompress.approximate(path, bases=2, bilinear="relations*", **options)
    (matrices,) = (table.matrices for table in result.tables if table.matrices)
    assert (matrices.shape, matrices.count) == ((8, 8), 28)


def test_matrix_axes_are_not_cut_anew(tmp_path: Path) -> None:
    """--bilinear-shape is for flat rows: a table of three axes has its own sides, and others are refused."""
    path = save(tmp_path / "m.safetensors", {"bil.weight": draw(5, 6, 4)})
    with pytest.raises(TableError, match="6 x 4 matrices by its own axes"):
        embcompress.approximate(path, bases=1, bilinear="bil*", bilinear_shape=(2, 4))
    result = embcompress.approximate(path, bases=1, bilinear="bil*", bilinear_shape=(6, 4))
    assert result.tables[0].matrices is not None
    assert result.tables[0].matrices.shape == (6, 4)


def test_a_square_table_is_not_guessed_to_hold_squares(tmp_path: Path) -> None:
    """A biaffine weight (256, 256) is one matrix, not 256 of 16 x 16: --bilinear-shape has to say so."""
    path = save(tmp_path / "m.safetensors", {"biaffine.weight": draw(256, 256)})
    with pytest.raises(TableError, match="nothing tells the sides"):
        embcompress.approximate(path, bases=2, bilinear="biaffine*")


@pytest.mark.parametrize(("pattern", "exclude"), [("fc*", ()), ("rel*", ("rel*",))])
def test_patterns_that_leave_no_matrix_are_refused(tmp_path: Path, pattern: str, exclude: tuple[str, ...]) -> None:
    """A pattern that matches vectors only, or what is excluded, is told and not passed over."""
    state = {"relations.weight": draw(7, 8, 8), "entities.weight": draw(40, 8), "fc.bias": draw(9)}
    path = save(tmp_path / "m.safetensors", state)
    with pytest.raises(TableError, match="leaves no table"):
        embcompress.approximate(path, bases=1, bilinear=pattern, exclude=exclude)
