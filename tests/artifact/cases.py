"""Checkpoints with one table each, every way to compress them, and what is stored of them by the documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tests.artifact.artifact_oracle import decode
from tests.fixtures import NAME, draw_falling
from tests.report_oracle import real_rows

ROWS = 130


def tied() -> dict[str, Tensor]:
    """Give one memory two names."""
    table = draw_falling(ROWS, 16)
    return {NAME: table, "head.weight": table}


@dataclass(frozen=True)
class Case:
    """A checkpoint with one table, and how it is compressed."""

    build: Callable[[], Mapping[str, Tensor]]
    options: Mapping[str, Any] = field(default_factory=lambda: {"bases": 5})
    file: str = "model.safetensors"


def one(*shape: int, dtype: torch.dtype = torch.float32) -> Callable[[], Mapping[str, Tensor]]:
    """Build a checkpoint with one table beside another tensor."""
    return lambda: {NAME: draw_falling(*shape, dtype=dtype), "layer.bias": torch.arange(7.0)}


CODED = {"ratio": 6, "effort": "fast"}


CASES: dict[str, Case] = {
    "plain": Case(one(ROWS, 16)),
    "plain-nearly-whole": Case(one(ROWS, 8, dtype=torch.float64), {"bases": 7}),
    "plain-float16": Case(one(ROWS, 16, dtype=torch.float16)),
    "plain-bfloat16": Case(one(ROWS, 16, dtype=torch.bfloat16)),
    "plain-float64": Case(one(ROWS, 16, dtype=torch.float64)),
    "plain-complex64": Case(one(ROWS, 8, dtype=torch.complex64)),
    "plain-as-float16": Case(one(ROWS, 16), {"bases": 5, "dtype": "float16"}),
    "axes": Case(one(ROWS, 2, 3, 4)),
    "wide": Case(one(20, 64), {"bases": 4}),
    "tied": Case(tied, file="model.pt"),
    "transposed": Case(lambda: {NAME: draw_falling(16, ROWS).T}, file="model.pt"),
    "coded": Case(one(ROWS, 16), CODED),
    "coded-float16": Case(one(ROWS, 16, dtype=torch.float16), {"ratio": 4, "effort": "fast"}),
    "coded-complex64": Case(one(ROWS, 8, dtype=torch.complex64), CODED),
    "coded-fine": Case(one(ROWS, 16), {"max_error": 0.004, "effort": "fast"}),  # measured in float64
    "bilinear": Case(one(ROWS, 4, 6), {"bases": 2, "bilinear": NAME}),
    "bilinear-two-a-row": Case(one(ROWS, 32), {"bases": 1, "bilinear": NAME, "bilinear_shape": (4, 4)}),
}


def multiply(path: Path) -> Tensor:
    """Multiply out what is stored of the table by what docs/artifact.md says, (rows, dim) float64."""
    tensors = safetensors.torch.load_file(path)
    if f"{NAME}.weights" in tensors:
        return tensors[f"{NAME}.weights"].to(torch.float64) @ real_rows(tensors[f"{NAME}.bases"])
    if f"{NAME}.left" in tensors:
        left, right = (tensors[f"{NAME}.{side}"].to(torch.float64) for side in ("left", "right"))
        return (left @ right.mT).flatten(1)
    return torch.from_numpy(decode(path, NAME))
