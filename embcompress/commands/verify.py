"""Check an artifact by itself, without its original."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embcompress.artifact.reader import read_artifact
from embcompress.checkpoints import open_checkpoint
from embcompress.commands.run import check_reports, inputs_of, write_reports
from embcompress.evaluation.own_checks import check_artifact, check_report, hash_artifact
from embcompress.results import InputFile, VerifyResult
from embcompress.tables.progress import Progress
from embcompress.text import report_path


def verify(
    path: str | Path,
    *,
    report: Sequence[str | Path] | str | Path = (),
    force: bool = False,
    allow_expansion: bool = False,
    progress: Progress | None = None,
) -> VerifyResult:
    """Check an artifact alone: header, sizes, checksums, finite numbers, every row, and the report beside it.

    Goes over all bytes twice and over the rows of the tables once more; holds a block of rows.

    Args:
        path: an artifact: a file, or a folder of one.
        report: files to write the report to, each ending choosing a renderer; default: none.
        force: overwrite existing reports.
        allow_expansion: read an artifact whose tables claim to be far larger than it (`EXPANSION_MAX` times), too.
        progress: called with what is being done, rows done, rows in all and bytes of a row.

    Raises:
        CheckpointError: not readable.
        ArtifactError: not an artifact, or one whose header does not follow the schema.
        OutputError: a report cannot be written.
    """
    with open_checkpoint(path) as checkpoint:
        artifact = read_artifact(checkpoint)
        reports = check_reports(report, output=None, force=force, inputs=inputs_of(checkpoint))
        checks = list(check_artifact(artifact, allow_expansion=allow_expansion, progress=progress))
        sha256 = hash_artifact(Path(path))
        beside = report_path(Path(path), is_folder=Path(path).is_dir()) if Path(path).name else None
        own = check_report(beside, sha256) if beside is not None and sha256 is not None else None
        result = VerifyResult(
            command="verify",
            input=InputFile(checkpoint.name, checkpoint.nbytes),
            schema=artifact.schema,
            sha256=sha256,
            report=str(beside) if own is not None else None,
            tables=tuple(table.name for table in artifact.tables),
            tensors=len(artifact.tensors),
            checks=(*checks, *([] if own is None else [own])),
        )
    write_reports(result, reports, force=force)
    return result
