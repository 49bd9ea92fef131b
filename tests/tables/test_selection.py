"""Which matrices of a file are its tables, where names do not tell."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.command_line import run
from tests.fixtures import draw_sloping


def test_only_matrix_of_a_file_is_its_table(tmp_path: Path) -> None:
    """A file with one matrix is compressed without --table; a second one makes it ask."""
    path = tmp_path / "vectors.safetensors"
    save_file({"stuff": draw_sloping(400, 24), "steps": torch.ones(3)}, path)
    report = json.loads(run("approximate", path, "--ratio", "6", "--neighbours", "0", "--json").out)
    assert [table["name"] for table in report["tables"]] == ["stuff"]
    save_file({"stuff": draw_sloping(400, 24), "other": draw_sloping(300, 24)}, path)
    outcome = run("approximate", path, "--ratio", "6", "--force")
    assert outcome.code == 1
    assert "no tensor is named like an embedding" in outcome.err


def test_matrix_beside_compressed_tables_is_no_table(tmp_path: Path) -> None:
    """What is left dense in an artifact is a layer, though no other matrix stands beside it."""
    path = tmp_path / "model.safetensors"
    save_file({"embedding.weight": draw_sloping(400, 24), "mix.weight": draw_sloping(64, 64)}, path)
    artifact = tmp_path / "artifact.safetensors"
    assert run("approximate", path, "--ratio", "6", "--neighbours", "0", "-o", artifact).code == 0
    listed = json.loads(run("inspect", artifact, "--json").out)
    assert {table["name"]: table["chosen"] for table in listed["tables"]} == {"mix.weight": False}
    assert [table["name"] for table in listed["compressed_tables"]] == ["embedding.weight"]
