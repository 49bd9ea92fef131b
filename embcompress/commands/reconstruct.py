"""Multiply an artifact out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embcompress.artifact.atomic_file import check_output
from embcompress.artifact.reader import read_artifact
from embcompress.artifact.writer import Entry, SafetensorsWriter, copied_entry
from embcompress.checkpoints import open_checkpoint
from embcompress.commands.memory import estimate_reconstruct_memory
from embcompress.commands.run import beside, check_reports, check_space, inputs_of, resolve_device, write_reports
from embcompress.results import InputFile, OutputFile, ReconstructResult
from embcompress.tables.progress import Progress


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
    target = Path(output) if output else beside(path, "-dense.safetensors")
    with open_checkpoint(path) as checkpoint:
        artifact = read_artifact(checkpoint)
        inputs = inputs_of(checkpoint)
        resolved = check_output(target, force=force, inputs=inputs)
        reports = check_reports(report, output=target, force=force, inputs=inputs)
        chosen_device = resolve_device(device, dry_run=dry_run)
        dense = {
            Entry(name, table.dtype, table.dense_shape): table
            for table in artifact.tables
            for name in (table.name, *table.tied_names)
        }
        copied = {copied_entry(stored): stored for stored in artifact.copied}
        metadata = {"format": "pt", **artifact.original_metadata}
        writer = SafetensorsWriter(resolved, [*dense, *copied], metadata=metadata, force=force)
        check_space(resolved, writer.nbytes)
        names = tuple(table.name for table in artifact.tables)
        result = ReconstructResult(
            command="reconstruct",
            input=InputFile(checkpoint.name, checkpoint.nbytes),
            output=OutputFile(str(target), None, writer.nbytes),
            tables=names,
            tensors=len(writer.entries),
            dry_run=dry_run,
            memory_bytes=estimate_reconstruct_memory(artifact.tables) if dry_run else None,
        )
        if dry_run:
            return result

        from embcompress.artifact.dense_tensors import dense_bytes

        with writer:
            for entry in writer.entries:
                if entry in dense:
                    writer.write(entry, dense_bytes(artifact, dense[entry], device=chosen_device, progress=progress))
                else:
                    writer.write(entry, artifact.read(copied[entry]))
            sha256 = writer.finish(metadata)
            result = replace(result, output=replace(result.output, sha256=sha256))
            write_reports(result, reports, force=force, before=writer.commit)
    return result
