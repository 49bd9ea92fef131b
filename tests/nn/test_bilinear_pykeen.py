"""RESCAL and NTN of PyKEEN with matrices of low rank: link prediction before and after, and what its modules tell."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.nn import LowRankBilinear
from embcompress.results import TableReport

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of PyKEEN's own dependencies, of each other; conftest does the same for the tests
    pytest.importorskip("pykeen", reason="PyKEEN is not installed: pip install -e '.[pykeen]'")
    from pykeen.datasets import Nations
    from pykeen.models import NTN

pytestmark = pytest.mark.pykeen

SAMPLES = Path(__file__).parents[2] / "sample_checkpoints"
RELATIONS = "relation_representations.0._embeddings.weight"
RANKS = (2, 4, 8)
SWAPS = 5e-4  # of an MRR over 2148 questions: two answers that change places 1 and 2, as scores a rounding apart may
WHOLE_MRR = 0.7314  # of sample_checkpoints/README.md
MRR = {2: 0.3710, 4: 0.5460, 8: 0.6745}  # of the relations at each rank, measured with PyKEEN 1.11.1
NEARLY = 0.01  # the same bytes on another machine

Model = Any  # what PyKEEN's models are to a type checker


@dataclass(frozen=True)
class Served:
    """The RESCAL sample with its relations at one rank, and its entities as they were.

    Attributes:
        table: the report of the relations.
        state: the dense state dict that reconstruct gives.
        form: the relations as forms.
    """

    table: TableReport
    state: Mapping[str, Tensor]
    form: LowRankBilinear


@pytest.fixture(scope="module")
def rescal(make_samples: ModuleType) -> Any:
    """Find the sample that make_samples.py trained."""
    return next(sample for sample in make_samples.SAMPLES if sample.name == "kinships-rescal")


@pytest.fixture(scope="module")
def served(rescal: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Served]:
    """Compress the relations of the sample alone, to each rank."""
    folder = tmp_path_factory.mktemp("rescal")
    tables = {}
    for rank in RANKS:
        result = embcompress.approximate(
            SAMPLES / rescal.name / rescal.checkpoint,
            bases=rank,
            bilinear="relation*",
            table="relation*",
            output=folder / f"rank-{rank}.safetensors",
        )
        (table,) = result.tables
        dense = embcompress.reconstruct(result.output.path)
        form = embcompress.load(result.output.path)[RELATIONS]
        assert isinstance(form, LowRankBilinear)
        tables[rank] = Served(table, safetensors.torch.load_file(dense.output.path), form)
    return tables


def load(rescal: Any) -> Model:
    """Read the whole pickled model back."""
    return rescal.load(SAMPLES / rescal.name).eval()


def score_through(model: Model, form: LowRankBilinear) -> Model:
    """Let a model score by the factors: all pairs of entities at once, (h A_r) . (t B_r), in float32."""
    with torch.no_grad():
        entities = model.entity_representations[0]()
        scores = form.all_pairs(entities, entities)  # (heads, tails, relations)
    model.score_t = lambda hr_batch, **_: scores[hr_batch[:, 0], :, hr_batch[:, 1]]
    model.score_h = lambda rt_batch, **_: scores[:, rt_batch[:, 1], rt_batch[:, 0]].T
    return model


@pytest.mark.parametrize("rank", RANKS)
def test_factors_keep_the_link_prediction_of_dense_weights(rescal: Any, served: dict[int, Served], rank: int) -> None:
    """Scored through A and B by our module, RESCAL reaches the MRR that PyKEEN gives the reconstructed weights."""
    dense = load(rescal)
    dense.load_state_dict(served[rank].state, strict=True)
    original = load(rescal)
    entities = original.entity_representations[0]().detach()
    assert torch.equal(dense.entity_representations[0]().detach(), entities)  # the relations alone were compressed
    factored = score_through(load(rescal), served[rank].form)
    questions = torch.tensor([[head, relation] for head in (0, 50, 103) for relation in (0, 11, 24)])
    with torch.no_grad():
        actual, expected = factored.score_t(hr_batch=questions), dense.score_t(questions)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert rescal.score(factored).mrr == pytest.approx(rescal.score(dense).mrr, abs=SWAPS)


def test_link_prediction_falls_with_the_rank(rescal: Any, served: dict[int, Served]) -> None:
    """More rank keeps more of the whole model's MRR and more of the norm, for bytes that grow with the rank."""
    whole = rescal.score(load(rescal))
    mrrs = {rank: rescal.score(score_through(load(rescal), served[rank].form)).mrr for rank in RANKS}
    assert whole.mrr == pytest.approx(WHOLE_MRR, abs=NEARLY)
    assert mrrs == pytest.approx(MRR, abs=NEARLY)
    assert whole.random_mrr < mrrs[2] < mrrs[4] < mrrs[8] < whole.mrr
    errors = [served[rank].table.error for rank in RANKS]
    relatives = [error.relative for error in errors if error is not None]
    assert len(relatives) == 3
    assert relatives == sorted(relatives, reverse=True)
    assert [served[rank].table.bytes_after for rank in RANKS] == [25 * 128 * 4 * rank for rank in RANKS]


@pytest.mark.parametrize("slices", [3, 4])
def test_the_module_of_ntn_tells_its_matrices(tmp_path: Path, slices: int) -> None:
    """A pickled NTN of d = 8 has k matrices of 8 x 8 a relation, though 4 x 8 x 8 numbers could be one of 16 x 16."""
    model = NTN(triples_factory=Nations().training, embedding_dim=8, num_slices=slices, random_seed=0)
    path = tmp_path / "trained_model.pkl"
    torch.save(model, path)
    result = embcompress.approximate(path, bases=3, bilinear=RELATIONS, table=RELATIONS)
    (table,) = result.tables
    assert table.matrices is not None
    assert table.error is not None
    assert (table.matrices.shape, table.matrices.count) == ((8, 8), 55 * slices)
    weight = model.relation_representations[0]().detach().double()  # (55, slices, 8, 8)
    assert weight.shape == (55, slices, 8, 8)
    squares = torch.linalg.svdvals(weight).square()
    optimum = float((squares[..., 3:].sum() / squares.sum()).sqrt())
    assert table.error.optimal_relative == pytest.approx(optimum, rel=1e-9)
    assert table.error.relative == pytest.approx(optimum, rel=1e-6)
    stored = safetensors.torch.load_file(result.output.path)
    assert stored[f"{RELATIONS}.left"].shape == stored[f"{RELATIONS}.right"].shape == (55, slices, 8, 3)
    dense = safetensors.torch.load_file(embcompress.reconstruct(result.output.path).output.path)
    model.load_state_dict(dense, strict=True)
    actual = model.relation_representations[0]().detach().double()
    assert float((actual - weight).norm() / weight.norm()) == pytest.approx(optimum, rel=1e-6)
    listed = {one.name: one.reason for one in embcompress.inspect(path).tables}
    assert "--bilinear: 8 x 8 matrices, smaller up to rank 3" in listed[RELATIONS]
    assert "--bilinear" not in listed["entity_representations.0._embeddings.weight"]
