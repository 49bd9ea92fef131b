"""The common part of tables with coded weights, whatever decodes them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from embcompress.linalg.blocks import BLOCK_ROWS, product_dtype
from embcompress.nn.representation import Representation, Shape, as_shape
from embcompress.nn.scoring import flat_query, normalized_scorer, score_in_blocks, top_rows

# Numbers that are decoded at once on a GPU, 64 MiB of float32: BLOCK_ROWS rows, a lane each, are two warps for each of
# a hundred processors that hold 64. Not measured.
GPU_NUMBERS = 2**24


class CodedRows(Representation):
    """Rows `weights[i] @ bases` whose weights are decoded by each lookup; without bases the weights are the rows.

    Parameters are kept in float32 at least: `half()` and `to(dtype)` change the dtype of the rows, not how they are
    decoded. A class derived from this one decodes weights, and registers its buffers.

    Args:
        max_id: the number of rows.
        shape: of one row.
        dtype: of the rows, real or complex.
        bases: (columns, *stored shape) of a float dtype; None where the table's own columns are coded.
        trainable: whether gradients reach what decodes the codes.
        kwargs: normalizer, normalizer_kwargs, regularizer and dropout, as in Representation.

    Attributes:
        bases: parameter (columns, real entries of a row), complex entries as pairs, or None.
        scales: parameter (..., columns).
    """

    bases: nn.Parameter | None
    scales: nn.Parameter
    # What follows from the buffers: made where it is first needed, and never copied along.
    _plan: object

    def __init__(
        self,
        max_id: int,
        shape: Shape,
        *,
        dtype: torch.dtype,
        bases: Tensor | None,
        trainable: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(max_id, shape, **kwargs)
        self.is_complex = dtype.is_complex
        self._real_dtype = dtype.to_real()  # of the rows
        self._plan = None
        self.bases = None if bases is None else self._parameter(bases.reshape(len(bases), -1), trainable)

    def _parameter(self, values: Tensor, trainable: bool) -> nn.Parameter:
        """Make a parameter of given values, in float32 at least."""
        return nn.Parameter(values.detach().to(product_dtype(self._real_dtype)), requires_grad=trainable)

    @property
    def num_bases(self) -> int:
        """The rank: coded columns, with bits or without."""
        return self.scales.shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""
        return self._real_dtype.to_complex() if self.is_complex else self._real_dtype

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.scales.device

    @property
    def _block_rows(self) -> int:
        """Rows that are decoded at once."""
        return max(BLOCK_ROWS, GPU_NUMBERS // self.num_bases) if self.device.type == "cuda" else BLOCK_ROWS

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of a row in reals: a complex one has its pairs in a further axis."""
        return (*self.shape, 2) if self.is_complex else self.shape

    @property
    @abstractmethod
    def code_bits(self) -> int:
        """Count the bits of all codes."""

    @abstractmethod
    def reshape(self, *, shape: Shape, dtype: torch.dtype, trainable: bool, **kwargs: Any) -> Self:
        """Make the same table with rows of another shape, as many real entries each, and of another dtype.

        Codes are shared; parameters too, where the dtype lets them. The arguments are those of the class.

        Raises:
            ValueError: rows of another number of real entries.
        """

    def _reshape_bases(self, stored_shape: tuple[int, ...]) -> Tensor | None:
        """Give the bases, without gradient, the shape of a row, (columns, *stored shape); raises as `reshape`."""
        if math.prod(stored_shape) != math.prod(self.stored_shape):
            raise ValueError(f"rows have {math.prod(self.stored_shape)} real entries; got the shape {stored_shape}.")
        return None if self.bases is None else self.bases.detach().view(self.num_bases, *stored_shape)

    @abstractmethod
    def _weights(self, ids: Tensor) -> Tensor:
        """Decode weights, (count,) -> (count, columns).

        Raises:
            IndexError: an id outside 0..max_id - 1; of some tables on the CPU only.
        """

    def combine(self, weights: Tensor) -> Tensor:
        """Make rows of weights, (*s, columns) -> (*s, *shape): the weights themselves where there are no bases."""
        real = weights if self.bases is None else weights @ self.bases.to(weights.dtype)
        rows = real.to(self._real_dtype).view(*weights.shape[:-1], *self.stored_shape)
        return torch.view_as_complex(rows) if self.is_complex else rows

    def _rows(self, ids: Tensor) -> Tensor:
        """Make rows, (count,) -> (count, real entries of a row)."""
        weights = self._weights(ids)
        return weights if self.bases is None else weights @ self.bases

    def _score_rows(self, projected: Tensor, ids: Tensor) -> Tensor:
        """Score the weights of rows, (*q, columns) -> (*q, count)."""
        return projected @ self._weights(ids).to(projected.dtype).T

    def _score(self, projected: Tensor, *, dtype: torch.dtype) -> Tensor:
        """Score the weights of all rows, (*q, columns) -> (*q, max_id) of a dtype."""
        return self._in_score_blocks(
            self._weight_scorer(projected, dtype=dtype), threads=self._score_threads(projected)
        )

    def _weight_scorer(self, projected: Tensor, *, dtype: torch.dtype) -> Callable[[int, int], Tensor]:
        return lambda first, last: self._score_rows(projected, self._ids(first, last)).to(dtype)

    def _in_score_blocks(self, score: Callable[[int, int], Tensor], *, threads: int = 1) -> Tensor:
        return score_in_blocks(
            score,
            rows=self.max_id,
            block_rows=self._block_rows,
            has_graph=torch.is_grad_enabled(),
            threads=threads,
        )

    def _score_threads(self, projected: Tensor) -> int:  # noqa: ARG002 - for the classes derived from this
        """Count the threads that may call the scorer of weights for (*q, columns) beside each other."""
        return 1

    def look_up(self, indices: Tensor | None) -> Tensor:
        """Return rows without normalizer and dropout, (*s, *shape). Holds the weights of a block of rows at once."""
        ids = self._all_ids() if indices is None else indices.flatten()
        rows = self._in_blocks(self._rows, ids, dim=math.prod(self.stored_shape))
        rows = rows.view(*((self.max_id,) if indices is None else indices.shape), *self.stored_shape)
        return torch.view_as_complex(rows) if self.is_complex else rows

    def weights_of(self, indices: Tensor | None) -> Tensor:
        """Return the decoded weights of rows, (*s, columns), real; ids as in `look_up`."""
        ids = self._all_ids() if indices is None else indices.flatten()
        weights = self._in_blocks(self._weights, ids, dim=self.num_bases)
        return weights.view(*((self.max_id,) if indices is None else indices.shape), self.num_bases)

    def scores(self, query: Tensor) -> Tensor:
        """Score all rows against queries by inner product, without building the table: (query @ bases^T) @ weights^T.

        Weights are decoded block by block. Where there is a normalizer, rows are looked up and scored block by block.
        Dropout plays no part.

        Args:
            query: (*q, *shape), of the dtype of the rows, or wider.

        Returns:
            (*q, max_id), real. Of complex rows it is Re sum(query * conj(row)): the inner product of the pairs.

        Raises:
            ValueError: a query of another shape, or a complex one where rows are real or the other way round.
        """
        flat, dtype = self._flatten(query)
        if self.normalizer is not None:
            return self._in_score_blocks(normalized_scorer(self, flat)).to(dtype)
        return self._score(self._project(flat), dtype=dtype)

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
        score, threads = self._scorer(query)
        return top_rows(score, rows=self.max_id, k=k, block_rows=self._block_rows, threads=threads)

    def scorer(self, query: Tensor) -> Callable[[int, int], Tensor]:
        """Make what gives the `scores` of rows from one id up to another, (*q, count); arguments are those of it."""
        return self._scorer(query)[0]

    def _scorer(self, query: Tensor) -> tuple[Callable[[int, int], Tensor], int]:
        """Make the `scorer`, and count the threads that may call it beside each other."""
        flat, dtype = self._flatten(query)
        if self.normalizer is None:
            projected = self._project(flat)
            return self._weight_scorer(projected, dtype=dtype), self._score_threads(projected)
        score = normalized_scorer(self, flat)
        return lambda first, last: score(first, last).to(dtype), 1

    def _flatten(self, query: Tensor) -> tuple[Tensor, torch.dtype]:
        """Check a query, and flatten it: (*q, *shape) -> (*q, real entries of a row); also tell the scores' dtype."""
        flat = flat_query(self, query)
        dtype = torch.promote_types(self._real_dtype, flat.dtype)
        return flat.to(torch.promote_types(flat.dtype, self.scales.dtype)), dtype

    def _project(self, flat: Tensor) -> Tensor:
        """Multiply queries by the bases, (*q, real entries of a row) -> (*q, columns)."""
        return flat if self.bases is None else flat @ self.bases.to(flat.dtype).T

    def reset_parameters(self) -> None:
        """Do nothing: all was given."""

    def post_parameter_update(self) -> None:
        """Do nothing: there is no constraint."""

    def extra_repr(self) -> str:
        """Return the rank and the bits of codes for an entry, beside what every representation tells."""
        per_entry = self.code_bits / (self.max_id * math.prod(self.stored_shape))
        return f"{super().extra_repr()}, num_bases={self.num_bases}, bits_per_entry={per_entry:.3g}"

    def _ids(self, first: int, last: int) -> Tensor:
        return torch.arange(first, last, device=self.device)

    def _all_ids(self) -> Tensor:
        return self._ids(0, self.max_id)

    def _refuse_ids_outside(self, ids: Tensor) -> None:
        """Raise IndexError if an id, of (count,), is not that of a row."""
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= self.max_id):
            raise IndexError(f"ids must be in 0..{self.max_id - 1}; got {int(ids.min())}..{int(ids.max())}.")

    def _in_blocks(self, make: Callable[[Tensor], Tensor], ids: Tensor, *, dim: int) -> Tensor:
        """Make rows (count, dim) for ids (count,), a block at once."""
        # A graph that is traced would keep as many blocks as its example has.
        if is_traced(ids):
            return make(ids).to(self._real_dtype)
        trains = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters())
        # Smaller blocks would have fewer rows of each layout, which are decoded together.
        block_rows = self._block_rows
        if len(ids) <= block_rows:
            return make(ids).to(self._real_dtype)
        blocks = torch.split(ids, block_rows)
        if trains:
            return torch.cat([make(block).to(self._real_dtype) for block in blocks])
        # torch.cat would hold all of them twice.
        rows = torch.empty(len(ids), dim, dtype=self._real_dtype, device=self.device)
        for part, block in zip(torch.split(rows, block_rows), blocks, strict=True):
            part.copy_(make(block))
        return rows

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move and cast, but keep the parameters in float32 at least: a scale may be below what float16 holds."""
        self._plan = None
        self._real_dtype = fn(torch.empty(0, dtype=self._real_dtype)).dtype

        def apply(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            if not changed.is_floating_point():
                return changed
            wide = torch.promote_types(changed.dtype, torch.float32)
            return changed if changed.dtype == wide else tensor.to(changed.device, wide)

        super()._apply(apply, recurse)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made anew: a copy's would be that of the tensors it was copied from."""
        return {**self.__dict__, "_plan": None}


