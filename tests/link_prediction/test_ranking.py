"""Link prediction before and after compression: PyKEEN's evaluator against an oracle, and all that is refused."""

from __future__ import annotations

import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.artifact.reader import read_artifact
from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import ArtifactError, EmbcompressError, IdsError, OutputError, TableError, UsageError
from embcompress.link_prediction import ranking as link_prediction
from embcompress.link_prediction.interactions import solve_shapes
from embcompress.link_prediction.ranking import check_link_prediction, measure_link_prediction
from embcompress.results import LinkPrediction
from embcompress.tables.labels import read_labels
from tests.fixtures import SAMPLES, draw, save

ENTITIES, RELATIONS = "entity_representations.0._embeddings.weight", "relation_representations.0._embeddings.weight"
COMPLEX = SAMPLES / "kinships-complex"
SWAPS = 2  # of places 1 and 2, that rounding to float32 may make among the questions

Triples = Sequence[tuple[int, int, int]]


def draw_triples(count: int, *, entities: int, relations: int, seed: int) -> Triples:
    """Draw triples of ids, some of them several times where there are few to draw from."""
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(most, (count,), generator=generator).tolist() for most in (entities, relations, entities)]
    return list(zip(*columns, strict=True))


def write_triples(path: Path, triples: Triples, *, model: Path | None = None) -> Path:
    """Write triples a line each: by the labels beside a model, or by id."""
    words: list[list[Any]] = [list(triple) for triple in triples]
    if model is not None:
        folder = model.parent / "training_triples"
        entities, relations = (read_labels(folder / f"{side}_to_id.tsv.gz") for side in ("entity", "relation"))
        words = [[entities[head], relations[relation], entities[tail]] for head, relation, tail in triples]
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in words))
    return path


def measure(
    original: Path, artifact: Path, *, progress: Any = None, scoring_bytes: int | None = None, **options: Any
) -> LinkPrediction:
    """Open both files, check and measure."""
    with open_checkpoint(original) as checkpoint, open_checkpoint(artifact) as other:
        plan = check_link_prediction(checkpoint, **options)
        return measure_link_prediction(
            plan, checkpoint, read_artifact(other), progress=progress, scoring_bytes=scoring_bytes
        )


def check(original: Path, **options: Any) -> link_prediction.LinkPredictionPlan:
    """Open a file and check."""
    with open_checkpoint(original) as checkpoint:
        return check_link_prediction(checkpoint, **options)


def put_labels(folder: Path) -> None:
    """Put the labels of the sample where PyKEEN puts those of a model, into a folder beside it."""
    shutil.copytree(COMPLEX / "training_triples", folder / "training_triples")


# ------------------------------------------------------------------------------------------------- without PyKEEN


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"emb.weight": draw(4, 3)}, ["entity_representations.0._embeddings.weight", "emb.weight", "--triples"]),
        ({ENTITIES: draw(4, 3)}, ["relation_representations.0._embeddings.weight"]),
        ({ENTITIES: draw(4, 3), "relation_representations.0.bases": draw(4, 3)}, ["relation_representations.0.bases"]),
        (
            {ENTITIES: draw(4, 3), "entity_representations.2._embeddings.weight": draw(4, 3), RELATIONS: draw(4, 3)},
            ["entity_representations [0, 2]"],
        ),
        (
            {ENTITIES: draw(4, 3), "entity_representations.1._embeddings.weight": draw(5, 3), RELATIONS: draw(4, 3)},
            ["[4, 5]"],
        ),
    ],
)
def test_check_refuses_other_tables(tmp_path: Path, tensors: dict[str, Tensor], words: list[str]) -> None:
    """What is no model of plain tables, as PyKEEN names them, is refused with the names that are there."""
    with pytest.raises(TableError) as caught:
        check(save(tmp_path / "model.safetensors", tensors), triples=tmp_path / "missing.tsv")
    for word in ("model.safetensors", *words):
        assert word in str(caught.value)


