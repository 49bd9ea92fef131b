"""A ranking model's bags of ids: 26 tables, each pooled for 2048 samples of 20 ids, beside torch.nn.EmbeddingBag.

    python benchmarks/bags.py

The tables have 50,000 rows x 64 of falling singular values; ids are drawn by Zipf's law, as those of users and items
are, and evenly. One thread.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from harness import functions_in_turn, ratio_of, table
from safetensors.torch import save_file
from torch import Tensor, nn

import embcompress

TABLES, ROWS, DIM = 26, 50_000, 64
SAMPLES, IDS = 2048, 20
RUNS = 5
WAYS = {"8 bases, floats": {"bases": 8}, "coded, ratio 8": {"ratio": 8, "effort": "fast"}}


class Bags(nn.Module):
    """Bags of 26 tables, side by side."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag.from_pretrained(weight, mode="sum") for weight in weights)

    def forward(self, ids: Tensor) -> Tensor:
        """Pool, (tables, samples, ids) -> (samples, tables, dim)."""
        return torch.stack([bag(own) for bag, own in zip(self.bags, ids, strict=True)], dim=1)


def draw_ids(*, is_even: bool) -> Tensor:
    """Draw ids, (tables, samples, ids), evenly or by Zipf's law."""
    uniform = torch.rand(TABLES, SAMPLES, IDS, generator=torch.Generator().manual_seed(1))
    if is_even:
        return (uniform * ROWS).long()
    return (ROWS**uniform - 1).long().clamp(max=ROWS - 1)  # the logarithm of the rank is even


def main() -> None:
    """Print milliseconds of a batch through all bags, and multiples of the dense ones, as Markdown."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(ROWS, DIM, generator=generator) * 0.97 ** torch.arange(DIM) for _ in range(TABLES)]
    models: dict[str, nn.Module] = {"torch.nn.EmbeddingBag": Bags(weights)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bags.safetensors"
        save_file(models["torch.nn.EmbeddingBag"].state_dict(), path)
        for name, options in WAYS.items():
            result = embcompress.approximate(path, table="*", neighbours=0, force=True, **options)
            models[name] = Bags(weights)
            embcompress.apply_to(models[name], result.output.path)
    for kind in ("Zipf", "even"):
        ids = draw_ids(is_even=kind == "even")
        functions: dict[str, Callable[[], object]] = {name: partial(model, ids) for name, model in models.items()}
        with torch.no_grad():
            taken = functions_in_turn(functions, runs=RUNS)
        first = "torch.nn.EmbeddingBag"
        lines = [
            [name, f"{median(seconds) * 1e3:.0f}", f"{ratio_of(taken, name, first):.1f}"]
            for name, seconds in taken.items()
        ]
        distinct = len(torch.unique(ids[0]))
        print(f"\n{TABLES} tables x {SAMPLES} x {IDS} ids, {kind}: {distinct} distinct ids of a table\n")
        print(table(["bags", "ms", f"times {first}"], lines))


if __name__ == "__main__":
    main()
