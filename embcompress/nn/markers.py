"""Marks in state dicts: a short tensor under the name of each dense parameter that a compressed table took away.

A model with dense tables that loads such a state dict finds a tensor of another shape, and raises: without it, loaders
that pass over missing names would leave rows as they were drawn at random.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

# One axis, where a table has two or more; the bytes are for those who look.
TEXT = b"compressed by embcompress: see embcompress.apply_state_dict and embcompress.from_pretrained"


def put_mark(state_dict: MutableMapping[str, Any], name: str) -> None:
    """Put a mark into a state dict that is being made; each has memory of its own, and counts as no shared tensor."""
    state_dict[name] = torch.tensor(list(TEXT), dtype=torch.uint8)


def is_mark(tensor: object) -> bool:
    """Return whether a tensor of a state dict is a mark, whatever it was cast to."""
    if not isinstance(tensor, Tensor) or tensor.shape != (len(TEXT),) or tensor.is_meta or tensor.is_complex():
        return False
    return tensor.tolist() == list(TEXT)


def drop_mark(state_dict: MutableMapping[str, Any], name: str) -> None:
    """Take out the mark of a table that is part of a layer, which has one of its own."""
    if is_mark(state_dict.get(name)):
        del state_dict[name]


def take_mark(state_dict: MutableMapping[str, Any], name: str, messages: list[str]) -> None:
    """Take a mark out of a state dict that is being loaded; where it has the dense rows instead, add a message."""
    if name not in state_dict:
        return
    value = state_dict.pop(name)
    if not is_mark(value):
        messages.append(
            f"{name} is {tuple(getattr(value, 'shape', ()))}: dense, where the model has a compressed table. Load it "
            "into the model before embcompress.apply_to, or load the state dict of a model with compressed tables."
        )


class MarkedModule(nn.Module):
    """A module whose state dicts have a mark where a dense parameter was.

    Attributes:
        dense_key: the name, within the module, of the dense parameter that it took the place of; empty where it did
            not.
    """

    dense_key: str = ""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put a mark where the dense parameter was."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.dense_key:
            put_mark(destination, prefix + self.dense_key)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load, and refuse the dense parameter."""
        if self.dense_key:
            take_mark(state_dict, prefix + self.dense_key, args[-1])
        super()._load_from_state_dict(state_dict, prefix, *args)
