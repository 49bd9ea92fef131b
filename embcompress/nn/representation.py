"""The contract of every representation: rows by id, normalised and dropped out on the way."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embcompress.nn.constrainers import RowFunction, row_function

Shape = int | Sequence[int]


class Representation(nn.Module, ABC):
    """Maps ids 0..max_id - 1 to rows of one shape.

    Args:
        max_id: the number of ids.
        shape: of one row; an int for a vector.
        normalizer: applied to the rows of every lookup: a name of CONSTRAINERS or a function.
        normalizer_kwargs: passed on to it.
        regularizer: an object that is shown the rows of every lookup by its `update(rows)`, such as one of PyKEEN's.
        dropout: probability with which entries of the result are zeroed while training.

    Attributes:
        max_id: the number of ids.
        shape: of one row, a tuple.
    """

    def __init__(
        self,
        max_id: int,
        shape: Shape,
        *,
        normalizer: str | RowFunction | None = None,
        normalizer_kwargs: Mapping[str, Any] | None = None,
        regularizer: Any = None,
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.max_id = positive(max_id, name="max_id")
        self.shape = as_shape(shape)
        self.normalizer = row_function(normalizer, normalizer_kwargs, axes=len(self.shape))
        self.regularizer = regularizer
        self.dropout = None if dropout is None else nn.Dropout(dropout)

    unique = False  # by this name PyKEEN asks whether a lookup of repeated ids should go by the distinct ones

    def _plain_forward(self, indices: Tensor | None = None) -> Tensor:
        """Look up rows as they are stored, under the name by which PyKEEN's wrappers of representations ask."""
        return self.look_up(indices if indices is None else indices.long())

    @abstractmethod
    def look_up(self, indices: Tensor | None) -> Tensor:
        """Return rows as they are stored, (*s, *shape) for int64 indices of shape s, all of them for None."""

    def forward(self, indices: Tensor | None = None) -> Tensor:
        """Look up rows, normalise them, show them to the regularizer, drop out.

        Args:
            indices: ids of any integer dtype and any shape `s`; None for all rows.

        Returns:
            (*s, *shape), or (max_id, *shape) for None.

        Raises:
            IndexError: an id outside 0..max_id - 1. On a GPU it is CUDA's own assertion that fails, as for
                torch.nn.Embedding.
            TypeError: ids that are no integers; a mask of booleans would look up rows 0 and 1.
        """
        if indices is not None:
            if indices.dtype == torch.bool or indices.is_floating_point() or indices.is_complex():
                raise TypeError(f"ids must be integers; got a tensor of {indices.dtype}.")
            indices = indices.long()
        rows = self.look_up(indices)
        if self.normalizer is not None:
            rows = self.normalizer(rows)
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
