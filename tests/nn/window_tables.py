"""Small tables coded as in schema 1, drawn for tests."""

from __future__ import annotations

import math
from typing import Any

import torch

from embcompress.coding.constants import HALF_BIT
from embcompress.coding.window_codebook import WindowCodebook
from embcompress.nn import WindowCodedRepresentation

GROUPS = [2, 0, 0, 3, 2, 2, 0, 3, 0, 2, 2]  # no row is in group 1
ROWS, COLUMNS = len(GROUPS), 6
HALF = HALF_BIT
BITS = [[3, 0, HALF, 2, 2, 1], [8, 1, 0, 0, 3, 2], [HALF, 1, HALF, 0, HALF, 8], [0, 0, 0, 0, 0, 0]]  # group 3 is zeros
WINDOWS = {1: 4, 2: 4, 3: 3, 8: 8, HALF: 3}


def make_codebook(*, groups: int = 4, columns: int = COLUMNS, seed: int = 0) -> WindowCodebook:
    """Make a codebook of the first groups, with N(0, 1) levels and scales in 0.5..1.5."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.tensor(BITS, dtype=torch.uint8)[:groups].repeat(1, math.ceil(columns / COLUMNS))[:, :columns]
    scales = (0.5 + torch.rand(bits.shape, generator=generator)) * (bits > 0)
    levels = torch.randn(16 + 16 + 8 + 256 + 2 * 8, generator=generator)
    return WindowCodebook(bits, scales, WINDOWS, levels)


def make_parts(
    shape: tuple[int, ...] = (6,),
    dtype: torch.dtype = torch.float32,
    *,
    groups: list[int] = GROUPS,
    has_bases: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Draw codes, codebook and bases of a table."""
    generator = torch.Generator().manual_seed(seed + 1)
    stored = (*shape, 2) if dtype.is_complex else shape
    codebook = make_codebook(
        groups=4 if max(groups) else 1, columns=COLUMNS if has_bases else math.prod(stored), seed=seed
    )
    codes = [
        torch.randint(0, 256, (groups.count(group), layout.row_bytes), dtype=torch.uint8, generator=generator)
        for group, layout in enumerate(codebook.layouts)
    ]
    return {
        "codes": codes,
        "groups_of_rows": torch.tensor(groups, dtype=torch.uint8) if max(groups) else None,
        "codebook": codebook,
        "bases": torch.randn(COLUMNS, *stored, generator=generator) if has_bases else None,
        "shape": shape,
        "dtype": dtype,
    }


def make_table(*args: Any, row_options: dict[str, Any] | None = None, **kwargs: Any) -> WindowCodedRepresentation:
    """Make a table of drawn parts."""
    return WindowCodedRepresentation.from_codes(**make_parts(*args, **kwargs), **(row_options or {}))
