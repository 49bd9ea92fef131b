"""A table coded as in files of schema 1 whose codes stay in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from embcompress.coding.window_codebook import WindowCodebook, decode, indices_in_groups
from embcompress.nn.coded_base import CodedRows, check_bases, stored_row_shape
from embcompress.nn.disk.matrix import DiskMatrix
from embcompress.nn.disk.rows_on_disk import RowsOnDisk
from embcompress.nn.representation import Shape


class DiskWindowCodedRepresentation(RowsOnDisk, CodedRows):
    """Rows of a file of schema 1 whose codes are read by each lookup, and decoded as in WindowCodedRepresentation.

    Where each row's codes lie takes 9 bytes a row in memory, 1 where all rows are of one group. The rest is as in
    DiskCodedRepresentation.

    Args:
        codes: of each group, (rows of the group, row_bytes) uint8 in the file.
        groups_of_rows: (rows,) uint8.
        codebook: what decodes them.
        bases, shape, dtype, trainable, kwargs: as in WindowCodedRepresentation.
        checksum: of those of the codes of all groups, eight hexadecimal digits.
    """

    levels: nn.Parameter

    def __init__(
        self,
        *,
        codes: Sequence[DiskMatrix],
        groups_of_rows: Tensor,
        codebook: WindowCodebook,
        bases: Tensor | None,
        shape: Shape,
        dtype: torch.dtype,
        checksum: str,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        check_bases(bases, columns=codebook.columns, stored_shape=stored_row_shape(shape, dtype))
        super().__init__(len(groups_of_rows), shape, dtype=dtype, bases=bases, trainable=trainable, **kwargs)
        self.levels = self._parameter(codebook.levels, trainable)
        self.scales = self._parameter(codebook.scales, trainable)
        self.codes, self._codebook, self._checksum = tuple(codes), codebook, checksum
        self._groups = groups_of_rows
        self._places = indices_in_groups(groups_of_rows, groups=len(codes)) if len(codes) > 1 else None
        self.identify_rows(checksum=checksum, rows=self.max_id, nbytes=sum(part.nbytes for part in codes))

    def reshape(self, *, shape: Shape, dtype: torch.dtype, trainable: bool, **kwargs: Any) -> Self:  # noqa: D102
        book = WindowCodebook(self._codebook.bits, self.scales.detach(), self._codebook.windows, self.levels.detach())
        return type(self)(
            codes=self.codes,
            groups_of_rows=self._groups,
            codebook=book,
            bases=self._reshape_bases(stored_row_shape(shape, dtype)),
            shape=shape,
            dtype=dtype,
            checksum=self._checksum,
            trainable=trainable,
            **kwargs,
        )

    @property
    def code_bits(self) -> int:
        """Count the bits of all codes."""
        return 8 * sum(part.nbytes for part in self.codes)

    def close(self) -> None:
        """Close the file: rows can no longer be looked up."""
        for part in self.codes:
            part.file.close()

    def _rows(self, ids: Tensor) -> Tensor:
        """Make rows, (count,) -> (count, real entries of a row)."""
        return self._in_groups(ids, has_bases=self.bases is not None)

    def _weights(self, ids: Tensor) -> Tensor:
        """Decode weights, (count,) -> (count, columns)."""
        return self._in_groups(ids, has_bases=False)

    def _in_groups(self, ids: Tensor, *, has_bases: bool) -> Tensor:
        """Read and decode rows group by group, as weights or multiplied by the bases."""
        parts, order = [], []
        for group, (own, on_cpu) in self._read_outside(self._read_codes, ids).items():
            layout, codes = self._codebook.layouts[group].to(self.device), on_cpu.to(self.device)
            scales = self.scales[group].index_select(0, layout.columns)
            decoded = decode(codes, layout, levels=self.levels, scales=scales)  # (own, coded)
            if has_bases and self.bases is not None:
                parts.append(decoded @ self.bases.index_select(0, layout.columns))
            else:
                # Column by column in memory, as in WindowCodedRepresentation.
                weights = decoded.new_zeros(self.num_bases, len(decoded)).index_copy(0, layout.columns, decoded.T)
                parts.append(weights.T)
            order.append(own)
        if len(parts) == 1:
            return parts[0].contiguous()
        inverse = torch.cat(order).argsort().to(self.device)
        return torch.cat(parts).index_select(0, inverse)

    def _read_codes(self, ids: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        """Read codes, (count,) -> of each group that has some: which of the ids, and their codes."""
        self._refuse_ids_outside(ids)
        groups = self._groups[ids]
        places = ids if self._places is None else self._places[ids]
        read = {}
        for group, part in enumerate(self.codes):
            own = (groups == group).nonzero().squeeze(1)
            if len(own) or not (len(ids) or group):
                read[group] = own, part.read(places[own].long().numpy())
        return read
