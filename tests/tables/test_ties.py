"""Tables that a file holds twice: one table under two names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.tables.selection import group_tensors
from embcompress.tables.ties import COMPARED_BYTES, are_equal
from tests.command_line import run

ROWS, DIM = 600, 24


def draw(*, seed: int = 0) -> torch.Tensor:
    """Draw a table of falling spectrum."""
    return torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(seed)) * torch.linspace(2, 0.1, DIM)


def test_copies_of_a_table_are_one(tmp_path: Path) -> None:
    """A head that was saved as a second copy is coded once, told as tied, and written to both names again."""
    values = draw()
    state = {"model.embed_tokens.weight": values, "lm_head.weight": values.clone(), "fc.weight": draw(seed=1)}
    path, artifact = tmp_path / "model.safetensors", tmp_path / "artifact.safetensors"
    save_file(state, path)
    result = embcompress.approximate(path, ratio=6, output=artifact, neighbours=0)
    assert [(table.name, table.tied_names) for table in result.tables] == [
        ("model.embed_tokens.weight", ("lm_head.weight",))
    ]
    assert artifact.stat().st_size < values.nbytes / 6 + state["fc.weight"].nbytes + 8192
    assert run("evaluate", path, artifact, "--neighbours", "0").code == 0
    dense = load_file(embcompress.reconstruct(artifact, output=tmp_path / "dense.safetensors").output.path)
    assert torch.equal(dense["model.embed_tokens.weight"], dense["lm_head.weight"])
    assert torch.equal(dense["fc.weight"], state["fc.weight"])


def test_one_changed_bit_keeps_tables_apart(tmp_path: Path) -> None:
    """A copy that differs in its last element, behind the first part that is compared, is a table of its own."""
    rows = COMPARED_BYTES // (DIM * 4) + 10
    values = torch.zeros(rows, DIM)
    other = values.clone()
    other[-1, -1] = 1e-30
    path = tmp_path / "model.safetensors"
    save_file({"encoder.embed_tokens.weight": values, "decoder.embed_tokens.weight": other}, path)
    with open_checkpoint(path) as checkpoint:
        first, second = checkpoint.tensors
        assert not are_equal(first, second, files=checkpoint.files)
        assert are_equal(first, first, files=checkpoint.files)
        assert [group.names for group in group_tensors(checkpoint.tensors, files=checkpoint.files)] == [
            (first.name,),
            (second.name,),
        ]


@pytest.mark.parametrize("names", [("a.weight", "b.weight"), ("fc.weight", "proj.weight")])
def test_matrices_that_are_no_tables_are_not_compared(tmp_path: Path, names: tuple[str, str]) -> None:
    """Layers of equal bytes stay what they are: nobody reads a model of layers twice."""
    path = tmp_path / "model.safetensors"
    save_file({name: draw() for name in names}, path)
    with open_checkpoint(path) as checkpoint:
        assert [group.names for group in group_tensors(checkpoint.tensors, files=checkpoint.files)] == [
            (name,) for name in sorted(names)
        ]


def test_tables_of_zeros_are_not_tied(tmp_path: Path) -> None:
    """Two tables that are not trained yet are two: growing one leaves the other."""
    path = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(100, 32) for name in ("user_embedding.weight", "item_embedding.weight")}, path)
    with open_checkpoint(path) as checkpoint:
        assert len(group_tensors(checkpoint.tensors, files=checkpoint.files)) == 2


def test_excluded_copy_leaves_its_table(tmp_path: Path) -> None:
    """A copy that --exclude names stays dense, and the table is compressed."""
    path = tmp_path / "model.safetensors"
    save_file({"embed.weight": draw(), "lm_head.weight": draw()}, path)
    result = embcompress.approximate(path, bases=4, exclude="lm_head.weight", neighbours=0)
    assert [(table.name, table.tied_names) for table in result.tables] == [("embed.weight", ())]
