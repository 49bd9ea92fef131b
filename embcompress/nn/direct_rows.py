"""Lookups and scores of coded tables on the CPU that no graph records: decoded and multiplied block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.decode_operator import THREADED_NUMBERS, HostTable

# Numbers that a thread decodes at once: they stay in its own cache until they are multiplied.
BLOCK_NUMBERS = 2**17


class DirectTable(NamedTuple):
    """What decodes a coded table, as it is at one moment.

    Attributes:
        host: codes, index and codebook.
        bases: (columns, real entries of a row) float32, or None.
        scales: (columns,) float32.
        centers: (profiles, columns) float32, or None.
    """

    host: HostTable
    bases: Tensor | None
    scales: Tensor
    centers: Tensor | None

    def rows(self, ids: Tensor, *, dtype: torch.dtype) -> Tensor:
        """Make rows of a dtype, (count,) int64 -> (count, real entries of a row).

        Raises:
            IndexError: an id that is not that of a row.
        """
        count, bases = ids.shape[0], self.bases
        if count <= BLOCK_ROWS:
            weights = self.weights(ids)
            return (weights if bases is None else torch.mm(weights, bases)).to(dtype)
        rows = torch.empty(count, self.scales.shape[0] if bases is None else bases.shape[1], dtype=dtype)
        for part, block in zip(torch.split(rows, BLOCK_ROWS), torch.split(ids, BLOCK_ROWS), strict=True):
            weights = self.weights(block)
            part.copy_(weights if bases is None else torch.mm(weights, bases))
        return rows

    def weights(self, ids: Tensor) -> Tensor:
        """Decode weights, (count,) int64 -> (count, columns) float32; raises as `rows`."""
        numbers = np.empty((ids.shape[0], self.scales.shape[0]), np.float32)
        self.host.decoder.decode(
            self.host.codes,
            ids.numpy(),
            numbers=numbers,
            threads=torch.get_num_threads() if numbers.size >= THREADED_NUMBERS else 1,
            scales=self.scales.numpy(),
            centers=None if self.centers is None else self.centers.numpy(),
        )
        return torch.from_numpy(numbers)

    def scorer(self, projected: Tensor) -> Callable[[int, int], Tensor]:
        """Score the weights of consecutive rows against queries (*q, columns) float32, from one id up to another."""
        flat = projected.reshape(-1, projected.shape[-1])
        queries = flat * self.scales
        if self.centers is not None:
            # Behind the numbers of rows stand ones in the columns of their profiles.
            queries = torch.cat([queries, flat @ self.centers.T], dim=1)

        def score(first: int, last: int) -> Tensor:
            sorted_scores = torch.empty(len(queries), last - first)
            order, done = torch.empty(last - first, dtype=torch.int64), 0

            def multiply(places: NDArray[np.int64], columns: Tensor) -> None:
                nonlocal done
                own = slice(done, done + len(places))
                sorted_scores[:, own] = torch.mm(queries, columns)
                order[torch.from_numpy(places)] = torch.arange(own.start, own.stop)
                done = own.stop

            self._in_blocks(np.arange(first, last), multiply)
            return sorted_scores.index_select(1, order).view(*projected.shape[:-1], last - first)

        return score

    def _in_blocks(self, rows: NDArray[np.int64], multiply: Callable[[NDArray[np.int64], Tensor], None]) -> None:
        for block in self.host.decoder.decode_in_columns(
            self.host.codes,
            rows,
            block_rows=max(BLOCK_NUMBERS // len(self.scales), 1),
            profiles=0 if self.centers is None else len(self.centers),
        ):
            multiply(block.places, torch.from_numpy(block.columns))
