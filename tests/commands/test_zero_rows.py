"""Rows of zeros, such as those of padding: exact zeros in whatever way they are stored, read or added."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import embcompress
from embcompress.results import ApproximateResult

ZEROS = (0, 17, 250, 1999)
NAME = "item_emb.weight"

WAYS: Mapping[str, Mapping[str, Any]] = {
    "bases": {"bases": 6, "neighbours": 5},
    "bases in bfloat16": {"bases": 6, "dtype": "bfloat16"},
    "energy": {"energy": 0.9},
    "floats": {"ratio": 4, "plain": True},
    "floats in float16": {"ratio": 4, "plain": True, "dtype": "float16"},
    "max_error": {"max_error": 0.1, "effort": "fast"},
    **{f"1/{ratio}": {"ratio": ratio, "effort": "fast"} for ratio in (4, 8, 16, 32, 64)},
    "1/8 default": {"ratio": 8, "effort": "default", "neighbours": 5},
    "1/8 best": {"ratio": 8, "effort": "best"},
    "1/32 best": {"ratio": 32, "effort": "best"},
    "1/8 fixed rows": {"ratio": 8, "effort": "fast", "fixed_rows": True},
    "1/32 fixed rows": {"ratio": 32, "effort": "fast", "fixed_rows": True},
}


def draw(kind: str, dtype: torch.dtype) -> Tensor:
    """Draw a table, (2000, 32), with rows of zeros: its spectrum flat or falling, off the origin, or in clusters."""
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.ones(32) if kind == "flat" else 0.8 ** torch.arange(32)
    table = torch.randn(2000, 32, generator=generator) * spectrum
    if kind == "clusters":  # rows of several profiles, each with a center of its own
        table = 0.2 * table + torch.randn(4, 32, generator=generator)[torch.arange(2000) % 4]
    if kind == "off the origin":
        table += 2
    table[list(ZEROS)] = 0
    return table.to(dtype)


def compress(table: Tensor, folder: Path, **options: Any) -> ApproximateResult:
    """Compress a table into `a.safetensors`, and look for neighbours only where a way asks for them."""
    save_file({NAME: table}, folder / "in.safetensors")
    given = {"table": NAME, "neighbours": 0, "output": folder / "a.safetensors", **options}
    return embcompress.approximate(folder / "in.safetensors", **given)


def norms_of_zeros(folder: Path, artifact: str = "a.safetensors") -> list[float]:
    """Measure what the rows of zeros are as a file, looked up, all at once, and as scores: their largest entries."""
    embcompress.reconstruct(folder / artifact, output=folder / "dense.safetensors", force=True)
    dense = load_file(folder / "dense.safetensors")[NAME]
    module = embcompress.load(folder / artifact)[NAME]
    ids = torch.tensor(ZEROS)
    with torch.no_grad():
        query = torch.randn(3, 32, generator=torch.Generator().manual_seed(1)).to(module(ids).dtype)
        actual = (dense[ids], module(ids), module()[ids], module.scores(query)[:, ids])
    return [float(rows.abs().max()) for rows in actual]


# Every way meets rows far from zero; those whose bytes are the fewest meet every other kind of table besides.
MEETINGS = [
    *((way, "off the origin", (torch.float32, torch.bfloat16)[number % 2]) for number, way in enumerate(WAYS)),
    *((way, "clusters", torch.float32) for way in ("bases", "1/8", "1/64", "1/8 best", "1/32 fixed rows")),
    *((way, "flat", torch.float32) for way in ("max_error", "1/32")),
    *((way, "falling", torch.bfloat16) for way in ("floats", "1/16", "1/32 best", "1/8 fixed rows")),
]


@pytest.mark.parametrize(("way", "kind", "dtype"), MEETINGS, ids=str)
def test_rows_of_zeros_stay_zeros(way: str, kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """They are zeros to the bit in the file, in lookups and in scores, and both commands count them."""
    result = compress(draw(kind, dtype), tmp_path, **WAYS[way])
    assert result.tables[0].zero_rows == len(ZEROS)
    assert norms_of_zeros(tmp_path) == [0, 0, 0, 0]
    measured = embcompress.evaluate(tmp_path / "in.safetensors", tmp_path / "a.safetensors", neighbours=0)
    assert measured.tables[0].zero_rows == len(ZEROS)


@pytest.mark.parametrize("way", ["bases", "floats", "1/8", "1/32", "1/8 fixed rows"])
def test_rows_of_zeros_stay_zeros_under_row_weights(way: str, tmp_path: Path) -> None:
    """Nor does it matter how much they count: a row of padding may be the most frequent one, or never occur."""
    weights = torch.arange(1, 2001).tolist()
    weights[0], weights[17] = 10**6, 0
    (tmp_path / "counts.txt").write_text("".join(f"{weight}\n" for weight in weights))
    compress(draw("off the origin", torch.float32), tmp_path, row_weights=tmp_path / "counts.txt", **WAYS[way])
    assert norms_of_zeros(tmp_path) == [0, 0, 0, 0]


@pytest.mark.parametrize("way", ["bases", "1/8", "1/32", "1/8 fixed rows"])
@pytest.mark.parametrize("method", ["zeros", "mean"])
def test_rows_of_zeros_stay_zeros_in_a_backfill(way: str, method: str, tmp_path: Path) -> None:
    """Known rows of zeros stay so in a table that grows, and new rows of zeros are zeros."""
    compress(draw("clusters", torch.float32), tmp_path, **WAYS[way])
    (tmp_path / "ids.txt").write_text("".join(f"{number}\n" for number in range(2000)))
    embcompress.backfill(
        tmp_path / "a.safetensors", max_id=2020, base_ids=tmp_path / "ids.txt", method=method,
        output=tmp_path / "b.safetensors",
    )  # fmt: skip
    assert norms_of_zeros(tmp_path, "b.safetensors") == [0, 0, 0, 0]
    with torch.no_grad():
        added = embcompress.load(tmp_path / "b.safetensors")[NAME](torch.arange(2000, 2020))
    assert bool(added.any()) == (method == "mean")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_matrices_of_zeros_stay_zeros(dtype: torch.dtype, tmp_path: Path) -> None:
    """A matrix of zeros has factors of zeros, and is counted."""
    matrices = torch.randn(9, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    matrices[[0, 4]] = 0
    save_file({"relations": matrices}, tmp_path / "in.safetensors")
    options: Any = {"bases": 2, "bilinear": "relations", "output": tmp_path / "a.safetensors"}
    result = embcompress.approximate(tmp_path / "in.safetensors", **options)
    assert result.tables[0].zero_rows == 2
    embcompress.reconstruct(tmp_path / "a.safetensors", output=tmp_path / "dense.safetensors")
    dense = load_file(tmp_path / "dense.safetensors")["relations"]
    assert dense.flatten(1).any(dim=1).tolist() == [index not in {0, 4} for index in range(9)]


def test_a_table_without_rows_of_zeros_has_none(tmp_path: Path) -> None:
    """None is counted where there is none, whatever the codes make of short rows."""
    table = draw("falling", torch.float32)
    table[list(ZEROS)] = 1e-3
    assert compress(table, tmp_path, **WAYS["1/64"]).tables[0].zero_rows == 0
