"""`evaluate` beside the compression itself, and the memory of both over lengths."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness import compare_commands, python, run_command, table

RUNS = 5
ROWS = 1_000_000
DIM = 128
HERE = Path(__file__).resolve().parent
COMMAND = [sys.executable, "-m", "embcompress"]
WAYS = {"8 bases": ("--bases", "8"), "1/16, trellis": ("--ratio", "16")}


def make_table(folder: Path, rows: int) -> Path:
    """Write a table of decaying spectrum."""
    source = folder / f"{rows}.safetensors"
    run_command(python(HERE / "make_table.py", str(source), str(rows), str(DIM), "safetensors"))
    return source


def compare_times(folder: Path) -> str:
    """Time the compression and the evaluation of one table, with and without neighbours."""
    source, parts = make_table(folder, ROWS), []
    for title, way in WAYS.items():
        output = str(folder / "out.safetensors")
        compress = [*COMMAND, "approximate", str(source), *way, "-o", output, "-f", "-q"]
        evaluate = [*COMMAND, "evaluate", str(source), output, "-q"]
        run_command(compress)
        commands = {
            "approximate --neighbours 0": [*compress, "--neighbours", "0"],
            "approximate": compress,
            "evaluate --neighbours 0": [*evaluate, "--neighbours", "0"],
            "evaluate": evaluate,
        }
        compared = compare_commands(commands, runs=RUNS, peer="approximate --neighbours 0")
        parts.append(f"**Evaluating 1M x {DIM} float32, {title}**, {RUNS} runs of each in turn\n\n{compared}\n")
    return "\n".join(parts)


def measure_memory(folder: Path) -> str:
    """Measure the peak of both commands over lengths."""
    lines = []
    for rows in (ROWS // 4, ROWS, 4 * ROWS):
        source, output = make_table(folder, rows), str(folder / "out.safetensors")
        compress = run_command([*COMMAND, "approximate", str(source), "--bases", "8", "-o", output, "-f", "-q"])
        evaluate = run_command([*COMMAND, "evaluate", str(source), output, "-q"])
        source.unlink()
        peaks = [f"{run.peak_bytes / 1e6:.0f}" for run in (compress, evaluate)]
        lines.append([f"{rows:,} x {DIM}", *peaks])
    return "**Peak memory of compressing and evaluating**\n\n" + table(
        ["table", "approximate, MB", "evaluate, MB"], lines
    )


def main() -> None:
    """Print all as Markdown."""
    with tempfile.TemporaryDirectory() as name:
        print(compare_times(Path(name)))
        print(measure_memory(Path(name)) + "\n")


if __name__ == "__main__":
    main()