def test_check_says_how_to_install_pykeen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyKEEN the command that installs it is the hint."""
    monkeypatch.setitem(sys.modules, "pykeen", None)
    with pytest.raises(OutputError) as caught:
        check(COMPLEX / "trained_model.pkl", triples=tmp_path / "missing.tsv")
    assert "pip install 'embcompress[pykeen]'" in caught.value.hint


@pytest.mark.parametrize(
    ("symbols", "widths", "shapes"),
    [
        (["d", "d"], [5, 5], [(5,), (5,)]),
        (["d", "d"], [5, 6], None),
        (["d"], [5, 5], None),
        (["d", "dd"], [64, 4096], [(64,), (64, 64)]),
        (["d", "dd"], [64, 4097], None),
        (["d", "e", "de"], [4, 3, 12], [(4,), (3,), (4, 3)]),
        (["d", "kdd", "kd", "k"], [4, 32, 8, 2], [(4,), (2, 4, 4), (2, 4), (2,)]),
        (["d", "", ""], [7, 1, 1], [(7,), (), ()]),
        (["kd", "kd"], [12, 12], None),
    ],
)
def test_solve_shapes(symbols: list[str], widths: list[int], shapes: list[tuple[int, ...]] | None) -> None:
    """Letters get the one size that gives every width; None where none does, or several do."""
    assert solve_shapes(symbols, widths) == shapes


# --------------------------------------------------------------------------------------------------- the oracle


def complex_rows(rows: Tensor) -> Tensor:
    """View (..., 2 d) as d complex numbers."""
    return torch.view_as_complex(rows.unflatten(-1, (-1, 2)))


def transe(head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    """-|h + r - t|_1."""
    return -(head + relation - tail).abs().sum(-1)


def complex_(head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    """Re sum h r conj(t)."""
    return (complex_rows(head) * complex_rows(relation) * complex_rows(tail).conj()).sum(-1).real


def rescal(head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    """h^T R t."""
    matrix = relation.unflatten(-1, (head.shape[-1], -1))
    return ((head.unsqueeze(-2) @ matrix).squeeze(-2) * tail).sum(-1)


def distmult(head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
    """Sum h r t."""
    return (head * relation * tail).sum(-1)


SCORES = {"transe": transe, "complex": complex_, "rescal": rescal}


def rank_by_hand(
    tensors: dict[str, Tensor], score: Callable[..., Tensor], triples: Triples, known: Triples
) -> tuple[float, ...]:
    """Compute filtered MRR and Hits@1/3/10 in float64: ranks are the mean of the best and the worst place."""
    entities, relations = tensors[ENTITIES].double(), tensors[RELATIONS].double()
    true = {*triples, *known}
    ranks = []
    for head, relation, tail in triples:
        for is_tail in (False, True):
            answer = tail if is_tail else head
            sides = (
                (entities[head], relations[relation], entities)
                if is_tail
                else (entities, relations[relation], entities[tail])
            )
            scores = score(*sides)
            candidates = [
                one
                for one in range(len(entities))
                if one == answer or ((head, relation, one) if is_tail else (one, relation, tail)) not in true
            ]
            others = scores[candidates]
            best = 1 + int((others > scores[answer]).sum())
            worst = int((others >= scores[answer]).sum())
            ranks.append((best + worst) / 2)
    positions = torch.tensor(ranks, dtype=torch.float64)
    return float((1 / positions).mean()), *(float((positions <= most).double().mean()) for most in (1, 3, 10))


def read_dense(path: Path) -> dict[str, Tensor]:
    """Read the tables of a sample by PyKEEN, whose pickles are trusted here."""
    model = torch.load(path, weights_only=False)
    return dict(model.state_dict())


WAYS: dict[str, dict[str, Any]] = {
    "transe": {"bases": 16},
    "complex": {"ratio": 6},  # weights in few bits
    "rescal": {"bases": 16, "bilinear": "relation_*"},
}


@pytest.fixture(scope="module", params=WAYS)
def compressed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Compress a sample in one of the ways, and draw triples to rank and to know, a few of them in both or repeated."""
    folder = tmp_path_factory.mktemp(request.param)
    original = SAMPLES / f"kinships-{request.param}" / "trained_model.pkl"
    triples = draw_triples(150, entities=104, relations=25, seed=1)
    known = [*draw_triples(2000, entities=104, relations=25, seed=2), *triples[:5]]
    triples = [*triples, *triples[:3]]
    embcompress.approximate(original, **WAYS[request.param], output=folder / "artifact.safetensors")
    embcompress.reconstruct(folder / "artifact.safetensors", output=folder / "dense.safetensors")
    return {
        "name": request.param,
        "original": original,
        "artifact": folder / "artifact.safetensors",
        "dense": folder / "dense.safetensors",
        "triples": triples,
        "known": known,
        "options": {
            "triples": write_triples(folder / "test.tsv", triples, model=original),
            "known": [write_triples(folder / "train.tsv", known, model=original)],
        },
    }


