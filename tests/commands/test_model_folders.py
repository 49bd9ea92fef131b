"""Folders of whole models, compressed and made dense again, as the libraries that wrote them read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import embcompress


def draw(*shape: int) -> Tensor:
    """Draw normal numbers, the same ones for a shape each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


TOKENS, POSITIONS = draw(300, 32), draw(40, 32)


def write_folder(folder: Path, tensors: Mapping[str, Tensor], *, name: str = "model.safetensors") -> Path:
    """Write the weights and the configuration of a model as `save_pretrained` lays them out."""
    folder.mkdir(parents=True)
    save_file(dict(tensors), folder / name, metadata={"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "gpt2", "vocab_size": 300}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def decoded(artifact: str) -> dict[str, Tensor]:
    """Look up every row of each table of an artifact."""
    with torch.no_grad():
        return {name: table().clone() for name, table in embcompress.load(artifact).items()}


@pytest.mark.parametrize("shard", [None, 9000], ids=["one file", "shards"])
def test_dense_folder_holds_what_its_loader_looks_for(tmp_path: Path, shard: int | None) -> None:
    """Weights under the names of the loader, an index where there are several, and tables as their modules give them.

    A loader takes `model.safetensors`, or `model.safetensors.index.json` and what that names.
    """
    kept = {"h.0.mlp.weight": draw(64, 32), "ln_f.bias": draw(32)}
    folder = write_folder(tmp_path / "m-v1.5", {"wte.weight": TOKENS, "wpe.weight": POSITIONS, **kept})
    made = embcompress.approximate(folder, ratio=4, neighbours=0)
    back = Path(embcompress.reconstruct(made.output.path, max_shard_size=shard).output.path)
    weights, index = back / "model.safetensors", back / "model.safetensors.index.json"
    if shard is None:
        assert not index.exists()
        state = load_file(weights)
    else:
        assert not weights.exists()
        weight_map = json.loads(index.read_text())["weight_map"]
        state = {name: load_file(back / file)[name] for name, file in weight_map.items()}
        assert len(set(weight_map.values())) == 3  # of 5120, 38,400 and 8192 + 128 bytes
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in {"wte.weight": TOKENS, "wpe.weight": POSITIONS, **kept}.items()
    }
    assert all(torch.equal(state[name], tensor) for name, tensor in kept.items())
    assert all(torch.equal(state[name], table) for name, table in decoded(made.output.path).items())
    assert (back / "config.json").read_text() == (folder / "config.json").read_text()
    for path in back.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert file.metadata()["format"] == "pt"


def test_artifact_folder_is_no_dense_model(tmp_path: Path) -> None:
    """No file of it has a name that a loader would take for the weights of a model without its tables."""
    folder = write_folder(tmp_path / "m", {"wte.weight": TOKENS, "ln_f.bias": torch.ones(32)})
    made = embcompress.approximate(folder, ratio=4, neighbours=0)
    names = sorted(path.name for path in Path(made.output.path).iterdir())
    assert names == ["SHA256SUMS", "config.json", "embcompress.safetensors", "tokenizer.json"]


def test_report_of_a_folder_has_its_whole_name(tmp_path: Path) -> None:
    """A version in the name of a folder is no ending, as that of a file is."""
    folder = write_folder(tmp_path / "bge-v1.5", {"wte.weight": TOKENS})
    made = embcompress.approximate(folder, ratio=4, neighbours=0, output=tmp_path / "bge-v1.5-small")
    embcompress.reconstruct(made.output.path, output=tmp_path / "bge-v1.5-back")
    embcompress.approximate(folder, ratio=4, neighbours=0, output=tmp_path / "bge-v1.6.safetensors")
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [
        "bge-v1.5-back.report.json",
        "bge-v1.5-small.report.json",
        "bge-v1.6.report.json",
    ]


@pytest.mark.parametrize("root", ["", "."], ids=["sentence-transformers", "model2vec"])
def test_modules_go_back_into_their_folders(tmp_path: Path, root: str) -> None:
    """Static embeddings at the root, a linear layer in 1_Dense: each file holds its own tensors, by their own names."""
    folder = write_folder(tmp_path / "st", {"embedding.weight": TOKENS})
    linear = {"linear.weight": draw(8, 32), "linear.bias": draw(8)}
    write_folder(folder / "1_Dense", linear)
    (folder / "modules.json").write_text(json.dumps([{"path": root}, {"path": "1_Dense"}]))
    made = embcompress.approximate(folder, ratio=4, neighbours=0)
    back = Path(embcompress.reconstruct(made.output.path).output.path)
    assert load_file(back / "model.safetensors").keys() == {"embedding.weight"}
    dense = load_file(back / "1_Dense" / "model.safetensors")
    assert dense.keys() == linear.keys()
    assert all(torch.equal(dense[name], tensor) for name, tensor in linear.items())
    assert (back / "modules.json").read_text() == (folder / "modules.json").read_text()
    assert (back / "1_Dense" / "config.json").is_file()


def test_tied_head_of_a_folder_is_tied_again(tmp_path: Path) -> None:
    """A head that shares its table with the embeddings in pytorch_model.bin is compressed once, and equals it again."""
    folder = tmp_path / "m"
    folder.mkdir()
    state = {"wte.weight": TOKENS, "ln_f.bias": torch.ones(32), "lm_head.weight": TOKENS}
    torch.save(state, folder / "pytorch_model.bin")
    made = embcompress.approximate(folder, ratio=4, neighbours=0)
    assert [(table.name, table.tied_names) for table in made.tables] == [("wte.weight", ("lm_head.weight",))]
    back = load_file(Path(embcompress.reconstruct(made.output.path).output.path) / "model.safetensors")
    assert back.keys() == state.keys()
    assert torch.equal(back["lm_head.weight"], back["wte.weight"])
    assert torch.equal(back["wte.weight"], decoded(made.output.path)["wte.weight"])


def test_forms_of_one_artifact_lie_side_by_side(tmp_path: Path) -> None:
    """The dense model, word2vec in text and binary and GloVe have outputs and reports of their own by default."""
    save_file({"vectors": TOKENS}, tmp_path / "w.safetensors")
    made = embcompress.approximate(tmp_path / "w.safetensors", bases=4, neighbours=0)
    for form in (None, "word2vec", "word2vec-binary", "glove"):
        assert embcompress.reconstruct(made.output.path, to=form).tensors == 1
    forms = ("word2vec.txt", "word2vec-binary.bin", "glove.txt")
    names = ("safetensors", "report.json", *forms, *(f"{form.partition('.')[0]}.report.json" for form in forms))
    assert {path.name for path in tmp_path.glob("*-dense.*")} == {f"w-4bases-dense.{name}" for name in names}
