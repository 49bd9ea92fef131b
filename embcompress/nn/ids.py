"""Lists of ids: which row of a base belongs to which id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from embcompress.exceptions import IdsError
from embcompress.text import named

Ids = Iterable[int] | Tensor


def as_ids(ids: Ids, *, max_id: int, name: str = "ids") -> Tensor:
    """Make a checked tensor of ids, (count,) int64 on the CPU, in the order given.

    Takes time and memory in proportion to `max_id`: no sorting, no Python set.

    Args:
        ids: a sequence, range, array or tensor of integers.
        max_id: the number of ids that there are.
        name: what messages call them.

    Raises:
        IdsError: a set, whose order is undefined; none; not integers; negative, duplicate or too large ones, by name.

    Example:
        >>> as_ids([2, 0], max_id=3)
        tensor([2, 0])
    """
    if isinstance(ids, set | frozenset):
        raise IdsError(f"{name} are a set, which has no order to tell whose row 0 is.", hint="Give a list or a tensor.")
    values = _as_tensor(ids, name=name)
    if values.layout != torch.strided:
        raise IdsError(f"{name} must be integers; got a tensor of layout {values.layout}.")
    if not values.numel():
        raise IdsError(f"{name} are empty.")
    if values.ndim != 1:
        raise IdsError(f"{name} must be one list; got shape {tuple(values.shape)}.")
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise IdsError(f"{name} must be integers; got {values.dtype}: {named(values.flatten().tolist())}.")
    values = values.to("cpu", torch.int64)
    refuse(values[values < 0], f"{name} must not be negative; got")
    refuse(values[values >= max_id], f"{name} must be below {max_id}, the number of ids; got")
    last_order = torch.full((max_id,), -1)
    order = torch.arange(len(values))
    last_order[values] = order
    repeated = values[last_order[values] != order]
    refuse(torch.tensor(sorted(set(repeated.tolist()))), f"{name} must not repeat; these do:")
    return values


def as_indices(indices: Any, *, like: Any) -> Tensor:
    """Make an int64 tensor of what a table is asked for: a tensor of ids, a list, an array, or one number.

    Args:
        indices: of any number of axes.
        like: a module whose `device` what is no tensor goes to, and whose `max_id` messages tell.

    Raises:
        TypeError: no integers; a mask of booleans would look up rows 0 and 1.
        IndexError: a number that int64 does not hold.
    """
    if not isinstance(indices, Tensor):
        kind = getattr(getattr(indices, "dtype", None), "kind", "")
        given = indices.astype("int64") if kind in {"i", "u"} else indices
        try:
            made = torch.as_tensor(list(given) if isinstance(given, range) else given, device=like.device)
        except (TypeError, ValueError, RuntimeError, OverflowError) as err:
            if "verflow" in str(err):
                raise IndexError(f"ids must be in 0..{like.max_id - 1}; got {indices!r}.") from err
            raise TypeError(f"ids must be integers; got {indices!r}.") from err
        indices = made if made.numel() or kind else made.long()
    if indices.dtype == torch.bool or indices.is_floating_point() or indices.is_complex():
        raise TypeError(f"ids must be integers; got a tensor of {indices.dtype}.")
    ids: Tensor = indices.long()
    return ids


def refuse(ids: Tensor, why: str) -> None:
    """Raise if there are any such ids, (count,), naming the first of them."""
    if len(ids):
        raise IdsError(f"{why} {named(ids.tolist())}.")


def _as_tensor(ids: Any, *, name: str) -> Tensor:
    if isinstance(ids, Tensor):
        return ids.detach() if ids.dtype != torch.uint64 else _as_tensor(ids.tolist(), name=name)
    if getattr(getattr(ids, "dtype", None), "kind", "") in {"i", "u"}:
        ids = ids.astype("int64") if ids.dtype.kind == "i" else ids.tolist()  # of any byte order, strides and flags
        if not isinstance(ids, list):
            return torch.as_tensor(ids)
    if not isinstance(ids, Iterable):
        raise IdsError(f"{name} must be a list of integers; got {ids!r}.")
    listed = ids if isinstance(ids, range) else list(ids)
    wrong: list[Any] = [] if isinstance(ids, range) else [item for item in listed if isinstance(item, bool)]
    try:
        if not wrong:
            return torch.as_tensor(listed)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # texts, ragged lists, 2**64
        wrong = [item for item in listed if not isinstance(item, int) or not -(2**63) <= item < 2**63]
    raise IdsError(f"{name} must be integers below 2**63; got {named(wrong)}.")
