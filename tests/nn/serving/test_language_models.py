"""Models of transformers over compressed tables: a few of the architectures that benchmarks/architectures.py tries."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import embcompress
from embcompress.exceptions import TableError
from embcompress.nn import LowRankHead
from embcompress.nn.grown import GrownRepresentation
from tests.nn.serving.architectures import ARCHITECTURES, DIM, TRIALS, VOCABULARY, serve

pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

# One of each kind: an encoder, a tied and an untied decoder, a scaled embedding, positions with an offset, a shared
# table of encoder and decoder, a head of which the dtype is read.
CHOSEN = ("BERT", "GPT-2", "Llama untied", "Gemma 3", "OPT", "T5", "BART", "Mamba")


@pytest.mark.parametrize("name", CHOSEN)
def test_architecture_works_in_every_trial(tmp_path: Path, name: str) -> None:
    """Logits, greedy tokens, training, ties and growth are those of the model with the reconstructed tables."""
    architecture = ARCHITECTURES[name]
    served = serve(architecture, tmp_path)
    for trial, attempt in TRIALS.items():
        if trial != "generate" or architecture.generates:
            attempt(served)


def test_architecture_works_with_codes(tmp_path: Path) -> None:
    """The same of a coded table."""
    served = serve(ARCHITECTURES["Llama tied"], tmp_path, ratio=3, effort="fast")
    for attempt in TRIALS.values():
        attempt(served)


def test_resizing_keeps_the_table_and_adds_rows(tmp_path: Path) -> None:
    """The grown table has the old factors, and dense rows behind; a head that is tied stays so; fewer are refused."""
    model = serve(ARCHITECTURES["Llama tied"], tmp_path).model
    table = model.get_input_embeddings()
    assert model.resize_token_embeddings() is table
    assert model.resize_token_embeddings(VOCABULARY) is table
    with pytest.raises(TableError, match=f"of {VOCABULARY} rows, which cannot be cut to {VOCABULARY - 1}"):
        model.resize_token_embeddings(VOCABULARY - 1)
    assert model.get_input_embeddings() is table
    grown = model.resize_token_embeddings(pad_to_multiple_of=64)
    assert isinstance(grown, GrownRepresentation)
    assert grown.base is table
    assert grown.added.stored.shape == (128 - VOCABULARY, DIM)
    assert isinstance(model.lm_head, LowRankHead)
    assert model.lm_head.table is grown
    assert model.config.vocab_size == model.lm_head.out_features == 128
    # transformers draws new rows about the mean of the old ones, with 1e-9 of their covariance.
    mean = table().detach().mean(dim=0).expand(128 - VOCABULARY, DIM)
    torch.testing.assert_close(grown.added.stored.detach(), mean, rtol=0, atol=1e-3)
    model.tie_weights()
    assert model.lm_head.table is grown
    torch.testing.assert_close(grown(torch.tensor([5, 127])), torch.cat([table([5]), grown.added([31])]))
    again = model.resize_token_embeddings(130)
    assert again.base is model.lm_head.table.base is grown
    torch.testing.assert_close(again().detach()[:128], grown().detach(), rtol=0, atol=0)


def test_rest_makes_a_language_model_whole(tmp_path: Path) -> None:
    """A model made on meta gets its weights and its buffers, and its logits are those of the dense one."""
    architecture = ARCHITECTURES["Gemma 3"]
    served = serve(architecture, tmp_path)
    with torch.device("meta"):
        model = architecture.make()
    embcompress.apply_to(model, served.artifact, rest=True)
    served.model = model
    served.forward()
