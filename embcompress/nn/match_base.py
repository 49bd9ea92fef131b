"""Arguments by which new rows are like those of a base: how they are normalized and constrained, and how large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embcompress.exceptions import NonFiniteError
from embcompress.linalg.blocks import product_dtype
from embcompress.nn.initializers import normal_columns
from embcompress.nn.module_rows import open_table


def match_base(base: Any, *, num_bases: int | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that make a table whose rows are like those of a base.

    Args:
        base: a representation, ours or PyKEEN's; of one put together from others, the first counts.
        num_bases: of the new table, if it is a LowRankRepresentation; None for an Embedding.
        given: arguments that are told already.

    Returns:
        normalizer and dropout; a constrainer, for an Embedding; an initializer, unless one is given.

    Raises:
        NonFiniteError: the base holds NaN or infinity, so that it has no scale.
    """
    chain = _chain_of(base)
    leaf = chain[-1]
    normalizers = [part.normalizer for part in chain if getattr(part, "normalizer", None) is not None]
    dropouts = [part.dropout.p for part in chain if getattr(part, "dropout", None) is not None]
    options: dict[str, Any] = {"normalizer": normalizers[0] if normalizers else None}
    options["dropout"] = dropouts[0] if dropouts else None
    if num_bases is None:
        options["constrainer"] = getattr(leaf, "constrainer", None)
    if "initializer" in given:
        return options
    mean, deviation = _column_moments(leaf)
    if num_bases is not None or "initializer_kwargs" in given:
        # Of all entries together, as one number each.
        center = float(mean.mean())
        spread = float((deviation.square() + (mean - center).square()).mean().sqrt())
        if num_bases is not None:
            spread *= _shrinkage(num_bases) ** -0.5
        options["initializer"] = "normal"
        options["initializer_kwargs"] = {"mean": center, "std": spread, **(given.get("initializer_kwargs") or {})}
    else:
        options["initializer"] = normal_columns
        options["initializer_kwargs"] = {"mean": mean, "deviation": deviation}
    return options


def _chain_of(base: Any) -> list[Any]:
    """List a base and, where it is put together from others, the first of them, and so on."""
    chain = [base]
    while isinstance(getattr(chain[-1], "bases", None), torch.nn.ModuleList):
        chain.append(chain[-1].bases[0])
    return chain


def _shrinkage(num_bases: int) -> float:
    """Estimate the mean squared norm of weights that start as U(0, 1) over their sum: so they shrink variances."""
    draws = torch.rand(20_000, num_bases, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return float((draws / draws.sum(dim=1, keepdim=True)).square().sum(dim=1).mean())


def _column_moments(base: Any) -> tuple[Tensor, Tensor]:
    """Measure mean and standard deviation of each real column, (dim,) float64 each, in one pass over blocks.

    Source: Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979).
    """
    table = open_table(base, as_stored=True)  # not as normalised: new rows get the same normalizer
    mean = torch.zeros(table.rows.dim, dtype=torch.float64, device=table.rows.device)
    squares, count = mean.clone(), 0
    for block in table.rows.blocks():
        moments = torch.var_mean(block.to(product_dtype(block.dtype)), dim=0, correction=0)
        variance, middle = (moment.to(torch.float64) for moment in moments)
        distance, share = middle - mean, len(block) / (count + len(block))
        squares += variance * len(block) + distance.square() * (count * share)
        mean += distance * share
        count += len(block)
    if not bool(torch.isfinite(squares).all()):
        raise NonFiniteError(
            "the base holds NaN or infinity, so that no scale for new rows can be taken from it.",
            hint="Say with backfill_kwargs how they start: initializer='normal', initializer_kwargs={'std': 0.1}.",
        )
    return mean, (squares / count).sqrt()
