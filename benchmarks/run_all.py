"""Run every benchmark in a process of its own and write benchmarks/RESULTS.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import subprocess
import sys

from harness import RESULTS, ROOT, machine, python

SCRIPTS = (
    "solvers.py",
    "command.py",
    "token_table.py",
    "modules.py",
    "serving.py",
    "backfill.py",
    "bilinear.py",
    "rate_distortion.py",
    "coding_parts.py",
    "encoding.py",
    "evaluation.py",
    "real_models.py",
    "readers.py",
    "from_disk.py",
    "exports.py",
)
PACKAGES = ("torch", "safetensors", "numba", "faiss-cpu", "scikit-learn", "typer", "rich")


def main() -> None:
    """Run all and write the figures with machine and date."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    today = datetime.datetime.now(tz=datetime.timezone.utc)
    parts = [
        "# Results\n",
        f"Made by `make bench` on {today:%Y-%m-%d}: {machine()}; {versions}.",
        "Ratios are medians over rounds in which each contestant ran once; a wide range means a busy machine.\n",
        "GPU: not measured. Blocks are streamed to the device there; the tests for it carry the marker `gpu`.\n",
    ]
    for script in SCRIPTS:
        print(f"running {script}", file=sys.stderr)
        done = subprocess.run(python(ROOT / "benchmarks" / script), check=True, stdout=subprocess.PIPE, text=True)
        parts.append(done.stdout)
    RESULTS.write_text("\n".join(parts).rstrip() + "\n")


if __name__ == "__main__":
    main()
