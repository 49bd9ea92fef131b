"""Models of transformers from tiny random configurations, and what is tried with each after apply_to."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import embcompress

VOCABULARY, DIM = 96, 32
TOLERANCE = 1e-5  # absolute, of logits about 1


@dataclass(frozen=True)
class Architecture:
    """A model class and the configuration from which a tiny one is made.

    Attributes:
        model: the name of a class in transformers.
        config: the name of its configuration.
        options: of the configuration.
        tied: whether its head shares the table; None: as the configuration says.
        generates: whether it has `generate`.
    """

    model: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tied: bool | None = None
    generates: bool = True

    def make(self) -> Any:
        """Make the model, drawn at random."""
        import transformers

        options = dict(self.options) | ({} if self.tied is None else {"tie_word_embeddings": self.tied})
        torch.manual_seed(0)
        return getattr(transformers, self.model)(getattr(transformers, self.config)(**options)).eval()


LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": DIM, "intermediate_size": 64}
BERT = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, **LAYERS}
LLAMA = {**BERT, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BART = {
    "vocab_size": VOCABULARY,
    "d_model": DIM,
    "max_position_embeddings": 64,
    **{
        f"{part}_{name}": size
        for part in ("encoder", "decoder")
        for name, size in (("layers", 2), ("ffn_dim", 64), ("attention_heads", 2))
    },
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "scale_embedding": True,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": DIM,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
GPT2 = {
    "vocab_size": VOCABULARY,
    "n_positions": 64,
    "n_embd": DIM,
    "n_layer": 2,
    "n_head": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

ARCHITECTURES: Mapping[str, Architecture] = {
    "BERT": Architecture("BertForMaskedLM", "BertConfig", BERT, generates=False),
    "RoBERTa": Architecture("RobertaForMaskedLM", "RobertaConfig", BERT, generates=False),
    "XLM-R": Architecture("XLMRobertaForMaskedLM", "XLMRobertaConfig", BERT, generates=False),
    "ALBERT": Architecture("AlbertForMaskedLM", "AlbertConfig", {**BERT, "embedding_size": DIM}, generates=False),
    "DistilBERT": Architecture(
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {
            "vocab_size": VOCABULARY,
            "dim": DIM,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 64,
            "max_position_embeddings": 64,
        },
        generates=False,
    ),
    "ELECTRA": Architecture("ElectraForMaskedLM", "ElectraConfig", {**BERT, "embedding_size": DIM}, generates=False),
    "DeBERTa-v2": Architecture("DebertaV2ForMaskedLM", "DebertaV2Config", BERT, generates=False),
    "GPT-2": Architecture("GPT2LMHeadModel", "GPT2Config", GPT2),
    "Llama tied": Architecture("LlamaForCausalLM", "LlamaConfig", LLAMA, tied=True),
    "Llama untied": Architecture("LlamaForCausalLM", "LlamaConfig", LLAMA, tied=False),
    "Mistral": Architecture("MistralForCausalLM", "MistralConfig", LLAMA, tied=True),
    "Qwen2": Architecture("Qwen2ForCausalLM", "Qwen2Config", LLAMA, tied=True),
    "Qwen3": Architecture("Qwen3ForCausalLM", "Qwen3Config", LLAMA, tied=True),
    "Gemma": Architecture("GemmaForCausalLM", "GemmaConfig", LLAMA),
    "Gemma 2": Architecture("Gemma2ForCausalLM", "Gemma2Config", LLAMA),
    "Gemma 3": Architecture("Gemma3ForCausalLM", "Gemma3TextConfig", LLAMA),
    "Phi": Architecture("PhiForCausalLM", "PhiConfig", {**LLAMA, "partial_rotary_factor": 0.5}),
    "GPT-NeoX": Architecture("GPTNeoXForCausalLM", "GPTNeoXConfig", {**BERT, "bos_token_id": 1, "eos_token_id": 2}),
    "Bloom": Architecture(
        "BloomForCausalLM", "BloomConfig", {"vocab_size": VOCABULARY, "hidden_size": DIM, "n_layer": 2, "n_head": 2}
    ),
    "Falcon": Architecture("FalconForCausalLM", "FalconConfig", {**BERT, "bos_token_id": 1, "eos_token_id": 2}),
    "OPT": Architecture(
        "OPTForCausalLM",
        "OPTConfig",
        {**BERT, "ffn_dim": 64, "word_embed_proj_dim": DIM, "bos_token_id": 0, "eos_token_id": 2},
    ),
    "XGLM": Architecture(
        "XGLMForCausalLM",
        "XGLMConfig",
        {"vocab_size": VOCABULARY, "d_model": DIM, "ffn_dim": 64, "num_layers": 2, "attention_heads": 2},
    ),
    "BioGPT": Architecture("BioGptForCausalLM", "BioGptConfig", {**BERT, "bos_token_id": 0, "eos_token_id": 2}),
    "Mamba": Architecture(
        "MambaForCausalLM",
        "MambaConfig",
        {"vocab_size": VOCABULARY, "hidden_size": DIM, "state_size": 4, "num_hidden_layers": 2},
    ),
    "Mamba 2": Architecture(
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": DIM,
            "state_size": 4,
            "num_hidden_layers": 2,
            "num_heads": 4,
            "head_dim": 16,
            "n_groups": 1,
            "expand": 2,
            "tie_word_embeddings": True,
            "chunk_size": 8,
        },
    ),
    "T5": Architecture("T5ForConditionalGeneration", "T5Config", T5),
    "MT5": Architecture("MT5ForConditionalGeneration", "MT5Config", T5),
    "BART": Architecture("BartForConditionalGeneration", "BartConfig", BART),
    "mBART": Architecture("MBartForConditionalGeneration", "MBartConfig", BART),
    "Pegasus": Architecture("PegasusForConditionalGeneration", "PegasusConfig", BART),
    "M2M100": Architecture("M2M100ForConditionalGeneration", "M2M100Config", BART),
    "Marian": Architecture(
        "MarianMTModel", "MarianConfig", {**BART, "pad_token_id": 0, "decoder_vocab_size": VOCABULARY}
    ),
    "Blenderbot": Architecture("BlenderbotForConditionalGeneration", "BlenderbotConfig", BART),
}


def token_tables(model: nn.Module) -> list[str]:
    """Name the tables of tokens and of learned positions: two axes, as many rows as tokens, or an embedding's."""
    names = [name for name, parameter in model.named_parameters() if tuple(parameter.shape) == (VOCABULARY, DIM)]
    own = [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)]
    big = [name for name in own if name in dict(model.named_parameters()) and model.get_parameter(name).shape[0] > DIM]
    return sorted({*names, *big})


