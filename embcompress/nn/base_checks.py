"""Checks of tables that are put together: that their rows go together, and which of them each id has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embcompress.exceptions import IdsError
from embcompress.nn.ids import refuse
from embcompress.nn.representation import Representation, Shape, as_shape


def common_shape_of(bases: Sequence[Any], shape: Shape | None) -> tuple[int, ...]:
    """Find the one shape of all bases.

    Raises:
        ValueError: bases of different shapes, dtypes or devices, or of another shape than asked for.
    """
    for what, values in (
        ("shape", [tuple(base.shape) for base in bases]),
        ("dtype", [dtype_of(base) for base in bases]),
        ("device", [device_of(base) for base in bases]),
    ):
        if len(set(values)) > 1:
            raise ValueError(f"bases must have one {what}; got {', '.join(map(str, values))}.")
    common_shape = tuple(bases[0].shape)
    if shape is not None and as_shape(shape) != common_shape:
        raise ValueError(f"the bases have shape {common_shape}; asked for {as_shape(shape)}.")
    return common_shape


def check_assignment(assignment: Tensor, bases: Sequence[Any]) -> Tensor:
    """Check that every id is assigned to a row that there is, and every base to some id.

    Raises:
        IdsError: not so; names the ids.
    """
    if assignment.ndim != 2 or assignment.shape[1] != 2 or not len(assignment):
        raise IdsError(f"assignment must be (max_id, 2); got {tuple(assignment.shape)}.")
    if assignment.is_floating_point() or assignment.is_complex() or assignment.dtype == torch.bool:
        raise IdsError(f"assignment must be integers; got {assignment.dtype}.")
    owner, row = assignment.long().unbind(1)
    is_unknown = (owner < 0) | (owner >= len(bases))
    refuse(is_unknown.nonzero().squeeze(1), f"assignment names a base outside 0..{len(bases) - 1} for the ids")
    sizes = torch.tensor([base.max_id for base in bases], device=owner.device)
    refuse(
        ((row < 0) | (row >= sizes[owner])).nonzero().squeeze(1),
        "assignment names a row that the base lacks for the ids",
    )
    unused = (torch.bincount(owner, minlength=len(bases)) == 0).nonzero().squeeze(1)
    refuse(unused, "every base needs an id assigned to it, else leave it out; none has base")
    return assignment.long()


def _tensors_of(base: nn.Module) -> Iterator[Tensor]:
    yield from base.parameters()
    yield from base.buffers()


def dtype_of(base: Any) -> torch.dtype:
    """Return the dtype of the rows of a base, ours or PyKEEN's."""
    if isinstance(base, Representation):
        return base.dtype
    real = next((tensor.dtype for tensor in _tensors_of(base) if tensor.is_floating_point()), torch.get_default_dtype())
    return real.to_complex() if getattr(base, "is_complex", False) else real


def device_of(base: Any) -> torch.device:
    """Return the device of a base, the CPU if it has no tensors."""
    return next((tensor.device for tensor in _tensors_of(base)), torch.device("cpu"))
