"""The modules beside torch.nn.Embedding: building and looking up a table of 10^7 ids, in one run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from harness import functions_in_turn, ratio_of, table
from torch import Tensor

from embcompress.nn import BackfillRepresentation, Embedding, LowRankRepresentation

IDS = 10_000_000
KNOWN = IDS // 2
LOOKED_UP = 8192
BATCHES = 50  # of random ids, one after the other, in one timing: the same ids again would come from the cache
RUNS = 5


def look_up_each(module: torch.nn.Module, batches: Tensor) -> None:
    """Look up the rows of each batch of ids, (batches, ids)."""
    for batch in batches:
        module(batch)


def main() -> None:
    """Print both comparisons as Markdown."""
    for dim in (32, 64):
        print(measure(dim))


def measure(dim: int) -> str:
    """Compare a backfilled and a low-rank table with a dense one of the same size."""
    generator = torch.Generator().manual_seed(0)
    base_ids = torch.randperm(IDS, generator=generator)[:KNOWN]
    base = Embedding(max_id=KNOWN, shape=dim, trainable=False)
    builders: dict[str, Callable[[], torch.nn.Module]] = {
        "torch.nn.Embedding": lambda: torch.nn.Embedding(IDS, dim),
        "BackfillRepresentation, base given": lambda: BackfillRepresentation(IDS, base_ids, base),
        "BackfillRepresentation, base made too": lambda: BackfillRepresentation(
            IDS, base_ids, base_kwargs={"shape": dim}
        ),
        "LowRankRepresentation, 8 bases": lambda: LowRankRepresentation(max_id=IDS, shape=dim, num_bases=8),
    }
    built = functions_in_turn(builders, runs=RUNS)
    batches = torch.randint(IDS, (BATCHES, LOOKED_UP), generator=generator)
    lookups = {}
    for name in list(builders)[:2] + list(builders)[3:]:
        lookups[name] = partial(look_up_each, builders[name](), batches)
    with torch.no_grad():
        looked_up = functions_in_turn(lookups, runs=RUNS)
    first = "torch.nn.Embedding"
    lines = [
        [
            name,
            f"{median(built[name]):.2f}",
            f"{ratio_of(built, name, first):.2f}",
            f"{median(looked_up[name]) / BATCHES * 1e6:.0f}" if name in looked_up else "",
            f"{ratio_of(looked_up, name, first):.2f}" if name in looked_up else "",
        ]
        for name in builders
    ]
    head = ["module", "built in, s", "times torch.nn.Embedding", f"{LOOKED_UP} rows looked up in, us", "times it"]
    title = f"**{IDS // 10**6}M ids x {dim} float32, half of them known**, {RUNS} runs of each in turn"
    return f"{title}\n\n{table(head, lines)}\n"


if __name__ == "__main__":
    main()
