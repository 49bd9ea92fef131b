"""A table as weights over shared bases."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LowRankRepresentation(nn.Module):
    """Rows that are sums of shared bases: `table[i] = sum_k weights[i, k] * bases[k]`.

    Lookups cost rank * dim operations per row and never build the table. New factors are drawn so that the entries of
    a row have variance 1, as those of torch.nn.Embedding.

    Attributes:
        max_id: the number of rows.
        shape: of one row.
        weights: parameter (max_id, rank), real.
        bases: parameter (rank, *shape); of a complex table pairs of reals, (rank, *shape, 2).
        is_complex: whether rows are complex.

    Source: Schlichtkrull et al., Modeling relational data with graph convolutional networks (2018), equation 3.

    Example:
        >>> table = LowRankRepresentation.from_factors(bases=torch.eye(2), weights=torch.tensor([[1.0, 2.0]]))
        >>> table(torch.tensor([0])).tolist()
        [[1.0, 2.0]]
    """

    def __init__(self, *, max_id: int, shape: tuple[int, ...], rank: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        dtype = dtype or torch.get_default_dtype()
        self.max_id = max_id
        self.shape = tuple(shape)
        self.is_complex = dtype.is_complex
        pair = (2,) if dtype.is_complex else ()
        self.weights = nn.Parameter(torch.empty(max_id, rank, dtype=dtype.to_real()))
        self.bases = nn.Parameter(torch.empty(rank, *shape, *pair, dtype=dtype.to_real()))
        if not self.weights.is_meta:
            nn.init.normal_(self.weights, std=rank**-0.5)
            nn.init.normal_(self.bases, std=2**-0.5 if pair else 1.0)

    @classmethod
    def from_factors(cls, *, bases: Tensor, weights: Tensor) -> LowRankRepresentation:
        """Take given factors, without copying them.

        Args:
            bases: (rank, *shape), real or complex.
            weights: (rows, rank), real.

        Raises:
            ValueError: their ranks differ, or the weights are no real matrix.
        """
        if weights.ndim != 2 or weights.is_complex() or bases.ndim < 2 or len(bases) != weights.shape[1]:
            raise ValueError(
                f"bases (rank, *shape) and real weights (rows, rank) must agree in rank; "
                f"got {tuple(bases.shape)} and {tuple(weights.shape)} {weights.dtype}."
            )
        with torch.device("meta"):
            module = cls(max_id=len(weights), shape=tuple(bases.shape[1:]), rank=len(bases), dtype=bases.dtype)
        module.weights = nn.Parameter(weights)
        module.bases = nn.Parameter(torch.view_as_real(bases) if bases.is_complex() else bases)
        return module

    def forward(self, indices: Tensor | None = None) -> Tensor:
        """Look up rows.

        Args:
            indices: ids of any integer dtype and shape `s`; None for all rows.

        Returns:
            (*s, *shape), or (max_id, *shape) for None.

        Raises:
            IndexError: an id outside 0..max_id - 1.
            TypeError: ids that are no integers; a mask of booleans would look up rows 0 and 1.
        """
        if indices is not None and (indices.dtype == torch.bool or indices.is_floating_point() or indices.is_complex()):
            raise TypeError(f"ids must be integers; got a tensor of {indices.dtype}.")
        weights = self.weights if indices is None else nn.functional.embedding(indices.long(), self.weights)
        flat = self.bases.flatten(1)  # (rank, dim)
        common = torch.promote_types(weights.dtype, flat.dtype)  # weights may be stored wider than bases
        rows = (weights.to(common) @ flat.to(common)).view(*weights.shape[:-1], *self.bases.shape[1:])
        return torch.view_as_complex(rows) if self.is_complex else rows

    def extra_repr(self) -> str:  # noqa: D102
        parameters = self.weights.numel() + self.bases.numel()
        return f"max_id={self.max_id}, shape={self.shape}, rank={len(self.bases)}, parameters={parameters}"
