"""Decoding gives the same bytes whatever instructions the processor has."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from embcompress.coding.codebook import read_codebook
from embcompress.coding.coder import decode_block, encode_block
from embcompress.coding.row_index import read_row_index
from tests.coding.codebooks import make_codebook, pad

ROWS, RANK = 300, 40


def decode_file(path: Path) -> str:
    """Decode the rows of a file that the test wrote, and hash their bytes."""
    with np.load(path) as file:
        codebook = read_codebook(file["codebook"], rank=RANK, dim=RANK)
        index = read_row_index(file["index"], rows=ROWS, codebook=codebook)
        kinds = index.kinds.astype(np.int64)
        weights = decode_block(
            file["codes"],
            index.positions(np.arange(ROWS)),
            index.lengths.astype(np.int64),
            kinds=kinds,
            steps=codebook.row_steps(kinds),
            codebook=codebook,
            threads=1,
        )
    return hashlib.sha256(weights.numpy().tobytes()).hexdigest()


def test_decoding_is_the_same_without_vector_instructions(tmp_path: Path) -> None:
    """Index, steps, centers and strings decode to the promised bytes, with numba and torch held to plain x86-64."""
    from embcompress.coding.row_index import make_row_index

    codebook = make_codebook(rank=RANK, profiles=3, kinds=60, states=32)
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, codebook.kinds, ROWS)
    weights = torch.from_numpy(draw.standard_normal((ROWS, RANK)).astype(np.float32))
    block = encode_block(weights, kinds, codebook=codebook, threads=1)
    path = tmp_path / "rows.npz"
    index = make_row_index(kinds, block.lengths).to_bytes(codebook)
    np.savez(path, codebook=codebook.to_bytes(), index=index, codes=pad(block.strings))
    expected = hashlib.sha256(block.weights.numpy().tobytes()).hexdigest()
    assert decode_file(path) == expected
    script = f"from pathlib import Path; from {__name__} import decode_file; print(decode_file(Path({str(path)!r})))"
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    plain = {"NUMBA_CPU_NAME": "generic", "ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": paths}
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **plain},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.stdout.strip(), finished.returncode) == (expected, 0), finished.stderr
