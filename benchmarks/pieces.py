"""A table in 128 shards over 10 files, bfloat16 and FP8 with exponents: listed, compressed, beside one file.

Prints time and peak memory of `inspect` and `approximate --ratio 16`, and rows a second beside the same table
in one tensor of one file. Takes 3 bytes of disk for each number twice over.

    python benchmarks/pieces.py [--rows 8000000] [--compare-rows 500000]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

DIM, SHARDS, FILES = 160, 128, 10
BLOCK = 32  # columns that share an exponent
NAME = "model.ngram_embedding"
RUNS = 3


def draw(rows: int, seed: int) -> Tensor:
    """Draw rows of a flat spectrum, (rows, DIM) float32."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, DIM, generator=generator) * 0.02


def stored(values: Tensor, name: str, kind: str) -> dict[str, Tensor]:
    """Store rows as bfloat16, or as FP8 with a power of two for each 32 columns."""
    if kind == "bfloat16":
        return {f"{name}.weight": values.bfloat16()}
    largest = values.view(len(values), -1, BLOCK).abs().amax(2)
    exponents = (largest / 448).log2().ceil()
    codes = values / exponents.exp2().repeat_interleave(BLOCK, 1)
    scales = (exponents + 127).to(torch.uint8).view(torch.float8_e8m0fnu)
    return {f"{name}.weight": codes.to(torch.float8_e4m3fn), f"{name}.scale": scales}


def write(folder: Path, *, rows: int, kind: str, shards: int, files: int) -> None:
    """Write a folder of shards and their index."""
    folder.mkdir()
    weight_map = {}
    sizes = [rows * (number + 1) // shards - rows * number // shards for number in range(shards)]
    for file in range(files):
        tensors: dict[str, Tensor] = {}
        for number in range(shards * file // files, shards * (file + 1) // files):
            name = f"{NAME}.shard_{number}" if shards > 1 else NAME
            tensors |= stored(draw(sizes[number], number), name, kind)
        path = folder / (f"model-{file + 1:05d}-of-{files:05d}.safetensors" if files > 1 else "model.safetensors")
        safetensors.torch.save_file(tensors, path)
        weight_map |= dict.fromkeys(tensors, path.name)
    if files > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def run(*arguments: object) -> tuple[float, float]:
    """Run a command of embcompress under a small parent; returns seconds and peak memory in GB."""
    timer = shutil.which("time") or "/usr/bin/time"
    command = [timer, "-v", sys.executable, "-m", "embcompress", *map(str, arguments)]
    started = time.perf_counter()
    outcome = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = re.search(r"Maximum resident set size \(kbytes\): (\d+)", outcome.stderr)
    assert peak, outcome.stderr
    return time.perf_counter() - started, int(peak[1]) * 1024 / 1e9


def main() -> None:
    """Write the folders, run the commands, print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--compare-rows", type=int, default=500_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for kind in ("bfloat16", "float8"):
            folder = root / f"{kind}-pieces"
            write(folder, rows=options.compare_rows, kind=kind, shards=SHARDS, files=FILES)
            write(root / f"{kind}-whole", rows=options.compare_rows, kind=kind, shards=1, files=1)
            seconds: dict[str, list[float]] = {"pieces": [], "whole": []}
            for _ in range(RUNS):
                for form, times in seconds.items():
                    path = root / f"{kind}-{form}"
                    times.append(run("approximate", path, "--ratio", 16, "--neighbours", 0, "--force", "--quiet")[0])
            medians = {form: statistics.median(times) for form, times in seconds.items()}
            ratio = medians["whole"] / medians["pieces"]
            print(f"{kind}, {options.compare_rows} rows: rows a second in pieces {ratio:.3f} of those in one tensor")
            print(f"  {medians['pieces']:.1f} s and {medians['whole']:.1f} s")
            for form in seconds:
                shutil.rmtree(root / f"{kind}-{form}")
            if options.rows:
                write(folder, rows=options.rows, kind=kind, shards=SHARDS, files=FILES)
                listing, listing_peak = run("inspect", folder)
                took, peak = run("approximate", folder, "--ratio", 16, "--neighbours", 0, "--force", "--quiet")
                print(f"{kind}, {options.rows} x {DIM} in {SHARDS} shards over {FILES} files:")
                print(f"  inspect {listing:.2f} s, {listing_peak:.2f} GB")
                print(f"  approximate --ratio 16 {took:.0f} s, {peak:.2f} GB")
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
