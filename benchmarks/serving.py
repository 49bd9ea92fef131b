"""Coded tables as they are served, beside torch's own operators on the dense table and on its rows in 4 bits."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from harness import machine, table
from safetensors.torch import save_file
from torch import Tensor

import embcompress
from embcompress.nn import CodedRepresentation

ROWS, SCORED_ROWS = 50_000, 200_000
LOOKED_UP, QUERIES, TOP = 8192, 16, 100
COLUMNS, RATIOS = (128, 256), (8, 16)
SCORED_COLUMNS, SCORED_RATIO = 128, 8
RUNS, SCORE_RUNS, CALLS = 15, 7, 100


def make_rows(rows: int, dim: int) -> Tensor:
    """Draw rows of which some columns hold more than others, and some rows too."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    sizes = torch.exp(-1.5 * torch.arange(dim) / dim)
    norms = torch.exp(0.3 * torch.randn(rows, 1, generator=generator))
    return (torch.randn(rows, dim, generator=generator) * norms * sizes) @ turn


def compress(values: Tensor, ratio: int, folder: Path) -> CodedRepresentation:
    """Compress a table and load it as a module."""
    source, target = folder / "table.safetensors", folder / f"table-{ratio}.safetensors"
    save_file({"embedding.weight": values}, source)
    embcompress.approximate(source, output=target, ratio=ratio, effort="fast", force=True, neighbours=0)
    (module,) = embcompress.load(target).values()
    assert isinstance(module, CodedRepresentation)
    return module.requires_grad_(False)


def seconds_in_turn(functions: dict[str, Callable[[], object]], *, runs: int, calls: int = 1) -> dict[str, float]:
    """Call each function in turn: the median of the seconds of a call.

    Of one thread that of its own time, so that others on the machine count less; of several that of the clock.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(runs + 1):
        for name, function in functions.items():
            started = clock()
            for _ in range(calls):
                function()
            if turn:
                taken[name].append((clock() - started) / calls)
    return {name: median(each) for name, each in taken.items()}


def lookups(values: Tensor, module: CodedRepresentation) -> list[str]:
    """Time lookups of many rows and of one."""
    ids = torch.randint(ROWS, (LOOKED_UP,), generator=torch.Generator().manual_seed(1))
    packed, offsets = torch.ops.quantized.embedding_bag_4bit_prepack(values), torch.arange(LOOKED_UP + 1)
    four_bits = torch.ops.quantized.embedding_bag_4bit_rowwise_offsets
    many = seconds_in_turn(
        {
            "decode": lambda: module.weights_of(ids),
            "look up": lambda: module(ids),
            "4 bits": lambda: four_bits(packed, ids, offsets, include_last_offset=True),
        },
        runs=RUNS,
    )
    one = seconds_in_turn({"look up": lambda: module(ids[:1])}, runs=RUNS, calls=CALLS)
    numbers = LOOKED_UP * module.num_bases / many["decode"] / 1e6
    return [
        f"{numbers:.0f} ({numbers / torch.get_num_threads():.0f})",
        f"{1e3 * many['look up']:.1f}",
        f"{many['look up'] / many['4 bits']:.1f}",
        f"{1e6 * one['look up']:.0f}",
    ]


def scores(values: Tensor, module: CodedRepresentation) -> list[str]:
    """Time scores of all rows, and the highest of them."""
    query = torch.randn(QUERIES, values.shape[1], generator=torch.Generator().manual_seed(2))
    taken = seconds_in_turn(
        {
            "dense": lambda: query @ values.T,
            "dense topk": lambda: (query @ values.T).topk(TOP),
            "scores": lambda: module.scores(query),
            "topk": lambda: module.topk(query, TOP),
        },
        runs=SCORE_RUNS,
    )
    return [
        f"{1e3 * taken['scores']:.1f}",
        f"{taken['scores'] / taken['dense']:.1f}",
        f"{1e3 * taken['topk']:.1f}",
        f"{taken['topk'] / taken['dense topk']:.1f}",
    ]


def main() -> None:
    """Print the figures as Markdown."""
    looked_up, scored = [], []
    all_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for dim in COLUMNS:
            values = make_rows(ROWS, dim)
            for ratio in RATIOS:
                torch.set_num_threads(all_threads)
                module = compress(values, ratio, Path(folder))
                for threads in dict.fromkeys((1, all_threads)):
                    torch.set_num_threads(threads)
                    looked_up.append([str(dim), str(ratio), str(threads), *lookups(values, module)])
        values = make_rows(SCORED_ROWS, SCORED_COLUMNS)
        torch.set_num_threads(all_threads)
        module = compress(values, SCORED_RATIO, Path(folder))
        for threads in dict.fromkeys((1, all_threads)):
            torch.set_num_threads(threads)
            scored.append([str(threads), *scores(values, module)])
    head = ["columns", "ratio", "threads", "million numbers/s (a core)", "lookup, ms", "times 4 bits", "one row, µs"]
    print(f"{machine()}, torch {torch.__version__}\n")
    print(f"**Lookups of {LOOKED_UP} of {ROWS} rows**\n\n{table(head, looked_up)}\n")
    head = ["threads", "scores, ms", "times the dense product", f"top {TOP}, ms", "times the dense product and topk"]
    what = f"{QUERIES} queries over {SCORED_ROWS} x {SCORED_COLUMNS} at ratio {SCORED_RATIO}"
    print(f"**Scores of {what}**\n\n{table(head, scored)}\n")


if __name__ == "__main__":
    main()
