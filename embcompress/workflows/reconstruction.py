"""Multiply an artifact out again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embcompress.artifact import Artifact, CompressedTable, read_artifact
from embcompress.checkpoints import Checkpoint, StoredTensor, open_checkpoint
from embcompress.coded_factors import real_row_shape
from embcompress.dense_rows import open_dense_rows
from embcompress.exceptions import ArtifactError
from embcompress.memory import estimate_reconstruct_memory
from embcompress.output import check_output
from embcompress.results import InputFile, OutputFile, ReconstructResult
from embcompress.safetensors_writer import Entry, SafetensorsWriter, copied_entry
from embcompress.table import block_rows_for, read_bytes, tensor_bytes
from embcompress.workflows.run import Progress, check_reports, check_space, resolve_device, write_reports

if TYPE_CHECKING:
    from torch import Tensor


def reconstruct(
    path: str | Path,
    *,
    output: str | Path | None = None,
    device: str = "auto",
    report: Sequence[str | Path] | str | Path = (),
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ReconstructResult:
    """Write the dense checkpoint of an artifact again: the names, shapes and dtypes of the original.

    A table that had several names is written under each, so that its state dict loads with strict=True.

    Args:
        path: an artifact.
        output: default `<stem>-dense.safetensors` beside the input.
        device: "auto", "cpu", "cuda" or "cuda:N".
        report: files to write the report to; default `<output stem>.report.json`.
        force: overwrite existing outputs.
        dry_run: make all checks and write nothing.
        progress: called with what is being done, rows done, rows in all and bytes of a row.

    Raises:
        ArtifactError: not an artifact, or a stored tensor does not have the checksum of the header.
        CheckpointError, OutputError, DeviceError: as for `approximate`.
    """
    source = Path(path)
    target = Path(output) if output else source.with_name(f"{source.stem}-dense.safetensors")
    with open_checkpoint(source) as checkpoint:
        artifact = read_artifact(checkpoint)
        resolved = check_output(target, force=force, inputs=[source])
        reports = check_reports(report, output=target, force=force, inputs=[source])
        place = resolve_device(device, dry_run=dry_run)
        contents: dict[Entry, Callable[[], Iterator[memoryview]]] = {}
        for table in artifact.tables:
            for name in (table.name, *table.tied_names):
                entry = Entry(name, table.dtype, table.dense_shape)
                contents[entry] = lambda table=table: _dense_bytes(  # type: ignore[misc]
                    artifact, table, device=place, progress=progress
                )
        for stored in artifact.copied:
            contents[copied_entry(stored)] = lambda stored=stored: artifact.read(stored)  # type: ignore[misc]
        metadata = {"format": "pt", **artifact.original_metadata}
        writer = SafetensorsWriter(resolved, list(contents), metadata=metadata, force=force)
        check_space(resolved, writer.nbytes)
        names = tuple(table.name for table in artifact.tables)
        result = ReconstructResult(
            command="reconstruct",
            input=InputFile(str(source), checkpoint.nbytes),
            output=OutputFile(str(target), None, writer.nbytes),
            tables=names,
            tensors=len(contents),
            dry_run=dry_run,
            memory_bytes=estimate_reconstruct_memory(artifact.tables) if dry_run else None,
        )
        if dry_run:
            return result
        with writer:
            for entry in writer.entries:
                writer.write(entry, contents[entry]())
            sha256 = writer.finish(metadata)
            result = replace(result, output=replace(result.output, sha256=sha256))
            write_reports(result, reports, force=force, before=writer.commit)
    return result


def read_dense(artifact: Artifact, stored: StoredTensor, *, device: str) -> Tensor:
    """Read into memory what an artifact has in place of a tensor of its original, multiplied out.

    Args:
        artifact: open.
        stored: the tensor in the original.
        device: where rows are multiplied out.

    Raises:
        ArtifactError: it has none of this name and shape, or one without the checksum of the header.
    """
    table = next((one for one in artifact.tables if stored.name in one.names), None)
    copied = artifact.tensors.get(stored.name)
    shape = table.dense_shape if table else copied.shape if copied else None
    if shape != stored.shape:
        raise ArtifactError(
            f"{artifact.checkpoint.path} should hold {stored.name!r} of shape {stored.shape}, "
            f"and holds {'none' if shape is None else shape}.",
            hint="Name the original that it was made from.",
        )
    if table is not None:
        return _gather(_dense_bytes(artifact, table, device=device, progress=None), replace(stored, dtype=table.dtype))
    assert copied is not None
    return _gather(artifact.read(copied), copied)


def read_whole(checkpoint: Checkpoint, stored: StoredTensor) -> Tensor:
    """Read a tensor of a checkpoint into memory."""
    return _gather(read_bytes(stored, file=checkpoint.file), stored)


def _gather(parts: Iterator[memoryview], stored: StoredTensor) -> Tensor:
    """Put bytes together to a tensor of the shape and dtype of a stored one."""
    import torch

    buffer = bytearray(stored.nbytes)
    position = 0
    for part in parts:
        buffer[position : position + len(part)] = part
        position += len(part)
    dtype = getattr(torch, stored.dtype)
    return (
        torch.frombuffer(buffer, dtype=dtype).view(stored.shape) if buffer else torch.empty(stored.shape, dtype=dtype)
    )


def _dense_bytes(
    artifact: Artifact, table: CompressedTable, *, device: str, progress: Progress | None
) -> Iterator[memoryview]:
    """Yield the rows of a table, multiplied out and rounded once, to the dtype of the original.

    In float64; coded weights of a table of at most float32, which are far from its rounding, in float32.
    """
    import torch

    dtype = getattr(torch, table.dtype).to_real()
    made_in = torch.promote_types(dtype, torch.float32) if table.is_coded else torch.float64
    dense = open_dense_rows(artifact, table, dtype=made_in, device=device)
    limits = torch.finfo(
        dtype
    )  # an approximation of the largest float16 may lie above it, and must not become infinity
    rows, dim = table.rows, math.prod(real_row_shape(table))
    step = block_rows_for(rows=rows, dim=dim, item_bytes=8)
    for first in range(0, rows, step):
        values = dense.read_next(min(step, rows - first)).clamp_(limits.min, limits.max)  # (block_rows, dim)
        yield tensor_bytes(values.to(dtype))
        if progress is not None:
            progress(f"{table.name}: rows", first + len(values), rows, dim * dtype.itemsize)
    dense.check()
