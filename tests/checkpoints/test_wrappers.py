"""Checkpoints as training frameworks wrap them: names keep their prefixes, and tables are recognised through them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from embcompress import approximate, reconstruct
from embcompress.checkpoints import open_checkpoint
from embcompress.tables.selection import choose_tables


def make_state(*, seed: int = 0) -> dict[str, Tensor]:
    """Make the state dict of a small language model, in an order that is not that of the alphabet."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "model.embed_tokens.weight": (300, 16),
        "model.layers.0.mlp.weight": (16, 16),
        "lm_head.weight": (300, 16),
    }
    return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


STATE = make_state()
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(300, 16)}}, "param_groups": [{"params": [0]}]}


def put_before(prefix: str) -> dict[str, Tensor]:
    """Put a prefix before each name."""
    return {prefix + name: value for name, value in STATE.items()}


def put_behind(part: str, wrapper: str) -> dict[str, Tensor]:
    """Put a wrapper behind a part of the names."""
    return {name.replace(part, part + wrapper, 1): value for name, value in STATE.items()}


# What is saved, and the tensors of it, in order.
WRAPPED: dict[str, tuple[dict[str, Any], dict[str, Tensor]]] = {
    "Lightning": (
        {"epoch": 1, "state_dict": put_before("model."), "optimizer_states": [OPTIMIZER], "lr_schedulers": []},
        put_before("model."),
    ),
    "Lightning, compiled": ({"state_dict": put_before("model._orig_mod.")}, put_before("model._orig_mod.")),
    "DeepSpeed": ({"module": STATE, "optimizer": OPTIMIZER, "buffer_names": [], "ds_version": "0.15"}, STATE),
    "DeepSpeed, wrapped twice": ({"module": put_before("module."), "dp_world_size": 2}, put_before("module.")),
    "DataParallel": (put_before("module."), put_before("module.")),
    "DataParallel in a checkpoint": ({"arch": "x", "state_dict": put_before("module.")}, put_before("module.")),
    "torch.compile": (put_before("_orig_mod."), put_before("_orig_mod.")),
    "torch.compile of a part": (put_behind("model.", "_orig_mod."), put_behind("model.", "_orig_mod.")),
    "torch.compile of DataParallel": (put_before("_orig_mod.module."), put_before("_orig_mod.module.")),
    "FSDP": (put_before("_fsdp_wrapped_module."), put_before("_fsdp_wrapped_module.")),
    "FSDP of the table": (
        put_behind("embed_tokens.", "_fsdp_wrapped_module."),
        put_behind("embed_tokens.", "_fsdp_wrapped_module."),
    ),
    "activation checkpoints": (
        put_behind("layers.0.", "_checkpoint_wrapped_module."),
        put_behind("layers.0.", "_checkpoint_wrapped_module."),
    ),
    "Accelerate": ({"model": STATE, "step": 3}, STATE),
    "fairseq": (
        {"args": None, "cfg": {"x": 1}, "model": STATE, "last_optimizer_state": OPTIMIZER, "extra_state": {"x": 1}},
        STATE,
    ),
    "PyKEEN": ({"model_state_dict": STATE, "optimizer_state_dict": OPTIMIZER, "loss": [0.5]}, STATE),
    "Ray": ({"model_state": STATE, "optimizer_state": OPTIMIZER}, STATE),
    "net": ({"net": STATE, "acc": 0.9, "epoch": 3}, STATE),
    "network": ({"network": STATE}, STATE),
    "params": ({"params": STATE}, STATE),
    "a running average beside": (
        {"model": STATE, "ema": make_state(seed=1)},
        STATE | {f"ema.{name}": value for name, value in make_state(seed=1).items()},
    ),
    "teacher and student": (
        {"student": STATE, "teacher": make_state(seed=1)},
        put_before("student.") | {f"teacher.{name}": value for name, value in make_state(seed=1).items()},
    ),
}
WRITERS: dict[str, Callable[[object, Path], object]] = {
    "zip": torch.save,
    "old": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("kind", WRAPPED)
@pytest.mark.parametrize("writer", WRITERS)
def test_wrapped_models_keep_their_names_and_order(tmp_path: Path, kind: str, writer: str) -> None:
    """The tensors are those of the model, under its own names, in its order; the tables are found."""
    value, expected = WRAPPED[kind]
    WRITERS[writer](value, tmp_path / "model.pt")
    with open_checkpoint(tmp_path / "model.pt") as checkpoint:
        assert [stored.name for stored in checkpoint.tensors] == list(expected)
        assert [stored.shape for stored in checkpoint.tensors] == [tuple(one.shape) for one in expected.values()]
        chosen = [table.name for table in choose_tables(checkpoint, table=[], exclude=[])]
        assert chosen == [name for name in expected if "embed_tokens" in name]


class Tagger(nn.Module):
    """A model with a table."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(200, 8)
        self.out = nn.Linear(8, 4)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_fsdp_wrapped_module."])
def test_what_loaded_the_original_loads_the_result(tmp_path: Path, prefix: str) -> None:
    """After compression and reconstruction the state dict has the same keys, and loads strictly."""
    model = Tagger()
    # Of rank 3, so that 4 bases lose nothing.
    left, right = (torch.randn(*shape, generator=torch.Generator().manual_seed(6)) for shape in ((200, 3), (3, 8)))
    model.embed.weight.data = left @ right
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "model.pt")
    approximate(tmp_path / "model.pt", bases=4, output=tmp_path / "small.safetensors")
    reconstruct(tmp_path / "small.safetensors", output=tmp_path / "dense.safetensors")
    dense = safetensors.torch.load_file(tmp_path / "dense.safetensors")
    assert set(dense) == set(state)
    model.load_state_dict({name.removeprefix(prefix): value for name, value in dense.items()}, strict=True)
    torch.testing.assert_close(model.embed.weight.detach(), state[f"{prefix}embed.weight"], atol=1e-5, rtol=1e-5)
