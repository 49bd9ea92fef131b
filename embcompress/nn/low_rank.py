"""A table as weights over shared bases."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn

from embcompress.linalg.error import ErrorAccumulator
from embcompress.linalg.projection import fitting_dtype, largest_weight, measuring_dtype, project
from embcompress.linalg.svd import factorize
from embcompress.nn.constrainers import RowFunction
from embcompress.nn.embedding import Embedding
from embcompress.nn.factor_base import FactoredRows
from embcompress.nn.initializers import Initializer, as_given, fill
from embcompress.nn.module_rows import open_table
from embcompress.nn.pykeen_factors import PYKEEN_BASES, PYKEEN_WEIGHTS, LowRankWeight, rename_factors
from embcompress.nn.representation import Shape
from embcompress.nn.table_weight import check_assigned_weight, read_weight
from embcompress.nn.weight_options import check_dense, read_weight_options

TOLD_BY_THE_TABLE = frozenset({"max_id", "num_embeddings", "shape", "embedding_dim", "dtype", "device", "generator"})


class LowRankRepresentation(FactoredRows):
    """Rows that are sums of shared bases: `row[i] = sum_k weights[i, k] * bases[k]`.

    A lookup costs rank * dim operations a row and never builds the table. Weights are real; bases of a complex table
    are complex, stored as pairs. State dicts of PyKEEN's LowRankRepresentation load, old and new.

    Args:
        max_id: the number of ids.
        shape: of one row.
        num_bases: the rank.
        weight_initializer: how weights start; default: U(0, 1), each row of unit L1 norm.
        weight_initializer_kwargs: passed on to it.
        base, weight: nothing but the class or the name of an Embedding: both are tables of independent rows.
        base_kwargs: of the bases, as `kwargs`, and before them.
        weight_kwargs: of the weights: initializer, initializer_kwargs, normalizer, normalizer_kwargs, constrainer,
            constrainer_kwargs, trainable, dtype. The normalizer acts on the weights of every lookup.
        normalizer, normalizer_kwargs, regularizer, regularizer_kwargs, dropout, unique: of the rows, as in
            Representation.
        generator: makes the draws repeatable.
        kwargs: of the bases, an Embedding: initializer, constrainer, trainable, dtype, device ...; trainable is that of
            the weights too.

    Attributes:
        weights: parameter (max_id, num_bases).
        bases: Embedding of num_bases rows.

    Source: Schlichtkrull et al., Modeling relational data with graph convolutional networks (2018), equation 3;
    PyKEEN's
    documentation of pykeen.nn.representation.LowRankRepresentation.

    Example:
        >>> table = LowRankRepresentation.from_factors(bases=torch.eye(2), weights=torch.tensor([[1.0, 2.0]]))
        >>> table(torch.tensor([0])).tolist()
        [[1.0, 2.0]]
    """

    weights: nn.Parameter

    def __init__(
        self,
        *,
        max_id: int,
        shape: Shape,
        num_bases: int = 3,
        weight_initializer: str | Initializer | type = "uniform_norm_p1",
        weight_initializer_kwargs: Mapping[str, Any] | None = None,
        base: Any = None,
        base_kwargs: Mapping[str, Any] | None = None,
        weight: Any = None,
        weight_kwargs: Mapping[str, Any] | None = None,
        normalizer: str | RowFunction | None = None,
        normalizer_kwargs: Mapping[str, Any] | None = None,
        regularizer: Any = None,
        regularizer_kwargs: Mapping[str, Any] | None = None,
        dropout: float | None = None,
        unique: bool | None = None,
        generator: Generator | None = None,
        **kwargs: Any,
    ) -> None:
        check_dense(base=base, weight=weight)
        super().__init__(
            max_id,
            shape,
            normalizer=normalizer,
            normalizer_kwargs=normalizer_kwargs,
            regularizer=regularizer,
            regularizer_kwargs=regularizer_kwargs,
            dropout=dropout,
            unique=unique,
        )
        self.bases = Embedding(
            **{"max_id": num_bases, "shape": self.shape, "generator": generator, **kwargs, **(base_kwargs or {})}
        )
        options = read_weight_options(
            weight_kwargs,
            rows=self.max_id,
            rank=self.num_bases,
            initializer=weight_initializer,
            initializer_kwargs=weight_initializer_kwargs,
            trainable=kwargs.get("trainable", True),
        )
        dtype, device = options.dtype or self.bases.stored.dtype, self.bases.device
        self.weights = nn.Parameter(
            torch.empty(max_id, self.num_bases, dtype=dtype, device=device), requires_grad=options.trainable
        )
        self.weight_initializer, self.weight_initializer_kwargs = options.initializer, options.initializer_kwargs
        self.weight_normalizer, self.weight_constrainer = options.normalizer, options.constrainer
        fill(self.weights, self.weight_initializer, self.weight_initializer_kwargs, generator=generator)

    @classmethod
    def from_factors(cls, *, bases: Tensor, weights: Tensor, **kwargs: Any) -> LowRankRepresentation:
        """Take given factors, without copying them; `reset_parameters` leaves them as they are.

        Args:
            bases: (rank, *shape), real or complex.
            weights: (rows, rank), real; they may be of a wider dtype than the bases.
            kwargs: of the constructor: normalizer, dropout, constrainer, trainable ...

        Raises:
            ValueError: their ranks differ, or the weights are no real matrix.
        """
        if weights.ndim != 2 or not weights.is_floating_point() or bases.ndim < 2 or len(bases) != weights.shape[1]:
            raise ValueError(
                f"bases (rank, *shape) and real weights (rows, rank) must agree in rank; "
                f"got {tuple(bases.shape)} and {tuple(weights.shape)} {weights.dtype}."
            )
        table = cls(
            max_id=len(weights),
            shape=tuple(bases.shape[1:]),
            num_bases=len(bases),
            initializer=as_given,
            weight_initializer=as_given,
            dtype=bases.dtype,
            device="meta",
            **kwargs,
        )
        trains = table.weights.requires_grad
        real = torch.view_as_real(bases) if bases.is_complex() else bases
        table.bases.hold(real.detach().reshape(len(bases), -1))
        table.weights = nn.Parameter(weights.detach(), requires_grad=trains)
        return table

    @classmethod
    def approximate(
        cls, other: Any, num_bases: int = 3, *, solver: str = "auto", seed: int = 0, **kwargs: Any
    ) -> LowRankRepresentation:
        """Find the best approximation of a table with `num_bases` bases, by truncated SVD.

        Reads the table in blocks where it can, two times or more, by the solvers of `embcompress approximate`. The
        bases are orthonormal; the weights are the least-squares ones for the bases as they are after rounding to the
        table's dtype. Weights that this dtype cannot hold are of a wider one.

        Args:
            other: any representation, torch.nn.Embedding, or tensor (rows, *shape).
            num_bases: 1..min(rows, real columns).
            solver: a key of SOLVERS, or "auto".
            seed: of the randomized solver's start.
            kwargs: of the constructor: normalizer, dropout, constrainer, trainable ...; not what `other` tells, as its
                max_id, shape, dtype and device.

        Raises:
            TypeError: max_id, shape, dtype or device among `kwargs`, or `other` is no table.
            RankError: more bases than the table has rows or columns.
            NonFiniteError: the table holds NaN or infinity.

        Source: Eckart & Young, The approximation of one matrix by another of lower rank (1936).
        """
        if refused_names := sorted(TOLD_BY_THE_TABLE & kwargs.keys()):
            raise TypeError(
                f"approximate takes no {' and '.join(refused_names)}: the table that it approximates tells all."
            )
        num_bases = operator.index(num_bases)
        table = open_table(other)
        rows = table.rows
        factors = factorize(rows, num_bases, solver=solver, seed=seed)
        bases = factors.bases.to(rows.dtype).contiguous()  # (rank, real dim)
        weights_dtype = rows.dtype
        if float(factors.singular_values[0]) >= torch.finfo(rows.dtype).max / 2:  # no weight is larger
            weights_dtype = fitting_dtype(rows.dtype, largest=largest_weight(rows, bases))
        measured_in = measuring_dtype(
            relative=max(factors.relative, torch.finfo(rows.dtype).eps),
            norm=factors.squared_norm**0.5,
            dtypes=(rows.dtype, weights_dtype),
        )
        blocks = project(rows, bases, weights_dtype=weights_dtype, measured_in=measured_in, error=ErrorAccumulator())
        weights = torch.empty(rows.rows, num_bases, dtype=weights_dtype, device=rows.device)
        first = 0
        for block in blocks:
            weights[first : first + len(block)] = block
            first += len(block)
        pair = (2,) if table.dtype.is_complex else ()
        shaped = bases.view(num_bases, *table.shape, *pair)
        shaped = torch.view_as_complex(shaped) if pair else shaped
        return cls.from_factors(bases=shaped, weights=weights, **kwargs)

    @property
    def base(self) -> Embedding:
        """The bases, as PyKEEN calls them."""
        return self.bases

    @property
    def weight(self) -> Tensor:
        """All rows, as of every representation; called, `weight(ids)`, the weights of rows, as PyKEEN's are."""
        return read_weight(self, cls=LowRankWeight)

    @weight.setter
    def weight(self, value: object) -> None:
        check_assigned_weight(value, self, owner=type(self).__name__)

    @property
    def device(self) -> torch.device:
        """The device of the factors."""
        return self.weights.device

    def weights_of(self, indices: Tensor | None) -> Tensor:
        """Return the weights of rows, (*s, rank), real, with their normalizer; ids as in `look_up`."""
        return self._normalize(self.weights if indices is None else nn.functional.embedding(indices, self.weights))

    def scores(self, query: Tensor) -> Tensor:  # noqa: D102 - as in FactoredRows
        if self.normalizer is not None:
            return super().scores(query)
        flat, bases = self._flatten(query)
        return (flat @ bases.T) @ self.weights_of(None).to(flat.dtype).T

    def _weights_between(self, first: int, last: int) -> Tensor:
        return self._normalize(self.weights[first:last])

    def _normalize(self, weights: Tensor) -> Tensor:
        return weights if self.weight_normalizer is None else self.weight_normalizer(weights)

    def reset_parameters(self) -> None:
        """Draw bases and weights anew, unless they were given or are frozen."""
        self.bases.reset_parameters()
        if self.weights.requires_grad:
            fill(self.weights, self.weight_initializer, self.weight_initializer_kwargs)

    def post_parameter_update(self) -> None:
        """Apply the constraints of bases and weights."""
        self.bases.post_parameter_update()
        if self.weight_constrainer is not None and self.weights.requires_grad:
            with torch.no_grad():
                self.weights.copy_(self.weight_constrainer(self.weights))

    def pykeen_state_dict(self) -> dict[str, Tensor]:
        """Give the factors under the keys of PyKEEN's LowRankRepresentation, since 1.11.1.

        Returns:
            `weight._embeddings.weight` (max_id, rank) and `base._embeddings.weight` (rank, real entries of a row),
            detached.
        """
        return {PYKEEN_WEIGHTS: self.weights.detach(), PYKEEN_BASES: self.bases.stored.detach()}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Read the names that PyKEEN's releases gave to weights and bases, too."""
        rename_factors(state_dict, prefix)
        weights, limit = state_dict.get(prefix + "weights"), torch.finfo(self.weights.dtype).max
        if weights is not None and not weights.is_meta and bool((weights.abs().nan_to_num(posinf=0) > limit).any()):
            raise ValueError(
                f"{prefix}weights hold numbers beyond the {self.weights.dtype} of this module; "
                "make it of a wider dtype, or by from_factors."
            )
        super()._load_from_state_dict(state_dict, prefix, *args)
