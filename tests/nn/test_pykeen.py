"""PyKEEN beside us: our modules in its models, its state dicts in ours, and link prediction as the judge."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import embcompress
from embcompress.nn import CONSTRAINERS, INITIALIZERS, BackfillRepresentation, Embedding, LowRankRepresentation
from tests.cases import for_each
from tests.fixtures import draw

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of PyKEEN's own dependencies, of each other; conftest does the same for the tests
    pytest.importorskip("pykeen", reason="PyKEEN is not installed: pip install -e '.[pykeen]'")
    import pykeen.nn.init as their_init
    import pykeen.nn.representation as theirs
    from pykeen.datasets import Kinships, Nations
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.models import ComplEx, ERModel
    from pykeen.regularizers import LpRegularizer
    from pykeen.training import LCWATrainingLoop
    from pykeen.utils import clamp_norm, complex_normalize

pytestmark = [pytest.mark.pykeen, pytest.mark.usefixtures("fast_epochs")]

SAMPLES = Path(__file__).parents[2] / "sample_checkpoints"
ENTITIES, RELATIONS, DIM, RANK = 14, 55, 16, 4  # the first two are those of Nations
ROWS = 40
OPTIMUM = 1e-5  # relative: what rounding to float32 may add to an error of a tenth or more
SWAPS = 5e-4  # of an MRR over 2148 questions: two answers that change places 1 and 2, as scores a rounding apart may

Model = Any  # ERModel is generic over what nobody names


def build(nations: Nations, entities: nn.Module, *, relations: nn.Module | None = None) -> Model:
    """Put entities into a model of PyKEEN's: DistMult over real rows, ComplEx over complex ones."""
    is_complex = bool(entities(torch.tensor([0])).is_complex())
    if relations is None:
        dtype = torch.complex64 if is_complex else torch.float32
        relations = theirs.Embedding(max_id=RELATIONS, shape=tuple(entities.shape), dtype=dtype)
    return ERModel(
        triples_factory=nations.training,
        interaction="complex" if is_complex else "distmult",
        entity_representations=entities,
        relation_representations=relations,
        loss="crossentropy",
        random_seed=0,
    )


def fit(model: Model, nations: Nations, *, epochs: int = 2) -> list[float]:
    """Train by PyKEEN's own loop, which first resets the whole model once more, and return the loss of each epoch."""
    loop = LCWATrainingLoop(
        model=model, triples_factory=nations.training, optimizer="adam", optimizer_kwargs={"lr": 0.1}
    )
    losses: list[float] = loop.train(nations.training, num_epochs=epochs, batch_size=256, use_tqdm=False)
    return losses


def rank(model: Model, nations: Nations) -> dict[str, float]:
    """Compute all of PyKEEN's filtered metrics of link prediction."""
    results = RankBasedEvaluator().evaluate(
        model,
        nations.testing.mapped_triples,
        additional_filter_triples=[nations.training.mapped_triples, nations.validation.mapped_triples],
        batch_size=256,
        use_tqdm=False,
    )
    return dict(results.to_flat_dict())


def mrr_of(metrics: Mapping[str, float]) -> float:
    """Take the realistic MRR of heads and tails together."""
    return metrics["both.realistic.inverse_harmonic_mean_rank"]


def as_real(rows: Tensor) -> Tensor:
    """View rows as float64 (rows, real entries of a row)."""
    real = torch.view_as_real(rows) if rows.is_complex() else rows
    return real.detach().flatten(1).double()


# ------------------------------------------------------------------------------------------- our modules in its models


def given(rows: int, dtype: torch.dtype, *, seed: int = 0) -> Embedding:
    """Make a trainable table of given values, to which a reset goes back."""
    return Embedding.from_pretrained(draw(rows, DIM, dtype=dtype, seed=seed) / 3, trainable=True)


