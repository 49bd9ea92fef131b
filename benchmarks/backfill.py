"""`embcompress backfill` beside a bare script: a million known and a million new rows, by ids and by labels."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from harness import compare_commands, python, run_command

RUNS = 5
KNOWN = 1_000_000
DIM = 64
HERE = Path(__file__).resolve().parent


def write_vocabularies(folder: Path) -> None:
    """Give every known row a random id, and every id a label."""
    ids = random.Random(0).sample(range(2 * KNOWN), KNOWN)  # noqa: S311 - no secret
    labels = [f"new entity {index}" for index in range(2 * KNOWN)]
    for row, index in enumerate(ids):
        labels[index] = f"entity number {row}"
    (folder / "ids.txt").write_text("\n".join(map(str, ids)))
    (folder / "labels.txt").write_text("\n".join(labels))
    (folder / "base_labels.txt").write_text("\n".join(f"entity number {row}" for row in range(KNOWN)))


def main() -> None:
    """Print the comparison as Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "table.safetensors"
        run_command(python(HERE / "make_table.py", str(source), str(KNOWN), str(DIM), "safetensors"))
        write_vocabularies(folder)
        command = [sys.executable, "-m", "embcompress", "backfill", str(source), "-f", "-q", "-o", str(folder / "out")]
        by_ids = [*command, "--max-id", str(2 * KNOWN), "--base-ids", str(folder / "ids.txt")]
        by_labels = [
            *command, "--base-labels", str(folder / "base_labels.txt"), "--labels", str(folder / "labels.txt")
        ]  # fmt: skip
        commands = {
            "by ids, normal": [*by_ids, "--method", "normal"],
            "by ids, gaussian": by_ids,
            "by labels, gaussian": by_labels,
            "bare script": python(HERE / "bare_backfill.py", str(source), str(folder / "bare")),
        }
        compared = compare_commands(commands, runs=RUNS, peer="bare script")
    size = f"{KNOWN // 10**6}M known + {KNOWN // 10**6}M new rows x {DIM} float32"
    print(f"**Backfill: {size}**, {RUNS} runs of each in turn\n\n{compared}\n")


if __name__ == "__main__":
    main()
