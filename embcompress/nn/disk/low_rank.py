"""A table of weights over shared bases whose weights stay in the file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embcompress.exceptions import ArtifactError
from embcompress.nn.disk.matrix import DiskMatrix
from embcompress.nn.disk.rows_on_disk import RowsOnDisk
from embcompress.nn.embedding import Embedding
from embcompress.nn.factor_base import FactoredRows
from embcompress.nn.initializers import as_given


class DiskLowRankRepresentation(RowsOnDisk, FactoredRows):
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

    weights: DiskMatrix

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
    def device(self) -> torch.device:
        """The device of the bases."""
        return self.bases.stored.device

    def close(self) -> None:
        """Close the file: rows can no longer be looked up."""
        self.weights.file.close()

    def weights_of(self, indices: Tensor | None) -> Tensor:
        """Read the weights of rows, (*s, rank), real; ids as in `look_up`.

        Raises:
            IndexError: an id outside 0..max_id - 1.
            ArtifactError: the rows cannot be read.
        """
        if indices is None:
            return self._read(torch.arange(self.max_id))
        return self._read(indices.flatten()).view(*indices.shape, self.num_bases)

    def _weights_between(self, first: int, last: int) -> Tensor:
        return self._read(torch.arange(first, last))

    def reset_parameters(self) -> None:
        """Do nothing: all was given."""

    def post_parameter_update(self) -> None:
        """Do nothing: there is no constraint."""

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
