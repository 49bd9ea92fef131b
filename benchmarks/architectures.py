"""What works with models of transformers after apply_to: architecture by trial, of tiny random models.

    PYTHONPATH=. python benchmarks/architectures.py [NAME ...]

Needs transformers; takes two minutes. The trials are those of the tests, which hold a few of the architectures.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

from tests.nn.serving.architectures import ARCHITECTURES, TRIALS, serve


def main(names: list[str]) -> int:
    """Print what works as the table of docs/in-models.md, and why what does not fails; return 1 if anything does."""
    warnings.simplefilter("ignore")
    print("|", " | ".join(("architecture", "apply", *TRIALS)), "|")
    print("|---" * (len(TRIALS) + 2) + "|")
    faults = []
    for name in names or ARCHITECTURES:
        cells = []
        with tempfile.TemporaryDirectory() as folder:
            try:
                served = serve(ARCHITECTURES[name], Path(folder))
            except Exception as err:  # noqa: BLE001
                faults.append(f"{name}: {type(err).__name__}: {err}")
                continue
            for trial, attempt in TRIALS.items():
                if trial == "generate" and not ARCHITECTURES[name].generates:
                    cells.append("-")
                    continue
                try:
                    attempt(served)
                    cells.append("yes")
                except Exception as err:  # noqa: BLE001
                    cells.append("no")
                    faults.append(f"{name}, {trial}: {type(err).__name__}: {err}")
        print("|", " | ".join((name, "yes", *cells)), "|", flush=True)
    print(*faults, sep="\n", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