def given_factors(dtype: torch.dtype, **options: Any) -> LowRankRepresentation:
    """Make a table of given factors, which a reset leaves."""
    bases = draw(RANK, DIM, dtype=dtype) / 3
    return LowRankRepresentation.from_factors(bases=bases, weights=draw(ENTITIES, RANK, seed=1), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each(
    "make",
    [
        lambda dtype: given(ENTITIES, dtype),
        given_factors,
        lambda dtype: BackfillRepresentation(ENTITIES, range(9), given(9, dtype), backfill=given(5, dtype, seed=1)),
    ],
)
def test_pykeen_trains_our_modules(
    nations: Nations, make_samples: ModuleType, make: Callable[[torch.dtype], nn.Module], dtype: torch.dtype
) -> None:
    """Twelve epochs take a quarter off the loss, move every entry, and rank a fifth better than chance."""
    entities = make(dtype)
    model = build(nations, entities, relations=given(RELATIONS, dtype, seed=2))
    before = [value.detach().clone() for value in entities.parameters()]
    losses = fit(model, nations, epochs=12)
    assert losses[-1] < 0.75 * losses[0]
    assert all(bool((value != old).all()) for value, old in zip(entities.parameters(), before, strict=True))
    known = [nations.training.mapped_triples, nations.validation.mapped_triples]
    chance = make_samples.random_filtered_mrr(nations.testing.mapped_triples, known=known, entities=ENTITIES)
    assert mrr_of(rank(model, nations)) > 1.2 * chance


@pytest.mark.parametrize("cls", [Embedding, theirs.Embedding], ids=["ours", "PyKEEN's"])
def test_pykeen_leaves_frozen_rows_alone(nations: Nations, cls: Any) -> None:
    """A frozen base in a backfill keeps its bits through construction and training, while the new rows move."""
    values, ids = draw(4, DIM), [7, 2, 0, 13]
    new = [index for index in range(ENTITIES) if index not in ids]
    start = given(10, torch.float32, seed=1)
    entities = BackfillRepresentation(ENTITIES, ids, cls.from_pretrained(values), backfill=start)
    model = build(nations, entities)
    assert torch.equal(entities().detach()[ids], values)
    before = start().detach().clone()
    fit(model, nations)
    rows = entities().detach()
    assert torch.equal(rows[ids], values)
    assert bool((rows[new] != before).all())


def test_pykeen_leaves_frozen_factors_alone(nations: Nations) -> None:
    """Frozen factors keep their bits through construction and training, while the relations move."""
    entities, relations = given_factors(torch.float32, trainable=False), given(RELATIONS, torch.float32, seed=2)
    model = build(nations, entities, relations=relations)
    before = relations().detach().clone()
    fit(model, nations)
    assert torch.equal(entities.bases.stored, draw(RANK, DIM) / 3)
    assert torch.equal(entities.weights, draw(ENTITIES, RANK, seed=1))
    assert bool((relations() != before).all())


@pytest.mark.parametrize("way", ["from_factors", "approximate", "load", "from_pretrained", "frozen", "frozen draw"])
def test_pykeen_resets_no_given_table(nations: Nations, tmp_path: Path, way: str) -> None:
    """What was given to a module is there to the bit after ERModel's constructor, which resets every module."""
    table = draw(ENTITIES, DIM)
    if way == "load":
        safetensors.torch.save_file({"entities.weight": table}, tmp_path / "model.safetensors")
        result = embcompress.approximate(tmp_path / "model.safetensors", bases=RANK)
        entities = embcompress.load(result.output.path)["entities.weight"]
    else:
        entities = {
            "from_factors": lambda: LowRankRepresentation.from_factors(bases=draw(RANK, DIM), weights=table[:, :RANK]),
            "approximate": lambda: LowRankRepresentation.approximate(table, num_bases=RANK),
            "from_pretrained": lambda: Embedding.from_pretrained(table, trainable=True),
            "frozen": lambda: Embedding.from_pretrained(table),
            "frozen draw": lambda: Embedding(ENTITIES, shape=DIM, trainable=False),
        }[way]()
    before = {name: value.clone() for name, value in entities.state_dict().items()}
    build(nations, entities)
    after = entities.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_pykeen_applies_our_constrainer(nations: Nations) -> None:
    """PyKEEN's loop keeps the rows of a constrained Embedding at unit length, from construction on."""
    entities = Embedding(ENTITIES, shape=DIM, constrainer="normalize")
    model = build(nations, entities)
    for epochs in (0, 2):
        if epochs:
            fit(model, nations, epochs=epochs)
        norms = torch.linalg.vector_norm(entities().detach().double(), dim=1)
        # sum of DIM squares, root, quotient: each entry is off by less than DIM eps
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=DIM * 1.2e-7, atol=0)


