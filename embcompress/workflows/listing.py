"""List what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embcompress.artifact import is_artifact, read_artifact
from embcompress.checkpoints import open_checkpoint
from embcompress.planning import group_tensors, largest_rank
from embcompress.results import InputFile, InspectResult, ListedTable, ListedTensor
from embcompress.table import Table
from embcompress.workflows.run import check_reports, left_out, write_reports


def inspect(path: str | Path, *, report: Sequence[str | Path] | str | Path = (), force: bool = False) -> InspectResult:
    """List what a checkpoint holds, and which tables `approximate` would choose, and why. Does not import torch.

    Raises:
        CheckpointError: not readable.
    """
    source = Path(path)
    reports = check_reports(report, output=None, force=force, source=source)
    with open_checkpoint(source) as checkpoint:
        compressed = {}
        if is_artifact(checkpoint):
            artifact = read_artifact(checkpoint)
            for one in artifact.tables:
                error = "" if one.error is None else f", relative error {one.error:.4g}"
                for role, factor in (("bases", artifact.bases(one)), ("weights", artifact.weights(one))):
                    compressed[factor.name] = f"{role} of {one.name!r}, compressed to {one.rank} bases{error}"
        tables, others = [], []
        for group in group_tensors(checkpoint.tensors):
            stored = group.stored
            if not group.is_matrix:
                others += [ListedTensor(name, stored.shape, stored.dtype, stored.nbytes) for name in group.names]
                continue
            table = Table(group.names[0], group.names[1:], stored)
            reason = compressed.get(table.name, group.verdict.reason)
            chosen = group.verdict.is_table and table.name not in compressed
            if chosen:
                most = largest_rank(table, stored.nbytes // stored.numel // (2 if table.is_complex else 1))
                reason += f"; pays up to {most} bases" if most else "; no number of bases pays"
            tables.append(
                ListedTable(
                    name=table.name,
                    tied_names=table.tied_names,
                    rows=table.rows,
                    shape=table.shape,
                    dtype=table.dtype,
                    bytes=table.nbytes,
                    chosen=chosen,
                    reason=reason,
                )
            )
        result = InspectResult(
            command="inspect",
            input=InputFile(str(source), checkpoint.nbytes),
            tables=tuple(tables),
            others=tuple(others),
            skipped=left_out(checkpoint),
        )
    write_reports(result, reports, force=force)
    return result
