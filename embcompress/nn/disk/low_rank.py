"""A table of weights over shared bases whose weights stay in the file."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from embcompress.exceptions import ArtifactError
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn.disk.matrix import DiskMatrix
from embcompress.nn.disk.rows_on_disk import RowsOnDisk
from embcompress.nn.embedding import Embedding
from embcompress.nn.initializers import as_given
from embcompress.nn.representation import Representation
from embcompress.nn.scoring import flat_query, normalized_scorer, score_in_blocks, top_rows


class DiskLowRankRepresentation(RowsOnDisk, Representation):
    """Rows that are sums of shared bases, whose weights are read from the file by each lookup.

    `row[i] = sum_k weights[i, k] * bases[k]`, as in LowRankRepresentation. The bases are in memory, and train; weights
    do not. A state dict holds the bases, and what tells the weights from others: it loads where the same weights are.
    The checksum of the header is that of all weights, so that no lookup can compare it: `embcompress verify` does.

    Args:
        bases: (rank, *shape), real or complex.
        weights: (rows, rank) in the file, real.
        checksum: of the weights, eight hexadecimal digits.
        trainable: whether gradients reach the bases.
        kwargs: normalizer, normalizer_kwargs, regularizer and dropout, as in Representation.

    Raises:
        ArtifactError: by lookups: the file was changed, cut or replaced, or holds NaN or infinity.
    """

    def __init__(
        self, *, bases: Tensor, weights: DiskMatrix, checksum: str, trainable: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(weights.rows, tuple(bases.shape[1:]), **kwargs)
        self.weights = weights
        self.bases = Embedding(
            max_id=len(bases),
            shape=self.shape,
            initializer=as_given,
            dtype=bases.dtype,
            device="meta",
            trainable=trainable,
        )
        real = torch.view_as_real(bases) if bases.is_complex() else bases
        self.bases.hold(real.detach().reshape(len(bases), -1))
        self.identify_rows(checksum=checksum, rows=weights.rows, nbytes=weights.nbytes)

    @property
    def num_bases(self) -> int:
        """The rank."""
        return self.bases.max_id

    @property
    def is_complex(self) -> bool:
        """Whether rows are complex."""
        return self.bases.is_complex

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""
        common = torch.promote_types(self.weights.dtype, self.bases.stored.dtype)
        return common.to_complex() if self.is_complex else common

    @property
    def device(self) -> torch.device:
        """The device of the bases."""
        return self.bases.stored.device

    def close(self) -> None:
        """Close the file: rows can no longer be looked up."""
        self.weights.file.close()

    def look_up(self, indices: Tensor | None) -> Tensor:
        """Return rows without normalizer and dropout, (*s, *shape); raises as `weights_of`."""
        return self.combine(self.weights_of(indices))

    def weights_of(self, indices: Tensor | None) -> Tensor:
        """Read the weights of rows, (*s, rank), real; ids as in `look_up`.

        Raises:
            IndexError: an id outside 0..max_id - 1.
            ArtifactError: the rows cannot be read.
        """
        if indices is None:
            return self._read(torch.arange(self.max_id))
        return self._read(indices.flatten()).view(*indices.shape, self.num_bases)

    def combine(self, weights: Tensor) -> Tensor:
        """Make rows of weights, (*s, rank) -> (*s, *shape)."""
        common, bases = self._bases_in_common()
        rows = (weights.to(common) @ bases).view(*weights.shape[:-1], *self.bases.stored_shape)
        return torch.view_as_complex(rows) if self.is_complex else rows

    def scores(self, query: Tensor) -> Tensor:
        """Score all rows against queries by inner product, block by block: (*q, *shape) -> (*q, max_id).

        Dropout plays no part. Of complex rows it is Re sum(query * conj(row)).

        Raises:
            ValueError: a query of another shape, or a complex one where rows are real or the other way round.
            ArtifactError: the rows cannot be read.
        """
        score = self._scorer(query)
        return score_in_blocks(score, rows=self.max_id, block_rows=BLOCK_ROWS, has_graph=torch.is_grad_enabled())

    def topk(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Find the rows of the k highest `scores`, as LowRankRepresentation does; raises as `scores`."""
        return top_rows(self._scorer(query), rows=self.max_id, k=k, block_rows=BLOCK_ROWS)

    def _scorer(self, query: Tensor) -> Callable[[int, int], Tensor]:
        """Score rows from one number up to another: (*q, *shape) -> (*q, count)."""
        flat = flat_query(self, query)  # (*q, real dim)
        common, bases = self._bases_in_common()
        common = torch.promote_types(common, flat.dtype)
        flat = flat.to(common)
        if self.normalizer is not None:
            return normalized_scorer(self, flat)
        projected = flat @ bases.to(common).T  # (*q, rank)
        return lambda first, last: projected @ self._read(torch.arange(first, last)).to(common).T

    def reset_parameters(self) -> None:
        """Do nothing: all was given."""

    def post_parameter_update(self) -> None:
        """Do nothing: there is no constraint."""

    def extra_repr(self) -> str:
        """Return the rank beside what every representation tells."""
        return f"{super().extra_repr()}, num_bases={self.num_bases}"

    def _read(self, ids: Tensor) -> Tensor:
        """Read weights, (count,) -> (count, rank)."""
        return self._read_outside(self._read_weights, ids).to(self.device)

    def _read_weights(self, ids: Tensor) -> Tensor:
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= self.max_id):
            raise IndexError(f"ids must be in 0..{self.max_id - 1}; got {int(ids.min())}..{int(ids.max())}.")
        weights = self.weights.read(ids.numpy())
        if not bool(torch.isfinite(weights).all()):
            raise ArtifactError(
                f"weights in {self.weights.file.path} hold NaN or infinity.",
                hint="Copy it again, or compress the original again.",
            )
        return weights

    def _bases_in_common(self) -> tuple[torch.dtype, Tensor]:
        """Give the dtype that holds weights and bases, and the bases in it, (rank, real dim): weights may be wider."""
        stored = self.bases.stored
        real = stored.reshape(len(stored), math.prod(self.bases.stored_shape))
        common = torch.promote_types(self.weights.dtype, real.dtype)
        return common, real.to(common)
