"""What a checkpoint holds, read through the package, for tests of its readers."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.tables.rows import read_bytes

BASES = 8


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint, by name."""
    with open_checkpoint(path) as checkpoint:
        return {
            stored.name: torch.frombuffer(
                bytearray(b"".join(map(bytes, read_bytes(stored, files=checkpoint.files))) or b"\0" * 8),
                dtype=getattr(torch, stored.dtype),
                count=stored.numel,
            ).view(stored.shape)
            for stored in checkpoint.tensors
        }


def labels_of(path: Path) -> dict[str, list[str]]:
    """Read the labels of the tables of a checkpoint, by the names of the tables."""
    with open_checkpoint(path) as checkpoint:
        return {name: list(labels()) for name, labels in checkpoint.listing.labels.items()}


def large_table() -> Tensor:
    """Make a table of more than one block of rows, (20000, 64) float32, whose columns are related."""
    generator = torch.Generator().manual_seed(7)
    mixing = torch.randn(64, 64, generator=generator)
    return torch.randn(20000, 64, generator=generator) @ mixing


def factors_of(path: Path, folder: Path) -> list[Tensor]:
    """Compress the only table of a checkpoint, and read its weights and bases."""
    output = folder / f"{path.name}.compressed.safetensors"
    result = embcompress.approximate(path, bases=BASES, output=output, neighbours=0, force=True)
    (name,) = (table.name for table in result.tables)
    artifact = safetensors.torch.load_file(output)
    return [artifact[f"{name}.weights"], artifact[f"{name}.bases"]]


def expected_factors(table: Tensor, folder: Path) -> list[Tensor]:
    """Compress a table from a safetensors file, and read its weights and bases."""
    path = folder / "expected.safetensors"
    safetensors.torch.save_file({"embedding.weight": table}, path)
    return factors_of(path, folder)


def are_same_bits(first: Tensor, second: Tensor) -> bool:
    """Tell whether two tensors are one to the bit, NaN included."""
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and first.contiguous().view(-1).view(torch.uint8).equal(second.contiguous().view(-1).view(torch.uint8))
    )
