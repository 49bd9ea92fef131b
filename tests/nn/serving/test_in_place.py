"""Modules that keep their class: scaled and shifted embeddings, bags, heads, bare parameters, and their hooks."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import embcompress
from embcompress.nn.table_weight import TableWeight
from tests.cases import for_each
from tests.fixtures import draw, save

ROWS, DIM, RANK = 60, 12, 3
IDS = torch.tensor([[3, 0], [59, 3], [17, 4]])


class Scaled(nn.Embedding):
    """Scales the rows that torch looks up."""

    def forward(self, ids: Tensor) -> Tensor:
        """Look rows up and scale them."""
        return super().forward(ids) * self.embedding_dim**0.5


class Shifted(nn.Embedding):
    """Looks up positions behind an offset, and asks its weight for the device."""

    def forward(self, ids: Tensor) -> Tensor:
        """Look rows up two further on."""
        return super().forward(torch.arange(ids.shape[1], device=self.weight.device).expand(len(ids), -1) + 2)


class ByFunction(nn.Embedding):
    """Looks rows up by the function, past torch's forward."""

    def forward(self, ids: Tensor) -> Tensor:
        """Look rows up by hand."""
        return nn.functional.embedding(ids, self.weight, self.padding_idx)


class NormalizedBag(nn.EmbeddingBag):
    """Gives means of unit length."""

    def forward(self, ids: Tensor) -> Tensor:
        """Pool and normalise."""
        return nn.functional.normalize(super().forward(ids), dim=-1)


class NormalizedHead(nn.Linear):
    """Scores queries of unit length."""

    def forward(self, ids: Tensor) -> Tensor:
        """Score rows by made-up queries."""
        return super().forward(nn.functional.normalize(torch.linspace(0, 1, ids.numel() * DIM).view(*ids.shape, DIM)))


class Bare(nn.Module):
    """Keeps a table as a parameter, as graph and rotation models do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(ROWS, DIM))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, ids: Tensor) -> Tensor:
        """Look up, select, concatenate and multiply."""
        rows = torch.cat([self.weight[ids.flatten()], torch.index_select(self.weight, 0, ids.flatten())], dim=1)
        return self.scale * rows @ torch.cat([self.weight, self.weight], dim=1).T


class BareBlocks(Bare):
    """The same with rows of two axes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(ROWS, 3, 4))

    def forward(self, ids: Tensor) -> Tensor:
        """Look blocks up and transform by them."""
        return torch.einsum("...ij,kj->...ik", self.weight[ids], self.weight.sum(0))


def hooked(module: nn.Module) -> nn.Module:
    """Let a hook scale what a module gives."""
    module.register_forward_hook(lambda _, __, rows: 100 * rows)
    return module


def rescaled(module: nn.Module) -> nn.Module:
    """Give one module a forward of its own, which scales what its class gives."""
    module.forward = functools.partial(scale, module)
    return module


def scale(module: nn.Module, ids: Tensor) -> Tensor:
    """Look rows up by the class of a module, and scale them."""
    return 100 * type(module).forward(module, ids)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "scaled": lambda: Scaled(ROWS, DIM),
    "scaled with padding": lambda: Scaled(ROWS, DIM, padding_idx=3),
    "scaled with max_norm": lambda: Scaled(ROWS, DIM, max_norm=1.0),
    "shifted": lambda: Shifted(ROWS, DIM),
    "by function": lambda: ByFunction(ROWS, DIM, padding_idx=0),
    "bag": lambda: nn.EmbeddingBag(ROWS, DIM, mode="sum", padding_idx=3),
    "bag of a subclass": lambda: NormalizedBag(ROWS, DIM),
    "head of a subclass": lambda: NormalizedHead(DIM, ROWS),
    "hooked embedding": lambda: hooked(nn.Embedding(ROWS, DIM)),
    "embedding with its own forward": lambda: rescaled(nn.Embedding(ROWS, DIM)),
    "hooked head": lambda: hooked(NormalizedHead(DIM, ROWS)),
    "bare": Bare,
    "bare blocks": BareBlocks,
}


def compress(folder: Path, module: nn.Module) -> Path:
    """Compress a drawn table in the shape of a module's weight."""
    path = save(folder / "model.safetensors", {"emb.weight": draw(*module.weight.shape)})
    return Path(embcompress.approximate(path, bases=RANK, table="emb.weight").output.path)


