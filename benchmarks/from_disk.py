"""Rows read from disk: what opening a table of 20 million coded rows takes, and 65,536 random rows, warm and cold.

The table is a made one: 100,000 rows are coded, and their strings repeated, so that it takes a minute and not an hour.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from harness import table
from safetensors.torch import save_file

import embcompress
from embcompress.artifact.coded import read_coded
from embcompress.artifact.reader import read_artifact
from embcompress.artifact.schema import (
    CODEBOOK_SUFFIX,
    CODES_SUFFIX,
    INDEX_SUFFIX,
    Original,
    artifact_metadata,
    coded_entries,
    widest_metadata,
)
from embcompress.artifact.tensors import read_tensor
from embcompress.artifact.writer import SafetensorsWriter
from embcompress.checkpoints import open_checkpoint
from embcompress.coding.row_index import make_row_index
from embcompress.coding.seekable_index import put_heads, store_index
from embcompress.nn.loading import load_table

NAME = "embedding.weight"
# Rows that are coded: a multiple of those of a block, so that each repetition begins a block.
CODED_ROWS, COLUMNS, RATIO = 100_000, 160, 16
LOOKED_UP = 65_536
RUNS = 5
# Of the same lookup, 65,536 rows of 160 columns, as exllamav3 publishes it for its own format: seconds.
PUBLISHED = {"warm": 0.005, "cold": 0.090}
# Run in a process of its own: argument 1 a small artifact that starts torch and the decoder, 2 the large one.
PROBE = """
import json, os, sys, time
import torch
import embcompress
torch.set_num_threads(int(sys.argv[3]))
count, runs, name = int(sys.argv[4]), int(sys.argv[5]), sys.argv[6]

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) * 1024

def bytes_read():
    return int(next(line for line in open("/proc/self/io") if line.startswith("read_bytes")).split()[1])

def calls():
    return int(next(line for line in open("/proc/self/io") if line.startswith("syscr")).split()[1])

def forget(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)

small = embcompress.load(sys.argv[1], resident=False)[name]


def take(work, kind):
    taken = []
    for run in range(runs):
        ids = torch.randint(0, big.max_id, (count,), generator=torch.Generator().manual_seed(run))
        if kind == "cold":
            forget(sys.argv[2])
        else:
            work(ids)
        read, made = bytes_read(), calls()
        busy, begun = time.process_time(), time.perf_counter()
        work(ids)
        seconds, busy = time.perf_counter() - begun, time.process_time() - busy
        pages = (bytes_read() - read) / 4096
        taken.append({"seconds": seconds, "busy": busy, "pages": pages, "calls": calls() - made})
    return sorted(taken, key=lambda one: one["seconds"])[len(taken) // 2]


with torch.no_grad():
    small(torch.arange(1))
    forget(sys.argv[2])
    before, begun = resident(), time.perf_counter()
    big = embcompress.load(sys.argv[2], resident=False)[name]
    opened = {"seconds": time.perf_counter() - begun, "bytes": resident() - before, "finding": big.strings.memory}
    small(torch.arange(20_000))
    works = {"read": lambda ids: big.strings.read(ids.numpy()), "whole": big}
    rows = {kind: {part: take(work, kind) for part, work in works.items()} for kind in ("cold", "warm")}
print(json.dumps({"opened": opened, **rows, "max_id": big.max_id}))
"""


def make_small(folder: Path) -> Path:
    """Code a table of normal rows, of which 128 of 160 columns hold four fifths of the energy."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(COLUMNS, COLUMNS, generator=generator)).Q
    values = torch.randn(CODED_ROWS, COLUMNS, generator=generator) * torch.linspace(1.1, 0.6, COLUMNS) @ turn
    values *= torch.exp(0.3 * torch.randn(CODED_ROWS, 1, generator=generator))
    save_file({NAME: values}, folder / "dense.safetensors")
    result = embcompress.approximate(
        folder / "dense.safetensors", ratio=RATIO, seekable=True, neighbours=0, output=folder / "small.safetensors"
    )
    (folder / "dense.safetensors").unlink()
    return Path(result.output.path)


def repeat(small: Path, times: int, target: Path) -> None:
    """Write a table whose rows are those of another, several times one behind the other."""
    with open_checkpoint(small) as checkpoint:
        artifact = read_artifact(checkpoint)
        (own,) = artifact.tables
        factors, tensors = read_coded(artifact, own), artifact.coded_factors(own)
        loaded = load_table(artifact, own)
        strings = loaded.codes.numpy()[: int(factors.index.lengths.sum())]
        book = read_tensor(artifact, tensors[CODEBOOK_SUFFIX]).numpy()
        index = make_row_index(np.tile(factors.index.kinds, times), np.tile(factors.index.lengths, times))
        stored = store_index(index, factors.codebook, is_seekable=True)
    whole = replace(own, rows=own.rows * times)
    entries = coded_entries(
        NAME, codes=len(stored.heads) + times * len(strings), index=len(stored.index), codebook=len(book)
    )
    blocks = len(stored.head_sizes) // times
    every = list(entries.values())
    metadata = widest_metadata([whole], entries=every, original=Original())
    with SafetensorsWriter(target, every, metadata=metadata) as writer:
        for number in range(times):
            writer.append(entries[CODES_SUFFIX], put_heads(stored, strings, first=number * blocks, blocks=blocks).data)
        writer.append(entries[INDEX_SUFFIX], stored.index.data)
        writer.append(entries[CODEBOOK_SUFFIX], book.data)
        writer.finish(artifact_metadata([whole], checksums=writer.checksums, original=Original()))
        writer.commit()


def main() -> None:
    """Make the table, open it in a process of its own, and print what that and lookups take."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, help="where the files go meanwhile; none in memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        small, large = make_small(folder), folder / "large.safetensors"
        repeat(small, max(1, options.rows // CODED_ROWS), large)
        arguments = [str(small), str(large), "1", str(LOOKED_UP), str(RUNS), NAME]
        done = subprocess.run([sys.executable, "-c", PROBE, *arguments], check=True, stdout=subprocess.PIPE, text=True)
        size = large.stat().st_size
    found = json.loads(done.stdout)
    opened, rows = found["opened"], found["max_id"]
    print("## Rows from disk\n")
    print(
        f"{rows:,} x {COLUMNS} coded rows, {size / 1e6:.0f} MB ({8 * size / rows:.1f} bits a row), one thread of "
        f"torch, medians of {RUNS}. Opening takes {opened['seconds']:.2f} s and {opened['bytes'] / 1e6:.0f} MB of "
        f"memory; finding rows takes {opened['finding'] / rows:.3f} bytes a row.\n"
    )
    lines = []
    for kind in ("warm", "cold"):
        whole, read = found[kind]["whole"], found[kind]["read"]
        lines.append(
            [
                f"{LOOKED_UP:,} random rows, {kind}",
                f"{whole['seconds']:.3f}",
                f"{read['seconds']:.3f}",
                f"{LOOKED_UP / whole['busy']:,.0f}",
                f"{whole['pages'] / LOOKED_UP:.2f}",
                f"{whole['calls'] / LOOKED_UP:.2f}",
                f"{PUBLISHED[kind]:.3f}",
            ]
        )
    head = ["", "seconds", "reading alone", "rows a core-second", "pages a row", "reads a row", "exllamav3, published"]
    print(table(head, lines))


if __name__ == "__main__":
    main()
