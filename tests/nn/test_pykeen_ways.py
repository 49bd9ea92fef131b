"""Ours in every way in which a model of PyKEEN's is told its representations; pipelines, files, continued training."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress import nn as ours
from tests.fixtures import draw

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of PyKEEN's own dependencies, of each other; conftest does the same for the tests
    pytest.importorskip("pykeen", reason="PyKEEN is not installed: pip install -e '.[pykeen]'")
    from pykeen import nn as theirs
    from pykeen.datasets import Nations
    from pykeen.models import ERModel, model_resolver
    from pykeen.nn.init import PretrainedInitializer
    from pykeen.pipeline import pipeline
    from pykeen.regularizers import LpRegularizer
    from pykeen.training import LCWATrainingLoop

pytestmark = [pytest.mark.pykeen, pytest.mark.usefixtures("fast_epochs")]

DOCS = Path(__file__).parents[2] / "docs"
ENTITIES, RELATIONS, DIM = 14, 55, 6  # the first two are those of Nations
LOW_RANK: dict[str, Any] = {"shape": DIM, "num_bases": 3}
TABLE = {"shape": DIM}
TRIPLES = torch.tensor([[0, 3, 13], [7, 54, 7]])

Options = dict[str, Any]
Way = tuple[Any, Options, Callable[..., Tensor]]  # a model, by class or name, its arguments, and its formula


def multiply(head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    """Score by Re sum h r conj(t): DistMult over real rows, ComplEx over complex ones."""
    return (head * relation * tail.conj()).sum(dim=-1).real


def translate(head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    """Score by -|h + r - t|_1, TransE."""
    return -(head + relation - tail).abs().sum(dim=-1)


def use_matrix(head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    """Score by h R t, RESCAL."""
    return torch.einsum("bi,bij,bj->b", head, relation, tail)


def distmult(**options: Any) -> Way:
    """Make an ERModel of PyKEEN's tables, but for the options."""
    tables = {"entity_representations_kwargs": TABLE, "relation_representations_kwargs": TABLE}
    return ERModel, {"interaction": "distmult", **tables, **options}, multiply


def entities(representation: Any, kwargs: Any) -> Way:
    """Make an ERModel with entities."""
    return distmult(entity_representations=representation, entity_representations_kwargs=kwargs)


def literal(name: str, score: Callable[..., Tensor], **options: Any) -> Way:
    """Make one of PyKEEN's own models, which adds arguments of its own: initializers, constrainers, regularizers."""
    return name, {"embedding_dim": DIM, **options}, score


WAYS: dict[str, Way] = {
    "class": entities(ours.LowRankRepresentation, LOW_RANK),
    "list of classes": entities([ours.LowRankRepresentation], [LOW_RANK]),
    "name": entities("embcompress.LowRank", LOW_RANK),
    "long name": entities("embcompress.LowRankRepresentation", LOW_RANK),
    "instance": entities(ours.LowRankRepresentation(max_id=ENTITIES, **LOW_RANK), None),
    "embedding_dim": entities(ours.Embedding, {"embedding_dim": DIM}),
    "class of relations": distmult(
        relation_representations=ours.LowRankRepresentation, relation_representations_kwargs=LOW_RANK
    ),
    "name of relations": distmult(relation_representations="embcompress.embedding"),
    "backfill": entities(ours.BackfillRepresentation, {"base_ids": [3, 1, 2], "base_kwargs": TABLE}),
    "partition": entities(
        "embcompress.Partition",
        {
            "assignment": [[0, row] for row in range(ENTITIES)],
            "bases": theirs.Embedding,
            "bases_kwargs": {"max_id": ENTITIES, **TABLE},
        },
    ),
    "kwargs of both factors": entities(
        ours.LowRankRepresentation,
        {
            **LOW_RANK,
            "base_kwargs": {"initializer": "xavier_normal_"},
            "weight_kwargs": {"initializer": "XavierUniform", "normalizer": "softmax"},
        },
    ),
    "regularizer, normalizer, unique": entities(
        "embcompress.Embedding",
        {
            **TABLE,
            "initializer": "NormalNorm",
            "constrainer": "clamp_norm",
            "constrainer_kwargs": {"maxnorm": 1.0},
            "normalizer": "softmax",
            "regularizer": "lp",
            "regularizer_kwargs": {"weight": 0.1},
            "unique": True,
        },
    ),
    "initializer of a class": entities(
        ours.Embedding, {**TABLE, "initializer": PretrainedInitializer(draw(ENTITIES, DIM))}
    ),
    "TransE": literal(
        "TransE", translate, entity_representations=ours.LowRankRepresentation, relation_representations=ours.Embedding
    ),
    "ComplEx": literal("ComplEx", multiply, entity_representations="embcompress.LowRank"),
    "RESCAL": literal("RESCAL", use_matrix, relation_representations=ours.LowRankRepresentation),
}


