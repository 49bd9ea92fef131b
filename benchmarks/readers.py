"""The readers that stand alone beside the package's decoder: numbers a second of whole tables, on one core."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness import ROOT, table
from safetensors.torch import save_file

import embcompress
from embcompress.artifact.decoded_rows import DecodedRows, open_decoded_rows
from embcompress.artifact.reader import read_artifact
from embcompress.checkpoints import open_checkpoint
from embcompress.readers.numpy_reader import Artifact

ROWS, DIM = 30_000, 128
RUNS = 5
CODED = {"effort": "fast", "neighbours": 0}
WAYS: dict[str, dict[str, Any]] = {
    "--ratio 32": {"ratio": 32, **CODED},
    "--ratio 16": {"ratio": 16, **CODED},
    "--ratio 16 --seekable": {"ratio": 16, "seekable": True, **CODED},
    "--ratio 4": {"ratio": 4, **CODED},
    "--bases 16": {"bases": 16, "neighbours": 0},
}


def least_seconds(opening: Callable[[], Any], decoding: Callable[[Any], object]) -> tuple[float, float]:
    """Time opening and decoding, each the least of RUNS."""
    taken = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        opened = opening()
        between = time.perf_counter()
        decoding(opened)
        taken.append((between - begun, time.perf_counter() - between))
    return min(one for one, _ in taken), min(other for _, other in taken)


def open_with_numpy(path: Path) -> Artifact:
    """Open a file, and read a row of its table, which reads what decodes the others."""
    opened = Artifact(path)
    opened.rows("embedding.weight", [0])
    return opened


def open_with_package(path: Path) -> DecodedRows:
    """Open the rows of its table."""
    artifact = read_artifact(open_checkpoint(path))
    return open_decoded_rows(artifact, artifact.tables[0], dtype=torch.float32, device="cpu")


def measure(path: Path) -> dict[str, tuple[float, float]]:
    """Time all readers on a file: seconds of opening it and of decoding all rows."""
    ids = torch.arange(ROWS)
    seconds = {
        "embcompress": least_seconds(lambda: open_with_package(path), lambda rows: rows.read(ids)),
        "numpy_reader.py": least_seconds(lambda: open_with_numpy(path), lambda opened: opened.rows("embedding.weight")),
    }
    node = shutil.which("node")
    if node:
        command = [node, ROOT / "benchmarks" / "time_reader.mjs", ROOT / "embcompress" / "readers" / "reader.mjs"]
        told = json.loads(subprocess.check_output([*command, path, str(RUNS)]))
        seconds["reader.mjs"] = told["open"], told["decode"]
    return seconds


def main() -> None:
    """Print the comparison as Markdown."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator))[0]
    values = torch.randn(ROWS, DIM, generator=generator) * 0.98 ** torch.arange(DIM) @ rotation
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file({"embedding.weight": values}, path)
        for way, options in WAYS.items():
            target = Path(folder) / "packed.safetensors"
            embcompress.approximate(path, output=target, force=True, **options)
            for reader, (opening, decoding) in measure(target).items():
                lines.append([way, reader, f"{opening:.2f}", f"{ROWS * DIM / decoding / 1e6:.1f}"])
    print(f"## Readers without the package: {ROWS} x {DIM}, all rows, one core\n")
    print(table(["written by", "reader", "seconds to open", "million numbers a second"], lines) + "\n")


if __name__ == "__main__":
    main()
