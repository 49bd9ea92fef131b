"""The common part of tables of weights over shared bases, wherever the weights are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.embedding import Embedding
from embcompress.nn.moves import in_own_dtype
from embcompress.nn.representation import Representation
from embcompress.nn.scoring import flat_query, normalized_scorer, score_in_blocks, top_rows


class FactoredRows(Representation):
    """Rows `weights[i] @ bases`. A class derived from this one holds the weights, or reads them.

    Attributes:
        weights: (max_id, rank), real, of some dtype.
        bases: Embedding of as many rows as the rank.
    """

    weights: Any
    bases: Embedding

    @abstractmethod
    def weights_of(self, indices: Tensor | None) -> Tensor:
        """Return the weights of rows, (*s, rank), real; ids as in `look_up`."""

    @abstractmethod
    def _weights_between(self, first: int, last: int) -> Tensor:
        """Return the weights of consecutive rows, (count, rank)."""

    @property
    def num_bases(self) -> int:
        """The rank."""
        return self.bases.max_id

    @property
    def is_complex(self) -> bool:
        """Whether rows are complex."""
        return self.bases.is_complex

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""
        common = torch.promote_types(self.weights.dtype, self.bases.stored.dtype)
        return common.to_complex() if self.is_complex else common

    def look_up(self, indices: Tensor | None) -> Tensor:
        """Return rows without normalizer and dropout, (*s, *shape)."""
        return self.combine(self.weights_of(indices))

    def combine(self, weights: Tensor) -> Tensor:
        """Make rows of weights, (*s, rank) -> (*s, *shape)."""
        common, bases = self._bases_in_common()
        with in_own_dtype(weights.device):
            product = weights.to(common) @ bases
        rows = product.view((*weights.shape[:-1], *self.bases.stored_shape))
        return torch.view_as_complex(rows) if self.is_complex else rows

    def scores(self, query: Tensor) -> Tensor:
        """Score all rows against queries by inner product, without building the table: (query @ bases^T) @ weights^T.

        Rows are scored block by block, and looked up where there is a normalizer. Dropout plays no part.

        Args:
            query: (*q, *shape), of the dtype of the rows, or wider.

        Returns:
            (*q, max_id), real. Of complex rows it is Re sum(query * conj(row)): the inner product of the pairs.

        Raises:
            ValueError: a query of another shape, or a complex one where rows are real or the other way round.
        """
        return score_in_blocks(
            self.scorer(query), rows=self.max_id, block_rows=BLOCK_ROWS, has_graph=torch.is_grad_enabled()
        )

    def topk(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Find the rows of the k highest `scores`, block by block: no more than the scores of a block are held.

        Args:
            query: as of `scores`.
            k: 1..max_id.

        Returns:
            The scores, highest first, and the ids of their rows, (*q, k) each; of equal scores the lower id first.

        Raises:
            ValueError: as of `scores`; more rows are asked for than there are, or none.
        """
        return top_rows(self.scorer(query), rows=self.max_id, k=k, block_rows=BLOCK_ROWS)

    def scorer(self, query: Tensor) -> Callable[[int, int], Tensor]:
        """Make what gives the `scores` of rows from one id up to another, (*q, count); arguments are those of it."""
        flat, bases = self._flatten(query)
        if self.normalizer is not None:
            return normalized_scorer(self, flat)
        projected = flat @ bases.T  # (*q, rank)
        return lambda first, last: projected @ self._weights_between(first, last).to(flat.dtype).T

    def _flatten(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Check a query, and flatten it: (*q, *shape) -> (*q, real dim); also give the bases in its dtype."""
        flat = flat_query(self, query)
        common, bases = self._bases_in_common()
        common = torch.promote_types(common, flat.dtype)
        return flat.to(common), bases.to(common)

    def extra_repr(self) -> str:
        """Return the rank beside what every representation tells."""
        return f"{super().extra_repr()}, num_bases={self.num_bases}"

    def _bases_in_common(self) -> tuple[torch.dtype, Tensor]:
        """Give the dtype that holds weights and bases, and the bases in it, (rank, real dim): weights may be wider."""
        bases = self.bases(None)
        real = (torch.view_as_real(bases) if bases.is_complex() else bases).reshape(len(bases), -1)
        common = torch.promote_types(self.weights.dtype, real.dtype)
        return common, real.to(common)
