"""A table with rows of its own behind those of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.embedding import Embedding
from embcompress.nn.markers import drop_mark
from embcompress.nn.representation import Representation
from embcompress.nn.scoring import top_rows


class GrownRepresentation(Representation):
    """The rows of a compressed table, and behind them added ones, which are dense and train by themselves.

    Args:
        base: rows 0..base.max_id - 1, with `look_up` and `scores`; its normalizer must be None.
        added: (count, dim), the rows behind.

    Raises:
        ValueError: the base has a normalizer, which its rows would lose.

    Attributes:
        base: the table that grew.
        added: Embedding of the rows that came.
    """

    def __init__(self, base: Any, added: Tensor) -> None:
        if base.normalizer is not None:
            raise ValueError(f"a table that grows has no normalizer; got {base!r} with {base.normalizer!r}.")
        super().__init__(base.max_id + len(added), base.shape)
        self.is_complex = base.is_complex
        self.base = base
        self.added = Embedding.from_pretrained(added, trainable=True)
        self.padding_idx = base.padding_idx
        self.table_name = base.table_name
        self.dense_key = base.dense_key

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""
        dtype: torch.dtype = self.base.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """The device of the rows."""
        device: torch.device = self.base.device
        return device

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Give the tensors by name, with one mark."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        drop_mark(state, f"{kwargs.get('prefix', '')}base.{self.base.dense_key}")
        return state

    def look_up(self, indices: Tensor | None) -> Tensor:
        """Return rows, (*s, *shape); of the base as it stores them."""
        if indices is None:
            return torch.cat([self.base.look_up(None), self.added.look_up(None)])
        is_added = indices >= self.base.max_id
        known: Tensor = self.base.look_up(torch.where(is_added, 0, indices))
        added = self.added.look_up(torch.where(is_added, indices - self.base.max_id, 0))
        return torch.where(is_added.view(*is_added.shape, *[1] * len(self.shape)), added, known)

    def scores(self, query: Tensor) -> Tensor:
        """Score all rows by inner product, (*q, dim) -> (*q, max_id)."""
        known: Tensor = self.base.scores(query)
        added = query.to(known.dtype) @ self.added.stored.to(known.dtype).T
        return torch.cat([known, added], dim=-1)

    def topk(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Find the k highest `scores` and the ids of their rows, as CodedRows.topk."""
        return top_rows(self.scorer(query), rows=self.max_id, k=k, block_rows=BLOCK_ROWS)

    def scorer(self, query: Tensor) -> Callable[[int, int], Tensor]:
        """Make what gives the `scores` of rows from one id up to another, (*q, count)."""
        score_known, known = self.base.scorer(query), self.base.max_id
        dtype = torch.promote_types(self.dtype, query.dtype)

        def score(first: int, last: int) -> Tensor:
            added = self.added.stored[max(first - known, 0) : max(last - known, 0)].to(dtype)
            added_scores = query.to(dtype) @ added.T
            if first >= known:
                return added_scores
            return torch.cat([score_known(first, min(last, known)), added_scores], dim=-1)

        return score

    def reset_parameters(self) -> None:
        """Leave everything as it is: all was given."""

    def post_parameter_update(self) -> None:
        """Apply the constraint of the base."""
        self.base.post_parameter_update()
