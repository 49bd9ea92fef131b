"""PyKEEN's own tests with our classes and functions in place of its, beside the same tests as they are.

    python benchmarks/pykeen_suite.py CHECKOUT    # a source distribution or checkout of the installed release of PyKEEN

Needs the extra `pykeen` and `unittest-templates`, which its tests import. Takes half an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from embcompress import nn as ours
from embcompress.nn import constrainers, initializers
from embcompress.nn.pykeen import when_imported

ROOT = Path(__file__).resolve().parent.parent
SWAP = "EMBCOMPRESS_SWAP"  # set in the environment of the run with our classes, by which this plugin knows it
FILES = (
    "tests/test_nn/test_representation.py",
    "tests/test_nn/test_init.py",
    "tests/test_nn/test_message_passing.py",
    "tests/test_utils.py",
    "tests/test_regularizers.py",
    "tests/test_model_mode.py",
    "tests/test_models.py",
)
# Our functions, by the module of PyKEEN in which those of the same purpose are made.
FUNCTIONS: Mapping[str, Mapping[str, Any]] = {
    "pykeen.utils": {
        "clamp_norm": constrainers.clamp_norm,
        "complex_normalize": constrainers.complex_normalize,
    },
    "pykeen.nn.init": {
        "xavier_uniform_": initializers.xavier_uniform,
        "xavier_normal_": initializers.xavier_normal,
        "xavier_uniform_norm_": initializers.xavier_uniform_norm,
        "xavier_normal_norm_": initializers.xavier_normal_norm,
        "normal_norm_": initializers.normal_norm,
        "uniform_norm_": initializers.uniform_norm,
        "uniform_norm_p1_": initializers.uniform_norm_p1,
        "init_phases": initializers.init_phases,
        "init_quaternions": initializers.init_quaternions,
    },
}


def swap() -> None:
    """Put ours in place of PyKEEN's as each of its modules is made, so that all that is imported later takes ours."""

    def replace_functions(module: ModuleType) -> None:
        for name, function in FUNCTIONS[module.__name__].items():
            setattr(module, name, function)
        resolver = getattr(module, "initializer_resolver", None)
        if resolver is not None:
            for name, function in FUNCTIONS[module.__name__].items():
                key = resolver.normalize(name)
                resolver.lookup_dict.update({key: function} if key in resolver.lookup_dict else {})

    def replace_classes(module: ModuleType) -> None:
        for name, cls in ours.REPRESENTATIONS.items():
            setattr(module, name, cls)

    def replace_names(module: ModuleType) -> None:
        resolver = module.representation_resolver  # type: ignore[attr-defined]
        resolver.lookup_dict.update({resolver.normalize(name): cls for name, cls in ours.REPRESENTATIONS.items()})

    for name in FUNCTIONS:
        when_imported(name, replace_functions)
    when_imported("pykeen.nn.representation", replace_classes)
    when_imported("pykeen.nn", replace_names)


def pytest_configure() -> None:
    """Swap before pytest imports the first test, in the run that is told to."""
    if os.environ.get(SWAP):
        swap()


@dataclass(frozen=True)
class Counts:
    """Outcomes of a run.

    Attributes:
        outcomes: of each test, by its name: "passed", "skipped", or the first line of why it failed.
    """

    outcomes: Mapping[str, str]

    @classmethod
    def of(cls, junit: Path) -> Counts:
        """Read them from the file that pytest wrote."""
        outcomes = {}
        for case in ET.parse(junit).iter("testcase"):  # noqa: S314 - pytest wrote it
            name = f"{case.get('classname')}.{case.get('name')}"
            outcome = outcomes.get(name, "passed")  # a test with subtests has an entry for each that failed
            for child in case:
                if child.tag in ("failure", "error"):
                    outcome = (child.get("message") or child.text or "failed").strip().partition("\n")[0]
                elif child.tag == "skipped" and outcome == "passed":
                    outcome = "skipped"
            outcomes[name] = outcome
        return cls(outcomes)

    @property
    def failures(self) -> dict[str, str]:
        """The tests that failed, with the reason."""
        return {name: why for name, why in self.outcomes.items() if why not in ("passed", "skipped")}

    def row(self) -> str:
        """Count passed, failed and skipped tests."""
        values = list(self.outcomes.values())
        return f"{values.count('passed'):8}{len(self.failures):8}{values.count('skipped'):8}"


def run_tests(checkout: Path, files: list[str], *, swapped: bool, folder: Path) -> dict[str, Counts]:
    """Run the files one by one, with ours or without, and count by file."""
    counts = {}
    for file in files:
        junit = folder / f"{Path(file).stem}-{swapped}.xml"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
        environment |= {SWAP: "1"} if swapped else {}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "benchmarks.pykeen_suite"]
        subprocess.run(
            [*command, f"--junitxml={junit}", file],
            cwd=checkout,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        counts[file] = Counts.of(junit)
    return counts


def main() -> None:
    """Print what passed, failed and was skipped, by file, and every test that fails with ours and not without."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="folder that holds PyKEEN's `tests`")
    parser.add_argument("--file", action="append", help="a file of tests, instead of all that concern ours")
    arguments = parser.parse_args()
    files = arguments.file or list(FILES)
    with tempfile.TemporaryDirectory() as name:
        runs = {
            which: run_tests(arguments.checkout, files, swapped=which == "ours", folder=Path(name))
            for which in ("PyKEEN's", "ours")
        }
    print(f"{'':45}{'':10}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for file in files:
        for which, counts in runs.items():
            print(f"{file:45}{which:10}{counts[file].row()}")
    for file in files:
        theirs, own = runs["PyKEEN's"][file].failures, runs["ours"][file].failures
        for test in sorted(theirs | own):
            which = "both" if test in theirs and test in own else "ours alone" if test in own else "PyKEEN's alone"
            print(f"{which}: {test}: {own.get(test) or theirs[test]}"[:240])


if __name__ == "__main__":
    main()
