"""A folder that model2vec's StaticModel loads: the rows of the tokens of a tokenizer.

Of int8 every row has a scale, which model2vec knows as the weight of a token: its own rounding to int8 has one scale
for the whole table, and does not keep it.

Source: model2vec, persistence/persistence.py and model.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embcompress.artifact.folder_writer import FolderForm
from embcompress.artifact.output import DENSE_STEM
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import StoredTensor
from embcompress.exceptions import CheckpointError, UsageError
from embcompress.exports.quantized.integers import BYTE_PEAKS, BYTES
from embcompress.exports.quantized.kind import (
    ExportPlan,
    Kind,
    MetadataWriter,
    RoundedPart,
    TableEncoding,
    check_one_table,
    read_json,
    why_no_real_matrix,
)
from embcompress.exports.quantized.source import SourceTable
from embcompress.exports.rounding import Scale, round_blocks
from embcompress.results import TableHead

CONFIGURATION, TOKENIZER, MODULES = "config.json", "tokenizer.json", "modules.json"
STATIC_FOLDER = "0_StaticEmbedding"  # where sentence-transformers keeps the tokenizer of a static model
KEPT = ("README.md", "LICENSE")  # of the other files of a model
ROWS, WEIGHTS, MAPPING = "embeddings", "weights", "mapping"
MODEL_TYPE = "model2vec"
DTYPE = "embedding_dtype"  # which every configuration that model2vec writes has


class StaticModelFolder(Kind):
    """A folder of a static model.

    Args:
        dtype: of its rows, float16 or int8.
    """

    is_folder = True

    def __init__(self, dtype: str) -> None:
        self.ending = f"-model2vec-{dtype}"
        self._dtype = dtype

    def why_unfit(self, source: SourceTable) -> str:  # noqa: D102 - as in Kind
        return why_no_real_matrix(source.table.head)

    def encode(self, source: SourceTable) -> TableEncoding:  # noqa: D102 - as in Kind
        return _ScaledRows(source.table.head) if self._dtype == "int8" else _Halves(source.table.head)

    def why_left_out(self, stored: StoredTensor) -> str:  # noqa: D102 - as in Kind
        return "" if stored.name in {WEIGHTS, MAPPING} else "a static model has rows of tokens alone"

    def check(self, plan: ExportPlan) -> None:
        """Refuse what no static model can be made of.

        Raises:
            UsageError: several tables, no tokenizer, or weights of tokens beside those that int8 needs.
            CheckpointError: the tokenizer has another number of tokens than the table rows, or cannot be read.
        """
        check_one_table(plan, form="a static model", hint="--table chooses one.")
        ((table, _),) = plan.tables
        path = _tokenizer_of(plan)
        if path is None:
            raise UsageError(
                f"{plan.source.path} has no {TOKENIZER} beside it, and a static model needs one.",
                hint="Name the folder of the model, or put the file of its tokenizer there.",
            )
        own = {entry.name for entry in plan.copied}
        if own and self._dtype == "int8":
            raise UsageError(
                f"{plan.source.path} has {' and '.join(sorted(own))} of its tokens, and int8 has its scales there.",
                hint=f"--to {MODEL_TYPE}:float16 keeps them.",
            )
        tokens = _count_tokens(path)
        if MAPPING not in own and tokens != table.rows:
            raise CheckpointError(
                f"{path} has {tokens} tokens, and the table {table.name!r} has {table.rows} rows; a static model has "
                "one for each token.",
                hint="Choose the table of tokens with --table.",
            )

    def open_writer(self, plan: ExportPlan) -> MetadataWriter:  # noqa: D102 - as in Kind
        tokenizer = _tokenizer_of(plan)
        assert tokenizer is not None
        companions = {TOKENIZER: tokenizer, **{name: plan.companions[name] for name in KEPT if name in plan.companions}}
        configuration = _configuration(plan, self._dtype)
        contents = {
            name: (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
            for name, content in (
                (CONFIGURATION, configuration),
                (MODULES, _modules(bool(configuration.get("normalize")))),
            )
        }
        form = FolderForm(DENSE_STEM, None, companions, contents=contents)
        return MetadataWriter(plan, form)


def _tokenizer_of(plan: ExportPlan) -> Path | None:
    """Find the tokenizer of a model, by the places where programs keep it."""
    return plan.companions.get(TOKENIZER) or plan.companions.get(f"{STATIC_FOLDER}/{TOKENIZER}")


def _count_tokens(path: Path) -> int:
    """Count the tokens of a tokenizer, those added to its vocabulary, too.

    Raises:
        CheckpointError: it is none of the tokenizers package.
    """
    tokenizer = read_json(path)
    try:
        vocabulary = tokenizer["model"]["vocab"]
        # A list of pairs of a token and its score, or the ids of tokens.
        tokens = [pair[0] for pair in vocabulary] if isinstance(vocabulary, list) else list(vocabulary)
        added = [token["content"] for token in tokenizer.get("added_tokens") or []]
        return len({*tokens, *added})
    except (KeyError, TypeError, IndexError, AttributeError) as err:
        raise CheckpointError(f"{path} is no tokenizer of the tokenizers package.") from err


def _configuration(plan: ExportPlan, dtype: str) -> dict[str, Any]:
    """Make the configuration of a static model: its own, or what is known of that of another model."""
    path = plan.companions.get(CONFIGURATION)
    own = {} if path is None else read_json(path)
    if not isinstance(own, dict) or (own.get("model_type") != MODEL_TYPE and DTYPE not in own):
        own = {"model_type": MODEL_TYPE, "architectures": ["StaticModel"], "normalize": _is_normalizing(plan)}
    return {**own, DTYPE: dtype}


def _is_normalizing(plan: ExportPlan) -> bool:
    """Tell whether sentence-transformers brings the sentences of a model to unit norm."""
    path = plan.companions.get(MODULES)
    modules = read_json(path) if path is not None else []
    kinds = [module.get("type", "") for module in modules if isinstance(module, dict)]
    return any(str(kind).endswith("Normalize") for kind in kinds)


def _modules(is_normalizing: bool) -> list[dict[str, Any]]:
    """List the modules that sentence-transformers makes of a static model."""
    kinds = {"StaticEmbedding": ".", **({"Normalize": "1_Normalize"} if is_normalizing else {})}
    return [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(kinds.items())
    ]


class _Halves(TableEncoding):
    """Rows as float16."""

    def __init__(self, table: TableHead) -> None:
        self.entries = (Entry(ROWS, "float16", table.dense_shape),)
        self.fixed = {}
        self.largest = torch.finfo(torch.float16).max

    def round(self, values: Tensor) -> RoundedPart:
        halves = values.to(torch.float16)
        return RoundedPart((halves,), halves.to(torch.float32))


class _ScaledRows(TableEncoding):
    """Rows as int8, with a scale each."""

    def __init__(self, table: TableHead) -> None:
        self.entries = (Entry(ROWS, "int8", table.dense_shape), Entry(WEIGHTS, "float32", (table.rows,)))
        self.fixed = {}
        self.largest = torch.finfo(torch.float32).max / 2  # a level may lie beyond the number that it is nearest to

    def round(self, values: Tensor) -> RoundedPart:
        rounded = round_blocks(values, Scale(BYTES, torch.float32), BYTE_PEAKS)
        return RoundedPart((rounded.codes, rounded.scales), rounded.values(BYTES))
