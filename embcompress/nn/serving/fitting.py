"""Tables of an artifact in the shape, dtype and device of the modules whose place they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from embcompress.nn.bilinear import LowRankBilinear
from embcompress.nn.coded_base import CodedRows
from embcompress.nn.grown import GrownRepresentation
from embcompress.nn.low_rank import LowRankRepresentation
from embcompress.nn.serving.heads import FactoredTable
from embcompress.nn.serving.sites import Manner, Site


def fit_table(table: FactoredTable, sites: Sequence[Site], *, name: str) -> FactoredTable:
    """Give a table the shape, dtype, device and row options of the modules whose place it takes."""
    first = next((site for site in sites if site.manner is Manner.REPLACED), sites[0])
    row_options = dict(first.row_options)
    shape, is_complex = row_options.pop("shape"), row_options.pop("is_complex")
    parameter = first.parameter
    stored = (*shape, 2) if is_complex else shape
    row_options |= {"is_complex": is_complex, "dtype": parameter.dtype.to_real(), "trainable": parameter.requires_grad}
    fitted = _fit(table, stored_shape=stored, **row_options)
    looked_up = [site for site in sites if site.manner is Manner.REPLACED and not site.is_head]
    fitted.padding_idx = looked_up[0].padding_idx if looked_up else None
    fitted.dense_key = looked_up[0].dense_key if looked_up else ""
    fitted.table_name = name
    return fitted.to(device_of(parameter)).train(first.module.training)


def _fit(table: FactoredTable, **row_options: Any) -> FactoredTable:
    if isinstance(table, GrownRepresentation):
        base = _fit(table.base, **row_options)
        return GrownRepresentation(base, table.added.look_up(None).detach().to(base.dtype))
    if isinstance(table, CodedRows):
        return _fit_codes(table, **row_options)
    return _fit_factors(table, **row_options)


def device_of(parameter: nn.Parameter) -> torch.device:
    """Return where a table goes: to the parameter's device, and to the CPU if it has no memory."""
    return torch.device("cpu") if parameter.is_meta else parameter.device


def fit_bilinear(form: LowRankBilinear, site: Site) -> LowRankBilinear:
    """Give forms the dtype, device and bias of the torch.nn.Bilinear whose place they take."""
    fitted = LowRankBilinear.from_factors(
        left=form.left.detach().to(device_of(site.parameter), site.parameter.dtype),
        right=form.right.detach().to(device_of(site.parameter), site.parameter.dtype),
    )
    fitted.requires_grad_(site.parameter.requires_grad)
    fitted.bias = site.module.bias  # type: ignore[assignment]
    fitted.dense_key = site.dense_key
    return fitted.train(site.module.training)


def _fit_codes(
    table: CodedRows, *, stored_shape: tuple[int, ...], is_complex: bool, dtype: torch.dtype, **row_options: Any
) -> CodedRows:
    """Give a coded table the shape of a row and a real dtype; codes, and what decodes them, stay as they are."""
    return table.reshape(
        shape=stored_shape[:-1] if is_complex else stored_shape,
        dtype=dtype.to_complex() if is_complex else dtype,
        **row_options,
    )


def _fit_factors(
    table: LowRankRepresentation,
    *,
    stored_shape: tuple[int, ...],
    is_complex: bool,
    dtype: torch.dtype,
    **row_options: Any,
) -> LowRankRepresentation:
    """Give a table of factors the shape of a row and a real dtype."""
    # Weights may be stored wider than the model's dtype, where they overflow it. A power of two moves between the
    # factors without rounding.
    largest, limit = float(table.weights.detach().abs().max()), torch.finfo(dtype).max
    scale = 2.0 ** math.ceil(math.log2(largest / limit)) if largest > limit else 1.0
    bases = (table.bases.stored.detach() * scale).to(dtype).view(table.num_bases, *stored_shape)
    return LowRankRepresentation.from_factors(
        bases=torch.view_as_complex(bases) if is_complex else bases,
        weights=(table.weights.detach() / scale).to(dtype),
        **row_options,
    )