def compress(model: nn.Module, folder: Path, **options: Any) -> tuple[Path, Path]:
    """Save a model's state dict, compress its tables, reconstruct it: the paths of artifact and dense file."""
    torch.save(model.state_dict(), folder / "model.pt")
    chosen = options or {"bases": 8}
    result = embcompress.approximate(folder / "model.pt", table=token_tables(model), **chosen)
    dense = embcompress.reconstruct(result.output.path, output=folder / "dense.bin", to="bin")
    return Path(result.output.path), Path(dense.output.path)


def inputs_of(model: Any) -> dict[str, Tensor]:
    """Draw token ids that a model takes."""
    ids = torch.randint(4, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(1))
    if getattr(model.config, "is_encoder_decoder", False):
        return {"input_ids": ids, "decoder_input_ids": ids[:, :5].contiguous(), "labels": ids[:, :5].contiguous()}
    return {"input_ids": ids, "labels": ids}


@dataclass
class Served:
    """A model with tables of an artifact, and the same with the reconstructed ones."""

    model: Any
    dense: Any
    inputs: dict[str, Tensor]
    artifact: Path

    def forward(self) -> None:
        """Compare logits."""
        with torch.no_grad():
            actual, expected = self.model(**self.inputs).logits, self.dense(**self.inputs).logits
        torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)

    def generate(self) -> None:
        """Compare the tokens that are generated greedily."""
        arguments = {"max_new_tokens": 4, "do_sample": False, "min_new_tokens": 4}
        ids = self.inputs["input_ids"]
        torch.testing.assert_close(
            self.model.generate(input_ids=ids, **arguments), self.dense.generate(input_ids=ids, **arguments)
        )

    def train(self) -> None:
        """Take three steps, with checkpoints of gradients where the model has them; the loss falls."""
        model = copy.deepcopy(self.model).train()
        if model.supports_gradient_checkpointing:
            model.gradient_checkpointing_enable()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = model(**self.inputs).loss
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0], losses

    def tie(self) -> None:
        """Tie again, which changes nothing; the weight read is the reconstructed one."""
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.tie_weights()
        after = self.model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        weight, expected = self.model.get_input_embeddings().weight, self.dense.get_input_embeddings().weight
        assert (weight.dtype, weight.device, weight.shape) == (expected.dtype, expected.device, expected.shape)
        torch.testing.assert_close(weight.detach(), expected.detach(), rtol=0, atol=TOLERANCE)

    def resize(self) -> None:
        """Grow the vocabulary, and read logits as the dense model that grew; new rows are drawn, and left out."""
        model, dense = copy.deepcopy(self.model), copy.deepcopy(self.dense)
        for one in (model, dense):
            one.resize_token_embeddings(VOCABULARY + 8)
        assert model.get_input_embeddings().weight.shape == (VOCABULARY + 8, DIM)
        with torch.no_grad():
            actual, expected = model(**self.inputs).logits, dense(**self.inputs).logits
        assert actual.shape == expected.shape
        torch.testing.assert_close(actual[..., :VOCABULARY], expected[..., :VOCABULARY], rtol=0, atol=TOLERANCE)


def serve(architecture: Architecture, folder: Path, **options: Any) -> Served:
    """Make a model, compress its tables, and put them in place."""
    original = architecture.make()
    artifact, dense_file = compress(original, folder, **options)
    dense = architecture.make()
    dense.load_state_dict(torch.load(dense_file, weights_only=True))
    model = copy.deepcopy(original)
    embcompress.apply_to(model, artifact)
    return Served(model, dense, inputs_of(model), artifact)


TRIALS: Mapping[str, Callable[[Served], None]] = {
    "forward": Served.forward,
    "generate": Served.generate,
    "train": Served.train,
    "tie": Served.tie,
    "resize": Served.resize,
}
