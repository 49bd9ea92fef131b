"""List what a checkpoint holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from embcompress.artifact import (
    LEFT_SUFFIX,
    RIGHT_SUFFIX,
    WEIGHTS_SUFFIX,
    is_artifact,
    read_artifact,
)
from embcompress.checkpoints import open_checkpoint
from embcompress.coded_factors import (
    BASES_SUFFIX,
    BASIS_SCALES_SUFFIX,
    BITS_SUFFIX,
    CODEBOOK_SUFFIX,
    GROUPS_SUFFIX,
    INDEX_SUFFIX,
    LEVELS_SUFFIX,
    SCALES_SUFFIX,
)
from embcompress.planning import group_tensors, largest_matrix_rank, largest_rank, matrix_shape, table_widths
from embcompress.results import InputFile, InspectResult, ListedTable, ListedTensor
from embcompress.table import Table
from embcompress.workflows.run import check_reports, left_out, write_reports

ROLES = {
    BASES_SUFFIX: "bases",
    WEIGHTS_SUFFIX: "weights",
    LEFT_SUFFIX: "left factors",
    RIGHT_SUFFIX: "right factors",
    BASIS_SCALES_SUFFIX: "scales of the bases",
    BITS_SUFFIX: "bits of the columns",
    SCALES_SUFFIX: "scales of the columns",
    LEVELS_SUFFIX: "levels",
    GROUPS_SUFFIX: "groups of the rows",
    INDEX_SUFFIX: "index of the rows",
    CODEBOOK_SUFFIX: "codebook",
}
FORM_WORDS = re.compile(r"(^|[^a-z])(bil|biaff|rel|form|rescal|ntn|pairwise|arc)")
# in the names of tables whose rows are matrices


def inspect(path: str | Path, *, report: Sequence[str | Path] | str | Path = (), force: bool = False) -> InspectResult:
    """List what a checkpoint holds, and which tables `approximate` would choose, and why. Does not import torch.

    Raises:
        CheckpointError: not readable.
    """
    source = Path(path)
    reports = check_reports(report, output=None, force=force, inputs=[source])
    with open_checkpoint(source) as checkpoint:
        compressed = {}
        if is_artifact(checkpoint):
            artifact = read_artifact(checkpoint)
            for one in artifact.tables:
                error = "" if one.error is None else f", relative error {one.error:.4g}"
                what = f"{one.rank} bases" if one.matrix is None else f"rank {one.rank} a matrix"
                if one.is_coded:
                    what = f"{one.rank} coded columns"
                for factor in artifact.factors(one):
                    role = ROLES.get(factor.name.removeprefix(one.name), "codes")
                    compressed[factor.name] = f"{role} of {one.name!r}, compressed to {what}{error}"
        tables, others = [], []
        groups = group_tensors(checkpoint.tensors)
        for group in groups:
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
            if table.name not in compressed and not table.is_complex:
                told = next((shape for name in group.names if (shape := checkpoint.listing.row_shapes.get(name))), None)
                reason += _offer_matrices(table, told, table_widths(checkpoint, but=table.dim))
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


def _offer_matrices(table: Table, row_shape: tuple[int, ...] | None, widths: set[int]) -> str:
    """Say what --bilinear makes of a table whose rows hold matrices; empty where they do not, or it does not pay."""
    is_flat = len(table.shape) == 1
    if row_shape is None and not FORM_WORDS.search(table.name.lower()):
        return ""  # three axes are mostly those of a convolution
    if row_shape is None and is_flat and not any(table.dim % width**2 == 0 for width in widths if width > 1):
        return ""  # a square number of columns alone says nothing
    found = matrix_shape(table, row_shape=row_shape, widths=widths)
    most = largest_matrix_rank(found) if found else 0
    return f"; --bilinear: {found[0]} x {found[1]} matrices, pays up to rank {most}" if found and most else ""