@pytest.mark.pykeen
def test_ranks_are_those_of_an_oracle(compressed: dict[str, Any]) -> None:
    """MRR and Hits before and after are those of float64 ranks by hand, but for two swaps; the counts are exact."""
    actual = measure(compressed["original"], compressed["artifact"], **compressed["options"])
    triples, known = compressed["triples"], compressed["known"]
    dense = safetensors.torch.load_file(compressed["dense"])
    for ranking, tensors in ((actual.before, read_dense(compressed["original"])), (actual.after, dense)):
        expected = rank_by_hand(tensors, SCORES[compressed["name"]], triples, known)
        assert astuple(ranking) == pytest.approx(expected, abs=SWAPS / (2 * len(triples)))
    assert actual.interaction.lower() == compressed["name"]
    assert (actual.triples, actual.known_triples) == (153, len({*known} - {*triples}))


@pytest.mark.pykeen
def test_ranks_are_those_of_the_model_in_pykeen(compressed: dict[str, Any]) -> None:
    """PyKEEN's own model, unpickled, and with the reconstructed tables in it, is ranked to the same digits."""
    from pykeen.evaluation import RankBasedEvaluator

    model = torch.load(compressed["original"], weights_only=False)
    actual = measure(compressed["original"], compressed["artifact"], **compressed["options"])
    for ranking in (actual.before, actual.after):
        metrics = RankBasedEvaluator().evaluate(
            model,
            torch.tensor(compressed["triples"]),
            additional_filter_triples=[torch.tensor(compressed["known"])],
            batch_size=64,
            use_tqdm=False,
        )
        expected = [metrics.get_metric(name) for name in ("mrr", "hits@1", "hits@3", "hits@10")]
        assert astuple(ranking) == pytest.approx(expected, abs=1e-6)  # MRR is a mean in float32
        model.load_state_dict(safetensors.torch.load_file(compressed["dense"]))


@pytest.fixture(scope="module")
def nations() -> Callable[[bool], Any]:
    """Read the Nations triples that come inside PyKEEN, with inverse relations or without."""
    from pykeen.datasets import Nations

    return lambda has_inverses: Nations(create_inverse_triples=has_inverses)


