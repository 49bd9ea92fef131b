"""The rows of a module as `linalg` reads a table: in blocks, without dropout and without a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from embcompress.linalg.blocks import BLOCK_ROWS, Rows, TensorRows
from embcompress.nn.constrainers import clamp_norm


@dataclass(frozen=True)
class ModuleRows:
    """Rows over a representation, ours or PyKEEN's, looked up block by block. Complex rows are read as pairs of reals.

    Attributes:
        module: has `max_id`, and gives (count, *shape) for ids (count,).
        dim: real columns of a row.
        dtype: real.
        device: where the rows arrive.
        as_stored: whether the module's normalizer is left out.
    """

    module: Any
    dim: int
    dtype: torch.dtype
    device: torch.device
    name: str = "the table"
    as_stored: bool = False

    @property
    def rows(self) -> int:
        """Count the rows."""
        count: int = self.module.max_id
        return count

    def blocks(self) -> Iterator[Tensor]:
        """Yield consecutive rows, (block_rows, dim)."""
        for first in range(0, self.rows, BLOCK_ROWS):
            yield self._look_up(torch.arange(first, min(first + BLOCK_ROWS, self.rows)))

    def column_blocks(self) -> Iterator[Tensor]:
        """Yield consecutive columns, transposed: (block_columns, rows). Holds the table: only rows can be looked up."""
        yield from torch.split(torch.cat(list(self.blocks())).T, BLOCK_ROWS)

    def sample(self, count: int) -> Tensor:
        """Read about `count` rows spread evenly over the table, (about count, dim)."""
        return self._look_up(torch.arange(0, self.rows, max(1, self.rows // max(count, 1))))

    def _look_up(self, indices: Tensor) -> Tensor:
        return as_real_matrix(look_up_calmly(self.module, indices.to(self.device), as_stored=self.as_stored))


@dataclass(frozen=True)
class OpenTable:
    """A table opened for reading.

    Attributes:
        rows: as `linalg` reads them, real.
        shape: of one row.
        dtype: of the rows, complex or real.
    """

    rows: Rows
    shape: tuple[int, ...]
    dtype: torch.dtype


def open_table(other: Any, *, as_stored: bool = False) -> OpenTable:
    """Open a representation, a torch.nn.Embedding or a tensor as rows.

    Args:
        other: the table.
        as_stored: leave out the normalizer of a representation.

    Raises:
        TypeError: neither of them, or a tensor of integers.
        ValueError: a tensor that has no rows and columns.
    """
    if isinstance(other, nn.Embedding):
        if type(other) is not nn.Embedding:
            raise TypeError(f"{type(other).__name__} may do more than look rows up; give its weight, or what it gives.")
        weight, limit = other.weight.detach(), other.max_norm
        other = weight if limit is None else clamp_norm(weight, maxnorm=limit, p=other.norm_type)
    if isinstance(other, Tensor):
        values = other.detach()
        if not (values.is_floating_point() or values.is_complex()):
            raise TypeError(f"a table holds floats or complex numbers; got {values.dtype}.")
        if values.ndim < 2 or not values.numel():
            raise ValueError(f"a table has rows and columns; got shape {tuple(values.shape)}.")
        return OpenTable(TensorRows(as_real_matrix(values), name="the table"), tuple(values.shape[1:]), values.dtype)
    if not isinstance(other, nn.Module) or not hasattr(other, "max_id"):
        raise TypeError(f"a table is a representation, a torch.nn.Embedding or a tensor; got {type(other).__name__}.")
    device = next((parameter.device for parameter in other.parameters()), torch.device("cpu"))
    first = look_up_calmly(other, torch.zeros(1, dtype=torch.long, device=device), as_stored=as_stored)  # (1, *shape)
    row = as_real_matrix(first)
    rows = ModuleRows(other, dim=row.shape[1], dtype=row.dtype, device=device, as_stored=as_stored)
    return OpenTable(rows, tuple(first.shape[1:]), first.dtype)


@torch.no_grad()
def look_up_calmly(module: nn.Module, indices: Tensor, *, as_stored: bool = False) -> Tensor:
    """Look up rows as for serving, and leave everything as it was.

    Dropout would show another table in every pass, and a regularizer would count rows that no loss has seen.
    """
    training = [(part, part.training) for part in module.modules()]
    silenced: list[tuple[nn.Module, str, Any]] = [
        (part, "regularizer", part.regularizer)
        for part in module.modules()
        if getattr(part, "regularizer", None) is not None
    ]
    if as_stored and getattr(module, "normalizer", None) is not None:
        silenced.append((module, "normalizer", module.normalizer))
    module.eval()
    try:
        for part, name, _ in silenced:
            setattr(part, name, None)
        rows: Tensor = module(indices)
        return rows
    finally:
        for part, name, value in silenced:
            setattr(part, name, value)
        # By way of train(), at which graph encoders of PyKEEN forget what they computed without a graph.
        module.train(module.training or training[0][1])
        for part, was_training in training:
            part.training = was_training


def as_real_matrix(rows: Tensor) -> Tensor:
    """View rows (count, *shape) as (count, real entries of a row), complex entries as pairs."""
    real = torch.view_as_real(rows.resolve_conj()) if rows.is_complex() else rows
    return real.flatten(1)
