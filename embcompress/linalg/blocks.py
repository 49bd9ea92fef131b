"""The view of a table that the numerics need: its size, and its rows block by block, any number of times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from embcompress.exceptions import NonFiniteError

BLOCK_ROWS = 8192  # rows of a block of an in-memory table; 2k to 64k gave the same speed at 128 columns


class Rows(Protocol):
    """A matrix (rows, dim) that is read in blocks. Complex tables are read as pairs of reals.

    A block is valid until the next one is asked for: its memory may be used again.
    """

    @property
    def name(self) -> str:
        """The name that messages use."""

    @property
    def rows(self) -> int:
        """Count the rows."""

    @property
    def dim(self) -> int:
        """Count the real columns."""

    @property
    def dtype(self) -> torch.dtype:
        """The real dtype of every block."""

    @property
    def device(self) -> torch.device:
        """The device of the blocks."""

    def blocks(self) -> Iterator[Tensor]:
        """Yield consecutive rows, (block_rows, dim)."""

    def column_blocks(self) -> Iterator[Tensor]:
        """Yield consecutive columns, transposed: (block_columns, rows)."""

    def sample(self, count: int) -> Tensor:
        """Read about `count` rows spread evenly over the table, (about count, dim)."""


class SampledRows(Rows, Protocol):
    """Rows that tell which of them a sample holds."""

    def sample_ids(self, count: int) -> Tensor:
        """Return the ids of the rows that `sample(count)` reads, (about count,) int64."""


@dataclass(frozen=True)
class TensorRows:
    """Rows over a matrix that is already in memory.

    Example:
        >>> [len(block) for block in TensorRows(torch.zeros(5, 2), block_rows=2).blocks()]
        [2, 2, 1]
    """

    values: Tensor  # (rows, dim), real
    name: str = "the tensor"
    block_rows: int = BLOCK_ROWS

    @property
    def rows(self) -> int:  # noqa: D102 - as in Rows
        return self.values.shape[0]

    @property
    def dim(self) -> int:  # noqa: D102
        return self.values.shape[1]

    @property
    def dtype(self) -> torch.dtype:  # noqa: D102
        return self.values.dtype

    @property
    def device(self) -> torch.device:  # noqa: D102
        return self.values.device

    def blocks(self) -> Iterator[Tensor]:  # noqa: D102
        yield from torch.split(self.values, self.block_rows)

    def column_blocks(self) -> Iterator[Tensor]:  # noqa: D102
        yield from torch.split(self.values.T, self.block_rows)

    def sample(self, count: int) -> Tensor:  # noqa: D102
        return self.values[:: self._sample_step(count)]

    def sample_ids(self, count: int) -> Tensor:  # noqa: D102
        return torch.arange(0, self.rows, self._sample_step(count))

    def _sample_step(self, count: int) -> int:
        return max(1, self.rows // max(count, 1))


def product_dtype(dtype: torch.dtype) -> torch.dtype:
    """Choose the cheapest dtype whose products are as good as the values: float16 and bfloat16 have no CPU eigh."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@contextmanager
def full_float32() -> Iterator[None]:
    """Keep TF32 and reduced-precision products off inside, and leave torch's global switches as they were.

    Since torch 2.9 each backend has a switch of its own beside the global one, which can be read no more once a caller
    has set one of them, and which pins them all when it is written: "none", which means inherit, has to be put back.
    """
    backends: Any = torch.backends
    switches = (backends.cuda.matmul, backends.mkldnn.matmul) if hasattr(backends, "fp32_precision") else ()
    precisions = [switch.fp32_precision for switch in switches]
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        before = "highest"
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        for switch, precision in zip(switches, precisions, strict=True):
            switch.fp32_precision = precision


def refuse_non_finite(rows: Rows, *, block: Tensor, first: int, is_transposed: bool = False) -> None:
    """Raise if the block holds NaN or infinity, naming the first such row of the table.

    Args:
        rows: the table; read again up to that row if the block is transposed, as each column holds a part of every row.
        block: (block_rows, dim) of it, or (block_columns, rows) if transposed.
        first: the number of the block's first row or column; those before it are finite.
        is_transposed: whether the block's columns are the table's rows.

    Raises:
        NonFiniteError: the block holds NaN or infinity.
    """
    bad = (~torch.isfinite(block)).any(dim=1).nonzero()
    if not len(bad):
        return
    if is_transposed:
        first = 0
        for again in rows.blocks():
            refuse_non_finite(rows, block=again, first=first)
            first += len(again)
    index = int(bad[0])
    what = "NaN" if bool(torch.isnan(block[index]).any()) else "infinity"
    raise NonFiniteError(
        f"{rows.name} holds {what} in row {first + index}: no error could be measured.",
        hint="Repair or drop the row, or leave the table out with --exclude.",
    )


def refuse_magnitude(name: str) -> NonFiniteError:
    """Make the exception for finite values whose squares leave float64."""
    return NonFiniteError(
        f"{name} holds magnitudes beyond 1e150 or below 1e-138, whose squares leave float64.",
        hint="Scale the table by a power of two first, or leave it out with --exclude.",
    )
