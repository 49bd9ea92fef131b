"""The contract of every representation: rows by id, normalised and dropped out on the way."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from embcompress.nn.constrainers import NORMALIZERS, RowFunction, row_function
from embcompress.nn.ids import as_indices
from embcompress.nn.markers import MarkedModule
from embcompress.nn.moves import check_kept, mark_unset
from embcompress.nn.regularizers import make_regularizer
from embcompress.nn.table_weight import check_assigned_weight, read_weight, without_gradient

Shape = int | Sequence[int]


class Representation(MarkedModule, ABC):
    """Maps ids 0..max_id - 1 to rows of one shape.

    Args:
        max_id: the number of ids.
        shape: of one row; an int for a vector.
        normalizer: applied to the rows of every lookup: a name of NORMALIZERS or a function.
        normalizer_kwargs: passed on to it.
        regularizer: an object that is shown the rows of every lookup by its `update(rows)`, such as one of PyKEEN's, or
            a class or, where PyKEEN is installed, a name of one.
        regularizer_kwargs: what makes the regularizer, if it is not made yet.
        dropout: probability with which entries of the result are zeroed while training.
        unique: whether a lookup of repeated ids goes by the distinct ones, each looked up once; default: no.

    It can be read like a torch.nn.Embedding: by `weight`, `num_embeddings`, `embedding_dim`, `len(table)`, `table[5]`.

    Attributes:
        max_id: the number of ids.
        shape: of one row, a tuple.
        padding_idx: the id whose row gets no gradient from a lookup, or None.
        table_name: what messages call the table; empty where that is not known.
        dense_key: the name, within this module, of the dense parameter that it took the place of; empty where it did
            not. State dicts have a mark under it.
    """

    padding_idx: int | None = None
    table_name: str = ""

    def __init__(
        self,
        max_id: int,
        shape: Shape,
        *,
        normalizer: str | RowFunction | None = None,
        normalizer_kwargs: Mapping[str, Any] | None = None,
        regularizer: Any = None,
        regularizer_kwargs: Mapping[str, Any] | None = None,
        dropout: float | None = None,
        unique: bool | None = None,
    ) -> None:
        super().__init__()
        self.max_id = positive(max_id, name="max_id")
        self.shape = as_shape(shape)
        self.normalizer = row_function(normalizer, normalizer_kwargs, axes=len(self.shape), functions=NORMALIZERS)
        self.regularizer = make_regularizer(regularizer, regularizer_kwargs)
        self.dropout = None if dropout is None else nn.Dropout(dropout)
        self.unique = bool(unique)

    def _plain_forward(self, indices: Tensor | None = None) -> Tensor:
        """Look up rows as they are stored, under the name by which PyKEEN's wrappers of representations ask."""
        return self.look_up(indices if indices is None else indices.long())

    @abstractmethod
    def look_up(self, indices: Tensor | None) -> Tensor:
        """Return rows as they are stored, (*s, *shape) for int64 indices of shape s, all of them for None."""

    def forward(self, indices: Any = None) -> Tensor:
        """Look up rows, normalise them, show them to the regularizer, drop out.

        Args:
            indices: ids of any integer dtype and any shape `s`: a tensor, a list, an array, or one number; None for all
                rows.

        Returns:
            (*s, *shape), or (max_id, *shape) for None.

        Raises:
            IndexError: an id outside 0..max_id - 1. On a GPU it is CUDA's own assertion that fails, as for
                torch.nn.Embedding.
            TypeError: ids that are no integers; a mask of booleans would look up rows 0 and 1.
        """
        places = None
        if indices is None:
            rows = self.look_up(None)
        else:
            ids = as_indices(indices, like=self)
            if self.unique:
                ids, places = torch.unique(ids, return_inverse=True)
            rows = self.at(ids)
            if self.padding_idx is not None:
                rows = without_gradient(rows, ids == self.padding_idx)
        if self.normalizer is not None:
            rows = self.normalizer(rows)
        if places is not None:
            rows = rows[places]
        if self.regularizer is not None:
            self.regularizer.update(rows)
        if self.dropout is None or not self.training:
            return rows
        if rows.is_complex():  # torch's dropout draws no complex mask
            mask: Tensor = self.dropout(torch.ones_like(rows.real))
            return rows * mask
        dropped: Tensor = self.dropout(rows)
        return dropped

    @abstractmethod
    def reset_parameters(self) -> None:
        """Start again: draw what was drawn anew, leave what was given and what is frozen as it is."""

    @abstractmethod
    def post_parameter_update(self) -> None:
        """Apply constraints after a step of the optimizer, outside the gradient."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device of the rows."""

    def at(self, ids: Tensor) -> Tensor:
        """Look up rows as they are stored, (*s, *shape) for int64 ids of shape s.

        Raises:
            IndexError: an id outside 0..max_id - 1; tells it.
        """
        if torch.compiler.is_compiling():
            return self.look_up(ids)
        try:
            return self.look_up(ids)
        except IndexError as err:
            raise IndexError(self.describe_outside(ids)) from err

    def describe_outside(self, ids: Tensor) -> str:
        """Say which ids are not those of rows, and of which table."""
        outside = sorted(set(ids[(ids < 0) | (ids >= self.max_id)].tolist()))
        of_table = f" of table {self.table_name!r}" if self.table_name else ""
        return f"ids{of_table} must be in 0..{self.max_id - 1}; got {', '.join(map(str, outside[:5]))}."

    @property
    def weight(self) -> Tensor:
        """All rows, (max_id, *shape), as they are stored: a tensor that decodes them when an operation needs them.

        To read its shape, dtype or device costs nothing; to compute with it costs a table in memory, each time. It
        cannot be assigned or written to.
        """
        return read_weight(self)

    @weight.setter
    def weight(self, value: object) -> None:
        check_assigned_weight(value, self, owner=type(self).__name__)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register a parameter, but none under the name of what is decoded."""
        if name == "weight":
            check_assigned_weight(param, self, owner=type(self).__name__)
        super().register_parameter(name, param)

    @property
    def num_embeddings(self) -> int:
        """The number of ids, as torch.nn.Embedding calls it."""
        return self.max_id

    @property
    def embedding_dim(self) -> int:
        """The entries of a row."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.max_id

    def __getitem__(self, indices: Any) -> Tensor:
        """Look up rows by an id, by ids, or by a slice."""
        if isinstance(indices, slice):
            indices = range(*indices.indices(self.max_id))
        rows: Tensor = self(indices)
        return rows

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move and cast; refuse to lose the rows, as `to_empty` would.

        Raises:
            RuntimeError: numbers that the table is made of would be replaced by what memory happens to hold.
        """
        was_meta = self.device.type == "meta"
        if not was_meta:
            check_kept(fn, device=self.device, what=type(self).__name__)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if was_meta:
            mark_unset(self)
        return self

    def extra_repr(self) -> str:
        """Return the shape of the table, of how many numbers it is made, and how many of them are trained."""
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.parameters()]
        parameters, trainable = sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)
        return f"max_id={self.max_id}, shape={self.shape}, parameters={parameters}, trainable={trainable}"


def as_shape(shape: Shape) -> tuple[int, ...]:
    """Make a tuple of sizes, each at least 1."""
    sizes = tuple(shape) if isinstance(shape, Iterable) else (shape,)
    return tuple(positive(size, name="each size of shape") for size in sizes)


def positive(value: int, *, name: str) -> int:
    """Check a count.

    Raises:
        ValueError: below 1, or no integer.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1; got {value!r}.")
    return operator.index(value)
