"""Few-bit weights of a long table: seconds beside one Gram pass, memory, growth with the rows, and lookups.

python encoding.py                   the comparison as Markdown
python encoding.py make FILE ROWS    the table
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

from harness import Run, functions_in_turn, python, ratio_of, run_command, table

ROWS = 1_000_000
DIM = 256
RATIO = 16
RUNS = 3  # of what takes up to a minute each
GOALS = {"best": 40, "fast": 10}  # times one Gram pass, at most
PEAK_GOAL = 1e9  # bytes, of the whole command
LOOKUP_GOAL = 4  # times a dense lookup and one product, at most
LOOKUP_RUNS = 5
LOOKED_UP = 8192
BATCHES = 50  # of random ids, one after the other, in one timing: the same ids again would come from the cache
BLOCK_ROWS = 65_536  # that are made and read at once
GRAM_ROWS = 2048  # of one float32 product, as in embcompress.linalg.exact: a longer one costs digits
NAME = "embedding.weight"


def make(path: str, rows: str) -> None:
    """Write random rows of falling spectrum, turned, so that no column of the file is a singular direction."""
    # Imported in functions: a child's peak memory starts from its parent's.
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(DIM, DIM)).Q * torch.linspace(2, 0.5, DIM)
    values = torch.empty(int(rows), DIM)
    for block in values.split(BLOCK_ROWS):
        torch.mm(torch.randn(len(block), DIM), turn.T, out=block)
    save_file({NAME: values}, path)


def sum_products(path: Path) -> None:
    """Read the rows in blocks and sum their Gram matrix: float32 products, float64 sums."""
    import torch
    from safetensors import safe_open

    gram = torch.zeros(DIM, DIM, dtype=torch.float64)
    with safe_open(path, framework="pt") as file:
        rows = file.get_slice(NAME)
        for first in range(0, rows.get_shape()[0], BLOCK_ROWS):
            for part in rows[first : first + BLOCK_ROWS].split(GRAM_ROWS):
                gram += part.T @ part


CODING_SECONDS: dict[str, list[float]] = {effort: [] for effort in GOALS}  # of each run's last pass, the encoding


def compress(path: Path, effort: str) -> None:
    """Compress in this process, and note how long the pass that encodes took."""
    import embcompress

    started = math.inf

    def watch(doing: str, *_: int) -> None:
        nonlocal started
        if doing.endswith(": codes"):
            started = min(started, time.perf_counter())

    result = artifact(path, effort)
    embcompress.approximate(path, ratio=RATIO, effort=effort, output=result, table=[NAME], force=True, progress=watch)
    CODING_SECONDS[effort].append(time.perf_counter() - started)


def artifact(path: Path, effort: str) -> Path:
    """Name the result."""
    return path.with_name(f"{path.stem}-{effort}.safetensors")


def command(path: Path, effort: str) -> list[str]:
    """Make the whole command."""
    options = [
        "--ratio",
        str(RATIO),
        "--effort",
        effort,
        "--table",
        NAME,
        "-o",
        str(artifact(path, effort)),
        "-f",
        "-q",
    ]
    return [sys.executable, "-m", "embcompress", "approximate", str(path), "--neighbours", "0", *options]


def measure_commands(half: Path, whole: Path) -> str:
    """Run the command on half the rows and on all: memory, and how the seconds grow."""
    run_command(command(half, "best"))  # not counted: the first run compiles
    lines = []
    for effort in GOALS:
        taken: dict[Path, list[Run]] = {half: [], whole: []}
        for _ in range(RUNS):
            for path, runs in taken.items():
                runs.append(run_command(command(path, effort)))
        seconds = {path: median(run.seconds for run in runs) for path, runs in taken.items()}
        peaks = {path: max(run.peak_bytes for run in runs) for path, runs in taken.items()}
        figures = [f"{seconds[half]:.1f}", f"{seconds[whole]:.1f}", f"{seconds[whole] / seconds[half]:.2f}"]
        lines.append([effort, *figures, f"{peaks[half] / 1e6:.0f}", f"{peaks[whole] / 1e6:.0f}"])
    sizes = (f"{ROWS // 2:,} rows", f"{ROWS:,} rows")
    head = ["--effort", *(f"{size}, s" for size in sizes), "all / half", *(f"{size}, peak MB" for size in sizes)]
    title = f"**The whole command**, --ratio {RATIO}, {RUNS} runs of each in turn; goal: under {PEAK_GOAL / 1e6:.0f} MB"
    return f"{title}\n\n{table(head, lines)}\n"


def measure_encoding(path: Path) -> str:
    """Time the library beside one Gram pass, all in this process."""
    gram = "one Gram pass, float32"
    functions = {gram: partial(sum_products, path)} | {effort: partial(compress, path, effort) for effort in GOALS}
    taken = functions_in_turn(functions, runs=RUNS)
    lines = [
        [
            f"embcompress, effort {name}" if name in GOALS else name,
            f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})",
            f"{ratio_of(taken, name, gram):.1f}",
            str(GOALS.get(name, "")),
        ]
        for name, seconds in taken.items()
    ]
    one_pass = median(taken[gram])
    lines += [
        [f"... its encoding pass alone, {effort}", f"{median(seconds):.2f}", f"{median(seconds) / one_pass:.1f}", ""]
        for effort, seconds in CODING_SECONDS.items()
    ]
    head = ["made by", "seconds, median (range)", "times one pass", "goal, at most"]
    title = (
        f"**{ROWS // 10**6}M x {DIM} float32 at 1/{RATIO} of the bytes**, in one process, {RUNS} runs of each in turn"
    )
    return f"{title}\n\n{table(head, lines)}\n"


def measure_lookups(path: Path) -> str:
    """Time lookups of random rows beside a dense lookup of as many weights and one product with the bases."""
    import torch

    import embcompress

    ids = torch.randint(ROWS, (BATCHES, LOOKED_UP), generator=torch.Generator().manual_seed(0))
    lines = []
    for effort in GOALS:
        coded = embcompress.load(artifact(path, effort))[NAME]
        rank = coded.num_bases
        weights, bases = torch.nn.Embedding(ROWS, rank), torch.randn(rank, DIM)

        def look_up(module: torch.nn.Module = coded) -> None:
            for batch in ids:
                module(batch)

        def multiply(weights: torch.nn.Module = weights, bases: torch.Tensor = bases) -> None:
            for batch in ids:
                weights(batch) @ bases

        with torch.no_grad():
            taken = functions_in_turn({"coded": look_up, "dense": multiply}, runs=LOOKUP_RUNS)
        spent = [f"{median(taken[name]) / BATCHES * 1e3:.2f}" for name in ("coded", "dense")]
        lines.append([effort, str(rank), *spent, f"{ratio_of(taken, 'coded', 'dense'):.2f}"])
    head = ["--effort", "rank", "coded table, ms", "torch.nn.Embedding and one product, ms", "times it"]
    title = f"**{LOOKED_UP} random rows of {ROWS // 10**6}M x {DIM} looked up**, {LOOKUP_RUNS} runs of each in turn"
    return f"{title}; goal: at most {LOOKUP_GOAL} times\n\n{table(head, lines)}\n"


def main() -> None:
    """Print all three as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        whole, half = Path(folder) / "table.safetensors", Path(folder) / "half.safetensors"
        for path, rows in ((whole, ROWS), (half, ROWS // 2)):
            run_command(python(__file__, "make", str(path), str(rows)))
        commands = measure_commands(half, whole)  # first, while this process is small
        print(measure_encoding(whole))
        print(commands)
        print(measure_lookups(whole))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make(*sys.argv[2:])
    else:
        main()
