"""The steps that all commands share: choose the device, check the outputs, write the reports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from embcompress.artifact.atomic_file import AtomicFile, check_output
from embcompress.artifact.reader import is_artifact
from embcompress.checkpoints import Checkpoint
from embcompress.compression.budget import parse_size
from embcompress.exceptions import OutputError, TableError, UsageError
from embcompress.report import render, renderer_for
from embcompress.results import OutputFile, Result, Skipped
from embcompress.tables.unread_tables import find_unread_tables
from embcompress.text import human_bytes, quoted, report_path

SEED_MAX = 2**63 - 1  # what torch's generators take on every device


def resolve_device(device: str, *, dry_run: bool = False) -> str:
    """Turn "auto" into the GPU if there is one, and check that a device asked for is there.

    A dry run takes "auto" for the CPU, so that it need not import torch.

    Raises:
        UsageError: not a name of a device.
        DeviceError: a GPU that is not there.
    """
    kind, _, number = device.partition(":")
    if device != "auto" and not (device == "cpu" or (kind == "cuda" and (number.isdecimal() or device == "cuda"))):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N; got {device!r}.")
    if device == "cpu" or (device == "auto" and dry_run):
        return "cpu"
    from embcompress.linalg.devices import find_device

    return find_device(device)


def check_seed(seed: int) -> None:
    """Refuse a seed that torch's generators do not take.

    Raises:
        UsageError: outside 0..SEED_MAX.
    """
    if not 0 <= seed <= SEED_MAX:
        raise UsageError(f"--seed must be 0..{SEED_MAX}; got {seed}.")


def read_shard_size(size: int | str | None, *, has_max_size: bool = False) -> int | None:
    """Read how many bytes of tensors a file of a folder may hold.

    Raises:
        UsageError: no number of bytes, or a limit of the whole beside it, which counts one file.
    """
    if size is None:
        return None
    if has_max_size:
        raise UsageError("--max-size counts the bytes of one file; --max-shard-size does not go with it.")
    parsed = parse_size(size, option="--max-shard-size") if isinstance(size, str) else size
    if parsed < 1:
        raise UsageError(f"--max-shard-size must be at least 1 byte; got {size}.")
    return parsed


def inputs_of(*checkpoints: Checkpoint, others: Iterable[str | Path | None] = ()) -> list[Path]:
    """List what no output may replace: checkpoints, all files that belong to them, and others that a run reads."""
    inputs = [Path(other) for other in others if other is not None]
    for checkpoint in checkpoints:
        inputs += [checkpoint.path, *checkpoint.files.paths, *checkpoint.listing.companions]
    return inputs


def check_reports(
    report: Sequence[str | Path] | str | Path,
    *,
    output: Path | None,
    force: bool,
    inputs: Sequence[Path],
    is_folder: bool = False,
) -> tuple[tuple[Path, str], ...]:
    """Check where the reports go, and with which renderer, before any work is done.

    Args:
        report: the files asked for; empty: one beside `output`, if there is an output.
        output: what else the run will write.
        force: overwrite existing reports; true where `refuse_existing` follows.
        inputs: what the run reads, which no report may replace.
        is_folder: whether `output` is a folder, of whose name no part is an ending: `bge-small-en-v1.5`.

    Raises:
        UsageError: no renderer has the ending of a report, or one file is named twice.
        OutputError: as check_output.
    """
    paths = [Path(path) for path in ([report] if isinstance(report, (str, Path)) else report)]
    if not paths and output is not None:
        paths = [report_path(output, is_folder=is_folder)]
    checked: list[tuple[Path, str]] = []
    taken = set() if output is None else {Path(os.path.realpath(output))}
    for path in paths:
        renderer = renderer_for(path)
        resolved = check_output(path, force=force, inputs=inputs)
        if resolved in taken:
            raise UsageError(
                f"--report {path} is also the path of another output of this run.",
                hint="Name another file with --report or --output.",
            )
        taken.add(resolved)
        checked.append((resolved, renderer))
    return tuple(checked)


def exists_already(target: Path) -> bool:
    """Return whether a file is there, or a folder that holds something."""
    return any(target.iterdir()) if target.is_dir() else target.exists()


def planned_file(target: Path, nbytes: int) -> OutputFile:
    """Tell which file a dry run would write, or overwrite."""
    return OutputFile(str(target), None, nbytes, overwrites=exists_already(target))


def refuse_existing(targets: Iterable[Path], *, force: bool) -> None:
    """Refuse to overwrite outputs without `force`: the last check, since --force would be no answer to any other.

    Raises:
        OutputError: one of them is there.
    """
    existing = None if force else next(filter(exists_already, targets), None)
    if existing is not None:
        raise OutputError(
            f"the output {existing} exists already.",
            hint="Overwrite it with --force (in Python: force=True), or name another with --output.",
        )


def write_reports(
    result: Result,
    reports: Sequence[tuple[Path, str]],
    *,
    force: bool,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Write all reports whole, then do what comes before they show, then put them in place."""
    with ExitStack() as stack:
        files = []
        for path, renderer in reports:
            file = stack.enter_context(AtomicFile(path, force=force))
            file.write(render(result, renderer).encode())
            files.append(file)
        before()
        for file in files:
            file.commit()


def check_space(target: Path, nbytes: int, *, staged: int = 0) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        target: the output.
        nbytes: of it.
        staged: bytes that lie beside it while it is written.

    Raises:
        OutputError: fewer bytes are free.
    """
    free = shutil.disk_usage(target.parent).free
    if free < nbytes + staged:
        more = f" and {human_bytes(staged)} more while it is written" if staged else ""
        raise OutputError(
            f"{target} needs {human_bytes(nbytes)}{more}, and its disk has {human_bytes(free)} left.",
            hint="Free some space, or name another --output.",
        )


def refuse_compressed(checkpoint: Checkpoint) -> None:
    """Refuse an artifact where an original is wanted.

    Raises:
        TableError: it is one.
    """
    if is_artifact(checkpoint):
        raise TableError(
            f"{checkpoint.path} is compressed already.",
            hint=f"Compress the original, or restore it with `embcompress reconstruct {quoted(checkpoint.path)}`.",
        )


def left_out(checkpoint: Checkpoint) -> tuple[Skipped, ...]:
    """List the entries of a checkpoint that no output can hold, then tables of a form that is not read."""
    unread = () if is_artifact(checkpoint) else find_unread_tables(checkpoint)
    return (
        *(Skipped(left.name, left.reason) for left in checkpoint.listing.left_out),
        *(Skipped(one.name, one.what) for one in unread if one.stored and one.is_named and one.is_sure),
    )


def check_neighbours(count: int) -> None:
    """Refuse a number of queries below 0.

    Raises:
        UsageError: it is.
    """
    if count < 0:
        raise UsageError(f"--neighbours must be 0 or more; got {count}.")