@pytest.mark.parametrize("is_low_rank", [False, True])
def test_pykeen_collects_its_regularizer_from_our_modules(nations: Nations, is_low_rank: bool) -> None:
    """A regularizer of PyKEEN's on our module adds to the loss the weighted norms of the rows that were looked up."""
    regularizer = LpRegularizer(weight=0.5, p=2.0)
    if is_low_rank:
        weights, bases = draw(ENTITIES, RANK), draw(RANK, DIM, seed=1)
        entities = LowRankRepresentation.from_factors(bases=bases, weights=weights, regularizer=regularizer)
        rows = weights.double() @ bases.double()
    else:
        rows = draw(ENTITIES, DIM).double()
        entities = Embedding.from_pretrained(rows.float(), trainable=True, regularizer=regularizer)
    model = build(nations, entities).train()
    batch = nations.training.mapped_triples[:7]
    model.score_hrt(batch)
    # of heads and of tails the mean over the batch, times the weight
    expected = sum(0.5 * torch.linalg.vector_norm(rows[batch[:, side]], dim=1).mean() for side in (0, 2))
    assert float(model.collect_regularization_term()) == pytest.approx(float(expected), rel=1e-5)


WRAPPERS: dict[str, Callable[[nn.Module], theirs.Representation]] = {
    "Partition": lambda base: theirs.PartitionRepresentation(
        torch.tensor([[0, 3], [1, 0], [0, 13]]), bases=[base, base]
    ),
    "Backfill": lambda base: theirs.BackfillRepresentation(
        16, range(1, 15), base, backfill=theirs.Embedding.from_pretrained(draw(2, DIM))
    ),
    "Subset": lambda base: theirs.SubsetRepresentation(max_id=10, base=base),
    "Combined": lambda base: theirs.CombinedRepresentation(max_id=ENTITIES, base=[base, base], combination="concat"),
    "Transformed": lambda base: theirs.TransformedRepresentation(nn.Softplus(), base=base),
    "LowRank": lambda base: theirs.LowRankRepresentation(
        base=base, weight=theirs.Embedding.from_pretrained(draw(3, ENTITIES)), num_bases=ENTITIES
    ),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@for_each("is_low_rank", [False, True])
def test_pykeen_puts_our_modules_together(
    wrap: Callable[[nn.Module], theirs.Representation], is_low_rank: bool
) -> None:
    """PyKEEN's composed tables give over our modules the rows that they give over its own of the same values."""
    ours = given_factors(torch.float32).double() if is_low_rank else given(ENTITIES, torch.float64)
    own = theirs.Embedding.from_pretrained(ours().detach(), dtype=torch.float64)
    rows = []
    for base in (ours, own):
        table = wrap(base).double()
        for module in table.modules():
            if isinstance(module, theirs.Embedding):
                module.reset_parameters()  # PyKEEN fills its tables then, not before
        rows += [table().detach(), table(torch.tensor([[2, 0], [1, 2]])).detach()]
    torch.testing.assert_close(rows[0], rows[2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rows[1], rows[3], rtol=1e-12, atol=1e-12)


# ----------------------------------------------------------------------------------------------- state dicts, both ways


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@for_each("shape", [(DIM,), (3, 4)])
def test_pykeen_loads_our_factors(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """PyKEEN's LowRankRepresentation takes exported factors strictly and gives the same rows up to rounding."""
    bases, weights = draw(RANK, *shape, dtype=torch.float64).to(dtype), draw(ROWS, RANK, seed=1).to(dtype)
    ours = LowRankRepresentation.from_factors(bases=bases, weights=weights)
    other = theirs.LowRankRepresentation(max_id=ROWS, shape=shape, num_bases=RANK).to(dtype)
    other.load_state_dict(ours.pykeen_state_dict(), strict=True)
    magnitude = weights.double().abs() @ bases.double().flatten(1).abs()
    bound = RANK * torch.finfo(dtype).eps * magnitude.view(ROWS, *shape)  # sums of RANK products, in any order
    for ids in (None, torch.tensor([[0, 39], [7, 7]])):
        difference = (other(ids) - ours(ids)).detach().abs().double()
        assert bool((difference <= (bound if ids is None else bound[ids])).all())


def test_pykeen_loads_complex_factors_as_pairs() -> None:
    """Exported factors of a complex table are those of the real table of (re, im) pairs, twice as wide."""
    bases, weights = draw(RANK, DIM, dtype=torch.complex64), draw(ROWS, RANK, seed=1)
    ours = LowRankRepresentation.from_factors(bases=bases, weights=weights)
    other = theirs.LowRankRepresentation(max_id=ROWS, shape=2 * DIM, num_bases=RANK)
    other.load_state_dict(ours.pykeen_state_dict(), strict=True)
    expected = torch.view_as_real(ours().detach()).flatten(1)
    torch.testing.assert_close(other().detach(), expected, rtol=0, atol=RANK * 1.2e-7 * float(expected.abs().max()) * 4)


OLD_NAMES = {"weight._embeddings.weight": "weight", "base._embeddings.weight": "bases._embeddings.weight"}


@pytest.mark.parametrize("release", ["1.11.0", "1.11.1"])
def test_our_low_rank_loads_a_model_of_pykeen(nations: Nations, release: str) -> None:
    """The state dict of a whole PyKEEN model, under both spellings of its keys, loads strictly and scores the same."""
    their_model, model = (
        build(nations, cls(max_id=ENTITIES, shape=(DIM,), num_bases=RANK)).double()
        for cls in (theirs.LowRankRepresentation, LowRankRepresentation)
    )
    state = their_model.state_dict()
    if release == "1.11.0":
        prefix = "entity_representations.0."
        state = {
            prefix + OLD_NAMES[name.removeprefix(prefix)] if name.startswith(prefix) else name: value
            for name, value in state.items()
        }
    model.load_state_dict(state, strict=True)
    batch = nations.testing.mapped_triples
    expected = their_model.score_hrt(batch).detach()
    torch.testing.assert_close(model.score_hrt(batch).detach(), expected, rtol=1e-12, atol=1e-12)


class ViewAsComplex(nn.Module):
    """Reads pairs of reals as complex numbers, for ComplEx over a real table."""

    def forward(self, rows: Tensor) -> Tensor:
        """View (*s, 2 * n) as complex (*s, n)."""
        return torch.view_as_complex(rows.view(*rows.shape[:-1], -1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_pykeen_ranks_the_same_with_exported_factors(nations: Nations, dtype: torch.dtype) -> None:
    """All metrics are equal in float64: our trained factors, PyKEEN's module with them, and the dense table."""
    ours, relations = given_factors(dtype), given(RELATIONS, dtype, seed=2)
    fit(build(nations, ours, relations=relations), nations, epochs=12)
    ours, relations = ours.double(), relations.double()().detach()
    exported = theirs.LowRankRepresentation(
        max_id=ENTITIES, shape=2 * DIM if dtype.is_complex else DIM, num_bases=RANK
    ).double()
    candidates = {
        "ours": ours,
        "PyKEEN's": theirs.TransformedRepresentation(ViewAsComplex(), base=exported) if dtype.is_complex else exported,
        "dense": Embedding.from_pretrained(ours().detach()),
    }
    metrics = {}
    for name, entities in candidates.items():
        model = build(nations, entities, relations=Embedding.from_pretrained(relations))
        if name == "PyKEEN's":
            exported.load_state_dict(ours.pykeen_state_dict(), strict=True)  # the constructor has reset PyKEEN's module
        metrics[name] = rank(model, nations)
    assert mrr_of(metrics["ours"]) > 0.46  # chance reaches 0.384
    assert metrics["PyKEEN's"] == pytest.approx(metrics["ours"], rel=1e-9, nan_ok=True)
    assert metrics["dense"] == pytest.approx(metrics["ours"], rel=1e-9, nan_ok=True)


# ---------------------------------------------------------------------------------------------------------- approximate


def embed(**options: Any) -> theirs.Embedding:
    """Make a table of PyKEEN's."""
    return theirs.Embedding(**{"max_id": ROWS, "shape": (12,), **options})


def enrich() -> theirs.SingleCompGCNRepresentation:
    """Make rows that a graph network computes from those of their neighbours."""
    combined = theirs.CombinedCompGCNRepresentations(
        triples_factory=Nations(create_inverse_triples=True).training,
        entity_representations_kwargs={"shape": 12},
        relation_representations_kwargs={"shape": 12},
    )
    return combined.split()[0]


REPRESENTATIONS: dict[str, Callable[[], theirs.Representation]] = {
    "Embedding": embed,
    "Embedding, matrices": lambda: embed(shape=(3, 4)),
    "Embedding, complex": lambda: embed(dtype=torch.complex64),
    "Embedding, complex matrices": lambda: embed(shape=(2, 3), dtype=torch.complex64),
    "Embedding, double": lambda: embed(dtype=torch.float64),
    "Embedding, normalized and dropped out": lambda: embed(normalizer="normalize", dropout=0.5, regularizer="lp"),
    "LowRank": lambda: theirs.LowRankRepresentation(max_id=ROWS, shape=12, num_bases=6),
    "Subset": lambda: theirs.SubsetRepresentation(max_id=30, base=embed()),
    "Partition": lambda: theirs.PartitionRepresentation(
        torch.stack([torch.arange(60) % 2, torch.arange(60) // 2], dim=1), bases=[embed(), embed()]
    ),
    "Backfill": lambda: theirs.BackfillRepresentation(max_id=60, base_ids=range(5, 45), base=embed()),
    "Transformed": lambda: theirs.TransformedRepresentation(
        nn.Sequential(nn.Linear(12, 10), nn.Dropout(0.5)), base=embed()
    ),
    "Combined": lambda: theirs.CombinedRepresentation(max_id=ROWS, base=[embed(), embed()], combination="concat"),
    "TensorTrain": lambda: theirs.TensorTrainRepresentation(max_id=16, shape=(16,), num_cores=2),
    "EmbeddingBag": lambda: theirs.EmbeddingBagRepresentation.from_iter(
        [[i % 7, i % 11] for i in range(ROWS)], shape=12
    ),
    "CompGCN": enrich,
}


@pytest.mark.parametrize("make", REPRESENTATIONS.values(), ids=REPRESENTATIONS)
def test_approximate_reaches_the_optimum_of_a_pykeen_module(make: Callable[[], theirs.Representation]) -> None:
    """The error is that of a float64 SVD, sqrt(sum of dropped s^2 / sum of s^2), and the module is as it was."""
    torch.manual_seed(0)
    other = make().train()
    state = {name: value.clone() for name, value in other.state_dict().items()}
    table = LowRankRepresentation.approximate(other, num_bases=3)
    assert all(module.training for module in other.modules())
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    with torch.no_grad():
        dense = other.eval()()
    assert (table.max_id, table.shape, table.dtype) == (len(dense), tuple(dense.shape[1:]), dense.dtype)
    exact, actual = as_real(dense), as_real(table())
    squares = torch.linalg.svdvals(exact) ** 2
    optimum = float((squares[3:].sum() / squares.sum()).sqrt())
    assert 0.1 < optimum < 0.9
    assert float((actual - exact).norm() / exact.norm()) == pytest.approx(optimum, rel=OPTIMUM)


# ------------------------------------------------------------------------------------------------------------- apply_to


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compress the weights of the ComplEx sample to 16 bases."""
    output = tmp_path_factory.mktemp("complex") / "complex.safetensors"
    embcompress.approximate(SAMPLES / "kinships-complex" / "model.safetensors", bases=16, output=output)
    return output


def build_complex(sample: Any, weights: Path) -> ComplEx:
    """Build the sample's model as make_samples.py does, with the weights of a file, in float64."""
    model = ComplEx(triples_factory=Kinships().training, random_seed=0, **sample.model_kwargs)
    model.load_state_dict(safetensors.torch.load_file(weights), strict=True)
    return model.double()


def test_apply_to_keeps_the_link_prediction_of_complex(
    make_samples: ModuleType, artifact: Path, tmp_path: Path
) -> None:
    """A served ComplEx scores as with the reconstructed tables, to float32's rounding, and reaches the same MRR."""
    sample = make_samples.SAMPLES[0]
    assert sample.name == "kinships-complex"
    embcompress.reconstruct(artifact, output=tmp_path / "dense.safetensors")
    dense = build_complex(sample, tmp_path / "dense.safetensors").eval()
    served = build_complex(sample, SAMPLES / "kinships-complex" / "model.safetensors").eval()
    placed = embcompress.apply_to(served, artifact)
    assert placed == {
        "entity_representations.0._embeddings.weight": served.entity_representations[0],
        "relation_representations.0._embeddings.weight": served.relation_representations[0],
    }
    parts = (served.entity_representations[0], served.relation_representations[0])
    assert [(part.shape, part.dtype, part.num_bases) for part in parts] == [((128,), torch.complex128, 16)] * 2
    questions = Kinships().testing.mapped_triples[:, :2]
    with torch.no_grad():
        # The dense tables are rounded to float32: three factors of each product are off by half an eps.
        entities, relations = (
            part[0]().abs() for part in (dense.entity_representations, dense.relation_representations)
        )
        magnitude = (entities[questions[:, 0]] * relations[questions[:, 1]]) @ entities.T
        difference = (served.score_t(questions) - dense.score_t(questions)).abs()
    assert bool((difference <= 3 * torch.finfo(torch.float32).eps * magnitude).all())
    mrr = sample.score(served).mrr
    assert mrr == pytest.approx(sample.score(dense).mrr, abs=SWAPS)
    assert mrr == pytest.approx(0.6262, abs=0.01)  # of sample_checkpoints/README.md; the same bytes on another machine


def test_apply_to_keeps_the_regularizers_of_complex(make_samples: ModuleType, artifact: Path, tmp_path: Path) -> None:
    """The regularizers are the model's own, and add up what they do with dense tables."""
    sample = make_samples.SAMPLES[0]
    embcompress.reconstruct(artifact, output=tmp_path / "dense.safetensors")
    dense = build_complex(sample, tmp_path / "dense.safetensors").train()
    served = build_complex(sample, SAMPLES / "kinships-complex" / "model.safetensors").train()
    lists = (served.entity_representations, served.relation_representations)
    regularizers = [part[0].regularizer for part in lists]
    embcompress.apply_to(served, artifact)
    assert all(part[0].regularizer is regularizer for part, regularizer in zip(lists, regularizers, strict=True))
    batch = Kinships().training.mapped_triples[:50]
    terms = []
    for model in (served, dense):
        model.score_hrt(batch)
        terms.append(float(model.collect_regularization_term().detach()))
    assert terms[0] == pytest.approx(terms[1], rel=1e-6)
    assert terms[0] > 0


def test_apply_to_leaves_a_model_that_pykeen_trains(nations: Nations, tmp_path: Path) -> None:
    """PyKEEN's loop trains the factors of a served model: from those of the artifact, with a falling loss."""
    model = build(nations, theirs.Embedding(max_id=ENTITIES, shape=DIM))
    fit(model, nations)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "model.safetensors")
    name = "entity_representations.0._embeddings.weight"
    result = embcompress.approximate(tmp_path / "model.safetensors", bases=RANK, table=name)
    table = embcompress.apply_to(model, result.output.path)[name]
    assert model.entity_representations[0] is table
    before = [value.detach().clone() for value in table.parameters()]
    losses = fit(model, nations, epochs=3)
    assert losses[2] < losses[0]
    for value, old in zip(table.parameters(), before, strict=True):
        # the reset before the first epoch left them: Adam moves an entry by at most its rate in each of 9 steps or so
        assert 0 < float((value - old).detach().abs().max()) < 1.5


# --------------------------------------------------------------------------------------- formulas, PyKEEN being right
# right


@pytest.mark.parametrize("order", [1.0, 2.0])
def test_clamp_norm_is_pykeens(order: float) -> None:
    """On vectors, with dim=-1, rows above the norm are those of PyKEEN's clamp_norm to two roundings."""
    x = draw(ROWS, DIM, dtype=torch.float64)
    limit = float(torch.linalg.vector_norm(x, ord=order, dim=1).median())
    expected = clamp_norm(x, maxnorm=limit, p=order, dim=-1)
    torch.testing.assert_close(CONSTRAINERS["clamp_norm"](x, maxnorm=limit, p=order), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0])
def test_normalize_is_pykeens(order: float) -> None:
    """On vectors, normalize by name gives the rows of PyKEEN's to two roundings."""
    x = draw(ROWS, DIM, dtype=torch.float64)
    expected = theirs.normalizer_resolver.make("normalize", {"p": order})(x)
    torch.testing.assert_close(CONSTRAINERS["normalize"](x, p=order), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float32], ids=str)
def test_complex_normalize_is_pykeens(dtype: torch.dtype) -> None:
    """Complex entries and pairs of reals are divided by their moduli as by PyKEEN, a zero by the same eps."""
    x = draw(ROWS, DIM, dtype=dtype)
    x[0] = 0
    x[1] *= 1e-9
    expected = complex_normalize(x)
    torch.testing.assert_close(CONSTRAINERS["complex_normalize"](x), expected, rtol=5e-7, atol=0)


@pytest.mark.parametrize(
    ("name", "kwargs", "shape"),
    [
        ("xavier_uniform", {}, (3, 4)),
        ("xavier_uniform", {"gain": 2.0}, (DIM,)),
        ("xavier_normal", {}, (3, 4)),
        ("xavier_normal", {"gain": 0.5}, (DIM,)),
        # PyKEEN takes norms over dim=1, which is a row where it is a vector
        ("xavier_uniform_norm", {}, (DIM,)),
        ("xavier_normal_norm", {}, (DIM,)),
        ("normal_norm", {}, (DIM,)),
        ("uniform_norm", {}, (DIM,)),
        ("uniform_norm_p1", {}, (DIM,)),
    ],
)
def test_initializers_are_pykeens(name: str, kwargs: Mapping[str, float], shape: tuple[int, ...]) -> None:
    """From one state of the generator come the same draws, up to rounding."""
    torch.manual_seed(0)
    expected = getattr(their_init, f"{name}_")(torch.empty(ROWS, *shape), **kwargs)
    torch.manual_seed(0)
    actual = INITIALIZERS[name](torch.empty(ROWS, *shape), **kwargs)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-7)


def test_init_phases_is_pykeens() -> None:
    """From one state of the generator come the same unit complex numbers, up to the rounding of an angle."""
    torch.manual_seed(0)
    expected = their_init.init_phases(torch.empty(ROWS, DIM, 2))
    torch.manual_seed(0)
    actual = INITIALIZERS["init_phases"](torch.empty(ROWS, DIM, 2))
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)
