"""Folders of transformers and sentence-transformers with compressed tables: loaded by from_pretrained, or refused."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import embcompress
from embcompress.exceptions import TableError
from embcompress.nn import GrownRepresentation
from tests.fixtures import write_lines
from tests.nn.serving.architectures import ARCHITECTURES, BERT, DIM, VOCABULARY, serve

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    ("name", "options"),
    [("BERT", {}), ("GPT-2", {}), ("Llama untied", {}), ("Llama tied", {"ratio": 3, "effort": "fast"}), ("T5", {})],
    ids=["BERT", "GPT-2", "Llama untied", "Llama tied, coded", "T5"],
)
def test_saved_model_comes_back(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    """save_pretrained, then from_pretrained: the same logits, ties and dtype; the class's own raises; dense saves."""
    served = serve(ARCHITECTURES[name], tmp_path, **options)
    served.model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["embcompress"]["tables"]
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        type(served.dense).from_pretrained(tmp_path / "saved")
    served.model = embcompress.from_pretrained(tmp_path / "saved")
    served.forward()
    served.tie()
    dense = embcompress.from_pretrained(tmp_path / "saved", dense=True)
    assert isinstance(dense.get_input_embeddings(), nn.Embedding)
    dense.save_pretrained(tmp_path / "dense")
    served.model = type(served.dense).from_pretrained(tmp_path / "dense")
    served.forward()
    assert "embcompress" not in (tmp_path / "dense" / "config.json").read_text()


def test_grown_model_comes_back(tmp_path: Path) -> None:
    """Dense rows that resizing added are saved behind the compressed ones; what generation was told is kept."""
    served = serve(ARCHITECTURES["Llama tied"], tmp_path)
    served.model.generation_config.max_new_tokens = 7
    served.model.resize_token_embeddings(VOCABULARY + 4)
    served.model.save_pretrained(tmp_path / "saved")
    loaded = embcompress.from_pretrained(tmp_path / "saved")
    assert isinstance(loaded.get_input_embeddings(), GrownRepresentation)
    assert loaded.generation_config.max_new_tokens == 7
    torch.testing.assert_close(loaded(**served.inputs).logits, served.model(**served.inputs).logits, rtol=0, atol=0)


def test_trainer_saves_and_resumes(tmp_path: Path) -> None:
    """Training that resumes from a checkpoint ends with the weights of one that went on; the checkpoint is loaded."""
    pytest.importorskip("accelerate", reason="accelerate is not installed, which Trainer needs: pip install accelerate")
    served = serve(ARCHITECTURES["Llama tied"], tmp_path)
    examples = [{"input_ids": ids, "labels": ids} for ids in torch.arange(64).view(8, 8)]
    settings = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "max_steps": 4, "save_steps": 2}
    arguments = transformers.TrainingArguments(str(tmp_path / "run"), learning_rate=0.01, **settings)
    models = [served.model, ARCHITECTURES["Llama tied"].make(), ARCHITECTURES["Llama tied"].make()]
    transformers.Trainer(models[0], arguments, train_dataset=examples).train()
    embcompress.apply_to(models[1], served.artifact)
    halfway = str(tmp_path / "run" / "checkpoint-2")
    transformers.Trainer(models[1], arguments, train_dataset=examples).train(resume_from_checkpoint=halfway)
    loaded = embcompress.from_pretrained(tmp_path / "run" / "checkpoint-4")
    expected = models[0].eval()(**served.inputs).logits
    for model in (models[1].eval(), loaded):
        torch.testing.assert_close(model(**served.inputs).logits, expected, rtol=0, atol=1e-6)
    with pytest.raises(RuntimeError, match=r"size mismatch for model\.embed_tokens\.weight"):
        transformers.Trainer(models[2], arguments, train_dataset=examples).train(resume_from_checkpoint=halfway)


@pytest.mark.parametrize("name", ["BERT", "Phi"])
def test_backfilled_folder_is_loaded_as_it_is(tmp_path: Path, name: str) -> None:
    """The class's own from_pretrained misses nothing in a folder of backfill: logits of known ids stay at their ids."""
    model = ARCHITECTURES[name].make()
    head = "cls.predictions.bias" if name == "BERT" else "lm_head.bias"
    nn.init.normal_(model.get_parameter(head))
    model.save_pretrained(tmp_path / "model")
    ids = torch.arange(VOCABULARY) + 3
    grown = embcompress.backfill(
        tmp_path / "model", max_id=VOCABULARY + 5, base_ids=write_lines(tmp_path / "ids", ids.tolist())
    )
    loaded, problems = type(model).from_pretrained(grown.output.path, output_loading_info=True)
    assert not any(problems[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    logits = loaded(input_ids=torch.tensor([[8, 9, 10]])).logits
    expected = model(input_ids=torch.tensor([[5, 6, 7]])).logits
    torch.testing.assert_close(logits[..., ids], expected, rtol=0, atol=1e-6)
    assert loaded.config.vocab_size == VOCABULARY + 5


def test_folder_of_approximate_is_loaded(tmp_path: Path) -> None:
    """A compressed folder becomes the model that apply_to makes, and generates as it was told to.

    An artifact under the name of a dense file is refused by transformers.
    """
    model = ARCHITECTURES["Llama untied"].make()
    model.generation_config.max_new_tokens = 7
    model.save_pretrained(tmp_path / "model")
    made = embcompress.approximate(tmp_path / "model", bases=4)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        type(model).from_pretrained(made.output.path)
    loaded, dense = (embcompress.from_pretrained(made.output.path, dense=one) for one in (False, True))
    ids = torch.tensor([[5, 6, 7]])
    served = ARCHITECTURES["Llama untied"].make()
    served.load_state_dict(model.state_dict())
    embcompress.apply_to(served, made.output.path)
    for one in (loaded, dense):
        torch.testing.assert_close(one(ids).logits, served.eval()(ids).logits, rtol=0, atol=1e-5)
        assert one.generation_config.max_new_tokens == 7
    with pytest.raises(TableError, match="holds no compressed tables"):
        embcompress.from_pretrained(tmp_path / "model")
    artifact = embcompress.approximate(tmp_path / "model", bases=4, output=tmp_path / "artifact.safetensors")
    shutil.copy(artifact.output.path, tmp_path / "model" / "model.safetensors")
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        type(model).from_pretrained(tmp_path / "model")


def test_sentence_transformer_comes_back(tmp_path: Path) -> None:
    """SentenceTransformer.save, then from_pretrained: the same vectors; SentenceTransformer itself raises."""
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(VOCABULARY - 5))]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    folder = tmp_path / "bert"
    transformers.BertModel(transformers.BertConfig(**BERT)).save_pretrained(folder)
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(folder)
    parts = importlib.import_module("sentence_transformers.models")
    modules = [parts.Transformer(str(folder)), parts.Pooling(DIM)]
    model = library.SentenceTransformer(modules=modules, device="cpu")
    artifact = embcompress.approximate(folder, bases=4, output=tmp_path / "artifact.safetensors").output.path
    embcompress.apply_to(model, artifact)
    expected = model.encode(["w1 w2", "w5 w9 w1"], convert_to_tensor=True)
    model.save(str(tmp_path / "saved"))
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        library.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    loaded = embcompress.from_pretrained(tmp_path / "saved", device="cpu")
    torch.testing.assert_close(loaded.encode(["w1 w2", "w5 w9 w1"], convert_to_tensor=True), expected)
