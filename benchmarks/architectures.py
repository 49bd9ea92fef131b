"""What works with models of transformers after apply_to: architecture by trial, of tiny random models.

    PYTHONPATH=. python benchmarks/architectures.py [NAME ...]

Needs transformers; takes two minutes. The trials are those of the tests, which hold a few of the architectures.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

from embcompress.exceptions import EmbcompressError
from tests.nn.serving.architectures import ARCHITECTURES, TRIALS, serve


def main(names: list[str]) -> None:
    """Print what works: architecture by trial."""
    print(f"{'':14}", "apply     ", *(f"{name:10}" for name in TRIALS))
    warnings.simplefilter("ignore")
    for name in names or ARCHITECTURES:
        architecture = ARCHITECTURES[name]
        with tempfile.TemporaryDirectory() as folder:
            try:
                served = serve(architecture, Path(folder))
            except Exception as err:  # noqa: BLE001
                print(f"{name:14} {type(err).__name__}: {err}")
                continue
            cells, notes = ["yes"], []
            for trial, attempt in TRIALS.items():
                if trial == "generate" and not architecture.generates:
                    cells.append("-")
                    continue
                try:
                    attempt(served)
                    cells.append("yes")
                except EmbcompressError as err:
                    cells.append("refused")
                    notes.append(f"{trial}: {err}")
                except Exception as err:  # noqa: BLE001
                    cells.append("NO")
                    notes.append(f"{trial}: {type(err).__name__}: {str(err)[:300]}")
            print(f"{name:14}", *(f"{cell:10}" for cell in cells))
            for note in notes:
                if "--max-id" not in note:
                    print("      ", note)
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
