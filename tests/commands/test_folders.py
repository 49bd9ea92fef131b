"""Commands whose input is a Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import embcompress
from embcompress.artifact.output import beside
from embcompress.exceptions import OutputError
from tests.fixtures import load_stored

INDEX = "model.safetensors.index.json"


def save_parts(folder: Path, parts: Mapping[str, Mapping[str, Tensor]], *, metadata: Mapping[str, str]) -> Path:
    """Write tensors into several files, with metadata in the first, and their index."""
    folder.mkdir(parents=True)
    for place, (name, tensors) in enumerate(parts.items()):
        save_file(dict(tensors), folder / name, metadata=None if place else dict(metadata))
    weight_map = {tensor: name for name, tensors in parts.items() for tensor in tensors}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_folder_gives_the_factors_of_its_table_to_the_bit(tmp_path: Path) -> None:
    """20,000 x 64 rows cut into 7 shards in 3 files have the bases and weights that one file has."""
    table = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(3))
    save_file({"embedding.weight": table}, tmp_path / "whole.safetensors")
    cuts = [0, 1, 4095, 4097, 9000, 9001, 16384, 20_000]
    shards = {
        f"embedding.shard_{place}.weight": table[start:end].contiguous()
        for place, (start, end) in enumerate(pairwise(cuts))
    }
    files = [dict(list(shards.items())[start::3]) for start in range(3)]
    parts = {f"model-0000{place}-of-00003.safetensors": tensors for place, tensors in enumerate(files, 1)}
    folder = save_parts(tmp_path / "model", parts, metadata={"format": "pt"})
    whole = embcompress.approximate(tmp_path / "whole.safetensors", bases=8, neighbours=0)
    made = embcompress.approximate(folder, bases=8, neighbours=0)
    assert made.output.path == str(tmp_path / "model-8bases")
    one, other = load_stored(whole.output.path), load_stored(Path(made.output.path) / "embcompress.safetensors")
    assert set(one) == set(other) == {"embedding.weight.bases", "embedding.weight.weights"}
    assert all(torch.equal(one[name].view(torch.int32), other[name].view(torch.int32)) for name in one)
    checked = embcompress.evaluate(folder / INDEX, made.output.path, neighbours=0)
    assert all(check.passed for check in checked.checks)
    assert checked.input.path == str(folder / INDEX)


@pytest.mark.parametrize("options", [{"bases": 3}, {"ratio": 4}], ids=str)
def test_artifact_in_several_files_is_one(tmp_path: Path, options: Mapping[str, float]) -> None:
    """An artifact that was cut into files, its document in the first, lists, restores and evaluates as in one."""
    source = tmp_path / "model.safetensors"
    table = torch.randn(600, 32, generator=torch.Generator().manual_seed(5))
    save_file({"embedding.weight": table, "head.bias": torch.ones(4)}, source)
    made = embcompress.approximate(source, **options, neighbours=0)
    with safe_open(made.output.path, "pt") as file:
        metadata = file.metadata()
    parts: dict[str, dict[str, Tensor]] = {}
    for place, (name, tensor) in enumerate(load_file(made.output.path).items()):
        parts.setdefault(f"model-0000{place % 2 + 1}-of-00002.safetensors", {})[name] = tensor
    folder = save_parts(tmp_path / "parts", dict(sorted(parts.items())), metadata=metadata)
    assert embcompress.inspect(folder).compressed_tables == embcompress.inspect(made.output.path).compressed_tables
    one, other = embcompress.reconstruct(made.output.path), embcompress.reconstruct(folder)
    assert other.output.path == str(tmp_path / "parts-dense")
    dense = Path(other.output.path) / "model.safetensors"
    assert dense.read_bytes() == Path(one.output.path).read_bytes()
    assert all(check.passed for check in embcompress.evaluate(source, folder, neighbours=0).checks)
    loaded = embcompress.load(folder)["embedding.weight"]
    assert torch.equal(loaded(), embcompress.load(made.output.path)["embedding.weight"]())


@pytest.mark.parametrize("output", ["a.safetensors", INDEX, "tokenizer.json"])
def test_files_of_a_folder_are_never_replaced(tmp_path: Path, output: str) -> None:
    """Neither a shard nor the index nor a companion is an output, with force either."""
    parts = {"a.safetensors": {"emb.weight": torch.ones(9, 4)}, "b.safetensors": {"b": torch.ones(2)}}
    folder = save_parts(tmp_path / "model", parts, metadata={})
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(OutputError, match="is the input itself"):
        embcompress.approximate(folder, bases=1, output=folder / output, force=True)
    (folder / "report.json").symlink_to(output)
    with pytest.raises(OutputError, match="is the input itself"):
        embcompress.inspect(folder, report=folder / "report.json", force=True)


def test_beside_names_folders_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version in the name of a folder is no ending; a folder without a name gets its output in it."""
    folder = tmp_path / "bge-small-en-v1.5"
    folder.mkdir()
    assert beside(folder, "-8x.safetensors") == tmp_path / "bge-small-en-v1.5-8x.safetensors"
    assert beside(f"{folder}/", "-8x.safetensors") == tmp_path / "bge-small-en-v1.5-8x.safetensors"
    assert beside(folder / "model.safetensors", "-8x.safetensors") == folder / "model-8x.safetensors"
    assert beside(folder / INDEX, "-8x.safetensors") == folder / "model-8x.safetensors"
    monkeypatch.chdir(folder)
    assert beside(".", "-8x.safetensors") == Path("bge-small-en-v1.5-8x.safetensors")
    assert beside("..", "-8x.safetensors") == Path("..") / f"{tmp_path.name}-8x.safetensors"
    assert beside("hf://org/bge-v1.5@main/1_Dense", "-8x.safetensors") == Path("bge-v1.5-8x.safetensors")
    assert beside(Path("hf://name"), "-8x.safetensors") == Path("name-8x.safetensors")
