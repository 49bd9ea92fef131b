"""Small tables encoded for tests, beside the dense ones that they decode to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embcompress.coding.codebook import ZERO_KIND, Codebook
from embcompress.coding.coder import encode_block
from embcompress.coding.estimates import Estimator
from embcompress.coding.kinds import Kinds, kinds_of_rows
from embcompress.coding.row_index import RowIndex, make_row_index
from embcompress.coding.statistics import Statistics
from embcompress.nn import CodedRepresentation

ROWS = 40
ZERO_ROWS = (3, 17, 39)
# How the columns are coded: as they are, as they are with a mean of their own, or over bases.
WAYS = ("own columns", "centers", "bases")


@dataclass(frozen=True)
class EncodedTable:
    """A coded table, and the rows that it decodes to.

    Attributes:
        codes: (bytes,) uint8.
        index: of the rows.
        codebook: with the rotation and the centers, if any.
        bases: (rank, *stored shape) float32, or None.
        shape: of a row.
        dtype: of the rows.
        weights: (rows, rank) float32, as the encoder says that they decode.
        numbers: (rows, rank) float32, the same without centers.
        original: (rows, real entries of a row) float32.
    """

    codes: Tensor
    index: RowIndex
    codebook: Codebook
    bases: Tensor | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    weights: Tensor
    numbers: Tensor
    original: Tensor

    @property
    def parts(self) -> dict[str, Any]:
        """The arguments of CodedRepresentation.from_codes."""
        names = ("codes", "index", "codebook", "bases", "shape", "dtype")
        return {name: getattr(self, name) for name in names}

    @property
    def dense(self) -> Tensor:
        """The rows that it decodes to, (rows, *shape) float64 or complex128."""
        return self.multiply_out(self.numbers.double() + self.centers)

    @property
    def centers(self) -> Tensor:
        """The center of each row, (rows, rank) float64, zeros for rows of zeros."""
        book, kinds = self.codebook, self.index.kinds.astype(np.int64)
        centers = np.zeros((1, book.rank), np.float32) if book.centers is None else book.centers
        own = torch.from_numpy(centers).double()[torch.from_numpy(book.profiles[kinds])]
        return own * torch.from_numpy(kinds != ZERO_KIND)[:, None]

    def multiply_out(self, weights: Tensor) -> Tensor:
        """Build rows (rows, *shape) of float64 weights (rows, rank)."""
        flat = weights if self.bases is None else weights @ self.bases.double().flatten(1)
        stored = (*self.shape, 2) if self.dtype.is_complex else self.shape
        rows = flat.view(len(flat), *stored)
        return torch.view_as_complex(rows) if self.dtype.is_complex else rows

    def repeat(self, times: int) -> EncodedTable:
        """Make a table of the same rows, several times one behind the other."""
        index = make_row_index(np.tile(self.index.kinds, times), np.tile(self.index.lengths, times))
        return replace(
            self,
            codes=self.codes.repeat(times),
            index=index,
            weights=self.weights.repeat(times, 1),
            numbers=self.numbers.repeat(times, 1),
            original=self.original.repeat(times, 1),
        )


def draw_rows(rows: int, dim: int, way: str, *, zero_rows: tuple[int, ...], seed: int) -> Tensor:
    """Draw rows of lengths from 1/4 to 4, (rows, dim), such that a way of coding is the best; some are zeros."""
    generator = torch.Generator().manual_seed(seed)
    if way == "bases":
        factors = torch.randn(rows, 2, generator=generator) * torch.tensor([4.0, 1.0])
        values = factors @ torch.randn(2, dim, generator=generator)
    else:
        values = torch.randn(rows, dim, generator=generator) * torch.linspace(4, 1, dim)
    values *= 2.0 ** (4 * torch.rand(rows, 1, generator=generator) - 2)
    values += 30.0 * (way == "centers")
    values[list(zero_rows)] = 0
    return values


def encode_table(
    shape: tuple[int, ...] = (6,),
    dtype: torch.dtype = torch.float32,
    *,
    way: str = "bases",
    rows: int = ROWS,
    zero_rows: tuple[int, ...] = ZERO_ROWS,
    step: float = 0.5,
    seed: int = 0,
) -> EncodedTable:
    """Draw a table and encode it."""
    stored = (*shape, 2) if dtype.is_complex else shape
    dim = math.prod(stored)
    values = draw_rows(rows, dim, way, zero_rows=zero_rows, seed=seed)
    exact = values.double()
    _, sizes, vectors = torch.linalg.svd(exact, full_matrices=False)
    statistics = Statistics(
        rows=rows,
        dim=dim,
        unit=1.0,
        squared_norm=float(exact.square().sum()),
        energies=sizes.square().numpy(),
        vectors=vectors,
        sample=values,
        sample_ids=np.arange(rows),
        sample_weights=None,
    )
    estimator = Estimator(statistics, states=8, threads=1)
    fit = estimator.with_coded_bases(estimator.at(step)).fit
    assert (fit.codebook.rotation is not None, fit.codebook.centers is not None) == (way == "bases", way == "centers")
    weights, kinds = fit.project(values), Kinds()
    own = kinds_of_rows(fit, weights, (values == 0).all(dim=1), np.zeros(rows, np.int64), kinds)
    codebook = kinds.into(fit.codebook)
    block = encode_block(weights, own, codebook=codebook, threads=1)
    plain = replace(codebook, center_numbers=None)
    centers = torch.zeros(1, plain.rank) if codebook.centers is None else torch.from_numpy(codebook.centers)
    numbers = encode_block(weights - centers, own, codebook=plain, threads=1).weights
    return EncodedTable(
        codes=torch.from_numpy(block.strings),
        index=make_row_index(own, block.lengths),
        codebook=codebook,
        bases=None if fit.bases is None else fit.bases.view(len(fit.bases), *stored),
        shape=shape,
        dtype=dtype,
        weights=block.weights,
        numbers=numbers,
        original=values,
    )


def make_table(
    *args: Any, row_options: dict[str, Any] | None = None, **kwargs: Any
) -> tuple[CodedRepresentation, EncodedTable]:
    """Make the module of a table, and give the table."""
    encoded = encode_table(*args, **kwargs)
    return CodedRepresentation.from_codes(**encoded.parts, **(row_options or {})), encoded
