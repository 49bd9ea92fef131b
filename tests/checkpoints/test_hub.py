"""Addresses on the Hugging Face hub, and what is found of them in its cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.hugging_face.hub import HubAddress, choose_files, parse_address
from embcompress.exceptions import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_parse_address_reads_model_revision_and_part() -> None:
    """Each part is optional but the name, and the slash that a Path takes away is put back."""
    expected = {
        "hf://org/name": HubAddress("org/name"),
        "hf://gpt2": HubAddress("gpt2"),
        "hf://org/name@v1.0": HubAddress("org/name", "v1.0"),
        "hf://org/name@refs/pr/3/1_Dense": HubAddress("org/name", "refs/pr/3", "1_Dense"),
        "hf://org/name@a%2Fb/x": HubAddress("org/name", "a/b", "x"),
        "hf://org/na-me.v1/a/b.safetensors": HubAddress("org/na-me.v1", None, "a/b.safetensors"),
    }
    for text, address in expected.items():
        assert parse_address(text) == parse_address(Path(text)) == parse_address(f"{text}/") == address
        assert parse_address(str(address).replace("a/b/", "a%2Fb/")) == address
    assert [parse_address(path) for path in ("model.pt", "", "hf", Path("a/hf:/b"), "https://x/y")] == [None] * 5


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf:///", "hf://../x", "hf://org/..", "hf://o/n@", "hf://o/n@../../x", "hf://o/n/../../x", "hf://o n"],
)
def test_parse_address_refuses_what_is_none(text: str) -> None:
    """Neither a name nor a revision nor a part leads out of the cache; the message says how one is written."""
    with pytest.raises(CheckpointError, match="is no address of a model") as caught:
        parse_address(text)
    assert "hf://org/name@revision" in caught.value.hint


def test_parse_address_leaves_a_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may be called `hf:`."""
    monkeypatch.chdir(tmp_path)
    Path("hf:/org/name").mkdir(parents=True)
    assert parse_address(Path("hf:/org/name")) is None
    assert parse_address("hf://org/name") == HubAddress("org/name")


NAMES = """
    README.md config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors .gitattributes
    model.safetensors.index.json pytorch_model.bin tf_model.h5 tokenizer.json modeling_x.py onnx/model.onnx
    onnx/config.json 1_Dense/config.json 1_Dense/model.safetensors 1_Dense/pytorch_model.bin 1_Dense/x/config.json
    original/params.json original/consolidated.00.pth
"""


def test_choose_files_takes_what_is_read() -> None:
    """The index and not yet its shards, one form of the weights, modules, and nothing of other frameworks."""
    own = {"README.md", "config.json", "tokenizer.json", "model.safetensors.index.json"}
    module = {"1_Dense/config.json", "1_Dense/model.safetensors"}
    assert set(choose_files(NAMES.split(), HubAddress("o/n"))) == own | module
    assert set(choose_files(NAMES.split(), HubAddress("o/n", None, "1_Dense"))) == module
    assert choose_files(NAMES.split(), HubAddress("o/n", None, "original")) == ["original/consolidated.00.pth"]
    assert choose_files(NAMES.split(), HubAddress("o/n", None, "pytorch_model.bin")) == ["pytorch_model.bin"]
    with pytest.raises(CheckpointError, match="hf://o/n/onnx holds no weights that are read"):
        choose_files(NAMES.split(), HubAddress("o/n", None, "onnx"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Write a model of two shards and a tokenizer into a cache, as huggingface_hub lays it out: links to blobs."""
    pytest.importorskip("huggingface_hub")
    model = tmp_path / "cache" / "models--org--name"
    snapshot = model / "snapshots" / COMMIT
    for folder in (snapshot / "1_Dense", model / "blobs", model / "refs"):
        folder.mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    table = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    weights = {
        "model-00001-of-00002.safetensors": {"word_embeddings.weight": table},
        "model-00002-of-00002.safetensors": {"head.bias": torch.ones(3)},
        "1_Dense/model.safetensors": {"linear.weight": torch.eye(6)},
    }
    for index, (name, tensors) in enumerate(weights.items()):
        save_file(tensors, model / "blobs" / f"{index:040}")
        (snapshot / name).symlink_to(os.path.relpath(model / "blobs" / f"{index:040}", (snapshot / name).parent))
    index = {tensor: name for name in list(weights)[:2] for tensor in weights[name]}
    vocabulary = {f"t{row}": row for row in range(40)}
    texts = {"model.safetensors.index.json": {"weight_map": index}, "tokenizer.json": {"model": {"vocab": vocabulary}}}
    for name, content in texts.items():
        (model / "blobs" / name).write_text(json.dumps(content))
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Take huggingface_hub, which reads its settings when it is imported, off line and to that cache."""
    constants: ModuleType = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return constants


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_model_is_read_from_the_cache(hub: ModuleType, cache: Path, revision: str) -> None:
    """Its tensors, modules included, and its companions; the report names the address."""
    assert hub.HF_HUB_OFFLINE
    with open_checkpoint(f"hf://org/name{revision}") as checkpoint:
        names = [tensor.name for tensor in checkpoint.tensors]
        assert names == ["word_embeddings.weight", "head.bias", "1_Dense/linear.weight"]
        assert checkpoint.path == cache / "models--org--name" / "snapshots" / COMMIT
        assert checkpoint.listing.companions == (checkpoint.path / "tokenizer.json",)
    report = embcompress.inspect(Path(f"hf://org/name{revision}/1_Dense"))
    assert report.input.path == f"hf://org/name{revision}/1_Dense"
    assert [table.name for table in report.tables] == ["linear.weight"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "hf://org/other",
            "hf://org/other is not in the cache of huggingface_hub, and the hub was not reached: .*HF_HUB_OFFLINE",
        ),
        ("hf://org/name@dev", "hf://org/name@dev is not in the cache of huggingface_hub"),
        ("hf://org/name/2_Dense", "org/name has no '2_Dense', or it holds nothing that is read"),
        ("hf://-org/name", "hf://-org/name cannot be: Repo id must"),
    ],
)
def test_what_the_cache_lacks_is_told(hub: ModuleType, address: str, message: str) -> None:
    """A model, a revision or a part, and a name that cannot be one."""
    assert hub.HF_HUB_OFFLINE
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(address)
    assert caught.value.hint


def test_shard_that_the_cache_lacks_is_named(hub: ModuleType, cache: Path) -> None:
    """A download that was broken off is not read as a smaller model."""
    assert hub.HF_HUB_OFFLINE
    (cache / "models--org--name" / "snapshots" / COMMIT / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no file 'model-00002-of-00002.safetensors', into which"):
        open_checkpoint("hf://org/name")


def test_hub_without_its_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match="needs huggingface_hub, which is not installed") as caught:
        open_checkpoint("hf://org/name")
    assert caught.value.hint == "pip install 'embcompress[hub]'"


def test_command_line_takes_an_address(cache: Path, tmp_path: Path) -> None:
    """As a user types it: the environment names the cache, the output would go to the current folder."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    arguments = ["approximate", "hf://org/name", "--bases", "2", "--json", "--dry-run"]
    command = [sys.executable, "-m", "embcompress", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    report = json.loads(ended.stdout)
    assert (report["input"]["path"], report["output"]["path"]) == ("hf://org/name", "name-2bases")
    assert report["notes"] == ["labels of 'word_embeddings.weight' are those of tokenizer.json beside the model"]
