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
GOALS = {"default": 20, "fast": 8, "best": None}  # times one Gram pass, at most, the whole of it
PASS_GOALS = {"default": 12}  # of the pass that encodes alone
PEAK_GOAL = 7e8  # bytes, of the whole command
LOOKUP_GOAL = 4  # times a dense lookup and one product, at most
LOOKUP_RUNS = 5
LOOKED_UP = 8192
DECODING_GOAL = 150e6  # numbers a second and core, of random rows
DECODING_RUNS = 7
# Rows of the 26 tables of a recommender of categorical features, 16 columns each: 107 MB together.
RECOMMENDER_ROWS = (
    700_000, 410_000, 220_000, 130_000, 80_000, 50_000, 30_000, 18_000, 11_000, 7_000, 4_500, 2_900, 1_900, 1_250, 830,
    560, 380, 260, 180, 125, 90, 62, 44, 31, 24, 18,
)  # fmt: skip
RECOMMENDER_DIM = 16
RECOMMENDER_SIZE = "10MB"
RECOMMENDER_GOAL = 30  # seconds of processor time
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
    embcompress.approximate(
        path, ratio=RATIO, effort=effort, output=result, table=[NAME], force=True, neighbours=0, progress=watch
    )
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
    run_command(command(half, "default"))  # not counted: the first run compiles
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
            str(GOALS.get(name) or ""),
        ]
        for name, seconds in taken.items()
    ]
    one_pass = median(taken[gram])
    lines += [
        [
            f"... its encoding pass alone, {effort}",
            f"{median(seconds):.2f}",
            f"{median(seconds) / one_pass:.1f}",
            str(PASS_GOALS.get(effort, "")),
        ]
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


def measure_decoding(path: Path) -> str:
    """Time one core that decodes random rows to numbers, without the product with the bases."""
    import numpy as np

    from embcompress.artifact.coded import read_coded
    from embcompress.artifact.reader import read_artifact
    from embcompress.checkpoints import open_checkpoint
    from embcompress.coding.coder import decode_block
    from embcompress.coding.read_kernels import PADDING

    lines = []
    for effort in GOALS:
        with open_checkpoint(artifact(path, effort)) as checkpoint:
            opened = read_artifact(checkpoint)
            (coded,) = opened.tables
            factors = read_coded(opened, coded)
            (stored,) = opened.codes(coded)
            codes = np.frombuffer(b"".join(bytes(part) for part in opened.read(stored)) + bytes(PADDING), np.uint8)
        rows = np.random.default_rng(0).integers(0, ROWS, LOOKED_UP)
        kinds = factors.index.kinds[rows].astype(np.int64)
        lengths = factors.index.lengths[rows].astype(np.int64)
        steps, seconds = factors.codebook.row_steps(kinds), []
        for _ in range(DECODING_RUNS):
            started = time.thread_time()
            positions = factors.index.positions(rows)
            decode_block(codes, positions, lengths, kinds=kinds, steps=steps, codebook=factors.codebook, threads=1)
            seconds.append(time.thread_time() - started)
        numbers = sum(len(factors.codebook.layout(int(kind)).columns) for kind in kinds)
        speed = [numbers / taken / 1e6 for taken in seconds]
        lines.append(
            [effort, str(factors.codebook.states), f"{median(speed):.0f} ({min(speed):.0f} to {max(speed):.0f})"]
        )
    head = ["--effort", "states", "million numbers a second, median (range)"]
    title = f"**{LOOKED_UP} random rows decoded by one core**, {DECODING_RUNS} runs; goal: {DECODING_GOAL / 1e6:.0f}"
    return f"{title}\n\n{table(head, lines)}\n"


def make_recommender(path: str) -> None:
    """Write tables of many sizes, rows of differing norms and a falling spectrum."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    falling = torch.linspace(1.5, 0.3, RECOMMENDER_DIM)
    tables = {}
    for number, rows in enumerate(RECOMMENDER_ROWS):
        turn = torch.linalg.qr(torch.randn(RECOMMENDER_DIM, RECOMMENDER_DIM)).Q
        norms = (0.4 * torch.randn(rows, 1)).exp()
        tables[f"embeddings.{number}.weight"] = norms * (torch.randn(rows, RECOMMENDER_DIM) * falling) @ turn
    save_file(tables, path)


def measure_recommender(folder: Path) -> str:
    """Time the command on a checkpoint of many tables, and its dry run."""
    path, target = folder / "recommender.safetensors", folder / "recommender-small.safetensors"
    run_command(python(__file__, "recommender", str(path)))
    lines = []
    for name, extra in (("approximate", []), ("approximate --dry-run", ["--dry-run"])):
        options = ["--max-size", RECOMMENDER_SIZE, "--neighbours", "0", "-o", str(target), "-f", "-q", *extra]
        run = run_command([sys.executable, "-m", "embcompress", "approximate", str(path), *options])
        size = f"{target.stat().st_size:,}" if not extra else ""
        lines.append([name, size, f"{run.seconds:.1f}", f"{run.cpu_seconds:.1f}", f"{run.peak_bytes / 1e6:.0f}"])
    nbytes = path.stat().st_size / 1e6
    head = ["command", "bytes", "seconds", "processor s", "peak, MB"]
    title = f"**{len(RECOMMENDER_ROWS)} tables of a recommender, {nbytes:.0f} MB, --max-size {RECOMMENDER_SIZE}**"
    return f"{title}; goal: {RECOMMENDER_GOAL} s of processor time\n\n{table(head, lines)}\n"


def main() -> None:
    """Print all as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        whole, half = Path(folder) / "table.safetensors", Path(folder) / "half.safetensors"
        for path, rows in ((whole, ROWS), (half, ROWS // 2)):
            run_command(python(__file__, "make", str(path), str(rows)))
        commands = measure_commands(half, whole)  # first, while this process is small
        print(measure_encoding(whole))
        print(commands)
        print(measure_decoding(whole))
        print(measure_lookups(whole))
        print(measure_recommender(Path(folder)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["recommender"]:
        make_recommender(sys.argv[2])
    elif len(sys.argv) > 1:
        make(*sys.argv[2:])
    else:
        main()
