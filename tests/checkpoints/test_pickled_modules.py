"""What a pickled model of PyKEEN tells of itself, and that telling runs nothing and stays cheap."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.pickled.modules import MODULES_MAX
from embcompress.checkpoints.tensors import ModuleRecord, Named

SAMPLES = Path(__file__).parents[2] / "sample_checkpoints"


class GraphModel(nn.Module):
    """A model with the three parts of PyKEEN's."""

    def __init__(self, interaction: nn.Module) -> None:
        super().__init__()
        self.interaction = interaction
        self.entity_representations = nn.ModuleList([nn.Embedding(3, 2)])
        self.relation_representations = nn.ModuleList([nn.Embedding(2, 2)])


class Runs:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def tell(model: nn.Module, path: Path) -> dict[str, ModuleRecord]:
    """Save a model whole and read what it tells."""
    torch.save(model, path, pickle_protocol=5)
    with open_checkpoint(path) as checkpoint:
        return dict(checkpoint.listing.graph_model)


@pytest.mark.parametrize(
    ("name", "interaction", "values", "shapes"),
    [
        ("transe", "TransE", {"p": 1, "power_norm": False}, [(128,), (128,)]),
        ("complex", "ComplEx", {}, [(128,), (128,)]),
        ("rescal", "RESCAL", {}, [(64,), (64, 64)]),
    ],
)
def test_listing_tells_the_interaction_of_the_samples(
    name: str, interaction: str, values: dict[str, object], shapes: list[tuple[int, ...]]
) -> None:
    """The samples' interactions, their arguments and the shapes of the rows are those that they were trained with."""
    with open_checkpoint(SAMPLES / f"kinships-{name}" / "trained_model.pkl") as checkpoint:
        record = checkpoint.listing.graph_model
    assert record["interaction"].class_name == f"pykeen.nn.modules.{interaction}Interaction"
    assert dict(record["interaction"].values) == values
    tables = [record[f"{side}_representations.0"] for side in ("entity", "relation")]
    assert [table.values["shape"] for table in tables] == shapes
    assert [table.values["is_complex"] for table in tables] == [name == "complex"] * 2
    assert [table.values["normalizer"] for table in tables] == [None, None]
    assert (record[""].values["num_entities"], record[""].values["use_inverse_triples"]) == (104, False)
    is_constrained = name == "transe"
    assert tables[0].names.get("constrainer") == (Named("torch.nn.functional.normalize") if is_constrained else None)


def test_a_state_dict_tells_nothing(tmp_path: Path) -> None:
    """Tensors alone, and modules that are no model of PyKEEN's, say nothing."""
    with open_checkpoint(SAMPLES / "kinships-complex" / "model.safetensors") as checkpoint:
        assert checkpoint.listing.graph_model == {}
    assert tell(nn.Linear(2, 2), tmp_path / "model.pt") == {}


def test_listing_tells_plain_values_and_names_the_rest(tmp_path: Path) -> None:
    """Numbers, texts and tuples are told as they are, functions and objects by name, and private things not at all."""
    interaction = nn.Identity()
    interaction.margin, interaction.blocks, interaction._hidden = 0.5, ((0, 1), ("a", None)), 7
    interaction.plain = torch.nn.functional.normalize
    interaction.bound = functools.partial(torch.nn.functional.normalize, p=2, dim=-1)
    interaction.positional = functools.partial(torch.nn.functional.normalize, None)
    interaction.listed, interaction.path = [1], Path("x")
    record = tell(GraphModel(interaction), tmp_path / "model.pt")["interaction"]
    assert record.class_name == "torch.nn.modules.linear.Identity"
    assert dict(record.values) == {"margin": 0.5, "blocks": ((0, 1), ("a", None))}
    normalize = "torch.nn.functional.normalize"
    assert record.names["plain"] == Named(normalize)
    assert record.names["bound"] == Named(normalize, {"p": 2, "dim": -1})
    assert record.names["positional"] == Named(normalize, None)
    assert record.names["listed"] == Named("builtins.list", None)
    assert record.names["path"].keywords is None


def test_telling_runs_nothing(tmp_path: Path) -> None:
    """What unpickling would run, as an attribute or bound to a partial, is named and not run."""
    interaction = nn.Identity()
    interaction.payload = Runs(tmp_path / "attribute")
    interaction.bound = functools.partial(os.mkdir, path=str(tmp_path / "partial"))
    record = tell(GraphModel(interaction), tmp_path / "model.pt")["interaction"]
    mkdir = f"{os.mkdir.__module__}.mkdir"
    assert record.names["payload"] == Named(mkdir, None)
    assert record.names["bound"] == Named(mkdir, {"path": str(tmp_path / "partial")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt"]


def test_telling_stays_cheap(tmp_path: Path) -> None:
    """Tuples that share their parts, 8^7 items in 300 bytes, and more modules than any model has tell nothing."""
    interaction = nn.Identity()
    interaction.bomb = functools.reduce(lambda inner, _: (inner,) * 8, range(7), 1)
    assert tell(GraphModel(interaction), tmp_path / "model.pt") == {}
    many = nn.ModuleList(nn.Identity() for _ in range(MODULES_MAX))
    assert tell(GraphModel(many), tmp_path / "many.pt") == {}
    few = nn.ModuleList(nn.Identity() for _ in range(20))
    assert len(tell(GraphModel(few), tmp_path / "few.pt")) == 1 + 21 + 4
