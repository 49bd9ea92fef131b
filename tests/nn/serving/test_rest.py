"""apply_to with rest: everything that a model needs comes from the artifact, also into one made without memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import embcompress
from embcompress.exceptions import ArtifactError, TableError

ROWS, DIM = 60, 12
IDS = torch.tensor([[3, 0], [59, 3], [17, 4]])


class Language(nn.Module):
    """A table, a tied head with a bias, two layers that are one, a buffer, and one that no file holds."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(ROWS, DIM)
        self.first = nn.Linear(DIM, DIM)
        self.second = nn.Linear(DIM, DIM)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(DIM)
        self.register_buffer("positions", torch.arange(2.0), persistent=False)
        self.head = nn.Linear(DIM, ROWS)
        self.head.weight = self.emb.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Score all rows at every place."""
        hidden = self.emb(ids) + self.positions[:, None]
        logits: Tensor = self.head(self.norm((self.second(self.first(hidden))).mT).mT)
        return logits

    def _init_weights(self, module: nn.Module) -> None:
        """Set the buffer again, as models of transformers do."""
        if module is self:
            module.positions.copy_(torch.arange(2.0))


class NoBuffer(Language):
    """Does not set its buffer."""

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing."""


def trained() -> Language:
    """Make a model that has other numbers than any other."""
    torch.manual_seed(1)
    model = Language().eval()
    model.norm.running_mean.normal_()
    return model


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Compress the trained model."""
    torch.save(trained().state_dict(), tmp_path / "model.pt")
    return Path(embcompress.approximate(tmp_path / "model.pt", bases=3).output.path)


def expect(artifact: Path) -> Tensor:
    """Give the logits of the model with the reconstructed table."""
    dense = trained()
    dense.emb.weight.data.copy_(embcompress.load(artifact)["emb.weight"]().detach())
    return dense(IDS).detach()


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("prefix", ["", "module"])
def test_rest_makes_a_model_whole(artifact: Path, device: str, prefix: str) -> None:
    """The model gives the logits of the dense one, and what was tied is tied."""
    with torch.device(device):
        inner = Language().eval()
    model = nn.ModuleDict({prefix: inner}) if prefix else inner
    embcompress.apply_to(model, artifact, rest=True)
    torch.testing.assert_close(inner(IDS).detach(), expect(artifact), rtol=1e-5, atol=1e-5)
    assert inner.first.weight is inner.second.weight
    assert inner.head.table is inner.emb
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_rest_refuses_what_the_artifact_lacks(artifact: Path) -> None:
    """A tensor that the artifact has not, or in another shape, is named, and nothing changes."""
    model = Language()
    model.extra = nn.Linear(2, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(TableError, match=r"lacks 2 of the tensors that the model needs: '?extra\.weight"):
        embcompress.apply_to(model, artifact, rest=True)
    del model.extra
    model.first = nn.Linear(DIM, DIM + 1)
    with pytest.raises(TableError, match=r"'first\.bias' of shape \(12,\); the model's 'first\.bias' .*\(13,\)|first"):
        embcompress.apply_to(model, artifact, rest=True)
    assert type(model.emb) is nn.Embedding
    assert torch.equal(model.emb.weight, before["emb.weight"])


def test_rest_refuses_a_damaged_tensor(artifact: Path) -> None:
    """A tensor without its checksum is an ArtifactError before anything changes."""
    raw = bytearray(artifact.read_bytes())
    values = trained().first.bias.detach().numpy().tobytes()
    raw[raw.index(values)] ^= 1
    artifact.write_bytes(raw)
    model = Language()
    with pytest.raises(ArtifactError, match="crc32"):
        embcompress.apply_to(model, artifact, rest=True)
    assert type(model.emb) is nn.Embedding


def test_rest_refuses_a_mask_that_nobody_sets(artifact: Path) -> None:
    """A mask of booleans that is left unset is named as well: zeros would hide everything in silence."""
    with torch.device("meta"):
        model = Language()
        model.first.register_buffer("mask", torch.ones(2, 2, dtype=torch.bool), persistent=False)
    with pytest.raises(TableError, match=r"no file holds its buffer 'first\.mask'"):
        embcompress.apply_to(model, artifact, rest=True)
    assert model.positions.is_meta


@pytest.mark.parametrize("has_setter", [False, True])
def test_rest_refuses_a_buffer_that_nobody_sets(artifact: Path, has_setter: bool) -> None:
    """A buffer that no file holds, and that the model leaves unset, is named, and nothing changes."""
    with torch.device("meta"):
        model: Any = NoBuffer() if has_setter else Language()
    if not has_setter:
        model.__class__ = type("Plain", (nn.Module,), {"forward": Language.forward})
    with pytest.raises(TableError, match="no file holds its buffer 'positions'"):
        embcompress.apply_to(model, artifact, rest=True)
    assert type(model.emb) is nn.Embedding
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_apply_to_tells_what_has_no_memory(artifact: Path) -> None:
    """Without rest a model on meta gets its table, and the warning tells how many tensors still lack memory."""
    with torch.device("meta"):
        model = Language()
    with pytest.warns(UserWarning, match=r"10 tensors of the model have no memory yet .*rest=True"):
        embcompress.apply_to(model, artifact)
    assert torch.equal(model.emb(IDS), embcompress.load(artifact)["emb.weight"](IDS))


def test_apply_to_draws_nothing(artifact: Path) -> None:
    """The generator of torch stands where it stood."""
    model = Language()
    state = torch.get_rng_state()
    embcompress.apply_to(model, artifact, rest=True)
    assert torch.equal(torch.get_rng_state(), state)
