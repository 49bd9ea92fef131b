"""Time functions and whole commands beside their peers, in turn: ratios hold when the machine's speed drifts."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
SETTLE_SECONDS = 0.5  # until the threads of the library called before have stopped spinning for more work
RESULTS = ROOT / "benchmarks" / "RESULTS.md"


@dataclass(frozen=True)
class Run:
    """The resources that one child process took, by the system's own accounting."""

    seconds: float
    peak_bytes: int
    cpu_seconds: float = 0.0


def run_command(command: Sequence[str], *, cwd: Path | None = None) -> Run:
    """Run a command and wait for it; its output is thrown away.

    Call this from a process that has imported nothing large: a child's peak memory starts from its parent's.
    """
    started = time.perf_counter()
    child = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {child.stderr.read().decode() if child.stderr else ''}")
    return Run(seconds, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)


def commands_in_turn(commands: Mapping[str, Sequence[str]], *, runs: int) -> dict[str, list[Run]]:
    """Run each command once unmeasured, then all in turn `runs` times."""
    for command in commands.values():
        run_command(command)
    taken: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            taken[name].append(run_command(command))
    return taken


def compare_commands(commands: Mapping[str, Sequence[str]], *, runs: int, peer: str) -> str:
    """Run commands in turn and write a Markdown table of their seconds, as multiples of a peer's, and their memory."""
    taken = commands_in_turn(commands, runs=runs)
    seconds = {name: [run.seconds for run in each] for name, each in taken.items()}
    lines = [
        [
            name,
            f"{median(seconds[name]):.2f} ({min(seconds[name]):.2f} to {max(seconds[name]):.2f})",
            f"{ratio_of(seconds, name, peer):.2f}",
            f"{max(run.peak_bytes for run in each) / 1e6:.0f}",
        ]
        for name, each in taken.items()
    ]
    return table(["command", "seconds, median (range)", f"times {peer}", "peak memory, MB"], lines)


def functions_in_turn(functions: Mapping[str, Callable[[], object]], *, runs: int) -> dict[str, list[float]]:
    """Call each function once unmeasured, then all in turn `runs` times; seconds of each call."""
    for function in functions.values():
        function()
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            time.sleep(SETTLE_SECONDS)
            started = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - started)
    return taken


def ratio_of(taken: Mapping[str, Sequence[float]], name: str, other: str) -> float:
    """The median over the rounds of how many times as long `name` took as `other`."""
    return median(one / two for one, two in zip(taken[name], taken[other], strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """Say what this ran on, without naming the host."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line]
    model = models[0] if models else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, Python {platform.python_version()}"


def python(script: Path | str, *arguments: str) -> list[str]:
    """Make the command that runs a script with this Python."""
    return [sys.executable, str(script), *arguments]
