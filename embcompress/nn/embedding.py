"""A table of independent rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn

from embcompress.nn.constrainers import RowFunction, row_function
from embcompress.nn.initializers import Initializer, as_given, fill, make_initializer, pretrained
from embcompress.nn.representation import Representation, Shape, as_shape


class Embedding(Representation):
    """A trainable row for every id: torch.nn.Embedding with rows of any shape, complex ones too.

    Complex tables are stored as (re, im) pairs of reals, under the same key and in the same layout as PyKEEN's.

    Args:
        max_id: the number of ids.
        num_embeddings: the older name of max_id; both may be given if they agree.
        embedding_dim: columns of a vector; exactly one of embedding_dim and shape is given.
        shape: of one row.
        initializer: how the table starts: a name of INITIALIZERS or of torch.nn.init, a function of the table, or a
            class of such functions. It runs at construction. Default: normal.
        initializer_kwargs: passed on to it.
        constrainer: applied by `post_parameter_update`: a name of CONSTRAINERS or a function of the table.
        constrainer_kwargs: passed on to it.
        trainable: whether gradients reach the table.
        dtype: float or complex; default: torch's default.
        device: where the table is made.
        generator: makes the draws of the initializer repeatable.
        normalizer, normalizer_kwargs, regularizer, regularizer_kwargs, dropout, unique: as in Representation.

    Raises:
        ValueError: sizes that are missing, given twice or below 1; a name that nothing has.
        TypeError: a dtype of integers.

    Source: PyKEEN's documentation of pykeen.nn.Embedding, 1.11.

    Example:
        >>> table = Embedding(max_id=3, shape=(2, 2), initializer="ones")
        >>> table(torch.tensor([[0, 2]])).shape
        torch.Size([1, 2, 2, 2])
    """

    def __init__(
        self,
        max_id: int | None = None,
        num_embeddings: int | None = None,
        embedding_dim: int | None = None,
        shape: Shape | None = None,
        initializer: str | Initializer | type | None = None,
        initializer_kwargs: Mapping[str, Any] | None = None,
        constrainer: str | RowFunction | None = None,
        constrainer_kwargs: Mapping[str, Any] | None = None,
        trainable: bool = True,
        dtype: torch.dtype | None = None,
        normalizer: str | RowFunction | None = None,
        normalizer_kwargs: Mapping[str, Any] | None = None,
        dropout: float | None = None,
        *,
        regularizer: Any = None,
        regularizer_kwargs: Mapping[str, Any] | None = None,
        unique: bool | None = None,
        device: torch.device | str | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            _one_of("max_id", max_id, "num_embeddings", num_embeddings),
            _row_shape(embedding_dim, shape),
            normalizer=normalizer,
            normalizer_kwargs=normalizer_kwargs,
            regularizer=regularizer,
            regularizer_kwargs=regularizer_kwargs,
            dropout=dropout,
            unique=unique,
        )
        dtype = dtype or torch.get_default_dtype()
        if not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(f"a table holds floats or complex numbers; got {dtype}.")
        self.is_complex = dtype.is_complex
        self.initializer, self.initializer_kwargs = make_initializer(initializer or "normal", initializer_kwargs)
        self.constrainer = row_function(constrainer, constrainer_kwargs, axes=len(self.shape))
        values = torch.empty(self.max_id, math.prod(self.stored_shape), dtype=dtype.to_real(), device=device)
        self._embeddings = OwnedTable(values.shape[0], values.shape[1], _weight=values)
        self._start(generator)
        self._embeddings.requires_grad_(trainable)

    @classmethod
    def from_pretrained(cls, tensor: Tensor, *, trainable: bool = False, **kwargs: Any) -> Embedding:
        """Make a table of given values, which are copied.

        Args:
            tensor: (rows, *shape), real or complex; its dtype and device are the table's unless `kwargs` says
                otherwise.
            trainable: whether gradients reach the table; `reset_parameters` then goes back to the values given, for
                which a second copy is kept.
            kwargs: of the constructor, but for max_id, shape and the initializer.
        """
        kwargs["dtype"] = kwargs.get("dtype") or tensor.dtype
        kwargs.setdefault("device", tensor.device)
        table = cls(
            max_id=len(tensor),
            shape=tuple(tensor.shape[1:]),
            initializer=pretrained,
            initializer_kwargs={"tensor": tensor},
            trainable=trainable,
            **kwargs,
        )
        if trainable:
            table.initializer_kwargs = {"tensor": tensor.detach().clone()}
        else:
            table.initializer, table.initializer_kwargs = as_given, {}
        return table

    @property
    def stored(self) -> Tensor:
        """The parameter as it is stored, (max_id, real entries of a row): complex entries as pairs."""
        return self._embeddings.weight

    def hold(self, stored: Tensor) -> None:
        """Take values, (max_id, real entries of a row), for the table, without copying them; frozen stays frozen."""
        self._embeddings.weight = nn.Parameter(stored.detach(), requires_grad=self.stored.requires_grad)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape in which a row is stored: a complex one has its pairs in a further axis."""
        return (*self.shape, 2) if self.is_complex else self.shape

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""
        return self.stored.dtype.to_complex() if self.is_complex else self.stored.dtype

    @property
    def device(self) -> torch.device:
        """The device of the table."""
        return self.stored.device

    def look_up(self, indices: Tensor | None) -> Tensor:
        """Return rows without normalizer and dropout, (*s, *shape)."""
        flat: Tensor = self.stored if indices is None else self._embeddings(indices)
        rows = flat.view((*flat.shape[:-1], *self.stored_shape))
        return torch.view_as_complex(rows) if self.is_complex else rows

    def reset_parameters(self) -> None:
        """Run the initializer again, unless the table is frozen."""
        if self.stored.requires_grad:
            self._start(None)

    def post_parameter_update(self) -> None:
        """Apply the constrainer to every row, unless the table is frozen."""
        if self.stored.requires_grad:
            self.constrain()

    @torch.no_grad()
    def constrain(self) -> None:
        """Apply the constrainer to every row, of a frozen table too."""
        if self.constrainer is None:
            return
        rows = self.constrainer(self.look_up(None))
        rows = torch.view_as_real(rows.resolve_conj()) if rows.is_complex() else rows
        if rows.shape != (self.max_id, *self.stored_shape):
            raise ValueError(
                f"the constrainer made shape {tuple(rows.shape)} of a table {(self.max_id, *self.stored_shape)}."
            )
        self.stored.copy_(rows.reshape(self.stored.shape))

    def _start(self, generator: Generator | None) -> None:
        table = self.stored.detach().view(self.max_id, *self.stored_shape)
        fill(table, self.initializer, self.initializer_kwargs, generator=generator)


class OwnedTable(nn.Embedding):
    """A torch.nn.Embedding that leaves its start to the Embedding that holds it.

    PyKEEN resets every submodule of a model when the model is made, which would draw N(0, 1) over a frozen table.
    """

    def reset_parameters(self) -> None:
        """Do nothing."""


def _one_of(name: str, value: int | None, other_name: str, other: int | None) -> int:
    """Choose between two names of one number."""
    if value is None and other is None:
        raise ValueError(f"{name} is missing.")
    if value is not None and other is not None and value != other:
        raise ValueError(f"{name}={value} and {other_name}={other} are two names of one number.")
    return value if value is not None else other  # type: ignore[return-value]


def _row_shape(embedding_dim: int | None, shape: Shape | None) -> tuple[int, ...]:
    if (embedding_dim is None) == (shape is None):
        raise ValueError(f"give exactly one of embedding_dim and shape; got {embedding_dim} and {shape}.")
    return as_shape(embedding_dim if shape is None else shape)  # type: ignore[arg-type]