def apply(model: nn.Module, artifact: Path, *, is_bare: bool) -> dict[str, Any]:
    """Put the table in place; of a bare parameter a warning tells the price."""
    if not is_bare:
        return embcompress.apply_to(model, artifact)
    with pytest.warns(UserWarning, match=r"serves the bare parameter '.*weight': rows taken by id are looked up"):
        return embcompress.apply_to(model, artifact)


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_served_module_gives_what_it_gives_over_the_dense_rows(tmp_path: Path, make: Callable[[], nn.Module]) -> None:
    """The same object gives results and gradients over the reconstructed rows; so do its copies and pickles.

    As the whole model it is served as well.
    """
    dense = make()
    artifact = compress(tmp_path, dense)
    table = embcompress.load(artifact)["emb.weight"]
    for is_whole in (False, True):
        module = make()
        model = module if is_whole else nn.ModuleDict({"emb": module})
        placed = apply(model, artifact, is_bare=isinstance(module, Bare))
        assert model is module or model["emb"] is module
        assert placed["emb.weight"].table_name == "emb.weight"
        assert isinstance(module, type(dense))
        assert isinstance(module.weight, TableWeight)
        assert not any(tuple(value.shape) == tuple(dense.weight.shape) for value in module.state_dict().values())
    dense.weight.data.copy_(table().detach())
    if isinstance(dense, nn.Linear):
        dense.bias.data.copy_(module.bias.detach())
    expected = dense(IDS)
    copies = [copy.deepcopy(module)]
    if not module._forward_hooks:  # a lambda has no name to be pickled by
        copies.append(pickle.loads(pickle.dumps(module)))
    for one in (module, *copies):
        torch.testing.assert_close(
            one(IDS), expected, rtol=1e-5, atol=1e-6 * float(expected.detach().abs().max()) + 1e-5
        )
    factor = draw(*expected.shape, seed=5)
    (module(IDS) * factor).sum().backward()
    (dense(IDS) * factor).sum().backward()
    served = placed["emb.weight"]
    if "max_norm" not in repr(dense):  # torch takes the scaled rows for constants
        gradient = dense.weight.grad.flatten(1) @ served.bases.stored.detach().T
        torch.testing.assert_close(served.weights.grad, gradient, rtol=1e-4, atol=1e-3)


def test_served_module_serves_two_bare_parameters(tmp_path: Path) -> None:
    """Users and items of one module, as in LightGCN, are each served by a table; the module is pickled as well."""
    state = {"user_table": draw(ROWS, DIM), "item_table": draw(ROWS - 10, DIM, seed=1)}
    artifact = embcompress.approximate(
        save(tmp_path / "model.safetensors", state), bases=RANK, table=list(state)
    ).output.path
    model = TwoTables()
    with pytest.warns(UserWarning, match="serves the bare parameter"):
        placed = embcompress.apply_to(model, artifact)
    assert set(placed) == set(state)
    tables = {name: table().detach() for name, table in embcompress.load(artifact).items()}
    exact = tables["user_table"][IDS.flatten()] @ tables["item_table"].T
    for one in (model, pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(one(IDS.flatten()).detach(), exact, rtol=1e-5, atol=1e-5)


class TwoTables(nn.Module):
    """Scores items for users."""

    def __init__(self) -> None:
        super().__init__()
        self.user_table = nn.Parameter(torch.zeros(ROWS, DIM))
        self.item_table = nn.Parameter(torch.zeros(ROWS - 10, DIM))

    def forward(self, users: Tensor) -> Tensor:
        """Score all items, (count,) -> (count, items)."""
        return self.user_table[users] @ self.item_table.T


@for_each("kind", [nn.ParameterDict, nn.ParameterList])
def test_served_parameters_of_torch_containers(tmp_path_factory: pytest.TempPathFactory, kind: Any) -> None:
    """A table in a ParameterDict or a ParameterList is served under its key."""
    table = nn.Parameter(torch.zeros(ROWS, DIM))
    key = "one" if kind is nn.ParameterDict else 0
    model = nn.ModuleDict({"emb": kind({"one": table} if kind is nn.ParameterDict else [table])})
    path = save(tmp_path_factory.mktemp("bare") / "model.safetensors", {f"emb.{key}": draw(ROWS, DIM)})
    artifact = embcompress.approximate(path, bases=RANK, table=f"emb.{key}").output.path
    with pytest.warns(UserWarning, match=f"bare parameter 'emb.{key}'"):
        embcompress.apply_to(model, artifact)
    expected = embcompress.load(artifact)[f"emb.{key}"](IDS)
    torch.testing.assert_close(model["emb"][key][IDS], expected)
