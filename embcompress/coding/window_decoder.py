"""Codes to rows, block by block, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from embcompress.coding.window_codebook import WindowCodebook, decode
from embcompress.linalg.blocks import full_float32


class WindowDecoder:
    """Decodes blocks of rows of which each may be of another group.

    Args:
        codebook: of the table.
        bases: (columns, dim), what they stand for; None where the table's own columns are coded.
        dtype: in which rows are multiplied out.
        device: where.
    """

    def __init__(
        self, codebook: WindowCodebook, bases: Tensor | None, *, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.layouts = tuple(layout.to(self.device) for layout in codebook.layouts)
        self.dim = codebook.columns if bases is None else bases.shape[1]
        self._levels = codebook.levels.to(self.device, dtype)
        self._scales = [
            codebook.scales[group].to(self.device, dtype)[layout.columns] for group, layout in enumerate(self.layouts)
        ]
        self._bases = None if bases is None else bases.to(self.device, dtype)

    def decode_group(self, codes: Tensor, group: int) -> Tensor:
        """Decode rows of one group, (count, row bytes) -> (count, dim)."""
        layout = self.layouts[group]
        weights = decode(codes.to(self.device), layout, levels=self._levels, scales=self._scales[group])
        if self._bases is None:
            return weights.new_zeros(len(codes), self.dim).index_copy_(1, layout.columns, weights)
        with full_float32():
            return weights @ self._bases.index_select(0, layout.columns)

    def decode(self, codes: Sequence[Tensor], groups: Tensor) -> Tensor:
        """Decode a block of rows.

        Args:
            codes: of each group the rows that are in the block, in their order.
            groups: (block_rows,) the group of each row.

        Returns:
            (block_rows, dim).
        """
        rows = torch.empty(len(groups), self.dim, dtype=self.dtype, device=self.device)
        for group, part in enumerate(codes):
            if len(part):
                at = (groups == group).nonzero().squeeze(1).to(self.device)
                rows.index_copy_(0, at, self.decode_group(part, group))
        return rows
