"""The decoder of the rows of a table by number: places, kinds and strings in compiled code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.codebook import Codebook
from embcompress.coding.compiled import in_threads
from embcompress.coding.decode_kernels import sort_rows
from embcompress.coding.index_kernels import Located, locate
from embcompress.coding.lanes import LANES
from embcompress.coding.read_kernels import StringDecoder
from embcompress.coding.row_index import SPACING, RowIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows that are sorted by their layout at once: few groups of LANES then have several.
SORTED_ROWS = 2**15


@dataclass(frozen=True)
class ColumnBlock:
    """Some of the rows of a list, decoded column by column.

    Attributes:
        places: (count,) int64, where in the list they are.
        columns: (columns + profiles, count) float32: numbers times the step of their row; then a column for each
            profile, ones where a row has it. Written over by the next block.
    """

    places: NDArray[np.int64]
    columns: NDArray[np.float32]


@dataclass(frozen=True)
class RowDecoder:
    """An index and a codebook that fit together, and what follows from them.

    Attributes:
        index: of the rows.
        codebook: its rotation and centers play no part.
    """

    index: RowIndex
    codebook: Codebook

    @cached_property
    def _strings(self) -> StringDecoder:
        return StringDecoder(self.codebook.steps_of_layouts, self.codebook.trellis)

    def decode(
        self,
        codes: NDArray[np.uint8],
        rows: NDArray[np.int64],
        *,
        numbers: NDArray[np.float32],
        threads: int,
        scales: NDArray[np.float32] | None = None,
        centers: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """Decode rows by number.

        Args:
            codes: in which the strings of all rows lie.
            rows: (count,).
            numbers: (count, columns), written.
            threads: that share the rows.
            scales: (columns,), of the columns; None for ones.
            centers: (profiles, columns), what is added; None for zeros.

        Returns:
            The profile of each row, (count,).

        Raises:
            IndexError: a number that is not that of a row.
        """
        located = self._locate(rows)
        order = sort_rows(located.layouts, len(self._strings.steps.sizes))
        read = partial(
            self._strings.read, codes, located, targets=None, decoded=numbers, scales=scales, centers=centers
        )
        if threads == 1:
            read(order=order)
        else:
            parts = np.array_split(order, threads)
            in_threads([partial(read, order=part) for part in parts], threads=threads)
        return located.profiles

    def decode_in_columns(
        self, codes: NDArray[np.uint8], rows: NDArray[np.int64], *, block_rows: int, profiles: int
    ) -> Iterator[ColumnBlock]:
        """Decode rows by number, block by block, in an order in which those of a layout are together.

        Args:
            codes: as of `decode`.
            rows: (count,).
            block_rows: that are decoded at once.
            profiles: that are told of each row.

        Raises:
            IndexError: a number that is not that of a row.
        """
        width = self.codebook.rank + profiles
        block_rows = -(-block_rows // LANES) * LANES
        # Columns that lie powers of two apart would fall into the same few places of the cache.
        stride = block_rows + LANES
        scratch = np.empty((width, stride), np.float32)
        flat = scratch.ravel()
        for first in range(0, len(rows), SORTED_ROWS):
            located = self._locate(rows[first : first + SORTED_ROWS])
            order = sort_rows(located.layouts, len(self._strings.steps.sizes))
            for start in range(0, len(order), block_rows):
                own = order[start : start + block_rows]
                self._strings.read_columns(codes, located, order=own, columns=flat, stride=stride)
                yield ColumnBlock(own + first, scratch[:, : len(own)])

    def _locate(self, rows: NDArray[np.int64]) -> Located:
        index, codebook = self.index, self.codebook
        located = locate(
            rows, index.kinds, index.lengths, before=index.before, spacing=SPACING, layouts=codebook.kind_layouts,
            profiles=codebook.center_profiles, factors=codebook.kind_steps,
        )  # fmt: skip
        if located is None:
            raise IndexError(f"ids must be in 0..{len(self.index.kinds) - 1}; got {rows.min()}..{rows.max()}.")
        return located
