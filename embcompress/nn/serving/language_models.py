"""Models of transformers after a table took the place of their embeddings: ties and sizes. Nothing is imported."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from embcompress.exceptions import TableError

RESIZE = "resize_token_embeddings"


def keep_ties(model: nn.Module, tables: Mapping[str, str]) -> None:
    """Rewrite what a model of transformers ties: parameters that tables took the place of, to the tables themselves.

    `tie_weights()` then sets what is so already, and `save_pretrained` knows the shared tensors.

    Args:
        model: of any kind; only modules that list `_tied_weights_keys` are changed.
        tables: path of the table that serves it, by the full name of each parameter that is gone.
    """
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for attribute in ("_tied_weights_keys", "all_tied_weights_keys"):
            ties = getattr(module, attribute, None)
            if not isinstance(ties, Mapping):
                continue
            is_expanded = attribute == "all_tied_weights_keys"
            rewritten = {}
            for target, source in ties.items():
                new_target, new_source = tables.get(prefix + target), tables.get(prefix + source)
                if new_target is None and new_source is None:
                    rewritten[target] = source
                elif new_target and new_source and new_target != new_source:
                    own_target, own_source = new_target.removeprefix(prefix), new_source.removeprefix(prefix)
                    if is_expanded:
                        rewritten |= _pair_tensors(module, own_target, own_source)
                    else:
                        rewritten[re.escape(own_target) + r"\."] = re.escape(own_source) + r"\."
            setattr(module, attribute, rewritten)


def _pair_tensors(module: nn.Module, target: str, source: str) -> dict[str, str]:
    """Pair the tensors of a table under two paths."""
    table = module.get_submodule(source)
    names = [name for name, _ in (*table.named_parameters(), *table.named_buffers())]
    return {f"{target}.{name}": f"{source}.{name}" for name in names}


def refuse_resizing(model: nn.Module, table_name: str) -> None:
    """Let `resize_token_embeddings` refuse other sizes by a message that says what to do instead."""
    for module in model.modules():
        if callable(getattr(type(module), RESIZE, None)) and RESIZE not in module.__dict__:
            setattr(module, RESIZE, functools.partial(_resize, module, table_name))


def _resize(
    model: Any,
    table_name: str,
    new_num_tokens: int | None = None,
    pad_to_multiple_of: int | None = None,
    mean_resizing: bool = True,
) -> Any:
    """Give the embeddings of a model if they have the size that is asked for.

    Raises:
        TableError: another size.
    """
    embeddings = model.get_input_embeddings()
    if not hasattr(embeddings, "table_name") and not hasattr(embeddings, "weight_table"):
        return getattr(type(model), RESIZE)(model, new_num_tokens, pad_to_multiple_of, mean_resizing)
    rows: int = embeddings.num_embeddings
    wanted = rows if new_num_tokens is None else new_num_tokens
    if pad_to_multiple_of is not None:
        wanted = -(-wanted // pad_to_multiple_of) * pad_to_multiple_of
    if wanted == rows:
        return embeddings
    raise TableError(
        f"the token embeddings are the compressed table {table_name!r} of {rows} rows, which cannot be resized to "
        f"{wanted} in memory.",
        hint=f"Add rows to the artifact: `embcompress backfill ARTIFACT --max-id {wanted} --base-ids FILE`, and apply "
        "that to a model of this size; or resize the dense model before you compress it.",
    )
