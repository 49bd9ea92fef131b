"""Bilinear forms x1^T W x2 with W of low rank, which is never formed."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from embcompress.linalg.bilinear import factor_matrices
from embcompress.nn.markers import MarkedModule
from embcompress.nn.representation import positive

INTERDEPENDENCES = ("attribute", "instance")


class LowRankBilinear(MarkedModule):
    """Takes the place of torch.nn.Bilinear: y_o = x1^T A_o B_o^T x2 + b_o, computed as (x1 A_o) . (x2 B_o).

    Costs (in1 + in2) * rank operations an output and a pair, where torch.nn.Bilinear takes in1 * in2.

    Args:
        in1_features: columns of x1.
        in2_features: columns of x2.
        out_features: the number of forms.
        rank: of each form, 1..min(in1, in2).
        bias: whether a bias is added.
        device, dtype: of the parameters.
        generator: makes the draw repeatable.

    Attributes:
        left: parameter (out, in1, rank), A.
        right: parameter (out, in2, rank), B.
        bias: parameter (out,), or None.
        dense_key: "weight" if it took the place of a torch.nn.Bilinear: state dicts have a mark under it.
        table_shape: of the dense table that an artifact has in place of the forms; None: theirs.

    Source: the low-rank form of Kim et al., Hadamard product for low-rank bilinear pooling (2017), equation 2.

    Example:
        >>> form = LowRankBilinear.from_dense(torch.eye(3).unsqueeze(0), rank=3)
        >>> round(float(form(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 1.0])).detach()), 4)
        6.0
    """

    table_shape: tuple[int, ...] | None = None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        rank: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.in1_features = positive(in1_features, name="in1_features")
        self.in2_features = positive(in2_features, name="in2_features")
        self.out_features = positive(out_features, name="out_features")
        self.rank = positive(rank, name="rank")
        if self.rank > min(in1_features, in2_features):
            raise ValueError(f"rank must be 1..{min(in1_features, in2_features)}, the smaller input; got {rank}.")
        self.left = nn.Parameter(torch.empty(out_features, in1_features, rank, device=device, dtype=dtype))
        self.right = nn.Parameter(torch.empty(out_features, in2_features, rank, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters(generator=generator)

    @classmethod
    def from_dense(cls, weight: Tensor, rank: int, *, bias: Tensor | None = None) -> LowRankBilinear:
        """Find the best approximation of each form, by a truncated SVD with balanced factors.

        Args:
            weight: (out, in1, in2), as torch.nn.Bilinear has it.
            rank: 1..min(in1, in2).
            bias: (out,), copied.

        Raises:
            RankError: rank outside its range.
            NonFiniteError: a form holds NaN or infinity.
            ValueError: not three axes, or not of floats.
        """
        if weight.ndim != 3 or not weight.is_floating_point():
            raise ValueError(f"weight must be real, (out, in1, in2); got {weight.dtype} {tuple(weight.shape)}.")
        factors = factor_matrices(weight.detach(), rank)
        return cls.from_factors(
            left=factors.left.to(weight.dtype),
            right=factors.right.to(weight.dtype),
            bias=None if bias is None else bias.detach().clone(),
        )

    @classmethod
    def from_factors(cls, *, left: Tensor, right: Tensor, bias: Tensor | None = None) -> LowRankBilinear:
        """Take given factors, without copying them.

        Args:
            left: (out, in1, rank).
            right: (out, in2, rank).
            bias: (out,), or None.

        Raises:
            ValueError: shapes that do not fit together.
        """
        fits = left.ndim == right.ndim == 3 and left.shape[::2] == right.shape[::2]
        if not fits or (bias is not None and bias.shape != left.shape[:1]):
            raise ValueError(
                f"left (out, in1, rank), right (out, in2, rank) and bias (out,) must agree; got {tuple(left.shape)}, "
                f"{tuple(right.shape)} and {None if bias is None else tuple(bias.shape)}."
            )
        out, in1, rank = left.shape
        form = cls(in1, right.shape[1], out, rank, bias=bias is not None, device="meta")
        form.left, form.right = nn.Parameter(left.detach()), nn.Parameter(right.detach())
        form.bias = None if bias is None else nn.Parameter(bias.detach())
        return form

    @torch.no_grad()
    def reset_parameters(self, *, generator: Generator | None = None) -> None:
        """Draw factors for which the entries of A B^T have the variance that torch.nn.Bilinear draws, 1 / (3 in1)."""
        # Var(sum_k a_k b_k) = rank * Var(a) Var(b), and U(-c, c) has the variance c^2 / 3.
        bound = math.sqrt(3) * (3 * self.in1_features * self.rank) ** -0.25
        self.left.uniform_(-bound, bound, generator=generator)
        self.right.uniform_(-bound, bound, generator=generator)
        if self.bias is not None:
            limit = self.in1_features**-0.5
            self.bias.uniform_(-limit, limit, generator=generator)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Apply every form to pairs: x1 (*s, in1), x2 (*s, in2) -> (*s, out)."""
        values = (_project(x1, self.left) * _project(x2, self.right)).sum(dim=-1)  # (*s, out)
        return values if self.bias is None else values + self.bias

    def all_pairs(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Apply every form to each x1 with each x2: (*s, n, in1), (*s, m, in2) -> (*s, n, m, out)."""
        first, second = _project(x1, self.left), _project(x2, self.right)  # (*s, n, out, rank), (*s, m, out, rank)
        scores = first.transpose(-3, -2) @ second.transpose(-3, -2).mT  # (*s, out, n, m)
        scores = scores.movedim(-3, -1)
        return scores if self.bias is None else scores + self.bias

    def to_dense(self) -> Tensor:
        """Multiply out the weight of torch.nn.Bilinear, (out, in1, in2)."""
        return self.left @ self.right.mT

    def extra_repr(self) -> str:
        """Return the sizes."""
        parameters = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"rank={self.rank}, bias={self.bias is not None}, parameters={parameters}"
        )


class LowRankInterdependence(nn.Module):
    """The dependence of a batch's rows, or columns, on each other: a low-rank bilinear form of the batch itself.

    For a batch X (b, m), with W = A B^T of low rank:

    - "attribute": W is (b, b), the interdependence of columns is X^T W X (m, m), the result X (X^T W X);
    - "instance": W is (m, m), the interdependence of rows is X W X^T (b, b), the result (X W X^T)^T X.

    Neither W nor the interdependence is formed: every product has the rank as one of its sides, so that it costs O(b m
    rank).

    Args:
        size: the side of W: b for "attribute", m for "instance".
        rank: 1..size.
        kind: of INTERDEPENDENCES.
        device, dtype: of the parameters.
        generator: makes the draw repeatable.

    Attributes:
        left: parameter (size, rank), A.
        right: parameter (size, rank), B.

    Source: tinyBIG's documentation of its low-rank parameterized bilinear interdependence function.
    """

    def __init__(
        self,
        size: int,
        rank: int,
        *,
        kind: str = "attribute",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if kind not in INTERDEPENDENCES:
            raise ValueError(f"kind must be one of {', '.join(INTERDEPENDENCES)}; got {kind!r}.")
        self.size = positive(size, name="size")
        self.rank = positive(rank, name="rank")
        if rank > size:
            raise ValueError(f"rank must be 1..{size}, the side of W; got {rank}.")
        self.kind = kind
        self.left = nn.Parameter(torch.empty(size, rank, device=device, dtype=dtype))
        self.right = nn.Parameter(torch.empty(size, rank, device=device, dtype=dtype))
        self.reset_parameters(generator=generator)

    @classmethod
    def from_flat(cls, parameters: Tensor, *, size: int, rank: int, kind: str = "attribute") -> LowRankInterdependence:
        """Read tinyBIG's parameter vector: the entries of A (size, rank) row by row, then those of B^T (rank, size).

        Args:
            parameters: (1, 2 * size * rank), or without its first axis; copied.
            size: the side of W.
            rank: of W.
            kind: of INTERDEPENDENCES.

        Raises:
            ValueError: a vector of another length.
        """
        if parameters.numel() != 2 * size * rank:
            raise ValueError(
                f"{size} x {size} of rank {rank} takes {2 * size * rank} numbers; got {parameters.numel()}."
            )
        form = cls(size, rank, kind=kind, device=parameters.device, dtype=parameters.dtype)
        first, second = parameters.detach().flatten().tensor_split(2)
        with torch.no_grad():
            form.left.copy_(first.view(size, rank))
            form.right.copy_(second.view(rank, size).T)
        return form

    def to_flat(self) -> Tensor:
        """Write tinyBIG's parameter vector, (1, 2 * size * rank)."""
        return torch.cat([self.left.flatten(), self.right.T.flatten()]).unsqueeze(0)

    @torch.no_grad()
    def reset_parameters(self, *, generator: Generator | None = None) -> None:
        """Draw factors for which the entries of A B^T have the variance 1 / (3 size)."""
        bound = math.sqrt(3) * (3 * self.size * self.rank) ** -0.25
        self.left.uniform_(-bound, bound, generator=generator)
        self.right.uniform_(-bound, bound, generator=generator)

    def forward(self, batch: Tensor) -> Tensor:
        """Let rows or columns act on each other: (b, m) -> (b, m).

        Raises:
            ValueError: a batch whose side is not that of W.
        """
        first, second = self._project(batch)
        if self.kind == "attribute":
            return (batch @ first) @ second.T  # X (X^T A) (B^T X)
        return second @ (first.T @ batch)  # (X B) ((X A)^T X)

    def interdependence(self, batch: Tensor) -> Tensor:
        """Compute the interdependence itself: (m, m) of columns, or (b, b) of rows."""
        first, second = self._project(batch)
        return first @ second.T

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"size={self.size}, rank={self.rank}, kind={self.kind!r}, parameters={2 * self.size * self.rank}"

    def _project(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply the batch with both factors: (m, rank) each for "attribute", (b, rank) for "instance"."""
        is_attribute = self.kind == "attribute"
        if batch.ndim != 2 or batch.shape[0 if is_attribute else 1] != self.size:
            side = "rows" if is_attribute else "columns"
            raise ValueError(f"the batch must have {self.size} {side}; got shape {tuple(batch.shape)}.")
        rows = batch.T if is_attribute else batch
        return rows @ self.left, rows @ self.right


def _project(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply (*s, in) with all factors (out, in, rank) -> (*s, out, rank), in one matrix product."""
    out, size, rank = factor.shape
    projected: Tensor = x @ factor.transpose(0, 1).reshape(size, out * rank)
    return projected.view(*x.shape[:-1], out, rank)
