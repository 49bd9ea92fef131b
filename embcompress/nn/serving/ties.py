"""What models of transformers know of tied weights, after tables took their place. Nothing of it is imported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

TIES = ("_tied_weights_keys", "all_tied_weights_keys")
# In config.json of a model that is saved: the tables that are compressed in it.
CONFIG_ENTRY = "embcompress"


def keep_ties(model: nn.Module, tables: Mapping[str, str]) -> None:
    """Rewrite what a model of transformers ties: parameters that tables took the place of, to the tables themselves.

    `tie_weights()` then sets what is so already, and `save_pretrained` knows the shared tensors.

    Args:
        model: of any kind; only modules that list `_tied_weights_keys` are changed.
        tables: path of the table that serves it, by the full name of each parameter that is gone.
    """
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for attribute in TIES:
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


def note_tables(model: nn.Module, names: Iterable[str]) -> None:
    """Note in the configurations of a model which of its tables are compressed, so that config.json tells it."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        config: Any = getattr(module, "config", None)
        if id(config) in seen or not callable(getattr(config, "to_diff_dict", None)):
            continue
        seen.add(id(config))
        prefix = f"{path}." if path else ""
        own = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        if own:
            tables = (getattr(config, CONFIG_ENTRY, None) or {}).get("tables", [])
            setattr(config, CONFIG_ENTRY, {"schema_version": 1, "tables": sorted({*tables, *own})})
