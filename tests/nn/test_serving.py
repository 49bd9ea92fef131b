"""apply_to: a model that looks up and scores through factors what the reconstructed table would give, or no change."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import embcompress
from embcompress.exceptions import ArtifactError, TableError
from embcompress.nn import BackfillRepresentation, Embedding, LowRankHead, LowRankRepresentation, Partition
from embcompress.nn import MultiBackfillRepresentation as MultiBackfill
from embcompress.nn.markers import TEXT
from tests.cases import for_each
from tests.fixtures import draw

ROWS, DIM, RANK = 60, 12, 3
IDS = torch.tensor([[3, 0], [59, 3], [17, 4]])

Compress = Callable[..., Path]


@pytest.fixture
def compress(tmp_path: Path) -> Compress:
    """Save tensors as a checkpoint, and compress its tables to RANK bases."""
    numbers = count()

    def compress(state: Mapping[str, Tensor], **options: Any) -> Path:
        path = tmp_path / f"model-{next(numbers)}.safetensors"
        safetensors.torch.save_file(dict(state), path)
        chosen = {name: value for name, value in ({"bases": RANK} | options).items() if value is not None}
        return Path(embcompress.approximate(path, **chosen).output.path)

    return compress


def factors_of(artifact: Path, name: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Read weights (rows, rank) and bases (rank, dim) of a table, rounded to `dtype`, in float64."""
    tensors = safetensors.torch.load_file(artifact)
    return tensors[f"{name}.weights"].to(dtype).double(), tensors[f"{name}.bases"].to(dtype).double()


