"""What a pickled model of PyKEEN tells of the constrainers of its tables, and that ours do the same to a row."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.recorded_constrainers import (
    ARGUMENTS,
    CONSTRAINER_NAMES,
    RecordedConstrainer,
    find_constrainer,
)
from embcompress.checkpoints.tensors import Listing, ModuleRecord, Named
from embcompress.choices import CONSTRAINERS, Choice
from embcompress.growth.drawing import bind_constrainer

SAMPLES = Path(__file__).parents[2] / "sample_checkpoints"
ENTITY, RELATION = (f"{side}_representations.0._embeddings.weight" for side in ("entity", "relation"))
PATH = "entity_representations.0"
NORMALIZE, CLAMP_NORM = "torch.nn.functional.normalize", "pykeen.utils.clamp_norm"


def tell(function: str, keywords: dict[str, Any] | None, *, shape: tuple[int, ...], is_complex: bool = False) -> str:
    """Spell the constrainer that a model tells of; "unknown" where none of ours does the same."""
    values = {"shape": shape, "is_complex": is_complex}
    module = ModuleRecord("pykeen.nn.representation.Embedding", values, {"constrainer": Named(function, keywords)})
    record = find_constrainer(Listing(tensors=(), graph_model={PATH: module}), ENTITY)
    assert record is not None
    assert record.function == function
    return "unknown" if record.choice is None else str(record.choice)


def test_transe_tells_that_entities_are_normalized() -> None:
    """TransE normalizes entities and leaves relations; ComplEx constrains nothing; a state dict tells nothing."""
    with open_checkpoint(SAMPLES / "kinships-transe" / "trained_model.pkl") as checkpoint:
        assert find_constrainer(checkpoint.listing, ENTITY) == RecordedConstrainer(NORMALIZE, Choice("normalize"))
        assert find_constrainer(checkpoint.listing, RELATION) is None
        assert find_constrainer(checkpoint.listing, "no.such.table") is None
    for name in ("trained_model.pkl", "model.safetensors"):
        with open_checkpoint(SAMPLES / "kinships-complex" / name) as checkpoint:
            assert find_constrainer(checkpoint.listing, ENTITY) is None


@pytest.mark.parametrize(
    ("function", "keywords", "shape", "spelled"),
    [
        (NORMALIZE, {}, (8,), "normalize"),
        (NORMALIZE, {"p": 1, "dim": -1}, (8,), "normalize:p=1"),
        (NORMALIZE, {"dim": 1, "eps": 1e-6, "out": None}, (8,), "normalize:eps=1e-06"),
        (NORMALIZE, {}, (8, 8), "unknown"),  # over the first axis of a row alone
        (NORMALIZE, {"dim": (1, -1)}, (8, 8), "normalize"),
        (NORMALIZE, {"dim": 0}, (8,), "unknown"),  # over the ids
        (CLAMP_NORM, {"maxnorm": 1.0, "p": 2, "dim": -1}, (8,), "clamp_norm:maxnorm=1,p=2"),
        (CLAMP_NORM, {"maxnorm": 2, "p": "fro", "dim": 1}, (8,), "clamp_norm:maxnorm=2"),
        (CLAMP_NORM, {"maxnorm": 1.0}, (8,), "unknown"),  # over the whole table
        (CLAMP_NORM, {"maxnorm": float("inf"), "dim": -1}, (8,), "unknown"),
        ("pykeen.utils.complex_normalize", {}, (8,), "complex_normalize"),
        ("torch.clamp", {"min": 0.05, "max": 5.0}, (8,), "clamp:min=0.05,max=5"),
        ("torch.clamp", None, (8,), "unknown"),
        ("torch.clamp", {"min": True}, (8,), "unknown"),
        (NORMALIZE, {"unheard": 1}, (8,), "unknown"),
        ("my_package.shrink", {}, (8,), "unknown"),
    ],
)
def test_constrainers_are_spelled_as_the_option_takes_them(
    function: str, keywords: dict[str, Any] | None, shape: tuple[int, ...], spelled: str
) -> None:
    """A constrainer is spelled only where it does the same to a row by itself; any other is told by its name."""
    assert tell(function, keywords, shape=shape) == spelled
    if spelled != "unknown":
        bind_constrainer(Choice.parse(spelled, CONSTRAINERS, option="--constrainer"))


def test_rows_of_complex_numbers_have_the_norm_of_order_2() -> None:
    """Stored as pairs of reals, they have no other norm in common, and no order to clamp by."""
    assert tell(NORMALIZE, {"dim": -1}, shape=(8,), is_complex=True) == "normalize"
    assert tell(NORMALIZE, {"dim": -1, "p": 1}, shape=(8,), is_complex=True) == "unknown"
    assert tell("torch.clamp", {"min": 0.0}, shape=(8,), is_complex=True) == "unknown"


def test_the_names_are_those_of_the_option() -> None:
    """Every name that is told is one of CONSTRAINERS, and none of these is missing."""
    assert set(CONSTRAINER_NAMES.values()) == set(ARGUMENTS) == set(CONSTRAINERS)


@pytest.mark.parametrize("protocol", [2, 5])
def test_constrainers_are_read_from_a_pickle(tmp_path: Path, protocol: int) -> None:
    """A function, one of torch's own, which is pickled as an attribute, and one with arguments are all told."""
    tables = [nn.Embedding(3, 4) for _ in range(3)]
    clamp = functools.partial(torch.clamp, min=0.5)
    functions = (torch.clamp, clamp, nn.functional.normalize)
    for table, function in zip(tables, functions, strict=True):
        table.shape, table.constrainer = (4,), function
    model = nn.Module()
    model.interaction = nn.Identity()
    model.entity_representations = nn.ModuleList(tables)
    model.relation_representations = nn.ModuleList()
    path = tmp_path / "model.pt"
    torch.save(model, path, pickle_protocol=protocol)
    with open_checkpoint(path) as checkpoint:
        record = [
            find_constrainer(checkpoint.listing, f"entity_representations.{index}._embeddings.weight")
            for index in (0, 1, 2)
        ]
    assert [str(one and one.choice) for one in record] == ["None", "clamp:min=0.5", "normalize"]  # clamp needs a bound
    assert record[0] == RecordedConstrainer("torch._C._VariableFunctionsClass.clamp", None)


