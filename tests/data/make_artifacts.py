"""Write the artifacts that every later version must read; run again only to add a kind, never to replace a file.

`python -m tests.data.make_artifacts` writes those that are missing. coded-v1 and coded-v2 were made as their tests say.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

import embcompress

FOLDER = Path(__file__).parent


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw rows of falling singular values, the first of them times 4, in any number of axes."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.complex128 if dtype.is_complex else torch.float64)
    values[0] *= 4
    return (values * 0.8 ** torch.arange(shape[-1])).to(dtype)


def save(folder: Path, state: Mapping[str, Tensor]) -> Path:
    """Save a checkpoint."""
    path = folder / "model.safetensors"
    safetensors.torch.save_file(dict(state), path, metadata={"format": "pt", "epoch": "3"})
    return path


def write_lines(path: Path, lines: list[str]) -> Path:
    """Write labels."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def make_plain(folder: Path, target: Path) -> None:
    """Write tables of every dtype as bases and weights, beside a tensor that stays as it is."""
    state = {
        "float32.weight": draw(90, 12, seed=7),
        "float64.weight": draw(90, 12, seed=7, dtype=torch.float64),
        "float16.weight": draw(90, 3, 4, seed=8, dtype=torch.float16),
        "bfloat16.weight": draw(90, 3, 4, seed=8, dtype=torch.bfloat16),
        "complex64.weight": draw(90, 6, seed=9, dtype=torch.complex64),
        "layer.bias": torch.arange(7.0),
    }
    embcompress.approximate(save(folder, state), bases=4, table="*.weight", output=target, neighbours=0)


def make_bilinear(folder: Path, target: Path) -> None:
    """Write a table of matrices as two factors each, beside one of vectors over bases."""
    state = {"relation.weight": draw(20, 6, 5, seed=7), "entity.weight": draw(90, 12, seed=8)}
    embcompress.approximate(
        save(folder, state), bases=2, table="*.weight", bilinear="relation*", output=target, neighbours=0
    )


def grow(base: Path, folder: Path, target: Path) -> None:
    """Widen the 90 rows of an artifact to 100: the old ones from the last to the first, new ones behind every ninth."""
    old = [f"old {row}" for row in range(90)]
    new = list(reversed(old))
    for number in range(10):
        new.insert(10 * number + 9, f"new {number}")
    embcompress.backfill(
        base,
        base_labels=write_lines(folder / "old.txt", old),
        labels=write_lines(folder / "new.txt", new),
        output=target,
    )


def make_grown(folder: Path, target: Path) -> None:
    """Write a plain table that has grown."""
    path = save(folder, {"entity.weight": draw(90, 12, seed=7), "layer.bias": torch.arange(7.0)})
    base = folder / "base.safetensors"
    embcompress.approximate(path, bases=4, table="entity.weight", output=base, neighbours=0)
    grow(base, folder, target)


def make_grown_coded(folder: Path, target: Path, *, seekable: bool = False) -> None:
    """Write a coded table that has grown, of 24 columns, a row of zeros in it."""
    table = draw(90, 24, seed=7)
    table[5] = 0
    base = folder / "base.safetensors"
    path = save(folder, {"entity.weight": table, "layer.bias": torch.arange(7.0)})
    embcompress.approximate(path, ratio=6, table="entity.weight", output=base, neighbours=0, seekable=seekable)
    grow(base, folder, target)


ARTIFACTS: Mapping[str, Callable[[Path, Path], None]] = {
    "plain-v2": make_plain,
    "bilinear-v2": make_bilinear,
    "grown-v2": make_grown,
    "grown-coded-v2": make_grown_coded,
    "grown-seekable-v2": partial(make_grown_coded, seekable=True),
}


def main() -> None:
    """Write what is missing."""
    for name, make in ARTIFACTS.items():
        target = FOLDER / f"{name}.safetensors"
        if not target.exists():
            with tempfile.TemporaryDirectory() as folder:
                make(Path(folder), target)
            target.with_suffix(".report.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
