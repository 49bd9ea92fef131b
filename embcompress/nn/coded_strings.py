"""The common part of tables of strings of bits, wherever the strings are."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from embcompress.nn.coded_base import CodedRows


class CodedStrings(CodedRows):
    """Rows whose weights are the numbers of their strings, times scales of columns, plus centers.

    Attributes:
        centers: parameter (profiles, columns), or None.
    """

    centers: nn.Parameter | None

    @abstractmethod
    def _decode(
        self, ids: Tensor, *, scales: Tensor | None = None, centers: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Decode strings: the results of `decode_rows`, and of its arguments ids, scales and centers."""

    def _weights(self, ids: Tensor) -> Tensor:
        """Decode weights, (count,) -> (count, columns).

        Raises:
            IndexError: an id outside 0..max_id - 1.
        """
        if self.scales.dtype == torch.float32 and not torch.is_grad_enabled():
            return self._decode(ids, scales=self.scales, centers=self.centers)[0]
        numbers, profiles = self._decode(ids)
        weights: Tensor = numbers.to(self.scales.dtype) * self.scales
        if self.centers is None:
            return weights
        own = self.centers.index_select(0, profiles.clamp(min=0))  # (count, columns)
        return torch.addcmul(weights, own, (profiles >= 0).to(weights.dtype)[:, None])

    def _score_rows(self, projected: Tensor, ids: Tensor) -> Tensor:
        """Score the weights of rows, (*q, columns) -> (*q, count): the query is scaled, which has fewer numbers."""
        numbers, profiles = self._decode(ids)
        scores: Tensor = (projected * self.scales) @ numbers.to(projected.dtype).T
        if self.centers is None:
            return scores
        center_scores = projected @ self.centers.to(projected.dtype).T  # (*q, profiles)
        return scores + center_scores.index_select(-1, profiles.clamp(min=0)) * (profiles >= 0)