def multiply_out(artifact: Path, name: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """Build the dense table (rows, dim) of an artifact in float64."""
    weights, bases = factors_of(artifact, name, dtype)
    return weights @ bases


def assert_near(actual: Tensor, expected: Tensor, *, terms: int, magnitude: Tensor) -> None:
    """Compare with float64 values: a sum of `terms` products errs by at most terms * eps * the sum of their moduli.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., equation 3.5, with eps = 2u for the rest.
    """
    bound = terms * torch.finfo(actual.dtype).eps * magnitude
    excess = (actual.detach().double() - expected).abs() - bound
    assert float(excess.max()) <= 0, f"{actual.dtype} is off by {float(excess.max()):.3g} more than its rounding"


class TiedModel(nn.Module):
    """Scores the rows of a table by rows of it."""

    def __init__(self, *, bias: bool = False, **options: Any) -> None:
        super().__init__()
        self.emb = nn.Embedding(ROWS, DIM, **options)
        self.head = nn.Linear(DIM, ROWS, bias=bias)
        self.head.weight = self.emb.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Score all rows for each id: (*s) -> (*s, ROWS)."""
        logits: Tensor = self.head(self.emb(ids))
        return logits


class Holder(nn.Module):
    """Modules by the names given."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def snapshot(model: nn.Module) -> list[tuple[object, ...]]:
    """List what a model is made of: its modules and parameters by name and identity, and the bytes of every tensor."""
    modules = [(name, id(module)) for name, module in model.named_modules(remove_duplicate=False)]
    parameters = [(name, id(value)) for name, value in model.named_parameters(remove_duplicate=False)]
    values = [(name, value.clone().numpy().tobytes()) for name, value in model.state_dict().items()]
    return [*modules, *parameters, *values]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_apply_to_looks_up_the_rows_of_the_artifact(compress: Compress, dtype: torch.dtype) -> None:
    """An nn.Embedding of any dtype gives, in that dtype, the rows of weights @ bases of the factors rounded to it."""
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    model = Holder(emb=nn.Embedding(ROWS, DIM)).to(dtype)
    placed = embcompress.apply_to(model, artifact)
    assert placed == {"emb.weight": model.emb}
    for table in (model.emb, embcompress.load(artifact)["emb.weight"]):
        with pytest.raises(IndexError, match=r"ids of table 'emb\.weight' must be in 0\.\.59; got 60\."):
            table([3, 60])
    rows = model.emb(IDS)
    assert rows.dtype == dtype
    weights, bases = factors_of(artifact, "emb.weight", dtype)
    assert_near(rows, (weights @ bases)[IDS], terms=RANK, magnitude=(weights.abs() @ bases.abs())[IDS])


class Widest(TorchDispatchMode):
    """Remembers the largest number of entries that any operation gave."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at its result."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.entries = max(self.entries, result.numel())
        return result


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@for_each("bias", [False, True])
def test_apply_to_scores_a_tied_head_through_the_factors(compress: Compress, bias: bool, dtype: torch.dtype) -> None:
    """A tied nn.Linear gives query @ (weights @ bases).T + bias; nothing as large as the table is held or computed."""
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    model = TiedModel(bias=bias).to(dtype)
    expected_bias = model.head.bias.detach().double() if bias else torch.zeros(ROWS, dtype=torch.float64)
    embcompress.apply_to(model, artifact)
    assert isinstance(model.head, LowRankHead)
    assert model.head.table is model.emb
    sizes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    factors = {"weights": (ROWS, RANK), "bases._embeddings.weight": (RANK, DIM)}
    expected = {f"{path}.{name}": shape for path in ("emb", "head.table") for name, shape in factors.items()}
    marks = dict.fromkeys(("emb.weight", "head.weight"), (len(TEXT),))
    assert sizes == expected | marks | ({"head.bias": (ROWS,)} if bias else {})
    assert sum(value.numel() for value in model.parameters()) == RANK * (ROWS + DIM) + bias * ROWS

    query = draw(2, DIM, seed=1).to(dtype)
    with Widest() as widest:
        logits = model.head(query)
        model.emb(IDS)
    assert widest.entries < ROWS * DIM
    assert logits.dtype == dtype
    weights, bases = factors_of(artifact, "emb.weight", dtype)
    exact = query.double() @ (weights @ bases).T + expected_bias
    magnitude = query.double().abs() @ (weights.abs() @ bases.abs()).T + expected_bias.abs()
    assert_near(logits, exact, terms=DIM + RANK + 1, magnitude=magnitude)


def test_apply_to_compresses_a_head_of_its_own(compress: Compress) -> None:
    """A head that is a table of its own scores through its own factors, and the embedding looks up in its own."""
    artifact = compress({"emb.weight": draw(ROWS, DIM), "head.weight": draw(ROWS, DIM, seed=1)}, table="*.weight")
    model = Holder(emb=nn.Embedding(ROWS, DIM), head=nn.Linear(DIM, ROWS)).double()
    bias = model.head.bias
    placed = embcompress.apply_to(model, artifact)
    assert placed == {"emb.weight": model.emb, "head.weight": model.head.table}
    assert model.head.bias is bias
    query = draw(4, DIM, seed=2, dtype=torch.float64)
    exact = query @ multiply_out(artifact, "head.weight").T + bias.detach()
    torch.testing.assert_close(model.head(query).detach(), exact, rtol=1e-12, atol=1e-12)
    exact = multiply_out(artifact, "emb.weight")[IDS]
    torch.testing.assert_close(model.emb(IDS).detach(), exact, rtol=1e-12, atol=1e-12)


def test_apply_to_ties_what_the_artifact_says_was_tied(tmp_path: Path) -> None:
    """A model that was not tied yet is served by one module at all the names that the table had."""
    torch.save(TiedModel().state_dict(), tmp_path / "model.pt")
    artifact = embcompress.approximate(tmp_path / "model.pt", bases=RANK).output.path
    model = Holder(emb=nn.Embedding(ROWS, DIM), head=nn.Linear(DIM, ROWS, bias=False))
    placed = embcompress.apply_to(model, artifact)
    assert placed == {"emb.weight": model.emb}
    assert model.head.table is model.emb


@pytest.mark.parametrize(
    ("name", "make", "path"),
    [
        ("emb.weight", lambda: Holder(inner=Holder(emb=nn.Embedding(ROWS, DIM))), "inner.emb"),
        ("inner.emb.weight", lambda: Holder(emb=nn.Embedding(ROWS, DIM)), "emb"),
        ("emb.weight", lambda: Holder(emb=nn.Embedding(ROWS, DIM), inner=Holder(emb=nn.Embedding(ROWS, DIM))), "emb"),
        ("0.emb.weight", lambda: nn.Sequential(Holder(emb=nn.Embedding(ROWS, DIM))), "0.emb"),
    ],
    ids=["model has a prefix", "table has a prefix", "exact name goes first", "in a Sequential"],
)
def test_apply_to_finds_a_table_by_its_name(
    compress: Compress, name: str, make: Callable[[], nn.Module], path: str
) -> None:
    """The one module whose name is the table's, up to a prefix on either side, is replaced, and no other one."""
    model = make()
    before = dict(model.named_modules())
    placed = embcompress.apply_to(model, compress({name: draw(ROWS, DIM)}))
    assert placed == {name: model.get_submodule(path)}
    assert isinstance(model.get_submodule(path), LowRankRepresentation)
    others = [other for other in before if other != path]
    assert all(model.get_submodule(other) is before[other] for other in others)


@pytest.mark.parametrize("shared_head", [False, True])
def test_apply_to_serves_a_module_under_every_path(compress: Compress, shared_head: bool) -> None:
    """A module that a model has under two paths is replaced at both, by the same factors and the same bias."""
    inner = TiedModel(bias=True)
    model = Holder(inner=inner, emb=inner.emb, **({"head": inner.head} if shared_head else {}))
    bias = inner.head.bias
    placed = embcompress.apply_to(model, compress({"inner.emb.weight": draw(ROWS, DIM)}))
    table = placed["inner.emb.weight"]
    assert model.emb is inner.emb is inner.head.table is table
    assert inner.head.bias is bias
    if shared_head:
        assert model.head.table is table
        assert model.head.bias is bias
    assert sum(value.numel() for value in model.parameters()) == RANK * (ROWS + DIM) + ROWS


class ScaledEmbedding(nn.Embedding):
    """Does more than look rows up."""

    def forward(self, ids: Tensor) -> Tensor:
        """Look rows up and scale them."""
        return super().forward(ids) * self.embedding_dim**0.5


class NormalizedLinear(nn.Linear):
    """Does more than score rows."""

    def forward(self, query: Tensor) -> Tensor:
        """Score rows by a query of unit length."""
        return super().forward(nn.functional.normalize(query, dim=-1))


class BareTable(nn.Module):
    """A parameter that is looked up by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(ROWS, DIM))


def tied(head: nn.Module, embedding: nn.Embedding) -> nn.Module:
    """Make a model of which a head shares the table."""
    head.weight = embedding.weight
    return Holder(head=head, emb=embedding)


BAD_MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "missing": (lambda: Holder(other=nn.Embedding(ROWS, DIM)), "no parameter 'emb.weight'"),
    "a buffer": (lambda: Holder(emb=nn.BatchNorm1d(ROWS, affine=False)), "no parameter 'emb.weight'"),
    "ambiguous": (
        lambda: Holder(one=Holder(emb=nn.Embedding(ROWS, DIM)), two=Holder(emb=nn.Embedding(ROWS, DIM))),
        "'emb.weight'",
    ),
    "more rows": (
        lambda: Holder(emb=nn.Embedding(ROWS + 1, DIM)),
        r"'emb.weight' is float32 of shape \(60, 12\); .*'emb.weight' is float32 of shape \(61, 12\)",
    ),
    "fewer columns": (lambda: Holder(emb=nn.Embedding(ROWS, DIM - 1)), r"'emb.weight' is float32 of shape \(60, 11\)"),
    "transposed": (lambda: Holder(emb=nn.Linear(ROWS, DIM)), r"'emb.weight' is float32 of shape \(12, 60\)"),
    "reparametrized": (
        lambda: Holder(emb=nn.utils.parametrizations.weight_norm(nn.Embedding(ROWS, DIM))),
        "no parameter 'emb.weight'",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_apply_to_refuses_a_model_that_does_not_fit(
    compress: Compress, make: Callable[[], nn.Module], message: str
) -> None:
    """A table without its one place, or of which a module does more than torch's, is named and changes nothing."""
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    model = make()
    before = snapshot(model)
    with pytest.raises(TableError, match=message):
        embcompress.apply_to(model, artifact)
    assert snapshot(model) == before


def test_apply_to_refuses_our_embedding_as_the_model(compress: Compress) -> None:
    """An Embedding of ours that is itself the model cannot be replaced, says the message, and stays."""
    model = Embedding(ROWS, shape=DIM)
    before = snapshot(model)
    with pytest.raises(TableError, match="model is itself the embedding"):
        embcompress.apply_to(model, compress({"_embeddings.weight": draw(ROWS, DIM)}))
    assert snapshot(model) == before


def test_apply_to_changes_nothing_when_the_second_table_fails(compress: Compress) -> None:
    """Of two tables the first fits and the second has another shape: the second is named, the first not replaced."""
    artifact = compress({"a_emb.weight": draw(ROWS, DIM), "b_emb.weight": draw(ROWS, DIM, seed=1)})
    model = Holder(a_emb=nn.Embedding(ROWS, DIM), b_emb=nn.Embedding(ROWS, DIM + 1))
    before = snapshot(model)
    with pytest.raises(TableError, match=r"'b_emb\.weight' is float32 of shape \(60, 13\)"):
        embcompress.apply_to(model, artifact)
    assert snapshot(model) == before


def test_apply_to_changes_nothing_when_the_artifact_is_damaged(compress: Compress) -> None:
    """A flipped bit in the last table's factors is an ArtifactError that leaves the model as it was."""
    artifact = compress({"a_emb.weight": draw(ROWS, DIM), "b_emb.weight": draw(ROWS, DIM, seed=1)})
    raw = bytearray(artifact.read_bytes())
    raw[-1] ^= 1
    artifact.write_bytes(raw)
    model = Holder(a_emb=nn.Embedding(ROWS, DIM), b_emb=nn.Embedding(ROWS, DIM))
    before = snapshot(model)
    with pytest.raises(ArtifactError, match="crc32"):
        embcompress.apply_to(model, artifact)
    assert snapshot(model) == before


@pytest.mark.parametrize("requires_grad", [False, True])
@for_each("training", [False, True])
def test_apply_to_keeps_mode_and_trainability(compress: Compress, requires_grad: bool, training: bool) -> None:
    """Factors are frozen where the parameter was, the bias is left alone, and every part has the model's mode."""
    model = Holder(tied=TiedModel(bias=True), own=nn.Embedding(ROWS, DIM)).train(training)
    for embedding in (model.tied.emb, model.own):
        embedding.weight.requires_grad_(requires_grad)
    artifact = compress({"tied.emb.weight": draw(ROWS, DIM), "own.weight": draw(ROWS, DIM, seed=1)}, table="*.weight")
    embcompress.apply_to(model, artifact)
    assert {name: value.requires_grad for name, value in model.named_parameters()} == {
        "tied.emb.weights": requires_grad,
        "tied.emb.bases._embeddings.weight": requires_grad,
        "tied.head.bias": True,
        "own.weights": requires_grad,
        "own.bases._embeddings.weight": requires_grad,
    }
    assert {module.training for module in model.modules()} == {training}


@pytest.mark.parametrize("order", [1.0, 2.0])
def test_apply_to_keeps_max_norm(compress: Compress, order: float) -> None:
    """Rows above max_norm are scaled down to it, as by an nn.Embedding over the dense table, and others are not."""
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    dense = multiply_out(artifact, "emb.weight")
    limit = float(torch.linalg.vector_norm(dense, ord=order, dim=1).median())
    model = Holder(emb=nn.Embedding(ROWS, DIM, max_norm=limit, norm_type=order)).double()
    embcompress.apply_to(model, artifact)
    theirs = nn.Embedding.from_pretrained(dense.clone(), max_norm=limit, norm_type=order)
    # torch divides by the norm plus 1e-7
    torch.testing.assert_close(model.emb(IDS).detach(), theirs(IDS), rtol=2e-7 / limit, atol=0)
    short = (torch.linalg.vector_norm(dense, ord=order, dim=1) < limit * 0.999).nonzero().squeeze(1)
    assert 20 < len(short) < 40
    torch.testing.assert_close(model.emb(short).detach(), dense[short], rtol=1e-12, atol=1e-12)


class Recorder(nn.Module):
    """Stands for a regularizer: keeps the rows that it is shown."""

    def update(self, rows: Tensor) -> None:
        """Keep rows."""
        self.rows = rows.detach()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((DIM,), torch.float64), ((3, 4), torch.float64), ((DIM // 2,), torch.complex128), ((2, 3), torch.complex128)],
    ids=str,
)
def test_apply_to_keeps_the_manners_of_our_embedding(
    compress: Compress, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """An Embedding of ours keeps shape, complex entries, constraint, normalizer, regularizer and dropout."""
    artifact = compress({"table._embeddings.weight": draw(ROWS, DIM)})
    flat = multiply_out(artifact, "table._embeddings.weight")
    values = torch.view_as_complex(flat.view(ROWS, *shape, 2)) if dtype.is_complex else flat.view(ROWS, *shape)
    row_options = {"normalizer": "normalize", "dropout": 0.25}
    constraint = {"constrainer": "clamp_norm", "constrainer_kwargs": {"maxnorm": 0.5}}
    dense = Embedding.from_pretrained(values, regularizer=Recorder(), trainable=True, **constraint, **row_options)
    dense.post_parameter_update()
    model = Holder(table=Embedding(ROWS, shape=shape, dtype=dtype, regularizer=Recorder(), **constraint, **row_options))
    regularizer = model.table.regularizer
    placed = embcompress.apply_to(model, artifact)["table._embeddings.weight"]
    assert model.table is placed
    assert placed.regularizer is regularizer
    assert (placed.max_id, placed.shape, placed.dtype, placed.bases.constrainer) == (ROWS, shape, dtype, None)
    for training in (True, False):
        torch.manual_seed(3)
        expected = dense.train(training)(IDS).detach()
        torch.manual_seed(3)
        rows = placed.train(training)(IDS).detach()
        torch.testing.assert_close(rows, expected, rtol=1e-12, atol=1e-12)
        assert bool((rows == 0).any()) is training  # dropped out
        torch.testing.assert_close(regularizer.rows, dense.regularizer.rows, rtol=1e-12, atol=1e-12)


def test_apply_to_leaves_the_new_rows_of_a_backfill(compress: Compress) -> None:
    """The base of a backfill is compressed inside it, and its new rows stay as they are to the bit."""
    generator = torch.Generator().manual_seed(4)
    base = Embedding(ROWS, shape=DIM, dtype=torch.float64, generator=generator)
    ids = list(range(1, 2 * ROWS, 2))
    table = BackfillRepresentation(2 * ROWS, ids, base)
    model = Holder(table=table)
    artifact = compress({"table.bases.0._embeddings.weight": draw(ROWS, DIM)})
    before = table().detach()
    embcompress.apply_to(model, artifact)
    after = model.table().detach()
    assert model.table is table
    assert torch.equal(after[0::2], before[0::2])
    exact = multiply_out(artifact, "table.bases.0._embeddings.weight")
    torch.testing.assert_close(after[1::2], exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("number", [0, 1])
def test_apply_to_finds_one_base_of_several(compress: Compress, number: int) -> None:
    """Of two bases in a table, the one that the artifact names is compressed and the other one left."""
    bases = [Embedding(ROWS, shape=DIM, dtype=torch.float64) for _ in range(2)]
    partitions = [Partition(range(ROWS), bases[0]), Partition(range(ROWS, 2 * ROWS), bases[1])]
    model = Holder(table=MultiBackfill(max_id=2 * ROWS, partitions=partitions))
    name = f"table.bases.{number}._embeddings.weight"
    artifact = compress({name: draw(ROWS, DIM)})
    embcompress.apply_to(model, artifact)
    rows = model.table().detach().view(2, ROWS, DIM)
    torch.testing.assert_close(rows[number], multiply_out(artifact, name), rtol=1e-12, atol=1e-12)
    assert torch.equal(rows[1 - number], bases[1 - number]().detach())


def test_apply_to_trains_the_factors(compress: Compress) -> None:
    """The gradients of a tied model are those of the dense one by the chain rule, and a step lowers its loss."""
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    model = TiedModel(bias=True).double()
    embcompress.apply_to(model, artifact)
    weights, bases = factors_of(artifact, "emb.weight")
    dense = (weights @ bases).requires_grad_()
    ids, answers = torch.tensor([3, 0, 59, 3]), torch.tensor([1, 7, 7, 40])
    expected = nn.functional.cross_entropy(dense[ids] @ dense.T + model.head.bias.detach(), answers)
    expected.backward()
    gradient = dense.grad
    assert gradient is not None

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = nn.functional.cross_entropy(model(ids), answers)
    loss.backward()
    optimizer.step()
    torch.testing.assert_close(loss.detach(), expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(model.emb.weights.grad, gradient @ bases.T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(model.emb.bases.stored.grad, weights.T @ gradient, rtol=1e-10, atol=1e-12)
    exact = weights - 0.01 * gradient @ bases.T
    torch.testing.assert_close(model.emb.weights.detach(), exact, rtol=1e-10, atol=1e-12)
    assert nn.functional.cross_entropy(model(ids), answers) < loss


def test_apply_to_places_factors_of_a_meta_model_on_the_cpu(compress: Compress) -> None:
    """A model without memory gets factors that hold values; its other parameters stay without."""
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    with torch.device("meta"):
        model = TiedModel(bias=True).double()
    with pytest.warns(UserWarning, match=r"1 tensors of the model have no memory yet .*'?head\.bias"):
        embcompress.apply_to(model, artifact)
    assert {name: value.device.type for name, value in model.named_parameters()} == {
        "emb.weights": "cpu",
        "emb.bases._embeddings.weight": "cpu",
        "head.bias": "meta",
    }
    exact = multiply_out(artifact, "emb.weight")[IDS]
    torch.testing.assert_close(model.emb(IDS).detach(), exact, rtol=1e-12, atol=1e-12)


def test_apply_to_gives_a_model_whose_state_dict_loads(compress: Compress) -> None:
    """The state dict of a served model loads strictly into another one, and the scores are equal to the bit."""
    artifacts = [compress({"emb.weight": draw(ROWS, DIM, seed=seed)}) for seed in (0, 1)]
    models = [TiedModel(bias=True) for _ in artifacts]
    for model, artifact in zip(models, artifacts, strict=True):
        embcompress.apply_to(model, artifact)
    assert not torch.equal(models[0](IDS), models[1](IDS))
    models[1].load_state_dict(models[0].state_dict(), strict=True)
    assert torch.equal(models[0](IDS), models[1](IDS))


def test_apply_to_refuses_what_is_no_artifact(tmp_path: Path) -> None:
    """A dense checkpoint is refused by its name, and the model stays as it was."""
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"emb.weight": draw(ROWS, DIM)}, path)
    model = Holder(emb=nn.Embedding(ROWS, DIM))
    before = snapshot(model)
    with pytest.raises(ArtifactError, match=r"model\.safetensors is not a compressed file"):
        embcompress.apply_to(model, path)
    assert snapshot(model) == before


@pytest.mark.parametrize("names", [("x.emb.weight", "y.emb.weight"), ("emb.weight", "y.emb.weight")])
def test_apply_to_refuses_two_tables_for_one_parameter(compress: Compress, names: tuple[str, str]) -> None:
    """Two tables that both match the model's one parameter are refused by name, and nothing changes."""
    model = Holder(emb=nn.Embedding(ROWS, DIM))
    before = snapshot(model)
    with pytest.raises(TableError):
        embcompress.apply_to(model, compress({name: draw(ROWS, DIM, seed=i) for i, name in enumerate(names)}))
    assert snapshot(model) == before


def test_apply_to_keeps_weights_that_half_cannot_hold(compress: Compress) -> None:
    """Weights that were stored wider because float16 overflows give the rows in a float16 model all the same."""
    artifact = compress({"emb.weight": torch.full((ROWS, DIM), 40000.0, dtype=torch.float16)})
    model = Holder(emb=nn.Embedding(ROWS, DIM)).half()
    embcompress.apply_to(model, artifact)
    torch.testing.assert_close(model.emb(IDS), torch.full((3, 2, DIM), 40000.0, dtype=torch.float16))


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [(torch.complex64, torch.complex64), (torch.complex64, torch.float32), (torch.float32, torch.complex64)],
)
def test_apply_to_tells_complex_from_real(compress: Compress, stored: torch.dtype, dtype: torch.dtype) -> None:
    """A complex table over a real embedding, or the reverse, is a TableError; complex over complex serves."""
    artifact = compress({"emb.weight": draw(ROWS, DIM, dtype=stored)}, table="emb.weight")
    model = Holder(emb=nn.Embedding(ROWS, DIM, dtype=dtype))
    if stored == dtype:
        embcompress.apply_to(model, artifact)
        assert model.emb(IDS).dtype == dtype
    else:
        with pytest.raises(TableError):
            embcompress.apply_to(model, artifact)


def test_apply_to_names_the_ambiguity(compress: Compress) -> None:
    """The message tells the candidates."""
    model = Holder(one=Holder(emb=nn.Embedding(ROWS, DIM)), two=Holder(emb=nn.Embedding(ROWS, DIM)))
    with pytest.raises(TableError, match=r"one\.emb\.weight.*two\.emb\.weight"):
        embcompress.apply_to(model, compress({"emb.weight": draw(ROWS, DIM)}))


def test_apply_to_keeps_a_constraint_in_every_lookup(compress: Compress) -> None:
    """Complex entries of modulus 1, as of RotatE, have it after compression too, for ids of any number of axes."""
    table = Embedding(ROWS, shape=6, dtype=torch.complex64, initializer="init_phases", constrainer="complex_normalize")
    model = Holder(rows=table)
    artifact = compress({"rows._embeddings.weight": table.stored.detach()})
    embcompress.apply_to(model, artifact)
    for ids in (None, IDS, torch.tensor(3)):
        moduli = model.rows(ids).detach().abs()
        torch.testing.assert_close(moduli, torch.ones_like(moduli))


def spectral() -> nn.Module:
    """Make an nn.Embedding whose weight is computed from another parameter."""
    return nn.utils.spectral_norm(nn.Embedding(ROWS, DIM))


def foreign() -> nn.Module:
    """Make a class of the user's that looks like a representation and gives seven times its rows."""
    cls = type("Embedding", (nn.Module,), {"forward": lambda self, ids: 7 * self._embeddings(ids)})
    module = cls()
    module.max_id, module.shape, module._embeddings = ROWS, (DIM,), nn.Embedding(ROWS, DIM)
    return module


# The model, the parameter that stays, and the reason that the warning tells.
DENSE: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "head of another manner": (lambda: TiedModel(max_norm=1.0), "emb.weight", "'emb' and 'head', which treat"),
    "spectral norm": (lambda: Holder(emb=spectral()), "emb.weight_orig", "belongs to 'Embedding', which needs it"),
    "factors": (
        lambda: Holder(emb=LowRankRepresentation(max_id=ROWS, shape=DIM, num_bases=DIM)),
        "emb.weights",
        "belongs to 'LowRankRepresentation', which needs it",
    ),
    "bases": (
        lambda: Holder(emb=LowRankRepresentation(max_id=100, shape=DIM, num_bases=ROWS)),
        "emb.bases._embeddings.weight",
        "belongs to 'Embedding', which may do more",
    ),
    "a foreign class": (lambda: Holder(emb=foreign()), "emb._embeddings.weight", "'Embedding', which may do more"),
    "read from outside": (
        lambda: Holder(emb=nn.TransformerEncoderLayer(DIM, 2, dim_feedforward=ROWS)),
        "emb.linear1.weight",
        "is read by 'TransformerEncoderLayer' past its forward",
    ),
}


@for_each("device", ["cpu", "meta"])
@pytest.mark.parametrize(("make", "name", "reason"), DENSE.values(), ids=DENSE)
def test_apply_to_reconstructs_what_it_cannot_serve(
    compress: Compress, make: Callable[[], nn.Module], name: str, reason: str, device: str
) -> None:
    """The dense rows come into the parameter, a warning names it and says why; the second table is served all the same.

    On meta the parameter gets memory, and a second warning tells of the others that have none.
    """
    artifact = compress({name: draw(ROWS, DIM), "second.weight": draw(ROWS, DIM, seed=1)}, table=[name, "second.*"])
    with torch.device(device):
        model = Holder(**dict(make().named_children()), second=nn.Embedding(ROWS, DIM)).double()
    modules = {path: module for path, module in model.named_modules() if path != "second"}
    with pytest.warns(UserWarning, match="stays dense|no memory") as caught:
        placed = embcompress.apply_to(model, artifact)
    assert re.search(f"{re.escape(repr(name))} stays dense: .*{re.escape(reason)}", str(caught[0].message))
    assert placed == {"second.weight": model.second}
    assert all(model.get_submodule(path) is module for path, module in modules.items())
    parameter = model.get_parameter(name)
    # The rows are made in the dtype of the artifact.
    torch.testing.assert_close(parameter.detach(), multiply_out(artifact, name), rtol=0, atol=2e-6)
    if name == "emb.weight":
        assert model.head.weight is parameter  # ties stay


@pytest.mark.parametrize("option", ["sparse", "scale_grad_by_freq"])
@for_each("make", [nn.Embedding, nn.EmbeddingBag])
def test_apply_to_refuses_gradients_of_single_rows(compress: Compress, make: Any, option: str) -> None:
    """Sparse and scale_grad_by_freq are refused by name and change nothing; a frozen table has no gradients."""
    model = Holder(emb=make(ROWS, DIM, **{option: True}))
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    before = snapshot(model)
    with pytest.raises(TableError, match=f"'emb' asks for .*{option}=True"):
        embcompress.apply_to(model, artifact)
    assert snapshot(model) == before
    model.requires_grad_(False)
    assert set(embcompress.apply_to(model, artifact)) == {"emb.weight"}


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (lambda model: Holder(module=model), "emb.weight"),
        (lambda model: Holder(part=Holder(module=model)), "part.emb.weight"),
        (lambda model: torch.compile(model, backend="eager"), "emb.weight"),
        (lambda model: model, "_orig_mod.module.emb.weight"),
    ],
    ids=["DataParallel", "inside", "compiled", "file of a wrapped model"],
)
def test_apply_to_looks_past_wrappers(compress: Compress, wrap: Any, name: str) -> None:
    """What DataParallel and torch.compile put into names is no part of them; a compiled model gives the new rows."""
    inner = TiedModel().double()
    model = wrap(inner)
    forward = model if callable(getattr(model, "_orig_mod", None)) else inner
    forward(IDS)
    artifact = compress({name: draw(ROWS, DIM)}, table=name)
    assert embcompress.apply_to(model, artifact) == {name: inner.emb}
    dense = multiply_out(artifact, name)
    torch.testing.assert_close(forward(IDS).detach(), dense[IDS] @ dense.T, rtol=1e-12, atol=1e-12)


