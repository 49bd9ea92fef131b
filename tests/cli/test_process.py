"""Ctrl-C and SIGTERM, in whatever phase of a run: an end within seconds, nothing left behind, the old output whole."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

TOOL = [sys.executable, "-m", "embcompress", "approximate", "model.safetensors", "--bases", "8", "--force"]
TOOL += ["-o", "old.safetensors"]
PATIENCE_SECONDS = 60.0  # until a phase is reached, and then until the end, on a busy machine
END_SECONDS = 4.0  # of computing, from the signal to the end: 1 of grace, and slack for one library to be loaded
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SPARSE_ROWS, SPARSE_DIM = 300_000, 150  # 180 MB of zeros that take no room on the disk

pytestmark = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="phases are seen through Linux's /proc")


@pytest.fixture(autouse=True)
def _heeded_signals() -> Iterator[None]:
    """Let runs heed what the tests themselves ignore, as the shell has it for what it starts in the background."""
    ignored = [one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def write_sparse(path: Path) -> None:
    """Write a large table, and a larger tensor that is copied, without filling the disk."""
    table, copied = SPARSE_ROWS * SPARSE_DIM * 4, 2**30
    header = {
        "entities.weight": {"dtype": "F32", "shape": [SPARSE_ROWS, SPARSE_DIM], "data_offsets": [0, table]},
        "steps": {"dtype": "I32", "shape": [copied // 4], "data_offsets": [table, table + copied]},
    }
    raw = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + table + copied)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Stand before a run that would take long: a large sparse checkpoint, and an old output with its report."""
    write_sparse(tmp_path / "model.safetensors")
    (tmp_path / "old.safetensors").write_bytes(b"old")
    (tmp_path / "old.report.json").write_bytes(b"old report")
    return tmp_path


def is_started(process: subprocess.Popen[str], _: Path) -> bool:
    """See whether the input is open, which is before torch is imported."""
    folder = Path(f"/proc/{process.pid}/fd")
    try:
        return any(os.readlink(link).endswith("/model.safetensors") for link in folder.iterdir())
    except OSError:  # a descriptor that was closed meanwhile
        return False


def is_importing(process: subprocess.Popen[str], _: Path) -> bool:
    """See whether torch's libraries are being loaded."""
    return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()


def is_reading(process: subprocess.Popen[str], _: Path) -> bool:
    """See whether a good part of the rows was read: 120 MB are more than all of torch's Python files."""
    return read_bytes(process) > 120 * 10**6


def is_writing(_: subprocess.Popen[str], folder: Path) -> bool:
    """See whether the temporary file is there."""
    return any(folder.glob("*.tmp"))


def is_decomposing(process: subprocess.Popen[str], folder: Path) -> bool:
    """See whether it computes for a second, with torch loaded, without reading a byte: it is in one long call."""
    if not is_importing(process, folder):
        return False
    before, started = read_bytes(process), computed_seconds(process)
    for _ in range(int(PATIENCE_SECONDS / 0.02)):
        if process.poll() is not None or read_bytes(process) > before:
            return False
        if computed_seconds(process) > started + 1:
            return True
        time.sleep(0.02)
    return False


def read_bytes(process: subprocess.Popen[str]) -> int:
    """Count the bytes that a running process has read, from files or from what the system holds of them."""
    match = re.search(r"rchar: (\d+)", Path(f"/proc/{process.pid}/io").read_text())
    assert match is not None
    return int(match[1])


def computed_seconds(process: subprocess.Popen[str]) -> float:
    """Read what a running process has used of the processor, which is the same beside other work."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # in user mode and in the kernel


def ended_seconds() -> float:
    """Read what all child processes that have ended used of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a run, on one thread, so that what it computes after a signal is no more than the time that passes."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*TOOL, *options], cwd=folder, env={**os.environ, **ONE_THREAD}, stdout=pipe, stderr=pipe, text=True
    )


def stop(process: subprocess.Popen[str], folder: Path, *, phase: Callable[..., bool], numbers: list[int]) -> str:
    """Wait for a phase, send signals a moment apart, and check how the run ends; return what it printed on stderr."""
    others = ended_seconds()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not phase(process, folder):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    computed = computed_seconds(process)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.02)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert ended_seconds() - others - computed < END_SECONDS
    assert process.returncode == 128 + numbers[0]
    assert out == ""
    *progress, last = err.splitlines()  # lines of progress where the machine is slow
    assert last == "stopped: no unfinished file was left behind."
    assert all(" rows, " in line or " since the start" in line for line in progress)
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "old.safetensors", "old.report.json"}
    assert (folder / "old.safetensors").read_bytes() == b"old"
    assert (folder / "old.report.json").read_bytes() == b"old report"
    return err


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        (is_started, signal.SIGINT),
        (is_importing, signal.SIGTERM),
        (is_reading, signal.SIGINT),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "name", "")),
)
def test_signal_ends_a_run_in_any_phase(folder: Path, phase: Callable[..., bool], number: signal.Signals) -> None:
    """A signal while starting, importing torch or reading rows ends the run with 128 + its number."""
    stop(start(folder), folder, phase=phase, numbers=[number])


def test_second_signal_does_not_disturb_the_cleaning_up(folder: Path) -> None:
    """Three signals while writing are as good as one, and the first gives the exit code."""
    stop(start(folder), folder, phase=is_writing, numbers=[signal.SIGHUP, signal.SIGINT, signal.SIGTERM])


def test_signal_ends_a_long_call_of_torch(folder: Path) -> None:
    """Ctrl-C during an SVD of many seconds, which Python cannot interrupt, ends the run from beside it."""
    table = torch.randn(3400, 3400, generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file({"entities.weight": table}, folder / "model.safetensors")
    stop(start(folder, "--solver", "dense"), folder, phase=is_decomposing, numbers=[signal.SIGINT])


def test_ignored_signal_stays_ignored(folder: Path) -> None:
    """A run started with SIGHUP ignored, as by nohup, survives it and ends well."""
    state = {"entities.weight": torch.randn(400, 20, generator=torch.Generator().manual_seed(0))}
    safetensors.torch.save_file(state, folder / "model.safetensors")
    command = ["bash", "-c", 'trap "" HUP; exec "$@"', "bash", *TOOL, "--quiet", "--neighbours", "0"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_importing(process, folder):
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=PATIENCE_SECONDS)[1] == ""
    assert process.returncode == 0
    assert (folder / "old.safetensors").stat().st_size > 8 * 420 * 4