@pytest.mark.pykeen
@pytest.mark.parametrize(
    ("name", "has_inverses", "arguments"),
    [
        *(("SimplE", False, ""), ("TuckER", False, ""), ("TransR", False, ":p=1,power_norm=0"), ("NTN", False, "")),
        *(("ConvKB", False, ""), ("PairRE", False, None), ("RotatE", True, None), ("QuatE", True, None)),
        *(("MuRE", True, None), ("AutoSF", True, None)),
    ],
)
def test_models_of_pykeen_are_ranked_as_pykeen_does(
    nations: Callable[[bool], Any], tmp_path: Path, name: str, arguments: str | None, *, has_inverses: bool
) -> None:
    """Several tables a side, normalizers, parameters of the interaction and inverse relations give PyKEEN's ranks.

    So does the state dict alone, where it says all but the interaction and the arguments.
    """
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.models import model_resolver

    data = nations(has_inverses)
    model = model_resolver.make(name, triples_factory=data.training, random_seed=0, embedding_dim=8).eval()
    torch.save(model, tmp_path / "model.pkl", pickle_protocol=5)
    embcompress.approximate(tmp_path / "model.pkl", bases=2, output=tmp_path / "artifact.safetensors")
    data.training.to_path_binary(tmp_path / "training_triples")
    numeric = tmp_path / "training_triples" / "numeric_triples.tsv.gz"
    ids = data.testing.mapped_triples.tolist()
    labels = read_labels(tmp_path / "training_triples" / "entity_to_id.tsv.gz")
    assert labels[ids[0][0]] == data.training.entity_id_to_label[ids[0][0]]
    actual = measure(
        tmp_path / "model.pkl",
        tmp_path / "artifact.safetensors",
        triples=write_triples(tmp_path / "test.tsv", ids, model=tmp_path / "model.pkl"),
        known=[numeric],
    )
    metrics = RankBasedEvaluator().evaluate(
        model,
        data.testing.mapped_triples,
        additional_filter_triples=[data.training.mapped_triples],
        batch_size=64,
        use_tqdm=False,
    )
    expected = [metrics.get_metric(one) for one in ("mrr", "hits@1", "hits@3", "hits@10")]
    assert astuple(actual.before) == pytest.approx(expected, abs=SWAPS / (2 * len(ids)))
    assert actual.interaction == name
    if arguments is not None:
        torch.save(model.state_dict(), tmp_path / "state.pt")
        options = {"triples": tmp_path / "test.tsv", "known": [numeric], "interaction": name + arguments}
        assert measure(tmp_path / "state.pt", tmp_path / "artifact.safetensors", **options) == actual


@pytest.fixture
def exact(tmp_path: Path) -> tuple[Path, Path, dict[str, Tensor]]:
    """Write float64 tables of four directions, and the artifact that keeps them all."""
    tensors = {
        name: (draw(rows, 4, seed=rows) @ draw(4, 12, seed=rows + 1)).double()
        for name, rows in ((ENTITIES, 40), (RELATIONS, 12))
    }
    original = save(tmp_path / "model.safetensors", tensors)
    embcompress.approximate(original, bases=4, output=tmp_path / "artifact.safetensors")
    return original, tmp_path / "artifact.safetensors", tensors


@pytest.mark.pykeen
@pytest.mark.parametrize("interaction", ["DistMult", "distmult", "TransE:p=1", "TransEInteraction:p=2,power_norm=1"])
def test_exact_factors_change_no_rank(
    exact: tuple[Path, Path, dict[str, Tensor]], tmp_path: Path, interaction: str
) -> None:
    """A table of rank four with four bases is ranked the same before and after, by ids, as the oracle ranks it."""
    original, artifact, tensors = exact
    triples = draw_triples(60, entities=40, relations=12, seed=3)
    actual = measure(original, artifact, triples=write_triples(tmp_path / "test.tsv", triples), interaction=interaction)
    assert actual.before == actual.after
    score = distmult if "ist" in interaction else transe
    if "p=2" in interaction:
        score = lambda head, relation, tail: -(head + relation - tail).square().sum(-1)  # noqa: E731
    assert astuple(actual.before) == pytest.approx(rank_by_hand(tensors, score, triples, ()), abs=1e-6)
    assert (actual.triples, actual.known_triples) == (60, 0)


@pytest.mark.pykeen
def test_batches_and_slices_change_no_rank(exact: tuple[Path, Path, dict[str, Tensor]], tmp_path: Path) -> None:
    """With room for seven candidates at a time the ranks are those of all at once, and progress reaches the end."""
    original, artifact, _ = exact
    options = {
        "triples": write_triples(tmp_path / "test.tsv", draw_triples(20, entities=40, relations=12, seed=4)),
        "interaction": "DistMult",
    }
    whole = measure(original, artifact, **options)
    calls: list[tuple[str, int, int, int]] = []
    in_parts = measure(
        original, artifact, **options, scoring_bytes=7 * 12 * 8, progress=lambda *call: calls.append(call)
    )
    assert in_parts == whole
    assert [call for call in calls if call[1] == 20] == [
        ("link prediction before", 20, 20, 0),
        ("link prediction after", 20, 20, 0),
    ]
    assert len(calls) == 40


