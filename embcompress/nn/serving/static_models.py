"""The StaticModel of model2vec, which is no torch module: its array of rows served by a compressed table."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embcompress.artifact.reader import Artifact
from embcompress.exceptions import TableError
from embcompress.nn.loading import load_table
from embcompress.nn.serving.heads import FactoredTable


class StaticRows:
    """The rows of a table as far as an array of NumPy is needed for lookups: by id, by ids, or all at once.

    Args:
        table: rows (max_id, dim).
        dtype: of the rows that lookups give.

    Attributes:
        shape: (rows, dim).
    """

    def __init__(self, table: FactoredTable, dtype: np.dtype[Any]) -> None:
        self.table = table
        self.dtype = dtype
        self.shape = (table.max_id, table.embedding_dim)
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        if isinstance(index, slice | tuple) or getattr(getattr(index, "dtype", None), "kind", "") == "b":
            rows: NDArray[Any] = np.asarray(self)[index]
            return rows
        return self._look_up(index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Decode all rows."""
        rows = self._look_up(None)
        return rows if dtype is None else rows.astype(dtype)

    def _look_up(self, ids: Any) -> NDArray[Any]:
        with torch.no_grad():
            rows: NDArray[Any] = self.table(ids).float().numpy().astype(self.dtype)
        return rows


def is_static_model(model: object) -> bool:
    """Return whether a model keeps its rows in an array of NumPy, as the StaticModel of model2vec does."""
    embedding = getattr(model, "embedding", None)
    is_array = isinstance(embedding, np.ndarray | StaticRows)
    return not isinstance(model, torch.nn.Module) and is_array and hasattr(model, "tokenizer")


def serve_static_model(model: Any, artifact: Artifact) -> dict[str, Any]:
    """Put the one table of an artifact in place of the array of a StaticModel.

    Raises:
        TableError: several tables, or one of another shape.
    """
    shape = tuple(model.embedding.shape)
    tables = [table for table in artifact.tables if table.dense_shape == shape and table.kind == "embedding"]
    if len(artifact.tables) != 1 or not tables:
        names = ", ".join(f"{table.name!r} of shape {table.dense_shape}" for table in artifact.tables)
        raise TableError(f"the model has one table of shape {shape}; the artifact has {names}.")
    (table,) = tables
    loaded = load_table(artifact, table)
    loaded.requires_grad_(False)
    loaded.table_name = table.name
    dtype = model.embedding.dtype if model.embedding.dtype.kind == "f" else np.dtype("float32")
    model.embedding = StaticRows(loaded, dtype)  # type: ignore[arg-type]
    return {table.name: model.embedding}
