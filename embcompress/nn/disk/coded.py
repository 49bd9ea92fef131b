"""A coded table whose codes stay in the file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from embcompress.coding.codebook import ZERO_KIND, Codebook
from embcompress.coding.coder import decode_block
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.coded_base import CodedRows, check_bases, stored_row_shape
from embcompress.nn.decode_operator import THREADED_NUMBERS
from embcompress.nn.disk.rows_on_disk import RowsOnDisk
from embcompress.nn.disk.strings import DiskStrings
from embcompress.nn.representation import Shape


class DiskCodedRepresentation(RowsOnDisk, CodedRows):
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

    centers: nn.Parameter | None

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

    def _in_blocks(self, make: Callable[[Tensor], Tensor], ids: Tensor, *, dim: int) -> Tensor:
        """Make rows for ids (count,), BLOCK_ROWS at once, while the system reads those of the blocks to come."""
        if len(ids) <= BLOCK_ROWS or torch.compiler.is_compiling():
            return super()._in_blocks(make, ids, dim=dim)
        self._refuse_ids_outside(ids)
        blocks = [block.numpy() for block in torch.split(ids.cpu(), BLOCK_ROWS)][1:]

        def advise() -> None:
            for block in blocks:
                self.strings.advise(block)

        with ThreadPoolExecutor(1) as thread:
            thread.submit(advise)
            return super()._in_blocks(make, ids, dim=dim)

    def _weights(self, ids: Tensor) -> Tensor:
        """Read and decode weights, (count,) -> (count, columns).

        Raises:
            IndexError: an id outside 0..max_id - 1.
            ArtifactError: the rows cannot be read.
        """
        numbers, profiles, is_used = self._read_outside(self._read_rows, ids)
        weights: Tensor = numbers.to(self.device, self.scales.dtype) * self.scales
        if self.centers is None:
            return weights
        own = self.centers.index_select(0, profiles.to(self.device))  # (count, columns)
        return torch.addcmul(weights, own, is_used.to(self.device, weights.dtype)[:, None])

    def _read_rows(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read and decode strings: as CodedRepresentation does, in steps, with profiles and what rows are not zero."""
        self._refuse_ids_outside(ids)
        book = self._codebook
        if not len(ids):
            return torch.zeros(0, self.num_bases), ids, ids.bool()
        strings = self.strings.read(ids.numpy())
        kinds = strings.kinds
        numbers = decode_block(
            strings.codes,
            strings.positions,
            strings.lengths,
            kinds=kinds,
            steps=book.row_steps(kinds),
            codebook=book,
            threads=torch.get_num_threads() if len(ids) * self.num_bases >= THREADED_NUMBERS else 1,
        )
        return numbers, torch.from_numpy(book.profiles[kinds]), torch.from_numpy(kinds != ZERO_KIND)