@pytest.mark.pykeen
def test_measuring_leaves_no_trace(
    compressed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed or written, and generators, log levels and warning filters are as they were."""
    monkeypatch.chdir(tmp_path)
    random, filters = torch.get_rng_state(), list(warnings.filters)
    levels = [logging.getLogger(name).level for name in ("pykeen", "torch_max_mem")]
    measure(compressed["original"], compressed["artifact"], **compressed["options"])
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.get_rng_state(), random)
    assert [logging.getLogger(name).level for name in ("pykeen", "torch_max_mem")] == levels
    assert warnings.filters == filters


# -------------------------------------------------------------------------------------------------- refused


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """Write a triple that the samples know."""
    return write_triples(tmp_path / "some.tsv", [(0, 0, 1)], model=COMPLEX / "model.safetensors")


@pytest.mark.pykeen
@pytest.mark.parametrize(
    ("sample", "interaction", "exception", "words"),
    [
        (
            "complex/model.safetensors",
            None,
            UsageError,
            ["does not tell", "ComplEx, DistMA, DistMult,", "TransE:p=1", "--interaction"],
        ),
        ("complex/model.safetensors", "complx", UsageError, ["'complx'", "Did you mean ComplEx?"]),
        ("complex/model.safetensors", "TransE", UsageError, ["needs p", "--interaction TransE:p=NUMBER"]),
        ("complex/model.safetensors", "ComplEx:p=2", UsageError, ["takes no arguments", "'p'"]),
        ("complex/model.safetensors", "RotatE:power_norm=2", UsageError, ["power_norm is 0 or 1"]),
        ("complex/model.safetensors", "RESCAL", TableError, ["['dd']", f"{RELATIONS} 256"]),
        ("complex/model.safetensors", "TransD", TableError, ["takes 2 entity_representations", "has 1"]),
        ("complex/model.safetensors", "TuckER", TableError, ["'interaction.core_tensor' should be", "is missing"]),
        ("complex/model.safetensors", "CP", TableError, ["takes 2 entity_representations"]),
        ("complex/model.safetensors", "AutoSF", UsageError, ["needs coefficients", "trained_model.pkl"]),
        ("transe/trained_model.pkl", "ComplEx", UsageError, ["trained with TransE", "Leave --interaction out"]),
        ("transe/trained_model.pkl", "TransE:p=2", UsageError, ["trained with p=1"]),
    ],
)
def test_check_refuses_wrong_interactions(
    some: Path, sample: str, interaction: str | None, exception: type[EmbcompressError], words: list[str]
) -> None:
    """An interaction that is missing, unknown, another's, or that the tables do not fit is refused by name."""
    with pytest.raises(exception) as caught:
        check(SAMPLES / f"kinships-{sample}", triples=some, interaction=interaction)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.pykeen
def test_check_takes_the_interaction_that_the_checkpoint_has(some: Path) -> None:
    """To repeat what the checkpoint tells is no contradiction."""
    plan = check(SAMPLES / "kinships-transe" / "trained_model.pkl", triples=some, interaction="transe:p=1")
    assert (plan.interaction.name, plan.interaction.arguments) == ("TransE", {"p": 1, "power_norm": False})


@pytest.mark.pykeen
def test_check_refuses_what_a_state_dict_does_not_tell(tmp_path: Path) -> None:
    """PairRE normalizes its entities, of which a state dict says nothing."""
    second = "relation_representations.1._embeddings.weight"
    tensors = {ENTITIES: draw(9, 4), RELATIONS: draw(3, 4), second: draw(3, 4, seed=1)}
    path = save(tmp_path / "model.safetensors", tensors)
    with pytest.raises(TableError, match=r"PairRE normalizes rows .* trained_model\.pkl"):
        check(path, triples=write_triples(tmp_path / "test.tsv", [(0, 0, 1)]), interaction="PairRE:p=1")


@pytest.mark.pykeen
def test_models_that_normalize_rows_are_known(nations: Callable[[bool], Any]) -> None:
    """No other model of PyKEEN's normalizes rows by default than those that are refused as a state dict."""
    from pykeen.models import ERModel, model_resolver

    from embcompress.link_prediction.graph_tables import NORMALIZED

    data, names = nations(False), set()
    for cls in model_resolver:
        if issubclass(cls, ERModel) and cls.__module__.startswith("pykeen.models.unimodal"):
            try:
                model = cls(triples_factory=data.training, random_seed=0)
            except (AssertionError, ValueError):  # of graphs with inverse relations only
                continue
            tables = [*model.entity_representations, *model.relation_representations]
            if any(getattr(table, "normalizer", None) is not None for table in tables):
                names.add(cls.__name__)
    assert names == set(NORMALIZED)


@pytest.mark.pykeen
def test_check_refuses_foreign_models(some: Path, tmp_path: Path, make_samples: ModuleType) -> None:
    """A class that is none of PyKEEN's may score otherwise: it is scored only by an interaction that is given."""
    model = torch.load(COMPLEX / "trained_model.pkl", weights_only=False)
    foreign = type("Foreign", (type(model),), {"__module__": "make_samples"})
    make_samples.Foreign = foreign
    model.__class__ = foreign
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "make_samples", make_samples)
        torch.save(model, tmp_path / "foreign.pkl", pickle_protocol=5)
    put_labels(tmp_path)
    with pytest.raises(TableError, match=r"'make_samples\.Foreign'.*--interaction"):
        check(tmp_path / "foreign.pkl", triples=some)
    assert check(tmp_path / "foreign.pkl", triples=some, interaction="ComplEx").interaction.name == "ComplEx"


