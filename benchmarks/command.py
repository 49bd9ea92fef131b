"""The whole command beside a bare script, its peak memory over lengths and layouts, and what asking for help costs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

from harness import ROOT, commands_in_turn, compare_commands, python, run_command, table

RUNS = 5
ROWS = 4_000_000
DIM = 128
HERE = Path(__file__).resolve().parent
COMMAND = [sys.executable, "-m", "embcompress"]


def compare_with_bare_script(folder: Path) -> str:
    """Time both on one large table."""
    source = folder / "table.safetensors"
    run_command(python(HERE / "make_table.py", str(source), str(ROWS), str(DIM), "safetensors"))
    output = str(folder / "out.safetensors")
    command = [*COMMAND, "approximate", str(source), "--bases", "8", "-o", output, "-f", "-q"]
    commands = {
        "embcompress approximate --neighbours 0": [*command, "--neighbours", "0"],  # does what the script does
        "embcompress approximate": command,
        "bare script": python(HERE / "bare_script.py", str(source), str(folder / "bare.safetensors")),
    }
    compared = compare_commands(commands, runs=RUNS, peer="bare script")
    title = f"**{ROWS // 10**6}M x {DIM} float32 safetensors, 8 bases**, {RUNS} runs of each in turn"
    return f"{title}\n\n{compared}\n"


def measure_memory(folder: Path) -> str:
    """Measure the peak over lengths and layouts."""
    lines = []
    for form in ("safetensors", "zip", "transposed"):
        for rows in (ROWS // 10, ROWS):
            source = folder / f"{form}-{rows}"
            run_command(python(HERE / "make_table.py", str(source), str(rows), str(DIM), form))
            output = str(folder / "out.safetensors")
            run = run_command([*COMMAND, "approximate", str(source), "--bases", "8", "-o", output, "-f", "-q"])
            lines.append([form, f"{rows:,} x {DIM}", f"{run.peak_bytes / 1e6:.0f}", f"{run.seconds:.1f}"])
            source.unlink()
    return "**Peak memory of the command**\n\n" + table(["checkpoint", "table", "peak, MB", "seconds"], lines) + "\n"


def measure_start() -> str:
    """Time what every call pays before it does anything."""
    commands = {
        "embcompress --help": [*COMMAND, "--help"],
        "import typer, rich": [sys.executable, "-c", "import typer, rich"],
        "import embcompress": [sys.executable, "-c", "import embcompress"],
        "embcompress inspect words/model.pt": [
            *COMMAND,
            "inspect",
            str(ROOT / "sample_checkpoints" / "words" / "model.pt"),
        ],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    runs = commands_in_turn(commands, runs=2 * RUNS)
    lines = [[name, f"{median(run.seconds for run in taken):.3f}"] for name, taken in runs.items()]
    return (
        "**Start-up**, " + f"{2 * RUNS} runs of each in turn\n\n" + table(["command", "seconds, median"], lines) + "\n"
    )


def main() -> None:
    """Print all three as Markdown."""
    print(measure_start())
    with tempfile.TemporaryDirectory() as name:
        print(compare_with_bare_script(Path(name)))
    with tempfile.TemporaryDirectory() as name:
        print(measure_memory(Path(name)))


if __name__ == "__main__":
    main()
