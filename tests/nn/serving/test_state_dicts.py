"""State dicts of models with compressed tables: refused by plain models, made dense, and put into plain models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

import embcompress
from embcompress.exceptions import TableError
from embcompress.nn import LowRankRepresentation
from tests.cases import for_each
from tests.fixtures import draw_falling, save

ROWS, DIM = 300, 12
IDS = torch.tensor([[3, 0], [59, 3]])
WAYS = {"plain": {"bases": 3}, "coded": {"ratio": 6, "effort": "fast"}}


class Model(nn.Module):
    """A table with a tied head, and a bag with a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.head = nn.Embedding(ROWS, DIM), nn.Linear(DIM, ROWS)
        self.head.weight = self.emb.weight
        self.bag = nn.EmbeddingBag(ROWS, DIM)

    def forward(self, ids: Tensor) -> Tensor:
        """Score all rows."""
        scores: Tensor = self.head(self.emb(ids).mean(dim=1) + self.bag(ids))
        return scores


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    """Make a model of compressed tables."""
    model = Model()
    with torch.no_grad():
        model.emb.weight.copy_(draw_falling(ROWS, DIM))
        model.bag.weight.copy_(draw_falling(ROWS, DIM, seed=1))
    source = save(tmp_path / "model.pt", model.state_dict())
    embcompress.apply_to(model, embcompress.approximate(source, table="*.weight", **request.param).output.path)
    return model


every_way = pytest.mark.parametrize("served", WAYS.values(), ids=WAYS, indirect=True)


@every_way
def test_state_dict_is_refused_where_tables_are_dense(served: Model) -> None:
    """load_state_dict raises, strict or not; and so does a dense state dict where tables are compressed."""
    for strict in (True, False):
        with pytest.raises(RuntimeError, match=r"size mismatch for emb\.weight"):
            Model().load_state_dict(served.state_dict(), strict=strict)
        with pytest.raises(RuntimeError, match=r"bag\.weight is \(300, 12\): dense, where"):
            served.load_state_dict(Model().state_dict(), strict=strict)


@every_way
def test_state_dict_goes_to_a_plain_model_and_back(served: Model, tmp_path: Path) -> None:
    """Dense and compressed again, through torch.save and on meta, the scores are the same; ties stay."""
    expected = served(IDS)
    plain = Model()
    plain.load_state_dict(embcompress.dense_state_dict(served), strict=True)
    assert plain.head.weight is plain.emb.weight
    torch.testing.assert_close(plain(IDS), expected, rtol=0, atol=1e-4)
    torch.save(served.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    with torch.device("meta"):
        empty = Model()
    for model in (plain, empty):
        assert embcompress.apply_state_dict(model, state) is model
        assert model.head.table is model.emb
        torch.testing.assert_close(model(IDS), expected, rtol=0, atol=1e-6)
    embcompress.apply_state_dict(plain, state)


@for_each("lost", ["head.bias", "emb.weights", "bag.weight_table.weights"])
def test_apply_state_dict_needs_every_tensor(tmp_path: Path, lost: str) -> None:
    """What is missing is named, be it of a table or beside it."""
    torch.save(Model().state_dict(), tmp_path / f"{lost}.pt")
    artifact = embcompress.approximate(tmp_path / f"{lost}.pt", table="*.weight", bases=3).output.path
    served = Model()
    embcompress.apply_to(served, artifact)
    state = dict(served.state_dict())
    for name in list(state):
        if name == lost or (lost == "emb.weights" and name == "head.table.weights"):
            del state[name]
    with pytest.raises(TableError, match=r"head\.bias|emb\.weight|bag\.weight"):
        embcompress.apply_state_dict(Model(), state)


@pytest.mark.filterwarnings("ignore:torch.distributed is")
@pytest.mark.parametrize("served", [WAYS["plain"]], indirect=True)
def test_state_dict_goes_through_a_distributed_checkpoint(served: Model, tmp_path: Path) -> None:
    """DCP saves and loads a served model in place, and what get_model_state_dict gives of it."""
    checkpoint.save({"model": get_model_state_dict(served)}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    expected = served(IDS).detach()
    assert isinstance(served.emb, LowRankRepresentation)
    with torch.no_grad():
        served.emb.weights.zero_()
    state = {"model": served.state_dict()}
    checkpoint.load(state, checkpoint_id=tmp_path / "dcp", no_dist=True)
    served.load_state_dict(state["model"])
    assert torch.equal(served(IDS), expected)
    with torch.no_grad():
        served.emb.weights.zero_()
    state = {"model": get_model_state_dict(served)}
    checkpoint.load(state, checkpoint_id=tmp_path / "dcp", no_dist=True)
    set_model_state_dict(served, state["model"])
    assert torch.equal(served(IDS), expected)