@pytest.mark.parametrize(("name", "options", "score"), WAYS.values(), ids=WAYS)
def test_pykeen_takes_our_representations(
    nations: Nations, name: Any, options: Options, score: Callable[..., Tensor]
) -> None:
    """The model is made, holds ours where it was told to, and scores triples by the formula of its paper."""
    extra = {"scoring_fct_norm": 1} if name == "TransE" else {}
    model = model_resolver.make(name, options, triples_factory=nations.training, random_seed=0, **extra).eval()
    tables = (*model.entity_representations, *model.relation_representations)
    assert any(isinstance(table, ours.Representation) for table in tables)
    assert all(isinstance(table, theirs.Representation) for table in tables)
    entity, relation = (table[0]().detach() for table in (model.entity_representations, model.relation_representations))
    head, link, tail = TRIPLES.unbind(1)
    expected = score(entity[head], relation[link], entity[tail])
    torch.testing.assert_close(model.score_hrt(TRIPLES).detach().squeeze(1), expected, rtol=1e-5, atol=1e-5)


def test_pykeen_trains_and_saves_a_pipeline_of_ours(nations: Nations, tmp_path: Path) -> None:
    """A pipeline trains our rows from those of the same seed untrained, and its folder holds the model that it made."""
    name, options, _ = WAYS["kwargs of both factors"]
    quiet = {"use_tqdm": False}
    result = pipeline(
        dataset=nations,
        model=name,
        model_kwargs=options,
        training_loop="lcwa",
        training_kwargs={"num_epochs": 1, "batch_size": 512, **quiet},
        evaluation_kwargs={"batch_size": 256, **quiet},
        random_seed=0,
    )
    start = model_resolver.make(name, options, triples_factory=nations.training, random_seed=0)
    result.save_to_directory(tmp_path)
    model = torch.load(tmp_path / "trained_model.pkl", weights_only=False)
    assert bool((model.entity_representations[0].eval()() != start.entity_representations[0].eval()()).any())
    assert torch.equal(model.eval().score_hrt(TRIPLES), result.model.eval().score_hrt(TRIPLES))


def test_pykeen_collects_a_regularizer_given_by_name(nations: Nations) -> None:
    """The name makes the regularizer that an instance is, once for each table, and its term is that of the rows."""
    values = draw(ENTITIES, DIM)
    options = {
        "initializer": PretrainedInitializer(values),
        "regularizer": "Lp",
        "regularizer_kwargs": {"weight": 0.5, "p": 2.0},
    }
    name, ways, _ = entities(ours.Embedding, {**TABLE, **options})
    model = model_resolver.make(name, ways, triples_factory=nations.training).train()
    assert type(model.entity_representations[0].regularizer) is LpRegularizer
    model.score_hrt(TRIPLES)
    sides = (values.double()[TRIPLES[:, side]] for side in (0, 2))
    expected = sum(0.5 * torch.linalg.vector_norm(rows, dim=1).mean() for rows in sides)
    assert float(model.collect_regularization_term()) == pytest.approx(float(expected), rel=1e-5)


def test_pykeen_reads_the_parts_of_our_low_rank() -> None:
    """`base()` and `weight()` of PyKEEN's low-rank table, which its R-GCN and its examples call, are our factors."""
    bases, weights = draw(3, DIM), draw(ENTITIES, 3, seed=1)
    table = ours.LowRankRepresentation.from_factors(
        bases=bases, weights=weights, weight_kwargs={"normalizer": "softmax"}
    )
    expected = weights.double().softmax(dim=-1)
    torch.testing.assert_close(table.weight(indices=None).detach().double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(table.base(indices=None).detach(), bases, rtol=0, atol=0)
    rows = table.weight.detach().double()  # as a tensor, it is the rows
    torch.testing.assert_close(rows, expected @ bases.double(), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------------------- training goes on


TRAINED: Options = {**distmult()[1], "loss": "crossentropy"}


@pytest.fixture(scope="module")
def trained(nations: Nations) -> tuple[dict[str, Tensor], list[float]]:
    """Train a model, and give its state and the loss of each epoch."""
    model = ERModel(triples_factory=nations.training, random_seed=0, **TRAINED)
    loop = LCWATrainingLoop(
        model=model, triples_factory=nations.training, optimizer="adam", optimizer_kwargs={"lr": 0.05}
    )
    losses: list[float] = loop.train(nations.training, num_epochs=6, batch_size=512, use_tqdm=False)
    return model.state_dict(), losses


@pytest.mark.parametrize("way", ["apply_to", "load_state_dict"])
def test_pykeen_continues_training_as_documented(
    nations: Nations,
    trained: tuple[dict[str, Tensor], list[float]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """The five lines of docs/pykeen.md start from the rows that are there, near the loss at which training stood."""
    monkeypatch.chdir(tmp_path)
    state, losses = trained
    safetensors.torch.save_file(state, "model.safetensors")
    output = embcompress.approximate("model.safetensors", bases=4, table="entity*", output="small.safetensors").output
    model: Any = ERModel(triples_factory=nations.training, random_seed=1, **TRAINED)
    model.load_state_dict(state)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "pykeen.md").read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if "continue_training" in block)
    first, *others = block.strip().splitlines()
    assert len(others) == 4
    lines = [first if way == "apply_to" else "model.load_state_dict(state)", *others]
    names = {
        "artifact": output.path,
        "embcompress": embcompress,
        "LCWATrainingLoop": LCWATrainingLoop,
        "model": model,
        "state": state,
        "training": nations.training,
    }
    exec("\n".join(lines[:-1]), names)
    relations = model.relation_representations[0]().detach()
    assert torch.equal(relations, state["relation_representations.0._embeddings.weight"])  # the step moved nothing
    exec(lines[-1], names)
    continued: Any = names["losses"]
    assert len(continued) == 5
    assert continued[0] < losses[2] < losses[0]