def is_traced(tensor: Tensor) -> bool:
    """Return whether operations are recorded or mapped over a batch: nothing may depend on what a tensor holds."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._get_tracing_state() is not None or torch._C._functorch.is_batchedtensor(tensor)


def stored_row_shape(shape: Shape, dtype: torch.dtype) -> tuple[int, ...]:
    """Return the shape of a row in reals, whose dtype may be complex.

    Raises:
        ValueError: rows of neither floats nor complex numbers.
    """
    if not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(f"rows are floats or complex numbers; got {dtype}.")
    return (*as_shape(shape), 2) if dtype.is_complex else as_shape(shape)


def check_bases(bases: Tensor | None, *, columns: int, stored_shape: tuple[int, ...]) -> None:
    """Refuse bases that are not one for each column, or columns without bases that are not those of a row."""
    if bases is None:
        if columns != math.prod(stored_shape):
            raise ValueError(
                f"without bases the columns are the {math.prod(stored_shape)} real entries of a row; "
                f"the codebook has {columns}."
            )
    elif not bases.is_floating_point() or bases.shape != (columns, *stored_shape):
        raise ValueError(
            f"bases must be real, {(columns, *stored_shape)} (columns, *shape, and 2 for complex rows); "
            f"got {bases.dtype} {tuple(bases.shape)}."
        )
