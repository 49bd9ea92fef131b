"""Output layers over compressed tables."""

from __future__ import annotations

from typing import Any, TypeAlias

from torch import Tensor, nn

from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.coded_base import CodedRows
from embcompress.nn.grown import GrownRepresentation
from embcompress.nn.low_rank import LowRankRepresentation
from embcompress.nn.markers import MarkedModule, drop_mark
from embcompress.nn.scoring import top_rows
from embcompress.nn.table_weight import check_assigned_weight, read_weight

FactoredTable: TypeAlias = LowRankRepresentation | CodedRows | GrownRepresentation


class LowRankHead(MarkedModule):
    """An output layer whose matrix is a low-rank or coded table: scores of all rows, through the factors.

    Args:
        table: rows (max_id, dim).
        bias: (max_id,), or None.

    Attributes:
        in_features: entries of a query, as torch.nn.Linear calls them.
        out_features: the number of rows.
    """

    dense_key = "weight"

    def __init__(self, table: FactoredTable, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.table = table
        self.bias = bias
        self.in_features = table.embedding_dim
        self.out_features = table.max_id

    def forward(self, query: Tensor) -> Tensor:
        """Score rows: (*q, dim) -> (*q, max_id)."""
        scores = self.table.scores(query)
        return scores if self.bias is None else scores + self.bias

    def topk(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Find the k highest scores of `forward`, without holding those of all rows.

        Args:
            query: (*q, dim).
            k: 1..max_id.

        Returns:
            The scores, highest first, and the ids of their rows, (*q, k) each; of equal scores the lower id first.

        Raises:
            ValueError: a query of another shape; more rows are asked for than there are, or none.
        """
        if self.bias is None:
            return self.table.topk(query, k)
        score, bias = self.table.scorer(query), self.bias
        return top_rows(
            lambda first, last: score(first, last) + bias[first:last],
            rows=self.table.max_id,
            k=k,
            block_rows=BLOCK_ROWS,
        )

    @property
    def weight(self) -> Tensor:
        """The matrix, (out_features, in_features), decoded when an operation needs its numbers.

        To read its shape, dtype or device costs nothing; to compute with it costs a table in memory, each time. It
        cannot be assigned or written to.
        """
        return read_weight(self.table)

    @weight.setter
    def weight(self, value: object) -> None:
        check_assigned_weight(value, self.table, owner=type(self).__name__)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Give the tensors by name, with one mark."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        drop_mark(state, f"{kwargs.get('prefix', '')}table.{self.table.dense_key}")
        return state

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register a parameter, but none under the name of what is decoded."""
        if name == "weight":
            check_assigned_weight(param, self.table, owner=type(self).__name__)
        super().register_parameter(name, param)
