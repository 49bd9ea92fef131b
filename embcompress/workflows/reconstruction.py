"""Multiply an artifact out again."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embcompress.artifact import Artifact, CompressedTable, read_artifact, read_coded, read_tensor
from embcompress.checkpoints import Checkpoint, StoredTensor, open_checkpoint
from embcompress.exceptions import ArtifactError
from embcompress.linalg.solvers import MATRICES_BYTES
from embcompress.output import check_output
from embcompress.results import InputFile, OutputFile, ReconstructResult
from embcompress.safetensors_writer import Entry, SafetensorsWriter, copied_entry
from embcompress.table import StoredRows, block_rows_for, read_bytes, tensor_bytes
from embcompress.workflows.run import Progress, check_reports, check_space, resolve_device, rows_of, write_reports

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
        progress: called with what is being done, rows done and rows in all.

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
                entry = Entry(name, table.dtype, table.shape)
                contents[entry] = lambda table=table: dense_table(  # type: ignore[misc]
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


def dense_table(
    artifact: Artifact, table: CompressedTable, *, device: str, progress: Progress | None
) -> Iterator[memoryview]:
    """Yield the row-major bytes of a table as the original had it: its shape, its dtype.

    Raises:
        ArtifactError: a stored tensor does not have the checksum of the header.
    """
    dense = _dense_codes if table.is_coded else _dense_rows if table.matrix is None else _dense_matrices
    return dense(artifact, table, device=device, progress=progress)


def read_dense(artifact: Artifact, stored: StoredTensor, *, device: str) -> Tensor:
    """Read into memory what an artifact has in place of a tensor of its original, multiplied out.

    Args:
        artifact: open.
        stored: the tensor in the original.
        device: where rows are multiplied out.

    Raises:
        ArtifactError: it has none of this name and shape, or one without the checksum of the header.
    """
    table = next((one for one in artifact.tables if stored.name in (one.name, *one.tied_names)), None)
    found = artifact.tensors.get(stored.name) if table is None else table
    if found is None or found.shape != stored.shape:
        raise ArtifactError(
            f"{artifact.checkpoint.path} should hold {stored.name!r} of shape {stored.shape}, "
            f"and holds {'none' if found is None else found.shape}.",
            hint="Name the original that it was made from.",
        )
    if isinstance(found, StoredTensor):
        return _gather(artifact.read(found), found)
    return _gather(dense_table(artifact, found, device=device, progress=None), replace(stored, dtype=found.dtype))


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


def _dense_matrices(
    artifact: Artifact, table: CompressedTable, *, device: str, progress: Progress | None
) -> Iterator[memoryview]:
    """Yield the matrices of a table, multiplied out in float64 and rounded once, to the dtype of the original."""
    import torch

    dtype = getattr(torch, table.dtype)
    limits = torch.finfo(dtype)
    left, right = artifact.factors(table)
    file = artifact.checkpoint.file
    rows = rows_of(left, artifact.checkpoint, device="cpu", progress=progress, doing=f"{table.name}: rows")
    others = StoredRows(right, file=file, folder=artifact.checkpoint.path.parent)
    assert table.matrix is not None
    (in1, in2), checksums = table.matrix, [0, 0]
    first = 0
    for block in rows.blocks():  # (block_rows, [matrices of a row,] in1, rank), flat
        found = others.read(torch.arange(first, first + len(block))).view(getattr(torch, right.dtype))
        for index, part in enumerate((block, found)):
            checksums[index] = zlib.crc32(tensor_bytes(part), checksums[index])
        factors = (part.to(device, torch.float64) for part in (block, found))
        one, two = (part.reshape(-1, side, table.rank) for part, side in zip(factors, (in1, in2), strict=True))
        step = max(1, MATRICES_BYTES // (8 * in1 * in2))
        for left_part, right_part in zip(torch.split(one, step), torch.split(two, step), strict=True):
            yield tensor_bytes((left_part @ right_part.mT).clamp_(limits.min, limits.max).to(dtype))
        first += len(block)
    for stored, checksum in zip((left, right), checksums, strict=True):
        artifact.check(stored, checksum)


def _dense_codes(
    artifact: Artifact, table: CompressedTable, *, device: str, progress: Progress | None
) -> Iterator[memoryview]:
    """Yield the rows of a coded table, decoded and multiplied out in float32, or float64 for a float64 table."""
    import torch

    from embcompress.coding.decoder import Decoder

    dtype = getattr(torch, table.dtype).to_real()
    limits = torch.finfo(dtype)
    factors = read_coded(artifact, table)
    decoder = Decoder(
        factors.codebook, factors.bases, dtype=torch.promote_types(dtype, torch.float32), device=torch.device(device)
    )
    stored = artifact.codes(table)
    folder = artifact.checkpoint.path.parent
    readers = [StoredRows(one, file=artifact.checkpoint.file, folder=folder) for one in stored]
    checksums, positions = [0] * len(stored), [0] * len(stored)
    rows = table.shape[0]
    step = block_rows_for(rows=rows, dim=decoder.dim, item_bytes=4)
    for first in range(0, rows, step):
        groups = factors.groups_of_rows[first : first + step]
        codes = []
        for group, count in enumerate(torch.bincount(groups, minlength=len(stored)).tolist()):
            part = readers[group].read(torch.arange(positions[group], positions[group] + count))
            positions[group] += count
            checksums[group] = zlib.crc32(tensor_bytes(part), checksums[group])
            codes.append(part)
        values = decoder.decode(codes, groups).clamp_(limits.min, limits.max)  # (block_rows, dim)
        yield tensor_bytes(values.to(dtype))
        if progress is not None:
            progress(f"{table.name}: rows", first + len(groups), rows)
    for one, checksum in zip(stored, checksums, strict=True):
        artifact.check(one, checksum)


def _dense_rows(
    artifact: Artifact, table: CompressedTable, *, device: str, progress: Progress | None
) -> Iterator[memoryview]:
    """Yield the rows of a table, multiplied out in float64 and rounded once, to the dtype of the original."""
    import torch

    bases = read_tensor(artifact, artifact.bases(table))
    flat = (
        (torch.view_as_real(bases) if bases.is_complex() else bases).flatten(1).to(device, torch.float64)
    )  # (rank, dim)
    dtype = getattr(torch, table.dtype).to_real()
    stored = artifact.weights(table)
    rows = rows_of(stored, artifact.checkpoint, device="cpu", progress=progress, doing=f"{table.name}: rows")
    limits = torch.finfo(
        dtype
    )  # an approximation of the largest float16 may lie above it, and must not become infinity
    checksum = 0
    for weights in rows.blocks():
        checksum = zlib.crc32(tensor_bytes(weights), checksum)
        values = (weights.to(device, torch.float64) @ flat).clamp_(limits.min, limits.max)  # (block_rows, dim)
        yield tensor_bytes(values.to(dtype))
    artifact.check(stored, checksum)
