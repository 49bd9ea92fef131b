"""Artifacts of every kind that is written, and the rows that the package itself reconstructs of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

import embcompress
from tests.fixtures import SAMPLE_FILES, CompressSample

DATA = Path(__file__).parents[1] / "data"
# Those of schema 1 have codes of another kind, which the readers refuse.
COMMITTED = sorted(path.stem for path in DATA.glob("*-v2.safetensors"))
FRESH = SAMPLE_FILES
COMMITTED_V1 = DATA / "coded-v1.safetensors"
# Relative to the largest entry: float32 products in another order, and the rounding of the original's dtype, where the
# readers leave float32.
TOLERANCE = {"float64": 1e-14, "float32": 1e-6, "complex64": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}


def artifact(name: str, compress_sample: CompressSample) -> Path:
    """Find a committed artifact, or compress a sample to codes."""
    if name in COMMITTED:
        return DATA / f"{name}.safetensors"
    return Path(compress_sample(name, ratio=8, effort="fast").output.path)


def reals(values: Tensor) -> NDArray[np.float64]:
    """Flatten rows to reals, (rows, real entries of a row) float64."""
    real = torch.view_as_real(values) if values.is_complex() else values
    return real.double().reshape(len(values), -1).numpy()


def reconstructed(path: Path, target: Path) -> Mapping[str, tuple[NDArray[np.float64], float]]:
    """Reconstruct an artifact: of each table the rows, and the tolerance in their own unit."""
    header = path.read_bytes()[8:]
    document = json.JSONDecoder().raw_decode(header.decode("latin-1"))[0]["__metadata__"]["embcompress"]
    tables = json.loads(document)["tables"]
    dense = safetensors.torch.load_file(embcompress.reconstruct(path, output=target).output.path)
    rows = {name: reals(dense[name]) for name in tables}
    return {
        name: (own, TOLERANCE[tables[name]["dtype"]] * max(float(np.abs(own).max()), 1e-30))
        for name, own in rows.items()
    }