@pytest.mark.pykeen
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("TransE", {"embedding_dim": 8}),
        ("TransD", {"embedding_dim": 8}),
        ("TransR", {"embedding_dim": 8, "relation_dim": 6}),
        ("DistMult", {"embedding_dim": 8}),
        ("HolE", {"embedding_dim": 8}),
        ("KG2E", {"embedding_dim": 8}),
        ("RotatE", {"embedding_dim": 8}),
    ],
)
def test_constrainers_do_to_new_rows_what_pykeen_does(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    """For every constrained table of PyKEEN's models, ours gives the rows that post_parameter_update() gives."""
    import pykeen.models
    from pykeen.datasets import Nations

    model = getattr(pykeen.models, name)(triples_factory=Nations().training, random_seed=0, **options)
    path = tmp_path / "model.pt"
    torch.save(model, path, pickle_protocol=5)
    count = 0
    for side in ("entity", "relation"):
        for index, table in enumerate(getattr(model, f"{side}_representations")):
            weight: Tensor = table._embeddings.weight
            weight.data = 3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(index))
            before = weight.detach().clone()
            with open_checkpoint(path) as checkpoint:
                record = find_constrainer(checkpoint.listing, f"{side}_representations.{index}._embeddings.weight")
            assert (record is None) == (table.constrainer is None)
            if record is None:
                continue
            assert record.choice is not None, record.function
            constrain: Callable[[Tensor], Tensor] = bind_constrainer(record.choice)
            table.post_parameter_update()
            # Two roundings of float32, of the norm and of the quotient.
            torch.testing.assert_close(constrain(before), weight.detach(), rtol=1e-6, atol=1e-7)
            count += 1
    assert count > 0
