"""The decoder of the rows of a table by number: places, kinds and strings in compiled code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from embcompress.coding.codebook import Codebook
from embcompress.coding.compiled import in_threads
from embcompress.coding.index_kernels import locate
from embcompress.coding.read_kernels import read_strings
from embcompress.coding.row_index import SPACING, RowIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RowDecoder:
    """An index and a codebook that fit together, and what follows from them.

    Attributes:
        index: of the rows.
        codebook: its rotation and centers play no part.
    """

    index: RowIndex
    codebook: Codebook

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
            codes: the strings of all rows, with PADDING bytes behind the last.
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
        index, codebook = self.index, self.codebook
        located = locate(
            rows, index.kinds, index.lengths, before=index.before, spacing=SPACING, layouts=codebook.kind_layouts,
            profiles=codebook.center_profiles, factors=codebook.kind_steps,
        )  # fmt: skip
        if located is None:
            raise IndexError(f"ids must be in 0..{len(self.index.kinds) - 1}; got {rows.min()}..{rows.max()}.")
        size = max(1, -(-len(rows) // threads))

        def read(first: int) -> None:
            part = slice(first, first + size)
            own = numbers[part]
            read_strings(
                codes, located.positions[part], located.lengths[part], layouts=located.layouts[part],
                factors=located.factors[part], targets=np.arange(len(own)), steps=codebook.steps_of_layouts,
                trellis=codebook.trellis, decoded=own, scales=scales, centers=centers,
                profiles=located.profiles[part],
            )  # fmt: skip

        in_threads([partial(read, first) for first in range(0, len(rows), size)], threads=threads)
        return located.profiles
