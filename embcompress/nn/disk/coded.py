"""A coded table whose codes stay in the file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from embcompress.coding.codebook import Codebook
from embcompress.coding.coder import decode_block
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.coded_base import check_bases, is_traced, stored_row_shape
from embcompress.nn.coded_strings import CodedStrings
from embcompress.nn.decode_operator import THREADED_NUMBERS
from embcompress.nn.disk.rows_on_disk import RowsOnDisk
from embcompress.nn.disk.strings import DiskStrings
from embcompress.nn.representation import Shape


class DiskCodedRepresentation(RowsOnDisk, CodedStrings):
    """Rows whose codes are read from the file by each lookup, and decoded as those of CodedRepresentation.

    A lookup reads each place that it needs once, in the order of the file, and many places at a time. Nothing of the
    rows is kept: what the system keeps of the file makes later lookups faster. Bases, scales and centers are in memory,
    and train. A state dict holds these alone, and what tells the codes from others: it loads where the same codes are.
    The checksum of the header is that of all codes, so that no lookup can compare it: `embcompress verify` does.

    Args:
        strings: of the rows.
        codebook: without bases and centers.
        bases, scales, centers, shape, dtype, trainable, kwargs: as in CodedRepresentation.
        max_id: rows.
        checksum: of the codes, eight hexadecimal digits.

    Raises:
        ArtifactError: by lookups: the file was changed, cut or replaced, or is damaged where a row lies.
    """

    def __init__(
        self,
        *,
        strings: DiskStrings,
        codebook: Codebook,
        bases: Tensor | None,
        scales: Tensor,
        centers: Tensor | None,
        max_id: int,
        shape: Shape,
        dtype: torch.dtype,
        checksum: str,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        check_bases(bases, columns=codebook.rank, stored_shape=stored_row_shape(shape, dtype))
        super().__init__(max_id, shape, dtype=dtype, bases=bases, trainable=trainable, **kwargs)
        self.strings, self._codebook, self._checksum = strings, codebook, checksum
        self.scales = self._parameter(scales, trainable)
        self.centers = None if centers is None else self._parameter(centers, trainable)
        self.identify_rows(checksum=checksum, rows=max_id, nbytes=strings.nbytes)

    def reshape(self, *, shape: Shape, dtype: torch.dtype, trainable: bool, **kwargs: Any) -> Self:  # noqa: D102
        return type(self)(
            strings=self.strings,
            codebook=self._codebook,
            bases=self._reshape_bases(stored_row_shape(shape, dtype)),
            scales=self.scales.detach(),
            centers=None if self.centers is None else self.centers.detach(),
            max_id=self.max_id,
            shape=shape,
            dtype=dtype,
            checksum=self._checksum,
            trainable=trainable,
            **kwargs,
        )

    @property
    def code_bits(self) -> int:
        """Count the bits of all codes as they lie in the file."""
        return 8 * self.strings.nbytes

    def close(self) -> None:
        """Close the file: rows can no longer be looked up."""
        self.strings.file.close()

    @property
    def _block_rows(self) -> int:
        """Rows that are read at once: of fewer, fewer would lie within a page of each other."""
        return BLOCK_ROWS

    def _in_blocks(self, make: Callable[[Tensor], Tensor], ids: Tensor, *, dim: int) -> Tensor:
        """Make rows for ids (count,), a block at once, while the system reads those of the blocks to come."""
        if len(ids) <= BLOCK_ROWS or is_traced(ids):
            return super()._in_blocks(make, ids, dim=dim)
        self._refuse_ids_outside(ids)
        blocks = [block.numpy() for block in torch.split(ids.cpu(), BLOCK_ROWS)]

        def advise() -> None:
            for block in blocks:
                self.strings.advise(block)

        with ThreadPoolExecutor(1) as thread:
            thread.submit(advise)
            return super()._in_blocks(make, ids, dim=dim)

    def _decode(
        self, ids: Tensor, *, scales: Tensor | None = None, centers: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read strings and decode them; raises ArtifactError where they cannot be read."""
        numbers, profiles = self._read_outside(partial(self._read_rows, scales=scales, centers=centers), ids)
        return numbers.to(self.device), profiles.to(self.device)

    def _read_rows(
        self, ids: Tensor, *, scales: Tensor | None = None, centers: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        self._refuse_ids_outside(ids)
        if not len(ids):
            return torch.zeros(0, self.num_bases), ids
        strings, book = self.strings.read(ids.numpy()), self._codebook
        own_scales, own_centers = (None if part is None else part.detach().cpu().numpy() for part in (scales, centers))
        numbers = decode_block(
            strings.codes,
            strings.positions,
            strings.lengths,
            kinds=strings.kinds,
            steps=book.row_steps(strings.kinds),
            codebook=book,
            threads=torch.get_num_threads() if len(ids) * self.num_bases >= THREADED_NUMBERS else 1,
            scales=own_scales,
            centers=own_centers,
        )
        return numbers, torch.from_numpy(book.center_profiles[strings.kinds])