def test_apply_to_keeps_gradients_from_the_padding(compress: Compress) -> None:
    """A lookup of padding_idx gives its row and no gradient: those of the others are as if it had not been there."""
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    gradients = []
    for ids, padding in (([3, 0, 5], 0), ([3, 5], None)):
        model = Holder(emb=nn.Embedding(ROWS, DIM, padding_idx=padding)).double()
        embcompress.apply_to(model, artifact)
        assert model.emb.padding_idx == padding
        rows = model.emb(torch.tensor(ids))
        torch.testing.assert_close(rows.detach(), multiply_out(artifact, "emb.weight")[ids], rtol=1e-12, atol=1e-12)
        rows.square().sum().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-12, atol=1e-12)


def test_apply_to_keeps_the_padding_of_each_embedding(compress: Compress) -> None:
    """Two embeddings of one table with paddings of their own keep them: gradients are those of the dense model."""
    artifact = compress({"one.weight": draw(ROWS, DIM)}, table="one.weight")
    model = Holder(one=nn.Embedding(ROWS, DIM, padding_idx=0), two=nn.Embedding(ROWS, DIM, padding_idx=1)).double()
    model.two.weight = model.one.weight
    embcompress.apply_to(model, artifact)
    weights, bases = factors_of(artifact, "one.weight")
    dense = (weights @ bases).requires_grad_()
    ids = torch.tensor([0, 1, 2])
    for module, padding in ((model.one, 0), (model.two, 1)):
        module(ids).square().sum().backward()
        nn.functional.embedding(ids, dense, padding_idx=padding).square().sum().backward()
    torch.testing.assert_close(model.one.weights.grad, dense.grad @ bases.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("how", ["torch", "safetensors"])
@pytest.mark.parametrize("options", [{}, {"ratio": 2, "bases": None, "effort": "fast"}], ids=["plain", "coded"])
def test_apply_to_gives_a_model_that_is_saved_and_loaded(
    compress: Compress, tmp_path: Path, how: str, options: dict[str, Any]
) -> None:
    """A served and trained model, saved by torch or safetensors, loads into one to which the same artifact was applied.

    It holds a tied embedding, a bag, and a scaled embedding that is served in place.
    """
    state = {
        "tied.emb.weight": draw(ROWS, DIM),
        "bag.weight": draw(ROWS, DIM, seed=1),
        "own.weight": draw(ROWS, DIM, seed=2),
    }
    artifact = compress(state, table="*", **options)

    def make() -> nn.Module:
        torch.manual_seed(0)
        model = Holder(tied=TiedModel(bias=True), bag=nn.EmbeddingBag(ROWS, DIM), own=ScaledEmbedding(ROWS, DIM))
        embcompress.apply_to(model, artifact)
        return model

    def outputs(model: nn.Module) -> list[Tensor]:
        return [model.tied(IDS), model.bag(IDS), model.own(IDS)]

    model, other = make(), make()
    sum(output.square().sum() for output in outputs(model)).backward()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    assert not torch.equal(model.bag(IDS), other.bag(IDS))
    path = tmp_path / "served"
    if how == "torch":
        torch.save(model.state_dict(), path)
        other.load_state_dict(torch.load(path, weights_only=True))
    else:
        safetensors.torch.save_model(model, str(path))
        assert safetensors.torch.load_model(other, path) == (set(), [])
    for one, two in zip(outputs(model), outputs(other), strict=True):
        assert torch.equal(one, two)


def test_apply_to_warns_of_a_wrapper_that_reduces_gradients(compress: Compress, tmp_path: Path) -> None:
    """A model inside DistributedDataParallel is served, and the warning says to wrap it again before training."""
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    inner = TiedModel()
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(inner)
        with pytest.warns(UserWarning, match="wrap it again before it is trained"):
            embcompress.apply_to(model, artifact)
        dense = multiply_out(artifact, "emb.weight")
        torch.testing.assert_close(model.eval()(IDS).double(), dense[IDS] @ dense.T, rtol=0, atol=1e-4)
    finally:
        torch.distributed.destroy_process_group()


class Resized(TiedModel):
    """Has what models of transformers have for other sizes, and can fail in the middle."""

    fails = False

    def get_input_embeddings(self) -> nn.Module:
        """Give the table."""
        return self.emb

    def get_output_embeddings(self) -> nn.Module:
        """Give the head."""
        return self.head

    def resize_token_embeddings(self, new_num_tokens: int, *_: object) -> nn.Module:
        """Add rows of ones to the table, and to the head that shares it."""
        weight = torch.cat([self.emb.weight.detach(), torch.ones(new_num_tokens - ROWS, DIM)])
        self.emb = nn.Embedding.from_pretrained(weight, freeze=False)
        if self.fails:
            raise MemoryError
        self.head = nn.Linear(DIM, new_num_tokens, bias=False)
        self.head.weight = self.emb.weight
        return self.emb


@pytest.mark.parametrize("fails", [False, True])
def test_apply_to_lets_a_model_resize_its_table(compress: Compress, fails: bool) -> None:
    """The model's own resizing sees dense modules; then the old factors serve again, and new rows if it did not fail.

    A copy resizes itself and not the model that it was copied from.
    """
    artifact = compress({"emb.weight": draw(ROWS, DIM)})
    original = Resized()
    embcompress.apply_to(original, artifact)
    table = original.emb
    before = snapshot(original)
    model = copy.deepcopy(original)
    model.fails = fails
    factors = model.emb.weights
    if fails:
        with pytest.raises(MemoryError):
            model.resize_token_embeddings(ROWS + 4)
        assert model.emb.weights is factors
    else:
        grown = model.resize_token_embeddings(ROWS + 4)
        assert grown is model.emb
        assert grown.base.weights is factors
    assert model.head.table is model.emb
    dense = multiply_out(artifact, "emb.weight")
    dense = dense if fails else torch.cat([dense, torch.ones(4, DIM)])
    torch.testing.assert_close(model.emb().double(), dense, rtol=0, atol=1e-5)
    torch.testing.assert_close(model(IDS).double(), dense[IDS] @ dense.T, rtol=0, atol=1e-4)
    assert original.emb is table
    assert snapshot(original) == before


def test_apply_to_lets_no_model_resize_normalised_rows(compress: Compress) -> None:
    """Added rows would not be normalised: a TableError before anything changes."""
    model = Resized()
    embcompress.apply_to(model, compress({"emb.weight": draw(ROWS, DIM)}))
    model.emb.normalizer = nn.functional.normalize
    before = snapshot(model)
    with pytest.raises(TableError, match=r"'emb\.weight', whose rows are normalised in every lookup"):
        model.resize_token_embeddings(ROWS + 4)
    assert snapshot(model) == before