@pytest.mark.pykeen
def test_measure_says_what_pykeen_cannot_score(some: Path, tmp_path: Path) -> None:
    """A checkpoint that tells of a norm of order 'x' ends in a message with PyKEEN's words, not in a traceback."""
    model = torch.load(SAMPLES / "kinships-transe" / "trained_model.pkl", weights_only=False)
    model.interaction.p = "x"
    torch.save(model, tmp_path / "model.pkl", pickle_protocol=5)
    embcompress.approximate(tmp_path / "model.pkl", bases=4, output=tmp_path / "artifact.safetensors")
    put_labels(tmp_path)
    with pytest.raises(TableError, match="PyKEEN cannot score triples by TransE"):
        measure(tmp_path / "model.pkl", tmp_path / "artifact.safetensors", triples=some)


@pytest.mark.pykeen
def test_check_refuses_more_relations_than_labels(tmp_path: Path, some: Path) -> None:
    """A relation table of twice the labels' rows, of inverse relations that a state dict does not tell, is refused."""
    tensors = safetensors.torch.load_file(COMPLEX / "model.safetensors")
    tensors[RELATIONS] = tensors[RELATIONS].repeat(2, 1)
    path = save(tmp_path / "model.safetensors", tensors)
    put_labels(tmp_path)
    with pytest.raises(IdsError, match="has 25 labels, and the model has 50 relations"):
        check(path, triples=some, interaction="ComplEx")


@pytest.mark.pykeen
def test_measure_refuses_the_artifact_of_another_model(exact: tuple[Path, Path, dict[str, Tensor]], some: Path) -> None:
    """An artifact without the tables of the original, or with others, is refused with both shapes."""
    with pytest.raises(ArtifactError, match=r"of shape \(104, 256\), and holds \(40, 12\)"):
        measure(COMPLEX / "trained_model.pkl", exact[1], triples=some)
