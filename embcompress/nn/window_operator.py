"""The operator of torch that reads codes of schema 1: embcompress::window_levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from embcompress.coding.window_codebook import GroupLayout, WindowCodebook, indices_in_groups, read_levels
from embcompress.nn.memory_cache import MemoryCache
from embcompress.nn.operators import define_row_operator

_plans = MemoryCache[tuple[tuple[GroupLayout, ...], Tensor | None]]()


def find_levels(
    ids: Tensor, codes: Sequence[Tensor], groups_of_rows: Tensor | None, *, bits: Tensor, windows: Tensor
) -> tuple[Tensor, Tensor]:
    """Tell which level each number of rows has; nothing of it is differentiable.

    Args:
        ids: (count,) int64.
        codes: of each group, the buffers of a WindowCodedRepresentation, as are:
        groups_of_rows: (rows,) uint8, or None.
        bits: (groups, columns) uint8.
        windows: by bits.

    Returns:
        Places in the list of levels, (count, columns) int32, -1 for columns without bits; and the group of each row,
        (count,) int64.

    Raises:
        IndexError: an id that is not that of a row.
    """
    levels: tuple[Tensor, Tensor] = torch.ops.embcompress.window_levels(ids, list(codes), groups_of_rows, bits, windows)
    return levels


def _find_levels(
    ids: Tensor, codes: list[Tensor], groups_of_rows: Tensor | None, bits: Tensor, windows: Tensor
) -> tuple[Tensor, Tensor]:
    rows = sum(map(len, codes))
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= rows):
        raise IndexError(f"ids must be in 0..{rows - 1}; got {int(ids.min())}..{int(ids.max())}.")

    def plan() -> tuple[tuple[GroupLayout, ...], Tensor | None]:
        sizes = {count: size for count, size in enumerate(windows.tolist()) if size}
        book = WindowCodebook(bits, torch.zeros(bits.shape), sizes, torch.empty(0))
        layouts = tuple(layout.to(bits.device) for layout in book.layouts)
        return layouts, None if groups_of_rows is None else indices_in_groups(groups_of_rows, groups=len(layouts))

    tensors = [bits, windows, *([] if groups_of_rows is None else [groups_of_rows])]
    layouts, places = _plans.get(tensors, plan)
    if groups_of_rows is None or places is None:
        groups, own_places = torch.zeros_like(ids), ids
    else:
        groups, own_places = groups_of_rows.index_select(0, ids).long(), places.index_select(0, ids)
    numbers = bits.new_full((len(ids), bits.shape[1]), -1, dtype=torch.int32)
    for group, layout in enumerate(layouts):
        at = (groups == group).nonzero().squeeze(1)
        own = codes[group].index_select(0, own_places.index_select(0, at))
        spread = numbers.new_full((len(at), bits.shape[1]), -1)
        spread.index_copy_(1, layout.columns, read_levels(own, layout))
        numbers.index_copy_(0, at, spread)
    return numbers, groups


def _shapes(ids: Tensor, _codes: Any, _groups: Any, bits: Tensor, _windows: Any) -> tuple[Tensor, Tensor]:
    return bits.new_empty((ids.shape[0], bits.shape[1]), dtype=torch.int32), torch.empty_like(ids)


define_row_operator(
    "window_levels(Tensor ids, Tensor[] codes, Tensor? groups_of_rows, Tensor bits, Tensor windows)"
    " -> (Tensor, Tensor)",
    {"CPU": _find_levels, "CUDA": _find_levels},
    shapes=_shapes,
)
