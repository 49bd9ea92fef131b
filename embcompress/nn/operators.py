"""Operators of torch of ours, embcompress::, which torch traces, compiles, exports and maps as they stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

# Defined by hand: the wrapper of torch.library.custom_op takes tens of microseconds a call.
_library: Any = torch.library.Library("embcompress", "FRAGMENT")  # type: ignore[no-untyped-call]


def define_row_operator(
    schema: str, kernels: Mapping[str, Callable[..., Any]], *, shapes: Callable[..., tuple[Tensor, ...]]
) -> None:
    """Define an operator that gives tensors of one row for each id; vmap maps it over lists of ids.

    Args:
        schema: its name, and its arguments: the first are ids (count,).
        kernels: what computes it, by dispatch key.
        shapes: makes empty tensors like its results, of the same arguments.
    """
    name = schema.partition("(")[0]
    operator = f"embcompress::{name}"

    def over_batches(_: Any, in_dims: tuple[Any, ...], ids: Tensor, *others: Any) -> Any:
        """Find the rows of a batch of lists of ids at once; tables are the same for all."""
        if any(dim is not None for dim in tree_leaves(in_dims[1:])):
            raise NotImplementedError("vmap over the codes of tables: stack the tables' rows instead.")
        lists = ids.movedim(in_dims[0], 0)
        found = getattr(torch.ops.embcompress, name)(lists.flatten(), *others)
        return tuple(part.unflatten(0, lists.shape) for part in found), (0,) * len(found)

    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    for key, kernel in kernels.items():
        _library.impl(name, kernel, key)
    torch.library.register_fake(operator, shapes, lib=_library)
    if hasattr(torch.library, "register_vmap"):
        torch.library.register_vmap(operator, over_batches, lib=_library)
